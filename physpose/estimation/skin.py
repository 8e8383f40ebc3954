"""Skin that slides over the bones: how far and how fast markers wander, told by a recording's own residuals.

Each marker wanders about its place in its body's axes, on every axis alike and by itself, as a Matern process of order
5/2: the autocorrelation of markers' residuals has its shape (benchmarks/skin.py), and such skin has an acceleration.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import k1
from torch import Tensor

GRID = 1 / 3  # correlation times between the knots from which motions of skin are made
REACH = 4.0  # correlation times: farther knots do not count
OTHERS = 3.0  # a body's own residuals count against the whole recording's as against so many more numbers


def autocorrelation(lag: Tensor, correlation_time: float) -> Tensor:
    """Of a marker's wandering, at lags [s]."""
    x = 5**0.5 * lag.abs() / correlation_time
    return (1 + x + x**2 / 3) * torch.exp(-x)


def wandering(time: Tensor, n: int, correlation_time: float, generator: torch.Generator) -> Tensor:
    """n independent paths (T, n) of unit variance at times (T,) [s].

    White noise on knots through the kernel whose autocorrelation is ``autocorrelation``: the Matern kernel of order 1.
    """
    step = GRID * correlation_time
    first = float(time[0]) - REACH * correlation_time
    n_knots = int(np.ceil((float(time[-1]) - first) / step + REACH / GRID))
    knots = first + step * torch.arange(n_knots, dtype=torch.float64)
    x = (5**0.5 / correlation_time * (time[:, None] - knots).abs()).clamp(min=1e-9).numpy()
    kernel = torch.as_tensor(x * k1(x))
    kernel = kernel / kernel.norm(dim=1, keepdim=True)
    return kernel @ torch.randn(n_knots, n, dtype=torch.float64, generator=generator)


def skin_sigma(residual: Tensor, freedom: Tensor, body: Tensor) -> Tensor:
    """How far each marker wanders (M,), in units of what is usual, from what the motion leaves of it.

    Args:
        residual: (T, M, 3) of markers from their places, in units of what is usual; 0 where not seen.
        freedom: (T, M) of each marker's three numbers, how many the motion does not follow; 0 where not seen.
        body: (M,) on which each marker sits: those of one body share its skin.

    A body's figure leans on the whole recording's: a wrist with two markers tells little.
    """
    squared, free = (residual**2).sum((0, 2)), freedom.sum(0)
    frames = (freedom > 0).sum(0).clamp(min=1).amax()
    whole = squared.sum() / free.sum().clamp(min=1e-9)
    same = (body[:, None] == body).to(squared)
    own = (same @ squared / frames + OTHERS * whole) / (same @ free / frames + OTHERS)
    return own.sqrt()
