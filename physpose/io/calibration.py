"""Several calibrated cameras from one file: Pose2Sim's and Anipose's .toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from physpose.errors import InputError
from physpose.types import Array, Camera

UNDISTORTING_STEPS = 20  # fixed-point iterations: lenses of phones and action cameras need about ten


@dataclass(frozen=True, kw_only=True)
class RigCamera:
    """A camera whose place is known, and what its lens does. World: z up, as the calibration has it."""

    name: str
    camera: Camera  # with one focal length and without distortion
    matrix: Array  # (3, 3) intrinsics as calibrated
    distortion: Array  # (4,) OpenCV's k1, k2, p1, p2

    @staticmethod
    def plain(camera: Camera, name: str) -> RigCamera:
        """One whose lens distorts nothing."""
        (u, v), f = camera.principal_point, camera.focal
        matrix = np.array([[f, 0.0, u], [0.0, f, v], [0.0, 0.0, 1.0]])
        return RigCamera(name=name, camera=camera, matrix=matrix, distortion=np.zeros(4))

    def undistorted(self, uv: Array) -> Array:
        """Pixels (..., 2) of the video to pixels of ``camera``; NaN stays NaN."""
        centre, focal = self.matrix[:2, 2], self.matrix[[0, 1], [0, 1]]
        seen = (uv - centre) / focal
        x = seen
        for _ in range(UNDISTORTING_STEPS):
            x = seen - self._shift(x)
        return x * self.camera.focal + np.asarray(self.camera.principal_point)

    def _shift(self, x: Array) -> Array:
        """How far the lens moves normalised points x (..., 2) (Brown 1966, as in OpenCV)."""
        k1, k2, p1, p2 = self.distortion
        a, b = x[..., 0], x[..., 1]
        r2 = a**2 + b**2
        radial = (k1 * r2 + k2 * r2**2)[..., None] * x
        return radial + np.stack([2 * p1 * a * b + p2 * (r2 + 2 * a**2), p1 * (r2 + 2 * b**2) + 2 * p2 * a * b], -1)


def read_rig(path: str | Path) -> tuple[RigCamera, ...]:
    """The cameras of a calibration file, in its order.

    Raises:
        InputError: no such file, not a calibration, fewer than two cameras, a fisheye, or a camera without a place.
    """
    content = _parse(Path(path))
    tables = {k: v for k, v in content.items() if isinstance(v, dict) and "matrix" in v}
    if len(tables) < 2:
        raise InputError(f"{path} holds {len(tables)} cameras with a 'matrix'; several videos need two or more")
    return tuple(_camera(str(t.get("name", name)), t, f"{path}, {name}") for name, t in tables.items())


def _parse(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"no such calibration file: {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        remedy = "" if path.suffix.lower() == ".toml" else "; Pose2Sim's calibration makes a .toml of other formats"
        raise InputError(f"{path} is not a .toml that can be read ({error}){remedy}") from error


def _camera(name: str, table: Mapping[str, Any], where: str) -> RigCamera:
    if table.get("fisheye"):
        raise InputError(f"{where} is a fisheye; undistort the videos first")
    try:
        matrix = np.asarray(table["matrix"], float).reshape(3, 3)
        size = tuple(round(float(x)) for x in np.asarray(table["size"], float).reshape(2))
        R = Rotation.from_rotvec(np.asarray(table["rotation"], float).reshape(3)).as_matrix()
        t = np.asarray(table["translation"], float).reshape(3)
        lens = np.asarray(table.get("distortions", np.zeros(4)), float).ravel()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected size (2), matrix (3, 3), rotation (3) [rad], translation (3) [m]; {error}"
        ) from error
    if np.abs(lens[4:]).any():
        raise InputError(f"{where} has {len(lens)} distortion coefficients; k1, k2, p1, p2 are understood")
    focal = float(matrix[0, 0] + matrix[1, 1]) / 2
    camera = Camera(
        image_size=(size[0], size[1]), focal=focal, principal_point=(float(matrix[0, 2]), float(matrix[1, 2])),
        R_camera_world=R, t=t,
    )  # fmt: skip
    return RigCamera(name=name, camera=camera, matrix=matrix, distortion=np.pad(lens, (0, max(0, 4 - len(lens))))[:4])


def matched(cameras: Sequence[RigCamera], sources: Sequence[str]) -> tuple[RigCamera, ...]:
    """A camera for each source: the one whose name its own holds ("cam_01": cam01.mp4), else in order.

    Raises:
        InputError: names do not tell, and there are not as many cameras as sources.
    """
    plain = [_plain(c.name) for c in cameras]
    named = [[c for c, name in zip(cameras, plain, strict=True) if name in _plain(s)] for s in sources]
    if all(len(found) == 1 for found in named) and len({found[0].name for found in named}) == len(sources):
        return tuple(found[0] for found in named)
    if len(cameras) == len(sources):
        return tuple(cameras)
    raise InputError(
        f"{len(sources)} videos, {len(cameras)} cameras ({', '.join(c.name for c in cameras)}): name each video after "
        "its camera, or give as many videos as cameras, in their order"
    )


def _plain(name: str) -> str:
    return "".join(c for c in Path(name).name.lower() if c.isalnum())


def lifted(camera: Camera, height: float) -> Camera:
    """The camera in a world whose origin is ``height`` [m] higher."""
    return replace(camera, t=camera.t + camera.R_camera_world @ [0.0, 0.0, height])
