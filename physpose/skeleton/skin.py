"""A body's surface in motion."""

from __future__ import annotations

import numpy as np

from physpose.errors import InputError
from physpose.skeleton.model import Skeleton
from physpose.types import Array


def rest_origins(skeleton: Skeleton) -> Array:
    """Body origins (n_bodies, 3) [m] in the root's frame with all other joints at zero and untwisted."""
    at: dict[str | None, Array] = {skeleton.bodies[0].name: np.zeros(3)}
    for body in skeleton.bodies[1:]:
        at[body.name] = at[body.parent] + body.joint.translation
    return np.array([at[name] for name in skeleton.body_names])


def pose_skin(skeleton: Skeleton, positions: Array, rotations: Array) -> Array:
    """Vertices (T, V, 3) [m], world, of ``skeleton.skin``; bodies at ``positions`` (T, n, 3), R (T, n, 3, 3).

    Linear blend skinning: v = sum_k w_k (R_k (v_0 - o_k) + p_k). The corrections that a body model adds for bent joints
    are left out.

    Raises:
        InputError: the skeleton has no surface.
    """
    skin = skeleton.skin
    if skin is None:
        raise InputError(f"{skeleton.name} has no surface; body models have: load_skeleton('smpl', model=...)")
    origins = rest_origins(skeleton)
    out = np.zeros((len(positions), *skin.vertices.shape))
    for body, weight in zip(skin.bodies.T, skin.weights.T, strict=True):
        local = skin.vertices - origins[body]
        moved = np.einsum("tvij,vj->tvi", rotations[:, body], local) + positions[:, body]
        out += weight[:, None] * moved
    return out
