"""What a camera and a detector would make of a simulated motion."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from physpose import conventions
from physpose.chain import KinematicChain
from physpose.result import FitResult
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D
from sims.common import Simulation

PORTRAIT = (1080, 1920)  # [px]
PHONE_FOCAL = 0.7  # of the long image side


def phone(
    *, at: tuple[float, float, float], look_at: tuple[float, float, float], image_size: tuple[int, int] = PORTRAIT
) -> Camera:
    """A phone's camera at a place [m], upright, aimed at a point."""
    forward = np.subtract(look_at, at) / np.linalg.norm(np.subtract(look_at, at))
    right = np.cross(forward, [0.0, 0, 1])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])  # x right, y down, z forward
    w, h = image_size
    return Camera(
        image_size=image_size, focal=PHONE_FOCAL * max(w, h), principal_point=(w / 2, h / 2), R_camera_world=R,
        t=-R @ np.asarray(at, float),
    )  # fmt: skip


def beside(sim: Simulation, *, distance: float = 3.5, azimuth: float = -60.0, height: float = 1.2) -> Camera:
    """A phone ``distance`` [m] from the middle of the motion, at ``azimuth`` [deg] from world x, aimed at the hips."""
    centre = sim.q[:, :3].mean(0)
    a = np.radians(azimuth)
    at = (centre[0] + distance * np.cos(a), centre[1] + distance * np.sin(a), height)
    return phone(at=at, look_at=(centre[0], centre[1], float(0.95 * centre[2])))


def filmed(
    sim: Simulation,
    camera: Camera,
    *,
    fps: float = 30.0,
    noise: float = 2.0,
    landmark_noise: float | None = 0.03,
    missing: float = 0.0,
    keypoint_set: str = "blazepose33",
    seed: int = 0,
) -> tuple[Keypoints2D, Array]:
    """Keypoints of a simulation, and the indices (T,) of its frames that were filmed.

    ``noise`` [px] and ``landmark_noise`` [m] (None: no landmarks) are standard deviations of white errors; a part
    ``missing`` of all keypoints is not seen. Landmarks are in camera axes from the middle of the hips.
    """
    rng = np.random.default_rng(seed)
    step = max(1, round(1 / (fps * (sim.time[1] - sim.time[0]))))
    keep = np.arange(0, len(sim.time), step)
    points = keypoints_in_mujoco(sim.skeleton, sim.q[keep], keypoint_set)
    uv = camera.project(points) + noise * rng.standard_normal((*points.shape[:2], 2))
    confidence = np.ones(uv.shape[:2])
    names = sim.skeleton.keypoint_set(keypoint_set).names
    landmarks = None
    if landmark_noise is not None:
        hips = [names.index("left_hip"), names.index("right_hip")]
        seen = camera.to_camera(points)
        landmarks = seen - seen[:, hips].mean(1, keepdims=True) + landmark_noise * rng.standard_normal(seen.shape)
    lost = rng.random(confidence.shape) < missing
    uv[lost], confidence[lost] = np.nan, 0.0
    keypoints = Keypoints2D(
        keypoint_set=keypoint_set, names=names, time=sim.time[keep], uv=uv[None], confidence=confidence[None],
        landmarks=None if landmarks is None else landmarks[None], image_size=camera.image_size, source="simulation",
    )  # fmt: skip
    return keypoints, keep


def keypoints_in_mujoco(skeleton: Skeleton, q: Array, keypoint_set: str) -> Array:
    """Keypoints (T, K, 3) [m], world, by MuJoCo: the estimator's own kinematics has no part in the truth."""
    model = mujoco.MjModel.from_xml_string(to_mjcf(skeleton))
    data = mujoco.MjData(model)
    sites = [model.site(f"{keypoint_set}:{p.name}").id for p in skeleton.keypoint_set(keypoint_set).points]
    points = np.empty((len(q), len(sites), 3))
    for t, qpos in enumerate(conventions.q_to_mujoco(skeleton, q)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        points[t] = data.site_xpos[sites]
    return points


@dataclass(frozen=True)
class Recovery:
    """How far a fit is from the truth."""

    angles: dict[str, float]  # coordinate -> RMS [deg]
    bias: dict[str, float]  # coordinate -> mean error [deg]
    gravity: float  # [deg] between the vertical found and the true one, as seen from the camera
    heading: float  # [deg] RMS of the pelvis' attitude in the camera
    position: float  # [m] RMS of body origins in camera axes, root removed
    distance: float  # [m] RMS of the pelvis in camera axes

    def rms(self, names: tuple[str, ...]) -> float:
        """[deg] over several coordinates."""
        return float(np.sqrt(np.mean([self.angles[n] ** 2 for n in names])))


def compare(result: FitResult, sim: Simulation, keep: Array, camera: Camera) -> Recovery:
    """Errors of a fit to the filmed frames of a simulation; in camera axes, since a fit's world heading is its own."""
    assert result.camera is not None
    names = sim.skeleton.coordinate_names
    error = np.degrees(result.q[:, -len(names) :] - sim.q[keep][:, -len(names) :])
    frames = KinematicChain(sim.skeleton).fk(torch.as_tensor(sim.q[keep]))
    R, R_true = result.camera.R_camera_world, camera.R_camera_world
    turn = (R @ result.rotations[:, 0]).swapaxes(1, 2) @ (R_true @ frames.R[:, 0].numpy())
    p, p_true = result.camera.to_camera(result.positions), camera.to_camera(frames.p.numpy())
    local = (p - p[:, :1]) - (p_true - p_true[:, :1])
    return Recovery(
        angles=dict(zip(names, np.sqrt((error**2).mean(0)), strict=True)),
        bias=dict(zip(names, error.mean(0), strict=True)),
        gravity=float(np.degrees(np.arccos(np.clip(R[:, 2] @ R_true[:, 2], -1, 1)))),
        heading=float(np.degrees(np.sqrt((Rotation.from_matrix(turn).magnitude() ** 2).mean()))),
        position=float(np.sqrt((local**2).sum(-1).mean())),
        distance=float(np.sqrt(((p - p_true)[:, 0] ** 2).sum(-1).mean())),
    )


def bone_lengths(positions: Array, skeleton: Skeleton) -> dict[str, Array]:
    """Distance (T,) [m] of each body's origin from its parent's."""
    index = {n: i for i, n in enumerate(skeleton.body_names)}
    return {
        b.name: np.linalg.norm(positions[:, index[b.name]] - positions[:, index[b.parent]], axis=-1)
        for b in skeleton.bodies
        if b.parent is not None
    }
