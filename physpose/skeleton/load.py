"""Skeletons by name or file for a subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from physpose.errors import InputError, SubjectError
from physpose.skeleton.build import build_skeleton
from physpose.skeleton.files import SHIPPED, check_used, read_skeleton_file
from physpose.skeleton.model import Skeleton
from physpose.skeleton.smpl_file import FAMILIES, WHERE, is_smpl_file
from physpose.skeleton.subject import complete_subject


def load_skeleton(
    name: str | os.PathLike[str] = "adult",
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    model: str | os.PathLike[str] | None = None,
    betas: ArrayLike | None = None,
    kid_template: str | os.PathLike[str] | None = None,
    allow_pickle: bool = False,
) -> Skeleton:
    """The skeleton of a subject, standing in ``Skeleton.neutral``.

    What is given of the person is used; what is missing is filled from growth tables and surveys and listed, with its
    source, in ``Skeleton.assumptions``; what is unusual is told in ``Skeleton.warnings``.

    Args:
        name: "adult", "child", "infant"; a .yaml file of the same form; an MJCF (.xml) or OpenSim (.osim) file, whose
            body is taken as it is; "smpl", "smplh" or "smplx", or the file of such a body model (extra "smpl").
        age: [years].
        sex: "f" or "female", "m" or "male", or "x", the mean of both.
        height: [m]; of a body model without ``betas``: the most probable body of that height.
        mass: [kg]; of a body model it scales the segments' densities.
        model: your own licensed file (.npz, .pkl) of the body model that is named. See ``physpose.skeleton.smpl``.
        betas: a body model's shape parameters.
        kid_template: the infant's template (.npy), whose share is then the last of ``betas``.
        allow_pickle: may pickled parts of a body model's file be read? Only arrays are.

    Raises:
        SubjectError: what no person has, or what contradicts itself.
        UnknownNameError: an unknown name.
        InputError: a file that cannot be used.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(f"a skeleton's name or file is needed; {type(name).__name__} given")
    if str(name) in FAMILIES or is_smpl_file(name):
        path = _model_path(str(name), model)
        from physpose.skeleton.smpl import load_smpl  # here, since it needs smplx and trimesh

        return load_smpl(
            path, family=str(name) if str(name) in FAMILIES else None, betas=betas, kid_template=kid_template,
            age=age, sex=sex, height=height, mass=mass, allow_pickle=allow_pickle,
        )  # fmt: skip
    if model is not None or betas is not None or kid_template is not None:
        raise InputError(f"{name} is no body model; model=, betas=, kid_template= go with {', '.join(FAMILIES)}")
    if Path(name).suffix in (".xml", ".osim"):
        return _from_file(Path(name), age=age, sex=sex, height=height, mass=mass)
    data: dict[str, Any] = read_skeleton_file(name)
    try:
        check_used(data)
        subject, assumptions, warnings = complete_subject(data, age=age, sex=sex, height=height, mass=mass)
        return build_skeleton(data, subject, assumptions, warnings)
    except (KeyError, TypeError, AttributeError) as error:
        if str(name) in SHIPPED:
            raise
        # a file of the user's own may lack or misplace anything
        raise InputError(f"{name}: incomplete or misplaced entry ({type(error).__name__}: {error})") from error


def refuse_description(**who: float | str | None) -> None:
    """Refuse age, sex, height, mass beside a loaded skeleton, whose sizes and masses are its own."""
    given = [name for name, value in who.items() if value is not None]
    if given:
        raise SubjectError(f"a loaded skeleton or a result has its own sizes and masses; leave out {', '.join(given)}")


def _model_path(name: str, model: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    if name not in FAMILIES:
        if model is not None:
            raise InputError(f"{name} is a file itself; give model= with {', '.join(FAMILIES)} only")
        return name
    if model is None:
        raise InputError(
            f"skeleton {name!r} needs model=, the path to your own model file (.npz, .pkl), or that path as its name. "
            f"{WHERE}"
        )
    return model


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
