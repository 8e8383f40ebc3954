"""Simple solids that stand for a skeleton's segments in pictures, with the segments' own mass and centre of mass."""

from __future__ import annotations

from typing import Any

import numpy as np

from physpose.skeleton.model import Body, Skeleton
from physpose.skeleton.names import side
from physpose.types import Array

DENSITY = 1000.0  # [kg/m^3], near that of the human body as a whole
LEAST_LENGTH = 0.02  # [m]; shorter segments are not drawn
LINK = 1e-3  # [m]; ends closer than this are one point
DOT_APART = 0.035  # [m] between two dots
MOST_TAPER = 1.2  # of the section's area from one end to the other, over its mean
WIDTH_RANGE = (0.6, 1.8)  # width over depth


def segment_shapes(skeleton: Skeleton) -> list[dict[str, Any]]:
    """One solid for every segment long enough to be seen.

    Each is a dict, in the body's frame: "body" index; "kind" "limb" (tapered rod with round ends) or "ellipsoid";
    "from", "to" ends (3,) [m]; "radius" at both ends [m]; "wide" (3,) unit vector of the wide direction; "ratio" width
    over depth.
    """
    return [shape for i, body in enumerate(skeleton.bodies) for shape in _shapes(i, body, skeleton)]


def _shapes(index: int, body: Body, skeleton: Skeleton) -> list[dict[str, Any]]:
    children = [b.joint.translation for b in skeleton.bodies if b.parent == body.name]
    start, end, is_leaf = _ends(body, children)
    if is_leaf and body.mass > 0:
        start, end = _inertia_ends(body, end)
    length = float(np.linalg.norm(end - start))
    if body.mass <= 0 or length < LEAST_LENGTH:
        return []
    along = (end - start) / length
    wide, ratio = _section(body, along)
    area = body.mass / DENSITY / length  # [m^2], mean
    shape: dict[str, Any] = {"body": index, "kind": "ellipsoid" if is_leaf else "limb", "from": start, "to": end}
    shape |= {"wide": wide, "ratio": ratio}
    if is_leaf:
        # V = 4/3 pi (L/2) r^2
        return [shape | {"radius": [float(np.sqrt(1.5 * area / np.pi))] * 2}]
    # area A(s) = A (1 + k (1/2 - s)) has its centroid at s = 1/2 - k/12
    taper = float(np.clip(12 * (0.5 - (body.com - start) @ along / length), -MOST_TAPER, MOST_TAPER))
    radius = [float(np.sqrt(area * (1 + taper * x) / np.pi)) for x in (0.5, -0.5)]
    return [shape | {"radius": radius}]


def _ends(body: Body, children: list[Array]) -> tuple[Array, Array, bool]:
    """Proximal and distal end, and whether the segment ends freely."""
    far = [c for c in children if np.linalg.norm(c) > np.linalg.norm(body.com)]
    if body.parent is None and len(children) > 1:  # from between the hips to the trunk
        up = max(children, key=lambda c: c[1])
        return np.mean([c for c in children if c is not up], axis=0), up, False
    if not far:
        return np.zeros(3), 2 * body.com, not children
    middle = [c for c in far if abs(c[2]) < 0.5 * np.linalg.norm(c)] or far
    return np.zeros(3), max(middle, key=lambda c: float(np.linalg.norm(c))), False


def _inertia_ends(body: Body, towards: Array) -> tuple[Array, Array]:
    """Ends along ``towards`` of the homogeneous ellipsoid with the segment's second mass moment in that direction."""
    along = towards / max(float(np.linalg.norm(towards)), 1e-9)
    second_moment = 0.5 * np.trace(body.inertia) * np.eye(3) - body.inertia
    # of an ellipsoid: second moment = m a^2 / 5
    half = float(np.sqrt(max(5 * (along @ second_moment @ along) / body.mass, 0.0)))
    return body.com - half * along, body.com + half * along


def _section(body: Body, along: Array) -> tuple[Array, float]:
    """The wide direction across the segment, and width over depth, from its second mass moments."""
    second_moment = 0.5 * np.trace(body.inertia) * np.eye(3) - body.inertia
    wide = np.eye(3)[2] if abs(along[2]) < 0.8 else np.eye(3)[0]
    wide = wide - (wide @ along) * along
    wide /= np.linalg.norm(wide)
    deep = np.cross(along, wide)
    # a model's inertia may be that of no solid: then one of them is negative
    ratio = np.sqrt(max(wide @ second_moment @ wide, 0.0) / max(deep @ second_moment @ deep, 1e-12))
    return wide, float(np.clip(ratio, *WIDTH_RANGE))


def bones(skeleton: Skeleton) -> list[dict[str, Any]]:
    """Lines of a stick figure, each fixed to one body: "body" index, "from" and "to" (3,) [m] in its frame, "side".

    A segment's own axis, and links from the nearer of its ends to the joints beside it: shoulders hang on the neck, not
    on the waist where the trunk's frame is.
    """
    return [line for i, body in enumerate(skeleton.bodies) for line in _bones(i, body, skeleton)]


def _bones(index: int, body: Body, skeleton: Skeleton) -> list[dict[str, Any]]:
    children = [b for b in skeleton.bodies if b.parent == body.name]
    if not children:
        end = body.com + np.linalg.norm(_inertia_ends(body, body.com)[1] - body.com) * _unit(body.com)
        return [{"body": index, "from": np.zeros(3), "to": end, "side": side(body.name)}] if body.mass > 0 else []
    start, end, _ = _ends(body, [b.joint.translation for b in children])
    lines, end_used = [], False
    for child in children:
        p = child.joint.translation
        at_end = np.linalg.norm(p - end) < np.linalg.norm(p - start)
        end_used |= bool(at_end)
        near = end if at_end else start
        if np.linalg.norm(p - near) > LINK:
            lines.append({"body": index, "from": near, "to": p, "side": side(child.name)})
    if end_used:
        lines.insert(0, {"body": index, "from": start, "to": end, "side": side(body.name)})
    return lines


def joints(skeleton: Skeleton) -> list[int]:
    """Bodies whose origin is worth a dot: all but the root's and those close to their parent's."""
    far = [b.parent is not None and bool(np.linalg.norm(b.joint.translation) > DOT_APART) for b in skeleton.bodies]
    return [i for i, shown in enumerate(far) if shown]


def _unit(x: Array) -> Array:
    return x / max(float(np.linalg.norm(x)), 1e-9)
