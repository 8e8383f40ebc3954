"""Measures of where the body is and how it moves: one function a measure, a reason in words where it does not apply."""

from __future__ import annotations

import numpy as np

from physpose.plausibility.finding import Measure, judged
from physpose.plausibility.recording import Recording, rates
from physpose.plausibility.settings import SOURCES, PlausibilitySettings
from physpose.result import result_columns
from physpose.skeleton.model import Skeleton
from physpose.types import Array

DEPTHS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.15)  # [m] HuMoR's (Rempe et al. 2021)
TOO_SHORT = "{n} frames or more are needed"
EDGE = 1e-6  # [s] rounded time stamps must not move a frame across a window's edge
NO_FLOOR = "there is no floor"
NO_SKELETON = "it needs a skeleton's motion"


def joint_limits(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """How far each hinge's angle lies outside its range [deg]."""
    return _limits(r, s, "joint limits", "hinge", 180 / np.pi, s.joint_limit, "deg")


def slide_limits(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """How far each slide lies outside its range [cm]."""
    return _limits(r, s, "slide limits", "slide", 100.0, s.slide_limit, "cm")


def _limits(
    r: Recording, s: PlausibilitySettings, name: str, kind: str, scale: float, threshold: float, unit: str
) -> Measure | str:
    if r.skeleton is None or r.motion is None:
        return NO_SKELETON
    of_kind = [c for c in _coordinates(r.skeleton, r.motion.q) if c[1] == kind and np.isfinite(c[2]).any()]
    if not of_kind:
        return f"this skeleton has no {kind} with a range (of an .osim, those that are clamped count)"
    outside = [np.maximum(np.maximum(q - high, low - q), 0.0) for _, _, (low, high), q in of_kind]
    return judged(
        name, time=r.time, values=scale * np.stack(outside, 1), subjects=tuple(c[0] for c in of_kind), unit=unit,
        threshold=scale * threshold, source=SOURCES[name], phrase="exceeds its range by {value}",
        settings=s,
    )  # fmt: skip


def bone_lengths(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Each bone's length against its median over the clip [%]."""
    if not r.bones:
        return "no bones are known: give bones=, a keypoint set that has some, or a skeleton"
    length = _lengths(r)
    median = _median(length)
    long = median > 1e-3  # [m] two points in one place are no bone
    names = [n for n, keep in zip(_bone_names(r), long, strict=True) if keep]
    return judged(
        "bone lengths", time=r.time, values=100 * np.abs(length[:, long] / median[long] - 1), subjects=tuple(names),
        unit="%",
        threshold=100 * s.bone_length, source=SOURCES["bone lengths"],
        phrase="is {value} off its median length", settings=s,
    )  # fmt: skip


def side_lengths(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Difference of each bone's length between left and right, over their mean [%]."""
    length, names = _lengths(r), _bone_names(r)
    ends = [(r.names[a], r.names[b]) for a, b in r.bones]
    twins = [tuple(_other_side(n) for n in pair) for pair in ends]
    pairs = [(i, ends.index(t)) for i, t in enumerate(twins) if t in ends and t != ends[i] and i < ends.index(t)]
    if not pairs:
        return "no bones come in pairs"
    left, right = (length[:, [p[k] for p in pairs]] for k in (0, 1))
    mean = (left + right) / 2
    long = _median(mean) > 0.02  # [m] shorter ones tell nothing
    if not long.any():
        return "no paired bone is longer than 2 cm"
    values = 100 * np.abs(left - right)[:, long] / mean[:, long]
    subjects = tuple(names[i] for (i, _), keep in zip(pairs, long, strict=True) if keep)
    return judged(
        "left-right lengths", time=r.time, values=values, subjects=subjects, unit="%",
        threshold=100 * s.side_difference, source=SOURCES["left-right lengths"],
        phrase="differs by {value} from the other side", settings=s,
    )  # fmt: skip


def side_motion(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Difference of the range of motion between left and right, over their mean [%]; the same in every frame."""
    if r.skeleton is None or r.motion is None:
        return NO_SKELETON
    spans = {n: float(np.nanmax(q) - np.nanmin(q)) for n, kind, _, q in _coordinates(r.skeleton, r.motion.q)
             if kind == "hinge" and np.isfinite(q).any()}  # fmt: skip
    pairs = [(n, t) for n in spans if n.endswith("_r") and (t := n[:-2] + "_l") in spans]
    moved = [(n, t) for n, t in pairs if spans[n] + spans[t] > np.radians(20.0)]  # smaller ranges tell nothing
    if not moved:
        return "no paired joint moves by 10 degrees"
    # symmetry index: |right - left| / mean
    index = np.array([200 * abs(spans[n] - spans[t]) / (spans[n] + spans[t]) for n, t in moved])
    return judged(
        "left-right motion", time=r.time, values=np.tile(index, (len(r.time), 1)),
        subjects=tuple(n[:-2] for n, _ in moved), unit="%", threshold=100 * s.motion_symmetry,
        source=SOURCES["left-right motion"], phrase="moves over ranges that differ by {value} between the sides",
        settings=s,
        details={f"{n[:-2]} [%]": float(x) for (n, _), x in zip(moved, index, strict=True)},
    )  # fmt: skip


def skate(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Horizontal speed [m/s] of points in contact, in frames whose neighbours are in contact too."""
    if r.floor is None:
        return NO_FLOOR
    if len(r.time) < 3:
        return TOO_SHORT.format(n=3)
    if not r.ground_names:
        return "no point of the body may touch the floor"
    speed = np.linalg.norm(np.gradient(r.ground[..., :2], r.time, axis=0) - r.belt[:2], axis=-1)
    held = r.active.copy()
    held[1:] &= r.active[:-1]
    held[:-1] &= r.active[1:]
    mean = float(np.nanmean(speed[held])) if held.any() else float("nan")
    return judged(
        "foot skate", time=r.time, values=np.where(held, speed, np.nan), subjects=r.ground_names, unit="m/s",
        threshold=s.skate_speed, source=SOURCES["foot skate"], phrase="slides on the floor at {value}",
        settings=s, details={"mean in contact [m/s]": mean},
    )  # fmt: skip


def penetration(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Depth [cm] of contact points and body origins below the floor."""
    if r.floor is None:
        return NO_FLOOR
    names, z = _heights(r)
    depth = np.where(np.isfinite(z), np.fmax(-z, 0.0), np.nan)
    seen = np.isfinite(depth).any(1)
    worst = np.fmax.reduce(depth[seen], axis=1) if seen.any() else np.zeros(0)
    details = {
        f"frames deeper than {100 * d:.0f} cm [%]": 100 * float(np.mean(worst > d)) for d in DEPTHS if seen.any()
    }
    details["mean depth [cm]"] = 100 * float(worst.mean()) if seen.any() else float("nan")
    return judged(
        "penetration", time=r.time, values=100 * depth, subjects=names, unit="cm",
        threshold=100 * s.penetration, source=SOURCES["penetration"], phrase="sinks into the floor by {value}",
        settings=s, details=details,
    )  # fmt: skip


def _heights(r: Recording) -> tuple[tuple[str, ...], Array]:
    """Names and heights (T, n) [m] over the floor of contact points and body origins; of points alone, of these."""
    z = r.points[..., 2] - (r.floor or 0.0)
    if r.skeleton is None:
        return r.names, z
    return (*r.ground_names, *r.names), np.concatenate([r.ground[..., 2] - (r.floor or 0.0), z], 1)


def floating(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Height [cm] of the lowest point over the floor, in frames in which the motion needs support."""
    if r.floor is None:
        return NO_FLOOR
    if r.needed_wrench is None:
        return "whether the body needs support is not known"
    _, z = _heights(r)
    lowest = np.full(len(z), np.nan)
    seen = np.isfinite(z).any(1)
    lowest[seen] = np.fmin.reduce(z[seen], axis=1)
    needed = r.supported > s.needs_support
    values = np.where(np.isfinite(r.supported), np.where(needed, np.fmax(lowest, 0.0), 0.0), np.nan)
    return judged(
        "float", time=r.time, values=100 * values, subjects=("the body",), unit="cm", threshold=100 * s.floating,
        source=SOURCES["float"], phrase="hovers {value} over the floor while its motion needs support",
        settings=s, note="judged where the motion needs an upward force",
    )  # fmt: skip


def jitter(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Norm of the third difference [m/s^3], mean over the points and over a window."""
    phrase = "jitter: the third difference is {value} on average over a window"
    return _smoothness(r, s, "jitter", 3, s.jitter, "m/s^3", phrase)


def acceleration(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Norm of the second difference [m/s^2], mean over the points and over a window."""
    phrase = "accelerate by {value} on average over a window"
    return _smoothness(r, s, "acceleration", 2, s.acceleration, "m/s^2", phrase)


def _smoothness(
    r: Recording, s: PlausibilitySettings, name: str, order: int, threshold: float, unit: str, phrase: str
) -> Measure | str:
    if len(r.time) <= order:
        return TOO_SHORT.format(n=order + 1)
    norm = np.linalg.norm(rates(r.points, r.time, order), axis=-1)
    seen = np.isfinite(norm).any(1)
    if not seen.any():
        return f"no point is seen in {order + 1} frames one after the other"
    each = np.full(len(norm), np.nan)
    each[seen] = np.nanmean(norm[seen], axis=1)
    middle = np.convolve(r.time, np.ones(order + 1) / (order + 1), "valid")  # of each difference
    values = windowed_mean(each, middle, r.time, s.smoothness_window)
    return judged(
        name, time=r.time, values=values, subjects=("the points",), unit=unit, threshold=threshold,
        source=SOURCES[name], phrase=phrase, settings=s,
        note=f"mean over {s.smoothness_window:g} s",
        details={f"mean over the clip [{unit}]": float(np.nanmean(each)), f"peak [{unit}]": float(np.nanmax(each))},
    )  # fmt: skip


def windowed_mean(x: Array, at: Array, time: Array, window: float) -> Array:
    """Mean (T,) of x, given at times ``at``, over the ``window`` [s] around each of ``time`` (T,); NaN left out."""
    good = np.isfinite(x)
    total, count = (np.append(0.0, np.cumsum(y)) for y in (np.where(good, x, 0.0), good.astype(float)))
    half = window / 2 + EDGE
    first, last = np.searchsorted(at, time - half), np.searchsorted(at, time + half, side="right")
    n = count[last] - count[first]
    return np.where(n > 0, (total[last] - total[first]) / np.maximum(n, 1), np.nan)


def _coordinates(skeleton: Skeleton, q: Array) -> list[tuple[str, str, tuple[float, float], Array]]:
    """Name, kind, range and values (T,) of every hinge and slide; balls have no range of their components."""
    ranges = {c.name: c.range for c in skeleton.coordinates}
    return [(c.name, c.kind, ranges[c.name], q[:, c.q]) for c in result_columns(skeleton) if c.axis is None]


def _median(x: Array) -> Array:
    """Over the frames (n,) of x (T, n); NaN where there is none."""
    out = np.full(x.shape[1], np.nan)
    seen = np.isfinite(x).any(0)
    out[seen] = np.nanmedian(x[:, seen], axis=0)
    return out


def _lengths(r: Recording) -> Array:
    """(T, n_bones) [m]."""
    ends = np.array(r.bones, int).reshape(-1, 2)
    return np.linalg.norm(r.points[:, ends[:, 1]] - r.points[:, ends[:, 0]], axis=-1)


def _bone_names(r: Recording) -> list[str]:
    return [f"{r.names[a]}-{r.names[b]}" for a, b in r.bones]


def _other_side(name: str) -> str:
    """The same point's name on the other side: femur_r, Hand.L, left_knee, RHip; itself in the middle."""
    for a, b in (("r", "l"), ("R", "L"), ("l", "r"), ("L", "R")):
        if name[-2:] in (f"_{a}", f".{a}"):
            return name[:-1] + b
    for a, b in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
        if a in name:
            return name.replace(a, b)
    for a, b in (("R", "L"), ("L", "R")):
        if name.startswith(a) and name[1:2].isupper():
            return b + name[1:]
    return name
