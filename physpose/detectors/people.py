"""Detections of a growing clip, gathered frame by frame into the arrays of Keypoints2D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physpose.types import Array

Progress = Callable[[int, int | None], None]  # frames done, frames expected or None


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person in one frame."""

    uv: Array  # (K, 2) [px]
    confidence: Array  # (K,) 0..1
    landmarks: Array | None = None  # (K, 3) [m], camera axes, origin mid-hip


def stack(frames: list[list[Person]], k: int) -> tuple[Array, Array, Array | None]:
    """uv (P, T, K, 2), confidence (P, T, K) and landmarks (P, T, K, 3) or None; NaN and 0 where a frame has fewer."""
    P, T = max(map(len, frames), default=0), len(frames)
    uv, confidence, landmarks = np.full((P, T, k, 2), np.nan), np.zeros((P, T, k)), np.full((P, T, k, 3), np.nan)
    in_3d = False
    for t, people in enumerate(frames):
        for p, person in enumerate(people):
            uv[p, t], confidence[p, t] = person.uv, person.confidence
            if person.landmarks is not None:
                landmarks[p, t], in_3d = person.landmarks, True
    return np.where(confidence[..., None] > 0, uv, np.nan), confidence, landmarks if in_3d else None
