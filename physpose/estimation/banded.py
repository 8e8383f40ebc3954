"""Normal equations of a trajectory: block banded in time, bordered by the unknowns that all frames share.

    [ H   B ] [dx]     [g ]        H: frame t couples frames t .. t + width
    [ B'  S ] [ds] = - [gs]        B: each frame couples the shared unknowns

Solved in time and memory linear in the number of frames: banded Cholesky of H, Schur complement for ds.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import cholesky_banded
from scipy.linalg.lapack import dtbtrs
from torch import Tensor

FLOOR = 1e-10


class BorderedSystem:
    """Sums J'J and J'r of whitened residuals over T frames of n unknowns, with n_shared shared ones."""

    def __init__(self, T: int, n: int, n_shared: int, width: int):
        self.T, self.n, self.n_shared = T, n, n_shared
        self.H = torch.zeros(width + 1, T, n, n, dtype=torch.float64)  # H[d, t] couples row frame t + d, column frame t
        self.B = torch.zeros(T, n, n_shared, dtype=torch.float64)
        self.S = torch.zeros(n_shared, n_shared, dtype=torch.float64)
        self.g = torch.zeros(T, n, dtype=torch.float64)
        self.gs = torch.zeros(n_shared, dtype=torch.float64)
        self._band = torch.zeros(T, n, 0, dtype=torch.float64)

    def clear(self) -> None:
        """Set every sum to zero; the memory stays, since new pages cost more than the zeros."""
        for x in (self.H, self.B, self.S, self.g, self.gs):
            x.zero_()

    def add_frame(self, r: Tensor, J: Tensor, Js: Tensor | None = None) -> None:
        """Residuals of single frames: r (T, m), J (T, m, n), and Js (T, m, k) on the first k shared unknowns."""
        self.H[0] += J.mT @ J
        self.g += (J.mT @ r[..., None])[..., 0]
        if Js is not None:
            k = Js.shape[-1]
            self.B[..., :k] += J.mT @ Js
            self.S[:k, :k] += torch.einsum("tma,tmb->ab", Js, Js)
            self.gs[:k] += torch.einsum("tma,tm->a", Js, r)

    def add_points(self, r: Tensor, J: Tensor, Js: Tensor, own: Tensor) -> None:
        """Residuals of M points with three shared unknowns each to itself, behind k that all share: r (T, M, 3),
        J (T, M, 3, n), Js (T, M, 3, k), ``own`` (T, M, 3, 3)."""
        self.add_frame(r.flatten(1), J.flatten(1, 2), Js.flatten(1, 2))
        k, behind = Js.shape[-1], slice(Js.shape[-1], Js.shape[-1] + 3 * r.shape[1])
        self.B[..., behind] += (own.mT @ J).flatten(1, 2).mT
        cross = torch.einsum("tmij,tmik->mjk", own, Js).flatten(0, 1)
        self.S[behind, :k] += cross
        self.S[:k, behind] += cross.T
        self.S[behind, behind] += torch.block_diag(*(own.mT @ own).sum(0))
        self.gs[behind] += torch.einsum("tmij,tmi->mj", own, r).flatten()

    def add_pair(self, r: Tensor, J0: Tensor, J1: Tensor, Js: Tensor) -> None:
        """Residuals of neighbours t, t + 1: r (T-1, m), J0 and J1 (T-1, m, n), Js (T-1, m, n_shared)."""
        T1 = self.T - 1
        self.H[0, :T1] += J0.mT @ J0
        self.H[0, 1:] += J1.mT @ J1
        self.H[1, :T1] += J1.mT @ J0
        self.g[:T1] += (J0.mT @ r[..., None])[..., 0]
        self.g[1:] += (J1.mT @ r[..., None])[..., 0]
        self.B[:T1] += J0.mT @ Js
        self.B[1:] += J1.mT @ Js
        self.S += torch.einsum("tma,tmb->ab", Js, Js)
        self.gs += torch.einsum("tma,tm->a", Js, r)

    def add_chained(self, r: Tensor, J: Tensor, Js: Tensor, now: Tensor, between: Tensor) -> None:
        """Residuals of single frames, not white: r (T, m), J (T, m, n), Js (T, m, n_shared), unweighted, whose inverse
        covariance is ``now`` (T, m) on the diagonal and ``between`` (T-1, m) from a frame to the next."""
        self.H[0] += (now[..., None] * J).mT @ J
        self.H[1:2, : self.T - 1] += (between[..., None] * J[1:]).mT @ J[:-1]  # a frame alone has no neighbour
        weighed, shared = chained(now, between, r), chained(now, between, Js)
        self.g += (J.mT @ weighed[..., None])[..., 0]
        self.B += J.mT @ shared
        self.S += torch.einsum("tma,tmb->ab", Js, shared)
        self.gs += torch.einsum("tma,tm->a", Js, weighed)

    def add_neighbours(self, r: Tensor, J: list[Tensor], Js: Tensor | None = None) -> None:
        """Residuals r (T-k, m) whose Jacobian on frame t + i is J[i] (T-k, m, n), i = 0 .. k."""
        rows = self.T - len(J) + 1
        for i, Ji in enumerate(J):
            self.g[i : i + rows] += (Ji.mT @ r[..., None])[..., 0]
            for j in range(i + 1):
                self.H[i - j, j : j + rows] += Ji.mT @ J[j]
            if Js is not None:
                self.B[i : i + rows] += Ji.mT @ Js
        if Js is not None:
            self.S += torch.einsum("tma,tmb->ab", Js, Js)
            self.gs += torch.einsum("tma,tm->a", Js, r)

    def add_stencil(self, r: Tensor, C: list[Tensor], columns: slice) -> None:
        """Residuals r (T-k, m) whose Jacobian on frame t + i is C[i] (T-k, m, m) on the unknowns ``columns``."""
        rows = self.T - len(C) + 1
        for i, Ci in enumerate(C):
            self.g[i : i + rows, columns] += (Ci.mT @ r[..., None])[..., 0]
            for j in range(i + 1):
                self.H[i - j, j : j + rows, columns, columns] += Ci.mT @ C[j]

    def add_diagonal_stencil(self, r: Tensor, C: list[Tensor], columns: Tensor) -> None:
        """As ``add_stencil`` where each unknown is coupled to itself alone: r and C[i] (T-k, m)."""
        rows = self.T - len(C) + 1
        for i, Ci in enumerate(C):
            self.g[i : i + rows, columns] += Ci * r
            for j in range(i + 1):
                self.H[i - j, j : j + rows, columns, columns] += Ci * C[j]

    def add_shared(self, r: Tensor, J: Tensor) -> None:
        """Residuals of the shared unknowns alone: r (m), J (m, n_shared)."""
        self.S += J.T @ J
        self.gs += J.T @ r

    def solve(self, damping: float, free: Tensor) -> tuple[Tensor, Tensor]:
        """Levenberg-Marquardt step dx (T, n), ds (n_shared); ``free`` (n_shared) bool says which shared ones may move.

        Raises numpy.linalg.LinAlgError if the damped matrix is not positive definite.
        """
        L = self._factor(damping)
        B = self.B[..., free].reshape(self.T * self.n, -1).numpy()
        # half = L^-1 [B g]: the Schur complement of H = L L' is S - half' half
        half, _ = dtbtrs(L, np.column_stack([B, self.g.reshape(-1).numpy()]), uplo="L")
        half, y = half[:, :-1], half[:, -1]
        S = self.S[free][:, free].numpy()
        S = S + damping * np.diag(np.diag(S)) - half.T @ half
        ds = -np.linalg.solve(S, self.gs[free].numpy() - half.T @ y) if S.size else np.zeros(0)
        dx, _ = dtbtrs(L, -(y + half @ ds), uplo="L", trans="T")
        shared = torch.zeros(self.n_shared, dtype=torch.float64)
        shared[free] = torch.from_numpy(ds)
        return torch.from_numpy(dx).reshape(self.T, self.n), shared

    def _factor(self, damping: float) -> np.ndarray:
        """Banded Cholesky factor of H + damping * diag(H), in LAPACK's lower band storage."""
        band = self._in_band()
        # a coordinate that nothing pulls has a zero row: a little of the largest entry keeps it where it is
        diagonal = band[..., 0]
        diagonal.copy_((1 + damping) * diagonal + FLOOR * diagonal.max().clamp(min=0.0))
        columns = band.flatten(0, 1).numpy().T
        return cholesky_banded(columns, lower=True, overwrite_ab=True, check_finite=False)

    def _in_band(self) -> Tensor:
        """(T, n, reach + 1): entry (row, column) of H's lower triangle at [column, row - column], as far as any is not
        zero: of the jerk's last block only the diagonal and the turning of the pelvis are."""
        ahead, n = len(self.H) - 1, self.n
        r, c = _pattern(self.H[-1], lower=not ahead)
        reach = max(0, *(r - c).tolist()) if len(r) else 0
        band = self._zero_band(ahead * n + reach + 1)
        # columns begin at their diagonal: each lies one element closer to the one before than in a whole block
        whole = band.as_strided((self.T, n, ahead, n), (band.stride(0), band.stride(1) - 1, n, 1))
        for d in range(ahead):
            whole[:, :, d] = (self.H[d] if d else self.H[0].tril()).mT
        band[:, c, ahead * n + r - c] = self.H[-1][:, r, c]
        return band

    def _zero_band(self, depth: int) -> Tensor:
        """(T, n, depth) of zeros, in the memory of the last one if that fits."""
        if self._band.shape[-1] != depth:
            self._band = torch.zeros(self.T, self.n, depth, dtype=torch.float64)
        return self._band.zero_()


def chained(now: Tensor, between: Tensor, x: Tensor) -> Tensor:
    """Errors x (T, m, ...) times an inverse covariance that is ``now`` (T, m) on the diagonal and ``between`` (T-1, m)
    from a frame to the next."""
    now, between = (w.reshape(*w.shape, *[1] * (x.ndim - 2)) for w in (now, between))
    y = now * x
    y[:-1] += between * x[1:]
    y[1:] += between * x[:-1]
    return y


def _pattern(blocks: Tensor, lower: bool) -> tuple[Tensor, Tensor]:
    """Rows and columns at which any block (T, n, n) is not zero; of the ``lower`` triangle alone."""
    used = (blocks != 0).any(0)
    r, c = torch.nonzero(used.tril() if lower else used, as_tuple=True)
    return r, c
