"""Feet on the floor: a periodic motion changed as little as possible so that they neither slip nor sink, in balance.

Balance is the zero-moment point's (Vukobratovic & Borovac 2004), with the body's turning left out: com - com'' z / g
lies in the support.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from physpose.skeleton.model import Point
from sims.gait import ORDER, ROOT_ROWS, SAMPLES, PeriodicMotion, basis

Contact = Mapping[str, tuple[float, float]]  # contact point -> first and last phase on the floor, in cycles
Support = Callable[
    [Tensor], Mapping[str, Tensor]
]  # phases -> contact point -> its part of the weight; sums: 1, or 0: free

# how far a row may leave its curve, one standard deviation [m; deg]
FREEDOM = {
    "pelvis_x": 0.05, "pelvis_y": 0.04, "pelvis_z": 0.30, "pelvis_tilt": 3.0, "lumbar_extension": 4.0,
    "lumbar_bending": 2.0, "hip_flexion": 5.0, "hip_adduction": 4.0, "hip_rotation": 4.0, "knee_angle": 6.0,
    "ankle_angle": 5.0, "subtalar_angle": 4.0, "mtp_angle": 15.0,
}  # fmt: skip
SIGMA_FLOOR, SIGMA_CLEAR = 0.002, 0.005  # [m]
SIGMA_BALANCE = 0.02  # [m] of the zero-moment point
SIGMA_SHAKE = 1.5  # [m/s^2]
SIGMA_SPEED = 0.05  # [m/s]
RAMP = 0.03  # [cycles] over which a contact sets in
G = 9.81  # [m/s^2]


def planted(
    motion: PeriodicMotion,
    contact: Contact,
    support: Support,
    *,
    sigma_shake: float = SIGMA_SHAKE,
    iterations: int = 12,
) -> PeriodicMotion:
    """The nearest motion whose contact points rest on the floor z = 0 while in contact, and stay above it otherwise.

    Gauss-Newton on the Fourier coefficients of the rows in ``FREEDOM``; harmonics may change less the higher they are.
    The zero-moment point follows ``support``, weights of contact points. ``sigma_shake`` [m/s^2] is how much a
    harmonic of the pelvis' place may accelerate it.
    """
    problem = _Planting(motion, contact, support, sigma_shake)
    x = torch.zeros(problem.n, dtype=torch.float64)
    for _ in range(iterations):
        r, J = problem.linearised(x)
        step = torch.linalg.solve(J.T @ J, J.T @ r)
        x = x - step
        if step.abs().max() < 1e-7:
            break
    return problem.motion_at(x)


class _Planting:
    def __init__(self, motion: PeriodicMotion, contact: Contact, support: Support, sigma_shake: float):
        self.motion = motion
        skeleton = motion.chain.skeleton
        touching = tuple(p for p in skeleton.contact_points if p.name in contact)
        centres = tuple(Point(name=b.name, body=b.name, offset=b.com) for b in skeleton.bodies)
        self.points = motion.chain.points(touching + centres)
        self.mass = torch.tensor([b.mass / skeleton.mass for b in skeleton.bodies], dtype=torch.float64)
        last = min(1.2, max(1.0, *(end for _, end in contact.values())))
        self.phase = torch.arange(0, round(last * SAMPLES) + 1, dtype=torch.float64) / SAMPLES
        self.basis = torch.stack([basis(p) for p in self.phase])  # (F, H)
        self.on = torch.stack([_window(self.phase, *contact[p.name]) for p in touching], 1)  # (F, C)
        parts, none = support(self.phase), torch.zeros_like(self.phase)
        self.support = torch.stack([parts.get(p.name, none) for p in touching], 1)  # (F, C)
        self.free, self.prior = _prior(motion, sigma_shake)
        self.n = len(self.prior)

    def motion_at(self, x: Tensor) -> PeriodicMotion:
        coefficients = self.motion.coefficients.clone()
        coefficients[self.free] += x[:-1].reshape(len(self.free), -1)
        return replace(self.motion, coefficients=coefficients, speed=self.motion.speed + x[-1])

    def linearised(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (m,) and Jacobian (m, n) at x."""
        located, J = self._points(x)
        C = self.on.shape[1]
        parts = [
            self._resting(located[:, :C], J[:, :C]),
            self._balanced(located, J),
            (self.prior * x, torch.diag(self.prior)),
        ]
        return torch.cat([r for r, _ in parts]), torch.cat([j for _, j in parts])

    def _resting(self, p: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        """Points (F, C, 3) in contact stay where they are, on the floor; others are above it."""
        w = self.on.sqrt()[..., None]
        total = (w**2).sum(0).clamp(min=1e-9)
        anchor, J_anchor = (w**2 * p).sum(0) / total, (w[..., None] ** 2 * J).sum(0) / total[..., None]
        slip, J_slip = w * (p - anchor) / SIGMA_FLOOR, w[..., None] * (J - J_anchor) / SIGMA_FLOOR
        z, Jz = w[..., 0] * p[..., 2] / SIGMA_FLOOR, w * J[:, :, 2] / SIGMA_FLOOR
        low = (p[..., 2] < 0.0) * (1 - self.on) / SIGMA_CLEAR
        below, J_below = low * p[..., 2], low[..., None] * J[:, :, 2]
        jacobians = [j.reshape(-1, self.n) for j in (J_slip, Jz, J_below)]
        return torch.cat([slip.reshape(-1), z.reshape(-1), below.reshape(-1)]), torch.cat(jacobians)

    def _balanced(self, p: Tensor, J: Tensor) -> tuple[Tensor, Tensor]:
        """The zero-moment point is where the support is; first and last sample left out."""
        C = self.support.shape[1]
        com, J_com = torch.einsum("b,fbk->fk", self.mass, p[:, C:]), torch.einsum("b,fbkn->fkn", self.mass, J[:, C:])
        foot = torch.einsum("fc,fck->fk", self.support, p[:, :C])[1:-1, :2]
        J_foot = torch.einsum("fc,fckn->fkn", self.support, J[:, :C])[1:-1, :2]
        rate = (SAMPLES / self.motion.duration) ** 2
        fall = (com[:, 2].mean() / G).detach()
        # zmp = com - com'' z / g, com'' by differences
        zmp = com[1:-1, :2] - fall * rate * (com[2:] - 2 * com[1:-1] + com[:-2])[:, :2]
        J_zmp = J_com[1:-1, :2] - fall * rate * (J_com[2:] - 2 * J_com[1:-1] + J_com[:-2])[:, :2]
        w = self.support.sum(1)[1:-1, None] / SIGMA_BALANCE
        return (w * (zmp - foot)).reshape(-1), (w[..., None] * (J_zmp - J_foot)).reshape(-1, self.n)

    def _points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All points (F, K, 3) and their Jacobians (F, K, 3, n) by the unknowns."""
        motion, t = self.motion_at(x), self.phase * self.motion.duration
        chain = motion.chain
        q = torch.vmap(motion.q)(t)
        frames = chain.fk(q)
        p = chain.locate(frames, self.points)
        J = chain.point_jacobian(frames, self.points, p)  # columns of the joints are ours; the root's are not
        J[..., :6] = self._root_columns(q, p, t)
        spread = (J[..., self.free, None] * self.basis[:, None, None, None, :]).flatten(-2)
        ahead, aside = _travel(motion.yaw_rate, t)  # d(place)/d(speed)
        by_speed = torch.stack([ahead, aside, torch.zeros_like(t)], -1)[:, None, :, None].expand(*p.shape, 1)
        return p, torch.cat([spread, by_speed], -1)

    def _root_columns(self, q: Tensor, p: Tensor, t: Tensor) -> Tensor:
        """d(points)/d(pelvis x, y, z, tilt) (F, K, 3, 6); list and rotation are not free: zero."""
        yaw = self.motion.yaw_rate * t
        c, s, o = yaw.cos(), yaw.sin(), torch.zeros_like(yaw)
        x, y, z = torch.stack([c, s, o], -1), torch.stack([-s, c, o], -1), torch.stack([o, o, o + 1], -1)
        # pelvis_tilt turns about the axis to the right, -y
        tilt = torch.linalg.cross((-y)[:, None].expand_as(p), p - q[:, None, :3])
        shifts = [v[:, None].expand_as(p) for v in (x, y, z)]
        return torch.stack([*shifts, tilt, torch.zeros_like(p), torch.zeros_like(p)], -1)


def _travel(yaw_rate: float, t: Tensor) -> tuple[Tensor, Tensor]:
    """Where someone is after t [s] at unit speed [m]."""
    if yaw_rate == 0.0:
        return t, torch.zeros_like(t)
    return torch.sin(yaw_rate * t) / yaw_rate, (1 - torch.cos(yaw_rate * t)) / yaw_rate


def _prior(motion: PeriodicMotion, sigma_shake: float) -> tuple[Tensor, Tensor]:
    """Indices of the free rows, and one over the standard deviation of each of their coefficients and of the speed."""
    rows = (*ROOT_ROWS, *motion.chain.skeleton.coordinate_names)
    sigmas = {i: _freedom(n) for i, n in enumerate(rows) if _freedom(n) > 0}
    free, sigma = torch.tensor(list(sigmas)), torch.tensor(list(sigmas.values()), dtype=torch.float64)
    harmonic = torch.tensor([0, *range(1, ORDER + 1), *range(1, ORDER + 1)], dtype=torch.float64)
    prior = (1 + (harmonic / 3) ** 2)[None] / sigma[:, None]
    # a heavy pelvis is not shaken: its accelerations A (2 pi k / T)^2 stay small
    shaken = (2 * torch.pi * harmonic / motion.duration) ** 2 / sigma_shake
    prior = torch.where((free < 3)[:, None], prior.maximum(shaken[None]), prior)
    return free, torch.cat([prior.reshape(-1), torch.tensor([1 / SIGMA_SPEED], dtype=torch.float64)])


def _freedom(row: str) -> float:
    sigma = FREEDOM.get(row.removesuffix("_r").removesuffix("_l"), 0.0)
    return sigma if row in ROOT_ROWS[:3] else float(np.radians(sigma))


def _window(phase: Tensor, first: float, last: float) -> Tensor:
    """1 between two phases, with short smooth ramps inside."""
    up, down = ((phase - first) / RAMP).clamp(0, 1), ((last - phase) / RAMP).clamp(0, 1)
    return up * down
