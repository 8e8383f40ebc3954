"""What a detector makes up of legs that a board hides: how far off, against how sure it is.

    PHYSPOSE_DATA=... python benchmarks/made_up.py

Pose2Sim's four videos, MediaPipe, a board over the lowest 30 and 45 % of the person in the middle half of each video.
"Off" is the root mean square distance along one image axis from where the same detector saw the joint without the
board, in percent of the person's height in the picture. ``DetectorNoise.made_up`` follows from it. And how much more
that is than the shipped lifters say, who know generated detectors: ``WORSE`` of estimation/lifting.py follows from it.
Prints tables; writes made_up.json.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from degraded import InMemory, Piece, hide, one_person
from lifter_accuracy import coco
from opencap_clips import JointTrack, data_folder

from physpose.detectors import detect
from physpose.estimation.lifting import poses_and_doubts
from physpose.io.tables import replace_file
from physpose.io.video import Video
from physpose.networks.lifter import shipped_lifter
from physpose.pipeline import camera_prior
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.types import Array, Keypoints2D

RESULT = Path(__file__).parent / "results" / "made_up.json"
SHARES = (0.30, 0.45)  # of the height
EVERY, LONGEST = 2, 90  # of 60 frames a second; frames
JOINTS = {"knees": ("knee_",), "ankles": ("ankle_",), "feet": ("heel_", "big_toe_")}
LEVELS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01))  # of confidence
FEWEST = 20  # values, for a figure
LIFTERS = ("blazepose33", "coco17")


def main() -> None:
    pieces = [piece_of(v) for v in sorted((data_folder() / "pose2sim/Demo_SinglePerson/videos").glob("*.mp4"))]
    rows, doubts = [], {name: [] for name in LIFTERS}  # type: ignore[var-annotated]
    for share in SHARES:
        seen = [seen_in(p, hide(p, share, False, np.random.default_rng(0))) for p in pieces]
        pairs = np.concatenate([hidden_joints(*x) for x in zip(pieces, seen, strict=True)])  # joint, confidence, off
        rows += [{"hidden": share, "joints": j, **levels(pairs[pairs[:, 0] == k])} for k, j in enumerate(JOINTS)]
        for name, found in doubts.items():
            found += [off_and_doubt(p, s, name) for p, s in zip(pieces, seen, strict=True)]
    print(f"{'hidden':>8s}  {'joints':10s}" + "".join(f"{a:.1f}-{min(b, 1):.1f}  ".rjust(12) for a, b in LEVELS))
    for row in rows:
        cells = "".join(f"{'-' if x is None else f'{x:.1f} %':>10s}  " for x in row["off"])
        print(f"{row['hidden']:8.2f}  {row['joints']:10s}{cells}")
    worse = {name: ratio(np.concatenate(found)) for name, found in doubts.items()}
    for name, x in worse.items():
        print(f"lifter {name}: hidden joints are off by {x:.2f} times what it says")
    replace_file(RESULT, json.dumps({"levels": LEVELS, "rows": rows, "worse": worse}, indent=1) + "\n")


def piece_of(video: Path) -> Piece:
    """Pictures and what is seen in them without a board."""
    frames = [(t, p) for i, t, p in Video.open(video).frames() if i % EVERY == 0][:LONGEST]
    pictures, time = [p for _, p in frames], np.array([t for t, _ in frames])
    piece = Piece(video.stem, pictures, time, JointTrack(time, np.empty((len(time), 0, 3))), 0.0)
    return replace(piece, seen=seen_in(piece, pictures))


def seen_in(piece: Piece, pictures: list) -> Keypoints2D:
    return one_person(detect(InMemory(piece.clip, pictures, piece.time))).keypoints


def off_by(piece: Piece, seen: Keypoints2D) -> Array:
    """(T, K, 2) of the height that keypoints are off, behind the board; NaN at other times."""
    clean = piece.seen
    assert clean is not None
    height = float(np.nanmedian(np.ptp(clean.uv[0, ..., 1], axis=1)))
    same = np.abs(clean.time[:, None] - seen.time).argmin(0)
    T = len(piece.time)
    hidden = (seen.time >= piece.time[T // 4]) & (seen.time < piece.time[T - T // 4])
    return np.where(hidden[:, None, None], (seen.uv[0] - clean.uv[0][same]) / height, np.nan)


def hidden_joints(piece: Piece, seen: Keypoints2D) -> Array:
    """(n, 3) of hidden joints: number of their kind, confidence, distance along an axis [% of the height]."""
    off, out = 100 * off_by(piece, seen), []
    for k, index in enumerate(joints_of(seen)):
        sure = np.repeat(seen.confidence[0][:, index, None], 2, axis=-1)
        out.append(np.column_stack([np.full(sure.size, k), sure.ravel(), off[:, index].ravel()]))
    pairs = np.concatenate(out)
    return pairs[np.isfinite(pairs).all(1)]


def joints_of(seen: Keypoints2D) -> list[list[int]]:
    marks = keypoint_landmarks(seen.keypoint_set)
    return [[i for i, m in enumerate(marks) if m.startswith(starts)] for starts in JOINTS.values()]


def off_and_doubt(piece: Piece, seen: Keypoints2D, lifter: str) -> Array:
    """(n, 2) of hidden joints: distance along an axis and what the lifter says of it, of the height."""
    assert piece.seen is not None
    part = coco if lifter == "coco17" else lambda kp: kp
    seen, clean = part(seen), part(piece.seen)
    view = camera_prior(None, one_person(seen))[0]
    network, places = shipped_lifter(lifter), list(range(len(seen.names)))
    assert network is not None
    said = poses_and_doubts(network, seen, places, view.focal, view.principal_point)[..., 3]
    index = [i for joints in joints_of(seen) for i in joints]
    off = off_by(replace(piece, seen=clean), seen)[:, index]
    pairs = np.stack([off, np.repeat(said[:, index, None], 2, axis=-1)], -1).reshape(-1, 2)
    return pairs[np.isfinite(pairs).all(1)]


def ratio(pairs: Array) -> float:
    """Root mean square of what is over that of what is said."""
    return float(np.sqrt((pairs[:, 0] ** 2).mean() / (pairs[:, 1] ** 2).mean()))


def levels(pairs: Array) -> dict[str, list]:
    """Root mean square by confidence, and how often each comes."""
    inside = [(pairs[:, 1] >= a) & (pairs[:, 1] < b) for a, b in LEVELS]
    off = [float(np.sqrt((pairs[m, 2] ** 2).mean())) if m.sum() >= FEWEST else None for m in inside]
    return {"off": off, "share": [float(m.mean()) for m in inside]}


if __name__ == "__main__":
    main()
