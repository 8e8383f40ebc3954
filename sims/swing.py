"""Someone whom the floor does not carry: on a swing, or carried by others. The feet hang in the air.

Known exactly: q(t) in closed form, hence v and a, and the force that the surroundings give (truth "outside_force",
world), by MuJoCo's inverse dynamics. ``swing``: seated, turning with the seat about a bar; ``carried``: lying in the
arms of somebody who walks along, up and down with each of their steps.

    python -m sims.swing --motion carried --video carried.mp4
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from physpose.errors import UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.spatial import quat_mul, quat_to_matrix
from sims.common import EARTH, Simulation, pose, prescribed
from sims.run import main

BAR, ROPE = 3.0, 2.0  # [m] height of the bar, from it to the hips
AMPLITUDE = 30.0  # [deg]
CARRIED_AT, WALK, BOB, STEPS = 1.05, 1.1, 0.02, 1.9  # [m] of the hips, [m/s], [m], [1/s]


def _both(**degrees: float) -> dict[str, float]:
    return {f"{name}_{side}": x for name, x in degrees.items() for side in "rl"}


SEATED = _both(hip_flexion=75.0, knee_angle=55.0, arm_flex=35.0, elbow_flex=75.0)
LYING = _both(hip_flexion=60.0, knee_angle=70.0, arm_flex=20.0, elbow_flex=60.0)


def simulate(skeleton: Skeleton, seconds: float = 3.0, fps: float = 120.0, motion: str = "swing") -> Simulation:
    """``motion``: "swing" or "carried"; to and fro along x, on along x."""
    if motion not in MOTIONS:
        raise UnknownNameError("motion", motion, MOTIONS)
    time = np.arange(round(seconds * fps) + 1) / fps
    held, move = MOTIONS[motion]
    start = torch.as_tensor(pose(skeleton, held))

    def q(t: Tensor) -> Tensor:
        p, back = move(t)
        zero = torch.zeros_like(back)
        turn = torch.stack([zero, torch.sin(back / 2), zero, torch.cos(back / 2)])
        return torch.cat([p, quat_mul(turn, start[3:7]), start[7:]])

    sim = prescribed(motion, skeleton, q, time, EARTH)
    R = quat_to_matrix(torch.as_tensor(sim.q[:, 3:7])).numpy()
    return replace(sim, truth={"outside_force": (R @ sim.tau[:, :3, None])[..., 0]})


def _on_a_swing(t: Tensor) -> tuple[Tensor, Tensor]:
    """Hips (3,) [m] and how far the body leans back [rad]: as a pendulum of the rope's length."""
    angle = math.radians(AMPLITUDE) * torch.cos(math.sqrt(-EARTH[2] / ROPE) * t)
    p = torch.stack([ROPE * torch.sin(angle), torch.zeros_like(angle), BAR - ROPE * torch.cos(angle)])
    return p, -angle


def _carried(t: Tensor) -> tuple[Tensor, Tensor]:
    z = CARRIED_AT + BOB * torch.sin(2 * math.pi * STEPS * t)
    return torch.stack([WALK * t, torch.zeros_like(t), z]), torch.full_like(t, math.radians(-55.0))


MOTIONS = {"swing": (SEATED, _on_a_swing), "carried": (LYING, _carried)}

if __name__ == "__main__":
    main(__doc__, simulate, seconds=3.0, options={"motion": "swing"})
