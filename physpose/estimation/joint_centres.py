"""Joint centres that follow from markers by rules of the gait laboratory: observations of the skeleton's own joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from physpose.estimation.marker_spots import Spot
from physpose.skeleton.marker_names import plain_label
from physpose.types import Array

WANDS = {"knee": "thi", "ankle": "tib"}  # Plug-in-Gait's markers in the plane of the joint's axis


def joint_centres(
    spots: Sequence[Spot], target: Array, centres: Mapping[str, Array], marker_radius: float
) -> dict[str, Array]:
    """Joint centres seen through markers: {"hip_centre_r": (T, 3) [m], "knee_centre_r": ..., ...}; those that can be.

    Knees and ankles only where both of a side's Plug-in-Gait wands are there, since only that protocol says how they
    lie. A joint centre that is itself among the markers comes from nothing else.

    Args:
        spots, target: the markers and where they were seen (T, M, 3) [m], NaN where not.
        centres: the skeleton's joint centres in the frames of the bodies that carry the markers beside them.
        marker_radius: [m] the markers' centres stand so far off the skin.
    """
    at = {s.point.name: target[:, i] for i, s in enumerate(spots)}
    wand = {plain_label(s.label): target[:, i] for i, s in enumerate(spots)}
    offset = {s.point.name: s.point.offset for s in spots}
    found = hip_centres(at, marker_radius)
    for side in "rl":
        above = at.get(f"hip_centre_{side}", found.get(f"hip_centre_{side}"))
        for joint, word in WANDS.items():
            beside, name = f"{joint}_lateral_{side}", f"{joint}_centre_{side}"
            if above is None or beside not in at or not {side + w for w in WANDS.values()} <= set(wand):
                break
            breadth = abs(offset[beside][2] - centres[name][2])
            above = found[name] = chord(above, at[beside], wand[side + word], breadth)
    return {n: x for n, x in found.items() if n not in at}


def hip_centres(at: Mapping[str, Array], marker_radius: float) -> dict[str, Array]:
    """Hip joint centres from the pelvis' markers; empty if some are missing.

    Harrington et al. 2007, J Biomech 40:595: with pelvis width PW (between the anterior spines) and depth PD (from
    their middle to the posterior ones'), the centre lies 0.24 PD + 9.9 mm behind, 0.30 PW + 10.9 mm below and
    0.33 PW + 7.3 mm beside the anterior spines' middle, in axes of the spines' plane.
    """
    right, left, back = at.get("asis_r"), at.get("asis_l"), at.get("sacrum")
    if back is None and {"psis_r", "psis_l"} <= set(at):
        back = (at["psis_r"] + at["psis_l"]) / 2
    if right is None or left is None or back is None:
        return {}
    middle = (right + left) / 2
    PW = _typical(right - left)
    PD = _typical(middle - back) - 2 * marker_radius
    z = _unit(right - left)
    y = _unit(np.cross(z, middle - back))
    x = np.cross(y, z)
    behind, below, beside = 0.24 * PD + 0.0099 + marker_radius, 0.30 * PW + 0.0109, 0.33 * PW + 0.0073
    return {f"hip_centre_{s}": middle - behind * x - below * y + sign * beside * z for s, sign in (("r", 1), ("l", -1))}


def chord(above: Array, beside: Array, wand: Array, distance: float) -> Array:
    """The joint centre (T, 3) in the plane of three points, on the far side of the wand, seen from ``beside`` [m].

    The line from it to the joint ``above`` and the line to the marker ``beside`` it, ``distance`` away, are at right
    angles (Davis et al. 1991, Hum Mov Sci 10:575; Kabel et al. 2003 for Plug-in-Gait).
    """
    up = above - beside
    length = np.linalg.norm(up, axis=-1, keepdims=True)
    e_up = up / length
    out = wand - beside
    e_out = _unit(out - (out * e_up).sum(-1, keepdims=True) * e_up)
    c = distance / length
    return beside + distance * (c * e_up - np.sqrt(np.maximum(1 - c**2, 0.0)) * e_out)


def _typical(x: Array) -> float:
    """Median length [m] of vectors (T, 3)."""
    length = np.linalg.norm(x, axis=-1)
    return float(np.nanmedian(length)) if np.isfinite(length).any() else np.nan


def _unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
