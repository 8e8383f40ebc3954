"""Conjugate gradients: the one linear solve behind gradients through a minimiser (implicit function theorem).

Where q* minimises F(q; theta), the gradient g(q*, theta) is zero for every theta. So for a cotangent u of q*

    H lambda = u,   u dq*/dtheta = - d(lambda . g)/dtheta,   H = dg/dq the exact Hessian, residuals' curvature included.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


def conjugate_gradients(
    apply: Operator, b: Tensor, precondition: Operator, *, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """x with apply(x) = b for symmetric positive definite operators, each sample (row) of b (B, n) its own system.

    A sample stops where its residual is under ``tolerance`` times b's norm, or where its operator shows a direction
    that is not positive; what was found until then is returned.

    Returns:
        x (B, n), and (B,) bool: which samples got there.
    """
    x, r = torch.zeros_like(b), b.clone()
    z = precondition(r)
    p, rz = z, _dot(r, z)
    goal = tolerance * b.norm(dim=-1)
    running = r.norm(dim=-1) > goal
    for _ in range(iterations):
        if not bool(running.any()):
            break
        Hp = apply(p)
        curvature = _dot(p, Hp)
        running = running & (curvature > 0)
        alpha = torch.where(running, rz / torch.where(running, curvature, 1.0), 0.0)[:, None]
        x, r = x + alpha * p, r - alpha * Hp
        running = running & (r.norm(dim=-1) > goal)
        z = precondition(r)
        rz_new = _dot(r, z)
        p = z + (rz_new / torch.where(rz > 0, rz, 1.0))[:, None] * p
        rz = rz_new
    return x, r.norm(dim=-1) <= goal


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
