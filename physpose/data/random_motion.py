"""Random motions of a body: recorded ones a little changed, usual postures joined, and the whole range of motion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from physpose.data.motion_bank import MotionBank
from physpose.errors import InputError
from physpose.estimation.posture_prior import UP, PosturePrior
from physpose.skeleton.model import Skeleton
from physpose.spatial import matrix_to_quat, quat_exp, quat_mul
from physpose.types import Array

# [rad] what motion capture of these marker sets does not tell: spread over people and moments (mostly unverified)
UNTOLD = {k: np.radians(x) for k, x in
          {"subtalar": 8.0, "mtp": 12.0, "pro_sup": 35.0, "wrist_flex": 20.0, "wrist_dev": 10.0}.items()}  # fmt: skip
# mean, spread [deg] of people on chairs and stools of all heights, leaning back, or far to the front to rise; judgement
SEATED = {
    "hip_flexion": (80.0, 16.0), "hip_adduction": (-6.0, 9.0), "hip_rotation": (0.0, 10.0), "knee_angle": (88.0, 18.0),
    "ankle_angle": (2.0, 10.0), "lumbar_extension": (-14.0, 20.0), UP[0]: (0.0, 18.0), UP[1]: (0.0, 3.0),
}  # fmt: skip
ARMS = ("arm_flex", "arm_add", "arm_rot", "elbow_flex")
SITS = 0.75  # of the postures of a seated motion
KEYS = 3  # postures that a sampled motion passes through
PELVIS_HEIGHT = 0.53  # of the stature, standing


@dataclass(frozen=True, kw_only=True)
class MotionMix:
    """Shares of kinds of motion, and how recorded ones are changed."""

    recorded: float = 0.55  # of a bank; without one, the others in their ratio
    usual: float = 0.15  # postures of the shipped posture prior, joined
    seated: float = 0.20  # sitting, sitting down and rising: motion capture that may be shared holds little of it
    ranging: float = 0.10  # anywhere within the range of motion
    free_arms: float = 0.25  # of usual and seated motions: arms anywhere within range, as people fold or raise them
    speed: tuple[float, float] = (0.7, 1.3)  # times that of the recording
    offset: float = float(np.radians(4.0))  # [rad] standard deviation of a constant change of each coordinate
    tilt: float = float(np.radians(4.0))  # [rad] of the whole body
    key_seconds: tuple[float, float] = (0.4, 2.0)  # [s] from one sampled posture to the next
    ranging_tilt: float = float(np.radians(25.0))  # [rad] of the pelvis


@dataclass(frozen=True)
class RandomMotion:
    """Draws q of any human skeleton."""

    bank: MotionBank | None
    mix: MotionMix = field(default_factory=MotionMix)

    def draw(self, rng: np.random.Generator, skeleton: Skeleton, time: Array) -> Array:
        """q (N, T, nq) at ``time`` (N, T) [s], each row from zero: one motion a row."""
        mix = self.mix
        shares = np.array([mix.recorded if self.bank else 0.0, mix.usual, mix.seated, mix.ranging])
        if shares.sum() <= 0:
            raise InputError("no motions to draw from: give recorded ones, or shares of sampled postures")
        kinds = rng.choice(4, size=len(time), p=shares / shares.sum())
        makers = (self._recorded, self._usual, self._seated, self._ranging)
        q = np.stack([makers[k](rng, skeleton, t) for k, t in zip(kinds, time, strict=True)])
        return self._varied(rng, skeleton, q, time)

    def _recorded(self, rng: np.random.Generator, skeleton: Skeleton, time: Array) -> Array:
        assert self.bank is not None
        names = skeleton.coordinate_names
        missing = sorted(set(names) - set(self.bank.coordinate_names))
        if missing:
            raise InputError(f"the recorded motions lack coordinates of {skeleton.name}: {', '.join(missing)}")
        q = self.bank.window(rng, time, float(rng.uniform(*self.mix.speed)))
        columns = [7 + self.bank.coordinate_names.index(n) for n in names]
        size = skeleton.neutral[2] / (PELVIS_HEIGHT * 1.70)  # recorded bodies were scaled to adults of all heights
        return np.concatenate([q[:, :3] * size, q[:, 3:7], q[:, columns]], 1)

    def _usual(self, rng: np.random.Generator, skeleton: Skeleton, time: Array) -> Array:
        return self._through(rng, skeleton, time, self._postures(rng, skeleton))

    def _seated(self, rng: np.random.Generator, skeleton: Skeleton, time: Array) -> Array:
        """Each key sits or, less often, is any usual posture; arms are the latter's."""
        values = self._postures(rng, skeleton)
        sits = rng.random(KEYS) < SITS
        for name, (mean, spread) in SEATED.items():
            both = rng.standard_normal(KEYS)  # what both legs share, and what is one leg's
            for n in (name,) if name in values else (f"{name}_r", f"{name}_l"):
                x = mean + spread * (0.8 * both + 0.6 * rng.standard_normal(KEYS))
                values[n] = np.where(sits, np.radians(x), values[n])
        return self._through(rng, skeleton, time, values)

    def _postures(self, rng: np.random.Generator, skeleton: Skeleton) -> dict[str, Array]:
        """Usual postures, in some motions with arms that know nothing of the rest."""
        values = _usual_postures(rng)
        if rng.random() < self.mix.free_arms:
            arms = [c for c in skeleton.coordinates if c.name.startswith(ARMS)]
            values |= {c.name: c.range[0] + (c.range[1] - c.range[0]) * rng.beta(2.0, 2.0, KEYS) for c in arms}
        return values

    def _through(self, rng: np.random.Generator, skeleton: Skeleton, time: Array, values: dict[str, Array]) -> Array:
        """Through postures, each name's values (KEYS,)."""
        coordinates = np.stack([values[n] for n in skeleton.coordinate_names], -1)
        up = np.stack([np.sin(values[UP[0]]), np.zeros(KEYS), np.sin(values[UP[1]])], -1)
        return self._joined(rng, skeleton, time, coordinates, up)

    def _ranging(self, rng: np.random.Generator, skeleton: Skeleton, time: Array) -> Array:
        low, high = np.array([c.range for c in skeleton.coordinates]).T
        coordinates = low + (high - low) * rng.beta(2.0, 2.0, size=(KEYS, len(low)))
        up = np.sin(self.mix.ranging_tilt * rng.standard_normal((KEYS, 3))) * [1.0, 0.0, 1.0]
        return self._joined(rng, skeleton, time, coordinates, up)

    def _joined(
        self, rng: np.random.Generator, skeleton: Skeleton, time: Array, coordinates: Array, up: Array
    ) -> Array:
        """Smoothly from key to key: coordinates (KEYS, n), the vertical's pelvis x and z (KEYS, 3)."""
        seconds = rng.uniform(*self.mix.key_seconds)
        key = np.clip(time / seconds + rng.uniform(0, KEYS - 1), 0, 2 * (KEYS - 1))
        key = np.where(key > KEYS - 1, 2 * (KEYS - 1) - key, key)  # and back
        i = np.minimum(key.astype(int), KEYS - 2)
        w = (1 - np.cos(np.pi * (key - i)))[:, None] / 2
        mixed = [x[i] + w * (x[i + 1] - x[i]) for x in (coordinates, up)]
        place = np.tile([0.0, 0.0, skeleton.neutral[2]], (len(time), 1))
        return np.concatenate([place, _upright(mixed[1]), mixed[0]], 1)

    def _varied(self, rng: np.random.Generator, skeleton: Skeleton, q: Array, time: Array) -> Array:
        """Constant changes of each coordinate and of the attitude, swings of what recordings do not tell; in range."""
        N, n = len(q), len(skeleton.coordinates)
        x = q[..., 7:] + self.mix.offset * rng.standard_normal((N, 1, n))
        untold = np.array(
            [next((s for k, s in UNTOLD.items() if c.name.startswith(k)), 0.0) for c in skeleton.coordinates]
        )
        rate, phase = rng.uniform(0.2, 1.5, (N, 1, n)), rng.uniform(0, 2 * np.pi, (N, 1, n))
        swing = 0.5 * np.sin(2 * np.pi * rate * time[..., None] + phase)
        x += untold * (rng.standard_normal((N, 1, n)) + swing)
        low, high = np.array([c.range for c in skeleton.coordinates]).T
        turn = quat_exp(torch.as_tensor(self.mix.tilt * rng.standard_normal((N, 1, 3))))
        quat = quat_mul(turn, torch.as_tensor(q[..., 3:7])).numpy()
        return np.concatenate([q[..., :3], quat, np.clip(x, low, high)], -1)


def _usual_postures(rng: np.random.Generator) -> dict[str, Array]:
    """Coordinates and lean [rad] of ``KEYS`` postures of the prior, by name (KEYS,)."""
    prior = _prior()
    x = prior.sample(KEYS, torch.Generator().manual_seed(int(rng.integers(2**62)))).numpy()
    values = dict(zip(prior.names, x.T, strict=True))
    return values | {n: np.arcsin(np.clip(values[n], -0.97, 0.97)) for n in UP}


@cache
def _prior() -> PosturePrior:
    return PosturePrior.load()


def _upright(up: Array) -> Array:
    """Quaternions xyzw (T, 4) of pelvises that face world x and see the vertical at ``up`` (T, 3), y left open."""
    up = up.copy()
    up[:, 1] = np.sqrt(np.clip(1 - up[:, 0] ** 2 - up[:, 2] ** 2, 0.05, 1.0))
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    # rows of R_world_pelvis are the world's axes seen from the pelvis: z is up, x the pelvis' x laid level
    x = np.array([1.0, 0, 0]) - up[:, :1] * up
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    R = np.stack([x, np.cross(up, x), up], 1)
    return matrix_to_quat(torch.as_tensor(R)).numpy()
