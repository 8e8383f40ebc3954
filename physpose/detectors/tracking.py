"""Who is who over time: raw detections, in any order in each frame, become identities; one of them is chosen.

Distances are in units of the person's size (the diagonal of the
box around its keypoints), so that one set of thresholds serves any resolution and any distance from the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from physpose.errors import InputError, NoPersonError
from physpose.types import Array, Keypoints2D

GHOST = 0.12  # sizes: two detections in one frame nearer than this are one person seen twice
STEP = 0.15  # sizes a person may move between frames whatever their rate
SPEED = 4.0  # sizes a second: a sprint at 10 m/s of a person 1.8 m tall, with the box's diagonal as size, is 5
REACH = 3.0  # sizes: nobody is taken for another who was last seen farther away, however long ago
LOST = 2.0  # sizes a second: how much less likely a person is the longer ago he was seen
GROWTH = 2.5  # ratio of sizes, across a gap, up to which two detections can be one person
UNSEEN = 1e6  # cost of a pair that cannot be


@dataclass
class _Tracklet:
    """Detections of one person: (frame, index among that frame's detections)."""

    frames: list[int]
    indices: list[int]


def track(kp: Keypoints2D) -> Keypoints2D:
    """Give each person one index through the whole clip, in order of first appearance.

    Frame after frame, detections are assigned to the people last seen, by the smallest total distance (Hungarian
    algorithm) among pairs within reach; a person who was lost and returns within reach and at a similar size keeps
    the index. Doubles of one person in one frame are removed.

    Args:
        kp: raw detections (P, T, K), a missing person NaN.

    Returns:
        The same detections, rearranged: (identities, T, K).
    """
    uv = np.where(kp.confidence[..., None] > 0, kp.uv, np.nan)
    size = _sizes(uv)
    present = np.isfinite(size) & ~_ghosts(uv, size, kp.confidence)
    tracklets = _assign(uv, size, present, kp.time)
    return _rearranged(kp, tracklets)


def _sizes(uv: Array) -> Array:
    """Diagonal of the box around the keypoints (P, T) [px]; NaN where there are fewer than two."""
    seen = np.isfinite(uv[..., 0] + uv[..., 1])
    low = np.where(seen[..., None], uv, np.inf).min(-2, initial=np.inf)
    high = np.where(seen[..., None], uv, -np.inf).max(-2, initial=-np.inf)
    extent = np.where(seen.sum(-1)[..., None] > 1, high - low, np.nan)
    return np.linalg.norm(extent, axis=-1)


def _distance(uv_a: Array, uv_b: Array) -> float:
    """Distance [px] of two detections (K, 2): the less of the keypoints' median distance and of the boxes' distance.

    A detector that mistakes front for back swaps left and right: the keypoints jump, the box stays.
    """
    d = np.linalg.norm(uv_a - uv_b, axis=-1)
    d = d[np.isfinite(d)]
    boxes = float(np.linalg.norm(_box(uv_a) - _box(uv_b)))
    return min(float(np.median(d)), boxes) if d.size else boxes


def _box(uv: Array) -> Array:
    """Centre and half extents (4,) [px] of the box around keypoints (K, 2)."""
    low, high = np.nanmin(uv, 0), np.nanmax(uv, 0)
    return np.concatenate([high + low, high - low]) / 2


def _ghosts(uv: Array, size: Array, confidence: Array) -> NDArray[np.bool_]:
    """(P, T) true for the less confident of two detections of one person."""
    ghost: NDArray[np.bool_] = np.zeros(size.shape, np.bool_)
    score = confidence.sum(-1)
    crowded = np.flatnonzero(np.isfinite(size).sum(0) > 1)
    for t in crowded:
        best_first = sorted(np.flatnonzero(np.isfinite(size[:, t])), key=lambda p: -score[p, t])
        for rank, p in enumerate(best_first):
            kept = [b for b in best_first[:rank] if not ghost[b, t]]
            ghost[p, t] = any(_distance(uv[p, t], uv[b, t]) < GHOST * max(size[p, t], size[b, t]) for b in kept)
    return ghost


def _assign(uv: Array, size: Array, present: NDArray[np.bool_], time: Array) -> list[_Tracklet]:
    tracklets: list[_Tracklet] = []
    for t in np.flatnonzero(present.any(0)):
        found = np.flatnonzero(present[:, t])
        cost = _costs(tracklets, found, uv, size, time, int(t))
        rows, columns = linear_sum_assignment(cost) if tracklets else ((), ())
        matched = {int(c): tracklets[r] for r, c in zip(rows, columns, strict=True) if cost[r, c] < UNSEEN}
        for column, p in enumerate(found):
            tracklet = matched.get(column)
            if tracklet is None:
                tracklets.append(tracklet := _Tracklet([], []))
            tracklet.frames.append(int(t))
            tracklet.indices.append(int(p))
    return tracklets


def _costs(tracklets: list[_Tracklet], found: NDArray, uv: Array, size: Array, time: Array, t: int) -> Array:
    """Distance in sizes (tracklets, detections), plus what a gap costs; UNSEEN where it cannot be one person."""
    cost = np.full((len(tracklets), len(found)), UNSEEN)
    for row, tracklet in enumerate(tracklets):
        last, q = tracklet.frames[-1], tracklet.indices[-1]
        reach = min(STEP + SPEED * (time[t] - time[last]), REACH)
        for column, p in enumerate(found):
            s = max(size[q, last], size[p, t])
            d = _distance(uv[q, last], uv[p, t]) / s
            if d <= reach and _similar(size[q, last], size[p, t]):
                cost[row, column] = d + min(LOST * (time[t] - time[last]), REACH)
    return cost


def _similar(a: float, b: float) -> bool:
    return max(a, b) <= GROWTH * min(a, b)


def _rearranged(kp: Keypoints2D, tracklets: list[_Tracklet]) -> Keypoints2D:
    P, T, K = len(tracklets), kp.n_frames, len(kp.names)
    uv, confidence = np.full((P, T, K, 2), np.nan), np.zeros((P, T, K))
    landmarks = None if kp.landmarks is None else np.full((P, T, K, 3), np.nan)
    for identity, tracklet in enumerate(tracklets):
        where = tracklet.indices, tracklet.frames
        uv[identity, tracklet.frames] = kp.uv[where]
        confidence[identity, tracklet.frames] = kp.confidence[where]
        if landmarks is not None and kp.landmarks is not None:
            landmarks[identity, tracklet.frames] = kp.landmarks[where]
    return replace(kp, uv=uv, confidence=confidence, landmarks=landmarks)


def choose_person(kp: Keypoints2D, person: int | None = None) -> tuple[Keypoints2D, str]:
    """One person of tracked keypoints, and one sentence that reports the choice.

    Args:
        kp: keypoints from :func:`track`.
        person: index of an identity; by default the one seen longest and largest (frames times mean size).

    Returns:
        Keypoints with P = 1 and, e.g., "person 0 of 2: seen in 218 of 230 frames, mean size 512 px".

    Raises:
        NoPersonError: nobody is in ``kp``.
        InputError: there is no such index; the message lists who is there.
    """
    size = _sizes(np.where(kp.confidence[..., None] > 0, kp.uv, np.nan))
    n_seen = np.isfinite(size).sum(-1)
    if not n_seen.any():
        raise NoPersonError(
            f"no person found in {kp.source} ({kp.n_frames} frames); try a clip where the whole body is visible, larger"
            " and better lit, a lower min_confidence, or another detector"
        )
    total = np.nansum(size, axis=-1)  # frames times mean size
    mean = total / np.maximum(n_seen, 1)
    lines = [f"seen in {n} of {kp.n_frames} frames, mean size {m:.0f} px" for n, m in zip(n_seen, mean, strict=True)]
    if person is None:
        person = int(np.argmax(total))
    if not 0 <= person < kp.n_persons:
        listed = "; ".join(f"{i}: {line}" for i, line in enumerate(lines))
        raise InputError(f"person {person} is not in {kp.source}; persons: {listed}")
    return kp.persons([person]), f"person {person} of {kp.n_persons}: {lines[person]}"
