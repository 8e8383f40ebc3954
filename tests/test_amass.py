"""AMASS motions on body models: poses, turning of the world, what files lack; results and files of ball joints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import smpl_body
from scipy.spatial.transform import Rotation
from smpl_motion import amass_arrays, save_amass, smpl_result
from test_smpl import smplx_forward

from physpose import check, inverse_dynamics, load_skeleton
from physpose.cli import main
from physpose.conventions import rotation_vectors
from physpose.dynamics.mujoco_check import mujoco_check
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, UnknownNameError
from physpose.io.amass import amass_motion, is_amass_file, read_amass
from physpose.io.forces import Forces
from physpose.plausibility import PlausibilitySettings
from physpose.skeleton.skin import pose_skin
from physpose.types import Wrench
from physpose.viz.payload import payload
from physpose.viz.report import write_report
from physpose.viz.skin import skin_payload

ATOL_POSE = 1e-6  # [m] smplx keeps float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("amass")


@pytest.fixture(scope="module")
def bodies(folder):
    return {f: load_skeleton(smpl_body.save(folder / f"{f}.npz", f, posedirs=None)) for f in ("smpl", "smplh", "smplx")}


@pytest.fixture(scope="module")
def result(folder, bodies):
    return smpl_result(bodies["smpl"], save_amass(folder / "walk_poses.npz"))


def test_a_file_is_read_as_it_is(folder):
    path = save_amass(folder / "a.npz", gender=np.array("female"), betas=np.arange(16.0))
    file, arrays = read_amass(path), amass_arrays()
    assert (file.family, file.sex, len(file.betas)) == ("smplh", "f", 16)
    np.testing.assert_array_equal(file.poses.reshape(60, -1), arrays["poses"])
    np.testing.assert_allclose(np.diff(file.time), 1 / 60)
    assert read_amass(save_amass(folder / "b.npz", gender=np.array(b"male"))).sex == "m"
    newer = save_amass(folder / "c.npz", "smplx", mocap_framerate=None, mocap_frame_rate=np.array(120.0), betas=None)
    assert read_amass(newer).time[-1] == pytest.approx(59 / 120)
    assert is_amass_file(newer)
    assert not is_amass_file(smpl_body.save(folder / "model.npz", posedirs=None))
    assert not is_amass_file(folder / "none.npz")


def test_the_motion_is_smplxs(folder, bodies):
    """Joints through the file's own parameters by smplx, with nothing of ours in between."""
    path, arrays = save_amass(folder / "a.npz"), amass_arrays()
    motion = amass_motion(path, bodies["smplh"])
    positions = PinocchioModel(bodies["smplh"]).positions(motion.q)
    joints, _ = smplx_forward("smplh", arrays["betas"], arrays["poses"].reshape(60, 52, 3), arrays["trans"])
    np.testing.assert_allclose(positions, joints, atol=ATOL_POSE)
    assert motion.warnings == ()


def test_a_motion_with_y_up_is_turned(folder, bodies):
    arrays = amass_arrays()
    to_y_up = Rotation.from_matrix([[0, 1, 0], [0, 0, 1], [1, 0, 0]])  # world x to the model's z, z to y
    poses = arrays["poses"].reshape(60, 52, 3).copy()
    poses[:, 0] = (to_y_up * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    # the model turns about its pelvis, not its origin
    root = bodies["smplh"].skin.root_at
    trans = to_y_up.apply(arrays["trans"] + root) - root
    path = save_amass(folder / "y.npz", poses=poses.reshape(60, -1), trans=trans)
    turned = PinocchioModel(bodies["smplh"]).positions(amass_motion(path, bodies["smplh"], up="y").q)
    straight = amass_motion(save_amass(folder / "z.npz"), bodies["smplh"]).q
    expected = PinocchioModel(bodies["smplh"]).positions(straight)
    # walking along the model's z, which is our -y... of the file; heights and lengths stay
    np.testing.assert_allclose(turned[..., 2], expected[..., 2], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(np.diff(turned, axis=0)), np.linalg.norm(np.diff(expected, axis=0)))
    assert any("up='y'" in w for w in amass_motion(path, bodies["smplh"]).warnings)
    with pytest.raises(InputError, match="up='x'"):
        amass_motion(path, bodies["smplh"], up="x")


def test_quaternions_run_on_through_whole_turns(folder, bodies):
    arrays, T = amass_arrays(), 60
    poses = arrays["poses"].reshape(T, 52, 3).copy()
    angle = np.linspace(0, 4 * np.pi, T)
    poses[:, 16, 2] = np.mod(angle + np.pi, 2 * np.pi) - np.pi  # an arm in circles, jumping at half a turn
    q = amass_motion(save_amass(folder / "turn.npz", poses=poses.reshape(T, -1)), bodies["smplh"]).q
    quats = q[:, 3:].reshape(T, -1, 4)
    assert (quats[1:] * quats[:-1]).sum(-1).min() > 0.9
    np.testing.assert_allclose(np.linalg.norm(quats, axis=-1), 1)


def test_joints_are_matched_by_name_between_models(folder, bodies):
    plain, hands = amass_motion(save_amass(folder / "a.npz"), bodies["smpl"]), amass_arrays()
    assert any("left_hand, right_hand" in w for w in plain.warnings)
    np.testing.assert_allclose(
        PinocchioModel(bodies["smpl"]).positions(plain.q)[:, :22],
        PinocchioModel(bodies["smplh"]).positions(amass_motion(folder / "a.npz", bodies["smplh"]).q)[:, :22],
        atol=1e-12,
    )
    hands["poses"][:, 3 * 30] = 0.3
    bent = amass_motion(save_amass(folder / "hands.npz", **hands), bodies["smpl"])
    assert any("left out" in w for w in bent.warnings)
    wide = amass_motion(save_amass(folder / "hands.npz", **hands), bodies["smplx"])
    assert any("jaw" in w for w in wide.warnings)
    finger = smpl_body.names("smplx").index(smpl_body.names("smplh")[30])
    np.testing.assert_allclose(
        rotation_vectors(wide.q[:, 7 + 4 * (finger - 1) : 11 + 4 * (finger - 1)])[:, 2], -0.3
    )  # z is to the right


def test_another_shape_is_told(folder, bodies):
    file = save_amass(folder / "tall.npz", betas=np.array([2.0]))
    assert any("shape" in w for w in amass_motion(file, bodies["smpl"]).warnings)
    tall = load_skeleton(folder / "smpl.npz", betas=read_amass(file).betas)
    assert not any("shape" in w for w in amass_motion(file, tall).warnings)
    with pytest.raises(InputError, match="adult is none"):
        amass_motion(file, load_skeleton("adult", height=1.7, mass=60))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"poses": np.zeros((60, 100))}, r"100 pose parameters a frame; possible: 72 \(SMPL\), 156"),
        ({"poses": np.zeros((60, 48))}, "48 pose parameters"),
        ({"trans": None}, "lacks trans"),
        ({"trans": np.zeros((59, 3))}, "60 frames, trans of shape"),
        ({"trans": np.full((60, 3), np.nan)}, r"trans is not finite at \(0, 0\)"),
        ({"mocap_framerate": None}, "no frame rate"),
        ({"mocap_framerate": np.array(0.0)}, "frames per second"),
        ({"poses": np.array([[object()] * 156] * 60)}, "allow_pickle"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "T > 0"),
    ],
)
def test_files_that_cannot_be_used_are_refused(folder, changes, match):
    with pytest.raises(InputError, match=match):
        read_amass(save_amass(folder / "bad.npz", **changes))


def test_a_damaged_or_missing_file_is_refused(folder):
    whole = save_amass(folder / "a.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for path, match in ((folder / "cut.npz", "damaged"), (folder / "none.npz", "no such motion file")):
        with pytest.raises(InputError, match=match):
            read_amass(path)


# --- results of ball joints -------------------------------------------------------------------------------------------


def test_a_ball_has_three_coordinates(result):
    knee, arrays = result["left_knee_z"], amass_arrays()
    model = arrays["poses"].reshape(60, 52, 3)[:, smpl_body.names("smplh").index("left_knee")]
    np.testing.assert_allclose(knee.q, -model[:, 0], atol=1e-12)  # the model's x points left, our z right
    assert (knee.unit, knee.tau_unit) == ("rad", "N.m")
    # about one axis only the rotation vector's rate is the angular velocity
    inner = slice(5, -5)
    np.testing.assert_allclose(np.gradient(knee.q, result.time)[inner], knee.v[inner], atol=1e-3)
    total = sum(c.power for c in result.coordinate_results())
    np.testing.assert_allclose(total, result.power[:, 6:].sum(1), atol=1e-9)
    assert len(result.coordinate_names) == 69
    with pytest.raises(UnknownNameError, match="left_knee_x"):
        result["knee_angle_l"]


def test_rotation_vectors_run_on():
    angle = np.linspace(-3.0, 5.5, 200)
    axis = np.array([0.6, 0.0, -0.8])
    quats = Rotation.from_rotvec(angle[:, None] * axis).as_quat()
    quats *= np.random.default_rng(0).choice([-1, 1], size=(200, 1))
    vectors = rotation_vectors(quats)
    np.testing.assert_allclose(vectors @ axis, angle, atol=1e-12)
    np.testing.assert_allclose(
        Rotation.from_rotvec(vectors).as_matrix(), Rotation.from_quat(quats).as_matrix(), atol=1e-12
    )
    assert rotation_vectors(np.zeros((0, 4))).shape == (0, 3)
    np.testing.assert_allclose(rotation_vectors([[0.0, 0, 0, 1]]), 0)


def storage(path) -> pd.DataFrame:
    lines = path.read_text().splitlines()
    return pd.read_csv(path, sep="\t", skiprows=lines.index("endheader") + 1)


def test_files_hold_every_ball(result, tmp_path):
    files = result.save(tmp_path / "out")
    table = pd.read_csv(files["csv"])
    np.testing.assert_allclose(table["left_knee_z [rad]"], result["left_knee_z"].q, atol=1e-9)
    np.testing.assert_allclose(table["left_knee_z torque [N.m]"], result["left_knee_z"].tau, atol=1e-6)
    assert "left_knee quaternion w" in table
    motion, torques = storage(files["motion"]), storage(files["torques"])
    # files hold angles about x, y, z; a knee that turns about z alone has the same there
    np.testing.assert_allclose(motion["left_knee_rz"], np.rad2deg(result["left_knee_z"].q), atol=1e-5)
    np.testing.assert_allclose(torques["left_knee_rz_moment"], result["left_knee_z"].tau, atol=1e-5)
    body = load_skeleton(files["skeleton"])
    assert body.nv == result.skeleton.nv
    assert body.mass == pytest.approx(result.skeleton.mass)
    assert "left_hip_z" in result.summary()["coordinates"]


FINE = 16  # times as many frames: difference quotients there are 256 times nearer to the derivatives
TOLERANCES = {"q": 1e-12, "v": 1e-4, "a": 1e-3, "tau": 0.02, "momentum": 2e-3, "positions": 1e-12}


def walk_that_turns(rate: float, T: int) -> dict[str, np.ndarray]:
    """The walk with a pelvis that swings about all axes while it advances."""
    arrays = amass_arrays(T=T, rate=rate)
    poses, time = arrays["poses"].reshape(T, 52, 3), np.arange(T) / rate
    swing = 0.3 * np.sin(2 * np.pi * time[:, None] + [0.0, 1.0, 2.0])
    poses[:, 0] = (Rotation.from_rotvec(swing) * Rotation.from_rotvec(poses[0, 0])).as_rotvec()
    return arrays


def test_inverse_dynamics_of_a_file_matches_difference_quotients_of_a_finer_one(folder, bodies):
    """Splines through 60 frames per second, against Pinocchio with differences on the manifold at 960."""
    r = inverse_dynamics(save_amass(folder / "turns.npz", **walk_that_turns(60.0, 60)), bodies["smplh"])
    fine = save_amass(folder / "fine.npz", **walk_that_turns(60.0 * FINE, 59 * FINE + 1))
    expected = smpl_result(bodies["smplh"], fine)
    inner = slice(10, -10)  # at its ends the splines' third derivative is zero, the sines' is not
    np.testing.assert_allclose(r.time, expected.time[::FINE], atol=1e-12)
    for name, atol in TOLERANCES.items():
        ours, theirs = getattr(r, name)[inner], getattr(expected, name)[::FINE][inner]
        np.testing.assert_allclose(ours, theirs, atol=atol, err_msg=name)
    assert np.abs(r.tau).max() > 100  # [N] the body's weight at the root, which nothing carries
    assert "none were given" in r.contacts.method


def test_inverse_dynamics_shapes_the_body_as_the_file_says(folder, bodies):
    ten = np.eye(1, 10).ravel()
    path = save_amass(folder / "tall.npz", betas=ten, gender=np.array("female"))
    r = inverse_dynamics(path, folder / "smplh.npz", mass=70.0)
    expected = load_skeleton(folder / "smplh.npz", betas=ten, mass=70.0)
    assert r.skeleton.subject.height == pytest.approx(expected.subject.height)
    assert r.skeleton.subject.height > 1.02 * bodies["smplh"].subject.height
    assert (r.skeleton.mass, r.skeleton.subject.sex) == (pytest.approx(70.0), "f")
    assert not any("shape" in w for w in r.warnings)
    own = inverse_dynamics(path, folder / "smplh.npz", height=1.7).skeleton
    assert own.subject.height == pytest.approx(1.7, abs=1e-3)


def test_a_shape_that_the_model_cannot_take_is_told(folder):
    """More betas than the model has; SMPL-X's own shapes; the other sex's model."""
    for_smplh = {"gender": np.array("female"), "betas": np.r_[np.zeros(10), np.ones(6)]}
    cut = inverse_dynamics(save_amass(folder / "b.npz", **for_smplh), folder / "smplh.npz")
    assert any("10 of the 16 betas" in w for w in cut.warnings)
    other = inverse_dynamics(save_amass(folder / "b.npz", betas=np.full(10, 0.5)), folder / "smplx.npz")
    np.testing.assert_array_equal(other.skeleton.skin.betas, [])
    assert any("another body to SMPL-X" in w for w in other.warnings)
    male = smpl_body.save(folder / "SMPLH_MALE.npz", "smplh", posedirs=None)
    wrong = inverse_dynamics(save_amass(folder / "b.npz", gender=np.array("female")), male)
    assert wrong.skeleton.subject.sex == "m"
    assert any("of the female model, the skeleton is of the male one" in w for w in wrong.warnings)


def test_measured_forces_go_to_the_feet_of_a_body_model(folder, bodies):
    """A standing body on two plates: each foot gets its own, and the root is left without a force."""
    standing = amass_arrays(T=40)
    standing["poses"][:, 3:] = 0
    root = bodies["smplh"].skin.root_at
    standing["trans"] = np.tile([0.0, 0.0, bodies["smplh"].neutral[2]] - root, (40, 1))
    body, time = bodies["smplh"], np.arange(40) / 60
    r0 = inverse_dynamics(save_amass(folder / "stand.npz", **standing), body)
    wrenches = []
    for side in ("left", "right"):
        at = r0.positions[0, body.body_index(f"{side}_ankle")] * [1, 1, 0] + [0.05, 0, 0]
        force = np.tile([0, 0, body.mass * 9.81 / 2], (40, 1))
        wrenches.append(
            Wrench(name=f"plate_{side}", time=time, force=force, cop=np.tile(at, (40, 1)), free_moment=0 * force)
        )
    r = inverse_dynamics(folder / "stand.npz", body, forces=Forces(source="made up", wrenches=tuple(wrenches)))
    assert r.contacts.bodies == ("left_ankle", "right_ankle")
    np.testing.assert_allclose(r.tau[:, :3], 0, atol=1e-6)
    assert r.contacts.valid.all()
    # statics: the knee holds what the plate and the weights of shank and foot turn about it
    for side, wrench in zip(("left", "right"), wrenches, strict=True):
        knee = body.body_index(f"{side}_knee")
        at = r.positions[0, knee]
        turning = np.cross(wrench.cop[0] - at, wrench.force[0])
        for i in (body.body_index(f"{side}_{part}") for part in ("knee", "ankle", "foot")):
            com = r.positions[0, i] + r.rotations[0, i] @ body.bodies[i].com
            turning = turning + np.cross(com - at, [0, 0, -9.81 * body.bodies[i].mass])
        ours = [r[f"{side}_knee_{axis}"].tau[0] for axis in "xyz"]
        np.testing.assert_allclose(r.rotations[0, knee] @ ours, -turning, atol=1e-9)


def test_the_command_line_takes_a_motion_and_a_model(folder, tmp_path, capsys):
    motion = str(save_amass(folder / "walk.npz"))
    assert main(["id", motion, "--skeleton", str(folder / "smplh.npz"), "--out", str(tmp_path / "o"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (tmp_path / "o" / "report.html").is_file()
    assert "left_knee_z" in json.dumps(said)
    assert main(["id", motion, "--skeleton", "adult", "--height", "1.7", "--mass", "60", "--out", str(tmp_path)]) == 2
    assert "use its model file" in capsys.readouterr().err


def test_plausibility_of_a_file_and_of_its_inverse_dynamics(folder, bodies):
    """Balls have no ranges, and their torques no norms; everything else is judged, in the body that the file shapes."""
    path, model = save_amass(folder / "tall.npz", betas=np.eye(1, 10).ravel()), folder / "smplh.npz"
    assert check(path, bodies["smplh"]).skeleton == bodies["smplh"].name
    p = check(path, model, mass=70.0, floor="auto")
    assert "range" in p.not_judged["joint limits"]
    assert "no strength is known" in p.not_judged["joint torque"]
    known = inverse_dynamics(path, model, mass=70.0)
    anew = check(known, floor="auto")
    for name in ("jitter", "acceleration", "penetration", "bone lengths"):
        np.testing.assert_allclose(p[name].series, anew[name].series, atol=1e-9, err_msg=name)
    assert "over 70.0 kg" in p["joint power"].note
    one = PlausibilitySettings(strength={"left_knee_x": (-1.0, 1.0)})  # [N.m]: 100 % is 1 N.m
    alone = check(path, model, mass=70.0, settings=one)["joint torque"]
    helped = check(path, model, mass=70.0, settings=one, external={"left_knee_x": np.full(60, 5.0)})["joint torque"]
    assert helped.findings[0].subject == "left_knee_x"
    changes = np.abs([helped.series - alone.series, helped.series + alone.series]) - 500.0  # |tau - 5| against |tau|
    np.testing.assert_allclose(np.abs(changes).min(0), 0, atol=1e-6)


def test_mujoco_agrees(result):
    r = result
    check = mujoco_check(r.skeleton, r.time, r.q, r.v, r.a, r.tau)
    assert check.torque_error < 1e-9
    assert check.largest_drift < 0.02  # the rollout holds torques straight between frames


# --- the surface in the report ----------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def unpacked(x: dict, kind: str, dtype: str) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(x[kind]), dtype).reshape(x["shape"])


def test_the_report_carries_the_surface_in_few_bytes(result):
    skin, held = result.skeleton.skin, skin_payload(result.skeleton)
    assert len(json.dumps(held)) < 60 * len(skin.vertices)
    vertices = held["scale"] * unpacked(held["vertices"], "i16", "<i2")
    np.testing.assert_allclose(vertices, skin.vertices, atol=2e-5)
    faces = unpacked(held["faces"], "u16", "<u2")
    assert sum(held["groups"]) == len(faces) == len(skin.faces)
    assert {frozenset(f) for f in faces.tolist()} == {frozenset(f) for f in skin.faces.tolist()}
    first_left = held["groups"][0] + held["groups"][1]
    assert (vertices[faces[first_left:]].mean(1)[:, 2] < 0.05).all()  # z is to the right
    # the browser's formula, on the numbers that the page holds
    data = payload(result)
    positions, quats = (unpacked(data[k], "f32", "<f4") for k in ("positions", "quaternions"))
    origins = unpacked(held["origins"], "f32", "<f4")
    bodies, weights = (
        unpacked(held["bodies"], "u8", "u1").astype(int),
        unpacked(held["weights"], "u16", "<u2").astype(float),
    )
    R = Rotation.from_quat(quats[30]).as_matrix()
    moved = np.einsum("vkij,vkj->vki", R[bodies], vertices[:, None] - origins[bodies]) + positions[30][bodies]
    drawn = (weights[..., None] * moved).sum(1) / weights.sum(1)[:, None]
    np.testing.assert_allclose(drawn, pose_skin(result.skeleton, result.positions, result.rotations)[30], atol=1e-4)


def test_a_body_without_a_surface_is_drawn_as_solids():
    skeleton = load_skeleton("adult", height=1.7, mass=60)
    assert skin_payload(skeleton) is None
    with pytest.raises(InputError, match="no surface"):
        pose_skin(skeleton, np.zeros((1, 1, 3)), np.eye(3)[None, None])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report with")
def test_the_surface_is_drawn_in_a_browser(result, tmp_path):
    path = write_report(result, tmp_path / "a.html")
    flags = (
        "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --disable-background-networking "
        "--disable-quic --no-first-run --disable-component-update --disable-sync --virtual-time-budget=4000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    failed = re.search(r'class="[^"]*failed[^>]*>([^<]*)', dom)
    assert failed is None, failed.group(1)
    assert len(re.findall(r'class="u-over"', dom)) >= 40
