"""What keypoints can bear: checks before the fit, and sentences on what was hardly seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError
from physpose.skeleton.limbs import END, keypoint_limbs
from physpose.types import Array, Keypoints2D

MIN_KEYPOINTS = 4  # in a frame, to say that the person is seen
MIN_EXTENT = 10.0  # [px] of the whole person; less are fractions of the picture, or nobody
MIN_CONFIDENCE = 0.1  # below, the estimator hears next to nothing
RARELY = 0.2  # of the frames
LIMB_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
FOOT = ("ankle", "heel", "toe", "foot")
GAP = 0.25  # [s]
NO_PICTURE = 1.0  # [s] a gap without any picture, where nothing says that the person was not there
BETWEEN = 1 / 15  # [s] frames where pictures were lost are so far apart at most, as those of a coarse pass
STRAY = 0.25  # [s]
HIDDEN = 0.05  # statures; what a detector sees is off by 0.02, what it makes up by 0.05 to 0.25 (benchmarks/made_up.py)
GAP_STEPS = 5  # median time steps: slow frame rates have no gap in every step


def checked_keypoints(kp: Keypoints2D) -> Keypoints2D:
    """The same keypoints, if a motion can be fitted to them.

    Raises:
        InputError: shapes that do not fit, an infinite position, a confidence that is not in 0..1, time that does not
            increase, positions that are no pixels or lie outside ``image_size``.
    """
    _check_shapes(kp)
    _check_numbers(kp)
    back = np.flatnonzero(~(np.diff(kp.time) > 0))
    if back.size:
        i = int(back[0]) + 1
        raise InputError(f"time does not increase at frame {i}: {kp.time[i]:g} s after {kp.time[i - 1]:g} s")
    _check_pixels(kp)
    return kp


def _check_shapes(kp: Keypoints2D) -> None:
    T, K = len(kp.time), len(kp.names)
    P = kp.uv.shape[0]
    if T == 0 or kp.uv.shape != (P, T, K, 2) or kp.confidence.shape != (P, T, K):
        raise InputError(
            f"uv {kp.uv.shape} and confidence {kp.confidence.shape} do not fit {T} times and {K} names; "
            "expected (P, T, K, 2) and (P, T, K), T at least 1"
        )


def _check_numbers(kp: Keypoints2D) -> None:
    bad = np.argwhere(np.isinf(kp.uv).any(-1))
    if bad.size:
        raise InputError(f"{kp.names[bad[0, 2]]} in frame {bad[0, 1]} is infinite; mark missing keypoints by NaN")
    bad = np.argwhere(~((kp.confidence >= 0) & (kp.confidence <= 1)))
    if bad.size:
        given = kp.confidence[tuple(bad[0])]
        raise InputError(f"confidence {given:g} of {kp.names[bad[0, 2]]} in frame {bad[0, 1]}; expected 0..1")
    if not np.isfinite(kp.time).all():
        raise InputError(f"time of frame {int(np.flatnonzero(~np.isfinite(kp.time))[0])} is not a number")


def _check_pixels(kp: Keypoints2D) -> None:
    seen = kp.uv[(kp.confidence > 0) & np.isfinite(kp.uv).all(-1)]
    if not len(seen):
        return
    extent = float(np.ptp(seen, axis=0).max())
    if len(seen) >= MIN_KEYPOINTS and extent < MIN_EXTENT:
        raise InputError(f"all keypoints lie within {extent:.3g} px; expected pixels, not fractions of the picture")
    if kp.image_size is not None and (np.median(seen, axis=0) > kp.image_size).any():
        width, height = kp.image_size
        u, v = seen.max(0)
        raise InputError(f"most keypoints lie outside the picture of {width} x {height} px, up to ({u:.0f}, {v:.0f})")


def seen_frames(kp: Keypoints2D) -> NDArray[np.bool_]:
    """(T,) true where enough keypoints of the one person are seen."""
    enough: NDArray[np.bool_] = (np.isfinite(kp.uv[0, ..., 0]) & (kp.confidence[0] > 0)).sum(1) >= MIN_KEYPOINTS
    return enough


def without_stray_ends(time: Array, seen: NDArray[np.bool_]) -> tuple[int, int]:
    """First and last frame to fit: at either end, a short stretch beyond a gap longer than itself is left out.

    A few frames beyond a gap tell little, are often another person, and all in between would be made up.
    """
    at = np.flatnonzero(seen)
    breaks = np.flatnonzero(_gaps(time, seen, NO_PICTURE) > 0)  # between at[b] and at[b + 1]
    runs = [(float(time[r[0]]), float(time[r[-1]])) for r in np.split(at, breaks + 1)]
    while len(runs) > 1 and runs[-1][1] - runs[-1][0] < min(STRAY, runs[-1][0] - runs[-2][1]):
        runs.pop()
    while len(runs) > 1 and runs[0][1] - runs[0][0] < min(STRAY, runs[1][0] - runs[0][1]):
        runs.pop(0)
    first, last = np.searchsorted(time, (runs[0][0], runs[-1][1]))
    return int(first), int(last)


def with_lost_pictures(kp: Keypoints2D) -> Keypoints2D:
    """The same with frames of nobody where pictures were lost, up to ``NO_PICTURE``: there is a motion there, too."""
    steps = np.diff(kp.time)
    usual = float(np.quantile(steps, 0.1)) if len(steps) else 0.0
    apart = max(usual, BETWEEN)
    lost = np.flatnonzero((steps > max(1.5 * usual, BETWEEN)) & (steps < NO_PICTURE))
    between = [np.linspace(kp.time[i], kp.time[i + 1], int(np.ceil(steps[i] / apart - 1e-6)) + 1)[1:-1] for i in lost]
    return kp.with_frames(np.concatenate(between)) if any(map(len, between)) else kp


def longest_gap(time: Array, seen: NDArray[np.bool_]) -> float:
    """Longest time [s] in which the person is not seen, in frames without them or in missing frames; else 0."""
    return float(_gaps(time, seen, GAP).max(initial=0.0))


def _gaps(time: Array, seen: NDArray[np.bool_], no_picture: float) -> Array:
    """Time [s] from each seen frame to the next one; 0 where that is no more than the usual time step, ``GAP`` if there
    are frames between, else ``no_picture``."""
    at = np.flatnonzero(seen)
    usual = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    least = np.where(np.diff(at) > 1, GAP, no_picture)
    return np.where(np.diff(time[at]) > np.maximum(least, GAP_STEPS * usual), np.diff(time[at]), 0.0)


def rarely_seen(kp: Keypoints2D) -> tuple[str, ...]:
    """A warning that names the joints' keypoints that are seen in few frames, if there are any."""
    seen = (np.isfinite(kp.uv[0, ..., 0]) & (kp.confidence[0] > MIN_CONFIDENCE)).mean(0)
    rare = [n for n, share in zip(kp.names, seen, strict=True) if share < RARELY and _has(n, LIMB_JOINTS)]
    if not rare:
        return ()
    joints = (f"hardly ever seen: {', '.join(rare)}; the motion there is a guess, and so are its torques",)
    return (*joints, *_unseen_feet(kp.names, seen))


def hidden_limbs(kp: Keypoints2D, stature: float) -> tuple[str, ...]:
    """A warning that names arms and legs of which a detector makes up for longer than ``GAP`` what something hides.

    Where a lifter doubts the keypoints (``doubt``); ``stature`` [m].
    """
    hidden = () if kp.doubt is None else _hidden(kp, kp.doubt[0], HIDDEN * stature)
    told = [f"{_said(name)} from {a:.2f} to {b:.2f} s" for name, a, b in hidden if b - a > GAP]
    if not told:
        return ()
    return (
        f"hidden, or beyond the detector: {', '.join(told)}; what it says of them there seems made up and hardly "
        "counts, the motion is a guess",
    )


def _hidden(kp: Keypoints2D, doubt: Array, limit: float) -> Iterator[tuple[str, float, float]]:
    """Each limb, and the longest time [s] in which the ``doubt`` (T, K) [m] of its end lies above ``limit`` [m]."""
    limbs = keypoint_limbs(kp.keypoint_set)
    seen = seen_frames(kp)
    for name in sorted({limb.name for limb in limbs if limb.along == END}):
        ends = doubt[:, [limb == (name, END) for limb in limbs]]
        doubtful = seen & (np.nan_to_num(ends).max(1) > limit)
        edges = np.flatnonzero(np.diff(np.r_[0, doubtful.astype(int), 0])).reshape(-1, 2)
        spans = [(name, float(kp.time[a]), float(kp.time[b - 1])) for a, b in edges]
        yield from sorted(spans, key=lambda span: span[1] - span[2])[:1]


def _said(limb: str) -> str:
    """ "left arm" of "arm_l"."""
    part, _, side = limb.partition("_")
    return f"{'left' if side == 'l' else 'right'} {part}"


def _unseen_feet(names: tuple[str, ...], seen: Array) -> tuple[str, ...]:
    """A warning if of a foot, ankle included, next to nothing is seen: ``seen`` (K,), shares of the frames."""
    for side in ("left", "right"):
        own = [share for n, share in zip(names, seen, strict=True) if side in n.lower() and _has(n, FOOT)]
        if own and max(own) < RARELY:
            return (
                "the feet are hardly ever seen: when and where they touch the floor is a guess, and so are contacts, "
                "forces and the legs' torques; standard deviations take these contacts for certain and are too small",
            )
    return ()


def _has(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name.lower() for part in parts)
