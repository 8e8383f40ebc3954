"""Human3.6M (Ionescu et al. 2014), SportsPose (Ingwersen et al. 2023), ChildPlay (Tafasca et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from physpose.data.labelled import HeadTrack, Sequence3D, Where
from physpose.errors import MissingPackageError
from physpose.types import Array

HUMAN36M = Where(
    "Human3.6M",
    "register at vision.imar.ro/human3.6m, download 'Poses D3 Positions' of the subjects and unpack them so that the "
    "folder holds S1/MyPoseFeatures/D3_Positions/*.cdf and so on",
)
SPORTSPOSE = Where(
    "SportsPose",
    "ask for it at christianingwersen.github.io/SportsPose; the folder holds indoor/ and outdoor/, in these S01/ and "
    "so on, a folder an activity, and in it activity0001.npy",
)
CHILDPLAY = Where(
    "ChildPlay",
    "download ChildPlay-gaze (Idiap) from zenodo.org; the folder holds annotations/train, val and test with a "
    ".csv a clip. It labels heads and gaze, not poses",
)
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")  # of Human3.6M whose poses are public
H36M_RATE, SPORTSPOSE_RATE = 50.0, 90.0  # [1/s]
H36M_JOINTS = 32
# the 17 joints that move, in the order of the keypoint set h36m17: pelvis, legs, spine, thorax, neck/nose, head, arms
H36M_INDEX = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
PLAUSIBLE = (0.25, 1.3)  # [m] from shoulders to knees
CHILDPLAY_COLUMNS = ("clip", "frame", "person_id", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "is_child")


def load_human36m(folder: Path, subjects: tuple[str, ...] = SUBJECTS) -> Iterator[Sequence3D]:
    """Sequences of joints as "h36m17", world axes (z up), one file after the other. Needs cdflib.

    All actors are adults.

    Raises:
        InputError: not there, or a file that cannot be used.
    """
    for subject in subjects:
        poses = folder / subject / "MyPoseFeatures" / "D3_Positions"
        HUMAN36M.need(poses)
        files = sorted(poses.glob("*.cdf"))
        if not files:
            HUMAN36M.fail(f"no .cdf file in {poses}")
        for file in files:
            mm = _pose(file)
            p = mm.reshape(len(mm), H36M_JOINTS, 3)[:, H36M_INDEX] / 1000
            yield Sequence3D(
                name=f"{subject} {file.stem}", person=subject, rate=H36M_RATE, keypoint_set="h36m17",
                positions=_checked(HUMAN36M, file, p, shoulders=(11, 14), knees=(2, 5)),
            )  # fmt: skip


def _pose(file: Path) -> Array:
    """(T, 96) [mm]"""
    try:
        import cdflib
    except ImportError as error:
        raise MissingPackageError("cdflib", "data", "reading Human3.6M") from error
    try:
        pose = np.asarray(cdflib.CDF(file).varget("Pose"), float)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        HUMAN36M.fail(f"{file} is no CDF file with a Pose that can be read ({error})")
    pose = pose[0] if pose.ndim == 3 else pose
    if pose.ndim != 2 or pose.shape[1] != 3 * H36M_JOINTS:
        HUMAN36M.fail(f"{file} has a Pose of shape {pose.shape}; (frames, {3 * H36M_JOINTS}) needed: D3_Positions")
    return pose


def load_sportspose(folder: Path) -> Iterator[Sequence3D]:
    """Sequences of joints as "coco17", the set's world axes. Its pickled calibrations and timings are not read.

    Raises:
        InputError: not there, or a file that cannot be used.
    """
    places = [folder / p for p in ("indoor", "outdoor") if (folder / p).is_dir()]
    files = [f for p in places for f in sorted(p.glob("S*/*/*.npy")) if re.fullmatch(r"[a-z_]+\d{4}", f.stem)]
    if not files:
        SPORTSPOSE.fail(f"no sequences in {folder}")
    for file in files:
        p = _array(file)
        if p.ndim != 3 or p.shape[1:] != (17, 3):
            SPORTSPOSE.fail(f"{file} has shape {p.shape}; (frames, 17, 3) needed")
        person = file.parents[1].name
        yield Sequence3D(
            name=f"{file.parents[2].name} {person} {file.stem}", person=person, rate=SPORTSPOSE_RATE,
            keypoint_set="coco17", positions=_checked(SPORTSPOSE, file, p, shoulders=(5, 6), knees=(13, 14)),
        )  # fmt: skip


def _array(file: Path) -> Array:
    try:
        return np.asarray(np.load(file, allow_pickle=False), float)
    except (OSError, ValueError, EOFError) as error:
        SPORTSPOSE.fail(f"{file} is no array that can be read ({error})")


def _checked(where: Where, file: Path, p: Array, shoulders: tuple[int, int], knees: tuple[int, int]) -> Array:
    """p [m], unless its bodies have not the size of people: another unit or a broken file."""
    trunk = np.linalg.norm(p[:, shoulders].mean(1) - p[:, knees].mean(1), axis=-1)
    size = float(np.nanmedian(trunk)) if np.isfinite(trunk).any() else np.nan
    if not PLAUSIBLE[0] < size < PLAUSIBLE[1]:
        where.fail(f"{file}: shoulders are {size:.3g} m from the knees; that is nobody, or another unit")
    return p


def load_childplay(folder: Path, split: str = "train") -> list[HeadTrack]:
    """Tracks of heads of a split ("train", "val", "test"), and who is a child.

    Raises:
        InputError: not there, or a file that cannot be used.
    """
    annotations = folder / "annotations" / split
    CHILDPLAY.need(annotations)
    files = sorted(annotations.glob("*.csv"))
    if not files:
        CHILDPLAY.fail(f"no .csv file in {annotations}")
    return [track for file in files for track in _tracks(file)]


def _tracks(file: Path) -> list[HeadTrack]:
    import pandas as pd

    try:
        table: Any = pd.read_csv(file)
    except (ValueError, UnicodeDecodeError) as error:
        CHILDPLAY.fail(f"{file} is no table that can be read ({error})")
    missing = [c for c in CHILDPLAY_COLUMNS if c not in table]
    if missing:
        CHILDPLAY.fail(f"{file} lacks columns {', '.join(missing)}")
    boxes = ["bbox_x", "bbox_y", "bbox_width", "bbox_height"]
    if any(table[c].dtype.kind not in "iuf" for c in (*boxes, "frame", "is_child")) or table["frame"].isna().any():
        CHILDPLAY.fail(f"{file} is corrupt: text or nothing where numbers belong")
    return [
        HeadTrack(
            clip=str(clip), person=str(who), is_child=bool(t["is_child"].iloc[0]), frame=t["frame"].to_numpy(int),
            box=t[boxes].to_numpy(float),
        )
        for (clip, who), t in table.groupby(["clip", "person_id"])
    ]  # fmt: skip
