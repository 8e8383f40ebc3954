"""The most likely sequence of candidates against trying every sequence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physpose.estimation.facing import TURN_RATE, most_likely_path


def brute_force(time: np.ndarray, costs: np.ndarray, quats: np.ndarray) -> tuple[int, ...]:
    """Every path's cost: candidates' own, and half the squared turn over variance (random walk) between frames."""

    def total(path: tuple[int, ...]) -> float:
        turn = 0.0
        for t in range(1, len(time)):
            a, b = (Rotation.from_quat(quats[path[s], s]) for s in (t - 1, t))
            turn += 0.5 * (a.inv() * b).magnitude() ** 2 / (TURN_RATE**2 * (time[t] - time[t - 1]))
        return turn + sum(costs[i, t] for t, i in enumerate(path))

    return min(itertools.product(range(len(costs)), repeat=len(time)), key=total)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("candidates", "frames"), [(2, 5), (3, 4), (4, 1)])
def test_path_is_the_best_of_all(seed, candidates, frames):
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.02, 0.5, frames))
    costs = rng.uniform(0, 20, (candidates, frames))
    quats = Rotation.random(candidates * frames, random_state=rng).as_quat().reshape(candidates, frames, 4)
    path = most_likely_path(*(torch.as_tensor(x) for x in (time, costs, quats)))
    assert tuple(path.tolist()) == brute_force(time, costs, quats)


def facing(yaw: list[float], frames: int) -> torch.Tensor:
    """(N, T, 4): candidates that each keep one heading."""
    quats = Rotation.from_rotvec(np.outer(yaw, [0, 0, 1])).as_quat()
    return torch.as_tensor(np.repeat(quats[:, None], frames, axis=1))


def test_one_frame_that_looks_better_backwards_does_not_turn_the_person():
    time = torch.arange(9, dtype=torch.float64) / 15
    costs = torch.stack([torch.ones(9), 5 * torch.ones(9)]).double()
    costs[:, 4] = torch.tensor([9.0, 1.0])
    assert most_likely_path(time, costs, facing([0.0, np.pi], 9)).tolist() == [0] * 9


def test_lasting_evidence_does_and_a_long_gap_makes_it_cheap():
    time = torch.tensor([0.0, 0.1, 0.2, 3.0, 3.1, 3.2], dtype=torch.float64)
    costs = torch.tensor([[0.0, 0, 0, 3, 3, 3], [3, 3, 3, 0, 0, 0]], dtype=torch.float64)
    quats = facing([0.0, np.pi], 6)
    assert most_likely_path(time, costs, quats).tolist() == [0, 0, 0, 1, 1, 1]
    assert most_likely_path(torch.arange(6).double() / 15, costs, quats).tolist() in ([0] * 6, [1] * 6)


def test_sign_of_quaternions_does_not_matter():
    time = torch.arange(6, dtype=torch.float64) / 15
    costs = torch.as_tensor(np.random.default_rng(0).uniform(0, 5, (2, 6)))
    quats = facing([0.0, 0.4], 6)
    flipped = quats.clone()
    flipped[:, ::2] *= -1
    assert most_likely_path(time, costs, quats).tolist() == most_likely_path(time, costs, flipped).tolist()
