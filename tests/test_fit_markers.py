"""``fit`` of marker files: a made-up walk whose angles and torques are known, and real recordings."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_walk import LABELS, markers, plates, renamed, standing, swapped, without
from walker import walk

import physpose
from physpose import cli
from physpose.errors import InputError, SubjectError, UnknownNameError
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_spots import spots_on
from physpose.estimation.mislabels import find_swaps
from physpose.estimation.state import Kinematics
from physpose.io.forces import write_forces
from physpose.io.subject_parameters import subject_parameters
from physpose.io.trc import write_trc

INNER = slice(10, -10)  # the ends of a clip have neighbours on one side only
# away from the exchange of feet, whose forces jump from one frame to the next
STANCE = np.r_[15:50, 70:105]
KNOWN = {"scale": False, "register": False}


@pytest.fixture(scope="module")
def made():
    return walk()


@pytest.fixture(scope="module")
def truth(made):
    return physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces)


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    """walk.trc, stand.trc and grf.mot."""
    folder = tmp_path_factory.mktemp("lab")
    for name, m in (("walk", markers(made)), ("stand", standing(made))):
        write_trc(folder / f"{name}.trc", m.names, m.time, m.positions)
    write_forces(folder / "grf.mot", tuple(replace(w, cop=np.nan_to_num(w.cop)) for w in made.forces.wrenches))
    return folder


@pytest.fixture(scope="module")
def fitted(made, files):
    """With the body and the places of its markers known."""
    return physpose.fit(files / "walk.trc", made.body, forces=files / "grf.mot", **KNOWN)


def angles(result, q, frames=INNER):
    """RMS difference of each coordinate [deg]."""
    return np.degrees(np.sqrt(((result.q[frames, 7:] - q[frames, 7:]) ** 2).mean(0)))


def values(result):
    return {a.what: a.value for a in result.assumptions}


def said(result):
    return " ".join(result.warnings)


# --- a known body -----------------------------------------------------------------------------------------------------


def test_angles_of_a_known_body(made, fitted):
    assert angles(fitted, made.q).max() < 0.5  # deg; smoothing blunts what is not smooth
    assert fitted.status.details["markers"]["rms [m]"] < 0.002


def test_torques_with_measured_forces(made, truth, fitted):
    assert fitted.contacts.bodies == ("calcn_r", "calcn_l")
    assert fitted.contacts.method == truth.contacts.method
    for name in ("hip_flexion", "knee_angle", "ankle_angle"):
        for side in "rl":
            ours, theirs = (r[f"{name}_{side}"].tau[STANCE] for r in (fitted, truth))
            assert np.sqrt(np.mean((ours - theirs) ** 2)) < 6.0, (name, side)  # N.m, of a hundred
    residual = fitted.status.details["residual"]
    assert residual["rms force"] < 0.05  # of the peak measured force


def test_the_result_is_that_of_any_fit(made, fitted, tmp_path):
    weight = made.body.mass * 9.81
    np.testing.assert_allclose(fitted.contacts.force.sum(1)[STANCE, 2].mean(), weight, rtol=0.15)
    assert fitted.momentum.shape == (len(made.time), 6)
    assert fitted.energy.kinetic[STANCE].min() > 0
    files = fitted.save(tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert {p.suffix for p in files.values()} >= {".html", ".mot", ".trc", ".sto", ".csv", ".npz", ".xml"}
    assert "not scaled" in {a.source for a in fitted.assumptions}


def test_without_forces_the_feet_carry_the_weight(made):
    found = physpose.fit(markers(made), made.body, **KNOWN)
    feet = [found.contacts.points.index(p.name) for p in made.body.contact_points]
    vertical = found.contacts.force[:, feet].sum(1)[STANCE, 2]
    np.testing.assert_allclose(vertical.mean(), made.body.mass * 9.81, rtol=0.1)


def test_an_osim_model_with_markers_of_its_own(made, files, tmp_path):
    made.body.save(tmp_path / "body.osim")
    seen = renamed(markers(made), LABELS)
    found = physpose.fit(seen, tmp_path / "body.osim")  # a model's file: neither scaled nor registered
    assert values(found)["size of the body"] == "as the skeleton has it"
    k = [found.skeleton.coordinate_names.index(n) for n in ("hip_flexion_r", "knee_angle_r", "ankle_angle_r")]
    own = [made.body.coordinate_names.index(found.skeleton.coordinate_names[i]) for i in k]
    difference = found.q[INNER][:, [7 + i for i in k]] - made.q[INNER][:, [7 + i for i in own]]
    assert np.degrees(np.sqrt((difference**2).mean(0))).max() < 1.0


def test_an_osim_model_is_scaled_where_asked(made, files, tmp_path):
    """A taller person's model, its markers where they are on the walker; none on the toes, so that these stay."""
    physpose.load_skeleton("adult", sex="m", height=1.9, mass=72.0).save(tmp_path / "tall.osim")
    toes = {label: f"{label} unknown" for label, point in LABELS.items() if point.startswith("hallux")}
    seen, still = (renamed(m, LABELS | toes) for m in (markers(made), standing(made)))
    found = physpose.fit(seen, tmp_path / "tall.osim", static=still, scale=True, register=True)
    shank = {n: np.linalg.norm(s.bodies[s.body_index("talus_r")].joint.translation)
             for n, s in (("made", made.body), ("found", found.skeleton))}  # fmt: skip
    assert shank["found"] == pytest.approx(shank["made"], rel=0.04)  # 9 % apart before
    assert found.status.details["markers"]["rms [m]"] < 0.005


# --- a body to be found -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c3d(made, tmp_path_factory):
    """Markers, plates, mass and height in one file, and a standing trial."""
    pytest.importorskip("ezc3d")
    from physpose.io.c3d_write import write_c3d

    folder = tmp_path_factory.mktemp("c3d")
    who = {"PROCESSING": {"Bodymass": 72.0, "Height": 1750.0, "MarkerDiameter": 14.0}}
    write_c3d(folder / "walk.c3d", markers(made), plates(made), parameters=who)
    write_c3d(folder / "stand.c3d", standing(made), parameters=who)
    return folder


def test_a_c3d_tells_who_and_its_plates_the_forces(made, truth, c3d):
    walk_file = c3d / "walk.c3d"
    found = physpose.fit(walk_file, "adult", sex="m", static=c3d / "stand.c3d", forces=walk_file)
    assert found.skeleton.mass == pytest.approx(72.0)
    lines = {a.what: a.source for a in found.assumptions}
    assert all(lines[n].startswith("the file's PROCESSING group") for n in ("mass", "height"))
    assert "standing trial" in lines
    assert lines["size of the body"] == "found from the markers of the standing trial and the motion"
    legs = [i for i, n in enumerate(made.body.coordinate_names) if n.startswith(("hip_flexion", "knee", "ankle"))]
    assert angles(found, made.q)[legs].max() < 4.0  # deg: markers' places were found too
    for name in ("knee_angle", "ankle_angle"):
        for side in "rl":
            ours, theirs = (r[f"{name}_{side}"].tau[STANCE] for r in (found, truth))
            assert np.corrcoef(ours, theirs)[0, 1] > 0.97, (name, side)


def test_size_is_found_from_the_markers(made, files):
    """A body of another height, its stature not given: the bones come out as the person's."""
    found = physpose.fit(files / "walk.trc", "adult", sex="m", mass=72.0, static=files / "stand.trc")

    def leg(body):
        return sum(np.linalg.norm(body.bodies[body.body_index(n)].joint.translation) for n in ("tibia_r", "talus_r"))

    assert "height was not given" not in said(found)
    expected = leg(physpose.load_skeleton("adult", sex="m", mass=72.0))
    assert abs(leg(found.skeleton) - leg(made.body)) < 0.6 * abs(expected - leg(made.body)) + 0.01


@pytest.mark.parametrize(("who", "told"), [({"age": 8}, "taken"), ({"height": 1.30, "mass": 28.0}, "given")])
def test_markers_of_somebody_taller_are_told(made, files, who, told):
    """A man of 1.75 m, taken for a child: not his labels are wrong."""
    found = physpose.fit(files / "walk.trc", "child", **who)
    size = re.search(rf"somebody of the 1\.\d\d m {told}: give height=(\d\.\d\d)", said(found))
    assert float(size[1]) == pytest.approx(1.75, abs=0.15)
    assert "labels exchanged" not in said(found)


def test_subject_parameters_in_their_units():
    for height in (1340.0, 134.0, 1.34):
        group = {"PROCESSING": {"Bodymass": 33.0, "Height": height, "RKneeWidth": 98.0, "LKneeWidth": 0.0}}
        found = subject_parameters(group)
        assert (found.mass, found.height, found.widths) == (33.0, pytest.approx(1.34), {"knee_r": 0.098})
    assert subject_parameters({}).height is None


# --- markers that are lost, exchanged, unknown ------------------------------------------------------------------------


def test_gaps_are_bridged_and_told(made):
    seen = without(without(markers(made), "RKNE", slice(30, 70)), "LHEE", slice(0, 80))
    found = physpose.fit(seen, made.body, **KNOWN)
    assert angles(found, made.q).max() < 1.0
    assert "RKNE (0.4" in said(found)
    assert "LHEE (33 %)" in said(found)


def test_frames_without_markers_at_the_ends_are_left_out(made):
    seen = markers(made)
    positions = seen.positions.copy()
    positions[:20] = np.nan
    found = physpose.fit(replace(seen, positions=positions), made.body, **KNOWN)
    assert len(found.time) == len(made.time) - 20
    assert "other frames are left out" in said(found)


def test_swapped_labels_are_put_right_and_told(made):
    seen = swapped(markers(made), "RANK", "LANK", slice(40, 60))
    found = physpose.fit(seen, made.body, **KNOWN)
    assert angles(found, made.q).max() < 0.5
    assert "markers RANK and LANK were exchanged in 20 of 120 frames: put right" in said(found)


def test_markers_that_do_not_jump_have_not_exchanged_labels():
    """Wherever a wrong pose expects them in between: an exchange shows as a jump of both."""
    T, sigma = 40, np.full(2, 0.01)
    steady = np.zeros((T, 2, 3)) + [[[0.0, 0, 1], [0.2, 0, 1]]]
    deceived = steady.copy()
    deceived[5:9] = steady[5:9, ::-1]
    assert find_swaps(deceived, steady, sigma) == {}
    ((pair, frames),) = find_swaps(steady, deceived, sigma).items()
    assert (pair, np.flatnonzero(frames).tolist()) == ((0, 1), [5, 6, 7, 8])


def test_labels_exchanged_throughout_are_told(made):
    heads = {"LFHD": "LBHD", "LBHD": "LFHD", "RFHD": "RBHD", "RBHD": "RFHD"}
    found = physpose.fit(renamed(markers(made), heads), "adult", sex="m", height=1.75, mass=72.0)
    assert "far from where their labels put them" in said(found)
    assert "FHD" in said(found)


def test_bodies_without_markers_are_told(made):
    seen = markers(made)
    legs = [i for i, n in enumerate(seen.names) if LABELS[n].split("_")[0] not in
            ("acromion", "arm", "elbow", "wrist", "hand", "head")]  # fmt: skip
    seen = replace(seen, names=tuple(seen.names[i] for i in legs), positions=seen.positions[:, legs])
    assert "no marker shows" in said(physpose.fit(seen, made.body, **KNOWN))


def test_unknown_labels_are_refused_by_name_and_known_once_mapped(made):
    strange = {label: f"X{i:02d}" for i, label in enumerate(LABELS)}
    seen = renamed(markers(made), strange)
    with pytest.raises(InputError, match=r"X00.*none are known.*Plug-in-Gait.*marker_set=.*asis_r"):
        physpose.fit(seen, made.body, **KNOWN)
    mapping = {strange[label]: point for label, point in LABELS.items()}
    found = physpose.fit(seen, made.body, marker_set=mapping, **KNOWN)
    assert angles(found, made.q).max() < 0.5
    with pytest.raises(UnknownNameError, match="asis_x"):
        physpose.fit(seen, made.body, marker_set={"X00": "asis_x"})
    with pytest.raises(UnknownNameError, match="joint centres"):
        physpose.fit(seen, made.body, marker_set="vicon")


def test_wrong_units_are_asked_about(made, tmp_path):
    seen = markers(made)
    path = write_trc(tmp_path / "walk.trc", seen.names, seen.time, seen.positions, units="m")
    path.write_text(path.read_text().replace("\tm\t", "\tmm\t", 1))
    with pytest.raises(InputError, match=r"give units='m'"):
        physpose.fit(path, made.body, **KNOWN)
    assert physpose.fit(path, made.body, units="m", **KNOWN).status.details["markers"]["rms [m]"] < 0.002
    with pytest.raises(InputError, match="Markers hold metres"):
        physpose.fit(replace(seen, positions=1e3 * seen.positions), made.body)


def test_what_cannot_be(made, files):
    seen = markers(made)
    with pytest.raises(InputError, match="force_lowpass=6 without forces to filter"):
        physpose.fit(seen, made.body, force_lowpass=6.0)
    with pytest.raises(InputError, match="camera=, fps= can be used with a video or keypoints"):
        physpose.fit(seen, made.body, camera=1000.0, fps=30.0)
    with pytest.raises(InputError, match="forces= can be used with markers"):
        physpose.fit(np.zeros((3, 17, 3)), forces="a.mot", keypoint_set="coco17", fps=30.0)
    with pytest.raises(InputError, match="the standing trial, shares 0 known markers"):
        physpose.fit(seen, made.body, static=renamed(standing(made), {n: f"X{n}" for n in LABELS}))
    with pytest.raises(InputError, match="none are known on skeleton 'adult' and seen"):
        physpose.fit(replace(seen, positions=np.full_like(seen.positions, np.nan)), made.body)
    with pytest.raises(SubjectError, match="needs age="):
        physpose.fit(seen, "child")
    late = replace(seen, time=seen.time + 100.0)
    with pytest.raises(InputError, match="not of the same recording"):
        physpose.fit(late, made.body, forces=files / "grf.mot", **KNOWN)
    root = replace(made.body.bodies[0], joint=made.body.bodies[1].joint)
    fixed = replace(made.body, bodies=(root, *made.body.bodies[1:]))
    with pytest.raises(InputError, match="hangs in the world"):
        physpose.fit(seen, fixed)


# --- the command line -------------------------------------------------------------------------------------------------


def test_one_command_from_files_to_a_report(files, tmp_path, capsys):
    command = ["fit", str(files / "walk.trc"), "--forces", str(files / "grf.mot"), "--height", "1.75", "--mass", "72"]
    command += ["--sex", "m", "--no-scale", "--no-register", "--force-lowpass", "20"]
    assert cli.main([*command, "--json", "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["contact_forces"].startswith("measured")
    assert any(a["what"] == "filter of the forces" and a["value"].startswith("20 Hz") for a in told["assumptions"])
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--marker", "RASI"], "LABEL=POINT"),
        (["--marker", "RASI=nowhere"], "nowhere"),
        (["--static", "none.trc"], "none.trc"),
        (["--forces", "none.mot"], "none.mot"),
        (["--fps", "30"], "fps"),
        (["--up", "w"], "up axis"),
    ],
)
def test_bad_arguments_end_in_one_line_and_code_2(files, tmp_path, capsys, more, word):
    code = cli.main(["fit", str(files / "walk.trc"), *more, "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().err.strip().splitlines()
    assert (code, len(lines)) == (2, 1)
    assert word in lines[0]
    assert not (tmp_path / "out").exists()


# --- real recordings --------------------------------------------------------------------------------------------------


def test_a_childs_walk(data_dir):
    """Moments against those in the file (Plug-in-Gait): benchmarks/lab_children.py has all nine children."""
    pytest.importorskip("ezc3d")
    folder = data_dir / "biomechzoo_children/data/sample_study/raw c3d files/HC039A"
    file = folder / "Straight/HC039A17.c3d"
    from physpose.io.c3d import read_c3d

    found = physpose.fit(file, "child", static=folder / "Static/HC039A01.c3d", forces=file)
    reference = read_c3d(file).outputs["RAnkleMoment"].values[:, 0] / 1e3
    on = found.contacts.active[:, found.contacts.bodies.index("calcn_r")]
    rows = np.searchsorted(read_c3d(file).markers.time, found.time[on] - 1e-6)
    ours = -found["ankle_angle_r"].tau[on] / found.skeleton.mass
    assert np.corrcoef(ours, reference[rows])[0, 1] > 0.99
    assert np.sqrt(np.mean((ours - reference[rows]) ** 2)) < 0.08 * np.ptp(reference[rows])


def test_markers_of_a_scaled_model_lie_as_near_as_opensims_did(data_dir):
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = folder / "Models/optimized_scale_and_markers.osim"
    found = physpose.fit(folder / "MarkerData/walking1.trc", model, forces=folder / "ID/walking1_grf.mot")
    assert found.status.details["markers"]["rms [m]"] < 0.01048  # OpenSim's own on this file, benchmarks/lab_ik.py
    assert set(found.contacts.bodies) == {"calcn_r", "calcn_l"}


def test_an_arm_that_goes_up_the_front_and_down_the_side_is_followed(made):
    """Its angles end far out of their ranges, the arm hangs where it hung."""
    time = np.arange(140) / 100.0
    up, down = (np.clip((time - start) / 0.5, 0, 1) for start in (0.1, 0.7))
    up, down = (s**2 * (3 - 2 * s) for s in (up, down))
    q = np.tile(made.body.neutral, (140, 1))
    for name, degrees in (("arm_flex_r", 170 * up), ("arm_add_r", -10 - 160 * down), ("arm_rot_r", -180 * down)):
        q[:, 7 + made.body.coordinate_names.index(name)] = np.radians(degrees)
    result = physpose.fit(markers(made, q, time), made.body, **KNOWN)
    assert result.status.converged
    assert result.status.details["markers"]["rms of each [m]"]["RFIN"] < 0.006


def test_more_frames_a_second_tell_no_more_of_skin_that_lasts(made):
    """An error that stays weighs the same at 100 and at 400 frames a second: as so many correlation times."""
    spots = spots_on(made.body, list(LABELS))[0]
    problem = MarkerProblem(made.body, spots)
    costs = []
    for rate, n in ((100.0, 201), (400.0, 801)):
        state = problem.state(torch.as_tensor(made.body.neutral).expand(n, -1))
        kin = Kinematics(problem.chain, state, problem.points)
        term = problem.skin(kin.points + 0.001, torch.arange(n, dtype=torch.float64) / rate)
        costs.append(float(term.cost(state, kin)))
    assert costs[1] == pytest.approx(costs[0], rel=0.01)
    length, s = 2.0, problem.settings
    # 1' C^-1 1 of an exponential correlation: 1 + length / 2 tau
    expected = 0.5 * 3 * (0.001 / problem.skin_sigma) ** 2 * (1 + length / (2 * s.skin_correlation_time))
    assert costs[1] == pytest.approx(float(expected.sum()), rel=0.02)
