"""Where a body must stand to project onto keypoints in a picture, and how badly it then does: both have gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def translation(p: Tensor, uv: Tensor, weight: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """t (*b, 3) [m, camera axes] with which points p + t project to uv: weighted linear least squares.

    (x + t_x) f = (u - c_x) (z + t_z), and the same for y. Zero where fewer than two are seen.

    Args:
        p: (*b, K, 3) [m], camera axes.
        uv: (*b, K, 2) [px]; NaN where missing.
        weight: (*b, K); 0 where missing.
        focal: (*b) or () [px].
        principal_point: (*b, 2) or (2,) [px].
    """
    w = torch.where(torch.isfinite(uv).all(-1), weight, 0)
    f = focal[..., None, None]
    m = torch.where(w[..., None] > 0, uv - principal_point[..., None, :], 0) / f  # seen direction x / z, y / z
    one, zero = torch.ones_like(w), torch.zeros_like(w)
    A = torch.stack([torch.stack([one, zero, -m[..., 0]], -1), torch.stack([zero, one, -m[..., 1]], -1)], -2)
    b = m * p[..., 2:] - p[..., :2]  # (*b, K, 2)
    WA = w[..., None, None] * A
    N = (A.mT @ WA).sum(-3)
    enough = (w > 0).sum(-1) >= 2  # four equations for three unknowns
    N = torch.where(enough[..., None, None], N, torch.eye(3).to(N))
    t = torch.linalg.solve(N, (WA.mT @ b[..., None]).sum(-3))[..., 0]
    return torch.where(enough[..., None], t, 0)


def reprojection_error(p: Tensor, uv: Tensor, weight: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """Weighted mean distance (*b) [m at the body's distance] of projected points from uv; zero where nothing counts.

    As ``translation``, p being placed. Pixels become metres so that near and far people count alike.
    """
    w = torch.where(torch.isfinite(uv).all(-1), weight, 0)
    z = p[..., 2].clamp(min=0.1)
    m = torch.where(w[..., None] > 0, uv - principal_point[..., None, :], 0) / focal[..., None, None]
    miss = torch.where(w[..., None] > 0, p[..., :2] / z[..., None] - m, 0)
    square = (miss**2).sum(-1)
    nothing = square == 0
    distance = torch.where(nothing, 0, torch.where(nothing, 1, square).sqrt())
    scale = z.mean(-1)
    return scale * (w * distance).sum(-1) / w.sum(-1).clamp(min=1e-9)
