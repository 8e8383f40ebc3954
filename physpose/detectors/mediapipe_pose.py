"""MediaPipe's pose landmarker (BlazePose GHUM; Bazarevsky et al. 2020, Grishchenko et al. 2022) as a detector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from physpose.detectors.native_log import muted
from physpose.detectors.people import Person, Progress, stack
from physpose.detectors.weights import pose_model
from physpose.errors import InputError, MissingPackageError
from physpose.io.video import Video
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.types import Keypoints2D

KEYPOINT_SET = "blazepose33"
NAMES = keypoint_names(KEYPOINT_SET)
K = len(NAMES)
# What MediaPipe 1.2 says at every start and end. That of landmark_projection_calculator is about regions that are not
# square in normalised coordinates; padding pictures to squares, which avoids it, changed keypoints of five clips by no
# more than their jitter.
CHATTER = (
    b"Created TensorFlow Lite XNNPACK delegate",
    b"Logging before InitGoogle",
    b"inference_feedback_manager.cc",
    b"landmark_projection_calculator.cc",
    b"accelerator_registry.cc",
    b"compiled_model.cc",
    b"cpu_registry.cc",
    b"environment.cc",
    b"inference_runner_litert.cc",
    b"model_load.cc",
)


def detect(
    video: Video,
    *,
    progress: Progress | None = None,
    model: str | Path | None = None,
    num_poses: int = 3,
    min_confidence: float = 0.5,
) -> Keypoints2D:
    """Keypoints of up to ``num_poses`` people in every frame, in the detector's order (not yet identities).

    Args:
        video: the clip; its real time stamps go to MediaPipe's tracker.
        progress: called with (frames done, frames expected or None).
        model: a pose landmarker bundle (.task) instead of the default "full" one.
        num_poses: most people to look for.
        min_confidence: threshold of detection, presence and tracking, 0..1.

    Returns:
        keypoint set "blazepose33"; confidence is MediaPipe's visibility; ``landmarks`` are its world landmarks:
        metres as the network sees them (not the subject's scale), camera axes x right, y down, z forward,
        origin midway between the hips. Frames without a person are NaN with confidence 0.
    """
    if num_poses < 1 or not 0 <= min_confidence <= 1:
        raise InputError(f"num_poses={num_poses}, min_confidence={min_confidence}; expected at least 1, and 0..1")
    time: list[float] = []
    people: list[list[Person]] = []
    heard = False  # all of its chatter comes until it has found somebody
    with _landmarker(pose_model(model), num_poses, min_confidence) as landmarker:
        for index, t, picture in video.frames():
            with nullcontext() if heard else muted(*CHATTER):
                people.append(_people(landmarker, picture, _milliseconds(t, time, index)))
            heard = heard or bool(people[-1])
            time.append(t)
            if progress:
                progress(index + 1, video.n_frames_hint)
    if not time:
        raise InputError(f"{video.path}: no frame can be decoded")
    uv, confidence, landmarks = stack(people, K)
    return Keypoints2D(
        keypoint_set=KEYPOINT_SET, names=NAMES, time=np.array(time), uv=uv, confidence=confidence,
        landmarks=landmarks, image_size=video.image_size, source=f"MediaPipe pose landmarker, {video.path.name}",
    )  # fmt: skip


@contextmanager
def _landmarker(model: Path, num_poses: int, min_confidence: float) -> Iterator[Any]:
    """The landmarker in video mode, closed explicitly: left to the interpreter's exit it hangs or crashes."""
    try:
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions
    except ImportError as error:
        raise MissingPackageError("mediapipe", "video", "finding people in a video") from error
    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.VIDEO,
        num_poses=num_poses,
        min_pose_detection_confidence=min_confidence,
        min_pose_presence_confidence=min_confidence,
        min_tracking_confidence=min_confidence,
    )
    try:
        with muted(*CHATTER):
            landmarker = vision.PoseLandmarker.create_from_options(options)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{model} is not a pose landmarker bundle MediaPipe can use ({error})") from error
    try:
        yield landmarker
    finally:
        with muted(*CHATTER):
            landmarker.close()


def _milliseconds(t: float, earlier: list[float], index: int) -> int:
    """Whole milliseconds since the first frame, strictly increasing even above 1000 frames a second."""
    elapsed = t - earlier[0] if earlier else 0.0
    return max(round(1000 * elapsed), index)


def _people(landmarker: Any, picture: np.ndarray, ms: int) -> list[Person]:
    import mediapipe

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
    result = landmarker.detect_for_video(image, ms)
    height, width = picture.shape[:2]
    return [
        Person(
            uv=np.array([(p.x * width, p.y * height) for p in flat]),
            confidence=np.array([p.visibility for p in flat]),
            landmarks=np.array([(p.x, p.y, p.z) for p in world]),
        )
        for flat, world in zip(result.pose_landmarks, result.pose_world_landmarks, strict=True)
    ]
