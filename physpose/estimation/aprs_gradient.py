"""APRS as printed (HSTPN, equations 24-31, Algorithm 1): N unit steps along the sum of three weighted corrections.

A unit step on a quadratic loss is stable only while its weight times the largest curvature is below two. Equation 25's
curvature is that of the graph of bones, at most twice the most bones that meet in a keypoint: lambda_spatial < 1 / that
number. Equation 27's is 32 / (T - 2): lambda_temporal < (T - 2) / 16. A larger one is refused when it shows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.estimation.aprs_terms import BodyTerms, Weights, printed_domain
from physpose.losses.refinement import domain, spatial, temporal
from physpose.types import Array

GROWTH = 10.0  # a loss this many times its first value has left


class DivergenceError(InputError):
    """The printed iteration left for infinity: a weight is too large for its unit step."""


def descend(start: Array, body: BodyTerms, weights: Weights, iterations: int) -> tuple[Array, int]:
    """p (T, K, D) after N iterations, or as soon as no loss changes any more; and how many there were.

    Raises DivergenceError, which names the weight.
    """
    p, first = torch.from_numpy(start), None
    for n in range(iterations):
        values, p_next = step(p, body, weights)
        first = values if first is None else first
        _check(values, first, p_next, n, weights, body, len(start))
        if torch.equal(p_next, p):
            return p.numpy(), n
        p = p_next
    return p.numpy(), iterations


def step(p: Tensor, body: BodyTerms, weights: Weights) -> tuple[dict[str, float], Tensor]:
    """Each loss (equations 25, 27, 29), and p + sum lambda Delta (equations 24, 26, 28, 30, 31)."""
    losses = printed_losses(p.detach().requires_grad_(), body)
    x, parts = losses
    delta = torch.zeros_like(x)
    for name, loss in parts.items():
        (gradient,) = torch.autograd.grad(loss, x, allow_unused=True)
        if gradient is not None:
            delta = delta - getattr(weights, name) * gradient
    return {n: float(v.detach()) for n, v in parts.items()}, (x + delta).detach()


def printed_losses(p: Tensor, body: BodyTerms) -> tuple[Tensor, dict[str, Tensor]]:
    """p, and the losses of equations 25, 27, 29 summed over frames and keypoints."""
    known = np.isfinite(body.lengths)
    edges, lengths = torch.from_numpy(body.edges[known]), torch.from_numpy(body.lengths[known]).to(p)
    residual = printed_domain(p, body)
    parts = {"temporal": temporal(p).sum(), "domain": domain(*residual).sum()}
    if known.any() and body.exact:
        parts["spatial"] = spatial(p, edges, lengths).sum()
    return p, parts


def _check(
    values: dict[str, float], first: dict[str, float], p: Tensor, n: int, weights: Weights, body: BodyTerms, T: int
) -> None:
    growth = {k: v / max(first[k], 1e-12) if np.isfinite(v) else np.inf for k, v in values.items()}
    total, total0 = (sum(getattr(weights, k) * x[k] for k in x) for x in (values, first))
    if bool(p.isfinite().all()) and np.isfinite(total) and total <= GROWTH * max(total0, 1e-12):
        return
    worst = max(growth, key=lambda k: growth[k])
    meet = int(np.bincount(body.edges.reshape(-1)).max()) if len(body.edges) else 1
    bound = {"spatial": f"below {1 / meet:.3g} is stable", "temporal": f"below {max(T - 2, 1) / 16:.3g} is stable"}
    raise DivergenceError(
        f"the gradient solver diverged in iteration {n + 1}: the {worst} loss grew {growth[worst]:.3g}-fold; "
        f"lower weights.{worst}={getattr(weights, worst):g} ({bound.get(worst, 'it is in squared units')}), "
        'or use solver="gauss-newton"'
    )
