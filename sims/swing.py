"""Someone whom the floor does not carry: on a swing, hanging from a bar, carried by others. The feet are in the air.

Known exactly: q(t) in closed form, hence v and a, and the force that the surroundings give (truth "outside_force",
world), by MuJoCo's inverse dynamics. ``swing``: seated, turning with the seat about a bar; ``hang``: by the hands, to
and fro as the rigid pendulum that such a body is, so that the bar only pulls and does not turn; ``carried``: lying in
the arms of somebody who walks along, up and down with each of their steps.

    python -m sims.swing --motion carried --video carried.mp4
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import center_of_mass, centroidal_momentum
from physpose.errors import UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.spatial import quat_mul, quat_to_matrix
from sims.common import EARTH, Simulation, pose, prescribed
from sims.run import main

Move = Callable[[Tensor], tuple[Tensor, Tensor]]  # time () [s] -> hips (3,) [m], lean about y () [rad]
BAR, ROPE = 3.0, 2.0  # [m] height of the bar, from it to the hips
AMPLITUDE, DANGLING = 30.0, 6.0  # [deg] on the swing; by the hands: little, as a sine is a pendulum's for small swings
CARRIED_AT, WALK, BOB, STEPS = 1.05, 1.1, 0.02, 1.9  # [m] of the hips, [m/s], [m], [1/s]


def _both(**degrees: float) -> dict[str, float]:
    return {f"{name}_{side}": x for name, x in degrees.items() for side in "rl"}


SEATED = _both(hip_flexion=75.0, knee_angle=55.0, arm_flex=35.0, elbow_flex=75.0)
HANGING = _both(arm_flex=172.0, elbow_flex=8.0, hip_flexion=5.0, knee_angle=10.0)
LYING = _both(hip_flexion=60.0, knee_angle=70.0, arm_flex=20.0, elbow_flex=60.0)


def simulate(skeleton: Skeleton, seconds: float = 3.0, fps: float = 120.0, motion: str = "swing") -> Simulation:
    """``motion``: "swing", "hang" or "carried"; to and fro along x, on along x."""
    if motion not in MOTIONS:
        raise UnknownNameError("motion", motion, MOTIONS)
    time = np.arange(round(seconds * fps) + 1) / fps
    held, mover = MOTIONS[motion]
    start = torch.as_tensor(pose(skeleton, held))
    move = mover(skeleton, start)

    def q(t: Tensor) -> Tensor:
        p, back = move(t)
        zero = torch.zeros_like(back)
        turn = torch.stack([zero, torch.sin(back / 2), zero, torch.cos(back / 2)])
        return torch.cat([p, quat_mul(turn, start[3:7]), start[7:]])

    sim = prescribed(motion, skeleton, q, time, EARTH)
    R = quat_to_matrix(torch.as_tensor(sim.q[:, 3:7])).numpy()
    return replace(sim, truth={"outside_force": (R @ sim.tau[:, :3, None])[..., 0]})


def _on_a_swing(skeleton: Skeleton, start: Tensor) -> Move:
    """Hips (3,) [m] and how far the body leans back [rad]: as a pendulum of the rope's length."""

    def move(t: Tensor) -> tuple[Tensor, Tensor]:
        angle = math.radians(AMPLITUDE) * torch.cos(math.sqrt(-EARTH[2] / ROPE) * t)
        p = torch.stack([ROPE * torch.sin(angle), torch.zeros_like(angle), BAR - ROPE * torch.cos(angle)])
        return p, -angle

    return move


def _by_the_hands(skeleton: Skeleton, start: Tensor) -> Move:
    """A rigid body about a bar through its hands: omega^2 = m g d / I."""
    chain = KinematicChain(skeleton)
    palms = chain.points(tuple(p for p in skeleton.contact_points if p.name.startswith("hand")))
    hands = chain.locate(chain.fk(start), palms).mean(0)
    down = center_of_mass(chain, start) - hands
    hips, distance = start[:3] - hands, float(down.norm())
    at_rest = float(torch.atan2(-down[0], -down[2]))
    spin = torch.zeros(skeleton.nv, dtype=start.dtype)
    spin[4] = 1.0
    inertia = float(centroidal_momentum(chain, start, spin)[4]) + skeleton.mass * distance**2
    omega = math.sqrt(-EARTH[2] * skeleton.mass * distance / inertia)

    def move(t: Tensor) -> tuple[Tensor, Tensor]:
        angle = -at_rest + math.radians(DANGLING) * torch.cos(omega * t)
        c, s = torch.cos(angle), torch.sin(angle)
        turned = torch.stack([c * hips[0] + s * hips[2], 0 * c + hips[1], -s * hips[0] + c * hips[2]])
        return turned + torch.tensor([0.0, 0.0, BAR], dtype=start.dtype), angle

    return move


def _carried(skeleton: Skeleton, start: Tensor) -> Move:
    def move(t: Tensor) -> tuple[Tensor, Tensor]:
        z = CARRIED_AT + BOB * torch.sin(2 * math.pi * STEPS * t)
        return torch.stack([WALK * t, torch.zeros_like(t), z]), torch.full_like(t, math.radians(-55.0))

    return move


MOTIONS = {"swing": (SEATED, _on_a_swing), "hang": (HANGING, _by_the_hands), "carried": (LYING, _carried)}

if __name__ == "__main__":
    main(__doc__, simulate, seconds=3.0, options={"motion": "swing"})
