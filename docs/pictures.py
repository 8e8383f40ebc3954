"""The picture of docs/physics.md: a simulated walk, filmed with a detector's noise, fitted with and without physics.

PYTHONPATH=.:tests python docs/pictures.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from synthetic import beside, filmed

import physpose
from physpose import load_skeleton
from sims import walk

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}
WAYS = {"none": "C1", "full": "C0"}


def main() -> None:
    """Simulate, film, fit, draw."""
    sim = walk.simulate(load_skeleton("adult", **ADULT), 3.0)
    camera = beside(sim)
    keypoints, keep = filmed(sim, camera, fps=30.0)
    fits = {way: physpose.fit(keypoints, camera=camera.focal, physics=way, **ADULT) for way in WAYS}
    figure, axes = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    weight = 9.81 * ADULT["mass"]
    axes[0].plot(sim.time[keep], sim.truth["ground_force"][keep, 2] / weight, "k", label="simulated")
    knee = 6 + sim.skeleton.coordinate_names.index("knee_angle_r")
    axes[1].plot(sim.time[keep], np.rad2deg(sim.q[keep, knee + 1]), "k")
    axes[2].plot(sim.time[keep], sim.tau[keep, knee], "k")
    for way, result in fits.items():
        name, joint = f'physics="{way}"', result["knee_angle_r"]
        axes[0].plot(result.time, vertical(result) / weight, WAYS[way], label=name)
        band(axes[1], result.time, np.rad2deg(joint.q), np.rad2deg(joint.sigma.q), WAYS[way])
        band(axes[2], result.time, joint.tau, joint.sigma.tau, WAYS[way])
    titles = ("vertical force [body weights]", "right knee [deg]", "its torque [N.m]")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    axes[2].set_xlabel("time [s]; bands: one standard deviation")
    figure.savefig(Path(__file__).parent / "images/physics.png", dpi=110)


def vertical(result: physpose.FitResult) -> np.ndarray:
    """m (a - g) of the centre of mass (T,) [N], vertical: what any contacts together have to give."""
    acceleration = np.gradient(result.momentum[:, 2], result.time)
    return acceleration + 9.81 * result.skeleton.mass


def band(axis, time: np.ndarray, value: np.ndarray, sigma: np.ndarray, color: str) -> None:
    axis.plot(time, value, color)
    axis.fill_between(time, value - sigma, value + sigma, color=color, alpha=0.2)


if __name__ == "__main__":
    main()
