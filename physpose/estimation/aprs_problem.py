"""The objective that APRS minimises, its terms, and how to minimise it in time linear in the number of frames.

    1/2 sum_tk robust(w_tk |p - y|^2) + 1/2 sum_t h_t |acceleration|^2 / s^2 + 1/2 sum of squared residuals of terms

The second sum couples each keypoint's coordinate to itself over three frames; the terms couple keypoints. Damped
Gauss-Newton; its linear systems by conjugate gradients, conditioned by the banded Cholesky factor of every keypoint's
own data and acceleration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.linalg import cholesky_banded
from scipy.linalg.lapack import dpbtrs
from scipy.sparse import csr_array
from torch import Tensor

from physpose.estimation.terms import robust
from physpose.implicit import conjugate_gradients
from physpose.types import Array

CG_TOLERANCE, CG_ITERATIONS = 1e-2, 60  # each step's linear system: a step need not be exact
LAST_CG_TOLERANCE = 1e-11  # and of the implicit gradient


@dataclass(frozen=True)
class Term:
    """R groups of m keypoints-in-frames, and the d whitened residuals of each group."""

    name: str
    index: Tensor  # (R, m) into the T K keypoints
    residual: Callable[[Tensor], Tensor]  # (R, m, D) -> (R, d)

    def of(self, p: Tensor) -> Tensor:
        """Residuals (R, d) at p (T, K, D)."""
        return self.residual(p.reshape(-1, p.shape[-1])[self.index])


@dataclass(frozen=True)
class Objective:
    """All of it; tensors float64, T frames of K keypoints."""

    y: Tensor  # (T, K, D), zero where missing
    info: Tensor  # (T, K) 1/unit^2, zero where missing
    stencil: Tensor  # (T - 2, 3): whitened acceleration of frames t .. t + 2
    terms: tuple[Term, ...] = ()
    robust_scale: float = 3.0  # [sigma], Cauchy
    temporal_weight: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def data(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Robust loss and weight (T, K)."""
        return robust(self.info * (p - self.y).square().sum(-1), self.robust_scale)

    def jerkiness(self, p: Tensor) -> Tensor:
        """Whitened accelerations (T - 2, K, D), without the term's weight."""
        c = self.stencil[:, :, None, None]
        return c[:, 0] * p[:-2] + c[:, 1] * p[1:-1] + c[:, 2] * p[2:]

    def costs(self, p: Tensor) -> dict[str, Tensor]:
        """Each term's part of the objective."""
        parts = {"data": 0.5 * self.data(p)[0].sum()}
        parts["temporal"] = 0.5 * self.temporal_weight * self.jerkiness(p).square().sum()
        for term in self.terms:
            parts[term.name] = parts.get(term.name, torch.zeros(())) + 0.5 * term.of(p).square().sum()
        return parts

    def cost(self, p: Tensor) -> Tensor:
        return torch.stack(list(self.costs(p).values())).sum()


@dataclass(frozen=True)
class Minimum:
    """Where the objective is least."""

    p: Tensor  # (T, K, D)
    iterations: int
    converged: bool
    system: NormalEquations


class NormalEquations:
    """The Gauss-Newton matrix at p, as products and as its preconditioner."""

    def __init__(self, objective: Objective, p: Tensor, damping: float = 0.0):
        self.shape = p.shape
        T, K, D = p.shape
        self.c = objective.stencil.numpy() * np.sqrt(float(objective.temporal_weight.detach()))
        weight = (objective.info * objective.data(p)[1]).numpy()
        self.J, r = _jacobian(objective.terms, p)
        self.g = weight[..., None] * (p - objective.y).numpy() + self._backward(self._accelerations(p.numpy()))
        self.g += (self.J.T @ r).reshape(T, K, D)
        typical = float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0
        self.diagonal = weight + damping * typical
        self.band = self._band(self.diagonal + _diagonal(self.J).reshape(T, K, D).mean(-1))
        self.factors = [cholesky_banded(self.band[:, :, k], lower=True, check_finite=False) for k in range(K)]

    def product(self, x: Array) -> Array:
        """H x for x (T, K, D)."""
        y = self.diagonal[..., None] * x + self._backward(self._accelerations(x))
        return np.asarray(y + (self.J.T @ (self.J @ x.reshape(-1))).reshape(x.shape))

    def condition(self, r: Array) -> Array:
        """About H^-1 r: every keypoint for itself."""
        x = np.empty_like(r)
        for k, factor in enumerate(self.factors):
            x[:, k], _ = dpbtrs(factor, r[:, k], lower=1)
        return x

    def step(self) -> Array:
        """About -H^-1 g (T, K, D)."""
        flat = lambda f: lambda v: torch.from_numpy(f(v.numpy().reshape(self.shape)).reshape(1, -1))  # noqa: E731
        b = torch.from_numpy(-self.g.reshape(1, -1))
        x, _ = conjugate_gradients(
            flat(self.product), b, flat(self.condition), tolerance=CG_TOLERANCE, iterations=CG_ITERATIONS
        )
        return x.numpy().reshape(self.shape)

    def _accelerations(self, x: Array) -> Array:
        c = self.c[:, :, None, None]
        return np.asarray(c[:, 0] * x[:-2] + c[:, 1] * x[1:-1] + c[:, 2] * x[2:])

    def _backward(self, a: Array) -> Array:
        y, c = np.zeros(self.shape), self.c[:, :, None, None]
        for i in range(3):
            y[i : i + len(a)] += c[:, i] * a
        return y

    def _band(self, diagonal: Array) -> Array:
        """Lower band storage (3, T, K) of diagonal + C'C."""
        band = np.zeros((3, *diagonal.shape))
        band[0] = diagonal
        n = len(self.c)
        for i in range(3):
            for j in range(i + 1):
                band[i - j, j : j + n] += (self.c[:, i] * self.c[:, j])[:, None]
        return band


def minimise(objective: Objective, start: Tensor, *, iterations: int, tolerance: float) -> Minimum:
    """Levenberg-Marquardt from p (T, K, D) until coordinates move by less than ``tolerance``, root mean square."""
    p, damping, cost = start, 1e-3, float(objective.cost(start))
    for i in range(1, iterations + 1):
        step = torch.from_numpy(NormalEquations(objective, p, damping).step())
        trial = float(objective.cost(p + step))
        size = float(step.square().mean().sqrt())
        if trial <= cost * (1 + 1e-12):
            p, cost, damping = p + step, trial, max(damping / 10, 1e-9)
        else:
            damping *= 8
        if size < tolerance:
            return Minimum(p, i, True, NormalEquations(objective, p))
    return Minimum(p, iterations, False, NormalEquations(objective, p))


def marginal_sigma(system: NormalEquations) -> Array:
    """(T, K) standard deviation of each coordinate by its own data and acceleration alone.

    The diagonal of the inverse from the banded factor, backwards in time (Takahashi 1973). Terms between keypoints can
    only lower it, so this is an upper bound.
    """
    band = system._band(system.diagonal)
    band[0] += 1e-12 * band[0].max()
    L = np.stack([cholesky_banded(band[:, :, k], lower=True, check_finite=False) for k in range(band.shape[2])], -1)
    T, K = L.shape[1:]
    variance = np.empty((T, K))
    z11 = z12 = z22 = np.zeros(K)  # of rows j + 1, j + 2
    for j in range(T - 1, -1, -1):
        d, l1, l2 = L[:, j]
        z01, z02 = -(l1 * z11 + l2 * z12) / d, -(l1 * z12 + l2 * z22) / d
        z00 = 1 / d**2 - (l1 * z01 + l2 * z02) / d
        variance[j] = z00
        z11, z12, z22 = z00, z01, z11
    return np.sqrt(variance)


def acceleration_stencil(time: Array, sigma: float) -> Array:
    """(T - 2, 3): sqrt(h) acceleration / sigma of three frames in a row; white acceleration of density sigma^2."""
    h = np.diff(time)
    h0, h1 = h[:-1], h[1:]
    scale = np.sqrt((h0 + h1) / 2) / sigma * 2 / (h0 + h1)
    return np.stack([scale / h0, -scale * (1 / h0 + 1 / h1), scale / h1], -1)


def _jacobian(terms: tuple[Term, ...], p: Tensor) -> tuple[csr_array, Array]:
    """All terms' derivatives (rows, T K D) and residuals (rows,)."""
    D, n = p.shape[-1], p.numel()
    data, columns, counts, residuals = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for term in terms:
        x = p.reshape(-1, D)[term.index].detach().requires_grad_()
        with torch.enable_grad():
            r = term.residual(x)
            rows = [torch.autograd.grad(c.sum(), x, retain_graph=True)[0] for c in r.unbind(-1)]
        J = torch.stack(rows, 1).detach()  # (R, d, m, D)
        R, d, m = J.shape[:3]
        at = (term.index[:, None, :, None] * D + torch.arange(D)).expand(R, d, m, D)
        data.append(J.numpy().reshape(-1))
        columns.append(at.reshape(-1).numpy())
        counts.append(np.full(R * d, m * D))
        residuals.append(r.detach().numpy().reshape(-1))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    matrix = csr_array((np.concatenate(data), np.concatenate(columns), indptr), shape=(len(indptr) - 1, n))
    return matrix, np.concatenate(residuals)


def _diagonal(J: csr_array) -> Array:
    return np.asarray(J.multiply(J).sum(axis=0)).reshape(-1)
