"""Several cameras that look at one person: points in space from rays, and clocks that do not agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from physpose.types import Array, Camera

LEAST_CONFIDENCE = 0.1
ROUNDS = 6  # of reweighting
CLOSE = 15.0  # [px] a camera whose error is larger says little of a point
CLOSE_TIME = 0.02  # [s] between candidates of a clock's offset
BETTER = 0.9  # an offset that does not bring the rays so much nearer is none


def triangulate(uv: Array, weight: Array, cameras: Sequence[Camera]) -> tuple[Array, Array]:
    """Points (T, K, 3) [m] nearest to the rays of all cameras, and the median pixel error (T, K) of the cameras used.

    Direct linear transform, weighted and reweighted by the pixel error (Cauchy), so that one camera that mistakes a
    point does not spoil it. NaN where fewer than two cameras see the point.

    Args:
        uv: (C, T, K, 2) [px], undistorted; NaN where not seen.
        weight: (C, T, K), e.g. confidences.
    """
    seen = np.isfinite(uv).all(-1) & (weight > LEAST_CONFIDENCE)
    w = np.where(seen, weight, 0.0)
    uv0 = np.where(seen[..., None], uv, 0.0)
    enough = seen.sum(0) >= 2
    trust, p = np.ones_like(w), np.zeros((*uv.shape[1:3], 3))
    error = np.zeros_like(w)
    for _ in range(ROUNDS):
        p = _nearest(uv0, w * trust, cameras)
        error = np.stack([np.linalg.norm(c.project(p) - x, axis=-1) for c, x in zip(cameras, uv0, strict=True)])
        trust = 1 / (1 + (error / CLOSE) ** 2)
    middle = np.full(enough.shape, np.nan)
    middle[enough] = np.nanmedian(np.where(seen, error, np.nan)[:, enough], axis=0)
    return np.where(enough[..., None], p, np.nan), middle


def _nearest(uv: Array, w: Array, cameras: Sequence[Camera]) -> Array:
    """Least squares of x (f r_1 - (u - c_x) r_3) = ..., a row for each of u and v."""
    A, b = [], []
    for camera, x in zip(cameras, uv, strict=True):
        R, t, f = camera.R_camera_world, camera.t, camera.focal
        offset = x - np.asarray(camera.principal_point)
        for k in (0, 1):
            A.append(R[k] - offset[..., k, None] / f * R[2])
            b.append(offset[..., k] / f * t[2] - t[k])
    rows, right = np.stack(A, -2), np.stack(b, -1)  # (T, K, 2 C, 3), (T, K, 2 C)
    weight = np.repeat(np.moveaxis(w, 0, -1), 2, axis=-1)
    N = np.einsum("tkri,tkr,tkrj->tkij", rows, weight, rows) + 1e-9 * np.eye(3)
    y = np.einsum("tkri,tkr,tkr->tki", rows, weight, right)
    return np.linalg.solve(N, y[..., None])[..., 0]


@dataclass(frozen=True)
class Clock:
    """What one camera's clock is behind the first one's."""

    offset: float  # [s] to be added to its time stamps
    error: float  # [px] median distance of rays from points, with it
    error_without: float  # [px]


def clock_offset(
    time: tuple[Array, Array], uv: tuple[Array, Array], cameras: tuple[Camera, Camera], largest: float
) -> Clock:
    """The offset of the second camera's clock at which both cameras' rays meet best.

    Args:
        time: (T,) [s] of each camera.
        uv: (T, K, 2) [px] of each, undistorted, NaN where not seen.
        cameras: both, as calibrated.
        largest: [s] offsets up to this are tried, in both directions.
    """
    coarse = np.arange(-largest, largest + CLOSE_TIME / 2, CLOSE_TIME)
    errors = np.array([_distance(time, uv, cameras, x) for x in coarse])
    best = int(np.nanargmin(errors))
    fine = coarse[best] + np.arange(-CLOSE_TIME, CLOSE_TIME * 1.01, CLOSE_TIME / 10)
    refined = np.array([_distance(time, uv, cameras, x) for x in fine])
    none = _distance(time, uv, cameras, 0.0)
    k = int(np.nanargmin(refined))
    if not refined[k] < BETTER * none:
        return Clock(0.0, none, none)
    return Clock(float(fine[k]), float(refined[k]), none)


def _distance(
    time: tuple[Array, Array], uv: tuple[Array, Array], cameras: tuple[Camera, Camera], offset: float
) -> float:
    """Median distance [px] of the second camera's points from epipolar lines; NaN where the clips do not overlap."""
    t = time[1] + offset
    inside = (time[0] >= t[0]) & (time[0] <= t[-1])
    if inside.sum() < 3:
        return float("nan")
    other = resampled(t, uv[1], time[0][inside])
    F = fundamental(*cameras)
    line = np.concatenate([uv[0][inside], np.ones((*other.shape[:2], 1))], -1) @ F.T
    gap = np.abs((line[..., :2] * other).sum(-1) + line[..., 2]) / np.linalg.norm(line[..., :2], axis=-1)
    return float(np.nanmedian(gap))


def fundamental(first: Camera, second: Camera) -> Array:
    """F (3, 3): second' F first = 0 in homogeneous pixels."""
    R = second.R_camera_world @ first.R_camera_world.T
    t = second.t - R @ first.t
    E = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ R
    inverse = [np.linalg.inv(_matrix(c)) for c in (first, second)]
    return inverse[1].T @ E @ inverse[0]


def _matrix(c: Camera) -> Array:
    return np.array([[c.focal, 0, c.principal_point[0]], [0, c.focal, c.principal_point[1]], [0, 0, 1]])


def resampled(time: Array, x: Array, new_time: Array) -> Array:
    """x (T, ...) at other times, linear in between; NaN where a neighbour is, and outside."""
    i = np.clip(np.searchsorted(time, new_time), 1, len(time) - 1)
    w = ((new_time - time[i - 1]) / (time[i] - time[i - 1])).reshape(-1, *[1] * (x.ndim - 1))
    found: Array = np.where(w <= 0, x[i - 1], np.where(w >= 1, x[i], (1 - w) * x[i - 1] + w * x[i]))
    outside = (new_time < time[0] - 1e-9) | (new_time > time[-1] + 1e-9)
    found[outside] = np.nan
    return found
