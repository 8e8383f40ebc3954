"""Made-up motions, their keypoints, and a dense view of the normal equations, for the tests of the estimator."""

from __future__ import annotations

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from physpose.chain import KinematicChain
from physpose.estimation.banded import BorderedSystem
from physpose.skeleton import load_skeleton
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D

torch.set_num_threads(1)  # the matrices are small: with more threads a fit is many times slower on a busy machine
threadpool_limits(1)

CHILD = load_skeleton("child", age=8, sex="f", height=1.28, mass=26)
SIZE = (1280, 720)  # [px]
FOCAL = 900.0  # [px]
CAMERA_HEIGHT = 1.2  # [m]


def level_camera() -> Camera:
    """Looks along world x from above the world's origin, so that a fit's world is the true one."""
    R = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    centre = (SIZE[0] / 2, SIZE[1] / 2)
    return Camera(image_size=SIZE, focal=FOCAL, principal_point=centre, R_camera_world=R, t=-R[:, 2] * CAMERA_HEIGHT)


def marching(time: Array, skeleton: Skeleton = CHILD, *, turned: float = 0.7, distance: float = 3.0) -> Array:
    """q (T, nq) of marching on the spot ``distance`` [m] before the camera, facing ``turned`` [rad] from world y."""
    q = np.tile(skeleton.neutral, (len(time), 1))
    half = (np.pi / 2 + turned) / 2
    yaw = np.array([0.0, 0.0, np.sin(half), np.cos(half)])
    x, y, z, w = yaw
    bx, by, bz, bw = skeleton.neutral[3:7]
    q[:, 3:7] = [w * bx + x * bw + y * bz - z * by, w * by - x * bz + y * bw + z * bx,
                 w * bz + x * by - y * bx + z * bw, w * bw - x * bx - y * by - z * bz]  # fmt: skip
    q[:, 0] += distance
    phase = 2 * np.pi * np.asarray(time) / 1.1
    for side, sign in (("r", 1.0), ("l", -1.0)):
        lift = np.maximum(sign * np.sin(phase), 0) ** 2
        for name, value in (("hip_flexion", 0.9 * lift), ("knee_angle", 0.1 + 1.1 * lift),
                            ("arm_flex", -0.4 * sign * np.sin(phase)), ("elbow_flex", 0.8 + 0 * phase)):  # fmt: skip
            q[:, 7 + skeleton.coordinate_names.index(f"{name}_{side}")] = value
    return q


def seen(
    time: Array,
    q: Array,
    skeleton: Skeleton = CHILD,
    *,
    landmarks: bool = True,
    noise: float = 0.0,
    keypoint_set: str = "blazepose33",
    seed: int = 0,
) -> Keypoints2D:
    """What ``level_camera`` sees of a motion; ``noise`` [px] is a standard deviation."""
    camera, rng = level_camera(), np.random.default_rng(seed)
    points = KinematicChain(skeleton).keypoints(torch.as_tensor(q), keypoint_set).numpy()
    names = skeleton.keypoint_set(keypoint_set).names
    uv = camera.project(points)
    uv = uv + noise * rng.normal(size=uv.shape)
    marks = None
    if landmarks:
        p, hips = camera.to_camera(points), [names.index("left_hip"), names.index("right_hip")]
        marks = (p - p[:, hips].mean(1, keepdims=True))[None]
    return Keypoints2D(
        keypoint_set=keypoint_set, names=names, time=np.asarray(time, float), uv=uv[None],
        confidence=np.ones((1, *uv.shape[:2])), landmarks=marks, image_size=SIZE,
    )  # fmt: skip


def dense(system: BorderedSystem) -> tuple[Array, Array]:
    """The whole symmetric matrix (T n + n_shared)^2 and gradient of a bordered banded system."""
    T, n, m = system.T, system.n, system.n_shared
    A = np.zeros((T * n + m, T * n + m))
    for d in range(system.H.shape[0]):
        for t in range(T - d):
            block = system.H[d, t].numpy()
            A[(t + d) * n : (t + d + 1) * n, t * n : (t + 1) * n] = block
            A[t * n : (t + 1) * n, (t + d) * n : (t + d + 1) * n] = block.T
    A[: T * n, T * n :] = system.B.reshape(T * n, m)
    A[T * n :, : T * n] = A[: T * n, T * n :].T
    A[T * n :, T * n :] = system.S
    return A, np.concatenate([system.g.numpy().ravel(), system.gs.numpy()])
