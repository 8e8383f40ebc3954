"""Inverse dynamics as batched tensor operations: the reference engine, any dtype and device, differentiable twice."""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.gradients import Arguments
from physpose.dynamics.kinematics import Poses, accelerations, poses, subtree_sum, velocities
from physpose.dynamics.parameters import BodyParameters
from physpose.spatial import matvec

cross = torch.linalg.cross


def forward(chain: KinematicChain, arguments: Arguments) -> Tensor:
    """tau (B, nv) by Newton-Euler in world axes."""
    q, v, a, gravity, external, parameters = arguments[:6]
    x = poses(chain, q, parameters)
    V, A = velocities(chain, x, v), accelerations(chain, x, v, a)
    F = inertial_wrenches(x, V, A, gravity, parameters)
    if external is not None:
        F = F - at_reference(x, external)
    # tau_j = S_j . (sum of the wrenches on all bodies that coordinate j moves)
    return (x.S * subtree_sum(chain, F)).sum(-1)


def inertial_wrenches(x: Poses, V: Tensor, A: Tensor, gravity: Tensor, parameters: BodyParameters) -> Tensor:
    """Wrench (*b, n_bodies, 6) [force, moment at c], world axes, that moves each body as V, A say, gravity apart."""
    (v, w), (dv, dw) = split(V), split(A)
    r = com_from_reference(x, parameters)
    # classical acceleration of the centre of mass: a = A_lin + dw x r + w x (V_lin + w x r)
    a_com = dv + cross(dw, r) + cross(w, v + cross(w, r))
    # f = m (a - g)
    f = parameters.mass[..., None] * (a_com - gravity[..., None, :])
    # n = I dw + w x I w, about the centre of mass
    n = turn_inertia(x, parameters, dw) + cross(w, turn_inertia(x, parameters, w))
    return torch.cat([f, n + cross(r, f)], -1)


def momenta(x: Poses, V: Tensor, parameters: BodyParameters) -> Tensor:
    """Momentum (*b, n_bodies, 6) [linear, angular at c] of each body, world axes."""
    v, w = split(V)
    r = com_from_reference(x, parameters)
    # p = m (V_lin + w x r), L = I w + r x p
    p = parameters.mass[..., None] * (v + cross(w, r))
    return torch.cat([p, turn_inertia(x, parameters, w) + cross(r, p)], -1)


def com_from_reference(x: Poses, parameters: BodyParameters) -> Tensor:
    """Centres of mass of the bodies, seen from c (*b, n_bodies, 3) [m], world axes."""
    return x.p - x.c[..., None, :] + matvec(x.R, parameters.com.expand_as(x.p))


def turn_inertia(x: Poses, parameters: BodyParameters, w: Tensor) -> Tensor:
    """R I R^T w (*b, n_bodies, 3): the inertia about the centre of mass applied in world axes."""
    return matvec(x.R, matvec(parameters.inertia, matvec(x.R.mT, w)))


def at_reference(x: Poses, wrench: Tensor) -> Tensor:
    """Wrenches (*b, n_bodies, 6) at the bodies' origins, moved to c; world axes."""
    f, n = split(wrench)
    return torch.cat([f, n + cross(x.p - x.c[..., None, :], f)], -1)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., :3], x[..., 3:]
