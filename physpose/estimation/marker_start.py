"""A first guess from markers: the trunk placed in closed form, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physpose.errors import NoPersonError
from physpose.estimation.marker_spots import Spot
from physpose.types import Array

TRUNK = ("pelvis", "torso")
FEWEST = 3  # markers that place a rigid body
SETTLED = 1e-3  # [m]
SURE = 0.03  # [m] markers farther off than a few of these pull little


def rigid_fit(model: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """R (T, 3, 3), p (T, 3) with R model + p nearest to target, weighted (Kabsch 1976); NaN where under three are seen.

    Args:
        model: (M, 3) [m]; target: (T, M, 3) [m]; weight: (T, M), 0 where not seen.
    """
    w = weight[..., None]
    total = np.maximum(w.sum(1), 1e-12)
    target = np.where(w > 0, target, 0.0)
    centre, aim = (w * model).sum(1) / total, (w * target).sum(1) / total
    H = np.einsum("tm,tmi,tmj->tij", weight, target - aim[:, None], model - centre[:, None])
    U, S, Vt = np.linalg.svd(H)
    U[..., -1] *= np.sign(np.linalg.det(U @ Vt))[:, None]
    R = U @ Vt
    p = aim - (R @ centre[..., None])[..., 0]
    poor = ((weight > 0).sum(1) < FEWEST) | (S[:, 1] < 1e-3 * S[:, 0])  # too few, or on one line
    R[poor], p[poor] = np.nan, np.nan
    return R, p


def robust_rigid_fit(model: Array, target: Array, weight: Array, rounds: int = 8) -> tuple[Array, Array]:
    """As ``rigid_fit``; markers that do not fit, as swapped ones, lose their say (Cauchy weights)."""
    R, p = rigid_fit(model, target, weight)
    for _ in range(rounds):
        before = p
        distance = np.linalg.norm((R @ model.T).swapaxes(1, 2) + p[:, None] - target, axis=-1)
        trust = np.where(np.isfinite(distance), 1 / (1 + (distance / SURE) ** 2), 1.0)
        R, p = rigid_fit(model, target, weight * trust)
        if np.nanmax(np.abs(p - before), initial=0.0) < SETTLED:
            break
    return R, p


def trunk_choice(spots: Sequence[Spot]) -> Array:
    """(M,) how much each marker says on where the pelvis is: those of the trunk, or all if it has too few."""
    weight = np.array([{"pelvis": 1.0, "torso": 0.3}.get(s.point.body, 0.0) for s in spots])
    return weight if (weight > 0).sum() >= FEWEST else np.ones(len(spots))


def filled(time: Array, x: Array) -> Array:
    """x (T, ...) with rows of NaN interpolated in time, held at the ends."""
    flat = x.reshape(len(x), -1)
    good = np.isfinite(flat).all(1)
    if not good.any():
        raise NoPersonError("in no frame are three markers of the trunk seen, or of the body where it has fewer")
    return np.column_stack([np.interp(time, time[good], c[good]) for c in flat.T]).reshape(x.shape)
