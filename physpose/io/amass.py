"""Motions of SMPL bodies as AMASS keeps them (.npz): joint angles, translation, shape, frame rate.

Mahmood et al. 2019, AMASS. World z up, metres; rotation vectors in the model's axes.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import q_from_smpl
from physpose.errors import InputError
from physpose.skeleton.files import Sex
from physpose.skeleton.model import Skeleton
from physpose.skeleton.smpl import joint_names
from physpose.skeleton.smpl_file import JOINTS, TITLES, Family, same_shapes
from physpose.types import Array

RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "frame_rate", "framerate", "fps")
GENDERS: dict[str, Sex] = {"female": "f", "f": "f", "male": "m", "m": "m", "neutral": "x", "x": "x"}
MODELS = {"f": "female", "m": "male", "x": "neutral"}
BETAS_APART = 1e-3  # between the file's and the skeleton's shape
UPRIGHT = 0.9  # cosine with an axis: the median of the trunk's direction in most movements


@dataclass(frozen=True, kw_only=True)
class AmassFile:
    """What an AMASS file holds."""

    path: Path
    family: Family
    time: Array  # (T,) [s], from zero
    poses: Array  # (T, J, 3) rotation vectors [rad], the root's first, model axes
    trans: Array  # (T, 3) [m]
    betas: Array  # (n,); empty where the file has none
    sex: Sex  # whose model the betas are of


@dataclass(frozen=True, kw_only=True)
class AmassMotion:
    """The motion on a skeleton."""

    time: Array  # (T,) [s]
    q: Array  # (T, nq)
    source: str
    warnings: tuple[str, ...] = ()


def is_amass_file(path: str | os.PathLike[str]) -> bool:
    """Is it an .npz with poses and a translation in it? False for anything else, a missing file too."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"poses.npy", "trans.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_amass(path: str | os.PathLike[str]) -> AmassFile:
    """Read a motion. Nothing in it is unpickled.

    Raises:
        InputError: a missing, damaged or foreign file, a wrong number of pose parameters, values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such motion file: {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _checked(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged, or no AMASS motion ({error})") from error


def amass_motion(file: AmassFile | str | os.PathLike[str], skeleton: Skeleton, *, up: str = "z") -> AmassMotion:
    """The motion's q (T, nq) on a body model's skeleton.

    Joints that the skeleton has and the file lacks (fingers, say) stay straight, those it lacks are left out; both are
    told in ``warnings``. ``up``: the file's upward axis, "z" as in AMASS, or "y" as in the model's own frame.

    Raises:
        InputError: the skeleton is no body model, or the file cannot be used.
    """
    file = file if isinstance(file, AmassFile) else read_amass(file)
    if skeleton.skin is None:
        raise InputError(f"{file.path} moves a {TITLES[file.family]} body, {skeleton.name} is none: use its model file")
    poses, notes = _on_joints(file, skeleton)
    q = q_from_smpl(poses, file.trans, skeleton.skin.root_at, up=up)
    notes = (*notes, *_shape_note(file, skeleton), *_upward_note(file, up))
    return AmassMotion(time=file.time, q=q, source=str(file.path), warnings=notes)


# --- reading --------------------------------------------------------------------------------------------------------


def _checked(path: Path, archive: Any) -> AmassFile:
    held = set(archive.files)
    missing = [key for key in ("poses", "trans") if key not in held]
    if missing:
        raise InputError(f"{path}: no AMASS motion: it lacks {', '.join(missing)} (it has {', '.join(sorted(held))})")
    poses, trans = _finite(path, "poses", archive["poses"]), _finite(path, "trans", archive["trans"])
    T = len(poses) if poses.ndim else 0
    if T == 0 or trans.shape != (T, 3):
        raise InputError(f"{path}: poses of {T} frames, trans of shape {trans.shape}; ({T}, 3) is needed, T > 0")
    poses = poses.reshape(T, -1)
    if poses.shape[1] % 3 or poses.shape[1] // 3 not in JOINTS:
        known = ", ".join(f"{3 * n} ({TITLES[f]})" for n, f in JOINTS.items())
        raise InputError(f"{path}: {poses.shape[1]} pose parameters a frame; possible: {known}")
    rate = _rate(path, archive, held)
    return AmassFile(
        path=path,
        family=JOINTS[poses.shape[1] // 3],
        time=np.arange(T) / rate,
        poses=poses.reshape(T, -1, 3),
        trans=trans,
        betas=_finite(path, "betas", archive["betas"]).ravel() if "betas" in held else np.zeros(0),
        sex=_sex(archive, held),
    )


def _finite(path: Path, key: str, value: Any) -> Array:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {key} cannot be read as numbers ({error})") from error
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{path}: {key} is not finite at {first} (frame first)")
    return array


def _rate(path: Path, archive: Any, held: set[str]) -> float:
    key = next((k for k in RATE_KEYS if k in held), None)
    if key is None:
        raise InputError(f"{path}: no frame rate in it ({' or '.join(RATE_KEYS)}); add one to the file [1/s]")
    rate = float(np.asarray(archive[key], float).ravel()[0])
    if not (np.isfinite(rate) and rate > 0):
        raise InputError(f"{path}: {key} is {rate}; frames per second are needed")
    return rate


def _sex(archive: Any, held: set[str]) -> Sex:
    if "gender" not in held:
        return "x"
    gender = archive["gender"]
    word = gender.item() if gender.shape == () else gender.ravel()[0]
    word = word.decode() if isinstance(word, bytes) else str(word)
    return GENDERS.get(word.strip().lower(), "x")


# --- onto the skeleton ----------------------------------------------------------------------------------------------


def _on_joints(file: AmassFile, skeleton: Skeleton) -> tuple[Array, tuple[str, ...]]:
    """poses (T, J, 3) in the skeleton's order, and what was left out or kept straight."""
    given = joint_names(file.family)
    poses = np.zeros((len(file.time), len(skeleton.bodies), 3))
    for i, name in enumerate(skeleton.body_names):
        if name in given:
            poses[:, i] = file.poses[:, given.index(name)]
    left_out = [n for k, n in enumerate(given) if n not in skeleton.body_names and file.poses[:, k].any()]
    straight = [n for n in skeleton.body_names if n not in given]
    notes = []
    if left_out:
        notes.append(
            f"{len(left_out)} joints of {file.path.name} that {skeleton.name} lacks are left out: {_few(left_out)}"
        )
    if straight:
        notes.append(
            f"{len(straight)} joints of {skeleton.name} that {file.path.name} lacks stay straight: {_few(straight)}"
        )
    return poses, tuple(notes)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _shape_note(file: AmassFile, skeleton: Skeleton) -> tuple[str, ...]:
    """Warnings where the skeleton is not shaped as the body that moved."""
    assert skeleton.skin is not None
    if len(file.betas) == 0:
        return ()
    name, theirs, ours = file.path.name, file.betas, skeleton.skin.betas
    if not same_shapes(file.family, JOINTS[len(skeleton.bodies)]):
        return (
            f"the skeleton's shape is not that of {name}: its betas are {TITLES[file.family]}'s, which mean another "
            f"body to {TITLES[JOINTS[len(skeleton.bodies)]]}; give height= or this model's own betas",
        )
    notes = []
    n = max(len(theirs), len(ours))
    if np.abs(np.pad(theirs, (0, n - len(theirs))) - np.pad(ours, (0, n - len(ours)))).max() > BETAS_APART:
        cut = 0 < len(ours) < len(theirs) and np.abs(theirs[: len(ours)] - ours).max() <= BETAS_APART
        notes.append(
            f"the skeleton's shape has {len(ours)} of the {len(theirs)} betas of {name}, the rest are left out" if cut
            else f"the skeleton's shape is not that of {name}: load it with betas=read_amass(...).betas"
        )  # fmt: skip
    sex = skeleton.subject.sex if skeleton.subject else file.sex
    if sex != file.sex:
        notes.append(
            f"the skeleton's shape is not that of {name}: its betas are of the {MODELS[file.sex]} model, the skeleton "
            f"is of the {MODELS[sex]} one; take the other file, or say sex={file.sex!r} if its name misleads"
        )
    return tuple(notes)


def _upward_note(file: AmassFile, up: str) -> tuple[str, ...]:
    """A warning where the trunk points along the other axis most of the time."""
    from scipy.spatial.transform import Rotation

    trunk = np.median(Rotation.from_rotvec(file.poses[:, 0]).apply([0.0, 1.0, 0.0]), axis=0)
    other = {"z": "y", "y": "z"}[up]
    if trunk["xyz".index(other)] < UPRIGHT:
        return ()
    remedy = f"then read it by amass_motion(..., up={other!r})"
    return (f"the trunk points along {other} in {file.path.name}: is {other} up there? {remedy}",)
