"""Names and order of the keypoints in the published conventions; a person's left is ``left``."""

from __future__ import annotations

from physpose.errors import UnknownNameError


def _pairs(*parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts for side in ("left", "right"))


def _side(side: str, *parts: str) -> tuple[str, ...]:
    return tuple(f"{side}_{part}" for part in parts)


# Lin et al. 2014, https://cocodataset.org
_COCO17 = ("nose", *_pairs("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))

KEYPOINT_NAMES: dict[str, tuple[str, ...]] = {
    # MediaPipe's pose landmarker (Bazarevsky et al. 2020)
    "blazepose33": (
        "nose",
        *_side("left", "eye_inner", "eye", "eye_outer"),
        *_side("right", "eye_inner", "eye", "eye_outer"),
        *_pairs("ear"),
        "mouth_left",
        "mouth_right",
        *_pairs("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
        *_pairs("hip", "knee", "ankle", "heel", "foot_index"),
    ),
    "coco17": _COCO17,
    # OpenPose's BODY_25 (Cao et al. 2019): right before left
    "openpose_body25": (
        "nose",
        "neck",
        *_side("right", "shoulder", "elbow", "wrist"),
        *_side("left", "shoulder", "elbow", "wrist"),
        "mid_hip",
        *_side("right", "hip", "knee", "ankle"),
        *_side("left", "hip", "knee", "ankle"),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
        *_side("left", "big_toe", "small_toe", "heel"),
        *_side("right", "big_toe", "small_toe", "heel"),
    ),
    # Halpe full body without face and hands (Fang et al. 2022): COCO-17, then trunk and feet
    "halpe26": (*_COCO17, "head", "neck", "hip", *_pairs("big_toe", "small_toe", "heel")),
    # Human3.6M (Ionescu et al. 2014), the 17 joints that lifting networks use
    "h36m17": (
        "pelvis",
        *_side("right", "hip", "knee", "ankle"),
        *_side("left", "hip", "knee", "ankle"),
        *("spine", "thorax", "neck_base", "head"),
        *_side("left", "shoulder", "elbow", "wrist"),
        *_side("right", "shoulder", "elbow", "wrist"),
    ),
}


def keypoint_names(keypoint_set: str) -> tuple[str, ...]:
    """Names (K) of ``keypoint_set``, in the order of its arrays.

    Raises:
        UnknownNameError: no such set; the message lists each with its K.
    """
    if keypoint_set not in KEYPOINT_NAMES:
        raise UnknownNameError("keypoint set", keypoint_set, (f"{n} ({len(k)})" for n, k in KEYPOINT_NAMES.items()))
    return KEYPOINT_NAMES[keypoint_set]
