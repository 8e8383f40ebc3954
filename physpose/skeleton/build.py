"""The numbers of a skeleton file for one subject, put together to a ``Skeleton``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from physpose.skeleton.keypoint_sets import keypoint_sets
from physpose.skeleton.model import Body, Coordinate, Joint, Point, ScaleGroup, Skeleton, Subject
from physpose.types import Array, Assumption

# body x forward -> world x, body y up -> world z, body z right -> world -y: a quarter turn about x
UPRIGHT_XYZW = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])
MIRROR_POINT = np.array([1.0, 1.0, -1.0])
MIRROR_AXIS = np.array([-1.0, -1.0, 1.0])


def build_skeleton(data: dict[str, Any], subject: Subject, assumptions: tuple[Assumption, ...] = ()) -> Skeleton:
    """The skeleton of ``subject`` from the contents of a skeleton file."""
    size = _sizes(data, subject)
    bodies = _bodies(data, subject, size)
    landmarks = {n: (p, float(d["sigma"]) * subject.height) for n, p, d in _points(data["landmarks"], size)}
    contacts = tuple(p for _, p, _ in _points(data["contact_points"], size))
    axes = {"x": 0, "y": 1, "z": 2}
    groups = tuple(
        ScaleGroup(name=n, bodies=tuple(g["bodies"]), axes=tuple(axes[a] for a in g["axes"]),
                   sigma=float(g["sigma"]), source=str(g["source"]))
        for n, g in data["scale_groups"].items()
    )  # fmt: skip
    skeleton = Skeleton(name=data["name"], bodies=bodies, subject=subject, keypoint_sets=keypoint_sets(landmarks),
                        contact_points=contacts, scale_groups=groups, neutral=np.zeros(0), assumptions=assumptions)  # fmt: skip
    return replace(skeleton, neutral=_neutral(skeleton))


def _value(value: Any, sex: str) -> Array:
    if isinstance(value, dict):
        f, m = np.asarray(value["f"], float), np.asarray(value["m"], float)
        return {"f": f, "m": m, "x": 0.5 * (f + m)}[sex]
    return np.asarray(value, float)


def _sides(name: str, *names: str) -> list[str]:
    return [name, name[:-2] + "_l"] if name.endswith("_r") else [name]


def _to_side(name: str, side: str) -> str:
    return name[:-2] + side[-2:] if name.endswith("_r") else name


def _sizes(data: dict[str, Any], subject: Subject) -> dict[str, Array]:
    lengths = {n: float(_value(d, subject.sex)) for n, d in data["dimensions"].items()}
    b = data["bodies"]
    up = lengths["ankle_height"] + lengths["shank"] + lengths["thigh"]
    y_hip = float(b["femur_r"]["joint"]["at"][1])
    lumbar = float(b["torso"]["joint"]["at"][1])
    total = up + (lumbar - y_hip) * lengths["pelvis_height"] + lengths["torso"] + lengths["head"]
    sizes = {}
    for name, body in b.items():
        for side in _sides(name):
            sizes[side] = np.array([lengths[d] for d in body["size"]]) * subject.height / total
    return sizes


def _bodies(data: dict[str, Any], subject: Subject, size: dict[str, Array]) -> tuple[Body, ...]:
    bodies = []
    total = sum(float(_value(i["mass"], subject.sex)) * len(_sides(n)) for n, i in data["inertia"].items())
    for name, body in data["bodies"].items():
        for side in _sides(name):
            flip = side.endswith("_l")
            parent = body["parent"] and _to_side(body["parent"], side)
            inertia = data["inertia"][name]
            mass = float(_value(inertia["mass"], subject.sex)) * subject.mass / total
            index = list(data["bodies"][name]["size"]).index(inertia["length"]) if inertia["length"] in body["size"] else 0
            radii = _value(inertia["gyration"], subject.sex) * size[side][index]
            com = _value(inertia["com"], subject.sex) * size[side] * (MIRROR_POINT if flip else 1)
            bodies.append(Body(name=side, parent=parent, joint=_joint(data, body["joint"], side, size, parent),
                               mass=mass, com=com, inertia=np.diag(mass * radii**2)))  # fmt: skip
    return tuple(bodies)


def _joint(data: dict[str, Any], joint: dict[str, Any], side: str, size: dict[str, Array], parent: str | None) -> Joint:
    if parent is None:
        return Joint(name=joint["name"], kind="free")
    flip = side.endswith("_l")
    at = np.asarray(joint["at"], float) * size[parent] * (MIRROR_POINT if flip else 1)
    coordinates = []
    for n in joint["coordinates"]:
        c = data["coordinates"][n]
        axis = np.asarray(c["axis"], float) * (MIRROR_AXIS if flip else 1)
        low, high = np.deg2rad(c["range"])
        coordinates.append(Coordinate(name=_to_side(n, side), axis=axis / np.linalg.norm(axis),
                                      range=(float(low), float(high)), source=str(c["source"])))  # fmt: skip
    return Joint(name=_to_side(joint["name"], side), kind="chain", coordinates=tuple(coordinates), translation=at)


def _points(table: dict[str, Any], size: dict[str, Array]) -> list[tuple[str, Point, dict[str, Any]]]:
    points = []
    for name, d in table.items():
        for side in _sides(name):
            body = _to_side(d["body"], side)
            offset = np.asarray(d["offset"], float) * size[body] * (MIRROR_POINT if side.endswith("_l") else 1)
            points.append((side, Point(name=side, body=body, offset=offset, source=str(d.get("source", "unverified"))), d))
    return points


def _neutral(skeleton: Skeleton) -> Array:
    """Coordinates zero, upright, the lowest contact point of the feet at z = 0."""
    origin: dict[str, Array] = {}
    for body in skeleton.bodies:
        origin[body.name] = origin[body.parent] + body.joint.translation if body.parent else np.zeros(3)
    lowest = min((origin[p.body] + p.offset)[1] for p in skeleton.contact_points)
    return np.concatenate([[0.0, 0.0, -lowest], UPRIGHT_XYZW, np.zeros(len(skeleton.coordinate_names))])
