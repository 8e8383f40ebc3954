"""A walk, as ground truth for fits: smooth periodic joint angles after published curves, feet planted.

Known exactly: q(t) in closed form (Fourier series), hence v and a; the root wrench and joint torques by MuJoCo's
inverse dynamics. Hips, knees, ankles and pelvis follow the mean of typically developing walkers at free speed
(Schwartz et al. 2008, J Biomech 41:1639), changed by some degrees so that feet in contact rest on the floor and the
body is in balance; trunk and arms are drawn by hand. Points in contact slip a few cm/s. Not known: how the two feet
share the ground's reaction in double support; here each takes a part that passes linearly from one foot to the other,
so that joint torques are one possible answer.

    python -m sims.walk --picture walk.png --seconds 3
    python -m sims.walk --skeleton child --age 7 --yaw-rate 60 --video turn.mp4
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import EARTH, Simulation, carried_by, prescribed
from sims.gait import PeriodicMotion, from_curves
from sims.planting import planted
from sims.run import main

# means at 0, 6.25, ... % of the cycle from heel strike [deg]; OpenSim's signs; pelvis 10 degrees less tilted forward,
# since its reference line is tilted against OpenSim's pelvis
HIP_FLEXION = [26, 25, 21, 15, 8, 1, -5, -10, -14, -15, -10, 1, 12, 21, 26, 27]
HIP_ADDUCTION = [-2, 1, 4, 5, 4, 3, 3, 2, 1, -1, -5, -7, -6, -4, -2, -2]
KNEE = [6, 14, 19, 18, 14, 10, 7, 6, 9, 18, 36, 54, 59, 52, 36, 16]
ANKLE = [-2, -6, 0, 4, 7, 9, 10, 12, 11, 4, -14, -18, -8, 0, 3, 1]
TOES = [10, 0, 0, 0, 0, 0, 0, -5, -18, -28, -20, 0, 8, 10, 10, 10]  # drawn by hand
PELVIS_LIST = [-1, -2, -4, -4, -2, 0, 0, 0, 1, 2, 4, 4, 2, 0, 0, 0]
PELVIS_ROTATION = [4, 4, 3, 3, 2, 1, -1, -3, -4, -4, -3, -3, -2, -1, 1, 3]
CONTACT = {"heel": (0.03, 0.35), "ball_medial": (0.12, 0.57), "ball_lateral": (0.12, 0.55), "toe": (0.13, 0.60)}


def walking_curves() -> dict[str, Array]:
    """Rows of a walk [m; deg], right heel strike at phase 0."""
    phase = 2 * np.pi * np.arange(16) / 16
    c, s = np.cos(phase), np.sin(phase)
    given = {
        "hip_flexion_r": HIP_FLEXION, "hip_adduction_r": HIP_ADDUCTION, "knee_angle_r": KNEE, "ankle_angle_r": ANKLE,
        "mtp_angle_r": TOES, "pelvis_list": PELVIS_LIST, "pelvis_rotation": PELVIS_ROTATION,
    }  # fmt: skip
    drawn = {
        "pelvis_tilt": -2 + 0 * c,
        "lumbar_extension": -5 + 2 * np.cos(2 * phase),
        "lumbar_bending": -4 * s,
        "lumbar_rotation": -8 * c,
        "neck_rotation": 4 * c,
        "arm_flex_r": 3 - 20 * c,
        "arm_add_r": -8 + 0 * c,
        "arm_rot_r": 10 + 0 * c,
        "elbow_flex_r": 28 - 12 * c,
        "pro_sup_r": 90 + 0 * c,
    }
    return {n: np.asarray(x, float) for n, x in (given | drawn).items()}


def walking(skeleton: Skeleton, *, yaw_rate: float = 0.0) -> PeriodicMotion:
    """A walk of this body; ``yaw_rate`` [rad/s] bends its path."""
    speed = 1.1 * float(np.sqrt(skeleton.neutral[2] / 0.97))
    contact = {f"{n}_r": span for n, span in CONTACT.items()}
    contact |= {f"{n}_l": (a + 0.5, b + 0.5) for n, (a, b) in CONTACT.items()}
    return planted(from_curves(skeleton, walking_curves(), cycle(skeleton), speed, yaw_rate), contact, rolling)


def rolling(phase: Tensor) -> dict[str, Tensor]:
    """The weight rolls from heel to toe of each foot, and from foot to foot."""
    right = torch.as_tensor(weight_on_right(phase.numpy()))
    parts: dict[str, Tensor] = {}
    for side, weight, own in (("r", right, phase), ("l", 1 - right, phase + 0.5)):
        ahead = 0.15 + 0.65 * ((own % 1.0) / 0.6).clamp(max=1.0)
        parts |= {f"heel_{side}": weight * (1 - ahead), f"toe_{side}": weight * ahead}
    return parts


def cycle(skeleton: Skeleton) -> float:
    """[s] of two steps; dynamic similarity: times go with the root of length."""
    return 1.12 * float(np.sqrt(skeleton.neutral[2] / 0.97))


def simulate(skeleton: Skeleton, seconds: float = 2.0, fps: float = 120.0, yaw_rate: float = 0.0) -> Simulation:
    """A walk along +x from x = 0, ``yaw_rate`` [deg/s] to the left."""
    motion = walking(skeleton, yaw_rate=float(np.radians(yaw_rate)))
    time = np.arange(round(seconds * fps) + 1) / fps
    sim = prescribed("walk", skeleton, motion.q, time, EARTH)
    right = weight_on_right(time / motion.duration)
    return carried_by(sim, {"calcn_r": right, "calcn_l": 1 - right})


def weight_on_right(phase: Array) -> Array:
    """Part of the ground's reaction on the right foot: passes over in the two phases of double support."""
    x = phase % 1.0
    return np.interp(x, [0.0, 0.10, 0.50, 0.60, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0])


if __name__ == "__main__":
    main(__doc__, simulate, seconds=3.0, options={"yaw_rate": 0.0})
