"""Skeleton files (YAML) to ``Skeleton``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from physpose.errors import UnknownNameError
from physpose.skeleton.build import build_skeleton
from physpose.skeleton.model import Skeleton, Subject
from physpose.types import Assumption

Sex = Literal["f", "m", "x"]


def skeleton_folder() -> Path:
    """Folder of the shipped skeleton files: inside the wheel, or at the root of a source checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_skeletons"
    return shipped if shipped.is_dir() else package.parent / "skeletons"


def list_skeletons() -> dict[str, str]:
    """Names of the shipped skeletons with one line about each."""
    return {name: str(read_skeleton_file(name)["description"]) for name in _shipped()}


def load_skeleton(
    name: str | os.PathLike[str] = "adult",
    *,
    age: float | None = None,
    sex: Sex | None = None,
    height: float | None = None,
    mass: float | None = None,
) -> Skeleton:
    """A subject's skeleton: age [years], sex "f", "m" or "x" (mean of both), height [m], mass [kg]."""
    data = read_skeleton_file(name)
    height = 1.69 if height is None else height
    subject = Subject(age=30.0 if age is None else age, sex=sex or "x", height=height,
                      mass=24.0 * height**2 if mass is None else mass)  # fmt: skip
    return build_skeleton(data, subject, (Assumption(what="draft", value="", source="unverified"),))


def read_skeleton_file(name: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of a shipped skeleton (by name) or of a file of the same form (by path)."""
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else skeleton_folder() / f"{name}.yaml"
    if not path.is_file():
        raise UnknownNameError("skeleton", str(name), _shipped())
    with path.open(encoding="utf-8") as stream:
        return dict(yaml.safe_load(stream))


def _shipped() -> list[str]:
    return [n for n in ("adult", "child", "infant") if (skeleton_folder() / f"{n}.yaml").is_file()]
