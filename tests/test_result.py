"""A result gives its coordinates, its table and its files; the files are read back by programs that are not ours."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_result import example_result
from scipy.spatial.transform import Rotation

from physpose import export
from physpose.errors import InputError, UnknownNameError
from physpose.types import Contacts

FILES = {"report.html", "motion.mot", "positions.trc", "torques.sto", "motion.csv", "result.npz", "skeleton.xml",
         "skeleton.osim", "motion.bvh"}  # fmt: skip
RTOL = 1e-8  # ten digits are written


@pytest.fixture(scope="module")
def result():
    return example_result()


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("saved") / "out"
    return result.save(out)


def storage(path: Path) -> pd.DataFrame:
    head = path.read_text().splitlines()
    return pd.read_csv(path, sep="\t", skiprows=head.index("endheader") + 1)


def test_a_coordinate_by_name(result):
    knee = result["knee_angle_r"]
    i = result.skeleton.coordinate_names.index("knee_angle_r")
    assert (knee.unit, knee.tau_unit) == ("rad", "N.m")
    np.testing.assert_array_equal(knee.q, result.q[:, 7 + i])
    np.testing.assert_array_equal(knee.v, result.v[:, 6 + i])
    np.testing.assert_array_equal(knee.tau, result.tau[:, 6 + i])
    np.testing.assert_array_equal(knee.power, knee.tau * knee.v)


def test_an_unknown_coordinate_lists_those_that_exist(result):
    with pytest.raises(UnknownNameError, match=r"'knee'.*knee_angle_r"):
        result["knee"]


def test_frames_that_differ_are_refused(result):
    with pytest.raises(InputError, match=r"tau has 59 frames, time has 60"):
        replace(result, tau=result.tau[:-1])
    two = replace(result.keypoints, uv=np.repeat(result.keypoints.uv, 2, 0))
    with pytest.raises(InputError, match="2 persons"):
        replace(result, keypoints=two)


def test_table_columns_carry_their_units(result):
    table = result.to_frame()
    assert len(table) == len(result.time)
    assert table.columns.is_unique
    np.testing.assert_array_equal(table["knee_angle_r [rad]"], result["knee_angle_r"].q)
    np.testing.assert_array_equal(table["knee_angle_r velocity [rad/s]"], result["knee_angle_r"].v)
    np.testing.assert_array_equal(table["knee_angle_r torque [N.m]"], result["knee_angle_r"].tau)
    np.testing.assert_array_equal(table["pelvis position z [m]"], result.q[:, 2])
    np.testing.assert_array_equal(table["pelvis angular velocity y [rad/s]"], result.v[:, 4])
    np.testing.assert_array_equal(table["pelvis residual moment z [N.m]"], result.tau[:, 5])
    np.testing.assert_array_equal(table["angular momentum x [kg.m^2/s]"], result.momentum[:, 3])
    np.testing.assert_array_equal(table["heel_r contact force z [N]"], result.contacts.force[:, 0, 2])


def test_shares_of_momentum_sum_to_the_whole(result):
    assert result.momentum_by_body.shape == (len(result.time), len(result.skeleton.body_names), 6)
    np.testing.assert_allclose(result.momentum_by_body.sum(1), result.momentum, atol=1e-9)
    table = result.to_frame()
    knee = result.momentum_by_body[:, result.skeleton.body_index("tibia_r")]
    np.testing.assert_array_equal(table["tibia_r linear momentum x [kg.m/s]"], knee[:, 0])
    np.testing.assert_array_equal(table["tibia_r angular momentum z [kg.m^2/s]"], knee[:, 5])


def test_a_rigid_turn_has_the_inertia_that_is_reported(result):
    """All joints still, the pelvis turning about a point: angular momentum is the inertia times the turn's rate."""
    v = np.zeros_like(result.v)
    v[:, 3:6] = (0.3, -0.7, 1.1)
    turning = replace(result, v=v)
    turn = (result.rotations[:, 0] @ v[0, 3:6])[..., None]
    h = turning.momentum_by_body.sum(1)[:, 3:]
    np.testing.assert_allclose((turning.inertia @ turn)[..., 0], h, atol=1e-9)
    np.testing.assert_array_equal(result.to_frame()["inertia xz [kg.m^2]"], result.inertia[:, 0, 2])


def test_frames_without_a_pose_have_no_inertia(result):
    q = result.q.copy()
    q[3] = np.nan
    holes = replace(result, q=q)
    for x, whole in ((holes.inertia, result.inertia), (holes.momentum_by_body, result.momentum_by_body)):
        assert np.isnan(x[3]).all()
        np.testing.assert_array_equal(np.delete(x, 3, 0), np.delete(whole, 3, 0))


def test_summary_is_plain_json(result):
    json.dumps(result.summary(), allow_nan=False)


def test_save_writes_what_it_says(saved):
    assert set(saved) == {"report", "motion", "positions", "torques", "csv", "npz", "skeleton", "model", "animation"}
    assert {p.name for p in saved.values()} == FILES
    assert {p.name for p in saved["report"].parent.iterdir()} == FILES


def test_mot_holds_opensim_coordinates(result, saved):
    table = storage(saved["motion"])
    pelvis = ["pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz"]
    assert list(table) == ["time", *pelvis, *result.skeleton.coordinate_names]
    assert "inDegrees=yes" in saved["motion"].read_text().splitlines()
    np.testing.assert_allclose(table["knee_angle_l"], np.rad2deg(result["knee_angle_l"].q), rtol=RTOL, atol=1e-9)
    # she walks along x, upright: OpenSim's y is up, z to the right
    p = result.positions[:, 0]
    np.testing.assert_allclose(table[pelvis[3:]], np.c_[p[:, 0], p[:, 2], -p[:, 1]], rtol=RTOL, atol=1e-9)
    R = Rotation.from_euler("ZXY", table[pelvis[:3]], degrees=True).as_matrix()
    R_yup_zup = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    np.testing.assert_allclose(R, R_yup_zup @ result.rotations[:, 0], atol=1e-8)


def test_sto_gives_the_power_of_our_torques(result, saved):
    """Generalized forces belong to coordinates: with the rates of the .mot's coordinates their power is tau . v."""
    torques, coordinates = storage(saved["torques"]), storage(saved["motion"])
    assert list(torques)[1:4] == ["pelvis_tilt_moment", "pelvis_list_moment", "pelvis_rotation_moment"]
    assert "hip_flexion_r_moment" in torques
    np.testing.assert_allclose(torques["knee_angle_r_moment"], result["knee_angle_r"].tau, rtol=1e-7, atol=1e-8)
    assert [c.rsplit("_", 1)[0] for c in torques][1:] == list(coordinates)[1:]
    dt = np.diff(result.time)[:, None]
    values = coordinates.iloc[:, 1:].to_numpy(copy=True)
    turning = [
        i for i, name in enumerate(coordinates.columns[1:]) if name not in ("pelvis_tx", "pelvis_ty", "pelvis_tz")
    ]
    values[:, turning] = np.deg2rad(values[:, turning])
    rates = np.diff(values, axis=0) / dt
    power = (torques.iloc[:-1, 1:].to_numpy() * rates).sum(1)
    ours = (result.tau * result.v).sum(1)[:-1]
    # rates between two frames against the twist at the first: a few per cent of the largest power
    np.testing.assert_allclose(power, ours, atol=0.05 * np.abs(ours).max())


def test_trc_holds_millimetres_y_up(result, saved):
    names = saved["positions"].read_text().splitlines()[3].split("\t")[2::3]
    names = [n for n in names if n]
    table = pd.read_csv(saved["positions"], sep="\t", skiprows=5, header=None)
    knee = table.iloc[:, 2 + 3 * names.index("tibia_r") :][
        [*range(2 + 3 * names.index("tibia_r"), 5 + 3 * names.index("tibia_r"))]
    ]
    p = result.positions[:, result.skeleton.body_index("tibia_r")]
    np.testing.assert_allclose(knee, 1000 * np.c_[p[:, 0], p[:, 2], -p[:, 1]], rtol=1e-7, atol=1e-6)
    assert {"left_wrist", "heel_r"} < set(names)
    assert len(set(names)) == len(names)


def test_npz_needs_no_pickle(result, saved):
    with np.load(saved["npz"], allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    for name in ("time", "q", "v", "a", "tau", "positions", "rotations", "com", "momentum", "power",
                 "inertia", "momentum_by_body"):  # fmt: skip
        np.testing.assert_array_equal(found[name], getattr(result, name))
    assert tuple(found["coordinate_names"]) == result.skeleton.coordinate_names
    np.testing.assert_array_equal(found["keypoint_uv"], result.keypoints.uv[0])
    assert json.loads(str(found["about"]))["warnings"] == ["this motion is made up"]


def test_csv_is_the_table(result, saved):
    pd.testing.assert_frame_equal(pd.read_csv(saved["csv"]), result.to_frame(), check_dtype=False, rtol=RTOL)


def test_mjcf_loads_in_mujoco(result, saved):
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_path(str(saved["skeleton"]))
    assert model.nv == result.skeleton.nv
    assert model.body_mass.sum() == pytest.approx(result.skeleton.mass)


def test_opensim_loads_the_motion(result, saved):
    opensim = pytest.importorskip("opensim", reason="OpenSim's Python package is not installed")
    table = opensim.TimeSeriesTable(str(saved["motion"]))
    assert tuple(table.getColumnLabels())[6:] == result.skeleton.coordinate_names


def test_missing_numbers_stay_missing(result, tmp_path):
    arrays = {name: getattr(result, name).copy() for name in ("q", "positions", "rotations", "com", "tau")}
    for array in arrays.values():
        array[3] = np.nan
    saved = replace(result, **arrays).save(tmp_path / "out")
    assert storage(saved["motion"]).iloc[3, 1:].isna().all()
    assert not storage(saved["motion"]).drop(index=3).isna().any().any()
    assert storage(saved["torques"]).iloc[3, 1:].isna().all()


def test_one_frame_without_camera_and_contacts_is_saved(tmp_path):
    nothing = Contacts(points=(), active=np.zeros((1, 0), bool), force=np.zeros((1, 0, 3)), method="none")
    saved = example_result(1, camera=None, keypoints=None, contacts=nothing).save(tmp_path / "out")
    assert all(p.stat().st_size > 0 for p in saved.values())


def test_an_older_result_is_replaced_and_foreign_files_stay(result, tmp_path):
    out = tmp_path / "out"
    for path in result.save(out).values():
        path.write_text("old")
    (out / "notes.txt").write_text("mine")
    result.save(out)
    assert not [name for name in FILES if (out / name).read_bytes() == b"old"]
    assert (out / "notes.txt").read_text() == "mine"
    assert {p.name for p in out.iterdir()} == FILES | {"notes.txt"}


def test_a_failing_writer_leaves_the_older_result(result, tmp_path, monkeypatch):
    out = tmp_path / "out"
    result.save(out)
    (out / "motion.mot").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export.WRITERS, "npz", ("result.npz", full))
    with pytest.raises(InputError, match=r"cannot write to .*out: No space left"):
        result.save(out)
    assert (out / "motion.mot").read_text() == "old"
    assert {p.name for p in out.iterdir()} == FILES


def test_a_place_that_is_a_file_is_refused(result, tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"cannot write to .*file"):
            result.save(out)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_folders_on_the_way_are_made(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path("a/b/report.html") == result.save("a/b")["report"]
    assert Path("a/b/report.html").is_file()


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from example_result import example_result
from physpose import export
name, write = export.WRITERS["torques"]
def slow(result, path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
export.WRITERS["torques"] = (name, slow)
example_result(5).save({out!r})
"""


@pytest.mark.parametrize("existed", [False, True])
def test_a_killed_save_leaves_no_half_written_result(tmp_path, existed):
    out = tmp_path / "out"
    if existed:
        example_result(4).save(out)
    before = {p.name: p.read_bytes() for p in out.iterdir()} if existed else None
    code = KILLED.format(tests=str(Path(__file__).parent), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    if existed:
        assert {p.name: p.read_bytes() for p in out.iterdir() if not p.name.startswith(".physpose-")} == before
    else:
        assert not out.exists()


def test_a_result_is_shown_in_one_line(result):
    shown = repr(result)
    assert len(shown) < 300
    assert "\n" not in shown
    assert f"{len(result.time)} frames" in shown
    assert "NOT converged" in repr(replace(result, status=replace(result.status, converged=False)))


def test_pelvis_coordinates_of_opensim_are_told_where_they_are(result):
    with pytest.raises(InputError, match=r"result\.q\[:, :7\]"):
        result["pelvis_tilt"]
