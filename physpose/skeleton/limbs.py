"""Which limb a keypoint is on, and how far along it."""

from __future__ import annotations

from typing import NamedTuple

from physpose.skeleton.keypoint_sets import keypoint_landmarks

ROOT, MIDDLE, END = 0.1, 0.5, 1.0  # how far along: shoulder, elbow, wrist and beyond
_ALONG = {
    "arm": {"shoulder": ROOT, "elbow": MIDDLE, "wrist": END, "pinky": END, "index": END, "thumb": END},
    "leg": {"hip": ROOT, "knee": MIDDLE, "ankle": END, "heel": END, "big_toe": END, "small_toe": END},
}


class Limb(NamedTuple):
    """Where a keypoint is."""

    name: str  # "arm_r", "leg_l", ...; "trunk" with the head
    along: float  # 0..1


def keypoint_limbs(keypoint_set: str) -> tuple[Limb, ...]:
    """Of each of a set's keypoints, in the detector's order."""
    return tuple(_limb(mark) for mark in keypoint_landmarks(keypoint_set))


def _limb(mark: str) -> Limb:
    part, _, side = mark.rpartition("_")
    for limb, parts in _ALONG.items():
        if part in parts:
            return Limb(f"{limb}_{side}", parts[part])
    return Limb("trunk", ROOT)
