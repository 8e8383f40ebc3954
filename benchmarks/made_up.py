"""What a detector makes up of legs that a board hides: how far off, against how sure it is.

    PHYSPOSE_DATA=... python benchmarks/made_up.py

Pose2Sim's four videos, MediaPipe, a board over the lowest 30 and 45 % of the person in the middle half of each video.
"Off" is the root mean square distance along one image axis from where the same detector saw the joint without the
board, in percent of the person's height in the picture. ``DetectorNoise.made_up`` follows from it. Prints a table;
writes made_up.json.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from degraded import InMemory, Piece, hide, one_person
from opencap_clips import JointTrack, data_folder

from physpose.detectors import detect
from physpose.io.tables import replace_file
from physpose.io.video import Video
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.types import Array, Keypoints2D

RESULT = Path(__file__).parent / "results" / "made_up.json"
SHARES = (0.30, 0.45)  # of the height
EVERY, LONGEST = 2, 90  # of 60 frames a second; frames
JOINTS = {"knees": ("knee_",), "ankles": ("ankle_",), "feet": ("heel_", "big_toe_")}
LEVELS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01))  # of confidence
FEWEST = 20  # values, for a figure


def main() -> None:
    videos = sorted((data_folder() / "pose2sim/Demo_SinglePerson/videos").glob("*.mp4"))
    rows = []
    for share in SHARES:
        pairs = np.concatenate([hidden_joints(piece_of(v), share) for v in videos])  # joint, confidence, off
        rows += [{"hidden": share, "joints": j, **levels(pairs[pairs[:, 0] == k])} for k, j in enumerate(JOINTS)]
    print(f"{'hidden':>8s}  {'joints':10s}" + "".join(f"{a:.1f}-{min(b, 1):.1f}  ".rjust(12) for a, b in LEVELS))
    for row in rows:
        cells = "".join(f"{'-' if x is None else f'{x:.1f} %':>10s}  " for x in row["off"])
        print(f"{row['hidden']:8.2f}  {row['joints']:10s}{cells}")
    replace_file(RESULT, json.dumps({"levels": LEVELS, "rows": rows}, indent=1) + "\n")


def piece_of(video: Path) -> Piece:
    """Pictures and what is seen in them without a board."""
    frames = [(t, p) for i, t, p in Video.open(video).frames() if i % EVERY == 0][:LONGEST]
    pictures, time = [p for _, p in frames], np.array([t for t, _ in frames])
    piece = Piece(video.stem, pictures, time, JointTrack(time, np.empty((len(time), 0, 3))), 0.0)
    return replace(piece, seen=seen_in(piece, pictures))


def seen_in(piece: Piece, pictures: list) -> Keypoints2D:
    return one_person(detect(InMemory(piece.clip, pictures, piece.time))).keypoints


def hidden_joints(piece: Piece, share: float) -> Array:
    """(n, 3) of hidden joints: number of their kind, confidence, distance along an axis [% of the height]."""
    clean = piece.seen
    assert clean is not None
    seen = seen_in(piece, hide(piece, share, False, np.random.default_rng(0)))
    height = float(np.nanmedian(np.ptp(clean.uv[0, ..., 1], axis=1)))
    same = np.abs(clean.time[:, None] - seen.time).argmin(0)
    T = len(piece.time)
    hidden = (seen.time >= piece.time[T // 4]) & (seen.time < piece.time[T - T // 4])
    off = 100 * (seen.uv[0] - clean.uv[0][same]) / height
    marks = keypoint_landmarks(seen.keypoint_set)
    out = []
    for k, starts in enumerate(JOINTS.values()):
        index = [i for i, m in enumerate(marks) if m.startswith(starts)]
        sure = np.repeat(seen.confidence[0][hidden][:, index, None], 2, axis=-1)
        out.append(np.column_stack([np.full(sure.size, k), sure.ravel(), off[hidden][:, index].ravel()]))
    pairs = np.concatenate(out)
    return pairs[np.isfinite(pairs).all(1)]


def levels(pairs: Array) -> dict[str, list]:
    """Root mean square by confidence, and how often each comes."""
    inside = [(pairs[:, 1] >= a) & (pairs[:, 1] < b) for a, b in LEVELS]
    off = [float(np.sqrt((pairs[m, 2] ** 2).mean())) if m.sum() >= FEWEST else None for m in inside]
    return {"off": off, "share": [float(m.mean()) for m in inside]}


if __name__ == "__main__":
    main()
