"""MuJoCo, from MJCF, against Pinocchio, from the skeleton: two models built apart must move and weigh the same."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from dynamics_trees import TREES, random_external, random_state

from physpose import conventions, load_skeleton
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, SubjectError
from physpose.skeleton.mjcf import save_mjcf, to_mjcf

ATOL_POSE = 1e-9  # float64, rounding only
RTOL_TORQUE = 1e-8  # relative to the largest torque
G = np.array([0.3, -0.5, -9.7])

trees = pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())


def load(tree):
    model = mujoco.MjModel.from_xml_string(to_mjcf(tree))
    model.opt.gravity = G
    return model, mujoco.MjData(model)


@trees
def test_bodies_are_where_pinocchio_puts_them(tree):
    model, data = load(tree)
    q, _, _ = random_state(0, tree, 5)
    positions, rotations = PinocchioModel(tree).forward_kinematics(q)
    for t, qpos in enumerate(conventions.q_to_mujoco(tree, q)):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        for i, name in enumerate(tree.body_names):
            np.testing.assert_allclose(data.body(name).xpos, positions[t, i], atol=ATOL_POSE)
            np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), rotations[t, i], atol=ATOL_POSE)


@trees
def test_jacobian_matches_mujoco(tree):
    model, data = load(tree)
    q, v, _ = random_state(1, tree, 3)
    qvel = conventions.v_to_mujoco(tree, q, v)
    J = {name: PinocchioModel(tree).jacobian(name, q) for name in tree.body_names}
    for t, qpos in enumerate(conventions.q_to_mujoco(tree, q)):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        jac = np.zeros((6, model.nv))
        for name in tree.body_names:
            mujoco.mj_jacBody(model, data, jac[:3], jac[3:], model.body(name).id)
            np.testing.assert_allclose(J[name][t] @ v[t], jac @ qvel[t], atol=ATOL_POSE)


@trees
def test_inverse_dynamics_matches_mj_inverse(tree):
    model, data = load(tree)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    q, v, a = random_state(2, tree, 4)
    external = random_external(2, tree, 4)
    tau = PinocchioModel(tree).inverse_dynamics(q, v, a, G, external)
    states = (
        conventions.q_to_mujoco(tree, q),
        conventions.v_to_mujoco(tree, q, v),
        conventions.a_to_mujoco(tree, q, v, a),
    )
    for t, (qpos, qvel, qacc) in enumerate(zip(*states, strict=True)):
        data.qpos[:], data.qvel[:], data.qacc[:] = qpos, qvel, qacc
        mujoco.mj_kinematics(model, data)
        applied = np.zeros(model.nv)
        for name, w in external.items():
            mujoco.mj_comPos(model, data)
            mujoco.mj_applyFT(model, data, w[t, :3], w[t, 3:], data.body(name).xpos, model.body(name).id, applied)
        mujoco.mj_inverse(model, data)
        expected = conventions.tau_from_mujoco(tree, qpos, data.qfrc_inverse - applied)
        np.testing.assert_allclose(tau[t], expected, atol=RTOL_TORQUE * abs(expected).max())


@trees
def test_conversions_round_trip(tree):
    q, v, a = random_state(3, tree, 6)
    qpos, qvel = conventions.q_to_mujoco(tree, q), conventions.v_to_mujoco(tree, q, v)
    qacc = conventions.a_to_mujoco(tree, q, v, a)
    np.testing.assert_allclose(conventions.q_from_mujoco(tree, qpos), q, atol=1e-14)
    np.testing.assert_allclose(conventions.v_from_mujoco(tree, qpos, qvel), v, atol=1e-14)
    np.testing.assert_allclose(conventions.a_from_mujoco(tree, qpos, qvel, qacc), a, atol=1e-13)
    np.testing.assert_allclose(
        conventions.tau_from_mujoco(tree, qpos, conventions.tau_to_mujoco(tree, q, a)), a, atol=1e-14
    )


@trees
def test_conversion_is_mujocos_own_integration(tree):
    model, _ = load(tree)
    q, v, _ = random_state(4, tree, 3)
    dt = 1e-6
    q1 = conventions.q_to_mujoco(tree, PinocchioModel(tree).integrate(q, v * dt))
    for t, qpos in enumerate(conventions.q_to_mujoco(tree, q)):
        mujoco.mj_integratePos(model, qpos, conventions.v_to_mujoco(tree, q, v)[t], dt)
        np.testing.assert_allclose(qpos, q1[t], atol=1e-10)  # equal to second order in dt


@trees
def test_masses_and_inertias_survive_exactly(tree):
    model, _ = load(tree)
    for b in tree.bodies:
        m = model.body(b.name)
        assert m.mass[0] == b.mass
        R = np.zeros(9)
        mujoco.mju_quat2Mat(R, m.iquat)
        R = R.reshape(3, 3)
        np.testing.assert_allclose(m.ipos, b.com, atol=1e-15)
        np.testing.assert_allclose(R @ np.diag(m.inertia) @ R.T, b.inertia, atol=1e-9 * np.trace(b.inertia))


def test_joints_are_named_as_coordinates_and_points_are_sites():
    tree = TREES["adult"]
    model, data = load(tree)
    names = {model.joint(i).name for i in range(model.njnt)}
    assert set(tree.coordinate_names) <= names
    for c in tree.coordinates:
        np.testing.assert_array_equal(model.joint(c.name).range, c.range)
    for name, keypoint_set in tree.keypoint_sets.items():
        for point in keypoint_set.points:
            np.testing.assert_allclose(model.site(f"{name}:{point.name}").pos, point.offset)
    for point in tree.contact_points:
        np.testing.assert_allclose(model.site(point.name).pos, point.offset)


def test_what_one_sees_has_the_mass_that_moves():
    tree = TREES["adult"]
    model, _ = load(tree)
    for b in tree.bodies:
        geoms = [model.geom(i) for i in range(model.ngeom) if model.geom(i).bodyid[0] == model.body(b.name).id]
        (ellipsoid,) = (g for g in geoms if g.type[0] == mujoco.mjtGeom.mjGEOM_ELLIPSOID)
        x, y, z = ellipsoid.size**2
        R = np.zeros(9)
        mujoco.mju_quat2Mat(R, ellipsoid.quat)
        R = R.reshape(3, 3)
        inertia = R @ np.diag([y + z, x + z, x + y]) @ R.T * b.mass / 5
        np.testing.assert_allclose(inertia, b.inertia, atol=1e-12 * np.trace(b.inertia))
        np.testing.assert_allclose(ellipsoid.pos, b.com, atol=1e-12)


def test_nothing_touches_unless_asked():
    tree = TREES["adult"]
    for contacts in (False, True):
        model = mujoco.MjModel.from_xml_string(to_mjcf(tree, contacts=contacts))
        data = mujoco.MjData(model)
        data.qpos[:] = conventions.q_to_mujoco(tree, tree.neutral)
        mujoco.mj_kinematics(model, data)
        data.qpos[2] -= min(data.site(p.name).xpos[2] for p in tree.contact_points)
        mujoco.mj_forward(model, data)
        assert (data.ncon > 0) is contacts


def test_file_is_written_and_its_suffix_checked(tmp_path):
    path = save_mjcf(TREES["zoo"], tmp_path / "zoo.xml")
    assert mujoco.MjModel.from_xml_path(str(path)).nv == TREES["zoo"].nv
    assert [p.name for p in tmp_path.iterdir()] == ["zoo.xml"]
    with pytest.raises(InputError, match=r"\.xml"):
        save_mjcf(TREES["zoo"], tmp_path / "zoo.txt")


def test_a_saved_body_loads_again_by_its_name(tmp_path):
    skeleton = load_skeleton("child", age=8, height=1.28, mass=26)
    path = skeleton.save(tmp_path / "child.xml")
    again = load_skeleton(path)
    assert sorted(again.coordinate_names) == sorted(skeleton.coordinate_names)  # MuJoCo goes depth first
    assert again.mass == pytest.approx(26, abs=1e-9)


def test_only_what_can_be_saved_is_and_a_file_has_its_own_subject(tmp_path):
    skeleton = load_skeleton("adult", height=1.7, mass=60)
    with pytest.raises(InputError, match=r"\.xml"):
        skeleton.save(tmp_path / "body.obj")
    with pytest.raises(InputError, match="no such file"):
        load_skeleton(tmp_path / "none.xml")
    with pytest.raises(SubjectError, match="height"):
        load_skeleton(skeleton.save(tmp_path / "body.xml"), height=1.8)


def test_gravity_is_the_skeletons_else_the_earths():
    body = load_skeleton("adult", height=1.75, mass=70)
    for gravity, wanted in ((None, [0, 0, -9.81]), (np.zeros(3), [0, 0, 0]), (np.array([0, 0, -1.62]), [0, 0, -1.62])):
        model = mujoco.MjModel.from_xml_string(to_mjcf(replace(body, gravity=gravity)))
        np.testing.assert_allclose(model.opt.gravity, wanted)
