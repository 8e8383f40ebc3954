"""Detectors sometimes take the left side for the right for a while; a body cannot turn round between two frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from physpose.types import Array, Keypoints2D

SWAP_RATIO = 0.75  # crossed must move less than this part of straight; in a profile view both are small and alike


def mirrored_index(names: tuple[str, ...]) -> NDArray[np.intp]:
    """For every keypoint the index of its counterpart on the other side (itself where there is none)."""
    lower = [n.lower() for n in names]
    return np.array([lower.index(_counterpart(n, lower)) for n in lower])


def _counterpart(name: str, names: list[str]) -> str:
    """The name on the other side, of lower-case ``names``: "left" for "right" anywhere, "l" for "r" in front."""
    other = {"left": "right", "right": "left"}
    options = [name.replace(a, b) for a, b in other.items() if a in name]
    options += [b + name[1:] for a, b in (("l", "r"), ("r", "l")) if name.startswith(a)]
    return next((n for n in options if n in names), name)


def unswap_sides(kp: Keypoints2D, max_gap: float = 0.2) -> tuple[Keypoints2D, NDArray[np.bool_]]:
    """Exchange left and right in the frames where the detector has them swapped. P = 1.

    Between neighbouring frames, sides are swapped if that makes the keypoints (the detector's 3D where it gives it,
    else the 2D) move clearly less. Chains of frames so related are then oriented as most of their frames were.

    Returns:
        the keypoints, and (T,) bool, the frames that were changed.
    """
    mirror = mirrored_index(kp.names)
    both = np.flatnonzero(mirror != np.arange(len(mirror)))
    x = kp.uv[0] if kp.landmarks is None else kp.landmarks[0]
    seen = np.flatnonzero(np.isfinite(x[:, both]).all((1, 2)))
    swapped = np.zeros(kp.n_frames, bool)
    if not len(both) or len(seen) < 3:
        return kp, swapped
    jump = np.array([_is_swap(x[a], x[b], both, mirror) for a, b in zip(seen[:-1], seen[1:], strict=True)])
    broken = np.diff(kp.time[seen]) > max_gap  # after a long gap nothing can be said
    parity = np.concatenate([[0], np.cumsum(jump & ~broken)]) % 2
    for piece in np.split(np.arange(len(seen)), np.flatnonzero(broken) + 1):
        odd = parity[piece] != parity[piece][0]
        swapped[seen[piece]] = odd if odd.mean() <= 0.5 else ~odd
    return _exchange(kp, swapped, mirror), swapped


def _is_swap(x0: Array, x1: Array, both: NDArray[np.intp], mirror: NDArray[np.intp]) -> bool:
    """Do sides change between two frames: moves straight and crossed compared, crossed clearly shorter."""
    straight = np.linalg.norm(x1[both] - x0[both], axis=-1).sum()
    crossed = np.linalg.norm(x1[mirror[both]] - x0[both], axis=-1).sum()
    return bool(crossed < SWAP_RATIO * straight)


def _exchange(kp: Keypoints2D, frames: NDArray[np.bool_], mirror: NDArray[np.intp]) -> Keypoints2D:
    uv, confidence = kp.uv.copy(), kp.confidence.copy()
    uv[0, frames] = uv[0, frames][:, mirror]
    confidence[0, frames] = confidence[0, frames][:, mirror]
    landmarks = None
    if kp.landmarks is not None:
        landmarks = kp.landmarks.copy()
        landmarks[0, frames] = landmarks[0, frames][:, mirror]
    return replace(kp, uv=uv, confidence=confidence, landmarks=landmarks)
