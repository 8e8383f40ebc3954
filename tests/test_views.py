"""Several cameras: calibration files, rays that meet, clocks that differ, and a walk that is found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import compare, filmed, phone

import physpose
from physpose import load_skeleton
from physpose.errors import InputError
from physpose.estimation.rig import clock_offset, fundamental, resampled, triangulate
from physpose.io.calibration import RigCamera, lifted, matched, read_rig
from physpose.progress import SILENT
from physpose.types import Camera, Keypoints2D
from physpose.views import observe_views
from sims import walk
from sims.common import Simulation

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}
OPTIONS = dict.fromkeys(("person", "keypoint_set", "fps", "image_size")) | {"detector": "mediapipe", "progress": SILENT}
LEGS = tuple(f"{n}_{s}" for n in ("hip_flexion", "hip_adduction", "knee_angle", "ankle_angle") for s in "rl")
TOML = """
[cam_01]
name = "cam_01"
size = [1080.0, 1920.0]
matrix = [[1400.0, 0.0, 530.0], [0.0, 1402.0, 950.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.02, 0.001, -0.0005]
rotation = [1.2, 0.3, -0.2]
translation = [0.1, 0.9, 3.0]
fisheye = false

[cam_02]
size = [1080.0, 1920.0]
matrix = [[1400.0, 0.0, 530.0], [0.0, 1402.0, 950.0], [0.0, 0.0, 1.0]]
rotation = [1.2, 1.3, -0.2]
translation = [0.1, 0.9, 3.0]

[metadata]
adjusted = false
"""


@pytest.fixture(scope="module")
def walked() -> Simulation:
    return walk.simulate(load_skeleton("adult", **ADULT), 2.0)


def around(sim: Simulation, n: int = 3) -> tuple[Camera, ...]:
    """n phones in a circle."""
    x, y, z = sim.q[:, :3].mean(0)
    angles = -1.0 + 2 * np.pi * np.arange(n) / n
    return tuple(
        phone(at=(x + 3.5 * np.cos(a), y + 3.5 * np.sin(a), 1.2), look_at=(x, y, float(0.95 * z))) for a in angles
    )


def clips(sim: Simulation, cameras: tuple[Camera, ...], **film: float) -> list[Keypoints2D]:
    return [filmed(sim, c, landmark_noise=None, seed=i, **film)[0] for i, c in enumerate(cameras)]  # type: ignore[arg-type]


# --- pictures and their calibration -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pictures", "calibrated"), [((1080, 1920), (1088, 1920)), ((1088, 1920), (1080, 1920))])
def test_the_margin_that_codecs_add_is_no_other_size(walked, pictures, calibrated):
    cameras = around(walked)
    kp = [replace(x, image_size=pictures) for x in clips(walked, cameras)]
    views = observe_views(kp, [replace(c, image_size=calibrated) for c in cameras], **OPTIONS)
    assert {c.image_size for c in views.cameras} == {pictures}  # as they are shown


@pytest.mark.parametrize("pictures", [(1920, 1080), (1200, 1920), (1072, 1920)])
def test_pictures_of_another_size_than_the_calibrations_are_refused(walked, pictures):
    cameras = around(walked)
    kp = [replace(x, image_size=pictures) for x in clips(walked, cameras)]
    with pytest.raises(InputError, match=f"pictures of {pictures[0]} x {pictures[1]}.*calibrated for 1088 x 1920"):
        observe_views(kp, [replace(c, image_size=(1088, 1920)) for c in cameras], **OPTIONS)


def test_a_calibration_whose_world_is_y_up_is_told(walked):
    """The same cameras in a world that is turned on its side."""
    turned = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # x_new = turned @ x
    upright = around(walked)
    lying = [replace(c, R_camera_world=c.R_camera_world @ turned.T) for c in upright]
    kp = [x.frames(slice(0, 20)) for x in clips(walked, upright)]
    told = "y points up in the calibration's world, not z"
    # the person hangs head down or lies: new y is old z
    assert any(told in w for w in physpose.fit(kp, camera=lying, **ADULT).warnings)
    assert not any(told in w for w in physpose.fit(kp, camera=list(upright), **ADULT).warnings)


# --- a walk -----------------------------------------------------------------------------------------------------------


def test_a_walk_before_three_cameras_is_found_again(walked):
    cameras = around(walked)
    rig = list(cameras)
    result = physpose.fit(clips(walked, cameras), camera=rig, **ADULT)
    keep = filmed(walked, cameras[0], landmark_noise=None)[1]
    found = compare(result, walked, keep, cameras[0])
    assert found.rms(LEGS) < 3.0  # the attitude of the pelvis rests on two hips and the posture prior
    assert found.gravity < 1e-6  # given
    assert found.position < 0.015
    assert found.distance < 0.015
    assert abs(result.camera.position[2] - cameras[0].position[2]) < 0.01  # the floor is where it was
    weight = result.skeleton.mass * 9.81
    assert result.contacts.force.sum(1)[5:-5, 2].mean() == pytest.approx(weight, rel=0.05)
    assert result.sigma is not None
    assert np.median(result.sigma.positions) < 0.02
    assert {"cameras", "floor", "clock of camera 2"} <= {a.what for a in result.assumptions}


def test_a_table_under_the_calibration_and_a_late_clock_are_noticed(walked):
    cameras = around(walked)
    table, late = 0.8, 0.12  # [m], [s]
    rig = [RigCamera.plain(lifted(c, table), f"camera {i + 1}") for i, c in enumerate(cameras)]
    seen = clips(walked, cameras)
    seen[1] = replace(seen[1], time=seen[1].time - late)
    result = physpose.fit(seen, camera=rig, **ADULT)
    lines = {a.what: a.value for a in result.assumptions}
    assert float(lines["floor"].split(" m")[0]) == pytest.approx(-table, abs=0.02)
    assert float(lines["clock of camera 2"].split(" ms")[0]) == pytest.approx(1e3 * late, abs=8)
    assert lines["clock of camera 3"] == "none"


def test_rays_that_do_not_meet_are_refused(walked):
    x, y, z = walked.q[:, :3].mean(0)
    places = ((3.0, 0.5, 0.4), (-1.0, 3.5, 2.2), (-2.5, -0.5, 1.2))  # nowhere alike
    cameras = tuple(phone(at=(x + a, y + b, h), look_at=(x, y, float(z))) for a, b, h in places)
    rig = list(cameras)
    seen = clips(walked, cameras)
    with pytest.raises(InputError, match="rays miss each other"):
        physpose.fit([seen[0], seen[2], seen[1]], camera=rig, **ADULT)


def test_what_several_sources_need(walked):
    cameras = around(walked, 2)
    seen = clips(walked, cameras)
    with pytest.raises(InputError, match="2 videos need their calibration"):
        physpose.fit(seen, **ADULT)
    with pytest.raises(InputError, match=r"a\.trc, b\.C3D: marker files are fitted one at a time"):
        physpose.fit(["a.trc", "b.C3D"], **ADULT)
    with pytest.raises(InputError, match="1 source in a list"):
        physpose.fit(seen[:1], camera="Calib.toml", **ADULT)
    with pytest.raises(InputError, match="no such calibration file"):
        physpose.fit(seen, camera="none.toml", **ADULT)
    with pytest.raises(InputError, match="a Camera for each video"):
        physpose.fit(seen, camera=1400.0, **ADULT)


# --- geometry ---------------------------------------------------------------------------------------------------------


def test_points_are_triangulated_and_one_liar_is_outvoted(walked):
    cameras = around(walked, 4)
    p = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 5, 3)) + walked.q[:, :3].mean(0)
    uv, weight = np.stack([c.project(p) for c in cameras]), np.ones((4, 3, 5))
    found, error = triangulate(uv, weight, cameras)
    np.testing.assert_allclose(found, p, atol=1e-6)
    assert error.max() < 1e-3
    uv[2] += 300.0
    np.testing.assert_allclose(triangulate(uv, weight, cameras)[0], p, atol=0.02)
    uv[:3] = np.nan
    assert np.isnan(triangulate(uv, weight, cameras)[0]).all()  # one camera is no two


def test_the_fundamental_matrix_holds_every_pair(walked):
    first, second = around(walked, 2)
    p = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3)) + walked.q[:, :3].mean(0)
    a, b = (np.column_stack([c.project(p), np.ones(20)]) for c in (first, second))
    line = a @ fundamental(first, second).T
    np.testing.assert_allclose((line * b).sum(1) / np.linalg.norm(line[:, :2], axis=1), 0, atol=1e-6)


def test_a_clock_that_agrees_is_left_alone(walked):
    cameras = around(walked, 2)
    a, b = clips(walked, cameras)
    clock = clock_offset((a.time, b.time), (a.uv[0], b.uv[0]), cameras, 0.5)
    assert abs(clock.offset) < 0.005


def test_resampling_keeps_gaps():
    time, x = np.arange(5.0), np.array([0.0, 1, np.nan, 3, 4])
    found = resampled(time, x, np.array([-1.0, 0.5, 1.0, 1.5, 3.0, 3.5, 9.0]))
    np.testing.assert_array_equal(found, [np.nan, 0.5, 1.0, np.nan, 3.0, 3.5, np.nan])


# --- calibration files ------------------------------------------------------------------------------------------------


def test_a_calibration_is_read_and_its_lens_undone(tmp_path):
    path = tmp_path / "Calib.toml"
    path.write_text(TOML)
    first, second = read_rig(path)
    assert (first.name, second.name) == ("cam_01", "cam_02")
    assert first.camera.image_size == (1080, 1920)
    assert first.camera.focal == pytest.approx(1401.0)
    np.testing.assert_allclose(first.camera.t, [0.1, 0.9, 3.0])
    cv2 = pytest.importorskip("cv2")
    p = np.random.default_rng(0).uniform([-0.4, -0.6, 1.0], [0.4, 0.6, 1.5], (30, 3))
    seen = cv2.projectPoints(p, np.zeros(3), np.zeros(3), first.matrix, first.distortion)[0][:, 0]
    ideal = 1401.0 * p[:, :2] / p[:, 2:] + [530, 950]
    np.testing.assert_allclose(first.undistorted(seen), ideal, atol=1e-3)
    assert np.abs(seen - ideal).max() > 5  # the lens does something
    assert np.isnan(first.undistorted(np.full((1, 2), np.nan))).all()


def test_videos_find_their_cameras(tmp_path):
    path = tmp_path / "Calib.toml"
    path.write_text(TOML)
    cameras = read_rig(path)
    names = lambda sources: [c.name for c in matched(cameras, sources)]  # noqa: E731
    assert names(["b/cam02.mp4", "b/cam01.mp4"]) == ["cam_02", "cam_01"]
    assert names(["left.mp4", "right.mp4"]) == ["cam_01", "cam_02"]
    with pytest.raises(InputError, match="3 videos, 2 cameras"):
        names(["a.mp4", "b.mp4", "c.mp4"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("fisheye = false", "fisheye = true"), "cam_01 is a fisheye"),
        (("rotation = [1.2, 0.3, -0.2]\n", ""), "cam_01: expected size"),
        (("-0.0005]", "-0.0005, 0.3]"), "5 distortion coefficients"),
        (("[cam_02]", "[cam_02"), "cannot be read|can be read"),
        (("[[1400.0, 0.0, 530.0]", "[[1400.0, 530.0]"), "expected size"),
    ],
)
def test_calibrations_that_cannot_be_used_say_why(tmp_path, change, message):
    path = tmp_path / "Calib.toml"
    path.write_text(TOML.replace(*change))
    with pytest.raises(InputError, match=message):
        read_rig(path)


def test_one_camera_is_no_rig(tmp_path):
    path = tmp_path / "Calib.toml"
    path.write_text(TOML.split("[cam_02]")[0])
    with pytest.raises(InputError, match="holds 1 cameras"):
        read_rig(path)
