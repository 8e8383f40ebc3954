"""How vigorously somebody moves, against people who walk: one number for a clip, from the clip itself.

Who sits down slowly has a fraction of a walker's jerk; smoothing made for the walker would leave noise in the motion
and doubt about it. The same motion at another tempo changes the jerk of all coordinates by one factor, and their
accelerations by its power of 3/5. The likeliest is found by evidence (MacKay 1992, Neural Computation 4:415, his
alpha): what is left of the smoothness residuals, over the number of them that the observations determine. Jerk is not
as white as the term takes it, most of it lying where a phone resolves nothing; so the factor counts from that of walks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import BandCovariance, band_covariance
from physpose.estimation.state import Kinematics
from physpose.estimation.terms import S, Smoothness, Term

# Median of walks of motion capture (the recordings that the walker's jerk is from), filmed with a detector's errors
# (benchmarks/walking_pace.py)
WALKING = 0.24


def pace_factor(
    chain: KinematicChain, points: Points, terms: Sequence[Term[S]], state: S, free: Tensor, width: int
) -> float:
    """By what to multiply the jerk that ``terms`` expect, at their solution ``state``.

    ``free`` (n_shared) bool: the shared unknowns that were found with the motion.
    """
    jerk = jerk_of(terms)
    T, n = len(state.q), chain.nv
    if jerk is None or len(state.q) <= jerk.order:
        return 1.0
    kin = Kinematics(chain, state, points)
    own, whole = (BorderedSystem(T, n, state.n_shared, width) for _ in range(2))
    jerk.add_to(own, state, kin)
    for term in terms:
        term.add_to(whole, state, kin)
    determined = n * (T - jerk.order) - float(left_open(own, band_covariance(whole, free)).sum())
    left = 2 * float(jerk.cost(state, kin))
    # as if one more frame of a walker had been seen: a clip of few frames tells little
    return ((left / WALKING**2 + n) / (max(determined, 0.0) + n)) ** 0.5


def jerk_of(terms: Sequence[Term[S]]) -> Smoothness | None:
    """The term that says how fast accelerations change."""
    return next((t for t in terms if isinstance(t, Smoothness) and t.order == 3), None)


def left_open(own: BorderedSystem, covariance: BandCovariance) -> Tensor:
    """How many of a term's residuals on each unknown (n,) are no surer for the observations: trace(J'J C).

    ``own``: the term's normal equations, in which each unknown is coupled to itself or to few others.
    """
    parts = [(own.H[d, : own.T - d] * covariance.between(d)[: own.T - d]).sum((0, 2)) for d in range(len(own.H))]
    return parts[0] + 2 * torch.stack([*parts[1:], torch.zeros_like(parts[0])]).sum(0)
