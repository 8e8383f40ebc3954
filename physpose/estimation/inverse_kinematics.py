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
START_DAMPING, LARGEST_DAMPING = 1e-4, 1e3


def solve_frames(
    chain: KinematicChain,
    terms: Sequence[FrameTerm[State]],
    state: State,
    points: Points,
    max_iterations: int = 25,
) -> tuple[State, Tensor, Tensor]:
    """Minimise the sum of ``terms`` frame by frame from ``state``, whose shared unknowns stay.

    Frames that are not done after ``max_iterations`` creep along coordinates that hardly matter to their cost.

    Returns:
        The state, each frame's cost (T,), and the indices of the frames that had not settled.
    """
    q, left = state.q.clone(), torch.arange(len(state.q))  # frames that still move
    damping = torch.full((len(q),), START_DAMPING, dtype=torch.float64)
    kin = Kinematics(chain, state, points)
    cost = _costs(terms, state, kin)
    for _ in range(max_iterations):
        here, part = [t.on(left) for t in terms], replace(state, q=q[left])
        candidate = part.stepped(_step(here, part, kin, damping[left]), q.new_zeros(state.n_shared))
        kin = Kinematics(chain, candidate, points)
        new_cost = _costs(here, candidate, kin)
        better = new_cost < cost[left]
        done = better & (cost[left] - new_cost < TOLERANCE * cost[left])
        q[left] = torch.where(better[:, None], candidate.q, part.q)
        cost[left] = torch.where(better, new_cost, cost[left])
        damping[left] = torch.where(better, (damping[left] / 5).clamp(min=1e-9), damping[left] * 10)
        moving = ~done & (damping[left] < LARGEST_DAMPING)
        left = left[moving]
        if not len(left):
            break
        if not bool((better & moving).all()):
            kin = Kinematics(chain, replace(state, q=q[left]), points)
    return replace(state, q=q), cost, left


def _costs(terms: Sequence[FrameTerm[State]], state: State, kin: Kinematics) -> Tensor:
    return torch.stack([t.frame_costs(state, kin) for t in terms]).sum(0)


def _step(terms: Sequence[FrameTerm[State]], state: State, kin: Kinematics, damping: Tensor) -> Tensor:
    """(T, nv): - (H + damping diag H)^-1 g of each frame."""
    system = BorderedSystem(len(state.q), kin.J.shape[-1], state.n_shared, 0)
    for term in terms:
        term.add_to(system, state, kin)
    H = system.H[0]
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    # a coordinate that nothing pulls has a zero row: a little of the largest entry keeps it where it is
    floor = 1e-9 * diagonal.amax(-1, keepdim=True)
    H = H + torch.diag_embed(damping[:, None] * diagonal + floor)
    return -torch.cholesky_solve(system.g[..., None], torch.linalg.cholesky(H))[..., 0]
