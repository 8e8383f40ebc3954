"""Newton and Euler for the whole body: what its motion needs from outside, contacts must give.

    force   m (com'' - g)          = sum f
    moment  d(angular momentum)/dt = sum (p - com) x f          about the centre of mass

Contact forces are unknowns with a Gaussian about the last forces inside their friction cones. They enter linearly and
couple nothing else, so they are eliminated: the residual is whitened by what they can still explain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from physpose.estimation.banded import BorderedSystem
from physpose.estimation.segments import Segments
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import robust, turn_conj
from physpose.spatial import quat_conj, quat_log, quat_mul, quat_to_matrix, skew, so3_right_jacobian_inverse

cross = torch.linalg.cross


@dataclass(frozen=True)
class ForcePrior:
    """What is expected of the forces at the support points."""

    mean: Tensor  # (T, C, 3) [N], world
    sigma: Tensor  # (T, C) [N], of each component


@dataclass(frozen=True)
class Stencil:
    """Weights of neighbours in first and second differences, with real time stamps."""

    h0: Tensor  # (T-2, 1) [s] to the frame before
    h1: Tensor  # (T-2, 1) [s] to the frame after

    @staticmethod
    def of(time: Tensor) -> Stencil:
        h = time.diff()[:, None]
        return Stencil(h[:-1], h[1:])

    @property
    def middle(self) -> Tensor:
        """(T-2, 1) [s] between the middles of both intervals."""
        return (self.h0 + self.h1) / 2

    def second(self) -> tuple[Tensor, Tensor, Tensor]:
        """(T-2, 1) each: x'' = sum of these times x before, now, after."""
        before, after = 1 / (self.h0 * self.middle), 1 / (self.h1 * self.middle)
        return before, -(before + after), after


class Increments:
    """From frame to frame: the step of the unknowns, and its Jacobian on both frames."""

    def __init__(self, state: State):
        q = state.q
        turn = quat_log(quat_mul(quat_conj(q[:-1, 3:7]), q[1:, 3:7]))
        self.step = torch.cat([q[1:, :3] - q[:-1, :3], turn, q[1:, 7:] - q[:-1, 7:]], -1)  # (T-1, nv)
        self._after = so3_right_jacobian_inverse(turn)
        # d log(R0' R1) = Jr^-1 (d1 - R1' R0 d0)
        self._before = self._after @ quat_to_matrix(turn_conj(q))

    def on_before(self, A: Tensor) -> Tensor:
        """A (T-1, m, nv) times d(step)/d(frame before)."""
        return -torch.cat([A[..., :3], A[..., 3:6] @ self._before, A[..., 6:]], -1)

    def on_after(self, A: Tensor) -> Tensor:
        """A (T-1, m, nv) times d(step)/d(frame after)."""
        return torch.cat([A[..., :3], A[..., 3:6] @ self._after, A[..., 6:]], -1)


def angular_momentum(A: Tensor, step: Tensor, time: Tensor) -> Tensor:
    """(T-1, 3) [kg.m^2/s] in the middles between frames, from momentum matrices A (T, 3, nv) and steps (T-1, nv)."""
    between = (A[1:] + A[:-1]) / 2
    return (between @ (step / time.diff()[:, None])[..., None])[..., 0]


def needed_wrench(segments: Segments, state: State, kin: Kinematics, A: Tensor, time: Tensor, g: Tensor) -> Tensor:
    """Force [N] and moment about the centre of mass [N.m] (T, 6), world axes, that the motion needs from outside.

    ``A``: (T, 3, nv), the segments' momentum matrix. The first and last frame take their neighbour's; of fewer than
    three frames the body is taken to be at rest.
    """
    T, weight = len(time), segments.total * g
    if T < 3:
        return torch.cat([-weight.expand(T, 3), torch.zeros(T, 3, dtype=weight.dtype)], -1)
    stencil, com = Stencil.of(time), segments.com(kin.points)
    force = segments.total * sum(c * com[i : T - 2 + i] for i, c in enumerate(stencil.second())) - weight
    momentum = angular_momentum(A, Increments(state).step, time)
    wrench = torch.cat([force, momentum.diff(dim=0) / stencil.middle], -1)
    return torch.cat([wrench[:1], wrench, wrench[-1:]])


def whitening(arms: Tensor, sigma_force: Tensor, sigma: tuple[float, float]) -> Tensor:
    """W (T, 6, 6) that makes (force, moment) residuals white: forces at ``arms`` (T, C, 3) may differ by sigma_force.

    covariance = diag(sigma^2) + sum sigma_force^2 G G', G = [1; [arm]x]; ``sigma``: of force [N] and moment [N.m].
    """
    S = skew(arms)
    eye = torch.eye(3, dtype=arms.dtype).expand_as(S)
    G = torch.cat([eye, S], -2) * sigma_force[..., None, None]
    own = torch.diag(torch.tensor([sigma[0]] * 3 + [sigma[1]] * 3, dtype=arms.dtype) ** 2)
    L = torch.linalg.cholesky((G @ G.mT).sum(1) + own)
    return torch.linalg.solve_triangular(L, torch.eye(6, dtype=arms.dtype).expand_as(L), upper=False)


@dataclass
class RootWrench:
    """The wrench on the whole body that contacts do not explain is zero."""

    segments: Segments
    support_index: Tensor  # (C,) of the support points among the kinematics' points
    time: Tensor  # (T,) [s], at least three
    gravity: Tensor  # (3,) [m/s^2]
    axis_scales: Tensor  # (n_bodies, 3), as they were: the inertias follow from one linearisation to the next
    forces: Tensor  # (T, C, 3) [N], expected
    whiten: Tensor  # (T, 6, 6)
    time_weight: Tensor  # (T,) dt / correlation time
    robust_scale: float  # [sigma] of all six together: someone who is carried is no outlier to bend to
    name: str = "root wrench"
    _last: tuple[Kinematics, Tensor] | None = field(default=None, init=False, repr=False)

    def _momentum_matrix(self, kin: Kinematics) -> Tensor:
        """(T, 3, nv); kept, since cost and Jacobian both ask for it."""
        if self._last is None or self._last[0] is not kin:
            self._last = (kin, self.segments.momentum_matrix(kin, self.axis_scales))
        return self._last[1]

    def _residual(self, state: State, kin: Kinematics) -> Tensor:
        """(T-2, 6), whitened."""
        wrench = needed_wrench(self.segments, state, kin, self._momentum_matrix(kin), self.time, self.gravity)
        arm = kin.points[:, self.support_index] - self.segments.com(kin.points)[:, None]
        given = torch.cat([self.forces.sum(1), cross(arm, self.forces).sum(1)], -1)
        return ((self.whiten @ (wrench - given)[..., None])[..., 0])[1:-1]

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        r2 = (self._residual(state, kin) ** 2).sum(-1)
        return 0.5 * (self.time_weight[1:-1] * robust(r2, self.robust_scale)[0]).sum()

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        r = self._residual(state, kin)
        w = (self.time_weight[1:-1] * robust((r**2).sum(-1), self.robust_scale)[1]).sqrt()
        W = w[:, None, None] * self.whiten[1:-1]
        J = [W @ Ji for Ji in self.jacobian(state, kin)]
        system.add_neighbours(w[:, None] * r, J, W @ self.shared_jacobian(kin))

    def jacobian(self, state: State, kin: Kinematics) -> list[Tensor]:
        """On the frames before, now, after: (T-2, 6, nv) each; the momentum matrix is taken as it is."""
        T, stencil, steps = len(self.time), Stencil.of(self.time), Increments(state)
        J_com = self.segments.com(kin.J)
        force = [self.segments.total * c[..., None] * J_com[i : T - 2 + i] for i, c in enumerate(stencil.second())]
        A = self._momentum_matrix(kin)
        rate = (A[1:] + A[:-1]) / 2 / self.time.diff()[:, None, None]
        before, after = steps.on_before(rate), steps.on_after(rate)
        middle = stencil.middle[..., None]
        arms = self._arm_moments(kin.J[:, self.support_index], J_com)
        moment = [-before[:-1] / middle, (before[1:] - after[:-1]) / middle + arms, after[1:] / middle]
        return [torch.cat([f, m], -2) for f, m in zip(force, moment, strict=True)]

    def shared_jacobian(self, kin: Kinematics) -> Tensor:
        """(T-2, 6, n_shared): of longer bones, the centre of mass and the arms; not the angular momentum."""
        T, stencil = len(self.time), Stencil.of(self.time)
        J_com = self.segments.com(kin.Js)
        force = sum(self.segments.total * c[..., None] * J_com[i : T - 2 + i] for i, c in enumerate(stencil.second()))
        moment = self._arm_moments(kin.Js[:, self.support_index], J_com)
        return torch.cat([torch.as_tensor(force), moment], -2)

    def _arm_moments(self, J: Tensor, J_com: Tensor) -> Tensor:
        """d(-sum arm x force) (T-2, 3, n) from the Jacobians of support points (T, C, 3, n) and centre of mass."""
        # -(dp - dcom) x f = [f]x (dp - dcom)
        F = skew(self.forces[1:-1])
        return F.transpose(1, 2).flatten(2) @ J[1:-1].flatten(1, 2) - F.sum(1) @ J_com[1:-1]
