"""Heatmaps and the keypoints in them. Coordinates are (x, y) in heatmap pixels; (0, 0) is the first pixel's centre."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-10  # of a heatmap before its logarithm


class Peaks(NamedTuple):
    """Keypoints read from heatmaps."""

    p: Tensor  # (*b, K, 2) x, y [heatmap px]
    confidence: Tensor  # (*b, K)


def gaussian_heatmaps(p: Tensor, size: tuple[int, int], sigma: float = 2.0) -> Tensor:
    """Heatmaps (*b, K, H, W) of keypoints (*b, K, 2), ``size`` (H, W) (HSTPN 1). A NaN keypoint's map is zero.

    H(u, v) = exp(-((u - u_k)^2 + (v - v_k)^2) / (2 sigma^2))
    """
    x, y = (torch.arange(n, dtype=p.dtype, device=p.device) for n in (size[1], size[0]))
    gx = torch.exp(-((x - p[..., :1]) ** 2) / (2 * sigma**2))
    gy = torch.exp(-((y - p[..., 1:]) ** 2) / (2 * sigma**2))
    maps = gy[..., :, None] * gx[..., None, :]
    return torch.where(torch.isfinite(p).all(-1)[..., None, None], maps, 0)


def soft_argmax(heatmaps: Tensor, beta: float = 1.0) -> Tensor:
    """Expected place (*b, K, 2) under the softmax of heatmaps (*b, K, H, W) (STSP-Net 7): it has a gradient.

    p = sum (x, y) softmax(beta H)(x, y); ``beta`` sharpens, for maps in 0..1, whose softmax is all but flat.
    """
    H, W = heatmaps.shape[-2:]
    weight = torch.softmax(beta * heatmaps.flatten(-2), -1).unflatten(-1, (H, W))
    x, y = (torch.arange(n, dtype=heatmaps.dtype, device=heatmaps.device) for n in (W, H))
    return torch.stack([(weight.sum(-2) * x).sum(-1), (weight.sum(-1) * y).sum(-1)], -1)


def peaks(heatmaps: Tensor, *, subpixel: bool = True) -> Peaks:
    """The highest pixel of each heatmap (*b, K, H, W) (HSTPN 12, 19), refined (13), and its height (15).

    No gradient goes through the place: train through ``soft_argmax``. (13) is printed as p <- p + grad H(p), which adds
    1/px to px, and moves a flat peak less than a sharp one whatever their offsets. Instead the second-order Taylor step
    on the logarithm (DARK, Zhang et al. 2020), exact on a Gaussian:

    p <- p - (grad^2 log H)^-1 grad log H
    """
    W = heatmaps.shape[-1]
    height, index = heatmaps.flatten(-2).max(-1)
    x, y = index % W, index // W
    p = torch.stack([x, y], -1).to(heatmaps.dtype)
    return Peaks(p + _taylor_step(heatmaps, x, y) if subpixel else p, height)


def to_image(p: Tensor, stride: float) -> Tensor:
    """Heatmap to image pixels (HSTPN 14): p_orig = s p. Strided 3x3 convolutions put pixel i on image pixel s i."""
    return stride * p


def _taylor_step(heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(*b, K, 2) [px], at most one pixel each way; zero at the border and where the peak is not curved both ways."""
    H, W = heatmaps.shape[-2:]
    inside = (x > 0) & (x < W - 1) & (y > 0) & (y < H - 1)
    x, y = x.clamp(1, max(W - 2, 1)), y.clamp(1, max(H - 2, 1))
    log = heatmaps.clamp(min=FLOOR).log().flatten(-2)

    def at(dx: int, dy: int) -> Tensor:
        return log.gather(-1, ((y + dy) * W + x + dx)[..., None]).squeeze(-1)

    if H < 3 or W < 3:
        return torch.zeros(*x.shape, 2, dtype=heatmaps.dtype, device=heatmaps.device)
    gx, gy = (at(1, 0) - at(-1, 0)) / 2, (at(0, 1) - at(0, -1)) / 2
    xx, yy = at(1, 0) - 2 * at(0, 0) + at(-1, 0), at(0, 1) - 2 * at(0, 0) + at(0, -1)
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    det = xx * yy - xy * xy
    peaked = inside & (det > 1e-12) & (xx < 0)
    safe = torch.where(peaked, det, 1)
    step = -torch.stack([yy * gx - xy * gy, xx * gy - xy * gx], -1) / safe[..., None]
    return torch.where(peaked[..., None], step, 0).clamp(-1, 1)
