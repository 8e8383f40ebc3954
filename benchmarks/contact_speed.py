"""How fast points of a sole move while they bear load: what ``EstimationSettings.contact_speed`` is held against.

    PHYSPOSE_DATA=... python benchmarks/contact_speed.py

Walks of one adult: motion fitted to markers, force plates for the load. A contact point bears load while it is within
5 cm of the centre of pressure of a plate under more than 5 % of body weight. Prints quantiles of its speed and the
share of points slower than some speeds. Points are few and from one person; a video's speeds have errors of their own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from lab_forces import LOWPASS, ON_PLATES, SUBJECT, TRIALS, WHO

import physpose
from physpose import KinematicChain
from physpose.io.forces import read_forces
from physpose.types import Array

NEAR = 0.05  # [m]
QUANTILES = (10, 25, 50, 75, 80, 90, 95)
SPEEDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.5)  # [m/s]


def loaded_speeds(folder: Path, name: str) -> Array:
    """(N,) [m/s] of all points and frames of a walk that bear load."""
    result = physpose.fit(next(folder.rglob(f"{name}.trc")), "adult", **WHO)
    forces = read_forces(next(folder.rglob(f"{name}_grf.mot")))
    chain = KinematicChain(result.skeleton)
    soles = tuple(p for p in result.skeleton.contact_points if not p.name.startswith("hand"))
    p = chain.locate(chain.fk(torch.as_tensor(result.q)), chain.points(soles)).numpy()
    speed = np.linalg.norm(np.gradient(p, result.time, axis=0), axis=-1)
    found = []
    for plate in forces.at(result.time, LOWPASS).wrenches:
        loaded = np.nan_to_num(plate.force)[:, 2] > ON_PLATES * result.skeleton.mass * 9.81
        near = np.linalg.norm(p[..., :2] - np.nan_to_num(plate.cop)[:, None, :2], axis=-1) < NEAR
        found.append(speed[near & loaded[:, None]])
    return np.concatenate(found)


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("contact_speed: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    speed = np.concatenate([loaded_speeds(data / SUBJECT, name) for name in TRIALS["walking"]])
    print(f"{len(speed)} points under load")
    for q, v in zip(QUANTILES, np.percentile(speed, QUANTILES), strict=True):
        print(f"{q:3d} % slower than {v:5.2f} m/s")
    for v in SPEEDS:
        print(f"slower than {v:4.2f} m/s: {100 * np.mean(speed < v):5.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
