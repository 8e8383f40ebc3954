"""A skeleton from an OpenSim model (.osim): exact kinematics and inertia; muscles and other forces are left out.

Every joint becomes single axes in a row, slides first as OpenSim has them, each moved by a function of one coordinate
(``CoordinateMap``); the joint between the ground and the pelvis becomes the free root wherever it has six coordinates
of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from physpose.conventions import R_YUP_ZUP, EulerJoint, pose_of, to_z_up
from physpose.errors import InputError
from physpose.skeleton.coordinate_map import CoordinateMap, Layer
from physpose.skeleton.model import Body, Coordinate, Joint, Skeleton
from physpose.skeleton.opensim_coordinates import sort_coordinates
from physpose.skeleton.opensim_joints import Axis, axes_of, euler_joint, folded, is_quaternion
from physpose.skeleton.opensim_points import OFFSET, contact_points, marker_set, scale_groups
from physpose.skeleton.opensim_xml import GROUND, FileBody, FileJoint, OsimFile, Placement, read_osim_file
from physpose.skeleton.pose import neutral_pose
from physpose.types import Array

WORLD_GROUND = Placement(R=R_YUP_ZUP.T, p=np.zeros(3))


def read_osim(path: str | Path, *, free: Collection[str] = (), hold: Mapping[str, float] | None = None) -> Skeleton:
    """The skeleton in an OpenSim model file of any version, in its default pose.

    Body frames, masses and inertias are the file's; the world is z up. Coordinates keep their names, signs and zero.
    Locked coordinates, and prescribed ones with a constant, are held; coupled ones follow theirs. ``free``: names of
    such coordinates to leave free all the same; ``hold``: coordinates to hold at a value [rad; m] instead.

    Markers become the keypoint set "markers"; contact spheres contact points. What is left out is told in ``warnings``.
    """
    return _Builder(read_osim_file(path), free, hold or {}).build()


class _Builder:
    """Bodies, and beside them the functions of their joints' coordinates."""

    def __init__(self, file: OsimFile, free: Collection[str], hold: Mapping[str, float]):
        self.file = file
        self.coordinates = sort_coordinates(file, free, hold)
        self.bodies: list[Body] = []
        self.euler: list[EulerJoint] = []
        self.axes: list[Axis] = []  # of all chain joints, in the order of the bodies
        self.axes_of_file: list[Axis] = []  # constant ones too

    def build(self) -> Skeleton:
        by_name = {b.name: b for b in self.file.bodies}
        for joint in _parents_first(self.file):
            self._add(joint, by_name[joint.child])
        phi = self._map()
        skeleton = Skeleton(
            name=self.file.name,
            bodies=tuple(self.bodies),
            subject=None,
            keypoint_sets={"markers": marker_set(self.file)} if self.file.markers else {},
            contact_points=(),
            scale_groups=scale_groups(tuple(b.name for b in self.bodies)),
            neutral=self._neutral(phi),
            warnings=self._warnings(),
            coordinate_map=phi,
            euler_joints=tuple(self.euler),
            gravity=to_z_up(self.file.gravity),
        )
        return _standing(self.file, skeleton)

    # --- bodies and joints ------------------------------------------------------------------------------------------

    def _add(self, joint: FileJoint, body: FileBody) -> None:
        root = joint.parent == GROUND
        parent = None if root else joint.parent
        outer = WORLD_GROUND @ joint.in_parent if root else joint.in_parent
        axes = axes_of(self.file, joint)
        self.axes_of_file += axes
        first = root and not any(b.joint.kind == "free" for b in self.bodies)
        if is_quaternion(joint, axes, self.coordinates, first):
            self._add_quaternion(joint, body, parent, axes, outer)
            return
        steps = folded(joint, axes, self.coordinates, outer)
        own = tuple(self._z(joint, a) for a in steps.axes)
        moving = Joint(
            name=joint.name, kind="chain" if own else "fixed", coordinates=own, translation=steps.before.p,
            rotation=steps.before.R,
        )  # fmt: skip
        self.axes += steps.axes
        self._add_body(joint, body, parent, moving, steps.after)

    def _add_quaternion(
        self, joint: FileJoint, body: FileBody, parent: str | None, axes: tuple[Axis, ...], outer: Placement
    ) -> None:
        self.euler.append(euler_joint(joint, axes, outer))
        if len(axes) == 6:
            self.bodies.append(_body(body, parent, Joint(name=joint.name, kind="free")))
            return
        # R_parent R_angles R_child^T = (R_parent R_child^T) (R_child R_angles R_child^T)
        moving = Joint(name=joint.name, kind="ball", translation=outer.p, rotation=outer.R @ joint.in_child.R.T)
        self._add_body(joint, body, parent, moving, Placement(R=np.eye(3), p=-joint.in_child.p))

    def _add_body(self, joint: FileJoint, body: FileBody, parent: str | None, moving: Joint, after: Placement) -> None:
        """The body at its joint, with a massless frame in between where its origin lies elsewhere."""
        if np.any(after.p):
            frame = f"{joint.child}{OFFSET}"
            if any(b.name == frame for b in self.file.bodies):
                raise InputError(f"{self.file.path}: body {frame!r} has the name of the joint's frame; rename it")
            self.bodies.append(_massless(frame, parent, moving))
            parent, moving = frame, Joint(name=f"{frame}_weld", kind="fixed", translation=after.p)
        self.bodies.append(_body(body, parent, moving))

    def _z(self, joint: FileJoint, axis: Axis) -> Coordinate:
        plain = axis.coordinate in self.coordinates.free and axis.function.line == (1.0, 0.0)
        name = str(axis.coordinate) if plain else f"{joint.name}.{axis.name}"
        return Coordinate(
            name=name, axis=axis.axis, range=(-np.inf, np.inf), kind="slide" if axis.slide else "hinge",
            source="OpenSim",
        )  # fmt: skip

    # --- coordinates ------------------------------------------------------------------------------------------------

    def _map(self) -> CoordinateMap:
        rules, of_root = self.coordinates.rules, {n for e in self.euler for n in e.names}
        names = tuple(n for n in self.coordinates.free if n not in of_root)
        x_names = tuple(n for n in rules if n not in of_root)
        column = {n: i for i, n in enumerate(names)}
        return CoordinateMap(
            coordinates=tuple(self._coordinate(n) for n in names),
            file_coordinates=tuple(self._coordinate(n) for n in x_names),
            couplings=Layer(
                source=tuple(column.get(rules[n].source or "", 0) for n in x_names),
                functions=tuple(rules[n].function for n in x_names),
            ),
            joints=Layer(
                source=tuple(x_names.index(str(a.coordinate)) for a in self.axes),
                functions=tuple(a.function for a in self.axes),
            ),
            places=tuple(a.place for a in self.axes),
        )

    def _coordinate(self, name: str) -> Coordinate:
        """What the user sees: the axis is that of the first joint axis that it moves."""
        c = self.coordinates.by_name[name]
        moved = [a for a in self.axes_of_file if a.coordinate == name]
        turns = [a for a in moved if not a.slide]
        first = next(iter(turns or moved), None)
        return Coordinate(
            name=name,
            axis=np.zeros(3) if first is None else first.axis,
            range=c.range if c.clamped else (-np.inf, np.inf),
            kind="hinge" if turns else "slide",
            source="OpenSim",
        )

    def _neutral(self, phi: CoordinateMap) -> Array:
        by_name = self.coordinates.by_name
        parts = [pose_of(np.array([[by_name[n].default for n in e.names]]), e)[0] for e in self.euler]
        return np.concatenate([*parts, [by_name[n].default for n in phi.names]])

    def _warnings(self) -> tuple[str, ...]:
        ignored = self.file.ignored
        left_out = (f"left out of the OpenSim model: {', '.join(ignored)}",) if ignored else ()
        return self.coordinates.notes + left_out


def _standing(file: OsimFile, skeleton: Skeleton) -> Skeleton:
    """With its contact points, and where it is free with the lowest of them on the floor in the default pose."""
    p, R = neutral_pose(skeleton)
    points = contact_points(file, skeleton.bodies, R)
    neutral = skeleton.neutral.copy()
    if points and skeleton.bodies[0].joint.kind == "free":
        neutral[2] -= min((p[c.body] + R[c.body] @ c.offset)[2] for c in points)
    return replace(skeleton, contact_points=points, neutral=neutral)


def _body(body: FileBody, parent: str | None, joint: Joint) -> Body:
    return Body(name=body.name, parent=parent, joint=joint, mass=body.mass, com=body.com, inertia=body.inertia)


def _massless(name: str, parent: str | None, joint: Joint) -> Body:
    return Body(name=name, parent=parent, joint=joint, mass=0.0, com=np.zeros(3), inertia=np.zeros((3, 3)))


def _parents_first(file: OsimFile) -> Iterator[FileJoint]:
    """Joints from the ground outwards, the free root's tree first, else in the order of the bodies in the file."""
    of_child: dict[str, FileJoint] = {}
    for joint in file.joints:
        if joint.child in of_child:
            raise InputError(
                f"{file.path}: body {joint.child!r} hangs on two joints, {of_child[joint.child].name!r} and "
                f"{joint.name!r}: a loop; cut one and, if need be, weld by a constraint"
            )
        if joint.child == GROUND:
            raise InputError(
                f"{file.path}: joint {joint.name!r} has the ground as its child; exchange parent and child"
            )
        of_child[joint.child] = joint
    placed = {GROUND}
    waiting = [b.name for b in file.bodies]
    while waiting:
        ready = [n for n in waiting if n in of_child and of_child[n].parent in placed]
        if not ready:
            raise InputError(f"{file.path}: {_hanging(waiting, of_child)}")
        yield of_child[ready[0]]
        placed.add(ready[0])
        waiting.remove(ready[0])


def _hanging(waiting: list[str], of_child: Mapping[str, FileJoint]) -> str:
    loose = [n for n in waiting if n not in of_child]
    if loose:
        return f"body {loose[0]!r} has no joint; join it to another body or to the ground (a WeldJoint or a FreeJoint)"
    path = [waiting[0]]
    while of_child[path[-1]].parent not in path:
        path.append(of_child[path[-1]].parent)
    path = path[path.index(of_child[path[-1]].parent) :]
    return f"the bodies {' -> '.join([*path, path[0]])} form a loop that never reaches the ground; cut one joint"
