"""MJCF files become skeletons that move and weigh as MuJoCo says."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dynamics_trees import TREES, random_state

from physpose import conventions
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError
from physpose.skeleton import load_skeleton
from physpose.skeleton.mjcf import save_mjcf
from physpose.skeleton.mjcf_read import read_mjcf
from physpose.skeleton.pose import neutral_pose

FOREIGN = """
<mujoco model="foreign">
  <compiler angle="degree"/>
  <default><joint damping="1" armature="0.1"/></default>
  <worldbody>
    <body name="base" pos="0 0 1" quat="1 0.2 0 0">
      <freejoint name="root"/>
      <geom type="box" size=".1 .2 .3" pos="0.05 0 0"/>
      <body name="arm" pos="0.1 0.2 0.3" euler="20 30 40">
        <joint name="lift" type="slide" axis="1 2 0"/>
        <joint name="turn" axis="0 0 1" pos="0.1 -0.2 0.05" range="-30 60"/>
        <joint name="bend" axis="1 0 1" pos="0.1 -0.2 0.05"/>
        <geom type="capsule" size=".05" fromto="0 0 0 0.3 0.1 0"/>
        <site name="coco:wrist" pos="0.3 0.1 0"/>
        <body pos="0.3 0.1 0">
          <geom type="sphere" size=".1" pos="0.1 0 0"/>
          <body name="ball" pos="0 0.1 0" euler="10 0 0">
            <joint name="wobble" type="ball" pos="0 0.05 0"/>
            <geom type="ellipsoid" size=".1 .05 .07" pos="0 0.1 0" euler="5 6 7"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "foreign.xml"
    path.write_text(FOREIGN)
    return path


def test_foreign_model_moves_and_weighs_as_in_mujoco(foreign):
    tree = read_mjcf(foreign)
    model = mujoco.MjModel.from_xml_path(str(foreign))
    model.dof_damping[:], model.dof_armature[:] = 0, 0
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    data = mujoco.MjData(model)
    q, v, a = random_state(0, tree, 5)
    tau = PinocchioModel(tree).inverse_dynamics(q, v, a, model.opt.gravity)
    com = PinocchioModel(tree).com(q)
    qpos, qvel = conventions.q_to_mujoco(tree, q), conventions.v_to_mujoco(tree, q, v)
    qacc = conventions.a_to_mujoco(tree, q, v, a)
    for t in range(5):
        data.qpos, data.qvel, data.qacc = qpos[t], qvel[t], qacc[t]
        mujoco.mj_inverse(model, data)
        np.testing.assert_allclose(data.subtree_com[1], com[t], atol=1e-12)
        expected = conventions.tau_from_mujoco(tree, qpos[t], data.qfrc_inverse)
        np.testing.assert_allclose(tau[t], expected, atol=1e-8 * abs(expected).max())


def test_what_the_file_says_beyond_the_bodies(foreign):
    tree = read_mjcf(foreign)
    assert tree.name == "foreign"
    assert tree.coordinate_names == ("lift", "turn", "bend")
    np.testing.assert_allclose(tree.coordinates[1].range, np.deg2rad([-30, 60]))
    assert tree.coordinates[2].range == (-np.inf, np.inf)
    assert any("damping" in w for w in tree.warnings)
    assert any("armature" in w for w in tree.warnings)
    np.testing.assert_allclose(tree.keypoint_set("coco").points[0].offset, [0.2, 0.3, -0.05])
    np.testing.assert_allclose(tree.neutral[:3], [0, 0, 1])


@pytest.mark.parametrize("name", TREES)
def test_our_own_files_come_back(name, tmp_path):
    tree = TREES[name]
    back = read_mjcf(save_mjcf(tree, tmp_path / "body.xml"))
    assert set(back.body_names) == set(tree.body_names)
    assert set(back.coordinate_names) == set(tree.coordinate_names)
    assert {p.name for p in back.contact_points} == {p.name for p in tree.contact_points}
    for n, keypoints in tree.keypoint_sets.items():
        assert back.keypoint_set(n).names == keypoints.names  # in the detector's order
        np.testing.assert_array_equal(back.keypoint_set(n).sigma, keypoints.sigma)
        offsets = ([p.offset for p in k.points] for k in (back.keypoint_set(n), keypoints))
        np.testing.assert_allclose(*offsets, atol=1e-15)
    q, v, a = random_state(0, tree, 2)
    qpos, qvel = conventions.q_to_mujoco(tree, q), conventions.v_to_mujoco(tree, q, v)
    qacc = conventions.a_to_mujoco(tree, q, v, a)
    state = (
        conventions.q_from_mujoco(back, qpos),
        conventions.v_from_mujoco(back, qpos, qvel),
        conventions.a_from_mujoco(back, qpos, qvel, qacc),
    )
    expected = conventions.tau_to_mujoco(tree, q, PinocchioModel(tree).inverse_dynamics(q, v, a))
    tau = conventions.tau_to_mujoco(back, state[0], PinocchioModel(back).inverse_dynamics(*state))
    np.testing.assert_allclose(tau, expected, atol=1e-9 * abs(expected).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('pos="0.1 -0.2 0.05"/>', 'pos="0 0 0"/>'), "arm turn about different points"),
        (('name="bend"', 'name="bend" ref="10"'), "bend has ref"),
        (("<worldbody>", "<worldbod>"), "not a model that MuJoCo can load"),
    ],
)
def test_what_cannot_be_read_says_why(foreign, change, message):
    foreign.write_text(FOREIGN.replace(*change))
    with pytest.raises(InputError, match=message):
        read_mjcf(foreign)


@pytest.mark.parametrize(("name", "age"), [("adult", None), ("child", 8)])
def test_a_saved_body_stands_where_it_stood(name, age, tmp_path):
    body = load_skeleton(name, age=age)
    again = read_mjcf(body.save(tmp_path / "body.xml"))
    np.testing.assert_allclose(again.neutral[:7], body.neutral[:7], atol=1e-12)
    p, found = neutral_pose(body)[0], neutral_pose(again)[0]
    for part in body.body_names:
        np.testing.assert_allclose(found[part], p[part], atol=1e-12)
