"""Known motions, from a file or from arrays, onto a skeleton: q, v and a at the recording's own times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import (
    a_from_opensim,
    angle_names,
    dependent_coordinates,
    opensim_names,
    q_from_opensim,
    q_to_opensim,
    v_from_opensim,
)
from physpose.errors import InputError
from physpose.io.amass import amass_motion, is_amass_file
from physpose.io.bvh import read_bvh
from physpose.io.npz import read_npz
from physpose.io.storage import Storage, read_storage
from physpose.saved import columns_of_q
from physpose.signals import FILTER, spline_derivatives
from physpose.signals import lowpass as filtered
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Assumption, Motion

FULL_TURN = 2 * np.pi  # angles beyond it can only be degrees: no joint turns so far
ROOT = 6  # coordinates of a free root, the first
MOVES = 0.35  # of a unit of angle: 20 degrees if it is radians, less than anybody sways if it is degrees
KNEE_FORWARD = 25.0  # [deg]: more than knees go
SLOWEST = 1.0  # [s] between frames: nobody records motion so
LOOKED_FOR = ".mot, .sto, .bvh, .npz"


@dataclass(frozen=True, kw_only=True)
class Kinematics:
    """A motion on a skeleton."""

    time: Array  # (T,) [s]
    q: Array  # (T, nq)
    v: Array  # (T, nv)
    a: Array  # (T, nv)
    source: str
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()


def read_motion(
    source: Any, skeleton: Skeleton, *, lowpass: float | None, degrees: bool | None, scale: float | None = None
) -> Kinematics:
    """The motion of a file, of arrays (time, q) or of a ``Motion``, differentiated by splines.

    Args:
        source: .mot or .sto with coordinates by name; .bvh of the skeleton's joints; .npz with time and q, or of AMASS;
            a pair (time (T,), q (T, nq)); or a ``Motion``, e.g. a ``FitResult``.
        skeleton: whose motion it is.
        lowpass: cutoff [Hz] of the zero-lag filter (``signals.lowpass``); None: not filtered.
        degrees: of the angles in a .mot or .sto, against its header; None takes the header's word.
        scale: metres a unit of a .bvh; None: as the size of its rest pose tells.

    Raises:
        InputError: a source that cannot be used; the message says what would do.
    """
    known = _read(source, skeleton, lowpass, degrees, scale)
    return replace(known, warnings=(*known.warnings, *clock_doubt(known.time)))


def clock_doubt(time: Array) -> tuple[str, ...]:
    """A warning where frames are so far apart that the times (T,) are hardly seconds."""
    if len(time) < 2 or (step := float(np.median(np.diff(time)))) <= SLOWEST:
        return ()
    return (
        f"frames are {step:g} s apart: nothing can be told of speeds and forces so; is the time in ms? give seconds",
    )


def _read(
    source: Any, skeleton: Skeleton, lowpass: float | None, degrees: bool | None, scale: float | None
) -> Kinematics:
    if isinstance(source, Motion):
        return _from_q(source.time, source.q, skeleton, lowpass, str(getattr(source, "source", "motion")))
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return _from_q(source[0], source[1], skeleton, lowpass, "arrays")
    if not isinstance(source, (str, Path)):
        raise InputError(f"cannot take a {type(source).__name__} for a motion; give {LOOKED_FOR}, or arrays (time, q)")
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in (".mot", ".sto"):
        return _from_storage(read_storage(path), skeleton, lowpass, degrees)
    if suffix == ".bvh":
        return _from_bvh(path, skeleton, lowpass, scale)
    if suffix == ".npz":
        return _from_npz(path, skeleton, lowpass)
    if suffix in (".trc", ".c3d"):
        raise InputError(f"{path} holds markers, from which the motion must be estimated: use physpose.fit")
    raise InputError(f"{path}: a known motion comes as {LOOKED_FOR}")


# --- .mot and .sto ----------------------------------------------------------------------------------------------------


def _from_storage(table: Storage, skeleton: Skeleton, lowpass: float | None, degrees: bool | None) -> Kinematics:
    """As OpenSim's tool: the columns filtered, splines through them, and those differentiated."""
    columns = coordinate_columns(table)
    names, turning = opensim_names(skeleton), angle_names(skeleton)
    found = [n for n in names if n in columns]
    if not found:
        raise InputError(
            f"{table.source}: none of its columns is a coordinate of {skeleton.name}; it has "
            f"{_listed(tuple(columns))}; the skeleton has {_listed(names)}"
        )
    neutral = q_to_opensim(skeleton, skeleton.neutral[None])[0]
    c = np.tile(neutral, (len(table.time), 1))
    for i, name in enumerate(names):
        if name in columns:
            c[:, i] = columns[name]
    given = [i for i, name in enumerate(names) if name in columns and name in turning]
    root = ROOT if skeleton.bodies[0].joint.kind == "free" else 0
    in_degrees, note, doubts = _unit_of_angles(table, c[:, given], c[:, [i for i in given if i >= root]], degrees)
    if in_degrees:
        c[:, given] = np.deg2rad(c[:, given])
    c = _without_gaps(c, names, table)
    time, series = filtered(table.time, c, lowpass) if lowpass is not None else (table.time, c)
    c, rates, accelerations = spline_derivatives(time, series, table.time)
    q = q_from_opensim(skeleton, c)
    return Kinematics(
        time=table.time,
        q=q,
        v=v_from_opensim(skeleton, c, rates),
        a=a_from_opensim(skeleton, c, rates, accelerations),
        source=table.source,
        assumptions=(*note, _filter_line(lowpass)),
        warnings=(*table.warnings, *doubts, *_left_out(columns, names, skeleton), *knee_doubt(skeleton, q)),
    )


def taken_skeleton(body: Skeleton) -> tuple[str, ...]:
    """What to say where a file of coordinates came without a skeleton."""
    return (
        f"no skeleton was given, {body.name} is taken: another model's coordinates may have other zeros and signs, "
        "then give it with skeleton=",
    )


def knee_doubt(skeleton: Skeleton, q: Array) -> tuple[str, ...]:
    """A warning where a knee is bent far to the front in q (T, nq): the coordinates of another model."""
    import torch  # here, since a table of coordinates is read without

    from physpose.chain import KinematicChain

    legs = [s for s in "rl" if {f"femur_{s}", f"tibia_{s}", f"talus_{s}"} <= {*skeleton.body_names}]
    if not legs:
        return ()
    frames = KinematicChain(skeleton).fk(torch.as_tensor(q))
    femur, tibia, talus = ([skeleton.body_index(f"{b}_{s}") for s in legs] for b in ("femur", "tibia", "talus"))
    p = frames.p.numpy()
    shank = np.einsum("tkji,tkj->tki", frames.R[:, femur].numpy(), p[:, talus] - p[:, tibia])  # femur: x forward, y up
    forward = float(np.degrees(np.arctan2(shank[..., 0], -shank[..., 1])).max())
    if forward <= KNEE_FORWARD:
        return ()
    return (
        f"a knee is bent forwards by up to {forward:.0f} deg: do the coordinates belong to {skeleton.name}? Models "
        "count flexion of the knee as positive or as negative",
    )


def coordinate_columns(table: Storage) -> dict[str, Array]:
    """Name -> column (T,): coordinates by their own name, or as a state ("/jointset/knee_r/knee_angle_r/value")."""
    columns: dict[str, Array] = {}
    for name in dict.fromkeys(table.names):
        parts = name.strip("/").split("/")
        if len(parts) == 1 or parts[-1] == "value":
            columns[parts[-1] if len(parts) == 1 else parts[-2]] = table.column(name)
    return columns


def _unit_of_angles(
    table: Storage, angles: Array, of_joints: Array, given: bool | None
) -> tuple[bool, tuple[Assumption, ...], tuple[str, ...]]:
    """Are the angles in degrees: as given, as the header says, or as no joint could turn so far in radians.

    ``of_joints``: without the whole body's, which may turn round and round.
    """
    if given is not None:
        return given, (), ()
    if table.in_degrees is not None:
        return table.in_degrees, (), _unit_doubt(table, of_joints)
    largest = float(np.nanmax(np.abs(angles), initial=0.0))
    if largest <= FULL_TURN and table.version is not None:
        source = "as OpenSim takes a header that does not say; degrees=True reads degrees"
        return False, (Assumption(what="unit of angles", value="radians", source=source),), ()
    if largest <= FULL_TURN:
        raise InputError(
            f"{table.source}: the header does not say whether angles are in degrees or radians, and the largest, "
            f"{largest:.3g}, could be either: give degrees=True or degrees=False, or add a line inDegrees=yes or =no"
        )
    line = Assumption(what="unit of angles", value="degrees", source=f"values up to {largest:.0f}; no header")
    return True, (line,), ()


def _unit_doubt(table: Storage, of_joints: Array) -> tuple[str, ...]:
    """A warning where what the header calls degrees looks like radians; what it calls radians cannot be so large."""
    largest = float(np.nanmax(np.abs(of_joints), initial=0.0))
    if not table.in_degrees and largest > 2 * FULL_TURN:
        raise InputError(
            f"{table.source}: the header says inDegrees=no, yet a joint's angle reaches {largest:.3g}, "
            f"{largest / FULL_TURN:.0f} turns in radians: give degrees=True, or degrees=False if right"
        )
    if table.in_degrees and largest < np.pi and float(np.ptp(of_joints, axis=0).max(initial=0.0)) > MOVES:
        return (
            f"the header says inDegrees=yes, yet no joint's angle exceeds {largest:.2g} degrees: if they are radians, "
            "give degrees=False",
        )
    return ()


def _without_gaps(c: Array, names: tuple[str, ...], table: Storage) -> Array:
    bad = np.argwhere(~np.isfinite(c))
    if len(bad):
        t, i = bad[0]
        raise InputError(f"{table.source}: {names[i]} has a gap at {table.time[t]:g} s; fill it, or cut the file there")
    return c


def _left_out(columns: dict[str, Array], names: tuple[str, ...], skeleton: Skeleton) -> tuple[str, ...]:
    missing = [n for n in names if n not in columns]
    dependent = dependent_coordinates(skeleton, q_to_opensim(skeleton, skeleton.neutral[None]))
    ignored = [n for n in columns if n not in names and n not in dependent]
    followed = [n for n in columns if n in dependent and np.any(columns[n] != 0)]
    notes = []
    if missing:
        notes.append(f"coordinates that the file does not have stay as in the neutral pose: {_listed(missing)}")
    if ignored:
        notes.append(f"columns that are no coordinates of {skeleton.name} were not used: {_listed(ignored)}")
    if followed:
        notes.append(
            f"the model itself moves or holds these coordinates, the file's values were not used: {_listed(followed)}"
        )
    return tuple(notes)


def _listed(names: tuple[str, ...] | list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


# --- q ----------------------------------------------------------------------------------------------------------------


def _from_bvh(path: Path, skeleton: Skeleton, lowpass: float | None, scale: float | None) -> Kinematics:
    motion = read_bvh(path, scale)
    if set(motion.skeleton.body_names) == set(skeleton.body_names) and motion.skeleton.nq != skeleton.nq:
        raise InputError(
            f"{path}: joints of a .bvh turn about any axis, those of {skeleton.name} about their own: give the "
            "motion's .mot or result.npz, or a video or markers to fit"
        )
    if motion.skeleton.body_names != skeleton.body_names:
        raise InputError(
            f"{path} moves the joints {_listed(motion.skeleton.body_names)}, {skeleton.name} has "
            f"{_listed(skeleton.body_names)}: give a skeleton with the file's joints, as io.bvh.read_bvh makes it, and "
            "with masses"
        )
    return _from_q(motion.time, motion.q, skeleton, lowpass, str(path), motion.skeleton.assumptions)


def _from_npz(path: Path, skeleton: Skeleton, lowpass: float | None) -> Kinematics:
    """Arrays "time" and "q", as ``FitResult.save`` writes them, or a body model's poses (AMASS)."""
    if is_amass_file(path):
        moved = amass_motion(path, skeleton)
        known = _from_q(moved.time, moved.q, skeleton, lowpass, moved.source)
        return replace(known, warnings=(*known.warnings, *moved.warnings))
    arrays, held = read_npz(path, ("time", "q", "coordinate_names"))
    if not {"time", "q"} <= arrays.keys():
        raise InputError(f"{path} has no arrays 'time' and 'q'; it has {_listed(held)}")
    q = arrays["q"]
    if "coordinate_names" in arrays:
        q = q[:, columns_of_q(arrays, skeleton, path)]
    return _from_q(arrays["time"], q, skeleton, lowpass, str(path))


def _from_q(
    time: Any, q: Any, skeleton: Skeleton, lowpass: float | None, source: str, assumptions: tuple[Assumption, ...] = ()
) -> Kinematics:
    time, q = np.asarray(time, float), np.asarray(q, float)
    if time.ndim != 1 or q.shape != (len(time), skeleton.nq) or len(time) == 0:
        raise InputError(
            f"{source}: time {time.shape} and q {q.shape}; {skeleton.name} needs (T,) and (T, {skeleton.nq})"
        )
    if not np.isfinite(time).all() or not np.isfinite(q).all() or (np.diff(time) <= 0).any():
        raise InputError(f"{source}: time must increase, and time and q be finite")
    x = q.copy()
    for first in _quaternions(skeleton):
        quat = x[:, first : first + 4]
        flips = np.where((quat[1:] * quat[:-1]).sum(1) < 0, -1.0, 1.0)
        x[1:, first : first + 4] = quat[1:] * np.cumprod(flips)[:, None]
    at, series = filtered(time, x, lowpass) if lowpass is not None else (time, x)
    q, v, a = _on_manifold(skeleton, *spline_derivatives(at, series, time))
    return Kinematics(time=time, q=q, v=v, a=a, source=source, assumptions=(*assumptions, _filter_line(lowpass)))


def _filter_line(cutoff: float | None) -> Assumption:
    how = "none" if cutoff is None else f"{cutoff:g} Hz, {FILTER}"
    return Assumption(what="filter of the motion", value=how, source="default" if cutoff is None else "given")


def _quaternions(skeleton: Skeleton) -> Iterator[int]:
    """First column of each quaternion in q."""
    first = 0
    for joint in skeleton.joints:
        if joint.kind in ("free", "ball"):
            yield first + joint.nq - 4
        first += joint.nq


def _on_manifold(skeleton: Skeleton, x: Array, xd: Array, xdd: Array) -> tuple[Array, Array, Array]:
    """q, v and a of columns and their derivatives; quaternions need not have unit length."""
    parts, i = [], 0
    for joint in skeleton.joints:
        p, pd, pdd = (y[:, i : i + joint.nq] for y in (x, xd, xdd))
        i += joint.nq
        if joint.kind == "free":
            parts += _free(p, pd, pdd)
        else:
            parts.append(_turning(p, pd, pdd) if joint.kind == "ball" else (p, pd, pdd))
    q, v, a = (np.concatenate(columns, 1) for columns in zip(*parts, strict=True))
    return q, v, a


def _free(p: Array, pd: Array, pdd: Array) -> list[tuple[Array, Array, Array]]:
    """Of a free joint: position with linear velocity and acceleration in the body; attitude with angular ones."""
    quat, w, wd = _turning(p[:, 3:], pd[:, 3:], pdd[:, 3:])
    linear, linear_rate = _in_body(quat, w, pd[:, :3], pdd[:, :3])
    return [(p[:, :3], linear, linear_rate), (quat, w, wd)]


def _turning(x: Array, xd: Array, xdd: Array) -> tuple[Array, Array, Array]:
    """Unit quaternion (T, 4), angular velocity and acceleration (T, 3) in the body, of a quaternion of any length."""
    n = (x * x).sum(1, keepdims=True)
    # w = 2 vec(x* o x') / |x|^2: a change of length has no vector part
    w = 2 * _vector_part(x, xd) / n
    wd = 2 * _vector_part(x, xdd) / n - 2 * (x * xd).sum(1, keepdims=True) / n * w
    return x / np.sqrt(n), w, wd


def _vector_part(x: Array, y: Array) -> Array:
    """vec(x* o y) (T, 3) of quaternions xyzw."""
    return np.asarray(x[:, 3:] * y[:, :3] - y[:, 3:] * x[:, :3] - np.cross(x[:, :3], y[:, :3]))


def _in_body(quat: Array, w: Array, pd: Array, pdd: Array) -> tuple[Array, Array]:
    """Linear velocity R^T p' and its derivative R^T p'' - w x (R^T p')."""
    from scipy.spatial.transform import Rotation

    R = Rotation.from_quat(quat).inv()
    linear = R.apply(pd)
    return linear, R.apply(pdd) - np.cross(w, linear)
