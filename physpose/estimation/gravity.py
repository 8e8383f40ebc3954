"""Gravity from flight: whoever touches nothing falls, and the centre of mass tells how fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from physpose.chain import KinematicChain
from physpose.dynamics import center_of_mass
from physpose.skeleton.model import Skeleton
from physpose.types import Array

CLEAR = 0.04  # [m] above the floor, and nothing is touched there
STILL, STILL_TIME = 0.008, 0.15  # [m], [s] a point that moves less for so long stands on something
SHORTEST = 0.15  # [s] of a flight
LASTING = 0.1  # [s] an error of the motion
SYSTEMATIC = 0.02  # of gravity: a body whose masses lie elsewhere, smoothing; by judgement
EDGE = 0.03  # [s] at both ends of a flight, where smoothing has blended in the push and the landing


@dataclass(frozen=True)
class Fall:
    """Acceleration of the centre of mass in flight."""

    acceleration: Array  # (3,) [m/s^2], world
    sigma: float  # [m/s^2] of each component, from the scatter about the parabolas and what a model of a body is worth
    flights: int
    seconds: float  # of all flights together


def fall_of(time: Array, com: Array, points: Array) -> Fall | None:
    """What flights tell of gravity; None without any.

    Args:
        time: (T,) [s].
        com: (T, 3) [m] centre of mass, world, z up.
        points: (T, C, 3) [m] points that may touch something, the floor being z = 0.
    """
    found = [_parabola(time[a:b], com[a:b]) for a, b in flights(time, points)]
    found = [f for f in found if f is not None]
    if not found:
        return None
    acceleration, variance, seconds = (np.array(x) for x in zip(*found, strict=True))
    weight = 1 / variance
    mean = (weight[:, None] * acceleration).sum(0) / weight.sum()
    sigma = np.hypot(1 / np.sqrt(weight.sum()), SYSTEMATIC * np.linalg.norm(mean))
    return Fall(mean, float(sigma), len(found), float(seconds.sum()))


def fall_of_poses(skeleton: Skeleton, time: Array, q: Array) -> Fall | None:
    """``fall_of`` a motion q (T, nq); hands that reach for something do not end a flight."""
    chain, Q = KinematicChain(skeleton), torch.as_tensor(q)
    feet = tuple(p for p in skeleton.contact_points if not p.name.startswith("hand"))
    if not feet:
        return None
    points = chain.locate(chain.fk(Q), chain.points(feet)).numpy()
    return fall_of(time, center_of_mass(chain, Q).numpy(), points)


def flights(time: Array, points: Array) -> list[tuple[int, int]]:
    """First and one past the last frame of each flight."""
    air = points[..., 2].min(1) > CLEAR
    air &= ~_standing_higher(time, points)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], air, [False]]).astype(int))).reshape(-1, 2)
    inner = []
    for a, b in edges:
        first = int(np.searchsorted(time, time[a] + EDGE)) if a > 0 else a
        last = int(np.searchsorted(time, time[b - 1] - EDGE, side="right")) if b < len(time) else b
        if last - first >= 5 and time[last - 1] - time[first] >= SHORTEST:
            inner.append((first, last))
    return inner


def _standing_higher(time: Array, points: Array) -> NDArray[np.bool_]:
    """(T,) does a point stay where it is for a while: on a box, a step?"""
    T = len(time)
    standing = np.zeros(T, bool)
    for t in range(T):
        end = int(np.searchsorted(time, time[t] + STILL_TIME))
        if end < T and np.ptp(points[t : end + 1], axis=0).max(1).min() < STILL:
            standing[t : end + 1] = True
    return standing


def _parabola(time: Array, com: Array) -> tuple[Array, float, float] | None:
    """Acceleration (3,), its variance and the flight's duration, by least squares."""
    t = time - time.mean()
    A = np.stack([np.ones_like(t), t, t**2 / 2], 1)
    x, *_ = np.linalg.lstsq(A, com, rcond=None)
    spread = ((com - A @ x) ** 2).sum() / (3 * max(len(t) - 3, 1))
    variance = max(float(spread), 1e-12) * float(np.linalg.inv(A.T @ A)[2, 2])
    variance *= max(1.0, LASTING / float(np.median(np.diff(time))))  # errors of a smooth motion last
    return x[2], variance, float(time[-1] - time[0])
