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
MISS = 0.12  # sizes: how far detections lie from where a steady motion leads; of eight real clips 99 % lie within 0.1
BEND = 4.0  # sizes a second^2: about g, which nobody is accelerated by for long
KNOWN = 4  # detections that tell a velocity
RECENT = 1.0  # [s] in which they were
CLOSE = 0.25  # [s] between detections that follow each other closely
SWERVE = 2.0  # how much less likely it is, by its logarithm, that people do not move on steadily
DOUBT = 4.0  # the same of a piece of one detection, and that much divided by their number of longer ones
STRAY = 3.0  # the same, for each detection, of something else where a person is looked for
GROWTH = 2.5  # ratio of sizes, across a gap, up to which two detections can be one person
UNSEEN = 1e6  # cost of a pair that cannot be


@dataclass(frozen=True)
class _Detections:
    uv: Array  # (P, T, K, 2) [px], NaN where not seen
    size: Array  # (P, T) [px]
    time: Array  # (T,) [s]


@dataclass
class _Tracklet:
    """Detections of one person: (frame, index among that frame's detections)."""

    frames: list[int]
    indices: list[int]


def track(kp: Keypoints2D) -> Keypoints2D:
    """Give each person one index through the whole clip, in order of first appearance.

    Frame after frame, detections are assigned (Hungarian algorithm) to people who move on steadily from where they
    were last seen, among pairs within reach: a detector that leaves a person for a passer or a piece of furniture jumps
    farther than people do. Then whoever begins within reach of where somebody was last seen, with nobody else to go on
    with, is that somebody, if of similar size. Doubles of one person in one frame are removed, and what was found for a
    moment where somebody was looked for, if it is likelier something else.

    Args:
        kp: raw detections (P, T, K), a missing person NaN.

    Returns:
        The same detections but for those removed, rearranged: (identities, T, K).
    """
    uv = np.where(kp.confidence[..., None] > 0, kp.uv, np.nan)
    size = _sizes(uv)
    present = np.isfinite(size) & ~_ghosts(uv, size, kp.confidence)
    people = _Detections(uv, size, kp.time)
    return _rearranged(kp, _joined(_assign(people, present), people))


def _sizes(uv: Array) -> Array:
    """Diagonal of the box around the keypoints (P, T) [px]; NaN where there are fewer than two."""
    seen = np.isfinite(uv[..., 0] + uv[..., 1])
    low = np.where(seen[..., None], uv, np.inf).min(-2, initial=np.inf)
    high = np.where(seen[..., None], uv, -np.inf).max(-2, initial=-np.inf)
    extent = np.where(seen.sum(-1)[..., None] > 1, high - low, np.nan)
    return np.linalg.norm(extent, axis=-1)


def _distances(uv: Array, others: Array) -> Array:
    """Distances (N,) [px] of a detection (K, 2) from others (N, K, 2): the keypoints' median or, if less, the box's.

    A detector that mistakes front for back swaps left and right: the keypoints jump, the box stays.
    """
    d = np.sort(np.linalg.norm(others - uv, axis=-1), axis=-1)  # NaN last
    n = np.isfinite(d).sum(-1)
    middle = np.take_along_axis(d, np.stack([np.maximum(n - 1, 0) // 2, n // 2], -1).clip(max=d.shape[-1] - 1), -1)
    boxes = np.linalg.norm(_boxes(others) - _boxes(uv), axis=-1)
    return np.asarray(np.fmin(np.where(n > 0, middle.mean(-1), np.nan), boxes))


def _boxes(uv: Array) -> Array:
    """Centre and half extents (..., 4) [px] of the boxes around keypoints (..., K, 2)."""
    low, high = np.nanmin(uv, -2), np.nanmax(uv, -2)
    return np.concatenate([high + low, high - low], -1) / 2


def _ghosts(uv: Array, size: Array, confidence: Array) -> NDArray[np.bool_]:
    """(P, T) true for the less confident of two detections of one person."""
    ghost: NDArray[np.bool_] = np.zeros(size.shape, np.bool_)
    score = confidence.sum(-1)
    crowded = np.flatnonzero(np.isfinite(size).sum(0) > 1)
    for t in crowded:
        best_first = sorted(np.flatnonzero(np.isfinite(size[:, t])), key=lambda p: -score[p, t])
        for rank, p in enumerate(best_first):
            kept = [b for b in best_first[:rank] if not ghost[b, t]]
            near = _distances(uv[p, t], uv[kept, t]) < GHOST * np.maximum(size[p, t], size[kept, t])
            ghost[p, t] = near.any()
    return ghost


def _assign(people: _Detections, present: NDArray[np.bool_]) -> list[_Tracklet]:
    """Detections that follow each other closely."""
    tracklets: list[_Tracklet] = []
    recent: list[_Tracklet] = []
    for t in map(int, np.flatnonzero(present.any(0))):
        found = np.flatnonzero(present[:, t])
        recent = [x for x in recent if t - x.frames[-1] == 1 or _still_there(people, x, t)]
        costs = [_costs(people, x, found, np.full(len(found), t), swerving=False) for x in recent]
        matched = {b: recent[a] for a, b in _pairs(costs)}
        for column, p in enumerate(map(int, found)):
            tracklet = matched.get(column)
            if tracklet is None:
                tracklets.append(tracklet := _Tracklet([], []))
                recent.append(tracklet)
            tracklet.frames.append(t)
            tracklet.indices.append(p)
    return tracklets


def _still_there(people: _Detections, tracklet: _Tracklet, t: int) -> bool:
    """Does somebody known move on unseen until frame ``t``."""
    return len(tracklet.frames) >= KNOWN and people.time[t] - people.time[tracklet.frames[-1]] <= CLOSE


def _joined(tracklets: list[_Tracklet], people: _Detections) -> list[_Tracklet]:
    """Who goes on with whom: the likeliest, of pieces that lie within reach of each other."""
    doubt = np.array([DOUBT / len(x.frames) for x in tracklets])
    links = [_links(people, x, tracklets) + doubt + d for x, d in zip(tracklets, doubt, strict=True)]
    costs = [np.minimum(c, UNSEEN) for c in links]  # of those that cannot be, none is worse
    before = {b: a for a, b in _pairs(costs)}
    chains: dict[int, list[_Tracklet]] = {}
    for b, tracklet in enumerate(tracklets):  # in order of their first frames
        chains[b] = [*chains.pop(before.get(b, -1), []), tracklet]
    whole = [_whole(_without_strays(people, chain)) for chain in chains.values()]
    return sorted(whole, key=lambda x: (x.frames[0], x.indices[0]))


def _without_strays(people: _Detections, chain: list[_Tracklet]) -> list[_Tracklet]:
    """A person's pieces without those that are likelier something else, between where the others lead."""
    n = np.array([len(x.frames) for x in chain])
    skipped = STRAY * (np.cumsum(n) - n)  # those before each piece
    cost, before = np.r_[0.0, np.full(len(chain) - 1, np.inf)], np.zeros(len(chain), int)
    for a in range(len(chain) - 1):
        way = cost[a] + _links(people, chain[a], chain[a + 1 :]) + skipped[a + 1 :] - skipped[a] - STRAY * n[a]
        better = way < cost[a + 1 :]
        cost[a + 1 :][better], before[a + 1 :][better] = way[better], a
    kept = [len(chain) - 1]
    while kept[0] > 0:
        kept.insert(0, int(before[kept[0]]))
    return [chain[b] for b in kept]


def _whole(chain: list[_Tracklet]) -> _Tracklet:
    return _Tracklet([t for x in chain for t in x.frames], [p for x in chain for p in x.indices])


def _links(people: _Detections, tracklet: _Tracklet, others: list[_Tracklet]) -> Array:
    """What it costs to go on with each of the others (N,)."""
    found = np.array([x.indices[0] for x in others], int)
    return _costs(people, tracklet, found, np.array([x.frames[0] for x in others], int), swerving=True)


def _pairs(costs: list[Array]) -> list[tuple[int, int]]:
    """The best pairs (row, column) of those that can be."""
    if not costs:
        return []
    rows, columns = linear_sum_assignment(costs)
    return [(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if costs[a][b] < UNSEEN]


def _costs(people: _Detections, tracklet: _Tracklet, found: NDArray, frames: NDArray, swerving: bool) -> Array:
    """What it costs to go on with each of the detections (N,), indices in frames; UNSEEN where they are others.

    A Gaussian's negative log likelihood, its three sigma being the reach, if somebody moves on steadily; or if somebody
    of unknown velocity, and where ``swerving`` is thought of anybody, does whatever people can.
    """
    velocity = _velocity(people, tracklet)
    gap = people.time[frames] - people.time[tracklet.frames[-1]]
    cost = np.full(len(gap), UNSEEN)
    if velocity is None or swerving:
        reach = np.minimum(STEP + SPEED * gap, REACH)
        cost = _likelihood(people, tracklet, found, frames, np.zeros((len(gap), 2)), reach) + SWERVE
    if velocity is not None:
        reach = np.minimum(MISS + BEND * gap**2 / 2, REACH)
        cost = np.minimum(cost, _likelihood(people, tracklet, found, frames, velocity * gap[:, None], reach))
    return np.minimum(cost, UNSEEN)


def _likelihood(
    people: _Detections, tracklet: _Tracklet, found: NDArray, frames: NDArray, path: Array, reach: Array
) -> Array:
    """Negative log likelihoods (N,) of detections after a ``path`` (N, 2) [px], within ``reach`` (N,) sizes of it."""
    last = tracklet.indices[-1], tracklet.frames[-1]
    size = np.stack([np.full(len(found), people.size[last]), people.size[found, frames]])
    away = _distances(people.uv[last], people.uv[found, frames] - path[:, None]) / size.max(0)
    possible = (frames > tracklet.frames[-1]) & (away <= reach) & (size.max(0) <= GROWTH * size.min(0))
    reach = np.where(possible, reach, 1.0)
    return np.where(possible, 4.5 * (away / reach) ** 2 + 2 * np.log(reach), UNSEEN)


def _velocity(people: _Detections, tracklet: _Tracklet) -> Array | None:
    """(2,) [px/s] at which somebody moves on; None where too few detections tell it."""
    frames, indices = tracklet.frames[-KNOWN:], tracklet.indices[-KNOWN:]
    time = people.time[frames]
    if len(frames) < KNOWN or time[-1] - time[0] > RECENT:
        return None
    uv = people.uv[indices, frames]
    steps = (uv[-1] - uv[:-1]).transpose(0, 2, 1) / (time[-1] - time[:-1])[:, None, None]  # (KNOWN - 1, 2, K)
    if not np.isfinite(steps).any(-1).all():
        return None
    return np.asarray(np.median(np.nanmedian(steps, -1), 0))


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
            " and better lit, or another detector"
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
