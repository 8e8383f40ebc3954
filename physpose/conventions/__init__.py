"""Conversions between conventions, at the boundary to other programs: all of them are here.

physpose: z up; q = [p_world, quaternion xyzw, coordinates]; v = [linear, angular (pelvis frame), rates] (Pinocchio's).
"""

from physpose.conventions.euler import (
    GROUND_PELVIS,
    PELVIS_COORDINATES,
    R_YUP_ZUP,
    EulerJoint,
    angles_of,
    euler_bias,
    euler_forces,
    euler_jacobian,
    euler_twist,
    pose_of,
    to_y_up,
    to_z_up,
    xyz_angles,
)
from physpose.conventions.laboratory import R_BVH_ZUP, R_ZUP_LAB, lab_axis, lab_to_z_up
from physpose.conventions.mujoco import (
    a_from_mujoco,
    a_to_mujoco,
    depth_first,
    q_from_mujoco,
    q_to_mujoco,
    tau_from_mujoco,
    tau_to_mujoco,
    v_from_mujoco,
    v_to_mujoco,
)
from physpose.conventions.opensim import (
    a_from_opensim,
    a_to_opensim,
    angle_names,
    dependent_coordinates,
    opensim_names,
    q_from_opensim,
    q_to_opensim,
    tau_to_opensim,
    v_from_opensim,
    v_to_opensim,
)
from physpose.conventions.smpl import R_BODY_SMPL, UPRIGHT_XYZW, q_from_smpl, rotation_vectors

__all__ = [
    "EulerJoint", "GROUND_PELVIS", "PELVIS_COORDINATES", "R_BODY_SMPL", "R_BVH_ZUP", "R_YUP_ZUP", "R_ZUP_LAB",
    "UPRIGHT_XYZW", "a_from_mujoco", "a_from_opensim", "a_to_mujoco", "a_to_opensim", "angle_names", "angles_of",
    "dependent_coordinates", "depth_first", "euler_bias", "euler_forces", "euler_jacobian", "euler_twist",
    "lab_axis", "lab_to_z_up", "opensim_names", "pose_of", "q_from_mujoco", "q_from_opensim", "q_from_smpl",
    "q_to_mujoco", "q_to_opensim", "rotation_vectors", "tau_from_mujoco", "tau_to_mujoco", "tau_to_opensim",
    "to_y_up", "to_z_up", "v_from_mujoco", "v_from_opensim", "v_to_mujoco", "v_to_opensim", "xyz_angles",
]  # fmt: skip
