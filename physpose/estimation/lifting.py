"""3D keypoints from a detector's 2D ones by the shipped lifter, in the form in which MediaPipe gives its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from physpose.errors import InputError
from physpose.estimation.settings import EstimationSettings
from physpose.networks.lifter import OF_KEYPOINT, Lifter, View, shipped_lifter
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.types import Array, Keypoints2D

RATE = 12.0  # [1/s] a lifter looks at every so many frames: it was trained at 8 to 30, and sees the further at fewer
MEDIAPIPE = "MediaPipe"  # begins the source of its keypoints
COCO = "coco17"
# a lifter knows what detectors make up of hidden limbs in generated people; in Pose2Sim's videos with a board over the
# legs they make up worse, by 1.7 times (BlazePose's lifter), 1.4 times (COCO's); benchmarks/made_up.py
WORSE = 1.5
IN_SIGHT = 0.02  # [statures] a keypoint less doubted than this is in plain sight
PIECE = 2000  # frames lifted at once: bounded memory


def lifts(settings: EstimationSettings, kp: Keypoints2D, gravity: float) -> bool:
    """Is a lifter's 3D to be taken for these keypoints."""
    if settings.lift is not None:
        return settings.lift
    return gravity > 0 and (kp.landmarks is None or kp.source.startswith(MEDIAPIPE))


@cache
def _lifter(keypoint_set: str) -> Lifter | None:
    """The set's own, else that of the COCO keypoints where they are among the set's."""
    own = shipped_lifter(keypoint_set)
    return shipped_lifter(COCO) if own is None and _places(COCO, keypoint_set) is not None else own


def _places(inner: str, outer: str) -> list[int] | None:
    """Which keypoints of a set are those of another; None where some are missing."""
    marks = keypoint_landmarks(outer)
    wanted = keypoint_landmarks(inner)
    return [marks.index(m) for m in wanted] if {*wanted} <= {*marks} else None


def with_lifted_landmarks(
    kp: Keypoints2D, focal: float, principal_point: tuple[float, float], stature: float, lifter: Lifter | None = None
) -> Keypoints2D:
    """The keypoints of one person (P = 1) with a lifter's ``landmarks`` and ``doubt``; as they are without a lifter.

    A larger set is lifted by its COCO keypoints; the others have no 3D then (NaN). Axes as ``Keypoints2D.landmarks``
    and ``initialise.viewing_rotation`` have them: of a camera turned to the person.

    Args:
        kp: 2D keypoints.
        focal: [px], about.
        principal_point: [px].
        stature: [m] of the person: a picture alone does not tell it.
        lifter: another lifter than the shipped one.
    """
    lifter = _lifter(kp.keypoint_set) if lifter is None else lifter
    if lifter is None:
        return kp
    places = _places(lifter.config.gsr.keypoint_set, kp.keypoint_set)
    if places is None:
        raise InputError(f"a lifter of {lifter.config.gsr.keypoint_set} cannot lift {kp.keypoint_set}")
    found = np.full((*kp.uv.shape[1:3], 4), np.nan)
    for p in (slice(a, a + PIECE) for a in range(0, kp.n_frames, PIECE)):
        found[p, places] = stature * poses_and_doubts(lifter, kp.frames(p), places, focal, principal_point)
    doubt = _of_real_detectors(found[None, ..., 3], stature) if lifter.config.sure else None
    return replace(kp, landmarks=found[None, ..., :3], doubt=doubt)


def _of_real_detectors(doubt: Array, stature: float) -> Array:
    """What is to be doubted of them [m], of what a lifter doubts of generated ones."""
    made_up = np.maximum(doubt**2 - (IN_SIGHT * stature) ** 2, 0.0)
    return np.sqrt(doubt**2 + (WORSE**2 - 1) * made_up)


@torch.inference_mode()
def poses_and_doubts(
    lifter: Lifter, kp: Keypoints2D, places: list[int], focal: float, principal_point: tuple[float, float]
) -> Array:
    """What a lifter makes of some keypoints: (T, len(places), 3 + 1) [statures], no poses where nothing is seen.

    Doubts are of the 2D keypoints, along an image axis, and those of a detector as the generator has it.
    """
    step = 1
    if kp.n_frames > 1:
        step = max(1, round(1 / (RATE * float(np.median(np.diff(kp.time))))))
    view = View(torch.tensor(focal), torch.tensor(principal_point))
    out = np.full((kp.n_frames, len(places), 4), np.nan)
    for first in range(min(step, kp.n_frames)):  # every step-th frame, then the frames between in the same way
        rows = slice(first, None, step)
        uv, confidence, time = (
            torch.as_tensor(x, dtype=torch.float32)
            for x in (kp.uv[0, rows][:, places], kp.confidence[0, rows][:, places], kp.time[rows] - kp.time[0])
        )
        found = lifter(uv, torch.nan_to_num(confidence), time, view)
        out[rows, :, :3] = torch.where(found.seen[:, None, None], found.pose, torch.nan).double().numpy()
        if found.sigma is not None:
            out[rows, :, 3] = found.sigma[..., OF_KEYPOINT].double().numpy()
    return out
