"""How vigorously somebody moves, against people who walk: one number for a clip, from the clip itself.

Who sits down slowly has a fraction of a walker's jerk; smoothing made for the walker would leave noise in the motion
and doubt about it. The same motion at another tempo changes the jerk of all coordinates by one factor. The likeliest is
found by evidence (MacKay 1992, Neural Computation 4:415, his alpha): what is left of the smoothness residuals, over the
number of them that the observations determine. Jerk is not as white as the term takes it, most of it lying where a
phone resolves nothing; so the factor counts from that of walks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import band_covariance
from physpose.estimation.state import Kinematics
from physpose.estimation.terms import S, Smoothness, Term

# Of walks seen by a phone: simulated 0.34, the demo of Sports2D (Pagnon and Kim 2024) 0.60
WALKING = 0.27


def pace_factor(
    chain: KinematicChain, points: Points, terms: Sequence[Term[S]], state: S, free: Tensor, width: int
) -> float:
    """By what to multiply the jerk that ``terms`` expect, at their solution ``state``.

    ``free`` (n_shared) bool: the shared unknowns that were found with the motion.
    """
    jerk = next((t for t in terms if isinstance(t, Smoothness) and t.order == 3), None)
    n = chain.nv
    if jerk is None or len(state.q) <= jerk.order:
        return 1.0
    kin = Kinematics(chain, state, points)
    own = BorderedSystem(len(state.q), n, state.n_shared, width)
    jerk.add_to(own, state, kin)
    whole = BorderedSystem(len(state.q), n, state.n_shared, width)
    for term in terms:
        term.add_to(whole, state, kin)
    covariance = band_covariance(whole, free)
    undetermined = sum(
        (1 if d == 0 else 2) * float((own.H[d, : len(state.q) - d] * covariance.between(d)[: len(state.q) - d]).sum())
        for d in range(width + 1)
    )
    count = n * (len(state.q) - jerk.order)
    left = 2 * float(jerk.cost(state, kin))
    few = WALKING**2 * n  # as if one more frame of a walker had been seen: a clip of few frames tells little
    return ((left + few) / (max(count - undetermined, 0.0) + few / WALKING**2)) ** 0.5 / WALKING
