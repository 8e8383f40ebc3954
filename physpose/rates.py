"""Velocity and acceleration of a trajectory on its manifold, with real time stamps; differentiable, any batch."""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.errors import InputError


def rates(chain: KinematicChain, time: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """v and a (*b, T, nv) of q (*b, T, nq) at times (T,) [s], second order in the time step.

    With y(s) = q(t)^-1 q(t + s) in exponential coordinates, v = y'(0) and a = dv/dt = y''(0); both from the parabola
    through the neighbours. The first and last frame take their neighbour's acceleration. One frame is at rest.
    """
    T = q.shape[-2]
    if time.shape != (T,) or not bool((time.diff() > 0).all()):
        raise InputError(f"time has shape {tuple(time.shape)}; ({T},) strictly increasing seconds needed, one a frame")
    nothing = q.new_zeros(*q.shape[:-1], chain.nv)
    if T < 2:
        return nothing, nothing
    h = time.to(q).diff()[:, None]
    ahead = chain.difference(q[..., :-1, :], q[..., 1:, :]) / h  # at frames 0 .. T-2
    behind = -chain.difference(q[..., 1:, :], q[..., :-1, :]) / h  # at frames 1 .. T-1
    if T == 2:
        return torch.cat([ahead, behind], -2), nothing
    h0, h1 = h[:-1], h[1:]
    a = 2 * (ahead[..., 1:, :] - behind[..., :-1, :]) / (h0 + h1)
    v = (h0 * ahead[..., 1:, :] + h1 * behind[..., :-1, :]) / (h0 + h1)
    a = torch.cat([a[..., :1, :], a, a[..., -1:, :]], -2)
    first = ahead[..., :1, :] - a[..., :1, :] * h[:1] / 2
    last = behind[..., -1:, :] + a[..., -1:, :] * h[-1:] / 2
    return torch.cat([first, v, last], -2), a
