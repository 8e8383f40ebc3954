"""What is known of the camera: a prior on its focal length from the device, or what the user gives."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from physpose.errors import InputError
from physpose.types import Camera

# Focal length over the long image side of each device's main camera in 16:9 video, by checkerboard: OpenCap's
# calibrations, opencap-core/CameraIntrinsics (Apache-2.0), 720p, mean of fx and fy. Keys: Apple's identifiers.
MEASURED = {
    "ipad8,9": 0.7811,  # iPad Pro 11", 2nd generation
    "iphone12,3": 0.7121,  # iPhone 11 Pro
    "iphone13,3": 0.7136,  # iPhone 12 Pro
}
MARKETING_NAMES = {"iphone 11 pro": "iphone12,3", "iphone 12 pro": "iphone13,3"}
SIGMA_MEASURED = 0.05  # of log(focal): stabilisation crops up to 10 % and focusing breathes; units differ by 1 %

# A nominal 35 mm equivalent counts the diagonal of the whole 4:3 sensor, of which the long side is 0.8; 16:9 video uses
# its full width. The calibrated iPhones (26 mm nominal) reach 0.95 of what that gives.
DIAGONAL_35MM = math.hypot(36.0, 24.0)  # [mm]
LONG_SIDE_OF_DIAGONAL = 0.8
NOMINAL_TO_MEASURED = 0.95
SIGMA_NOMINAL = 0.10

# Main cameras of phones since 2019 are nominally 23 to 28 mm, by the rule above 0.63 to 0.77 of the long side;
# electronic stabilisation crops 0 to 20 % of that width, so 0.63 to 0.92. Webcams (65 to 78 degrees over the diagonal)
# reach 0.71 to 0.90, ultra-wide lenses 0.36 (the prior does not reach them: give camera=).
DEFAULT_RATIO = 0.74
SIGMA_DEFAULT = 0.18
# An upright picture comes from a phone: 0.63 to 0.92, evenly in the logarithm, has this standard deviation.
SIGMA_PORTRAIT = 0.11
# A picture squarer than 4:3 is cropped: its long side was longer by an unknown factor.
UNCROPPED_ASPECT = 4 / 3
SIGMA_CROPPED = 0.30

MODEL_KEYS = ("com.apple.quicktime.model", "com.android.model", "model", "device_model", "com.android.capture.model")
FOCAL_35MM_KEYS = ("com.apple.quicktime.camera.focal_length.35mm_equivalent",)
SAME_SIZE = 0.02  # relative difference of two image sizes that is a crop of a few rows, not another format


def focal_prior(image_size: tuple[int, int], metadata: Mapping[str, str]) -> tuple[float, float, str]:
    """Focal length that a video most likely has.

    Args:
        image_size: width, height [px], upright.
        metadata: of the container and stream, e.g. ``Video.metadata``.

    Returns:
        focal length [px], standard deviation of its logarithm, and where they come from in one sentence.
    """
    ratio, sigma, source = _ratio(metadata)
    if image_size[1] > image_size[0]:
        sigma = min(sigma, SIGMA_PORTRAIT)
    long, short = max(image_size), min(image_size)
    if long < UNCROPPED_ASPECT * short:
        long, sigma = round(UNCROPPED_ASPECT * short), max(sigma, SIGMA_CROPPED)
        source += "; the picture is squarer than 4:3, so it was cropped"
    return ratio * long, sigma, source


def _ratio(metadata: Mapping[str, str]) -> tuple[float, float, str]:
    """Focal length over long side, standard deviation of its logarithm, source."""
    lower = {key.lower(): value for key, value in metadata.items()}
    model = next((lower[key] for key in MODEL_KEYS if lower.get(key)), None)
    key = MARKETING_NAMES.get((model or "").lower(), (model or "").lower())
    if key in MEASURED:
        return MEASURED[key], SIGMA_MEASURED, f"{model}: main camera's calibration by OpenCap"
    nominal = _positive_number(next((lower[k] for k in FOCAL_35MM_KEYS if k in lower), ""))
    if nominal:
        ratio = NOMINAL_TO_MEASURED * nominal / DIAGONAL_35MM / LONG_SIDE_OF_DIAGONAL
        return ratio, SIGMA_NOMINAL, f"the file says {nominal:g} mm (35 mm equivalent)"
    known = f"{model} is not in the table of devices" if model else "the file does not tell its device"
    return DEFAULT_RATIO, SIGMA_DEFAULT, f"{known}; typical main camera of a phone"


def _positive_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def camera_from(value: Any, image_size: tuple[int, int] | None) -> tuple[Camera, bool]:
    """The user's ``camera=`` as a Camera for pictures of ``image_size``, and whether its focal length is known.

    Args:
        value: a focal length [px]; a dict with "focal", and optionally "principal_point" and "image_size"; a
            ``Camera``; or the path of a calibration .toml of OpenCV's or Pose2Sim's kind with one camera.
        image_size: width, height [px]; None takes the size from ``value``. A camera for another size of the same
            shape is scaled.

    Returns:
        The camera, and True: whoever gives a camera gives its focal length.

    Raises:
        InputError: no focal length, another shape of picture, several cameras in the file, or a fisheye.
    """
    if isinstance(value, Camera):
        camera = value
    elif isinstance(value, (str, Path)):
        camera = _read_toml(Path(value))
    elif isinstance(value, Mapping):
        camera = _from_dict(value, image_size)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        camera = _from_dict({"focal": value}, image_size)
    else:
        raise InputError(f"camera={value!r}; expected a focal length [px], a dict, a Camera or a calibration .toml")
    _checked_focal(camera.focal)
    return (camera if image_size is None else _fitted(camera, image_size)), True


def _from_dict(value: Mapping[str, Any], image_size: tuple[int, int] | None) -> Camera:
    allowed = {"focal", "principal_point", "image_size"}
    if "focal" not in value or set(value) - allowed:
        raise InputError(f"camera={dict(value)}; expected 'focal' [px], and at most: {', '.join(sorted(allowed))}")
    size = value.get("image_size", image_size)
    if size is None:
        raise InputError(f"camera={dict(value)}: the image size is not known; give 'image_size': (width, height)")
    width, height = _pair(size, "image_size")
    centre = _pair(value.get("principal_point", (width / 2, height / 2)), "principal_point")
    return Camera(
        image_size=(round(width), round(height)), focal=_checked_focal(value["focal"]), principal_point=centre
    )


def _pair(value: ArrayLike, name: str) -> tuple[float, float]:
    try:
        a, b = (float(v) for v in np.asarray(value, float))
    except (TypeError, ValueError) as error:
        raise InputError(f"camera: {name}={value!r}; expected two numbers [px]") from error
    return a, b


def _checked_focal(focal: Any) -> float:
    try:
        number = float(focal)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"camera: focal={focal!r}; expected a positive number of pixels")
    return number


def _read_toml(path: Path) -> Camera:
    if not path.is_file():
        raise InputError(f"camera: no such file: {path}; expected a focal length [px] or a calibration .toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"camera: {path} is not a .toml that can be read ({error})") from error
    cameras = {k: v for k, v in content.items() if isinstance(v, dict) and "matrix" in v}
    if len(cameras) != 1:
        names = f"it has {len(cameras)}: {', '.join(cameras)}" if cameras else "no table in it has a 'matrix'"
        raise InputError(f"camera: {path} should hold one camera; {names}")
    (name, table), *_ = cameras.items()
    try:
        return _from_table(table, f"{path}, {name}")
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"camera: {path}, {name}: expected size (2), matrix (3, 3) and optionally rotation (3), translation (3)"
        ) from error


def _from_table(table: Mapping[str, Any], where: str) -> Camera:
    """OpenCV's convention: x_camera = R(rotation) x_world + translation, rotation as a vector [rad], metres."""
    from scipy.spatial.transform import Rotation

    if table.get("fisheye"):
        raise InputError(f"camera: {where} is a fisheye; undistort the video first")
    matrix = np.asarray(table["matrix"], float).reshape(3, 3)
    width, height = _pair(table["size"], "size")
    camera = Camera(
        image_size=(round(width), round(height)),
        focal=float(matrix[0, 0] + matrix[1, 1]) / 2,
        principal_point=(float(matrix[0, 2]), float(matrix[1, 2])),
    )
    if "rotation" not in table or "translation" not in table:
        return camera
    R = Rotation.from_rotvec(np.asarray(table["rotation"], float).reshape(3)).as_matrix()
    return replace(camera, R_camera_world=R, t=np.asarray(table["translation"], float).reshape(3))


def _fitted(camera: Camera, image_size: tuple[int, int]) -> Camera:
    """The camera for pictures of ``image_size``: scaled where they have the same shape, else refused."""
    scale = max(image_size) / max(camera.image_size)
    scaled = np.array(camera.image_size) * scale
    if (np.abs(scaled - image_size) > SAME_SIZE * max(image_size)).any():
        raise InputError(
            f"the camera is for pictures of {camera.image_size[0]} x {camera.image_size[1]} px, but these are"
            f" {image_size[0]} x {image_size[1]} px; give a calibration for this format"
        )
    if abs(scale - 1) < 1e-9:
        return replace(camera, image_size=image_size)
    u, v = camera.principal_point
    return replace(camera, image_size=image_size, focal=camera.focal * scale, principal_point=(u * scale, v * scale))
