"""OpenSim's storage format, .mot and .sto: a header, a line of column names, rows of numbers.

Nothing is converted here, neither units nor axes: what the columns mean is for the reader of motions or of forces.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physpose.errors import InputError, UnknownNameError
from physpose.io.tables import (
    DIGITS,
    check_table,
    check_time,
    declared_count,
    parse_rows,
    read_lines,
    replace_file,
    split_cells,
)
from physpose.types import Array

ROWS = ("nrows", "datarows")  # today's headers; SIMM's
COLUMNS = ("ncolumns", "datacolumns")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A .mot or .sto file as it is on disk."""

    name: str  # first line of the header
    names: tuple[str, ...]  # columns after "time"; names may be repeated
    time: Array  # (T,) [s], strictly increasing
    data: Array  # (T, n), missing values NaN
    in_degrees: bool | None  # what the header says of the angles among the columns; None: nothing
    version: str | None = None  # of the header; None: it does not say, as SIMM's do not
    source: str = "array"
    warnings: tuple[str, ...] = ()

    def column(self, name: str) -> Array:
        """One column (T,) by its name.

        Raises:
            UnknownNameError: no such column.
            InputError: several of that name, with different values.
        """
        found = [i for i, n in enumerate(self.names) if n == name]
        if not found:
            raise UnknownNameError(f"column in {self.source}:", name, self.names)
        columns = self.data[:, found]
        if not np.array_equal(columns, columns[:, :1].repeat(len(found), 1), equal_nan=True):
            where = ", ".join(str(i + 2) for i in found)
            raise InputError(f"{self.source}: columns {where} are all named {name!r} but differ; rename or drop one")
        return columns[:, 0]


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
    check_table(names, time, data.shape, (len(time), len(names)), path)
    header = (
        f"{title}\nversion=1\nnRows={len(time)}\nnColumns={len(names) + 1}\ninDegrees={'yes' if in_degrees else 'no'}\n"
        f"endheader\n"
    )
    text = io.StringIO()
    text.write(header + "\t".join(["time", *names]) + "\n")
    np.savetxt(text, np.column_stack([time, data]), fmt=DIGITS, delimiter="\t")
    return replace_file(path, text.getvalue())


def read_storage(path: str | Path, *, check_counts: bool = True) -> Storage:
    """Read a .mot or .sto file of any header version, separated by tabs, blanks or commas.

    A row at exactly the time of the row before is left out, with a warning: some of OpenSim's tools write the last one
    twice.

    Args:
        path: the file.
        check_counts: refuse a header that counts other rows or columns than follow, as a file that was cut off has.

    Raises:
        InputError: no such file, no "endheader" line, a first column that is not time, rows of unequal length, times
            out of order, or a header that counts other rows or columns than follow; the message names the line.
    """
    lines = read_lines(path)
    end = next((i for i, line in enumerate(lines) if line.strip(" \t,").lower() == "endheader"), None)
    names_at = None if end is None else next((i for i in range(end + 1, len(lines)) if lines[i].strip()), None)
    if end is None or names_at is None:
        raise InputError(f"{path} is no .mot or .sto file: it has no line 'endheader' with a table after it")
    names = split_cells(lines[names_at])
    if names[:1] != ["time"]:
        first = names[0] if names else ""
        raise InputError(f"{path}, line {names_at + 1}: the first column is {first!r}, it should be 'time'")
    numbered = [(i + 1, line) for i, line in enumerate(lines) if i > names_at and line.strip()]
    header = _header(lines[:end])
    table = parse_rows(numbered, len(names), path)
    if check_counts:
        declared_count(header.columns, len(names), "nColumns", path, header.columns_line)
        declared_count(header.rows, len(table), "nRows", path, header.rows_line)
    keep = np.append(True, np.diff(table[:, 0]) != 0)
    table = table[keep]
    check_time(table[:, 0], [number for (number, _), kept in zip(numbered, keep, strict=True) if kept], path)
    return Storage(
        name=lines[0].strip(),
        names=tuple(names[1:]),
        time=table[:, 0],
        data=table[:, 1:],
        in_degrees=header.in_degrees,
        version=header.version,
        source=str(path),
        warnings=() if keep.all() else (f"{path}: {(~keep).sum()} rows that repeat a time were left out",),
    )


class _Header(NamedTuple):
    rows: str | None
    rows_line: int
    columns: str | None
    columns_line: int
    in_degrees: bool | None
    version: str | None


def _header(lines: Sequence[str]) -> _Header:
    """Counts and the unit of angles, from "key=value", SIMM's "key value" or the sentence "Angles are in degrees."."""
    found: dict[str, tuple[str, int]] = {}
    in_degrees: bool | None = None
    for number, line in enumerate(lines, 1):
        key, _, value = line.strip(" \t,").partition("=" if "=" in line else " ")
        found.setdefault(key.strip().lower(), (value.strip(" \t,"), number))
        if line.strip().lower().startswith("angles are in "):
            in_degrees = "degree" in line.lower()
    if "indegrees" in found:
        in_degrees = found["indegrees"][0].lower() in ("yes", "true", "1")
    rows = next((found[k] for k in ROWS if k in found), (None, 0))
    columns = next((found[k] for k in COLUMNS if k in found), (None, 0))
    return _Header(rows[0], rows[1], columns[0], columns[1], in_degrees, found.get("version", (None, 0))[0])
