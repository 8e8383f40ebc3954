"""What every fit knows of the person, whatever is observed: body, posture, motion, floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.contact import belt_velocity, contact_belief, outside_feet, raised_belief, smoothed
from physpose.estimation.forces import ForceSettings, believed_sigma, contact_forces, evenly_shared
from physpose.estimation.holds import hold_belief, holding_last
from physpose.estimation.posture_prior import UP, PosturePrior
from physpose.estimation.segments import Segments, centres, segments
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import S, Solution, solve
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import Balance, BodyPrior, Floor, FrameTerm, Limits, Posture, Smoothness, Term
from physpose.estimation.weightless import weightless
from physpose.estimation.wrench import ForcePrior, RootWrench, needed_wrench, whitening
from physpose.skeleton.model import Coordinate, Point, Skeleton
from physpose.spatial import quat_to_matrix
from physpose.types import Array

EARTH_GRAVITY = 9.81  # [m/s^2]
# the same motion c times as fast: the root of jerk's spectral density grows by c^(5/2), of acceleration's by c^(3/2)
TEMPO = 3 / 5


class MotionProblem:
    """The terms of one person's motion; a subclass adds those of its observations."""

    start_damping = 1e-3  # of Levenberg and Marquardt

    def __init__(
        self,
        chain: KinematicChain,
        observed: tuple[Point, ...],
        settings: EstimationSettings | None = None,
        gravity: float | Array = EARTH_GRAVITY,
    ):
        """``observed``: body points that the observations look at, the first of ``points``. ``gravity`` [m/s^2]: its
        size, or (3,) where the floor z = 0 slopes."""
        self.chain, self.skeleton = chain, chain.skeleton
        self.settings = settings or EstimationSettings()
        self.gravity_vector = gravity_of(gravity)  # (3,) [m/s^2], world
        self.gravity = float(self.gravity_vector.norm())
        self.pace = 1.0  # jerk against that of people who walk
        support, masses = self.skeleton.support_points, centres(chain)
        self.points: Points = chain.points(observed + support + masses)
        self.observed_index = slice(0, len(observed))
        self.contact_index = slice(len(observed), len(observed) + len(self.skeleton.contact_points))
        self.support_index = slice(len(observed), len(observed) + len(support))
        self.segments = segments(chain, self.support_index.stop)
        self.body = _BodyPoints(chain.points(support + masses), segments(chain, len(support)), len(support))
        self.prior = _posture_prior(self.skeleton, self.settings, self.gravity)
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
        """How fast velocities and accelerations change in people who walk, and at another pace."""
        s = self.settings
        acceleration = self.pace**TEMPO * self.spread_of_coordinates(s.acceleration_sigma)
        return [
            Smoothness(time, self.pace * self.spread_of_coordinates(s.jerk_sigma), 3, "jerk"),
            Smoothness(time, acceleration, 2, "acceleration"),
        ]

    def floor_terms(self, state: State, time: Tensor, support: Support, rate: Tensor) -> list[Term[State]]:
        """The floor under points in contact, and the forces, or without them balance over the feet."""
        found: list[Term[State]] = []
        s = self.settings
        if self.has_floor and s.physics != "none":
            floor_rate = (rate / s.contact_time_constant).clamp(max=1.0)
            found.append(
                Floor(
                    self.contact_index, support.contact, time, floor_rate, sigma_height=s.sigma_floor,
                    sigma_slip=s.sigma_slip, robust_slip=s.slip_robust, belt=self.belt(state),
                )
            )  # fmt: skip
            if support.forces is None:
                found.append(self._balance(state, time, support.contact, rate))
        if support.forces is not None:
            found.append(self._root_wrench(state, time, support.forces, rate))
        return found

    def _balance(self, state: State, time: Tensor, contact: Tensor, rate: Tensor) -> Balance:
        s = self.settings
        points = Kinematics(self.chain, state, self.points).points
        com = self.segments.com(points)
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
            g = self.gravity_vector
            shift = (com[:, 2:] - feet[:, 2:]) / g[2] * (acceleration - g[:2])
        time_weight = (rate / s.balance_correlation_time).clamp(max=1.0) * carried
        return Balance(self.segments, self.contact_index, support, shift, time_weight, s.balance_sigma)

    def _root_wrench(self, state: State, time: Tensor, forces: ForcePrior, rate: Tensor) -> RootWrench:
        s = self.settings
        points = Kinematics(self.chain, state, self.points).points
        arms = points[:, self.support_index] - self.segments.com(points)[:, None]
        weight, stature = self.scales
        sigma = (s.wrench_sigma[0] * weight, s.wrench_sigma[1] * weight * stature)
        return RootWrench(
            segments=self.segments, support_index=torch.arange(len(points[0]))[self.support_index], time=time,
            gravity=self.gravity_vector, axis_scales=self.chain.axis_scales(state.log_scales), forces=forces.mean,
            whiten=whitening(arms, forces.sigma, sigma),
            time_weight=(rate / s.wrench_correlation_time).clamp(max=1.0), robust_scale=s.wrench_robust,
        )  # fmt: skip

    def paced(self, factor: float) -> Self:
        """The same of somebody who moves as much more vigorously."""
        other = copy(self)
        other.pace = self.pace * factor
        return other

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
            damping=self.start_damping, on_iteration=on_iteration,
        )  # fmt: skip

    # --- contacts and forces ----------------------------------------------------------------------------------------

    @property
    def has_floor(self) -> bool:
        """Is there one to stand on; without weight there is none."""
        return self.settings.floor and self.gravity > 0

    @property
    def scales(self) -> tuple[float, float]:
        """Body weight [N], on earth where nothing weighs anything, and stature [m]: of forces and moments."""
        stature = self.skeleton.subject.height if self.skeleton.subject else 1.7
        return self.skeleton.mass * (self.gravity or EARTH_GRAVITY), stature

    def no_support(self, n_frames: int) -> Support:
        """Nothing touches anything, and no force is asked for."""
        return Support(torch.zeros(n_frames, len(self.skeleton.contact_points), dtype=torch.float64), None)

    def support_of(self, state: State, time: Array, max_height: float | None = None, *, forces: bool = True) -> Support:
        """What bears the body in a state: contacts, and in full physics the forces that its motion needs there."""
        contact = self.contacts_of(state, time, max_height)
        if not forces or self.settings.physics != "full" or len(time) < 3:
            return Support(contact, None)
        return Support(contact, self.forces_of(state, time))

    def contacts_of(self, state: State, time: Array, max_height: float | None = None) -> Tensor:
        """Belief (T, C) that contact points rest on the floor in a state."""
        s = self.settings
        return self._low_and_slow(state, time, s.contact_speed, s.contact_height if max_height is None else max_height)

    def bearing_of(self, state: State, time: Array) -> Tensor:
        """Belief (T, C) that support points bear a force in a state: on the floor or something higher, or on a seat."""
        t = torch.as_tensor(time)
        return self._bearing(state, t, *self.body.wrench(self.chain, state, t, self.gravity_vector))

    def _may_bear(self, state: State, time: Tensor, wrench: Tensor, arms: Tensor, kin: Kinematics) -> Tensor:
        """As ``bearing_of``, but under hips as low as on a chair there may be one, wherever the weight seems to act:
        while the direction of gravity is being found, that is not known."""
        belief = self._bearing(state, time, wrench, arms, kin)
        seat = self._seat
        if self.has_floor and seat.stop > seat.start:
            low = smoothed(self._low_hips(state, kin), time, self.settings.seat_time)
            belief[:, seat] = torch.maximum(belief[:, seat], low[:, None])
        return belief

    @property
    def _seat(self) -> slice:
        """Of the support points, those that someone sits on."""
        n = len(self.skeleton.contact_points)
        return slice(n, n + len(self.skeleton.seat_points))

    def _low_hips(self, state: State, kin: Kinematics) -> Tensor:
        """Belief (T,) that the hips are as low over the feet as on a chair."""
        feet = kin.points[:, : len(self.skeleton.contact_points), 2].amin(1)
        height = (state.q[:, 2] - feet) / float(self.skeleton.neutral[2])
        return torch.sigmoid((self.settings.seat_height - height) / 0.03)

    def belt(self, state: State) -> Tensor:
        """(3,) [m/s] velocity of what is stood on: a treadmill's belt."""
        return belt_velocity(self.settings.treadmill, quat_to_matrix(state.q[:, 3:7]))

    def _underfoot(self, state: State, time: Tensor, points: Tensor) -> Tensor:
        """Points (T, C, 3) as seen from what is stood on."""
        return points - self.belt(state) * (time - time[0])[:, None, None]

    def _low_and_slow(self, state: State, time: Array, max_speed: float, max_height: float) -> Tensor:
        n = len(self.skeleton.contact_points)
        if not self.has_floor:
            return state.q.new_zeros(len(state.q), n)
        t = torch.as_tensor(time)
        points = self._underfoot(state, t, self.body.kinematics(self.chain, state).points[:, :n])
        return contact_belief(points, t, max_speed, max_height)

    def _bearing(self, state: State, time: Tensor, wrench: Tensor, arms: Tensor, kin: Kinematics) -> Tensor:
        belief = state.q.new_zeros(arms.shape[:2])
        holds = self.skeleton.hold_points
        first = self._seat.stop
        belief[:, first:] = hold_belief(kin.points[:, first : first + len(holds)], time, holds, self.settings)
        if self.has_floor and self.skeleton.contact_points:
            belief[:, :first] = self._standing_or_sitting(state, time, wrench, arms, kin)
        return belief

    def _standing_or_sitting(self, state: State, time: Tensor, wrench: Tensor, arms: Tensor, kin: Kinematics) -> Tensor:
        """Belief (T, C) that contact points and seat points bear a force."""
        s, n, (weight, stature) = self.settings, len(self.skeleton.contact_points), self.scales
        points = self._underfoot(state, time, kin.points[:, :n])
        floor = contact_belief(points, time, s.bearing_speed, s.bearing_height)
        raised = raised_belief(points, time, wrench[:, 2] / weight, s.contact_speed) * (1 - floor.amax(1, keepdim=True))
        feet = torch.maximum(floor, raised)
        outside = outside_feet(wrench, arms[:, :n], feet, s.seat_reach * stature)
        seat = smoothed(self._low_hips(state, kin) * outside, time, s.seat_time)
        return torch.cat([feet, seat[:, None].expand(-1, len(self.skeleton.seat_points))], 1)

    def forces_of(self, state: State, time: Array, belief: Tensor | None = None) -> ForcePrior:
        """The most probable forces in a state, and how far they may be off.

        ``belief``: (T, C) that support points bear some, where down is known; None: found, and wherever hips are low
        there may be a seat.
        """
        s, (weight, stature) = self.settings, self.scales
        t = torch.as_tensor(time)
        wrench, arms, kin = self.body.wrench(self.chain, state, t, self.gravity_vector)
        belief = self._may_bear(state, t, wrench, arms, kin) if belief is None else belief
        numbers = ForceSettings(
            wrench_sigma=s.wrench_sigma, force_sigma=s.force_sigma, no_force_sigma=s.no_force_sigma
        )  # fmt: skip
        n_holds = len(self.skeleton.hold_points)
        even = evenly_shared(wrench, holding_last(belief, n_holds))
        found = contact_forces(
            t, wrench, arms, belief, weight=weight, stature=stature, mean=even, settings=numbers, n_holds=n_holds
        )  # fmt: skip
        sigma = weight * believed_sigma(belief, s.no_force_sigma, s.force_sigma)
        pull = self._pull(found.residual, arms) * self._standing(state, kin)[:, None, None]
        return ForcePrior(found.force - sigma[..., None] ** 2 * pull, sigma)

    def _pull(self, residual: Tensor, arms: Tensor) -> Tensor:
        """G' W r (T, C, 3), for the forces about which the root wrench's term is built.

        With sigma^2 times this taken from the best forces, the term's gradient is that of the least cost over all
        forces, evenly shared ones being expected: the weight acts near the middle of the feet.
        """
        s, (weight, stature) = self.settings, self.scales
        scale = torch.tensor([s.wrench_sigma[0] * weight] * 3 + [s.wrench_sigma[1] * weight * stature] * 3).to(residual)
        force, moment = (residual / scale**2)[:, None].split(3, dim=-1)
        return force + torch.linalg.cross(moment.expand_as(arms), arms)

    def _standing(self, state: State, kin: Kinematics) -> Tensor:
        """Belief (T,) that the feet carry the body: who is lower may sit, and the weight acts elsewhere."""
        feet = kin.points[:, : len(self.skeleton.contact_points), 2].amin(1)
        height = (state.q[:, 2] - feet) / float(self.skeleton.neutral[2])
        return torch.sigmoid((height - self.settings.standing_height) / 0.03)


@dataclass(frozen=True)
class Support:
    """What bears the body, as it was found for a state."""

    contact: Tensor  # (T, C) belief that contact points rest on the floor
    forces: ForcePrior | None  # at the support points; None: they are not asked for


@dataclass(frozen=True)
class _BodyPoints:
    """The support points and centres of mass, without what is observed."""

    points: Points
    segments: Segments
    n_support: int

    def kinematics(self, chain: KinematicChain, state: State) -> Kinematics:
        return Kinematics(chain, State(state.q, state.log_scales), self.points)

    def wrench(
        self, chain: KinematicChain, state: State, time: Tensor, gravity: Tensor
    ) -> tuple[Tensor, Tensor, Kinematics]:
        """Needed wrench (T, 6) about the centre of mass, arms (T, C, 3) of the support points from there."""
        kin = self.kinematics(chain, state)
        A = self.segments.momentum_matrix(kin, chain.axis_scales(state.log_scales))
        wrench = needed_wrench(self.segments, state, kin, A, time, gravity)
        return wrench, kin.points[:, : self.n_support] - self.segments.com(kin.points)[:, None], kin


def _by_name(s: Mapping[str, float], coordinate: Coordinate) -> float:
    """The value of a coordinate; of one that only a model file has, the pelvis' (slides) or the largest (hinges)."""
    own = next((x for key, x in s.items() if coordinate.name.startswith(key)), None)
    if own is not None:
        return own
    return s["pelvis_translation"] if coordinate.kind == "slide" else max(s.values())


def _posture_prior(skeleton: Skeleton, settings: EstimationSettings, gravity: float) -> PosturePrior | None:
    """Usual postures under ``gravity`` [m/s^2]; None for a skeleton whose coordinates may not be the human tree's."""
    prior = PosturePrior.load()
    if not {*prior.names} <= {*skeleton.coordinate_names, *UP}:
        return None
    prior = prior.marginal([*skeleton.coordinate_names, *UP])
    if gravity == 0:
        return weightless(prior)
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


def gravity_of(gravity: float | Array) -> Tensor:
    """(3,) [m/s^2] from a size, along -z, or from itself."""
    g = np.asarray(gravity, float)
    return torch.as_tensor(g if g.ndim else np.array([0.0, 0.0, -float(g)]))


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
