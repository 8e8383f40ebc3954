"""HSTPN's training objective (Li and Li 2025, equations 20-23): one function an equation.

Sequences are (*b, T, K, d) in normalised coordinates; leading dimensions stay. The paper's temporal sums assume evenly
spaced frames; given real ``time`` stamps (T,) [s], differences become velocities.
"""

from __future__ import annotations

from torch import Tensor

from physpose.losses.keypoints import heatmap_loss
from physpose.metrics import velocities

__all__ = ["heatmap_loss", "motion_loss", "objective", "temporal_loss"]  # (21) is (4): losses.keypoints


def temporal_loss(p: Tensor, time: Tensor | None = None) -> Tensor:
    """Change between frames (*b) of predicted keypoints (equation 20).

    1/(T-1) sum_t sum_k ||p_t - p_{t+1}||_2^2, as printed. It pulls every motion towards standing still, and is smallest
    for a network that sees no motion: ``objective`` weights it by zero unless told otherwise, and relies on (22).
    """
    return (_change(p, time) ** 2).sum((-2, -1)).mean(-1)


def motion_loss(predicted: Tensor, true: Tensor, time: Tensor | None = None) -> Tensor:
    """Error of the motion vectors between frames (*b) (equation 22).

    1/(T-1) sum_t sum_k ||(p^_{t+1} - p^_t) - (p_{t+1} - p_t)||_2^2
    """
    return temporal_loss(predicted - true, time)


def objective(heatmap: Tensor, temporal: Tensor, motion: Tensor, *, lam: float = 0.0, beta: float = 1.0) -> Tensor:
    """Total objective (equation 23): L_heatmap + lambda L_temporal + beta L_motion.

    The paper prints no weights. lambda is 0 by default: see ``temporal_loss``.
    """
    return heatmap + lam * temporal + beta * motion


def _change(p: Tensor, time: Tensor | None) -> Tensor:
    return p.diff(dim=-3) if time is None else velocities(p, time)
