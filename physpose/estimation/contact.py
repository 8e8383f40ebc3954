"""Which foot points touch the floor, and how the ground reaction is shared among them."""

from __future__ import annotations

import torch
from torch import Tensor


def contact_belief(p: Tensor, time: Tensor, max_speed: float, max_height: float) -> Tensor:
    """Belief 0..1 (T, C) that points p (T, C, 3) [m] touch the floor z = 0: slow and low.

    Falls from 1 to 0 around ``max_speed`` [m/s] and ``max_height`` [m].
    """
    if len(time) < 2:
        return torch.sigmoid((max_height - p[..., 2]) / (max_height / 4))
    v = torch.gradient(p, spacing=(time,), dim=0)[0]
    speed = v.norm(dim=-1)
    slow = torch.sigmoid((max_speed - speed) / (max_speed / 4))
    low = torch.sigmoid((max_height - p[..., 2]) / (max_height / 4))
    return slow * low
