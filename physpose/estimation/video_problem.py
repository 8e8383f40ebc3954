"""The maximum-a-posteriori problem of one person seen by one static camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation import initialise
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.camera_terms import CameraPlace, Depth, PictureTerm, Reprojection
from physpose.estimation.covariance import BandCovariance, with_lasting_errors
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.pace import pace_factor
from physpose.estimation.problem import EARTH_GRAVITY, MotionProblem, Support, frame_weights
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import Solution
from physpose.estimation.state import N_CAMERA, CameraState, Kinematics
from physpose.estimation.terms import FrameTerm, Term
from physpose.estimation.uncertainty import sigma_along
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.skeleton.model import KeypointSet
from physpose.types import Camera, Keypoints2D, Sigma

_LIMB_EDGES = (
    ("hip", "shoulder"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"),
    ("ankle", "heel"), ("ankle", "big_toe"),
)  # fmt: skip
DEPTH_EDGES = (
    ("hip_r", "hip_l"),
    ("shoulder_r", "shoulder_l"),
    *((f"{a}_{s}", f"{b}_{s}") for s in "rl" for a, b in _LIMB_EDGES),
)


@dataclass(frozen=True, kw_only=True)
class CameraPrior:
    """What is known of the camera before the fit."""

    image_size: tuple[int, int]  # [px]
    focal: float  # [px]
    sigma_log_focal: float  # 0 where the focal length is given
    principal_point: tuple[float, float]  # [px]


class VideoProblem(MotionProblem):
    """One clip seen by one static camera."""

    def __init__(
        self,
        chain: KinematicChain,
        kp: Keypoints2D,
        camera: CameraPrior,
        height_known: bool,
        settings: EstimationSettings | None = None,
        gravity: float = EARTH_GRAVITY,
    ):
        self.kp, self.camera = kp, camera
        self.set: KeypointSet = chain.skeleton.keypoint_set(kp.keypoint_set)
        super().__init__(chain, self.set.points, settings, gravity)
        self.stature_sigma = self.settings.stature_sigma if height_known else self.settings.unknown_stature_sigma

    # --- terms ------------------------------------------------------------------------------------------------------

    def terms(self, kp: Keypoints2D, state: CameraState, support: Support) -> list[Term[CameraState]]:
        """All terms on the frames of ``kp``; weights follow from ``state``."""
        time = torch.as_tensor(kp.time)
        rate = frame_weights(time)
        found: list[Term[CameraState]] = [self._reprojection(kp, rate, state)]
        if self._facing_seen(kp):
            found.append(self._depth(kp, rate, float(state.log_focal.exp())))
        found += [*self.posture_terms(rate), *self.smoothness(time), self.body_prior(self.stature_sigma)]
        return [*found, self._camera_place(), *self.floor_terms(state, time, support, rate)]

    def _camera_place(self) -> CameraPlace:
        s = self.settings
        log_focal = (float(np.log(self.camera.focal)), max(self.camera.sigma_log_focal, 1e-6))
        return CameraPlace(s.camera_height, s.camera_tilt_sigma, s.camera_tilt_robust, log_focal)

    def _reprojection(self, kp: Keypoints2D, rate: Tensor, state: CameraState) -> Reprojection:
        s = self.settings
        time_weight = (rate / s.keypoint_correlation_time).clamp(max=1.0)
        confidence = torch.as_tensor(kp.confidence[0] ** s.confidence_power)
        seen = torch.as_tensor(np.isfinite(kp.uv[0]).all(-1))
        # a spread in metres at the subject's depth is f / z times as many pixels
        R, t = state.R_camera_world, state.q[:, :3].clone()
        t[:, 2] -= state.height
        pixels = state.log_focal.exp() / (t @ R[2]).clamp(min=0.3)
        weight = torch.where(seen, confidence, 0.0) / (torch.as_tensor(self.set.sigma) * pixels[:, None]) ** 2
        if kp.doubt is not None:  # of what is hidden a detector makes up more than its confidence tells
            doubt = torch.nan_to_num(torch.as_tensor(kp.doubt[0])) * pixels[:, None]
            weight = torch.minimum(weight, 1 / doubt**2)
        weight = weight * time_weight[:, None]
        return Reprojection(
            uv=torch.as_tensor(kp.uv[0]),
            weight=torch.nan_to_num(weight),  # a keypoint without confidence is not seen
            principal_point=torch.tensor(self.camera.principal_point, dtype=torch.float64),
            index=self.observed_index,
            robust_scale=s.reprojection_robust,
            time_weight=time_weight,
        )

    def _depth(self, kp: Keypoints2D, rate: Tensor, focal: float) -> Depth:
        assert kp.landmarks is not None
        s = self.settings
        index = joint_index(self.set)
        edges = [(index[a], index[b]) for a, b in DEPTH_EDGES if a in index and b in index]
        parent, child = torch.tensor(edges).T
        R = initialise.viewing_rotation(kp, focal, np.array(self.camera.principal_point))
        landmarks = kp.landmarks[0] @ R.swapaxes(1, 2)
        offset = torch.as_tensor(landmarks[:, child] - landmarks[:, parent])
        neutral = self.chain.locate(self.chain.fk(torch.as_tensor(self.skeleton.neutral)), self.points)
        model = (neutral[child] - neutral[parent]).norm(dim=-1)
        size = offset.norm(dim=-1).nanmedian(dim=0).values
        known = torch.isfinite(size)  # the 3D may be of some of the keypoints
        offset = offset * (model[known].sum() / size[known].sum())
        time_weight = (rate / s.keypoint_correlation_time).clamp(max=1.0)
        confidence = torch.as_tensor(np.minimum(kp.confidence[0][:, child], kp.confidence[0][:, parent]))
        sigma = torch.tensor(s.depth_sigma, dtype=torch.float64)
        seen = torch.isfinite(offset).all(-1)
        weight = torch.where(seen, confidence**s.confidence_power * time_weight[:, None], 0.0)[..., None] / sigma**2
        offset = torch.where(seen[..., None], offset, 0.0)
        return Depth(offset, torch.nan_to_num(weight), child, parent, s.depth_robust, time_weight)

    # --- solving ----------------------------------------------------------------------------------------------------

    def first_guesses(self, kp: Keypoints2D, shared: CameraState | None = None) -> list[CameraState]:
        """One state from the detector's 3D where there is one, else eight that face different ways.

        Body and camera are those of ``shared``, else the prior's and level.
        """
        start = shared or self._prior_state()
        if self._facing_seen(kp):
            assert kp.landmarks is not None
            R = initialise.viewing_rotation(kp, float(start.log_focal.exp()), np.array(self.camera.principal_point))
            facings = [initialise.facing_from_landmarks(kp.landmarks[0] @ R.swapaxes(1, 2), self.set.names, start)]
        else:
            facings = [initialise.upright_facing(k * np.pi / 4, kp.n_frames) for k in range(8)]
        return [
            initialise.placed(self.chain, self.set, kp, R, self.posture, start, np.array(self.camera.principal_point))
            for R in facings
        ]

    def _facing_seen(self, kp: Keypoints2D) -> bool:
        """Does the detector's 3D show shoulders and hips in any frame."""
        if kp.landmarks is None:
            return False
        trunk = list(initialise.trunk_index(self.set.names).values())
        return bool(np.isfinite(kp.landmarks[0][:, trunk]).all((1, 2)).any())

    def _prior_state(self) -> CameraState:
        return CameraState(
            torch.as_tensor(self.skeleton.neutral)[None],
            torch.zeros(len(self.skeleton.scale_groups), dtype=torch.float64),
            initialise.LEVEL_CAMERA.clone(),
            torch.tensor(self.settings.camera_height[0], dtype=torch.float64),
            torch.tensor(float(np.log(self.camera.focal)), dtype=torch.float64),
        )

    def free(self, *, scales: bool, camera: bool, focal: bool = True) -> Tensor:
        """Which shared unknowns may move; the focal length with the camera, where it is not given."""
        G = len(self.skeleton.scale_groups)
        flags = torch.zeros(G + N_CAMERA, dtype=torch.bool)
        flags[:G] = scales
        flags[G:] = camera
        flags[-1] = camera and focal and self.camera.sigma_log_focal > 0
        return flags

    def solve_on(
        self,
        kp: Keypoints2D,
        state: CameraState,
        support: Support,
        free: Tensor,
        max_iterations: int,
        on_iteration: Callable[[int, float], None] | None = None,
    ) -> Solution[CameraState]:
        """Solve on the frames of ``kp`` with the contacts and forces given."""
        return self.solve(self.terms(kp, state, support), state, free, max_iterations, on_iteration)

    def at_its_pace(self, kp: Keypoints2D, solution: Solution[CameraState], support: Support, free: Tensor) -> Self:
        """The problem with the smoothness that its own solution makes most probable."""
        state = solution.state
        terms = self.terms(kp, state, support)
        return self.paced(pace_factor(self.chain, self.points, terms, state, free, min(3, len(state.q) - 1)))

    def sees(self, kp: Keypoints2D) -> bool:
        """Is enough of the person seen in any frame?"""
        return bool(np.isfinite(kp.uv[0, ..., 0]).sum(1).max() >= initialise.MIN_POINTS)

    def camera_of(self, state: CameraState) -> Camera:
        """As estimated, or given."""
        R = state.R_camera_world.numpy()
        return Camera(
            image_size=self.camera.image_size,
            focal=float(state.log_focal.exp()),
            principal_point=self.camera.principal_point,
            R_camera_world=R,
            t=-R[:, 2] * float(state.height),
        )

    def sigma(
        self, kp: Keypoints2D, state: CameraState, support: Support, bearing: Tensor, free: Tensor
    ) -> Sigma | None:
        """Standard deviations of the motion at a solution, found with ``support`` and the shared unknowns ``free``."""
        body = self.skeleton.scaled(state.log_scales.exp().numpy())
        if kp.n_frames < 3:
            return None
        covariance = self._covariance(self.terms(kp, state, support), state, free)
        jerk = self.pace * self.spread_of_coordinates(self.settings.jerk_sigma)
        free_scales, gravity = free[: len(state.log_scales)], self.gravity_vector.numpy()
        motion, forces = dynamics_of(body, kp.time, state.q.numpy(), bearing.numpy(), gravity)
        return sigma_along(motion, covariance, body, forces, gravity, free_scales, jerk)

    def _covariance(self, terms: list[Term[CameraState]], state: CameraState, free: Tensor) -> BandCovariance:
        """Of the unknowns at a solution; a part of each keypoint's spread lasts, as who names it sees it otherwise."""
        system = BorderedSystem(len(state.q), self.chain.nv, state.n_shared, min(3, len(state.q) - 1))
        kin = Kinematics(self.chain, state, self.points)
        for term in terms:
            term.add_to(system, state, kin)
        R = kin.frames.R[:, self.points.body[self.observed_index]]
        pulls = [term.pull(state, kin, R) for term in terms if isinstance(term, PictureTerm)]
        variance = torch.as_tensor((self.settings.lasting * self.set.sigma) ** 2).repeat_interleave(3)
        by_frames, by_shared = (torch.stack(p).sum(0) for p in zip(*pulls, strict=True))
        return with_lasting_errors(system, free, (by_frames, by_shared), variance)

    def on_floor(self, state: CameraState) -> CameraState:
        """The same, camera and body lifted together so that the lowest point is mostly at z = 0."""
        points = Kinematics(self.chain, state, self.points).points[:, self.contact_index]
        drop = points[..., 2].min(dim=1).values.median()
        q = state.q.clone()
        q[:, 2] -= drop
        return replace(state, q=q, height=state.height - drop)

    def posed_like_landmarks(self, kp: Keypoints2D, state: CameraState) -> CameraState:
        """Inverse kinematics on the detector's 3D alone: it finds bent elbows that 2D would miss."""
        if not self._facing_seen(kp):
            return state
        depth = self._depth(kp, frame_weights(torch.as_tensor(kp.time)), float(state.log_focal.exp()))
        scale = torch.tensor(self.settings.depth_sigma, dtype=torch.float64) / self.settings.start_depth_sigma
        depth = replace(depth, weight=depth.weight * scale**2, robust_scale=1e3)
        kept = ("limits", "posture", "jerk", "acceleration")
        terms = [depth, *(t for t in self.terms(kp, state, self.no_support(kp.n_frames)) if t.name in kept)]
        frozen = self.free(scales=False, camera=False)
        return self.solve(terms, state, frozen, 20).state

    def frame_costs(self, kp: Keypoints2D, state: CameraState) -> Tensor:
        """Cost of each frame (T,) by the terms that look at single frames."""
        kin = Kinematics(self.chain, state, self.points)
        terms = self.terms(kp, state, self.no_support(kp.n_frames))
        return torch.stack([t.frame_costs(state, kin) for t in terms if isinstance(t, FrameTerm)]).sum(0)


def joint_index(keypoint_set: KeypointSet) -> dict[str, int]:
    """Plain joint names ("knee_r") to indices, whatever the set calls its sides."""
    return {mark: i for i, mark in enumerate(keypoint_landmarks(keypoint_set.name))}
