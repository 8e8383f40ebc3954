"""The cells of a manifest as text, from whatever file they are in."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physpose.errors import InputError, MissingPackageError

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
MARKERS = (".trc", ".c3d")
CELL_LIMIT = 1_000_000  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is wrong in a manifest, and where."""

    line: int | None  # from 1; None: the file as a whole
    text: str

    def __str__(self) -> str:
        return self.text if self.line is None else f"line {self.line}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table of text."""

    header: tuple[str, ...]
    header_line: int
    rows: list[tuple[int, list[str]]]  # line number, one cell a column, blanks around it removed
    problems: tuple[Problem, ...] = ()


def read_cells(path: Path) -> Cells:
    """The table in a .csv or .parquet file, or one row for every video in a folder and below; without videos, for every
    file of markers.

    Raises:
        InputError: no such file, or not a table.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(
            f"no such manifest: {path}; a .csv or .parquet file or a folder of videos or markers is needed"
        )
    return _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)


def _folder(path: Path) -> Cells:
    files = sorted(p for p in path.rglob("*") if p.is_file())
    kinds = ([p for p in files if p.suffix.lower() in suffixes] for suffixes in (VIDEOS, MARKERS))
    found = next((clips for clips in kinds if clips), None)  # markers beside videos are often results of these
    if found is None:
        raise InputError(f"no video in {path} ({', '.join(VIDEOS)}), and no markers ({', '.join(MARKERS)})")
    rows = [(i + 1, [str(p.relative_to(path))]) for i, p in enumerate(found)]
    return Cells(header=("clip",), header_line=0, rows=rows)


def _csv(path: Path) -> Cells:
    data = path.read_bytes()
    if b"\0" in data:
        raise InputError(f"{path} is no text file: it holds zero bytes; save the table as CSV (UTF-8)")
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    problems = list(_not_utf8(lines))
    reader = csv.reader((line.decode("utf-8", errors="replace") for line in lines), delimiter=_separator(lines))
    csv.field_size_limit(CELL_LIMIT)
    header: tuple[str, ...] = ()
    rows: list[tuple[int, list[str]]] = []
    header_line = 1
    try:
        for line, cells in _numbered(reader):
            if not any(cells):
                continue
            if not header:
                header, header_line = tuple(cells), line
            elif len(cells) != len(header):
                problems.append(Problem(line=line, text=f"{len(cells)} cells, the header has {len(header)}"))
            else:
                rows.append((line, cells))
    except csv.Error as error:
        problems.append(Problem(line=reader.line_num, text=f"cannot be read as CSV: {error}"))
    if not header:
        raise InputError(f"{path} is empty; a table with a column 'clip' is needed")
    return Cells(header=header, header_line=header_line, rows=rows, problems=tuple(problems))


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line at which they start: a cell in quotes may hold line ends."""
    start = 1
    for cells in reader:
        yield start, [cell.strip() for cell in cells]
        start = reader.line_num + 1


def _not_utf8(lines: Iterable[bytes]) -> Iterator[Problem]:
    for i, line in enumerate(lines):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            yield Problem(line=i + 1, text=f"not UTF-8 ({where}); save the table as UTF-8")


def _separator(lines: list[bytes]) -> str:
    """What separates the header's cells: spreadsheets of some countries write semicolons."""
    header = next((line for line in lines if line.strip()), b"")
    return max(",;\t", key=lambda c: header.count(c.encode()))


def _parquet(path: Path) -> Cells:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingPackageError("pyarrow", "batch", f"reading {path}") from error
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}") from error
    columns = [[_as_text(x) for x in column.to_pylist()] for column in table.columns]
    rows = [(i + 1, list(cells)) for i, cells in enumerate(zip(*columns, strict=True))]
    return Cells(header=tuple(table.column_names), header_line=0, rows=rows)


def _as_text(x: Any) -> str:
    """A cell as CSV would have it; missing values are empty."""
    return "" if x is None or x != x else str(x).strip()
