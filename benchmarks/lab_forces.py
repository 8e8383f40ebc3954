"""Ground reaction forces from markers alone, against force plates: the plates are never shown to the estimator.

One adult (walks, sit-to-stand, drop jumps; default body of given height and mass, no static trial), nine children (a
straight walk each, body from the markers of a static trial), a second adult (walks, drop jumps; mass given, no height)
and a third, who runs on a treadmill (mass given). Mean absolute error of the total force in % of body
weight, vertical / fore-aft / sideways, as it is ("raw") and with the plates' gain removed ("gain": one factor for each
kind of trial, since this laboratory's plates disagree with each other and with the scale by up to 7 %). "standing":
body weight and nothing else. Sit-to-stand: the feet's force, while none is on the seat. Drop jumps: from the first
landing on, and flights, also of fits without physics, which nothing asks to fall: the centre of mass's vertical
acceleration, change of angular momentum, times of take-off and landing against the plates. "per foot": each foot's own
force, mean over axes, in frames in which every plate's centre of pressure lies under one foot. Plates are low-passed at
12 Hz, as the markers' motion resolves no more.

    PHYSPOSE_DATA=... python benchmarks/lab_forces.py
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lab_children import FOLDER, OLDEST, TALL

import physpose
from physpose import FitResult
from physpose.io.c3d import read_c3d
from physpose.io.forces import Forces, read_forces
from physpose.io.subject_parameters import subject_parameters
from physpose.types import Array

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "lab_forces.json"
SUBJECT = "nimblephysics/data/grf/Subject4"
WHO = {"height": 1.70, "mass": 62.6}  # mass by the static trial's plates, height from the model
TRIALS = {
    "walking": ("walking1", "walking2", "walking4", "walkingTI1", "walkingTO1", "walkingTS1"),
    "sit-to-stand": ("STS1", "STSweakLegs1"),
    "drop jumps": ("DJ1", "DJ2", "DJAsym1"),
}
SECOND = "nimblephysics/data/grf/OpenCapUnfiltered"
SECOND_WHO = {"mass": 92.9}  # by the plates; the height is not known
SECOND_TRIALS = {
    "walking, second adult": ("walking2", "walking3", "walking4"),
    "drop jumps, second adult": ("DJ1", "DJ4", "DJ5"),
}
RUNNER, RUNS = "osim/HamnerMultipleTrials", ("run200", "run300")  # in the archive, on a treadmill, 2 and 3 m/s
ARCHIVE = "nimblephysics/data/osim.tar.xz"
GOALS = {
    "walking": (3, 4, 2), "sit-to-stand": (3, 3.5, 1), "drop jumps": (13, 11, 5.5), "children": (5, 4.5, 1.5),
    "walking, second adult": (3, 4, 2), "drop jumps, second adult": (13, 11, 5.5), "running": None,
}  # fmt: skip
LOWPASS = 12.0  # [Hz] of the plates
EDGE = 0.1  # [s]
ON_PLATES = 0.05  # body weights
ON_FLOOR = 0.04  # [m] a sole's lowest point is in contact, or about to
SHORTEST_FLIGHT = 0.15  # [s]
SOLE = ("heel", "ball_medial", "ball_lateral", "toe")
UNDER_SOLE = 0.07  # [m] from a point of the sole: farther, both feet are on one plate


@dataclass(frozen=True)
class Trial:
    """One recording: what was found and what was measured, in body weights, frames that count."""

    name: str
    found: Array  # (T, 3) fore-aft, sideways, vertical
    measured: Array  # (T, 3)
    per_foot: float | None = None  # [N/kg] mean absolute error over feet and axes


def main() -> int:
    """Measure all trials, print, write."""
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("lab_forces: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    report: dict = {"machine": platform.machine(), "python": platform.python_version()}
    for kind, names in TRIALS.items():
        trials, flights = [], {"flights": [], "flights, no physics": []}
        for name in names:
            print(f"  {name}", file=sys.stderr)
            file = next((data / SUBJECT).rglob(f"{name}.trc"))
            result = physpose.fit(file, "adult", **WHO)
            forces = read_forces(next((data / SUBJECT).rglob(f"{name}_grf.mot")))
            trials.append(trial_of(name, result, forces, kind))
            if kind == "drop jumps":
                flights["flights"] += flights_of(result, forces)
                loose = physpose.fit(file, "adult", physics="none", **WHO)
                flights["flights, no physics"] += flights_of(loose, forces)
        report[kind] = summary(kind, trials) | (flights if kind == "drop jumps" else {})
    report["children"] = summary("children", [child_of(f) for f in sorted((data / FOLDER).iterdir())])
    report |= second_adult(data / SECOND) | {"running": runner(data / ARCHIVE)}
    RESULT.write_text(json.dumps(report, indent=1, default=float) + "\n")
    print_tables(report)
    print(f"written: {RESULT}")
    return 0


def second_adult(folder: Path) -> dict[str, dict]:
    """Another laboratory."""
    found = {}
    for kind, names in SECOND_TRIALS.items():
        trials = []
        for name in names:
            print(f"  {name}", file=sys.stderr)
            result = physpose.fit(folder / "MarkerData" / f"{name}.trc", "adult", **SECOND_WHO)
            forces = read_forces(folder / "ID" / f"{name}_grf.mot")
            trials.append(trial_of(name, result, forces, kind.split(",")[0]))
        found[kind] = summary(kind, trials)
    return found


def runner(archive: Path) -> dict:
    """A third; the archive is unpacked for the time being."""
    trials = []
    with tempfile.TemporaryDirectory() as place, tarfile.open(archive) as packed:
        packed.extractall(place, filter="data", members=[m for m in packed if m.name.startswith(RUNNER)])
        folder = Path(place) / RUNNER
        mass = physpose.load_skeleton(folder / "final.osim").mass
        for name in RUNS:
            print(f"  {name}", file=sys.stderr)
            speed = float(name.removeprefix("run")) / 100  # [m/s]
            result = physpose.fit(folder / f"{name}.trc", "adult", mass=mass, treadmill=speed)
            trials.append(trial_of(name, result, read_forces(folder / f"{name}_grf.mot"), "running"))
    return summary("running", trials)


def child_of(folder: Path) -> Trial:
    """A child's straight walk."""
    walk, stand = (next((folder / kind).glob("*.c3d")) for kind in ("Straight", "Static"))
    print(f"  {folder.name}", file=sys.stderr)
    tall = (subject_parameters(read_c3d(walk).parameters).height or 0) > TALL
    result = physpose.fit(walk, "child", age=OLDEST if tall else None, static=stand)
    return trial_of(folder.name, result, read_forces(walk), "children")


def trial_of(name: str, result: FitResult, forces: Forces, kind: str) -> Trial:
    """The frames in which the plates bear all that bears the body."""
    weight = result.skeleton.mass * 9.81
    feet = [i for i, n in enumerate(result.contacts.points) if not n.startswith(("hand", "ischium", "thigh"))]
    seat = [i for i, n in enumerate(result.contacts.points) if n.startswith(("ischium", "thigh"))]
    mine = result.contacts.force[:, feet].sum(1) / weight
    plates, each = measured(forces, result, weight)
    t = result.time
    use = (t > t[0] + EDGE) & (t < t[-1] - EDGE) & ~result.contacts.active[:, seat].any(1)
    if kind == "drop jumps":
        use &= t > first_landing(t, plates)
    elif kind in ("walking", "children"):
        use &= whole_on_plates(result, forces, each)
    axes = walking_axes(result)
    return Trial(name, mine[use] @ axes.T, plates[use] @ axes.T, feet_error(result, forces, use))


def measured(forces: Forces, result: FitResult, weight: float) -> tuple[Array, Array]:
    """Total (T, 3) and each plate's (n, T, 3) force [body weights]."""
    each = np.stack([np.nan_to_num(w.force) for w in forces.at(result.time, LOWPASS).wrenches]) / weight
    return each.sum(0), each


def whole_on_plates(result: FitResult, forces: Forces, each: Array) -> Array:
    """Frames from the first to the last step on a plate in which no foot is on the floor beside them."""
    on = each[..., 2] > ON_PLATES
    loaded = np.flatnonzero(on.any(0))
    inside = np.zeros(len(each[0]), bool)
    if len(loaded):
        inside[loaded[0] : loaded[-1] + 1] = True
    corners = [w.corners for w in forces.wrenches]
    if any(c is None for c in corners):
        return inside
    for side in "rl":
        low = foot_points(result, side)
        near = low[..., 2].min(1) < ON_FLOOR
        covered = np.any([within(low.mean(1), c) for c in corners], axis=0)
        inside &= covered | ~near
    return inside


def foot_points(result: FitResult, side: str) -> Array:
    """Sole (T, 4, 3) [m]."""
    names = [f"{n}_{side}" for n in SOLE]
    points = {p.name: p for p in result.skeleton.contact_points}
    bodies = [result.skeleton.body_index(points[n].body) for n in names]
    offset = np.stack([points[n].offset for n in names])
    return result.positions[:, bodies] + (result.rotations[:, bodies] @ offset[..., None])[..., 0]


def within(p: Array, corners: Array) -> Array:
    """Is the middle of a sole (T, 3) above a plate with corners (4, 3)."""
    edges = np.roll(corners, -1, 0) - corners
    away = p[:, None] - corners
    turn = edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0]
    return (turn > 0).all(1) | (turn < 0).all(1)


def first_landing(time: Array, plates: Array) -> float:
    return float(time[np.flatnonzero(plates[:, 2] > ON_PLATES)[0]]) - 0.1


def walking_axes(result: FitResult) -> Array:
    """Rows: forward and left of the pelvis' mean facing, up."""
    x = result.rotations[:, 0, :, 0].mean(0) * [1, 1, 0]
    x /= np.linalg.norm(x)
    up = np.array([0.0, 0, 1])
    return np.stack([x, np.cross(up, x), up])


def feet_error(result: FitResult, forces: Forces, use: Array) -> float | None:
    """[N/kg], mean over feet, axes and frames that tell which foot is on which plate; None where none does."""
    true, told = forces_of_feet(result, forces)
    use = use & told
    if not use.any():
        return None
    errors = [
        np.abs(result.contacts.force[use][:, points_of(result, side)].sum(1) - true[side][use]).mean() for side in "rl"
    ]
    return float(np.mean(errors)) / result.skeleton.mass


def points_of(result: FitResult, side: str) -> list[int]:
    feet = tuple(f"{part}_{side}" for part in SOLE)
    return [i for i, n in enumerate(result.contacts.points) if n in feet]


def forces_of_feet(result: FitResult, forces: Forces) -> tuple[dict[str, Array], Array]:
    """Each foot's measured force (T, 3) [N], and frames (T,) in which every loaded plate's centre of pressure lies
    under one foot alone."""
    true = {side: np.zeros((len(result.time), 3)) for side in "rl"}
    told = np.ones(len(result.time), bool)
    for wrench in forces.at(result.time, LOWPASS).wrenches:
        force, cop = np.nan_to_num(wrench.force), np.nan_to_num(wrench.cop)
        loaded = force[:, 2] > ON_PLATES * result.skeleton.mass * 9.81
        away = {side: from_sole(foot_points(result, side), cop) for side in "rl"}
        for side, other in ("rl", "lr"):
            true[side] += force * (loaded & (away[side] < away[other]))[:, None]
        told &= ~loaded | (np.minimum(away["r"], away["l"]) < UNDER_SOLE)
    return true, told


def from_sole(sole: Array, cop: Array) -> Array:
    """(T,) [m] horizontally from centres of pressure (T, 3) to the nearest of a sole's points (T, 4, 3) and middle."""
    points = np.concatenate([sole, (sole[:, :1] + sole[:, 1:3].mean(1, keepdims=True)) / 2], 1)
    return np.linalg.norm(points[..., :2] - cop[:, None, :2], axis=-1).min(1)


def flights_of(result: FitResult, forces: Forces) -> list[dict[str, float]]:
    """Flights between landings: what the centre of mass does, and when they begin and end."""
    plates, _ = measured(forces, result, result.skeleton.mass * 9.81)
    t, found = result.time, []
    air = ~result.contacts.active.any(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], air, [False]]).astype(int))).reshape(-1, 2)
    for a, b in edges:
        if b - a < 2 or t[b - 1] - t[a] < SHORTEST_FLIGHT or a == 0 or b == len(t):
            continue
        inner = slice(a + 2, b - 2)
        fall = np.polyfit(t[inner] - t[a], result.com[inner, 2], 2)[0] * 2
        L = result.momentum[inner, 3:]
        row = {
            "from": t[a],
            "to": t[b - 1],
            "acceleration": fall,
            "angular_change": float(np.linalg.norm(L[-1] - L[0])),
        }
        off = np.flatnonzero(plates[:, 2] < ON_PLATES)
        switches = t[np.flatnonzero(np.diff(plates[:, 2] > ON_PLATES))]
        near = lambda x, switches=switches: float(np.abs(x - switches).min())  # noqa: E731
        measured_here = len(off) and plates[max(a - 8, 0), 2] > ON_PLATES
        row |= {"takeoff_error": near(t[a]) if measured_here else float("nan"), "landing_error": near(t[b - 1])}
        found.append(row)
    return found


def summary(kind: str, trials: list[Trial]) -> dict:
    """Errors over all trials, each the same weight."""
    gain = sum(t.measured[:, 2].sum() for t in trials) / sum(t.found[:, 2].sum() for t in trials)
    rows = {t.name: {"raw": _error(t.found, t.measured), "gain": _error(gain * t.found, t.measured)} for t in trials}
    mean = {k: np.mean([r[k] for r in rows.values()], axis=0).tolist() for k in ("raw", "gain")}
    still = [_error(np.tile([0.0, 0, 1], (len(t.measured), 1)), t.measured) for t in trials]
    feet = [t.per_foot for t in trials if t.per_foot is not None]
    found = {"gain": float(gain), "mean": mean, "standing": np.mean(still, axis=0).tolist(), "trials": rows}
    return found | ({"per_foot_N_per_kg": float(np.mean(feet))} if feet else {})


def _error(a: Array, b: Array) -> list[float]:
    """[% BW] vertical, fore-aft, sideways."""
    return (100 * np.abs(a - b).mean(0)[[2, 0, 1]]).tolist()


def print_tables(report: dict) -> None:
    show = lambda x: " / ".join(f"{v:5.1f}" for v in x)  # noqa: E731
    print(f"{'kind':26s}{'raw':>24s}{'plate gain removed':>28s}{'standing':>24s}{'goal':>20s}   [% BW]")
    for kind, goal in GOALS.items():
        r = report[kind]
        met = goal and all(min(a, b) <= g for a, b, g in zip(r["mean"]["raw"], r["mean"]["gain"], goal, strict=True))
        verdict = "" if goal is None else "met" if met else "MISSED"
        feet = f"  per foot {r['per_foot_N_per_kg']:.2f} N/kg" if "per_foot_N_per_kg" in r else ""
        print(
            f"{kind:26s}{show(r['mean']['raw']):>24s}{show(r['mean']['gain']):>22s} ({r['gain']:.3f})"
            f"{show(r['standing']):>24s}{show(goal) if goal else '':>22s} {verdict}{feet}"
        )
    of_jumps = ((name, f) for name in ("flights", "flights, no physics") for f in report["drop jumps"][name])
    for name, f in of_jumps:
        print(
            f"{name} {f['from']:.2f} to {f['to']:.2f} s: {f['acceleration']:.2f} m/s^2, angular momentum changes by "
            f"{f['angular_change']:.2f} kg.m^2/s, take-off {1e3 * f['takeoff_error']:.0f} ms, landing "
            f"{1e3 * f['landing_error']:.0f} ms from the plates'"
        )


if __name__ == "__main__":
    sys.exit(main())
