"""Motions of markers are asked what forces they need: none in flight, and otherwise such as feet can give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_walk import LABELS, markers
from walker import Walk, walk

import physpose
from physpose import load_skeleton
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_spots import spots_on
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.skin import wandering
from physpose.types import Markers
from sims import somersault

KNOWN = {"scale": False, "register": False}
INNER = slice(10, -10)


def slid(seen: Markers, size: float = 0.003, seed: int = 3) -> Markers:
    """The same on skin that slides by ``size`` [m]."""
    draws = wandering(torch.as_tensor(seen.time), 3 * len(LABELS), 0.1, torch.Generator().manual_seed(seed))
    return replace(seen, positions=seen.positions + size * draws.numpy().reshape(len(seen.time), -1, 3))


def both_ways(seen: Markers, body):  # noqa: ANN001, ANN201
    """The fits with physics and without it."""
    return (physpose.fit(seen, body, physics=p, **KNOWN) for p in ("full", "none"))


def test_angular_momentum_stays_in_flight():
    body = load_skeleton("adult", sex="m", height=1.75, mass=72.0)
    sim = somersault.simulate(body, 0.9)
    keep = np.arange(0, len(sim.time), round(0.01 / (sim.time[1] - sim.time[0])))
    flown = Walk(body=body, time=sim.time[keep], q=sim.q[keep], forces=None, stance=None)
    found = list(both_ways(slid(markers(flown), 0.01), body))
    change = [np.ptp(r.momentum[INNER, 3:], axis=0).max() for r in found]
    fall = [np.abs(np.gradient(r.momentum[:, 2], r.time)[INNER] / body.mass + 9.81).max() for r in found]
    assert change[0] < 0.9 * change[1]
    assert fall[0] < 0.6 * fall[1]


def test_a_walk_needs_forces_that_feet_can_give():
    made = walk()
    found = both_ways(slid(markers(made)), made.body)
    force, moment = zip(*(np.split(np.sqrt((r.tau[INNER, :6] ** 2).mean(0)), 2) for r in found), strict=True)
    assert force[0].sum() < 0.8 * force[1].sum()
    assert moment[0].sum() < 0.8 * moment[1].sum()


def test_on_a_moving_belt_nothing_is_taken_for_flight():
    """Feet that move are not believed to bear anything, though the motion needs it: there nothing is asked."""
    made = walk()
    belt = made.q.copy()
    belt[:, 0] -= 2.5 * (made.time - made.time[0])
    problem = MarkerProblem(made.body, spots_on(made.body, list(LABELS))[0])
    asked = []
    for q in (made.q, belt):
        _, terms = problem.with_forces([], problem.state(torch.as_tensor(q)), made.time)
        asked.append(float((terms[-1].time_weight[INNER] > 0).double().mean()))
    assert asked[0] == 1.0
    assert asked[1] == 0.0


@pytest.mark.parametrize("physics", ["full", "none"])
def test_who_weighs_nothing_or_has_no_feet_is_asked_for_no_floor(physics):
    body = load_skeleton("adult", sex="m", height=1.75, mass=72.0)
    time = np.arange(60) / 100.0
    q = np.tile(body.neutral, (60, 1))
    q[:, 0] += 0.4 * time  # drifts
    flown = Walk(body=body, time=time, q=q, forces=None, stance=None)
    settings = EstimationSettings(physics=physics)
    result = physpose.fit(markers(flown), body, gravity=(0, 0, 0), settings=settings, **KNOWN)
    np.testing.assert_allclose(result.momentum[INNER, 0], 0.4 * body.mass, rtol=0.01)
    assert not result.contacts.active.any()
