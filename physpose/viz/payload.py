"""The report's numbers as JSON: arrays as base64 of little-endian float32, NaN kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from physpose.result import FitResult
from physpose.skeleton.model import HOLD
from physpose.skeleton.names import side
from physpose.types import Array, Energy
from physpose.viz.actor import contact_positions
from physpose.viz.series import Plot, Section, body_weight, sections
from physpose.viz.shapes import bones, joints, segment_shapes
from physpose.viz.skin import packed_as, skin_payload

MOST_FRAMES = 3600  # of a report; longer results are thinned out for it, and it says so
# of contact points by the start of their names; else feet
PARTS = {"hand": ("hand", f"{HOLD}hand"), "seat": ("ischium", "thigh"), "hold": (HOLD,)}


def thinned(result: FitResult) -> tuple[FitResult, int]:
    """The result with every n-th frame, so that a report stays small, and n."""
    step = -(-len(result.time) // MOST_FRAMES)
    if step == 1:
        return result, 1
    arrays = ("time", "q", "v", "a", "tau", "positions", "rotations", "com", "momentum", "power")
    every: dict[str, Any] = {name: getattr(result, name)[::step] for name in arrays}
    c, e = result.contacts, result.energy
    every["contacts"] = c.frames(slice(None, None, step))
    every["energy"] = Energy(kinetic=e.kinetic[::step], potential=e.potential[::step])
    every["keypoints"] = None if result.keypoints is None else result.keypoints.frames(slice(None, None, step))
    sigma = None if result.sigma is None else result.sigma.frames(slice(None, None, step))
    return replace(result, sigma=sigma, **every), step


def payload(result: FitResult) -> dict[str, Any]:
    """Everything that the report's scripts draw."""
    return {
        "time": packed(result.time),
        "mass": result.skeleton.mass,
        "weight": body_weight(result),
        "skeleton": _skeleton(result),
        "skin": skin_payload(result.skeleton),
        "positions": packed(result.positions),
        "quaternions": packed(_quaternions(result)),
        "com": packed(result.com),
        "contacts": [_contact_group(result, *group) for group in _contact_groups(result)],
        "camera": _camera(result),
        "keypoints": _keypoints(result),
        "sections": [_section(s) for s in sections(result)],
    }


def packed(array: Array) -> dict[str, Any]:
    """{"shape": ..., "f32": base64}."""
    return packed_as(array, "f32")


def _skeleton(result: FitResult) -> dict[str, Any]:
    def plain(x: Any) -> Any:
        return [round(float(v), 5) for v in x] if isinstance(x, np.ndarray | list) else x

    return {
        "bodies": [{"name": n, "side": side(n)} for n in result.skeleton.body_names],
        "bones": [{k: plain(v) for k, v in bone.items()} for bone in bones(result.skeleton)],
        "joints": joints(result.skeleton),
        "shapes": [{k: plain(v) for k, v in shape.items()} for shape in segment_shapes(result.skeleton)],
    }


def _quaternions(result: FitResult) -> Array:
    """(T, n_bodies, 4) xyzw of ``result.rotations``; NaN where these are."""
    from scipy.spatial.transform import Rotation

    R = result.rotations.reshape(-1, 3, 3)
    quat = np.full((len(R), 4), np.nan)
    good = np.isfinite(R).all((1, 2))
    if good.any():
        quat[good] = Rotation.from_matrix(R[good]).as_quat()
    return quat.reshape(*result.rotations.shape[:2], 4)


def _contact_groups(result: FitResult) -> list[tuple[str, str, list[int]]]:
    """(label, side, contact point indices): feet, hands, seat; only feet are shown if they never touch."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, name in enumerate(result.contacts.points):
        part = next((part for part, marks in PARTS.items() if name.startswith(marks)), "foot")
        groups.setdefault((part, "" if part == "seat" else side(name)), []).append(i)
    words = {"r": "right ", "l": "left ", "": ""}
    parts = list(dict.fromkeys(part for part, _ in groups))  # measured forces come as the plates were stepped on
    order = sorted(groups.items(), key=lambda group: (parts.index(group[0][0]), group[0][1] == "l"))
    found = [(words[s] + part, s, index) for (part, s), index in order]
    return [g for g in found if "foot" in g[0] or result.contacts.active[:, g[2]].any()]


def _contact_group(result: FitResult, label: str, which: str, index: list[int]) -> dict[str, Any]:
    """Share of the group's points in touch, their resultant [N] and its centre, weighted with the forces' size."""
    force = result.contacts.force[:, index]
    where = contact_positions(result, result.skeleton)[:, index]
    size = np.linalg.norm(force, axis=-1, keepdims=True) + 1e-9
    return {
        "label": label,
        "side": which,
        "active": packed(result.contacts.active[:, index].mean(1)),
        "force": packed(force.sum(1)),
        "centre": packed((where * size).sum(1) / size.sum(1)),
    }


def _camera(result: FitResult) -> dict[str, Any] | None:
    c = result.camera
    if c is None:
        return None
    return {
        "size": list(c.image_size),
        "focal": float(c.focal),
        "centre": [float(x) for x in c.principal_point],
        "R": np.asarray(c.R_camera_world, float).ravel().tolist(),
        "t": np.asarray(c.t, float).tolist(),
    }


def _keypoints(result: FitResult) -> dict[str, Any] | None:
    k = result.keypoints
    if k is None:
        return None
    return {"uv": packed(k.uv[0]), "confidence": packed(k.confidence[0]), "size": k.image_size, "set": k.keypoint_set}


def _section(section: Section) -> dict[str, Any]:
    return {
        "id": section.id,
        "plots": [_plot(p) for p in section.plots],
        "more": [_plot(p) for p in section.more],
    }


def _plot(plot: Plot) -> dict[str, Any]:
    curves: list[dict[str, Any]] = [{"label": c.label, "key": c.key, "values": packed(c.values)} for c in plot.curves]
    for curve, c in zip(curves, plot.curves, strict=True):
        if c.sigma is not None:
            curve["sigma"] = packed(c.sigma)
    return {"title": plot.title, "unit": plot.unit, "hint": plot.hint, "perKg": plot.per_kg, "curves": curves}
