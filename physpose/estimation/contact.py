"""Which points of the body touch the floor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.types import Array

NEEDS_SUPPORT = 0.3  # body weights of vertical force: less is near free fall
SAME_HEIGHT = 0.03  # [m] points so much above the lowest stand on the floor with it


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


def with_needed_support(
    active: NDArray[np.bool_], height: Array, vertical_force: Array, max_height: float
) -> NDArray[np.bool_]:
    """Contacts (T, C), completed where the motion needs a floor and no point was still enough to be believed.

    Args:
        active: (T, C) bool.
        height: (T, C) [m] of the contact points over the floor.
        vertical_force: (T,) upward force the motion needs from outside, in body weights.
        max_height: [m] a lowest point higher than this touches nothing.
    """
    lowest = height.min(axis=1, keepdims=True)
    falls_short = ~active.any(axis=1) & (vertical_force > NEEDS_SUPPORT) & (lowest[:, 0] < max_height)
    return active | (falls_short[:, None] & (height < lowest + SAME_HEIGHT))
