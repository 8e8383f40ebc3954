"""A walk with a hip exoskeleton: the same motion, part of the hips' torque from a motor.

Known exactly: q(t) as in ``sims.walk``; the net torque (``tau``) by MuJoCo's inverse dynamics; the motor's torque on
each hip (truth "exo_torque", (T, 2) N.m, right and left, flexion positive) as it was commanded; and so the walker's
own (truth "human_torque", (T, nv)), net minus motor, and the motor's power and work (truths "exo_power" W, "exo_work"
J). An inverse dynamics that sees only the motion finds the net torque. The device is taken to be without mass.

    python -m sims.exoskeleton --peak 0.3 --out exo.npz
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims import walk
from sims.common import Simulation
from sims.run import main

EXTENSION_AT, FLEXION_AT = 0.12, 0.62  # [cycles] after heel strike, where the motor helps most


def simulate(skeleton: Skeleton, seconds: float = 2.0, fps: float = 120.0, peak: float = 0.25) -> Simulation:
    """A walk whose hips are helped by up to ``peak`` [N.m/kg]."""
    sim = walk.simulate(skeleton, seconds, fps)
    phase = sim.time / walk.cycle(skeleton)
    torque = peak * skeleton.mass * np.stack([profile(phase), profile(phase + 0.5)], 1)
    first = skeleton.nv - len(skeleton.coordinates)
    index = [first + skeleton.coordinate_names.index(f"hip_flexion_{s}") for s in "rl"]
    human = sim.tau.copy()
    human[:, index] -= torque
    power = (torque * sim.v[:, index]).sum(1)
    work = np.trapezoid(power, sim.time)
    truth = {"exo_torque": torque, "human_torque": human, "exo_power": power, "exo_work": float(work)}
    return replace(sim, name="walk with exoskeleton", truth=sim.truth | truth)


def profile(phase: Array) -> Array:
    """The motor's torque over the cycle, -1 (extension) to 1 (flexion): two smooth bumps."""

    def bump(centre: float) -> Array:
        away = np.abs((phase - centre + 0.5) % 1.0 - 0.5) / 0.15
        return np.where(away < 1, np.cos(np.pi / 2 * np.minimum(away, 1)) ** 2, 0.0)

    return bump(FLEXION_AT) - bump(EXTENSION_AT)


if __name__ == "__main__":
    main(__doc__, simulate, seconds=2.0, options={"peak": 0.25})
