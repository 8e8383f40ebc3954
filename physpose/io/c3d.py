"""Motion-capture files, .c3d, through ezc3d: markers, model outputs, analog channels, force plates, events.

The file's laboratory axes and units end here: what leaves is SI with z up, apart from analog channels and model
outputs, which keep the units that stand beside them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import R_ZUP_LAB, lab_axis, lab_to_z_up
from physpose.errors import InputError, MissingPackageError, UnknownNameError
from physpose.io.force_plates import CHANNELS, HEAVIEST, ForcePlate, check_placement, plate_axes, plate_wrench
from physpose.io.trc import METRES, check_extent
from physpose.types import Array, Markers

Parameters = Mapping[str, Mapping[str, Any]]

OUTPUT_KINDS = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS")  # POINT parameters that list what a model computed
UNIT_OF_KIND = {"ANGLES": "ANGLE_UNITS", "FORCES": "FORCE_UNITS", "MOMENTS": "MOMENT_UNITS", "POWERS": "POWER_UNITS"}
SI = {"n": 1.0, "kn": 1e3, "nm": 1.0, "n.m": 1.0, "n*m": 1.0, "knm": 1e3, "nmm": 1e-3, "n.mm": 1e-3, "n*mm": 1e-3,
      "ncm": 1e-2, "n.cm": 1e-2, "mm": 1e-3, "cm": 1e-2, "m": 1.0}  # fmt: skip
BLOCK = 512  # bytes
C3D_KEY = 0x50
PROCESSORS = {84: ("<", 15), 85: ("<", 13), 86: (">", 12)}  # byte order, and the byte with the sign of the point scale


@dataclass(frozen=True, kw_only=True)
class Analog:
    """Analog channels in their own units."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    time: Array  # (N,) [s]
    values: Array  # (N, n)


@dataclass(frozen=True, kw_only=True)
class Event:
    """A marked instant, e.g. a foot strike."""

    name: str  # e.g. "Foot Strike"
    context: str  # e.g. "Left"
    time: float  # [s], on the same clock as the markers


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """What a biomechanical model (e.g. Plug-in-Gait) computed and stored among the points."""

    kind: str  # "angles", "forces", "moments", "powers" or "scalars"
    unit: str  # as the file says; makers are careless: Plug-in-Gait's moments are a kilogram's though labelled Nmm
    values: Array  # (T, 3) in that unit and in the model's own axes; missing NaN


@dataclass(frozen=True, kw_only=True)
class C3D:
    """A .c3d file. Markers and plates are in SI, z up, on one clock; the rest is as the file has it."""

    markers: Markers
    plates: tuple[ForcePlate, ...]
    analog: Analog | None
    events: tuple[Event, ...]  # in order of time
    outputs: Mapping[str, ModelOutput]
    parameters: Parameters  # group -> name -> value: number, text, list or array
    up: str  # the laboratory axis that pointed up, e.g. "+Z"
    warnings: tuple[str, ...] = field(default=())


def read_c3d(
    path: str | Path,
    units: str | None = None,
    up: str | None = None,
    *,
    plates: bool = True,
    moment_units: str | None = None,
    baseline: tuple[float, float] | None = None,
) -> C3D:
    """Read a .c3d file; needs the package ezc3d.

    Args:
        path: the file.
        units: of points and plate corners, "mm", "cm" or "m", against POINT:UNITS; None takes the file's, and refuses
            it where the markers then do not have a person's extent but would in another unit.
        up: laboratory axis that points up, "+X" to "-Z"; None: POINT:Y_SCREEN, else what the plates or markers show.
        plates: read the force plates.
        moment_units: of the plates' moments, "N.m" or "N.mm", against ANALOG:UNITS.
        baseline: start and end [s] of an interval in which nobody is on the plates; its mean is subtracted from
            each channel. None subtracts nothing (FORCE_PLATFORM:ZERO is not applied: many files carry a default there).

    Raises:
        MissingPackageError: ezc3d is not installed.
        InputError: no such file, not a .c3d file, cut off, or with plates or units that cannot be right.
    """
    raw = _load(Path(path))
    parameters = _parameters(raw)
    first, rate = _clock(raw, parameters, path)
    scale = _point_scale(parameters, units, path)
    points = np.asarray(raw["data"]["points"], float)
    labels = _labels(parameters.get("POINT", {}), "LABELS", points.shape[1], path)
    outputs = _outputs(parameters.get("POINT", {}), labels, points)
    positions, names = _marker_positions(raw, points, labels, outputs)
    analog = _analog(raw, parameters, first / rate, path)
    metres = scale * positions
    if units is None:
        check_extent(metres, _text(parameters, "POINT", "UNITS") or "mm", scale, f"{path}, POINT:UNITS")
    found = _plates(parameters, analog, scale, moment_units, baseline, path) if plates else ()
    axis, doubts = _up_axis(parameters, up, found, metres)
    turned, flips = _turned_plates(found, axis, path)
    time = (first + np.arange(points.shape[2])) / rate
    markers = Markers(
        names=names, time=time, positions=lab_to_z_up(metres, axis), rate=rate, source=str(path), warnings=doubts
    )
    return C3D(
        markers=markers,
        plates=turned,
        analog=analog,
        events=_events(parameters),
        outputs=outputs,
        parameters=parameters,
        up=axis,
        warnings=(*doubts, *flips),
    )


# --- the file -------------------------------------------------------------------------------------------------------


def _ezc3d() -> Any:
    """The optional package ezc3d, imported here alone."""
    try:
        import ezc3d
    except ImportError as error:
        raise MissingPackageError("ezc3d", "c3d", "reading .c3d files") from error
    return ezc3d


def _load(path: Path) -> Any:
    ezc3d = _ezc3d()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    _check_complete(path, data)
    try:
        return ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError, IndexError, MemoryError) as error:
        raise InputError(f"{path} cannot be read as .c3d (damaged?): {error}") from error


def _check_complete(path: Path, data: bytes) -> None:
    """Refuse a file shorter than its header says: ezc3d takes it for a shorter recording, or crashes."""
    if len(data) < BLOCK or data[1] != C3D_KEY:
        raise InputError(f"{path} is no .c3d file: its first block lacks the key 0x50")
    section = BLOCK * (data[0] - 1)
    cut = f"{path} was cut off: {len(data)} bytes, {{}} are needed for {{}}; copy or export it again"
    blocks = data[section + 2] if data[0] > 1 and len(data) > section + 3 else 1
    if data[0] < 2 or len(data) < section + BLOCK * blocks:
        raise InputError(cut.format(max(section, BLOCK) + BLOCK * blocks, "its parameters"))
    order, sign_byte = PROCESSORS.get(data[section + 3], ("", 0))
    if not order:
        raise InputError(f"{path}: processor type {data[section + 3]}; 84 (Intel), 85 (DEC) and 86 (MIPS) are known")
    n_points, n_analog, first, last = struct.unpack_from(f"{order}4H", data, 2)
    (start,) = struct.unpack_from(f"{order}H", data, 16)
    number = 4 if data[sign_byte] & 0x80 else 2  # a negative scale says floats, a positive one integers
    needed = (start - 1) * BLOCK + (last - first + 1) * number * (4 * n_points + n_analog)
    if len(data) < needed:
        raise InputError(cut.format(needed, f"the {last - first + 1} frames its header announces"))


def _parameters(raw: Any) -> dict[str, dict[str, Any]]:
    """Group -> name -> value; one number or text stands for itself."""
    return {
        group: {n: _plain(p["value"]) for n, p in entries.items() if not n.startswith("__")}
        for group, entries in raw["parameters"].items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else value
    if isinstance(value, (list, tuple)):
        texts = [str(x).strip() for x in value]
        return texts[0] if len(texts) == 1 else texts
    return value


def _text(parameters: Parameters, group: str, name: str) -> str:
    value = parameters.get(group, {}).get(name, "")
    return str(value[0] if isinstance(value, list) and value else value or "").strip()


def _numbers(parameters: Parameters, group: str, name: str) -> Array:
    value = parameters.get(group, {}).get(name)
    return np.empty(0) if value is None or isinstance(value, str) else np.asarray(value, float)


def _clock(raw: Any, parameters: Parameters, path: str | Path) -> tuple[int, float]:
    """Number of the first frame, from 0, and frames per second."""
    header = raw["header"]["points"]
    rate = (
        float(_numbers(parameters, "POINT", "RATE").ravel()[0]) if _numbers(parameters, "POINT", "RATE").size else 0.0
    )
    rate = rate or float(header["frame_rate"])
    if not rate > 0:
        raise InputError(f"{path}: POINT:RATE is {rate:g}; frames per second are needed")
    return int(header["first_frame"]), rate


def _labels(group: Mapping[str, Any], name: str, count: int, path: str | Path) -> list[str]:
    """Labels beyond 255 stand in LABELS2, LABELS3, ..."""
    labels: list[str] = []
    for suffix in ("", *map(str, range(2, 100))):
        if name + suffix not in group:
            break
        more = group[name + suffix]
        labels += [more] if isinstance(more, str) else list(more)
    if len(labels) < count:
        raise InputError(f"{path}: {count} points or channels but {len(labels)} labels; give every one a label")
    return labels[:count]


# --- points ---------------------------------------------------------------------------------------------------------


def _point_scale(parameters: Parameters, units: str | None, path: str | Path) -> float:
    name = (units or _text(parameters, "POINT", "UNITS") or "mm").lower()
    if name not in METRES:
        raise UnknownNameError(f"unit of points in {path}:", name, METRES)
    return METRES[name]


def _outputs(group: Mapping[str, Any], labels: list[str], points: Array) -> dict[str, ModelOutput]:
    outputs = {}
    for kind in OUTPUT_KINDS:
        listed: list[str] = []
        for suffix in ("", *map(str, range(2, 10))):
            value = group.get(kind + suffix, [])
            listed += [value] if isinstance(value, str) else list(value)
        unit = str(group.get(UNIT_OF_KIND.get(kind, "SCALAR_UNITS"), "")).strip()
        for name in listed:
            if name in labels:
                values = points[:3, labels.index(name)].T.copy()
                outputs[name] = ModelOutput(kind=kind.lower(), unit=unit, values=values)
    return outputs


def _marker_positions(
    raw: Any, points: Array, labels: list[str], outputs: Mapping[str, ModelOutput]
) -> tuple[Array, tuple[str, ...]]:
    """(T, n, 3) in the file's unit, and names; what a model computed is no marker."""
    keep = [i for i, name in enumerate(labels) if name not in outputs]
    positions = points[:3, keep].transpose(2, 1, 0).copy()
    residual = np.asarray(raw["data"]["meta_points"]["residuals"])[0, keep].T
    positions[(residual < 0) | (positions == 0).all(-1) | np.isnan(positions).any(-1)] = np.nan
    return positions, _unique(_without_subject([labels[i] for i in keep]))


def _without_subject(names: list[str]) -> list[str]:
    """ "Anna:LASI" is LASI where all prefixes are the same."""
    prefixes = {name.split(":")[0] for name in names if ":" in name}
    return [name.split(":", 1)[1] if ":" in name else name for name in names] if len(prefixes) == 1 else names


def _unique(names: list[str]) -> tuple[str, ...]:
    out: list[str] = []
    for name in names:
        k, candidate = 1, name or "unnamed"
        while candidate in out:
            k, candidate = k + 1, f"{name or 'unnamed'}_{k + 1}"
        out.append(candidate)
    return tuple(out)


def _up_axis(
    parameters: Parameters, given: str | None, plates: tuple[ForcePlate, ...], positions: Array
) -> tuple[str, tuple[str, ...]]:
    """The laboratory axis that points up: as given, as the file says, as the plates or the markers show."""
    if given:
        return lab_axis(given), ()
    said = _text(parameters, "POINT", "Y_SCREEN").upper()
    said = said if said[:1] in "+-" else f"+{said}"
    if said in R_ZUP_LAB:
        return said, ()
    if plates:
        n = np.mean([_pushed(plate) for plate in plates], axis=0)
        i = int(np.abs(n).argmax())
        return ("+" if n[i] > 0 else "-") + "XYZ"[i], ()
    seen = np.isfinite(positions[..., 0]).sum(1) > 1
    spread = np.zeros(3)
    if seen.any():
        spread = np.median(np.nanmax(positions[seen], 1) - np.nanmin(positions[seen], 1), axis=0)
    axis = "+" + "XYZ"[int(spread.argmax())] if spread.any() else "+Z"
    return axis, (f"the file does not say which axis is up; {axis} is taken, in which the markers spread most: or up=",)


def _pushed(plate: ForcePlate) -> Array:
    """Unit normal (3,) of a plate, in the sense in which it pushed."""
    z = plate_axes(plate.corners, plate.name)[:, 2]
    total = float((plate.force @ z).sum())
    return z if total > 0 else -z


# --- analog channels and plates -------------------------------------------------------------------------------------


def _analog(raw: Any, parameters: Parameters, start: float, path: str | Path) -> Analog | None:
    values = np.asarray(raw["data"]["analogs"], float)
    if values.size == 0:
        return None
    values = values[0].T
    group = parameters.get("ANALOG", {})
    rate = _numbers(parameters, "ANALOG", "RATE").ravel()
    if not rate.size or not rate[0] > 0:
        raise InputError(f"{path}: ANALOG:RATE is missing; samples per second are needed")
    units = group.get("UNITS", [])
    units = [units] if isinstance(units, str) else list(units)
    units += [""] * (values.shape[1] - len(units))
    return Analog(
        names=tuple(_labels(group, "LABELS", values.shape[1], path)),
        units=tuple(units[: values.shape[1]]),
        time=start + np.arange(len(values)) / rate[0],
        values=values,
    )


def _plates(
    parameters: Parameters,
    analog: Analog | None,
    scale: float,
    moment_units: str | None,
    baseline: tuple[float, float] | None,
    path: str | Path,
) -> tuple[ForcePlate, ...]:
    """The plates in the laboratory's axes."""
    used = _numbers(parameters, "FORCE_PLATFORM", "USED").ravel()
    count = int(used[0]) if used.size else 0
    if count == 0:
        return ()
    if analog is None:
        raise InputError(
            f"{path}: FORCE_PLATFORM:USED is {count}, but there are no analog channels; plates=False reads the "
            "file without its plates"
        )
    return tuple(_plate(i, count, parameters, analog, scale, moment_units, baseline, path) for i in range(count))


def _plate(
    i: int, count: int, parameters: Parameters, analog: Analog, scale: float, moment_units: str | None,
    baseline: tuple[float, float] | None, path: str | Path,
) -> ForcePlate:  # fmt: skip
    name, where = f"plate {i + 1}", f"{path}, plate {i + 1}"
    kind = int(_entry(parameters, "TYPE", (count,), where)[i])
    corners = scale * _entry(parameters, "CORNERS", (3, 4, count), where)[:, :, i].T
    origin = scale * _entry(parameters, "ORIGIN", (3, count), where)[:, i]
    calibration = None
    if kind == 4:
        calibration = _entry(parameters, "CAL_MATRIX", (6, 6, count), where)[:, :, i].copy()
    channel = _numbers(parameters, "FORCE_PLATFORM", "CHANNEL").reshape(-1, count, order="F")[:, i].astype(int) - 1
    channel = channel[: CHANNELS.get(kind, 6)]
    if (channel < 0).any() or (channel >= len(analog.names)).any():
        raise InputError(
            f"{where}: FORCE_PLATFORM:CHANNEL names channels {(channel + 1).tolist()}; there are {len(analog.names)}"
        )
    readings = analog.values[:, channel]
    if baseline is not None:
        readings = readings - _baseline(analog.time, readings, baseline)
    units = [analog.units[c] for c in channel]
    factors = _si_factors(kind, units, scale, moment_units, where)
    if calibration is not None:
        readings, calibration = readings, factors[:, None] * calibration
    else:
        readings = readings * factors
    force, moment = plate_wrench(kind, readings, origin, calibration, name=where)
    R = plate_axes(corners, where)
    return ForcePlate(
        name=name, type=kind, time=analog.time, force=force @ R.T, moment=moment @ R.T, origin=corners.mean(0),
        corners=corners,
    )  # fmt: skip


def _entry(parameters: Parameters, name: str, shape: tuple[int, ...], where: str) -> Array:
    value = _numbers(parameters, "FORCE_PLATFORM", name)
    if value.size < np.prod(shape):
        raise InputError(
            f"{where}: FORCE_PLATFORM:{name} holds {value.size} numbers, {int(np.prod(shape))} are needed; "
            "plates=False reads the file without its plates"
        )
    # more plates may be described than used
    return value.reshape(*shape[:-1], -1, order="F")[..., : shape[-1]]


def _si_factors(kind: int, units: list[str], scale: float, moment_units: str | None, where: str) -> Array:
    """Factor of each channel to SI; a blank or electrical unit means N, and N times the unit of the points."""
    lengths = {1: (3, 4)}.get(kind, ())
    moments = {1: (5,), 2: (3, 4, 5), 4: (3, 4, 5)}.get(kind, ())
    factors = []
    for c in range(CHANNELS.get(kind, len(units))):
        unit = units[c].replace(" ", "").lower() if c < len(units) else ""
        default = scale if c in lengths or c in moments else 1.0
        if c in moments and moment_units is not None:
            unit = moment_units.replace(" ", "").lower()
            if unit not in SI:
                raise UnknownNameError("unit of moments", moment_units, ("N.m", "N.mm"))
        factors.append(default if kind == 4 and moment_units is None else SI.get(unit, default))
    return np.array(factors)


def _baseline(time: Array, readings: Array, interval: tuple[float, float]) -> Array:
    inside = (time >= interval[0]) & (time <= interval[1])
    if not inside.any():
        raise InputError(f"baseline {interval} s holds no sample; the file runs from {time[0]:g} to {time[-1]:g} s")
    return readings[inside].mean(0)


def _turned_plates(
    plates: tuple[ForcePlate, ...], up: str, path: str | Path
) -> tuple[tuple[ForcePlate, ...], tuple[str, ...]]:
    """The plates in z-up axes, checked; a plate whose signs are those of the force on the plate is turned round."""
    turned, warnings = [], []
    for plate in plates:
        plate = plate.turned(R_ZUP_LAB[up])
        push = plate.force @ plate.normal
        if -push.min(initial=0.0) > 2 * max(push.max(initial=0.0), 50.0):
            plate = ForcePlate(**{**vars(plate), "force": -plate.force, "moment": -plate.moment})
            warnings.append(f"{plate.name} pulled on the feet: its signs are the plate's view, and were turned round")
        if np.abs(push).max(initial=0.0) > HEAVIEST:
            raise InputError(
                f"{path}, {plate.name}: peak force {np.abs(push).max() / 1e3:.0f} kN; no person does that: check "
                "ANALOG:UNITS, SCALE and GEN_SCALE; plates=False reads the file without its plates"
            )
        check_placement(plate, str(path))
        turned.append(plate)
    return tuple(turned), tuple(warnings)


def _events(parameters: Parameters) -> tuple[Event, ...]:
    group = parameters.get("EVENT", {})
    used = _numbers(parameters, "EVENT", "USED").ravel()
    n = int(used[0]) if used.size else 0
    if n == 0:
        return ()
    # minutes and seconds
    times = _numbers(parameters, "EVENT", "TIMES").reshape(2, -1, order="F")[:, :n]
    names, contexts = (_listed(group.get(key, []), n) for key in ("LABELS", "CONTEXTS"))
    events = (
        Event(name=name, context=context, time=float(60 * minutes + seconds))
        for name, context, (minutes, seconds) in zip(names, contexts, times.T, strict=True)
    )
    return tuple(sorted(events, key=lambda event: event.time))


def _listed(value: Any, n: int) -> list[str]:
    texts = [value] if isinstance(value, str) else [str(x) for x in value]
    return (texts + [""] * n)[:n]
