"""One phone video against optical motion capture: physpose's defaults, height given, beside its rivals.

    PHYSPOSE_DATA=... python benchmarks/video_accuracy.py

12 joint centres (hips, knees, ankles, shoulders, elbows, wrists). root: distance after removing the mid-hip and one
rotation for the whole clip; legs: hips, knees, ankles of the same; world: after one rigid alignment of the clip.
Clocks differ by up to 0.06 s: every method is scored at its best offset in that range. No setting was chosen on these
clips but that the shipped lifter's 3D takes the place of MediaPipe's. inside: the part of frames and joint centres,
after the alignment, whose 90 % interval holds the motion capture's: along the camera's view, sideways, up.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from opencap_clips import CLIPS, JOINT_BODIES, JointTrack, data_folder, kabsch, read_bodies, score

import physpose
from physpose import FitResult

SAMPLES = Path("opencap_visualizer_samples/public/samples")
RIVALS = {"OpenCap Monocular": "sample_mono.json", "WHAM": "sample_wham.json"}
GOALS = {"root": 55.0, "legs": 38.0, "world": 60.0}
LANDMARKS = tuple(f"{side}_{j}" for j in ("hip", "knee", "ankle") for side in ("right", "left")) + tuple(
    f"{side}_{j}" for j in ("shoulder", "elbow", "wrist") for side in ("right", "left")
)
INTERVAL = 1.645  # sigma
COLUMNS = ("root", "legs", "world", "gravity_deg")


def joint_track(result: FitResult) -> JointTrack:
    """The fit's joint centres."""
    index = [result.skeleton.body_index(b) for b in JOINT_BODIES]
    return JointTrack(result.time, result.positions[:, index])


def detector_track(result: FitResult) -> JointTrack:
    """The detector's own 3D; it knows no world, so only ``root`` and ``legs`` mean something."""
    assert result.keypoints is not None
    assert result.keypoints.landmarks is not None
    index = [result.keypoints.names.index(n) for n in LANDMARKS]
    p = result.keypoints.landmarks[0][:, index]
    seen = np.isfinite(p).all((1, 2))
    return JointTrack(result.time[seen], p[seen])


def checks(result: FitResult) -> dict[str, float]:
    """Bone lengths over time and sides, coordinates within their soft range, speed."""
    lengths = [
        np.linalg.norm(result.positions[:, i] - result.positions[:, result.skeleton.body_index(b.parent)], axis=1)
        for i, b in enumerate(result.skeleton.bodies)
        if b.parent
    ]
    means = dict(zip((b.name for b in result.skeleton.bodies if b.parent), (x.mean() for x in lengths), strict=True))
    limits = np.array([c.range for c in result.skeleton.coordinates])
    inside = ((result.q[:, 7:] >= limits[:, 0]) & (result.q[:, 7:] <= limits[:, 1])).all(1)
    return {
        "bone_spread_m": max(float(np.ptp(x)) for x in lengths),
        "left_right_m": max(abs(means[n] - means[n[:-1] + "l"]) for n in means if n.endswith("_r")),
        "frames_in_range": float(inside.mean()),
        "estimation_s": result.status.seconds["estimation"],
        "detection_s": result.status.seconds["detection"],
        "clip_s": float(result.time[-1] - result.time[0]),
    }


def inside(result: FitResult, truth: JointTrack, offset: float) -> list[float]:
    """Part (3,) of frames and joint centres in their 90 % intervals: world x, which the camera looks along, y, z."""
    assert result.sigma is not None
    index = [result.skeleton.body_index(b) for b in JOINT_BODIES]
    t = result.time - offset
    both = (t >= truth.time[0]) & (t <= truth.time[-1])
    a, b, sigma = result.positions[both][:, index], truth.at(t[both]), result.sigma.positions[both][:, index]
    a, b = (x - x.reshape(-1, 3).mean(0) for x in (a, b))
    return (np.abs(a - b @ kabsch(b.reshape(-1, 3), a.reshape(-1, 3)).T) < INTERVAL * sigma).mean((0, 1)).tolist()


def run(data: Path) -> dict:
    """Scores of every method on every clip."""
    report: dict = {"environment": {"python": platform.python_version(), "machine": platform.processor()}, "clips": {}}
    for clip, height in CLIPS.items():
        folder = data / SAMPLES / clip
        truth = read_bodies(folder / "sample_mocap.json")
        result = physpose.fit(folder / "video.mp4", height=height)
        methods = {"physpose": joint_track(result), "MediaPipe": detector_track(result)}
        methods |= {name: read_bodies(folder / file) for name, file in RIVALS.items()}
        scores = {name: score(track, truth) for name, track in methods.items()}
        known = inside(result, truth, scores["physpose"]["offset"])
        report["clips"][clip] = {"scores": scores, "checks": checks(result), "inside": known}
    return report


def mean(report: dict, method: str, column: str) -> float:
    return float(np.mean([c["scores"][method][column] for c in report["clips"].values()]))


def print_table(report: dict) -> None:
    print(f"{'clip':8s} {'method':18s}" + "".join(f"{c:>12s}" for c in COLUMNS) + "   [mm; deg]")
    for clip, entry in report["clips"].items():
        for method, s in entry["scores"].items():
            print(f"{clip:8s} {method:18s}" + _cells(method, s))
    for method in next(iter(report["clips"].values()))["scores"]:
        print(f"{'mean':8s} {method:18s}" + _cells(method, {c: mean(report, method, c) for c in COLUMNS}))
    for column, goal in GOALS.items():
        value = mean(report, "physpose", column)
        print(f"goal {column}: {value:.1f} mm against {goal:.0f}: {'met' if value <= goal else 'MISSED'}")
    for clip, entry in report["clips"].items():
        c = entry["checks"]
        print(
            f"{clip}: bones vary {c['bone_spread_m']:.1e} m, left-right {c['left_right_m']:.1e} m, "
            f"{100 * c['frames_in_range']:.1f} % of frames in range, estimation {c['estimation_s']:.1f} s "
            f"and detection {c['detection_s']:.1f} s for {c['clip_s']:.1f} s of video"
        )
        print("  inside 90 % intervals, along the view, sideways, up: " + _percent(entry["inside"]))
    print("mean: " + _percent(np.mean([entry["inside"] for entry in report["clips"].values()], 0)))


def _percent(shares: Iterable[float]) -> str:
    return ", ".join(f"{100 * x:.0f} %" for x in shares)


def _cells(method: str, s: dict[str, float]) -> str:
    shown = [c for c in COLUMNS if method != "MediaPipe" or c in ("root", "legs")]
    return "".join(f"{s[c]:12.1f}" if c in shown else f"{'-':>12s}" for c in COLUMNS)


def main() -> int:
    data = data_folder()
    report = run(data)
    print_table(report)
    out = Path(__file__).parent / "results" / "video_accuracy.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
