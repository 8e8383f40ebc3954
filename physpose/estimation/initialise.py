"""A first guess: which way the person faces, how far away, roughly which pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.errors import NoPersonError
from physpose.estimation.state import CameraState
from physpose.losses.reprojection import translation
from physpose.networks.lifter import turn_to_keypoints
from physpose.skeleton.model import KeypointSet
from physpose.spatial import matrix_to_quat
from physpose.types import Array, Keypoints2D

LEVEL_CAMERA = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=torch.float64)  # looks along world x
MIN_POINTS = 4  # keypoints that place a person: three unknowns, and one to spare
TRUNK = {
    "shoulder_r": ("right_shoulder", "RShoulder"),
    "shoulder_l": ("left_shoulder", "LShoulder"),
    "hip_r": ("right_hip", "RHip"),
    "hip_l": ("left_hip", "LHip"),
}


def trunk_index(names: tuple[str, ...]) -> dict[str, int]:
    """Where shoulders and hips are in a keypoint set's names."""
    lower = [n.lower() for n in names]
    found = {
        k: next((lower.index(n.lower()) for n in options if n.lower() in lower), None) for k, options in TRUNK.items()
    }
    missing = [k for k, i in found.items() if i is None]
    if missing:
        raise NoPersonError(f"the keypoint set has no {', '.join(missing)}; shoulders and hips are needed to start")
    return {k: i for k, i in found.items() if i is not None}


def viewing_rotation(kp: Keypoints2D, focal: float, principal_point: Array) -> Array:
    """R (T, 3, 3) that turns the optical axis onto the ray to the person.

    Detectors that look at a crop around the person give 3D as if the camera looked straight at it.
    """
    return turn_to_keypoints(torch.as_tensor(kp.uv[0]), torch.tensor(focal), torch.as_tensor(principal_point)).numpy()


def facing_from_landmarks(landmarks: Array, names: tuple[str, ...], start: CameraState) -> Array:
    """R_world_pelvis (T, 3, 3) from detector landmarks (T, K, 3) in ``start``'s camera's axes; NaN where unseen."""
    i = trunk_index(names)
    world = landmarks @ start.R_camera_world.numpy()  # camera -> world
    right = world[:, i["hip_r"]] - world[:, i["hip_l"]] + world[:, i["shoulder_r"]] - world[:, i["shoulder_l"]]
    up = world[:, i["shoulder_r"]] + world[:, i["shoulder_l"]] - world[:, i["hip_r"]] - world[:, i["hip_l"]]
    return _frame(up, right)


def _frame(up: Array, right: Array) -> Array:
    y = up / np.linalg.norm(up, axis=-1, keepdims=True)
    x = np.cross(y, right)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], -1)


def upright_facing(yaw: float, T: int) -> Array:
    """R_world_pelvis (T, 3, 3) of someone standing who faces ``yaw`` [rad] from world x."""
    x = np.tile([np.cos(yaw), np.sin(yaw), 0.0], (T, 1))
    up = np.tile([0.0, 0, 1], (T, 1))
    return np.stack([x, up, np.cross(x, up)], -1)


def place(p_camera: Array, uv: Array, weight: Array, focal: float, principal_point: Array) -> Array:
    """Translation (T, 3) [m, camera axes] that makes points (T, K, 3) project to uv (T, K, 2).

    As ``reprojection.translation``; NaN where fewer than four points are seen.
    """
    w = np.where(np.isfinite(uv[..., 0]), weight, 0.0)
    tensors = (torch.as_tensor(x, dtype=torch.float64) for x in (p_camera, uv, w, focal, principal_point))
    t = translation(*tensors).numpy()
    t[(w > 0).sum(1) < MIN_POINTS] = np.nan
    t[~(t[:, 2] > 0.3)] = np.nan  # behind or inside the camera
    return t


def fill(time: Array, x: Array) -> Array:
    """Rows of x (T, ...) that hold NaN, interpolated in time (held at the ends)."""
    flat = x.reshape(len(x), -1)
    good = np.isfinite(flat).all(1)
    if not good.any():
        raise NoPersonError("in no frame are enough keypoints seen to place the person (4 are needed)")
    return np.column_stack([np.interp(time, time[good], c[good]) for c in flat.T]).reshape(x.shape)


def smooth_median(x: Array, half: int = 2) -> Array:
    """Running median over 2 half + 1 frames of x (T, d): a single wild frame does not pull its neighbours."""
    padded = np.pad(x, ((half, half), (0, 0)), mode="edge")
    return np.median(np.stack([padded[i : i + len(x)] for i in range(2 * half + 1)]), axis=0)


def placed(
    chain: KinematicChain,
    keypoint_set: KeypointSet,
    kp: Keypoints2D,
    R_world_pelvis: Array,
    posture: Tensor,
    start: CameraState,
    principal_point: Array,
) -> CameraState:
    """``posture`` (n_coordinates,) turned by R_world_pelvis (T, 3, 3) and placed so that it projects where seen.

    Body and camera are ``start``'s.
    """
    q = torch.zeros(kp.n_frames, chain.nq, dtype=torch.float64)
    q[:, 3:7] = matrix_to_quat(torch.as_tensor(_nearest_rotations(fill(kp.time, R_world_pelvis))))
    q[:, 7:] = posture
    points = chain.points(keypoint_set.points)
    R = start.R_camera_world.numpy()
    p = chain.locate(chain.fk(q, start.log_scales), points, start.log_scales).numpy() @ R.T
    weight = np.where(np.isfinite(kp.confidence[0]), kp.confidence[0], 0.0)
    t = place(p, kp.uv[0], weight, float(start.log_focal.exp()), principal_point)
    t = smooth_median(fill(kp.time, t))
    q[:, :3] = torch.as_tensor(t @ R)
    q[:, 2] += start.height
    return replace(start, q=q)


def _nearest_rotations(R: Array) -> Array:
    U, _, Vt = np.linalg.svd(R)
    d = np.sign(np.linalg.det(U @ Vt))
    U[..., -1] *= d[:, None]
    return U @ Vt
