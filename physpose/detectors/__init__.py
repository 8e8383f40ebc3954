"""Detectors: a video goes in, 2D keypoints of everyone in it come out, behind one small interface."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from physpose.detectors.people import Progress
from physpose.errors import UnknownNameError
from physpose.io.video import Video
from physpose.types import Keypoints2D

# name -> module with detect(video, *, progress=None, **options) -> Keypoints2D; imported when asked for
DETECTORS = {
    "mediapipe": "physpose.detectors.mediapipe_pose",
    "rtmlib": "physpose.detectors.rtmlib_pose",
}


def detect(
    video: Video | str | Path,
    detector: str = "mediapipe",
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Keypoints2D:
    """2D keypoints (P, T, K, 2) [px] of everyone in ``video``, persons in any order within each frame.

    Args:
        video: an open video, or its path.
        detector: one of ``DETECTORS``.
        progress: called with (frames done, frames expected or None).
        options: the detector's own, e.g. ``num_poses=2`` or ``model=PATH``.

    Raises:
        UnknownNameError: no such detector.
        MissingPackageError: the detector's package is not installed.
        InputError: the video cannot be used.
    """
    if detector not in DETECTORS:
        raise UnknownNameError("detector", detector, DETECTORS)
    video = video if isinstance(video, Video) else Video.open(video)
    result: Keypoints2D = import_module(DETECTORS[detector]).detect(video, progress=progress, **options)
    return result
