"""How sure is it how two feet share a load? The forces' own covariance against plates under both feet.

    PHYSPOSE_DATA=... python benchmarks/shared_loads.py

Motion from markers alone, the plates never shown to the estimator; frames in which each foot is on a plate of its own
(benchmarks/lab_forces.py). Half the difference of both feet's forces, fore-aft / sideways / vertical, in body weights:
RMS error against the plates, RMS of the standard deviation that ``ContactForces.covariance`` gives it, and the part of
frames within 1.645 of it: 90 % is right. It is what a wrench leaves open; errors of the wrench itself, as of the motion
of landings, are no part of it, and make the error larger here. In fits of pictures they count by themselves.

``ForceSettings.horizontal_error`` was chosen by the first adult's walks, with the others in view.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lab_children import FOLDER, OLDEST, TALL
from lab_forces import (
    ON_PLATES,
    SECOND,
    SECOND_TRIALS,
    SECOND_WHO,
    SOLE,
    SUBJECT,
    TRIALS,
    WHO,
    forces_of_feet,
    walking_axes,
)

import physpose
from physpose import FitResult
from physpose.estimation.dynamics import dynamics_of
from physpose.io.c3d import read_c3d
from physpose.io.forces import Forces, read_forces
from physpose.io.subject_parameters import subject_parameters
from physpose.types import Array

RESULT = Path(__file__).parent / "results" / "shared_loads.json"
AXES = ("fore-aft", "sideways", "vertical")
INSIDE = 1.645  # sigma of a 90 % interval


def trials(data: Path) -> Iterator[tuple[str, FitResult, Forces]]:
    """Kind, what was found from markers, what was measured."""
    folder = data / SUBJECT
    for kind, names in TRIALS.items():
        for name in names:
            forces = read_forces(next(folder.rglob(f"{name}_grf.mot")))
            yield kind, physpose.fit(next(folder.rglob(f"{name}.trc")), "adult", **WHO), forces
    for kind, names in SECOND_TRIALS.items():
        for name in names:
            markers, forces = data / SECOND / "MarkerData" / f"{name}.trc", data / SECOND / "ID" / f"{name}_grf.mot"
            yield kind, physpose.fit(markers, "adult", **SECOND_WHO), read_forces(forces)
    for child in sorted((data / FOLDER).iterdir()):
        walk, stand = (next((child / kind).glob("*.c3d")) for kind in ("Straight", "Static"))
        tall = (subject_parameters(read_c3d(walk).parameters).height or 0) > TALL
        yield "children", physpose.fit(walk, "child", age=OLDEST if tall else None, static=stand), read_forces(walk)


def shared(result: FitResult, forces: Forces) -> tuple[Array, Array]:
    """Error and standard deviation (n, 3) [body weights] of half the feet's difference, frames with both on plates."""
    body, weight = result.skeleton, result.skeleton.mass * 9.81
    names = [p.name for p in body.support_points]
    belief = np.zeros((len(result.time), len(names)))
    belief[:, [names.index(n) for n in result.contacts.points]] = result.contacts.active
    _, found = dynamics_of(body, result.time, result.q, belief, result.gravity, rates=(result.v, result.a), walks=True)
    assert found is not None
    F, P = found.force.numpy(), found.covariance.numpy()
    sides = [[names.index(f"{part}_{side}") for part in SOLE] for side in "rl"]
    half = np.zeros(len(names))
    half[sides[0]], half[sides[1]] = 0.5, -0.5
    axes, (true, told) = walking_axes(result), forces_of_feet(result, forces)
    both = told & np.all([x[:, 2] > ON_PLATES * weight for x in true.values()], axis=0)
    both &= np.all([F[:, side, 2].sum(1) > ON_PLATES * weight for side in sides], axis=0)
    error = (np.einsum("c,tci->ti", half, F) - (true["r"] - true["l"]) / 2) @ axes.T
    rows = (half[:, None] * axes[:, None]).reshape(3, -1)
    sigma = np.sqrt(np.einsum("ai,tij,aj->ta", rows, P, rows))
    return error[both] / weight, sigma[both] / weight


def figures(parts: list[tuple[Array, Array]]) -> dict[str, dict[str, float]]:
    """Axis -> figures over all trials of a kind."""
    error, sigma = (np.concatenate(x) for x in zip(*parts, strict=True))
    return {
        axis: {
            "error": float(np.sqrt((error[:, i] ** 2).mean())), "sigma": float(np.sqrt((sigma[:, i] ** 2).mean())),
            "inside": float((np.abs(error[:, i]) < INSIDE * sigma[:, i]).mean()), "frames": len(error),
        }
        for i, axis in enumerate(AXES)
    }  # fmt: skip


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("shared_loads: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    parts: dict[str, list[tuple[Array, Array]]] = {}
    for kind, result, forces in trials(data):
        print(f"  {kind}: {result.source}", file=sys.stderr)
        parts.setdefault(kind, []).append(shared(result, forces))
    kinds = {kind: figures(p) for kind, p in parts.items() if sum(len(e) for e, _ in p)}
    print(
        f"{'body weights':26s}{'frames':>7s}"
        + "".join(f"{a + ': error':>17s}{'sigma':>7s}{'inside':>8s}" for a in AXES)
    )
    for kind, row in kinds.items():
        cells = "".join(f"{r['error']:17.3f}{r['sigma']:7.3f}{100 * r['inside']:6.0f} %" for r in row.values())
        print(f"{kind:26s}{row['vertical']['frames']:7d}{cells}")
    report = {"machine": platform.machine(), "python": platform.python_version(), "kinds": kinds}
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
