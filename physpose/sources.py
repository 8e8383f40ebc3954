"""Whatever the user points at becomes the 2D keypoints of one person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from physpose.caveats import camera_at_rest
from physpose.detectors import detect
from physpose.detectors.camera_motion import Album, CameraMotion, camera_motion
from physpose.detectors.tracking import choose_person, track
from physpose.errors import InputError, NoPersonError
from physpose.estimation.sides import unswap_sides
from physpose.io.keypoint_files import keypoints_from_array, read_keypoints
from physpose.io.video import Video
from physpose.progress import Progress
from physpose.seen import checked_keypoints, longest_gap, rarely_seen, seen_frames, without_stray_ends
from physpose.types import Assumption, Keypoints2D

KEYPOINT_SUFFIXES = (".json",)
MOTION_SUFFIXES = (".mot", ".sto", ".bvh", ".npz")
POSSIBLE = "give a video path, a keypoint file or folder, or an array (T, K, 2|3)"


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was seen of the one person to fit."""

    keypoints: Keypoints2D  # P = 1, trimmed to the frames from the first to the last in which the person is seen
    name: str  # of the source
    video: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)  # of the video's container
    choice: str = ""  # which person, of how many
    chosen_by: str = "default: seen longest and largest"  # or "given"
    assumptions: tuple[Assumption, ...] = ()
    warnings: tuple[str, ...] = ()


def observe(
    source: Any,
    *,
    person: int | None,
    detector: str,
    keypoint_set: str | None,
    fps: float | None,
    image_size: tuple[int, int] | None,
    progress: Progress,
) -> Observations:
    """Keypoints of one person from a video, a keypoint file or folder, an array or ``Keypoints2D``."""
    video: Video | None = None
    background: CameraMotion | None = None
    if isinstance(source, Keypoints2D):
        found, name = source, source.source
    elif isinstance(source, (str, Path)):
        path = Path(source)
        name = str(path)
        if path.is_dir() or path.suffix.lower() in KEYPOINT_SUFFIXES:
            found = read_keypoints(path, fps=fps, keypoint_set=keypoint_set, image_size=image_size)
        else:
            _refuse_motion(path)
            video = Video.open(path)
            found, background = _detect(video, detector, progress)
    else:
        found, name = _from_array(source, keypoint_set, fps, image_size), "array"
    seen = _one_person(found, person, name, video)
    return seen if background is None else _with_camera_at_rest(seen, background)


def _detect(video: Video, detector: str, progress: Progress) -> tuple[Keypoints2D, CameraMotion]:
    """Everyone in the video, and how its background moves."""
    album = Album()
    with progress.stage("detect keypoints", video.n_frames_hint) as stage:
        found = detect(video.watched(album.add), detector, progress=lambda done, total: stage.update(done, total))
    return found, camera_motion(album, found)


def _with_camera_at_rest(seen: Observations, background: CameraMotion) -> Observations:
    """With what the background says of the camera while the person is seen."""
    time = seen.keypoints.time
    line, doubts = camera_at_rest(background.between(time[0], time[-1]))
    return replace(seen, assumptions=(line,), warnings=(*doubts, *seen.warnings))


def is_video(source: Any) -> bool:
    """Is it a path that ``observe`` takes for a video's?"""
    if not isinstance(source, (str, Path)):
        return False
    return not Path(source).is_dir() and Path(source).suffix.lower() not in (*KEYPOINT_SUFFIXES, *MOTION_SUFFIXES)


def refuse_for_video(source: Any, given: Mapping[str, Any]) -> None:
    """Refuse what describes keypoints where ``source`` is a video's path: it would have no effect."""
    if not is_video(source):
        return
    useless = [name for name in ("keypoint_set", "fps", "image_size") if given[name] is not None]
    if useless:
        raise InputError(f"{', '.join(useless)}: for keypoints; {Path(source).name} is a video: leave out")


def _refuse_motion(path: Path) -> None:
    if path.suffix.lower() in MOTION_SUFFIXES:
        raise InputError(
            f"{path} holds a motion that is known already: use physpose.inverse_dynamics, or physpose.check"
        )


def _from_array(
    source: Any, keypoint_set: str | None, fps: float | None, image_size: tuple[int, int] | None
) -> Keypoints2D:
    try:
        array = np.asarray(source, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"cannot fit a {type(source).__name__}; {POSSIBLE}") from None
    if array.ndim == 0:
        raise InputError(f"cannot fit {source!r}; {POSSIBLE}")
    if keypoint_set is None:
        raise InputError("an array of keypoints needs keypoint_set=, e.g. 'coco17', 'blazepose33', 'openpose_body25'")
    return keypoints_from_array(array, fps=fps, keypoint_set=keypoint_set, image_size=image_size)


def _one_person(found: Keypoints2D, person: int | None, name: str, video: Video | None) -> Observations:
    one, choice = choose_person(track(checked_keypoints(found)), person)
    trimmed, trim_warnings = _trim(one)
    trimmed, swapped = unswap_sides(trimmed)
    if swapped.any():
        trim_warnings += (
            f"left and right were exchanged in {int(swapped.sum())} frames where the detector mixed them",
        )
    return Observations(
        keypoints=trimmed,
        name=name,
        video=video.path if video else None,
        metadata=dict(video.metadata) if video else {},
        choice=choice,
        chosen_by=Observations.chosen_by if person is None else "given",
        warnings=(*(video.warnings if video else ()), *trim_warnings, *rarely_seen(trimmed)),
    )


def _trim(kp: Keypoints2D) -> tuple[Keypoints2D, tuple[str, ...]]:
    """Drop frames before the person is first seen and after the last; report gaps in between."""
    seen = seen_frames(kp)
    if not seen.any():
        raise NoPersonError("in no frame are four or more keypoints of the person seen; try another clip or person=")
    first, last = without_stray_ends(kp.time, seen)
    warnings = []
    if first > 0 or last < len(seen) - 1:
        span = f"{kp.time[first]:.2f} s to {kp.time[last]:.2f} s"
        warnings.append(f"the person is seen from {span} only; other frames are left out")
    gap = longest_gap(kp.time[first : last + 1], seen[first : last + 1])
    if gap:
        warnings.append(f"the person is not seen for up to {gap:.2f} s in between; the motion there is interpolated")
    return replace(kp.frames(slice(first, last + 1))), tuple(warnings)
