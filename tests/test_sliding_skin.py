"""Markers on skin that slides: against the dense inverse of their covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_walk import LABELS
from walker import walk

from physpose.estimation.banded import BorderedSystem
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_spots import spots_on
from physpose.estimation.marker_terms import SlidingSkin
from physpose.estimation.state import Kinematics

TIME = torch.tensor([0.0, 0.01, 0.025, 0.03, 0.05, 0.1], dtype=torch.float64)  # uneven
SIGMA, LASTS = 0.004, 0.08


@pytest.fixture(scope="module")
def case():
    """A problem with markers, some of them unseen at times, the term, and the inverse of its covariance (T M, T M)."""
    made, rng = walk(), np.random.default_rng(0)
    problem = MarkerProblem(made.body, spots_on(made.body, list(LABELS))[0])
    T, M = len(TIME), len(problem.spots)
    state = problem.state(torch.as_tensor(made.q[20 : 20 + T]))
    kin = Kinematics(problem.chain, state, problem.points)
    target = kin.points + 0.002 * torch.as_tensor(rng.normal(size=(T, M, 3)))
    target[2, 0] = target[0, 1] = target[3:, 2] = target[:, 3] = np.nan
    sigma = SIGMA * torch.linspace(0.5, 2.0, M, dtype=torch.float64)
    term = SlidingSkin(target, TIME, sigma, LASTS, 1e6)
    precision = torch.zeros(T, M, T, M, dtype=torch.float64)
    for m in range(M):
        seen = torch.isfinite(target[:, m, 0])
        for run in np.split(np.flatnonzero(seen), np.flatnonzero(np.diff(np.flatnonzero(seen)) > 1) + 1):
            t = TIME[run]
            C = sigma[m] ** 2 * torch.exp(-(t[:, None] - t).abs() / LASTS)
            i, j = np.ix_(run, run)
            precision[i, m, j, m] = torch.linalg.inv(C)
    return problem, state, kin, target, term, precision


def test_cost_is_that_of_lasting_errors_and_starts_anew_after_gaps(case):
    _, state, kin, target, term, P = case
    r = torch.nan_to_num(kin.points - target)
    expected = 0.5 * torch.einsum("tmi,tmsn,sni->", r, P, r)
    torch.testing.assert_close(term.cost(state, kin), expected, rtol=1e-8, atol=0)


def test_errors_are_weighed_by_the_inverse_of_their_covariance(case):
    _, _, kin, _, term, P = case
    x = torch.as_tensor(np.random.default_rng(1).normal(size=(*kin.points.shape, 2)))
    torch.testing.assert_close(term.weighed(kin, x), torch.einsum("tmsn,snik->tmik", P, x), rtol=1e-8, atol=1e-6)


def test_normal_equations_are_those_of_the_dense_matrices(case):
    problem, state, kin, target, term, P = case
    T, n = len(TIME), problem.chain.nv
    system = BorderedSystem(T, n, state.n_shared, 1)
    term.add_to(system, state, kin)
    r = torch.nan_to_num(kin.points - target)
    g = torch.einsum("tmia,tmsn,sni->ta", kin.J, P, r)
    H = torch.einsum("tmia,tmsn,snib->tasb", kin.J, P, kin.J)
    B = torch.einsum("tmia,tmsn,snib->tab", kin.J, P, kin.Js)
    S = torch.einsum("tmia,tmsn,snib->ab", kin.Js, P, kin.Js)
    torch.testing.assert_close(system.B, B, rtol=1e-7, atol=1e-8 * float(B.abs().max()))
    torch.testing.assert_close(system.S, S, rtol=1e-7, atol=1e-8 * float(S.abs().max()))
    torch.testing.assert_close(system.g, g, rtol=1e-7, atol=1e-6 * float(g.abs().max()))
    for d in (0, 1):
        for t in range(T - d):
            expected = H[t + d, :, t]
            torch.testing.assert_close(system.H[d, t], expected, rtol=1e-7, atol=1e-9 * float(H.abs().max()))


def test_a_jump_is_believed_less(case):
    problem, state, kin, target, term, _ = case
    far = target.clone()
    far[2:, 5] += 0.3
    robust = replace(term, target=far, robust_scale=10.0)
    quadratic = replace(term, target=far)
    assert float(robust.cost(state, kin)) < 0.3 * float(quadratic.cost(state, kin))
    x = torch.ones_like(kin.points)
    believed, usual = robust.weighed(kin, x)[2, 5, 0], quadratic.weighed(kin, x)[2, 5, 0]
    assert abs(float(believed)) < abs(float(usual))
    assert problem.skin_sigma.max() < 0.01
