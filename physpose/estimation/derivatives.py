"""Velocity and acceleration of a trajectory on its manifold, with real time stamps."""

from __future__ import annotations

import torch

from physpose.chain import KinematicChain
from physpose.types import Array


def derivatives(chain: KinematicChain, time: Array, q: Array) -> tuple[Array, Array]:
    """v and a (T, nv) of q (T, nq) at times (T,) [s], second order in the time step.

    With y(s) = q(t)^-1 q(t + s) in exponential coordinates, v = y'(0) and a = dv/dt = y''(0); both from the parabola
    through the neighbours. The first and last frame take their neighbour's acceleration. One frame is at rest.
    """
    Q, t = torch.as_tensor(q), torch.as_tensor(time)
    if len(t) < 2:
        return Q.new_zeros(len(t), chain.nv).numpy(), Q.new_zeros(len(t), chain.nv).numpy()
    h = t.diff()[:, None]
    ahead = chain.difference(Q[:-1], Q[1:]) / h  # at frames 0 .. T-2
    behind = -chain.difference(Q[1:], Q[:-1]) / h  # at frames 1 .. T-1
    if len(t) == 2:
        return torch.cat([ahead, behind]).numpy(), torch.zeros_like(Q[:, : chain.nv]).numpy()
    h0, h1 = h[:-1], h[1:]
    a = 2 * (ahead[1:] - behind[:-1]) / (h0 + h1)
    v = (h0 * ahead[1:] + h1 * behind[:-1]) / (h0 + h1)
    a = torch.cat([a[:1], a, a[-1:]])
    v_first = ahead[:1] - a[:1] * h[:1] / 2
    v_last = behind[-1:] + a[-1:] * h[-1:] / 2
    return torch.cat([v_first, v, v_last]).numpy(), a.numpy()
