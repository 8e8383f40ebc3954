"""``check`` reads motions from anywhere, says clearly what it cannot read, and its exit codes tell the verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import walker
from example_result import example_result
from scipy.interpolate import CubicSpline

import physpose
from physpose import check, cli, inverse_dynamics, load_result, load_skeleton
from physpose.chain import KinematicChain
from physpose.conventions import opensim_names, q_to_opensim
from physpose.errors import InputError, PhysposeError, SubjectError, UnknownNameError
from physpose.io.forces import write_forces
from physpose.io.storage import write_storage
from physpose.plausibility import PlausibilitySettings, Recording
from physpose.plausibility.finding import DISAGREE
from physpose.summary import summarize
from physpose.types import Contacts
from physpose.viz.payload import _contact_groups
from physpose.viz.report import render_report
from physpose.viz.series import sections, vertical_force_plot
from sims import planted


@pytest.fixture(scope="module")
def adult():
    return load_skeleton("adult")


@pytest.fixture(scope="module")
def squat(adult):
    return planted.simulate(adult, fps=60.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    result = example_result()
    folder = tmp_path_factory.mktemp("saved")
    result.save(folder)
    return result, folder


def write_mot(path, sim, drop=(), q=None):
    names = opensim_names(sim.skeleton)
    c = q_to_opensim(sim.skeleton, sim.q if q is None else q)
    turns = [not n.endswith(("_tx", "_ty", "_tz")) for n in names]
    c[:, turns] = np.degrees(c[:, turns])
    keep = [i for i, n in enumerate(names) if n not in drop]
    write_storage(path, [names[i] for i in keep], sim.time, c[:, keep], in_degrees=True, title="Coordinates")
    return path


# --- sources --------------------------------------------------------------------------------------------------------


def test_a_result_knows_its_plausibility(saved):
    result, _ = saved
    p = result.plausibility
    assert p is result.plausibility  # computed once
    assert not p.passed
    assert {"foot skate", "penetration", "root residual force"} <= {m.name for m in p.failed}
    assert check(result).to_dict() == p.to_dict()


def test_a_saved_folder_says_what_the_result_says(saved):
    result, folder = saved
    for path in (folder, folder / "result.npz"):
        again = check(path)
        assert [m.name for m in again] == [m.name for m in result.plausibility]
        for m in result.plausibility:
            np.testing.assert_allclose(again[m.name].series, m.series, atol=1e-6, err_msg=m.name)


def test_who_is_refused_beside_a_results_own_body(saved):
    result, folder = saved
    for motion in (result, folder):
        with pytest.raises(SubjectError, match="a result has its own sizes and masses; leave out mass"):
            check(motion, mass=90.0)


def test_a_saved_motion_needs_its_body(saved, tmp_path):
    alone = tmp_path / "result.npz"
    alone.write_bytes((saved[1] / "result.npz").read_bytes())
    with pytest.raises(InputError, match=r"no skeleton\.xml beside it"):
        check(alone)
    assert check(alone, saved[0].skeleton)["joint limits"].passed
    with pytest.raises(InputError, match="another body"):
        check(alone, load_one_knee())


def load_one_knee():
    from test_cli import one_knee

    return one_knee()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"not a zip"])
def test_a_broken_archive_is_refused(tmp_path, content):
    path = tmp_path / "result.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"result\.npz"):
        check(path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", poses=np.zeros((3, 72)))
    with pytest.raises(InputError, match=r"no arrays 'time' and 'q'; it has poses"):
        check(tmp_path / "a.npz")


def test_opensim_coordinates_are_judged_as_the_arrays_are(squat, adult, tmp_path):
    path = write_mot(tmp_path / "squat.mot", squat)
    from_file, from_arrays = check(path, adult), check((squat.time, squat.q), adult)
    assert from_file.passed
    for m in from_arrays:
        np.testing.assert_allclose(from_file[m.name].series, m.series, atol=1e-3, err_msg=m.name)


def test_arrays_in_a_file_are_judged_as_arrays(squat, adult, tmp_path):
    np.savez(tmp_path / "exo log.npz", time=squat.time, q=squat.q)
    from_file, from_arrays = check(tmp_path / "exo log.npz", adult), check((squat.time, squat.q), adult)
    for m in from_arrays:
        np.testing.assert_allclose(from_file[m.name].series, m.series, atol=1e-9, err_msg=m.name)
    np.savez(tmp_path / "other.npz", t=squat.time, angles=squat.q)
    with pytest.raises(InputError, match="no arrays 'time' and 'q'; it has angles, t"):
        check(tmp_path / "other.npz", adult)


def test_times_in_milliseconds_are_doubted(squat, adult, tmp_path):
    ms = 1e3 * squat.time
    points = KinematicChain(adult).fk(torch.as_tensor(squat.q)).p.numpy()
    late = write_mot(tmp_path / "a.mot", replace(squat, time=ms))
    for motion, body in (((ms, squat.q), adult), ((ms, points), None), (late, adult)):
        assert any("is the time in ms?" in n for n in check(motion, body).notes)
    assert not any("in ms" in n for n in check((squat.time, squat.q), adult).notes)


def test_settings_of_another_kind_are_refused(squat, adult):
    with pytest.raises(InputError, match="PlausibilitySettings"):
        check((squat.time, squat.q), adult, settings={"friction": 0.5})
    with pytest.raises(InputError, match="EstimationSettings"):
        physpose.fit("clip.mp4", settings={"physics": "none"})


def test_a_wrong_header_is_overruled(squat, adult, tmp_path, capsys):
    path = write_mot(tmp_path / "squat.mot", squat)
    path.write_text(path.read_text().replace("inDegrees=yes", "inDegrees=no"))
    with pytest.raises(InputError, match="turns in radians: give degrees=True"):
        check(path, adult)
    assert not check(path, adult, degrees=False)["joint limits"].passed
    assert check(path, adult, degrees=True)["joint limits"].passed
    assert cli.main(["check", str(path), "--degrees"]) == cli.EXIT_OK
    assert "plausible" in capsys.readouterr().out


def test_missing_and_unknown_columns_are_told(squat, adult, tmp_path):
    path = write_mot(tmp_path / "squat.mot", squat, drop=("neck_flexion", "wrist_flex_r"))
    text = path.read_text().replace("hip_rotation_r", "tail_angle")
    path.write_text(text)
    notes = " ".join(check(path, adult).notes)
    assert "as in the neutral pose: hip_rotation_r, neck_flexion, wrist_flex_r" in notes
    assert "no coordinates of adult were not used: tail_angle" in notes


def test_without_the_pelvis_nothing_is_known(squat, adult, tmp_path):
    path = write_mot(tmp_path / "a.mot", squat, drop=("pelvis_ty",))
    with pytest.raises(InputError, match="lacks pelvis_ty"):
        check(path, adult)


def test_a_gap_is_named_with_its_time(squat, adult, tmp_path):
    q = squat.q.copy()
    q[7, 12] = np.nan
    with pytest.raises(InputError, match="column 12 is not a number at frame 7"):
        check((squat.time, q), adult)
    path = write_mot(tmp_path / "a.mot", squat)
    lines = path.read_text().splitlines()
    cells = lines[-3].split("\t")
    cells[10] = "nan"
    path.write_text("\n".join([*lines[:-3], "\t".join(cells), *lines[-2:]]) + "\n")
    with pytest.raises(InputError, match=f"has a gap at {squat.time[-3]:g} s"):
        check(path, adult)


def test_a_lowpass_filter_calms_raw_coordinates(squat, adult, tmp_path):
    rng = np.random.default_rng(5)
    q = squat.q.copy()
    q[:, 7:] += rng.normal(scale=0.01, size=q[:, 7:].shape)
    raw, calm = check((squat.time, q), adult), check((squat.time, q), adult, lowpass=6.0)
    assert calm["jitter"].mean < 0.2 * raw["jitter"].mean
    assert calm["joint torque"].value < 0.5 * raw["joint torque"].value


def test_the_worn_device_changes_the_forces(saved):
    result, _ = saved
    worn = result.skeleton.attach("pelvis", 6.0, np.zeros(3), name="pack")
    heavier = check(result, worn)
    light = check(result)
    assert heavier.skeleton == light.skeleton
    assert heavier["joint torque"].value != light["joint torque"].value


def test_a_bvh_is_judged_by_its_points(tmp_path):
    path = tmp_path / "a.bvh"
    path.write_text(
        "HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\n"
        "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
        + "".join(
            f"JOINT {side}Leg\n{{\nOFFSET {x} -90 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
            "End Site\n{\nOFFSET 0 -40 0\n}\n}\n"
            for side, x in (("Left", 10), ("Right", -10))
        )
        + "}\nMOTION\nFrames: 12\nFrame Time: 0.05\n"
        + "".join(f"{4.0 * t} 90 0 0 0 0 0 0 0 0 0 0\n" for t in range(12))
    )
    p = check(path)
    assert p["bone lengths"].value < 1e-6
    assert p["left-right lengths"].value < 1e-6
    assert p["foot skate"].value == pytest.approx(0.8, rel=1e-3)  # 4 cm a frame, 20 frames a second
    assert "root residual force" in p.not_judged
    with pytest.raises(InputError, match="LeftLeg, RightLeg, adult has"):
        check(path, "adult")
    inches = inches_of(path, tmp_path / "inches.bvh")
    with pytest.raises(InputError, match="give scale="):
        check(inches)
    again = check(inches, scale=0.0254)
    for m in p:
        np.testing.assert_allclose(again[m.name].value, m.value, rtol=1e-6, atol=1e-3, err_msg=m.name)


def inches_of(path, out):
    text = path.read_text()
    numbers = lambda line: " ".join(f"{float(x) / 2.54:.9g}" for x in line.split())  # noqa: E731
    lines = []
    for line in text.splitlines():
        if line.startswith("OFFSET"):
            line = "OFFSET " + numbers(line[6:])
        elif line[:1].isdigit():
            line = numbers(line)
        lines.append(line)
    out.write_text("\n".join(lines) + "\n")
    return out


def test_points_that_sink_are_named_once():
    points = np.zeros((6, 3, 3))
    points[..., 2] = [0.0, 0.5, 1.0]
    points[2, 0, 2] = -0.2
    p = check((np.arange(6) / 10.0, points), floor=0.0)
    assert [f.subject for f in p["penetration"].findings] == ["point 0"]


@pytest.mark.parametrize(
    ("motion", "error", "message"),
    [
        (3, InputError, "cannot check int"),
        ("nowhere.mot", InputError, "no such file"),
        ("clip.xyz", UnknownNameError, r"clip\.xyz.*known: a result's folder, \.npz, \.mot"),
        ("clip.mp4", InputError, r"clip\.mp4 is no motion yet: use physpose\.fit"),
        ((np.arange(3.0), np.zeros((4, 41))), InputError, "time has shape"),
        ((np.zeros(3), np.zeros((3, 41))), InputError, "strictly increasing"),
        ((np.arange(3.0), np.zeros((3, 5))), InputError, r"q has shape \(3, 5\); adult needs \(3, 41\)"),
        ((np.arange(3.0), np.zeros((3, 5, 2))), InputError, "points have shape"),
    ],
)
def test_what_cannot_be_read_is_refused(motion, error, message):
    with pytest.raises(error, match=message):
        check(motion)


def test_bones_must_join_columns_that_exist():
    points = np.random.default_rng(0).normal(size=(5, 4, 3))
    with pytest.raises(InputError, match="bones"):
        check((np.arange(5.0), points), bones=[(0, 4)])
    with pytest.raises(InputError, match="coco17 has 17 keypoints, the array 4"):
        check((np.arange(5.0), points), keypoint_set="coco17")
    assert "no bones are known" in check((np.arange(5.0), points)).not_judged["bone lengths"]


def test_one_frame_is_judged_as_a_pose(adult):
    p = check(([0.0], adult.neutral[None]), adult)
    assert p["joint limits"].passed
    assert p["penetration"].passed
    assert "frames" in p.not_judged["root residual force"]
    p.to_dict()


@pytest.mark.parametrize("trial", ["walking1", "walking4", "squatsAsym1"])
def test_a_measured_motion_passes_and_a_spoiled_one_does_not(data_dir, trial):
    """Optical motion capture of a real person; forces are estimated, heels land while they move."""
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = load_skeleton(folder / "Models/optimized_scale_and_markers.osim")
    file = folder / f"IK/{trial}_ik.mot"
    p = check(file, model, lowpass=6.0)
    assert p.passed, [f.sentence for f in p.findings]
    result = inverse_dynamics(file, model, lowpass=6.0)
    q = result.q.copy()
    q[:, 1] += 0.1 * np.sin(2 * np.pi * 1.5 * result.time)  # who would push?
    swaying = check((result.time, q), model)
    assert {"balance", "root residual force", "root residual moment"} <= {m.name for m in swaying.failed}
    if "walking" in trial:
        hurried = check((result.time / 1.5, result.q), model)
        assert {"balance", "root residual moment"} <= {m.name for m in hurried.failed}


def test_measured_forces_are_judged_where_they_are_complete(data_dir):
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = folder / "Models/optimized_scale_and_markers.osim"
    result = inverse_dynamics(folder / "IK/walking1_ik.mot", model, forces=folder / "ID/walking1_grf.mot", lowpass=6.0)
    p = result.plausibility
    valid = result.contacts.valid
    assert np.isfinite(p["root residual force"].series).tolist() == valid.tolist()
    # the definition, computed apart: |F| over the largest measured force
    peak = np.linalg.norm(result.contacts.force.sum(1), axis=1).max()
    share = 100 * np.linalg.norm(result.tau[valid, :3], axis=1) / peak
    np.testing.assert_allclose(p["root residual force"].series[valid], share, rtol=1e-9)
    assert p["friction"].passed
    assert p["joint torque"].passed
    assert {f.subject for f in p["foot skate"].findings} <= {c.name for c in result.skeleton.contact_points}
    assert check(result, result.skeleton.attach("pelvis", 0.0, np.zeros(3)))[
        "root residual force"
    ].value == pytest.approx(p["root residual force"].value, rel=0.2)


def test_a_model_mujoco_cannot_follow_is_said_to_be_so(data_dir):
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = load_skeleton(folder / "Models/optimized_scale_and_markers.osim")
    p = check(folder / "IK/walking1_ik.mot", model, lowpass=8.0, mujoco=True)
    assert "drive several joints" in p.not_judged["help in MuJoCo, force"]
    saved = check(folder / "IK/walking1_ik.mot", model, lowpass=8.0)
    assert [m.name for m in p] == [m.name for m in saved]


# --- measured forces --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab_walk():
    return walker.walk()


def test_measured_forces_that_fit_the_motion_leave_no_residual(lab_walk):
    w = lab_walk
    result = inverse_dynamics((w.time, w.q), w.body, forces=w.forces)
    p = result.plausibility
    assert p["root residual force"].value < 1e-6  # [%]
    assert p["root residual moment"].value < 1e-6
    # the same computed anew: with the motion's own rates nothing is lost
    anew = check(result, w.body.attach("pelvis", 0.0, np.zeros(3)))
    assert anew["root residual force"].value < 1e-6
    # a pack that the plates did not feel: its weight is unexplained
    packed = check(result, w.body.attach("pelvis", 36.0, np.zeros(3)))
    peak = max(np.linalg.norm(x.force, axis=1).max() for x in w.forces.wrenches)
    unexplained = 36.0 * np.linalg.norm(pelvis_acceleration(w) + [0.0, 0.0, 9.81], axis=1)
    np.testing.assert_allclose(packed["root residual force"].series, 100 * unexplained / peak, rtol=1e-3)


def test_forces_that_do_not_belong_to_a_possible_motion_do_not_make_it_impossible(lab_walk):
    w = lab_walk
    weak = type(w.forces)(wrenches=tuple(replace(x, force=0.9 * x.force) for x in w.forces.wrenches), source="weak")
    alone = check((w.time, w.q), w.body)
    beside = check((w.time, w.q), w.body, forces=w.forces)  # these press beside the feet
    assert (alone.verdict, beside.verdict) == ("plausible", DISAGREE)
    assert [m.name for m in beside.failed] == ["balance"]
    wide = PlausibilitySettings(support_distance=0.1)
    assert check((w.time, w.q), w.body, forces=w.forces, settings=wide).verdict == "plausible"
    apart = check((w.time, w.q), w.body, forces=weak, settings=wide)
    assert apart.verdict == DISAGREE
    assert not apart.passed
    assert {m.name for m in apart.failed} == {m.name for m in apart if m.of_forces and not m.passed}
    assert apart.motion_passed.all()
    assert "after residual reduction (Hicks et al. 2015)" in apart.explanation
    assert (apart.to_dict()["verdict"], apart.to_dict()["passed"]) == (apart.verdict, False)
    np.testing.assert_array_equal(apart.frames_passed, apart.motion_passed & apart.forces_passed)
    sunk = w.q.copy()
    sunk[:, 2] -= 0.1
    assert check((w.time, sunk), w.body, forces=weak, settings=wide).verdict == "not plausible"


@pytest.mark.parametrize("trial", ["walking1", "walking4"])
def test_an_ordinary_walk_over_plates_is_not_called_impossible(data_dir, trial):
    """Measured and not reduced: its residuals are beyond the limits, which are those after residual reduction."""
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = load_skeleton(folder / "Models/optimized_scale_and_markers.osim")
    found = check(folder / f"IK/{trial}_ik.mot", model, lowpass=6.0, forces=folder / f"ID/{trial}_grf.mot")
    assert found.verdict == DISAGREE
    assert "root residual moment" in {m.name for m in found.failed}
    assert check(folder / f"IK/{trial}_ik.mot", model, lowpass=6.0).verdict == "plausible"


def test_a_report_says_that_forces_disagree_and_counts_no_frame_that_lacks_them(lab_walk):
    w = lab_walk
    weak = type(w.forces)(
        wrenches=(replace(w.forces.wrenches[0], force=0.9 * w.forces.wrenches[0].force),), source="one"
    )
    result = inverse_dynamics((w.time, w.q), w.body, forces=weak)
    known = result.torques_known
    assert 0 < known.sum() < len(known)
    html = render_report(result)
    assert '<b class="some">plausible movement, but the measured forces' in html
    assert "not plausible" not in html
    rms = [np.sqrt((result.tau[known, i : i + 3] ** 2).sum(1).mean()) for i in (0, 3)]
    assert f"{rms[0]:.0f} N and {rms[1]:.0f} N\u00b7m RMS that no contact explains, in the {known.sum()} frames" in html
    curves = vertical_force_plot(result).curves
    assert np.isnan(curves[0].values[~known]).all()
    assert np.isfinite(curves[0].values[known]).all()
    assert [g[1] for g in _contact_groups(result)] == sorted((g[1] for g in _contact_groups(result)), reverse=True)


def pelvis_acceleration(w):
    return CubicSpline(w.time, w.q[:, :3])(w.time, 2)


def test_what_a_filter_smears_over_a_swing_is_no_contact(squat, adult):
    """Both feet are low; the left one bears 2, then 20 % of the weight."""
    result, T = inverse_dynamics((squat.time, squat.q), adult), len(squat.time)
    feet = [adult.body_index(f"calcn_{s}") for s in "rl"]
    left = [p.name.endswith("_l") for p in adult.contact_points]
    for share, held in ((0.02, False), (0.2, True)):
        force = np.zeros((T, 2, 3))
        force[:, :, 2] = 9.81 * adult.mass * np.array([1 - share, share])
        contacts = Contacts(points=("a", "b"), bodies=("calcn_r", "calcn_l"), active=np.ones((T, 2), bool), force=force,
                            positions=result.positions[:, feet], free_moment=0 * force, method="measured")  # fmt: skip
        seen = Recording.of_result(replace(result, contacts=contacts))
        assert seen.bearing[:, left].any()  # a little force is a force
        assert seen.active[:, left].any() == held
        assert seen.active[:, np.logical_not(left)].any()


def test_frames_whose_force_is_missing_are_not_judged_by_force(lab_walk):
    w = lab_walk
    one = type(w.forces)(wrenches=w.forces.wrenches[:1], source="one plate")
    result = inverse_dynamics((w.time, w.q), w.body, forces=one)
    p, missing = result.plausibility, w.stance == 1
    assert not result.contacts.valid[missing].any()
    for name in ("root residual force", "root residual moment", "joint torque", "joint power", "balance"):
        assert np.isnan(p[name].series[missing]).all(), name
        assert np.isfinite(p[name].series[~missing]).any(), name


def test_torques_that_lack_a_force_are_neither_drawn_nor_counted(lab_walk):
    w = lab_walk
    one = type(w.forces)(wrenches=w.forces.wrenches[:1], source="one plate")
    result = inverse_dynamics((w.time, w.q), w.body, forces=one)
    known = result.contacts.valid
    np.testing.assert_array_equal(result.torques_known, known)
    assert not known[w.stance == 1].any()
    peaks = {c.name: (np.abs(c.tau[known]).max(), np.abs(c.tau).max()) for c in result.coordinate_results()}
    assert any(part < 0.9 * whole for part, whole in peaks.values())
    told = summarize(result)["coordinates"]
    assert {n: c["peak_force"] for n, c in told.items()} == {n: part for n, (part, _) in peaks.items()}
    angles, torques, power = (next(s for s in sections(result) if s.id == n) for n in ("angles", "torques", "power"))
    for section, gaps in ((angles, False), (torques, True), (power, True)):
        curve = section.plots[0].curves[0]
        assert np.isnan(curve.values[~known]).all() == gaps
        assert np.isfinite(curve.values[known]).all()
        assert ("was not measured" in section.note) == gaps
    whole = inverse_dynamics((w.time, w.q), w.body)  # without any force: as asked
    assert whole.torques_known.all()


def test_balance_is_not_judged_where_something_else_may_bear(lab_walk):
    w = lab_walk
    result = inverse_dynamics((w.time, w.q), w.body, forces=w.forces)
    valid = result.contacts.valid & (np.arange(len(w.time)) % 2 == 0)
    doubtful = replace(result, contacts=replace(result.contacts, valid=valid))
    seen = np.isfinite(result.plausibility["balance"].series)
    np.testing.assert_array_equal(np.isfinite(doubtful.plausibility["balance"].series), seen & valid)


def test_what_the_motion_needs_does_not_depend_on_what_was_measured(lab_walk):
    w = lab_walk
    with_forces = inverse_dynamics((w.time, w.q), w.body, forces=w.forces)
    without = inverse_dynamics((w.time, w.q), w.body)
    np.testing.assert_allclose(
        Recording.of_result(with_forces).needed_wrench, Recording.of_result(without).needed_wrench, atol=1e-8
    )


def test_saved_measured_forces_are_read_back(lab_walk, tmp_path):
    w = lab_walk
    result = inverse_dynamics((w.time, w.q), w.body, forces=w.forces)
    result.save(tmp_path)
    again = check(tmp_path)
    for m in result.plausibility:
        np.testing.assert_allclose(again[m.name].series, m.series, atol=1e-6, err_msg=m.name)


def test_without_forces_nothing_carries_the_body(lab_walk):
    w = lab_walk
    p = inverse_dynamics((w.time, w.q), w.body).plausibility
    assert "may touch the floor" in p.not_judged["root residual force"]
    assert "joint torque" in p.not_judged
    assert check((w.time, w.q), w.body)["root residual force"].value < 100  # on its own feet


def test_a_body_that_mjcf_cannot_hold_is_read_from_its_model_or_asked_for(data_dir, tmp_path):
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = load_skeleton(folder / "Models/optimized_scale_and_markers.osim")
    result = inverse_dynamics(folder / "IK/walking1_ik.mot", model, lowpass=6.0)
    result.save(tmp_path)
    found, given = check(tmp_path), check(tmp_path, model)  # by the .osim that lies beside
    assert found["joint limits"].passed
    for m in given:
        np.testing.assert_allclose(found[m.name].series, m.series, atol=1e-5, err_msg=m.name)
    loaded = load_result(tmp_path)
    np.testing.assert_allclose(loaded["knee_angle_r"].q, result["knee_angle_r"].q)
    (tmp_path / "skeleton.osim").unlink()
    with pytest.raises(InputError, match="give its own file with skeleton="):
        check(tmp_path)


def test_a_drop_jump_starts_above_the_floor(data_dir, adult):
    path = data_dir / "nimblephysics/data/grf/Subject4/IK/DJ2_ik.mot"
    p = check(path, adult, floor="auto", lowpass=8.0)
    assert p["float"].series[:50].min() > 25  # [cm] it stands on a box
    assert not p["float"].passed
    assert p["joint torque"].passed
    assert p["joint power"].passed


# --- the command line -----------------------------------------------------------------------------------------------


def test_who_sits_is_told_that_no_seat_is_known(adult):
    def doubted(q):
        return [n for n in check((time, q), adult, floor="auto").notes if "as low as on a chair" in n]

    time, names = np.arange(120) / 60.0, adult.coordinate_names
    sitting = np.tile(adult.neutral, (120, 1))
    for side in "rl":
        for name in ("hip_flexion", "knee_angle"):
            sitting[:, 7 + names.index(f"{name}_{side}")] = np.radians(90.0)
    assert len(doubted(sitting)) == 1
    assert "for 2.0 s" in doubted(sitting)[0]
    assert not doubted(np.tile(adult.neutral, (120, 1)))
    squat = planted.simulate(adult, fps=60.0)  # in balance over the feet
    assert not [n for n in check((squat.time, squat.q), adult).notes if "chair" in n]


def test_what_was_taken_of_a_body_is_told(squat, adult):
    told = " ".join(check((squat.time, squat.q)).notes)
    assert "height was not given" in told
    assert "mass was not given" in told
    assert "not given" not in " ".join(check((squat.time, squat.q), "adult", height=1.7, mass=70).notes)
    assert "not given" not in " ".join(check((squat.time, squat.q), adult).notes)


def test_a_skeleton_that_was_taken_is_named(squat, adult, tmp_path):
    path = write_mot(tmp_path / "squat.mot", squat)
    assert any("no skeleton was given, adult is taken" in n for n in check(path).notes)
    assert not any("no skeleton was given" in n for n in check(path, adult).notes)


def test_exit_codes_tell_the_verdict(squat, adult, tmp_path, capsys):
    good = write_mot(tmp_path / "good.mot", squat)
    q = squat.q.copy()
    q[:, 2] -= 0.08
    bad = write_mot(tmp_path / "bad.mot", squat, q=q)
    assert cli.main(["check", str(good)]) == cli.EXIT_OK
    assert "plausible: 145 of 145 frames" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["check", str(bad), "--skeleton", "adult"]) == cli.EXIT_FAILED
    out = capsys.readouterr().out
    assert "not plausible" in out
    assert "sinks into the floor by 8." in out
    assert cli.main(["check", str(bad), "--floor", "-0.08"]) == cli.EXIT_OK
    capsys.readouterr()
    assert cli.main(["check", str(tmp_path / "none.mot")]) == cli.EXIT_ERROR
    assert "no such file" in capsys.readouterr().err
    assert cli.main(["check", str(bad), "--floor", "high"]) == cli.EXIT_ERROR


def test_thresholds_are_given_by_their_names(squat, adult, tmp_path, capsys):
    q, k = squat.q.copy(), adult.coordinate_names.index("neck_rotation")
    bump = np.exp(-(((squat.time - 1.2) / 0.15) ** 2))
    q[:, 7 + k] = (adult.coordinates[k].range[1] + np.radians(6.0)) * bump
    beyond = int((q[:, 7 + k] > adult.coordinates[k].range[1] + np.radians(5.0)).sum())
    assert 0 < beyond < 0.05 * len(q)
    some = str(write_mot(tmp_path / "some.mot", squat, q=q))
    assert cli.main(["check", some]) == cli.EXIT_OK
    out = capsys.readouterr().out
    assert f"{beyond}/{len(q)}" in out
    assert "tolerated: neck_rotation exceeds its range by 6.00 deg" in out
    assert "up to 5 % of a measure's frames may exceed its limit, none by more than 2 times" in out
    assert cli.main(["check", some, "--setting", "joint_limit=0.2"]) == cli.EXIT_OK
    assert "tolerated:" not in capsys.readouterr().out
    assert cli.main(["check", some, "--setting", "tolerated_share=0"]) == cli.EXIT_FAILED
    assert "no frame may exceed a limit" in capsys.readouterr().out
    for wrong, told in (("speed=1", "unknown setting 'speed'; known: joint_limit"), ("friction=low", "a number"),
                        ("friction", "NAME=VALUE is needed"), ("friction=-1", "zero or more")):  # fmt: skip
        assert cli.main(["check", some, "--setting", wrong]) == cli.EXIT_ERROR
        assert told in capsys.readouterr().err


def test_json_is_all_there_is_on_stdout(squat, tmp_path, capfd):
    good = write_mot(tmp_path / "good.mot", squat)
    assert cli.main(["check", str(good), "--json", "--out", str(tmp_path / "out")]) == cli.EXIT_OK
    about = json.loads(capfd.readouterr().out)
    assert about["passed"] is True
    assert sorted(about["files"]) == ["csv", "json", "picture"]
    assert (tmp_path / "out/plausibility.html").is_file()


def test_a_scale_that_would_do_nothing_is_refused(squat, tmp_path, capsys):
    good = write_mot(tmp_path / "good.mot", squat)
    assert cli.main(["check", str(good), "--scale", "3"]) == cli.EXIT_ERROR
    assert "--scale is of a .bvh; good.mot tells its own units" in capsys.readouterr().err


def test_an_unusable_output_folder_is_refused_first(squat, tmp_path, capsys):
    good = write_mot(tmp_path / "good.mot", squat)
    (tmp_path / "file").write_text("")
    assert cli.main(["check", str(good), "--out", str(tmp_path / "file")]) == cli.EXIT_ERROR
    assert "not a folder" in capsys.readouterr().err


def test_an_unknown_check_of_a_fit_is_refused():
    from physpose import fit

    with pytest.raises(PhysposeError, match="unknown check 'bullet'; known: mujoco"):
        fit("clip.mp4", check="bullet")


# --- measured forces --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """A walk whose forces fit it exactly."""
    return walker.walk()


def test_measured_forces_are_judged_in_place_of_estimated_ones(made):
    p = check((made.time, made.q), made.body, forces=made.forces)
    assert p["root residual force"].passed
    assert p["root residual force"].series.max() < 0.1  # [%]
    light = replace(made.forces, wrenches=tuple(replace(w, force=0.8 * w.force) for w in made.forces.wrenches))
    q = check((made.time, made.q), made.body, forces=light)
    assert not q["root residual force"].passed
    assert np.nanmax(q["root residual force"].series) == pytest.approx(25.0, abs=2.0)  # 0.2 / 0.8


def test_measured_forces_agree_with_inverse_dynamics(made):
    """The same files by either way."""
    result = inverse_dynamics((made.time, made.q), made.body, forces=made.forces)
    p = check((made.time, made.q), made.body, forces=made.forces)
    for m in check(result):
        np.testing.assert_allclose(p[m.name].series, m.series, atol=1e-6, err_msg=m.name)


def test_measured_forces_take_the_place_of_a_results_own(made):
    without = inverse_dynamics((made.time, made.q), made.body)
    assert check(without, forces=made.forces)["root residual force"].passed


def test_measured_forces_from_the_command_line(made, tmp_path, capsys):
    motion = write_mot(tmp_path / "walk.mot", made_simulation(made))
    forces = write_forces(tmp_path / "grf.mot", made.forces.wrenches)
    who = ["--age", "30", "--sex", "m", "--height", "1.75", "--mass", "72"]
    cli.main(["check", str(motion), *who, "--forces", str(forces), "--json"])
    measures = json.loads(capsys.readouterr().out)["measures"]
    residual = next(m for m in measures if m["name"] == "root residual force")
    assert residual["passed"]


def made_simulation(made):
    """As ``write_mot`` takes it."""
    from types import SimpleNamespace

    return SimpleNamespace(skeleton=made.body, q=made.q, time=made.time)


def test_measured_forces_need_coordinates(made):
    points = np.random.default_rng(0).normal(size=(len(made.time), 17, 3))
    with pytest.raises(InputError, match="points only"):
        check((made.time, points), keypoint_set="coco17", forces=made.forces)
    with pytest.raises(InputError, match="force_lowpass= filters measured forces"):
        check((made.time, made.q), made.body, force_lowpass=10.0)
    with pytest.raises(InputError, match="force_lowpass= is of measured forces"):
        inverse_dynamics((made.time, made.q), made.body, force_lowpass="same")
    with pytest.raises(InputError, match="bodies= is of measured forces"):
        inverse_dynamics((made.time, made.q), made.body, bodies={"plate 1": "calcn_r"})


def test_frames_that_measured_forces_do_not_cover_are_told_and_not_judged(made):
    one = type(made.forces)(wrenches=made.forces.wrenches[:1], source="one plate")
    found = check((made.time, made.q), made.body, forces=one)
    assert np.isnan(found["root residual force"].series[made.stance == 1]).all()
    assert found["root residual force"].passed
    assert "more support than was measured" in " ".join(found.notes)
