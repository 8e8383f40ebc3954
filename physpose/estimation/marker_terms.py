"""The terms that markers bring: how far each is from its place on the body, and how sure that place is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physpose.estimation.banded import BorderedSystem
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
        r = self.residual(kin)
        w = self.believed(kin).sqrt()[..., None]
        T, M = self.weight.shape
        J, Js = (w[..., None] * D[:, :M] for D in (kin.J, kin.Js))
        system.add_frame((w * r).reshape(T, -1), J.reshape(T, 3 * M, -1), Js.reshape(T, 3 * M, Js.shape[-1]))


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

    def _news(self, x: Tensor) -> Tensor:
        """x_t - rho x_{t-1} of what markers carry (T, M, ...)."""
        stay = self._stay[1:].reshape(*self._stay[1:].shape, *[1] * (x.ndim - 2))
        return torch.cat([x[:1], x[1:] - stay * x[:-1]])

    def _whitened(self, kin: Kinematics) -> tuple[Tensor, Tensor]:
        """(T, M, 3) [m] unweighted, and (T, M) their squares over their variance."""
        news = self._news(kin.points[:, : self.target.shape[1]] - self.target)
        return news, (news**2).sum(-1) * self._weight

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        return 0.5 * robust(self._whitened(kin)[1], self.robust_scale)[0].sum()

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        news, r2 = self._whitened(kin)
        w = (self._weight * robust(r2, self.robust_scale)[1]).sqrt()[..., None]
        M = self.target.shape[1]
        flat = lambda x: x.flatten(1, 2)  # noqa: E731
        now, back = w[..., None] * kin.J[:, :M], (-w * self._stay[..., None])[1:, ..., None] * kin.J[:-1, :M]
        r, Js = flat(w * news), w[..., None] * self._news(kin.Js[:, :M])
        system.add_frame(r[:1], flat(now[:1]), flat(Js[:1]), first=True)
        if len(self.time) > 1:
            system.add_pair(r[1:], flat(back), flat(now[1:]), flat(Js[1:]))

    def weighed(self, kin: Kinematics, x: Tensor) -> Tensor:
        """Errors x (T, M, 3, ...) of the markers through the inverse of their covariance, as they are believed."""
        r2 = self._whitened(kin)[1]
        w = self._weight * robust(r2, self.robust_scale)[1]
        e = w.reshape(*w.shape, *[1] * (x.ndim - 2)) * self._news(x)
        stay = self._stay[1:].reshape(*self._stay[1:].shape, *[1] * (x.ndim - 2))
        return torch.cat([e[:-1] - stay * e[1:], e[-1:]])


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
