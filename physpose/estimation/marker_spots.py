"""Which marker of a file sits where on the body, and how well that is known before the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from physpose.errors import InputError, UnknownNameError
from physpose.skeleton.marker_names import REFERENCE_HEIGHT, plain_label, point_names, soft_tissue_of, spread_of
from physpose.skeleton.model import Point, Skeleton
from physpose.types import Array

MARKER_SET = "markers"  # name of the keypoint set that holds a skeleton's marker points
CENTRES = "joint centres"  # marker_set that also takes the joint centres that a gait model left in the file
CENTRE_WANDER = 0.003  # [m] of a joint centre that is asked for by name: it is taken at its word
UNSURE = 0.01  # [m] spread and soft tissue of an own marker of an OpenSim model


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One marker's place on the body."""

    label: str  # as in the file
    point: Point  # its place before the fit
    spread: Array  # (3,) [m], body axes: standard deviation of that place
    soft_tissue: float  # [m] standard deviation of its wandering about its place in motion


def spots_on(
    skeleton: Skeleton,
    labels: Sequence[str],
    marker_set: str | Mapping[str, str] | None = None,
    widths: Mapping[str, float] | None = None,
) -> tuple[tuple[Spot, ...], tuple[str, ...]]:
    """The markers whose place on ``skeleton`` is known, and the labels of the others.

    Args:
        skeleton: one whose keypoint set "markers" holds the points.
        labels: of the file's markers; a subject's name before a colon, case and punctuation do not matter.
        marker_set: None: the labels in common use; "joint centres": those of joint centres that a gait model computed
            too; or label -> name of a point of the set "markers" for labels of one's own.
        widths: breadths measured on the subject, e.g. {"knee_r": 0.102, "ankle_r": 0.066}, and "marker", the markers'
            diameter [m]: they put the knees' and ankles' markers.

    Raises:
        InputError: the skeleton has no markers.
        UnknownNameError: a marker set or a point that does not exist.
    """
    if MARKER_SET not in skeleton.keypoint_sets:
        raise InputError(f"skeleton {skeleton.name!r} has no markers; use 'adult', 'child' or a model that has some")
    points = {p.name: p for p in skeleton.keypoint_set(MARKER_SET).points}
    named = _names_of_points(points, labels, marker_set)
    spots = tuple(_spot(skeleton, label, points[name], widths or {}) for label, name in named.items())
    return spots, tuple(label for label in labels if label not in named)


def _names_of_points(
    points: Mapping[str, Point], labels: Sequence[str], marker_set: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Label -> name of the point, for the labels that are known."""
    known = {plain_label(name): name for name in points}
    if all(name in points for name in point_names("markers").values()):  # the human tree's own
        known |= point_names("markers")
        known = {k: n for k, n in known.items() if n not in point_names("centres").values()}
    if isinstance(marker_set, str):
        if marker_set != CENTRES:
            raise UnknownNameError("marker set", marker_set, [CENTRES, "a mapping of labels to points"])
        known |= point_names("centres")
    own = {} if marker_set is None or isinstance(marker_set, str) else dict(marker_set)
    for label, name in own.items():
        if label not in labels:
            raise UnknownNameError("marker", label, labels)
        if name not in points:
            raise UnknownNameError("marker point", name, points)
    return {x: own.get(x) or known[plain_label(x)] for x in labels if x in own or plain_label(x) in known}


def _spot(skeleton: Skeleton, label: str, point: Point, widths: Mapping[str, float]) -> Spot:
    is_centre = point.name in point_names("centres").values()
    if point.name not in point_names("markers").values() and not is_centre:
        return Spot(label=label, point=point, spread=np.full(3, UNSURE), soft_tissue=UNSURE)
    size = (skeleton.subject.height if skeleton.subject else REFERENCE_HEIGHT) / REFERENCE_HEIGHT
    return Spot(
        label=label,
        point=_measured(skeleton, point, widths),
        spread=size * np.array(spread_of(point.name)),
        soft_tissue=CENTRE_WANDER if is_centre else size * soft_tissue_of(point.body),
    )


def _measured(skeleton: Skeleton, point: Point, widths: Mapping[str, float]) -> Point:
    """Where a knee's or ankle's breadth was measured: half of it and the marker's radius from the joint centre."""
    joint, _, rest = point.name.partition("_")
    side = point.name[-1]
    breadth = widths.get(f"{joint}_{side}")
    if breadth is None or rest[:-2] not in ("lateral", "medial"):
        return point
    child = {"knee": "tibia", "ankle": "talus"}[joint]
    centre = skeleton.bodies[skeleton.body_index(f"{child}_{side}")].joint.translation
    outward = (1.0 if side == "r" else -1.0) * (1.0 if rest.startswith("lateral") else -1.0)
    offset = point.offset.copy()
    offset[2] = centre[2] + outward * (breadth + widths.get("marker", 0.014)) / 2
    return replace(point, offset=offset, source="measured breadth")
