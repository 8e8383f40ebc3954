"""Skeleton files: where they are, reading them, what they extend, their numbers at an age and for a sex."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml

from physpose.errors import InputError, UnknownNameError
from physpose.types import Array

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

Sex = Literal["f", "m", "x"]
SHIPPED = ("adult", "child", "infant")
FORMS = ("age", "all", "f", "m")  # of a number: see ``at_age``
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same in C: ten times as fast
REQUIRED = ("name", "bodies", "dimensions", "masses", "segments", "inertia", "coordinates", "motions", "margin",
            "contact_points", "seat_points", "vertex", "landmarks", "scale_groups", "spreads", "reference",
            "ages")  # fmt: skip
OPTIONAL = ("extends", "description", "sources", "population", "younger", "older")
OF_ITS_OWN = ("extends", "name", "description", "ages", "younger", "older")  # not shared by a body at another age


def skeleton_folder() -> Path:
    """Folder of the shipped skeleton files: inside the wheel, or at the root of a source checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_skeletons"
    return shipped if shipped.is_dir() else package.parent / "skeletons"


def read_skeleton_file(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Contents of a shipped skeleton (by name) or of a file of the same form (.yaml, .yml), what it extends included.

    Raises ``UnknownNameError`` for a name that is not shipped, ``InputError`` for a file that cannot be used.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in SHIPPED:
            files = "a path to a .yaml, .osim, .xml (MJCF), .npz or .pkl (SMPL) file"
            raise UnknownNameError("skeleton", str(name), [*SHIPPED, "smpl", "smplh", "smplx", files])
        return read_shipped(str(name))
    if not path.is_file():
        raise InputError(f"no such skeleton file: {path}")
    own = _parse(path)
    _check_keys(path, own)
    data = _extended(own)
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; 'extends: human' brings all but sizes and masses")
    return data | {"changes": {key: value for key, value in own.items() if key not in OF_ITS_OWN}}


def _check_keys(path: Path, own: dict[str, Any]) -> None:
    """Refuse what would have no effect."""
    if unknown := [str(key) for key in own if key not in (*REQUIRED, *OPTIONAL)]:
        raise UnknownNameError(f"entry of {path}", unknown[0], (*OPTIONAL, *REQUIRED))


def check_used(data: dict[str, Any]) -> None:
    """Refuse sizes and masses of a file's own that no body has, since they would have no effect."""
    used = {
        "dimensions": [d for b in data["bodies"].values() for d in b["size"]],
        "masses": [s["segment"] for s in data["segments"].values()],
    }
    for section, names in used.items():
        if unknown := [n for n in data.get("changes", {}).get(section, ()) if n not in names]:
            raise UnknownNameError(f"name in {section}", str(unknown[0]), dict.fromkeys(names))


def body_at_another_age(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The shipped body ``name`` with what the file ``data`` changes: who grows older keeps it."""
    shipped = read_shipped(name)
    return _merged(shipped, data["changes"]) | {"changes": data["changes"]} if "changes" in data else shipped


@cache
def read_shipped(name: str) -> dict[str, Any]:
    """Contents of a file of the skeleton folder; shared between callers, so not to be changed."""
    return _extended(_parse(skeleton_folder() / f"{name}.yaml"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a skeleton file: its top level is {type(data).__name__}, not a mapping")
    return data


def _extended(data: dict[str, Any]) -> dict[str, Any]:
    if "extends" not in data:
        return data
    base = str(data["extends"])
    if base not in (*SHIPPED, "human"):
        raise UnknownNameError("skeleton to extend", base, (*SHIPPED, "human"))
    return _merged(read_shipped(base), data)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with what ``over`` says; a number said in one form (by age, of all) takes the place of other forms."""
    forms = {*FORMS} if {*FORMS} & over.keys() and {"age", "all"} & (base.keys() | over.keys()) else set()
    out = {key: value for key, value in base.items() if key not in forms}
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def at_age(value: Any, age: float, sex: Sex) -> Array:
    """A number (or list of numbers) of a skeleton file at ``age`` [years] for ``sex``.

    Plain: itself. ``{all}``: whatever sex and age. ``{f, m}``: by sex, "x" being the mean. ``{age, f, m}`` or ``{age,
    all}``: interpolated in age by piecewise cubics that keep monotony (Fritsch & Carlson 1980), constant beyond the
    ends.
    """
    if not isinstance(value, dict):
        return np.asarray(value, float)
    if unknown := value.keys() - {*FORMS, "source"}:
        raise InputError(f"a number has {', '.join(map(str, sorted(unknown)))}; possible: {', '.join(FORMS)}, source")
    if "all" in value and "age" not in value:
        return np.asarray(value["all"], float)
    if "age" in value:
        return np.asarray(_interpolated(value, age, sex))
    f, m = np.asarray(value["f"], float), np.asarray(value["m"], float)
    return {"f": f, "m": m, "x": 0.5 * (f + m)}[sex]


def _interpolated(value: dict[str, Any], age: float, sex: Sex) -> float:
    ages, y = value["age"], value.get("all")
    if y is None:
        y = at_age({"f": value["f"], "m": value["m"]}, age, sex)
    return float(_curve(tuple(ages), tuple(y))(np.clip(age, ages[0], ages[-1])))


@lru_cache(maxsize=1024)
def _curve(ages: tuple[float, ...], values: tuple[float, ...]) -> PchipInterpolator:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(ages, values)


def list_skeletons() -> dict[str, str]:
    """Names of the shipped skeletons with one line about each."""
    return {name: str(read_shipped(name)["description"]) for name in SHIPPED}
