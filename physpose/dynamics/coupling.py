"""Joints whose coordinates are functions of others: z = phi(q), as OpenSim's CustomJoint and coupled coordinates are.

The chain consists of single-axis joints z; the user's coordinates s are fewer or other ones. With phi given,
    zd = phi' sd,    zdd = phi' sdd + phi'' sd^2,    tau_s = phi'^T tau_z,
and the recursion itself never sees s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.functional import jvp

from physpose.chain import KinematicChain
from physpose.dynamics.algorithms import rnea
from physpose.dynamics.checks import External, Gravity
from physpose.dynamics.parameters import BodyParameters
from physpose.dynamics.pinocchio_backend import GRAVITY
from physpose.errors import InputError

CoordinateFunctions = Callable[[Tensor], Tensor]  # s (*b, k) -> z (*b, n_z), twice differentiable, sample by sample


class ChainState(NamedTuple):
    """The chain's own q, v, a."""

    q: Tensor  # (*b, nq)
    v: Tensor  # (*b, nv)
    a: Tensor  # (*b, nv)


def expand(chain: KinematicChain, phi: CoordinateFunctions, q: Tensor, v: Tensor, a: Tensor) -> ChainState:
    """The chain's state for reduced q (*b, m_q + k), v and a (*b, m_v + k).

    The free-flyer and balls before the first coordinate (m_q, m_v columns) stay; phi maps the k that follow to z.
    """
    m_q, m_v = _kept_columns(chain)
    s, sd, sdd = q[..., m_q:], v[..., m_v:], a[..., m_v:]
    if sd.shape != s.shape or sdd.shape != s.shape:
        given = ", ".join(str(tuple(x.shape)) for x in (q, v, a))
        raise InputError(f"q, v, a have shapes {given}; after {m_q}, {m_v}, {m_v} columns they must agree")

    def rates(s: Tensor, sd: Tensor) -> Tensor:
        return jvp(phi, s, sd, create_graph=True)[1]

    z = phi(s)
    zd, zdd = jvp(rates, (s, sd), (sd, sdd), create_graph=True)
    if z.shape != (*s.shape[:-1], chain.nq - m_q):
        raise InputError(f"phi gives z of shape {tuple(z.shape)}; {(*s.shape[:-1], chain.nq - m_q)} needed")
    parts = (q[..., :m_q], z), (v[..., :m_v], zd), (a[..., :m_v], zdd)
    return ChainState(*(torch.cat(x, -1) for x in parts))


def coupled_rnea(
    chain: KinematicChain,
    phi: CoordinateFunctions,
    q: Tensor,
    v: Tensor,
    a: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
    engine: str = "auto",
) -> Tensor:
    """Generalized forces (*b, m_v + k) of the reduced coordinates of ``expand``: tau_s = phi'^T tau_z."""
    m_q, m_v = _kept_columns(chain)
    x = expand(chain, phi, q, v, a)
    tau = rnea(chain, *x, gravity=gravity, external=external, parameters=parameters, engine=engine)
    with torch.enable_grad():
        s = q[..., m_q:]
        s = s if s.requires_grad else s.detach().requires_grad_()
        (tau_s,) = torch.autograd.grad(phi(s), s, tau[..., m_v:], create_graph=tau.requires_grad)
    return torch.cat([tau[..., :m_v], tau_s], -1)


def _kept_columns(chain: KinematicChain) -> tuple[int, int]:
    """Columns of q and v before the first coordinate; balls after it have no place in z."""
    kinds = [b.joint.kind for b in chain.skeleton.bodies if b.joint.kind != "fixed"]
    first = kinds.index("chain") if "chain" in kinds else len(kinds)
    if set(kinds[first:]) - {"chain"}:
        raise InputError(
            f"{chain.skeleton.name} has a ball joint after its first coordinate: phi maps coordinates only"
        )
    moved = [b.joint for b in chain.skeleton.bodies if b.joint.kind != "fixed"][:first]
    return sum(j.nq for j in moved), sum(j.nv for j in moved)
