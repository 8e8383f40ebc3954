"""What physics adds: forces, uncertainty and accuracy of a fit, with physics off, soft and full.

    PHYSPOSE_DATA=... python benchmarks/physics_accuracy.py

Total force of the surroundings on the body, from one phone video, against m (a - g) of optical motion capture; mean
absolute error in % of body weight, vertical, fore-aft (as the hips face), sideways. Rivals' forces are m (a - g) of
their joint centres, at the low-pass that suits them best; the truth's and theirs by the same segment masses (de Leva
1996). "standing still": body weight, nothing else. Forces were never given to the estimator.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from opencap_clips import CLIPS, JOINT_BODIES, JointTrack, alignment, data_folder, read_bodies, score
from scipy.signal import butter, sosfiltfilt
from video_accuracy import RIVALS, SAMPLES, joint_track

import physpose
from physpose import FitResult
from physpose.estimation.settings import PHYSICS

G = 9.81
EDGE = 0.2  # [s] at both ends, where nobody knows accelerations
CUTOFFS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)  # [Hz]
TRUTH_CUTOFF = 6.0  # [Hz]
GOALS = {"walk": (7.0, 8.0, 4.0), "walk_ts": (7.0, 8.0, 4.0), "STS": (5.0, 6.0, 2.5)}
# joint -> share of the mass, of the segment that begins there, and how far along to its end (de Leva 1996, men)
LIMBS = (
    ("femur", "tibia", 0.1416, 0.41), ("tibia", "talus", 0.0433, 0.446), ("talus", "talus", 0.0137, 0.0),
    ("humerus", "ulna", 0.0271, 0.577), ("ulna", "hand", 0.0162, 0.457), ("hand", "hand", 0.0061, 0.0),
)  # fmt: skip
TRUNK = (0.504, 0.66)  # with the head; from the hips' middle to the shoulders'


@dataclass(frozen=True)
class Force:
    """Force on the body over time."""

    time: np.ndarray  # (T,) [s]
    f: np.ndarray  # (T, 3) body weights, z up


def centre_of_mass(p: np.ndarray) -> np.ndarray:
    """(T, 3) from joint centres (T, 12, 3)."""
    at = {name: p[:, i] for i, name in enumerate(JOINT_BODIES)}
    hips, shoulders = (0.5 * (at[f"{b}_r"] + at[f"{b}_l"]) for b in ("femur", "humerus"))
    com = TRUNK[0] * (hips + TRUNK[1] * (shoulders - hips))
    for a, b, share, along in LIMBS:
        for side in "rl":
            start, end = at[f"{a}_{side}"], at[f"{b}_{side}"]
            com = com + share * (start + along * (end - start))
    return com


def force_of_track(track: JointTrack, cutoff: float) -> Force:
    """m (a - g) / (m g) of joint centres, low-passed."""
    time = np.arange(track.time[0], track.time[-1], 0.01)
    com = centre_of_mass(track.at(time))
    com = sosfiltfilt(butter(2, cutoff, fs=100.0, output="sos"), com, axis=0)
    a = np.gradient(np.gradient(com, 0.01, axis=0), 0.01, axis=0)
    return Force(time, a / G + [0, 0, 1])


def force_of_result(result: FitResult) -> Force:
    """Of all contacts together."""
    return Force(result.time, result.contacts.force.sum(1) / (result.skeleton.mass * G))


def facing(p: np.ndarray) -> np.ndarray:
    """R (3, 3) whose rows are forward and left of the hips (their mean over the clip), and up."""
    right = (p[:, 0] - p[:, 1]).mean(0) * [1, 1, 0]
    right /= np.linalg.norm(right)
    up = np.array([0.0, 0, 1])
    return np.stack([np.cross(up, right), -right, up])


def error(found: Force, truth: Force, offset: float, axes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Mean absolute difference (3,) [% BW] vertical, fore-aft, sideways; each in its own body's axes."""
    t = truth.time + offset
    inside = (t > max(found.time[0], t[0]) + EDGE) & (t < min(found.time[-1], t[-1]) - EDGE)
    a = np.column_stack([np.interp(t[inside], found.time, c) for c in found.f.T]) @ axes[0].T
    b = truth.f[inside] @ axes[1].T
    return 100 * np.abs(a - b).mean(0)[[2, 0, 1]]


def yaw_of(track: JointTrack, truth: JointTrack, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows: the truth's forward, left, up; the same directions in the other's world, whose own up is kept."""
    t = truth.time + offset
    inside = (t >= track.time[0]) & (t <= track.time[-1])
    own = facing(truth.p)
    R = alignment(track.at(t[inside]), truth.p[inside])  # other -> truth
    forward = (R.T @ own[0]) * [1, 1, 0]
    forward /= np.linalg.norm(forward)
    up = np.array([0.0, 0, 1])
    return np.stack([forward, np.cross(up, forward), up]), own


def clip_errors(folder: Path, results: dict[str, FitResult]) -> dict[str, list[float]]:
    """Method -> error (3,)."""
    track = read_bodies(folder / "sample_mocap.json")
    truth = force_of_track(track, TRUTH_CUTOFF)
    own = facing(track.p)
    found: dict[str, list[float]] = {}
    for physics, result in results.items():
        mine = joint_track(result)
        offset = score(mine, track)["offset"]
        found[f"physpose, {physics}"] = error(
            force_of_result(result), truth, offset, yaw_of(mine, track, offset)
        ).tolist()
    for name, file in RIVALS.items():
        other = read_bodies(folder / file)
        offset = score(other, track)["offset"]
        axes = yaw_of(other, track, offset)
        tries = [error(force_of_track(other, c), truth, offset, axes) for c in CUTOFFS]
        found[name] = min(tries, key=lambda e: float(e.mean())).tolist()
    still = Force(truth.time, np.tile([0.0, 0, 1], (len(truth.time), 1)))
    found["standing still"] = error(still, truth, 0.0, (own, own)).tolist()
    return found


def run(data: Path) -> dict:
    """Everything, as plain types."""
    report: dict = {"environment": {"python": platform.python_version(), "machine": platform.processor()}, "forces": {}}
    report["accuracy"] = {}
    for clip, height in CLIPS.items():
        folder = data / SAMPLES / clip
        truth = read_bodies(folder / "sample_mocap.json")
        results: dict[str, FitResult] = {}
        for physics in reversed(PHYSICS):
            source = results["full"].keypoints if results else folder / "video.mp4"  # detected once
            results[physics] = physpose.fit(source, height=height, physics=physics)
        report["forces"][clip] = clip_errors(folder, results)
        report["accuracy"][clip] = {
            physics: {**_columns(score(joint_track(r), truth)), **effects(r)} for physics, r in results.items()
        }
    return report


def _columns(s: dict) -> dict[str, float]:
    return {k: round(float(s[k]), 2) for k in ("root", "legs", "world", "gravity_deg")}


def effects(result: FitResult) -> dict[str, float]:
    """What physics is to mend: skate, penetration, residual at the root, jitter of the torques."""
    p = result.plausibility
    rms = lambda x: float(np.sqrt(np.mean(x**2)))  # noqa: E731
    weight = result.skeleton.mass * G
    jitter = np.diff(result.tau[:, 6:], 2, axis=0) / np.median(np.diff(result.time)) ** 2
    return {
        "skate": float(p["foot skate"].value),
        "penetration": float(p["penetration"].value),
        "residual_force": rms(np.linalg.norm(result.tau[:, :3], axis=1)) / weight,
        "residual_moment": rms(np.linalg.norm(result.tau[:, 3:6], axis=1)) / (weight * result.skeleton.subject.height),
        "torque_jitter": rms(jitter),
    }


def print_tables(report: dict) -> None:
    print(
        f"{'clip':8s} {'method':20s}" + "".join(f"{c:>12s}" for c in ("vertical", "fore-aft", "sideways")) + "  [% BW]"
    )
    for clip, methods in report["forces"].items():
        for method, e in methods.items():
            print(f"{clip:8s} {method:20s}" + "".join(f"{x:12.1f}" for x in e))
        goal, mine = GOALS[clip], methods["physpose, full"]
        words = ["met" if x <= g else "MISSED" for x, g in zip(mine, goal, strict=True)]
        print(f"{clip:8s} {'goal':20s}" + "".join(f"{g:5.1f} {w:>6s}" for g, w in zip(goal, words, strict=True)))
    names = list(next(iter(next(iter(report["accuracy"].values())).values())))
    print(f"\n{'clip':8s} {'physics':8s}" + "".join(f"{n:>16s}" for n in names))
    for clip, rows in report["accuracy"].items():
        for physics, row in rows.items():
            print(f"{clip:8s} {physics:8s}" + "".join(f"{row[n]:16.3f}" for n in names))


def main() -> int:
    data = data_folder()
    report = run(data)
    print_tables(report)
    out = Path(__file__).parent / "results" / "physics_accuracy.json"
    out.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
