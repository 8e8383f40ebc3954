"""EPE-Module of STSP-Net (Liu et al. 2025, equations 1-7): 2D keypoints of a video, features of what moves enhanced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError, UnknownNameError
from physpose.networks.heatmaps import peaks, soft_argmax, to_image
from physpose.networks.hrnet import CONFIGS, STRIDE, HRNet
from physpose.networks.optical_flow import enhancement


@dataclass(frozen=True, kw_only=True)
class EPEConfig:
    """Structure of the EPE-Module."""

    n_keypoints: int = 33  # heatmaps
    backbone: str = "w32"  # a name of ``hrnet.CONFIGS``
    gamma: float = 1.0  # of equation 4; the paper sets all such numbers to 1
    lam: float = 1.0  # lambda of equation 4
    beta: float = 20.0  # sharpness of the soft-argmax (7); 1 as printed gives the image's middle for maps in 0..1


class EPEOutput(NamedTuple):
    """What the EPE-Module sees in each image."""

    heatmaps: Tensor  # (B, K, H / 4, W / 4)
    p: Tensor  # (B, K, 2) [image px], by soft-argmax: has a gradient
    confidence: Tensor  # (B, K), highest value of each heatmap
    visual: Tensor  # (B, K, C), the enhanced features at each keypoint


class EPE(nn.Module):
    """Images (B, 3, H, W) as for ``HRNet``, with their motion saliency, to keypoints."""

    def __init__(self, config: EPEConfig):
        super().__init__()
        if config.backbone not in CONFIGS:
            raise UnknownNameError("HRNet", config.backbone, CONFIGS)
        self.config = config
        self.backbone = HRNet(replace(CONFIGS[config.backbone], n_keypoints=config.n_keypoints))

    @property
    def visual_width(self) -> int:
        """C, the number of visual features a keypoint."""
        return self.backbone.config.widths[0]

    def forward(self, images: Tensor, saliency: Tensor | None = None) -> EPEOutput:
        """Find keypoints.

        Args:
            images: (B, 3, H, W), H and W multiples of 32; sequences flattened into B.
            saliency: (B, H, W) in 0..1 of ``motion_saliency``; None: nothing moves.
        """
        F = self.backbone.features(images)[0]
        if saliency is not None:
            if saliency.shape != (len(images), *images.shape[2:]):
                raise InputError(f"saliency of shape {tuple(saliency.shape)}; one value a pixel of each image needed")
            S = nn.functional.adaptive_avg_pool2d(saliency[:, None].to(F.dtype), (F.shape[-2], F.shape[-1]))
            F = enhancement(S, gamma=self.config.gamma, lam=self.config.lam) * F  # (5)
        heatmaps = self.backbone.final_layer(F)  # (6)
        p = soft_argmax(heatmaps, self.config.beta)  # (7)
        confidence = heatmaps.flatten(-2).amax(-1).clamp(0, 1)
        return EPEOutput(heatmaps, to_image(p, STRIDE), confidence, sampled(F, p))

    @torch.no_grad()
    def detect(self, images: Tensor, saliency: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keypoints (B, K, 2) [image px] by the heatmaps' peaks, to a part of a pixel, and their confidence (B, K)."""
        found = peaks(self(images, saliency).heatmaps)
        return to_image(found.p, STRIDE), found.confidence


def sampled(features: Tensor, p: Tensor) -> Tensor:
    """Features (B, C, H, W) at places (B, K, 2) [feature px], bilinear: (B, K, C)."""
    size = torch.tensor(features.shape[:-3:-1], dtype=p.dtype, device=p.device)  # W, H
    grid = 2 * (p + 0.5) / size - 1
    return nn.functional.grid_sample(features, grid[:, None], align_corners=False)[:, :, 0].mT
