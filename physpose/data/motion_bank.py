"""Recorded and simulated motions of the human skeleton, in one file, cut into windows of any frame rate."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from physpose.errors import InputError, UnknownNameError
from physpose.io.tables import replace_file
from physpose.types import Array

FIELDS = ("coordinate_names", "name", "person", "source", "rate", "length", "q")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class MotionClip:
    """One motion: q (T, 7 + n) at an even ``rate`` [1/s]; pelvis place [m], quaternion xyzw, coordinates [rad]."""

    name: str
    person: str  # whose motion: people, never clips of one person, are held out
    source: str  # data set
    rate: float
    q: Array

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (len(self.q) - 1) / self.rate

    def at(self, time: Array) -> Array:
        """q (T, nq) at times [s] from the clip's start, linear in between, quaternions unit."""
        frame = np.clip(np.asarray(time) * self.rate, 0, len(self.q) - 1)
        i = np.minimum(frame.astype(int), max(len(self.q) - 2, 0))
        a, b = self.q[i], self.q[np.minimum(i + 1, len(self.q) - 1)].copy()
        b[:, 3:7] *= np.where((a[:, 3:7] * b[:, 3:7]).sum(1) < 0, -1.0, 1.0)[:, None]  # the shorter way
        q = a + (frame - i)[:, None] * (b - a)
        q[:, 3:7] /= np.linalg.norm(q[:, 3:7], axis=1, keepdims=True)
        return q


@dataclass(frozen=True, kw_only=True)
class MotionBank:
    """Clips that share the coordinates ``coordinate_names`` (n)."""

    coordinate_names: tuple[str, ...]
    clips: tuple[MotionClip, ...]

    def __post_init__(self) -> None:
        for clip in self.clips:
            if clip.q.ndim != 2 or clip.q.shape[1] != 7 + len(self.coordinate_names) or len(clip.q) < 2:
                raise InputError(
                    f"motion {clip.name!r} has shape {clip.q.shape}; (T > 1, {7 + len(self.coordinate_names)}) needed"
                )
            if not np.isfinite(clip.q).all() or not clip.rate > 0:
                raise InputError(f"motion {clip.name!r} holds NaN, or its rate {clip.rate} is not positive")

    @cached_property
    def people(self) -> tuple[str, ...]:
        """Everybody whose motions are here, sorted."""
        return tuple(sorted({c.person for c in self.clips}))

    @cached_property
    def chance(self) -> Array:
        """How often each clip is drawn: people by the square root of their seconds, a person's clips by theirs."""
        seconds = np.array([c.seconds for c in self.clips])
        total = {p: sum(c.seconds for c in self.clips if c.person == p) for p in self.people}
        weight = seconds / np.sqrt([total[c.person] for c in self.clips])
        return weight / weight.sum()

    def of(self, people: Iterable[str]) -> MotionBank:
        """The clips of some people.

        Raises:
            UnknownNameError: nobody of that name.
        """
        chosen = set(people)
        for person in sorted(chosen - set(self.people)):
            raise UnknownNameError("person", person, self.people)
        return MotionBank(
            coordinate_names=self.coordinate_names, clips=tuple(c for c in self.clips if c.person in chosen)
        )

    def without(self, people: Iterable[str]) -> MotionBank:
        """The clips of everybody else."""
        return self.of(set(self.people) - set(people))

    def split(self, part: str) -> MotionBank:
        """Clips of the people of one part: "train" (about seven of ten), "validation", "test", by their names.

        Raises:
            UnknownNameError: no such part.
            InputError: nobody falls into it.
        """
        if part not in PARTS:
            raise UnknownNameError("part", part, PARTS)
        found = [p for p in self.people if part_of(p) == part]
        if not found:
            raise InputError(f"none of these people falls into the part {part!r}: {', '.join(self.people)}")
        return self.of(found)

    def window(self, rng: np.random.Generator, time: Array, speed: float = 1.0) -> Array:
        """q (T, nq) of a random moment of a random clip at ``time`` (T,) [s], ``speed`` times as fast.

        Where a clip is too short, its ends are held.
        """
        clip = self.clips[int(rng.choice(len(self.clips), p=self.chance))]
        start = rng.uniform(0, max(clip.seconds - speed * float(time[-1]), 0.0))
        return clip.at(start + speed * np.asarray(time))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write to an .npz file (q as float32), which takes its place once it is whole."""
        path = Path(path)
        if path.suffix != ".npz":
            raise InputError(f"cannot save motions as {str(path)!r}; give a name that ends in .npz")
        arrays = {
            "coordinate_names": np.array(self.coordinate_names, dtype=np.str_),
            "length": np.array([len(c.q) for c in self.clips]),
            "rate": np.array([c.rate for c in self.clips]),
            "q": np.concatenate([c.q for c in self.clips]).astype(np.float32),
        }
        arrays |= {
            k: np.array([getattr(c, k) for c in self.clips], dtype=np.str_) for k in ("name", "person", "source")
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return replace_file(path, buffer.getvalue())


def part_of(person: str) -> str:
    """Which part of the data a person belongs to, whatever else is in the file: by a checksum of the name."""
    return PARTS[{1: 1, 8: 1, 5: 2}.get(zlib.crc32(person.encode()) % 10, 0)]


def load_motions(path: str | os.PathLike[str]) -> MotionBank:
    """The motions of a file that ``MotionBank.save`` wrote; nothing is unpickled.

    Raises:
        InputError: no such file, or not one of these.
    """
    if not Path(path).is_file():
        raise InputError(f"no such file of motions: {path}")
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [k for k in FIELDS if k not in data]
            if missing:
                raise InputError(f"{path} holds no motions: it lacks {', '.join(missing)}")
            fields = {k: data[k] for k in FIELDS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not an .npz file that can be read ({error})") from error
    return _bank(path, fields)


def _bank(path: str | os.PathLike[str], f: dict[str, np.ndarray]) -> MotionBank:
    length = f["length"].astype(int)
    if f["q"].ndim != 2 or length.sum() != len(f["q"]) or len({len(f[k]) for k in ("name", "person", "rate")}) != 1:
        raise InputError(f"{path}: clips of {length.sum()} frames in all, but q has shape {f['q'].shape}")
    parts: Sequence[Array] = np.split(f["q"].astype(float), np.cumsum(length)[:-1])
    clips = (
        MotionClip(name=str(n), person=str(p), source=str(s), rate=float(r), q=q)
        for n, p, s, r, q in zip(f["name"], f["person"], f["source"], f["rate"], parts, strict=True)
    )
    return MotionBank(coordinate_names=tuple(str(n) for n in f["coordinate_names"]), clips=tuple(clips))
