"""Which foot stood on which force plate, and in which frames that cannot be told or was not measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError, UnknownNameError
from physpose.io.forces import Forces
from physpose.skeleton.model import Point, Skeleton
from physpose.types import Array, Assumption, Wrench

FOOT = re.compile(r"(calcn|calcaneus|talus|ankle|foot|toes?|heel|hindfoot|forefoot)", re.IGNORECASE)
# of bodies named after the joint about which they turn, as SMPL's, "ankle" is the foot, and "foot" its toes
CARRIERS = ("calc", "ankle", "foot")
SIDE = re.compile(r"(^|_)(r|l|right|left)(_|$)|^(right|left)|(right|left)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PlateSettings:
    """Numbers by which forces are given to feet."""

    min_force: float = 20.0  # [N] less is no contact: a plate's noise and drift
    reach: float = 0.15  # [m] a centre of pressure farther from every point of a foot was not made by it
    height: float = 0.06  # [m] above its lowest height in the recording up to which a foot point may touch
    speed: float = 1.0  # [m/s] up to which a foot point may touch
    margin: float = 0.02  # [m] off a plate's edge that the place of a foot point is uncertain
    unmeasured: float = 0.25  # body weights of vertical force missing: something was touched that is no plate


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Forces with the bodies on which they act."""

    wrenches: tuple[Wrench, ...]  # each with a body; a plate that both feet used one after the other gives two
    valid: NDArray[np.bool_]  # (T,) every loaded plate carried one foot alone, with all of it on the plate
    assumptions: tuple[Assumption, ...]  # who stood where
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Foot:
    body: str  # on which its forces act
    side: str  # "right" or "left"
    at: Array  # (T, n, 3) [m] its points
    touching: NDArray[np.bool_]  # (T, n) low and slow


def assign_to_feet(
    forces: Forces,
    skeleton: Skeleton,
    time: Array,
    positions: Array,
    rotations: Array,
    settings: PlateSettings | None = None,
) -> Assignment:
    """Give each force without a body to the foot that made it.

    Within one contact, from loading to unloading, the foot is the one whose points lie nearest to the centre of
    pressure, weighted with the force. Frames are not valid where both feet touch the plate, where a foot that stands on
    it also touches the floor beside it, or where the centre of pressure is out of both feet's reach.

    Args:
        forces: at the times of the motion (``Forces.at``).
        skeleton: with feet: contact points, or bodies named calcn_r, talus_l, foot_r, toes_l, ...
        time: (T,) [s].
        positions: (T, n_bodies, 3) [m]; rotations: (T, n_bodies, 3, 3), as ``Motion`` has them.
        settings: numbers; None takes ``PlateSettings()``.

    Raises:
        UnknownNameError: a force acts on a body that the skeleton does not have.
        InputError: forces without a body, and a skeleton without feet.
    """
    s = settings or PlateSettings()
    feet = _feet(skeleton, time, positions, rotations, s)
    valid = np.ones(len(time), bool)
    wrenches: list[Wrench] = []
    lines: list[Assumption] = []
    warnings: list[str] = []
    for w in forces.wrenches:
        if w.body is not None:
            skeleton.body_index(w.body)
            wrenches.append(w)
            lines.append(Assumption(what=w.name, value=f"acts on {w.body}", source="given"))
            warnings += _far_off(w, skeleton, feet, s)
            continue
        if len(feet) < 2:
            raise InputError(
                f"{skeleton.name} has no two feet to stand on the plates (no contact points, no bodies named calcn_r, "
                f"foot_l, ...): say on which bodies the forces act, by an external-loads .xml or Forces.named(...)"
            )
        given, lost, why = _given(w, time, feet, s)
        wrenches += given
        valid &= ~lost
        who = " and then ".join(str(g.body) for g in given) or "nothing"
        lines.append(Assumption(what=w.name, value=f"acts on {who}", source="foot nearest to the centre of pressure"))
        warnings += why
    if forces.wrenches and not wrenches:
        raise InputError(
            f"{forces.source}: no force acts within {s.reach} m of a foot: other axes of the "
            f"laboratory, another clock, or "
            "another recording than the motion's? " + "; ".join(warnings)
        )
    return Assignment(wrenches=tuple(wrenches), valid=valid, assumptions=tuple(lines), warnings=tuple(warnings))


# --- feet -------------------------------------------------------------------------------------------------------------


def body_side(name: str) -> str | None:
    """ "right", "left" or None by a body's name: calcn_r, left_foot, RightFoot."""
    match = SIDE.search(name)
    if match is None:
        return None
    return "right" if next(g for g in (match[2], match[4], match[5]) if g).lower().startswith("r") else "left"


def _feet(skeleton: Skeleton, time: Array, positions: Array, rotations: Array, s: PlateSettings) -> list[_Foot]:
    feet = []
    for side in ("right", "left"):
        bodies = [n for n in skeleton.body_names if FOOT.search(n) and body_side(n) == side]
        if not bodies:
            continue
        points = _points(skeleton, bodies)
        index = [skeleton.body_index(p.body) for p in points]
        offset = np.array([p.offset for p in points])
        at = positions[:, index] + np.einsum("tkij,kj->tki", rotations[:, index], offset)
        feet.append(_Foot(body=_main(bodies), side=side, at=at, touching=_touching(time, at, s)))
    return feet


def _main(bodies: list[str]) -> str:
    """The body that carries the foot's forces: the heel bone where there is one."""
    return next((n for part in CARRIERS for n in bodies if part in n.lower()), bodies[0])


def _points(skeleton: Skeleton, bodies: list[str]) -> tuple[Point, ...]:
    """The contact points of these bodies; without any, their origins and centres of mass."""
    own = tuple(p for p in skeleton.contact_points if p.body in bodies)
    if own:
        return own
    found: list[Point] = []
    for name in bodies:
        body = skeleton.bodies[skeleton.body_index(name)]
        found += [Point(name=name, body=name, offset=np.zeros(3)), Point(name=name, body=name, offset=body.com)]
    return tuple(found)


def _touching(time: Array, at: Array, s: PlateSettings) -> NDArray[np.bool_]:
    low = at[..., 2] < at[..., 2].min(axis=0) + s.height
    if len(time) < 2:
        return low
    speed = np.linalg.norm(np.gradient(at, time, axis=0), axis=-1)
    return np.asarray(low & (speed < s.speed))


# --- one force --------------------------------------------------------------------------------------------------------


def _given(
    w: Wrench, time: Array, feet: list[_Foot], s: PlateSettings
) -> tuple[list[Wrench], NDArray[np.bool_], list[str]]:
    """The force split by feet over time, the frames that are lost, and why."""
    loaded = (np.linalg.norm(w.force, axis=1) > s.min_force) & np.isfinite(w.cop).all(axis=1)
    distance = np.stack([_distance(w, foot) for foot in feet], 1)  # (T, 2) [m]
    owner, nearest = np.full(len(time), -1), np.inf
    for phase in _phases(loaded):
        away = np.average(distance[phase], axis=0, weights=np.linalg.norm(w.force[phase], axis=1))
        nearest = min(nearest, float(away.min()))
        if away.min() < s.reach:
            owner[phase] = int(away.argmin())
    if loaded.any() and (owner < 0).all():
        return [], loaded, [f"{w.name} was not used: in each contact it acts {nearest:.2f} m or more from both feet"]
    owner = _nearest_owner(owner)
    both, partial, far = (np.zeros(len(time), bool) for _ in range(3))
    for k, foot in enumerate(feet):
        mine, other = loaded & (owner == k), feet[1 - k]
        both |= mine & (_on_plate(w, other, s, distance[:, 1 - k]) > 0)
        partial |= mine & _beside(w, foot, s)
        far |= mine & (distance[:, k] > s.reach)
    given = [
        replace(w, body=foot.body, force=_only(w.force, owner == k), free_moment=_only(w.free_moment, owner == k))
        for k, foot in enumerate(feet)
        if (owner == k).any()
    ]
    reasons = (
        (both, "both feet were on it"),
        (partial & ~both, "the foot on it also stood beside it"),
        (far & ~both & ~partial, "its centre of pressure was out of both feet's reach"),
    )
    why = [
        f"{w.name}: in {_span(time, frames)} {reason}: these frames are not valid"
        for frames, reason in reasons
        if frames.any()
    ]
    return given, both | partial | far, why


def _nearest_owner(owner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Forces between two contacts, or from out of reach, go to the foot of the contact nearest in time."""
    known = np.flatnonzero(owner >= 0)
    if not len(known):
        return owner
    right = np.clip(np.searchsorted(known, np.arange(len(owner))), 0, len(known) - 1)
    left = np.clip(right - 1, 0, None)
    frames = np.arange(len(owner))
    nearer = np.where(np.abs(known[left] - frames) < np.abs(known[right] - frames), left, right)
    return np.asarray(owner[known[nearer]])


def _only(x: Array, frames: NDArray[np.bool_]) -> Array:
    return np.where(frames[:, None], x, 0.0)


def _distance(w: Wrench, foot: _Foot) -> Array:
    """(T,) [m] horizontal distance from the centre of pressure to the line through the foot's points."""
    cop = np.nan_to_num(w.cop)[:, None, :2]
    at = foot.at[..., :2]
    best = np.linalg.norm(at - cop, axis=-1).min(1)
    # segments between all pairs of points: a foot is no bigger than a few points
    for i in range(at.shape[1]):
        for j in range(i):
            a, d = at[:, i], at[:, j] - at[:, i]
            t = ((cop[:, 0] - a) * d).sum(1) / np.maximum((d * d).sum(1), 1e-12)
            nearest = a + np.clip(t, 0, 1)[:, None] * d
            best = np.minimum(best, np.linalg.norm(nearest - cop[:, 0], axis=1))
    return best


def _on_plate(w: Wrench, foot: _Foot, s: PlateSettings, distance: Array) -> NDArray[np.intp]:
    """(T,) number of the foot's points that touch within the plate's edges; without corners, near the pressure."""
    if w.corners is None:
        near = (distance < 0.5 * s.reach) & foot.touching.any(1)
        return near.astype(np.intp)
    return np.asarray((foot.touching & _inside(w.corners, foot.at, -s.margin)).sum(1))


def _beside(w: Wrench, foot: _Foot, s: PlateSettings) -> NDArray[np.bool_]:
    """(T,) does a touching point of the foot lie off the plate; unknown without corners."""
    if w.corners is None:
        return np.zeros(len(foot.at), bool)
    return np.asarray((foot.touching & ~_inside(w.corners, foot.at, s.margin)).any(1))


def _inside(corners: Array, at: Array, margin: float) -> NDArray[np.bool_]:
    """Are points (..., 3) above the rectangle of the corners (4, 3), grown by ``margin`` [m]."""
    centre = corners.mean(0)
    inside = np.ones(at.shape[:-1], bool)
    for a, b in ((0, 1), (1, 2)):
        edge = corners[b] - corners[a]
        length = float(np.linalg.norm(edge))
        inside &= np.abs((at - centre) @ (edge / length)) < 0.5 * length + margin
    return inside


def _phases(loaded: NDArray[np.bool_]) -> Iterator[slice]:
    """Stretches of frames in which a force acts."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loaded, [False]]).astype(int)))
    return (slice(int(a), int(b)) for a, b in edges.reshape(-1, 2))


def _span(time: Array, frames: NDArray[np.bool_]) -> str:
    t = time[frames]
    return f"{int(frames.sum())} frames ({t[0]:.2f} to {t[-1]:.2f} s)"


def _far_off(w: Wrench, skeleton: Skeleton, feet: list[_Foot], s: PlateSettings) -> list[str]:
    """A warning if a force was given to a foot although the other one stood where it acts."""
    side = body_side(str(w.body)) if FOOT.search(str(w.body)) else None
    loaded = (np.linalg.norm(w.force, axis=1) > s.min_force) & np.isfinite(w.cop).all(axis=1)
    if side is None or len(feet) < 2 or w.point_frame != "world" or not loaded.any():
        return []
    weight = np.linalg.norm(w.force[loaded], axis=1)
    distance = {f.side: float(np.average(_distance(w, f)[loaded], weights=weight)) for f in feet}
    other = next(f for f in feet if f.side != side)
    if distance[side] < distance[other.side] + 0.5 * s.reach:
        return []
    return [
        f"{w.name} is given to {w.body}, {distance[side]:.2f} m from where it acts, while {other.body} is "
        f"{distance[other.side]:.2f} m from there: left and right exchanged?"
    ]


def check_bodies(forces: Forces, skeleton: Skeleton) -> None:
    """Refuse forces on, or in the axes of, bodies that the skeleton does not have."""
    for w in forces.wrenches:
        for body in (w.body, w.force_frame, w.point_frame):
            if body not in (None, "world", *skeleton.body_names):
                raise UnknownNameError(
                    f"body of the force {w.name!r} in {forces.source}:", str(body), skeleton.body_names
                )
