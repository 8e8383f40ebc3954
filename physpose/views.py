"""Videos of the same person from several calibrated cameras become keypoints at common times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError
from physpose.estimation.rig import Clock, clock_offset, resampled, triangulate
from physpose.io.calibration import RigCamera, matched, read_rig
from physpose.io.video import Video
from physpose.sources import Observations, is_video, observe
from physpose.types import Array, Assumption, Camera, Keypoints2D

LARGEST_OFFSET = 1.0  # [s] between the cameras' clocks
BLOCK = 16  # [px] codecs fill pictures up to multiples of it; 1080 lines are calibrated as 1088
APART = 15.0  # [px] of a picture a thousand pixels wide: rays that miss by more are not of one person


@dataclass(frozen=True, kw_only=True)
class Views:
    """One person before several cameras."""

    keypoints: Keypoints2D  # (C, T, K) undistorted, at the first camera's times; a camera stands where a person does
    cameras: tuple[Camera, ...]
    first: Observations  # of the first camera, to be shown
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]


def observe_views(sources: Sequence[Any], calibration: Any, **options: Any) -> Views:
    """Keypoints of one person from several sources.

    Args:
        sources: what ``observe`` takes, one for each camera.
        calibration: a .toml of Pose2Sim's or Anipose's kind, world z up; or a ``Camera`` or ``RigCamera`` for each.
        options: those of ``observe``.

    Raises:
        InputError: fewer than two sources, no calibration, keypoint sets that differ, or rays that do not meet.
    """
    if len(sources) < 2:
        raise InputError(f"{len(sources)} source in a list; give one without a list, or two or more")
    cameras = tuple(_shown(s, c) for s, c in zip(sources, _cameras(sources, calibration), strict=True))
    seen = [_observed(s, c, options) for s, c in zip(sources, cameras, strict=True)]
    cameras = tuple(_sized(c, o.keypoints.image_size, o.name) for c, o in zip(cameras, seen, strict=True))
    if len({o.keypoints.names for o in seen}) > 1:
        raise InputError("the sources have different keypoint sets; use one detector for all cameras")
    uv = [c.undistorted(o.keypoints.uv[0]) for c, o in zip(cameras, seen, strict=True)]
    clocks = _clocks(seen, uv, cameras)
    stacked = _stacked(seen, uv, clocks)
    error = _meeting(stacked, cameras)
    lines, warnings = _notes(seen, cameras, clocks, error)
    plain = tuple(c.camera for c in cameras)
    return Views(
        keypoints=stacked, cameras=plain, first=_trimmed(seen[0], stacked), assumptions=lines, warnings=warnings
    )


def _cameras(sources: Sequence[Any], calibration: Any) -> tuple[RigCamera, ...]:
    markers = [str(s) for s in sources if isinstance(s, (str, Path)) and Path(s).suffix.lower() in (".trc", ".c3d")]
    if markers:
        raise InputError(f"{', '.join(markers)}: marker files are fitted one at a time, or as clips of a batch")
    if calibration is None:
        raise InputError(f"{len(sources)} videos need their calibration: camera='Calib.toml'")
    if isinstance(calibration, (str, Path)):
        return matched(read_rig(calibration), [str(s) if isinstance(s, (str, Path)) else "" for s in sources])
    given = tuple(calibration) if isinstance(calibration, (list, tuple)) else ()
    if len(given) != len(sources) or not all(isinstance(c, (Camera, RigCamera)) for c in given):
        raise InputError(f"camera={calibration!r}; expected a calibration .toml, or a Camera for each video")
    return tuple(c if isinstance(c, RigCamera) else RigCamera.plain(c, f"camera {i + 1}") for i, c in enumerate(given))


def _shown(source: Any, camera: RigCamera) -> RigCamera:
    """The camera with the size of the video's pictures; a wrong one is told before the long work."""
    return _sized(camera, Video.open(source).image_size, Path(source).name) if is_video(source) else camera


def _sized(camera: RigCamera, size: tuple[int, int] | None, name: str) -> RigCamera:
    """The camera, of a calibration with or without the margin that codecs add at the right and at the bottom."""
    calibrated = camera.camera.image_size
    size = size or calibrated
    if any(x != y and -x % BLOCK + x != y and -y % BLOCK + y != x for x, y in zip(size, calibrated, strict=True)):
        raise InputError(
            f"{name} has pictures of {size[0]} x {size[1]}, its camera {camera.name} is calibrated for "
            f"{calibrated[0]} x {calibrated[1]}: videos in another order than their cameras? Of pictures that were "
            "scaled, cropped or turned, the calibration has to be so too"
        )
    return replace(camera, camera=replace(camera.camera, image_size=size))


def _observed(source: Any, camera: RigCamera, options: dict[str, Any]) -> Observations:
    size = options.get("image_size") or camera.camera.image_size
    return observe(source, **{**options, "image_size": size})


def _clocks(seen: list[Observations], uv: list[Array], cameras: tuple[RigCamera, ...]) -> list[Clock]:
    """Of each camera against the first."""
    first = seen[0].keypoints
    return [Clock(0.0, np.nan, np.nan)] + [
        clock_offset((first.time, o.keypoints.time), (uv[0], x), (cameras[0].camera, c.camera), LARGEST_OFFSET)
        for o, x, c in zip(seen[1:], uv[1:], cameras[1:], strict=True)
    ]


def _stacked(seen: list[Observations], uv: list[Array], clocks: list[Clock]) -> Keypoints2D:
    """All cameras at the first one's times, from the first to the last at which two or more see the person."""
    first = seen[0].keypoints
    times = [o.keypoints.time + c.offset for o, c in zip(seen, clocks, strict=True)]
    points = np.stack([resampled(t, x, first.time) for t, x in zip(times, uv, strict=True)])
    sure = np.stack([resampled(t, o.keypoints.confidence[0], first.time) for t, o in zip(times, seen, strict=True)])
    seen_at = np.isfinite(points).all(axis=3).sum(axis=2) > 0  # (C, T)
    both = np.flatnonzero(seen_at.sum(axis=0) >= 2)
    if len(both) == 0:
        raise InputError("at no time do two cameras see the person: are these the same recording?")
    keep = slice(int(both[0]), int(both[-1]) + 1)
    return replace(
        first, uv=points[:, keep], confidence=np.nan_to_num(sure[:, keep]), landmarks=None, time=first.time[keep]
    )


def _meeting(kp: Keypoints2D, cameras: tuple[RigCamera, ...]) -> float:
    """Median distance [px] of the detected points from the place where their rays meet."""
    _, error = triangulate(kp.uv, kp.confidence, [c.camera for c in cameras])
    middle = float(np.nanmedian(error)) if np.isfinite(error).any() else np.inf
    limit = APART * max(cameras[0].camera.image_size) / 1000
    if middle > limit:
        raise InputError(
            f"the cameras' rays miss each other by {middle:.0f} px: another person in some video (person=), videos in "
            "another order than their cameras, or a calibration of another set-up"
        )
    return middle


def _notes(
    seen: list[Observations], cameras: tuple[RigCamera, ...], clocks: list[Clock], error: float
) -> tuple[tuple[Assumption, ...], tuple[str, ...]]:
    lines = [Assumption(what="cameras", value=", ".join(c.name for c in cameras), source="given")]
    lines.append(Assumption(what="rays meet within", value=f"{error:.1f} px (median)", source="triangulation"))
    for camera, clock in zip(cameras[1:], clocks[1:], strict=True):
        value = f"{1e3 * clock.offset:+.0f} ms" if clock.offset else "none"
        lines.append(Assumption(what=f"clock of {camera.name}", value=value, source="where its rays meet the first's"))
    lines += [replace(a, what=f"{c.name}: {a.what}") for c, o in zip(cameras, seen, strict=True) for a in o.assumptions]
    warnings = tuple(f"{c.name}: {w}" for c, o in zip(cameras, seen, strict=True) for w in o.warnings)
    return tuple(lines), warnings


def _trimmed(first: Observations, stacked: Keypoints2D) -> Observations:
    start = int(np.searchsorted(first.keypoints.time, stacked.time[0]))
    return replace(first, keypoints=first.keypoints.frames(slice(start, start + len(stacked.time))))
