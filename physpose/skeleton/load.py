"""Skeletons by name or file for a subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from physpose.errors import InputError, SubjectError
from physpose.skeleton.build import build_skeleton
from physpose.skeleton.files import SHIPPED, read_skeleton_file
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

    ``name``: "adult", "child", "infant", a path to a .yaml file of the same form, or an MJCF file (.xml), whose body is
    taken as it is. ``age`` [years], ``sex`` "f", "m"
    or "x" (mean of both), ``height`` [m], ``mass`` [kg]: what is given is used; what is missing is filled from growth
    tables and surveys and listed, with its source, in ``Skeleton.assumptions``; what is unusual is told in
    ``Skeleton.warnings``. Raises ``SubjectError`` for what no person has or what contradicts itself,
    ``UnknownNameError`` for an unknown name, ``InputError`` for a file that cannot be used.
    """
    if Path(name).suffix in (".xml", ".osim"):
        return _from_file(Path(name), age=age, sex=sex, height=height, mass=mass)
    data: dict[str, Any] = read_skeleton_file(name)
    try:
        subject, assumptions, warnings = complete_subject(data, age=age, sex=sex, height=height, mass=mass)
        return build_skeleton(data, subject, assumptions, warnings)
    except (KeyError, TypeError, AttributeError) as error:
        if str(name) in SHIPPED:
            raise
        # a file of the user's own may lack or misplace anything
        raise InputError(f"{name}: incomplete or misplaced entry ({type(error).__name__}: {error})") from error


def _from_file(path: Path, **subject: float | str | None) -> Skeleton:
    given = [name for name, value in subject.items() if value is not None]
    if given:
        raise SubjectError(f"{path} has its own sizes and masses; leave out {', '.join(given)}")
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if path.suffix == ".osim":
        from physpose.skeleton.opensim import read_osim  # here, since few need it

        return read_osim(path)
    from physpose.skeleton.mjcf_read import read_mjcf  # here, since it needs MuJoCo

    return read_mjcf(path)
