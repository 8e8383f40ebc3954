"""Inverse dynamics of known motions: closed forms, Pinocchio, and a made-up walk whose forces fit exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest
from example_result import example_result
from scipy.spatial.transform import Rotation
from walker import GRAVITY, walk

import physpose
from physpose.conventions import opensim_names, q_to_opensim
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, SubjectError, UnknownNameError
from physpose.io.forces import Forces, write_forces
from physpose.io.storage import read_storage, write_storage
from physpose.known_motion import read_motion
from physpose.plausibility import PlausibilitySettings
from physpose.skeleton import load_skeleton
from physpose.types import Wrench

INNER = slice(8, -8)  # the splines' ends are free of a third derivative, the motion is not


@pytest.fixture(scope="module")
def made():
    return walk()


def tumbling(body, time):
    """q, v, a in closed form: pelvis turning steadily about its own tilted axis while it flies, a knee that swings."""
    w = np.array([0.4, 1.1, -0.7])
    R = Rotation.from_rotvec([0.2, -0.1, 0.3]) * Rotation.from_rotvec(np.outer(time, w))
    p, pd = np.stack([time, 0.3 * np.sin(4 * time), 1 + 0.2 * time**2], 1), None
    pd = np.stack([np.ones_like(time), 1.2 * np.cos(4 * time), 0.4 * time], 1)
    pdd = np.stack([0 * time, -4.8 * np.sin(4 * time), 0.4 + 0 * time], 1)
    q, v, a = np.tile(body.neutral, (len(time), 1)), np.zeros((len(time), body.nv)), np.zeros((len(time), body.nv))
    q[:, :3], q[:, 3:7] = p, R.as_quat()
    v[:, :3], v[:, 3:6] = R.inv().apply(pd), w
    a[:, :3] = R.inv().apply(pdd) - np.cross(w, v[:, :3])
    k = body.coordinate_names.index("knee_angle_r")
    q[:, 7 + k], v[:, 6 + k], a[:, 6 + k] = np.sin(3 * time), 3 * np.cos(3 * time), -9 * np.sin(3 * time)
    return q, v, a


def test_rates_of_arrays_follow_the_manifold():
    body = load_skeleton("adult", age=30, sex="f", height=1.7, mass=60)
    time = np.linspace(0, 1, 101)
    q, v, a = tumbling(body, time)
    q[40:60, 3:7] *= -1  # the same attitudes
    found = read_motion((time, q), body, lowpass=None, degrees=None)
    np.testing.assert_allclose(found.v[INNER], v[INNER], atol=1e-4)
    np.testing.assert_allclose(found.a[INNER], a[INNER], atol=2e-2)


@pytest.mark.parametrize("degrees", [True, False])
def test_rates_of_a_mot_are_those_of_its_arrays(tmp_path, degrees):
    body = load_skeleton("adult", age=30, sex="f", height=1.7, mass=60)
    time = np.linspace(0, 1, 101)
    q, v, a = tumbling(body, time)
    path = write_mot(tmp_path / "a.mot", body, time, q, degrees)
    found = read_motion(path, body, lowpass=None, degrees=None)
    np.testing.assert_allclose(found.q[:, :3], q[:, :3], atol=1e-7)
    np.testing.assert_allclose(found.v[INNER], v[INNER], atol=1e-3)
    np.testing.assert_allclose(found.a[INNER], a[INNER], atol=0.1)


def write_mot(path, body, time, q, degrees=True, leave_out=(), header=None):
    c = q_to_opensim(body, q)
    names = opensim_names(body)
    scale = np.array([180 / np.pi if degrees and not n.startswith("pelvis_t") or n == "pelvis_tilt" and degrees else 1.0
                      for n in names])  # fmt: skip
    keep = [i for i, n in enumerate(names) if n not in leave_out]
    write_storage(path, [names[i] for i in keep], time, (c * scale)[:, keep], in_degrees=degrees, title="Coordinates")
    if header is not None:
        path.write_text(path.read_text().replace(f"inDegrees={'yes' if degrees else 'no'}\n", header))
    return path


def test_torques_equal_pinocchios_with_the_same_forces(made):
    result = physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces)
    model = PinocchioModel(made.body)
    force = sum(w.force for w in made.forces.wrenches)
    wrench = {}
    for w, foot in zip(made.forces.wrenches, ("calcn_r", "calcn_l"), strict=True):
        arm = np.nan_to_num(w.cop) - result.positions[:, made.body.body_index(foot)]
        wrench[foot] = np.concatenate([w.force, np.cross(arm, w.force) + w.free_moment], 1)
    tau = model.inverse_dynamics(result.q, result.v, result.a, GRAVITY, wrench)
    np.testing.assert_allclose(result.tau, tau, atol=1e-8)
    np.testing.assert_allclose(result.tau[:, :6], 0, atol=1e-8)  # the forces were made to fit
    np.testing.assert_allclose(result.contacts.force.sum(1), force, atol=1e-9)
    assert result.contacts.valid.all()
    assert result.contacts.bodies == ("calcn_r", "calcn_l")
    assert "residual force" not in " ".join(result.warnings)


def test_without_forces_the_root_carries_everything(made):
    result = physpose.inverse_dynamics((made.time, made.q), made.body)
    root = np.einsum("tij,tj->ti", result.rotations[:, 0], result.tau[:, :3])
    np.testing.assert_allclose(root[:, 2].mean(), 9.81 * made.body.mass, rtol=0.1)
    assert result.contacts.points == ()
    assert result.contacts.valid is None


def test_one_command_from_files_to_a_report(made, tmp_path):
    motion = write_mot(tmp_path / "walk.mot", made.body, made.time, made.q)
    forces = write_forces(tmp_path / "grf.mot", made.forces.wrenches)
    from physpose.cli import main

    who = ["--age", "30", "--sex", "m", "--height", "1.75", "--mass", "72"]
    assert main(["id", str(motion), *who, "--forces", str(forces), "--out", str(tmp_path / "out")]) == 0
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"report.html", "torques.sto", "motion.mot", "motion.csv", "result.npz"} <= names
    torques = read_storage(tmp_path / "out" / "torques.sto")
    root = torques.data[:, :6]
    # ten digits of the forces and coordinates are written
    assert np.abs(root[INNER]).max() < 0.1
    again = read_storage(tmp_path / "out" / "motion.mot")
    first = read_storage(motion)
    for name in first.names:
        np.testing.assert_allclose(again.column(name), first.column(name), atol=1e-6)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "plate_1_ground_calcn_r" in report or "right" in report


def test_forces_too_small_for_the_body_are_told_in_words(made):
    light = Forces(wrenches=tuple(replace(w, force=0.9 * w.force) for w in made.forces.wrenches), source="made up")
    result = physpose.inverse_dynamics((made.time, made.q), made.body, forces=light)
    residual = result.status.details["residual"]
    assert residual["peak force"] == pytest.approx(0.1 / 0.9, rel=0.05)
    text = " ".join(result.warnings)
    assert "residual force at the root reaches 11" in text
    assert "above 5 % in 100 % of the valid frames" in text
    assert f"those of {0.9 * made.body.mass:.1f} kg, the body has {made.body.mass:.1f} kg" in text
    lenient = PlausibilitySettings(residual_force=0.2, residual_moment=1.0)
    result = physpose.inverse_dynamics((made.time, made.q), made.body, forces=light, limits=lenient)
    assert "residual" not in " ".join(result.warnings)
    assert any(a.what == "residual at the root" for a in result.assumptions)


def test_a_missing_plate_makes_its_frames_invalid(made):
    one = Forces(wrenches=made.forces.wrenches[:1], source="made up")
    result = physpose.inverse_dynamics((made.time, made.q), made.body, forces=one)
    np.testing.assert_array_equal(result.contacts.valid, made.stance == 0)
    assert "more support than was measured" in " ".join(result.warnings)


def test_forces_may_be_told_in_a_bodys_axes(made):
    world = physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces)
    turned = []
    for w, foot in zip(made.forces.wrenches, ("calcn_r", "calcn_l"), strict=True):
        i = made.body.body_index(foot)
        R, p = world.rotations[:, i], world.positions[:, i]
        local = {n: np.einsum("tji,tj->ti", R, getattr(w, n)) for n in ("force", "free_moment")}
        point = np.einsum("tji,tj->ti", R, np.nan_to_num(w.cop) - p)
        turned.append(replace(w, **local, cop=point, body=foot, force_frame=foot, point_frame=foot))
    local = physpose.inverse_dynamics(
        (made.time, made.q), made.body, forces=Forces(wrenches=tuple(turned), source="made up")
    )
    np.testing.assert_allclose(local.tau, world.tau, atol=1e-8)


def test_bodies_can_be_given(made):
    given = {"plate 1": "calcn_l", "plate 2": "calcn_r"}
    result = physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces, bodies=given)
    assert result.contacts.bodies == ("calcn_l", "calcn_r")
    assert "left and right exchanged?" in " ".join(result.warnings)
    with pytest.raises(UnknownNameError, match="known: pelvis"):
        physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces, bodies={"plate 1": "paw"})


def test_a_results_own_files_and_itself_are_motions(made, tmp_path):
    first = physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces)
    first.save(tmp_path / "out")
    for source in (first, tmp_path / "out" / "result.npz"):
        again = physpose.inverse_dynamics(source, made.body, forces=made.forces)
        np.testing.assert_allclose(again.tau, first.tau, atol=1e-6)


def test_a_result_has_its_own_body_and_gravity(made, tmp_path):
    moon = (0.0, 0.0, -1.62)
    first = physpose.inverse_dynamics((made.time, made.q), made.body, gravity=moon)
    first.save(tmp_path / "out")
    for source in (first, tmp_path / "out", tmp_path / "out" / "result.npz"):
        again = physpose.inverse_dynamics(source)
        assert again.skeleton.mass == pytest.approx(made.body.mass)
        for name in ("hip_flexion_r", "knee_angle_l"):
            np.testing.assert_allclose(again[name].tau, first[name].tau, atol=1e-6)
        with pytest.raises(SubjectError, match="leave out mass"):
            physpose.inverse_dynamics(source, mass=90.0)
    plain = tmp_path / "plain.npz"  # of nobody in particular
    np.savez(plain, time=made.time, q=made.q)
    assert physpose.inverse_dynamics(plain, mass=90.0).skeleton.mass == pytest.approx(90.0)


def test_a_body_on_a_bench_needs_no_forces(tmp_path):
    """A pendulum at 30 deg, its axis not moved sideways: m g l sin."""
    arm = tmp_path / "arm.xml"
    arm.write_text("""<mujoco><worldbody><body name="upper_arm">
        <joint name="roll" axis="1 0 0"/><joint name="swing" axis="0 1 0"/>
        <inertial pos="0 0 -0.3" mass="2" diaginertia="0.01 0.01 0.01"/></body></worldbody></mujoco>""")
    time = np.linspace(0, 1, 11)
    result = physpose.inverse_dynamics((time, np.tile([0.0, np.pi / 6], (11, 1))), load_skeleton(arm))
    np.testing.assert_allclose(np.abs(result["swing"].tau), 2 * 9.81 * 0.3 * 0.5, rtol=1e-9)
    assert result.warnings == ()


def test_filtering_is_told(made):
    result = physpose.inverse_dynamics(
        (made.time, made.q), made.body, forces=made.forces, lowpass=6.0, force_lowpass="same"
    )
    told = {a.what: a.value for a in result.assumptions}
    assert told["filter of the motion"].startswith("6 Hz")
    assert told["filter of the forces"].startswith("6 Hz")


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_coordinates_that_a_file_lacks_are_told(made, tmp_path):
    path = write_mot(tmp_path / "a.mot", made.body, made.time, made.q, leave_out=("knee_angle_r",))
    result = physpose.inverse_dynamics(path, made.body)
    assert "stay as in the neutral pose: knee_angle_r" in " ".join(result.warnings)


def test_a_header_that_does_not_tell_the_unit_is_asked_about(made, tmp_path):
    small = np.tile(made.body.neutral, (10, 1))
    path = write_mot(tmp_path / "a.mot", made.body, made.time[:10], small, header="")
    path.write_text(path.read_text().replace("version=1\n", ""))
    with pytest.raises(InputError, match=r"a\.mot.*degrees=True or degrees=False"):
        physpose.inverse_dynamics(path, made.body)
    physpose.inverse_dynamics(path, made.body, degrees=True)
    large = write_mot(tmp_path / "b.mot", made.body, made.time, made.q, header="")
    told = {a.what: a.value for a in physpose.inverse_dynamics(large, made.body).assumptions}
    assert told["unit of angles"] == "degrees"


def test_the_coordinates_of_a_model_that_bends_its_knees_the_other_way_are_doubted(made, tmp_path):
    q = made.q.copy()
    for side in "rl":
        q[:, 7 + made.body.coordinate_names.index(f"knee_angle_{side}")] *= -1.0
    path = write_mot(tmp_path / "a.mot", made.body, made.time, q)
    told = [w for w in physpose.inverse_dynamics(path, made.body).warnings if "bent forwards" in w]
    assert len(told) == 1
    knees = [made.q[:, 7 + made.body.coordinate_names.index(f"knee_angle_{s}")] for s in "rl"]
    degrees = float(told[0].split("up to ")[1].split(" deg")[0])
    assert degrees == pytest.approx(np.degrees(np.max(knees)), abs=3.0)  # the ankle lies a little off the shank's axis
    right = write_mot(tmp_path / "b.mot", made.body, made.time, made.q)
    assert not [w for w in physpose.inverse_dynamics(right, made.body).warnings if "bent forwards" in w]


def test_a_skeleton_that_was_taken_is_named(made, tmp_path):
    path = write_mot(tmp_path / "a.mot", made.body, made.time, made.q)
    assert any("no skeleton was given, adult is taken" in w for w in physpose.inverse_dynamics(path).warnings)
    assert not any("no skeleton" in w for w in physpose.inverse_dynamics(path, made.body).warnings)


def test_a_header_that_calls_radians_degrees_is_doubted(made, tmp_path):
    path = write_mot(tmp_path / "a.mot", made.body, made.time, made.q, degrees=False)
    path.write_text(path.read_text().replace("inDegrees=no", "inDegrees=yes"))
    doubt = "if they are radians, give degrees=False"
    assert doubt in " ".join(physpose.inverse_dynamics(path, made.body).warnings)
    assert doubt not in " ".join(physpose.inverse_dynamics(path, made.body, degrees=False).warnings)
    still = write_mot(tmp_path / "b.mot", made.body, made.time, np.tile(made.body.neutral, (len(made.time), 1)))
    assert doubt not in " ".join(physpose.inverse_dynamics(still, made.body).warnings)


def test_whoever_turns_round_and_round_has_angles_in_radians(made, tmp_path):
    q = np.tile(made.body.neutral, (400, 1))
    q[:, 3:7] = Rotation.from_rotvec(np.linspace(0, 8 * np.pi, 400)[:, None] * [0.0, 0.0, 1.0]).as_quat()
    time = np.arange(400) / 100.0
    path = write_mot(tmp_path / "a.mot", made.body, time, q, degrees=False)
    assert not any("inDegrees" in w for w in physpose.inverse_dynamics(path, made.body).warnings)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.trc", "PathFileType", "use physpose.fit"),
        ("a.txt", "x", "known motion comes as"),
        ("a.mot", "x\nendheader\ntime a b\n0 1 2\n1 2 3\n", "none of its columns is a coordinate"),
        ("a.mot", "inDegrees=no\nendheader\ntime knee_angle_r\n0 nan\n1 2\n", "knee_angle_r has a gap at 0 s"),
        ("a.npz", "hello", "cannot read"),
    ],
)
def test_other_files_are_refused(made, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        physpose.inverse_dynamics(tmp_path / name, made.body)


def test_the_animation_of_a_result_is_no_motion_of_its_hinges(made, tmp_path):
    result = example_result(T=5)
    animation = result.save(tmp_path)["animation"]
    with pytest.raises(InputError, match=r"joints of a \.bvh turn about any axis.*give the motion's \.mot or result"):
        physpose.inverse_dynamics(animation, result.skeleton)


def test_forces_of_another_recording_are_refused(made):
    later = tuple(replace(w, time=w.time + 100) for w in made.forces.wrenches)
    with pytest.raises(InputError, match="run from 102 to"):
        physpose.inverse_dynamics((made.time, made.q), made.body, forces=Forces(wrenches=later, source="made up"))
    far = tuple(replace(w, cop=w.cop + [3.0, 0, 0]) for w in made.forces.wrenches)
    with pytest.raises(InputError, match="no force acts within 0.15 m of a foot"):
        physpose.inverse_dynamics((made.time, made.q), made.body, forces=Forces(wrenches=far, source="made up"))
    # a path of the force that touches the foot at one time, and is 1 m away on the whole
    sweep = np.linspace(-1.0, 1.0, len(made.forces.wrenches[0].time))[:, None] * [0.0, 2.0, 0.0]
    swept = tuple(replace(w, cop=w.cop + sweep) for w in made.forces.wrenches)
    with pytest.raises(InputError, match="no force acts within 0.15 m") as told:
        physpose.inverse_dynamics((made.time, made.q), made.body, forces=Forces(wrenches=swept, source="made up"))
    away = [float(x) for x in re.findall(r"in each contact it acts ([\d.]+) m or more", str(told.value))]
    assert len(away) == 2
    assert min(away) > 0.15


def test_wrong_arguments_are_refused(made):
    motion = (made.time, made.q)
    with pytest.raises(InputError, match=r"needs \(T,\) and"):
        physpose.inverse_dynamics((made.time, made.q[:, 1:]), made.body)
    with pytest.raises(InputError, match="cannot take a int"):
        physpose.inverse_dynamics(3, made.body)
    with pytest.raises(InputError, match="force_lowpass is 'yes'"):
        physpose.inverse_dynamics(motion, made.body, forces=made.forces, force_lowpass="yes")
    with pytest.raises(InputError, match="has no masses"):
        physpose.inverse_dynamics(
            motion, replace(made.body, bodies=tuple(replace(b, mass=0.0) for b in made.body.bodies))
        )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["none.mot"], "none.mot"),
        (["walk.mot", "--forces", "cut.mot"], "cut.mot, line"),
        (["walk.mot", "--forces", "none.xml"], "none.xml"),
        (["walk.mot", "--skeleton", "none.osim"], "none.osim"),
        (["walk.mot", "--forces", "grf.mot", "--body", "x"], "FORCE=BODY"),
        (["walk.mot", "--lowpass", "1000"], "lowpass 1000 Hz"),
    ],
)
def test_the_command_line_says_in_one_line_what_is_wrong(made, tmp_path, monkeypatch, capsys, argv, message):
    from physpose.cli import main

    monkeypatch.chdir(tmp_path)
    write_mot(tmp_path / "walk.mot", made.body, made.time, made.q)
    grf = write_forces(tmp_path / "grf.mot", made.forces.wrenches).read_text()
    (tmp_path / "cut.mot").write_text(grf[: len(grf) // 2])
    assert main(["id", *argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "walk_physpose").exists()


def test_a_lone_force_on_a_body_without_feet(made):
    arm = load_skeleton("adult", age=30, sex="m", height=1.75, mass=72.0)
    names = {n: n.replace("calcn", "hoof").replace("talus", "leg").replace("toes", "tip") for n in arm.body_names}
    bodies = tuple(replace(b, name=names[b.name], parent=names.get(b.parent or "")) for b in arm.bodies)
    lame = replace(arm, bodies=bodies, contact_points=(), keypoint_sets={}, scale_groups=())
    lone = Wrench(name="rope", time=made.time, force=np.tile([0, 0, 50.0], (len(made.time), 1)),
                  cop=np.zeros((len(made.time), 3)), free_moment=np.zeros((len(made.time), 3)))  # fmt: skip
    with pytest.raises(InputError, match="has no two feet"):
        physpose.inverse_dynamics((made.time, made.q), lame, forces=Forces(wrenches=(lone,), source="made up"))
    held = Forces(wrenches=(replace(lone, body="hand_r"),), source="made up")
    assert physpose.inverse_dynamics((made.time, made.q), lame, forces=held).contacts.bodies == ("hand_r",)


def test_a_saved_results_coordinates_are_found_by_their_names(made, tmp_path):
    """skeleton.xml has them in another order than the arrays beside it."""
    first = physpose.inverse_dynamics((made.time, made.q), made.body)
    first.save(tmp_path)
    beside = load_skeleton(tmp_path / "skeleton.xml")
    assert beside.coordinate_names != made.body.coordinate_names
    again = physpose.inverse_dynamics(tmp_path / "result.npz", beside)
    for name in made.body.coordinate_names:
        np.testing.assert_allclose(again[name].q, first[name].q, atol=1e-9, err_msg=name)
    other = load_skeleton("infant", age=1.0)
    other = replace(other, bodies=other.bodies[:-1])
    with pytest.raises(InputError, match="is of another body than infant"):
        physpose.inverse_dynamics(tmp_path / "result.npz", other)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(18)])
def test_a_broken_npz_is_refused_without_advice_to_unpickle(made, tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz") as refusal:
        physpose.inverse_dynamics(tmp_path / "a.npz", made.body)
    assert "pickle" not in str(refusal.value)


def test_who_is_carried_without_forces_is_told(made):
    def doubts(**given):
        return " ".join(physpose.inverse_dynamics((made.time, made.q), made.body, **given).warnings)

    assert "no forces were given" in doubts()
    assert "no forces were given" not in doubts(forces=made.forces)
    falling = made.q.copy()  # z = z0 - g t^2 / 2 of a stiff body: nothing carries it
    falling[:] = made.q[0]
    falling[:, 2] += 10.0 - 9.81 / 2 * made.time**2
    flight = physpose.inverse_dynamics((made.time, falling), made.body)
    assert "no forces were given" not in " ".join(flight.warnings)
