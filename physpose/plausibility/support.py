"""The support polygon: how far outside the points on the floor another point lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from physpose.types import Array


def distance_outside(p: Array, points: Array, active: NDArray[np.bool_]) -> Array:
    """Distance (T,) [m] from p (T, 2) to the convex hull of the active ones (T, C) of points (T, C, 2); zero inside.

    NaN where no point is active. Every segment between two points lies in the hull and the hull's edges are among them,
    so outside it the nearest segment is the nearest edge.
    """
    first, second = np.triu_indices(points.shape[1])  # a point with itself too: a hull may be one point
    a, b = points[:, first], points[:, second]
    on = active[:, first] & active[:, second]
    along = b - a
    length2 = (along**2).sum(-1)
    t = np.clip(((p[:, None] - a) * along).sum(-1) / np.where(length2 > 0, length2, 1.0), 0.0, 1.0)
    away = np.linalg.norm(p[:, None] - a - t[..., None] * along, axis=-1)
    nearest = np.where(on, away, np.inf).min(1, initial=np.inf)
    nearest[_surrounded(p, points, active)] = 0.0
    nearest[~active.any(1)] = np.nan
    return nearest


def _surrounded(p: Array, points: Array, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T,) p lies inside the hull: seen from it, no two neighbouring directions leave a gap of half a turn."""
    d = points - p[:, None]
    angle = np.sort(np.where(active, np.arctan2(d[..., 1], d[..., 0]), np.inf), axis=1)
    n = active.sum(1)
    finite = np.isfinite(angle)
    gaps = np.where(finite[:, 1:], np.diff(np.where(finite, angle, 0.0), axis=1), 0.0)
    last = np.take_along_axis(angle, np.maximum(n - 1, 0)[:, None], 1)[:, 0]
    around = np.where(n > 0, 2 * np.pi - (np.where(n > 0, last, 0.0) - np.where(n > 0, angle[:, 0], 0.0)), 2 * np.pi)
    return (n > 2) & (np.maximum(gaps.max(1, initial=0.0), around) < np.pi)
