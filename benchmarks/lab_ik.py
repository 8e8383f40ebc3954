"""Inverse kinematics of a marker file against OpenSim's: root mean square marker distance, and time a frame.

Same scaled model, same markers, equal weights, one thread; processor time, so that other work on the machine does not
count. Twice: frame by frame least squares, what OpenSim's tool does; and the whole fit of ``physpose.fit``, smooth in
time and robust, without finding body or marker places. OpenSim's time is that of its solver alone. Needs the recordings
in the folder PHYSPOSE_DATA and the package opensim; prints a table and whether the goals are met, writes
benchmarks/results/lab_ik.json.

    python benchmarks/lab_ik.py
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import physpose
from physpose.conventions import to_z_up
from physpose.estimation.marker_fit import fit_markers
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.trajectory import one_thread
from physpose.marker_sources import SeenMarkers, markers_on, read_marker_file
from physpose.skeleton.model import Skeleton
from physpose.types import Array

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "lab_ik.json"
SUBJECT4 = "nimblephysics/data/grf/Subject4"
GAIT2354 = "opensim_models/Pipelines/Gait2354_Simbody"
CASES = {
    "Subject4 walking1": (
        f"{SUBJECT4}/Models/optimized_scale_and_markers.osim",
        f"{SUBJECT4}/MarkerData/walking1.trc",
    ),
    "Gait2354 walk1": (f"{GAIT2354}/OutputReference/subject01_simbody.osim", f"{GAIT2354}/subject01_walk1.trc"),
}
ACCURACY = 1e-5  # OpenSim's own default of its tool
REPEATS = 5
FASTER = 10.0
PLAIN = EstimationSettings(marker_robust=1e4)  # so far out that the sum is one of squares


def main() -> None:
    """Measure both recordings, print, write."""
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not all((data / f).is_file() for case in CASES.values() for f in case):
        print("lab_ik: skipped, PHYSPOSE_DATA has no Subject4 and Gait2354")
        return
    try:
        import opensim  # noqa: F401
    except ImportError:
        print("lab_ik: skipped, the package opensim is not installed")
        return
    rows = [measured(name, data / model, data / trc) for name, (model, trc) in CASES.items()]
    about = {"machine": platform.machine(), "threads": 1, "repeats": REPEATS, "physpose": physpose.__version__}
    print(table(rows))
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    os.replace(temporary, RESULT)


def measured(name: str, model: Path, trc: Path) -> dict[str, Any]:
    """One recording by OpenSim and by physpose, turn about, the median time of each."""
    skeleton = physpose.load_skeleton(model)
    seen = markers_on(skeleton, read_marker_file(trc))
    ways: dict[str, Callable[[], tuple[float, Array]]] = {
        "OpenSim": lambda: by_opensim(model, trc, seen),
        "physpose, frame by frame": lambda: frame_by_frame(skeleton, seen),
        "physpose, the fit": lambda: whole_fit(skeleton, seen),
    }
    runs: dict[str, list[tuple[float, Array]]] = {way: [] for way in ways}
    for _ in range(REPEATS):
        for way, run in ways.items():
            runs[way].append(run())
    T = len(seen.time)
    found = {
        way: {
            "rms [mm]": 1e3 * float(np.sqrt(np.nanmean(((r[0][1] - seen.target) ** 2).sum(-1)))),
            "ms a frame": 1e3 * float(np.median([seconds for seconds, _ in r])) / T,
        }
        for way, r in runs.items()
    }
    return {"recording": name, "frames": T, "markers": len(seen.spots), "ways": found}


def by_opensim(model: Path, trc: Path, seen: SeenMarkers) -> tuple[float, Array]:
    """Seconds of tracking all frames, and where the markers should be (T, M, 3) [m], z up."""
    import opensim

    opensim.Logger.setLevelString("Off")
    body = opensim.Model(str(model))
    body.updForceSet().clearAndDestroy()
    state = body.initSystem()
    reference = opensim.MarkersReference(str(trc), opensim.SetMarkerWeights())
    solver = opensim.InverseKinematicsSolver(body, reference, opensim.SimTKArrayCoordinateReference(), float("inf"))
    solver.setAccuracy(ACCURACY)
    markers = [body.getMarkerSet().get(s.label) for s in seen.spots]
    state.setTime(float(seen.time[0]))
    start = time.process_time()
    solver.assemble(state)
    seconds, places = time.process_time() - start, []
    for t in seen.time:
        state.setTime(float(t))
        start = time.process_time()
        solver.track(state)
        seconds += time.process_time() - start
        body.realizePosition(state)
        at = [m.getLocationInGround(state) for m in markers]
        places.append([[p.get(i) for i in range(3)] for p in at])
    return seconds, to_z_up(np.array(places))


def frame_by_frame(skeleton: Skeleton, seen: SeenMarkers) -> tuple[float, Array]:
    """The same by the estimator's first step, with plain squares."""
    problem = MarkerProblem(replace(skeleton, scale_groups=()), seen.spots, PLAIN)
    target = torch.as_tensor(seen.target)
    with one_thread():
        start = time.process_time()
        state, _ = problem.posed(target, problem.start(seen.target, seen.time), problem.soft_tissue)
        seconds = time.process_time() - start
    return seconds, problem.marker_positions(state).numpy()


def whole_fit(skeleton: Skeleton, seen: SeenMarkers) -> tuple[float, Array]:
    """The same by the fit."""
    start = time.process_time()
    fitted = fit_markers(skeleton, seen.spots, seen.time, seen.target, scale=False, register=False)
    seconds = time.process_time() - start
    problem = MarkerProblem(fitted.skeleton, fitted.spots)
    return seconds, problem.marker_positions(problem.state(torch.as_tensor(fitted.q))).numpy()


def table(rows: list[dict[str, Any]]) -> str:
    """The rows, and whether the goals are met, as text."""
    lines = [f"{'recording':<20}{'way':<28}{'RMS mm':>9}{'ms/frame':>10}{'ratio':>7}"]
    for row in rows:
        theirs = row["ways"]["OpenSim"]
        for way, x in row["ways"].items():
            ratio = x["ratio"] = theirs["ms a frame"] / x["ms a frame"]
            lines.append(f"{row['recording']:<20}{way:<28}{x['rms [mm]']:9.3f}{x['ms a frame']:10.3f}{ratio:7.1f}")
        for way in list(row["ways"])[1:]:
            x = row["ways"][way]
            x["met"] = {"rms": x["rms [mm]"] <= theirs["rms [mm]"], "time": x["ratio"] >= FASTER}
            words = {k: "met" if m else "MISSED" for k, m in x["met"].items()}
            lines.append(f"  {way}: RMS no larger {words['rms']}, {FASTER:g} times faster {words['time']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
