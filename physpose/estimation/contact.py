"""Which points of the body touch the floor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.types import Array

NEEDS_SUPPORT = 0.3  # body weights of vertical force: less is near free fall
SAME_HEIGHT = 0.03  # [m] points so much above the lowest stand on the floor with it


def belt_velocity(speed: float, R_pelvis: Tensor) -> Tensor:
    """(3,) [m/s] of a treadmill's belt at ``speed``: level, and against the way that pelvises (T, 3, 3) face on the
    whole."""
    ahead = R_pelvis[:, :2, 0].nansum(0)
    level = ahead / ahead.norm().clamp(min=1e-9)
    return -speed * torch.cat([level, level.new_zeros(1)])


def contact_belief(p: Tensor, time: Tensor, max_speed: float, max_height: float) -> Tensor:
    """Belief 0..1 (T, C) that points p (T, C, 3) [m] touch the floor z = 0: slow and low.

    Falls from 1 to 0 around ``max_speed`` [m/s] and ``max_height`` [m].
    """
    low = torch.sigmoid((max_height - p[..., 2]) / (max_height / 4))
    return low * slow(p, time, max_speed)


def slow(p: Tensor, time: Tensor, max_speed: float) -> Tensor:
    """Belief 0..1 (T, C) that points are slower than ``max_speed`` [m/s]; one frame tells no speeds."""
    if len(time) < 2:
        return torch.ones_like(p[..., 0])
    speed = torch.gradient(p, spacing=(time,), dim=0)[0].norm(dim=-1)
    return torch.sigmoid((max_speed - speed) / (max_speed / 4))


def raised_belief(p: Tensor, time: Tensor, needed: Tensor, max_speed: float) -> Tensor:
    """Belief 0..1 (T, C) that the lowest points stand on something above the floor, a box or a step.

    ``needed``: (T,) upward force that the motion needs, in body weights: in flight nothing is stood on.
    """
    above = p[..., 2] - p[..., 2].amin(1, keepdim=True)
    lowest = torch.sigmoid((SAME_HEIGHT - above) / (SAME_HEIGHT / 4))
    carried = torch.sigmoid((needed - NEEDS_SUPPORT) / (NEEDS_SUPPORT / 4))
    return lowest * carried[:, None] * slow(p, time, max_speed)


def outside_feet(wrench: Tensor, arms: Tensor, belief: Tensor, reach: float) -> Tensor:
    """Belief 0..1 (T,) that the body's weight acts farther than ``reach`` [m] from all points in contact.

    Args:
        wrench: (T, 6) that the motion needs: force and moment about the centre of mass, world axes, z up.
        arms: (T, C, 3) [m] from the centre of mass to points that may stand on the floor.
        belief: (T, C) that they do.
    """
    force, moment = wrench[:, :3], wrench[:, 3:]
    height = (belief * arms[..., 2]).sum(1) / belief.sum(1).clamp(min=1e-9)  # of the floor, below the centre of mass
    carried = force[:, 2].clamp(min=1e-3 * float(force[:, 2].abs().max()) + 1e-9)
    # zero-moment point: moment = r x force without horizontal moments
    r = torch.stack([height * force[:, 0] - moment[:, 1], moment[:, 0] + height * force[:, 1]], -1) / carried[:, None]
    distance = (r[:, None] - arms[..., :2]).norm(dim=-1) + 1e3 * (belief < 0.5)
    nearest = distance.min(1).values
    on_feet = belief.max(1).values > 0.5
    return torch.where(on_feet, torch.sigmoid((nearest - reach) / (reach / 5)), 0.0)


def smoothed(belief: Tensor, time: Tensor, seconds: float) -> Tensor:
    """The mean of a belief (T,) over ``seconds`` around each frame."""
    half = seconds / 2 + 1e-9
    time = time.contiguous()  # searchsorted would copy, and warn
    first, last = torch.searchsorted(time, time - half), torch.searchsorted(time, time + half, right=True)
    total = torch.cat([belief.new_zeros(1), belief.cumsum(0)])
    return (total[last] - total[first]) / (last - first)


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
