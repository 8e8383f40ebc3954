"""The skeleton: a tree of rigid bodies, its coordinates, its named points. Plain immutable data.

Body frames are OpenSim's: x forward, y up, z to the subject's right in the neutral pose; the origin is the proximal
joint centre (for the pelvis: midway between the anterior superior iliac spines). The world is z up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from physpose.conventions.euler import EulerJoint
from physpose.errors import InputError, UnknownNameError
from physpose.skeleton.coordinate_map import CoordinateMap
from physpose.types import Array, Assumption

JointKind = Literal["free", "ball", "chain", "fixed"]
HOLD = "hold_"  # before the name of a point that holds
N_Q = {"free": 7, "ball": 4, "fixed": 0}
N_V = {"free": 6, "ball": 3, "fixed": 0}
FARTHEST = 5.0  # [m] of what is worn from the body that carries it


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One generalized coordinate of a "chain" joint."""

    name: str
    axis: Array  # (3,) unit vector, in the frame left by the coordinates before it
    range: tuple[float, float]  # soft limits [rad; m]
    kind: Literal["hinge", "slide"] = "hinge"
    source: str = "unverified"  # of the range


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How a body moves in its parent.

    kind "free": position + quaternion xyzw; "ball": quaternion xyzw; "chain": ``coordinates`` one after the other from
    the parent outwards, all through the joint's origin (R = R_1(q_1) R_2(q_2) ...); "fixed": none.
    """

    name: str
    kind: JointKind
    coordinates: tuple[Coordinate, ...] = ()
    translation: Array = field(default_factory=lambda: np.zeros(3))  # joint origin in the parent's frame [m]
    rotation: Array = field(default_factory=lambda: np.eye(3))  # R_parent_joint at zero

    @property
    def nq(self) -> int:
        return len(self.coordinates) if self.kind == "chain" else N_Q[self.kind]

    @property
    def nv(self) -> int:
        return len(self.coordinates) if self.kind == "chain" else N_V[self.kind]


@dataclass(frozen=True, kw_only=True)
class Body:
    """A rigid segment."""

    name: str
    parent: str | None  # None: the world
    joint: Joint
    mass: float  # [kg]
    com: Array  # (3,) [m], body frame
    inertia: Array  # (3, 3) [kg.m^2], about the centre of mass, body axes


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point fixed to a body."""

    name: str
    body: str
    offset: Array  # (3,) [m], body frame
    source: str = "unverified"


@dataclass(frozen=True, kw_only=True)
class Hold(Point):
    """A point that holds on to something, or is held: forces of any direction may act there."""

    spans: tuple[tuple[float, float], ...] | None = None  # [s] when, from and to; None: while the point is still


@dataclass(frozen=True, kw_only=True)
class KeypointSet:
    """What a detector's keypoints are on the body: one body-fixed point each, with its spread."""

    name: str
    points: tuple[Point, ...]  # K points, in the detector's order
    sigma: Array  # (K,) [m] standard deviation of the detector's point about the body point
    edges: tuple[tuple[int, int], ...] = ()  # pairs to join when drawing

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.points)


@dataclass(frozen=True, kw_only=True)
class ScaleGroup:
    """Body axes that share one scale factor, the same on the left and on the right."""

    name: str  # e.g. "thigh_length"
    bodies: tuple[str, ...]  # e.g. ("femur_r", "femur_l")
    axes: tuple[int, ...]  # of the body frame: 0 x, 1 y, 2 z
    sigma: float  # prior standard deviation of log(scale) at given height
    source: str = "unverified"


@dataclass(frozen=True, kw_only=True)
class Skin:
    """The body's surface, which follows its bodies by linear blend skinning; see ``physpose.skeleton.skin``."""

    vertices: Array  # (V, 3) [m], in the root body's frame with all other joints at zero
    faces: NDArray[np.int64]  # (F, 3), outward
    bodies: NDArray[np.int64]  # (V, 4) index of the bodies that each vertex follows
    weights: Array  # (V, 4), rows sum to one
    betas: Array  # (n,) shape parameters of the body model that it comes from
    root_at: Array  # (3,) [m], the root's origin in that model's own frame


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Who: all four are known once a skeleton is loaded (see ``Skeleton.assumptions`` for where from)."""

    age: float  # [years]
    sex: Literal["f", "m", "x"]  # "x": mean of both
    height: float  # [m]
    mass: float  # [kg]


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A subject's body: parents come before children in ``bodies``."""

    name: str
    bodies: tuple[Body, ...]
    subject: Subject | None
    keypoint_sets: Mapping[str, KeypointSet]
    contact_points: tuple[Point, ...]
    scale_groups: tuple[ScaleGroup, ...]
    neutral: Array  # (nq,) standing upright on the floor z = 0, facing +x
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()
    coordinate_map: CoordinateMap | None = None  # z = phi(s): the bodies' joints are z, everything below speaks of s
    euler_joints: tuple[EulerJoint, ...] = ()  # how the file of this body writes its free and ball joints
    gravity: Array | None = None  # (3,) [m/s^2] that the file of this body gives
    skin: Skin | None = None  # for pictures; what moves and weighs are the bodies
    seat_points: tuple[Point, ...] = ()  # what someone sits on
    hold_points: tuple[Hold, ...] = ()  # ``holding``

    @cached_property
    def body_names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.bodies)

    @property
    def support_points(self) -> tuple[Point, ...]:
        """Where the surroundings may bear the body: ``contact_points``, ``seat_points``, ``hold_points``."""
        return (*self.contact_points, *self.seat_points, *self.hold_points)

    @cached_property
    def coordinate_names(self) -> tuple[str, ...]:
        """Names of the coordinates after the free-flyer, in the order of q's and v's tails."""
        return tuple(c.name for c in self.coordinates)

    @cached_property
    def coordinates(self) -> tuple[Coordinate, ...]:
        if self.coordinate_map is not None:
            return self.coordinate_map.coordinates
        return tuple(c for b in self.bodies for c in b.joint.coordinates)

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The joints in the order of q and v: with a coordinate map, quaternion joints first, then all s as one."""
        joints = tuple(b.joint for b in self.bodies)
        if self.coordinate_map is None:
            return joints
        return (*(j for j in joints if j.kind in N_Q), Joint(name="", kind="chain", coordinates=self.coordinates))

    @property
    def nq(self) -> int:
        return sum(j.nq for j in self.joints)

    @property
    def nv(self) -> int:
        return sum(j.nv for j in self.joints)

    @cached_property
    def expanded(self) -> Skeleton:
        """The same bodies without the coordinate map: its q and v are those of the bodies' joints."""
        if self.coordinate_map is None:
            return self
        return replace(self, coordinate_map=None, neutral=self._expand(self.neutral, self.coordinate_map))

    def _expand(self, q: Array, phi: CoordinateMap) -> Array:
        kept = sum(j.nq for j in self.joints[:-1])
        parts = {True: q[:kept], False: phi(q[kept:])}  # of quaternion joints, of single axes
        columns = []
        for joint in (b.joint for b in self.bodies):
            x = parts[joint.kind in N_Q]
            columns.append(x[: joint.nq])
            parts[joint.kind in N_Q] = x[joint.nq :]
        return np.concatenate(columns)

    @cached_property
    def slide_lengths(self) -> tuple[Array, Array, Array]:
        """Slides z that are no coordinates but lengths in their parent, and so scale with it.

        Index (m,) among the z, body (m,) of the parent, and weight (m, 3) of each of its axes: the squared components
        of the slide's axis. OpenSim's ScaleTool does the same with a CustomJoint's translations.
        """
        rows, parents, weights, z, phi = [], [], [], 0, self.coordinate_map
        for body in self.bodies if phi is not None else ():
            for c in body.joint.coordinates:
                if c.kind == "slide" and body.parent is not None and phi and not phi.is_coordinate(z):
                    rows.append(z)
                    parents.append(self.body_index(body.parent))
                    weights.append((np.asarray(body.joint.rotation) @ c.axis) ** 2)
                z += 1
        return np.array(rows, np.int64), np.array(parents, np.int64), np.array(weights).reshape(-1, 3)

    @property
    def mass(self) -> float:
        """Whole-body mass [kg]."""
        return float(sum(b.mass for b in self.bodies))

    def body_index(self, name: str) -> int:
        if name not in self.body_names:
            raise UnknownNameError("body", name, self.body_names)
        return self.body_names.index(name)

    def keypoint_set(self, name: str) -> KeypointSet:
        if name not in self.keypoint_sets:
            raise UnknownNameError("keypoint set", name, self.keypoint_sets)
        return self.keypoint_sets[name]

    @cached_property
    def scale_index(self) -> np.ndarray:
        """(n_bodies, 3) index into ``scale_groups`` of each body axis, -1 where it is not scaled."""
        index = np.full((len(self.bodies), 3), -1)
        for g, group in enumerate(self.scale_groups):
            for name in group.bodies:
                index[self.body_index(name), list(group.axes)] = g
        return index

    def axis_scales(self, scales: Array) -> Array:
        """Group scales (n_groups,) spread to body axes (n_bodies, 3); ones where no group applies."""
        return np.append(np.asarray(scales, float), 1.0)[self.scale_index]

    def scaled(self, scales: Array) -> Skeleton:
        """The same body with group scales (n_groups,) applied: lengths change, segment masses stay.

        A segment's second mass moment scales with both of its axes: Sigma -> S Sigma S.
        """
        S = dict(zip(self.body_names, self.axis_scales(scales), strict=True))
        bodies = tuple(_scaled_body(b, S[b.name], S.get(b.parent or "", np.ones(3))) for b in self.bodies)
        sets = {
            n: replace(k, points=tuple(replace(p, offset=p.offset * S[p.body]) for p in k.points))
            for n, k in self.keypoint_sets.items()
        }
        contacts, seat = (
            tuple(replace(p, offset=p.offset * S[p.body]) for p in points)
            for points in (self.contact_points, self.seat_points)
        )
        holds = tuple(replace(h, offset=h.offset * S[h.body]) for h in self.hold_points)
        phi = self.coordinate_map and self.coordinate_map.scaled(self._slide_factors(self.axis_scales(scales)))
        return replace(
            self, bodies=bodies, keypoint_sets=sets, contact_points=contacts, seat_points=seat, hold_points=holds,
            coordinate_map=phi,
        )  # fmt: skip

    def _slide_factors(self, axis_scales: Array) -> Array:
        rows, parents, weights = self.slide_lengths
        factors = np.ones(sum(len(b.joint.coordinates) for b in self.bodies))
        factors[rows] = (axis_scales[parents] * weights).sum(-1)
        return factors

    def attach(
        self, body: str, mass: float, com: Array, inertia: Array | None = None, *, name: str = "device"
    ) -> Skeleton:
        """The same skeleton with something worn on a body: its mass is that body's from then on.

        Args:
            body: name of the body that carries it rigidly.
            mass: [kg].
            com: (3,) [m] its centre of mass, frame of ``body``.
            inertia: (3, 3) [kg.m^2] about its centre of mass, axes of ``body``; None: a point mass.
            name: what it is, for ``assumptions``. ``subject`` stays the person alone.

        Raises:
            UnknownNameError: no such body.
            InputError: a mass below zero, or a centre or an inertia that none can have.
        """
        i = self.body_index(body)
        com, own = _attached(name, mass, com, inertia)
        bodies = list(self.bodies)
        bodies[i] = _joined(bodies[i], mass, com, own)
        note = Assumption(what=f"worn on {body}", value=f"{name}, {mass:g} kg", source="given")
        return replace(self, bodies=tuple(bodies), assumptions=(*self.assumptions, note))

    def holding(self, holds: Sequence[str] | Mapping[str, Sequence[tuple[float, float]] | None]) -> Skeleton:
        """The same skeleton, that holds on to its surroundings, or is held, at some points.

        Args:
            holds: names of contact or seat points ("hand_r"), or of bodies, at whose joint it then is; or name -> when,
                as (from, to) [s] pairs, e.g. where a hold moves. Without: whenever the point is still.

        Raises:
            UnknownNameError: no such point or body.
            InputError: times that are none.
        """
        names = [holds] if isinstance(holds, str) else holds
        asked = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
        return replace(self, hold_points=tuple(self._hold(name, spans) for name, spans in asked.items()))

    def _hold(self, name: str, spans: Sequence[tuple[float, float]] | None) -> Hold:
        points = {p.name: p for p in (*self.contact_points, *self.seat_points)}
        if name not in points and name not in self.body_names:
            raise UnknownNameError("point to hold by", name, dict.fromkeys([*points, *self.body_names]))
        at = points.get(name) or Point(name=name, body=name, offset=np.zeros(3))
        return Hold(name=HOLD + name, body=at.body, offset=at.offset, source="given", spans=_checked_spans(name, spans))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the body as MJCF (.xml) for MuJoCo or as an OpenSim model (.osim); returns the path.

        Raises ``InputError`` for another suffix, and for joints that the format has no form for.
        """
        # here, since these modules build on this one
        from physpose.skeleton.mjcf import save_mjcf
        from physpose.skeleton.opensim_write import save_osim

        writers = {".xml": save_mjcf, ".osim": save_osim}
        suffix = Path(path).suffix
        if suffix not in writers:
            raise InputError(f"cannot save a skeleton as {str(path)!r}; give a name that ends in .xml (MJCF) or .osim")
        return writers[suffix](self, Path(path))


def _checked_spans(name: str, spans: Sequence[tuple[float, float]] | None) -> tuple[tuple[float, float], ...] | None:
    if spans is None:
        return None
    try:
        found = tuple((float(start), float(end)) for start, end in spans)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(start < end for start, end in found):
        raise InputError(f"hold {name}: {spans!r}; when it holds is a list of (from, to) in seconds, or None: found")
    return found


def _scaled_body(body: Body, s: Array, s_parent: Array) -> Body:
    second_moment = 0.5 * np.trace(body.inertia) * np.eye(3) - body.inertia
    second_moment = second_moment * np.outer(s, s)
    inertia = np.trace(second_moment) * np.eye(3) - second_moment
    joint = replace(body.joint, translation=body.joint.translation * s_parent)
    return replace(body, com=body.com * s, inertia=inertia, joint=joint)


def _attached(name: str, mass: float, com: Array, inertia: Array | None) -> tuple[Array, Array]:
    """Centre of mass (3,) and inertia (3, 3) of something worn, checked."""
    com = np.asarray(com, float)
    own = np.zeros((3, 3)) if inertia is None else np.asarray(inertia, float)
    if not (np.isfinite(mass) and mass >= 0):
        raise InputError(f"{name}: mass {mass!r} kg; zero or more is needed")
    if com.shape != (3,) or not np.isfinite(com).all():
        raise InputError(f"{name}: centre of mass {com.tolist()}; three finite numbers [m] in the body's frame needed")
    if np.linalg.norm(com) > FARTHEST:
        raise InputError(f"{name}: centre of mass {com.tolist()} m from the body's joint; in mm? give metres")
    if own.shape != (3, 3) or not np.allclose(own, own.T, atol=1e-12) or np.linalg.eigvalsh(own)[0] < -1e-12:
        raise InputError(f"{name}: the inertia must be a symmetric (3, 3) matrix without negative principal moments")
    return com, own


def _joined(body: Body, mass: float, com: Array, inertia: Array) -> Body:
    """A body and something rigid on it as one body."""
    total = body.mass + mass
    if total == 0:
        return body
    middle = (body.mass * body.com + mass * com) / total

    def about_middle(m: float, c: Array, own: Array) -> Array:
        # parallel axes: I + m (d.d 1 - d d^T)
        d = c - middle
        return own + m * (d @ d * np.eye(3) - np.outer(d, d))

    both = about_middle(body.mass, body.com, body.inertia) + about_middle(mass, com, inertia)
    return replace(body, mass=total, com=middle, inertia=both)
