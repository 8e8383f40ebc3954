"""People in orbit from one simulated video: with the usual postures of people on earth, and with those who float.

    python benchmarks/weightless.py

Pushing off a wall and turning like a cat (``sims.astronaut``), three cameras each, 2 px of noise, gravity zero. The
prior's means are published ones; its spread is that of the prior on earth. Neither was chosen on these motions, but of
several ways to spread it the simplest was taken with them in view.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from synthetic import beside, compare, filmed

from physpose import fit, load_skeleton
from physpose.estimation import problem
from physpose.estimation.posture_prior import UP, PosturePrior
from physpose.estimation.settings import EstimationSettings
from physpose.progress import SILENT
from sims import astronaut

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}
AZIMUTHS = (-90.0, -60.0, -20.0)  # [deg] of the camera
BENDING = tuple(f"{n}_{s}" for n in ("hip_flexion", "knee_angle") for s in "rl")
LEGS = BENDING + tuple(f"{n}_{s}" for n in ("hip_adduction", "hip_rotation", "ankle_angle") for s in "rl")
TRUNK_ARMS = ("lumbar_extension", "lumbar_bending", "lumbar_rotation") + tuple(
    f"{n}_{s}" for n in ("arm_flex", "arm_add", "arm_rot", "elbow_flex") for s in "rl"
)


def on_earth(prior: PosturePrior) -> PosturePrior:
    """As it is taken with weight."""
    return prior.widened(dict.fromkeys(UP, EstimationSettings().attitude_spread))


def measure(motion: str, azimuth: float) -> dict[str, float]:
    """RMS errors [deg; mm], and by how much the angular momentum of the fit varies after the push [kg.m^2/s]."""
    sim = astronaut.simulate(load_skeleton("adult", **ADULT), 3.0, motion=motion)
    camera = beside(sim, distance=4.5, azimuth=azimuth)
    keypoints, keep = filmed(sim, camera)
    result = fit(keypoints, camera=camera.focal, gravity=(0, 0, 0), progress=SILENT, **ADULT)
    found = compare(result, sim, keep, camera)
    free = result.time > astronaut.PUSH_TIME + 0.1
    return {
        "hips and knees bending": found.rms(BENDING), "legs": found.rms(LEGS), "trunk and arms": found.rms(TRUNK_ARMS),
        "attitude": found.heading, "joints [mm]": 1e3 * found.position,
        "angular momentum": float(result.momentum[free, 3:].std(axis=0).max()),
    }  # fmt: skip


def main() -> int:
    rows: dict[str, dict[str, float]] = {}
    for motion in ("push_off", "cat"):
        for name, prior in (("earth", on_earth), ("floating", problem.weightless)):
            with mock.patch.object(problem, "weightless", prior):
                found = [measure(motion, azimuth) for azimuth in AZIMUTHS]
            rows[f"{motion}, {name}"] = {k: float(np.mean([f[k] for f in found])) for k in found[0]}
            print(f"{motion:9s} {name:9s} " + ", ".join(f"{k} {v:.2f}" for k, v in rows[f"{motion}, {name}"].items()))
    out = Path(__file__).parent / "results" / "weightless.json"
    out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
