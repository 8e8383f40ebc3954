"""The maximum-a-posteriori problem of one person who wears markers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.contact import NEEDS_SUPPORT, smoothed
from physpose.estimation.euler_choice import within_ranges
from physpose.estimation.inverse_kinematics import solve_frames
from physpose.estimation.marker_spots import Spot
from physpose.estimation.marker_start import filled, robust_rigid_fit, trunk_choice
from physpose.estimation.marker_terms import MarkerDistance, SlidingSkin
from physpose.estimation.problem import EARTH_GRAVITY, MotionProblem, frame_weights
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import FrameTerm, Limits, Smoothness, Term
from physpose.estimation.vigour import vigour
from physpose.skeleton.model import Skeleton
from physpose.spatial import matrix_to_quat
from physpose.types import Array

UNSURE_TIME = 0.15  # [s] around which a support that is not understood makes forces unsure


class MarkerProblem(MotionProblem):
    """A body of known size with markers at known places, or, with scale groups left in, one whose size is sought."""

    # poses of single frames are near the solution; damping by a share of the jerk's diagonal holds slow motions most
    start_damping = 1e-6

    def __init__(
        self,
        skeleton: Skeleton,
        spots: Sequence[Spot],
        settings: EstimationSettings | None = None,
        gravity: float | Array = EARTH_GRAVITY,
    ):
        super().__init__(KinematicChain(skeleton), tuple(s.point for s in spots), settings, gravity)
        self.spots = tuple(spots)
        self._whole = self.points
        self.points = self.chain.points(tuple(s.point for s in spots))  # no term but that of the forces looks at others
        self.soft_tissue = torch.tensor([s.soft_tissue for s in spots], dtype=torch.float64)
        self.spread = torch.as_tensor(np.array([s.spread for s in spots]).reshape(-1, 3))

    # --- terms ------------------------------------------------------------------------------------------------------

    def distance(self, target: Tensor, sigma: Tensor, robust_scale: float) -> MarkerDistance:
        """Markers at ``target`` (T, M, 3) with standard deviations (M,) [m]."""
        weight = (1 / sigma**2).expand(target.shape[:2])
        return MarkerDistance(target, weight, robust_scale)

    def skin(self, target: Tensor, time: Tensor) -> SlidingSkin:
        """Markers as a motion sees them: on skin that slides smoothly, by a share of what people's may."""
        s = self.settings
        return SlidingSkin(target, time, self.skin_sigma, s.skin_correlation_time, s.skin_robust)

    @property
    def skin_sigma(self) -> Tensor:
        """(M,) [m] how far the skin under each marker slides in walking people."""
        return self.settings.skin_share * self.soft_tissue

    def frame_terms(self, target: Tensor, sigma: Tensor) -> list[FrameTerm[State]]:
        """For frames by themselves: markers and usual postures."""
        rate = torch.full((len(target),), self.settings.posture_correlation_time, dtype=torch.float64)
        return [self.distance(target, sigma, self.settings.marker_robust), *self.posture_terms(rate)]

    def motion_terms(self, target: Tensor, time: Tensor, q: Tensor) -> list[Term[State]]:
        """For a whole motion near poses ``q`` (T, nq) of single frames."""
        limits, *posture = self.posture_terms(frame_weights(time))
        assert isinstance(limits, Limits)
        sign, offset = (torch.as_tensor(x) for x in within_ranges(self.chain, q.numpy()))
        limits = replace(limits, sign=sign, offset=offset)
        return [self.skin(target, time), limits, *posture, *self._smoothness(time, q)]

    def jerk(self, time: Tensor, q: Tensor) -> Tensor:
        """What the jerk (T, nv) may be near poses ``q`` (T, nq) of single frames: at least that of people who walk."""
        return vigour(q, time, self.spread_of_coordinates(self.settings.jerk_sigma))

    def _smoothness(self, time: Tensor, q: Tensor) -> list[Term[State]]:
        s = self.settings
        walking = self.spread_of_coordinates(s.jerk_sigma)
        jerk = self.jerk(time, q)
        ratio = (jerk / walking).amax(0)
        middle = jerk[1:-2] if len(time) > 3 else jerk[:0]
        acceleration = ratio * self.spread_of_coordinates(s.acceleration_sigma)
        return [Smoothness(time, middle, 3, "jerk"), Smoothness(time, acceleration, 2, "acceleration")]

    @property
    def explains_forces(self) -> bool:
        """Is the motion asked what forces it needs: of a person who has feet, and whose coordinates are free."""
        body = self.skeleton
        free = body.bodies[0].joint.kind == "free" and body.coordinate_map is None
        return self.settings.physics == "full" and free and bool(body.contact_points)

    def with_forces(self, terms: Sequence[Term[State]], state: State, time: Array) -> tuple[Self, list[Term[State]]]:
        """The problem and its terms with the forces that the motion ``state`` needs: inside friction cones, at points
        that bear some; in flight none."""
        s = self.settings
        whole = copy(self)
        whole.points = self._whole
        whole.settings = replace(s, wrench_sigma=s.marker_wrench_sigma)
        t = torch.as_tensor(time)
        belief = self.bearing_of(state, time)
        rate = frame_weights(t) * self._understood(state, t, belief)
        return whole, [*terms, whole._root_wrench(state, t, whole.forces_of(state, time, belief), rate)]

    def _understood(self, state: State, time: Tensor, belief: Tensor) -> Tensor:
        """(T,) 1 where something bears what the motion needs, or it needs nothing; 0 elsewhere and around: on a moving
        belt, on somebody's shoulders."""
        wrench, _, _ = self.body.wrench(self.chain, state, time, self.gravity_vector)
        borne = belief.amax(1) > 0.5
        lost = (wrench[:, 2] > NEEDS_SUPPORT * self.scales[0]) & ~borne
        return 1.0 - (smoothed(lost.double(), time, UNSURE_TIME) > 0).double()

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
