"""A skeleton file and a subject, put together to a ``Skeleton``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from physpose.conventions import UPRIGHT_XYZW
from physpose.skeleton.anthropometry import Proportions, for_age, proportions, segment_inertia
from physpose.skeleton.files import at_age
from physpose.skeleton.keypoint_sets import keypoint_sets
from physpose.skeleton.marker_names import REFERENCE_HEIGHT, marker_points, spread_of
from physpose.skeleton.model import Body, Coordinate, Joint, KeypointSet, Point, ScaleGroup, Skeleton, Subject
from physpose.skeleton.ranges import limit_source, soft_limits
from physpose.types import Array, Assumption

MIRROR_POINT = np.array([1.0, 1.0, -1.0])
MIRROR_AXIS = np.array([-1.0, -1.0, 1.0])  # so that the same angle is the mirrored rotation


def build_skeleton(
    data: dict[str, Any],
    subject: Subject,
    assumptions: tuple[Assumption, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Skeleton:
    """The skeleton of ``subject`` (all four known) from the contents of a skeleton file."""
    shape = proportions(data, subject.age, subject.sex)
    size = _sizes(data, shape, subject)
    bodies = tuple(_bodies(data, shape, size, subject))
    contacts = tuple(p for p, _ in _points(data["contact_points"], size, subject))
    seat = tuple(p for p, _ in _points(data["seat_points"], size, subject))
    marks = {p.name: (p, d["sigma"] * subject.height) for p, d in _points(data["landmarks"], size, subject)}
    sets = {**keypoint_sets(marks), "markers": _marker_set(data, size, subject)}
    n_coordinates = sum(b.joint.nv for b in bodies) - 6
    neutral = np.concatenate([[0, 0, -_lowest(bodies, contacts)], UPRIGHT_XYZW, np.zeros(n_coordinates)])
    return Skeleton(
        name=data["name"], bodies=bodies, subject=subject, keypoint_sets=sets, contact_points=contacts,
        seat_points=seat, scale_groups=_scale_groups(data, subject), neutral=neutral, assumptions=assumptions,
        warnings=warnings,
    )  # fmt: skip


def _sides(name: str) -> Iterator[tuple[str, bool]]:
    """A name and whether it is the mirror image: (name, False), and for a right one (left name, True)."""
    yield name, False
    if name.endswith("_r"):
        yield name[:-2] + "_l", True


def _on_side(name: str, left: bool) -> str:
    return name[:-2] + "_l" if left and name.endswith("_r") else name


def _sizes(data: dict[str, Any], shape: Proportions, subject: Subject) -> dict[str, Array]:
    """Body -> size (3,) [m]. All lengths are scaled by one factor near 1, so that sole to vertex is the height."""
    unit = {n: np.array([shape.lengths[d] for d in b["size"]]) for n, b in data["bodies"].items()}
    origin: dict[str, Array] = {}
    for name, body in data["bodies"].items():
        parent = body["parent"]
        origin[name] = origin[parent] + _at(body, subject) * unit[parent] if parent else np.zeros(3)

    def height_of(point: dict[str, Any]) -> float:
        body, offset = point["body"], at_age(point["offset"], subject.age, subject.sex)
        return float((origin[body] + offset * unit[body])[1])

    standing = height_of(data["vertex"]) - min(height_of(p) for p in data["contact_points"].values())
    return {side: u * subject.height / standing for n, u in unit.items() for side, _ in _sides(n)}


def _at(body: dict[str, Any], subject: Subject) -> Array:
    return at_age(body["joint"]["at"], subject.age, subject.sex)


def _bodies(data: dict[str, Any], shape: Proportions, size: dict[str, Array], subject: Subject) -> Iterator[Body]:
    for name, entry in data["bodies"].items():
        mass = shape.masses[name] * subject.mass
        dimension = data["inertia"][name]["length"]
        length = float(size[name][entry["size"].index(dimension)])
        inertia = segment_inertia(data, name, subject, mass, length)
        com = at_age(data["inertia"][name]["com"], subject.age, subject.sex) * size[name]
        for side, left in _sides(name):
            yield Body(
                name=side, parent=entry["parent"] and _on_side(entry["parent"], left), mass=mass, inertia=inertia,
                com=com * MIRROR_POINT if left else com, joint=_joint(data, entry, size, subject, left),
            )  # fmt: skip


def _joint(data: dict[str, Any], body: dict[str, Any], size: dict[str, Array], subject: Subject, left: bool) -> Joint:
    entry = body["joint"]
    if body["parent"] is None:
        return Joint(name=entry["name"], kind="free")
    at = _at(body, subject) * size[body["parent"]]
    return Joint(
        name=_on_side(entry["name"], left),
        kind="chain",
        coordinates=tuple(_coordinate(data, n, subject, left) for n in entry["coordinates"]),
        translation=at * MIRROR_POINT if left else at,
    )


def _coordinate(data: dict[str, Any], name: str, subject: Subject, left: bool) -> Coordinate:
    axis = np.asarray(data["coordinates"][name]["axis"], float)
    axis = axis / np.linalg.norm(axis)
    return Coordinate(
        name=_on_side(name, left),
        axis=axis * MIRROR_AXIS if left else axis,
        range=soft_limits(data, name, subject),
        source=limit_source(data, name),
    )


def _points(table: dict[str, Any], size: dict[str, Array], subject: Subject) -> Iterator[tuple[Point, dict[str, Any]]]:
    for name, entry in table.items():
        for side, left in _sides(name):
            body = _on_side(entry["body"], left)
            offset = at_age(entry["offset"], subject.age, subject.sex) * size[body]
            offset = offset * MIRROR_POINT if left else offset
            yield Point(name=side, body=body, offset=offset, source=entry["source"]), entry


def _marker_set(data: dict[str, Any], size: dict[str, Array], subject: Subject) -> KeypointSet:
    """All points where markers of motion capture are known to be put, and the joint centres."""
    points = tuple(p for p, _ in _points(marker_points(data["bodies"]), size, subject))
    spread = np.array([np.linalg.norm(spread_of(p.name)) for p in points]) / np.sqrt(3)
    return KeypointSet(name="markers", points=points, sigma=spread * subject.height / REFERENCE_HEIGHT)


def _scale_groups(data: dict[str, Any], subject: Subject) -> tuple[ScaleGroup, ...]:
    spreads = for_age(data, subject.age)["spreads"]
    return tuple(
        ScaleGroup(name=n, bodies=tuple(g["bodies"]), axes=tuple("xyz".index(a) for a in g["axes"]),
                   sigma=float(spreads[n]["value"]), source=spreads[n]["source"])
        for n, g in data["scale_groups"].items()
    )  # fmt: skip


def _lowest(bodies: tuple[Body, ...], points: tuple[Point, ...]) -> float:
    """Height [m] of the lowest of ``points`` over the pelvis' origin with all coordinates zero."""
    origin: dict[str | None, Array] = {None: np.zeros(3)}
    for b in bodies:
        origin[b.name] = origin[b.parent] + b.joint.translation
    return float(min((origin[p.body] + p.offset)[1] for p in points))
