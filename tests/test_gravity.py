"""Gravity from flights: in closed form, on a box, without any, and from a filmed jump."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import beside, filmed

from physpose import fit, load_skeleton
from physpose.caveats import gravity_found
from physpose.estimation.gravity import fall_of, flights
from sims import jump

TIME = np.arange(0, 2.0, 0.01)
ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}


def leap(g: np.ndarray, start: float = 0.5, end: float = 1.1, floor: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """com (T, 3) and two feet (T, 2, 3): standing, in flight from ``start`` to ``end``, standing again."""
    s = np.clip(TIME - start, 0, end - start)[:, None]
    up = -0.5 * g * (end - start)
    com = np.array([0.3, 0.1, floor + 1.0]) + up * s + 0.5 * g * s**2
    feet = com[:, None] + np.array([[0.0, 0.1, -1.0], [0.1, -0.1, -1.0]])
    return com, feet


@pytest.mark.parametrize("size", [9.81, 3.7])
def test_a_flight_tells_gravity(size):
    g = np.array([0.2, -0.1, -size])
    com, feet = leap(g)
    ((a, b),) = flights(TIME, feet)
    assert 0.5 <= TIME[a] < 0.6
    assert 1.0 < TIME[b - 1] <= 1.1
    found = fall_of(TIME, com + np.random.default_rng(0).normal(0, 1e-3, com.shape), feet)
    np.testing.assert_allclose(found.acceleration, g, atol=0.15)
    assert found.flights == 1
    assert found.sigma > 0.02 * size * 0.9


def test_who_stands_on_a_box_does_not_fly():
    com, feet = leap(np.array([0, 0, -9.81]), floor=0.4)
    ((a, b),) = flights(TIME, feet)
    assert TIME[a] >= 0.5
    assert TIME[b - 1] <= 1.1
    assert fall_of(TIME, com, feet).acceleration[2] == pytest.approx(-9.81, abs=0.05)


def test_without_a_flight_nothing_is_told():
    feet = np.zeros((len(TIME), 2, 3))
    feet[:, 1, 2] = 0.3 * np.sin(3 * TIME) ** 2
    assert fall_of(TIME, np.zeros((len(TIME), 3)), feet) is None
    found = gravity_found(None)
    np.testing.assert_array_equal(found.gravity, [0, 0, -9.81])
    assert "nobody is seen in flight" in found.doubts[0]


def test_a_fall_that_is_not_down_is_doubted():
    com, feet = leap(np.array([3.0, 0, -9.0]))
    found = gravity_found(fall_of(TIME, com, feet))
    assert "is the world's z up" in found.doubts[0]
    assert not gravity_found(fall_of(TIME, *leap(np.array([0.1, 0, -9.8])))).doubts


def test_gravity_of_a_filmed_jump_is_found():
    adult = load_skeleton("adult", **ADULT)
    sim = jump.simulate(adult, 1.2)
    camera = beside(sim)
    result = fit(filmed(sim, camera, fps=60.0)[0], camera=camera.focal, gravity="estimate", **ADULT)
    assert result.gravity[2] == pytest.approx(-9.81, rel=0.1)
    line = next(a for a in result.assumptions if a.what == "gravity")
    assert "1 flights" in line.source
