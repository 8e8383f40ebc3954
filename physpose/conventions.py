"""Conversions between conventions, at the boundary to other programs.

physpose: z up; q = [p_world, quaternion xyzw, coordinates]; v = [linear, angular (pelvis frame), rates] (Pinocchio's).
MuJoCo: quaternion wxyz; the free joint's linear velocity, acceleration and force in the world frame, so that its linear
acceleration differs by w x v as well; degrees of freedom in depth-first order of the bodies.
OpenSim: y up, x forward, z to the right, so (x, y, z)_opensim = (x, z, -y)_ours. The pelvis moves in the ground by
three body-fixed turns, pelvis_tilt about z, pelvis_list about x, pelvis_rotation about y, and three slides along the
axes of the ground (joint "ground_pelvis" of Rajagopal et al. 2016 and of Gait2392).
SMPL and its kin (SMPL-H, SMPL-X): at rest y up, z forward, x to the body's left, in every body's frame. Our body frames
are OpenSim's, so x_body = R_BODY_SMPL x_smpl = (z, y, -x)_smpl, rotation vectors likewise; a quaternion's vector part
too. The model's translation moves its whole surface: the root's origin is at translation + its place at rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from physpose.errors import InputError
from physpose.types import Array

if TYPE_CHECKING:
    from physpose.skeleton.model import Joint, Skeleton

# body x forward -> world x, body y up -> world z, body z right -> world -y: a quarter turn about x
UPRIGHT_XYZW = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])
WXYZ = [3, 0, 1, 2]  # q_wxyz = q_xyzw[..., WXYZ]
XYZW = [1, 2, 3, 0]  # q_xyzw = q_wxyz[..., XYZW]


# --- MuJoCo ---------------------------------------------------------------------------------------------------------


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


# --- OpenSim --------------------------------------------------------------------------------------------------------

R_YUP_ZUP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x_yup = R_YUP_ZUP @ x_zup

PELVIS_COORDINATES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz")
SINGULAR = 1e-6  # of cos(pelvis_list): closer to a pelvis lying on its side, tilt and rotation are one turn


def to_y_up(x: Array) -> Array:
    """Vectors (..., 3) from our z-up world to OpenSim's y-up ground."""
    return np.asarray(x, float) @ R_YUP_ZUP.T


def to_z_up(x: Array) -> Array:
    """Vectors (..., 3) from OpenSim's y-up ground to our z-up world."""
    return np.asarray(x, float) @ R_YUP_ZUP


def opensim_pelvis(q7: Array) -> Array:
    """OpenSim's pelvis coordinates of our free-flyer.

    Args:
        q7: (T, 7) pelvis position [m] and quaternion xyzw, z-up world; frames in order of time.

    Returns:
        (T, 6) in the order of ``PELVIS_COORDINATES`` [rad; m], y up. The angles run on without jumps: of the two
        triples for one attitude and their full turns, the one nearest to the frame before; the first has |list| <= 90
        degrees. A frame with NaN gives NaN.
    """
    from scipy.spatial.transform import Rotation

    q7 = np.asarray(q7, float)
    if q7.ndim != 2 or q7.shape[1] != 7:
        raise InputError(f"pelvis poses have shape {q7.shape}; (T, 7) is needed: position and quaternion xyzw")
    angles = np.full((len(q7), 3), np.nan)
    good = np.isfinite(q7).all(1)
    if good.any():
        R = R_YUP_ZUP @ Rotation.from_quat(q7[good, 3:]).as_matrix()
        angles[good] = _continuous_zxy(R)
    return np.hstack([angles, to_y_up(q7[:, :3])])


def _continuous_zxy(R: Array) -> Array:
    """(T, 3) angles of R = Rz(tilt) Rx(list) Ry(rotation), each frame nearest to the one before."""
    # R = [[., -sin t cos l, .], [., cos t cos l, .], [-cos l sin r, sin l, cos l cos r]]
    cos_list = np.hypot(R[:, 2, 0], R[:, 2, 2])
    lists = np.arctan2(R[:, 2, 1], cos_list)
    tilts = np.arctan2(-R[:, 0, 1], R[:, 1, 1])
    rotations = np.arctan2(-R[:, 2, 0], R[:, 2, 2])
    out = np.empty((len(R), 3))
    previous: Array | None = None
    for i, angles in enumerate(np.stack([tilts, lists, rotations], 1)):
        if cos_list[i] < SINGULAR:
            angles = _singular_zxy(R[i], lists[i], 0.0 if previous is None else previous[2])
        previous = out[i] = angles if previous is None else _nearest_zxy(angles, previous)
    return out


def _singular_zxy(R: Array, pelvis_list: float, rotation: float) -> Array:
    """Angles where |list| = 90 degrees: only tilt +- rotation is determined, so rotation stays as it was."""
    # list = +-90 degrees: R[0, 0] = cos(tilt +- rotation), R[1, 0] = sin(tilt +- rotation)
    turn = np.arctan2(R[1, 0], R[0, 0])
    return np.array([turn - np.sign(pelvis_list) * rotation, pelvis_list, rotation])


def _nearest_zxy(angles: Array, previous: Array) -> Array:
    """Of (t, l, r) and (t + pi, pi - l, r + pi), with whole turns added, the one nearest to ``previous``."""
    twins = np.stack([angles, [angles[0] + np.pi, np.pi - angles[1], angles[2] + np.pi]])
    twins += 2 * np.pi * np.round((previous - twins) / (2 * np.pi))
    return twins[np.abs(twins - previous).sum(1).argmin()]


def pelvis_from_opensim(coordinates: Array) -> Array:
    """Our free-flyer (T, 7) of OpenSim's pelvis coordinates (T, 6) [rad; m]: the inverse of ``opensim_pelvis``.

    Quaternions keep their sign from frame to frame.
    """
    from scipy.spatial.transform import Rotation

    c = np.asarray(coordinates, float)
    if c.ndim != 2 or c.shape[1] != 6:
        raise InputError(f"pelvis coordinates have shape {c.shape}; (T, 6) is needed: {', '.join(PELVIS_COORDINATES)}")
    R = Rotation.from_matrix(R_YUP_ZUP.T) * Rotation.from_euler("ZXY", c[:, :3])
    quat = R.as_quat()
    return np.hstack([to_z_up(c[:, 3:]), _same_sign(quat)])


def opensim_pelvis_jacobian(coordinates: Array) -> Array:
    """J (T, 6, 6) with v = J d(coordinates)/dt: OpenSim's pelvis rates to our twist in the pelvis frame.

    Args:
        coordinates: (T, 6) as ``opensim_pelvis`` gives them [rad; m].
    """
    from scipy.spatial.transform import Rotation

    c = np.asarray(coordinates, float)
    R = Rotation.from_euler("ZXY", c[:, :3]).as_matrix()  # R_ground_pelvis
    R_list_rotation = Rotation.from_euler("XY", c[:, 1:3]).as_matrix()
    R_rotation = Rotation.from_euler("Y", c[:, 2:3]).as_matrix()
    J = np.zeros((len(c), 6, 6))
    # linear = R^T [tx', ty', tz']
    J[:, :3, 3:] = R.transpose(0, 2, 1)
    # angular = (Rx Ry)^T e_z tilt' + Ry^T e_x list' + e_y rotation'
    J[:, 3:, 0] = R_list_rotation[:, 2, :]
    J[:, 3:, 1] = R_rotation[:, 0, :]
    J[:, 4, 2] = 1.0
    return J


def opensim_pelvis_forces(wrench: Array, coordinates: Array) -> Array:
    """Generalized forces (T, 6) [N.m; N] on OpenSim's pelvis coordinates of our root wrench.

    Args:
        wrench: (T, 6) force [N] and moment [N.m] at the pelvis origin, pelvis frame.
        coordinates: (T, 6) as ``opensim_pelvis`` gives them [rad; m].
    """
    # equal power for every motion: F . u = wrench . J u, hence F = J^T wrench
    return np.einsum("tij,ti->tj", opensim_pelvis_jacobian(coordinates), np.asarray(wrench, float))


# --- SMPL -----------------------------------------------------------------------------------------------------------

R_BODY_SMPL = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # x_body = R_BODY_SMPL @ x_smpl


def q_from_smpl(poses: ArrayLike, trans: ArrayLike, root_at: ArrayLike, *, up: str = "z") -> Array:
    """q (T, 7 + 4 (J - 1)) of a skeleton of balls from an SMPL model's own parameters.

    Args:
        poses: (T, J, 3) rotation vectors [rad], the root's first, model axes.
        trans: (T, 3) [m] the model's translation.
        root_at: (3,) [m] the root's place in the model at rest (``Skin.root_at``).
        up: the world's upward axis: "z" as in AMASS; "y" as in the model's own frame, whose z and x then become our -y
            and x.

    Returns:
        Pelvis position, quaternions xyzw, which keep their sign from frame to frame.
    """
    from scipy.spatial.transform import Rotation

    poses, trans = np.asarray(poses, float), np.asarray(trans, float)
    if poses.ndim != 3 or poses.shape[2] != 3 or trans.shape != (len(poses), 3):
        raise InputError(f"poses have shape {poses.shape}, trans {trans.shape}; (T, J, 3) and (T, 3) are needed")
    if up not in ("y", "z"):
        raise InputError(f"up={up!r}; possible: 'z' (AMASS), 'y' (the model's own frame)")
    T, J = poses.shape[:2]
    position = trans + np.asarray(root_at, float)
    R_root = Rotation.from_rotvec(poses[:, 0]) * Rotation.from_matrix(R_BODY_SMPL.T)
    if up == "y":
        position, R_root = to_z_up(position), Rotation.from_matrix(R_YUP_ZUP.T) * R_root
    balls = Rotation.from_rotvec((poses[:, 1:] @ R_BODY_SMPL.T).reshape(-1, 3)).as_quat().reshape(T, J - 1, 4)
    quats = np.concatenate([R_root.as_quat()[:, None], balls], 1)
    return np.hstack([position, _same_sign(quats).reshape(T, 4 * J)])


def rotation_vectors(quats: ArrayLike) -> Array:
    """Rotation vectors (T, 3) [rad] of quaternions xyzw (T, 4), in order of time, without jumps up to a full turn.

    The first has at most half a turn.
    """
    quats = np.asarray(quats, float)
    quats = _same_sign(np.where(quats[:1, 3:] < 0, -1.0, 1.0) * quats) if len(quats) else quats
    n = np.linalg.norm(quats[:, :3], axis=1, keepdims=True)
    # |w| = 2 atan2(|u|, w); beside zero w = 2 u
    factor = np.where(n > 1e-12, 2 * np.arctan2(n, quats[:, 3:]) / np.maximum(n, 1e-12), 2.0)
    return factor * quats[:, :3]


def _same_sign(quats: Array) -> Array:
    """Quaternions (T, ..., 4) of which each is nearer to the one before than its negative is."""
    flips = np.where((quats[1:] * quats[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([quats[:1], quats[1:] * np.cumprod(flips, 0)])
