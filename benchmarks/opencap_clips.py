"""The three OpenCap clips with optical motion capture: reading them, and the errors everyone is judged by."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

# A body's origin is its proximal joint centre: these are hips, knees, ankles, shoulders, elbows, wrists.
LEGS = tuple(f"{b}_{s}" for b in ("femur", "tibia", "talus") for s in "rl")
ARMS = tuple(f"{b}_{s}" for b in ("humerus", "ulna", "hand") for s in "rl")
JOINT_BODIES = LEGS + ARMS
CLIPS = {"walk": 1.60, "walk_ts": 1.59, "STS": 1.87}  # height [m] from leg length, good to 3 cm
MAX_OFFSET = 0.06  # [s] between video and motion capture clocks


def data_folder() -> Path:
    """Where the recordings are; leaves the program where nobody says it."""
    data = os.environ.get("PHYSPOSE_DATA")
    if not data:
        print("skipped: set PHYSPOSE_DATA to the folder that holds opencap_visualizer_samples", file=sys.stderr)
        raise SystemExit(0)
    return Path(data)


@dataclass(frozen=True)
class JointTrack:
    """Joint centres over time."""

    time: np.ndarray  # (T,) [s]
    p: np.ndarray  # (T, 12, 3) [m]

    def at(self, time: np.ndarray) -> np.ndarray:
        """(len(time), 12, 3), linear in between."""
        flat = self.p.reshape(len(self.p), -1)
        return np.column_stack([np.interp(time, self.time, c) for c in flat.T]).reshape(len(time), -1, 3)


def read_bodies(path: Path) -> JointTrack:
    """Joint centres from an OpenCap viewer file, rotated to z up."""
    data = json.loads(path.read_text())
    p = np.stack([np.array(data["bodies"][b]["translation"], float) for b in JOINT_BODIES], 1)
    return JointTrack(np.array(data["time"], float), p[..., [0, 2, 1]] * [1, -1, 1])


def kabsch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """R (3, 3) that turns points a (N, 3) onto b best."""
    return Rotation.align_vectors(b, a)[0].as_matrix()


def root_relative_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T, J) distances after removing mid-hip and one rotation for the clip; the first two joints are the hips."""
    a, b = (x - x[:, :2].mean(1, keepdims=True) for x in (a, b))
    R = kabsch(a.reshape(-1, 3), b.reshape(-1, 3))
    return np.linalg.norm(a @ R.T - b, axis=-1)


def world_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T, J) distances after one rigid alignment of the clip."""
    a, b = (x - x.reshape(-1, 3).mean(0) for x in (a, b))
    R = kabsch(a.reshape(-1, 3), b.reshape(-1, 3))
    return np.linalg.norm(a @ R.T - b, axis=-1)


def alignment(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """R of the one rigid alignment of the clip."""
    a, b = (x - x.reshape(-1, 3).mean(0) for x in (a, b))
    return kabsch(a.reshape(-1, 3), b.reshape(-1, 3))


def score(track: JointTrack, truth: JointTrack) -> dict[str, float]:
    """Errors [mm] on the truth's frames that both cover, at the clock offset within MAX_OFFSET that fits best."""
    scores = [_score_at(track, truth, offset) for offset in np.arange(-MAX_OFFSET, MAX_OFFSET + 1e-9, 0.01)]
    return min(scores, key=lambda s: s["root"])


def _score_at(track: JointTrack, truth: JointTrack, offset: float) -> dict[str, float]:
    t = truth.time + offset
    inside = (t >= track.time[0]) & (t <= track.time[-1])
    a, b = track.at(t[inside]), truth.p[inside]
    root, R = root_relative_error(a, b), alignment(a, b)
    up = R @ np.array([0.0, 0, 1])
    return {
        "root": 1e3 * root.mean(),
        "legs": 1e3 * root[:, : len(LEGS)].mean(),
        "world": 1e3 * world_error(a, b).mean(),
        "gravity_deg": float(np.degrees(np.arccos(np.clip(up[2], -1, 1)))),
        "offset": float(offset),
        "per_joint": dict(zip(JOINT_BODIES, (1e3 * root.mean(0)).round(1).tolist(), strict=True)),
    }
