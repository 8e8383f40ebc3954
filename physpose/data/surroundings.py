"""Drawn people put before surroundings that are new at every step, into pictures as cameras take them.

Whoever learns from drawings learns the drawings; what has nothing to do with the person has to differ every time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from physpose.data.rendering import Video

OCTAVES = (2, 4, 8, 16, 32, 64)  # blobs across a texture


@dataclass(frozen=True, kw_only=True)
class SurroundingsSettings:
    """How far pictures may differ; spreads are half-widths of even distributions, but where said otherwise."""

    zoom: tuple[float, float] = (0.75, 1.15)  # of the drawing
    turn: float = math.radians(20)  # of the camera about its axis
    shift: float = 0.08  # of the picture's width and height
    cloth: float = 0.5  # contrast of textures on the person
    light: float = 0.35  # gain of each colour
    gamma: float = 0.3  # log
    blur: float = 1.2  # [px] greatest standard deviation
    noise: float = 0.04  # greatest standard deviation of pixels in 0..1
    occluded: float = 0.3  # part of the videos in which something stands before the person


def textures(n: int, size: tuple[int, int], g: torch.Generator) -> Tensor:
    """Random colour textures (n, 3, H, W) in 0..1: octaves of smooth noise, each of random strength."""
    total = torch.zeros(n, 3, *size, device=g.device)
    for blobs in OCTAVES:
        coarse = torch.rand(n, 3, blobs, blobs, generator=g, device=g.device) - 0.5
        strength = torch.rand(n, 1, 1, 1, generator=g, device=g.device) ** 2
        kind = "nearest" if blobs % 8 else "bilinear"  # edges too, as of walls and furniture
        total += strength * functional.interpolate(coarse, size, mode=kind)
    low, high = total.amin((2, 3), keepdim=True), total.amax((2, 3), keepdim=True)
    ends = torch.rand(2, n, 3, 1, 1, generator=g, device=g.device)
    found = ends[0] + (ends[1] - ends[0]) * (total - low) / (high - low).clamp(min=1e-6)
    grey = found.mean(1, keepdim=True)
    return grey + torch.rand(n, 1, 1, 1, generator=g, device=g.device) * (found - grey)


def in_surroundings(video: Video, g: torch.Generator, settings: SurroundingsSettings | None = None) -> Video:
    """Videos (B, T, ...) on the generator's device, turned, zoomed and set before textures; images in 0..1.

    The camera, the textures and the light are one for each video.
    """
    s = settings or SurroundingsSettings()
    B, T, _, H, W = video.images.shape
    images, person, keypoints = _filmed(video, g, s)
    cloth = 1 + s.cloth * (2 * textures(B, (H, W), g) - 1)
    behind, before = (textures(B, (H, W), g)[:, None] for _ in range(2))
    images = torch.where(person, (images * cloth[:, None]).clamp(0, 1), behind)
    images = torch.where(_something(B, (H, W), g, s)[:, None], before, images)
    images = _taken(images, g, s)
    inside = ((keypoints > -0.5) & (keypoints < torch.tensor([W, H], device=g.device) - 0.5)).all(-1)
    return Video(images, person[:, :, 0], keypoints, video.visible & inside, video.time)


def _filmed(video: Video, g: torch.Generator, s: SurroundingsSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Images in 0..1, the person's pixels (B, T, 1, H, W), and keypoints, of a camera turned, zoomed and shifted."""
    B, T, _, H, W = video.images.shape
    angle = s.turn * _spread(B, g)
    zoom = s.zoom[0] + (s.zoom[1] - s.zoom[0]) * torch.rand(B, generator=g, device=g.device)
    shift = s.shift * torch.stack([W * _spread(B, g), H * _spread(B, g)], -1)
    c, sn = torch.cos(angle), torch.sin(angle)
    R = torch.stack([torch.stack([c, -sn], -1), torch.stack([sn, c], -1)], -2)
    middle = torch.tensor([(W - 1) / 2, (H - 1) / 2], device=g.device)
    # new = zoom R (old - middle) + middle + shift; pictures are looked up the other way
    A, offset = zoom[:, None, None] * R, middle + shift
    keypoints = ((video.keypoints - middle) @ A[:, None].mT) + offset[:, None, None]
    pixels = torch.stack(torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy"), -1).to(middle)
    old = (pixels - offset[:, None, None]) @ torch.linalg.inv(A).mT[:, None] + middle
    grid = (2 * old + 1) / torch.tensor([W, H], device=g.device) - 1
    drawn = torch.cat([video.images / 255, video.person[:, :, None].float()], 2).flatten(1, 2)
    seen = functional.grid_sample(drawn, grid, align_corners=False, padding_mode="zeros").unflatten(1, (T, 4))
    return seen[:, :, :3], seen[:, :, 3:] > 0.5, keypoints


def _something(B: int, size: tuple[int, int], g: torch.Generator, s: SurroundingsSettings) -> Tensor:
    """(B, 1, H, W) true where an ellipse or a bar stands before the person."""
    H, W = size
    place, half = torch.rand(B, 2, 1, 1, generator=g, device=g.device), _between(0.04, 0.2, (B, 2, 1, 1), g)
    x = (torch.arange(W, device=g.device) / W - place[:, :1]) / half[:, :1]
    y = (torch.arange(H, device=g.device)[:, None] / H - place[:, 1:]) / half[:, 1:]
    bar = torch.rand(B, 1, 1, 1, generator=g, device=g.device) < 0.5
    shape = torch.where(bar, x.abs().expand(B, 1, H, W), x**2 + y**2) < 1
    return shape & (torch.rand(B, 1, 1, 1, generator=g, device=g.device) < s.occluded)


def _taken(images: Tensor, g: torch.Generator, s: SurroundingsSettings) -> Tensor:
    """Light, exposure, lens and sensor; (B, T, 3, H, W) in 0..1."""
    B = len(images)
    gain = 1 + s.light * (2 * torch.rand(B, 1, 3, 1, 1, generator=g, device=g.device) - 1)
    gamma = torch.exp(s.gamma * _spread(B, g))[:, None, None, None, None]
    images = _blurred((images * gain).clamp(1e-4, 1) ** gamma, s.blur * torch.rand(B, generator=g, device=g.device))
    grain = s.noise * torch.rand(B, 1, 1, 1, 1, generator=g, device=g.device)
    return (images + grain * torch.randn(images.shape, generator=g, device=g.device)).clamp(0, 1)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """By a Gaussian of ``sigma`` (B,) [px] along rows and columns."""
    B, T, C, H, W = images.shape
    x = torch.arange(-3, 4, device=images.device)
    kernel = torch.softmax(-0.5 * (x / sigma.clamp(min=0.05)[:, None]) ** 2, -1).repeat_interleave(T * C, 0)
    flat = images.reshape(1, B * T * C, H, W)
    for shape, pad in (((-1, 1, 1, 7), (3, 3, 0, 0)), ((-1, 1, 7, 1), (0, 0, 3, 3))):
        padded = functional.pad(flat, pad, mode="replicate")
        flat = functional.conv2d(padded, kernel.reshape(shape), groups=B * T * C)
    return flat.reshape(images.shape)


def _spread(n: int, g: torch.Generator) -> Tensor:
    return 2 * torch.rand(n, generator=g, device=g.device) - 1


def _between(low: float, high: float, shape: tuple[int, ...], g: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=g, device=g.device)
