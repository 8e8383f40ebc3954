"""Our free-flyer against OpenSim's pelvis coordinates: scipy's rotations, finite differences, OpenSim itself."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from physpose.conventions import (
    angles_of,
    euler_forces,
    euler_jacobian,
    pose_of,
    to_y_up,
    to_z_up,
)
from physpose.errors import InputError

ATOL = 1e-12  # float64, three rotations in a row


def ground_R_pelvis(c: np.ndarray) -> np.ndarray:
    """Slow twin: elementary rotations of the ground_pelvis joint, body-fixed z, x, y."""

    def turn(axis: int, angle: float) -> np.ndarray:
        i, j = (axis + 1) % 3, (axis + 2) % 3
        R = np.eye(3)
        R[i, i] = R[j, j] = np.cos(angle)
        R[j, i], R[i, j] = np.sin(angle), -np.sin(angle)
        return R

    return turn(2, c[0]) @ turn(0, c[1]) @ turn(1, c[2])


def smooth_coordinates(rng: np.random.Generator, T: int = 200) -> np.ndarray:
    t = np.linspace(0, 1, T)[:, None]
    return np.hstack([0.7 * np.sin(2 * np.pi * (t * rng.uniform(0.5, 2, 3) + rng.random(3))), rng.normal(size=(T, 3))])


def test_up_forward_and_right_keep_their_meaning():
    np.testing.assert_array_equal(to_y_up([[0, 0, 1], [1, 0, 0], [0, -1, 0]]), [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    x = np.random.default_rng(0).normal(size=(3, 1, 2, 3))
    np.testing.assert_allclose(to_z_up(to_y_up(x)), x, atol=ATOL)


def test_upright_pelvis_facing_forward_has_zero_angles():
    R_world_pelvis = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # pelvis y is up, pelvis z is to the right: -y
    q7 = np.r_[0.2, 0.3, 0.9, Rotation.from_matrix(R_world_pelvis).as_quat()][None]
    np.testing.assert_allclose(angles_of(q7), [[0, 0, 0, 0.2, 0.9, -0.3]], atol=ATOL)


@pytest.mark.parametrize(
    ("axis", "name"), [([0, -1, 0], "tilt"), ([1, 0, 0], "list"), ([0, 0, 1], "rotation")], ids=lambda x: str(x)
)
def test_a_turn_about_one_world_axis_is_one_coordinate(axis, name):
    # backward tilt about the right-hand axis, list about forward, rotation about up
    upright = Rotation.from_matrix([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    quat = (Rotation.from_rotvec(0.3 * np.array(axis)) * upright).as_quat()
    angles = angles_of(np.r_[0, 0, 0, quat][None])[0, :3]
    expected = 0.3 * np.array([name == n for n in ("tilt", "list", "rotation")])
    np.testing.assert_allclose(angles, expected, atol=ATOL)


def test_round_trip_and_rotation_matrices():
    c = smooth_coordinates(np.random.default_rng(1))
    q7 = pose_of(c)
    np.testing.assert_allclose(angles_of(q7), c, atol=1e-9)
    R_ours = Rotation.from_quat(q7[:, 3:]).as_matrix()
    R_ground = np.array([ground_R_pelvis(x) for x in c])
    np.testing.assert_allclose(to_y_up(R_ours.transpose(0, 2, 1)).transpose(0, 2, 1), R_ground, atol=ATOL)
    assert ((q7[1:, 3:] * q7[:-1, 3:]).sum(1) > 0).all()


def test_several_turns_and_a_cartwheel_run_on_without_jumps():
    t = np.linspace(0, 1, 500)[:, None]
    c = np.hstack([0.1 + 0 * t, 0.05 + 4 * np.pi * t, -5 * np.pi * t, t, t, t])
    found = angles_of(pose_of(c))
    assert np.abs(np.diff(found[:, :3], axis=0)).max() < 0.1
    np.testing.assert_allclose(found, c, atol=1e-9)


def test_lying_exactly_on_the_side_keeps_the_attitude():
    side = np.pi / 2
    c = np.array([[0.4, x, 0.3, 0, 0, 0] for x in (side - 0.2, side, 0.2 - side, -side)])
    for frames in (c[:2], c[2:], c[1:2], c[3:]):
        q7 = pose_of(frames)
        again = pose_of(angles_of(q7))
        turn = Rotation.from_quat(again[:, 3:]) * Rotation.from_quat(q7[:, 3:]).inv()
        np.testing.assert_allclose(turn.magnitude(), 0, atol=1e-7)


def test_a_missing_frame_stays_missing_and_alone():
    q7 = pose_of(smooth_coordinates(np.random.default_rng(2), 20))
    whole = angles_of(q7)
    q7[7] = np.nan
    found = angles_of(q7)
    assert np.isnan(found[7]).all()
    np.testing.assert_allclose(np.delete(found, 7, 0), np.delete(whole, 7, 0), atol=ATOL)


def test_jacobian_is_the_derivative_of_the_pose():
    c = smooth_coordinates(np.random.default_rng(3), 20)
    u = np.random.default_rng(4).normal(size=c.shape)
    h = 1e-6
    q0, q1 = pose_of(c - h * u), pose_of(c + h * u)
    R = Rotation.from_quat(pose_of(c)[:, 3:])
    linear = R.inv().apply((q1[:, :3] - q0[:, :3]) / (2 * h))
    angular = (Rotation.from_quat(q0[:, 3:]).inv() * Rotation.from_quat(q1[:, 3:])).as_rotvec() / (2 * h)
    v = np.einsum("tij,tj->ti", euler_jacobian(c), u)
    np.testing.assert_allclose(v, np.hstack([linear, angular]), atol=1e-8)  # h^2 and rounding / h


def test_weight_at_the_pelvis_is_a_force_along_ty():
    c = smooth_coordinates(np.random.default_rng(5), 10)
    R_world_pelvis = Rotation.from_quat(pose_of(c)[:, 3:])
    wrench = np.hstack([R_world_pelvis.inv().apply([0, 0, 700.0]), np.zeros((10, 3))])
    np.testing.assert_allclose(euler_forces(wrench, c), np.tile([0, 0, 0, 0, 700.0, 0], (10, 1)), atol=1e-9)


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match=r"\(4, 3\).*\(T, 7\)"):
        angles_of(np.zeros((4, 3)))
    with pytest.raises(InputError, match="pelvis_tilt"):
        pose_of(np.zeros((4, 3)))
