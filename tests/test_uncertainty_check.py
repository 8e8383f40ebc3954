"""The Monte Carlo check of standard deviations finds those that are right right, and those that are wrong wrong."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import phone

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
uncertainty = pytest.importorskip("uncertainty", reason="benchmarks/ lies beside the source only")

TRUTH = np.cumsum(np.random.default_rng(0).normal(size=(200, 5)), 0)


def made(scale: float = 1.0, bias: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Values (fits, T, n) whose errors have a ``scale`` of what is said of them, and what is said."""
    sigma = np.broadcast_to(np.linspace(0.5, 2.0, 5), (40, 200, 5))
    error = scale * sigma * np.random.default_rng(1).standard_normal(sigma.shape)
    return TRUTH + error + bias * sigma, sigma


def test_right_sigma_has_its_spread_and_its_interval():
    x, s = made()
    r = uncertainty.figures(x, s, np.broadcast_to(TRUTH, x.shape))
    assert r["spread/sigma"] == pytest.approx(1.0, abs=0.02)
    assert r["error/sigma"] == pytest.approx(1.0, abs=0.02)
    assert r["inside"] == pytest.approx(0.90, abs=0.01)


@pytest.mark.parametrize(("scale", "inside"), [(0.5, 0.999), (2.0, 0.589)])  # 2 Phi(1.645 / scale) - 1
def test_too_large_and_too_small_sigma_are_told(scale, inside):
    x, s = made(scale)
    r = uncertainty.figures(x, s, np.broadcast_to(TRUTH, x.shape))
    assert r["spread/sigma"] == pytest.approx(scale, rel=0.02)
    assert r["inside"] == pytest.approx(inside, abs=0.01)


def test_what_comes_again_is_error_but_no_spread():
    x, s = made(0.5, bias=2.0)
    r = uncertainty.figures(x, s, np.broadcast_to(TRUTH, x.shape))
    assert r["spread/sigma"] == pytest.approx(0.5, rel=0.02)
    assert r["error/sigma"] == pytest.approx(np.hypot(0.5, 2.0), rel=0.02)
    assert r["inside"] < 0.3


def test_what_nobody_doubts_does_not_count():
    """As the force of a foot in the air, which is zero, and surely so."""
    x, s = made()
    y = np.broadcast_to(TRUTH, x.shape)
    air = np.zeros((*x.shape[:2], 50))
    with_air = [np.concatenate([a, air], -1) for a in (x, s, y)]
    assert uncertainty.figures(*with_air) == pytest.approx(uncertainty.figures(x, s, y))


def test_worlds_are_joined_by_the_camera():
    """A fit's world is the truth's, turned about the vertical and shifted along the floor."""
    there = phone(at=(2.0, -3.0, 1.2), look_at=(0.5, 0.5, 1.0))
    c, s = np.cos(0.7), np.sin(0.7)
    turn, shift = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), np.array([0.4, -0.2, 0.0])
    R = there.R_camera_world @ turn.T
    found = replace(there, R_camera_world=R, t=there.t - R @ shift)
    case, fit = (type("Seen", (), {"camera": c})() for c in (there, found))
    got_turn, got_shift = uncertainty.into_the_fits_world(case, fit)
    np.testing.assert_allclose(got_turn, turn, atol=1e-12)
    np.testing.assert_allclose(got_shift, shift, atol=1e-12)
