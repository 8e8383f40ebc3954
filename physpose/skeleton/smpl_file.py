"""Files of the SMPL family of body models, as their makers give them out: .npz, and .pkl if the user allows it.

Nothing is unpickled unasked, and even then only arrays: no name in the file but those of ``_ALLOWED`` is looked up, so
no code of its own can run.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError
from physpose.skeleton.files import Sex
from physpose.types import Array

SEX_WORDS: dict[Sex, set[str]] = {"f": {"female", "f"}, "m": {"male", "m"}, "x": {"neutral"}}
FilePath = str | os.PathLike[str]
Family = Literal["smpl", "smplh", "smplx"]
FAMILIES: tuple[Family, ...] = ("smpl", "smplh", "smplx")
JOINTS: dict[int, Family] = {24: "smpl", 52: "smplh", 55: "smplx"}
RELATIVES = {16: "MANO, a hand", 5: "FLAME, a head", 33: "SMAL, an animal", 35: "SMAL, an animal"}
TITLES = {"smpl": "SMPL", "smplh": "SMPL-H", "smplx": "SMPL-X"}
KEYS = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
SMPLX_SHAPES = 300  # of the 400 directions in a full SMPL-X file; the rest are expressions
SMPLX_SHAPES_SHORT = 10  # of the 20 in a short one

WHERE = (
    "The models come from their makers after registration: SMPL https://smpl.is.tue.mpg.de, SMPL-H "
    "https://mano.is.tue.mpg.de, SMPL-X https://smpl-x.is.tue.mpg.de; free for non-commercial research under their "
    "licence, else by Meshcapade (https://meshcapade.com). physpose carries none of them."
)
CONVERT = (
    "load_skeleton(..., allow_pickle=True) reads its arrays, and nothing else in it; or keep them once as .npz: "
    "numpy.savez(name, **{key: numpy.asarray(value) for each of " + ", ".join(KEYS) + "})"
)


@dataclass(frozen=True, kw_only=True)
class SmplFile:
    """What of a model file makes a skeleton; the model's own frame: y up, z forward, x to the left [m]."""

    family: Family
    path: Path
    v_template: Array  # (V, 3) [m]
    shapedirs: Array  # (V, 3, n) [m] per unit of beta, without expressions
    J_regressor: Array  # (J, V)
    weights: Array  # (V, J), rows sum to one
    parents: tuple[int, ...]  # (J,) -1 for the root
    faces: NDArray[np.int64]  # (F, 3)


def read_smpl_file(path: FilePath, *, family: str | None = None, allow_pickle: bool = False) -> SmplFile:
    """Read and check a model file.

    Args:
        path: .npz or .pkl.
        family: "smpl", "smplh" or "smplx" if it must be that one; None: whatever the file holds.
        allow_pickle: may the file's pickled parts be read? Only arrays are, see above.

    Raises:
        InputError: a missing, pickled, truncated or foreign file; the message says what to do.
    """
    path = Path(path)
    if path.is_dir():
        found = ", ".join(sorted(p.name for p in path.iterdir() if p.suffix in (".npz", ".pkl"))) or "none"
        raise InputError(f"{path} is a folder; name one model file in it (.npz or .pkl there: {found})")
    if not path.is_file():
        raise InputError(f"no such body model file: {path}. {WHERE}")
    reader = {".npz": _read_npz, ".pkl": _read_pkl}.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: body model files end in .npz or .pkl. {WHERE}")
    try:
        arrays = reader(path, allow_pickle)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: truncated, or no body model file ({error}). {WHERE}") from error
    return _checked(path, arrays, family)


def is_smpl_file(path: FilePath) -> bool:
    """Does the name look like a body model's (.npz, .pkl)?"""
    return Path(path).suffix.lower() in (".npz", ".pkl")


def same_shapes(one: Family, other: Family) -> bool:
    """Do the same betas give the same shape? SMPL-H has SMPL's, SMPL-X its own."""
    return (one == "smplx") == (other == "smplx")


def sex_in_path(path: Path) -> Sex | None:
    """By the name of the file or its folder, as the makers name them: SMPLX_FEMALE.npz, smplh/male/model.npz."""
    for part in (path.stem, path.parent.name):
        words = set(part.lower().replace("-", "_").split("_"))
        found: list[Sex] = [sex for sex, keys in SEX_WORDS.items() if keys & words]
        if found:
            return found[0]
    return None


# --- reading --------------------------------------------------------------------------------------------------------


def _read_npz(path: Path, allow_pickle: bool) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        names = {n.removesuffix(".npy") for n in archive.namelist()}
        _check_keys(path, names)
        return {key: _read_npy(path, key, archive.open(f"{key}.npy"), allow_pickle) for key in KEYS}


def _read_npy(path: Path, key: str, file: IO[bytes], allow_pickle: bool) -> Any:
    content = io.BytesIO(file.read())
    version = np.lib.format.read_magic(content)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(content)
    if not dtype.hasobject:
        content.seek(0)
        return np.lib.format.read_array(content, allow_pickle=False)
    if not allow_pickle:
        raise InputError(f"{path}: {key!r} in it is pickled, and unpickling can run a file's code; {CONVERT}. {WHERE}")
    value = _ArraysOnly(content, encoding="latin1").load()
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value


def _read_pkl(path: Path, allow_pickle: bool) -> dict[str, Any]:
    if not allow_pickle:
        raise InputError(f"{path} is pickled, and unpickling can run a file's code; {CONVERT}. {WHERE}")
    with open(path, "rb") as file:
        data = _ArraysOnly(file, encoding="latin1").load()
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a body model: it holds a {type(data).__name__}, not named arrays. {WHERE}")
    _check_keys(path, set(data))
    return {key: data[key] for key in KEYS}


class _Kept:
    """Stands for an object of a package that need not be installed: keeps its state, runs none of its code."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class _Chumpy(_Kept):
    """chumpy.Ch: a constant's value is its "x"; chumpy.reordering.Select takes entries "idxs" of its "a"."""


class _Sparse(_Kept):
    """scipy.sparse's compressed columns."""


_ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"),
    *((m, f) for m in ("numpy.core.multiarray", "numpy._core.multiarray") for f in ("_reconstruct", "scalar")),
    ("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"), ("__builtin__", "object"), ("builtins", "object"),
    ("_codecs", "encode"),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csc_array"):
            return _Sparse
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no body model needs")


def _plain(value: Any) -> Any:
    """A numpy array of whatever the file held."""
    if isinstance(value, _Sparse):
        from scipy.sparse import csc_matrix

        s = value.state
        parts = (s["data"], s["indices"], s["indptr"])
        return csc_matrix(parts, shape=s.get("_shape", s.get("shape"))).toarray()
    if isinstance(value, _Chumpy):
        if "x" in value.state:
            return _plain(value.state["x"])
        if {"a", "idxs"} <= set(value.state):
            picked = _plain(value.state["a"]).ravel()[np.asarray(_plain(value.state["idxs"]), int)]
            return picked.reshape(value.state.get("preferred_shape", picked.shape))
        raise InputError(f"a chumpy expression of {', '.join(value.state) or 'nothing'}")
    return np.asarray(value)


# --- checking -------------------------------------------------------------------------------------------------------


def _check_keys(path: Path, found: set[str]) -> None:
    missing = [key for key in KEYS if key not in found]
    if not missing:
        return
    if {"poses", "trans"} <= found:
        raise InputError(f"{path} is a motion (AMASS), not a body model: it lacks {', '.join(missing)}. {WHERE}")
    held = ", ".join(sorted(found)[:8]) or "nothing"
    raise InputError(f"{path}: not a whole body model: it lacks {', '.join(missing)} (it has {held}). {WHERE}")


def _checked(path: Path, raw: dict[str, Any], wanted: str | None) -> SmplFile:
    arrays = {key: _numbers(path, key, value) for key, value in raw.items()}
    V, J = len(arrays["v_template"]), arrays["weights"].shape[-1]
    family = _family(path, J, wanted)
    if arrays["shapedirs"].ndim == 2:
        arrays["shapedirs"] = arrays["shapedirs"][..., None]
    n = arrays["shapedirs"].shape[-1]
    shapes = {
        "v_template": (V, 3), "shapedirs": (V, 3, n), "J_regressor": (J, V), "weights": (V, J),
        "kintree_table": (2, J), "f": (len(arrays["f"]), 3),
    }  # fmt: skip
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise InputError(f"{path}: {key} has shape {arrays[key].shape}, {shape} is needed: a damaged file?")
    faces = arrays["f"].astype(np.int64)
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= V:
        raise InputError(f"{path}: faces name vertices up to {faces.max(initial=0)}, there are {V}: a damaged file?")
    if not np.allclose(arrays["weights"].sum(1), 1, atol=1e-3):
        raise InputError(f"{path}: the skinning weights of some vertices do not sum to one: a damaged file?")
    n_shapes = n if family != "smplx" else SMPLX_SHAPES if n > SMPLX_SHAPES else min(n, SMPLX_SHAPES_SHORT)
    return SmplFile(
        family=family, path=path, v_template=arrays["v_template"], shapedirs=arrays["shapedirs"][..., :n_shapes],
        J_regressor=arrays["J_regressor"], weights=arrays["weights"], parents=_parents(path, arrays["kintree_table"]),
        faces=faces,
    )  # fmt: skip


def _numbers(path: Path, key: str, value: Any) -> Array:
    try:
        array = np.asarray(_plain(value), float)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: {key} cannot be read as numbers ({error})") from error
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {key} holds values that are not finite: a damaged file?")
    return array


def _family(path: Path, joints: int, wanted: str | None) -> Family:
    if joints not in JOINTS:
        what = RELATIVES.get(joints, f"a model of {joints} joints")
        known = ", ".join(f"{TITLES[f]} ({n})" for n, f in JOINTS.items())
        raise InputError(f"{path} is {what}; bodies are {known}. {WHERE}")
    if wanted is not None and JOINTS[joints] != wanted:
        found = JOINTS[joints]
        raise InputError(f"{path} is {TITLES[found]} ({joints} joints), not {TITLES[wanted]}: say {found!r}. {WHERE}")
    return JOINTS[joints]


def _parents(path: Path, table: Array) -> tuple[int, ...]:
    parents = (-1, *(int(p) for p in table[0, 1:]))  # the root's own is 2^32 - 1
    for i, parent in enumerate(parents[1:], 1):
        if not 0 <= parent < i:
            raise InputError(f"{path}: joint {i} has parent {parent}, which does not come before it: a damaged file?")
    return parents
