"""Inverse dynamics of OpenSim's models, against OpenSim itself: exactness on every model, real studies, speed.

Models: positions of all bodies in random poses against OpenSim's forward kinematics, and torques of random coordinates,
rates and accelerations against its ``InverseDynamicsSolver``, without forces; error of the torques over the largest of
them. Where one coordinate drives several turns of a joint OpenSim's own torques are not exact (see
``physpose.dynamics.simbody``): "exact" are ``rnea``'s, "as OpenSim" has the known difference added, and is judged.
Studies: from files, own derivatives and filter, against the torques that OpenSim's tool once wrote, worst column's root
mean square; in the same two ways, "as OpenSim" is judged. Speed: 4096 random states in one call, against
OpenSim's solver alone (states set beforehand) in turns with it, one thread, processor time.

Needs the recordings in the folder PHYSPOSE_DATA and the package opensim; prints tables and whether the goals are met,
writes benchmarks/results/lab_accuracy.json.

    PHYSPOSE_DATA=... python benchmarks/lab_accuracy.py
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import physpose
from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.simbody import simbody_difference
from physpose.errors import PhysposeError
from physpose.estimation.trajectory import one_thread

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # OpenSim as the oracle, and the studies, are the tests'

from opensim_oracle import Motion, Oracle, compare  # noqa: E402
from opensim_studies import ARNOLD, ARNOLDS, OTHERS, Study, rms_of_columns  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "lab_accuracy.json"
POSES = 20  # of each model
POSITION, TORQUE = 1e-9, 1e-6  # [m], relative
TIMED = {
    "Rajagopal (Arnold 2013)": f"{ARNOLD}/subject01/subject01.osim",
    "Rajagopal (OpenCap)": "nimblephysics/data/grf/OpenCapUnfiltered/Models/final.osim",
}
BATCH, ROUNDS, FASTER = 4096, 5, 50.0


def main() -> int:
    """Measure all three, print, write."""
    if lacking := missing():
        print(f"lab_accuracy: skipped, {lacking}")
        return 0
    data = Path(os.environ["PHYSPOSE_DATA"])
    with one_thread():
        report: dict[str, Any] = {"environment": environment()}
        report["models"] = [model_row(p, data) for p in sorted(data.rglob("*.osim"))]
        report["studies"] = [study_row(s, data) for s in (*ARNOLDS, *OTHERS)]
        report["speed"] = [speed_row(name, data / model) for name, model in TIMED.items()]
    print("\n\n".join([models_table(report["models"]), studies_table(report["studies"]), speed_table(report["speed"])]))
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, RESULT)
    return 0


def missing() -> str | None:
    """What the benchmark lacks, or None."""
    if not os.environ.get("PHYSPOSE_DATA"):
        return "the environment variable PHYSPOSE_DATA names no folder of recordings"
    data = Path(os.environ["PHYSPOSE_DATA"])
    needed = [f for s in (*ARNOLDS, *OTHERS) for f in (s.motion, s.model, s.reference, s.forces) if f]
    if lacks := [f for f in (*needed, *TIMED.values()) if not (data / f).is_file()]:
        return f"{len(lacks)} files are not in PHYSPOSE_DATA, the first {lacks[0]}"
    try:
        import opensim
    except ImportError:
        return "the package opensim is not installed (pip install 'physpose[opensim]')"
    opensim.Logger.removeFileSink()
    return None


def environment() -> dict[str, str | int]:
    """What the figures depend on."""
    versions = {p: metadata.version(p) for p in ("opensim", "torch", "numpy")}
    return {"machine": platform.machine(), "threads": 1, "physpose": physpose.__version__, **versions}


# --- every model ----------------------------------------------------------------------------------------------------


def model_row(path: Path, data: Path) -> dict[str, Any]:
    """Largest errors of random states, or why there are none."""
    row: dict[str, Any] = {"model": str(path.relative_to(data))}
    print(f"  {row['model']}", file=sys.stderr)
    try:
        skeleton = physpose.load_skeleton(path)
    except PhysposeError as e:
        return row | {"refused": f"by physpose: {reason(e, data)}"}
    try:
        Oracle(path)
    except RuntimeError as e:
        return row | {"refused": f"by OpenSim: {reason(e, data)}"}
    errors = compare(path, skeleton, POSES)
    met = {"position": errors["position"] < POSITION, "torque": errors["torque_as_simbody"] < TORQUE}
    return row | {"dof": skeleton.nv, "poses": POSES, **errors, "met": met}


def reason(error: Exception, data: Path) -> str:
    """In one line, files as below the folder of recordings."""
    return " ".join(str(error).split()).replace(f"{data}{os.sep}", "")


def models_table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'model':<72}{'dof':>4}{'position m':>12}{'as OpenSim':>12}{'exact':>10}"]
    for r in rows:
        name = f"{r['model'] if len(r['model']) < 71 else '...' + r['model'][-67:]:<72}"
        if "refused" in r:
            lines.append(f"{name}refused {r['refused']}")
            continue
        torques = f"{r['torque_as_simbody']:12.1e}{r['torque']:10.1e}"
        lines.append(f"{name}{r['dof']:4d}{r['position']:12.1e}{torques}  {verdict(**r['met'])}")
    read = [r for r in rows if "met" in r]
    exact = sum(r["torque"] < TORQUE for r in read)
    lines.append(f"{len(read)} of {len(rows)} models read by both; goals {POSITION:g} m and {TORQUE:g}")
    lines.append(f"exact torques are OpenSim's within the goal on {exact} of {len(read)}")
    return "\n".join(lines)


# --- studies from files ---------------------------------------------------------------------------------------------


def study_row(study: Study, data: Path) -> dict[str, Any]:
    """The worst column's RMS."""
    row: dict[str, Any] = {"study": study.name, "goal": study.goal}
    print(f"  {study.name}", file=sys.stderr)
    for way, like in (("as OpenSim", True), ("exact", False)):
        with tempfile.TemporaryDirectory() as scratch:
            result = study.torques(data, Path(scratch), like_opensim=like)
            rms = rms_of_columns(result, data / study.reference, Path(scratch) / "out")
        worst = max(rms, key=rms.__getitem__)
        row[way] = {"columns": len(rms), "worst": worst, "rms": rms[worst]}
    found = row["as OpenSim"]
    return row | {"met": {"rms": found["rms"] <= study.goal and found["columns"] == study.columns}}


def studies_table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'study':<26}{'columns':>8}{'as OpenSim':>12}{'exact':>10}{'goal':>8}  [N.m or N], worst column's RMS"]
    for r in rows:
        a, b = r["as OpenSim"], r["exact"]
        name = f"{r['study']:<26}{a['columns']:8d}{a['rms']:12.1e}{b['rms']:10.1e}{r['goal']:8g}"
        lines.append(f"{name}  {verdict(**r['met'])}, {a['worst']}")
    return "\n".join(lines)


# --- speed ----------------------------------------------------------------------------------------------------------


def speed_row(name: str, model: Path) -> dict[str, Any]:
    """Median microseconds a state, the contestants in turns."""
    print(f"  {name}", file=sys.stderr)
    skeleton = physpose.load_skeleton(model)
    motion, chain, oracle = Motion(skeleton, BATCH), KinematicChain(skeleton), Oracle(model)
    q, v, a = (torch.tensor(x) for x in (motion.q, motion.v, motion.a))
    gravity = tuple(skeleton.gravity)
    exact = lambda: dynamics.rnea(chain, q, v, a, gravity=gravity)  # noqa: E731
    runs: dict[str, Callable[[], float]] = {
        "OpenSim": lambda: seconds_of_opensim(oracle, motion),
        "exact": lambda: seconds_of(exact),
        "as OpenSim": lambda: seconds_of(lambda: exact() + simbody_difference(chain, q, v)),
    }
    taken: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(ROUNDS + 1):
        for way, run in runs.items():
            taken[way].append(run())
    us = {way: 1e6 * float(np.median(x[1:])) / BATCH for way, x in taken.items()}  # the first warms up
    ratio = {way: us["OpenSim"] / us[way] for way in ("exact", "as OpenSim")}
    met = {"speed": ratio["exact"] > FASTER}
    return {"model": name, "dof": skeleton.nv, "batch": BATCH, "us a state": us, "ratio": ratio, "met": met}


def seconds_of(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def seconds_of_opensim(oracle: Oracle, motion: Motion) -> float:
    """Of the solver alone, all states one by one."""
    seconds = 0.0
    for t in range(BATCH):
        q, u, a = motion.at(t)
        oracle.set(q, u)
        vector = oracle.accelerations(a)
        seconds += seconds_of(lambda vector=vector: oracle.solver.solve(oracle.state, vector))
    return seconds


def speed_table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'us a state':<28}{'dof':>4}{'OpenSim':>9}{'exact':>8}{'as OpenSim':>12}{'times faster':>14}"]
    for r in rows:
        x, ratio = r["us a state"], r["ratio"]
        times = f"{ratio['exact']:.0f} and {ratio['as OpenSim']:.0f}"
        own = f"{x['OpenSim']:9.1f}{x['exact']:8.2f}{x['as OpenSim']:12.2f}{times:>14}"
        lines.append(f"{r['model']:<28}{r['dof']:4d}{own}  {verdict(**r['met'])}, goal {FASTER:g}")
    return "\n".join(lines)


def verdict(**met: bool) -> str:
    return "met" if all(met.values()) else "MISSED: " + ", ".join(k for k, m in met.items() if not m)


if __name__ == "__main__":
    sys.exit(main())
