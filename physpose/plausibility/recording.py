"""What is checked: points that move, and where there is a skeleton, its motion and forces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from physpose.skeleton.model import Point, Skeleton
from physpose.types import Array, Contacts, Motion

if TYPE_CHECKING:
    from physpose.result import FitResult

STANDARD_GRAVITY = 9.80665  # [m/s^2] the scale of forces where nothing weighs anything
LOADED = 0.05  # body weights on a foot that is held by the floor: a filter leaves less before and after a contact
LOW = 0.02  # [m] a point of a loaded foot so near the floor touches it
EARTH = np.array([0.0, 0.0, -9.81])


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A motion to check. World z up, SI units; NaN where a point was not seen."""

    time: Array  # (T,) [s]
    points: Array  # (T, P, 3) [m] body origins, or keypoints
    names: tuple[str, ...]  # P
    bones: tuple[tuple[int, int], ...]  # pairs of points at constant distance
    ground: Array  # (T, C, 3) [m] points that may touch the floor
    ground_names: tuple[str, ...]  # C
    active: NDArray[np.bool_]  # (T, C) in contact
    bearing: NDArray[np.bool_]  # (T, C) may bear force: in contact, or part of a foot whose force was measured
    floor: float | None = 0.0  # [m] height; None: there is none
    gravity: Array = field(default_factory=lambda: EARTH.copy())  # (3,) [m/s^2]
    belt: Array = field(default_factory=lambda: np.zeros(3))  # (3,) [m/s] velocity of the floor
    source: str = "array"
    skeleton: Skeleton | None = None
    motion: Motion | None = None  # whose ``contacts`` hold the forces
    assistance: Array | None = None  # (T, nv) [N.m; N] of motors and springs on the coordinates
    external: Mapping[str, Array] = field(default_factory=dict)  # body -> wrench (T, 6) about its origin, world axes

    @staticmethod
    def of_motion(
        motion: Motion,
        skeleton: Skeleton,
        *,
        gravity: Array,
        floor: float | None = 0.0,
        belt: Array | None = None,
        source: str = "array",
        assistance: Array | None = None,
        external: Mapping[str, Array] | None = None,
    ) -> Recording:
        """A skeleton's motion. ``motion.tau`` is what remains beside contacts and ``external``."""
        parents = [None if b.parent is None else skeleton.body_index(b.parent) for b in skeleton.bodies]
        rigid = [not any(c.kind == "slide" for c in b.joint.coordinates) for b in skeleton.bodies]
        bones = [(p, i) for i, p in enumerate(parents) if p is not None and rigid[i]]
        ground = located(skeleton.contact_points, skeleton, motion.positions, motion.rotations)
        names, active, bearing = _touching(motion.contacts, skeleton, ground, floor)
        ground = ground[:, [i for n in names for i, p in enumerate(skeleton.contact_points) if p.name == n]]
        weightless = not np.any(gravity)
        return Recording(
            time=motion.time, points=motion.positions, names=skeleton.body_names, bones=tuple(bones),
            ground=ground, ground_names=names, active=active, bearing=bearing,
            floor=None if weightless else floor, gravity=np.asarray(gravity, float),
            belt=np.zeros(3) if belt is None else belt,
            source=source, skeleton=skeleton, motion=motion, assistance=assistance, external=external or {},
        )  # fmt: skip

    @staticmethod
    def of_result(result: FitResult) -> Recording:
        """What a fit found."""
        floor = 0.0 if result.floor else None
        return Recording.of_motion(
            result, result.skeleton, gravity=result.gravity, floor=floor, belt=result.belt, source=result.source
        )

    @property
    def weight(self) -> float:
        """Body weight [N]; at standard gravity where nothing weighs anything."""
        mass = self.skeleton.mass if self.skeleton else 1.0
        return mass * (float(np.linalg.norm(self.gravity)) or STANDARD_GRAVITY)

    @property
    def stature(self) -> float:
        """[m] as given, else from the standing pose of a body with a free root."""
        assert self.skeleton is not None
        who = self.skeleton.subject
        return who.height if who else 1.8 * max(float(self.skeleton.neutral[2]), 0.1)  # hips at 55 % of stature

    @cached_property
    def contact_wrench(self) -> Array:
        """(T, 6) of all contacts: force [N] and moment about the world's origin [N.m]."""
        return self._wrench_of(slice(None))

    def _wrench_of(self, points: slice | list[int]) -> Array:
        assert self.motion is not None
        c = self.motion.contacts
        where = self._contact_places if c.positions is None else c.positions
        moment = np.cross(where, c.force) + (0.0 if c.free_moment is None else c.free_moment)
        return np.concatenate([x[:, points].sum(1) for x in (c.force, moment)], 1)

    @cached_property
    def _holds(self) -> list[int]:
        """Which of the contacts hold on: no floor gives their forces."""
        assert self.motion is not None
        assert self.skeleton is not None
        names = {h.name for h in self.skeleton.hold_points}
        return [i for i, name in enumerate(self.motion.contacts.points) if name in names]

    @property
    def _contact_places(self) -> Array:
        """(T, C, 3) [m] of the motion's contacts, which are support points by name."""
        assert self.motion is not None
        assert self.skeleton is not None
        points = {p.name: p for p in self.skeleton.support_points}
        chosen = tuple(points[name] for name in self.motion.contacts.points)
        return located(chosen, self.skeleton, self.motion.positions, self.motion.rotations)

    @cached_property
    def force_known(self) -> NDArray[np.bool_]:
        """(T,) frames in which no contact force is missing."""
        valid = None if self.motion is None else self.motion.contacts.valid
        return np.ones(len(self.time), bool) if valid is None else valid

    @property
    def measured_forces(self) -> bool:
        """Were the contacts' forces measured, apart from the motion?"""
        return self.motion is not None and self.motion.contacts.bodies is not None

    @property
    def beside_floor(self) -> dict[str, Array]:
        """Body -> wrench (T, 6) about its origin, world axes: ``external``, and what it holds on to."""
        found = dict(self.external)
        for i in self._holds:
            assert self.motion is not None
            assert self.skeleton is not None
            name = next(h.body for h in self.skeleton.hold_points if h.name == self.motion.contacts.points[i])
            force = self.motion.contacts.force[:, i]
            arm = self._contact_places[:, i] - self.motion.positions[:, self.skeleton.body_index(name)]
            found[name] = found.get(name, 0.0) + np.concatenate([force, np.cross(arm, force)], 1)
        return found

    @cached_property
    def floor_forces(self) -> dict[str, Array]:
        """Body -> force (T, 3) [N] of all its contacts with floor and seat, world."""
        assert self.motion is not None
        assert self.skeleton is not None
        c, of_point = self.motion.contacts, {p.name: p.body for p in self.skeleton.support_points}
        bodies = c.bodies or tuple("" if i in self._holds else of_point[name] for i, name in enumerate(c.points))
        return {body: c.force[:, [b == body for b in bodies]].sum(1) for body in dict.fromkeys(bodies) if body}

    @property
    def motion_contacts(self) -> bool:
        """Can anything touch the body's surroundings, or was it measured?"""
        return self.motion is not None and bool(self.motion.contacts.points)

    @cached_property
    def external_force(self) -> Array:
        """(T, 3) [N] of the known external wrenches."""
        return sum((w[:, :3] for w in self.external.values()), np.zeros((len(self.time), 3)))

    @cached_property
    def needed_wrench(self) -> Array | None:
        """(T, 6) that contacts would have to give for the motion to be true, about the world's origin; world axes.

        The root's residual plus the contact forces that were taken off; None for a body that hangs in the world.
        """
        if self.motion is None or self.skeleton is None or self.skeleton.bodies[0].joint.kind != "free":
            return None
        R, p = self.motion.rotations[:, 0], self.motion.positions[:, 0]
        force, moment = ((R @ self.motion.tau[:, i : i + 3, None])[..., 0] for i in (0, 3))
        return self.contact_wrench + np.concatenate([force, moment + np.cross(p, force)], 1)

    @cached_property
    def floor_wrench(self) -> Array | None:
        """As ``needed_wrench``, of the floor and the seat: less what holds give."""
        needed = self.needed_wrench
        return needed if needed is None or not self._holds else needed - self._wrench_of(self._holds)

    @cached_property
    def supported(self) -> Array:
        """(T,) upward force that the motion needs of the floor, in body weights; NaN where it is not known."""
        needed = self.floor_wrench
        return np.full(len(self.time), np.nan) if needed is None else needed[:, 2] / self.weight


def _touching(
    contacts: Contacts, skeleton: Skeleton, ground: Array, floor: float | None
) -> tuple[tuple[str, ...], NDArray[np.bool_], NDArray[np.bool_]]:
    """Names of the body's own contact points, when (T, C) they touch, and when they may bear force.

    Measured forces tell of whole bodies: their points, and those of bodies beyond, bear; those that are low touch.
    """
    if contacts.bodies is None:
        own = [contacts.points.index(p.name) for p in skeleton.contact_points if p.name in contacts.points]
        active = contacts.active[:, own]
        return tuple(contacts.points[i] for i in own), active, active
    force = np.linalg.norm(contacts.force, axis=2)
    held = _by_point(skeleton, contacts.bodies, force > LOADED * skeleton.mass * STANDARD_GRAVITY)
    low = ground[..., 2] - (floor or 0.0) < LOW
    bearing = _by_point(skeleton, contacts.bodies, contacts.active)
    return tuple(p.name for p in skeleton.contact_points), held & low, bearing


def _by_point(skeleton: Skeleton, bodies: tuple[str, ...], loaded: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T, C) of each contact point: is a force on its body, or on one between it and the root, ``loaded`` (T, n)."""
    found = np.zeros((len(loaded), len(skeleton.contact_points)), bool)
    for c, point in enumerate(skeleton.contact_points):
        path = _inwards(skeleton, point.body)
        found[:, c] = loaded[:, [b in path for b in bodies]].any(1)
    return found


def _inwards(skeleton: Skeleton, body: str) -> list[str]:
    """The body and those between it and the root."""
    parents = {b.name: b.parent for b in skeleton.bodies}
    path = [body]
    while (parent := parents[path[-1]]) is not None:
        path.append(parent)
    return path


def located(points: tuple[Point, ...], skeleton: Skeleton, positions: Array, rotations: Array) -> Array:
    """World positions (T, C, 3) [m] of points of the skeleton."""
    index = [skeleton.body_index(p.body) for p in points]
    offset = np.array([p.offset for p in points]).reshape(-1, 3)
    return positions[:, index] + (rotations[:, index] @ offset[..., None])[..., 0]


def rates(x: Array, time: Array, order: int) -> Array:
    """Derivative (T - order, ...) of x (T, ...) as its divided difference, with real time stamps.

    order! times the divided difference of order + 1 neighbours: exact for polynomials of that order.
    """
    for k in range(1, order + 1):
        step = (time[k:] - time[:-k]).reshape(-1, *[1] * (x.ndim - 1))
        x = k * np.diff(x, axis=0) / step
    return x
