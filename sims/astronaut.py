"""An astronaut in orbit: pushing off a wall, or turning round like a falling cat.

Known exactly, without gravity: ``push_off``: both feet receive a force that rises and falls as half a sine;
afterwards the body drifts with velocity impulse / mass (truth "velocity") and its angular momentum stays what the
push made it. ``cat``: nothing acts from outside and all starts at rest, so linear and angular momentum are zero for
ever and the centre of mass does not move (truth "com"); yet after every cycle of bending the body has its shape again
and has turned (no closed form for how far). Work of the joint torques is exact in both, since they are held over each
step (truth "work").

    python -m sims.astronaut --motion cat --seconds 6 --video cat.mp4
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from physpose.errors import UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import ORBIT, Simulation, Simulator, centre_of_mass, pose, tracking, work_of
from sims.run import main

PUSH_TIME, PEAK = 0.35, 260.0  # [s], [N] on both feet together
CYCLE = 1.5  # [s] of the cat's bending


def _both(**degrees: float) -> dict[str, float]:
    return {f"{name}_{side}": x for name, x in degrees.items() for side in "rl"}


CROUCH = _both(hip_flexion=70.0, knee_angle=80.0, ankle_angle=15.0)
RELAXED = _both(hip_flexion=25.0, knee_angle=30.0, elbow_flex=50.0, arm_flex=30.0)


def simulate(skeleton: Skeleton, seconds: float = 3.0, motion: str = "push_off") -> Simulation:
    """``motion``: "push_off" or "cat"."""
    if motion not in MOTIONS:
        raise UnknownNameError("motion", motion, MOTIONS)
    sim = MOTIONS[motion](skeleton, seconds)
    return replace(sim, truth=sim.truth | {"work": work_of(sim)})


def push_off(skeleton: Skeleton, seconds: float) -> Simulation:
    """Crouched with the feet towards -z, pushed along +z while stretching; then relaxing to the neutral posture."""
    simulator = Simulator(skeleton, ORBIT)
    crouched, stretched, relaxed = pose(skeleton, CROUCH), pose(skeleton, {})[7:], pose(skeleton, RELAXED)[7:]

    def target(t: float) -> Array:
        pushed = float(np.clip(t / PUSH_TIME, 0, 1))
        rest = float(np.clip((t - 0.8) / 1.0, 0, 1))
        return crouched[7:] + pushed * (stretched - crouched[7:]) + rest * (relaxed - stretched)

    def push(t: float) -> dict[str, Array]:
        force = PEAK * np.sin(np.pi * t / PUSH_TIME) if t < PUSH_TIME else 0.0
        return {"calcn_r": np.array([0, 0, force / 2]), "calcn_l": np.array([0, 0, force / 2])}

    controller = tracking(simulator, target, frequency=2.0)
    sim = simulator.rollout(crouched, np.zeros(skeleton.nv), controller, seconds, name="push_off", push=push)
    impulse = sum(w[:-1, :3].sum(0) for w in sim.external.values()) * (sim.time[1] - sim.time[0])
    return replace(sim, truth={"velocity": impulse / skeleton.mass, "impulse": impulse})


def cat(skeleton: Skeleton, seconds: float) -> Simulation:
    """The trunk bends round in a cone against the legs; both halves turn, the shape comes back."""
    simulator = Simulator(skeleton, ORBIT)
    start = pose(skeleton, {})

    def target(t: float) -> Array:
        a, grown = 2 * np.pi * t / CYCLE, min(1.0, t / CYCLE)
        bend = {"lumbar_extension": -35 * np.cos(a), "lumbar_bending": 30 * np.sin(a)}
        legs = {f"hip_flexion_{s}": 40 + 35 * np.cos(a) for s in "rl"}
        legs |= {"hip_adduction_r": 18 * np.sin(a), "hip_adduction_l": -18 * np.sin(a)}
        return grown * pose(skeleton, bend | legs)[7:]

    controller = tracking(simulator, target, frequency=3.0)
    sim = simulator.rollout(start, np.zeros(skeleton.nv), controller, seconds, name="cat")
    return replace(sim, truth={"com": centre_of_mass(sim)[0][0], "angular_momentum": np.zeros(3)})


MOTIONS: dict[str, Callable[[Skeleton, float], Simulation]] = {"push_off": push_off, "cat": cat}

if __name__ == "__main__":
    main(__doc__, simulate, seconds=3.0, options={"motion": "push_off"})
