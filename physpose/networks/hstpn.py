"""HSTPN, the Hierarchical Spatio-Temporal Pose Network (Li and Li 2025, equations 7-19): 2D keypoints of a video.

The paper leaves layers and widths open; ours are in ``HSTPNConfig``. Losses (20-23) are in ``losses.hstpn``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError, UnknownNameError
from physpose.networks.heatmaps import peaks, soft_argmax, to_image
from physpose.networks.hrnet import CONFIGS, STRIDE, HRNet
from physpose.networks.temporal import ConvTemporal, RecurrentTemporal


@dataclass(frozen=True, kw_only=True)
class HSTPNConfig:
    """Structure of an HSTPN. The defaults stand on HRNet-W32; ``SMALL`` is for CPUs."""

    n_keypoints: int = 17  # heatmaps
    backbone: str = "w32"  # a name of ``hrnet.CONFIGS``
    width: int = 64  # channels of the fused features
    temporal: Literal["convolutional", "recurrent", "none"] = "convolutional"  # (17), (16), or images only
    window: int = 5  # w of the convolutional encoder, odd
    beta: float = 20.0  # sharpness of the soft-argmax


SMALL = HSTPNConfig(backbone="w18_small_v1", width=32, window=3)


class HSTPNOutput(NamedTuple):
    """What HSTPN sees in each image."""

    heatmaps: Tensor  # (*b, K, H / 4, W / 4)
    p: Tensor  # (*b, K, 2) [image px], by soft-argmax: has a gradient
    fusion: Tensor  # (*b, 4) alpha, the part of each scale in the features, sums to one


class HSTPN(nn.Module):
    """Images (B, 3, H, W) or videos (B, T, 3, H, W) as for ``HRNet``, H and W multiples of 32, to keypoints."""

    def __init__(self, config: HSTPNConfig):
        super().__init__()
        if config.backbone not in CONFIGS:
            raise UnknownNameError("HRNet", config.backbone, CONFIGS)
        self.config = config
        self.backbone = HRNet(CONFIGS[config.backbone])
        self.fusion = MultiScaleFusion(CONFIGS[config.backbone].widths, config.width)
        self.temporal = _temporal(config)
        self.head = AttentionHead(config.width, config.n_keypoints)

    def forward(self, images: Tensor) -> HSTPNOutput:
        """Heatmaps and keypoints; of a video each by its neighbours in time, too."""
        if images.ndim not in (4, 5):
            raise InputError(f"images of shape {tuple(images.shape)}; (B, 3, H, W) or (B, T, 3, H, W) needed")
        video = images if images.ndim == 5 else images[:, None]
        psi, alpha = self.fusion(self.backbone.features(video.flatten(0, 1)))
        h = self.temporal(psi.unflatten(0, video.shape[:2])).flatten(0, 1)
        heatmaps = self.head(h)  # (11), (18)
        p = to_image(soft_argmax(heatmaps, self.config.beta), STRIDE)
        lead = images.shape[:-3]
        return HSTPNOutput(*(x.unflatten(0, lead) for x in (heatmaps, p, alpha)))

    @torch.no_grad()
    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints (*b, K, 2) [image px] by the heatmaps' peaks (12-14, 19), and their confidence (*b, K) (15)."""
        found = peaks(self(images).heatmaps)
        return to_image(found.p, STRIDE), found.confidence


class MultiScaleFusion(nn.Module):
    """Features of several resolutions to one map (7-10)."""

    def __init__(self, widths: tuple[int, ...], width: int):
        super().__init__()
        self.align = nn.ModuleList(nn.Conv2d(w, width, 1) for w in widths)
        self.w = nn.Parameter(torch.zeros(width))  # at first all scales alike

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(B, widths[l], H_l, W_l) to psi' (B, width, H_0, W_0) and alpha (B, L)."""
        size = maps[0].shape[-2:]
        # phi~_l = Align(phi_l) (7): channels by 1x1 convolution, then to the finest resolution
        aligned = [_resized(conv(x), size) for conv, x in zip(self.align, maps, strict=True)]
        # alpha = softmax over l of w^T GAP(phi~_l) (8)
        alpha = torch.softmax(torch.stack([x.mean((-2, -1)) @ self.w for x in aligned], -1), -1)
        # psi = sum_l alpha_l phi~_l (9)
        psi = sum(a[:, None, None, None] * x for a, x in zip(alpha.unbind(-1), aligned, strict=True))
        # psi' = (psi - mean) / deviation (10), of each image over all channels and places
        return nn.functional.group_norm(psi, 1), alpha  # type: ignore[arg-type]


class AttentionHead(nn.Module):
    """g_k (11): features weighted by channel and by place, then convolved to one heatmap a keypoint."""

    def __init__(self, width: int, n_keypoints: int):
        super().__init__()
        self.channels = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        self.place = nn.Conv2d(2, 1, 7, padding=3)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, n_keypoints, 1)

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) to heatmaps (B, K, H, W)."""
        h = h * torch.sigmoid(self.channels(h.mean((-2, -1))))[..., None, None]
        heatmaps: Tensor = self.out(nn.functional.relu(self.norm(self.conv(h * self.attention(h)))))
        return heatmaps

    def attention(self, h: Tensor) -> Tensor:
        """Weight (B, 1, H, W) in 0..1 of each place, from the mean and the largest of its channels."""
        return torch.sigmoid(self.place(torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)))


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _temporal(config: HSTPNConfig) -> nn.Module:
    if config.temporal == "convolutional":
        return ConvTemporal(config.width, config.window)
    if config.temporal == "recurrent":
        return RecurrentTemporal(config.width)
    if config.temporal == "none":
        return nn.Identity()
    raise UnknownNameError("temporal encoder", config.temporal, ("convolutional", "recurrent", "none"))
