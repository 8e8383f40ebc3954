"""Cameras: OpenCV's projection and published calibrations as second opinions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from physpose.errors import InputError
from physpose.io.camera import DEFAULT_RATIO, MEASURED, SIGMA_DEFAULT, SIGMA_PORTRAIT, camera_from, focal_prior
from physpose.types import Camera

SIZE = (720, 1280)


# --- prior


@pytest.mark.parametrize(
    ("size", "spread"),
    [
        ((720, 1280), SIGMA_PORTRAIT),
        ((1280, 720), SIGMA_DEFAULT),
        ((2160, 3840), SIGMA_PORTRAIT),
        ((640, 480), SIGMA_DEFAULT),
    ],
)
def test_unknown_device_gets_a_wide_prior_that_scales_with_the_long_side(size, spread):
    """An upright picture is a phone's, one that lies may be a webcam's."""
    focal, sigma, source = focal_prior(size, {})
    assert focal == pytest.approx(DEFAULT_RATIO * max(size))
    assert sigma == spread
    assert "does not tell its device" in source


@pytest.mark.parametrize("nominal", [23, 24, 26, 28])
@pytest.mark.parametrize("crop", [1.0, 1.1])
def test_prior_reaches_the_main_cameras_of_phones(nominal, crop):
    """16:9 video of the full width of a 4:3 sensor, with and without the crop of stabilisation: within two sigma."""
    width = 0.8 * math.hypot(36, 24) / crop  # [mm] of the film that the nominal focal length refers to
    focal, sigma, _ = focal_prior((1920, 1080), {})
    assert abs(math.log(1920 * nominal / width / focal)) < 2 * sigma


def test_calibrated_device_is_looked_up_by_name_and_by_identifier():
    by_name = focal_prior(SIZE, {"com.apple.quicktime.model": "iPhone 12 Pro"})
    by_id = focal_prior(SIZE, {"com.apple.quicktime.model": "iPhone13,3"})
    assert by_name[:2] == by_id[:2]
    assert by_name[1] < SIGMA_DEFAULT / 2
    assert "iPhone 12 Pro" in by_name[2]


def test_table_of_devices_is_what_was_published(data_dir):
    table = json.loads((data_dir / "opencap_intrinsics/intrinsics.json").read_text())
    for device, ratio in MEASURED.items():
        modes = {k: v for k, v in table.items() if k.lower().startswith(device + "/")}
        assert modes
        for mode in modes.values():
            matrix, size = np.array(mode["intrinsicMat"]), np.array(mode["imageSize"])
            assert ratio == pytest.approx((matrix[0, 0] + matrix[1, 1]) / 2 / size.max(), rel=0.02)


def test_unknown_model_is_named():
    focal, sigma, source = focal_prior(SIZE, {"com.apple.quicktime.model": "iPhone 99"})
    assert (focal, sigma) == focal_prior(SIZE, {})[:2]
    assert "iPhone 99 is not in the table" in source


def test_nominal_focal_length_in_the_file_beats_the_default():
    key = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
    focal, sigma, source = focal_prior(SIZE, {key: "26"})
    assert focal == pytest.approx(MEASURED["iphone13,3"] * 1280, rel=0.02)  # nominally 26 mm, calibrated
    assert sigma < SIGMA_DEFAULT
    assert "26 mm" in source
    assert focal_prior(SIZE, {key: "13"})[0] == pytest.approx(focal / 2)
    for nonsense in ("", "wide", "0", "-3", "inf", "nan"):
        assert focal_prior(SIZE, {key: nonsense}) == focal_prior(SIZE, {})


def test_cropped_picture_widens_the_prior():
    focal, sigma, source = focal_prior((720, 720), {"com.apple.quicktime.model": "iPhone 12 Pro"})
    assert sigma > SIGMA_DEFAULT
    assert focal > 0.7136 * 720
    assert "cropped" in source


# --- given cameras

TOML = """
[cam_01]
name = "cam_01"
size = [ 1088.0, 1920.0]
matrix = [ [ 1681.2, 0.0, 532.9], [ 0.0, 1681.0, 948.1], [ 0.0, 0.0, 1.0]]
distortions = [ 0.0, 0.0, 0.0, 0.0]
rotation = [ 1.688, 1.048, -0.42]
translation = [ 0.321, 0.956, 2.891]
fisheye = false

[metadata]
adjusted = false
"""


def test_focal_length_alone_puts_the_principal_point_in_the_middle():
    camera, known = camera_from(1000, SIZE)
    assert known
    assert camera.focal == 1000
    assert camera.principal_point == (360, 640)
    assert camera.image_size == SIZE


def test_dict_may_tell_more():
    camera, known = camera_from({"focal": 1000, "principal_point": (350, 650)}, SIZE)
    assert known
    assert (camera.focal, camera.principal_point) == (1000, (350, 650))
    assert camera_from({"focal": 1000, "image_size": (640, 480)}, None)[0].image_size == (640, 480)


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_calibration_file_projects_as_opencv_does(tmp_path, as_type):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "calib.toml").write_text(TOML)
    camera, known = camera_from(as_type(tmp_path / "calib.toml"), (1088, 1920))
    assert known
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    K = np.array([[1681.2, 0, 532.9], [0, 1681.0, 948.1], [0, 0, 1]])
    rotation, translation = np.array([1.688, 1.048, -0.42]), np.array([0.321, 0.956, 2.891])
    expected = cv2.projectPoints(points, rotation, translation, K, None)[0][:, 0]
    np.testing.assert_allclose(camera.project(points), expected, atol=0.2)  # px: one focal length for two


def test_camera_for_another_size_of_the_same_shape_is_scaled(tmp_path):
    (tmp_path / "calib.toml").write_text(TOML)
    full, _ = camera_from(tmp_path / "calib.toml", (1088, 1920))
    half, _ = camera_from(full, (544, 960))
    point = np.array([[0.1, -0.2, 0.3]])
    np.testing.assert_allclose(half.project(point), full.project(point) / 2)
    assert half.image_size == (544, 960)
    almost, _ = camera_from(full, (1080, 1920))  # a few columns cropped
    assert almost.image_size == (1080, 1920)
    assert almost.focal == full.focal


def test_real_calibration_holds_four_cameras_and_says_so(data_dir):
    path = data_dir / "pose2sim/S00_Demo_Session/S00_Calibration/Calib_qualisys.toml"
    with pytest.raises(InputError, match="one camera; it has 4: cam_01, cam_02"):
        camera_from(path, (1088, 1920))


CAMERA = Camera(image_size=SIZE, focal=900.0, principal_point=(360.0, 640.0))


@pytest.mark.parametrize(
    ("value", "size", "message"),
    [
        (-5, SIZE, "positive number of pixels"),
        (0, SIZE, "positive number of pixels"),
        (float("nan"), SIZE, "positive number of pixels"),
        (True, SIZE, "expected a focal length"),
        ([1000], SIZE, "expected a focal length"),
        (1000, None, "image size is not known"),
        ({}, SIZE, "expected 'focal'"),
        ({"focal": "wide"}, SIZE, "positive number of pixels"),
        ({"focal": 1000, "zoom": 2}, SIZE, "at most: focal, image_size, principal_point"),
        ({"focal": 1000, "principal_point": 3}, SIZE, "expected two numbers"),
        (CAMERA, (1280, 720), "720 x 1280 px, but these are 1280 x 720"),
        ("none.toml", SIZE, "no such file"),
    ],
)
def test_camera_that_cannot_be_used_is_refused_in_one_line(value, size, message):
    with pytest.raises(InputError, match=message) as error:
        camera_from(value, size)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml at all", "not a .toml"),
        ("[cam]\nsize = [1, 2]", "no table in it has a 'matrix'"),
        ("[cam]\nmatrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "expected size"),
        ("[cam]\nsize = [720, 1280]\nmatrix = [1, 2, 3]", "expected size"),
        (TOML.replace("fisheye = false", "fisheye = true"), "fisheye"),
        (TOML + TOML.replace("cam_01]", "cam_02]").replace("[metadata]", "[more]"), "it has 2: cam_01, cam_02"),
        (TOML.replace("1681.2", "-1681.2").replace("1681.0", "-1681.0"), "positive"),
    ],
)
def test_calibration_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "calib.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        camera_from(path, (1088, 1920))
    assert "\n" not in str(error.value)
