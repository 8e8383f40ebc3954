"""What the keypoints of common detectors are on the body: each a landmark of the skeleton.

Landmarks (``landmarks`` in the skeleton files) are body-fixed points; a keypoint set names one for each of its
keypoints, in the detector's own order, so that detectors share what they mean in common.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from physpose.errors import UnknownNameError
from physpose.skeleton.model import KeypointSet, Point


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


_COCO = _words(
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist",
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
)
_BLAZEPOSE = _words(
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear",
    "mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky",
    "right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle",
    "right_ankle left_heel right_heel left_foot_index right_foot_index",
)
_BODY25 = _words(
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye",
    "REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel",
)
_HALPE_FEET = _words("head neck mid_hip left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel")
_H36M = _words(
    "Pelvis RHip RKnee RAnkle LHip LKnee LAnkle Spine Thorax Neck/Nose Head LShoulder LElbow LWrist RShoulder RElbow",
    "RWrist",
)

_SIDED = _words(
    "eye ear shoulder elbow wrist hip knee ankle heel big_toe small_toe eye_inner eye_outer pinky index thumb"
)
_SHORT = {"Shoulder": "shoulder", "Elbow": "elbow", "Wrist": "wrist", "Hip": "hip", "Knee": "knee", "Ankle": "ankle",
          "Eye": "eye", "Ear": "ear", "BigToe": "big_toe", "SmallToe": "small_toe", "Heel": "heel"}  # fmt: skip
_LANDMARK = {
    **{f"{word}_{part}": f"{part}_{side}" for part in _SIDED for word, side in (("left", "l"), ("right", "r"))},
    **{f"{s}{part}": f"{name}_{s.lower()}" for part, name in _SHORT.items() for s in "LR"},
    "nose": "nose", "Nose": "nose", "mouth_left": "mouth_l", "mouth_right": "mouth_r",
    "left_foot_index": "big_toe_l", "right_foot_index": "big_toe_r", "Neck": "mid_shoulder", "neck": "mid_shoulder",
    "head": "vertex", "MidHip": "mid_hip", "mid_hip": "mid_hip", "Pelvis": "mid_hip", "Spine": "spine",
    "Thorax": "thorax", "Neck/Nose": "nose", "Head": "vertex",
}  # fmt: skip

KEYPOINT_NAMES: dict[str, tuple[str, ...]] = {
    "blazepose33": _BLAZEPOSE,
    "coco17": _COCO,
    "openpose_body25": _BODY25,
    "halpe26": (*_COCO, *_HALPE_FEET),
    "h36m17": _H36M,
}
"""Names of each set's keypoints, in the detector's order."""

_CHAINS = (
    "shoulder_r elbow_r wrist_r", "shoulder_l elbow_l wrist_l", "hip_r knee_r ankle_r", "hip_l knee_l ankle_l",
    "shoulder_r shoulder_l", "hip_r hip_l", "shoulder_r hip_r", "shoulder_l hip_l", "ankle_r heel_r big_toe_r",
    "ankle_l heel_l big_toe_l", "ankle_r big_toe_r", "ankle_l big_toe_l", "big_toe_r small_toe_r",
    "big_toe_l small_toe_l", "wrist_r index_r pinky_r wrist_r thumb_r", "wrist_l index_l pinky_l wrist_l thumb_l",
    "nose eye_r ear_r", "nose eye_l ear_l", "mouth_r mouth_l", "mid_shoulder nose", "thorax nose vertex",
    "mid_hip spine thorax",
)  # fmt: skip
"""Landmarks to join by lines when drawing; those that a set lacks are left out, with the lines to them."""


def keypoint_names(name: str) -> tuple[str, ...]:
    """Names of a set's keypoints in the detector's order."""
    if name not in KEYPOINT_NAMES:
        raise UnknownNameError("keypoint set", name, KEYPOINT_NAMES)
    return KEYPOINT_NAMES[name]


def keypoint_landmarks(name: str) -> tuple[str, ...]:
    """The body landmark of each of a set's keypoints, e.g. "knee_r": what sets have in common."""
    return tuple(_LANDMARK[n] for n in keypoint_names(name))


def keypoint_sets(landmarks: Mapping[str, tuple[Point, float]], *, partly: bool = False) -> dict[str, KeypointSet]:
    """All sets on a body with ``landmarks``: name -> (point [m, body frame], standard deviation [m]).

    ``partly``: leave out the sets that the landmarks do not cover; otherwise these raise ``KeyError``.
    """
    kept = {s: n for s, n in KEYPOINT_NAMES.items() if not partly or all(_LANDMARK[k] in landmarks for k in n)}
    return {name: _keypoint_set(name, names, landmarks) for name, names in kept.items()}


def keypoint_edges(name: str) -> tuple[tuple[int, int], ...]:
    """Pairs of a set's keypoints to join when drawing, as in every skeleton's ``KeypointSet.edges``."""
    return _edges(keypoint_landmarks(name))


def _keypoint_set(name: str, names: tuple[str, ...], landmarks: Mapping[str, tuple[Point, float]]) -> KeypointSet:
    marks = keypoint_landmarks(name)
    points = tuple(
        Point(name=n, body=landmarks[m][0].body, offset=landmarks[m][0].offset, source=landmarks[m][0].source)
        for n, m in zip(names, marks, strict=True)
    )
    return KeypointSet(name=name, points=points, sigma=np.array([landmarks[m][1] for m in marks]), edges=_edges(marks))


def _edges(marks: Sequence[str]) -> tuple[tuple[int, int], ...]:
    at = {m: i for i, m in reversed(list(enumerate(marks)))}
    pairs = [pair for chain in _CHAINS for pair in itertools.pairwise(chain.split())]
    return tuple((at[a], at[b]) for a, b in pairs if a in at and b in at)
