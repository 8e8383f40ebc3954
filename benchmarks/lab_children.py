"""Nine children's walks: sagittal moments of hip, knee and ankle over stance, against the files' Plug-in-Gait moments.

Three times, with the child skeleton: from the markers, and from the markers with the joint centres that Plug-in-Gait
left in the file, both with the plates' forces; and from the markers alone, the forces estimated ("no plates"; stance by
the plates). Also the body's weight, the plates' peak and the centre of mass. The files' moments
are internal, in N.mm/kg though labelled N.mm, and about the ankle centre RTIO: taken about it, the plates' force alone
explains them to 1.2 % (RAJC is another model's). Needs the children of the folder PHYSPOSE_DATA; prints a table and
whether the goals are met, writes benchmarks/results/lab_children.json.

    python benchmarks/lab_children.py
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import physpose
from physpose.io.c3d import C3D, read_c3d
from physpose.io.subject_parameters import subject_parameters
from physpose.result import FitResult
from physpose.types import Array

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "lab_children.json"
FOLDER = "biomechzoo_children/data/sample_study/raw c3d files"
JOINTS = {"ankle": ("ankle_angle", "Ankle"), "knee": ("knee_angle", "Knee"), "hip": ("hip_flexion", "Hip")}
# at most this nRMSE, at least this correlation, in the order of JOINTS
GOALS = {
    "markers": {"nrmse": (0.05, 0.10, 0.12), "r": (0.98, 0.93, 0.93)},
    "joint centres": {"nrmse": (0.03, 0.06, 0.07), "r": (0.99, 0.97, 0.96)},
    "no plates": {"nrmse": (0.15, 0.15, 0.15), "r": (0.9, 0.9, 0.9)},
}
CENTRES = {"HJC": "hip_centre", "FEO": "knee_centre", "TIO": "ankle_centre"}  # labels of the files
STANDS = 20.0  # [N] of a plate's vertical force
FULL_STANCE = 0.4  # [s] shorter contacts were cut off by the recording
TALL, OLDEST = 1.70, 17.0  # [m], [years]: taller ones have the height of no median child


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One leg's stance."""

    child: str
    side: str  # "r" or "l"
    nrmse: dict[str, float]  # joint -> RMS difference over the reference's range
    r: dict[str, float]
    peak: tuple[float, float]  # of the vertical force [body weights]: used, and the file's own


def main() -> None:
    """Measure all children, print, write."""
    data = Path(os.environ.get("PHYSPOSE_DATA", "")) / FOLDER
    if not os.environ.get("PHYSPOSE_DATA") or not data.is_dir():
        print("lab_children: skipped, PHYSPOSE_DATA has no biomechzoo_children")
        return
    found: dict[str, Any] = {}
    for route in GOALS:
        legs, bodies = [], []
        for folder in sorted(data.iterdir()):
            result, file = fitted(folder, route)
            stood = stances(result if route != "no plates" else fitted(folder, "markers")[0])
            legs += legs_of(result, stood, file, folder.name)
            if route != "no plates":
                bodies.append(whole_body(result, file, folder.name))
        found[route] = summary(route, legs, bodies)
    about = {"machine": platform.machine(), "python": platform.python_version(), "physpose": physpose.__version__}
    write({**about, **found})


def fitted(folder: Path, route: str) -> tuple[FitResult, C3D]:
    """The straight walk of one child, and the file."""
    walk, stand = (next((folder / kind).glob("*.c3d")) for kind in ("Straight", "Static"))
    print(f"  {folder.name} {route}", file=sys.stderr)
    file = read_c3d(walk)
    tall = (subject_parameters(file.parameters).height or 0) > TALL
    age = OLDEST if tall else None  # the files do not tell it; else it is guessed from the height
    chosen = {f"{s.upper()}{label}": f"{point}_{s}" for s in "rl" for label, point in CENTRES.items()}
    result = physpose.fit(
        walk, "child", age=age, static=stand, forces=None if route == "no plates" else walk,
        marker_set=chosen if route == "joint centres" else None,
    )  # fmt: skip
    return result, file


@dataclass(frozen=True, kw_only=True)
class Stance:
    """When a leg stood on one plate, from strike to off."""

    on: Array  # (T,) bool
    force: Array  # (T,) [N] vertical, measured


def stances(result: FitResult) -> dict[str, Stance]:
    """Of a fit with the plates' forces: side -> stance."""
    bodies = result.contacts.bodies or ()
    vertical = {
        side: result.contacts.force[:, [c for c, body in enumerate(bodies) if body[-1] == side], 2].sum(1)
        for side in "rl"
    }
    return {side: Stance(on=longest(f > STANDS), force=f) for side, f in vertical.items()}


def legs_of(result: FitResult, stood: dict[str, Stance], file: C3D, child: str) -> list[Leg]:
    """The legs that stood on one plate, as far as the file has moments for them."""
    legs = []
    for side, stance in stood.items():
        on = stance.on
        rows = np.searchsorted(file.markers.time, result.time[on] - 1e-6)
        truth = {j: reference(file, f"{side.upper()}{word}Moment")[rows] for j, (_, word) in JOINTS.items()}
        if len(rows) < FULL_STANCE * file.markers.rate or not all(np.isfinite(x).all() for x in truth.values()):
            print(f"  {child} {side}: no full stance with moments in the file", file=sys.stderr)
            continue
        ours = {j: -result[f"{name}_{side}"].tau[on] / result.skeleton.mass for j, (name, _) in JOINTS.items()}
        legs.append(
            Leg(
                child=child,
                side=side,
                nrmse={j: float(np.sqrt(np.mean((ours[j] - truth[j]) ** 2)) / np.ptp(truth[j])) for j in JOINTS},
                r={j: float(np.corrcoef(ours[j], truth[j])[0, 1]) for j in JOINTS},
                peak=(float(np.max(stance.force[on])) / weight(result), file_peak(file, side)),
            )
        )
    return legs


def longest(on: Array) -> Array:
    """The longest stretch alone, if it neither begins with the recording nor ends with it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int))).reshape(-1, 2)
    out = np.zeros(len(on), bool)
    whole = [(a, b) for a, b in edges if a > 0 and b < len(on)]
    if whole:
        a, b = max(whole, key=lambda e: e[1] - e[0])
        out[a:b] = True
    return out


def reference(file: C3D, name: str) -> Array:
    """(T,) [N.m/kg] sagittal, internal: extension and plantarflexion positive; NaN where the file has none."""
    if name not in file.outputs:
        return np.full(len(file.markers.time), np.nan)
    x = file.outputs[name].values[:, 0] / 1e3
    return np.where(x == 0, np.nan, x)


def file_peak(file: C3D, side: str) -> float:
    """Largest vertical force [body weights] in the file's own normalised output, a percentage of body weight."""
    return float(np.nanmax(np.abs(file.outputs[f"{side.upper()}NormalisedGRF"].values[:, 2]))) / 100


def weight(result: FitResult) -> float:
    """[N]."""
    return result.skeleton.mass * 9.81


def whole_body(result: FitResult, file: C3D, child: str) -> dict[str, Any]:
    """Mass, vertical force where all of it was measured, and the centre of mass against the file's."""
    mass = subject_parameters(file.parameters).mass
    rows = np.searchsorted(file.markers.time, result.time - 1e-6)
    com = file.markers.positions[rows, file.markers.names.index("CentreOfMass")]
    return {
        "child": child,
        "mass [kg]": mass,
        "mass from the forces [kg]": mass_of_forces(result),
        "centre of mass from the file's [mm]": 1e3 * float(np.nanmedian(np.linalg.norm(result.com - com, axis=-1))),
    }


def mass_of_forces(result: FitResult) -> float:
    """[kg] that the vertical impulse of the longest wholly measured stretch moves: sum F dt = m (g t + change of v)."""
    on = longest(np.asarray(result.contacts.valid))
    if on.sum() < FULL_STANCE * len(result.time) / np.ptp(result.time):
        return float("nan")
    t, force = result.time[on], result.contacts.force[on].sum(1)[:, 2]
    speed = np.gradient(result.com[on][:, 2], t)
    return float(np.trapezoid(force, t) / (9.81 * np.ptp(t) + speed[-1] - speed[0]))


def summary(route: str, legs: list[Leg], bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Print one route's table."""
    print(f"\n{route}: {len(legs)} legs of {len({x.child for x in legs})} children; nRMSE [%] / r")
    print(f"{'leg':<10}" + "".join(f"{j:>16}" for j in JOINTS))
    for x in legs:
        print(f"{x.child} {x.side:<2} " + "".join(f"{100 * x.nrmse[j]:9.1f} /{x.r[j]:5.2f}" for j in JOINTS))
    mean = {k: {j: float(np.mean([getattr(x, k)[j] for x in legs])) for j in JOINTS} for k in ("nrmse", "r")}
    print(f"{'mean':<10}" + "".join(f"{100 * mean['nrmse'][j]:9.1f} /{mean['r'][j]:5.3f}" for j in JOINTS))
    met = {}
    for j, most, least in zip(JOINTS, GOALS[route]["nrmse"], GOALS[route]["r"], strict=True):
        met[j] = mean["nrmse"][j] <= most and mean["r"][j] >= least
        print(f"  {j}: at most {100 * most:g} %, r at least {least:g}: {'met' if met[j] else 'MISSED'}")
    for b in bodies:
        print("  ", {k: round(v, 2) if isinstance(v, float) else v for k, v in b.items()})
    return {"mean": mean, "met": met, "legs": [vars(x) for x in legs], "bodies": bodies}


def write(found: dict[str, Any]) -> None:
    """Save the numbers."""
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(temporary, RESULT)


if __name__ == "__main__":
    main()
