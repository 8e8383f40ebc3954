"""Tables of numbers on disk: OpenSim's .mot and .sto, marker files .trc, .csv. The writers replace a file in one step.

The functions neither convert units nor axes (``conventions`` does): what they get is what they write, except that .mot
and .sto with ``inDegrees=yes`` hold angles in degrees, as their header says.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physpose.errors import InputError
from physpose.types import Array

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "%.10g"  # of every number: finer than any measured value, coarser than float64's noise


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A .mot or .sto file as it is on disk."""

    name: str  # first line of the header
    names: tuple[str, ...]  # columns after "time"
    time: Array  # (T,) [s]
    data: Array  # (T, n), missing values NaN
    in_degrees: bool  # what the header says of the angles among the columns


@dataclass(frozen=True, kw_only=True)
class Markers:
    """A .trc file as it is on disk."""

    names: tuple[str, ...]
    time: Array  # (T,) [s]
    positions: Array  # (T, n, 3) in ``units``, missing markers NaN
    units: str  # "mm" or "m"


def replace_file(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` under a temporary name next to ``path``, then move it into place.

    Raises:
        InputError: nothing can be written there; the message says why.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return path


def make_folder(path: str | Path) -> Path:
    """The folder ``path``, made if it is not there.

    Raises:
        InputError: it cannot be made; the message says why.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}; a folder is needed") from error
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- .mot and .sto --------------------------------------------------------------------------------------------------


def write_storage(
    path: str | Path, names: Sequence[str], time: Array, data: Array, *, in_degrees: bool, title: str
) -> Path:
    """Write OpenSim's storage format (.mot, .sto).

    Args:
        path: file to write.
        names: n column names, without "time".
        time: (T,) [s].
        data: (T, n); angles in degrees where ``in_degrees``; NaN is written as "nan".
        in_degrees: what the header shall say of the angles.
        title: first line of the header, e.g. "Coordinates".
    """
    time, data = np.asarray(time, float), np.asarray(data, float)
    _check(names, time, data.shape, (len(time), len(names)), path)
    header = (
        f"{title}\nversion=1\nnRows={len(time)}\nnColumns={len(names) + 1}\ninDegrees={'yes' if in_degrees else 'no'}\n"
        f"endheader\n"
    )
    text = io.StringIO()
    text.write(header + "\t".join(["time", *names]) + "\n")
    np.savetxt(text, np.column_stack([time, data]), fmt=DIGITS, delimiter="\t")
    return replace_file(path, text.getvalue())


def read_storage(path: str | Path) -> Storage:
    """Read a .mot or .sto file.

    Raises:
        InputError: no such file, no "endheader" line, a first column that is not time, or rows of unequal length.
    """
    lines = _lines(path)
    end = next((i for i, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    if end is None or end + 1 >= len(lines):
        raise InputError(f"{path} is no .mot or .sto file: it has no line 'endheader' with a table after it")
    names = lines[end + 1].split()
    if names[:1] != ["time"]:
        raise InputError(f"{path}: the first column is {names[0]!r}, it should be 'time'")
    rows = [line.split() for line in lines[end + 2 :] if line.strip()]
    table = _numbers(rows, len(names), path)
    flags = dict(line.lower().replace(" ", "").split("=", 1) for line in lines[:end] if "=" in line)
    return Storage(
        name=lines[0].strip(),
        names=tuple(names[1:]),
        time=table[:, 0],
        data=table[:, 1:],
        in_degrees=flags.get("indegrees") == "yes",
    )


# --- .trc -----------------------------------------------------------------------------------------------------------


def write_trc(path: str | Path, names: Sequence[str], time: Array, positions: Array, *, units: str = "mm") -> Path:
    """Write a marker file (.trc).

    Args:
        path: file to write.
        names: n marker names.
        time: (T,) [s]; the header's rate is the mean one, the Time column holds these.
        positions: (T, n, 3) in ``units``; a missing marker is written as "nan": OpenSim
            refuses a line that ends in empty cells.
        units: "mm" or "m".
    """
    time, positions = np.asarray(time, float), np.asarray(positions, float)
    _check(names, time, positions.shape, (len(time), len(names), 3), path)
    rate = (len(time) - 1) / (time[-1] - time[0]) if len(time) > 1 else 1.0
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{Path(path).name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate:.6g}\t{rate:.6g}\t{len(time)}\t{len(names)}\t{units}\t{rate:.6g}\t1\t{len(time)}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i}" for i in range(1, len(names) + 1) for axis in "XYZ"),
        "",
    ]
    for i, (t, row) in enumerate(zip(time, positions.reshape(len(time), -1), strict=True), 1):
        lines.append("\t".join([str(i), DIGITS % t, *(DIGITS % x for x in row)]))
    return replace_file(path, "\n".join(lines) + "\n")


def read_trc(path: str | Path) -> Markers:
    """Read a marker file (.trc).

    Raises:
        InputError: no such file, or not a .trc file.
    """
    lines = _lines(path)
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise InputError(f"{path} is no .trc file: it does not start with 'PathFileType'")
    about = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    names = [name for name in lines[3].rstrip().split("\t")[2:] if name.strip()]
    width = 2 + 3 * len(names)
    rows = [line.split("\t") for line in lines[5:] if line.strip()]
    rows = [row[:width] + [""] * (width - len(row)) for row in rows]
    table = _numbers(rows, width, path)
    return Markers(
        names=tuple(names),
        time=table[:, 1],
        positions=table[:, 2:].reshape(len(table), len(names), 3),
        units=about.get("Units", "mm").strip(),
    )


# --- .csv -----------------------------------------------------------------------------------------------------------


def write_csv(path: str | Path, frame: pd.DataFrame) -> Path:
    """Write a table as comma-separated text; missing values are empty cells, the index is left out."""
    return replace_file(path, frame.to_csv(index=False, float_format=DIGITS))


# --- shared ---------------------------------------------------------------------------------------------------------


def _check(
    names: Sequence[str], time: Array, shape: tuple[int, ...], expected: tuple[int, ...], path: str | Path
) -> None:
    if time.ndim != 1 or len(time) == 0 or not np.isfinite(time).all():
        raise InputError(f"{path}: time has shape {time.shape}; one finite time a frame is needed, one frame or more")
    if shape != expected:
        raise InputError(f"{path}: data has shape {shape}; {len(time)} times and {len(names)} names need {expected}")
    odd = [name for name in names if not name or any(c.isspace() for c in name)]
    if odd:
        raise InputError(f"{path}: column names must not be empty or hold blanks: {odd[0]!r}")


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _numbers(rows: Sequence[Sequence[str]], width: int, path: str | Path) -> Array:
    if any(len(row) != width for row in rows) or not rows:
        raise InputError(f"{path}: {len(rows)} rows, of which some do not have the {width} columns of the header")
    try:
        return np.array([[float(x) if x.strip() else np.nan for x in row] for row in rows])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
