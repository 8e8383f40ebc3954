"""What is expected of the force under a foot that walks, from what force plates measured under adults.

Over a stance, from strike to toe-off, people who walk on level ground load their feet alike:

    pressure  (cop - mtp) . ahead / L              where the force acts; L: from the heel's to the ball's joint
    drive     f . ahead / (W s)                    braking, then pushing
    pitch     ((cop - com) x f) . left / (W h s)   its moment about the centre of mass

with body weight W, height h of the centre of mass and s, how long steps are over h: where steps are short, forces point
upwards through the centre of mass. All three are linear in the forces of the sole's points. They are told of whole
stances alone that are those of a steady walk straight on: both feet on the floor at either end, one alone between, the
other foot passing from behind to ahead. Where the motion alone tells wholly other forces, nothing is expected.
skeletons/step_forces.yaml, by benchmarks/fit_step_forces.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import radians

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from physpose.skeleton.files import LOADER, skeleton_folder
from physpose.skeleton.model import Skeleton
from physpose.types import Array

QUANTITIES = ("pressure", "drive", "pitch")
SOLE = ("heel", "ball_medial", "ball_lateral", "toe")
TOUCHES = 0.5  # of the belief
BLIP = 0.05  # [s] a shorter touch, as of toes that scuff, is none, and a shorter lift neither
STANCE = (0.45, 0.9)  # [s] from fast walks to slow ones; measured: 0.7 to 0.8
STEP = (0.5, 0.85)  # over the height of the centre of mass; measured: 0.63 to 0.68
STRAIGHT = radians(20.0)  # by which the way of the centre of mass turns from strike to toe-off; measured: 11 at most
STEADY = 0.17  # of its speed, by which that changes; measured: 0.15 at most
SAME_LEVEL = 0.05  # [m] higher or lower, the other foot stands on a step
# mean over a stance of the three quantities' squares, in sigma, by forces that the motion alone tells, above which it
# is no such walk: people's 8 to 31, a walker's who was made up 110 to 180 (three adults, nine children, sims/walk.py)
FOREIGN = 60.0
LEAST_LOAD = 0.1  # body weights: of a foot that bears less, nothing says where


@dataclass(frozen=True)
class StepTable:
    """Mean and standard deviation over a stance, of people."""

    phase: Array  # (P,) from 0, strike, to 1, toe-off
    load: Array  # (P,) vertical force [body weights], mean
    mean: Array  # (P, 3) of QUANTITIES
    sigma: Array  # (P, 3)
    wrench_sigma: tuple[float, float]  # of the wrench that a walk under markers needs, as ForceSettings has it

    @staticmethod
    @cache
    def load_shipped() -> StepTable:
        """The shipped one."""
        data = yaml.load((skeleton_folder() / "step_forces.yaml").read_text(), Loader=LOADER)  # noqa: S506
        mean, sigma = (np.array([data[k][name] for name in QUANTITIES], float).T for k in ("mean", "sigma"))
        phase, load = (np.array(data[name], float) for name in ("phase", "load"))
        return StepTable(phase, load, mean, sigma, tuple(data["wrench_sigma"]))

    def at(self, phase: Array) -> tuple[Array, Array, Array]:
        """Load (n,), mean and sigma (n, 3) at phases (n,)."""
        columns = np.column_stack([self.load, self.mean, self.sigma])
        found = np.column_stack([np.interp(phase, self.phase, c) for c in columns.T])
        return found[:, 0], found[:, 1:4], found[:, 4:]


@dataclass(frozen=True)
class Stance:
    """One foot on the floor, from strike to toe-off."""

    side: str  # "r" or "l"
    frames: slice
    ahead: Array  # (3,) horizontal unit vector, where the pelvis faces
    floor: float  # [m] height of what the foot stands on
    step: float  # mean of the steps before and after, over the height of the centre of mass

    @property
    def phase(self) -> Array:
        """(n,) of its frames."""
        n = self.frames.stop - self.frames.start
        return (np.arange(n) + 0.5) / n


@dataclass(frozen=True)
class Gait:
    """What stances and their axes follow from."""

    skeleton: Skeleton
    time: Array  # (T,) [s]
    positions: Array  # (T, n_bodies, 3) [m]
    facing: Array  # (T, 3) x-axis of the pelvis
    com: Array  # (T, 3) [m]
    points: Array  # (T, C, 3) [m] the support points

    def of(self, body: str) -> Array:
        """(T, 3) [m]."""
        return self.positions[:, self.skeleton.body_index(body)]


@dataclass(frozen=True)
class StepForces:
    """Rows of least squares on the points' forces in body weights: residual + jacobian . force is white."""

    residual: Tensor  # (T, 2, 3) of no force: right and left foot, QUANTITIES
    jacobian: Tensor  # (T, 2, 3, C, 3)
    stance: Tensor  # (T, 2) number of the stance that rows are about, from 1; 0 of none, whose rows are zero
    wrench_sigma: tuple[float, float]  # of the needed wrench in stances, as ForceSettings has it

    @property
    def walks(self) -> Tensor:
        """(T,) bool: frames that any row is about."""
        return (self.stance > 0).any(1)

    def frames(self, keep: slice) -> StepForces:
        """The same of the frames of ``keep``."""
        return replace(self, residual=self.residual[keep], jacobian=self.jacobian[keep], stance=self.stance[keep])

    def of_points(self, used: Tensor) -> StepForces:
        """The same of some points (C,) bool."""
        return replace(self, jacobian=self.jacobian[..., used, :])

    def borne_out(self, force: Tensor) -> StepForces | None:
        """The same of those stances in which forces (T, C, 3) [body weights] that the motion alone tells are not wholly
        others; None: of none."""
        off = self.residual + torch.einsum("tfqci,tci->tfq", self.jacobian, force)
        squares, of = (off**2).sum(-1).flatten(), self.stance.flatten()
        total = squares.new_zeros(int(of.max()) + 1).index_add(0, of, squares)
        alike = total < FOREIGN * torch.bincount(of, minlength=len(total))
        alike[0] = False
        keep = alike[self.stance]
        if not keep.any():
            return None
        rows = keep[..., None]
        stance = torch.where(keep, self.stance, 0)
        return StepForces(self.residual * rows, self.jacobian * rows[..., None, None], stance, self.wrench_sigma)


def has_feet(skeleton: Skeleton) -> bool:
    """Are there soles and joints by the names that this page needs."""
    names = {p.name for p in skeleton.contact_points}
    soles = all(f"{part}_{side}" in names for part in SOLE for side in "rl")
    return soles and {"calcn_r", "calcn_l", "toes_r", "toes_l"} <= {*skeleton.body_names}


def soles(skeleton: Skeleton, side: str) -> list[int]:
    """Indices of a foot's points among the support points."""
    names = [p.name for p in skeleton.support_points]
    return [names.index(f"{part}_{side}") for part in SOLE]


def step_forces(gait: Gait, belief: Array) -> StepForces | None:
    """What is expected of the forces of a gait whose support points are believed to bear (T, C); None: of none."""
    stances = list(walking_stances(gait, belief)) if has_feet(gait.skeleton) else []
    if not stances:
        return None
    table, (T, C) = StepTable.load_shipped(), belief.shape
    residual, jacobian = np.zeros((T, 2, 3)), np.zeros((T, 2, 3, C, 3))
    numbers = np.zeros((T, 2), int)
    for number, stance in enumerate(stances, 1):
        load, mean, sigma = table.at(stance.phase)
        lever = np.ones_like(mean) / sigma
        lever[:, 0] /= np.maximum(load, LEAST_LOAD)
        rows = quantities(gait, stance)
        rows[:, 0, soles(gait.skeleton, stance.side), 2] -= mean[:, :1]
        foot = "rl".index(stance.side)
        jacobian[stance.frames, foot] = lever[..., None, None] * rows
        residual[stance.frames, foot, 1:] = -(lever * mean)[:, 1:]
        numbers[stance.frames, foot] = number
    as_tensors = torch.as_tensor(residual), torch.as_tensor(jacobian), torch.as_tensor(numbers)
    return StepForces(*as_tensors, table.wrench_sigma)


def quantities(gait: Gait, stance: Stance) -> Array:
    """(n, 3, C, 3): QUANTITIES as they follow from forces [body weights] of the points; pressure times the load."""
    k, side, ahead = stance.frames, stance.side, stance.ahead
    left, h = np.cross([0.0, 0.0, 1.0], ahead), gait.com[k, 2:] - stance.floor
    length = np.linalg.norm(gait.skeleton.bodies[gait.skeleton.body_index(f"toes_{side}")].joint.translation)
    sole = soles(gait.skeleton, side)
    arms = gait.points[k][:, sole] - gait.com[k, None]
    rows = np.zeros((len(h), 3, gait.points.shape[1], 3))
    rows[:, 0, sole, 2] = (gait.points[k][:, sole] - gait.of(f"toes_{side}")[k, None]) @ ahead / length
    rows[:, 1, sole] = ahead / stance.step
    # left . (arm x f) = f . (left x arm)
    rows[:, 2, sole] = np.cross(left, arms) / (h * stance.step)[..., None]
    return rows


# --- stances of a walk ------------------------------------------------------------------------------------------------


def walking_stances(gait: Gait, belief: Array) -> Iterator[Stance]:
    """The whole stances of a walk; of feet alone: who holds on, sits or crawls shares the load otherwise."""
    feet = {side: soles(gait.skeleton, side) for side in "rl"}
    touching = {side: _settled(belief[:, feet[side]].max(1) > TOUCHES, gait.time) for side in "rl"}
    elsewhere = np.delete(belief, feet["r"] + feet["l"], axis=1).max(1, initial=0.0) > TOUCHES
    for side, other in ("rl", "lr"):
        for frames in _stretches(touching[side]):
            changes = np.diff(touching[other][frames].astype(int))
            lifts = changes[changes != 0].tolist() == [-1, 1]  # once, and is down at either end
            stance = _stance(gait, (side, other), frames)
            if lifts and not elsewhere[frames].any() and stance is not None and _steady(gait, stance):
                yield stance


def _settled(on: NDArray[np.bool_], time: Array) -> NDArray[np.bool_]:
    """The same (T,) without blips."""
    for value in (True, False):
        for k in _stretches(on == value):
            if time[k.stop] - time[k.start] < BLIP:
                on[k] = not value
    return on


def _stretches(on: NDArray[np.bool_]) -> list[slice]:
    """Frames of each stretch that neither begins nor ends with the recording."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(int))).reshape(-1, 2)
    return [slice(int(a), int(b)) for a, b in edges if a > 0 and b < len(on)]


def _stance(gait: Gait, sides: tuple[str, str], frames: slice) -> Stance | None:
    """The stance of the first side, if it lasts and strides as those of a walk."""
    ahead = gait.facing[frames].mean(0) * [1.0, 1.0, 0.0]
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    lowest, others = (gait.points[frames][:, soles(gait.skeleton, side), 2].min(1) for side in sides)
    floor = float(np.median(lowest))
    away = gait.of(f"toes_{sides[0]}")[frames] - gait.of(f"toes_{sides[1]}")[frames]
    steps = np.array([away[0] @ ahead, -away[-1] @ ahead]) / (gait.com[frames, 2].mean() - floor)
    lasts = STANCE[0] < gait.time[frames.stop - 1] - gait.time[frames.start] < STANCE[1]
    strides = STEP[0] < steps.mean() < STEP[1] and steps.min() > STEP[0] / 2
    level = np.abs((others - floor)[[0, -1]]).max() < SAME_LEVEL
    return Stance(sides[0], frames, ahead, floor, float(steps.mean())) if lasts and strides and level else None


def _steady(gait: Gait, stance: Stance) -> bool:
    """Does the body go straight on, neither starting nor stopping."""
    velocity = np.gradient(gait.com, gait.time, axis=0)[[stance.frames.start, stance.frames.stop - 1], :2]
    speed, way = np.linalg.norm(velocity, axis=1), np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0]))
    return bool(np.ptp(way) < STRAIGHT and np.ptp(speed) < STEADY * speed.mean())
