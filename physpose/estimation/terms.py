"""The terms of the maximum-a-posteriori problem. Each knows its cost and adds its normal equations; the solver sums.

Residuals are whitened: divided by a standard deviation, and, where errors last (a detector is wrong in the same way
for several frames), weighted by dt / correlation time, so that the answer does not depend on the frame rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.posture_prior import PosturePrior, posture_jacobian, posture_vector
from physpose.estimation.segments import Segments
from physpose.estimation.state import Kinematics, State
from physpose.spatial import quat_conj, quat_log, quat_mul, quat_to_matrix, so3_right_jacobian_inverse

S = TypeVar("S", bound=State)
S_contra = TypeVar("S_contra", bound=State, contravariant=True)


class Term(Protocol[S_contra]):
    """One addend of the objective."""

    name: str

    def cost(self, state: S_contra, kin: Kinematics) -> Tensor:
        """Half the (robust) sum of squared whitened residuals, a scalar."""
        ...

    def add_to(self, system: BorderedSystem, state: S_contra, kin: Kinematics) -> None:
        """Add J'J and J'r, linearised at ``state``."""
        ...


class FrameTerm(Generic[S]):
    """A term whose residuals each belong to one frame."""

    name: str
    per_frame: ClassVar[tuple[str, ...]] = ()  # fields with one row a frame

    def on(self, frames: Tensor) -> Self:
        """The same term on some of its frames."""
        return replace(self, **{f: getattr(self, f)[frames] for f in self.per_frame})  # type: ignore[type-var]

    def frame_costs(self, state: S, kin: Kinematics) -> Tensor:
        """The cost of each frame (T,)."""
        raise NotImplementedError

    def cost(self, state: S, kin: Kinematics) -> Tensor:
        """Half the (robust) sum of squared whitened residuals, a scalar."""
        return self.frame_costs(state, kin).sum()

    def add_to(self, system: BorderedSystem, state: S, kin: Kinematics) -> None:
        """Add J'J and J'r, linearised at ``state``."""
        raise NotImplementedError


def robust(r2: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Cauchy loss rho(r^2) = s^2 log(1 + r^2/s^2) and its weight d rho / d r^2."""
    return scale**2 * torch.log1p(r2 / scale**2), 1 / (1 + r2 / scale**2)


@dataclass
class Limits(FrameTerm[State]):
    """Soft joint ranges (APRS eq. 29, one-sided): zero inside."""

    chain: KinematicChain
    weight: Tensor  # (T, 1) 1/rad^2
    margin: float = 0.0  # [rad] the barrier starts this far inside the range
    sign: Tensor | float = 1.0  # (T, n) and
    offset: Tensor | float = 0.0  # (T, n) [rad]: sign * angles + offset is what has to lie in the range
    name: str = "limits"
    per_frame: ClassVar[tuple[str, ...]] = ("weight",)

    def _residual(self, state: State) -> Tensor:
        x, limits = self.sign * state.q[:, 7:] + self.offset, self.chain.limits
        return torch.relu(x - limits[:, 1] + self.margin) - torch.relu(limits[:, 0] + self.margin - x)

    def frame_costs(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * (self.weight * self._residual(state) ** 2).sum(1)

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        r = self._residual(state)
        columns = torch.arange(6, state.q.shape[1] - 1)
        active = self.weight.sqrt() * (r != 0)
        system.add_diagonal_stencil(active * r, [self.sign * active.expand_as(r)], columns)


@dataclass
class Posture(FrameTerm[State]):
    """What postures people take: a Gaussian mixture from motion capture, weak and with heavy tails."""

    prior: PosturePrior
    coordinate_names: tuple[str, ...]
    weight: Tensor  # (T,) dt / correlation time
    robust_scale: float
    name: str = "posture"
    per_frame: ClassVar[tuple[str, ...]] = ("weight",)

    def _residual(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened residual (T, n) of each frame's best component, its Jacobian on x, and the frame's energy (T,)."""
        r, W, offset = self.prior.linearise(posture_vector(state.q, self.coordinate_names, self.prior.names))
        return r, W, (r**2).sum(-1) + 2 * (offset - self.prior.lowest_offset)

    def frame_costs(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * self.weight * robust(self._residual(state)[2], self.robust_scale)[0]

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        r, W, energy = self._residual(state)
        w = (self.weight * robust(energy, self.robust_scale)[1]).sqrt()[:, None]
        J = W @ posture_jacobian(state.q, self.coordinate_names, self.prior.names)
        system.add_frame(w * r, w[..., None] * J)


@dataclass
class Smoothness:
    """White jerk (order 3) or acceleration (order 2): temporal term (APRS eq. 27) in real time, on the manifold."""

    time: Tensor  # (T,) [s]
    sigma: Tensor  # (nv,) or (T - order, nv) [m/s^3.sqrt(s)...]: root of the highest derivative's spectral density
    order: int = 3
    name: str = "jerk"

    def __post_init__(self) -> None:
        dt = self.time.diff()
        D = torch.diag(1 / dt)  # increments -> velocities
        mid = (self.time[1:] + self.time[:-1]) / 2
        for _ in range(self.order - 1):
            step = mid.diff()
            D = (D[1:] - D[:-1]) / step[:, None]
            mid = (mid[1:] + mid[:-1]) / 2
        rows = torch.arange(D.shape[0])
        # the mean over an interval h of white noise of density s^2 has variance s^2 / h
        h = torch.full_like(mid, float(dt.median()))
        self._coefficients = [
            D[rows, rows + i] * h.sqrt() for i in range(self.order)
        ]  # on increments m .. m + order - 1

    def _increments(self, state: State) -> tuple[Tensor, Tensor]:
        q = state.q
        turn = quat_log(quat_mul(quat_conj(q[:-1, 3:7]), q[1:, 3:7]))
        return torch.cat([q[1:, :3] - q[:-1, :3], turn, q[1:, 7:] - q[:-1, 7:]], -1), turn

    def _residual(self, increments: Tensor) -> Tensor:
        rows = self._coefficients[0].shape[0]
        parts = [c[:, None] * increments[i : i + rows] for i, c in enumerate(self._coefficients)]
        return torch.stack(parts).sum(0) / self.sigma

    def squares(self, state: State) -> Tensor:
        """(nv,) sums of the squared whitened residuals of each unknown."""
        if len(self.time) <= self.order:
            return state.q.new_zeros(state.q.shape[1] - 1)
        return (self._residual(self._increments(state)[0]) ** 2).sum(0)

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * self.squares(state).sum()

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        if len(self.time) <= self.order:
            return
        increments, turn = self._increments(state)
        r = self._residual(increments)
        c = [torch.zeros_like(self._coefficients[0]), *self._coefficients, torch.zeros_like(self._coefficients[0])]
        straight = torch.tensor([0, 1, 2, *range(6, r.shape[1])])
        # increment k = x_{k+1} - x_k, so frame m + i enters with c_{i-1} - c_i
        C = [((a - b)[:, None] / self.sigma)[:, straight] for a, b in zip(c[:-1], c[1:], strict=True)]
        system.add_diagonal_stencil(r[:, straight], C, straight)
        # d log(R0' R1) = Jr^-1 (d1 - R1' R0 d0)
        rows = len(c[0])
        Jinv = so3_right_jacobian_inverse(turn)
        J0 = -Jinv @ quat_to_matrix(turn_conj(state.q))
        s = self.sigma[..., 3:6, None]
        zero = torch.zeros(rows, 3, 3, dtype=turn.dtype)
        on_first = [c[i + 1][:, None, None] * J0[i : i + rows] for i in range(self.order)] + [zero]
        on_second = [zero] + [c[i + 1][:, None, None] * Jinv[i : i + rows] for i in range(self.order)]
        system.add_stencil(r[:, 3:6], [(a + b) / s for a, b in zip(on_first, on_second, strict=True)], slice(3, 6))


def turn_conj(q: Tensor) -> Tensor:
    """Quaternion of R1' R0 for neighbours of q (T, nq): (T-1, 4)."""
    return quat_mul(quat_conj(q[1:, 3:7]), q[:-1, 3:7])


@dataclass
class Floor:
    """Contact points in contact lie on the floor z = 0 and do not slide on it; none is below it."""

    index: slice  # of the contact points in the kinematics' points
    active: Tensor  # (T, C) 0..1: belief in contact
    time: Tensor  # (T,) [s]
    time_weight: Tensor  # (T,)
    sigma_height: float  # [m]
    sigma_slip: float  # [m/s]
    robust_slip: float  # [sigma_slip] Cauchy scale: a sole that rolls on moves a little, and is not held back
    belt: Tensor  # (3,) [m/s] velocity of the floor: 0, or a treadmill's
    sigma_depth: float = 0.02  # [m], of a point below the floor that is not in contact
    name: str = "floor"

    def _height(self, kin: Kinematics) -> tuple[Tensor, Tensor]:
        z = kin.points[:, self.index, 2]
        above = self.active / self.sigma_height**2
        below = (z < 0) * (1 - self.active) / self.sigma_depth**2
        return z, ((above + below) * self.time_weight[:, None]).sqrt()

    def _slip(self, kin: Kinematics) -> tuple[Tensor, Tensor]:
        p = kin.points[:, self.index]
        dt = self.time.diff()[:, None, None]
        both = torch.minimum(self.active[1:], self.active[:-1])
        return (p[1:] - p[:-1]) / dt - self.belt, both * self.time_weight[1:, None]

    def _robust(self, slip: Tensor) -> tuple[Tensor, Tensor]:
        return robust((slip**2).sum(-1) / self.sigma_slip**2, self.robust_slip)

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        z, w = self._height(kin)
        slip, belief = self._slip(kin)
        loss, _ = self._robust(slip)
        return 0.5 * (((w * z) ** 2).sum() + (belief * loss).sum())

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        z, w = self._height(kin)
        J, Js = kin.J[:, self.index], kin.Js[:, self.index]
        system.add_frame(w * z, w[..., None] * J[:, :, 2], w[..., None] * Js[:, :, 2])
        if len(self.time) < 2:
            return
        slip, belief = self._slip(kin)
        w_slip = (belief * self._robust(slip)[1]).sqrt()[..., None] / self.sigma_slip
        k = (w_slip / self.time.diff()[:, None, None])[..., None]
        T1 = slip.shape[0]
        flat = lambda x: x.reshape(T1, -1, x.shape[-1])  # noqa: E731
        system.add_pair(
            (w_slip * slip).reshape(T1, -1), flat(-k * J[:-1]), flat(k * J[1:]), flat(k * (Js[1:] - Js[:-1]))
        )


@dataclass
class Balance(FrameTerm[State]):
    """Standing on the feet, the zero-moment point lies between them: it tells where down is.

    zmp = com - (com_z / g) com_acceleration, horizontally (Vukobratovic and Borovac 2004, without angular momentum).
    """

    segments: Segments
    contact_index: slice
    support_share: Tensor  # (T, C) of each contact point in the middle of the support, summing to one or zero
    shift: Tensor  # (T, 2) [m] zmp - com, from the motion so far
    time_weight: Tensor  # (T,) dt / correlation time; 0 where the feet do not carry the body
    sigma: float  # [m]
    robust_scale: float = 2.0
    name: str = "balance"

    def _residual(self, kin: Kinematics) -> Tensor:
        com = self.segments.com(kin.points)[:, :2]
        support = torch.einsum("tc,tck->tk", self.support_share, kin.points[:, self.contact_index, :2])
        return com + self.shift - support

    def frame_costs(self, state: State, kin: Kinematics) -> Tensor:
        r2 = (self._residual(kin) ** 2).sum(-1) / self.sigma**2
        return 0.5 * self.time_weight * robust(r2, self.robust_scale)[0]

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        r = self._residual(kin)
        loss_weight = robust((r**2).sum(-1) / self.sigma**2, self.robust_scale)[1]
        w = (self.time_weight * loss_weight).sqrt()[:, None] / self.sigma
        J, Js = (
            self.segments.com(D)[:, :2] - torch.einsum("tc,tckn->tkn", self.support_share, D[:, self.contact_index, :2])
            for D in (kin.J, kin.Js)
        )
        system.add_frame(w * r, w[..., None] * J, w[..., None] * Js)


@dataclass
class BodyPrior:
    """Priors of the bone scales and of the stature they give together."""

    scale_sigma: Tensor  # (G,) of log scales
    stature_gradient: Tensor  # (G,) d(log stature)/d(log scale) at unit scale
    stature_sigma: float  # of log stature
    name: str = "body"

    def _residual(self, state: State) -> tuple[Tensor, Tensor]:
        G = state.log_scales.shape[0]
        D = torch.cat([torch.diag(1 / self.scale_sigma), self.stature_gradient[None] / self.stature_sigma])
        J = torch.cat([D, D.new_zeros(G + 1, state.n_own)], 1)
        return D @ state.log_scales, J

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * (self._residual(state)[0] ** 2).sum()

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        system.add_shared(*self._residual(state))
