"""The papers' losses against cases worked out by hand, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from physpose.errors import InputError
from physpose.losses import hstpn, keypoints, stsp_net
from physpose.losses.refinement import joint_angle

TIME = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.6], dtype=torch.float64)  # uneven on purpose
SHAPES = [(), (1,), (3, 1, 2)]


def sample(*shape, seed=0):
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x.requires_grad_()


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- keypoints: (3), (4), (5) -----------------------------------------------------------------------------------------


def test_normalisation_by_hand():
    p = torch.tensor([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]])
    box = keypoints.bounding_box(p)
    torch.testing.assert_close(box.centre, torch.tensor([20.0, 40.0]))
    assert float(box.scale) == 40.0
    expected = torch.tensor([[-0.25, -0.5], [0.25, 0.5], [0.0, -0.25]])
    torch.testing.assert_close(keypoints.normalised(p, box), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_normalisation_forgets_place_and_size(shape):
    p = sample(*shape, 4, 2)
    box = keypoints.bounding_box(p)
    n = keypoints.normalised(p, box)
    assert float(n.detach().abs().max()) <= 0.5 + 1e-12
    moved = 3.0 * p + tensor(5.0, -7.0)
    torch.testing.assert_close(keypoints.normalised(moved, keypoints.bounding_box(moved)), n)
    torch.testing.assert_close(keypoints.denormalised(n, box), p)


def test_box_is_of_what_is_seen():
    p = torch.tensor([[10.0, 20.0], [30.0, 60.0], [torch.nan, torch.nan]])
    assert float(keypoints.bounding_box(p).scale) == 40.0
    assert keypoints.bounding_box(p, torch.zeros(3)).scale.isnan()
    with pytest.raises(InputError, match="no extent"):
        keypoints.normalised(p[:1], keypoints.bounding_box(p[:1]))


def test_heatmap_and_coordinate_loss_by_hand():
    true = torch.zeros(2, 2, 2)
    predicted = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]])
    assert float(keypoints.heatmap_loss(predicted, true)) == (1 + 4 + 9) / 2
    assert float(keypoints.heatmap_loss(predicted, true, torch.tensor([True, False]))) == 5
    p = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert float(keypoints.coordinate_loss(p, torch.zeros(2, 2))) == (25 + 1) / 2
    unlabelled = torch.tensor([[0.0, 0.0], [torch.nan, torch.nan]])
    assert float(keypoints.coordinate_loss(p, unlabelled, torch.tensor([1, 0]))) == 25
    assert float(keypoints.coordinate_loss(p, unlabelled, torch.tensor([0, 0]))) == 0


# --- HSTPN: (20), (22), (23) ------------------------------------------------------------------------------------------


def walk():
    """One keypoint on a line: 0, 1, 3, 3; another at rest."""
    p = torch.zeros(4, 2, 2, dtype=torch.float64)
    p[:, 0, 0] = tensor(0, 1, 3, 3)
    return p


def test_hstpn_losses_by_hand():
    p = walk()
    assert float(hstpn.temporal_loss(p)) == pytest.approx((1 + 4 + 0) / 3)
    assert float(hstpn.motion_loss(p, p)) == 0
    true = torch.zeros_like(p)
    true[:, 1, 1] = tensor(0, 0, 0, 2)
    assert float(hstpn.motion_loss(p, true)) == pytest.approx((1 + 4 + 4) / 3)
    assert float(hstpn.temporal_loss(p, tensor(0, 0.5, 1.5, 2))) == pytest.approx((4 + 4 + 0) / 3)
    one = torch.tensor(1.0)
    assert float(hstpn.objective(one, 10 * one, 100 * one)) == 101  # (20) has no weight unless it is given one
    assert float(hstpn.objective(one, 10 * one, 100 * one, lam=2, beta=3)) == 321


def test_standing_still_is_the_best_of_equation_20_but_not_of_22():
    p, still = walk(), torch.zeros(4, 2, 2, dtype=torch.float64)
    assert hstpn.temporal_loss(still) < hstpn.temporal_loss(p)
    assert hstpn.motion_loss(still, p) > hstpn.motion_loss(p, p)


# --- STSP-Net: (8), (9), (15), (16), (19), (20), (22), (23) -----------------------------------------------------------


def test_local_trajectory_by_hand():
    loss = stsp_net.local_trajectory_loss(walk())
    torch.testing.assert_close(loss, tensor((3 - 2 + 0) ** 2 / 2, (3 - 6 + 1) ** 2 / 2))
    parabola = (0.5 * 6 * TIME**2)[:, None, None].expand(5, 1, 2)
    torch.testing.assert_close(stsp_net.local_trajectory_loss(parabola, TIME), torch.full((3,), 72.0).double())


def test_bone_length_by_hand_and_not_lowered_by_shrinking():
    p = torch.tensor([[0.0, 0, 0], [3, 4, 0], [3, 4, 2]], dtype=torch.float64)
    edges = torch.tensor([[0, 1], [1, 2]])
    assert float(stsp_net.bone_length_loss(p, edges, tensor(4, 3))) == pytest.approx((1 + 1) / 2)
    assert float(stsp_net.bone_length_loss(p, edges, tensor(5, 2))) == 0
    shrunk = [float(stsp_net.bone_length_loss(s * p, edges, tensor(5, 2))) for s in (1.0, 0.5, 0.0)]
    assert shrunk == sorted(shrunk)  # as printed, (15) would fall


def test_joint_angle_by_hand():
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    p = torch.tensor([[1.0, 0, 0], [0, 0, 0], [c, s, 0], [-1, 0, 0]], dtype=torch.float64)
    triples = torch.tensor([[0, 1, 2], [0, 1, 3]])
    torch.testing.assert_close(joint_angle(p, triples), tensor(math.radians(30), math.pi))
    limits = torch.tensor([[45.0, 160.0], [0.0, 160.0]], dtype=torch.float64).deg2rad()
    expected = math.radians(15 + 20) / 2
    assert float(stsp_net.joint_angle_loss(p, triples, limits)) == pytest.approx(expected)
    assert float(stsp_net.joint_angle_loss(p, triples, torch.tensor([0.0, math.pi]).double())) == 0


def test_straight_and_folded_joints_have_finite_gradients():
    p = torch.tensor([[1.0, 0, 0], [0, 0, 0], [-1, 0, 0], [2, 0, 0]], dtype=torch.float64, requires_grad=True)
    angles = joint_angle(p, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    (gradient,) = torch.autograd.grad(angles.sum(), p)
    assert torch.isfinite(gradient).all()


def test_velocity_and_acceleration_by_hand():
    p = walk()
    assert float(stsp_net.acceleration_loss(p)) == pytest.approx((1 + 4) / 2)
    assert float(stsp_net.velocity_loss(p)) == float(stsp_net.acceleration_loss(p))  # one loss twice, as printed
    still = torch.zeros_like(p)
    assert float(stsp_net.velocity_loss(p, still)) == pytest.approx((1 + 4 + 0) / 3)
    assert float(stsp_net.velocity_loss(p, p)) == float(stsp_net.acceleration_loss(p, p)) == 0
    fall = (-0.5 * 9.81 * TIME**2)[:, None, None].expand(5, 1, 1)
    assert float(stsp_net.acceleration_loss(fall, time=TIME)) == pytest.approx(9.81**2)
    steady = TIME[:, None, None] * tensor(1, 2, 3)
    assert float(stsp_net.velocity_loss(steady, torch.zeros_like(steady), TIME)) == pytest.approx(14)


def test_objectives_are_the_printed_sums():
    a, b, c = torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)
    assert float(stsp_net.epe_objective(a, b)) == 11
    assert float(stsp_net.gsr_objective(a, b, c, beta1=2, beta2=3)) == 321
    assert float(stsp_net.tmp_objective(a, b, c, gamma1=2, gamma2=3)) == 321
    assert float(stsp_net.joint_objective(a, b, c, omega1=2, omega2=3)) == 321
    assert float(stsp_net.joint_objective(a, b, c)) == 111


EDGES, LENGTHS = torch.tensor([[0, 1], [1, 2]]), tensor(0.5, 0.7)
TRIPLES, LIMITS = torch.tensor([[0, 1, 2]]), tensor(1.0, 1.2)[None]
LOSSES = {
    "3": (lambda p, _: keypoints.normalised(p, keypoints.bounding_box(p)), (3, 2)),
    "4": (lambda p, true: keypoints.heatmap_loss(p, true, torch.tensor([1, 0, 1])), (3, 4, 5)),
    "5": (lambda p, true: keypoints.coordinate_loss(p, true), (3, 2)),
    "HSTPN 20": (lambda p, _: hstpn.temporal_loss(p, TIME), (5, 3, 2)),
    "HSTPN 22": (lambda p, true: hstpn.motion_loss(p, true), (5, 3, 2)),
    "8": (lambda p, _: stsp_net.local_trajectory_loss(p, TIME), (5, 3, 2)),
    "15": (lambda p, _: stsp_net.bone_length_loss(p, EDGES, LENGTHS), (3, 3)),
    "16": (lambda p, _: stsp_net.joint_angle_loss(p, TRIPLES, LIMITS), (3, 3)),
    "19": (lambda p, true: stsp_net.velocity_loss(p, true, TIME), (5, 3, 3)),
    "20": (lambda p, _: stsp_net.acceleration_loss(p), (5, 3, 3)),
    "L_3D": (lambda p, true: stsp_net.position_loss(p, true), (3, 3)),
}


@pytest.mark.parametrize("lead", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_batches(name, lead):
    loss, shape = LOSSES[name]
    p, true = sample(*lead, *shape), sample(*lead, *shape, seed=1).detach()
    value = loss(p, true)
    assert value.shape[: len(lead)] == lead
    if lead:
        one_by_one = [loss(*x) for x in zip(p.reshape(-1, *shape), true.reshape(-1, *shape), strict=True)]
        torch.testing.assert_close(value.flatten(0, len(lead) - 1), torch.stack(one_by_one))
    assert gradcheck(lambda x: loss(x, true), (p,))
