"""Random cameras that film random people, and what of the body hides what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

IMAGE_SIZES = ((1080, 1920), (1920, 1080), (720, 1280), (1280, 720), (640, 480))  # [px]
NEAREST = 1.0  # [m] of the camera to the aim
TRUNK_RADIUS = 0.075  # of the stature: half its breadth, seen from the side and front


@dataclass(frozen=True, kw_only=True)
class FilmingSettings:
    """How people are filmed."""

    focal: tuple[float, float] = (0.75, 0.2)  # of the long image side: median, standard deviation of the logarithm
    size: tuple[float, float] = (0.25, 0.95)  # stature over the image's height, about
    camera_height: tuple[float, float] = (1.3, 0.5)  # [m] above the floor: mean, deviation
    from_anywhere: float = 0.15  # part that is filmed from an elevation drawn evenly instead
    elevation: tuple[float, float] = (-0.35, 1.1)  # [rad] of those
    roll: float = 0.05  # [rad] standard deviation
    off_centre: float = 0.15  # of the image's size: standard deviation of where the person is


class Cameras(NamedTuple):
    """One static camera for each of N sequences. x_camera = R x_world + t."""

    focal: Tensor  # (N,) [px]
    principal_point: Tensor  # (N, 2) [px]
    size: Tensor  # (N, 2) width, height [px]
    R: Tensor  # (N, 3, 3)
    t: Tensor  # (N, 3) [m]

    def to_camera(self, p: Tensor) -> Tensor:
        """World points (N, T, K, 3) [m] in camera axes."""
        return torch.einsum("nij,ntkj->ntki", self.R, p) + self.t[:, None, None]

    def project(self, p: Tensor) -> Tensor:
        """Points (N, T, K, 3) [m] in camera axes to pixels (N, T, K, 2)."""
        z = p[..., 2:].clamp(min=0.1)
        return self.focal[:, None, None, None] * p[..., :2] / z + self.principal_point[:, None, None]


def random_cameras(hips: Tensor, stature: Tensor, settings: FilmingSettings, g: Generator) -> Cameras:
    """Cameras about people whose hips are at (N, T, 3) [m], world, floor at z = 0, each of ``stature`` (N,) [m]."""
    N = len(hips)
    uniform = lambda a, b, *shape: a + (b - a) * torch.rand(N, *shape, generator=g)  # noqa: E731
    normal = lambda *shape: torch.randn(N, *shape, generator=g)  # noqa: E731
    size = torch.tensor(IMAGE_SIZES)[torch.randint(len(IMAGE_SIZES), (N,), generator=g)].float()
    focal = settings.focal[0] * torch.exp(settings.focal[1] * normal()) * size.amax(1)
    aim = hips.mean(1)
    # stature * f / distance = share of the image's smaller side, more or less
    share = uniform(*settings.size) * size[:, 1]
    distance = (stature * focal / share).clamp(min=NEAREST)
    height = settings.camera_height[0] + settings.camera_height[1] * normal()
    usual = torch.asin(((height.clamp(0.2, 3.0) - aim[:, 2]) / distance).clamp(-0.7, 0.9))
    anywhere = uniform(0, 1) < settings.from_anywhere
    elevation = torch.where(anywhere, uniform(*settings.elevation), usual)
    azimuth = uniform(0, 2 * torch.pi)
    away = torch.stack(
        [azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin()], -1
    )  # from the aim to the camera
    R = _looking(-away, settings.roll * normal())
    # the person somewhere about the middle: aim past them
    off = settings.off_centre * normal(2) * size / focal[:, None]
    R = _turned(off) @ R
    return Cameras(focal, size / 2, size, R, -torch.einsum("nij,nj->ni", R, aim + distance[:, None] * away))


def _looking(forward: Tensor, roll: Tensor) -> Tensor:
    """R_camera_world (N, 3, 3) that looks ``forward`` (N, 3), image upright but for ``roll`` (N,) [rad]."""
    up = torch.tensor([0.0, 0, 1]).expand_as(forward)
    right = torch.linalg.cross(forward, up)
    right = right / right.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    c, s = roll.cos()[:, None], roll.sin()[:, None]
    return torch.stack([c * right + s * down, c * down - s * right, forward], 1)


def _turned(off: Tensor) -> Tensor:
    """Small turns (N, 3, 3) that move the middle of the picture by ``off`` (N, 2) [rad] right and down."""
    zero, one = torch.zeros_like(off[:, 0]), torch.ones_like(off[:, 0])
    (cx, cy), (sx, sy) = off.cos().unbind(1), off.sin().unbind(1)
    about_y = torch.stack([cx, zero, sx, zero, one, zero, -sx, zero, cx], 1).unflatten(1, (3, 3))
    about_x = torch.stack([one, zero, zero, zero, cy, sy, zero, -sy, cy], 1).unflatten(1, (3, 3))
    return about_x @ about_y


def hidden_by_trunk(p: Tensor, shoulders: Tensor, hips: Tensor, stature: Tensor) -> Tensor:
    """Which keypoints (N, T, K) lie behind the trunk as the camera sees it.

    p (N, T, K, 3), middles of shoulders and hips (N, T, 3) [m], camera axes; stature (N,). The trunk is a capsule.
    """
    a, b = hips[:, :, None], shoulders[:, :, None]
    # nearest point of the trunk's axis in the picture, and how far from it the keypoint is seen
    pa, pb, pk = (x[..., :2] / x[..., 2:].clamp(min=0.1) for x in (a, b, p))
    along = ((pk - pa) * (pb - pa)).sum(-1) / ((pb - pa) ** 2).sum(-1).clamp(min=1e-9)
    on = along.clamp(0, 1)[..., None]
    radius = TRUNK_RADIUS * stature[:, None, None]
    depth = (a + on * (b - a))[..., 2]
    beside = (pk - (pa + on * (pb - pa))).norm(dim=-1) * depth
    return (beside < radius) & (p[..., 2] > depth + radius)
