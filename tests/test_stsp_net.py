"""STSP-Net's modules: equations by hand, what is missing is masked, time is real, and each learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from network_cases import discs, fitted
from torch.autograd import gradcheck

from physpose.errors import InputError, UnknownNameError
from physpose.losses import stsp_net as losses
from physpose.losses.keypoints import heatmap_loss
from physpose.networks.epe import EPE, EPEConfig, sampled
from physpose.networks.graph import GraphAttention, adjacency, set_adjacency, skeleton_graph
from physpose.networks.gsr import GSR, GSRConfig
from physpose.networks.heatmaps import gaussian_heatmaps
from physpose.networks.lifter import VIEW, Lifter, LifterConfig, View, load_lifter, person_box, save_lifter
from physpose.networks.optical_flow import enhancement, motion_saliency, optical_flow
from physpose.networks.stsp_net import STAGES, STSPNet, STSPNetConfig
from physpose.networks.tmp import TMP, TMPConfig
from physpose.networks.weights import save_weights
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES, keypoint_names

SMALL_GSR = GSRConfig(keypoint_set="coco17", embed=16, width=32, node_width=8, trunk=64, blocks=1)
SMALL_TMP = TMPConfig(width=32, heads=2)
SMALL = LifterConfig(gsr=replace(SMALL_GSR, features=VIEW), tmp=SMALL_TMP)
K = 17


def sample(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def seeded(module):
    """The module with every weight drawn anew: none at rest, as trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / math.sqrt(max(p.shape[-1], 1)))
    return module


# --- graph ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYPOINT_NAMES)
def test_every_set_has_a_connected_graph_with_its_limbs(name):
    A, names = set_adjacency(name), keypoint_names(name)
    assert A.shape == (len(names), len(names))
    assert bool((A == A.T).all())
    assert bool(A.diagonal().all())
    limbs = [n for n in names if any(part in n.lower() for part in ("knee", "elbow"))]
    for middle in limbs:  # hip - knee - ankle, shoulder - elbow - wrist
        assert int(A[names.index(middle)].sum()) == 3, middle


def test_graph_that_falls_apart_is_told():
    with pytest.raises(InputError, match="no path to: c, d"):
        adjacency(4, [(0, 1), (2, 3)], ["a", "b", "c", "d"])
    with pytest.raises(InputError, match=r"edge \(0, 9\)"):
        adjacency(4, [(0, 9)])
    with pytest.raises(UnknownNameError, match="blazepose33"):
        skeleton_graph("coco18")


@pytest.mark.parametrize("heads", [1, 2])
def test_graph_attention_by_hand(heads):
    A = adjacency(4, [(0, 1), (1, 2), (2, 3)])
    layer = seeded(GraphAttention(3, 6, A, heads)).double()
    h = sample(2, 4, 3)
    out = layer(h)
    for b in range(2):
        for i in range(4):
            row = []
            for head in range(heads):
                W = layer.W.weight.unflatten(0, (heads, -1))[head]
                near = [j for j in range(4) if A[i, j]]
                a = torch.cat([layer.a[0, head], layer.a[1, head]])
                e = [a @ torch.cat([W @ h[b, i], W @ h[b, j]]) for j in near]
                e = [torch.where(x > 0, x, 0.2 * x).exp() for x in e]
                row.append(sum(x / sum(e) * (W @ h[b, j]) for x, j in zip(e, near, strict=True)))
            expected = torch.cat(row)
            torch.testing.assert_close(out[b, i], torch.where(expected > 0, expected, 0.1 * expected))
    alpha = layer.attention(h)
    torch.testing.assert_close(alpha.sum(-1), torch.ones(2, heads, 4).double())
    assert float(alpha[..., 0, 2].detach().abs().max()) == 0  # no edge, no attention
    assert gradcheck(layer, h.clone().requires_grad_())


def test_graph_attention_does_not_hear_what_is_missing():
    A = adjacency(4, [(0, 1), (1, 2), (2, 3)])
    layer = seeded(GraphAttention(3, 6, A)).double()
    heard = torch.tensor([True, True, False, True])
    alpha = layer.attention(sample(4, 3), heard)[0]
    torch.testing.assert_close(alpha.sum(-1), torch.ones(4).double())
    alpha = alpha.detach()
    assert float(alpha[1, 2]) == float(alpha[3, 2]) == 0
    assert float(alpha[2, 2]) > 0  # itself, always


# --- GSR --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (1,), (3, 1, 2)])
@pytest.mark.parametrize("name", KEYPOINT_NAMES)
def test_gsr_takes_any_set_and_batch(name, lead):
    n = len(keypoint_names(name))
    module = GSR(replace(SMALL_GSR, keypoint_set=name))
    out = module(sample(*lead, n, 2, dtype=torch.float32))
    assert out.pose.shape == (*lead, n, 3)
    assert out.feature.shape == (*lead, 64)


def test_missing_keypoints_are_masked_not_zero():
    module = seeded(GSR(SMALL_GSR)).double()
    p = sample(2, K, 2).requires_grad_()
    confidence = torch.rand(2, K, dtype=torch.float64)
    gap = torch.zeros(K, 1, dtype=torch.bool)
    gap[[3, 9]] = True
    missing, zero = torch.where(gap, torch.nan, p), torch.where(gap, 0.0, p)
    pose = module(missing, confidence).pose
    assert torch.isfinite(pose).all()
    in_the_middle = module(zero, torch.where(gap[:, 0], 0.0, confidence)).pose  # seen there, though without confidence
    assert float((pose - in_the_middle).detach().abs().max()) > 1e-3
    nodes, seen = module._nodes(missing, confidence, None)
    assert seen.tolist() == (~gap[:, 0]).expand(2, K).tolist()
    at_zero = module._nodes(zero, torch.where(gap[:, 0], 0.0, confidence), None)[0]
    assert float((nodes - at_zero).detach()[:, [3, 9]].abs().max()) > 1e-3
    (gradient,) = torch.autograd.grad(pose.square().sum(), p)
    assert torch.isfinite(gradient).all()
    assert not gradient[:, [3, 9]].any()
    other = confidence.clone()
    other[:, [3, 9]] = torch.nan  # of what is missing, nothing is read
    torch.testing.assert_close(module(missing, other).pose, pose)


def test_gsr_has_right_gradients():
    module = seeded(GSR(replace(SMALL_GSR, embed=4, width=4, trunk=6, node_width=2, features=2))).double()
    p, features = sample(1, K, 2).requires_grad_(), sample(1, K, 2, seed=1).requires_grad_()
    assert gradcheck(lambda a, b: module(a, None, b).pose, (p, features))


def test_gsr_bad_input_is_told():
    module = GSR(SMALL_GSR)
    with pytest.raises(InputError, match=r"\(\*b, 17, 2\) needed \(coco17: nose, left_eye"):
        module(torch.zeros(33, 2))
    with pytest.raises(InputError, match="2 features a keypoint given, 0 configured"):
        module(torch.zeros(17, 2), None, torch.zeros(17, 2))


def test_gsr_on_a_graph_of_ones_own():
    ring = adjacency(5, [(i, (i + 1) % 5) for i in range(5)])
    assert GSR(SMALL_GSR, ring)(torch.zeros(2, 5, 2)).pose.shape == (2, 5, 3)


# --- TMP --------------------------------------------------------------------------------------------------------------

TIME = torch.tensor([0.0, 0.03, 0.07, 0.1, 0.2, 0.23, 0.27, 0.3], dtype=torch.float64)


def tmp(config=SMALL_TMP, trained=True):
    module = TMP(3, 10, config).double()
    return seeded(module) if trained else module


def test_tmp_before_training_passes_the_poses_on():
    pose = sample(2, 8, 3, 3)
    torch.testing.assert_close(tmp(trained=False)(pose, sample(2, 8, 10), TIME), pose)


def test_cross_attention_by_hand():
    module = tmp(replace(SMALL_TMP, window=3))
    pose, feature = sample(8, 3, 3), sample(8, 10, seed=1)
    out, alpha = module(pose, feature, TIME), module.attention(pose, feature, TIME)
    torch.testing.assert_close(alpha.sum(-1), torch.ones(8, 2).double())
    d = 32 // 2
    for t in range(8):
        tokens = [module.rest]
        for s in (t - 3, t - 2, t - 1):
            if s < 0:
                continue
            velocity = 0.1 * (pose[s] - pose[s - 1]) / (TIME[s] - TIME[s - 1]) if s else torch.zeros(3, 3)
            z = module.encoder(torch.cat([pose[s].flatten(), velocity.flatten().double()]))
            tokens.append(module.W_KV(z) + module.age((TIME[s] - TIME[t])[None] / 0.1))
        keys, values = torch.stack(tokens).chunk(2, -1)
        heads = []
        for h in range(2):
            part = slice(h * d, (h + 1) * d)
            score = torch.softmax(keys[:, part] @ module.W_Q(feature[t])[part] / math.sqrt(d), 0)
            heads.append(score @ values[:, part])
        A = torch.cat(heads) + module.current(feature[t])
        torch.testing.assert_close(out[t], pose[t] + module.pred(A).unflatten(0, (3, 3)))


def test_history_is_causal_and_as_long_as_the_window():
    module = tmp(replace(SMALL_TMP, window=2))
    pose, feature = sample(8, 3, 3), sample(8, 10, seed=1)
    out = module(pose, feature, TIME)
    later, earlier = pose.clone(), pose.clone()
    later[5:] += 1
    torch.testing.assert_close(module(later, feature, TIME)[:5], out[:5])
    earlier[:3] += 1  # the velocity at frame 3 is of 2 and 3
    changed = (module(earlier, feature, TIME) - out).detach().abs().amax((1, 2))
    assert bool((changed[:6] > 1e-6).all())
    assert float(changed[6:].max()) < 1e-12
    ahead = tmp(replace(SMALL_TMP, window=2, future=1))
    out = ahead(pose, feature, TIME)
    assert float((ahead(later, feature, TIME)[4] - out[4]).detach().abs().max()) > 1e-6
    torch.testing.assert_close(ahead(later, feature, TIME)[:4], out[:4])


def test_time_counts_not_frames():
    module = tmp()
    pose, feature = sample(2, 8, 3, 3), sample(2, 8, 10)
    out = module(pose, feature, TIME)
    torch.testing.assert_close(module(pose, feature, TIME + 100), out)
    assert float((module(pose, feature, 2 * TIME) - out).detach().abs().max()) > 1e-3
    torch.testing.assert_close(module(pose, feature, torch.stack([TIME, 2 * TIME]))[0], out[0])
    with pytest.raises(InputError, match="increasing"):
        module(pose, feature, TIME.flip(0))
    with pytest.raises(InputError, match="time has shape"):
        module(pose, feature, TIME[:3])


def test_unseen_frames_are_not_attended_to():
    module = tmp()
    pose, feature = sample(8, 3, 3), sample(8, 10)
    seen = torch.ones(8, dtype=torch.bool)
    seen[3] = False
    alpha = module.attention(pose, feature, TIME, seen)
    torch.testing.assert_close(alpha.sum(-1), torch.ones(8, 2).double())
    assert not alpha[4, :, 5].any()  # frame 3 is the last of frame 4's five
    assert bool((alpha[5, :, 5] > 0).all())
    assert torch.isfinite(module(pose, feature, TIME, ~seen.bitwise_or(~seen))).all()  # not one frame seen


def test_tmp_has_right_gradients_and_refuses_bad_structures():
    module = tmp(replace(SMALL_TMP, width=4, window=2))
    pose, feature = sample(4, 3, 3).requires_grad_(), sample(4, 10).requires_grad_()
    assert gradcheck(lambda a, b: module(a, b, TIME[:4]), (pose, feature))
    with pytest.raises(InputError, match="window >= 1"):
        TMP(3, 10, TMPConfig(window=0))


# --- lifter -----------------------------------------------------------------------------------------------------------


def people(n, T=12):
    """2D keypoints [px] of n sequences, their time, and 3D truth that turns and waves."""
    time = torch.arange(T) / 30
    rest = 0.5 * sample(n, 1, K, 3, dtype=torch.float32)
    angle = (2 * time)[:, None] + torch.arange(n)[:, None, None]
    x, y, z = rest.expand(n, T, K, 3).unbind(-1)
    true = torch.stack([angle.cos() * x + angle.sin() * z, y, angle.cos() * z - angle.sin() * x], -1)
    true = true - true[..., 11:13, :].mean(-2, keepdim=True)
    uv = 1000 * true[..., :2] / (true[..., 2:] + 4) + torch.tensor([960.0, 540.0])
    return uv, time, true


def test_lifter_does_not_care_where_and_how_large_the_person_is():
    lifter = seeded(Lifter(SMALL)).double()
    uv, time, _ = people(2)
    uv = uv.double()
    out = lifter(uv, None, time)
    moved = lifter(2.5 * uv + 300, None, time)
    torch.testing.assert_close(moved.pose, out.pose)
    view = View(torch.tensor(1000.0), torch.tensor([960.0, 540.0]))
    known = lifter(uv, None, time, view)
    assert float((known.pose - out.pose).detach().abs().max()) > 1e-4  # the direction of view tells
    batched = View(torch.full((2,), 1000.0), torch.tensor([[960.0, 540.0]] * 2))
    torch.testing.assert_close(lifter(uv, None, time, batched).pose, known.pose)


def test_lifter_survives_missing_keypoints_and_frames():
    lifter = seeded(Lifter(SMALL))
    uv, time, _ = people(2)
    uv[0, 3], uv[:, 5, 4:9] = torch.nan, torch.nan
    uv[1, 7, 1:] = torch.nan  # one keypoint: a box without extent
    out = lifter(uv.requires_grad_(), None, time)
    assert out.seen.sum() == 23
    assert not out.seen[0, 3]
    assert torch.isfinite(out.pose).all()
    (gradient,) = torch.autograd.grad(out.pose.sum(), uv)
    assert torch.isfinite(gradient).all()
    box = person_box(uv[:, 3])
    assert box.scale[0] == 1
    assert lifter(uv[..., :1, :, :], None, time[:1]).pose.shape == (2, 1, K, 3)  # a sequence of one frame


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, tmp=None)])
def test_lifter_overfits_ten_sequences(config):
    torch.manual_seed(0)
    uv, time, true = people(10)
    lifter = Lifter(config)

    def loss():
        out = lifter(uv, None, time)
        gsr = losses.position_loss(out.single, true).mean()
        return gsr + losses.position_loss(out.pose, true).mean()

    first, last = fitted(lifter, loss, steps=80, lr=5e-3)
    assert last < 0.25 * first


def test_lifter_goes_through_a_file(tmp_path):
    lifter = seeded(Lifter(SMALL)).eval()
    path = save_lifter(lifter, tmp_path / "lifter.safetensors", {"seed": 1})
    again = load_lifter(path, keypoint_set="coco17")
    assert again.config == lifter.config
    assert not again.training
    uv, time, _ = people(1)
    torch.testing.assert_close(again(uv, None, time).pose, lifter(uv, None, time).pose, rtol=0, atol=0)
    with pytest.raises(InputError, match="keypoint set 'coco17', not of 'blazepose33'"):
        load_lifter(path, keypoint_set="blazepose33")
    half = save_lifter(Lifter(SMALL).half(), tmp_path / "half.safetensors")
    assert half.stat().st_size < 0.6 * path.stat().st_size
    assert next(load_lifter(half).parameters()).dtype == torch.float32
    save_weights(lifter, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds no lifter"):
        load_lifter(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="4 features a keypoint, not 0"):
        Lifter(LifterConfig(gsr=SMALL_GSR))


# --- EPE --------------------------------------------------------------------------------------------------------------


def moving_square(T=4, step=4):
    """A textured square that moves ``step`` [px] to the right a frame over a still texture."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (96, 128, 3)).astype(np.uint8)
    patch = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
    images = np.stack([ground] * T)
    for t in range(T):
        images[t, 30:70, 20 + step * t : 60 + step * t] = patch
    # smooth as images are, so that flow can be told
    kernel = np.ones(5) / 5
    smooth = images.astype(float)
    for axis in (1, 2):
        smooth = np.apply_along_axis(lambda x: np.convolve(x, kernel, mode="same"), axis, smooth)
    return smooth.astype(np.uint8)


def test_flow_sees_what_moves():
    pytest.importorskip("cv2")
    flow = optical_flow(moving_square())
    assert flow.shape == (4, 96, 128, 2)
    assert not flow[0].any()
    inside = np.median(flow[2, 38:62, 40:60], (0, 1))
    np.testing.assert_allclose(inside, [4, 0], atol=0.3)
    assert np.abs(np.median(flow[2, 75:, :], (0, 1))).max() < 0.1
    with pytest.raises(InputError, match="uint8 needed"):
        optical_flow(np.zeros((2, 8, 8, 3)))


def test_saliency_is_a_speed_and_enhancement_starts_at_one():
    flow = torch.zeros(3, 10, 8, 2)
    flow[1, ..., 0], flow[2, ..., 1] = 3.0, -1.0
    time = torch.tensor([0.0, 0.5, 1.5])
    S = motion_saliency(flow, time)
    torch.testing.assert_close(S[:, 0, 0], torch.tensor([0.0, 0.6, 0.1]))  # heights of 10 px a second
    assert float(motion_saliency(100 * flow, time).max()) == 1
    twice = motion_saliency(flow / 2, time / 2)
    torch.testing.assert_close(twice, S)  # twice the frame rate, half the flow a frame
    W = enhancement(torch.tensor([0.0, 0.5, 1.0]), gamma=2.0, lam=1.5)
    torch.testing.assert_close(W, 1 + 2 * (torch.tensor([0.0, 0.75, 1.5]).exp() - 1))
    with pytest.raises(InputError, match="strictly increasing"):
        motion_saliency(flow, time.flip(0))


def test_epe_shapes_and_still_images(tiny):
    torch.manual_seed(0)
    epe = EPE(EPEConfig(n_keypoints=5, backbone=tiny)).eval()
    images = torch.rand(2, 3, 32, 64)
    out = epe(images)
    assert [tuple(x.shape) for x in out] == [(2, 5, 8, 16), (2, 5, 2), (2, 5), (2, 5, 8)]
    assert epe.visual_width == 8
    still = epe(images, torch.zeros(2, 32, 64))
    torch.testing.assert_close(still.heatmaps, out.heatmaps)
    saliency = torch.zeros(2, 32, 64)
    saliency[:, :, 32:] = 1
    moving = epe(images, saliency).heatmaps
    bias = epe.backbone.final_layer.bias[:, None, None]
    torch.testing.assert_close(moving[..., :8], out.heatmaps[..., :8])
    torch.testing.assert_close(moving[..., 8:] - bias, math.e * (out.heatmaps[..., 8:] - bias), rtol=1e-4, atol=1e-5)
    p, confidence = epe.detect(images)
    assert p.shape == (2, 5, 2)
    assert confidence.shape == (2, 5)
    with pytest.raises(InputError, match="one value a pixel"):
        epe(images, torch.zeros(2, 8, 16))


def test_features_are_sampled_where_the_keypoints_are():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    features = torch.stack([x, y, x * 0 + 2])[None].double()
    p = torch.tensor([[[3.25, 1.5], [0.0, 5.0]]], dtype=torch.float64)
    torch.testing.assert_close(sampled(features, p), torch.cat([p, torch.full((1, 2, 1), 2.0).double()], -1))


def test_epe_overfits_ten_images(tiny):
    torch.manual_seed(0)
    images, centres = discs(10, (32, 64))
    true = gaussian_heatmaps(centres / 4, (8, 16), 1.0)
    epe = EPE(EPEConfig(n_keypoints=3, backbone=tiny))
    first, last = fitted(epe, lambda: heatmap_loss(epe(images).heatmaps, true).mean(), steps=60, lr=1e-2)
    assert last < 0.15 * first


# --- the whole --------------------------------------------------------------------------------------------------------


def net(tiny):
    torch.manual_seed(0)
    config = STSPNetConfig(
        keypoint_set="coco17", epe=EPEConfig(backbone=tiny), gsr=SMALL_GSR, tmp=replace(SMALL_TMP, window=2)
    )
    return STSPNet(config)


def test_whole_network_shapes_and_gradient(tiny):
    model = net(tiny)
    images, time = torch.rand(2, 3, 3, 32, 64), torch.tensor([0.0, 0.04, 0.07])
    out = model(images, time, torch.rand(2, 3, 32, 64), View(torch.tensor(60.0), torch.tensor([32.0, 16.0])))
    assert out.image.heatmaps.shape == (2, 3, 17, 8, 16)
    assert out.pose.shape == out.single.shape == (2, 3, 17, 3)
    out.pose.square().sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert bool(model.epe.backbone.conv1.weight.grad.any())  # end to end, through the soft-argmax


def test_stages_train_what_the_paper_says(tiny):
    model = net(tiny)
    everything = sum(p.numel() for p in model.parameters())
    sizes = {}
    for stage in STAGES:
        parameters = model.train_stage(stage)
        sizes[stage] = sum(p.numel() for p in parameters)
        assert all(p.requires_grad for p in parameters)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sizes[stage]
    assert sizes["all"] == everything == sizes["keypoints"] + sizes["lifting"]
    model.train_stage("lifting")
    before = model.epe.backbone.bn1.running_mean.clone()
    model(torch.rand(1, 2, 3, 32, 32), torch.tensor([0.0, 0.1]))
    torch.testing.assert_close(model.epe.backbone.bn1.running_mean, before)  # a held module's statistics stay, too
    with pytest.raises(UnknownNameError, match="keypoints, lifting, all"):
        model.train_stage("four")


def test_whole_network_overfits_with_the_joint_objective(tiny):
    model = net(tiny)
    model.train_stage("all")
    images, _ = discs(10, (32, 64))
    images = images.unflatten(0, (2, 5))
    time = torch.arange(5) / 25
    maps = gaussian_heatmaps(torch.rand(2, 5, 17, 2) * torch.tensor([15.0, 7.0]), (8, 16), 1.0)
    true = 0.3 * sample(2, 5, 17, 3, dtype=torch.float32)
    edges = torch.tensor(skeleton_graph("coco17"))
    lengths = (true[..., edges[:, 0], :] - true[..., edges[:, 1], :]).norm(dim=-1)
    triples = torch.tensor([[11, 13, 15], [12, 14, 16]])

    def loss():
        out = model(images, time)
        epe = losses.epe_objective(
            heatmap_loss(out.image.heatmaps, maps).mean(), losses.local_trajectory_loss(out.image.p / 64).mean()
        )
        gsr = losses.gsr_objective(
            losses.position_loss(out.single, true).mean(),
            losses.bone_length_loss(out.single, edges, lengths).mean(),
            losses.joint_angle_loss(out.single, triples, torch.tensor([0.0, math.pi])).mean(),
        )
        tmp_sum = losses.tmp_objective(
            losses.position_loss(out.pose, true).mean(),
            losses.velocity_loss(out.pose, true).mean(),
            losses.acceleration_loss(out.pose, true).mean(),
        )
        return losses.joint_objective(epe, gsr, tmp_sum)

    first, last = fitted(model, loss, steps=40, lr=5e-3)
    assert last < 0.5 * first
