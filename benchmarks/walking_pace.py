"""The evidence of jerk in walks: what ``physpose.estimation.pace`` counts from.

    python benchmarks/walking_pace.py MOTIONS.npz

MOTIONS.npz as benchmarks/motion_bank.py makes it. Walks of 0.8 to 1.6 m/s are put on an adult, filmed from a random
side by a phone, keypoints with the errors of a detector (as in benchmarks/torque_noise.py), and fitted; three seconds
of each. Prints the jerk found in each, against that of a walker, and the median: 1 if the constant is right.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torque_noise
from torque_noise import ADULT, seen

import physpose
from physpose import load_skeleton
from physpose.data.motion_bank import MotionClip, load_motions
from physpose.progress import SILENT
from physpose.skeleton.model import Skeleton
from sims.common import Simulation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic import beside  # noqa: E402

SPEEDS, SECONDS, WALKS = (0.8, 1.6), 3.0, 40  # [m/s], [s]


def speed(clip: MotionClip) -> float:
    return float(np.linalg.norm(clip.q[-1, :2] - clip.q[0, :2]) / clip.seconds)


def piece(clip: MotionClip, body: Skeleton, rng: np.random.Generator) -> Simulation:
    n = min(len(clip.q), round(SECONDS * clip.rate))
    start = rng.integers(0, len(clip.q) - n + 1)
    still = np.zeros((n, body.nv))
    q = clip.q[start : start + n]
    return Simulation(
        name=clip.name, skeleton=body, time=np.arange(n) / clip.rate, q=q, v=still, a=still, tau=still
    )  # fmt: skip


def found(clip: MotionClip, body: Skeleton, rng: np.random.Generator) -> float:
    sim = piece(clip, body, rng)
    camera = beside(sim, azimuth=float(rng.uniform(0, 360)))
    torque_noise.FPS = clip.rate
    keypoints, _ = seen(sim, camera, "lasting", int(rng.integers(1 << 30)))
    result = physpose.fit(keypoints, camera=camera.focal, progress=SILENT, **ADULT)
    return float(next(a.value for a in result.assumptions if a.what == "jerk").split()[0])


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python benchmarks/walking_pace.py MOTIONS.npz", file=sys.stderr)
        return 2
    rng, body = np.random.default_rng(0), load_skeleton("adult", **ADULT)
    clips = [c for c in load_motions(sys.argv[1]).clips if SPEEDS[0] < speed(c) < SPEEDS[1] and c.seconds > 2]
    values = []
    for i in rng.permutation(len(clips))[:WALKS]:
        values.append(found(clips[i], body, rng))
        print(f"{clips[i].name}: {values[-1]:.2f}", flush=True)
    print(f"{len(values)} walks: median {np.median(values):.2f}, quartiles {np.percentile(values, [25, 75]).round(2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
