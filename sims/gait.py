"""Periodic motions on the floor: published curves, changed as little as possible so that feet neither slip nor sink.

A motion is a truncated Fourier series of the pelvis' place and attitude in a frame that travels along the floor (speed,
yaw rate) and of every coordinate. All is smooth, so that velocities and accelerations are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
Contact = Mapping[str, tuple[float, float]]  # contact point -> first and last phase on the floor, in cycles

# how far a row may leave its curve, one standard deviation [m; deg]
FREEDOM = {
    "pelvis_x": 0.03, "pelvis_y": 0.02, "pelvis_z": 0.30, "pelvis_tilt": 2.0, "hip_flexion": 5.0, "hip_adduction": 3.0,
    "hip_rotation": 4.0, "knee_angle": 5.0, "ankle_angle": 5.0, "subtalar_angle": 3.0, "mtp_angle": 15.0,
}  # fmt: skip
SIGMA_FLOOR, SIGMA_CLEAR = 0.002, 0.005  # [m]
SIGMA_SHAKE = 1.0  # [m/s^2]
SIGMA_SPEED = 0.05  # [m/s]
RAMP = 0.03  # [cycles] over which a contact sets in


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


def planted(
    motion: PeriodicMotion, contact: Contact, *, sigma_shake: float = SIGMA_SHAKE, iterations: int = 8
) -> PeriodicMotion:
    """The nearest motion whose contact points rest on the floor z = 0 while in contact, and stay above it otherwise.

    Gauss-Newton on the Fourier coefficients of the rows in ``FREEDOM``; harmonics may change less the higher they are.
    ``sigma_shake`` [m/s^2] is how much a harmonic of the pelvis' place may accelerate it.
    """
    problem = _Planting(motion, contact, sigma_shake)
    x = torch.zeros(problem.n, dtype=torch.float64)
    for _ in range(iterations):
        r, J = problem.linearised(x)
        step = torch.linalg.solve(J.T @ J, J.T @ r)
        x = x - step
        if step.abs().max() < 1e-7:
            break
    return problem.motion_at(x)


class _Planting:
    def __init__(self, motion: PeriodicMotion, contact: Contact, sigma_shake: float):
        self.motion = motion
        skeleton = motion.chain.skeleton
        self.points = motion.chain.points(tuple(p for p in skeleton.contact_points if p.name in contact))
        names = [p.name for p in skeleton.contact_points if p.name in contact]
        rows = (*ROOT_ROWS, *skeleton.coordinate_names)
        self.row_sigma = {i: _freedom(n) for i, n in enumerate(rows) if _freedom(n) > 0}
        self.free = torch.tensor(list(self.row_sigma))
        last = min(1.2, max(1.0, *(end for _, end in contact.values())))
        self.phase = torch.arange(0, round(last * SAMPLES) + 1, dtype=torch.float64) / SAMPLES
        self.basis = torch.stack([basis(p) for p in self.phase])  # (F, H)
        self.on = torch.stack([_window(self.phase, *contact[n]) for n in names], 1)  # (F, C)
        harmonic = torch.tensor([0, *range(1, ORDER + 1), *range(1, ORDER + 1)], dtype=torch.float64)
        sigma = torch.tensor(list(self.row_sigma.values()), dtype=torch.float64)
        prior = (1 + (harmonic / 3) ** 2)[None] / sigma[:, None]
        # a heavy pelvis is not shaken: its accelerations A (2 pi k / T)^2 stay small
        shaken = (2 * torch.pi * harmonic / motion.duration) ** 2 / sigma_shake
        linear = (self.free < 3)[:, None]
        self.prior = torch.where(linear, prior.maximum(shaken[None]), prior).reshape(-1)
        self.n = len(self.prior) + 1

    def motion_at(self, x: Tensor) -> PeriodicMotion:
        coefficients = self.motion.coefficients.clone()
        coefficients[self.free] += x[:-1].reshape(len(self.free), -1)
        return replace(self.motion, coefficients=coefficients, speed=self.motion.speed + x[-1])

    def linearised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (m,) and Jacobian (m, n) at x."""
        p, J = self._points(x)  # (F, C, 3), (F, C, 3, n)
        w = self.on.sqrt()[..., None]
        total = (w**2).sum(0).clamp(min=1e-9)
        anchor, J_anchor = (w**2 * p).sum(0) / total, (w[..., None] ** 2 * J).sum(0) / total[..., None]
        r = w * (p - anchor) / SIGMA_FLOOR  # a point in contact stays where it is
        Jr = w[..., None] * (J - J_anchor) / SIGMA_FLOOR
        z, Jz = w[..., 0] * p[..., 2] / SIGMA_FLOOR, w * J[:, :, 2] / SIGMA_FLOOR
        low = (p[..., 2] < 0.0) * (1 - self.on) / SIGMA_CLEAR
        below, J_below = low * p[..., 2], low[..., None] * J[:, :, 2]
        prior = torch.cat([self.prior, torch.tensor([1 / SIGMA_SPEED])])
        residuals = [r.reshape(-1), z.reshape(-1), below.reshape(-1), prior * x]
        jacobians = [Jr.reshape(-1, self.n), Jz.reshape(-1, self.n), J_below.reshape(-1, self.n), torch.diag(prior)]
        return torch.cat(residuals), torch.cat(jacobians)

    def _points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        motion = self.motion_at(x)
        chain, free = motion.chain, self.free

        def located(unknown: Tensor, rows: Tensor, phase: Tensor) -> Tensor:
            rows = rows.index_put((free,), unknown[:-1])
            q = motion.placed(rows, phase * motion.duration, unknown[-1])
            return chain.locate(chain.fk(q), self.points)

        rows = self.basis @ motion.coefficients.T
        unknown = torch.cat([rows[:, free], motion.speed.expand(len(rows), 1)], 1)
        p = torch.vmap(located)(unknown, rows, self.phase)
        J = torch.vmap(torch.func.jacfwd(located))(unknown, rows, self.phase)  # (F, C, 3, n_free + 1)
        spread = (J[..., :-1, None] * self.basis[:, None, None, None, :]).flatten(-2)
        return p, torch.cat([spread, J[..., -1:]], -1)


def _freedom(row: str) -> float:
    sigma = FREEDOM.get(row.removesuffix("_r").removesuffix("_l"), 0.0)
    return sigma if row in ROOT_ROWS[:3] else float(np.radians(sigma))


def _window(phase: Tensor, first: float, last: float) -> Tensor:
    """1 between two phases, with short smooth ramps inside; always 1 where the span is a whole cycle or more."""
    if last - first >= 1.0:
        return torch.ones_like(phase)
    up, down = ((phase - first) / RAMP).clamp(0, 1), ((last - phase) / RAMP).clamp(0, 1)
    return up * down
