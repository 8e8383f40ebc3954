"""Ground reaction forces: what statics alone settles must come out, and nothing that a floor cannot give."""

from __future__ import annotations

import numpy as np
import pytest

from physpose.estimation.forces import FRICTION, split_root_wrench

WEIGHT, STATURE = 600.0, 1.7  # [N], [m]
# Two feet side by side: heel and toe each; the middle of all is 1 m from the world's origin.
FEET = np.array([[0.9, 0.1, 0.0], [1.1, 0.1, 0.0], [0.9, -0.1, 0.0], [1.1, -0.1, 0.0]])
RELATIVE = 0.01  # sharing evenly costs a little of the exact wrench


def wrench_at(force: list[float], place: list[float]) -> np.ndarray:
    """(1, 6) of a force [N] at a place [m]; moment about the world's origin."""
    return np.concatenate([force, np.cross(place, force)])[None]


def split(wrench: np.ndarray, active: list[bool] | None = None, feet: np.ndarray = FEET) -> np.ndarray:
    on = np.array(active if active is not None else [True] * len(feet))[None]
    return split_root_wrench(wrench, feet[None], on, WEIGHT, STATURE)[0]


def total(forces: np.ndarray, feet: np.ndarray = FEET) -> np.ndarray:
    return np.concatenate([forces.sum(0), np.cross(feet, forces).sum(0)])


def test_standing_still_gives_body_weight_shared_equally():
    forces = split(wrench_at([0, 0, WEIGHT], [1.0, 0.0, 0.0]))
    np.testing.assert_allclose(forces[:, 2], WEIGHT / 4, rtol=RELATIVE)
    np.testing.assert_allclose(forces[:, :2], 0, atol=RELATIVE * WEIGHT)


@pytest.mark.parametrize("side", [0.04, -0.07])
def test_feet_share_by_the_distance_of_the_centre_of_pressure(side):
    forces = split(wrench_at([0, 0, WEIGHT], [1.0, side, 0.0]))
    left, right = forces[:2, 2].sum(), forces[2:, 2].sum()
    assert left + right == pytest.approx(WEIGHT, rel=RELATIVE)
    assert left / WEIGHT == pytest.approx((side + 0.1) / 0.2, abs=0.03)


def test_toes_carry_who_leans_forward():
    forces = split(wrench_at([0, 0, WEIGHT], [1.08, 0.0, 0.0]))
    assert forces[[1, 3], 2].sum() / WEIGHT == pytest.approx(0.9, abs=0.04)


def test_a_possible_wrench_is_explained_wherever_the_origin_is():
    rng = np.random.default_rng(0)
    push = rng.uniform(0.2, 1, (4, 3)) * [0.2 * WEIGHT * FRICTION, 0.2 * WEIGHT * FRICTION, WEIGHT]
    for shift in ([0, 0, 0], [50.0, -80.0, 0.0]):
        feet = FEET + shift
        found = split(total(push, feet)[None], feet=feet)
        np.testing.assert_allclose(found.sum(0), push.sum(0), atol=0.02 * WEIGHT)
        about_middle = np.cross(feet - feet.mean(0), found - push).sum(0)
        np.testing.assert_allclose(about_middle, 0, atol=0.02 * WEIGHT * STATURE)


def test_points_off_the_floor_get_nothing():
    forces = split(wrench_at([0, 0, WEIGHT], [1.0, 0.1, 0.0]), [True, True, False, False])
    assert not forces[2:].any()
    assert forces[:2, 2].sum() == pytest.approx(WEIGHT, rel=RELATIVE)


def test_nobody_pushes_in_the_air():
    assert not split(wrench_at([0, 0, WEIGHT], [1.0, 0.0, 0.0]), [False] * 4).any()


def test_the_floor_never_pulls():
    assert not split(wrench_at([0, 0, -WEIGHT], [1.0, 0.0, 0.0])).any()
    tipping = split(wrench_at([0, 0, WEIGHT], [2.0, 0.0, 0.0]))  # weight a metre before the toes
    assert (tipping[:, 2] >= 0).all()


def test_forces_stay_inside_the_friction_pyramid():
    rng = np.random.default_rng(1)
    slides = 0
    for _ in range(50):
        forces = split(rng.normal(size=(1, 6)) * WEIGHT)
        assert (np.abs(forces[:, :2]).sum(1) <= FRICTION * forces[:, 2] + 1e-9).all()
        slides += bool((np.abs(forces[:, :2]).sum(1) > 0.99 * FRICTION * forces[:, 2]).any() and forces.any())
    assert slides > 10  # the bound was reached, not merely kept


def test_frames_are_independent():
    wrench = np.concatenate([wrench_at([0, 0, WEIGHT], [1.0, 0.05, 0.0]), wrench_at([30, 0, 2 * WEIGHT], [1, 0, 0])])
    feet, on = np.stack([FEET, FEET + [0.3, 0, 0]]), np.array([[True] * 4, [True, True, True, False]])
    both = split_root_wrench(wrench, feet, on, WEIGHT, STATURE)
    for t in range(2):
        one = split_root_wrench(wrench[t : t + 1], feet[t : t + 1], on[t : t + 1], WEIGHT, STATURE)
        np.testing.assert_array_equal(both[t], one[0])


def test_one_point_carries_all():
    forces = split(wrench_at([0, 0, WEIGHT], [1.1, 0.1, 0.0]), [False, True, False, False])
    np.testing.assert_allclose(forces[1], [0, 0, WEIGHT], atol=RELATIVE * WEIGHT)
