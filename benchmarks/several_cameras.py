"""Four cameras against a triangulation, and each camera alone against the four: Pose2Sim's balancing trial.

    PHYSPOSE_DATA=... python benchmarks/several_cameras.py

The same detected keypoints (OpenPose, as they come with the trial) for all. Four cameras: keypoints of the fitted body,
where they lie on a body of usual build, against the trial's unfiltered triangulated .trc, which is itself good to
centimetres. One camera, nothing known but the height: twelve joint centres against the four-camera fit's. Both after
one rigid alignment of the clip.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from opencap_clips import JOINT_BODIES, world_error

import physpose
from physpose import FitResult, KinematicChain
from physpose.io.trc import read_trc
from physpose.progress import SILENT

SESSION = Path("pose2sim/S00_Demo_Session")
TRIAL = SESSION / "S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial"
FPS, HEIGHT = 60, 1.72  # [1/s], [m] as the trial's configuration says
GOALS = {"four": 25.0, "one": 60.0}  # [mm]


def keypoint_name(label: str) -> str:
    """RBigToe -> right_big_toe."""
    side = {"R": "right_", "L": "left_"}.get(label[0], "") if label[1].isupper() else ""
    rest = label[1:] if side else label
    return side + "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(rest))


def against_trc(result: FitResult, path: Path) -> dict[str, float]:
    """Mean distance [mm] of every keypoint that both have."""
    trc = read_trc(path)
    keypoints = result.skeleton.keypoint_set(result.keypoints.keypoint_set)
    chain = KinematicChain(result.skeleton)
    found = chain.locate(chain.fk(torch.as_tensor(result.q)), chain.points(keypoints.points)).numpy()
    n = min(len(found), len(trc.positions))
    common = [name for name in trc.names if keypoint_name(name) in keypoints.names]
    a = found[:n, [keypoints.names.index(keypoint_name(name)) for name in common]]
    b = trc.positions[:n, [trc.names.index(name) for name in common]]
    return dict(zip(common, (1e3 * world_error(a, b).mean(0)).round(1).tolist(), strict=True))


def joints(result: FitResult) -> np.ndarray:
    return result.positions[:, [result.skeleton.body_index(b) for b in JOINT_BODIES]]


def run(data: Path) -> dict:
    folders = sorted(p for p in (data / TRIAL / "pose-associated").iterdir() if p.is_dir())
    calibration = data / SESSION / "S00_Calibration/Calib_qualisys.toml"
    four = physpose.fit(folders, "adult", camera=calibration, fps=FPS, height=HEIGHT, progress=SILENT)
    report: dict = {"four": against_trc(four, data / TRIAL / "pose-3d/S00_P00_T01_BalancingTrial_0-100.trc"), "one": {}}
    for folder in folders:
        one = physpose.fit(folder, "adult", fps=FPS, height=HEIGHT, image_size=(1088, 1920), progress=SILENT)
        error = 1e3 * world_error(joints(one), joints(four)).mean(0)
        report["one"][folder.name] = dict(zip(JOINT_BODIES, error.round(1).tolist(), strict=True))
    return report


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not (data / TRIAL).is_dir():
        print("several_cameras: skipped, PHYSPOSE_DATA has no pose2sim")
        return 0
    report = run(data)
    four = report["four"]
    print("four cameras: " + ", ".join(f"{k} {v:.0f}" for k, v in four.items()))
    print(f"four cameras: mean {np.mean(list(four.values())):.1f}, median {np.median(list(four.values())):.1f} mm")
    for camera, errors in report["one"].items():
        print(f"{camera} alone: median joint {np.median(list(errors.values())):.1f} mm, {errors}")
    print(f"goals: {GOALS}")
    out = Path(__file__).parent / "results" / "several_cameras.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
