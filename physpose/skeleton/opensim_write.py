"""A skeleton as an OpenSim model (.osim, version 4): the same masses, joints, coordinates, for OpenSim to simulate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from physpose.conventions import R_YUP_ZUP, EulerJoint, angles_of, opensim_names, to_y_up, xyz_angles
from physpose.conventions.opensim import euler_joint
from physpose.errors import InputError
from physpose.skeleton.mjcf import equal_ellipsoid
from physpose.skeleton.model import Body, Coordinate, Joint, Point, Skeleton
from physpose.skeleton.opensim_functions import write_function
from physpose.skeleton.opensim_points import OFFSET
from physpose.skeleton.opensim_xml import AXES
from physpose.skeleton.polynomials import PiecewisePolynomial, line
from physpose.types import Array

VERSION = "40000"
GRAVITY = (0.0, 0.0, -9.80665)  # [m/s^2], z up: OpenSim's own, where the skeleton knows none
MARKER_SETS = ("markers", "halpe26", "blazepose33")  # the first that the skeleton has becomes the markers
SKIN = "0.76 0.79 0.84"  # rgb


@dataclass(frozen=True, kw_only=True)
class Step:
    """One axis of a joint to write."""

    axis: Array
    slide: bool
    coordinate: str
    function: PiecewisePolynomial


def to_osim(skeleton: Skeleton) -> str:
    """OpenSim model text of a skeleton, y up.

    The pelvis hangs on the ground by a CustomJoint with OpenSim's six coordinates, every chain joint is a CustomJoint
    with one TransformAxis a coordinate. Keypoints ("markers", else a detector's) and contact points become markers;
    ellipsoids of each body's mass and inertia are for looks. Raises ``InputError`` for what a CustomJoint cannot be: a
    slide after a hinge, more than three of either.
    """
    return _Writer(skeleton).text()


def save_osim(skeleton: Skeleton, path: str | Path) -> Path:
    """Write ``to_osim`` to ``path`` at once: a reader never sees half a file."""
    path = Path(path)
    if path.suffix.lower() != ".osim":
        raise InputError(f"{path.name}: OpenSim models end in .osim")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(to_osim(skeleton), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


class _Writer:
    def __init__(self, skeleton: Skeleton):
        self.skeleton = skeleton
        self.steps = _steps(skeleton)  # of every chain joint, by its name
        self.defaults = _defaults(skeleton)
        phi = skeleton.coordinate_map
        own = skeleton.coordinates if phi is None else phi.file_coordinates
        self.coordinates = {c.name: c for c in own}
        self.used: set[str] = set()

    def text(self) -> str:
        document = ET.Element("OpenSimDocument", Version=VERSION)
        model = ET.SubElement(document, "Model", name=_name(self.skeleton.name))
        gravity = GRAVITY if self.skeleton.gravity is None else self.skeleton.gravity
        _add(model, "gravity", to_y_up(np.asarray(gravity)))
        _add(model, "length_units", "meters")
        _add(model, "force_units", "N")
        bodies, joints = _set(model, "BodySet"), _set(model, "JointSet")
        for body in self.skeleton.bodies:
            if not self._is_offset(body):
                self._body(bodies, body)
                self._joint(joints, body)
        self._as_in_file(joints)
        self._couplers(_set(model, "ConstraintSet"))
        self._markers(_set(model, "MarkerSet"))
        ET.indent(document)
        return '<?xml version="1.0" encoding="UTF-8" ?>\n' + ET.tostring(document, encoding="unicode") + "\n"

    def _as_in_file(self, joints: ET.Element) -> None:
        """Joints in the order of their coordinates, which is the order that a reader takes these in."""
        order = [_name(n) for n in (*opensim_names(self.skeleton), *self.coordinates)]
        first = {e: e.find("coordinates/Coordinate") for e in joints}
        ranks = {e: len(order) if c is None else order.index(c.get("name", "")) for e, c in first.items()}
        joints[:] = sorted(joints, key=ranks.__getitem__)

    def _is_offset(self, body: Body) -> bool:
        """A massless frame that a joint of the file needed: it is written as the frame of that joint again."""
        return body.mass == 0 and any(
            b.parent == body.name and self._offset_of(b) is body for b in self.skeleton.bodies
        )

    def _offset_of(self, body: Body) -> Body | None:
        if body.parent != f"{body.name}{OFFSET}" or body.joint.kind != "fixed":
            return None
        return self.skeleton.bodies[self.skeleton.body_index(body.parent)]

    # --- bodies -----------------------------------------------------------------------------------------------------

    def _body(self, objects: ET.Element, body: Body) -> None:
        e = ET.SubElement(objects, "Body", name=_name(body.name))
        shape = equal_ellipsoid(body)
        if shape is not None:
            frame = ET.SubElement(
                ET.SubElement(e, "components"), "PhysicalOffsetFrame", name=f"{_name(body.name)}_shape"
            )
            radii, R = shape
            geometry = ET.SubElement(ET.SubElement(frame, "attached_geometry"), "Ellipsoid", name="ellipsoid")
            _add(geometry, "socket_frame", "..")
            _add(ET.SubElement(geometry, "Appearance"), "color", SKIN)
            _add(geometry, "radii", radii)
            _placed(frame, "..", np.asarray(body.com), R)
        inertia = np.asarray(body.inertia, float)
        _add(e, "mass", [body.mass])
        _add(e, "mass_center", body.com)
        _add(e, "inertia", inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])

    # --- joints -----------------------------------------------------------------------------------------------------

    def _joint(self, objects: ET.Element, body: Body) -> None:
        offset = self._offset_of(body)
        joint, parent = (body.joint, body.parent) if offset is None else (offset.joint, offset.parent)
        p_child = np.zeros(3) if offset is None else -np.asarray(body.joint.translation)
        R, p, R_child = np.asarray(joint.rotation, float), np.asarray(joint.translation, float), np.eye(3)
        if joint.kind in ("free", "ball"):
            euler = euler_joint(self.skeleton, joint)
            steps, R_child = _euler_steps(euler), euler.R_child
            if joint.kind == "free":
                R, p, p_child = R @ euler.R_parent, p + R @ euler.p_parent, euler.p_child
            else:
                R = R @ R_child
            self.coordinates |= {s.coordinate: _coordinate(s) for s in steps}
        else:
            steps = self.steps.get(joint.name, [])
        if parent is None:
            R, p = R_YUP_ZUP @ R, R_YUP_ZUP @ p
        e = ET.SubElement(objects, "CustomJoint" if steps else "WeldJoint", name=_name(joint.name))
        _add(e, "socket_parent_frame", f"{_name(parent or 'ground')}_offset")
        _add(e, "socket_child_frame", f"{_name(body.name)}_offset")
        self._coordinates(e, steps)
        frames = ET.SubElement(e, "frames")
        for name, at, turn in ((parent, p, R), (body.name, p_child, R_child)):
            frame = ET.SubElement(frames, "PhysicalOffsetFrame", name=f"{_name(name or 'ground')}_offset")
            _placed(frame, f"/bodyset/{_name(name)}" if name else "/ground", at, turn)
        if steps:
            self._transform(e, joint, steps)

    def _coordinates(self, e: ET.Element, steps: list[Step]) -> None:
        holder = ET.SubElement(e, "coordinates")
        for name in dict.fromkeys(s.coordinate for s in steps):
            if name in self.used:
                raise InputError(f"{self.skeleton.name}: {name} moves two joints; OpenSim has each coordinate in one")
            self.used.add(name)
            c = ET.SubElement(holder, "Coordinate", name=_name(name))
            limits = np.asarray(self.coordinates[name].range, float)
            limited = bool(np.isfinite(limits).all())
            _add(c, "default_value", [self.defaults.get(name, 0.0)])
            _add(c, "range", limits if limited else [-np.pi, np.pi])
            _add(c, "clamped", str(limited).lower())

    def _transform(self, e: ET.Element, joint: Joint, steps: list[Step]) -> None:
        holder = ET.SubElement(e, "SpatialTransform")
        turns, slides = [s for s in steps if not s.slide], [s for s in steps if s.slide]
        if max(len(turns), len(slides)) > 3 or [s.slide for s in steps] != [True] * len(slides) + [False] * len(turns):
            raise InputError(
                f"{self.skeleton.name}: joint {joint.name} has {len(slides)} slides and "
                f"{len(turns)} hinges; a CustomJoint "
                "has up to three slides, then up to three hinges"
            )
        for kind, own in (("rotation", turns), ("translation", slides)):
            axes = _completed(np.array([s.axis for s in own]).reshape(-1, 3))
            for k in range(3):
                axis = ET.SubElement(holder, "TransformAxis", name=f"{kind}{k + 1}")
                assert axis.get("name") in AXES
                _add(axis, "coordinates", _name(own[k].coordinate) if k < len(own) else "")
                _add(axis, "axis", axes[k])
                f = own[k].function if k < len(own) else None
                write_function(axis, f, f"{self.skeleton.name}: joint {joint.name}")

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _couplers(self, objects: ET.Element) -> None:
        phi = self.skeleton.coordinate_map
        if phi is None:
            return
        for i, (c, f) in enumerate(zip(phi.file_coordinates, phi.couplings.functions, strict=True)):
            if c.name in phi.names or c.name not in self.used:
                continue
            e = ET.SubElement(objects, "CoordinateCouplerConstraint", name=f"{_name(c.name)}_coupler")
            holder = ET.SubElement(e, "coupled_coordinates_function")
            write_function(holder, f, f"{self.skeleton.name}: {c.name}")
            _add(e, "independent_coordinate_names", _name(phi.names[phi.couplings.source[i]]))
            _add(e, "dependent_coordinate_name", _name(c.name))

    def _markers(self, objects: ET.Element) -> None:
        chosen = next((self.skeleton.keypoint_sets[n] for n in MARKER_SETS if n in self.skeleton.keypoint_sets), None)
        points = [*(chosen.points if chosen else ()), *self.skeleton.contact_points]
        for point, name in _named(points):
            e = ET.SubElement(objects, "Marker", name=name)
            _add(e, "socket_parent_frame", f"/bodyset/{_name(point.body)}")
            _add(e, "location", point.offset)
            _add(e, "fixed", "true")


def _steps(skeleton: Skeleton) -> dict[str, list[Step]]:
    """Axes of every chain joint, each with the coordinate of the file that moves it and how."""
    phi, z, found = skeleton.coordinate_map, 0, {}
    for body in skeleton.bodies:
        own = []
        for c in body.joint.coordinates:
            name, function = c.name, line(1.0)
            if phi is not None:
                name = phi.file_coordinates[phi.joints.source[z]].name
                function = phi.joints.functions[z].scaled(float(phi.scales[z]))
            own.append(
                Step(axis=np.asarray(c.axis, float), slide=c.kind == "slide", coordinate=name, function=function)
            )
            z += 1
        found[body.joint.name] = own
    return found


def _euler_steps(euler: EulerJoint) -> list[Step]:
    axes = [*((a, False) for a in euler.turns), *((a, True) for a in euler.slides)]
    steps = [
        Step(axis=a, slide=slide, coordinate=n, function=line(float(k), float(x)))
        for (a, slide), n, k, x in zip(axes, euler.names, euler.sign, euler.offset, strict=True)
    ]
    return sorted(steps, key=lambda s: not s.slide)


def _coordinate(step: Step) -> Coordinate:
    limit = 10.0 if step.slide else 2 * np.pi
    return Coordinate(
        name=step.coordinate, axis=step.axis, range=(-limit, limit), kind="slide" if step.slide else "hinge"
    )


def _defaults(skeleton: Skeleton) -> dict[str, float]:
    """Values of the coordinates in the neutral pose."""
    values: dict[str, float] = {}
    q = skeleton.neutral
    for joint in skeleton.joints:
        own, q = q[: joint.nq], q[joint.nq :]
        if joint.kind in ("free", "ball"):
            euler = euler_joint(skeleton, joint)
            values |= dict(zip(euler.names, angles_of(own[None], euler)[0].tolist(), strict=True))
        else:
            values |= dict(zip((c.name for c in joint.coordinates), own.tolist(), strict=True))
    phi = skeleton.coordinate_map
    if phi is not None:
        s = np.array([values[n] for n in phi.names])
        values |= {n: float(x) for n, x in phi.dependents(s).items()}
    return values


def _completed(axes: Array) -> Array:
    """Three independent axes of which the first are given: what turns or slides by nothing must still have an axis."""
    for e in np.eye(3):
        if len(axes) < 3 and np.linalg.matrix_rank(np.vstack([axes, e]), tol=0.1) > len(axes):
            axes = np.vstack([axes, e])
    return axes


def _named(points: Iterable[Point]) -> Iterator[tuple[Point, str]]:
    seen: set[str] = set()
    for point in points:
        name = _name(point.name)
        while name in seen:
            name += "_point"
        seen.add(name)
        yield point, name


def _set(model: ET.Element, tag: str) -> ET.Element:
    return ET.SubElement(ET.SubElement(model, tag, name=tag.lower()), "objects")


def _placed(frame: ET.Element, parent: str, p: Array, R: Array) -> None:
    _add(frame, "socket_parent", parent)
    _add(frame, "translation", p)
    _add(frame, "orientation", xyz_angles(R))  # body-fixed x y z


def _add(parent: ET.Element, tag: str, value: str | Iterable[float]) -> None:
    text = value if isinstance(value, str) else " ".join(f"{float(x) + 0.0:.17g}" for x in value)
    ET.SubElement(parent, tag).text = text


def _name(name: str) -> str:
    """Names in OpenSim are parts of paths: no spaces, no slashes."""
    return re.sub(r"[\s/]+", "_", name)
