"""Velocity and acceleration of a trajectory, as arrays."""

from __future__ import annotations

import torch

from physpose.chain import KinematicChain
from physpose.rates import rates
from physpose.types import Array


def derivatives(chain: KinematicChain, time: Array, q: Array) -> tuple[Array, Array]:
    """v and a (T, nv) of q (T, nq) at times (T,) [s]: ``physpose.rates.rates`` on arrays."""
    v, a = rates(chain, torch.as_tensor(time), torch.as_tensor(q))
    return v.numpy(), a.numpy()
