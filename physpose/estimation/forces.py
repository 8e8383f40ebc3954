"""Ground reaction forces from motion alone: a split of the root wrench over the points in contact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from physpose.types import Array

FRICTION = 0.8  # shoe on dry floor, a common upper value; slipping is not modelled
CONE = np.array([[FRICTION, 0, 1], [-FRICTION, 0, 1], [0, FRICTION, 1], [0, -FRICTION, 1]]) / np.hypot(FRICTION, 1)
SPREAD = 0.05  # weight of "share evenly" against "explain the wrench"; forces in body weights, moments over stature
METHOD = (
    "least squares: forces inside friction pyramids (mu = {mu}) at foot points that are slow and low, or the lowest "
    "where the motion needs support, that best explain the root wrench of inverse dynamics, shared as evenly as that "
    "allows; double support is therefore ambiguous"
)


def split_root_wrench(wrench: Array, points: Array, active: NDArray[np.bool_], weight: float, length: float) -> Array:
    """Forces (T, C, 3) [N] at ``points`` (T, C, 3) [m] of a level floor that together come close to ``wrench``.

    Args:
        wrench: (T, 6) needed from outside: force [N] and moment about the world's origin [N.m], world axes.
        points: (T, C, 3) [m], world.
        active: (T, C) bool, in contact.
        weight, length: body weight [N] and stature [m], the scales of force and moment residuals.
    """
    forces = np.zeros_like(points)
    for t in np.flatnonzero(active.any(1)):
        on = np.flatnonzero(active[t])
        forces[t, on] = _split(wrench[t], points[t, on], weight, length)
    return forces


def _split(wrench: Array, points: Array, weight: float, length: float) -> Array:
    centre = points.mean(0)  # moments about it, so that far-off origins do not spoil the scaling
    moment = wrench[3:] - np.cross(centre, wrench[:3])
    generators = np.tile(CONE, (len(points), 1))
    arms = np.repeat(points - centre, len(CONE), axis=0)
    A = np.vstack([generators.T, np.cross(arms, generators).T / length])
    n = A.shape[1]
    b = np.concatenate([wrench[:3], moment / length]) / weight
    share, _ = nnls(np.vstack([A, SPREAD * np.eye(n)]), np.concatenate([b, np.zeros(n)]))
    return weight * (share[:, None] * generators).reshape(len(points), len(CONE), 3).sum(1)
