"""Made-up recordings with known forces; ezc3d's own force plates as a second opinion; real files where they are."""

import lab_recording as lab
import numpy as np
import pytest

from physpose.errors import InputError, UnknownNameError
from physpose.io.force_plates import ForcePlate, plate_axes, plate_wrench
from physpose.io.forces import read_forces

ezc3d = pytest.importorskip("ezc3d", reason="needs the package ezc3d (extra c3d)")
from physpose.io.c3d import read_c3d  # noqa: E402

FLOAT32 = 1e-6  # relative: what a .c3d file keeps


@pytest.fixture
def path(tmp_path):
    return lab.write(tmp_path / "walk.c3d")


def test_markers_come_back_in_metres_on_their_clock(path):
    file, true = read_c3d(path), lab.markers()
    assert file.markers.names == lab.NAMES
    np.testing.assert_allclose(file.markers.positions, true.positions, atol=FLOAT32)
    np.testing.assert_allclose(file.markers.time, true.time, atol=1e-9)
    assert file.markers.rate == 100
    assert file.up == "+Z"


def test_plates_give_the_force_on_the_body_and_where_it_acts(path):
    for plate in read_c3d(path).plates:
        t = plate.time
        np.testing.assert_allclose(plate.force, lab.true_force(t), atol=1e-3)
        np.testing.assert_allclose(plate.cop(), lab.true_cop(t, plate.origin), atol=FLOAT32)
        np.testing.assert_allclose(plate.free_moment(), lab.true_free_moment(t), atol=1e-4)
        np.testing.assert_allclose(plate.normal, [0, 0, 1], atol=FLOAT32)
        assert t[0] == pytest.approx(lab.START)
    wrenches = read_forces(path).wrenches
    assert [w.name for w in wrenches] == ["plate 1", "plate 2"]


def test_events_and_parameters(path):
    file = read_c3d(path)
    assert [(e.name, e.context, round(e.time, 4)) for e in file.events] == [
        ("Foot Strike", "Left", 0.62),
        ("Foot Off", "Right", 61.5),
    ]
    assert file.parameters["PROCESSING"]["Bodymass"] == pytest.approx(32.1)


@pytest.mark.parametrize("up", ["+X", "-X", "+Y", "-Y", "+Z", "-Z"])
def test_laboratories_with_other_axes_up(tmp_path, up):
    from physpose.conventions import R_ZUP_LAB

    raw = ezc3d.c3d(str(lab.write(tmp_path / "a.c3d")))
    R = R_ZUP_LAB[up].T  # lab from z up
    raw["data"]["points"][:3] = np.einsum("ij,jkt->ikt", R, raw["data"]["points"][:3])
    raw["parameters"]["POINT"]["Y_SCREEN"]["value"] = [up]
    corners = raw["parameters"]["FORCE_PLATFORM"]["CORNERS"]["value"]
    raw["parameters"]["FORCE_PLATFORM"]["CORNERS"]["value"] = np.einsum("ij,jkp->ikp", R, corners)
    raw.write(str(tmp_path / "b.c3d"))
    file = read_c3d(tmp_path / "b.c3d")
    np.testing.assert_allclose(file.markers.positions, lab.markers().positions, atol=FLOAT32)
    np.testing.assert_allclose(file.plates[0].force, lab.true_force(file.plates[0].time), atol=1e-2)
    np.testing.assert_allclose(file.plates[0].cop()[:, :2], lab.plate().cop()[:, :2], atol=1e-5)


def test_many_labels_and_model_outputs(tmp_path):
    from physpose.io.c3d_write import write_c3d
    from physpose.types import Markers

    n = 260
    names = tuple(f"M{i}" for i in range(n - 1)) + ("LKneeAngles",)
    time = np.arange(4) / 50
    positions = np.random.default_rng(0).normal(size=(4, n, 3)) * 0.3 + [0, 0, 1]
    markers = Markers(names=names, time=time, positions=positions, rate=50)
    angles = {"POINT": {"ANGLES": ["LKneeAngles"], "ANGLE_UNITS": ["deg"]}}
    file = read_c3d(write_c3d(tmp_path / "a.c3d", markers, parameters=angles))
    assert file.markers.names == names[:-1]
    assert file.outputs["LKneeAngles"].kind == "angles"
    assert file.outputs["LKneeAngles"].unit == "deg"
    np.testing.assert_allclose(file.outputs["LKneeAngles"].values, 1000 * positions[:, -1], rtol=1e-5)


# --- force plates -----------------------------------------------------------------------------------------------------


def readings(kind, force, moment, origin):
    """Channels of a plate of this type that measures force and moment about the surface's centre, plate axes."""
    if kind in (2, 4):
        return np.concatenate([force, moment + np.cross(origin, force)], 1)
    if kind == 1:
        x, y = -moment[:, 1] / force[:, 2], moment[:, 0] / force[:, 2]
        free = moment[:, 2] - (x * force[:, 1] - y * force[:, 0])
        return np.concatenate([force, np.stack([x, y, free], 1)], 1)
    a, b, az0 = origin
    M = moment + np.cross([0, 0, az0], force)
    # least squares over the eight sensors: any solution measures the same
    A = np.zeros((6, 8))
    A[0, :2] = A[1, 2:4] = 1
    A[2, 4:] = 1
    A[3, 4:] = b * np.array([1, 1, -1, -1])
    A[4, 4:] = a * np.array([-1, 1, 1, -1])
    A[5, :4] = [-b, b, a, -a]
    return np.concatenate([force, M], 1) @ np.linalg.pinv(A).T


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_all_types_of_plates(kind):
    rng = np.random.default_rng(kind)
    force = rng.normal(size=(20, 3)) * [50, 50, 100] - [0, 0, 600]  # plate axes: z into the ground
    moment = rng.normal(size=(20, 3)) * 40
    origin = np.array([0.2, 0.15, -0.04]) if kind == 3 else np.array([0.001, -0.002, -0.04])
    channels, calibration = readings(kind, force, moment, origin), None
    if kind == 4:
        calibration = np.eye(6) * 250 + rng.normal(size=(6, 6))
        channels = channels @ np.linalg.inv(calibration).T
    for sign in (1, -1) if kind != 3 else (1,):  # many files hold the opposite vector
        found = plate_wrench(kind, channels, sign * origin, calibration, name="plate 1")
        np.testing.assert_allclose(found[0], force, atol=1e-9)
        np.testing.assert_allclose(found[1], moment, atol=1e-9)


def test_ezc3d_agrees_on_real_plates(data_dir):
    found = sorted((data_dir / "biomechzoo_children").rglob("Straight/*.c3d"))
    for path in found[:3]:
        file, other = read_c3d(path), ezc3d.c3d(str(path), extract_forceplat_data=True)
        for mine, theirs in zip(file.plates, other["data"]["platform"], strict=True):
            on = mine.loaded(50)
            np.testing.assert_allclose(mine.force, theirs["force"].T, atol=1e-4)
            np.testing.assert_allclose(mine.moment, theirs["moment"].T / 1e3, atol=1e-4)
            np.testing.assert_allclose(mine.cop(50)[on], theirs["center_of_pressure"].T[on] / 1e3, atol=1e-6)


def test_real_children_stand_with_their_weight_on_the_plates_and_under_their_feet(data_dir):
    for path in sorted((data_dir / "biomechzoo_children").rglob("Straight/*.c3d")):
        file = read_c3d(path)
        mass = file.parameters["PROCESSING"]["Bodymass"]
        feet = [file.markers.names.index(n) for n in ("LHEE", "LTOE", "RHEE", "RTOE")]
        for plate in file.plates:
            assert 0.9 < plate.force[:, 2].max() / (9.81 * mass) < 1.6
            strong = plate.force[:, 2] > 0.5 * plate.force[:, 2].max()
            frames = np.searchsorted(file.markers.time, plate.time[strong]).clip(0, len(file.markers.time) - 1)
            away = np.linalg.norm(file.markers.positions[frames][:, feet, :2] - plate.cop()[strong, None, :2], axis=-1)
            assert np.median(away.min(1)) < 0.15
        assert file.outputs["LKneeMoment"].kind == "moments"  # its label stands in LABELS2
        assert len(file.markers.names) > 100


# --- what cannot be used ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.999])
def test_files_that_were_cut_off_are_refused(path, tmp_path, share):
    data = path.read_bytes()
    cut = tmp_path / "cut.c3d"
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.c3d.*(was cut off|is no \.c3d)"):
        read_c3d(cut)


def test_other_files_are_named(tmp_path):
    other = tmp_path / "a.c3d"
    other.write_text("hello " * 200)
    with pytest.raises(InputError, match="is no .c3d file"):
        read_c3d(other)
    with pytest.raises(InputError, match="No such file"):
        read_c3d(tmp_path / "none.c3d")


def change(path, tmp_path, group, name, value):
    raw = ezc3d.c3d(str(path))
    raw["parameters"][group][name]["value"] = value
    raw.write(str(tmp_path / "changed.c3d"))
    return tmp_path / "changed.c3d"


def test_metres_labelled_millimetres_are_asked_about(path, tmp_path):
    raw = ezc3d.c3d(str(path))
    raw["data"]["points"][:3] /= 1000
    raw.write(str(tmp_path / "m.c3d"))
    with pytest.raises(InputError, match=r"POINT:UNITS.*'mm'.*units='m'"):
        read_c3d(tmp_path / "m.c3d", plates=False)
    found = read_c3d(tmp_path / "m.c3d", units="m", plates=False)
    np.testing.assert_allclose(found.markers.positions, lab.markers().positions, atol=FLOAT32)


def test_moments_in_a_wrong_unit_put_the_pressure_off_the_plate(path, tmp_path):
    wrong = change(path, tmp_path, "ANALOG", "UNITS", ["N", "N", "N", "Nm", "Nm", "Nm"] * 2)
    with pytest.raises(InputError, match=r"changed\.c3d, plate 1.*off the plate.*moment_units='N\.mm'"):
        read_c3d(wrong)
    plate = read_c3d(wrong, moment_units="N.mm").plates[0]
    np.testing.assert_allclose(plate.cop(), lab.true_cop(plate.time, plate.origin), atol=FLOAT32)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CHANNEL", np.arange(101.0, 113).reshape(6, 2, order="F"), "CHANNEL names channels"),
        ("CORNERS", np.zeros((3, 4, 2)), "span no surface"),
        ("CORNERS", np.zeros(5), "CORNERS holds 5 numbers, 24"),
        ("TYPE", [7, 7], "of type 7"),
        ("TYPE", [4, 4], "CAL_MATRIX"),
    ],
)
def test_wrong_descriptions_of_plates_are_refused(path, tmp_path, name, value, message):
    wrong = change(path, tmp_path, "FORCE_PLATFORM", name, value)
    with pytest.raises(InputError, match=message):
        read_c3d(wrong)
    assert read_c3d(wrong, plates=False).plates == ()


def test_forces_of_many_kilonewtons_are_refused(path, tmp_path):
    wrong = change(path, tmp_path, "ANALOG", "UNITS", ["kN", "kN", "kN", "Nmm", "Nmm", "Nmm"] * 2)
    with pytest.raises(InputError, match="no person does that"):
        read_c3d(wrong)


def test_a_plate_that_reports_what_it_feels_is_turned_round(tmp_path):
    from physpose.io.c3d_write import write_c3d

    plate = lab.plate()
    pulled = ForcePlate(**{**vars(plate), "force": -plate.force, "moment": -plate.moment})
    file = read_c3d(write_c3d(tmp_path / "a.c3d", lab.markers(), [pulled]))
    np.testing.assert_allclose(file.plates[0].force, plate.force, atol=1e-3)
    assert "turned round" in file.warnings[0]


def test_a_baseline_is_subtracted(tmp_path):
    from physpose.io.c3d_write import write_c3d

    plate = lab.plate()
    on = (plate.time > 0.7)[:, None]
    drift = np.array([3.0, -2.0, 15.0])
    force, moment = np.where(on, plate.force, 0) + drift, np.where(on, plate.moment, 0) + 1.5
    drifting = ForcePlate(**{**vars(plate), "force": force, "moment": moment})
    file = read_c3d(write_c3d(tmp_path / "a.c3d", lab.markers(), [drifting]), baseline=(0.5, 0.65))
    np.testing.assert_allclose(file.plates[0].force, np.where(on, plate.force, 0), atol=1e-3)
    with pytest.raises(InputError, match="no sample"):
        read_c3d(tmp_path / "a.c3d", baseline=(10, 11))


def test_wrong_words_are_refused(path):
    with pytest.raises(UnknownNameError, match="inch"):
        read_c3d(path, units="inch")
    with pytest.raises(UnknownNameError, match="'W'"):
        read_c3d(path, up="W")


def test_axes_of_a_plate_follow_its_corners():
    R = plate_axes(lab.CORNERS, "plate 1")
    np.testing.assert_allclose(R, np.diag([1.0, -1, -1]), atol=1e-12)
