"""The columns of a manifest that ``physpose.fit`` understands, how a cell is read; and the columns of the summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from physpose.caveats import ESTIMATE
from physpose.detectors import DETECTORS
from physpose.errors import InputError, PhysposeError, SubjectError
from physpose.estimation.settings import CHECKS, PHYSICS
from physpose.skeleton.files import SHIPPED, read_skeleton_file
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.skeleton.smpl_file import FAMILIES
from physpose.skeleton.subject import check_numbers, check_sex, complete_subject

Parse = Callable[[str, Path], Any]  # the cell's text, the folder that relative paths start from
SUBJECT = ("age", "sex", "height", "mass")


def number(text: str, _: Path) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        hint = "; write a decimal point" if "," in text else ""
        raise InputError(f"{text!r} is no number{hint}") from None
    if not math.isfinite(value):
        raise InputError(f"{text!r} is not finite")
    return value


def positive(text: str, folder: Path) -> float:
    """A number above zero."""
    value = number(text, folder)
    if value <= 0:
        raise InputError(f"{text!r}: a number above zero is needed")
    return value


def index(text: str, folder: Path) -> int:
    """A whole number from 0; "1.0" is one, since spreadsheets write it so."""
    value = number(text, folder)
    if value < 0 or value != int(value):
        raise InputError(f"{text!r}: a whole number from 0 is needed")
    return int(value)


def of_person(name: str) -> Parse:
    """An age [years], height [m] or mass [kg] that a person may have."""

    def parse(text: str, folder: Path) -> float:
        value = number(text, folder)
        check_numbers(**{"age": None, "height": None, "mass": None, name: value})
        return value

    return parse


def sex(text: str, _: Path) -> str | None:
    """ "f", "m" or "x"."""
    return check_sex(text)


def text(text: str, _: Path) -> str:
    """Any text."""
    return text


def yes_no(text: str, _: Path) -> bool:
    """ "yes" or "no", as spreadsheets may have it."""
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise InputError(f"{text!r}: yes or no is needed")
    return words[text.lower()]


def one_of(*known: str) -> Parse:
    """One of a few words."""

    def parse(text: str, _: Path) -> str:
        if text not in known:
            raise InputError(f"{text!r}; possible: {', '.join(known)}")
        return text

    return parse


def existing(text: str, folder: Path) -> Path:
    """A file or folder that is there."""
    path = folder / text
    if not path.exists():
        raise InputError(f"no such file: {path}")
    return path


def focal_or_file(text: str, folder: Path) -> float | Path:
    """A focal length [px] or a calibration file."""
    try:
        float(text)
    except ValueError:
        return existing(text, folder)
    return positive(text, folder)


def skeleton(text: str, folder: Path) -> str | Path:
    """A skeleton's name, or its file."""
    if text in SHIPPED or text in FAMILIES:
        return text
    if not Path(text).suffix:
        raise InputError(f"{text!r} is no skeleton; there are {', '.join(SHIPPED)}, and files (.yaml, .xml, .osim)")
    return existing(text, folder)


def known_keypoints(text: str, _: Path) -> str:
    """The name of a set of keypoints."""
    keypoint_names(text)
    return text


def numbers(n: int, what: str) -> Parse:
    """So many numbers between blanks or "x"."""

    def parse(text: str, folder: Path) -> tuple[float, ...]:
        cells = text.lower().replace("x", " ").split()
        if len(cells) != n:
            raise InputError(f"{text!r}: {what} is needed")
        return tuple(number(cell, folder) for cell in cells)

    return parse


def image_size(text: str, folder: Path) -> tuple[int, int]:
    """ "1920 1080" or "1920x1080" [px]."""
    width, height = (index(f"{x:g}", folder) for x in numbers(2, "WIDTH HEIGHT, e.g. 1920x1080,")(text, folder))
    return width, height


def gravity(text: str, folder: Path) -> tuple[float, ...] | str:
    """ "0 0 -9.81" [m/s^2], or "estimate"."""
    return ESTIMATE if text == ESTIMATE else numbers(3, f"GX GY GZ [m/s^2], z up, or {ESTIMATE!r},")(text, folder)


def holds(text: str, _: Path) -> dict[str, list[tuple[float, float]] | None]:
    """ "hand_r; hand_l:1.5-4": where one holds on, and when [s]."""
    from physpose.estimation.holds import holds_of  # here, since it loads torch

    return holds_of([part for part in text.split(";") if part.strip()])


COLUMNS: dict[str, Parse] = {
    "skeleton": skeleton,
    "age": of_person("age"),
    "sex": sex,
    "height": of_person("height"),
    "mass": of_person("mass"),
    "camera": focal_or_file,
    "person": index,
    "detector": one_of(*DETECTORS),
    "keypoint_set": known_keypoints,
    "fps": positive,  # [1/s]
    "image_size": image_size,
    "gravity": gravity,
    "physics": one_of(*PHYSICS),
    "floor": yes_no,
    "treadmill": number,  # [m/s]
    "holds": holds,
    "static": existing,
    "forces": existing,
    "force_lowpass": positive,  # [Hz]
    "marker_set": text,
    "scale": yes_no,
    "register": yes_no,
    "units": one_of("mm", "cm", "m"),
    "up": one_of("x", "y", "z", "-x", "-y", "-z"),
    "check": one_of(*(c for c in CHECKS if c)),
}

# columns of the summary -> their types in Parquet; those of the person are what was found
SUMMARY = {
    "name": "string", "line": "int64", "clip": "string", "status": "string", "reason": "string",
    "physpose": "string", "packages": "string", "host": "string", "seconds": "float64",
    "skeleton": "string", "age [years]": "float64", "sex": "string", "height [m]": "float64", "mass [kg]": "float64",
    "frames": "int64", "duration [s]": "float64", "converged": "bool", "iterations": "int64",
    "plausible": "bool", "plausible frames": "int64", "failed measures": "string",
    "assumptions": "string", "warnings": "string",
}  # fmt: skip


@lru_cache(maxsize=4096)
def check_subject(
    skeleton: str | Path, age: float | None, sex: str | None, height: float | None, mass: float | None
) -> None:
    """Raise ``SubjectError`` for what no person of the skeleton has, or what contradicts itself."""
    if str(skeleton) in SHIPPED or str(skeleton).endswith((".yaml", ".yml")):
        complete_subject(_skeleton_file(skeleton), age=age, sex=sex, height=height, mass=mass)


@lru_cache(maxsize=64)
def _skeleton_file(name: str | Path) -> dict[str, Any]:
    return read_skeleton_file(name)


def parse_cell(column: str, cell: str, folder: Path) -> Any:
    """The value of one cell.

    Raises:
        InputError: names the column, what it holds and what it may hold.
    """
    try:
        return COLUMNS[column](cell, folder)
    except SubjectError:  # names the column itself
        raise
    except PhysposeError as error:
        raise InputError(f"{column} {error}") from None
