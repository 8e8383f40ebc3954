"""What is worn on a body: masses and inertias join exactly, seen through MuJoCo and Pinocchio."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import physpose
from physpose import conventions, load_skeleton
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, SubjectError, UnknownNameError
from physpose.skeleton.mjcf import to_mjcf

RTOL = 1e-9  # two programs' inverse dynamics, float64
MASS, COM = 1.7, np.array([0.03, -0.21, 0.08])
R = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix()
INERTIA = R @ np.diag([0.011, 0.004, 0.012]) @ R.T


@pytest.fixture(scope="module")
def adult():
    return load_skeleton("adult", sex="f", height=1.68, mass=60)


def torques_in_mujoco(xml, skeleton, q, v, a):
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    qpos, out = conventions.q_to_mujoco(skeleton, q), []
    for t in range(len(q)):
        data.qpos[:] = qpos[t]
        data.qvel[:] = conventions.v_to_mujoco(skeleton, q, v)[t]
        data.qacc[:] = conventions.a_to_mujoco(skeleton, q, v, a)[t]
        mujoco.mj_inverse(model, data)
        out.append(data.qfrc_inverse.copy())
    return conventions.tau_from_mujoco(skeleton, qpos, np.array(out))


def random_motion(skeleton, T=5):
    rng = np.random.default_rng(3)
    q = np.tile(skeleton.neutral, (T, 1))
    q[:, :3] += rng.normal(size=(T, 3))
    q[:, 3:7] = Rotation.random(T, random_state=4).as_quat()
    q[:, 7:] += rng.uniform(-0.5, 0.5, (T, len(skeleton.coordinates)))
    return q, rng.normal(size=(T, skeleton.nv)), rng.normal(size=(T, skeleton.nv)) * 5


@pytest.mark.parametrize("inertia", [None, INERTIA])
def test_torques_are_those_of_a_separate_body_welded_on(adult, inertia):
    worn = adult.attach("tibia_r", MASS, COM, inertia, name="shank frame")
    motion = random_motion(adult)
    full = np.zeros((3, 3)) if inertia is None else inertia
    # MuJoCo gets the device as a body of its own; its smallest inertia is not zero
    i = (full + 1e-12 * np.eye(3))[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    device = (
        f'<body name="device" pos="{COM[0]} {COM[1]} {COM[2]}"><inertial pos="0 0 0" mass="{MASS}" '
        f'fullinertia="{" ".join(map(repr, map(float, i)))}"/></body>'
    )
    xml = to_mjcf(adult).replace('<body name="tibia_r"', "\0", 1)
    head, tail = xml.split("\0")
    opening, rest = tail.split(">", 1)
    apart = torques_in_mujoco(f'{head}<body name="tibia_r"{opening}>{device}{rest}', adult, *motion)
    ours = PinocchioModel(worn).inverse_dynamics(*motion)
    assert np.abs(ours - apart).max() < RTOL * np.abs(apart).max()
    bare = PinocchioModel(adult).inverse_dynamics(*motion)
    assert np.abs(bare - apart).max() > 1.0  # [N.m] the device matters


def test_attaching_keeps_the_person_and_tells_of_the_device(adult):
    worn = adult.attach("pelvis", 4.2, np.zeros(3), name="battery").attach("femur_l", 1.1, COM)
    assert worn.mass == pytest.approx(adult.mass + 5.3)
    assert worn.subject == adult.subject
    assert worn.body_names == adult.body_names
    assert worn.assumptions[-2].what == "worn on pelvis"
    assert "battery, 4.2 kg" in worn.assumptions[-2].value
    assert adult.mass == pytest.approx(60)  # the original is untouched


def test_attaching_twice_is_attaching_both_at_once(adult):
    one = adult.attach("torso", 2.0, np.array([0.1, 0.2, 0])).attach("torso", 2.0, np.array([-0.1, 0.2, 0]))
    spread = 4.0 * np.diag([0.0, 0.01, 0.01])  # two points 0.1 m to each side along x
    both = adult.attach("torso", 4.0, np.array([0.0, 0.2, 0]), spread)
    i = adult.body_index("torso")
    np.testing.assert_allclose(one.bodies[i].com, both.bodies[i].com, atol=1e-12)
    np.testing.assert_allclose(one.bodies[i].inertia, both.bodies[i].inertia, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": -1.0}, "mass -1.0 kg"),
        ({"mass": np.nan}, "mass nan kg"),
        ({"com": np.zeros(2)}, "centre of mass"),
        ({"com": np.array([-80.0, 50.0, 0.0])}, "in mm"),
        ({"inertia": np.diag([1.0, 1, -1])}, "negative principal"),
        ({"inertia": np.array([[1.0, 2, 0], [0, 1, 0], [0, 0, 1]])}, "symmetric"),
    ],
)
def test_impossible_devices_are_refused(adult, change, message):
    with pytest.raises(InputError, match=message):
        adult.attach(**({"body": "torso", "mass": 1.0, "com": COM} | change))


def test_an_unknown_body_is_refused_with_those_that_exist(adult):
    with pytest.raises(UnknownNameError, match="'thigh'.*femur_r"):
        adult.attach("thigh", 1.0, COM)


def test_a_loaded_body_is_not_described_again():
    body = load_skeleton("adult", height=1.8, mass=80.0).attach("tibia_r", 2.0, (0, -0.1, 0))
    arrays = (np.arange(5) / 50, np.tile(body.neutral, (5, 1)))
    calls = (
        lambda who: physpose.fit("clip.mp4", skeleton=body, **who),
        lambda who: physpose.inverse_dynamics(arrays, body, **who),
        lambda who: physpose.check(arrays, body, **who),
    )
    for call in calls:
        with pytest.raises(SubjectError, match="its own sizes and masses; leave out height, mass"):
            call({"height": 1.6, "mass": 60.0})
