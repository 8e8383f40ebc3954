"""Motions from anywhere, as ``check`` takes them: results, files of several kinds, arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physpose import known_motion
from physpose.chain import KinematicChain
from physpose.conventions import opensim_names
from physpose.errors import InputError, UnknownNameError
from physpose.io.amass import is_amass_file
from physpose.io.bvh import read_bvh
from physpose.io.npz import read_npz
from physpose.io.storage import read_storage
from physpose.known_motion import Kinematics
from physpose.result import FitResult
from physpose.skeleton import load_skeleton
from physpose.skeleton.load import refuse_description
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Contacts, Motion


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was read: a motion with its forces, one without, or points."""

    source: str
    skeleton: Skeleton | None = None
    gravity: Array | None = None  # (3,) [m/s^2]
    motion: Motion | None = None  # with its forces
    kinematics: Kinematics | None = None  # without
    contacts: Contacts | None = None  # known beside kinematics
    time: Array | None = None  # of points
    points: Array | None = None  # (T, P, 3) [m]
    names: tuple[str, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    floor: bool = True  # may there be one
    belt: Array = field(default_factory=lambda: np.zeros(3))  # (3,) [m/s] its velocity


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How coordinates are read, as ``known_motion.read_motion`` takes it."""

    lowpass: float | None  # cutoff [Hz]
    degrees: bool | None  # of the angles in a .mot or .sto, against its header
    scale: float | None = None  # metres a unit of a .bvh

    def __call__(self, motion: Any, body: Skeleton) -> Kinematics:
        return known_motion.read_motion(motion, body, lowpass=self.lowpass, degrees=self.degrees, scale=self.scale)


def read_motion(
    motion: Any, body: Skeleton | None, who: dict[str, Any], reading: Reading, keypoint_set: str | None, bones: Any
) -> Given:
    """Whatever ``check`` was given.

    Args:
        motion: see ``check``.
        body: its skeleton, if the user gave one.
        who: age, sex, height, mass for a skeleton that has to be loaded.
        reading: how coordinates are read.
        keypoint_set, bones: what points are.

    Raises:
        InputError, UnknownNameError: what was given and what is possible.
    """
    if isinstance(motion, FitResult):
        _refuse_beside_own_body(body, who)
        found = _computed(motion, motion.skeleton, motion.source, motion.gravity, body, reading)
        return replace(found, floor=motion.floor, belt=motion.belt)
    if isinstance(motion, str | Path):
        return _read_file(Path(motion), body, who, reading)
    time, values = _pair(motion)
    if values.ndim == 3:
        return _points(time, values, body, who, keypoint_set, bones)
    body = body or load_skeleton(**who)
    if values.shape[1] != body.nq:
        raise InputError(f"q has shape {values.shape}; {body.name} needs ({len(time)}, {body.nq})")
    if len(bad := np.argwhere(~np.isfinite(values))):
        t, i = bad[0]
        raise InputError(f"q: column {i} is not a number at frame {t}, {time[t]:g} s")
    moved = reading((time, values), body)
    return Given(source="array", skeleton=body, gravity=body.gravity, kinematics=moved, notes=moved.warnings)


def _refuse_beside_own_body(body: Skeleton | None, who: dict[str, Any]) -> None:
    """Of a result, whose body is known, nobody else's age or mass has an effect."""
    if body is None:
        refuse_description(**who)


def _computed(
    motion: Motion, own: Skeleton | None, source: str, gravity: Array, body: Skeleton | None, reading: Reading
) -> Given:
    """A result as it is; with another body or a filter its kinematics, whose forces are to be computed anew."""
    if reading.lowpass is None and (body is None or body is own):
        return Given(source=source, skeleton=own, gravity=gravity, motion=motion)
    body = body or own
    assert body is not None
    if body.nq != motion.q.shape[1]:
        raise InputError(f"{source} has {motion.q.shape[1]} coordinates, {body.name} has {body.nq}")
    if reading.lowpass is not None:
        moved = reading(motion, body)
    else:
        moved = Kinematics(time=motion.time, q=motion.q, v=motion.v, a=motion.a, source=source)
    return Given(source=source, skeleton=body, gravity=gravity, kinematics=moved, contacts=motion.contacts)


FIT_FIRST = {".trc", ".c3d", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".json"}  # markers, videos, keypoints


def _read_file(path: Path, body: Skeleton | None, who: dict[str, Any], reading: Reading) -> Given:
    suffix = ".npz" if path.is_dir() else path.suffix.lower()
    if suffix in FIT_FIRST:
        raise InputError(f"{path} is no motion yet: use physpose.fit on it, then check the result")
    if reading.scale is not None and suffix != ".bvh":
        raise InputError(f"scale= is of a .bvh; {path.name} tells its own units: leave it out")
    if suffix not in READERS:
        raise UnknownNameError("kind of motion file", path.name, ("a result's folder", *READERS))
    if not path.exists():
        raise InputError(f"no such file: {path}")
    return READERS[suffix](path, body, who, reading)


def _read_saved(path: Path, body: Skeleton | None, who: dict[str, Any], reading: Reading) -> Given:
    from physpose.saved import load_result

    if is_amass_file(path) or not _is_result(path):
        body = body or load_skeleton(**who)
        moved = reading(path, body)
        return Given(source=str(path), skeleton=body, gravity=body.gravity, kinematics=moved, notes=moved.warnings)
    _refuse_beside_own_body(body, who)
    saved = load_result(path, body)
    own = saved.skeleton if body is None else None
    found = _computed(saved, own, str(path), saved.gravity, body, reading)
    return replace(found, floor=saved.floor, belt=saved.belt)


def _is_result(path: Path) -> bool:
    """Was it saved by ``FitResult.save``; else an .npz is to hold "time" and "q"."""
    return path.is_dir() or "about" in read_npz(path, ("about",))[0]


def _read_coordinates(path: Path, body: Skeleton | None, who: dict[str, Any], reading: Reading) -> Given:
    taken: tuple[str, ...] = ()
    if body is None:
        body = load_skeleton(**who)
        taken = known_motion.taken_skeleton(body)
    columns = known_motion.coordinate_columns(read_storage(path))
    moved = reading(path, body)
    root = opensim_names(body)[:6] if body.bodies[0].joint.kind == "free" else ()
    if missing := [n for n in root if n not in columns]:
        raise InputError(f"{path} lacks {', '.join(missing)}: where the pelvis is must be known")
    notes = (*taken, *moved.warnings)
    return Given(source=str(path), skeleton=body, gravity=body.gravity, kinematics=moved, notes=notes)


def _read_bvh(path: Path, body: Skeleton | None, who: dict[str, Any], reading: Reading) -> Given:
    if body is not None:
        moved = reading(path, body)
        return Given(source=str(path), skeleton=body, kinematics=moved, notes=moved.warnings)
    read = read_bvh(path, reading.scale)
    frames = KinematicChain(read.skeleton).fk(torch.as_tensor(read.q))
    names = read.skeleton.body_names
    pairs = [(names.index(b.parent), i) for i, b in enumerate(read.skeleton.bodies) if b.parent is not None]
    notes = ("a .bvh has no masses and no joint ranges: judged by its points",)
    p = frames.p.numpy()
    return Given(source=str(path), time=read.time, points=p, names=names, bones=tuple(pairs), notes=notes)


READERS: dict[str, Callable[[Path, Skeleton | None, dict[str, Any], Reading], Given]] = {
    ".npz": _read_saved,
    ".mot": _read_coordinates,
    ".sto": _read_coordinates,
    ".bvh": _read_bvh,
}


def _pair(motion: Any) -> tuple[Array, Array]:
    try:
        time, values = (np.asarray(x, float) for x in motion)
    except (TypeError, ValueError):
        raise InputError(
            f"cannot check {type(motion).__name__}; possible: a FitResult, a path, (time, q) or (time, points)"
        ) from None
    if time.ndim != 1 or len(time) == 0 or values.ndim not in (2, 3) or len(values) != len(time):
        needed = "(T,) with (T, nq) or (T, K, 3) needed"
        raise InputError(f"time has shape {time.shape}, the motion {values.shape}; {needed}")
    if not np.isfinite(time).all() or not (np.diff(time) > 0).all():
        raise InputError("time must be finite and strictly increasing [s]")
    return time, values


def _points(
    time: Array, points: Array, body: Skeleton | None, who: dict[str, Any], keypoint_set: str | None, bones: Any
) -> Given:
    if points.shape[-1] != 3 or not points.shape[1]:
        raise InputError(f"points have shape {points.shape}; (T, K, 3) [m] needed")
    names = tuple(f"point {i}" for i in range(points.shape[1]))
    pairs = tuple((int(a), int(b)) for a, b in bones or ())
    if keypoint_set is not None:
        kset = (body or load_skeleton(**who)).keypoint_set(keypoint_set)
        if len(kset.points) != len(names):
            raise InputError(f"{keypoint_set} has {len(kset.points)} keypoints, the array {len(names)}")
        names, pairs = kset.names, pairs or kset.edges
    wrong = [p for p in pairs if min(p) < 0 or max(p) >= len(names)]
    if wrong:
        raise InputError(f"bones {wrong} name columns that do not exist; there are {len(names)}")
    doubt = known_motion.clock_doubt(time)
    return Given(source="array", time=time, points=points, names=names, bones=pairs, notes=doubt)
