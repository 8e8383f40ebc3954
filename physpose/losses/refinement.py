"""APRS as losses (HSTPN paper, equations 25, 27, 29, 32): one equation a function, on any keypoint sequence.

p: (*b, T, K, D) keypoints, D = 2 [px] or 3 [m]; mask: (*b, T, K) bool, False where a keypoint is missing (its value may
be NaN and gets no gradient). Residuals come beside the losses as printed, for least-squares solvers and real time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.metrics import accelerations

FLAT = 1e-12  # of the squared lengths: three points on a line, or two in one place, have no direction to turn to


def bone_residual(p: Tensor, edges: Tensor, lengths: Tensor, mask: Tensor | None = None) -> Tensor:
    """|p_i - p_j| - l_ij (*b, T, E) for edges (E, 2) and lengths (*b, T, E) or (E,); zero where an end is missing."""
    p, seen = _seen(p, mask)
    length = _norm(p[..., edges[:, 0], :] - p[..., edges[:, 1], :])
    return torch.where(seen[..., edges].all(-1), length - lengths, 0.0)


def spatial(p: Tensor, edges: Tensor, lengths: Tensor, mask: Tensor | None = None) -> Tensor:
    """Equation 25: 1/2 sum over edges of (|p_i - p_j| - l_ij)^2, for every frame (*b, T)."""
    return 0.5 * bone_residual(p, edges, lengths, mask).square().sum(-1)


def second_difference(p: Tensor, mask: Tensor | None = None) -> Tensor:
    """p(t-1) - 2 p(t) + p(t+1) (*b, T - 2, K, D), a frame's step as the unit of time; zero where one is missing."""
    return _three_in_a_row(p, mask, lambda x: x[..., :-2, :, :] - 2 * x[..., 1:-1, :, :] + x[..., 2:, :, :])


def acceleration(p: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same in real time (*b, T - 2, K, D) [1/s^2 of p's unit]: from the parabola through three frames at ``time``.

    time: (T,) [s], strictly increasing, steps of any length.
    """
    return _three_in_a_row(p, mask, lambda x: accelerations(x, time))


def temporal(p: Tensor, mask: Tensor | None = None) -> Tensor:
    """Equation 27: 1/(T - 2) sum of |p(t-1) - 2 p(t) + p(t+1)|^2, for every keypoint (*b, K); zero if T < 3."""
    return second_difference(p, mask).square().sum((-3, -1)) / max(p.shape[-3] - 2, 1)


def temporal_rate(p: Tensor, time: Tensor, mask: Tensor | None = None) -> Tensor:
    """Equation 27 in real time: mean over the inner frames of |acceleration|^2 (*b, K) [1/s^4 of p's unit squared]."""
    return acceleration(p, time, mask).square().sum((-3, -1)) / max(p.shape[-3] - 2, 1)


def joint_angle(p: Tensor, triplets: Tensor) -> Tensor:
    """Angle (*b, T, N) [rad], 0..pi, at the middle one of three keypoints (N, 3): pi for a straight limb."""
    a = p[..., triplets[:, 0], :] - p[..., triplets[:, 1], :]
    b = p[..., triplets[:, 2], :] - p[..., triplets[:, 1], :]
    dot, square = (a * b).sum(-1), (a * a).sum(-1) * (b * b).sum(-1)
    # |a x b|^2 = |a|^2 |b|^2 - (a . b)^2; on a line its root has no gradient
    sine2 = square - dot * dot
    flat = sine2 <= FLAT * square + torch.finfo(p.dtype).tiny
    sine = torch.where(flat, 1.0, sine2).sqrt()
    straight = torch.where(dot < 0, torch.pi, 0.0).to(p)
    return torch.where(flat, straight, torch.atan2(sine, torch.where(flat, 1.0, dot)))


def limit_residual(p: Tensor, triplets: Tensor, ranges: Tensor, mask: Tensor | None = None) -> Tensor:
    """How far (*b, T, N) [rad] the angles at hinge-like joints lie outside ``ranges`` (N, 2); zero inside."""
    p, seen = _seen(p, mask)
    angle = joint_angle(p, triplets)
    beyond = torch.relu(angle - ranges[:, 1]) - torch.relu(ranges[:, 0] - angle)
    return torch.where(seen[..., triplets].all(-1), beyond, 0.0)


def symmetry_residual(p: Tensor, pairs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Left bone minus right bone (*b, T, N), for pairs (N, 4) of keypoints: the left's two ends, the right's two."""
    p, seen = _seen(p, mask)
    left, right = (_norm(p[..., pairs[:, i], :] - p[..., pairs[:, i + 1], :]) for i in (0, 2))
    return torch.where(seen[..., pairs].all(-1), left - right, 0.0)


def domain(*residuals: Tensor) -> Tensor:
    """Equation 29 for every frame (*b, T): the penalty is half the squared residual, one-sided residuals being zero
    where nothing is broken. The paper leaves the penalty open."""
    if not residuals:
        raise InputError("domain needs at least one residual (*b, T, N), e.g. limit_residual(...)")
    return torch.stack([0.5 * r.square().sum(-1) for r in residuals]).sum(0)


def total(initial: Tensor, steps: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Equation 32: the first prediction's loss and, summed over refinement steps, spatial + temporal + domain.

    (Algorithm 1 as printed leaves the domain loss out of this sum; the equation has it.)
    """
    return initial + sum((s.sum() + t.sum() + d.sum() for s, t, d in steps), torch.zeros_like(initial))


def _seen(p: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keypoints with zeros where they are missing, so that no gradient meets a NaN; and what is there (*b, T, K)."""
    if mask is not None and mask.shape != p.shape[:-1]:
        raise InputError(f"mask has shape {tuple(mask.shape)}; {tuple(p.shape[:-1])} needed, one entry a keypoint")
    seen = torch.ones_like(p[..., 0], dtype=torch.bool) if mask is None else mask.bool()
    return torch.where(seen[..., None], p, 0.0), seen


def _three_in_a_row(p: Tensor, mask: Tensor | None, difference: Callable[[Tensor], Tensor]) -> Tensor:
    p, seen = _seen(p, mask)
    if p.shape[-3] < 3:
        return p[..., :0, :, :]
    all_seen = seen[..., :-2, :] & seen[..., 1:-1, :] & seen[..., 2:, :]
    return torch.where(all_seen[..., None], difference(p), 0.0)


def _norm(x: Tensor) -> Tensor:
    """Length (*b) of x (*b, D), with gradient zero at zero."""
    square = (x * x).sum(-1)
    nothing = square == 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, square).sqrt())
