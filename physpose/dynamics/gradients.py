"""The contract of an engine: what it is given, what it returns."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from physpose.dynamics.parameters import BodyParameters
from physpose.types import Array


class Seen(NamedTuple):
    """What the checks of q, v, a have found and had to make, for the engines to use."""

    q_norm: float  # no less than the largest number in q; infinite if not known
    few: tuple[Array, ...] | None  # q, v, a of few samples on the CPU as arrays (B, nq), (B, nv), (B, nv)


UNSEEN = Seen(math.inf, None)


class Arguments(NamedTuple):
    """Checked arguments of inverse dynamics, one leading batch dimension."""

    q: Tensor  # (B, nq)
    v: Tensor  # (B, nv)
    a: Tensor  # (B, nv)
    gravity: Tensor  # (3,) or (B, 3)
    external: Tensor | None  # (B, n_bodies, 6)
    parameters: BodyParameters  # unbatched, or B of each
    seen: Seen = UNSEEN

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them in a row."""
        return *self[:5], *self.parameters

    @staticmethod
    def of(tensors: tuple[Tensor | None, ...], seen: Seen = UNSEEN) -> Arguments:
        """The inverse of ``tensors``."""
        q, v, a, gravity, external, *parameters = tensors
        return Arguments(q, v, a, gravity, external, BodyParameters(*parameters), seen)  # type: ignore[arg-type]


class Gradients(NamedTuple):
    """Gradients of sum(u tau), u (B, nv); None where not asked for."""

    q: Tensor  # (B, nq), tangent to the sphere at quaternions
    v: Tensor  # (B, nv)
    a: Tensor  # (B, nv)
    gravity: Tensor | None  # (B, 3)
    external: Tensor | None  # (B, n_bodies, 6)
    parameters: BodyParameters | None  # summed over the samples
