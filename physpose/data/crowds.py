"""OCHuman (Zhang et al. 2019) and CrowdPose (Li et al. 2019): pictures of people who hide each other, from JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from physpose.data.labelled import ImageSet, LabelledImage, LabelledPerson, Where, numbers, person

OCHUMAN = Where(
    "OCHuman",
    "fill in the form at cg.cs.tsinghua.edu.cn/dataset/form.html?dataset=ochuman; unpack so that the folder "
    "holds ochuman.json and images/",
)
CROWDPOSE = Where(
    "CrowdPose",
    "download images and annotations linked at github.com/jeffffffli/CrowdPose; unpack so that the folder holds "
    "images/ and crowdpose_train.json, crowdpose_val.json, crowdpose_test.json",
)
OCHUMAN_NAMES = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip",
    "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "head", "neck", "right_ear", "left_ear", "nose",
    "right_eye", "left_eye",
)  # fmt: skip
CROWDPOSE_NAMES = (
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
)  # fmt: skip
PLAIN = {"head": "vertex", "neck": "mid_shoulder", "nose": "nose"}
CROWDPOSE_SPLITS = ("train", "val", "test")


def load_ochuman(folder: Path) -> ImageSet:
    """All pictures; people without joints are left out. Joints hidden by oneself or others are OCCLUDED.

    Raises:
        InputError: not there, half unpacked or corrupt.
    """
    file = folder / "ochuman.json"
    OCHUMAN.need(file, folder / "images")
    data = _json(OCHUMAN, file, "images", "keypoint_names")
    if tuple(data["keypoint_names"]) != OCHUMAN_NAMES:
        OCHUMAN.fail(f"{file} has other joints: {', '.join(map(str, data['keypoint_names']))}")
    images = tuple(_ochuman_image(folder, entry) for entry in data["images"])
    OCHUMAN.need_images(images)
    return ImageSet(name="OCHuman", keypoint_names=OCHUMAN_NAMES, landmarks=_landmarks(OCHUMAN_NAMES), images=images)


def _ochuman_image(folder: Path, entry: Any) -> LabelledImage:
    people = []
    for a in _field(OCHUMAN, entry, "annotations"):
        if a.get("keypoints") is None:
            continue
        xyv = numbers(OCHUMAN, a["keypoints"], (len(OCHUMAN_NAMES), 3), f"keypoints in {entry.get('file_name')}")
        # 0 missing, 1 visible, 2 hidden by oneself, 3 hidden by others
        xyv[:, 2] = np.array([0, 2, 1, 1])[np.clip(xyv[:, 2], 0, 3).astype(int)]
        x1, y1, x2, y2 = numbers(OCHUMAN, _field(OCHUMAN, a, "bbox"), (4,), "a box")
        people.append(person(xyv, (x1, y1, x2 - x1, y2 - y1)))
    name = _field(OCHUMAN, entry, "file_name")
    return LabelledImage(path=folder / "images" / name, size=_size(OCHUMAN, entry), people=tuple(people))


def load_crowdpose(folder: Path, split: str = "train") -> ImageSet:
    """Pictures of a split ("train", "val", "test"); people without joints are left out.

    Raises:
        InputError: no such split, not there, half unpacked or corrupt.
    """
    if split not in CROWDPOSE_SPLITS:
        CROWDPOSE.fail(f"no split {split!r}; possible: {', '.join(CROWDPOSE_SPLITS)}")
    file = folder / f"crowdpose_{split}.json"
    CROWDPOSE.need(file, folder / "images")
    data = _json(CROWDPOSE, file, "images", "annotations")
    people: dict[Any, list[LabelledPerson]] = defaultdict(list)
    for a in data["annotations"]:
        xyv = numbers(
            CROWDPOSE, _field(CROWDPOSE, a, "keypoints"), (len(CROWDPOSE_NAMES), 3), f"keypoints of {a.get('id')}"
        )
        if (xyv[:, 2] > 0).any():
            box = numbers(CROWDPOSE, _field(CROWDPOSE, a, "bbox"), (4,), f"the box of {a.get('id')}")
            people[_field(CROWDPOSE, a, "image_id")].append(person(xyv, box))
    images = tuple(
        LabelledImage(
            path=folder / "images" / _field(CROWDPOSE, i, "file_name"), size=_size(CROWDPOSE, i),
            people=tuple(people.pop(_field(CROWDPOSE, i, "id"), ())),
        )
        for i in data["images"]
    )  # fmt: skip
    if people:
        CROWDPOSE.fail(f"{file} labels people in pictures that it does not list: {list(people)[:3]}")
    CROWDPOSE.need_images(images)
    return ImageSet(
        name=f"CrowdPose {split}", keypoint_names=CROWDPOSE_NAMES, landmarks=_landmarks(CROWDPOSE_NAMES), images=images
    )


def _landmarks(names: tuple[str, ...]) -> tuple[str | None, ...]:
    sided = [n.partition("_") for n in names]
    return tuple(PLAIN.get(n) or f"{joint}_{side[0]}" for n, (side, _, joint) in zip(names, sided, strict=True))


def _json(where: Where, file: Path, *keys: str) -> Any:
    try:
        data = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where.fail(f"{file} is no JSON that can be read ({error})")
    if not isinstance(data, dict) or any(k not in data for k in keys):
        where.fail(f"{file} lacks {', '.join(keys)}")
    return data


def _field(where: Where, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        where.fail(f"an entry of the annotation lacks {key!r}: {str(entry)[:80]}")
    return entry[key]


def _size(where: Where, entry: Any) -> tuple[int, int]:
    w, h = numbers(where, (_field(where, entry, "width"), _field(where, entry, "height")), (2,), "a picture's size")
    return int(w), int(h)
