"""What OpenSim's inverse dynamics says of a CustomJoint whose turns do not follow its coordinates one by one.

Simbody's function-based joint (MobilizedBodyImpl.h, FunctionBasedImpl, buildHdot) differentiates the axes of a joint
with the angular velocity that the joint's first *coordinate*, and its first two, make, where that of the first *axis*,
and of the first two, is meant. Where one coordinate drives several turns (OpenSim's "walker" knee) the body's
acceleration then has a spurious part, quadratic in the rates, and the torques differ from d/dt of Simbody's own
momentum by some 1e-5 of the largest. ``rnea`` here is exact; this module gives the difference, for those who must
reproduce OpenSim's own numbers. Not reproduced: coordinates that stand in another order than their axes, which no
published model has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import engine_torch
from physpose.dynamics.coupling import expand
from physpose.dynamics.kinematics import poses, subtree_sum
from physpose.dynamics.parameters import current_parameters
from physpose.dynamics.tree import tree_of
from physpose.skeleton.model import Skeleton

cross = torch.linalg.cross


def simbody_difference(chain: KinematicChain, q: Tensor, v: Tensor) -> Tensor:
    """What OpenSim's generalized forces have beyond ``rnea``'s (*b, nv) [N.m; N]; zero without a coordinate map."""
    if chain.expansion is None:
        return torch.zeros_like(v)
    z, bodies = expand(chain, q, v), chain.expanded
    parameters = current_parameters(bodies)
    x = poses(bodies, z.q, parameters)
    supports = tree_of(bodies).tensor("supports", q)
    A = torch.zeros_like(x.S[..., :1, :]).expand(*x.p.shape[:-1], 6)
    for body, turns in _custom_joints(chain.skeleton):
        spurious = _spurious(x.S[..., 3:] * z.v[..., None], turns)
        # all that the joint moves turns about its origin: at c it moves by spurious x (c - p)
        p = x.p[..., body, :]
        at_c = torch.cat([cross(spurious, x.c - p), spurious], -1)
        A = A + at_c[..., None, :] * supports[:, turns[0][0], None]
    still = torch.zeros_like(A)
    F = engine_torch.inertial_wrenches(x, still, A, q.new_zeros(3), parameters)
    return z.forces((x.S * subtree_sum(bodies, F)).sum(-1))


def _spurious(rates: Tensor, turns: list[tuple[int, int, int]]) -> Tensor:
    """Angular acceleration (*b, 3), world axes, of rates (*b, nv_z, 3) about each axis."""
    total = torch.zeros_like(rates[..., 0, :])
    for column, axis, _ in turns:
        meant = [c for c, other, _ in turns if other < axis]
        taken = [c for c, _, coordinate in turns if (coordinate == 0 if axis == 1 else coordinate != 2)]
        if axis > 0:
            excess = rates[..., taken, :].sum(-2) - rates[..., meant, :].sum(-2)
            total = total + cross(excess, rates[..., column, :])
    return total


def _custom_joints(skeleton: Skeleton) -> list[tuple[int, list[tuple[int, int, int]]]]:
    """Body, and of each turn of its joint the column in the expanded v and the numbers of its axis and coordinate."""
    found, v, z = [], 0, 0
    places = skeleton.coordinate_map.places if skeleton.coordinate_map else ()
    for i, body in enumerate(skeleton.bodies):
        own = body.joint.coordinates
        turns = [(v + k, *places[z + k]) for k, c in enumerate(own) if c.kind == "hinge"]
        if len(turns) > 1 and any(axis for _, axis, _ in turns):
            found.append((i, turns))
        v, z = v + body.joint.nv, z + len(own)
    return found
