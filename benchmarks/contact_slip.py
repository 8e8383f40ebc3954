"""How fast points of a sole move while they bear load: what ``EstimationSettings.slip_robust`` follows from.

    PHYSPOSE_DATA=... python benchmarks/contact_slip.py

Walks of one adult: motion fitted to markers, force plates for the load. A contact point bears load while it is within
5 cm of the centre of pressure of a plate under more than 5 % of body weight. Prints quantiles of its speed and the
distribution of Student that fits best: its logarithm is the estimator's Cauchy loss, of so many sigma. Points are few
and from one person; a video's speeds have errors of their own, which widen sigma.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from lab_forces import LOWPASS, ON_PLATES, SUBJECT, TRIALS, WHO
from scipy import stats

import physpose
from physpose import KinematicChain
from physpose.io.forces import read_forces
from physpose.types import Array

NEAR = 0.05  # [m]
QUANTILES = (10, 25, 50, 75, 80, 90, 95)


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


def cauchy_loss(speed: Array) -> tuple[float, float]:
    """sigma [m/s] and scale c [sigma] whose c^2 / 2 log(1 + r^2 / c^2) is the likeliest minus log density."""
    nu, _, spread = stats.t.fit(np.concatenate([speed, -speed]), floc=0.0)
    return spread * np.sqrt(nu / (nu + 1)), np.sqrt(nu + 1)


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("contact_slip: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    speed = np.concatenate([loaded_speeds(data / SUBJECT, name) for name in TRIALS["walking"]])
    print(f"{len(speed)} points under load")
    for q, v in zip(QUANTILES, np.percentile(speed, QUANTILES), strict=True):
        print(f"{q:3d} % slower than {v:5.2f} m/s")
    sigma, scale = cauchy_loss(speed)
    print(f"Cauchy loss: sigma {sigma:.3f} m/s, scale {scale:.2f} sigma")
    return 0


if __name__ == "__main__":
    sys.exit(main())
