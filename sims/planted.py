"""Squat and sit-to-stand: both feet planted all the time.

Known exactly: q(t) in closed form (Fourier series), hence v and a; the root wrench by MuJoCo's inverse dynamics,
joint torques with half of the wrench on each foot (in the squat that is how symmetry has it; when sitting, the seat
carries a part that is not modelled, so torques count from the moment of leaving it). Curves are drawn by hand after
textbook ranges; heels, balls and toes stay
on the floor within 3 mm, and the centre of pressure is under the feet while they alone carry the body.

    python -m sims.planted --motion squat --video squat.mp4
    python -m sims.planted --motion sit_to_stand --picture sts.png
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from physpose.errors import UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import EARTH, Simulation, carried_by, prescribed
from sims.gait import PeriodicMotion, from_curves
from sims.planting import planted
from sims.run import main

DURATION = {"squat": 2.4, "sit_to_stand": 4.0}  # [s] down and up again
CARRIED = {"squat": (-1.0, 2.0), "sit_to_stand": (0.25, 0.75)}  # phases in which the feet alone carry the body
OVER_FOOT = 0.42  # where the weight is, from the heels (0) to the toes (1)
POINTS = [f"{p}_{s}" for p in ("heel", "ball_medial", "ball_lateral", "toe") for s in "rl"]


def squat_curves() -> dict[str, Array]:
    """Rows of a squat [deg] over a cycle that begins and ends upright."""
    down = (1 - np.cos(2 * np.pi * np.arange(16) / 16)) / 2
    both = {"hip_flexion": 4 + 86 * down, "knee_angle": 6 + 89 * down, "ankle_angle": 3 + 24 * down,
            "hip_adduction": -6 - 4 * down, "arm_flex": 5 + 70 * down, "elbow_flex": 20 + 5 * down,
            "arm_add": -10 + 0 * down, "pro_sup": 90 + 0 * down}  # fmt: skip
    trunk = {"pelvis_tilt": -18 * down, "lumbar_extension": -4 - 6 * down, "neck_flexion": 12 * down}
    return {f"{n}_{s}": x for n, x in both.items() for s in "rl"} | trunk


def sit_to_stand_curves() -> dict[str, Array]:
    """Rows of sitting, rising, standing and sitting down again [deg]; 16 even samples."""
    curves = {
        "hip_flexion": [78, 79, 84, 90, 82, 48, 16, 6, 5, 6, 16, 48, 82, 88, 82, 78],
        "knee_angle": [88, 88, 88, 87, 78, 48, 18, 7, 6, 7, 18, 48, 78, 87, 88, 88],
        "ankle_angle": [2, 2, 4, 12, 16, 12, 7, 4, 3, 4, 7, 12, 16, 10, 3, 2],
        "arm_flex": [28, 28, 29, 30, 29, 22, 12, 5, 4, 5, 12, 22, 29, 30, 29, 28],
        "elbow_flex": [62, 62, 60, 54, 48, 36, 24, 18, 17, 18, 24, 36, 48, 54, 60, 62],
    }
    trunk = {
        "pelvis_tilt": [-4, -6, -16, -28, -30, -18, -6, -1, 0, -1, -6, -18, -30, -26, -12, -4],
        "lumbar_extension": [-8, -9, -14, -18, -16, -10, -6, -4, -4, -4, -6, -10, -16, -17, -12, -8],
        "neck_flexion": [2, 2, 8, 14, 14, 8, 3, 0, 0, 0, 3, 8, 14, 13, 7, 2],
    }
    both = curves | {"hip_adduction": [-6] * 16, "arm_add": [-8] * 16, "pro_sup": [100] * 16}
    sided = {f"{n}_{s}": np.asarray(x, float) for n, x in both.items() for s in "rl"}
    return sided | {n: np.asarray(x, float) for n, x in trunk.items()}


CURVES = {"squat": squat_curves, "sit_to_stand": sit_to_stand_curves}


def motion_of(skeleton: Skeleton, motion: str) -> PeriodicMotion:
    """The named motion of this body, feet planted."""
    if motion not in CURVES:
        raise UnknownNameError("motion", motion, CURVES)
    free = from_curves(skeleton, CURVES[motion](), DURATION[motion], 0.0)
    return planted(
        free, dict.fromkeys(POINTS, (-1.0, 2.0)), lambda phase: _over_the_feet(phase, motion), sigma_shake=100.0
    )


def _over_the_feet(phase: Tensor, motion: str) -> dict[str, Tensor]:
    """The weight between heels and toes, while the feet alone carry the body."""
    first, last = CARRIED[motion]
    on = ((phase > first) & (phase < last)).double() / 2
    parts = {"heel": (1 - OVER_FOOT) * on, "toe": OVER_FOOT * on}
    return {f"{name}_{side}": x for name, x in parts.items() for side in "rl"}


def simulate(skeleton: Skeleton, seconds: float = 2.4, fps: float = 120.0, motion: str = "squat") -> Simulation:
    """A squat or sit-to-stand facing +x."""
    found = motion_of(skeleton, motion)
    time = np.arange(round(seconds * fps) + 1) / fps
    half = np.full(len(time), 0.5)
    return carried_by(prescribed(motion, skeleton, found.q, time, EARTH), {"calcn_r": half, "calcn_l": half})


if __name__ == "__main__":
    main(__doc__, simulate, seconds=2.4, options={"motion": "squat"})
