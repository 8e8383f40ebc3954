"""What a motion says of the body's inertia: the whole body's tensor, and each segment's share of the momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.types import Array

if TYPE_CHECKING:
    from physpose.result import FitResult


def inertia(result: FitResult) -> Array:
    """(T, 3, 3) [kg.m^2] about the centre of mass, world axes; NaN in frames without a pose."""
    chain, known = KinematicChain(result.skeleton), np.isfinite(result.q).all(1)
    out = np.full((len(result.time), 3, 3), np.nan)
    out[known] = dynamics.centroidal_inertia(chain, torch.as_tensor(result.q[known])).detach().numpy()
    return out


def momentum_by_body(result: FitResult) -> Array:
    """(T, n_bodies, 6) [kg.m/s, kg.m^2/s], world axes, about the whole body's centre of mass; NaN without a pose."""
    chain = KinematicChain(result.skeleton)
    known = np.isfinite(np.concatenate([result.q, result.v], 1)).all(1)
    out = np.full((len(result.time), len(result.skeleton.body_names), 6), np.nan)
    q, v = (torch.as_tensor(x[known]) for x in (result.q, result.v))
    out[known] = dynamics.momentum_by_body(chain, q, v).detach().numpy()
    return out
