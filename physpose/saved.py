"""A saved result read back: what ``FitResult.save`` wrote as result.npz, with the body in skeleton.xml beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError
from physpose.io.npz import read_npz
from physpose.result import FitResult
from physpose.skeleton.model import Skeleton, Subject
from physpose.types import Assumption, Camera, Contacts, Energy, FitStatus, Keypoints2D, Motion, Sigma

ARRAYS = "result.npz"
BODY, MODEL = "skeleton.xml", "skeleton.osim"
NEEDED = ("time", "q", "v", "a", "tau", "positions", "rotations", "com", "momentum", "power", "gravity", "about",
          "contact_active", "contact_force", "contact_points", "kinetic_energy", "potential_energy", "body_names",
          "coordinate_names")  # fmt: skip


def load_result(path: str | Path, skeleton: Skeleton | None = None) -> FitResult:
    """Read a folder that ``FitResult.save`` wrote, or its result.npz.

    What is not saved is not there: the detector's own 3D of the keypoints. Coordinates are in the order of the body's
    file; ``result["knee_angle_r"]`` does not care.

    Args:
        path: the folder or the .npz file.
        skeleton: the body; None: skeleton.xml beside the arrays, or skeleton.osim of one that MJCF cannot hold.

    Raises:
        InputError: no such file, not a result, a body that is not the result's, or no body at all.
    """
    file = Path(path) / ARRAYS if Path(path).is_dir() else Path(path)
    data = _arrays(file)
    about = json.loads(str(data["about"]))
    body = _body(file, data, about) if skeleton is None else skeleton
    return FitResult(
        **vars(_motion(data, body, file, about)), skeleton=body, gravity=data["gravity"], sigma=_sigma(data, body),
        camera=_camera(data), keypoints=_keypoints(data, about), source=str(about.get("source", file)),
        floor=bool(about.get("floor", True)), filmed=bool(about.get("filmed", False)),
        belt=np.asarray(about.get("belt", (0.0, 0.0, 0.0))),
        assumptions=tuple(Assumption(**a) for a in about["assumptions"]), warnings=tuple(about["warnings"]),
        status=FitStatus(**about["status"]),
    )  # fmt: skip


def is_saved_result(path: Any) -> bool:
    """Is it a path that ``load_result`` takes, whose body lies beside the arrays?"""
    if not isinstance(path, (str, Path)):
        return False
    file = Path(path) / ARRAYS if Path(path).is_dir() else Path(path)
    if file.suffix != ".npz" or not file.is_file() or not file.with_name(BODY).is_file():
        return False
    return "about" in read_npz(file, ("about",))[0]


def _arrays(file: Path) -> dict[str, Any]:
    data, _ = read_npz(file)
    missing = [name for name in NEEDED if name not in data]
    if missing:
        raise InputError(f"{file} is no saved result: it lacks {', '.join(missing)}")
    return data


def _body(file: Path, data: dict[str, Any], about: dict[str, Any]) -> Skeleton:
    from physpose.skeleton.mjcf_read import read_mjcf  # here, since it needs MuJoCo
    from physpose.skeleton.opensim import read_osim

    beside, name = file.with_name(BODY), str(about.get("skeleton", "skeleton"))
    if not beside.is_file():
        raise InputError(f"{file} has no {BODY} beside it: give the body with skeleton=")
    body, model = read_mjcf(beside), file.with_name(MODEL)
    if not _same_names(data, body) and model.is_file():  # coordinates that others depend on
        body = read_osim(model)
    if not _same_names(data, body):
        raise InputError(f"{BODY} beside {file} is not all of {name}: give its own file with skeleton=")
    body, who = replace(body, name=name), about.get("subject")
    return body if who is None else replace(body, subject=Subject(**who))


def _same_names(data: dict[str, Any], body: Skeleton) -> bool:
    """Are the arrays' bodies and coordinates those of ``body``, in whatever order?"""
    saved = (data["body_names"], data["coordinate_names"])
    own = (body.body_names, body.coordinate_names)
    return all(sorted(map(str, a)) == sorted(b) for a, b in zip(saved, own, strict=True))


def _motion(data: dict[str, Any], body: Skeleton, file: Path, about: dict[str, Any]) -> Motion:
    """The arrays in the order of ``body``'s bodies and coordinates; a saved MJCF has its own."""
    bodies = [str(n) for n in data["body_names"]]
    if not _same_names(data, body):
        raise _another_body(data, body, file)
    if body.nq != data["q"].shape[1] or body.nv != data["v"].shape[1]:
        raise InputError(f"{file} holds {data['q'].shape[1]} coordinates, {body.name} has {body.nq}")
    in_q, in_v = columns_of_q(data, body, file), _columns(data, body, body.nv)
    b = [bodies.index(n) for n in body.body_names]
    contacts = _contacts(data, body, str(about["contact_method"]))
    return Motion(
        time=data["time"], q=data["q"][:, in_q], v=data["v"][:, in_v], a=data["a"][:, in_v], tau=data["tau"][:, in_v],
        positions=data["positions"][:, b], rotations=data["rotations"][:, b], com=data["com"], contacts=contacts,
        momentum=data["momentum"], power=data["power"][:, in_v],
        energy=Energy(kinetic=data["kinetic_energy"], potential=data["potential_energy"]),
    )  # fmt: skip


def columns_of_q(data: dict[str, Any], body: Skeleton, file: Path) -> list[int]:
    """Where in the file's q (T, nq) each column of ``body``'s is, by the names in "coordinate_names".

    A body that was saved as MJCF has its coordinates in another order than the result.

    Raises:
        InputError: other coordinates than the body's, or another order where there are ball joints.
    """
    names = [str(n) for n in data["coordinate_names"]]
    if sorted(names) != sorted(body.coordinate_names) or data["q"].shape[1:] != (body.nq,):
        raise _another_body(data, body, file)
    order = [names.index(n) for n in body.coordinate_names]
    if order != sorted(order) and any(b.joint.kind == "ball" for b in body.bodies):
        raise InputError(f"{file}: the order of {body.name}'s ball joints is not the file's: give skeleton=")
    return _columns(data, body, body.nq)


def _another_body(data: dict[str, Any], body: Skeleton, file: Path) -> InputError:
    names = ", ".join(str(n) for n in data["coordinate_names"])
    return InputError(f"{file} is of another body than {body.name}: its coordinates are {names}")


def _columns(data: dict[str, Any], body: Skeleton, n: int) -> list[int]:
    """Of n columns that end with the coordinates: where each of ``body``'s is in the file."""
    names = [str(name) for name in data["coordinate_names"]]
    first = n - len(names)
    return [*range(first), *(first + names.index(name) for name in body.coordinate_names)]


def _contacts(data: dict[str, Any], body: Skeleton, method: str) -> Contacts:
    if "contact_bodies" in data:  # measured forces
        return Contacts(
            points=tuple(str(n) for n in data["contact_points"]), active=data["contact_active"],
            force=data["contact_force"], method=method, bodies=tuple(str(n) for n in data["contact_bodies"]),
            positions=data["contact_positions"], free_moment=data["contact_free_moment"],
            valid=data.get("contact_valid"),
        )  # fmt: skip
    own, order = _contact_order(data, body)
    return Contacts(
        points=own, active=data["contact_active"][:, order], force=data["contact_force"][:, order], method=method
    )


def _contact_order(data: dict[str, Any], body: Skeleton) -> tuple[tuple[str, ...], list[int]]:
    """The saved contact points in ``body``'s order, and the column of each in the file."""
    saved, possible = [str(n) for n in data["contact_points"]], tuple(p.name for p in body.support_points)
    if not {*saved} <= {*possible}:
        raise InputError(f"the saved contacts {', '.join(saved)} are not those of {body.name}: {', '.join(possible)}")
    own = tuple(n for n in possible if n in saved)
    return own, [saved.index(n) for n in own]


def _sigma(data: dict[str, Any], body: Skeleton) -> Sigma | None:
    if "sigma_q" not in data:
        return None
    v = _columns(data, body, body.nv)
    saved = [str(n) for n in data["body_names"]]
    b = [saved.index(n) for n in body.body_names]
    force = data["sigma_force"]
    if "contact_bodies" not in data:
        force = force[:, _contact_order(data, body)[1]]
    of_v = {name: data[f"sigma_{name}"][:, v] for name in ("q", "v", "a", "tau", "power")}
    energy = Energy(kinetic=data["sigma_kinetic_energy"], potential=data["sigma_potential_energy"])
    return Sigma(
        **of_v, positions=data["sigma_positions"][:, b], com=data["sigma_com"], momentum=data["sigma_momentum"],
        force=force, energy=energy,
    )  # fmt: skip


def _camera(data: dict[str, Any]) -> Camera | None:
    if "camera_R" not in data:
        return None
    w, h = data["camera_image_size"]
    u, v = data["camera_principal_point"]
    return Camera(
        image_size=(int(w), int(h)), focal=float(data["camera_focal"]), principal_point=(float(u), float(v)),
        R_camera_world=data["camera_R"], t=data["camera_t"],
    )  # fmt: skip


def _keypoints(data: dict[str, Any], about: dict[str, Any]) -> Keypoints2D | None:
    if "keypoint_set" not in about:
        return None
    size = data.get("camera_image_size")
    return Keypoints2D(
        keypoint_set=about["keypoint_set"], names=tuple(str(n) for n in data["keypoint_names"]), time=data["time"],
        uv=data["keypoint_uv"][None], confidence=data["keypoint_confidence"][None],
        image_size=None if size is None else (int(size[0]), int(size[1])), source=about["keypoint_source"],
    )  # fmt: skip
