"""A batch's manifest: one row a clip, read from CSV, Parquet or a folder, with everything that is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from physpose.batch.columns import COLUMNS, SUBJECT, SUMMARY, check_subject, parse_cell
from physpose.batch.table_files import Cells, Problem, read_cells
from physpose.errors import InputError, PhysposeError
from physpose.marker_sources import is_marker_source
from physpose.progress import SILENT, Progress, Stage

CAMERAS = "|"  # between the paths of several cameras
NAME_LENGTH = 120  # bytes, of a clip's folder; file systems allow 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One clip to fit."""

    line: int  # in the manifest
    name: str  # of its folder in the results; no two rows have the same
    views: tuple[Path, ...]  # of the clip: one file or folder a camera
    arguments: Mapping[str, Any]  # of ``physpose.fit``
    carried: Mapping[str, str]  # columns that go into the summary as they are


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All rows that can be run, and all problems of the others."""

    source: str
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    carried: tuple[str, ...]  # names of the columns carried through


class ManifestError(InputError):
    """A manifest with problems, each with its line."""

    def __init__(self, manifest: Manifest):
        self.problems = manifest.problems
        n = len(self.problems)
        super().__init__(f"{manifest.source}: {n} problem{'s' * (n > 1)}; the first: {self.problems[0]}")


def read_manifest(
    path: str | Path,
    *,
    carry: Sequence[str] = (),
    defaults: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """Read a manifest and check every row of it; no clip is opened.

    Args:
        path: a .csv file (UTF-8; commas, semicolons or tabs), a .parquet file, or a folder: every video in it and
            below. Columns: ``clip``, a path as seen from the manifest, or those of several cameras with "|" between;
            ``name`` of its folder in the results, if the clip's own will not do; and of the arguments of
            ``physpose.fit`` those in ``columns.COLUMNS``.
        carry: other columns, which go into the summary as they are.
        defaults: column -> text of empty cells.
        progress: receives one stage.

    Raises:
        InputError: the file cannot be read at all. What is wrong within it is in ``Manifest.problems``.
    """
    source = str(path)
    path, defaults = Path(path).resolve(), dict(defaults or {})  # workers elsewhere start from another folder
    table = read_cells(path)
    problems = [*table.problems, *_header_problems(table, carry, defaults)]
    reader = _Rows(path if path.is_dir() else path.parent, tuple(c for c in carry if c in table.header), defaults)
    with progress.stage("check the manifest", len(table.rows)) as stage:
        rows = reader.rows(table, stage) if "clip" in table.header else []
    problems = sorted([*problems, *reader.problems], key=lambda p: p.line or 0)
    if not rows and not problems:
        problems = [Problem(line=None, text="no clip in it")]
    return Manifest(source=source, rows=tuple(rows), problems=tuple(problems), carried=reader.carry)


def _header_problems(table: Cells, carry: Sequence[str], defaults: Mapping[str, str]) -> Iterator[Problem]:
    known = ("clip", "name", *COLUMNS)
    seen: set[str] = set()
    for column in table.header:
        if column in seen:
            yield Problem(line=table.header_line, text=f"two columns are named {column!r}")
        elif column not in known and column not in carry:
            near = get_close_matches(column.lower(), known, 1)
            mend = f"did you mean {near[0]!r}? " if near else ""
            hint = f"{mend}known: {', '.join(known)}; --carry {column or 'NAME'} takes it into the summary as it is"
            yield Problem(line=table.header_line, text=f"unknown column {column!r}; {hint}")
        seen.add(column)
    if "clip" not in table.header:
        given = ", ".join(table.header) or "none"
        yield Problem(line=table.header_line, text=f"no column 'clip' (columns: {given})")
    for column in (c for c in carry if c not in table.header):
        yield Problem(line=table.header_line, text=f"no column {column!r} to carry through")
    for column in (c for c in carry if c in SUMMARY and c not in ("name", "clip")):
        yield Problem(line=table.header_line, text=f"the summary has a column {column!r} of its own; rename this one")
    for column in (c for c in defaults if c not in COLUMNS):
        yield Problem(line=None, text=f"no column {column!r} to set; there are {', '.join(COLUMNS)}")


class _Rows:
    """Cells -> rows; keeps the problems."""

    def __init__(self, folder: Path, carry: tuple[str, ...], defaults: Mapping[str, str]):
        self.folder, self.carry, self.defaults = folder, carry, defaults
        self.problems: list[Problem] = []
        self._names: dict[str, tuple[int, str]] = {}  # name, without case -> its line, its clip

    def rows(self, table: Cells, stage: Stage) -> list[Row]:
        rows = []
        for line, cells in table.rows:
            stage.advance()
            given = dict(zip(table.header, cells, strict=True))
            with self._kept(line):
                rows.append(self._row(line, given))
        return rows

    def _row(self, line: int, given: Mapping[str, str]) -> Row:
        arguments = self._arguments(line, given)
        name = _name(given)
        self._check_name(line, name, given["clip"])
        views = tuple(self.folder / path.strip() for path in given["clip"].split(CAMERAS))
        for path in views:
            if not path.exists():
                raise InputError(f"clip: no such file: {path}")
        carried = {c: given.get(c, "") for c in self.carry}
        return Row(line=line, name=name, views=views, arguments=arguments, carried=carried)

    def _check_name(self, line: int, name: str, clip: str) -> None:
        """No two rows may have the same folder, also where the file system takes large and small letters for one."""
        other, theirs = self._names.setdefault(name.casefold(), (line, clip))
        if other == line:
            return
        same = f"clip {clip!r} is in line {other} already"
        alike = f"{clip!r} has the same name {name!r} as {theirs!r} in line {other}"
        raise InputError(f"{same if clip == theirs else alike}; tell them apart in a column 'name'")

    def _arguments(self, line: int, given: Mapping[str, str]) -> dict[str, Any]:
        """Arguments of ``fit``; each cell that is wrong is a problem of its own."""
        values: dict[str, Any] = {}
        before = len(self.problems)
        for column in COLUMNS:
            cell = given.get(column) or self.defaults.get(column, "")
            if cell:
                with self._kept(line):
                    values[column] = parse_cell(column, cell, self.folder)
        if len(self.problems) == before and not is_marker_source(given["clip"]):  # these files may tell who it is
            with self._kept(line):
                check_subject(values.get("skeleton", "adult"), *(values.get(c) for c in SUBJECT))
        return values

    @contextmanager
    def _kept(self, line: int) -> Iterator[None]:
        """An error becomes a problem of this line."""
        try:
            yield
        except PhysposeError as error:
            self.problems.append(Problem(line=line, text=str(error)))


def _name(given: Mapping[str, str]) -> str:
    """The name of a clip's folder: as given, or its path as one word."""
    clip = given["clip"]
    if not clip:
        raise InputError("the cell 'clip' is empty")
    name = given.get("name", "")
    if name and (re.search(r"[^\w.-]", name) or name[0] in ".-" or len(name.encode()) > NAME_LENGTH):
        raise InputError(f"name {name!r}: letters, digits, '_', '.', '-' only, no more than {NAME_LENGTH} bytes")
    first = Path(clip.split(CAMERAS)[0].strip())
    parts = first.with_suffix("").parts
    own = parts if not (first.is_absolute() or ".." in parts) else parts[-1:]
    made = re.sub(r"[^\w.-]", "_", "-".join(own)).lstrip(".-").encode()[-NAME_LENGTH:].decode(errors="ignore")
    return name or made or "clip"
