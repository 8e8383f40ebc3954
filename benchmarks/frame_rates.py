"""What few frames a second cost: a simulated walk, filmed at several rates.

    python benchmarks/frame_rates.py

The legs' angles and torques against the truth (2 px of noise, four seconds), and how often their 90 % intervals hold
it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from synthetic import beside, filmed

from physpose import fit, load_skeleton
from physpose.progress import SILENT
from sims import walk

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}
RATES = (60.0, 30.0, 15.0, 10.0, 5.0)  # [1/s]
JOINTS = ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle")


def main() -> int:
    body = load_skeleton("adult", **ADULT)
    sim = walk.simulate(body, 4.0)
    camera = beside(sim, distance=5.0)
    legs = [6 + body.coordinate_names.index(f"{n}_{s}") for n in JOINTS for s in "rl"]
    rows = []
    for rate in RATES:
        keypoints, keep = filmed(sim, camera, fps=rate)
        result = fit(keypoints, camera=camera.focal, progress=SILENT, **ADULT)
        error = {"q": result.q[:, 1:] - sim.q[keep, 1:], "tau": result.tau - sim.tau[keep]}
        row: dict[str, float] = {"rate": rate}
        for name, unit in (("q", np.degrees(1.0)), ("tau", 1.0)):
            e, sigma = np.abs(error[name])[:, legs], getattr(result.sigma, name)[:, legs]
            row[f"{name} error"] = unit * float(np.sqrt((e**2).mean()))
            row[f"{name} sigma"] = unit * float(np.median(sigma))
            row[f"{name} within 90 %"] = 100 * float((e < 1.645 * sigma).mean())
        rows.append(row)
        print(", ".join(f"{k} {v:.1f}" for k, v in row.items()), "[1/s; deg; N.m; %]")
    out = Path(__file__).parent / "results" / "frame_rates.json"
    out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
