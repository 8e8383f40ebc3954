"""Contacts are where points are slow and low, and where the motion needs a floor."""

from __future__ import annotations

import numpy as np
import torch

from physpose.estimation.contact import contact_belief, outside_feet, smoothed, with_needed_support


def test_a_still_low_point_is_believed_and_a_fast_or_high_one_is_not():
    time = torch.linspace(0, 1, 31, dtype=torch.float64)
    p = torch.zeros(31, 3, 3, dtype=torch.float64)
    p[:, 1, 0] = 2.0 * time  # slides at 2 m/s
    p[:, 2, 2] = 0.3  # rests on a table
    belief = contact_belief(p, time, 0.35, 0.06)
    assert (belief[:, 0] > 0.9).all()
    assert (belief[:, 1:] < 0.01).all()


def test_one_frame_goes_by_height_alone():
    p = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]], dtype=torch.float64)
    belief = contact_belief(p, torch.zeros(1, dtype=torch.float64), 0.35, 0.06)
    assert belief[0, 0] > 0.9
    assert belief[0, 1] < 0.01


def test_support_is_added_only_where_weight_is_carried_and_the_feet_are_low():
    active = np.zeros((4, 3), bool)
    active[3, 2] = True
    height = np.array([[0.02, 0.04, 0.30], [0.02, 0.04, 0.30], [0.20, 0.25, 0.50], [0.00, 0.00, 0.00]])
    force = np.array([1.0, 0.1, 1.0, 1.0])  # standing, flying, flying high by the picture, a contact already known
    found = with_needed_support(active, height, force, 0.10)
    np.testing.assert_array_equal(found, [[True, True, False], [False] * 3, [False] * 3, [False, False, True]])


def test_weight_behind_the_feet_is_borne_by_something_else():
    """A force through a place 0.9 m below the centre of mass: over the feet, or half a metre behind them."""
    feet = torch.tensor([[[-0.1, 0.1, -0.9], [0.1, 0.1, -0.9], [-0.1, -0.1, -0.9], [0.1, -0.1, -0.9]]]).double()
    belief, force = torch.ones(1, 4, dtype=torch.float64), torch.tensor([[30.0, -20.0, 700.0]]).double()
    for x, outside in ((0.0, False), (0.09, False), (-0.5, True)):
        moment = torch.linalg.cross(torch.tensor([[x, 0.02, -0.9]]).double(), force)
        found = outside_feet(torch.cat([force, moment], 1), feet, belief, 0.2)
        assert (float(found) > 0.9) == outside
        assert float(outside_feet(torch.cat([force, moment], 1), feet, 0 * belief, 0.2)) == 0  # in the air


def test_a_belief_is_averaged_over_time_whatever_the_frame_rate():
    for rate in (10, 100):
        time = torch.arange(0, 2, 1 / rate, dtype=torch.float64)
        found = smoothed((time > 1).double(), time, 0.4)
        assert float(found[time < 0.79].max()) == 0
        assert float(found[time > 1.21].min()) == 1
        assert 0.2 < float(found[len(time) // 2]) < 0.8
