"""The bones of one body behind a sequence: found where they show, a minimum, with the right gradients."""

from __future__ import annotations

import pytest
import torch

import physpose
from physpose.chain import KinematicChain
from physpose.errors import InputError
from physpose.projection import ProjectionSettings, keypoint_variance

SEEN = "coco17"
SOFT = ProjectionSettings(source_sigma=0.05)


@pytest.fixture(scope="module")
def chain() -> KinematicChain:
    return KinematicChain(physpose.load_skeleton("adult", height=1.7))


def walk_about(chain: KinematicChain, scales: torch.Tensor, frames: int, noise: float) -> torch.Tensor:
    """Keypoints (frames, 17, 3) of random postures of a body."""
    g = torch.Generator().manual_seed(0)
    neutral = torch.as_tensor(chain.skeleton.neutral)
    turn = 0.3 * torch.randn(frames, chain.nv, generator=g, dtype=torch.float64)
    p = chain.keypoints(_inside(chain, chain.integrate(neutral.expand(frames, -1), turn)), SEEN, scales)
    return p + noise * torch.randn(p.shape, generator=g, dtype=torch.float64)


def _inside(chain: KinematicChain, q: torch.Tensor) -> torch.Tensor:
    q = q.clone()
    low, high = chain.limits.unbind(-1)
    q[:, 7:] = torch.minimum(torch.maximum(q[:, 7:], low + 0.02), high - 0.02)
    return q


def shown(chain: KinematicChain) -> list[int]:
    """Groups whose length the 17 keypoints tell; the forearm's they do not tell from the wrist's place in the hand."""
    names = [g.name for g in chain.skeleton.scale_groups]
    return [names.index(n) for n in ("thigh_length", "shank_length", "upper_arm")]


def objective(chain: KinematicChain, y: torch.Tensor, s: torch.Tensor) -> float:
    """The sum of nearest poses' costs and the prior's, written out."""
    found = chain.project(y, SEEN, log_scales=s, settings=SOFT)
    p = chain.locate(chain.fk(found.q, s), chain.keypoint_points(SEEN), s)
    cost = 0.5 * ((p - y).square().sum(-1) / keypoint_variance(chain, SEEN, SOFT)).sum()
    beyond = chain.limit_residual(found.q, SOFT.limit_margin) / SOFT.limit_sigma
    away = chain.difference(torch.as_tensor(chain.skeleton.neutral).expand_as(found.q), found.q)[:, 6:] / 10.0
    spread = torch.tensor([g.sigma for g in chain.skeleton.scale_groups]).to(s)
    return float(cost + 0.5 * (beyond**2).sum() + 0.5 * (away**2).sum() + 0.5 * ((s / spread) ** 2).sum())


def test_bones_that_keypoints_show_are_found(chain):
    true = torch.zeros_like(chain.log_scales)
    true[shown(chain)] = torch.tensor([0.05, -0.04, 0.03]).double()
    y = walk_about(chain, true, 8, 0.0)
    sure = torch.full(y.shape[:-1], 1e3).double()  # leaves the prior nothing to say
    found = chain.body_scales(y, SEEN, weights=sure)
    assert found.converged
    assert float((found.log_scales - true)[shown(chain)].abs().max()) < 5e-4


def test_the_scales_are_a_minimum_of_the_sum_written_out(chain):
    y = walk_about(chain, torch.zeros_like(chain.log_scales), 2, 0.04)
    s = chain.body_scales(y, SEEN, settings=SOFT).log_scales
    for i in shown(chain):
        step = torch.zeros_like(s)
        step[i] = 1e-3
        least, left, right = (objective(chain, y, x) for x in (s, s - step, s + step))
        assert least < min(left, right)
        assert abs(left - right) < 0.02 * (left + right - 2 * least)  # the slope, over what the curve rises


def test_gradients_are_differences(chain):
    y = walk_about(chain, torch.zeros_like(chain.log_scales), 2, 0.04).requires_grad_()
    weights = torch.linspace(0.5, 1.0, y[..., 0].numel()).double().reshape(y.shape[:-1]).requires_grad_()
    pick = torch.linspace(-1, 1, len(chain.log_scales)).double()

    def value(y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return chain.body_scales(y, SEEN, weights=w, settings=SOFT).log_scales @ pick

    ours = torch.autograd.grad(value(y, weights), (y, weights))
    g = torch.Generator().manual_seed(1)
    for x, grad, h in zip((y, weights), ours, (1e-5, 1e-4), strict=True):
        direction = torch.randn(x.shape, generator=g, dtype=torch.float64)
        ends = [
            value(*(z.detach() + sign * h * direction if z is x else z.detach() for z in (y, weights)))
            for sign in (1, -1)
        ]
        assert float((grad * direction).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-3)


def test_batches_are_sequences_apart_and_missing_keypoints_say_nothing(chain):
    y = walk_about(chain, torch.zeros_like(chain.log_scales), 4, 0.04).reshape(2, 2, 17, 3)
    hidden = y.clone()
    hidden[0, 1, 9] = torch.nan
    weights = torch.ones(y.shape[:-1]).double()
    weights[0, 1, 9] = 0.0
    both = chain.body_scales(hidden, SEEN, settings=SOFT).log_scales
    torch.testing.assert_close(both[1], chain.body_scales(y[1], SEEN, settings=SOFT).log_scales, atol=1e-6, rtol=0)
    other = chain.body_scales(y, SEEN, weights=weights, settings=SOFT).log_scales
    torch.testing.assert_close(both, other, atol=1e-6, rtol=0)


def test_a_single_pose_is_no_sequence(chain):
    with pytest.raises(InputError, match="a sequence is"):
        chain.body_scales(torch.zeros(17, 3).double(), SEEN)
