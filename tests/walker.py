"""A made-up walk of the adult body on two plates whose forces fit its motion exactly; dynamics by Pinocchio."""

from dataclasses import dataclass

import numpy as np

from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.io.forces import Forces
from physpose.skeleton import load_skeleton
from physpose.skeleton.model import Skeleton
from physpose.types import Wrench

STEP, RATE, LENGTH = 0.6, 100.0, 0.5  # [s] of one foot's contact, [1/s], [m]
GRAVITY = np.array([0.0, 0.0, -9.81])


@dataclass
class Walk:
    body: Skeleton
    time: np.ndarray
    q: np.ndarray
    forces: Forces
    stance: np.ndarray  # (T,) 0: right foot, 1: left


def walk() -> Walk:
    """Right foot on plate 1, then left foot on plate 2, each standing still while the other one swings over."""
    body = load_skeleton("adult", age=30, sex="m", height=1.75, mass=72.0)
    time = 2.0 + np.arange(round(2 * STEP * RATE)) / RATE
    s = (time - time[0]) / STEP  # 0..1 right, 1..2 left
    stance = (s >= 1).astype(int)
    q = np.tile(body.neutral, (len(time), 1))
    swing = np.sin(np.pi * np.clip(s % 1, 0, 1)) ** 2
    for side, mine in (("r", stance == 1), ("l", stance == 0)):
        for name, size in (("hip_flexion", 0.5), ("knee_angle", 1.0)):
            q[:, 7 + body.coordinate_names.index(f"{name}_{side}")] += np.where(mine, size * swing, 0)
    lean = 0.1 * np.cos(0.5 * np.pi * s)  # [rad] the standing foot comes under the body
    for side, sign in (("r", 1), ("l", -1)):
        q[:, 7 + body.coordinate_names.index(f"hip_adduction_{side}")] += sign * lean
    return Walk(body, time, q, Forces(wrenches=_wrenches(body, time, q, stance), source="made up"), stance)


def _wrenches(body, time, q, stance):
    """The root wrench that the motion needs, as one force at a pressure point under the standing foot."""
    from physpose.known_motion import read_motion

    known = read_motion((time, q), body, lowpass=None, degrees=None)
    model = PinocchioModel(body)
    positions, rotations = model.forward_kinematics(known.q)
    root = model.inverse_dynamics(known.q, known.v, known.a, GRAVITY)[:, :6]
    force, moment = (np.einsum("tij,tj->ti", rotations[:, 0], root[:, i : i + 3]) for i in (0, 3))
    about_origin = moment + np.cross(positions[:, 0], force)
    # cop on the floor z = 0: M = cop x F + free moment along z
    cop = np.stack([-about_origin[:, 1], about_origin[:, 0], 0 * time], 1) / force[:, 2:3]
    free = about_origin - np.cross(cop, force)
    out = []
    for k, name in enumerate(("plate 1", "plate 2")):
        on = (stance == k)[:, None]
        out.append(
            Wrench(name=name, time=time, force=np.where(on, force, 0), cop=np.where(on, cop, np.nan),
                   free_moment=np.where(on, free, 0))
        )  # fmt: skip
    return tuple(out)
