"""Rotations and rigid motions in PyTorch: any leading batch shape, gradients finite at angle zero and at pi.

Quaternions are xyzw (scalar last), as Pinocchio stores them. A twist is [linear, angular].
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 1e-4  # [rad] below it series replace quotients: their error is under 1e-16 in float64


def skew(w: Tensor) -> Tensor:
    """Matrix [w]x (*b, 3, 3) of a vector (*b, 3), so that [w]x u = w x u."""
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def matvec(R: Tensor, x: Tensor) -> Tensor:
    """R @ x for (*b, 3, 3) and (*b, 3)."""
    return (R @ x.unsqueeze(-1)).squeeze(-1)


def axis_rotation(axis: Tensor, angle: Tensor) -> Tensor:
    """Rotation (*b, 3, 3) by ``angle`` (*b) [rad] about the unit vector ``axis`` (*b, 3) (Rodrigues)."""
    K = skew(axis)
    s, c = angle.sin()[..., None, None], angle.cos()[..., None, None]
    # R = 1 + sin(a) K + (1 - cos(a)) K^2
    return torch.eye(3, dtype=K.dtype, device=K.device) + s * K + (1 - c) * (K @ K)


def _sinc_terms(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sin(t)/t, (1 - cos(t))/t^2, (t - sin(t))/t^3 of t = |w|, each (*b)."""
    t2 = (w * w).sum(-1)
    small = t2 < SMALL**2
    t2_safe = torch.where(small, torch.ones_like(t2), t2)
    t = t2_safe.sqrt()
    a = torch.where(small, 1 - t2 / 6, t.sin() / t)
    # 1 - cos(t) = 2 sin(t/2)^2 keeps its digits at small angles, which float32 needs
    b = torch.where(small, 0.5 - t2 / 24, 2 * ((t / 2).sin() / t) ** 2)
    c = torch.where(small, 1 / 6 - t2 / 120, (t - t.sin()) / (t2_safe * t))
    return a, b, c


def so3_exp(w: Tensor) -> Tensor:
    """Rotation matrix (*b, 3, 3) of a rotation vector (*b, 3) [rad]."""
    a, b, _ = _sinc_terms(w)
    K = skew(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + a[..., None, None] * K + b[..., None, None] * (K @ K)


def turn_of_z(ray: Tensor) -> Tensor:
    """The smallest rotation (*b, 3, 3) that turns the z axis onto unit vectors (*b, 3), which must not be -z."""
    v = torch.stack([-ray[..., 1], ray[..., 0], torch.zeros_like(ray[..., 0])], -1)  # z x ray
    K = skew(v)
    # 1 + [v]x + [v]x^2 / (1 + c), c the cosine between them
    return torch.eye(3, dtype=ray.dtype, device=ray.device) + K + K @ K / (1 + ray[..., 2])[..., None, None]


def quat_to_matrix(quat: Tensor) -> Tensor:
    """Rotation matrix (*b, 3, 3) of a unit quaternion xyzw (*b, 4)."""
    u, w = quat[..., :3], quat[..., 3:]
    K = skew(u)
    # R = 1 + 2 w [u]x + 2 [u]x^2
    return torch.eye(3, dtype=quat.dtype, device=quat.device) + 2 * w[..., None] * K + 2 * (K @ K)


def quat_mul(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product of quaternions xyzw (*b, 4)."""
    pu, pw, qu, qw = p[..., :3], p[..., 3:], q[..., :3], q[..., 3:]
    u = pw * qu + qw * pu + torch.linalg.cross(pu, qu)
    return torch.cat([u, pw * qw - (pu * qu).sum(-1, keepdim=True)], -1)


def quat_conj(q: Tensor) -> Tensor:
    """Inverse of a unit quaternion xyzw (*b, 4)."""
    return torch.cat([-q[..., :3], q[..., 3:]], -1)


def quat_exp(w: Tensor) -> Tensor:
    """Unit quaternion xyzw (*b, 4) of a rotation vector (*b, 3) [rad]."""
    t2 = (w * w).sum(-1, keepdim=True)
    small = t2 < SMALL**2
    t = torch.where(small, torch.ones_like(t2), t2).sqrt()
    s = torch.where(small, 0.5 - t2 / 48, (t / 2).sin() / t)
    c = torch.where(small, 1 - t2 / 8, (t / 2).cos())
    return torch.cat([s * w, c], -1)


def quat_log(q: Tensor) -> Tensor:
    """Rotation vector (*b, 3) [rad], length at most pi, of a unit quaternion xyzw (*b, 4)."""
    q = torch.where(q[..., 3:] < 0, -q, q)
    u, w = q[..., :3], q[..., 3:]
    n2 = (u * u).sum(-1, keepdim=True)
    small = n2 < SMALL**2
    n = torch.where(small, torch.ones_like(n2), n2).sqrt()
    w_safe = torch.where(small, w, torch.ones_like(w))
    # angle / |u|: 2 atan2(|u|, w) / |u|, and its series 2/w (1 - n^2 / (3 w^2))
    k = torch.where(small, 2 / w_safe * (1 - n2 / (3 * w_safe**2)), 2 * torch.atan2(n, w) / n)
    return k * u


def matrix_to_quat(R: Tensor) -> Tensor:
    """Unit quaternion xyzw (*b, 4) of a rotation matrix (*b, 3, 3); of the two, the one with w >= 0."""
    # Each row is 4 q_i q (i = x, y, z, w); the one with the largest diagonal divides safely (Shepperd 1978).
    d, trace = torch.diagonal(R, dim1=-2, dim2=-1), torch.diagonal(R, dim1=-2, dim2=-1).sum(-1, keepdim=True)
    plus, minus = R + R.mT, R.mT - R
    axis = torch.stack([minus[..., 1, 2], minus[..., 2, 0], minus[..., 0, 1]], -1)  # 4 w u
    diagonal = torch.diag_embed(1 + 2 * d - trace)
    vector = torch.where(torch.eye(3, dtype=torch.bool, device=R.device), diagonal, plus)
    upper = torch.cat([vector, axis[..., None]], -1)
    lower = torch.cat([axis, 1 + trace], -1)
    rows = torch.cat([upper, lower[..., None, :]], -2)
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    q = torch.take_along_dim(rows, best[..., None, None], -2).squeeze(-2)
    q = q / q.norm(dim=-1, keepdim=True)
    return torch.where(q[..., 3:] < 0, -q, q)


def so3_log(R: Tensor) -> Tensor:
    """Rotation vector (*b, 3) [rad] of a rotation matrix (*b, 3, 3)."""
    return quat_log(matrix_to_quat(R))


def so3_right_jacobian_inverse(w: Tensor) -> Tensor:
    """J_r^{-1}(w) (*b, 3, 3): log(exp(w) exp(d)) = w + J_r^{-1}(w) d + O(d^2) (Chirikjian 2012, 10.86)."""
    t2 = (w * w).sum(-1)
    small = t2 < SMALL**2
    t2_safe = torch.where(small, torch.ones_like(t2), t2)
    t = t2_safe.sqrt()
    k = torch.where(small, 1 / 12 + t2 / 720, 1 / t2_safe - (1 + t.cos()) / (2 * t * t.sin()))
    K = skew(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + K / 2 + k[..., None, None] * (K @ K)


def se3_exp(twist: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement p (*b, 3) [m] and quaternion xyzw (*b, 4) of a body twist (*b, 6) held for one unit of time."""
    rho, w = twist[..., :3], twist[..., 3:]
    _, b, c = _sinc_terms(w)
    wr = torch.linalg.cross(w, rho)
    # p = V rho, V = 1 + b [w]x + c [w]x^2
    p = rho + b[..., None] * wr + c[..., None] * torch.linalg.cross(w, wr)
    return p, quat_exp(w)


def se3_log(p: Tensor, quat: Tensor) -> Tensor:
    """Body twist (*b, 6) that moves the identity to displacement p (*b, 3) and quaternion xyzw (*b, 4)."""
    w = quat_log(quat)
    t2 = (w * w).sum(-1, keepdim=True)
    small = t2 < SMALL**2
    t2_safe = torch.where(small, torch.ones_like(t2), t2)
    t = t2_safe.sqrt()
    # V^-1 = 1 - [w]x / 2 + k [w]x^2, k = (1 - t/2 cot(t/2)) / t^2
    k = torch.where(small, 1 / 12 + t2 / 720, (1 - t / 2 * (t / 2).cos() / (t / 2).sin()) / t2_safe)
    wp = torch.linalg.cross(w, p)
    rho = p - wp / 2 + k * torch.linalg.cross(w, wp)
    return torch.cat([rho, w], -1)
