"""Keypoints found elsewhere: OpenPose folders, AlphaPose, COCO-results and MMPose JSON, arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from physpose.errors import InputError, NoPersonError
from physpose.io.keypoint_layouts import Layout, guess_layout, layout_of
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES, keypoint_landmarks, keypoint_names
from physpose.types import Array, Keypoints2D

Frames = dict[int, list[Array]]  # frame number -> people (K, 3): x, y [px], confidence
FORMATS = "an OpenPose folder of *_keypoints.json, AlphaPose JSON, COCO-results JSON or MMPose JSON"
MOSTLY_EMPTY = 10  # times as many pictures as those with somebody


def read_keypoints(
    path: str | Path,
    *,
    fps: float | None = None,
    keypoint_set: str | None = None,
    image_size: tuple[int, int] | None = None,
) -> Keypoints2D:
    """Keypoints of a folder or file whose format is recognised by its content.

    Args:
        path: an OpenPose folder (BODY_25, BODY_25B, COCO-18), or a JSON file of AlphaPose (COCO-17, Halpe-26/136),
            of COCO results (COCO-17) or of MMPose (COCO-17, Halpe-26, Human3.6M-17).
        fps: frames per second; these formats do not tell. Time is the frame number, from file names or ids, over fps.
        keypoint_set: what the keypoints are, where their number alone could mean several things.
        image_size: width, height [px] of the video they were found in.

    Returns:
        Keypoints2D with (P, T, K) in the file's order of persons; frames without anyone are NaN.

    Raises:
        InputError: no such path, unknown format, fps missing, wrong number of keypoints.
        NoPersonError: no keypoint in any frame.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no such file or folder: {path}")
    frames, hint = _openpose_folder(path) if path.is_dir() else _json_file(path)
    rate = _checked_fps(fps, str(path))
    layout = _layout(frames, keypoint_set, hint, path)
    numbers = sorted(frames)
    array = layout.apply(_stacked([frames[n] for n in numbers], layout.k))
    return _keypoints(
        array, np.array(numbers) / rate, layout.keypoint_set, image_size, source=f"{layout.what}, {path.name}"
    )


def keypoints_from_array(
    array: ArrayLike,
    *,
    fps: float | None = None,
    time: ArrayLike | None = None,
    keypoint_set: str,
    image_size: tuple[int, int] | None = None,
    landmarks: ArrayLike | None = None,
) -> Keypoints2D:
    """Keypoints of an array (T, K, 2|3) of one person or (P, T, K, 2|3): x, y [px] and, optionally, confidence 0..1.

    Args:
        array: a missing keypoint is NaN or has confidence 0.
        fps: frames per second; or instead
        time: (T,) [s], strictly increasing.
        keypoint_set: a name of ``physpose.skeleton.keypoint_sets.KEYPOINT_NAMES``, or of a layout that becomes one.
        image_size: width, height [px].
        landmarks: (T, K, 3) or (P, T, K, 3), the same keypoints in 3D as a network lifted them (MixSTE, DiffPose, ...):
            x right, y down, z away, as from a camera that looks straight at the person; relative to anything, in
            any unit of length, since fits take directions from it. NaN where missing.

    Raises:
        InputError: shape, time, confidence or number of keypoints do not fit.
        NoPersonError: every keypoint is missing.
    """
    values = _checked_array(array)
    layout = layout_of(keypoint_set)
    if values.shape[2] != layout.k:
        raise InputError(f"{values.shape[2]} keypoints given, but {keypoint_set!r} has {layout.k}; {_sets_with_k()}")
    if values.shape[-1] == 2:
        values = np.concatenate([values, np.isfinite(values).all(-1, keepdims=True)], -1)
    elif np.nanmax(values[..., 2], initial=0) > 1 or np.nanmin(values[..., 2], initial=0) < 0:
        low, high = np.nanmin(values[..., 2]), np.nanmax(values[..., 2])
        raise InputError(
            f"the third column is the confidence, 0..1; given: {low:g} to {high:g}. "
            "Keypoints in 3D go into landmarks=, beside the 2D ones that they were lifted from"
        )
    stamps = _checked_time(time, fps, values.shape[1])
    found = _keypoints(layout.apply(values), stamps, layout.keypoint_set, image_size, source="array")
    if landmarks is None:
        return found
    return replace(found, landmarks=_from_mid_hip(layout.apply(_checked_landmarks(landmarks, values)), found))


def _keypoints(
    values: Array, time: Array, keypoint_set: str, image_size: tuple[int, int] | None, source: str
) -> Keypoints2D:
    """Keypoints2D of (P, T, K, 3); a keypoint without confidence, or with half a position, is missing."""
    missing = ~np.isfinite(values).all(-1) | ~(values[..., 2] > 0)
    values = np.where(missing[..., None], [np.nan, np.nan, 0.0], values)
    if missing.all():
        raise NoPersonError(f"{source}: every keypoint of all {len(time)} frames is missing")
    return Keypoints2D(
        keypoint_set=keypoint_set,
        names=keypoint_names(keypoint_set),
        time=time,
        uv=values[..., :2],
        confidence=np.clip(values[..., 2], 0.0, 1.0),
        image_size=_checked_size(image_size),
        source=source,
    )


# --- checks


def _checked_array(array: ArrayLike) -> Array:
    try:
        values = np.asarray(array, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"keypoints must be an array of numbers ({error})") from error
    if values.ndim == 3:
        values = values[None]
    if values.ndim != 4 or values.shape[-1] not in (2, 3) or 0 in values.shape:
        raise InputError(f"keypoints of shape {np.shape(array)}; expected (T, K, 2 or 3) or (P, T, K, 2 or 3)")
    if np.isinf(values).any():
        raise InputError("a keypoint is infinite; mark missing ones by NaN")
    return values


def _checked_landmarks(landmarks: ArrayLike, values: Array) -> Array:
    try:
        points = np.asarray(landmarks, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"landmarks must be an array of numbers ({error})") from error
    points = points[None] if points.ndim == 3 else points
    if points.shape != (*values.shape[:3], 3):
        raise InputError(f"landmarks of shape {np.shape(landmarks)}; {(*values.shape[:3], 3)} fits the 2D keypoints")
    if np.isinf(points).any():
        raise InputError("a landmark is infinite; mark missing ones by NaN")
    return points


def _from_mid_hip(points: Array, found: Keypoints2D) -> Array:
    """3D keypoints (P, T, K, 3) relative to the middle of the hips; NaN in frames without both."""
    marks = keypoint_landmarks(found.keypoint_set)
    hips = points[:, :, [marks.index("hip_l"), marks.index("hip_r")]]
    return points - hips.mean(2, keepdims=True)


def _checked_fps(fps: float | None, what: str) -> float:
    if fps is None:
        raise InputError(f"{what} does not tell its frame rate; give fps=, the frames per second of the video")
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"fps={fps}; expected a positive number of frames per second")
    return float(fps)


def _checked_time(time: ArrayLike | None, fps: float | None, n: int) -> Array:
    if time is None:
        return np.arange(n) / _checked_fps(fps, "an array")
    if fps is not None:
        raise InputError("both time and fps given; give one")
    stamps = np.asarray(time, float)
    if stamps.shape != (n,) or not np.isfinite(stamps).all():
        raise InputError(f"time of shape {stamps.shape} for {n} frames; expected ({n},), finite, in seconds")
    back = np.flatnonzero(np.diff(stamps) <= 0)
    if back.size:
        i = int(back[0]) + 1
        raise InputError(f"time does not increase at frame {i}: {stamps[i]:g} s after {stamps[i - 1]:g} s")
    return stamps


def _checked_size(image_size: tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    width, height = image_size
    if not (width > 0 and height > 0):
        raise InputError(f"image_size={image_size}; expected (width, height) in pixels")
    return int(width), int(height)


def _sets_with_k() -> str:
    return "keypoint sets: " + ", ".join(f"{name} ({len(names)})" for name, names in KEYPOINT_NAMES.items())


def _layout(frames: Frames, keypoint_set: str | None, hint: str | None, path: Path) -> Layout:
    counts = {len(person) for people in frames.values() for person in people}
    if not counts:
        raise NoPersonError(f"{path}: nobody in any of {len(frames)} frames")
    if len(counts) > 1:
        raise InputError(f"{path} mixes persons of {', '.join(map(str, sorted(counts)))} keypoints")
    k = counts.pop()
    people = np.stack([person for people in frames.values() for person in people])
    layout = layout_of(keypoint_set) if keypoint_set else guess_layout(k, hint, people)
    if layout is None:
        raise InputError(f"{path} has {k} keypoints a person, a convention not known; {_sets_with_k()}")
    if layout.k != k:
        raise InputError(f"{path} has {k} keypoints a person, but {keypoint_set!r} has {layout.k}; {_sets_with_k()}")
    return layout


def _stacked(frames: list[list[Array]], k: int) -> Array:
    """(P, T, K, 3) with P the most people in one frame."""
    values = np.full((max(map(len, frames)), len(frames), k, 3), np.nan)
    for t, people in enumerate(frames):
        for p, person in enumerate(people):
            values[p, t] = person
    return values


# --- formats


def _openpose_folder(folder: Path) -> tuple[Frames, str]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder} has no .json file; expected {FORMATS}")
    frames: Frames = {}
    for file in files:
        content = _load(file)
        if not isinstance(content, dict) or not isinstance(content.get("people"), list):
            raise InputError(f"{file} is not an OpenPose keypoint file; expected {FORMATS}")
        number = _frame_number(file.stem)
        if number is None or number in frames:
            raise InputError(f"{file}: its name should tell a frame number of its own, as clip_000012_keypoints.json")
        # Pose2Sim writes {} for somebody whom this camera does not see
        frames[number] = [_triplets(p.get("pose_keypoints_2d"), file) for p in content["people"] if p]
    return frames, "openpose"


def _json_file(path: Path) -> tuple[Frames, str | None]:
    content = _load(path)
    if isinstance(content, dict) and isinstance(content.get("instance_info"), list):
        return _guarded(_mmpose, content, path)
    if isinstance(content, list) and content and all(isinstance(e, dict) and "image_id" in e for e in content):
        return _guarded(_results, content, path)
    if isinstance(content, dict) and "people" in content:
        raise InputError(f"{path} is one frame of OpenPose; give its folder, {path.parent}")
    raise InputError(f"{path} is not a keypoint file that is known; expected {FORMATS}")


def _guarded(read: Callable[[Any, Path], tuple[Frames, str | None]], content: Any, path: Path) -> Any:
    try:
        return read(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: an entry is not as its format says ({type(error).__name__}: {error})") from error


def _results(content: list[dict[str, Any]], path: Path) -> tuple[Frames, str | None]:
    """COCO results (image_id is a number) and AlphaPose (image_id is a file name)."""
    numbers = {entry["image_id"]: _frame_number(str(entry["image_id"])) for entry in content}
    if None in numbers.values() or len(set(numbers.values())) < len(numbers):
        raise InputError(f"{path}: each image_id should hold a frame number of its own, as 12 or 'frame_000012.jpg'")
    rank = _frame_numbers(sorted(n for n in numbers.values() if n is not None))
    frames: Frames = {n: [] for n in _all_between(sorted(rank.values()))}
    for entry in content:
        number = numbers[entry["image_id"]]
        frames[rank[number if number is not None else -1]].append(_triplets(entry["keypoints"], path))
    flags = {float(v) for people in frames.values() for person in people for v in person[:, 2]}
    if flags <= {0.0, 1.0, 2.0} and 2.0 in flags:  # COCO's visibility flags: 1 is labelled but hidden
        frames = {n: [person * [1, 1, 0.5] for person in people] for n, people in frames.items()}
    return frames, None


def _frame_numbers(ids: list[int]) -> dict[int, int]:
    """Id -> frame number: the id itself where ids mostly count by one, else its rank (ids of a data set)."""
    by_one = len(ids) < 2 or np.median(np.diff(ids)) == 1
    return {n: n if by_one else rank for rank, n in enumerate(ids)}


def _all_between(numbers: list[int]) -> Sequence[int]:
    """With the pictures of nobody, which such files leave out; not where most would be such."""
    every = range(numbers[0], numbers[-1] + 1)
    return every if len(every) < MOSTLY_EMPTY * len(numbers) else numbers


def _mmpose(content: dict[str, Any], path: Path) -> tuple[Frames, str | None]:
    frames: Frames = {}
    for entry in content["instance_info"]:
        people = [_mmpose_person(person, path) for person in entry["instances"]]
        if frames.setdefault(int(entry["frame_id"]), people) is not people:
            raise InputError(f"{path}: frame_id {entry['frame_id']} comes twice")
    name = str(content.get("meta_info", {}).get("dataset_name", "")).lower()
    return frames, "h36m" if "h36m" in name else None


def _mmpose_person(person: dict[str, Any], path: Path) -> Array:
    uv = np.asarray(person["keypoints"], float)
    if uv.ndim != 2 or uv.shape[1] != 2:
        raise InputError(f"{path} has keypoints of shape {uv.shape}; expected (K, 2) in pixels, not 3D")
    scores = np.asarray(person.get("keypoint_scores", np.ones(len(uv))), float)
    return np.column_stack([uv, scores])


def _triplets(flat: Any, path: Path) -> Array:
    try:
        values = np.asarray(flat, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: keypoints are not numbers") from error
    if values.ndim != 1 or values.size == 0 or values.size % 3:
        raise InputError(f"{path}: {values.size} numbers a person; expected x, y, confidence of each keypoint")
    return values.reshape(-1, 3)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a JSON file that can be read ({error})") from error


def _frame_number(name: str) -> int | None:
    """The last whole number in a file name or an id."""
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else None
