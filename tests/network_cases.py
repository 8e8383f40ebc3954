"""What the tests of several networks share: tiny structures, and a loop that fits a few samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from physpose.networks.hrnet import HRNetConfig

TINY_HRNET = HRNetConfig(widths=(8, 8, 8, 8), modules=(1, 1, 1), blocks=1, stem_blocks=1, stem_width=8)


def fitted(module: nn.Module, loss: Callable[[], Tensor], steps: int, lr: float = 3e-3) -> tuple[float, float]:
    """Loss before and after some steps of Adam."""
    optimiser = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=lr)
    first = value = float(loss().detach())
    for _ in range(steps):
        optimiser.zero_grad()
        now = loss()
        now.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        value = float(now.detach())
    return first, value


def discs(n: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (n, 3, H, W) of three coloured discs, and their centres (n, 3, 2) [px]: keypoints to be found."""
    generator = torch.Generator().manual_seed(seed)
    H, W = size
    centres = 8 + torch.rand(n, 3, 2, generator=generator) * (torch.tensor([W, H]) - 16)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    d2 = (x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2
    return torch.exp(-d2 / 18), centres
