"""How far and how fast does the skin slide under markers? What fits leave of it, over time.

    PHYSPOSE_DATA=... python benchmarks/skin.py

Of each marker the vector from its place on the fitted body, in that body's axes and in units of the table's soft
tissue (skeletons/markers.yaml), less its mean over the recording. Level: its RMS, the numbers that the motion follows
counted out. Autocorrelation at lags of 20 to 300 ms, each recording the same weight, and in the line below it that of a
Matern process of order 5/2 whose correlation time is the likeliest for lags up to 150 ms.

``EstimationSettings.skin_correlation_time`` is that of the first adult's walks.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
import torch
from lab_forces import SUBJECT
from marker_sigma import watched_trials
from scipy.optimize import minimize_scalar

from physpose.estimation.marker_sigma import MarkerEvidence, leftovers
from physpose.estimation.skin import autocorrelation
from physpose.estimation.state import Kinematics
from physpose.types import Array

RESULT = Path(__file__).parent / "results" / "skin.json"
LAGS = np.array([0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.20, 0.30])  # [s]
FITTED = 0.151  # [s] lags up to which the correlation time is fitted


def figures(seen: MarkerEvidence, q: Array) -> tuple[float, Array]:
    """Level, and autocorrelation at LAGS, NaN where the recording is too short."""
    problem, Q = seen.problem, torch.as_tensor(q)
    kin = Kinematics(problem.chain, problem.state(Q), problem.points)
    R = kin.frames.R[:, problem.points.body[: len(problem.spots)]]
    residual, freedom = leftovers(seen, Q)
    x = (R.mT @ residual[..., None])[..., 0].numpy()
    x[freedom.numpy() == 0] = np.nan
    x -= np.nanmean(x, 0)
    level = np.sqrt(np.nansum(x**2) / float(freedom.sum()))
    dt = np.median(np.diff(seen.time))
    steps = np.round(LAGS / dt).astype(int)
    return level, np.array([at_lag(x, k) for k in steps])


def at_lag(x: Array, k: int) -> float:
    """Autocorrelation k frames apart."""
    return float(np.nanmean(x[k:] * x[:-k]) / np.nanmean(x**2)) if 0 < k < len(x) / 2 else float("nan")


def correlation_time(found: Array) -> float:
    """[s] the likeliest."""
    near = LAGS < FITTED
    miss = lambda s: float(np.nansum((matern(s)[near] - found[near]) ** 2))  # noqa: E731
    return float(minimize_scalar(miss, bounds=(0.02, 1.0), method="bounded").x)


def matern(seconds: float) -> Array:
    return autocorrelation(torch.as_tensor(LAGS), seconds).numpy()


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("skin: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    parts: dict[str, list[tuple[float, Array]]] = {}
    for kind, result, _, seen in watched_trials(data):
        print(f"  {kind}: {result.source}", file=sys.stderr)
        parts.setdefault(kind, []).append(figures(seen, result.q))
    report: dict = {"machine": platform.machine(), "python": platform.python_version(), "kinds": {}}
    print(f"{'':26s}{'level':>7s}{'time [s]':>10s}  " + "".join(f"{1e3 * x:6.0f}" for x in LAGS) + "  ms")
    for kind, rows in parts.items():
        level, found = np.median([r[0] for r in rows]), np.nanmean([r[1] for r in rows], 0)
        seconds = correlation_time(found)
        print(f"{kind:26s}{level:7.2f}{seconds:10.3f}  " + "".join(f"{x:6.2f}" for x in found))
        print(f"{'':45s}" + "".join(f"{x:6.2f}" for x in matern(seconds)))
        report["kinds"][kind] = {"level": level, "correlation time [s]": seconds, "autocorrelation": found.tolist()}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
