"""A jump from a crouch, and a landing from a drop, on MuJoCo's soft contacts.

Known exactly: contact forces (truth "contact_force", (T, C, 3) N on ``skeleton.contact_points``), joint torques, and in
flight the centre of mass's parabola com_0 + v_0 t + g t^2 / 2 from the first airborne frame (truth "flight", its two
indices; "com"). Steps are Euler's, so the momentum gained over a step is the step times weight plus contact force: the
impulse of the floor equals the change of momentum to the accuracy of sums. The drop lands after sqrt(2 h / g) (truth
"touchdown", s) at sqrt(2 g h) (truth "impact_speed", m/s).

    python -m sims.jump --video jump.mp4
    python -m sims.jump --motion drop --drop-height 0.4 --video drop.mp4
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from physpose.chain import KinematicChain
from physpose.errors import UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import EARTH, Simulation, Simulator, centre_of_mass, pose, tracking
from sims.planted import squat_curves
from sims.run import main

STEP = 2e-4  # [s]
G = -EARTH[2]
TOUCH_RADIUS = 0.01  # [m] of the spheres that touch the floor


def simulate(skeleton: Skeleton, seconds: float = 0.8, motion: str = "jump", drop_height: float = 0.3) -> Simulation:
    """``motion``: "jump" or "drop" (from ``drop_height`` [m])."""
    if motion == "jump":
        sim = jump(skeleton, seconds)
    elif motion == "drop":
        sim = drop(skeleton, seconds, drop_height)
    else:
        raise UnknownNameError("motion", motion, ("jump", "drop"))
    return replace(sim, truth=sim.truth | _flight(sim))


def jump(skeleton: Skeleton, seconds: float) -> Simulation:
    """Springs pull a crouched body straight: it leaves the floor, and bends its knees in the air."""
    simulator = Simulator(skeleton, contacts=True, step=STEP)
    crouch = _standing(skeleton, _crouch())
    stretched = pose(skeleton, {"hip_flexion_r": 2, "hip_flexion_l": 2, "ankle_angle_r": -30, "ankle_angle_l": -30})[7:]
    airborne = pose(skeleton, {f"{n}_{s}": x for n, x in (("hip_flexion", 35), ("knee_angle", 50)) for s in "rl"})[7:]

    def target(t: float) -> Array:
        up, bent = float(np.clip((t - 0.02) / 0.12, 0, 1)), float(np.clip((t - 0.32) / 0.15, 0, 1))
        return crouch[7:] + up * (stretched - crouch[7:]) + bent * (airborne - stretched)

    return _rollout(simulator, crouch, target, 8.0, seconds, "jump")


def drop(skeleton: Skeleton, seconds: float, height: float) -> Simulation:
    """Dropped upright from a height; hips, knees and ankles give way after the touch."""
    simulator = Simulator(skeleton, contacts=True, step=STEP)
    bent = (("hip_flexion", 14.0), ("knee_angle", 24.0), ("ankle_angle", 10.0))
    ready = {f"{name}_{side}": x for name, x in bent for side in "rl"}
    start = _standing(skeleton, ready)
    start[2] += height
    sim = _rollout(simulator, start, lambda t: start[7:], 3.0, seconds, "drop")
    truth = {"touchdown": float(np.sqrt(2 * height / G)), "impact_speed": float(np.sqrt(2 * G * height))}
    return replace(sim, truth=sim.truth | truth)


def _rollout(
    simulator: Simulator, q: Array, target: Callable[[float], Array], frequency: float, seconds: float, name: str
) -> Simulation:
    controller = tracking(simulator, target, frequency)
    return simulator.rollout(q, np.zeros(simulator.skeleton.nv), controller, seconds, name=name)


def _crouch() -> dict[str, float]:
    """The lowest moment of the squat [deg]."""
    return {name: float(x[8]) for name, x in squat_curves().items() if not name.startswith("pelvis")}


def _standing(skeleton: Skeleton, degrees: dict[str, float]) -> Array:
    """A pose (nq,) with feet level, and the lowest contact sphere touching the floor."""
    q = pose(skeleton, degrees)
    chain = KinematicChain(skeleton)
    forward = np.radians(degrees["knee_angle_r"] - degrees["hip_flexion_r"] - degrees["ankle_angle_r"])
    turn = torch.tensor([0.0, 0, 0, 0, 0, forward], dtype=torch.float64)
    full = torch.cat([turn, torch.zeros(skeleton.nv - 6, dtype=torch.float64)])
    q = chain.integrate(torch.as_tensor(q), full).numpy()
    p = chain.locate(chain.fk(torch.as_tensor(q)), chain.points(skeleton.contact_points))
    q[2] += TOUCH_RADIUS - float(p[:8, 2].min())
    return q


def _flight(sim: Simulation) -> dict[str, Array]:
    """First and last index of the longest time without contact, and the centre of mass (T, 3) [m] of the parabola."""
    free = np.concatenate([[0], (sim.truth["contact_force"] == 0).all((1, 2)), [0]])
    starts, ends = np.flatnonzero(np.diff(free) == 1), np.flatnonzero(np.diff(free) == -1) - 1
    longest = int(np.argmax(ends - starts))
    flight = np.array([starts[longest], ends[longest]])
    com, h = centre_of_mass(sim)
    t = (sim.time - sim.time[flight[0]])[:, None]
    v = h[flight[0], :3] / sim.skeleton.mass
    return {"flight": flight, "com": com[flight[0]] + v * t + np.asarray(EARTH) * t**2 / 2}


if __name__ == "__main__":
    main(__doc__, simulate, seconds=0.8, options={"motion": "jump", "drop_height": 0.3})
