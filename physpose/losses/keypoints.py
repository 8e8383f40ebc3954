"""Keypoints in an image: normalisation and the two basic losses (Li and Li 2025, equations 1, 3-5).

Leading dimensions stay; their mean is the caller's. ``visible`` (*b, K) says which keypoints have a label: the means
are over these, and zero where a pose has none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physpose.errors import InputError


class Box(NamedTuple):
    """A person's square box in the image, in the keypoints' unit."""

    centre: Tensor  # (*b, 2)
    scale: Tensor  # (*b) its side


def bounding_box(p: Tensor, visible: Tensor | None = None) -> Box:
    """Box (*b) around the visible keypoints (*b, K, 2); NaN where none is visible.

    c = ((x_min + x_max) / 2, (y_min + y_max) / 2), s = max(x_max - x_min, y_max - y_min)
    """
    seen = torch.isfinite(p).all(-1) if visible is None else visible.bool()
    low = torch.where(seen[..., None], p, torch.inf).amin(-2)
    high = torch.where(seen[..., None], p, -torch.inf).amax(-2)
    none = ~seen.any(-1)
    low, high = (torch.where(none[..., None], torch.nan, x) for x in (low, high))
    return Box((low + high) / 2, (high - low).amax(-1))


def normalised(p: Tensor, box: Box) -> Tensor:
    """Keypoints (*b, K, 2) in the box's canonical frame, -0.5 .. 0.5 along its longer side (equation 3).

    p' = (p - c) / s; missing keypoints stay NaN, and give the box no NaN gradient.
    """
    if bool((box.scale <= 0).any()):
        raise InputError("a person's box has no extent: all keypoints in one point")
    seen, centre = torch.isfinite(p), box.centre[..., None, :]
    scaled = (torch.where(seen, p, centre) - centre) / box.scale[..., None, None]
    return torch.where(seen, scaled, torch.nan)


def denormalised(p: Tensor, box: Box) -> Tensor:
    """Inverse of ``normalised``: (*b, K, 2) back to the image."""
    return p * box.scale[..., None, None] + box.centre[..., None, :]


def heatmap_loss(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """Heatmap regression (*b) of (*b, K, H, W) (equation 4; 21 is the same).

    1/K sum_k ||H_k - H^_k||_2^2, the sum of squares over the map as printed, not its mean
    """
    return _mean_over_keypoints(((predicted - true) ** 2).sum((-2, -1)), visible)


def coordinate_loss(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """Squared error (*b) of normalised coordinates (*b, K, d) (equation 5).

    1/K sum_k ||p'_k - p^'_k||_2^2
    """
    error = predicted - true
    if visible is not None:  # what has no label may be NaN
        error = torch.where(visible.bool()[..., None], error, 0)
    return _mean_over_keypoints((error**2).sum(-1), visible)


def _mean_over_keypoints(x: Tensor, visible: Tensor | None) -> Tensor:
    if visible is None:
        return x.mean(-1)
    w = visible.to(x.dtype)
    return (torch.where(w > 0, x, 0) * w).sum(-1) / w.sum(-1).clamp(min=1)
