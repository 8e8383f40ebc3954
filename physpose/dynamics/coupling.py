"""Joints whose coordinates are functions of others: z = phi(s), as OpenSim's CustomJoint and coupled coordinates are.

For a skeleton with a coordinate map every function of ``algorithms`` begins with ``expand`` and, where it returns
generalized forces or a matrix, ends with a reduction; the recursions know the joints' own coordinates z only:
    zd = phi' sd,    zdd = phi' sdd + phi'' sd^2,    tau_s = phi'^T tau_z,    M_s = phi'^T M_z phi'.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.checks import check_reduced
from physpose.expansion import Expanded, Expansion


class ChainState(NamedTuple):
    """The state of ``chain.expanded``, and the way back."""

    q: Tensor  # (*b, nq_z)
    v: Tensor  # (*b, nv_z); zeros where none was given
    a: Tensor  # (*b, nv_z)
    phi: Expansion
    derivatives: Expanded

    def forces(self, tau: Tensor) -> Tensor:
        """Generalized forces (*b, nv) on the reduced coordinates of those (*b, nv_z) on the joints' own."""
        return self.phi.reduce(self.derivatives, tau)

    def columns(self, J: Tensor) -> Tensor:
        """Derivatives (*b, k, nv) by the reduced v of those (*b, k, nv_z) by the joints' own."""
        return self.phi.reduce_columns(self.derivatives, J)

    def matrix(self, M: Tensor) -> Tensor:
        """Mass matrix (*b, nv, nv) of the reduced coordinates."""
        return self.columns(self.columns(M).mT)


def expand(chain: KinematicChain, q: Tensor, v: Tensor | None = None, a: Tensor | None = None) -> ChainState:
    """The state of ``chain.expanded`` for reduced q (*b, nq), v and a (*b, nv) of a chain with a coordinate map."""
    phi = chain.expansion
    assert phi is not None
    check_reduced(chain, q, {name: x for name, x in (("v", v), ("a", a)) if x is not None})
    x = phi(q, chain.axis_scales())
    none = torch.zeros_like(x.gain)
    zd = none if v is None else phi.rate(x, v)
    zdd = none if v is None or a is None else phi.acceleration(x, v, a)
    return ChainState(x.q, zd, zdd, phi, x)


def joint_positions(chain: KinematicChain, q: Tensor) -> tuple[KinematicChain, Tensor]:
    """The chain of the joints' own coordinates and its q; without a coordinate map both as they are."""
    return (chain, q) if chain.expansion is None else (chain.expanded, expand(chain, q).q)
