"""Time and memory of fitting long clips: a simulated walk round a circle, filmed at 30 frames a second.

Each length is fitted in a process of its own, with one thread. Prints a table, writes
benchmarks/results/long_clip.json.

    python benchmarks/long_clip.py --minutes 0.5 2 10
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "long_clip.json"
FPS, DISTANCE = 30.0, 6.0  # [1/s], [m] from the camera to the middle of the circle
MEMORY_LIMIT = 2.0  # [GB] what ten minutes may take


def keypoints(seconds: float, noise: float = 2.0) -> tuple[Any, ...]:
    """Keypoints2D of the walk, and its camera."""
    import torch

    from physpose import load_skeleton
    from physpose.chain import KinematicChain
    from physpose.types import Camera, Keypoints2D
    from sims import walk

    skeleton = load_skeleton("adult", sex="m", height=1.75, mass=72)
    motion = walk.walking(skeleton, yaw_rate=float(np.radians(60.0)))
    t = torch.arange(round(seconds * FPS) + 1, dtype=torch.float64) / FPS
    q = torch.vmap(motion.q)(t)
    points = KinematicChain(skeleton).keypoints(q).numpy()
    centre = q[:, :3].mean(0).numpy()
    R = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # level, along world x
    at = centre + [-DISTANCE, 0.0, 0.3]
    camera = Camera(image_size=(1920, 1080), focal=1344.0, principal_point=(960.0, 540.0), R_camera_world=R, t=-R @ at)
    rng = np.random.default_rng(0)
    seen = camera.to_camera(points)
    names = skeleton.keypoint_set("blazepose33").names
    hips = [names.index("left_hip"), names.index("right_hip")]
    landmarks = seen - seen[:, hips].mean(1, keepdims=True) + 0.03 * rng.standard_normal(seen.shape)
    uv = camera.project(points) + noise * rng.standard_normal((*points.shape[:2], 2))
    found = Keypoints2D(
        keypoint_set="blazepose33", names=names, time=t.numpy(), uv=uv[None], confidence=np.ones((1, *uv.shape[:2])),
        landmarks=landmarks[None], image_size=camera.image_size, source="simulation",
    )  # fmt: skip
    return found, skeleton, camera, q.numpy()


def fit_once(minutes: float) -> dict[str, float]:
    """Fit in this process; peak memory [MB] counts everything, ``before`` is what was in use when the fit began."""
    import torch

    from physpose.pipeline import fit

    torch.set_num_threads(1)
    found, skeleton, camera, q = keypoints(60 * minutes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, cpu = time.perf_counter(), time.process_time()
    result = fit(found, skeleton=skeleton, camera=camera.focal)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    n = len(skeleton.coordinates)
    error = np.degrees(np.sqrt(((result.q[:, -n:] - q[:, -n:]) ** 2).mean(0)))
    knees = [skeleton.coordinate_names.index(f"knee_angle_{s}") for s in "rl"]
    return {
        "minutes": minutes,
        "frames": len(found.time),
        "seconds": wall,
        "cpu_seconds": cpu,
        "estimation_seconds": result.status.seconds["estimation"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before,
        "knee_rms_deg": float(np.sqrt((error[knees] ** 2).mean())),
    }


def in_own_process(minutes: float) -> dict[str, float]:
    """One length in a fresh Python, so that peak memory is its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--one", str(minutes)]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: list[dict[str, float]]) -> str:
    """The rows as text."""
    head = f"{'minutes':>8} {'frames':>7} {'wall s':>8} {'cpu s':>8} {'cpu ms/frame':>13} {'peak MB':>8} {'before MB':>10} {'knee deg':>9}"  # noqa: E501
    lines = [
        f"{r['minutes']:8.2f} {r['frames']:7.0f} {r['seconds']:8.1f} {r['cpu_seconds']:8.1f} "
        f"{1e3 * r['cpu_seconds'] / r['frames']:13.2f} {r['peak_mb']:8.0f} {r['before_mb']:10.0f} "
        f"{r['knee_rms_deg']:9.2f}"
        for r in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    """Fit all lengths, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 2.0, 10.0])
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(fit_once(args.one)))
        return
    rows = [in_own_process(m) for m in args.minutes]
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, Python {platform.python_version()}")
    print(table(rows))
    peak = rows[-1]["peak_mb"] / 1024
    print(f"{rows[-1]['minutes']:g} minutes peak at {peak:.2f} GB; {MEMORY_LIMIT:g} GB are allowed for ten")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps({"machine": platform.machine(), "threads": 1, "rows": rows}, indent=1) + "\n")
    os.replace(temporary, RESULT)


if __name__ == "__main__":
    main()
