"""Left and right in the names of bodies, joints, points and coordinates: OpenSim's suffixes, SMPL's prefixes."""

from __future__ import annotations

SUFFIXES = {"_r": "r", "_l": "l"}
PREFIXES = {"right_": "r", "left_": "l"}


def side(name: str) -> str:
    """ "r", "l", or "" of a name without a side."""
    return SUFFIXES.get(name[-2:], "") or next((s for p, s in PREFIXES.items() if name.startswith(p)), "")


def without_side(name: str) -> str:
    """The name that both sides have in common: "knee_angle_r" -> "knee_angle", "left_knee_x" -> "knee_x"."""
    if name[-2:] in SUFFIXES:
        return name[:-2]
    return next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name)
