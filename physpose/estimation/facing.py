"""Which of several candidate motions to believe, frame by frame: nobody turns round in a fifteenth of a second."""

from __future__ import annotations

import torch
from torch import Tensor

TURN_RATE = 2.0  # [rad/s] standard deviation of the pelvis' turning between frames


def most_likely_path(time: Tensor, costs: Tensor, quats: Tensor) -> Tensor:
    """Index (T,) of the candidate to believe in each frame (Viterbi).

    Args:
        time: (T,) [s].
        costs: (N, T) cost of each candidate in each frame.
        quats: (N, T, 4) each candidate's pelvis orientation; changing candidate costs the turn it needs.
    """
    N, T = costs.shape
    total, back = costs[:, 0].clone(), torch.zeros(T, N, dtype=torch.long)
    for t in range(1, T):
        angle = 2 * torch.arccos((quats[:, None, t - 1] * quats[None, :, t]).sum(-1).abs().clamp(max=1.0))
        step = total[:, None] + 0.5 * (angle / TURN_RATE) ** 2 / (time[t] - time[t - 1])  # (from, to)
        total, back[t] = step.min(dim=0)
        total = total + costs[:, t]
    path = torch.zeros(T, dtype=torch.long)
    path[-1] = total.argmin()
    for t in range(T - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path
