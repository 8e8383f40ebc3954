"""The bordered banded solver against one dense matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from estimation_cases import dense
from numpy.linalg import LinAlgError

from physpose.estimation.banded import BorderedSystem

T, N, SHARED, WIDTH = 7, 5, 3, 3
ATOL = 1e-10  # float64, matrices of condition 1e3
rng_tensor = lambda rng, *shape: torch.as_tensor(rng.normal(size=shape))  # noqa: E731


@dataclass
class Dense:
    """The same residuals with their whole Jacobian: the slow twin."""

    J: list[np.ndarray] = field(default_factory=list)  # rows (T N + SHARED,)
    r: list[float] = field(default_factory=list)

    def row(self, r: torch.Tensor, frames: dict[int, torch.Tensor], shared: torch.Tensor | None = None) -> None:
        """Residuals r (m) with Jacobians (m, N) on some frames."""
        J = np.zeros((len(r), T * N + SHARED))
        for t, Jt in frames.items():
            J[:, t * N : (t + 1) * N] = Jt
        if shared is not None:
            J[:, T * N :] = shared
        self.J.append(J)
        self.r.append(r.numpy())

    def normal(self) -> tuple[np.ndarray, np.ndarray]:
        J, r = np.concatenate(self.J), np.concatenate(self.r)
        return J.T @ J, J.T @ r


def add_frame(rng: np.random.Generator, system: BorderedSystem, twin: Dense, shared: bool = True) -> None:
    r, J, Js = rng_tensor(rng, T, 6), rng_tensor(rng, T, 6, N), rng_tensor(rng, T, 6, SHARED)
    system.add_frame(r, J, Js if shared else None)
    for t in range(T):
        twin.row(r[t], {t: J[t]}, Js[t] if shared else None)


def add_frame_alone(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    add_frame(rng, system, twin, shared=False)


def add_pair(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    r, J0, J1 = rng_tensor(rng, T - 1, 4), rng_tensor(rng, T - 1, 4, N), rng_tensor(rng, T - 1, 4, N)
    Js = rng_tensor(rng, T - 1, 4, SHARED)
    system.add_pair(r, J0, J1, Js)
    for t in range(T - 1):
        twin.row(r[t], {t: J0[t], t + 1: J1[t]}, Js[t])


def add_points(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    """One point: behind k = 0 unknowns that all share, its own three are all there are."""
    r, J, own = rng_tensor(rng, T, 1, 3), rng_tensor(rng, T, 1, 3, N), rng_tensor(rng, T, 1, 3, SHARED)
    system.add_points(r, J, J[..., :0], own)
    for t in range(T):
        twin.row(r[t, 0], {t: J[t, 0]}, own[t, 0])


def add_chained(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    """Errors e with L e white, L lower bidiagonal in time: inverse covariance L'L."""
    r, J, Js = rng_tensor(rng, T, 4), rng_tensor(rng, T, 4, N), rng_tensor(rng, T, 4, SHARED)
    a, b = rng_tensor(rng, T, 4), rng_tensor(rng, T, 4)  # (L e)_t = a_t e_t + b_t e_(t-1)
    b[0] = 0.0
    now = a**2
    now[:-1] += b[1:] ** 2
    system.add_chained(r, J, Js, now, a[1:] * b[1:])
    twin.row(a[0] * r[0], {0: a[0][:, None] * J[0]}, a[0][:, None] * Js[0])
    for t in range(1, T):
        rows = {t: a[t][:, None] * J[t], t - 1: b[t][:, None] * J[t - 1]}
        twin.row(a[t] * r[t] + b[t] * r[t - 1], rows, a[t][:, None] * Js[t] + b[t][:, None] * Js[t - 1])


def add_neighbours(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    rows = T - 2
    r, J, Js = (
        rng_tensor(rng, rows, 4),
        [rng_tensor(rng, rows, 4, N) for _ in range(3)],
        rng_tensor(rng, rows, 4, SHARED),
    )
    system.add_neighbours(r, J, Js)
    for t in range(rows):
        twin.row(r[t], {t + i: J[i][t] for i in range(3)}, Js[t])


def add_stencil(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    rows, columns = T - WIDTH, slice(1, 4)
    r, C = rng_tensor(rng, rows, 3), [rng_tensor(rng, rows, 3, 3) for _ in range(WIDTH + 1)]
    system.add_stencil(r, C, columns)
    for t in range(rows):
        whole = torch.zeros(WIDTH + 1, 3, N, dtype=torch.float64)
        whole[:, :, columns] = torch.stack([c[t] for c in C])
        twin.row(r[t], {t + i: whole[i] for i in range(WIDTH + 1)})


def add_diagonal_stencil(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    columns = torch.tensor([0, 2, 4])
    rows = T - 2
    r, C = rng_tensor(rng, rows, 3), [rng_tensor(rng, rows, 3) for _ in range(3)]
    system.add_diagonal_stencil(r, C, columns)
    for t in range(rows):
        whole = torch.zeros(3, 3, N, dtype=torch.float64)
        for i in range(3):
            whole[i, torch.arange(3), columns] = C[i][t]
        twin.row(r[t], {t + i: whole[i] for i in range(3)})


def add_shared(rng: np.random.Generator, system: BorderedSystem, twin: Dense) -> None:
    r, J = rng_tensor(rng, 4), rng_tensor(rng, 4, SHARED)
    system.add_shared(r, J)
    twin.row(r, {}, J)


ADDITIONS = (
    add_frame, add_frame_alone, add_points, add_pair, add_chained, add_neighbours, add_stencil, add_diagonal_stencil,
    add_shared,
)  # fmt: skip


def problem(seed: int) -> tuple[BorderedSystem, np.ndarray, np.ndarray]:
    """All additions together: banded, and dense normal equations A x = -b."""
    rng, system, twin = np.random.default_rng(seed), BorderedSystem(T, N, SHARED, WIDTH), Dense()
    for add in ADDITIONS:
        add(rng, system, twin)
    return system, *twin.normal()


@pytest.mark.parametrize("add", ADDITIONS, ids=lambda f: f.__name__)
def test_each_addition_gives_the_dense_normal_equations(add):
    system, twin = BorderedSystem(T, N, SHARED, WIDTH), Dense()
    add(np.random.default_rng(0), system, twin)
    for found, expected in zip(dense(system), twin.normal(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_additions_add_up():
    system, A, b = problem(1)
    np.testing.assert_allclose(dense(system)[0], A, atol=1e-12)
    np.testing.assert_allclose(dense(system)[1], b, atol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 1e-3, 2.0])
@pytest.mark.parametrize("free", [(1, 1, 1), (1, 0, 1), (0, 0, 0)], ids=["all free", "one frozen", "all frozen"])
def test_step_is_the_dense_one(damping, free):
    system, A, b = problem(2)
    move = np.concatenate([np.ones(T * N, bool), np.array(free, bool)])
    expected = np.zeros(len(b))
    damped = A + damping * np.diag(np.diag(A))
    expected[move] = np.linalg.solve(damped[move][:, move], -b[move])
    dx, ds = system.solve(damping, torch.tensor(free, dtype=torch.bool))
    np.testing.assert_allclose(dx.numpy().ravel(), expected[: T * N], atol=ATOL)
    np.testing.assert_allclose(ds.numpy(), expected[T * N :], atol=ATOL)


def test_solving_leaves_the_system_as_it_was():
    system, A, b = problem(3)
    free = torch.ones(SHARED, dtype=torch.bool)
    first = system.solve(0.5, free)
    np.testing.assert_array_equal(system.solve(0.5, free)[0], first[0])
    np.testing.assert_allclose(dense(system)[0], A, atol=1e-12)
    np.testing.assert_allclose(dense(system)[1], b, atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_fewer_frames_than_the_band_is_wide(frames):
    rng, width = np.random.default_rng(4), min(WIDTH, frames - 1)
    system = BorderedSystem(frames, N, SHARED, width)
    system.add_frame(rng_tensor(rng, frames, 9), rng_tensor(rng, frames, 9, N), rng_tensor(rng, frames, 9, SHARED))
    A, b = dense(system)
    dx, ds = system.solve(0.1, torch.ones(SHARED, dtype=torch.bool))
    expected = np.linalg.solve(A + 0.1 * np.diag(np.diag(A)), -b)
    np.testing.assert_allclose(np.concatenate([dx.numpy().ravel(), ds]), expected, atol=ATOL)


def test_an_unknown_nothing_is_said_about_is_an_error():
    system = BorderedSystem(T, N, SHARED, WIDTH)
    system.add_shared(torch.ones(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    with pytest.raises(LinAlgError):
        system.solve(1e-3, torch.ones(SHARED, dtype=torch.bool))


def test_points_share_the_first_unknowns_and_have_their_own():
    rng, k, M = np.random.default_rng(6), 2, 3
    system, n_shared = BorderedSystem(T, N, k + 3 * M, 0), k + 3 * M
    r, J, Js = rng_tensor(rng, T, M, 3), rng_tensor(rng, T, M, 3, N), rng_tensor(rng, T, M, 3, k)
    own = rng_tensor(rng, T, M, 3, 3)
    system.add_points(r, J, Js, own)
    whole = torch.zeros(T, M, 3, n_shared, dtype=torch.float64)
    whole[..., :k] = Js
    for m in range(M):
        whole[:, m, :, k + 3 * m : k + 3 * m + 3] = own[:, m]
    twin = BorderedSystem(T, N, n_shared, 0)
    twin.add_frame(r.flatten(1), J.flatten(1, 2), whole.flatten(1, 2))
    for name in ("H", "g", "B", "S", "gs"):
        torch.testing.assert_close(getattr(system, name), getattr(twin, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [0, 1, 3])
def test_step_is_the_dense_one_however_far_the_last_blocks_reach(width):
    """Also a second time, in the memory of the first, after which the last blocks reach farther."""
    rng, system, free = np.random.default_rng(7), BorderedSystem(T, N, 0, width), torch.zeros(0, dtype=torch.bool)
    for reach in (0, N - 1, 1, 1):
        system.clear()
        system.add_frame(rng_tensor(rng, T, 2 * N), rng_tensor(rng, T, 2 * N, N))
        r, C = rng_tensor(rng, T - width, N), [rng_tensor(rng, T - width, N, N) for _ in range(width + 1)]
        system.add_stencil(r, [x.tril() if reach else x * torch.eye(N) for x in C], slice(0, N))
        system.H[-1] = system.H[-1].triu(-reach) if width else system.H[-1]
        system.H[0].diagonal(dim1=1, dim2=2).add_(50.0)  # positive definite, whatever was cut off
        A, b = dense(system)
        np.testing.assert_allclose(system.solve(0.0, free)[0].ravel(), np.linalg.solve(A, -b), atol=ATOL)


def test_cleared_it_is_as_new():
    system, _, _ = problem(8)
    system.clear()
    assert not any(getattr(system, name).any() for name in ("H", "B", "S", "g", "gs"))
