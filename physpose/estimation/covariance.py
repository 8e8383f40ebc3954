"""The inverse of a bordered banded matrix where it is wanted: near its diagonal, and on the shared unknowns.

Blocks of neighbouring frames make the band block tridiagonal; the blocks of the inverse on and beside the diagonal
then follow from the last to the first (Takahashi 1973; Rauch, Tung and Striebel 1965 as a smoother), in linear time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from physpose.estimation.banded import BorderedSystem


@dataclass(frozen=True)
class BandCovariance:
    """Covariance of the unknowns of near frames and of the shared ones, at a solution."""

    diagonal: Tensor  # (M, N, N) of the frames of one block, N = frames a block times n
    beside: Tensor  # (M-1, N, N) rows block k + 1, columns block k
    response: Tensor  # (M N, n_free) d(frames)/d(shared), with the sign of the normal equations
    shared: Tensor  # (n_free, n_free)
    n: int  # unknowns a frame
    per_block: int  # frames

    def of_frames(self, factor: float = 1.0) -> BandCovariance:
        """What the frames' own unknowns leave open, times ``factor``, the shared ones held."""
        response, shared = self.response[:, :0], self.shared[:0, :0]
        diagonal, beside = factor * self.diagonal, factor * self.beside
        return replace(self, diagonal=diagonal, beside=beside, response=response, shared=shared)

    def windows(self, first: Tensor, length: int, columns: slice | None = None) -> Tensor:
        """(K, length n + s, length n + s) of the frames first .. first + length - 1, then shared unknowns ``columns``.

        ``columns``: of the free shared unknowns; None: none of them. ``length`` at most one more than a block's frames.
        """
        frames = [first + i for i in range(length)]
        blocks = [torch.cat([self._pair(a, b) for b in frames], -1) for a in frames]
        own = torch.cat(blocks, -2)
        rows = (first[:, None] * self.n + torch.arange(length * self.n)).flatten()
        root, moved = self._by_shared
        X = moved[rows].reshape(len(first), length * self.n, -1)
        own = own + X @ X.mT
        if columns is None:
            return own
        cross = -X @ root[columns].T
        shared = self.shared[columns, columns].expand(len(first), -1, -1)
        return torch.cat([torch.cat([own, cross], -1), torch.cat([cross.mT, shared], -1)], -2)

    @cached_property
    def _by_shared(self) -> tuple[Tensor, Tensor]:
        """A root L (n_free, r) of the shared covariance L L', and the response times it."""
        if not len(self.shared):
            return self.shared, self.response
        value, vector = torch.linalg.eigh(self.shared)
        known = value > value[-1] * 1e-15
        root = vector[:, known] * value[known].sqrt()
        return root, self.response @ root

    def between(self, ahead: int) -> Tensor:
        """(M N / n - ahead, n, n): rows frame t + ahead, columns frame t, those that fill the last block included;
        ``ahead`` at most a block's frames."""
        T = len(self.response) // self.n - ahead
        first = torch.arange(T)
        X = self.response.reshape(T + ahead, self.n, self.response.shape[1])
        return self._pair(first + ahead, first) + X[ahead : ahead + T] @ self.shared @ X[:T].mT

    def _pair(self, a: Tensor, b: Tensor) -> Tensor:
        """(K, n, n) between frames a (K,) and b (K,), without what the shared unknowns add."""
        (ka, ia), (kb, ib) = ((x // self.per_block, x % self.per_block) for x in (a, b))
        shape = (-1, self.per_block, self.n, self.per_block, self.n)
        diagonal = self.diagonal.reshape(shape)
        if not len(self.beside):
            return diagonal[ka, ia, :, ib]
        beside = self.beside.reshape(shape)
        low = torch.minimum(ka, kb).clamp(max=len(self.beside) - 1)
        after, before = beside[low, ia, :, ib], beside[low, ib, :, ia].mT
        same, later = (ka == kb)[:, None, None], (ka > kb)[:, None, None]
        return torch.where(same, diagonal[ka, ia, :, ib], torch.where(later, after, before))


def band_covariance(system: BorderedSystem, free: Tensor, shared: Tensor | None = None) -> BandCovariance:
    """The inverse of the normal matrix with the shared unknowns of ``free`` (n_shared) bool, the others held.

    ``shared``: their covariance (n_free, n_free), if it is known from elsewhere and not sought in this system.
    Raises torch.linalg.LinAlgError where nothing says anything of an unknown.
    """
    T, n = system.T, system.n
    per_block = min(T, max(2, system.H.shape[0] - 1))
    A, C = _blocks(system, per_block)
    diagonal, beside, factors = _selected_inverse(A, C)
    B = system.B[:, :, free].reshape(T * n, -1)
    B = torch.cat([B, B.new_zeros(len(A) * per_block * n - T * n, B.shape[1])])
    X = _solve(factors, C, B.reshape(len(A), per_block * n, -1)).reshape(len(B), -1)
    if shared is None:
        shared = system.S[free][:, free] - B.mT @ X
        shared = torch.cholesky_inverse(torch.linalg.cholesky(shared)) if shared.numel() else shared
    return BandCovariance(diagonal, beside, X, shared, n, per_block)


def with_lasting_errors(
    system: BorderedSystem, free: Tensor, pull: tuple[Tensor, Tensor], variance: Tensor
) -> BandCovariance:
    """As ``band_covariance``, with errors that last through the whole clip and that nobody sought (Schmidt 1966).

    Args:
        pull: (T, n, m) and (n_shared, m) how they enter the normal equations of frames and shared unknowns.
        variance: (m,) of them, independent of each other.
    """
    n_free, (by_frames, by_shared) = int(free.sum()), pull
    whole = BorderedSystem(system.T, system.n, n_free + len(variance), system.H.shape[0] - 1)
    whole.H, whole.B = system.H, torch.cat([system.B[..., free], by_frames], -1)
    free_all = torch.ones(whole.n_shared, dtype=torch.bool)
    found = band_covariance(whole, free_all, torch.zeros(0, 0, dtype=torch.float64))
    B, X = system.B[..., free].flatten(0, 1), found.response[: system.T * system.n]
    own = system.S[free][:, free] - B.mT @ X[:, :n_free]
    own = torch.cholesky_inverse(torch.linalg.cholesky(own)) if n_free else own
    gain = own @ (by_shared[free] - B.mT @ X[:, n_free:])  # shared unknowns found wrong by - gain times the errors
    V = variance.diag()
    across = -gain @ V
    return replace(
        found, shared=torch.cat([torch.cat([own - across @ gain.mT, across], 1), torch.cat([across.mT, V], 1)])
    )


def _blocks(system: BorderedSystem, per_block: int) -> tuple[Tensor, Tensor]:
    """Block tridiagonal form: A (M, N, N) on the diagonal, C (M-1, N, N) below it; frames beyond the end are white."""
    T, n, p = system.T, system.n, per_block
    M = -(-T // p)
    A = torch.zeros(M, p, n, p, n, dtype=torch.float64)
    C = torch.zeros(max(M - 1, 0), p, n, p, n, dtype=torch.float64)
    for d in range(system.H.shape[0]):
        t = torch.arange(T - d)
        (kr, ir), (kc, ic) = (((t + d) // p, (t + d) % p), (t // p, t % p))
        same = kr == kc
        A[kr[same], ir[same], :, ic[same]] = system.H[d, t[same]]
        if d:
            A[kr[same], ic[same], :, ir[same]] = system.H[d, t[same]].mT
        C[kc[~same], ir[~same], :, ic[~same]] = system.H[d, t[~same]]
    for i in range(T - (M - 1) * p, p):
        A[-1, i, :, i] = torch.eye(n, dtype=torch.float64)
    return A.reshape(M, p * n, p * n), C.reshape(-1, p * n, p * n)


def _selected_inverse(A: Tensor, C: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Diagonal and subdiagonal blocks of the inverse, and Cholesky factors of the pivots."""
    factors = [torch.linalg.cholesky(A[0])]
    for k in range(len(C)):
        # pivot: A - C P^-1 C'
        half = torch.linalg.solve_triangular(factors[-1], C[k].mT, upper=False)
        factors.append(torch.linalg.cholesky(A[k + 1] - half.mT @ half))
    diagonal, beside = torch.empty_like(A), torch.empty_like(C)
    diagonal[-1] = torch.cholesky_inverse(factors[-1])
    for k in range(len(C) - 1, -1, -1):
        gain = torch.cholesky_solve(C[k].mT, factors[k])  # P^-1 C'
        beside[k] = -diagonal[k + 1] @ gain.mT
        diagonal[k] = torch.cholesky_inverse(factors[k]) - gain @ beside[k]
    return diagonal, beside, factors


def _solve(factors: list[Tensor], C: Tensor, B: Tensor) -> Tensor:
    """The matrix' inverse times B (M, N, m)."""
    Y = [B[0]]
    for k in range(len(C)):
        Y.append(B[k + 1] - C[k] @ torch.cholesky_solve(Y[-1], factors[k]))
    X = [torch.cholesky_solve(Y[-1], factors[-1])]
    for k in range(len(C) - 1, -1, -1):
        X.append(torch.cholesky_solve(Y[k] - C[k].mT @ X[-1], factors[k]))
    return torch.stack(X[::-1])
