"""The terms that markers bring: how far each is from its place on the body, and how sure that place is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physpose.estimation.banded import BorderedSystem, chained
from physpose.estimation.state import Kinematics, MarkerState, State
from physpose.estimation.terms import FrameTerm, robust


@dataclass
class MarkerDistance(FrameTerm[State]):
    """Measured marker positions against points of the body, robust."""

    target: Tensor  # (T, M, 3) [m], world; NaN where not seen
    weight: Tensor  # (T, M) [1/m^2]: 1 / sigma^2, 0 where not seen
    robust_scale: float  # [sigma] Cauchy scale
    name: str = "markers"
    per_frame: ClassVar[tuple[str, ...]] = ("target", "weight")

    def __post_init__(self) -> None:
        seen = torch.isfinite(self.target).all(-1)
        self.weight = torch.where(seen, self.weight, 0.0)
        self.target = torch.where(seen[..., None], self.target, 0.0)

    def residual(self, kin: Kinematics) -> Tensor:
        """(T, M, 3) [m], body minus marker; meaningless where the weight is 0."""
        return kin.points[:, : self.target.shape[1]] - self.target

    def believed(self, kin: Kinematics) -> Tensor:
        """(T, M) [1/m^2] the weights that are left to markers as far off as they are."""
        return self.weight * robust((self.residual(kin) ** 2).sum(-1) * self.weight, self.robust_scale)[1]

    def frame_costs(self, state: State, kin: Kinematics) -> Tensor:
        loss, _ = robust((self.residual(kin) ** 2).sum(-1) * self.weight, self.robust_scale)
        return 0.5 * loss.sum(1)

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        w, M = self.believed(kin).sqrt()[..., None], self.target.shape[1]
        r, J, J_scales = w * self.residual(kin), w[..., None] * kin.J[:, :M], w[..., None] * kin.J_scales[:, :M]
        if len(state.registration):
            system.add_points(r, J, J_scales, w[..., None] * kin.R_registered)
        else:
            system.add_frame(r.flatten(1), J.flatten(1, 2), J_scales.flatten(1, 2))


@dataclass
class SlidingSkin:
    """Measured marker positions against points of the body, on skin that slides and lasts: r is an autoregression.

    e_t = (r_t - rho r_{t-1}) / (sigma sqrt(1 - rho^2)) with rho = exp(-dt / correlation time) are white; where a
    marker was not seen in the frame before, e_t = r_t / sigma. Robust in e: a marker that jumps.
    """

    target: Tensor  # (T, M, 3) [m], world; NaN where not seen
    time: Tensor  # (T,) [s]
    sigma: Tensor  # (M,) [m] of each axis
    correlation_time: float  # [s]
    robust_scale: float  # [sigma] Cauchy scale
    name: str = "markers"

    def __post_init__(self) -> None:
        seen = torch.isfinite(self.target).all(-1)
        self.target = torch.where(seen[..., None], self.target, 0.0)
        before = torch.cat([torch.zeros_like(seen[:1]), seen[:-1]])
        rho = torch.exp(-self.time.diff(prepend=self.time[:1]) / self.correlation_time)[:, None]
        self._stay = torch.where(seen & before, rho, 0.0)  # (T, M)
        self._weight = torch.where(seen, 1 / (1 - self._stay**2), 0.0) / self.sigma**2

    def _residual(self, kin: Kinematics) -> Tensor:
        """(T, M, 3) [m], body minus marker; meaningless where none was seen."""
        return kin.points[:, : self.target.shape[1]] - self.target

    def _squares(self, kin: Kinematics) -> Tensor:
        """(T, M) squares of e."""
        r = self._residual(kin)
        news = torch.cat([r[:1], r[1:] - self._stay[1:, :, None] * r[:-1]])
        return (news**2).sum(-1) * self._weight

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * robust(self._squares(kin), self.robust_scale)[0].sum()

    def _precision(self, kin: Kinematics) -> tuple[Tensor, Tensor]:
        """[1/m^2] inverse covariance of each marker's errors, as they are believed: of frames (T, M), and from each to
        the next (T-1, M)."""
        w = self._weight * robust(self._squares(kin), self.robust_scale)[1]
        between = -(w * self._stay)[1:]
        now = w.clone()
        now[:-1] -= between * self._stay[1:]
        return now, between

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        M = self.target.shape[1]
        r, J, Js = (x.flatten(1, 2) for x in (self._residual(kin), kin.J[:, :M], kin.Js[:, :M]))
        system.add_chained(r, J, Js, *(w.repeat_interleave(3, 1) for w in self._precision(kin)))

    def weighed(self, kin: Kinematics, x: Tensor) -> Tensor:
        """Errors x (T, M, 3, ...) of the markers through the inverse of their covariance, as they are believed."""
        return chained(*self._precision(kin), x)


@dataclass
class MarkerOffsets:
    """Where markers are put on the body: each offset about zero, with its own spread along each axis of the body."""

    spread: Tensor  # (M, 3) [m]
    name: str = "marker places"

    def cost(self, state: MarkerState, kin: Kinematics) -> Tensor:
        return 0.5 * ((state.offsets / self.spread) ** 2).sum()

    def add_to(self, system: BorderedSystem, state: MarkerState, kin: Kinematics) -> None:
        n = state.offsets.numel()
        J = torch.zeros(n, state.n_shared, dtype=state.offsets.dtype)
        J[:, state.n_shared - n :] = torch.diag(1 / self.spread.reshape(-1))
        system.add_shared((state.offsets / self.spread).reshape(-1), J)
