"""A twisting somersault in free fall: thrown up turning, arms stretched out, then one is swung down.

Known exactly: nothing but gravity acts from outside, so the angular momentum about the centre of mass is constant
(truth "angular_momentum", as the throw gives it) and the centre of mass flies the parabola com_0 + v_0 t + g t^2 / 2
(truth "com"). Joint torques are held over each step, so their work is tau . dq exactly (truth "work", J, from the
start), and kinetic plus potential energy grows by it. The twist is no one's torque: tilting the body by one arm makes
it.

    python -m sims.somersault --video somersault.mp4 --seconds 1.2
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import EARTH, Simulation, Simulator, centre_of_mass, pose, tracking, work_of
from sims.run import main

SPIN = 6.0  # [rad/s] backward somersault at the start
RISE = 5.0  # [m/s]
# [deg]; short of 90, where arm_flex and arm_rot turn about one axis and joint torques lose their meaning
ARMS_OUT = {"arm_add_r": -70.0, "arm_add_l": -70.0, "hip_flexion_r": 5.0, "hip_flexion_l": 5.0}
ONE_DOWN = ARMS_OUT | {"arm_add_r": -5.0, "elbow_flex_r": 40.0}
TUCKED = {"hip_flexion_r": 80.0, "hip_flexion_l": 80.0, "knee_angle_r": 90.0, "knee_angle_l": 90.0}


def simulate(
    skeleton: Skeleton, seconds: float = 1.2, gravity: tuple[float, float, float] = EARTH, step: float = 1e-3
) -> Simulation:
    """Layout with arms out; the right arm comes down at 0.1 s; from 3 s on the legs tuck and stretch."""
    simulator = Simulator(skeleton, gravity, step=step)
    q = pose(skeleton, ARMS_OUT)
    q[2] += 1.0
    v = np.zeros(skeleton.nv)
    v[1], v[5] = RISE, SPIN  # up and about the pelvis' own lateral axis
    out, down = (pose(skeleton, x)[7:] for x in (ARMS_OUT, ONE_DOWN))
    tucked = pose(skeleton, ONE_DOWN | TUCKED)[7:]

    def target(t: float) -> Array:
        if t < 3.0:
            return out + _step(t, 0.1) * (down - out)
        return down + np.sin(np.pi * (t - 3.0) / 2) ** 2 * (tucked - down)

    sim = simulator.rollout(q, v, tracking(simulator, target, frequency=3.0), seconds, name="somersault")
    com, h = centre_of_mass(sim)
    t = sim.time[:, None]
    truth = {
        "com": com[0] + h[0, :3] / skeleton.mass * t + np.asarray(gravity) * t**2 / 2,
        "angular_momentum": h[0, 3:],
        "work": work_of(sim),
    }
    return replace(sim, truth=truth)


def _step(t: float, start: float, length: float = 0.25) -> float:
    """0 before ``start``, 1 after ``length`` more seconds, smooth in between."""
    x = float(np.clip((t - start) / length, 0, 1))
    return x * x * (3 - 2 * x)


if __name__ == "__main__":
    main(__doc__, simulate, seconds=1.2)
