"""The terms that markers bring: how far each is from its place on the body, and how sure that place is."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    factor: Tensor = field(default_factory=lambda: torch.ones(1, 1, dtype=torch.float64))  # (T, 1) of the whole loss
    name: str = "markers"
    per_frame: ClassVar[tuple[str, ...]] = ("target", "weight", "factor")

    def __post_init__(self) -> None:
        seen = torch.isfinite(self.target).all(-1)
        self.weight = torch.where(seen, self.weight, 0.0)
        self.target = torch.where(seen[..., None], self.target, 0.0)
        self.factor = self.factor.expand(len(self.target), 1)

    def residual(self, kin: Kinematics) -> Tensor:
        """(T, M, 3) [m], body minus marker; meaningless where the weight is 0."""
        return kin.points[:, : self.target.shape[1]] - self.target

    def believed(self, kin: Kinematics) -> Tensor:
        """(T, M) [1/m^2] the weights that are left to markers as far off as they are."""
        r2 = (self.residual(kin) ** 2).sum(-1)
        return self.factor * self.weight * robust(r2 * self.weight, self.robust_scale)[1]

    def frame_costs(self, state: State, kin: Kinematics) -> Tensor:
        loss, _ = robust((self.residual(kin) ** 2).sum(-1) * self.weight, self.robust_scale)
        return 0.5 * (self.factor * loss).sum(1)

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        r = self.residual(kin)
        w = self.believed(kin).sqrt()[..., None]
        T, M = self.weight.shape
        J, Js = (w[..., None] * D[:, :M] for D in (kin.J, kin.Js))
        system.add_frame((w * r).reshape(T, -1), J.reshape(T, 3 * M, -1), Js.reshape(T, 3 * M, Js.shape[-1]))


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
