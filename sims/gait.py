"""Periodic motions given by curves, smooth in time.

A motion is a truncated Fourier series of the pelvis' place and attitude in a frame that travels along the floor (speed,
yaw rate) and of every coordinate. All is smooth, so that velocities and accelerations are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.skeleton.model import Skeleton
from physpose.spatial import quat_mul
from physpose.types import Array

ROOT_ROWS = ("pelvis_x", "pelvis_y", "pelvis_z", "pelvis_tilt", "pelvis_list", "pelvis_rotation")
ORDER = 10  # highest harmonic
SAMPLES = 48  # a cycle


@dataclass(frozen=True, kw_only=True)
class PeriodicMotion:
    """Fourier series of everything that moves, in a frame that travels along the floor."""

    chain: KinematicChain
    coefficients: Tensor  # (n_rows, 2 ORDER + 1): constant, cosines, sines; rows: ROOT_ROWS, coordinates
    duration: float  # [s] of a cycle
    speed: Tensor  # () [m/s]
    yaw_rate: float = 0.0  # [rad/s]

    def rows(self, t: Tensor) -> Tensor:
        """All rows (n_rows,) at one time."""
        return self.coefficients @ basis(t / self.duration)

    def q(self, t: Tensor) -> Tensor:
        """q (nq,) at one time () [s]."""
        return self.placed(self.rows(t), t, self.speed)

    def placed(self, rows: Tensor, t: Tensor, speed: Tensor) -> Tensor:
        """Rows (n_rows,) to q (nq,) in the world."""
        yaw = self.yaw_rate * t
        c, s = torch.cos(yaw), torch.sin(yaw)
        if self.yaw_rate == 0.0:
            x, y = speed * t, torch.zeros_like(t)
        else:  # along a circle
            x, y = speed / self.yaw_rate * s, speed / self.yaw_rate * (1 - c)
        p = torch.stack([x + c * rows[0] - s * rows[1], y + s * rows[0] + c * rows[1], rows[2]])
        return torch.cat([p, _attitude(yaw, rows[3], rows[4], rows[5]), rows[6:]])


def basis(phase: Tensor) -> Tensor:
    """(2 ORDER + 1,) Fourier basis at one phase () [cycles]."""
    k = 2 * torch.pi * phase * torch.arange(1, ORDER + 1, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), k.cos(), k.sin()])


def _attitude(yaw: Tensor, tilt: Tensor, list_: Tensor, rotation: Tensor) -> Tensor:
    """Quaternion xyzw (4,) of R_z(yaw) R_zup R_z(tilt) R_x(list) R_y(rotation), OpenSim's pelvis turns."""
    half = torch.sqrt(torch.tensor(0.5, dtype=torch.float64))
    quat = _about(2, yaw)
    quat = quat_mul(quat, torch.stack([half, half * 0, half * 0, half]))  # y up to z up
    for axis, angle in ((2, tilt), (0, list_), (1, rotation)):
        quat = quat_mul(quat, _about(axis, angle))
    return quat


def _about(axis: int, angle: Tensor) -> Tensor:
    zero = torch.zeros_like(angle)
    parts = [zero, zero, zero, torch.cos(angle / 2)]
    parts[axis] = torch.sin(angle / 2)
    return torch.stack(parts)


def from_curves(
    skeleton: Skeleton, curves: Mapping[str, Array], duration: float, speed: float, yaw_rate: float = 0.0
) -> PeriodicMotion:
    """A motion of curves sampled evenly over the cycle: name of a row -> values [m; deg]; a row not named: neutral.

    "name_r" moves the left side too, half a cycle later, unless "name_l" is given.
    """
    chain = KinematicChain(skeleton)
    names = (*ROOT_ROWS, *skeleton.coordinate_names)
    rows = np.zeros((len(names), SAMPLES))
    rows[2] = skeleton.neutral[2]
    rows[6:] = skeleton.neutral[7:, None]
    for name, values in curves.items():
        unit = 1.0 if name in ROOT_ROWS[:3] else np.pi / 180
        rows[names.index(name)] = unit * _evenly(values)
        twin = name.removesuffix("_r") + "_l"
        if name.endswith("_r") and twin not in curves:
            rows[names.index(twin)] = np.roll(rows[names.index(name)], SAMPLES // 2)
    phases = torch.arange(SAMPLES, dtype=torch.float64) / SAMPLES
    B = torch.stack([basis(x) for x in phases]).numpy()
    coefficients = torch.as_tensor(np.linalg.lstsq(B, rows.T, rcond=None)[0].T.copy())
    return PeriodicMotion(
        chain=chain, coefficients=coefficients, duration=duration, speed=torch.tensor(speed, dtype=torch.float64),
        yaw_rate=yaw_rate,
    )  # fmt: skip


def _evenly(values: Array) -> Array:
    """Periodic samples at any spacing to SAMPLES, by a periodic cubic spline."""
    from scipy.interpolate import CubicSpline

    closed = np.append(values, values[0])
    spline = CubicSpline(np.linspace(0, 1, len(closed)), closed, bc_type="periodic")
    return spline(np.arange(SAMPLES) / SAMPLES)
