"""Marker files, .trc. In memory metres and z up; on disk the unit that the header names, and OpenSim's y up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from physpose.conventions import lab_axis, lab_to_z_up, to_y_up
from physpose.errors import InputError, UnknownNameError
from physpose.io.tables import (
    DIGITS,
    check_table,
    check_time,
    declared_count,
    parse_rows,
    read_lines,
    replace_file,
)
from physpose.types import Array, Markers

METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
PERSON = (0.5, 2.5)  # [m] extent of the markers on a person, from a crouching child to an adult who reaches up
FEWEST = 4  # markers that tell a person's extent
RATES_AGREE = 1.1  # ratio of the header's rate to that of the times
SPREAD = 1.5  # the vertical's share over the other axes from which a wrong up axis is suspected


def write_trc(path: str | Path, names: Sequence[str], time: Array, positions: Array, *, units: str = "mm") -> Path:
    """Write a marker file (.trc), y up.

    Args:
        path: file to write.
        names: n marker names.
        time: (T,) [s]; the header's rate is the mean one, the Time column holds these.
        positions: (T, n, 3) [m], world z up; a missing marker is written as "nan": OpenSim refuses a line that ends in
            empty cells.
        units: of the file: "mm", "cm" or "m".
    """
    time, positions = np.asarray(time, float), np.asarray(positions, float)
    check_table(names, time, positions.shape, (len(time), len(names), 3), path)
    rate = (len(time) - 1) / (time[-1] - time[0]) if len(time) > 1 else 1.0
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate:.6g}\t{rate:.6g}\t{len(time)}\t{len(names)}\t{units}\t{rate:.6g}\t1\t{len(time)}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i}" for i in range(1, len(names) + 1) for axis in "XYZ"),
        "",
    ]
    on_disk = to_y_up(positions).reshape(len(time), -1) / _metres(units, path)
    for i, (t, row) in enumerate(zip(time, on_disk, strict=True), 1):
        lines.append("\t".join([str(i), DIGITS % t, *(DIGITS % x for x in row)]))
    return replace_file(path, "\n".join(lines) + "\n")


def read_trc(
    path: str | Path, units: str | None = None, up: str | None = None, *, check_counts: bool = True
) -> Markers:
    """Read a marker file (.trc).

    Args:
        path: the file.
        units: "mm", "cm" or "m", against what the header says; None takes the header's, and refuses it where the
            markers then do not have a person's extent but would in another unit.
        up: the file's axis that points up: "y" (OpenSim's, and so the default), "z", "x", "-y", ...
        check_counts: refuse a header that counts other frames or markers than follow, as a file that was cut off has.

    Raises:
        InputError: no such file, not a .trc file, a header that counts other frames or markers than follow, a line that
            is cut off, or units that cannot be right; the message names the line and the remedy.
    """
    lines = read_lines(path)
    if len(lines) < 6 or not lines[0].lower().startswith("pathfiletype"):
        raise InputError(f"{path} is no .trc file: it does not start with 'PathFileType' and five lines of header")
    about = dict(zip(lines[1].split(), lines[2].split(), strict=False))
    names, renamed = _unique(_marker_names(lines[3]))
    numbered = [(i + 1, x) for i, x in enumerate(lines) if i > 3 and x.strip() and _is_row(x)]
    if check_counts:
        declared_count(about.get("NumMarkers"), len(names), "NumMarkers", path, 3)
        declared_count(about.get("NumFrames"), len(numbered), "NumFrames", path, 3)
    table = parse_rows(numbered, 2 + 3 * len(names), path)
    check_time(table[:, 1], [number for number, _ in numbered], path)
    positions = table[:, 2:].reshape(len(table), len(names), 3)
    # a lost marker: empty cells, "nan", or the origin of the laboratory to the last digit
    positions[np.isnan(positions).any(-1) | (positions == 0).all(-1)] = np.nan
    positions = positions * _scale(positions, about.get("Units"), units, path)
    rate = _rate(about, table[:, 1], path)
    warnings = (*renamed, *_rate_doubt(rate, table[:, 1]), *(() if up else _axis_doubt(positions)))
    return Markers(
        names=tuple(names),
        time=table[:, 1],
        positions=lab_to_z_up(positions, lab_axis(up or "y")),
        rate=rate,
        source=str(path),
        warnings=warnings,
    )


def _marker_names(line: str) -> list[str]:
    cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
    return [cell for cell in cells[2:] if cell]


def _is_row(line: str) -> bool:
    """Rows begin with the number of the frame, the line of axes with a name or a blank."""
    first = line.split("\t" if "\t" in line else "," if "," in line else None)[0].strip()
    return first[:1].isdigit() or first[:1] == "-"


def _unique(names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Repeated names get a number."""
    out: list[str] = []
    for name in names:
        k, candidate = 1, name
        while candidate in out:
            k, candidate = k + 1, f"{name}_{k + 1}"
        out.append(candidate)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not repeated:
        return out, ()
    return out, (f"markers of the same name were numbered: {', '.join(repeated)}",)


def _metres(units: str, path: str | Path) -> float:
    if units.strip().lower() not in METRES:
        raise UnknownNameError(f"unit of markers in {path}:", units, METRES)
    return METRES[units.strip().lower()]


def _scale(positions: Array, declared: str | None, given: str | None, path: str | Path) -> float:
    if given is not None:
        return _metres(given, path)
    scale = _metres(declared or "mm", path)
    check_extent(positions * scale, declared or "mm", scale, f"{path}, line 3")
    return scale


def check_extent(positions: Array, units: str, scale: float, where: str) -> None:
    """Refuse units in which the markers (T, n, 3) [m] have no person's extent, if they would in another unit.

    Args:
        positions: as they come out with ``scale``.
        units: what the file calls its unit, and ``scale`` in metres.
        where: file and line, for the message.
    """
    extent = marker_extent(positions)
    if extent is None or PERSON[0] <= extent <= PERSON[1]:
        return
    for other, metres in METRES.items():
        if PERSON[0] <= extent / scale * metres <= PERSON[1]:
            raise InputError(
                f"{where}: units are {units!r}, in which the markers spread over {extent:.3g} m; in {other!r} it would "
                f"be {extent / scale * metres:.2f} m, a person's: give units={other!r}, or units={units!r} if the file "
                "is right"
            )


def marker_extent(positions: Array) -> float | None:
    """Median over the frames of the markers' largest extent along an axis; None for too few markers."""
    seen = np.isfinite(positions[..., 0]).sum(1) >= FEWEST
    if positions.shape[1] < FEWEST or not seen.any():
        return None
    spread = np.nanmax(positions[seen], 1) - np.nanmin(positions[seen], 1)
    return float(np.median(spread.max(1)))


def _axis_doubt(positions: Array) -> tuple[str, ...]:
    """A warning if the markers spread more along the file's z than along y."""
    seen = np.isfinite(positions[..., 0]).sum(1) >= FEWEST
    if not seen.any():
        return ()
    x, y, z = np.median(np.nanmax(positions[seen], 1) - np.nanmin(positions[seen], 1), axis=0)
    if z < SPREAD * max(x, y):
        return ()
    return (f"taken as y up, yet the markers spread most along z ({z:.2f} m): if z is up in this file, give up='z'",)


def _rate_doubt(rate: float, time: Array) -> tuple[str, ...]:
    """A warning if the header's rate is not that of the times."""
    if len(time) < 2 or 1 / RATES_AGREE < rate * (step := float(np.median(np.diff(time)))) < RATES_AGREE:
        return ()
    return (f"the header says {rate:g} frames a second, the times {1 / step:.4g}: the times are taken (in seconds?)",)


def _rate(about: dict[str, str], time: Array, path: str | Path) -> float:
    try:
        rate = float(about.get("DataRate", "nan"))
    except ValueError:
        raise InputError(f"{path}, line 3: DataRate={about['DataRate']!r} is no number") from None
    if not rate > 0 and len(time) > 1:
        rate = (len(time) - 1) / (time[-1] - time[0])
    return rate
