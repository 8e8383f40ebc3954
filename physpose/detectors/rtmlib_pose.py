"""RTMPose by way of rtmlib (Jiang et al. 2023): body with feet, 26 keypoints, 2D only."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from physpose.detectors.people import Person, Progress, stack
from physpose.download import DownloadError
from physpose.errors import InputError, MissingPackageError, UnknownNameError
from physpose.io.video import Video
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.types import Keypoints2D

KEYPOINT_SET = "halpe26"
MODES = ("lightweight", "balanced", "performance")


def detect(
    video: Video, *, progress: Progress | None = None, mode: str = "balanced", device: str = "cpu"
) -> Keypoints2D:
    """Keypoints of everyone in every frame, in the detector's order (not yet identities).

    Args:
        video: the clip.
        progress: called with (frames done, frames expected or None).
        mode: "lightweight", "balanced" or "performance".
        device: "cpu", "cuda" or "mps", as rtmlib names them.

    Returns:
        keypoint set "halpe26", no landmarks; confidence is the score, cut to 0..1.

    Raises:
        MissingPackageError: rtmlib or onnxruntime is not installed.
        DownloadError: its model files are not in its cache and cannot be fetched.
    """
    body, names = _body(mode, device), keypoint_names(KEYPOINT_SET)
    time: list[float] = []
    frames: list[list[Person]] = []
    for index, t, picture in video.frames():
        frames.append(_people(body, np.ascontiguousarray(picture[..., ::-1])))  # rtmlib takes BGR
        time.append(t)
        if progress:
            progress(index + 1, video.n_frames_hint)
    if not time:
        raise InputError(f"{video.path}: no frame can be decoded")
    uv, confidence, _ = stack(frames, len(names))
    return Keypoints2D(
        keypoint_set=KEYPOINT_SET,
        names=names,
        time=np.array(time),
        uv=uv,
        confidence=confidence,
        image_size=video.image_size,
        source=f"RTMPose {mode}, {video.path.name}",
    )


@lru_cache(maxsize=1)
def _body(mode: str, device: str) -> Any:
    """The networks, loaded once a process: they remember nothing of earlier pictures."""
    if mode not in MODES:
        raise UnknownNameError("rtmlib mode", mode, MODES)
    try:
        import_module("onnxruntime")  # rtmlib would ask for it late
        import rtmlib
    except ImportError as error:
        raise MissingPackageError(error.name or "rtmlib", "rtmlib", "the detector 'rtmlib'") from error
    try:
        return rtmlib.BodyWithFeet(mode=mode, backend="onnxruntime", device=device)
    except OSError as error:  # URLError is one
        raise DownloadError(
            f"rtmlib cannot fetch its model files ({error}); run once with a network, or use detector='mediapipe'"
        ) from error


def _people(body: Any, picture: np.ndarray) -> list[Person]:
    boxes = body.det_model(picture)
    if len(boxes) == 0:  # without boxes rtmlib would take the whole picture for a person
        return []
    keypoints, scores = body.pose_model(picture, bboxes=boxes)
    return [Person(uv=uv, confidence=np.clip(s, 0.0, 1.0)) for uv, s in zip(keypoints, scores, strict=True)]
