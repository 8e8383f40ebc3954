"""Levenberg-Marquardt over a whole clip: linearise, solve the bordered banded system, accept what lowers the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from numpy.linalg import LinAlgError
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.state import Kinematics
from physpose.estimation.terms import S, Term


@dataclass(frozen=True, kw_only=True)
class Solution(Generic[S]):
    """Where the iteration ended."""

    state: S
    cost: float
    term_costs: dict[str, float]
    iterations: int
    converged: bool


def solve(
    chain: KinematicChain,
    terms: Sequence[Term[S]],
    state: S,
    points: Points,
    free: Tensor,
    *,
    width: int = 3,
    max_iterations: int = 50,
    tolerance: float = 1e-4,
    damping: float = 1e-3,
    on_iteration: Callable[[int, float], None] | None = None,
) -> Solution[S]:
    """Minimise the sum of ``terms`` from ``state``; ``free`` (n_shared) bool says which shared unknowns may move.

    Ends when a step lowers the cost by less than ``tolerance`` of itself (converged) or at ``max_iterations``.
    """
    kin = Kinematics(chain, state, points)
    cost = _cost(terms, state, kin)
    system = BorderedSystem(len(state.q), chain.nv, state.n_shared, width)
    iteration, converged = 0, False
    while iteration < max_iterations and not converged:
        iteration += 1
        system.clear()
        for term in terms:
            term.add_to(system, state, kin)
        better, damping = _accepted_step(chain, terms, state, points, system, free, cost, damping)
        if better is None:
            converged = True
            break
        state, kin, new_cost = better
        converged = cost - new_cost < tolerance * cost
        cost = new_cost
        if on_iteration:
            on_iteration(iteration, cost)
    costs = {t.name: float(t.cost(state, kin)) for t in terms}
    return Solution(state=state, cost=cost, term_costs=costs, iterations=iteration, converged=converged)


def _accepted_step(
    chain: KinematicChain,
    terms: Sequence[Term[S]],
    state: S,
    points: Points,
    system: BorderedSystem,
    free: Tensor,
    cost: float,
    damping: float,
) -> tuple[tuple[S, Kinematics, float] | None, float]:
    """The first step of rising damping that lowers the cost, and the damping to start from next time."""
    for _ in range(8):
        try:
            candidate = state.stepped(*system.solve(damping, free))
        except LinAlgError:
            damping = max(damping, 1e-6) * 10
            continue
        kin = Kinematics(chain, candidate, points)
        new_cost = _cost(terms, candidate, kin)
        if new_cost < cost:
            return (candidate, kin, new_cost), max(damping / 5, 1e-7)
        damping *= 6
    return None, damping


def _cost(terms: Sequence[Term[S]], state: S, kin: Kinematics) -> float:
    return float(sum((t.cost(state, kin) for t in terms), torch.zeros(())))
