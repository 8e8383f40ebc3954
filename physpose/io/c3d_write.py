"""Writing .c3d: markers, force plates (as type 2) and events, in mm, N and N.mm, z up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError
from physpose.io.c3d import Event, ezc3d_package
from physpose.io.force_plates import ForcePlate, plate_axes
from physpose.io.tables import replace_file
from physpose.types import Array, Markers

DEPTH = 0.04  # [m] of the written plates' true origin below their surface


def write_c3d(
    path: str | Path,
    markers: Markers,
    plates: Sequence[ForcePlate] = (),
    events: Sequence[Event] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a .c3d file; needs the package ezc3d.

    Args:
        path: file to write.
        markers: at one constant rate; a missing marker is stored with a negative residual.
        plates: all at one rate that is a multiple of the markers', beginning with them.
        events: on the markers' clock.
        parameters: further ones, group -> name -> number, text or list.

    Raises:
        MissingPackageError: ezc3d is not installed.
        InputError: times that are not equally spaced, or plates whose samples do not fit the frames.
    """
    raw = ezc3d_package().c3d()
    _set_points(raw, markers, path)
    if plates:
        _set_plates(raw, markers, plates, path)
    if events:
        _set_events(raw, events)
    for group, entries in (parameters or {}).items():
        for name, value in entries.items():
            raw.add_parameter(group, name, [value] if isinstance(value, (int, float, str)) else value)
    handle, temporary = tempfile.mkstemp(suffix=".c3d")
    os.close(handle)
    try:
        raw.write(temporary)
        return replace_file(path, Path(temporary).read_bytes())
    finally:
        os.unlink(temporary)


def _set_points(raw: Any, markers: Markers, path: str | Path) -> None:
    rate = _rate(markers.time, path)
    T, n = markers.positions.shape[:2]
    points = np.full((4, n, T), np.nan)
    points[:3] = 1000 * markers.positions.transpose(2, 1, 0)
    missing = np.isnan(points[0])
    points[3] = 1.0
    raw["parameters"]["POINT"]["RATE"]["value"] = [rate]
    raw["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    raw["parameters"]["POINT"]["LABELS"]["value"] = tuple(markers.names)
    raw.add_parameter("POINT", "X_SCREEN", ["+X"])
    raw.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    raw["header"]["points"]["first_frame"] = round(markers.time[0] * rate)
    raw["data"]["points"] = points
    raw["data"]["meta_points"]["residuals"] = np.where(missing, -1.0, 0.0)[None]
    raw["data"]["meta_points"]["camera_masks"] = np.zeros((7, n, T), bool)


def _set_plates(raw: Any, markers: Markers, plates: Sequence[ForcePlate], path: str | Path) -> None:
    rate = _rate(plates[0].time, path)
    ratio = rate / _rate(markers.time, path)
    N = round(ratio) * len(markers.time)
    if abs(ratio - round(ratio)) > 1e-6 * ratio or any(len(plate.time) != N for plate in plates):
        raise InputError(
            f"{path}: {[len(plate.time) for plate in plates]} samples of the plates for {len(markers.time)} frames; "
            "every plate needs the same whole number of samples a frame"
        )
    channels = [_channels(plate) for plate in plates]
    names = [f"{c}{i}" for i in range(1, len(plates) + 1) for c in ("Fx", "Fy", "Fz", "Mx", "My", "Mz")]
    units = ["N", "N", "N", "Nmm", "Nmm", "Nmm"] * len(plates)
    analog = raw["parameters"]["ANALOG"]
    analog["RATE"]["value"] = [rate]
    analog["LABELS"]["value"] = tuple(names)
    analog["UNITS"]["value"] = tuple(units)
    analog["SCALE"]["value"] = [1.0] * len(names)
    analog["OFFSET"]["value"] = [0] * len(names)
    raw["data"]["analogs"] = np.concatenate(channels, 1).T[None]
    n = len(plates)
    for name, value in (
        ("USED", [n]),
        ("TYPE", [2] * n),
        ("ZERO", [1, 0]),
        ("CORNERS", np.stack([1000 * plate.corners.T for plate in plates], -1)),
        ("ORIGIN", np.tile(np.array([[0.0], [0.0], [-1000 * DEPTH]]), (1, n))),
        ("CHANNEL", np.arange(1.0, 6 * n + 1).reshape(6, n, order="F")),
    ):
        raw.add_parameter("FORCE_PLATFORM", name, value)


def _channels(plate: ForcePlate) -> Array:
    """(N, 6) [N, N.mm] of a type 2 plate, about its true origin ``DEPTH`` below the surface."""
    R = plate_axes(plate.corners, plate.name)
    force, moment = plate.force @ R, plate.moment @ R
    # M_o = M_c + c x F
    return np.concatenate([force, 1000 * (moment + np.cross([0.0, 0.0, -DEPTH], force))], 1)


def _set_events(raw: Any, events: Sequence[Event]) -> None:
    times = np.array([divmod(event.time, 60.0) for event in events]).T
    raw.add_parameter("EVENT", "USED", [len(events)])
    raw.add_parameter("EVENT", "TIMES", times)
    raw.add_parameter("EVENT", "LABELS", [event.name for event in events])
    raw.add_parameter("EVENT", "CONTEXTS", [event.context for event in events])


def _rate(time: Array, path: str | Path) -> float:
    steps = np.diff(time)
    if len(steps) == 0 or np.ptp(steps) > 1e-3 * steps.mean():
        raise InputError(f"{path}: a .c3d file holds equally spaced frames, two or more; resample first")
    return float(1 / steps.mean())
