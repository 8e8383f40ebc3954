"""physpose's q, v, a, tau and MuJoCo's.

MuJoCo: quaternion wxyz; the free joint's linear velocity, acceleration and force in the world frame, so that its linear
acceleration differs by w x v as well; degrees of freedom in depth-first order of the bodies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from physpose.types import Array

if TYPE_CHECKING:
    from physpose.skeleton.model import Joint, Skeleton

WXYZ = [3, 0, 1, 2]  # q_wxyz = q_xyzw[..., WXYZ]
XYZW = [1, 2, 3, 0]  # q_xyzw = q_wxyz[..., XYZW]


class _Slices(NamedTuple):
    """Where one joint lies in q and v, here and in MuJoCo."""

    joint: Joint
    q: slice
    v: slice
    qpos: slice
    qvel: slice


def depth_first(skeleton: Skeleton) -> list[int]:
    """Indices of ``skeleton.bodies`` depth first: MuJoCo's order, and the one that Pinocchio's algorithms rely on."""
    children: dict[str | None, list[int]] = {}
    for i, body in enumerate(skeleton.bodies):
        children.setdefault(body.parent, []).append(i)
    order: list[int] = []
    stack = children.get(None, [])[::-1]
    while stack:
        order.append(stack.pop())
        stack += children.get(skeleton.bodies[order[-1]].name, [])[::-1]
    return order


def _mujoco_slices(skeleton: Skeleton) -> Iterator[_Slices]:
    joints = [b.joint for b in skeleton.bodies]
    q0, v0 = np.cumsum([0, *(j.nq for j in joints)]), np.cumsum([0, *(j.nv for j in joints)])
    qpos, qvel = 0, 0
    for i in depth_first(skeleton):
        j = joints[i]
        yield _Slices(
            j, slice(q0[i], q0[i + 1]), slice(v0[i], v0[i + 1]), slice(qpos, qpos + j.nq), slice(qvel, qvel + j.nv)
        )
        qpos, qvel = qpos + j.nq, qvel + j.nv


def q_to_mujoco(skeleton: Skeleton, q: ArrayLike) -> Array:
    """q (*b, nq) to MuJoCo's qpos (*b, nq)."""
    q = np.asarray(q, float)
    qpos = np.empty_like(q)
    for s in _mujoco_slices(skeleton):
        x = q[..., s.q]
        if s.joint.kind == "free":
            # MuJoCo's free joint ignores where its body was placed: the pose is absolute
            p = s.joint.translation + x[..., :3] @ s.joint.rotation.T
            qpos[..., s.qpos] = np.concatenate([p, _quat_mul(_placement_quat(s.joint), x[..., 3:])[..., WXYZ]], -1)
        else:
            qpos[..., s.qpos] = x[..., WXYZ] if s.joint.kind == "ball" else x
    return qpos


def q_from_mujoco(skeleton: Skeleton, qpos: ArrayLike) -> Array:
    """MuJoCo's qpos (*b, nq) to q (*b, nq)."""
    qpos = np.asarray(qpos, float)
    q = np.empty_like(qpos)
    for s in _mujoco_slices(skeleton):
        x = qpos[..., s.qpos]
        if s.joint.kind == "free":
            p = (x[..., :3] - s.joint.translation) @ s.joint.rotation
            inverse = _placement_quat(s.joint) * [-1, -1, -1, 1]
            q[..., s.q] = np.concatenate([p, _quat_mul(inverse, x[..., 3:][..., XYZW])], -1)
        else:
            q[..., s.q] = x[..., XYZW] if s.joint.kind == "ball" else x
    return q


def v_to_mujoco(skeleton: Skeleton, q: ArrayLike, v: ArrayLike) -> Array:
    """v (*b, nv) at q (*b, nq) to MuJoCo's qvel (*b, nv)."""
    return _free_linear_to_world(skeleton, np.asarray(q, float), np.asarray(v, float))


def v_from_mujoco(skeleton: Skeleton, qpos: ArrayLike, qvel: ArrayLike) -> Array:
    """MuJoCo's qvel (*b, nv) at qpos (*b, nq) to v (*b, nv)."""
    return _free_linear_to_body(skeleton, np.asarray(qpos, float), np.asarray(qvel, float))


def a_to_mujoco(skeleton: Skeleton, q: ArrayLike, v: ArrayLike, a: ArrayLike) -> Array:
    """a (*b, nv) at q, v to MuJoCo's qacc (*b, nv): d/dt (R v) = R (a + w x v)."""
    v, a = np.asarray(v, float), np.array(a, float)
    for s in _mujoco_slices(skeleton):
        if s.joint.kind == "free":
            linear, angular = v[..., s.v][..., :3], v[..., s.v][..., 3:]
            a[..., s.v.start : s.v.start + 3] += np.cross(angular, linear)
    return _free_linear_to_world(skeleton, np.asarray(q, float), a)


def a_from_mujoco(skeleton: Skeleton, qpos: ArrayLike, qvel: ArrayLike, qacc: ArrayLike) -> Array:
    """MuJoCo's qacc (*b, nv) at qpos, qvel to a (*b, nv)."""
    v = v_from_mujoco(skeleton, qpos, qvel)
    a = _free_linear_to_body(skeleton, np.asarray(qpos, float), np.asarray(qacc, float))
    for s in _mujoco_slices(skeleton):
        if s.joint.kind == "free":
            linear, angular = v[..., s.v][..., :3], v[..., s.v][..., 3:]
            a[..., s.v.start : s.v.start + 3] -= np.cross(angular, linear)
    return a


def tau_to_mujoco(skeleton: Skeleton, q: ArrayLike, tau: ArrayLike) -> Array:
    """Generalized forces (*b, nv) at q to MuJoCo's (qfrc_applied): the root force turns to world axes."""
    return _free_linear_to_world(skeleton, np.asarray(q, float), np.asarray(tau, float))


def tau_from_mujoco(skeleton: Skeleton, qpos: ArrayLike, qfrc: ArrayLike) -> Array:
    """MuJoCo's generalized forces (qfrc_inverse) (*b, nv) at qpos to tau (*b, nv)."""
    return _free_linear_to_body(skeleton, np.asarray(qpos, float), np.asarray(qfrc, float))


def _free_linear_to_world(skeleton: Skeleton, q: Array, x: Array) -> Array:
    out = np.empty_like(x)
    for s in _mujoco_slices(skeleton):
        out[..., s.qvel] = x[..., s.v]
        if s.joint.kind == "free":
            quat = _quat_mul(_placement_quat(s.joint), q[..., s.q][..., 3:])
            out[..., s.qvel.start : s.qvel.start + 3] = _rotate(quat, x[..., s.v][..., :3])
    return out


def _free_linear_to_body(skeleton: Skeleton, qpos: Array, x: Array) -> Array:
    out = np.empty_like(x)
    for s in _mujoco_slices(skeleton):
        out[..., s.v] = x[..., s.qvel]
        if s.joint.kind == "free":
            inverse = qpos[..., s.qpos][..., 3:][..., XYZW] * [-1, -1, -1, 1]
            out[..., s.v.start : s.v.start + 3] = _rotate(inverse, x[..., s.qvel][..., :3])
    return out


def _placement_quat(joint: Joint) -> Array:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(joint.rotation).as_quat()


def _quat_mul(p: Array, q: Array) -> Array:
    """Hamilton product of quaternions xyzw (*b, 4)."""
    p, q = np.broadcast_arrays(p, q)
    u = p[..., 3:] * q[..., :3] + q[..., 3:] * p[..., :3] + np.cross(p[..., :3], q[..., :3])
    w = p[..., 3:] * q[..., 3:] - (p[..., :3] * q[..., :3]).sum(-1, keepdims=True)
    return np.concatenate([u, w], -1)


def _rotate(quat: Array, x: Array) -> Array:
    """R(quat) x for unit quaternions xyzw (*b, 4) and vectors (*b, 3)."""
    u, w = quat[..., :3], quat[..., 3:]
    # R x = x + 2 w u x x + 2 u x (u x x)
    ux = np.cross(u, x)
    return x + 2 * w * ux + 2 * np.cross(u, ux)
