"""Writing .c3d: markers, force plates (as type 2) and events, in mm, N and N.mm, z up.

The format is small (C3D format user guide): a header block, a section of named parameters, then frame after frame of
floats. Written here rather than through ezc3d, whose writer fails in a process that has loaded OpenSim's Python
package.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError
from physpose.io.c3d import BLOCK, C3D_KEY, Event
from physpose.io.force_plates import ForcePlate, plate_axes
from physpose.io.tables import replace_file
from physpose.types import Array, Markers

DEPTH = 0.04  # [m] of the written plates' true origin below their surface
INTEL = 84  # little endian, IEEE floats
MOST = 255  # entries along a dimension of a parameter
LAST_FRAME = 65535

Groups = dict[str, dict[str, Any]]


def write_c3d(
    path: str | Path,
    markers: Markers,
    plates: Sequence[ForcePlate] = (),
    events: Sequence[Event] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a .c3d file.

    Args:
        path: file to write.
        markers: at one constant rate; a missing marker is stored with a negative residual.
        plates: all at one rate that is a multiple of the markers', beginning with them.
        events: on the markers' clock.
        parameters: further ones, group -> name -> number, text, list of texts, or array.

    Raises:
        InputError: times that are not equally spaced, plates whose samples do not fit the frames, or too many frames.
    """
    rate = _rate(markers.time, path)
    first = round(markers.time[0] * rate)
    if first < 0 or first + len(markers.time) > LAST_FRAME:
        raise InputError(f"{path}: a .c3d file holds frames 1 to {LAST_FRAME}; these would be {first + 1} and on")
    analog = _analog(plates, len(markers.time), rate, path)
    groups = _groups(markers, rate, plates, analog, events)
    for group, entries in (parameters or {}).items():
        groups[group] = groups.get(group, {}) | dict(entries)
    for _ in range(2):  # the section's own length tells where the data starts
        section = _section(groups)
        groups["POINT"]["DATA_START"] = 2 + len(section) // BLOCK
    head = _header(markers, rate, first, analog, 2 + len(section) // BLOCK)
    return replace_file(path, head + section + _data(markers, analog))


# --- contents ---------------------------------------------------------------------------------------------------------


def _groups(
    markers: Markers, rate: float, plates: Sequence[ForcePlate], analog: Array, events: Sequence[Event]
) -> Groups:
    ratio, n = analog.shape[1], analog.shape[2]
    frames = len(markers.time)
    point: dict[str, Any] = {"USED": len(markers.names), "SCALE": -1.0, "RATE": rate, "FRAMES": frames, "DATA_START": 0}
    point |= {"UNITS": "mm", "X_SCREEN": "+X", "Y_SCREEN": "+Z"} | _split("LABELS", markers.names)
    groups: Groups = {"POINT": point, "ANALOG": {"USED": n, "RATE": rate * ratio}}
    if plates:
        channels = [f"{c}{i}" for i in range(1, len(plates) + 1) for c in ("Fx", "Fy", "Fz", "Mx", "My", "Mz")]
        groups["ANALOG"] |= {
            "LABELS": channels,
            "UNITS": ["N", "N", "N", "Nmm", "Nmm", "Nmm"] * len(plates),
            "SCALE": np.ones(n),
            "OFFSET": np.zeros(n, np.int16),
            "GEN_SCALE": 1.0,
        }
        groups["FORCE_PLATFORM"] = {
            "USED": len(plates),
            "TYPE": np.full(len(plates), 2, np.int16),
            "ZERO": np.array([1, 0], np.int16),
            "CORNERS": np.stack([1000 * plate.corners.T for plate in plates], -1),
            "ORIGIN": np.tile([[0.0], [0.0], [-1000 * DEPTH]], (1, len(plates))),
            "CHANNEL": np.arange(1, n + 1, dtype=np.int16).reshape(6, -1, order="F"),
        }
    if events:
        groups["EVENT"] = {
            "USED": len(events),
            "TIMES": np.array([divmod(event.time, 60.0) for event in events]).T,
            "LABELS": [event.name for event in events],
            "CONTEXTS": [event.context for event in events],
        }
    return groups


def _split(name: str, texts: Sequence[str]) -> dict[str, list[str]]:
    """NAME, NAME2, ... of at most 255 entries each."""
    parts = [list(texts[i : i + MOST]) for i in range(0, len(texts), MOST)]
    return {f"{name}{k + 1 if k else ''}": part for k, part in enumerate(parts)}


def _analog(plates: Sequence[ForcePlate], frames: int, rate: float, path: str | Path) -> Array:
    """(T, samples a frame, channels)."""
    if not plates:
        return np.zeros((frames, 1, 0))
    ratio = _rate(plates[0].time, path) / rate
    N = round(ratio) * frames
    if abs(ratio - round(ratio)) > 1e-6 * ratio or any(len(plate.time) != N for plate in plates):
        raise InputError(
            f"{path}: {[len(plate.time) for plate in plates]} samples of the plates for {frames} "
            f"frames; every plate needs "
            "the same whole number of samples a frame"
        )
    return np.concatenate([_channels(plate) for plate in plates], 1).reshape(frames, round(ratio), -1)


def _channels(plate: ForcePlate) -> Array:
    """(N, 6) [N, N.mm] of a type 2 plate, about its true origin ``DEPTH`` below the surface."""
    R = plate_axes(plate.corners, plate.name)
    force, moment = plate.force @ R, plate.moment @ R
    # M_o = M_c + c x F
    return np.concatenate([force, 1000 * (moment + np.cross([0.0, 0.0, -DEPTH], force))], 1)


def _rate(time: Array, path: str | Path) -> float:
    steps = np.diff(time)
    if len(steps) == 0 or np.ptp(steps) > 1e-3 * steps.mean():
        raise InputError(f"{path}: a .c3d file holds equally spaced frames, two or more; resample first")
    return round(float((len(time) - 1) / (time[-1] - time[0])), 6)


# --- bytes ------------------------------------------------------------------------------------------------------------


def _header(markers: Markers, rate: float, first: int, analog: Array, start: int) -> bytes:
    T, ratio, n = analog.shape
    head = struct.pack("<2B5Hf2Hf", 2, C3D_KEY, len(markers.names), ratio * n, first + 1, first + T, 0, -1.0, start,
                       ratio if n else 0, rate)  # fmt: skip
    return head.ljust(BLOCK, b"\0")


def _data(markers: Markers, analog: Array) -> bytes:
    T = len(markers.time)
    points = np.concatenate([1000 * markers.positions, np.zeros((T, len(markers.names), 1))], 2)
    missing = np.isnan(points).any(-1)
    points[missing] = [0, 0, 0, -1]
    return np.concatenate([points.reshape(T, -1), analog.reshape(T, -1)], 1).astype("<f4").tobytes()


def _section(groups: Groups) -> bytes:
    """Whole blocks."""
    body = b""
    for number, (group, entries) in enumerate(groups.items(), 1):
        body += struct.pack("<bb", len(group), -number) + group.encode() + struct.pack("<hB", 3, 0)
        for name, value in entries.items():
            content = _value(value) + b"\0"  # no description
            body += (
                struct.pack("<bb", len(name), number) + name.encode() + struct.pack("<h", 2 + len(content)) + content
            )
    body += b"\0\0"
    blocks = -(-(4 + len(body)) // BLOCK)
    return (struct.pack("<4B", 1, C3D_KEY, blocks, INTEL) + body).ljust(blocks * BLOCK, b"\0")


def _value(value: Any) -> bytes:
    """Type, dimensions and contents of a parameter, the first index running fastest."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)) and all(isinstance(x, str) for x in value):
        texts = [x.encode() for x in value]
        width = max((len(x) for x in texts), default=0)
        return struct.pack("<bBBB", -1, 2, width, len(texts)) + b"".join(x.ljust(width) for x in texts)
    array = np.asarray(value)
    integers = array.dtype.kind in "iu"
    kind, dtype = (2, "<u2") if integers else (4, "<f4")
    dimensions = bytes(array.shape)
    return struct.pack("<bB", kind, array.ndim) + dimensions + array.astype(dtype).tobytes(order="F")
