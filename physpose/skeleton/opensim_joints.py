"""Joints of an OpenSim file as single axes in a row, or as a quaternion joint where all of it is free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from physpose.conventions.euler import EulerJoint
from physpose.errors import InputError
from physpose.skeleton.opensim_coordinates import Coordinates
from physpose.skeleton.opensim_functions import read_function
from physpose.skeleton.opensim_xml import AXES, IDENTITY, FileJoint, OsimFile, Placement
from physpose.skeleton.polynomials import PiecewisePolynomial, constant, line
from physpose.types import Array

# Axes about which each joint turns, then along which it slides (OpenSim API guide, "Joint")
SIMPLE = {
    "WeldJoint": ("", ""), "PinJoint": ("z", ""), "SliderJoint": ("", "x"), "UniversalJoint": ("xy", ""),
    "GimbalJoint": ("xyz", ""), "BallJoint": ("xyz", ""), "PlanarJoint": ("z", "xy"), "FreeJoint": ("xyz", "xyz"),
}  # fmt: skip
ORTHOGONAL = 1e-9  # on products of unit vectors


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One step of a joint: about or along ``axis`` by ``function`` of the coordinate (None: a constant)."""

    name: str
    slide: bool
    axis: Array  # (3,) unit vector
    coordinate: str | None
    function: PiecewisePolynomial
    place: tuple[int, int] = (0, 0)  # of a CustomJoint: which of its six axes, which of its coordinates


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A joint as placement, slides along axes of the parent's frame, hinges one after the other, placement."""

    before: Placement
    axes: tuple[Axis, ...]  # slides first
    after: Placement  # of the body in the frame that the last axis moves


def axes_of(file: OsimFile, joint: FileJoint) -> tuple[Axis, ...]:
    """The joint's axes, slides first. Raises ``InputError`` for one of another kind, or that lacks something."""
    if joint.kind == "CustomJoint":
        axes = [_custom_axis(file, joint, k) for k in (3, 4, 5, 0, 1, 2)]
    elif joint.kind in SIMPLE:
        axes = list(_simple_axes(file, joint))
    else:
        why = "its surface is no row of axes" if joint.kind in ("EllipsoidJoint", "ScapulothoracicJoint") else "unknown"
        known = ", ".join((*SIMPLE, "CustomJoint"))
        raise InputError(f"{file.path}: joint {joint.name!r} is a {joint.kind} ({why}); use one of {known}")
    return tuple(axes)


def _custom_axis(file: OsimFile, joint: FileJoint, k: int) -> Axis:
    a, where = joint.axes[k], f"{file.path}: joint {joint.name!r} ({AXES[k]})"
    length = np.linalg.norm(a.axis)
    if length < 1e-12:
        raise InputError(f"{where} has an axis of length zero")
    own = [c.name for c in joint.coordinates]
    if a.coordinate is not None and a.coordinate not in own:
        raise InputError(f"{where} depends on {a.coordinate!r}, no coordinate of the joint; its own: {', '.join(own)}")
    if a.coordinate is not None and a.function is None:
        raise InputError(
            f"{where} depends on {a.coordinate!r} by no function; a <LinearFunction> with 1 0 is the plain one"
        )
    try:
        f = constant(0.0) if a.function is None else read_function(a.function)
    except InputError as error:
        raise InputError(f"{where} {error}") from None
    if a.coordinate is None and f.constant is None:
        raise InputError(f"{where} has a function of no coordinate; name one in <coordinates>")
    place = (k, own.index(a.coordinate)) if a.coordinate is not None else (k, 0)
    return Axis(name=AXES[k], slide=k > 2, axis=a.axis / length, coordinate=a.coordinate, function=f, place=place)


def _simple_axes(file: OsimFile, joint: FileJoint) -> Iterator[Axis]:
    turns, slides = SIMPLE[joint.kind]
    names = [c.name for c in joint.coordinates]
    if len(names) != len(turns) + len(slides):
        needed = len(turns) + len(slides)
        raise InputError(
            f"{file.path}: joint {joint.name!r} ({joint.kind}) has {len(names)} coordinates; {needed} needed"
        )
    for k in (*range(len(turns), len(names)), *range(len(turns))):
        letter = (turns + slides)[k]
        yield Axis(
            name=names[k], slide=k >= len(turns), axis=np.eye(3)["xyz".index(letter)], coordinate=names[k],
            function=line(1.0),
        )  # fmt: skip


def is_quaternion(joint: FileJoint, axes: tuple[Axis, ...], coordinates: Coordinates, root: bool) -> bool:
    """Is it a ball, or at the root a joint of six free coordinates, about and along orthogonal axes?"""
    if joint.kind != "BallJoint" and not (root and len(axes) == 6):
        return False
    names = [a.coordinate for a in axes]
    plain = all(a.function.line is not None and abs(a.function.line[0]) == 1 for a in axes)
    if not plain or len(set(names)) < len(axes) or not set(names) <= set(coordinates.free):
        return False
    frames = [np.array([a.axis for a in axes if a.slide == slide]) for slide in (False, True)]
    return all(np.allclose(E @ E.T, np.eye(3), atol=ORTHOGONAL) for E in frames if len(E))


def euler_joint(joint: FileJoint, axes: tuple[Axis, ...], outer: Placement) -> EulerJoint:
    """How the file writes a quaternion joint; ``outer``: of the joint's frame in the parent body or in the world."""
    ordered = [a for a in axes if not a.slide] + [a for a in axes if a.slide]
    lines = np.array([a.function.line for a in ordered])
    return EulerJoint(
        joint=joint.name,
        names=tuple(str(a.coordinate) for a in ordered),
        turns=np.array([a.axis for a in axes if not a.slide]),
        slides=np.array([a.axis for a in axes if a.slide]).reshape(-1, 3),
        sign=lines[:, 0],
        offset=lines[:, 1],
        R_parent=outer.R,
        p_parent=outer.p,
        R_child=joint.in_child.R,
        p_child=joint.in_child.p,
    )


def folded(joint: FileJoint, axes: tuple[Axis, ...], coordinates: Coordinates, outer: Placement) -> Steps:
    """The joint's steps, constant ones put into the placements before and after."""
    moving: list[Axis] = []
    still = np.zeros(3)  # constant slides, in the joint's frame: they commute
    turn = np.eye(3)  # constant hinges so far, pushed behind those that move: R R(a, x) = R(R a, x) R
    for axis in axes:
        value = _held(axis, coordinates)
        if value is None:
            moving.append(axis if axis.slide else replace(axis, axis=turn @ axis.axis))
        elif axis.slide:
            still = still + value * axis.axis
        else:
            turn = turn @ _rotation(axis.axis, value)
    # R(a, x) C = C R(C^T a, x): what turns after the last axis turns all axes and the placement before them instead
    C = turn @ joint.in_child.R.T
    before = outer @ Placement(R=C, p=still)
    after = Placement(R=np.eye(3), p=-joint.in_child.p)
    if not any(not a.slide for a in moving):  # nothing turns in between: the rest moves to the front as well
        before, after = before @ after, IDENTITY
    return Steps(before=before, axes=tuple(replace(a, axis=C.T @ a.axis) for a in moving), after=after)


def _held(axis: Axis, coordinates: Coordinates) -> float | None:
    """The value of a constant axis, else None."""
    if axis.coordinate is None or axis.function.constant is not None:
        return axis.function.constant
    rule = coordinates.rules[axis.coordinate].function.constant
    return None if rule is None else float(axis.function(rule))


def _rotation(axis: Array, angle: float) -> Array:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angle * axis).as_matrix()
