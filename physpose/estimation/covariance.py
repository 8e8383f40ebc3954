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
        own = self.diagonal.new_empty(len(first), length, self.n, length, self.n)
        for ahead in range(length):
            # neighbouring windows share their blocks
            start, window = (first[:, None] + torch.arange(length - ahead)).unique(return_inverse=True)
            blocks = self._between(start + ahead, start)
            for i in range(length - ahead):
                block = blocks[window[:, i]]
                own[:, i, :, i + ahead], own[:, i + ahead, :, i] = block.mT, block
        own = own.flatten(3, 4).flatten(1, 2)
        if columns is None:
            return own
        root, moved = self._by_shared
        rows = (first[:, None] * self.n + torch.arange(length * self.n)).flatten()
        cross = -moved[rows].reshape(len(first), length * self.n, -1) @ root[columns].T
        shared = self.shared[columns, columns].expand(len(first), -1, -1)
        return torch.cat([torch.cat([own, cross], -1), torch.cat([cross.mT, shared], -1)], -2)

    def _between(self, a: Tensor, b: Tensor) -> Tensor:
        """(K, n, n) between frames a (K,) and b (K,)."""
        X = self._by_shared[1].unflatten(0, (len(self.response) // self.n, self.n))
        return self._pair(a, b) + X[a] @ X[b].mT

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
        first = torch.arange(len(self.response) // self.n - ahead)
        return self._between(first + ahead, first)

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
    L, below = _factored(*_blocks(system, per_block))
    diagonal, beside = _selected_inverse(L, below)
    B = system.B[:, :, free].reshape(T * n, -1)
    B = torch.cat([B, B.new_zeros(len(L) * per_block * n - T * n, B.shape[1])])
    X = _solve(L, below, B.reshape(len(L), per_block * n, -1)).reshape(len(B), -1)
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


def _factored(A: Tensor, C: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Blocks of the Cholesky factor: on the diagonal, lower triangular, and those below it, transposed."""
    L, below = [torch.linalg.cholesky(A[0])], []
    for k in range(len(C)):
        below.append(torch.linalg.solve_triangular(L[k], C[k].mT, upper=False))
        L.append(torch.linalg.cholesky(A[k + 1] - below[k].mT @ below[k]))
    return L, below


def _selected_inverse(L: list[Tensor], below: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Diagonal and subdiagonal blocks of the inverse."""
    N = len(L[0])
    diagonal, beside = L[0].new_empty(len(L), N, N), L[0].new_empty(len(below), N, N)
    diagonal[-1] = torch.cholesky_inverse(L[-1])
    for k in range(len(below) - 1, -1, -1):
        gain = torch.linalg.solve_triangular(L[k].mT, below[k], upper=True)
        beside[k] = -diagonal[k + 1] @ gain.mT
        diagonal[k] = torch.cholesky_inverse(L[k]) - gain @ beside[k]
    return diagonal, beside


def _solve(L: list[Tensor], below: list[Tensor], B: Tensor) -> Tensor:
    """The matrix' inverse times B (M, N, m)."""
    X = torch.empty_like(B)
    X[0] = torch.linalg.solve_triangular(L[0], B[0], upper=False)
    for k in range(len(below)):
        X[k + 1] = torch.linalg.solve_triangular(L[k + 1], B[k + 1] - below[k].mT @ X[k], upper=False)
    X[-1] = torch.linalg.solve_triangular(L[-1].mT, X[-1], upper=True)
    for k in range(len(below) - 1, -1, -1):
        X[k] = torch.linalg.solve_triangular(L[k].mT, X[k] - below[k] @ X[k + 1], upper=True)
    return X
