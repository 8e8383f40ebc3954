"""The nearest pose of a body: a minimum, found from keypoints far off any body, with the right gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.autograd.functional import hessian

import physpose
from physpose.chain import KinematicChain
from physpose.projection import ProjectionSettings, _Problem

SEEN = "coco17"  # shows neither feet nor the turning of hands: coordinates that hardly matter
GRADIENT = 1e-5  # of the objective, which is in squared standard deviations: its curvature is 1e-2 at the least


@pytest.fixture(scope="module")
def chain() -> KinematicChain:
    return KinematicChain(physpose.load_skeleton("adult", height=1.7))


@pytest.fixture(scope="module")
def far_off(chain: KinematicChain) -> torch.Tensor:
    """Keypoints (6, 17, 3) of random postures, each moved by 6 cm a axis: no body has these."""
    g = torch.Generator().manual_seed(0)
    neutral = torch.as_tensor(chain.skeleton.neutral)
    turn = 0.5 * torch.randn(6, chain.nv, generator=g, dtype=torch.float64)
    p = chain.keypoints(chain.integrate(neutral.expand(6, -1), turn), SEEN)
    return p + 0.06 * torch.randn(p.shape, generator=g, dtype=torch.float64)


def problem(chain: KinematicChain, y: torch.Tensor) -> _Problem:
    found = _Problem.of(chain, SEEN, y, torch.ones(y.shape[:2]).double(), chain.log_scales, ProjectionSettings())
    return replace(found, anchor=torch.as_tensor(chain.skeleton.neutral).expand(len(y), -1))


def test_keypoints_far_off_any_body_have_a_nearest_pose(chain, far_off):
    found = chain.project(far_off, SEEN)
    assert found.converged.all()
    at = problem(chain, far_off)
    g = at.gradient(found.q)
    # what holds coordinates that nobody sees is anchored on the first guess's root, which is not asked here
    assert float(g[:, 6:].abs().max()) < GRADIENT
    assert float(g[:, :6].abs().max()) < 1e-2


def test_the_hessian_is_that_of_automatic_differentiation(chain, far_off):
    q = chain.project(far_off, SEEN).q
    at = problem(chain, far_off)
    inner = slice(6, None)  # the root is free of ranges and joints; its terms are exact only at a minimum, as all are
    normal = at.normal_equations(q)
    for i in range(len(q)):
        one = at.rows(torch.tensor([i]))
        H = hessian(
            lambda dv, i=i, one=one: one._parts(chain.integrate(q[i : i + 1], dv[None]))[0][0], q.new_zeros(chain.nv)
        )
        ours = (normal.A + normal.bend)[i]
        scale = H.diagonal().max()
        torch.testing.assert_close(ours[inner, inner] / scale, H[inner, inner] / scale, atol=1e-6, rtol=0)
        torch.testing.assert_close(ours / scale, H / scale, atol=1e-4, rtol=0)
        assert float((normal.A[i] - H).abs().max() / scale) > 1e-3  # Gauss and Newton's is another


def test_gradients_of_the_nearest_pose_are_differences(chain, far_off):
    y = far_off[:1].clone()
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = torch.randn(
        1, len(chain.skeleton.neutral), generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    weight[:, :7] = 0  # coordinates
    start = chain.project(y, SEEN).q
    f = lambda y: (chain.project(y, SEEN, q0=start).q * weight).sum()  # noqa: E731
    (g,) = torch.autograd.grad(f(y.requires_grad_()), y)
    h = 1e-5
    with torch.no_grad():
        difference = (f(y + h * direction) - f(y - h * direction)) / (2 * h)
    assert float((g * direction).sum()) == pytest.approx(float(difference), rel=1e-4)


def test_a_sources_error_adds_to_the_variance_of_each_keypoint(chain, far_off):
    sigma = torch.as_tensor(chain.skeleton.keypoint_set(SEEN).sigma)
    weights = sigma**2 / (sigma**2 + 0.05**2)
    told = chain.project(far_off, SEEN, settings=ProjectionSettings(source_sigma=0.05))
    weighed = chain.project(far_off, SEEN, weights=weights)
    torch.testing.assert_close(told.distance, weighed.distance, atol=1e-6, rtol=0)
    assert float((told.distance - chain.project(far_off, SEEN).distance).abs().max()) > 1e-3
