"""Skeletons by name or file for a subject."""

from __future__ import annotations

import os
from typing import Any

from physpose.skeleton.build import build_skeleton
from physpose.skeleton.files import read_skeleton_file
from physpose.skeleton.model import Skeleton
from physpose.skeleton.subject import complete_subject


def load_skeleton(
    name: str | os.PathLike[str] = "adult",
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
) -> Skeleton:
    """The skeleton of a subject, standing in ``Skeleton.neutral``.

    ``name``: "adult", "child", "infant", or a path to a .yaml file of the same form. ``age`` [years], ``sex`` "f", "m"
    or "x" (mean of both), ``height`` [m], ``mass`` [kg]: what is given is used; what is missing is filled from growth
    tables and surveys and listed, with its source, in ``Skeleton.assumptions``; what is unusual is told in
    ``Skeleton.warnings``. Raises ``SubjectError`` for what no person has or what contradicts itself,
    ``UnknownNameError`` for an unknown name, ``InputError`` for a file that cannot be used.
    """
    data: dict[str, Any] = read_skeleton_file(name)
    subject, assumptions, warnings = complete_subject(data, age=age, sex=sex, height=height, mass=mass)
    return build_skeleton(data, subject, assumptions, warnings)
