"""What someone holds on to: a rail, a bar, a rope, a wall; where forces may point anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.estimation.contact import slow, smoothed
from physpose.estimation.settings import EstimationSettings
from physpose.skeleton.model import Hold
from physpose.types import Array


def holds_of(texts: Sequence[str]) -> dict[str, list[tuple[float, float]] | None]:
    """ "POINT" or "POINT:FROM-TO" [s] as name -> times, as ``physpose.fit`` takes them.

    Raises:
        InputError: times that are none.
    """
    found: dict[str, list[tuple[float, float]] | None] = {}
    for name, separator, times in (text.strip().partition(":") for text in texts):
        try:
            start, end = (float(x) for x in times.split("-")) if separator else (0.0, 0.0)
        except ValueError:
            raise InputError(f"hold {name}:{times}: POINT:FROM-TO is needed, in seconds, e.g. hand_r:1.5-4") from None
        found[name] = [*(found.get(name) or []), (start, end)] if separator else None
    return found


def check_holds(holds: Sequence[Hold], time: Array) -> None:
    """Refuse times to hold on that lie outside a recording's.

    Raises:
        InputError: which.
    """
    for hold in holds:
        for start, end in hold.spans or ():
            if end < time[0] or start > time[-1]:
                span = f"{time[0]:.2f} to {time[-1]:.2f} s"
                raise InputError(f"hold {hold.body} from {start:g} to {end:g} s: the recording is from {span}")


def hold_belief(p: Tensor, time: Tensor, holds: tuple[Hold, ...], settings: EstimationSettings) -> Tensor:
    """Belief 0..1 (T, H) that points p (T, H, 3) [m] hold on: when it was said, else while they stay where they are."""
    found = torch.zeros_like(p[..., 0])
    for i, hold in enumerate(holds):
        if hold.spans is None:
            still = slow(p[:, i], time, settings.contact_speed)
            found[:, i] = smoothed(still, time, settings.hold_time)
        else:
            found[:, i] = torch.stack([(start <= time) & (time <= end) for start, end in hold.spans]).any(0)
    return found


def holding_last(belief: Tensor, n_holds: int) -> Tensor:
    """A belief (T, C) for sharing the weight: the last points, that hold on, get what the others leave."""
    others = belief[:, : belief.shape[1] - n_holds]
    if not n_holds or not others.shape[1]:
        return belief
    left = 1 - others.amax(1, keepdim=True)
    return torch.cat([others, left * belief[:, belief.shape[1] - n_holds :]], 1)
