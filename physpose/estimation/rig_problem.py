"""The maximum-a-posteriori problem of one person seen by several cameras whose places are known.

As with one camera, but for what is not unknown: of ``CameraState`` only the height is left, that of the calibration's
origin above the floor. ``Keypoints2D`` hold one camera where they else hold one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.camera_terms import PictureTerm, projection_jacobian
from physpose.estimation.initialise import LEVEL_CAMERA, MIN_POINTS, trunk_index
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_spots import Spot
from physpose.estimation.problem import EARTH_GRAVITY, Support, frame_weights
from physpose.estimation.rig import triangulate
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.state import HEIGHT, CameraState, Kinematics
from physpose.estimation.terms import Term
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.io.calibration import lifted
from physpose.types import Camera, Keypoints2D

HEIGHT_SIGMA = 1.0  # [m] of the calibration's origin above the floor: calibrations are made on it, or on a table


@dataclass
class KnownReprojection(PictureTerm):
    """Of a camera whose place is known."""

    uv: Tensor  # (T, K, 2) [px], undistorted; 0 where not seen
    weight: Tensor  # (T, K) [1/px^2], 0 where not seen
    camera: Camera
    index: slice  # of the keypoints in the kinematics' points
    time_weight: Tensor  # (T,) dt / correlation time
    robust_scale: float
    name: str = "reprojection"

    def __post_init__(self) -> None:
        c = self.camera
        self._R, self._t, self._centre = (torch.as_tensor(x) for x in (c.R_camera_world, c.t, c.principal_point))

    def _residual(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor]:
        world = kin.points[:, self.index].clone()
        world[..., 2] -= state.height
        p = world @ self._R.T + self._t
        z = p[..., 2].clamp(min=0.1)
        return self.camera.focal * p[..., :2] / z[..., None] + self._centre - self.uv, p, z

    def _whitened(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r, p, z = self._residual(state, kin)
        root = (self.weight * self._robust(r)[1]).sqrt()[..., None]
        P = projection_jacobian(p, z, torch.tensor(self.camera.focal)) @ self._R * root[..., None]
        J, Js = P @ kin.J[:, self.index], P @ kin.Js[:, self.index]
        Js[..., HEIGHT] = -P[..., 2]
        return r * root, J, Js, P


@dataclass
class FloorHeight:
    """Where the floor may be below the calibration's origin."""

    sigma: float  # [m]
    name: str = "floor height"

    def cost(self, state: CameraState, kin: Kinematics) -> Tensor:
        return 0.5 * (state.height / self.sigma) ** 2

    def add_to(self, system: BorderedSystem, state: CameraState, kin: Kinematics) -> None:
        J = torch.zeros(1, state.n_shared, dtype=torch.float64)
        J[0, HEIGHT] = 1 / self.sigma
        system.add_shared((state.height / self.sigma).reshape(1), J)


class RigProblem(VideoProblem):
    """One clip seen by several cameras at once."""

    def __init__(
        self,
        chain: KinematicChain,
        kp: Keypoints2D,
        cameras: Sequence[Camera],
        height_known: bool,
        settings: EstimationSettings | None = None,
        gravity: float = EARTH_GRAVITY,
    ):
        """``kp``: (C, T, K), undistorted, of the ``cameras`` in their order, at common times."""
        first = cameras[0]
        prior = CameraPrior(
            image_size=first.image_size, focal=first.focal, sigma_log_focal=0.0, principal_point=first.principal_point
        )
        super().__init__(chain, kp, prior, height_known, settings, gravity)
        self.cameras = tuple(cameras)

    def terms(self, kp: Keypoints2D, state: CameraState, support: Support) -> list[Term[CameraState]]:
        time = torch.as_tensor(kp.time)
        rate = frame_weights(time)
        found: list[Term[CameraState]] = [self._view(kp, c, rate, state) for c in range(len(self.cameras))]
        found += [*self.posture_terms(rate), *self.smoothness(time), self.body_prior(self.stature_sigma)]
        return [*found, FloorHeight(HEIGHT_SIGMA), *self.floor_terms(state, time, support, rate)]

    def _view(self, kp: Keypoints2D, c: int, rate: Tensor, state: CameraState) -> KnownReprojection:
        s, camera = self.settings, self.cameras[c]
        time_weight = (rate / s.keypoint_correlation_time).clamp(max=1.0)
        depth = (state.q[:, :3] - torch.tensor([0.0, 0.0, 1.0]) * state.height) @ torch.as_tensor(
            camera.R_camera_world[2]
        ) + camera.t[2]
        sigma = torch.as_tensor(self.set.sigma) * (camera.focal / depth.clamp(min=0.3))[:, None]
        confidence = torch.as_tensor(np.nan_to_num(kp.confidence[c]) ** s.confidence_power)
        seen = torch.as_tensor(np.isfinite(kp.uv[c]).all(-1))
        return KnownReprojection(
            uv=torch.as_tensor(np.nan_to_num(kp.uv[c])),
            weight=torch.where(seen, confidence, 0.0) / sigma**2 * time_weight[:, None],
            camera=camera,
            index=self.observed_index,
            time_weight=time_weight,
            robust_scale=s.reprojection_robust,
            name=f"reprojection {c + 1}",
        )

    def first_guesses(self, kp: Keypoints2D, shared: CameraState | None = None) -> list[CameraState]:
        """Inverse kinematics of the points in which the cameras' rays meet."""
        start = shared or CameraState(
            torch.as_tensor(self.skeleton.neutral)[None],
            torch.zeros(len(self.skeleton.scale_groups), dtype=torch.float64),
            LEVEL_CAMERA.clone(),
            torch.zeros((), dtype=torch.float64),
            torch.tensor(float(np.log(self.camera.focal)), dtype=torch.float64),
        )
        target, _ = triangulate(kp.uv, np.nan_to_num(kp.confidence), self.cameras)
        target[..., 2] += float(start.height)
        body = self.skeleton.scaled(start.log_scales.exp().numpy())
        sigma = torch.as_tensor(self.set.sigma)
        points = body.keypoint_set(kp.keypoint_set).points
        spots = [
            Spot(label=p.name, point=p, spread=np.full(3, s), soft_tissue=float(s))
            for p, s in zip(points, self.set.sigma, strict=True)
        ]
        problem = MarkerProblem(body, spots, self.settings, self.gravity)
        trunk = np.zeros(len(points))
        trunk[list(trunk_index(self.set.names).values())] = 1.0
        posed, _ = problem.posed(torch.as_tensor(target), problem.start(target, kp.time, trunk), sigma)
        return [replace(start, q=posed.q)]

    def posed_like_landmarks(self, kp: Keypoints2D, state: CameraState) -> CameraState:
        """The first guess itself: it is in space already."""
        return state

    def free(self, *, scales: bool, camera: bool, focal: bool = True) -> Tensor:
        flags = super().free(scales=scales, camera=False)
        flags[HEIGHT] = camera and self.gravity > 0 and self.settings.physics != "none"
        return flags

    def sees(self, kp: Keypoints2D) -> bool:
        """Do two cameras see enough in any frame?"""
        seen = (np.isfinite(kp.uv).all(-1).sum(0) >= 2).sum(1)
        return bool(seen.max() >= MIN_POINTS)

    def camera_of(self, state: CameraState) -> Camera:
        """The first one, in the world whose floor is z = 0."""
        return lifted(self.cameras[0], -float(state.height))
