"""A skeleton from a MuJoCo model (MJCF): bodies, joints, masses; what is simulated around them is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import q_from_mujoco
from physpose.errors import InputError
from physpose.skeleton.mjcf import HOLD_GROUP, NAME_SEPARATOR, SEAT_GROUP, SET_SEPARATOR, TOUCH_GROUP
from physpose.skeleton.model import Body, Coordinate, Hold, Joint, JointKind, KeypointSet, Point, Skeleton
from physpose.types import Array

SITE_SIGMA = 0.02  # [m] spread of a keypoint about its site: a file says nothing of it
KINDS = ("free", "ball", "slide", "hinge")  # MuJoCo's mjtJoint, in its order


def read_mjcf(path: str | Path) -> Skeleton:
    """The skeleton in an MJCF file, bodies in MuJoCo's order, standing in its initial pose.

    Body frames keep MuJoCo's axes; a body's origin moves to the point that its joints turn about. Sites named
    "set:keypoint" become keypoints, those that ``to_mjcf`` marks as contact points stay such. Damping, armature,
    springs, actuators and constraints are named in ``warnings``: the dynamics here knows none of them.
    """
    import mujoco

    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise InputError(f"{path}: not a model that MuJoCo can load ({error})") from error
    anchors = [_anchor(model, i) for i in range(model.nbody)]
    bodies = tuple(_body(model, i, anchors) for i in range(1, model.nbody))
    if not bodies:
        raise InputError(f"{path}: no body in it")
    sets, touching = _points(model, anchors)
    skeleton = Skeleton(
        name=Path(path).stem,
        bodies=bodies,
        subject=None,
        keypoint_sets=sets,
        contact_points=tuple(touching[TOUCH_GROUP]),
        seat_points=tuple(touching[SEAT_GROUP]),
        hold_points=tuple(Hold(**vars(p)) for p in touching[HOLD_GROUP]),
        scale_groups=(),
        neutral=np.zeros(0),
        warnings=tuple(_left_out(model)),
    )
    return replace(skeleton, neutral=q_from_mujoco(skeleton, np.array(model.qpos0)))


def _body(model: Any, i: int, anchors: list[Array]) -> Body:
    body = model.body(i)
    parent = int(body.parentid[0])
    R_inertia = _matrix(body.iquat)
    return Body(
        name=_name(model, i),
        parent=None if parent == 0 else _name(model, parent),
        joint=_joint(model, i, anchors[parent], anchors[i]),
        mass=float(body.mass[0]),
        com=body.ipos - anchors[i],
        inertia=R_inertia @ np.diag(body.inertia) @ R_inertia.T,
    )


def _joint(model: Any, i: int, parent_anchor: Array, anchor: Array) -> Joint:
    body, own = model.body(i), _joints(model, i)
    R = _matrix(body.quat)
    kinds = [KINDS[int(j.type[0])] for j in own]
    if kinds == ["free"]:  # its pose is absolute: the placement is only where it starts
        return Joint(name=own[0].name or f"{_name(model, i)}_joint", kind="free")
    place = {"translation": body.pos + R @ anchor - parent_anchor, "rotation": R}
    kind: JointKind = "fixed" if not own else "ball" if kinds == ["ball"] else "chain"
    if kind != "chain":
        return Joint(name=own[0].name if own else f"{_name(model, i)}_joint", kind=kind, **place)
    if {"ball", "free"} & set(kinds):
        raise InputError(
            f"body {_name(model, i)} has joints {', '.join(kinds)}; a ball joint must be a body's only one"
        )
    coordinates = tuple(_coordinate(model, j, f"{_name(model, i)}_{k}") for k, j in enumerate(own))
    return Joint(name=f"{_name(model, i)}_joint", kind="chain", coordinates=coordinates, **place)


def _coordinate(model: Any, joint: Any, name: str) -> Coordinate:
    if model.qpos0[joint.qposadr[0]] != 0:
        raise InputError(
            f"joint {joint.name or name} has ref = {model.qpos0[joint.qposadr[0]]:g}; only 0 is understood"
        )
    limited = bool(model.jnt_limited[joint.id])
    low, high = (float(x) for x in joint.range) if limited else (-np.inf, np.inf)
    kind = KINDS[int(joint.type[0])]
    return Coordinate(
        name=joint.name or name,
        axis=np.array(joint.axis),
        range=(low, high),
        kind="slide" if kind == "slide" else "hinge",
        source="MJCF",
    )


def _anchor(model: Any, i: int) -> Array:
    """The point (3,) [m] of a body, in MuJoCo's frame of it, that its joints turn about."""
    turning = [j.pos for j in _joints(model, i) if KINDS[int(j.type[0])] in ("hinge", "ball")]
    if any(np.abs(p - turning[0]).max() > 1e-9 for p in turning):
        raise InputError(f"the joints of body {_name(model, i)} turn about different points; give each its own body")
    return np.array(turning[0]) if turning else np.zeros(3)


def _points(model: Any, anchors: list[Array]) -> tuple[dict[str, KeypointSet], dict[int, list[Point]]]:
    """Keypoint sets, and the points where something touches, by their group: the model's named sites."""
    sets: dict[str, list[Point]] = {}
    found: dict[int, list[Point]] = {TOUCH_GROUP: [], SEAT_GROUP: [], HOLD_GROUP: []}
    for site in (model.site(k) for k in range(model.nsite)):
        i = int(site.bodyid[0])
        if i == 0 or not site.name:
            continue
        keypoint_set, separator, name = site.name.partition(SET_SEPARATOR)
        place = {"body": _name(model, i), "offset": site.pos - anchors[i], "source": "MJCF"}
        if separator:
            sets.setdefault(keypoint_set, []).append(Point(name=name, **place))
        elif int(site.group[0]) in found:
            found[int(site.group[0])].append(Point(name=site.name, **place))
    keypoint_sets = {name: _keypoint_set(model, name, points) for name, points in sets.items()}
    return keypoint_sets, found


def _keypoint_set(model: Any, name: str, points: list[Point]) -> KeypointSet:
    """In the order and with the spread that ``to_mjcf`` kept aside, else in the file's."""
    order, sigma = _kept_aside(model, name)
    by_name = {p.name: p for p in points}
    if sorted(order) == sorted(by_name) and len(sigma) == len(points):
        return KeypointSet(name=name, points=tuple(by_name[n] for n in order), sigma=sigma)
    return KeypointSet(name=name, points=tuple(points), sigma=np.full(len(points), SITE_SIGMA))


def _kept_aside(model: Any, name: str) -> tuple[list[str], Array]:
    import mujoco

    text = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXT, name)
    numeric = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, name)
    if text < 0 or numeric < 0:
        return [], np.zeros(0)
    first, size = int(model.text_adr[text]), int(model.text_size[text])
    start, n = int(model.numeric_adr[numeric]), int(model.numeric_size[numeric])
    order = bytes(model.text_data[first : first + size]).decode().rstrip("\0").split(NAME_SEPARATOR)
    return order, np.array(model.numeric_data[start : start + n])


def _left_out(model: Any) -> list[str]:
    found = {
        "damping": np.any(model.dof_damping),
        "armature": np.any(model.dof_armature),
        "friction loss": np.any(model.dof_frictionloss),
        "joint springs": np.any(model.jnt_stiffness),
        "actuators": model.nu,
        "equality constraints": model.neq,
        "tendons": model.ntendon,
    }
    return [f"{what} of the MJCF file left out: the dynamics here knows none" for what, n in found.items() if n]


def _joints(model: Any, i: int) -> list[Any]:
    first = int(model.body_jntadr[i])
    return [model.joint(first + k) for k in range(int(model.body_jntnum[i]))]


def _name(model: Any, i: int) -> str:
    return model.body(i).name or f"body_{i}"


def _matrix(quat: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(quat, scalar_first=True).as_matrix()
