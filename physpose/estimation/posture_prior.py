"""What postures people take: a Gaussian mixture over joint coordinates and the pelvis' attitude, from motion capture.

The posture vector x holds coordinates [rad] and two components of the world's vertical seen from the pelvis:
``pelvis_up_x`` (positive: the pelvis leans backward) and ``pelvis_up_z`` (positive: its right side is up); both are 0
upright.
Fitted by benchmarks/fit_posture_prior.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log, pi
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.skeleton.files import skeleton_folder
from physpose.spatial import quat_to_matrix, skew

UP = ("pelvis_up_x", "pelvis_up_z")


class Linearised(NamedTuple):
    """The most probable component of each frame: its negative log density is 0.5 |r|^2 + offset."""

    r: Tensor  # (*b, n) whitened residual
    J: Tensor  # (*b, n, n) dr/dx
    offset: Tensor  # (*b,)


@dataclass(frozen=True, eq=False)
class PosturePrior:
    """p(x) = sum_k w_k N(x; mu_k, L_k L_k^T). Tensors are float64."""

    names: tuple[str, ...]  # of x's n entries
    log_weights: Tensor = field(repr=False)  # (K,)
    means: Tensor = field(repr=False)  # (K, n)
    factors: Tensor = field(repr=False)  # (K, n, n) lower Cholesky factors L of the covariances
    _whiteners: Tensor = field(init=False, repr=False)  # (K, n, n) W = L^-1
    _offsets: Tensor = field(init=False, repr=False)  # (K,) c_k

    def __post_init__(self) -> None:
        K, n = len(self.log_weights), len(self.names)
        if self.means.shape != (K, n) or self.factors.shape != (K, n, n):
            given = f"means {tuple(self.means.shape)}, factors {tuple(self.factors.shape)}"
            raise InputError(
                f"posture prior with {K} weights and {n} names has {given}; needs ({K}, {n}), ({K}, {n}, {n})"
            )
        eye = torch.eye(n, dtype=self.factors.dtype).expand(K, n, n)
        object.__setattr__(self, "_whiteners", torch.linalg.solve_triangular(self.factors, eye, upper=False))
        log_det = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        object.__setattr__(self, "_offsets", 0.5 * n * log(2 * pi) + log_det - self.log_weights)

    @staticmethod
    def load(path: str | os.PathLike[str] | None = None) -> PosturePrior:
        """The shipped prior, or one from a ``.npz`` file. Raises ``InputError`` for a file that cannot be used."""
        file = skeleton_folder() / "posture_prior.npz" if path is None else Path(path)
        if not file.is_file():
            raise InputError(f"no posture prior at {file}; leave the path out for the shipped one")
        with np.load(file, allow_pickle=False) as data:
            missing = sorted({"names", "weights", "means", "covariances"} - set(data))
            if missing:
                raise InputError(f"{file} lacks {', '.join(missing)}; it holds {', '.join(data)}")
            weights, means = (torch.as_tensor(data[k], dtype=torch.float64) for k in ("weights", "means"))
            covariances = _symmetric(torch.as_tensor(data["covariances"], dtype=torch.float64), means.shape[-1])
            names = tuple(str(n) for n in data["names"])
        return PosturePrior(names, (weights / weights.sum()).log(), means, torch.linalg.cholesky(covariances))

    @property
    def lowest_offset(self) -> Tensor:
        """The smallest energy () that any posture can have."""
        return self._offsets.min()

    def marginal(self, names: Sequence[str]) -> PosturePrior:
        """The prior of those of ``names`` that it knows, in their order; the others are left out."""
        kept = [n for n in names if n in self.names]
        if not kept:
            raise InputError(f"the posture prior knows none of {', '.join(names)}; it knows {', '.join(self.names)}")
        index = [self.names.index(n) for n in kept]
        covariances = (self.factors @ self.factors.transpose(-1, -2))[:, index][:, :, index]
        return PosturePrior(tuple(kept), self.log_weights, self.means[:, index], torch.linalg.cholesky(covariances))

    def widened(self, factors: Mapping[str, float]) -> PosturePrior:
        """The same with the spread of the named entries multiplied; correlations stay."""
        scale = torch.tensor([factors.get(n, 1.0) for n in self.names], dtype=torch.float64)
        return PosturePrior(self.names, self.log_weights, self.means, scale[:, None] * self.factors)

    def component_energies(self, x: Tensor) -> Tensor:
        """-log(w_k N(x; mu_k, Sigma_k)) of every component: (*b, n) -> (*b, K)."""
        r = torch.einsum("kij,...kj->...ki", self._whiteners, x[..., None, :] - self.means)
        return 0.5 * (r**2).sum(-1) + self._offsets

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x): (*b, n) -> (*b,)."""
        return torch.logsumexp(-self.component_energies(x), -1)

    def energy(self, x: Tensor) -> Tensor:
        """Negative log density of the best component (max-mixture, Olson and Agarwal 2013): (*b, n) -> (*b,)."""
        return self.component_energies(x).amin(-1)

    def responsible(self, x: Tensor) -> Tensor:
        """Index (*b,) of the best component of x (*b, n)."""
        return self.component_energies(x).argmin(-1)

    def linearise(self, x: Tensor, component: Tensor | None = None) -> Linearised:
        """Whitened residual of the best component, or of ``component`` (*b,), of x (*b, n): r = L^-1 (x - mu)."""
        k = self.responsible(x) if component is None else component
        W = self._whiteners[k]
        return Linearised((W @ (x - self.means[k])[..., None])[..., 0], W, self._offsets[k])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Postures (n, n_names) drawn from the mixture; limits are not looked at."""
        k = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        noise = torch.randn(n, len(self.names), dtype=torch.float64, generator=generator)
        return self.means[k] + (self.factors[k] @ noise[..., None])[..., 0]


def posture_vector(q: Tensor, coordinate_names: Sequence[str], names: Sequence[str]) -> Tensor:
    """The entries ``names`` of the posture vector (*b, n) of q (*b, nq), whose tail is ``coordinate_names``."""
    up = quat_to_matrix(q[..., 3:7])[..., 2, :]  # world z in pelvis axes
    values = {UP[0]: up[..., 0], UP[1]: up[..., 2], **dict(zip(coordinate_names, q[..., 7:].unbind(-1), strict=True))}
    return torch.stack([values[n] for n in names], -1)


def posture_jacobian(q: Tensor, coordinate_names: Sequence[str], names: Sequence[str]) -> Tensor:
    """d(posture vector)/d(v) (*b, n, nv) at q (*b, nq); v as in ``KinematicChain``."""
    up = quat_to_matrix(q[..., 3:7])[..., 2, :]
    turn = skew(up)  # exp(-d) up = up + up x d
    D = q.new_zeros(*q.shape[:-1], len(names), 6 + len(coordinate_names))
    for row, name in enumerate(names):
        if name in UP:
            D[..., row, 3:6] = turn[..., 2 * UP.index(name), :]
        else:
            D[..., row, 6 + coordinate_names.index(name)] = 1.0
    return D


def _symmetric(packed: Tensor, n: int) -> Tensor:
    """Full matrices (K, n, n) from their lower triangles (K, n (n + 1) / 2), by rows."""
    i, j = torch.tril_indices(n, n)
    full = packed.new_zeros(len(packed), n, n)
    full[:, i, j] = packed
    full[:, j, i] = packed
    return full
