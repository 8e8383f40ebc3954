"""``PinocchioModel`` of a skeleton with a coordinate map: Pinocchio knows z, the arguments and results are of s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from physpose.chain import KinematicChain
from physpose.dynamics.coupling import ChainState, expand
from physpose.dynamics.pinocchio_backend import GRAVITY, PinocchioModel
from physpose.skeleton.model import Skeleton
from physpose.types import Array


class ReducedPinocchioModel(PinocchioModel):
    """See ``PinocchioModel``, which makes one of these for such a skeleton."""

    def __init__(self, skeleton: Skeleton):
        super().__init__(skeleton.expanded)
        self.expanded = PinocchioModel(skeleton.expanded)
        self.skeleton = skeleton
        self.chain = KinematicChain(skeleton)

    def inverse_dynamics(
        self,
        q: ArrayLike,
        v: ArrayLike,
        a: ArrayLike,
        gravity: ArrayLike = GRAVITY,
        external: Mapping[str, ArrayLike] | None = None,
    ) -> Array:
        z = self._state(q, v, a)
        return _reduced(z, self.expanded.inverse_dynamics(*_arrays(z), gravity, external))

    def forward_dynamics(self, q: ArrayLike, v: ArrayLike, tau: ArrayLike, gravity: ArrayLike = GRAVITY) -> Array:
        # M_s a = tau - phi'^T h(z, phi' v, phi'' v^2)
        h = self.inverse_dynamics(q, v, np.zeros_like(np.asarray(v, float)), gravity)
        a = np.linalg.solve(self.mass_matrix(q), (np.asarray(tau, float) - h)[..., None])[..., 0]
        return a.astype(np.float64, copy=False)

    def mass_matrix(self, q: ArrayLike) -> Array:
        z = self._state(q)
        return z.matrix(torch.from_numpy(self.expanded.mass_matrix(z.q.numpy()))).numpy()

    def centroidal_momentum(self, q: ArrayLike, v: ArrayLike) -> Array:
        return self.expanded.centroidal_momentum(*_arrays(self._state(q, v))[:2])

    def energy(self, q: ArrayLike, v: ArrayLike, gravity: ArrayLike = GRAVITY) -> tuple[Array, Array]:
        return self.expanded.energy(*_arrays(self._state(q, v))[:2], gravity)

    def com(self, q: ArrayLike) -> Array:
        return self.expanded.com(self._state(q).q.numpy())

    def forward_kinematics(self, q: ArrayLike) -> tuple[Array, Array]:
        return self.expanded.forward_kinematics(self._state(q).q.numpy())

    def jacobian(self, body: str, q: ArrayLike) -> Array:
        z = self._state(q)
        return z.columns(torch.from_numpy(self.expanded.jacobian(body, z.q.numpy()))).numpy()

    def integrate(self, q: ArrayLike, dv: ArrayLike) -> Array:
        return self.chain.integrate(_tensor(q), _tensor(dv)).numpy()

    def difference(self, q0: ArrayLike, q1: ArrayLike) -> Array:
        return self.chain.difference(_tensor(q0), _tensor(q1)).numpy()

    def _state(self, *motion: ArrayLike) -> ChainState:
        return expand(self.chain, *(_tensor(x) for x in motion))


def _tensor(x: ArrayLike) -> torch.Tensor:
    return torch.tensor(np.asarray(x, float))


def _arrays(z: ChainState) -> tuple[Array, Array, Array]:
    return z.q.numpy(), z.v.numpy(), z.a.numpy()


def _reduced(z: ChainState, tau: Array) -> Any:
    return z.forces(torch.from_numpy(tau)).numpy()
