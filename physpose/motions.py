"""Motions from anywhere, as ``check`` takes them: results, files of several kinds, arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physpose.chain import KinematicChain
from physpose.errors import InputError, UnknownNameError
from physpose.result import FitResult
from physpose.skeleton import load_skeleton
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Motion


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was read: a whole motion, coordinates, or points."""

    source: str
    skeleton: Skeleton | None = None
    gravity: Array | None = None
    motion: Motion | None = None
    time: Array | None = None
    q: Array | None = None
    points: Array | None = None  # (T, P, 3) [m]
    names: tuple[str, ...] = ()
    bones: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


def read_motion(motion: Any, body: Skeleton | None, who: dict[str, Any], keypoint_set: str | None, bones: Any) -> Given:
    """Whatever ``check`` was given.

    Args:
        motion: see ``check``.
        body: its skeleton, if the user gave one.
        who: age, sex, height, mass for a skeleton that has to be loaded.
        keypoint_set, bones: what points are.

    Raises:
        InputError, UnknownNameError: what was given and what is possible.
    """
    if isinstance(motion, FitResult):
        same = body is None or body is motion.skeleton
        given = Given(source=motion.source, skeleton=body or motion.skeleton, gravity=motion.gravity, motion=motion)
        return given if same else replace(given, motion=None, time=motion.time, q=motion.q)
    if isinstance(motion, str | Path):
        return _read_file(Path(motion), body, who)
    time, values = _pair(motion)
    if values.ndim == 3:
        return _points(time, values, body, who, keypoint_set, bones)
    body = body or load_skeleton(**who)
    return Given(source="array", skeleton=body, time=time, q=_checked_q(body, time, values))


def _read_file(path: Path, body: Skeleton | None, who: dict[str, Any]) -> Given:
    suffix = ".npz" if path.is_dir() else path.suffix.lower()
    if suffix not in READERS:
        raise UnknownNameError("kind of motion file", path.name, ("a result's folder", *READERS))
    if not path.exists():
        raise InputError(f"no such file: {path}")
    return READERS[suffix](path, body, who)


def _read_saved(path: Path, body: Skeleton | None, who: dict[str, Any]) -> Given:
    from physpose.io.results import read_result

    saved = read_result(path, body)
    given = Given(source=str(path), skeleton=saved.skeleton, gravity=saved.gravity, motion=saved.motion)
    if body is None:
        return given
    return replace(given, motion=None, time=saved.motion.time, q=saved.motion.q)


def _read_coordinates(path: Path, body: Skeleton | None, who: dict[str, Any]) -> Given:
    from physpose.conventions import PELVIS_COORDINATES, angle_names, opensim_names, q_from_opensim, q_to_opensim
    from physpose.io.storage import read_storage

    body, table = body or load_skeleton(**who), read_storage(path)
    names, neutral = opensim_names(body), q_to_opensim(body, body.neutral[None])[0]
    wanted = [n for n in names if n in table.names]
    lost = [n for n in names if n not in table.names]
    if not set(wanted) - set(PELVIS_COORDINATES):
        raise InputError(f"{path} has no coordinate of {body.name}: it holds {', '.join(table.names[:8])} ...")
    if missing := [n for n in PELVIS_COORDINATES if n in lost]:
        raise InputError(f"{path} lacks {', '.join(missing)}: where the pelvis is must be known")
    c = np.tile(neutral, (len(table.time), 1))
    angles = angle_names(body)
    for n in wanted:
        i = names.index(n)
        c[:, i] = np.radians(table.column(n)) if table.in_degrees and n in angles else table.column(n)
    _finite(c, names, table.time, str(path))
    unused = [n for n in table.names if n not in names]
    notes = [f"not in the file, held at their neutral value: {', '.join(lost)}"] if lost else []
    notes += [f"columns of the file that {body.name} does not have: {', '.join(unused)}"] if unused else []
    notes += list(table.warnings)
    return Given(source=str(path), skeleton=body, time=table.time, q=q_from_opensim(body, c), notes=tuple(notes))


def _read_bvh(path: Path, body: Skeleton | None, who: dict[str, Any]) -> Given:
    from physpose.io.bvh import read_bvh

    if body is not None:
        raise InputError(f"{path} brings its own skeleton: leave skeleton= out")
    read = read_bvh(path)
    frames = KinematicChain(read.skeleton).fk(torch.as_tensor(read.q))
    names = read.skeleton.body_names
    pairs = [(names.index(b.parent), i) for i, b in enumerate(read.skeleton.bodies) if b.parent is not None]
    notes = ("a .bvh has no masses and no joint ranges: judged by its points",)
    p = frames.p.numpy()
    return Given(source=str(path), time=read.time, points=p, names=names, bones=tuple(pairs), notes=notes)


READERS: dict[str, Callable[[Path, Skeleton | None, dict[str, Any]], Given]] = {
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
    return Given(source="array", time=time, points=points, names=names, bones=pairs)


def _checked_q(body: Skeleton, time: Array, q: Array) -> Array:
    if q.shape != (len(time), body.nq):
        raise InputError(f"q has shape {q.shape}; {body.name} needs ({len(time)}, {body.nq})")
    _finite(q, [f"column {i}" for i in range(body.nq)], time, "q")
    return q


def _finite(x: Array, names: Sequence[str], time: Array, where: str) -> None:
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        t, i = bad[0]
        raise InputError(f"{where}: {names[i]} is not a number at frame {t}, {time[t]:g} s")
