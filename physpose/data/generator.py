"""Endless, reproducible sequences of people who move before a camera, as a detector sees them, with the truth.

Every batch is made from its number alone: batch 17 of seed 3 is the same whenever, wherever and after whatever it is
asked for, so that a training resumed after a kill goes on with exactly the data it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from physpose.chain import KinematicChain
from physpose.data.detector_noise import DetectorNoise, detected, usual_noise
from physpose.data.filming import FilmingSettings, hidden_by_trunk, random_cameras
from physpose.data.motion_bank import MotionBank
from physpose.data.people import random_person, random_scales, side_swap, stature
from physpose.data.random_motion import MotionMix, RandomMotion
from physpose.errors import InputError
from physpose.networks.lifter import View, turn_to_keypoints
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.skeleton.limbs import keypoint_limbs
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """What is generated."""

    keypoint_set: str = "blazepose33"
    frames: int = 8  # of a sequence
    rate: tuple[float, float] = (8.0, 30.0)  # [1/s] frames a second, drawn evenly on a logarithmic scale
    ages: tuple[tuple[float, float], ...] = ((3.0, 18.0), (18.0, 80.0))  # [years] a person is of one of these groups
    people: int = 8  # in a batch
    takes: int = 1  # batches in turn for which other cameras film the same bodies: new bodies cost most of the time
    focal_known: float = 0.7  # part of sequences whose focal length is told
    focal_error: float = 0.08  # standard deviation of its logarithm, as told
    mix: MotionMix = field(default_factory=MotionMix)
    filming: FilmingSettings = field(default_factory=FilmingSettings)
    noise: DetectorNoise | None = None  # None: ``usual_noise`` of the keypoint set


class Batch(NamedTuple):
    """N sequences of T frames of K keypoints."""

    keypoints: Tensor  # (N, T, K, 2) [px]; NaN where missing
    confidence: Tensor  # (N, T, K) in 0..1
    time: Tensor  # (N, T) [s]
    view: View  # focal (N,) [px], NaN where it is not told; principal_point (N, 2)
    pose: (
        Tensor  # (N, T, K, 3) [statures], truth: from the middle of the hips, in the axes of ``networks.lifter.Lifted``
    )
    off: Tensor  # (N, T, K) [statures] root mean square error along an image axis of the keypoints; NaN where missing
    stature: Tensor  # (N,) [m]
    age: Tensor  # (N,) [years]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved = self._replace(**{k: getattr(self, k).to(device) for k in self._fields if k != "view"})
        return moved._replace(view=View(self.view.focal.to(device), self.view.principal_point.to(device)))

    def rows(self, part: slice) -> Batch:
        """Some of the sequences."""
        cut = self._replace(**{k: getattr(self, k)[part] for k in self._fields if k != "view"})
        return cut._replace(view=View(self.view.focal[part], self.view.principal_point[part]))


class Bodies(NamedTuple):
    """Keypoints of moving bodies, world, the lowest of a sequence at z = 0, before any camera."""

    true: Tensor  # (N, T, K, 3) [m]
    seen: Tensor  # (N, T, K, 3) [m], where a detector thinks that these points of the body are
    time: Tensor  # (N, T) [s]
    stature: Tensor  # (N,) [m]
    age: Tensor  # (N,) [years]
    spread: Tensor  # (N, K) of a detector's points about the body's, as part of the stature


def _check_ages(groups: tuple[tuple[float, float], ...]) -> None:
    for youngest, oldest in groups:
        if not 0 <= youngest <= oldest:
            raise InputError(f"ages from {youngest:g} to {oldest:g} years; the younger first, zero or more")


def _check_frames(frames: int, rate: tuple[float, float]) -> None:
    if frames < 1 or not 0 < rate[0] <= rate[1]:
        raise InputError(f"{frames} frames at {rate[0]:g} to {rate[1]:g} a second; at least one, the lower rate first")


class SequenceGenerator:
    """Batches by number. ``stream`` sets apart the sequences for training, validation and test."""

    def __init__(
        self, bank: MotionBank | None = None, settings: GeneratorSettings | None = None, *, seed: int = 0,
        stream: int = 0,
    ):  # fmt: skip
        """bank: recorded motions; None: sampled postures alone."""
        self.settings, self.seed, self.stream = settings or GeneratorSettings(), seed, stream
        _check_ages(self.settings.ages)
        _check_frames(self.settings.frames, self.settings.rate)
        self.noise = self.settings.noise or usual_noise(self.settings.keypoint_set)
        self.motion = RandomMotion(bank, self.settings.mix)
        marks = keypoint_landmarks(self.settings.keypoint_set)
        self._limbs = keypoint_limbs(self.settings.keypoint_set)
        self._hips = [marks.index("hip_l"), marks.index("hip_r")]
        self._kept: tuple[int, int, Bodies] | None = None
        self._shoulders = [marks.index("shoulder_l"), marks.index("shoulder_r")]

    def batches(self, size: int, start: int = 0) -> Iterator[Batch]:
        """Batches ``start``, ``start`` + 1, ... without end."""
        while True:
            yield self.batch(start, size)
            start += 1

    def batch(self, index: int, size: int) -> Batch:
        """Batch number ``index`` of ``size`` sequences."""
        self.check_size(size)
        camera = np.random.default_rng([self.seed, self.stream, index, 1])
        g = Generator().manual_seed(int(camera.integers(2**62)))
        bodies = self._cast(index // self.settings.takes, size)
        return self.filmed(_mirrored(bodies, self.settings.keypoint_set, g), g)

    def check_size(self, size: int) -> None:
        """Complain of a batch of ``size`` sequences that does not divide among its people."""
        n = self.settings.people
        if size < n or size % n:
            raise InputError(f"a batch of {size} sequences does not divide among {n} people: give a multiple of {n}")

    def _cast(self, number: int, size: int) -> Bodies:
        """The bodies of ``takes`` batches; the last ones are kept."""
        if self._kept is None or self._kept[:2] != (number, size):
            rng = np.random.default_rng([self.seed, self.stream, number])
            parts = [self.bodies(rng, size // self.settings.people) for _ in range(self.settings.people)]
            self._kept = number, size, Bodies(*(torch.cat(x) for x in zip(*parts, strict=True)))
        return self._kept[2]

    def bodies(self, rng: np.random.Generator, n: int) -> Bodies:
        """``n`` sequences of one random person."""
        s = self.settings
        skeleton = random_person(rng, s.ages[int(rng.integers(len(s.ages)))])
        time = self._times(rng, n)
        chain = KinematicChain(skeleton, dtype=torch.float32)
        scales = torch.as_tensor(random_scales(rng, skeleton), dtype=torch.float32)
        q = torch.as_tensor(self.motion.draw(rng, skeleton, time), dtype=torch.float32)
        frames, points = chain.fk(q, scales), chain.keypoint_points(s.keypoint_set)
        true = chain.locate(frames, points, scales)
        true = true - torch.tensor([0.0, 0, 1]) * true[..., 2].amin((1, 2))[:, None, None, None]  # onto the floor
        sigma = torch.as_tensor(skeleton.keypoint_set(s.keypoint_set).sigma, dtype=torch.float32)
        # the same point of the skin in every frame, but not the one that the skeleton means
        lasting = torch.as_tensor(rng.standard_normal((n, 1, *true.shape[2:])), dtype=torch.float32)
        lasting = self.noise.lasting * sigma[:, None] * lasting
        seen = true + (frames.R[..., points.body, :, :] @ lasting[..., None])[..., 0]
        height = stature(skeleton)
        age = skeleton.subject.age if skeleton.subject else np.nan
        return Bodies(
            true, seen, torch.as_tensor(time, dtype=torch.float32), torch.full((n,), height), torch.full((n,), age),
            (sigma / height).expand(n, -1),
        )  # fmt: skip

    def filmed(self, bodies: Bodies, g: Generator) -> Batch:
        """What a detector sees of bodies before random cameras."""
        s, N = self.settings, len(bodies.true)
        cameras = random_cameras(bodies.true[:, :, self._hips].mean(2), bodies.stature, s.filming, g)
        true, seen = cameras.to_camera(bodies.true), cameras.to_camera(bodies.seen)
        middle = lambda index: seen[:, :, index].mean(2)  # noqa: E731
        hidden = hidden_by_trunk(seen, middle(self._shoulders), middle(self._hips), bodies.stature)
        depth = middle(self._hips)[..., 2].clamp(min=0.1)
        scale = (bodies.stature * cameras.focal)[:, None] / depth
        found = detected(
            cameras.project(seen), hidden, cameras.size, scale, bodies.spread, bodies.time, self._limbs, self.noise, g
        )  # fmt: skip
        R = turn_to_keypoints(found.uv, cameras.focal, cameras.principal_point)
        pose = (true - true[:, :, self._hips].mean(2, keepdim=True)) @ R  # x_turned = R^T x_camera, rows
        off = (found.uv - cameras.project(true)).norm(dim=-1) / 2**0.5 / scale[..., None]
        told = cameras.focal * torch.exp(s.focal_error * torch.randn(N, generator=g))
        told = torch.where(torch.rand(N, generator=g) < s.focal_known, told, torch.nan)
        return Batch(
            found.uv, found.confidence, bodies.time, View(told, cameras.principal_point),
            pose / bodies.stature[:, None, None, None], off, bodies.stature, bodies.age,
        )  # fmt: skip

    def _times(self, rng: np.random.Generator, n: int) -> Array:
        """(n, T) [s] of evenly spaced frames, one rate a sequence."""
        low, high = np.log(self.settings.rate)
        step = np.exp(-rng.uniform(low, high, n))
        return step[:, None] * np.arange(self.settings.frames)


def _mirrored(bodies: Bodies, keypoint_set: str, g: Generator) -> Bodies:
    """Half of the sequences with left and right exchanged, in a plane that holds the vertical."""
    flip = torch.rand(len(bodies.true), generator=g) < 0.5
    swap = side_swap(keypoint_set)

    def mirrored(p: Tensor) -> Tensor:
        twin = p[:, :, swap] * torch.tensor([1.0, -1.0, 1.0])
        return torch.where(flip[:, None, None, None], twin, p)

    return bodies._replace(true=mirrored(bodies.true), seen=mirrored(bodies.seen))
