"""SMPL's pose parameters and physpose's q; rotation vectors of ball joints.

SMPL and its kin (SMPL-H, SMPL-X): at rest y up, z forward, x to the body's left, in every body's frame. Our body frames
are OpenSim's, so x_body = R_BODY_SMPL x_smpl = (z, y, -x)_smpl, rotation vectors likewise; a quaternion's vector part
too. The model's translation moves its whole surface: the root's origin is at translation + its place at rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from physpose.conventions.euler import R_YUP_ZUP, to_z_up
from physpose.errors import InputError
from physpose.types import Array

# body x forward -> world x, body y up -> world z, body z right -> world -y: a quarter turn about x
UPRIGHT_XYZW = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])
R_BODY_SMPL = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # x_body = R_BODY_SMPL @ x_smpl


def q_from_smpl(poses: ArrayLike, trans: ArrayLike, root_at: ArrayLike, *, up: str = "z") -> Array:
    """q (T, 7 + 4 (J - 1)) of a skeleton of balls from an SMPL model's own parameters.

    Args:
        poses: (T, J, 3) rotation vectors [rad], the root's first, model axes.
        trans: (T, 3) [m] the model's translation.
        root_at: (3,) [m] the root's place in the model at rest (``Skin.root_at``).
        up: the world's upward axis: "z" as in AMASS; "y" as in the model's own frame, whose z and x then become our -y
            and x.

    Returns:
        Pelvis position, quaternions xyzw, which keep their sign from frame to frame.
    """
    from scipy.spatial.transform import Rotation

    poses, trans = np.asarray(poses, float), np.asarray(trans, float)
    if poses.ndim != 3 or poses.shape[2] != 3 or trans.shape != (len(poses), 3):
        raise InputError(f"poses have shape {poses.shape}, trans {trans.shape}; (T, J, 3) and (T, 3) are needed")
    if up not in ("y", "z"):
        raise InputError(f"up={up!r}; possible: 'z' (AMASS), 'y' (the model's own frame)")
    T, J = poses.shape[:2]
    position = trans + np.asarray(root_at, float)
    R_root = Rotation.from_rotvec(poses[:, 0]) * Rotation.from_matrix(R_BODY_SMPL.T)
    if up == "y":
        position, R_root = to_z_up(position), Rotation.from_matrix(R_YUP_ZUP.T) * R_root
    balls = Rotation.from_rotvec((poses[:, 1:] @ R_BODY_SMPL.T).reshape(-1, 3)).as_quat().reshape(T, J - 1, 4)
    quats = np.concatenate([R_root.as_quat()[:, None], balls], 1)
    return np.hstack([position, same_sign(quats).reshape(T, 4 * J)])


def rotation_vectors(quats: ArrayLike) -> Array:
    """Rotation vectors (T, 3) [rad] of quaternions xyzw (T, 4), in order of time, without jumps up to a full turn.

    The first has at most half a turn.
    """
    quats = np.asarray(quats, float)
    quats = same_sign(np.where(quats[:1, 3:] < 0, -1.0, 1.0) * quats) if len(quats) else quats
    n = np.linalg.norm(quats[:, :3], axis=1, keepdims=True)
    # |w| = 2 atan2(|u|, w); beside zero w = 2 u
    factor = np.where(n > 1e-12, 2 * np.arctan2(n, quats[:, 3:]) / np.maximum(n, 1e-12), 2.0)
    return factor * quats[:, :3]


def same_sign(quats: Array) -> Array:
    """Quaternions (T, ..., 4) of which each is nearer to the one before than its negative is."""
    flips = np.where((quats[1:] * quats[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([quats[:1], quats[1:] * np.cumprod(flips, 0)])
