"""Where the bodies of a skeleton are in its neutral pose, without tensors."""

from __future__ import annotations

import numpy as np

from physpose.skeleton.model import Joint, Skeleton
from physpose.types import Array


def neutral_pose(skeleton: Skeleton) -> tuple[dict[str, Array], dict[str, Array]]:
    """Positions (3,) [m] of the bodies' origins and R_world_body (3, 3), by body name."""
    q = skeleton.expanded.neutral
    p: dict[str | None, Array] = {None: np.zeros(3)}
    R: dict[str | None, Array] = {None: np.eye(3)}
    for body in skeleton.bodies:
        joint = body.joint
        R_own, p_own = _moved(joint, q[: joint.nq])
        q = q[joint.nq :]
        R_parent, R_joint = R[body.parent], np.asarray(joint.rotation)
        p[body.name] = p[body.parent] + R_parent @ (joint.translation + R_joint @ p_own)
        R[body.name] = R_parent @ R_joint @ R_own
    names = skeleton.body_names
    return {n: p[n] for n in names}, {n: R[n] for n in names}


def _moved(joint: Joint, q: Array) -> tuple[Array, Array]:
    """What a joint's own coordinates turn and shift."""
    from scipy.spatial.transform import Rotation

    if joint.kind in ("free", "ball"):
        return Rotation.from_quat(q[-4:]).as_matrix(), q[:3] if joint.kind == "free" else np.zeros(3)
    R, p = np.eye(3), np.zeros(3)
    for c, x in zip(joint.coordinates, q, strict=True):
        if c.kind == "hinge":
            R = R @ Rotation.from_rotvec(x * np.asarray(c.axis)).as_matrix()
        else:
            p = p + x * R @ c.axis
    return R, p
