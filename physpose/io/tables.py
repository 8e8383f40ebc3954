"""What the readers and writers of text tables share; and .csv. A file is replaced in one step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physpose.errors import InputError
from physpose.types import Array

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "%.10g"  # of every number: finer than any measured value, coarser than float64's noise


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_csv(path: str | Path, frame: pd.DataFrame) -> Path:
    """Write a table as comma-separated text; missing values are empty cells, the index is left out."""
    return replace_file(path, frame.to_csv(index=False, float_format=DIGITS))


# --- shared by the readers and writers of .trc, .mot and .sto ---------------------------------------------------------


def check_table(
    names: Sequence[str], time: Array, shape: tuple[int, ...], expected: tuple[int, ...], path: str | Path
) -> None:
    """Refuse to write what could not be read back."""
    if time.ndim != 1 or len(time) == 0 or not np.isfinite(time).all():
        raise InputError(f"{path}: time has shape {time.shape}; one finite time a frame is needed, one frame or more")
    if shape != expected:
        raise InputError(f"{path}: data has shape {shape}; {len(time)} times and {len(names)} names need {expected}")
    odd = [name for name in names if not name or any(c.isspace() for c in name)]
    if odd:
        raise InputError(f"{path}: column names must not be empty or hold blanks: {odd[0]!r}")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, whatever its line ends.

    Raises:
        InputError: it cannot be read, is empty, or holds bytes that no text file has.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if not data.strip():
        raise InputError(f"{path} is empty")
    if b"\0" in data:
        raise InputError(f"{path} is no text file: it holds zero bytes (a binary file, or a damaged one)")
    return data.decode("utf-8-sig", errors="replace").splitlines()


def split_cells(line: str, width: int | None = None) -> list[str]:
    """The cells of a line: between commas, between tabs, or between blanks.

    Empty cells count only between commas or tabs. With ``width``, blanks separate where that gives just so many
    cells, and empty cells past the width or left out at the end of the line are mended.
    """
    blanks = line.split()
    if width is not None and len(blanks) == width and "," not in line:
        return blanks
    separator = "," if "," in line else "\t" if "\t" in line else None
    if separator is None:
        return blanks
    cells = [cell.strip() for cell in line.split(separator)]
    while cells and not cells[-1] and (width is None or len(cells) > width):
        cells.pop()
    if width is not None and len(cells) < width and line.rstrip(" ").endswith(separator):
        cells += [""] * (width - len(cells))
    return cells


def parse_rows(numbered: Sequence[tuple[int, str]], width: int, path: str | Path) -> Array:
    """Numbers (n, width) of lines given with their line numbers (from 1); an empty cell is NaN.

    Raises:
        InputError: a line with another number of cells, or a cell that is no number; the message names the line.
    """
    if not numbered:
        raise InputError(f"{path}: the header is followed by no row of numbers")
    table = np.empty((len(numbered), width))
    for i, (number, line) in enumerate(numbered):
        cells = split_cells(line, width)
        if len(cells) != width:
            raise InputError(
                f"{path}, line {number}: {len(cells)} cells where the header has {width} columns "
                "(a line that was cut off? a name with blanks in it?)"
            )
        try:
            table[i] = [float(cell) if cell else np.nan for cell in cells]
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return table


def check_time(time: Array, lines: Sequence[int], path: str | Path) -> None:
    """Refuse times that are not finite and strictly increasing, by the line at which they go wrong."""
    for i, t in enumerate(time):
        if not np.isfinite(t):
            raise InputError(f"{path}, line {lines[i]}: the time is {t}; every row needs one")
        if i and t <= time[i - 1]:
            raise InputError(
                f"{path}, line {lines[i]}: time {t:g} s does not come after {time[i - 1]:g} s of the row before; "
                "rows must be in order of time, each at a time of its own"
            )


def declared_count(text: str | None, found: int, what: str, path: str | Path, line: int) -> None:
    """Refuse a header whose count is not what follows: a part of the file is missing, or the header is wrong."""
    if text is None:
        return
    try:
        declared = int(float(text))
    except ValueError:
        raise InputError(f"{path}, line {line}: {what}={text!r} is no number") from None
    if declared != found:
        raise InputError(
            f"{path}, line {line}: the header says {what}={declared}, but {found} follow: the file was cut off or the "
            f"header is wrong; if the rows are complete, set {what} to {found} there"
        )
