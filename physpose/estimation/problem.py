"""The maximum-a-posteriori problem of one person seen by one static camera: its terms and how to solve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation import initialise
from physpose.estimation.contact import contact_belief
from physpose.estimation.posture_prior import UP, PosturePrior
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import Solution, solve
from physpose.estimation.state import N_CAMERA, Kinematics, State
from physpose.estimation.terms import (
    Balance,
    Depth,
    Floor,
    FrameTerm,
    Limits,
    Posture,
    Reprojection,
    SharedPrior,
    Smoothness,
    Term,
)
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.skeleton.model import KeypointSet, Point, Skeleton
from physpose.types import Array, Keypoints2D

HEAVY = 0.02  # segments with a larger part of the mass make up the centre of mass in the balance term
EARTH_GRAVITY = 9.81  # [m/s^2]
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


class VideoProblem:
    """The maximum-a-posteriori problem of one clip seen by one static camera."""

    def __init__(
        self,
        chain: KinematicChain,
        kp: Keypoints2D,
        camera: CameraPrior,
        height_known: bool,
        settings: EstimationSettings | None = None,
        gravity: float = EARTH_GRAVITY,
    ):
        self.chain, self.kp, self.camera = chain, kp, camera
        self.settings, self.gravity = settings or EstimationSettings(), gravity
        self.skeleton = chain.skeleton
        self.set: KeypointSet = self.skeleton.keypoint_set(kp.keypoint_set)
        heavy = [b for b in self.skeleton.bodies if b.mass > HEAVY * self.skeleton.mass]
        self.mass_share = torch.tensor([b.mass for b in heavy], dtype=torch.float64) / sum(b.mass for b in heavy)
        centres = tuple(Point(name=b.name, body=b.name, offset=b.com) for b in heavy)
        self.points: Points = chain.points(self.set.points + self.skeleton.contact_points + centres)
        self.K = len(self.set.points)
        self.keypoint_index = slice(0, self.K)
        self.contact_index = slice(self.K, self.K + len(self.skeleton.contact_points))
        self.com_index = slice(self.contact_index.stop, self.contact_index.stop + len(heavy))
        self.stature_sigma = self.settings.stature_sigma if height_known else self.settings.unknown_stature_sigma
        self.posture = resting_posture(self.skeleton)
        self.prior = PosturePrior.load().marginal([*self.skeleton.coordinate_names, *UP])
        self.prior = self.prior.widened(dict.fromkeys(UP, self.settings.attitude_spread))

    # --- terms ------------------------------------------------------------------------------------------------------

    def terms(self, kp: Keypoints2D, state: State, contact: Tensor) -> list[Term]:
        """All terms on the frames of ``kp``; weights follow from ``state``, contact (T, C) is the belief in contact."""
        s = self.settings
        time = torch.as_tensor(kp.time)
        rate = frame_weights(time)
        found: list[Term] = [self._reprojection(kp, rate, state)]
        if self._facing_seen(kp):
            found.append(self._depth(kp, rate, float(state.log_focal.exp())))
        ones = torch.ones(len(time), dtype=torch.float64)
        posture_rate = (rate / s.posture_correlation_time).clamp(max=1.0)
        found += [
            Limits(self.chain, ones[:, None] / s.limit_sigma**2, s.limit_margin),
            Posture(self.prior, self.chain.coordinate_names, posture_rate, s.posture_robust),
            Smoothness(time, self._spread(s.jerk_sigma), 3, "jerk"),
            Smoothness(time, self._spread(s.acceleration_sigma), 2, "acceleration"),
            self._shared_prior(),
        ]
        if self.gravity > 0:  # without weight there is no floor to stand on
            floor_rate = (rate / s.contact_time_constant).clamp(max=1.0)
            found.append(Floor(self.contact_index, contact, time, floor_rate, s.sigma_floor, s.sigma_slip))
            found.append(self._balance(state, time, contact, rate))
        return found

    def _reprojection(self, kp: Keypoints2D, rate: Tensor, state: State) -> Reprojection:
        s = self.settings
        time_weight = (rate / s.keypoint_correlation_time).clamp(max=1.0)
        confidence = torch.as_tensor(kp.confidence[0] ** s.confidence_power)
        seen = torch.as_tensor(np.isfinite(kp.uv[0]).all(-1))
        # a spread in metres at the subject's depth is f / z times as many pixels
        R, t = state.R_camera_world, state.q[:, :3].clone()
        t[:, 2] -= state.height
        pixels = state.log_focal.exp() / (t @ R[2]).clamp(min=0.3)
        sigma = torch.as_tensor(self.set.sigma) * pixels[:, None]
        weight = torch.where(seen, confidence, 0.0) / sigma**2 * time_weight[:, None]
        return Reprojection(
            uv=torch.as_tensor(kp.uv[0]),
            weight=torch.nan_to_num(weight),  # a keypoint without confidence is not seen
            principal_point=torch.tensor(self.camera.principal_point, dtype=torch.float64),
            index=self.keypoint_index,
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
        offset = offset * (model.sum() / offset.norm(dim=-1).nanmedian(dim=0).values.sum())
        time_weight = (rate / s.keypoint_correlation_time).clamp(max=1.0)
        confidence = torch.as_tensor(np.minimum(kp.confidence[0][:, child], kp.confidence[0][:, parent]))
        sigma = torch.tensor(s.depth_sigma, dtype=torch.float64)
        seen = torch.isfinite(offset).all(-1)
        weight = torch.where(seen, confidence**s.confidence_power * time_weight[:, None], 0.0)[..., None] / sigma**2
        offset = torch.where(seen[..., None], offset, 0.0)
        return Depth(offset, torch.nan_to_num(weight), child, parent, s.depth_robust, time_weight)

    def _balance(self, state: State, time: Tensor, contact: Tensor, rate: Tensor) -> Balance:
        s = self.settings
        points = Kinematics(self.chain, state, self.points, jacobians=False).points
        com = torch.einsum("s,tsk->tk", self.mass_share, points[:, self.com_index])
        total = contact.sum(1, keepdim=True)
        support = contact / total.clamp(min=1e-9)
        feet = torch.einsum("tc,tck->tk", support, points[:, self.contact_index])
        # a seat carries who sits, hands who crawls: only those count whose pelvis is about as high as in standing
        standing = torch.sigmoid(((state.q[:, 2] - feet[:, 2]) / self.skeleton.neutral[2] - s.standing_height) / 0.03)
        carried = standing * total[:, 0].clamp(max=1.0)
        shift = torch.zeros_like(com[:, :2])
        if len(time) > 2:
            velocity = torch.gradient(com[:, :2], spacing=(time,), dim=0)[0]
            acceleration = torch.gradient(velocity, spacing=(time,), dim=0)[0]
            shift = -(com[:, 2:] - feet[:, 2:]) / self.gravity * acceleration
        time_weight = (rate / s.balance_correlation_time).clamp(max=1.0) * carried
        return Balance(
            self.com_index, self.mass_share, self.contact_index, support, shift, time_weight, s.balance_sigma
        )

    def _spread(self, s: Mapping[str, float]) -> Tensor:
        """One value for each velocity coordinate (nv,) from values by the start of its name."""
        values = [s["pelvis_translation"]] * 3 + [s["pelvis_rotation"]] * 3
        values += [next(x for key, x in s.items() if name.startswith(key)) for name in self.chain.coordinate_names]
        return torch.tensor(values, dtype=torch.float64)

    def _shared_prior(self) -> SharedPrior:
        s = self.settings
        return SharedPrior(
            torch.tensor([g.sigma for g in self.skeleton.scale_groups], dtype=torch.float64),
            stature_gradient(self.chain),
            self.stature_sigma,
            s.camera_height,
            s.camera_tilt_sigma,
            (float(np.log(self.camera.focal)), max(self.camera.sigma_log_focal, 1e-6)),
        )

    # --- solving -- ---------------------------------------------------------------------------------------------------

    def first_guesses(self, kp: Keypoints2D, shared: State | None = None) -> list[State]:
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

    def _prior_state(self) -> State:
        return State(
            torch.as_tensor(self.skeleton.neutral)[None],
            torch.zeros(len(self.skeleton.scale_groups), dtype=torch.float64),
            initialise.LEVEL_CAMERA.clone(),
            torch.tensor(self.settings.camera_height[0], dtype=torch.float64),
            torch.tensor(float(np.log(self.camera.focal)), dtype=torch.float64),
        )

    def free(self, *, scales: bool, camera: bool) -> Tensor:
        """Which shared unknowns may move."""
        G = len(self.skeleton.scale_groups)
        flags = torch.zeros(G + N_CAMERA, dtype=torch.bool)
        flags[:G] = scales
        flags[G:] = camera
        flags[-1] = camera and self.camera.sigma_log_focal > 0
        return flags

    def solve_on(
        self,
        kp: Keypoints2D,
        state: State,
        contact: Tensor,
        free: Tensor,
        max_iterations: int,
        on_iteration: Callable[[int, float], None] | None = None,
    ) -> Solution:
        """Solve on the frames of ``kp`` with the contacts given."""
        return solve(
            self.chain,
            self.terms(kp, state, contact),
            state,
            self.points,
            free,
            width=self.width(kp),
            max_iterations=max_iterations,
            on_iteration=on_iteration,
        )

    def width(self, kp: Keypoints2D) -> int:
        """How many frames ahead a frame is coupled."""
        return min(3, kp.n_frames - 1)  # as the jerk does

    def no_contact(self, kp: Keypoints2D) -> Tensor:
        """Belief zero everywhere (T, C)."""
        return torch.zeros(kp.n_frames, len(self.skeleton.contact_points), dtype=torch.float64)

    def contacts_of(self, state: State, time: Array, max_height: float | None = None) -> Tensor:
        """Belief in contact (T, C) for a state."""
        if self.gravity == 0:
            return state.q.new_zeros(len(state.q), len(self.skeleton.contact_points))
        max_height = self.settings.contact_height if max_height is None else max_height
        points = Kinematics(self.chain, state, self.points, jacobians=False).points[:, self.contact_index]
        return contact_belief(points, torch.as_tensor(time), self.settings.contact_speed, max_height)

    def on_floor(self, state: State) -> State:
        """The same, camera and body lifted together so that the lowest point is mostly at z = 0."""
        points = Kinematics(self.chain, state, self.points, jacobians=False).points[:, self.contact_index]
        drop = points[..., 2].min(dim=1).values.median()
        q = state.q.clone()
        q[:, 2] -= drop
        return replace(state, q=q, height=state.height - drop)

    def posed_like_landmarks(self, kp: Keypoints2D, state: State) -> State:
        """Inverse kinematics on the detector's 3D alone: it finds bent elbows that 2D would miss."""
        if not self._facing_seen(kp):
            return state
        depth = self._depth(kp, frame_weights(torch.as_tensor(kp.time)), float(state.log_focal.exp()))
        scale = torch.tensor(self.settings.depth_sigma, dtype=torch.float64) / self.settings.start_depth_sigma
        depth = replace(depth, weight=depth.weight * scale**2, robust_scale=1e3)
        kept = ("limits", "posture", "jerk", "acceleration")
        terms = [depth, *(t for t in self.terms(kp, state, self.no_contact(kp)) if t.name in kept)]
        frozen = self.free(scales=False, camera=False)
        return solve(self.chain, terms, state, self.points, frozen, width=self.width(kp), max_iterations=20).state

    def frame_costs(self, kp: Keypoints2D, state: State) -> Tensor:
        """Cost of each frame (T,) by the terms that look at single frames."""
        kin = Kinematics(self.chain, state, self.points, jacobians=False)
        terms = self.terms(kp, state, self.no_contact(kp))
        return torch.stack([t.frame_costs(state, kin) for t in terms if isinstance(t, FrameTerm)]).sum(0)


def resting_posture(skeleton: Skeleton) -> Tensor:
    """Coordinates (n,) of someone at ease: neutral, elbows and knees a little bent, away from their limits."""
    bent = {
        "elbow_flex": np.radians(30),
        "knee_angle": np.radians(15),
        "hip_flexion": np.radians(8),
        "pro_sup": np.radians(90),
    }
    neutral = dict(zip(skeleton.coordinate_names, skeleton.neutral[7:], strict=True))
    values = [bent.get(n.rsplit("_", 1)[0], x) for n, x in neutral.items()]
    return torch.tensor(values, dtype=torch.float64)


def joint_index(keypoint_set: KeypointSet) -> dict[str, int]:
    """Plain joint names ("knee_r") to indices, whatever the set calls its sides."""
    return {mark: i for i, mark in enumerate(keypoint_landmarks(keypoint_set.name))}


def frame_weights(time: Tensor) -> Tensor:
    """Seconds each frame stands for (T,): half the way to its neighbours."""
    if len(time) == 1:
        return torch.full((1,), 1e6, dtype=torch.float64)  # a single frame stands for all there is
    dt = time.diff()
    edge = torch.cat([dt[:1], (dt[1:] + dt[:-1]) / 2, dt[-1:]])
    return edge


def stature_gradient(chain: KinematicChain) -> Tensor:
    """d(log stature)/d(log scale) (G,) at unit scale, standing."""
    skeleton = chain.skeleton
    frames = chain.fk(torch.as_tensor(skeleton.neutral))
    head, foot = (
        skeleton.body_index("head"),
        min(skeleton.contact_points, key=lambda p: lowest(chain, frames.p, frames.R, p)),
    )
    stature = skeleton.subject.height if skeleton.subject else 1.7
    vertex = frames.R[head].T @ torch.tensor([0.0, 0.0, stature - float(frames.p[head, 2])], dtype=torch.float64)
    ends = chain.points((Point(name="vertex", body="head", offset=vertex.numpy()), foot))
    J = chain.scale_jacobian(frames, ends)[:, 2]
    return (J[0] - J[1]) / stature


def lowest(chain: KinematicChain, p: Tensor, R: Tensor, point: Point) -> float:
    """Height [m] of a body point."""
    i = chain.skeleton.body_index(point.body)
    return float(p[i, 2] + R[i, 2] @ torch.as_tensor(point.offset))
