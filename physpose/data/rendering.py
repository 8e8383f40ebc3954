"""Videos of moving bodies drawn by MuJoCo, with the true keypoints in the picture: to train networks on images."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import mujoco
import numpy as np
import torch
from torch import Tensor

from physpose import conventions
from physpose.chain import KinematicChain
from physpose.data.motion_bank import MotionBank
from physpose.data.people import random_person, stature
from physpose.data.random_motion import MotionMix, RandomMotion
from physpose.errors import InputError
from physpose.progress import SILENT, Progress
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """What is drawn."""

    keypoint_set: str = "coco17"
    size: tuple[int, int] = (128, 96)  # height, width [px], multiples of 32
    frames: int = 4  # of a video
    rate: float = 12.0  # [1/s]
    ages: tuple[float, float] = (6.0, 80.0)  # [years]
    fovy: float = 40.0  # [deg] of the picture's height
    margin: tuple[float, float] = (1.15, 1.6)  # picture's height over the stature, drawn evenly
    mix: MotionMix = field(default_factory=lambda: MotionMix(ranging=0.0))


class Video(NamedTuple):
    """A drawn video."""

    images: Tensor  # (T, 3, H, W) uint8 as drawn; in 0..1 where ``surroundings`` have been put behind
    person: Tensor  # (T, H, W) bool, pixels of the body
    keypoints: Tensor  # (T, K, 2) [px]
    visible: Tensor  # (T, K) bool, inside the picture
    time: Tensor  # (T,) [s]


class VideoGenerator:
    """Videos by number: the same number always gives the same video. Needs OpenGL (EGL or OSMesa without a screen)."""

    def __init__(
        self, bank: MotionBank | None = None, settings: RenderSettings | None = None, *, seed: int = 0, stream: int = 0
    ):
        self.settings, self.seed, self.stream = settings or RenderSettings(), seed, stream
        self.motion = RandomMotion(bank, self.settings.mix)

    def video(self, index: int) -> Video:
        """Video number ``index`` of one random person, in random colours, before a random camera."""
        s, rng = self.settings, np.random.default_rng([self.seed, self.stream, index])
        skeleton = random_person(rng, s.ages)
        time = np.arange(s.frames) / s.rate
        q = self.motion.draw(rng, skeleton, time[None])[0]
        chain = KinematicChain(skeleton)
        points = chain.keypoints(torch.as_tensor(q), s.keypoint_set).numpy()
        q[:, 2] -= points[..., 2].min()
        points[..., 2] -= points[..., 2].min()
        camera = self._camera(rng, skeleton, points)
        images, person = draw(skeleton, q, camera, s, colours=rng)
        uv = torch.as_tensor(project(points, camera, s), dtype=torch.float32)
        limit = torch.tensor([s.size[1], s.size[0]]) - 0.5
        visible = ((uv > -0.5) & (uv < limit)).all(-1)
        return Video(images, person, uv, visible, torch.as_tensor(time, dtype=torch.float32))

    def batch(self, index: int, size: int, processes: int = 1, progress: Progress = SILENT) -> Video:
        """``size`` videos, stacked: (B, T, ...); drawn by several processes, which changes nothing else."""
        numbers = range(index * size, (index + 1) * size)
        with progress.stage("draw videos", size) as stage, _workers(processes) as draw_all:
            videos = []
            for video in draw_all(self.video, numbers):
                videos.append(Video(*(torch.as_tensor(x) for x in video)))
                stage.advance()
        return Video(*(torch.stack(x) for x in zip(*videos, strict=True)))

    def _camera(self, rng: np.random.Generator, skeleton: Skeleton, points: Array) -> Any:
        s = self.settings
        camera = mujoco.MjvCamera()
        camera.azimuth, camera.elevation = rng.uniform(0, 360), rng.uniform(-30, 5)
        height = stature(skeleton) * rng.uniform(*s.margin)
        camera.distance = height / 2 / np.tan(np.radians(s.fovy) / 2)
        middle = (points.min((0, 1)) + points.max((0, 1))) / 2
        camera.lookat[:] = middle + 0.05 * height * rng.standard_normal(3)
        return camera


@contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` that keeps the order."""
    if processes == 1:
        yield map
        return
    # spawned: an OpenGL context does not survive a fork
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda f, items: pool.map(partial(_as_arrays, f), items, chunksize=-(-len(items) // (4 * processes)))


def _as_arrays(f: Callable[[int], Video], item: int) -> tuple[Array, ...]:
    """Tensors go between processes by file descriptors, of which there are few."""
    return tuple(x.numpy() for x in f(item))


def draw(
    skeleton: Skeleton, q: Array, camera: Any, settings: RenderSettings, *, colours: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Pictures (T, 3, H, W) uint8 of poses q (T, nq), and which pixels are the body (T, H, W).

    ``colours``: of body, floor and lamp at random.

    Raises:
        InputError: there is no OpenGL.
    """
    spec = mujoco.MjSpec.from_string(to_mjcf(skeleton))
    height, width = settings.size
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    spec.visual.global_.fovy = settings.fovy
    if colours is not None:
        _coloured(spec, colours)
    model = spec.compile()
    data: Any = mujoco.MjData(model)
    pictures, person = [], []
    floor = model.geom("floor").id
    try:
        renderer = mujoco.Renderer(model, height=height, width=width)
    except Exception as error:  # every GL library has exceptions of its own
        backend = os.environ.get("MUJOCO_GL", "the default")
        raise InputError(
            f"cannot draw: no working OpenGL (MUJOCO_GL: {backend}; {error}); set MUJOCO_GL=egl or osmesa"
        ) from error
    with renderer:
        for qpos in conventions.q_to_mujoco(skeleton, q):
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            pictures.append(renderer.render().copy())
            renderer.enable_segmentation_rendering()
            drawn = renderer.render()[..., 0]
            renderer.disable_segmentation_rendering()
            person.append((drawn >= 0) & (drawn != floor))
    return torch.as_tensor(np.stack(pictures)).movedim(-1, 1), torch.as_tensor(np.stack(person))


def project(p: Array, camera: Any, settings: RenderSettings) -> Array:
    """World points (..., 3) [m] to pixels (..., 2) of a MuJoCo free camera; (0, 0) is the first pixel's centre."""
    az, el = np.radians([camera.azimuth, camera.elevation])
    forward = np.array([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)])
    right = np.array([np.sin(az), -np.cos(az), 0.0])
    down = np.cross(forward, right)
    x = (p - (camera.lookat - camera.distance * forward)) @ np.stack([right, down, forward], 1)
    height, width = settings.size
    focal = height / 2 / np.tan(np.radians(settings.fovy) / 2)
    return focal * x[..., :2] / x[..., 2:] + (np.array([width, height]) - 1) / 2


def _coloured(spec: Any, rng: np.random.Generator) -> None:
    """Skin, shirt, trousers and shoes in random colours, sleeves and legs of random length; light."""
    skin = rng.uniform(0.25, 0.95) * np.array([1.0, rng.uniform(0.65, 0.85), rng.uniform(0.45, 0.75)])
    shirt, trousers, shoes = rng.uniform(0.05, 0.95, (3, 3))
    sleeve, leg = rng.uniform(size=2) < 0.5
    colours = {"torso": shirt, "humerus": shirt, "pelvis": trousers, "femur": trousers, "calcn": shoes, "toes": shoes}
    colours |= {"ulna": shirt, "radius": shirt} if sleeve else {}
    colours |= {"tibia": trousers} if leg else {}
    for body in spec.bodies:
        shade = colours.get(body.name.rsplit("_", 1)[0], skin)
        for geom in body.geoms:
            if geom.name != "floor":
                geom.rgba = [*shade, 1.0]
    spec.visual.headlight.ambient = rng.uniform(0.2, 0.6, 3)
    spec.visual.headlight.diffuse = rng.uniform(0.2, 0.7, 3)
    for texture in spec.textures:
        texture.rgb1, texture.rgb2 = rng.uniform(0.1, 0.9, (2, 3))
