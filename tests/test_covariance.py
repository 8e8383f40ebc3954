"""Selected blocks of the inverse against the inverse of one dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimation_cases import dense

from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import band_covariance, with_lasting_errors

N, SHARED = 4, 3


def system_of(T: int, width: int, seed: int = 0) -> BorderedSystem:
    """Random, positive definite, with couplings over the whole band."""
    rng = np.random.default_rng(seed)
    tensor = lambda *shape: torch.as_tensor(rng.normal(size=shape))  # noqa: E731
    system = BorderedSystem(T, N, SHARED, width)
    system.add_frame(tensor(T, 6), tensor(T, 6, N), tensor(T, 6, SHARED))
    for _ in range(2):
        rows = T - width
        system.add_neighbours(tensor(rows, 5), [tensor(rows, 5, N) for _ in range(width + 1)], tensor(rows, 5, SHARED))
    system.S += torch.eye(SHARED, dtype=torch.float64)
    return system


def inverse(system: BorderedSystem, free: torch.Tensor) -> np.ndarray:
    A = dense(system)[0]
    keep = np.concatenate([np.ones(system.T * N, bool), free.numpy()])
    return np.linalg.inv(A[keep][:, keep])


@pytest.mark.parametrize(("T", "width"), [(1, 0), (2, 1), (3, 2), (4, 3), (7, 3), (9, 3), (10, 2), (8, 1)])
@pytest.mark.parametrize("moving", [(True, True, True), (True, False, True), (False, False, False)])
def test_windows_are_those_of_the_dense_inverse(T, width, moving):
    system, free = system_of(T, width), torch.tensor(moving)
    full, found = inverse(system, free), band_covariance(system, free)
    length = min(T, 3)
    first = torch.arange(T - length + 1)
    windows = found.windows(first, length, slice(0, sum(moving)))
    for t in first.tolist():
        keep = np.r_[t * N : (t + length) * N, T * N : T * N + sum(moving)]
        np.testing.assert_allclose(windows[t].numpy(), full[np.ix_(keep, keep)], rtol=1e-7, atol=1e-9)
    alone = found.windows(first, length).numpy()
    np.testing.assert_allclose(alone, windows[:, : length * N, : length * N].numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("T", "width"), [(4, 3), (9, 3), (10, 2)])
@pytest.mark.parametrize("moving", [(True, False, True), (False, False, False)])
def test_errors_that_nobody_sought_add_what_they_pull(T, width, moving):
    """Of x = -A^-1 (noise + C b): A^-1 + A^-1 C V C' A^-1, dense."""
    system, free = system_of(T, width), torch.tensor(moving)
    rng = np.random.default_rng(1)
    by_frames, by_shared = torch.as_tensor(rng.normal(size=(T, N, 2))), torch.as_tensor(rng.normal(size=(SHARED, 2)))
    variance = torch.tensor([0.3, 2.0], dtype=torch.float64)
    pull = torch.cat([by_frames.flatten(0, 1), by_shared[free]]).numpy()
    moved = inverse(system, free) @ pull
    full = inverse(system, free) + moved @ np.diag(variance) @ moved.T
    found = with_lasting_errors(system, free, (by_frames, by_shared), variance)
    first, k = torch.arange(T - 2), sum(moving)
    windows = found.windows(first, 3, slice(0, k)).numpy()
    for t in first.tolist():
        keep = np.r_[t * N : (t + 3) * N, T * N : T * N + k]
        np.testing.assert_allclose(windows[t], full[np.ix_(keep, keep)], rtol=1e-7, atol=1e-9)


def test_an_unknown_nothing_is_said_about_has_no_covariance():
    system = BorderedSystem(5, N, SHARED, 3)
    with pytest.raises(torch.linalg.LinAlgError):
        band_covariance(system, torch.zeros(SHARED, dtype=torch.bool))


@pytest.mark.parametrize(("T", "width"), [(4, 3), (7, 3), (10, 2)])
def test_blocks_between_frames_are_those_of_the_dense_inverse(T, width):
    system, free = system_of(T, width), torch.ones(SHARED, dtype=torch.bool)
    full, found = inverse(system, free), band_covariance(system, free)
    for ahead in range(width + 1):
        blocks = found.between(ahead)
        for t in range(T - ahead):
            rows, columns = slice((t + ahead) * N, (t + ahead + 1) * N), slice(t * N, (t + 1) * N)
            np.testing.assert_allclose(blocks[t].numpy(), full[rows, columns], rtol=1e-7, atol=1e-9)
