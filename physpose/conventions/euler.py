"""Joints that move by a quaternion here and by angles in a file: OpenSim's ground_pelvis, FreeJoint and BallJoint.

OpenSim is y up, x forward, z to the right, so (x, y, z)_opensim = (x, z, -y)_ours. The pelvis moves in the ground by
three
body-fixed turns and three slides: pelvis_tilt about z, pelvis_list about x, pelvis_rotation about y, and the slides
along the axes of the ground (joint "ground_pelvis" of Rajagopal et al. 2016 and of Gait2392); others have other axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from physpose.errors import InputError
from physpose.types import Array

R_YUP_ZUP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x_yup = R_YUP_ZUP @ x_zup
PELVIS_COORDINATES = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz")
SINGULAR = 1e-6  # of the middle angle's cosine: closer to 90 degrees, the first and the last angle are one turn


def to_y_up(x: Array) -> Array:
    """Vectors (..., 3) from our z-up world to OpenSim's y-up ground."""
    return np.asarray(x, float) @ R_YUP_ZUP.T


def to_z_up(x: Array) -> Array:
    """Vectors (..., 3) from OpenSim's y-up ground to our z-up world."""
    return np.asarray(x, float) @ R_YUP_ZUP


@dataclass(frozen=True, kw_only=True, eq=False)
class EulerJoint:
    """T_outer_body = T_outer_frame [R(a1, x1) R(a2, x2) R(a3, x3), b1 x4 + b2 x5 + b3 x6] T_body_frame^-1.

    x = sign * c + offset, c the coordinates called ``names``; a and b are the rows of ``turns`` and ``slides``. A free
    joint's outer frame is the z-up world and q its body's pose there; a ball's q is the turn that its three angles
    make, in the body's axes: R(q) = R_child R(a1, x1) R(a2, x2) R(a3, x3) R_child^T.
    """

    joint: str  # its name in the skeleton
    names: tuple[str, ...]  # three angles, then a free joint's three slides
    turns: Array = field(default_factory=lambda: np.eye(3))  # (3, 3) orthonormal rows, in the order in which they turn
    slides: Array = field(default_factory=lambda: np.zeros((0, 3)))  # (3, 3) orthonormal rows, or (0, 3)
    sign: Array = field(default_factory=lambda: np.ones(3))  # (n,) 1 or -1
    offset: Array = field(default_factory=lambda: np.zeros(3))  # (n,) [rad; m]
    R_parent: Array = field(default_factory=lambda: np.eye(3))  # of the joint's frame in the outer one
    p_parent: Array = field(default_factory=lambda: np.zeros(3))
    R_child: Array = field(default_factory=lambda: np.eye(3))  # of the joint's frame in the body
    p_child: Array = field(default_factory=lambda: np.zeros(3))


GROUND_PELVIS = EulerJoint(
    joint="ground_pelvis", names=PELVIS_COORDINATES, turns=np.eye(3)[[2, 0, 1]], slides=np.eye(3), sign=np.ones(6),
    offset=np.zeros(6), R_parent=R_YUP_ZUP.T,
)  # fmt: skip


# --- poses ----------------------------------------------------------------------------------------------------------


def pose_of(c: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """q (T, 7) of a free joint or (T, 4) of a ball, of its coordinates c (T, 6) or (T, 3) [rad; m].

    Quaternions xyzw keep their sign from frame to frame.
    """
    x = joint.sign * _checked(c, joint) + joint.offset
    R1, R2, R3 = _turns(x, joint)
    R = R1 @ R2 @ R3
    if not len(joint.slides):
        return _continuous_quat(joint.R_child @ R @ joint.R_child.T)
    R_body = joint.R_parent @ R @ joint.R_child.T
    p = joint.p_parent + x[:, 3:] @ joint.slides @ joint.R_parent.T - R_body @ joint.p_child
    return np.hstack([p, _continuous_quat(R_body)])


def angles_of(q: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """Coordinates (T, 6) or (T, 3) [rad; m] of q (T, 7) or (T, 4), frames in order of time: the inverse of ``pose_of``.

    The angles run on without jumps: of the two triples for one attitude and their full turns, the one nearest to the
    frame before; the first has the middle one within 90 degrees. A frame with NaN gives NaN.
    """
    from scipy.spatial.transform import Rotation

    q, n = np.asarray(q, float), 7 if len(joint.slides) else 4
    if q.ndim != 2 or q.shape[1] != n:
        raise InputError(f"{joint.joint} poses have shape {q.shape}; (T, {n}) is needed: {'position and ' * (n == 7)}"
                         "quaternion xyzw")  # fmt: skip
    x = np.full((len(q), len(joint.names)), np.nan)
    good = np.isfinite(q).all(1)
    if good.any():
        R_body = Rotation.from_quat(q[good, -4:]).as_matrix()
        outer = joint.R_parent if n == 7 else joint.R_child
        x[good, :3] = _continuous_angles(outer.T @ R_body @ joint.R_child, joint.turns)
        if n == 7:
            p = q[good, :3] + R_body @ joint.p_child - joint.p_parent
            x[good, 3:] = p @ joint.R_parent @ joint.slides.T
    return (x - joint.offset) * joint.sign


def _checked(c: Array, joint: EulerJoint) -> Array:
    c = np.asarray(c, float)
    if c.ndim != 2 or c.shape[1] != len(joint.names):
        raise InputError(f"{joint.joint} coordinates have shape {c.shape}; (T, {len(joint.names)}) is needed: "
                         f"{', '.join(joint.names)}")  # fmt: skip
    return c


def _turns(x: Array, joint: EulerJoint) -> list[Array]:
    """Three elementary rotations, each (T, 3, 3)."""
    from scipy.spatial.transform import Rotation

    return [Rotation.from_rotvec(x[:, k, None] * axis).as_matrix() for k, axis in enumerate(joint.turns)]


def _continuous_quat(R: Array) -> Array:
    """Quaternions xyzw (T, 4) that keep their sign from frame to frame."""
    from scipy.spatial.transform import Rotation

    quat = Rotation.from_matrix(R).as_quat()
    flips = np.sign((quat[1:] * quat[:-1]).sum(1))
    quat[1:] *= np.cumprod(np.where(flips == 0, 1.0, flips))[:, None]
    return quat


def _continuous_angles(R: Array, turns: Array) -> Array:
    """(T, 3) angles about the rows of ``turns`` that make R (T, 3, 3), each frame nearest to the one before."""
    # with the turns for axes they are x, y, z; a left-handed triple has its last axis, and so its last angle, reversed
    hand = np.sign(np.linalg.det(turns))
    E = turns * np.array([1, 1, hand])[:, None]
    out = _continuous_xyz(E @ R @ E.T)
    return out * np.array([1, 1, hand])


def xyz_angles(R: Array) -> Array:
    """Angles (3,) [rad] of R (3, 3) = Rx(x) Ry(y) Rz(z), as OpenSim places frames; any y, 90 degrees too."""
    return _continuous_xyz(np.asarray(R, float)[None])[0]


def _continuous_xyz(R: Array) -> Array:
    """(T, 3) angles of R = Rx(x) Ry(y) Rz(z), each frame nearest to the one before."""
    # R = [[cos y cos z, -cos y sin z, sin y], [., ., -sin x cos y], [., ., cos x cos y]]
    cos_y = np.hypot(R[:, 0, 0], R[:, 0, 1])
    x = np.arctan2(-R[:, 1, 2], R[:, 2, 2])
    y = np.arctan2(R[:, 0, 2], cos_y)
    z = np.arctan2(-R[:, 0, 1], R[:, 0, 0])
    out = np.empty((len(R), 3))
    previous: Array | None = None
    for i, angles in enumerate(np.stack([x, y, z], 1)):
        if cos_y[i] < SINGULAR:
            angles = _singular_xyz(R[i], y[i], 0.0 if previous is None else previous[2])
        previous = out[i] = angles if previous is None else _nearest(angles, previous)
    return out


def _singular_xyz(R: Array, y: float, z: float) -> Array:
    """Angles where |y| = 90 degrees: only x +- z is determined, so z stays as it was."""
    # y = +-90 degrees: R[1, 1] = cos(x +- z), R[2, 1] = sin(x +- z)
    return np.array([np.arctan2(R[2, 1], R[1, 1]) - np.sign(y) * z, y, z])


def _nearest(angles: Array, previous: Array) -> Array:
    """Of (x, y, z) and (x + pi, pi - y, z + pi), with whole turns added, the one nearest to ``previous``."""
    twins = np.stack([angles, [angles[0] + np.pi, np.pi - angles[1], angles[2] + np.pi]])
    twins += 2 * np.pi * np.round((previous - twins) / (2 * np.pi))
    return twins[np.abs(twins - previous).sum(1).argmin()]


# --- rates and forces -----------------------------------------------------------------------------------------------


def euler_jacobian(c: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """J (T, n, n) with v = J dc/dt: rates of the coordinates to the twist, or a ball's angular velocity, in the body.

    Generalized forces follow: by equal power for every motion, F_c = J^T F_v.
    """
    x = joint.sign * _checked(c, joint) + joint.offset
    R1, R2, R3 = _turns(x, joint)
    n = len(joint.names)
    J = np.zeros((len(x), n, n))
    # w = R_child ((R2 R3)^T a1 x1' + R3^T a2 x2' + a3 x3')
    carried = [joint.turns[0] @ (R2 @ R3), joint.turns[1] @ R3, np.broadcast_to(joint.turns[2], (len(x), 3))]
    angular = np.stack(carried, -1)
    angular = joint.R_child @ angular
    J[:, n - 3 :, :3] = angular
    if n == 6:
        # v = R_body^T R_parent (b1 x4' + ...) + p_child x w
        J[:, :3, 3:] = joint.R_child @ (R1 @ R2 @ R3).transpose(0, 2, 1) @ joint.slides.T
        J[:, :3, :3] = np.cross(joint.p_child, angular, axisb=1, axisc=1)
    return J * joint.sign


def euler_bias(c: Array, rates: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """dJ/dt dc/dt (T, n): what is left of dv/dt where the coordinates' own accelerations are zero."""
    rates, J = _checked(rates, joint), euler_jacobian(c, joint)
    n = len(joint.names)
    columns = J[:, n - 3 :, :3] * rates[:, None, :3]  # a_k x_k', in the body
    v = np.einsum("tij,tj->ti", J, rates)
    w = v[:, -3:]
    # the axis a_k turns with the body less what turns after it: d/dt a_k = -(sum of the later a_j x_j') x a_k
    later = columns[:, :, ::-1].cumsum(-1)[:, :, ::-1] - columns
    dw = -np.cross(later, columns, axis=1).sum(-1)
    if n == 3:
        return dw
    # the body's origin is p_child behind the joint's frame, whose velocity u in the world has no acceleration here:
    # v = R^T u + p_child x w
    u = v[:, :3] - np.cross(joint.p_child, w)
    return np.hstack([-np.cross(w, u) + np.cross(joint.p_child, dw), dw])


def euler_twist(c: Array, rates: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """v (T, n) of the rates dc/dt (T, n)."""
    return np.einsum("tij,tj->ti", euler_jacobian(c, joint), _checked(rates, joint))


def euler_forces(F: Array, c: Array, joint: EulerJoint = GROUND_PELVIS) -> Array:
    """Generalized forces (T, n) [N.m; N] on the coordinates, of those on v: force and moment at the body's origin, in
    its frame, or a ball's moment."""
    return np.einsum("tij,ti->tj", euler_jacobian(c, joint), np.asarray(F, float))
