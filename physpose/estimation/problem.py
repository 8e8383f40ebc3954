"""What every fit knows of the person, whatever is observed: body, posture, motion, floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.contact import contact_belief
from physpose.estimation.posture_prior import UP, PosturePrior
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import S, Solution, solve
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import Balance, BodyPrior, Floor, FrameTerm, Limits, Posture, Smoothness, Term
from physpose.skeleton.model import Coordinate, Point, Skeleton
from physpose.types import Array

HEAVY = 0.02  # segments with a larger part of the mass make up the centre of mass in the balance term
EARTH_GRAVITY = 9.81  # [m/s^2]


class MotionProblem:
    """The terms of one person's motion; a subclass adds those of its observations."""

    def __init__(
        self,
        chain: KinematicChain,
        observed: tuple[Point, ...],
        settings: EstimationSettings | None = None,
        gravity: float = EARTH_GRAVITY,
    ):
        """``observed``: body points that the observations look at, the first of ``points``."""
        self.chain, self.skeleton = chain, chain.skeleton
        self.settings, self.gravity = settings or EstimationSettings(), gravity
        heavy = [b for b in self.skeleton.bodies if b.mass > HEAVY * self.skeleton.mass]
        self.mass_share = torch.tensor([b.mass for b in heavy], dtype=torch.float64) / sum(b.mass for b in heavy)
        centres = tuple(Point(name=b.name, body=b.name, offset=b.com) for b in heavy)
        self.points: Points = chain.points(observed + self.skeleton.contact_points + centres)
        self.observed_index = slice(0, len(observed))
        self.contact_index = slice(len(observed), len(observed) + len(self.skeleton.contact_points))
        self.com_index = slice(self.contact_index.stop, self.contact_index.stop + len(heavy))
        self.prior = _posture_prior(self.skeleton, self.settings)
        neutral = torch.as_tensor(self.skeleton.neutral[7:])
        self.posture = neutral if self.prior is None else resting_posture(self.skeleton)

    # --- terms ------------------------------------------------------------------------------------------------------

    def posture_terms(self, rate: Tensor) -> list[FrameTerm[State]]:
        """Joint ranges and usual postures; frames stand for ``rate`` (T,) seconds."""
        s = self.settings
        ones = torch.ones(len(rate), dtype=torch.float64)
        posture_rate = (rate / s.posture_correlation_time).clamp(max=1.0)
        if self.prior is None:  # the ranges of a model file are what they say, not a mean over people
            return [Limits(self.chain, ones[:, None] / s.limit_sigma**2)]
        limits = Limits(self.chain, ones[:, None] / s.limit_sigma**2, s.limit_margin)
        return [limits, Posture(self.prior, self.chain.coordinate_names, posture_rate, s.posture_robust)]

    def smoothness(self, time: Tensor) -> list[Term[State]]:
        """How fast velocities and accelerations change in people who walk."""
        s = self.settings
        return [
            Smoothness(time, self.spread_of_coordinates(s.jerk_sigma), 3, "jerk"),
            Smoothness(time, self.spread_of_coordinates(s.acceleration_sigma), 2, "acceleration"),
        ]

    def floor_terms(self, state: State, time: Tensor, contact: Tensor, rate: Tensor) -> list[Term[State]]:
        """The floor under points in contact, contact (T, C) being the belief, and balance over them."""
        if self.gravity == 0:  # without weight there is no floor to stand on
            return []
        s = self.settings
        floor_rate = (rate / s.contact_time_constant).clamp(max=1.0)
        floor = Floor(self.contact_index, contact, time, floor_rate, s.sigma_floor, s.sigma_slip)
        return [floor, self._balance(state, time, contact, rate)]

    def _balance(self, state: State, time: Tensor, contact: Tensor, rate: Tensor) -> Balance:
        s = self.settings
        points = Kinematics(self.chain, state, self.points).points
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

    def spread_of_coordinates(self, s: Mapping[str, float]) -> Tensor:
        """One value for each velocity coordinate (nv,) from values by the start of its name."""
        values = [s["pelvis_translation"]] * 3 + [s["pelvis_rotation"]] * 3
        values += [_by_name(s, c) for c in self.skeleton.coordinates]
        return torch.tensor(values, dtype=torch.float64)

    def body_prior(self, stature_sigma: float) -> BodyPrior:
        """What is known of the bone scales; ``stature_sigma`` of log stature."""
        sigma = torch.tensor([g.sigma for g in self.skeleton.scale_groups], dtype=torch.float64)
        return BodyPrior(sigma, stature_gradient(self.chain), stature_sigma)

    # --- solving ----------------------------------------------------------------------------------------------------

    def solve(
        self,
        terms: Sequence[Term[S]],
        state: S,
        free: Tensor,
        max_iterations: int,
        on_iteration: Callable[[int, float], None] | None = None,
        width: int = 3,
    ) -> Solution[S]:
        """The lowest sum of ``terms`` near ``state``; ``free`` (n_shared) says which shared unknowns may move.

        ``width``: how many frames ahead the terms couple a frame; three, as the jerk does.
        """
        width = min(width, len(state.q) - 1)
        return solve(
            self.chain, terms, state, self.points, free, width=width, max_iterations=max_iterations,
            on_iteration=on_iteration,
        )  # fmt: skip

    def no_contact(self, n_frames: int) -> Tensor:
        """Belief zero everywhere (T, C)."""
        return torch.zeros(n_frames, len(self.skeleton.contact_points), dtype=torch.float64)

    def contacts_of(self, state: State, time: Array, max_height: float | None = None) -> Tensor:
        """Belief in contact (T, C) for a state."""
        if self.gravity == 0:
            return state.q.new_zeros(len(state.q), len(self.skeleton.contact_points))
        max_height = self.settings.contact_height if max_height is None else max_height
        contacts, body = self.chain.points(self.skeleton.contact_points), State(state.q, state.log_scales)
        points = Kinematics(self.chain, body, contacts).points
        return contact_belief(points, torch.as_tensor(time), self.settings.contact_speed, max_height)


def _by_name(s: Mapping[str, float], coordinate: Coordinate) -> float:
    """The value of a coordinate; of one that only a model file has, the pelvis' (slides) or the largest (hinges)."""
    own = next((x for key, x in s.items() if coordinate.name.startswith(key)), None)
    if own is not None:
        return own
    return s["pelvis_translation"] if coordinate.kind == "slide" else max(s.values())


def _posture_prior(skeleton: Skeleton, settings: EstimationSettings) -> PosturePrior | None:
    """Usual postures; None for a skeleton whose coordinates may mean something else than the human tree's."""
    prior = PosturePrior.load()
    if not {*prior.names} <= {*skeleton.coordinate_names, *UP}:
        return None
    prior = prior.marginal([*skeleton.coordinate_names, *UP])
    return prior.widened(dict.fromkeys(UP, settings.attitude_spread))


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


def frame_weights(time: Tensor) -> Tensor:
    """Seconds each frame stands for (T,): half the way to its neighbours."""
    if len(time) == 1:
        return torch.full((1,), 1e6, dtype=torch.float64)  # a single frame stands for all there is
    dt = time.diff()
    edge = torch.cat([dt[:1], (dt[1:] + dt[:-1]) / 2, dt[-1:]])
    return edge


def stature_gradient(chain: KinematicChain) -> Tensor:
    """d(log stature)/d(log scale) (G,) at unit scale, standing; zero for a body without a head of its own, or feet."""
    skeleton = chain.skeleton
    if "head" not in skeleton.body_names or not skeleton.contact_points:
        return torch.zeros(len(skeleton.scale_groups), dtype=torch.float64)
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
