"""physpose's q, v, a, tau and OpenSim's coordinates, of any skeleton.

OpenSim's are one number a degree of freedom, (T, nv) in the order of ``opensim_names``: six of a free joint, three of a
ball joint, then the skeleton's named coordinates. In a .mot file columns come in any order, and coordinates that follow
others or are held stand among them: ``dependent_coordinates`` gives these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from physpose.conventions.euler import (
    GROUND_PELVIS,
    EulerJoint,
    angles_of,
    euler_bias,
    euler_forces,
    euler_jacobian,
    euler_twist,
    pose_of,
)
from physpose.errors import InputError
from physpose.types import Array

if TYPE_CHECKING:
    from physpose.skeleton.model import Joint, Skeleton


class _Columns(NamedTuple):
    """Where one joint lies in q and v; OpenSim's coordinates lie where v does."""

    joint: Joint
    euler: EulerJoint | None  # of a free or ball joint
    q: slice
    v: slice


def opensim_names(skeleton: Skeleton) -> tuple[str, ...]:
    """(nv,) names of OpenSim's independent coordinates; of a free joint first the angles, then the slides."""
    return tuple(n for s in _columns(skeleton) for n in _names(s))


def q_from_opensim(skeleton: Skeleton, c: Array) -> Array:
    """q (T, nq) of OpenSim's coordinates c (T, nv) [rad; m], frames in order of time."""
    c = _checked(skeleton, "coordinates", c)
    return np.concatenate(
        [c[:, s.v] if s.euler is None else pose_of(c[:, s.v], s.euler) for s in _columns(skeleton)], 1
    )


def v_from_opensim(skeleton: Skeleton, c: Array, rates: Array) -> Array:
    """v (T, nv) of OpenSim's coordinates and their time derivatives, each (T, nv)."""
    c, out = _checked(skeleton, "coordinates", c), _checked(skeleton, "rates", rates).copy()
    for s in _columns(skeleton):
        if s.euler is not None:
            out[:, s.v] = euler_twist(c[:, s.v], out[:, s.v], s.euler)
    return out


def a_from_opensim(skeleton: Skeleton, c: Array, rates: Array, accelerations: Array) -> Array:
    """a (T, nv) = dv/dt of OpenSim's coordinates and their first and second time derivatives, each (T, nv)."""
    c, rates = _checked(skeleton, "coordinates", c), _checked(skeleton, "rates", rates)
    out = _checked(skeleton, "accelerations", accelerations).copy()
    for s in _columns(skeleton):
        if s.euler is not None:
            bias = euler_bias(c[:, s.v], rates[:, s.v], s.euler)
            out[:, s.v] = euler_twist(c[:, s.v], out[:, s.v], s.euler) + bias
    return out


def q_to_opensim(skeleton: Skeleton, q: Array) -> Array:
    """OpenSim's coordinates (T, nv) [rad; m] of q (T, nq), frames in order of time; angles run on without jumps."""
    q = np.asarray(q, float)
    if q.ndim != 2 or q.shape[1] != skeleton.nq:
        raise InputError(f"q has shape {q.shape}; {skeleton.name} needs (T, {skeleton.nq})")
    return np.concatenate(
        [q[:, s.q] if s.euler is None else angles_of(q[:, s.q], s.euler) for s in _columns(skeleton)], 1
    )


def v_to_opensim(skeleton: Skeleton, c: Array, v: Array) -> Array:
    """Rates (T, nv) of OpenSim's coordinates c (T, nv) of v (T, nv)."""
    c, out = _checked(skeleton, "coordinates", c), _checked(skeleton, "v", v).copy()
    for s in _columns(skeleton):
        if s.euler is not None:
            out[:, s.v] = np.linalg.solve(euler_jacobian(c[:, s.v], s.euler), out[:, s.v, None])[..., 0]
    return out


def a_to_opensim(skeleton: Skeleton, c: Array, v: Array, a: Array) -> Array:
    """Second derivatives (T, nv) of OpenSim's coordinates c (T, nv) of v and a (T, nv)."""
    rates, out = v_to_opensim(skeleton, c, v), _checked(skeleton, "a", a).copy()
    for s in _columns(skeleton):
        if s.euler is not None:
            out[:, s.v] -= euler_bias(c[:, s.v], rates[:, s.v], s.euler)
    return v_to_opensim(skeleton, c, out)


def tau_to_opensim(skeleton: Skeleton, c: Array, tau: Array) -> Array:
    """Generalized forces (T, nv) [N.m; N] on OpenSim's coordinates c (T, nv) of tau (T, nv)."""
    c, out = _checked(skeleton, "coordinates", c), _checked(skeleton, "tau", tau).copy()
    for s in _columns(skeleton):
        if s.euler is not None:
            out[:, s.v] = euler_forces(out[:, s.v], c[:, s.v], s.euler)
    return out


def dependent_coordinates(skeleton: Skeleton, c: Array) -> dict[str, Array]:
    """Values (T,) [rad; m] of the file's coordinates that follow others or are held, by name; c (T, nv)."""
    phi = skeleton.coordinate_map
    if phi is None:
        return {}
    return phi.dependents(_checked(skeleton, "coordinates", c)[:, skeleton.nv - len(phi.coordinates) :])


def angle_names(skeleton: Skeleton) -> frozenset[str]:
    """Names of the coordinates, dependent ones too, that are angles: in degrees in most .mot files, the rest in m."""
    phi = skeleton.coordinate_map
    single = skeleton.coordinates if phi is None else phi.file_coordinates
    names = {c.name for c in single if c.kind == "hinge"}
    return frozenset(names.union(*(s.euler.names[:3] for s in _columns(skeleton) if s.euler is not None)))


def euler_joint(skeleton: Skeleton, joint: Joint) -> EulerJoint:
    """How OpenSim writes a free or ball joint: as the skeleton's file does, else as ground_pelvis, or about x, y, z."""
    body = next(b.name for b in skeleton.bodies if b.joint is joint)
    for known in skeleton.euler_joints:
        if known.joint == joint.name:
            return known
    if joint.kind == "free":
        # here q is the pose in the joint's placement, in GROUND_PELVIS in the world
        R, p = np.asarray(joint.rotation).T, np.asarray(joint.translation)
        return replace(GROUND_PELVIS, R_parent=R @ GROUND_PELVIS.R_parent, p_parent=-R @ p)
    return EulerJoint(joint=joint.name, names=tuple(f"{body}_r{axis}" for axis in "xyz"))


def _columns(skeleton: Skeleton) -> Iterator[_Columns]:
    q = v = 0
    for joint in skeleton.joints:
        euler = euler_joint(skeleton, joint) if joint.kind in ("free", "ball") else None
        yield _Columns(joint, euler, slice(q, q + joint.nq), slice(v, v + joint.nv))
        q, v = q + joint.nq, v + joint.nv


def _names(s: _Columns) -> tuple[str, ...]:
    return tuple(c.name for c in s.joint.coordinates) if s.euler is None else s.euler.names


def _checked(skeleton: Skeleton, what: str, x: Array) -> Array:
    x = np.asarray(x, float)
    if x.ndim != 2 or x.shape[1] != skeleton.nv:
        names = ", ".join(opensim_names(skeleton))
        raise InputError(f"{what} have shape {x.shape}; {skeleton.name} needs (T, {skeleton.nv}): {names}")
    return x
