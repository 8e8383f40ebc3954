"""Measured forces from .mot, .sto, external-loads .xml or .c3d: SI, world z up, one ``Wrench`` a plate or force.

OpenSim's names: three columns ``..vx ..vy ..vz`` a force, ``..px ..py ..pz`` its point of application, ``..torque_x``
or ``..mx`` its free moment; what is left of the name once these letters are gone tells which belong together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from physpose.conventions import to_y_up, to_z_up
from physpose.errors import InputError, UnknownNameError
from physpose.io.external_loads import ExternalForce, read_external_loads
from physpose.io.force_plates import HEAVIEST, MIN_FORCE
from physpose.io.storage import Storage, read_storage, write_storage
from physpose.io.trc import METRES
from physpose.signals import FILTER, interpolate, lowpass
from physpose.types import Array, Assumption, Wrench

FAR = 50.0  # [m] from the laboratory's origin: no centre of pressure lies there
LEVER = 1.0  # [m] free moment over force: a shoe's is a few centimetres
KINDS = ("v", "p", "m")  # force, point, moment
TORQUE_UNITS = {"N.m": 1.0, "N.mm": 1e-3}


@dataclass(frozen=True, kw_only=True)
class Forces:
    """What pushed on the body, as measured."""

    wrenches: tuple[Wrench, ...]
    source: str
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()

    def at(self, time: Array, lowpass: float | None = None) -> Forces:
        """The same at other times (T,) [s], on straight lines between the samples; nothing acts outside them.

        Args:
            time: (T,) [s].
            lowpass: cutoff [Hz] of the zero-lag filter (``signals.lowpass``), None: not filtered. Force and moment
                about a fixed point are filtered, the point of application follows from them.
        """
        how = "none" if lowpass is None else f"{lowpass:g} Hz, {FILTER}"
        line = Assumption(what="filter of the forces", value=how, source="default" if lowpass is None else "given")
        wrenches = tuple(_resampled(w, np.asarray(time, float), lowpass) for w in self.wrenches)
        return replace(self, wrenches=wrenches, assumptions=(*self.assumptions, line))

    def named(self, **bodies: str) -> Forces:
        """The same with bodies given by the wrenches' names.

        Raises:
            UnknownNameError: no wrench of such a name.
        """
        for name in bodies:
            if name not in (known := [w.name for w in self.wrenches]):
                raise UnknownNameError("force", name, known)
        return replace(
            self, wrenches=tuple(replace(w, body=bodies.get(w.name, w.body)) for w in self.wrenches)
        )  # fmt: skip


def read_forces(path: str | Path, *, length_units: str | None = None, torque_units: str | None = None) -> Forces:
    """Measured forces of a file.

    Args:
        path: .mot or .sto (y up), OpenSim's external loads .xml, or .c3d.
        length_units: of points of application in a .mot or .sto, "m" or "mm"; None: "m", refused where it cannot be.
        torque_units: of free moments there, "N.m" or "N.mm"; None: "N.m", refused where it cannot be.

    Raises:
        InputError: a file that cannot be used; the message says where and why.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return _from_loads(path, length_units, torque_units)
    if suffix == ".c3d":
        return _from_c3d(path)
    if suffix not in (".mot", ".sto"):
        raise InputError(f"{path}: forces come as .mot, .sto, .xml (external loads) or .c3d")
    table = read_storage(path)
    wrenches = tuple(_wrench(table, key, columns) for key, columns in _groups(table).items())
    return _checked(wrenches, path, length_units, torque_units, table.warnings)


def write_forces(path: str | Path, wrenches: tuple[Wrench, ...]) -> Path:
    """Write forces as OpenSim reads them (.mot), y up: ``NAME_ground_force_vx`` and so on.

    Raises:
        InputError: no wrenches, or wrenches at different times.
    """
    if not wrenches or any(not np.array_equal(w.time, wrenches[0].time) for w in wrenches):
        raise InputError(f"{path}: forces to write must be one or more, all at the same times; use Forces.at(time)")
    names, columns = [], []
    for w in wrenches:
        stem = "_".join(w.name.split())
        names += [f"{stem}_ground_{what}{c}" for what in ("force_v", "force_p", "torque_") for c in "xyz"]
        columns += [to_y_up(x) for x in (w.force, np.nan_to_num(w.cop), w.free_moment)]
    data = np.concatenate(columns, 1)
    return write_storage(path, names, wrenches[0].time, data, in_degrees=False, title="Measured forces")


# --- the columns of a .mot --------------------------------------------------------------------------------------------


def _groups(table: Storage) -> dict[str, dict[str, list[int]]]:
    """Key -> kind -> three columns; several forces of one name are told apart by a number.

    Raises:
        InputError: a force without its point of application, or with fewer than three components.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    seen: dict[str, int] = {}
    for i, name in enumerate(table.names):
        parsed = _parsed(name)
        if parsed is None:
            continue
        stem, kind = parsed
        k = seen[name] = seen.get(name, 0) + 1
        groups.setdefault(stem if k == 1 else f"{stem} {k}", {}).setdefault(kind, []).append(i)
    groups = {key: kinds for key, kinds in groups.items() if "v" in kinds}
    for key, kinds in groups.items():
        for kind, word in zip(KINDS, ("force", "point of application", "free moment"), strict=True):
            if kind not in kinds and kind == "m":
                continue
            if len(kinds.get(kind, [])) != 3:
                have = [table.names[i] for i in kinds.get(kind, [])]
                raise InputError(
                    f"{table.source}: the {word} of {key!r} has the columns {have}; three, x y z, are needed, e.g. "
                    "ground_force_vx, ground_force_px, ground_torque_x"
                )
    if not groups:
        raise InputError(
            f"{table.source} holds no forces: none of its columns is named like ground_force_vx, 1_ground_force_vx or "
            f"ground_force_1_vx; it has {', '.join(table.names[:8])}, ..."
        )
    return groups


def _parsed(name: str) -> tuple[str, str] | None:
    """The stem and kind of "l_ground_force_vx": ("l_ground", "v"); None for a column that is no force's."""
    match = re.fullmatch(r"(.*?)([vpm]?)_?([xyz])", name, re.IGNORECASE)
    if match is None:
        return None
    text, letter = match[1].lower(), match[2].lower()
    torque = "torque" in text or "moment" in text
    if "force" not in text and not torque:
        return None
    kind = "m" if torque else letter
    stem = re.sub(r"_+", "_", re.sub("force|torque|moment", "", text)).strip("_ ")
    return (stem or "force", kind) if kind in KINDS else None


def _wrench(table: Storage, key: str, columns: Mapping[str, list[int]]) -> Wrench:
    force, point = (to_z_up(table.data[:, columns[kind]]) for kind in ("v", "p"))
    moment = to_z_up(table.data[:, columns["m"]]) if "m" in columns else np.zeros_like(force)
    return _without_gaps(Wrench(name=key, time=table.time, force=force, cop=point, free_moment=moment), table.source)


def _without_gaps(w: Wrench, source: str) -> Wrench:
    """Gaps at the start or end are no force; inside they cannot be told from a contact that was missed."""
    gaps = ~np.isfinite(np.concatenate([w.force, w.free_moment], 1)).all(axis=1)
    if gaps.any() and not gaps.all():
        inside = np.flatnonzero(~gaps)
        holes = gaps[inside[0] : inside[-1]]
        if holes.any():
            t = w.time[inside[0] + np.flatnonzero(holes)[0]]
            raise InputError(f"{source}: the force {w.name!r} has a gap at {t:g} s; write zeros where nothing acts")
    keep = ~gaps[:, None]
    return replace(w, force=np.where(keep, w.force, 0.0), free_moment=np.where(keep, w.free_moment, 0.0))


def _checked(
    wrenches: tuple[Wrench, ...],
    path: Path,
    length_units: str | None,
    torque_units: str | None,
    warnings: tuple[str, ...] = (),
) -> Forces:
    """In SI, and plausible where the user did not say the units."""
    length, torque = _factor(METRES, length_units, "m"), _factor(TORQUE_UNITS, torque_units, "N.m")
    wrenches = tuple(replace(w, cop=length * w.cop, free_moment=torque * w.free_moment) for w in wrenches)
    for w in wrenches:
        _check_units(w, path, length_units is None, torque_units is None)
    return Forces(wrenches=wrenches, source=str(path), warnings=warnings)


def _factor(known: Mapping[str, float], given: str | None, default: str) -> float:
    if given is not None and given not in known:
        raise UnknownNameError("unit", given, known)
    return known[given or default]


def _check_units(w: Wrench, path: Path, lengths: bool, torques: bool) -> None:
    size = np.linalg.norm(w.force, axis=1)
    if size.max(initial=0.0) > HEAVIEST:
        raise InputError(
            f"{path}: the force {w.name!r} reaches {size.max() / 1e3:.0f} kN; no person does that: it must be N"
        )
    on = size > max(0.3 * float(size.max(initial=0.0)), MIN_FORCE)
    if not on.any():
        return
    far, lever = np.abs(w.cop[on]).max(1), np.linalg.norm(w.free_moment[on], axis=1) / size[on]
    if lengths and np.nanmedian(far) > FAR and w.point_frame == "world":
        raise InputError(
            f"{path}: the point of application of {w.name!r} is {np.nanmedian(far):.0f} m from the origin; in mm it "
            f"would be {np.nanmedian(far) / 1e3:.2f} m: give length_units='mm', or 'm' if the file is right"
        )
    if torques and np.median(lever) > LEVER:
        raise InputError(
            f"{path}: the free moment of {w.name!r} is {np.median(lever):.3g} N.m a newton of force; in N.mm it would "
            f"be {np.median(lever) / 1e3:.2g}: give torque_units='N.mm', or torque_units='N.m' if the file is right"
        )


# --- external loads and .c3d ------------------------------------------------------------------------------------------


def _from_loads(path: Path, length_units: str | None, torque_units: str | None) -> Forces:
    loads = read_external_loads(path)
    tables: dict[Path, Storage] = {}
    wrenches = []
    for force in loads:
        table = tables.setdefault(force.datafile, read_storage(force.datafile))
        wrenches.append(_without_gaps(_loaded(force, table, path), str(force.datafile)))
    return _checked(tuple(wrenches), path, length_units, torque_units)


def _loaded(force: ExternalForce, table: Storage, path: Path) -> Wrench:
    def vectors(identifier: str) -> Array | None:
        if not identifier:
            return None
        # OpenSim takes the columns that begin with the identifier
        names = [
            n for n in dict.fromkeys(table.names) if n.startswith(identifier) and n[-1:].lower() in ("x", "y", "z")
        ]
        if all(identifier + c in names for c in "xyz"):
            names = [identifier + c for c in "xyz"]
        if len(names) != 3:
            raise InputError(
                f"{path}, ExternalForce {force.name!r}: {table.source} has no columns {identifier}x, y, z; it has "
                f"{', '.join(table.names)}"
            )
        return np.stack([table.column(name) for name in names], 1)

    zero = np.zeros((len(table.time), 3))
    forces, point, moment = (vectors(i) for i in (force.force, force.point, force.torque))
    # body frames are OpenSim's; only the ground is turned
    turn_force, turn_point = force.force_frame == "world", force.point_frame == "world"
    return Wrench(
        name=force.name,
        time=table.time,
        force=_turned(forces if forces is not None else zero, turn_force),
        cop=_turned(point if point is not None else zero, turn_point and point is not None),
        free_moment=_turned(moment if moment is not None else zero, turn_force),
        body=force.body,
        force_frame=force.force_frame,
        point_frame=force.point_frame if point is not None else force.body,
    )


def _turned(x: Array, turn: bool) -> Array:
    return to_z_up(x) if turn else x


def _from_c3d(path: Path) -> Forces:
    from physpose.io.c3d import read_c3d

    plates = read_c3d(path).plates
    if not plates:
        raise InputError(f"{path} holds no force plates")
    return Forces(wrenches=tuple(plate.wrench() for plate in plates), source=str(path))


# --- resampling -------------------------------------------------------------------------------------------------------


def _resampled(w: Wrench, time: Array, cutoff: float | None) -> Wrench:
    if cutoff is not None:
        w = _filtered(w, cutoff) if w.force_frame == w.point_frame == "world" else _filtered_in_body(w, cutoff)
    inside = ((time >= w.time[0]) & (time <= w.time[-1]))[:, None]
    force, moment = (np.where(inside, interpolate(w.time, x, time), 0.0) for x in (w.force, w.free_moment))
    return replace(w, time=time, force=force, free_moment=moment, cop=_interpolated_point(w, time))


def _interpolated_point(w: Wrench, time: Array) -> Array:
    """Points (T, 3) on straight lines; beside a sample without a point, the other one's."""
    known = np.asarray(np.isfinite(w.cop).all(axis=1))
    if known.all():
        return interpolate(w.time, w.cop, time)
    if not known.any():
        return np.full((len(time), 3), np.nan)
    i = np.clip(np.searchsorted(w.time, time) - 1, 0, len(w.time) - 2)
    point = interpolate(w.time[known], w.cop[known], time)
    return np.where((known[i] | known[i + 1])[:, None], point, np.nan)


def _filtered(w: Wrench, cutoff: float) -> Wrench:
    """Force and moment about a fixed point, filtered; then the point of application again, on the same plane."""
    on = (np.linalg.norm(w.force, axis=1) > MIN_FORCE) & np.isfinite(w.cop).all(axis=1)
    if not on.any():
        return w
    normal = _normal(w)
    centre = w.cop[on].mean(0) if w.corners is None else w.corners.mean(0)
    arm = np.where(on[:, None], w.cop - centre, 0.0)
    moment = np.cross(arm, w.force) + w.free_moment
    time, x = lowpass(w.time, np.concatenate([w.force, moment], 1), cutoff)
    smooth = interpolate(time, x, w.time)
    force, moment = smooth[:, :3], smooth[:, 3:]
    push = force @ normal
    r = np.full_like(force, np.nan)
    strong = np.abs(push) > MIN_FORCE
    r[strong] = np.cross(normal, moment[strong]) / push[strong, None]
    height = ((w.cop[on] - centre) @ normal).mean()
    r += height * normal - (r @ normal)[:, None] * normal
    # horizontal shift of the point along the line of action, so that it stays on its plane
    r += height * (force / np.where(strong, push, np.nan)[:, None] - normal)
    free = np.where(strong[:, None], moment - np.cross(np.nan_to_num(r), force), 0.0)
    return replace(w, force=np.where(strong[:, None], force, 0.0), cop=centre + r, free_moment=free)


def _filtered_in_body(w: Wrench, cutoff: float) -> Wrench:
    """Where force or point are told in a moving body's axes: each by itself."""
    time, x = lowpass(w.time, np.concatenate([w.force, w.free_moment], 1), cutoff)
    smooth = interpolate(time, x, w.time)
    return replace(w, force=smooth[:, :3], free_moment=smooth[:, 3:])


def _normal(w: Wrench) -> Array:
    """Upwards, or the plate's own normal."""
    if w.corners is None:
        return np.array([0.0, 0.0, 1.0])
    n = np.cross(w.corners[2] - w.corners[0], w.corners[3] - w.corners[1])
    return n / np.linalg.norm(n) * (1.0 if n[2] >= 0 else -1.0)
