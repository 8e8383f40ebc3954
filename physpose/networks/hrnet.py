"""HRNet (Sun et al. 2019, Wang et al. 2020): features at four resolutions, held in parallel and exchanged.

Modules are named as in the authors' pose network, so that their weight files load: see ``hrnet_weights``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from physpose.errors import InputError, UnknownNameError

STRIDE = 4  # image pixels a pixel of the finest features; feature pixel i lies on image pixel 4 i


@dataclass(frozen=True, kw_only=True)
class HRNetConfig:
    """Structure of an HRNet. The defaults are W32."""

    widths: tuple[int, int, int, int] = (32, 64, 128, 256)  # channels of the branches, from 1/4 to 1/32 of the image
    modules: tuple[int, int, int] = (1, 4, 3)  # exchanges in stages 2, 3, 4
    blocks: int = 4  # residual blocks of a branch between exchanges
    stem_blocks: int = 4  # bottlenecks of stage 1
    stem_width: int = 64  # their inner channels; four times as many go out
    n_keypoints: int | None = None  # heatmaps of the final layer; None: features only
    all_scales: bool = False  # does the last exchange go to all branches (classification) or the finest only (pose)


_SMALL = HRNetConfig(widths=(18, 36, 72, 144), modules=(1, 3, 2), blocks=2, stem_blocks=2)
CONFIGS = {
    "w32": HRNetConfig(),
    "w48": HRNetConfig(widths=(48, 96, 192, 384)),
    "w18_small_v1": HRNetConfig(
        widths=(16, 32, 64, 128), modules=(1, 1, 1), blocks=2, stem_blocks=1, stem_width=32
    ),  # published under this name, with 16 channels
    "w18_small_v2": _SMALL,
}
"""The published structures; parameters and GFLOPs beside the published ones: benchmarks/networks.py."""


def hrnet(name: str, *, n_keypoints: int | None = None, all_scales: bool = False) -> HRNet:
    """A published HRNet by its name in ``CONFIGS``, with untrained weights."""
    if name not in CONFIGS:
        raise UnknownNameError("HRNet", name, CONFIGS)
    return HRNet(replace(CONFIGS[name], n_keypoints=n_keypoints, all_scales=all_scales))


class HRNet(nn.Module):
    """Images (B, 3, H, W), H and W multiples of 32, to features or to heatmaps of keypoints.

    The published pose weights expect RGB in 0..1 less the ImageNet mean, over its deviation: ``normalised_images``.
    """

    def __init__(self, config: HRNetConfig):
        super().__init__()
        self.config = config
        w, out = config.widths, 4 * config.stem_width
        self.conv1, self.bn1 = _conv(3, 64, 3, 2), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = _conv(64, 64, 3, 2), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        first = Bottleneck(64, config.stem_width)
        self.layer1 = nn.Sequential(first, *(Bottleneck(out, config.stem_width) for _ in range(config.stem_blocks - 1)))
        self.transition1 = nn.ModuleList([_conv_bn_relu(out, w[0]), nn.Sequential(_conv_bn_relu(out, w[1], 2))])
        self.stage2 = _stage(config, 2)
        self.transition2 = _transition(w, 2)
        self.stage3 = _stage(config, 3)
        self.transition3 = _transition(w, 3)
        self.stage4 = _stage(config, 4)
        if config.n_keypoints is not None:
            self.final_layer = nn.Conv2d(w[0], config.n_keypoints, 1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Four maps (B, widths[i], H / 4 / 2^i, W / 4 / 2^i) of the last stage.

        The finest has been exchanged with all others; so have the coarser ones where ``all_scales``, else they are as
        they went into the last exchange: pose weights know of no further.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % 32 or images.shape[3] % 32:
            raise InputError(f"images of shape {tuple(images.shape)}; (B, 3, H, W), H and W multiples of 32, needed")
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer1(self.relu(self.bn2(self.conv2(x))))
        maps = self.stage2([t(x) for t in self.transition1])
        maps = self.stage3(_with_coarser(maps, self.transition2))
        features: list[Tensor] = self.stage4(_with_coarser(maps, self.transition3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps (B, n_keypoints, H / 4, W / 4), or the finest features where there is no final layer."""
        finest = self.features(images)[0]
        return finest if self.config.n_keypoints is None else self.final_layer(finest)


def normalised_images(images: Tensor) -> Tensor:
    """RGB images (*b, 3, H, W), uint8 or in 0..1, less ImageNet's mean and over its deviation (float32)."""
    x = images.float() / 255 if images.dtype == torch.uint8 else images
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=x.dtype, device=x.device)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=x.dtype, device=x.device)
    return (x - mean[:, None, None]) / std[:, None, None]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions about a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions about a shortcut, four times ``width`` channels out."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(width_in, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        if width_in != 4 * width:
            self.downsample = nn.Sequential(_conv(width_in, 4 * width, 1), nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Exchange(nn.Module):
    """Parallel branches, then each gets the sum of all, brought to its resolution."""

    def __init__(self, widths: tuple[int, ...], blocks: int, outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w) for _ in range(blocks))) for w in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resampling(widths, source, target) for source in range(len(widths)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        own = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = [self.relu(_sum(cast(nn.ModuleList, row), own)) for row in self.fuse_layers]
        return fused + own[len(fused) :]


def _sum(layers: Iterable[nn.Module], maps: list[Tensor]) -> Tensor:
    return reduce(torch.add, (layer(x) for layer, x in zip(layers, maps, strict=True)))


def _stage(config: HRNetConfig, number: int) -> nn.Sequential:
    widths, n = config.widths[:number], config.modules[number - 2]
    finest_only = number == 4 and not config.all_scales
    outputs = [number] * (n - 1) + [1 if finest_only else number]
    return nn.Sequential(*(Exchange(widths, config.blocks, k) for k in outputs))


def _resampling(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    w_in, w_out, steps = widths[source], widths[target], target - source
    if steps == 0:
        return nn.Identity()
    if steps < 0:
        up = nn.Upsample(scale_factor=2**-steps, mode="nearest")
        return nn.Sequential(_conv(w_in, w_out, 1), nn.BatchNorm2d(w_out), up)
    halvings: list[nn.Module] = [_conv_bn_relu(w_in, w_in, 2) for _ in range(steps - 1)]
    return nn.Sequential(*halvings, nn.Sequential(_conv(w_in, w_out, 3, 2), nn.BatchNorm2d(w_out)))


def _transition(widths: tuple[int, ...], n: int) -> nn.ModuleList:
    """From ``n`` branches to one more, made of the coarsest."""
    coarser = nn.Sequential(_conv_bn_relu(widths[n - 1], widths[n], 2))
    return nn.ModuleList([*(nn.Identity() for _ in range(n)), coarser])


def _with_coarser(maps: list[Tensor], transition: nn.ModuleList) -> list[Tensor]:
    return [t(x) for t, x in zip(transition, [*maps, maps[-1]], strict=True)]


def _conv(w_in: int, w_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(w_in, w_out, kernel, stride, kernel // 2, bias=False)


def _conv_bn_relu(w_in: int, w_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(w_in, w_out, 3, stride), nn.BatchNorm2d(w_out), nn.ReLU(inplace=True))
