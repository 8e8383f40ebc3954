"""Every frame by itself: Levenberg-Marquardt on all frames at once, each with its own damping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import FrameTerm

TOLERANCE = 1e-5  # a frame is done when a step lowers its cost by less than this part of it
START_DAMPING, LARGEST_DAMPING = 1e-3, 1e6


def solve_frames(
    chain: KinematicChain,
    terms: Sequence[FrameTerm[State]],
    state: State,
    points: Points,
    max_iterations: int = 50,
) -> tuple[State, Tensor]:
    """Minimise the sum of ``terms`` frame by frame from ``state``, whose shared unknowns stay; also each cost (T,)."""
    T = len(state.q)
    damping = torch.full((T,), START_DAMPING, dtype=torch.float64)
    kin = Kinematics(chain, state, points)
    cost = _costs(terms, state, kin)
    still = torch.zeros(state.n_shared, dtype=torch.float64)
    for _ in range(max_iterations):
        candidate = state.stepped(_step(chain, terms, state, kin, damping), still)
        new_cost = _costs(terms, candidate, Kinematics(chain, candidate, points, jacobians=False))
        better = new_cost < cost
        gain = torch.where(better, cost - new_cost, 0.0)
        state = replace(state, q=torch.where(better[:, None], candidate.q, state.q))
        damping = torch.where(better, (damping / 5).clamp(min=1e-9), damping * 6)
        done = (better & (gain < TOLERANCE * cost)) | (damping > LARGEST_DAMPING)
        cost = torch.where(better, new_cost, cost)
        if bool(done.all()):
            break
        kin = Kinematics(chain, state, points)
    return state, cost


def _costs(terms: Sequence[FrameTerm[State]], state: State, kin: Kinematics) -> Tensor:
    return torch.stack([t.frame_costs(state, kin) for t in terms]).sum(0)


def _step(
    chain: KinematicChain, terms: Sequence[FrameTerm[State]], state: State, kin: Kinematics, damping: Tensor
) -> Tensor:
    """(T, nv): - (H + damping diag H)^-1 g of each frame."""
    system = BorderedSystem(len(state.q), chain.nv, state.n_shared, 0)
    for term in terms:
        term.add_to(system, state, kin)
    H = system.H[0]
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    # a coordinate that nothing pulls has a zero row: a little of the largest entry keeps it where it is
    floor = 1e-9 * diagonal.amax(-1, keepdim=True)
    H = H + torch.diag_embed(damping[:, None] * diagonal + floor)
    return -torch.linalg.solve(H, system.g)
