"""Recordings of moving people, of several formats, as points and body orientations that ``mocap_ik`` can fit.

A small reader for each format, no more than the public data sets used by ``fit_posture_prior`` need.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

ASF_UNIT = 0.056444  # [m]: 1 / 0.45 inch, CMU's unit of length
Y_UP = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # CMU's axes (z forward, x left, y up) to ours (x, y, z up)
TO_BODY = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # CMU's body axes at rest to OpenSim's (x forward, z right)
UI_PRMD = (  # Plug-in Gait
    "LFHD RFHD LBHD RBHD C7 T10 CLAV STRN RBAK LSHO LUPA LELB LFRM LWRA LWRB LFIN RSHO RUPA RELB RFRM RWRA RWRB RFIN "
    "LASI RASI LPSI RPSI LTHI LKNE LTIB LANK LHEE LTOE RTHI RKNE RTIB RANK RHEE RTOE"
)
MOVEMENTS = {1: "deep squat", 2: "hurdle step", 3: "inline lunge", 4: "side lunge", 5: "sit to stand",
             6: "leg raise", 7: "shoulder abduction", 8: "shoulder extension", 9: "shoulder rotation",
             10: "shoulder scaption"}  # fmt: skip


@dataclass
class Clip:
    """One recording: points (T, K, 3) [m], z up, NaN where missing; rotations R_world_body (T, B, 3, 3) of bodies."""

    name: str
    person: str
    source: str
    rate: float  # [1/s]
    points: dict[str, np.ndarray]
    rotations: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.points.values())))


class Tree(NamedTuple):
    """A BVH hierarchy: each joint's parent, offset, channels."""

    names: list[str]
    parents: list[int]
    offsets: np.ndarray
    channels: list[list[str]]


def read_bvh(path: Path) -> tuple[Tree, np.ndarray, float]:
    """Hierarchy, channel values (T, n) and frame rate."""
    words = iter(path.read_text().split())
    names, parents, offsets, channels, stack = [], [], [], [], []
    for w in words:
        if w in ("ROOT", "JOINT", "End"):
            names.append(next(words))
            parents.append(stack[-1] if stack else -1)
            channels.append([])
        elif w == "{":
            stack.append(len(names) - 1)
        elif w == "}":
            stack.pop()
        elif w == "OFFSET":
            offsets.append([float(next(words)) for _ in range(3)])
        elif w == "CHANNELS":
            channels[-1] = [next(words) for _ in range(int(next(words)))]
        elif w == "MOTION":
            break
    next(words), next(words), next(words), next(words)  # Frames: n Frame Time:
    rate = 1 / float(next(words))
    values = np.array([float(w) for w in words]).reshape(-1, sum(map(len, channels)))
    return Tree(names, parents, np.array(offsets), channels), values, rate


def bvh_frames(tree: Tree, values: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """World origin and rotation of every joint, file's axes and units."""
    p: list[np.ndarray] = []
    R: list[np.ndarray] = []
    column = 0
    for parent, offset, channels in zip(tree.parents, tree.offsets, tree.channels, strict=True):
        x = values[:, column : column + len(channels)]
        column += len(channels)
        turns = [i for i, c in enumerate(channels) if c.endswith("rotation")]
        order = "".join(channels[i][0] for i in turns)
        local = Rotation.from_euler(order, x[:, turns], degrees=True).as_matrix() if turns else np.eye(3)[None]
        if parent < 0:
            p.append(offset + x[:, :3])
            R.append(local)
        else:
            p.append(p[parent] + R[parent] @ offset)
            R.append(R[parent] @ local)
    return dict(zip(tree.names, p, strict=True)), dict(zip(tree.names, R, strict=True))


CMU_POINTS = {
    "hip_l": "LeftUpLeg", "knee_l": "LeftLeg", "ankle_l": "LeftFoot", "toe_l": "LeftToeBase",
    "hip_r": "RightUpLeg", "knee_r": "RightLeg", "ankle_r": "RightFoot", "toe_r": "RightToeBase",
    "shoulder_l": "LeftArm", "elbow_l": "LeftForeArm", "wrist_l": "LeftHand",
    "shoulder_r": "RightArm", "elbow_r": "RightForeArm", "wrist_r": "RightHand",
}  # fmt: skip
CMU_ROTATIONS = {"pelvis": "Hips", "torso": "Spine1", "head": "Head"}


def _cmu_clip(name: str, person: str, source: str, rate: float, p: dict, R: dict, step: int) -> Clip:  # type: ignore[type-arg]
    points = {k: p[v][1::step] @ Y_UP.T * ASF_UNIT for k, v in CMU_POINTS.items()}  # frame 0 is the rest pose
    rotations = {k: Y_UP @ R[v][1::step] @ TO_BODY.T for k, v in CMU_ROTATIONS.items()}
    return Clip(name, person, source, rate / step, points, rotations)


def cmu_bvh(folder: Path) -> list[Clip]:
    """CMU clips as converted by cgspeed, at 60 Hz."""
    clips = []
    for path in sorted(folder.rglob("*.bvh")):
        tree, values, rate = read_bvh(path)
        p, R = bvh_frames(tree, values)
        clips.append(_cmu_clip(path.stem, "cmu" + path.stem.split("_")[0], "cmu_bvh", rate, p, R, 2))
    return clips


def cmu_expmap(folder: Path) -> list[Clip]:
    """CMU clips as exponential maps (one action each; people are not told, so each action counts as one), at 60 Hz."""
    skeleton = json.loads((folder / "skeleton.json").read_text())
    offsets = np.array(skeleton["offset_asf_units"])
    parents = np.array(skeleton["parent_1_based"]) - 1
    joints = {"Hips": 0, "LeftUpLeg": 2, "LeftLeg": 3, "LeftFoot": 4, "LeftToeBase": 5, "RightUpLeg": 8, "RightLeg": 9,
              "RightFoot": 10, "RightToeBase": 11, "Spine1": 15, "Head": 18, "LeftArm": 21, "LeftForeArm": 22,
              "LeftHand": 23, "RightArm": 30, "RightForeArm": 31, "RightHand": 32}  # fmt: skip
    clips = []
    for path in sorted(folder.rglob("*_[0-9].txt")):
        x = np.loadtxt(path, delimiter=",")
        local = Rotation.from_rotvec(x[:, 3:].reshape(-1, 3)).as_matrix().reshape(len(x), 38, 3, 3)
        local = local.swapaxes(-1, -2)  # stored for row vectors
        p, R = np.zeros((len(x), 38, 3)), np.zeros((len(x), 38, 3, 3))
        p[:, 0], R[:, 0] = x[:, :3], local[:, 0]
        for i in range(1, 38):
            p[:, i] = p[:, parents[i]] + R[:, parents[i]] @ offsets[i]
            R[:, i] = R[:, parents[i]] @ local[:, i]
        args = {k: p[:, i] for k, i in joints.items()}, {k: R[:, i] for k, i in joints.items()}
        action = path.parent.name
        clips.append(
            _cmu_clip(f"{path.parent.parent.name}_{path.stem}", f"expmap_{action}", "cmu_expmap", 120.0, *args, 2)
        )
    return clips


def ui_prmd(folder: Path) -> list[Clip]:
    """UI-PRMD's Vicon points, at 50 Hz; wrists are the middles of their two markers."""
    clips = []
    for path in sorted(folder.rglob("*_positions.txt")):
        x = np.loadtxt(path, delimiter=",").reshape(-1, 39, 3)[::2] / 1000
        x[(x == 0).all(-1)] = np.nan  # missing points are zeros
        points = {n: x[:, i] for i, n in enumerate(UI_PRMD.split())}
        for side in "LR":
            points[f"{side}WR"] = (points[f"{side}WRA"] + points[f"{side}WRB"]) / 2
        movement, person = int(path.stem[1:3]), path.stem[4:7]
        clips.append(Clip(f"{path.stem[:11]} {MOVEMENTS[movement]}", f"prmd{person}", "ui_prmd", 50.0, points))
    return clips
