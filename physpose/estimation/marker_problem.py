"""The maximum-a-posteriori problem of one person who wears markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.inverse_kinematics import solve_frames
from physpose.estimation.marker_spots import Spot
from physpose.estimation.marker_start import filled, robust_rigid_fit, trunk_choice
from physpose.estimation.marker_terms import MarkerDistance
from physpose.estimation.problem import EARTH_GRAVITY, MotionProblem, frame_weights
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import FrameTerm, Smoothness, Term
from physpose.estimation.vigour import vigour
from physpose.skeleton.model import Skeleton
from physpose.spatial import matrix_to_quat
from physpose.types import Array


class MarkerProblem(MotionProblem):
    """A body of known size with markers at known places, or, with scale groups left in, one whose size is sought."""

    def __init__(
        self,
        skeleton: Skeleton,
        spots: Sequence[Spot],
        settings: EstimationSettings | None = None,
        gravity: float | Array = EARTH_GRAVITY,
    ):
        super().__init__(KinematicChain(skeleton), tuple(s.point for s in spots), settings, gravity)
        self.spots = tuple(spots)
        self.points = self.chain.points(tuple(s.point for s in spots))  # no term looks at others
        self.soft_tissue = torch.tensor([s.soft_tissue for s in spots], dtype=torch.float64)
        self.spread = torch.as_tensor(np.array([s.spread for s in spots]).reshape(-1, 3))

    # --- terms ------------------------------------------------------------------------------------------------------

    def distance(self, target: Tensor, sigma: Tensor, robust_scale: float) -> MarkerDistance:
        """Markers at ``target`` (T, M, 3) with standard deviations (M,) [m]."""
        weight = (1 / sigma**2).expand(target.shape[:2])
        return MarkerDistance(target, weight, robust_scale)

    def smooth_distance(self, target: Tensor) -> MarkerDistance:
        """Markers as a smooth motion sees them: weighed by their soft tissue, noisy by ``marker_noise``."""
        s = self.settings
        sigma = self.soft_tissue * s.marker_noise / s.marker_wander
        return self.distance(target, sigma, s.marker_robust * s.marker_wander / s.marker_noise)

    def frame_terms(self, target: Tensor, sigma: Tensor) -> list[FrameTerm[State]]:
        """For frames by themselves: markers and usual postures."""
        rate = torch.full((len(target),), self.settings.posture_correlation_time, dtype=torch.float64)
        return [self.distance(target, sigma, self.settings.marker_robust), *self.posture_terms(rate)]

    def motion_terms(self, target: Tensor, time: Tensor, q: Tensor) -> list[Term[State]]:
        """For a whole motion near poses ``q`` (T, nq) of single frames."""
        return [self.smooth_distance(target), *self.posture_terms(frame_weights(time)), *self._smoothness(time, q)]

    def _smoothness(self, time: Tensor, q: Tensor) -> list[Term[State]]:
        s = self.settings
        walking = self.spread_of_coordinates(s.jerk_sigma)
        jerk = vigour(q, time, walking)
        ratio = (jerk / walking).amax(0)
        middle = jerk[1:-2] if len(time) > 3 else jerk[:0]
        acceleration = ratio * self.spread_of_coordinates(s.acceleration_sigma)
        return [Smoothness(time, middle, 3, "jerk"), Smoothness(time, acceleration, 2, "acceleration")]

    # --- solving ----------------------------------------------------------------------------------------------------

    def start(self, target: Array, time: Array, trunk: Array | None = None) -> State:
        """The resting posture with its trunk where the markers (T, M, 3) [m] are.

        ``trunk``: (M,) what each marker says of it; None: those of pelvis and torso.
        """
        q = torch.as_tensor(self.skeleton.neutral)[None].clone()
        q[:, 7:] = self.posture
        state = self.state(q)
        kin = Kinematics(self.chain, state, self.points)
        R0, p0 = kin.frames.R[0, 0].numpy(), q[0, :3].numpy()
        model = (kin.points[0, : len(self.spots)].numpy() - p0) @ R0  # in the pelvis
        weight = (trunk_choice(self.spots) if trunk is None else trunk) * np.isfinite(target).all(-1)
        R, p = robust_rigid_fit(model, target, weight)
        U, _, Vt = np.linalg.svd(filled(time, R))
        poses = q.expand(len(target), -1).clone()
        poses[:, :3] = torch.as_tensor(filled(time, p))
        poses[:, 3:7] = matrix_to_quat(torch.as_tensor(U @ Vt))
        return replace(state, q=poses)

    def state(self, q: Tensor) -> State:
        """Poses q (T, nq) of the body as it is."""
        return State(q, torch.zeros(len(self.skeleton.scale_groups), dtype=torch.float64))

    def posed(self, target: Tensor, state: State, sigma: Tensor) -> tuple[State, Tensor]:
        """Inverse kinematics frame by frame, and each frame's cost (T,); stragglers start anew from a neighbour."""
        terms = self.frame_terms(target, sigma)
        # the kinks of joint limits slow the long way down; most frames end where no limit is passed
        inside = [t for t in terms if t.name != "limits"]
        state, cost, unsettled = solve_frames(self.chain, inside, state, self.points, 15)
        open_ = self._passes_limits(terms, state)
        open_[unsettled] = True
        state, cost = self._solved_again(terms, state, cost, torch.nonzero(open_)[:, 0])
        for _ in range(3):
            bad = cost > 4 * cost.median() + 1e-9
            if not bool(bad.any()) or bool(bad.all()):
                break
            good = torch.nonzero(~bad)[:, 0]
            nearest = good[(torch.arange(len(bad))[:, None] - good).abs().argmin(1)]
            q = torch.where(bad[:, None], state.q[nearest], state.q)
            again, new_cost = self._solved_again(terms, replace(state, q=q), cost, torch.nonzero(bad)[:, 0])
            better = new_cost < cost
            state = replace(state, q=torch.where(better[:, None], again.q, state.q))
            cost = torch.where(better, new_cost, cost)
        return state, cost

    def _passes_limits(self, terms: Sequence[FrameTerm[State]], state: State) -> Tensor:
        """(T,) bool: is a joint limit felt."""
        kin = Kinematics(self.chain, state, self.points)
        felt = [t.frame_costs(state, kin) > 0 for t in terms if t.name == "limits"]
        return torch.stack(felt).any(0) if felt else torch.zeros(len(state.q), dtype=torch.bool)

    def _solved_again(
        self, terms: Sequence[FrameTerm[State]], state: State, cost: Tensor, frames: Tensor
    ) -> tuple[State, Tensor]:
        """The state and cost with some frames solved from where they are."""
        if not len(frames):
            return state, cost
        part = replace(state, q=state.q[frames])
        solved, new_cost, _ = solve_frames(self.chain, [t.on(frames) for t in terms], part, self.points)
        return replace(state, q=state.q.index_copy(0, frames, solved.q)), cost.index_copy(0, frames, new_cost)

    def marker_positions(self, state: State) -> Tensor:
        """Where the markers should be (T, M, 3) [m]."""
        kin = Kinematics(self.chain, state, self.points)
        return kin.points[:, : len(self.spots)]
