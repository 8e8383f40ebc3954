"""MPII Human Pose (Andriluka et al. 2014): pictures with 16 joints, from its MATLAB annotation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from physpose.data.labelled import ImageSet, LabelledImage, LabelledPerson, Where, numbers, person
from physpose.types import Array

ANNOTATION = "mpii_human_pose_v1_u12_1.mat"
WHERE = Where(
    "MPII Human Pose",
    "register and download mpii_human_pose_v1.tar.gz and mpii_human_pose_v1_u12_2.zip from human-pose.mpi-inf.mpg.de; "
    f"unpack both so that the folder holds images/ and {ANNOTATION}",
)
NAMES = (
    "r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis", "thorax", "upper_neck", "head_top", "r_wrist",
    "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
)  # fmt: skip
LANDMARKS = (
    "ankle_r", "knee_r", "hip_r", "hip_l", "knee_l", "ankle_l", "mid_hip", "thorax", "mid_shoulder", "vertex",
    "wrist_r", "elbow_r", "shoulder_r", "shoulder_l", "elbow_l", "wrist_l",
)  # fmt: skip
HEAD = 0.6  # of the head box' diagonal is the head's length in PCKh, by the authors' evaluation code
MARGIN = 0.2  # by which a box about the joints is widened, since the annotation has none


def load_mpii(folder: Path, *, train: bool | None = None) -> ImageSet:
    """Pictures with labelled people. ``train``: those of the training set, or of the test set (which has no joints).

    Raises:
        InputError: not there, half unpacked or corrupt.
    """
    WHERE.need(folder / ANNOTATION, folder / "images")
    release = _release(folder / ANNOTATION)
    is_train = np.atleast_1d(release.img_train)
    records = np.atleast_1d(release.annolist)
    if len(is_train) != len(records):
        WHERE.fail(f"{ANNOTATION} is corrupt: {len(records)} pictures, but img_train has {len(is_train)} entries")
    chosen = [r for r, t in zip(records, is_train, strict=True) if train is None or bool(t) == train]
    images = [
        LabelledImage(path=folder / "images" / str(r.image.name), size=None, people=tuple(_people(r))) for r in chosen
    ]
    labelled = tuple(i for i in images if i.people) if train is not False else tuple(images)
    WHERE.need_images(labelled)
    return ImageSet(name="MPII", keypoint_names=NAMES, landmarks=LANDMARKS, images=labelled)


def _release(path: Path) -> Any:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, struct_as_record=False, squeeze_me=True)["RELEASE"]
    except (MatReadError, KeyError, ValueError, TypeError, OSError, NotImplementedError) as error:
        WHERE.fail(f"{path} is not the annotation that is needed ({error})")


def _people(record: Any) -> list[LabelledPerson]:
    return [p for rect in np.atleast_1d(getattr(record, "annorect", [])) if (p := _person(rect)) is not None]


def _person(rect: Any) -> LabelledPerson | None:
    points = getattr(getattr(rect, "annopoints", None), "point", None)
    if points is None:
        return None
    xyv = np.zeros((len(NAMES), 3))
    for p in np.atleast_1d(points):
        i = int(numbers(WHERE, p.id, (), "a joint's number"))
        if not 0 <= i < len(NAMES):
            WHERE.fail(f"{ANNOTATION} is corrupt: joint number {i} of {len(NAMES)}")
        seen = getattr(p, "is_visible", 1)
        xyv[i] = (*numbers(WHERE, (p.x, p.y), (2,), "a joint's place"), 2 if _true(seen) else 1)
    corners: list[Any] = [getattr(rect, n, None) for n in ("x1", "y1", "x2", "y2")]
    head = None
    if all(c is not None and np.size(c) == 1 for c in corners):
        x1, y1, x2, y2 = numbers(WHERE, corners, (4,), "a head's box")
        head = HEAD * float(np.hypot(x2 - x1, y2 - y1))
    return person(xyv, _box(xyv), head)


def _true(flag: Any) -> bool:
    """The annotation writes flags as numbers, as text, or leaves them empty."""
    return np.size(flag) == 0 or str(np.ravel(flag)[0]) not in ("0", "False")


def _box(xyv: Array) -> tuple[float, float, float, float]:
    seen = xyv[xyv[:, 2] > 0, :2]
    low, high = seen.min(0), seen.max(0)
    margin = MARGIN * (high - low).max() / 2
    return (*(low - margin), *(high - low + 2 * margin))
