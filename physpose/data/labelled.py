"""What public data sets hold, in one form whatever their files are: labelled pictures, 3D sequences, heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError
from physpose.types import Array

MISSING, OCCLUDED, VISIBLE = 0, 1, 2  # as in COCO
SHOWN = 3  # file names an error lists before it counts


@dataclass(frozen=True, kw_only=True)
class LabelledPerson:
    """One person in a picture."""

    keypoints: Array  # (K, 2) [px], NaN where missing
    visible: NDArray[np.int_]  # (K,) MISSING, OCCLUDED or VISIBLE
    box: tuple[float, float, float, float]  # x, y, width, height [px]
    head_length: float | None = None  # [px], for PCKh


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """A picture and the people labelled in it."""

    path: Path
    size: tuple[int, int] | None  # width, height [px], where the annotation tells
    people: tuple[LabelledPerson, ...]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """A set of labelled pictures."""

    name: str
    keypoint_names: tuple[str, ...]  # K, in the files' order
    landmarks: tuple[str | None, ...]  # K, the body landmark that each is; None where the body has none
    images: tuple[LabelledImage, ...]


@dataclass(frozen=True, kw_only=True)
class Sequence3D:
    """Joints of one person over time."""

    name: str
    person: str
    rate: float  # [1/s]
    keypoint_set: str  # a name of physpose.skeleton.keypoint_sets
    positions: Array  # (T, K, 3) [m], the set's own world axes, NaN where missing


@dataclass(frozen=True, kw_only=True)
class HeadTrack:
    """A head in a clip."""

    clip: str
    person: str
    is_child: bool
    frame: NDArray[np.int_]  # (T,) from 1
    box: Array  # (T, 4) x, y, width, height [px]


@dataclass(frozen=True)
class Where:
    """Where a set comes from and how it has to lie, for errors and documentation."""

    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.name}: {self.how}"

    def fail(self, what: str) -> NoReturn:
        """Raise InputError: what is wrong, then how it should be."""
        raise InputError(f"{what}. {self}")

    def need(self, *paths: Path) -> None:
        """Raise InputError unless all paths exist."""
        gone = [p for p in paths if not p.exists()]
        if gone:
            self.fail(f"not there: {', '.join(map(str, gone))}")

    def need_images(self, images: Sequence[LabelledImage]) -> None:
        """Raise InputError if picture files are missing, as after half an unpacking."""
        gone = [i.path for i in images if not i.path.is_file()]
        if gone:
            more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
            names = ", ".join(p.name for p in gone[:SHOWN])
            self.fail(
                f"{len(gone)} of {len(images)} pictures are missing ({names}{more}): is the archive wholly unpacked?"
            )


def numbers(where: Where, values: Any, shape: tuple[int, ...], what: str) -> Array:
    """``values`` as an array of a shape (-1: any). Raises InputError that names ``what`` is corrupt."""
    try:
        return np.asarray(values, float).reshape(shape)
    except (TypeError, ValueError):
        where.fail(f"{what} is corrupt: numbers of shape {shape} are needed")


def person(xyv: Array, box: Iterable[float], head_length: float | None = None) -> LabelledPerson:
    """A person from (K, 3) x, y and MISSING, OCCLUDED or VISIBLE."""
    x, y, w, h = (float(v) for v in box)
    visible = xyv[:, 2].astype(int)
    keypoints = np.where((visible > MISSING)[:, None], xyv[:, :2], np.nan)
    return LabelledPerson(keypoints=keypoints, visible=visible, box=(x, y, w, h), head_length=head_length)
