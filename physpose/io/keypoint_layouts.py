"""How many keypoints a file has a person says what they are, mostly; layouts without a set of their own are mapped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from physpose.errors import UnknownNameError
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The order of the keypoints in a file, and where each goes in one of our sets."""

    what: str  # for reports
    k: int  # keypoints a person, in the file
    keypoint_set: str  # the set they become
    take: tuple[int, ...] | None = None  # index in the file of each keypoint of the set, -1 none; None: the same order

    def apply(self, values: Array) -> Array:
        """(..., k, 3) in the file's order to (..., K, 3) in the set's; what the file has not is NaN."""
        if self.take is None:
            return values
        take = np.array(self.take)
        return np.where((take < 0)[:, None], np.nan, values[..., take, :])


LAYOUTS = {name: Layout(what=name, k=len(names), keypoint_set=name) for name, names in KEYPOINT_NAMES.items()}
MAPPED = {
    # OpenPose's COCO: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
    "openpose_coco18": Layout(
        what="openpose_coco18 (neck left out)",
        k=18,
        keypoint_set="coco17",
        take=(0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
    ),
    # OpenPose's experimental BODY_25B: COCO-17, upper neck, top of head, left foot, right foot. Its upper neck is not
    # Halpe's neck, and it has no mid-hip.
    "openpose_body25b": Layout(
        what="openpose_body25b (upper neck left out)",
        k=25,
        keypoint_set="halpe26",
        take=(*range(17), 18, -1, -1, 19, 22, 20, 23, 21, 24),
    ),
    "halpe136": Layout(what="halpe136 (face and hands left out)", k=136, keypoint_set="halpe26", take=tuple(range(26))),
    # COCO-WholeBody: COCO-17, left foot, right foot, face, hands
    "coco_wholebody133": Layout(
        what="coco_wholebody133 (face and hands left out)",
        k=133,
        keypoint_set="halpe26",
        take=(*range(17), -1, -1, -1, 17, 20, 18, 21, 19, 22),
    ),
}
ALL = LAYOUTS | MAPPED
NECK, R_SHOULDER, L_SHOULDER, MID_HIP, R_HIP, L_HIP = 1, 2, 5, 8, 9, 12  # of BODY_25


def layout_of(name: str) -> Layout:
    """The layout called ``name``.

    Raises:
        UnknownNameError: there is none; the message lists each with its number of keypoints.
    """
    if name not in ALL:
        raise UnknownNameError("keypoint set", name, (f"{n} ({layout.k})" for n, layout in ALL.items()))
    return ALL[name]


def guess_layout(k: int, hint: str | None, people: Array) -> Layout | None:
    """The layout that ``k`` keypoints a person most likely have; None where no known one has so many.

    Args:
        k: keypoints a person.
        hint: "openpose" or "h36m" where the file's format tells so much.
        people: (N, k, 3) x, y [px], confidence, of everyone in the file.
    """
    if k == 25:
        return ALL["openpose_body25" if _is_body25(people) else "openpose_body25b"]
    if k == 17:
        return ALL["h36m17" if hint == "h36m" else "coco17"]
    return next((layout for layout in ALL.values() if layout.k == k), None)


def _is_body25(people: Array) -> bool:
    """Whether keypoint 8 lies between the hips and 1 between the shoulders, as in BODY_25 but not in BODY_25B."""
    people = people[(people[..., 2] > 0).any(-1)]
    if not len(people):
        return True
    uv = np.where(people[..., 2:] > 0, people[..., :2], np.nan)
    off = []
    for middle, right, left in ((NECK, R_SHOULDER, L_SHOULDER), (MID_HIP, R_HIP, L_HIP)):
        d = np.linalg.norm(uv[:, middle] - (uv[:, right] + uv[:, left]) / 2, axis=-1)
        off.append(d[np.isfinite(d)])
    extent = np.nanmax(uv, 1) - np.nanmin(uv, 1)
    size = np.nanmedian(np.linalg.norm(extent, axis=-1))
    distances = np.concatenate(off)
    return distances.size == 0 or bool(np.median(distances) < 0.05 * size)
