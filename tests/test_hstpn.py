"""Heatmaps and HSTPN: equations by hand, identities, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from network_cases import discs, fitted
from torch.autograd import gradcheck

from physpose.errors import InputError, UnknownNameError
from physpose.losses.keypoints import heatmap_loss
from physpose.networks.heatmaps import gaussian_heatmaps, peaks, soft_argmax, to_image
from physpose.networks.hrnet import hrnet
from physpose.networks.hstpn import HSTPN, SMALL, AttentionHead, HSTPNConfig, MultiScaleFusion
from physpose.networks.temporal import ConvTemporal, RecurrentTemporal
from physpose.networks.weights import load_weights, parameter_count, save_weights

SHAPES = [(), (1,), (3, 1, 2)]
PLACES = torch.tensor([[10.3, 20.8], [5.0, 7.0], [30.49, 3.51]], dtype=torch.float64)


def sample(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


# --- heatmaps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_heatmap_by_hand(shape):
    maps = gaussian_heatmaps(PLACES.expand(*shape, 3, 2), (32, 48), 2.0)
    assert maps.shape == (*shape, 3, 32, 48)
    first = maps.reshape(-1, 3, 32, 48)[0]
    assert float(first[1, 7, 5]) == 1  # row is y, column is x
    assert float(first[1, 9, 8]) == pytest.approx(math.exp(-(3**2 + 2**2) / (2 * 2.0**2)))
    missing = gaussian_heatmaps(torch.full((1, 2), torch.nan), (4, 4))
    assert not missing.any()


def test_taylor_step_is_exact_on_gaussians():
    for sigma in (1.0, 2.0, 3.5):
        maps = gaussian_heatmaps(PLACES, (32, 48), sigma)
        found = peaks(maps)
        torch.testing.assert_close(found.p, PLACES, rtol=0, atol=1e-6)
        coarse = peaks(maps, subpixel=False).p
        torch.testing.assert_close(coarse, PLACES.round())
        torch.testing.assert_close(found.confidence, maps.flatten(-2).amax(-1))
    tilted = torch.tensor([[0.2, 0.07], [0.07, 0.1]], dtype=torch.float64)  # inverse covariance of a slanted peak
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    d = torch.stack([x, y], -1).double() - PLACES[0]
    slanted = torch.exp(-0.5 * torch.einsum("hwi,ij,hwj->hw", d, tilted, d))
    torch.testing.assert_close(peaks(slanted[None]).p[0], PLACES[0], rtol=0, atol=1e-6)


def test_subpixel_step_stays_put_where_it_means_nothing():
    flat, corner, ridge = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    corner[0, 0, 7], ridge[0, 3] = 1, 1
    for maps, place in ((flat, [0, 0]), (corner, [7, 0]), (ridge, [0, 3])):
        torch.testing.assert_close(peaks(maps).p, torch.tensor([place], dtype=torch.float32))
    edge = gaussian_heatmaps(torch.tensor([[0.2, 5.3], [6.7, 5.3], [3.2, 7.1]]), (8, 8))
    torch.testing.assert_close(peaks(edge).p, torch.tensor([[0.0, 5.0], [7.0, 5.0], [3.0, 7.0]]))
    assert peaks(torch.rand(5, 2, 2)).p.shape == (5, 2)
    negative = sample(4, 9, 9)
    assert torch.isfinite(peaks(negative).p).all()
    assert float((peaks(negative).p - peaks(negative, subpixel=False).p).abs().max()) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_soft_argmax_finds_a_gaussian_and_has_a_gradient(shape):
    places = PLACES.expand(*shape, 3, 2)
    # a Gaussian as softmax sees it: its logarithm is the map
    y, x = (torch.arange(n, dtype=torch.float64) for n in (32, 48))
    logits = -((x - places[..., :1, None]) ** 2 + (y[:, None] - places[..., 1:, None]) ** 2) / (2 * 1.5**2)
    p = soft_argmax(logits)
    torch.testing.assert_close(p[..., :2, :], places[..., :2, :], rtol=0, atol=1e-3)  # the last is cut by the border
    sharp = soft_argmax(gaussian_heatmaps(places, (32, 48)), beta=20.0)
    torch.testing.assert_close(sharp[..., :2, :], places[..., :2, :], rtol=0, atol=0.05)
    assert gradcheck(lambda h: soft_argmax(h, 2.0), sample(2, 4, 5).requires_grad_())


def test_soft_argmax_moves_with_the_map():
    maps = torch.full((1, 20, 20), -torch.inf, dtype=torch.float64)
    maps[:, 4:12, 4:12] = sample(8, 8)
    moved = torch.roll(maps, (3, 5), (-2, -1))
    torch.testing.assert_close(soft_argmax(moved), soft_argmax(maps) + torch.tensor([5.0, 3.0]).double())
    torch.testing.assert_close(to_image(torch.tensor([1.5, 2.0]), 4), torch.tensor([6.0, 8.0]))


def test_stride_puts_features_on_every_fourth_pixel(tiny):
    """A change of one image pixel reaches, in each of its dimensions, features evenly about a quarter of its place."""
    model = hrnet("tiny").eval()
    stem = torch.nn.Sequential(model.conv1, model.conv2)
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32, 32] = 1
    reached = stem(image)[0].abs().sum(0).nonzero()
    assert reached.float().mean(0).tolist() == [8, 8]


# --- modules ----------------------------------------------------------------------------------------------------------


def maps_of(batch, widths=(4, 6, 8, 10), dtype=torch.float64):
    return [sample(batch, w, 16 // 2**i, 12 // 2**i if i < 2 else 3, seed=i, dtype=dtype) for i, w in enumerate(widths)]


def test_fusion_by_hand():
    torch.manual_seed(0)
    fusion = MultiScaleFusion((4, 6, 8, 10), 5).double()
    with torch.no_grad():
        fusion.w.copy_(sample(5, seed=9))
    maps = maps_of(2)
    psi, alpha = fusion(maps)
    torch.testing.assert_close(alpha.sum(-1), torch.ones(2).double())
    aligned = []
    for conv, x in zip(fusion.align, maps, strict=True):
        y = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x) + conv.bias[:, None, None]
        aligned.append(torch.nn.functional.interpolate(y, (16, 12), mode="bilinear"))
    score = torch.stack([(a.mean((2, 3)) * fusion.w).sum(-1) for a in aligned], -1)
    torch.testing.assert_close(alpha, score.exp() / score.exp().sum(-1, keepdim=True))
    mixed = sum(alpha[:, i, None, None, None] * a for i, a in enumerate(aligned))
    centred = mixed - mixed.mean((1, 2, 3), keepdim=True)
    expected = centred / (centred.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(psi, expected)
    torch.testing.assert_close(psi.mean((1, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(psi.std((1, 2, 3), correction=0), torch.ones(2).double(), rtol=0, atol=1e-3)


def test_temporal_convolution_is_the_printed_sum():
    encoder = ConvTemporal(3, 5).double()
    psi = sample(2, 6, 3, 4, 4)
    torch.testing.assert_close(encoder(psi), psi)  # starts as the identity
    with torch.no_grad():
        encoder.W.copy_(sample(5, 3, 3, seed=1))
    h = encoder(psi)
    for t in range(6):
        total = 0
        for i in range(-2, 3):
            total = total + torch.einsum("dc,bchw->bdhw", encoder.W[i + 2], psi[:, min(max(t + i, 0), 5)])
        torch.testing.assert_close(h[:, t], total)
    with pytest.raises(InputError, match="odd window"):
        ConvTemporal(3, 4)


def test_recurrent_encoder_is_causal_and_streams():
    torch.manual_seed(0)
    encoder = RecurrentTemporal(3).double()
    with torch.no_grad():
        encoder.gates.weight.normal_(std=0.3)
        encoder.gate_bias.zero_()
    psi = sample(2, 6, 3, 4, 4)
    whole = encoder(psi)
    start = encoder(psi[:, :4])
    torch.testing.assert_close(start, whole[:, :4])
    torch.testing.assert_close(encoder(psi[:, 4:], start[:, -1]), whole[:, 4:])
    changed = psi.clone()
    changed[:, 0] += 1
    assert float((encoder(changed)[:, -1] - whole[:, -1]).detach().abs().max()) > 1e-6  # it remembers
    for t in range(1, 6):
        x, h = psi[:, t], whole[:, t - 1]
        gates = torch.nn.functional.conv2d(torch.cat([x, h], 1), encoder.gates.weight, padding=1)
        z, r = torch.sigmoid(gates[:, :3]), torch.sigmoid(gates[:, 3:])
        torch.testing.assert_close(whole[:, t], (1 - z) * x + z * encoder.candidate(torch.cat([x, r * h], 1)).tanh())


def test_modules_have_right_gradients():
    torch.manual_seed(0)
    head, encoder = AttentionHead(4, 2).double().eval(), RecurrentTemporal(2).double()
    weight = head.attention(sample(1, 4, 5, 5))
    assert weight.shape == (1, 1, 5, 5)
    assert bool(((weight > 0) & (weight < 1)).all())
    assert gradcheck(head, sample(1, 4, 4, 3).requires_grad_())
    assert gradcheck(encoder, sample(1, 3, 2, 3, 3).requires_grad_())
    fusion = MultiScaleFusion((2, 3), 2).double()
    maps = [sample(1, 2, 4, 4).requires_grad_(), sample(1, 3, 2, 2).requires_grad_()]
    assert gradcheck(lambda *m: fusion(list(m)), maps)


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temporal", ["convolutional", "recurrent", "none"])
def test_shapes_of_images_and_videos(tiny, temporal):
    model = HSTPN(HSTPNConfig(backbone=tiny, width=8, window=3, temporal=temporal, n_keypoints=5)).eval()
    video = sample(2, 4, 3, 32, 64, dtype=torch.float32)
    out = model(video)
    assert [tuple(x.shape) for x in out] == [(2, 4, 5, 8, 16), (2, 4, 5, 2), (2, 4, 4)]
    p, confidence = model.detect(video)
    assert p.shape == (2, 4, 5, 2)
    assert confidence.shape == (2, 4, 5)
    image = model(video[:, 0])
    assert image.heatmaps.shape == (2, 5, 8, 16)
    if temporal == "none":
        torch.testing.assert_close(image.heatmaps, out.heatmaps[:, 0], rtol=1e-4, atol=1e-5)


def test_bad_structures_and_images_are_told(tiny):
    with pytest.raises(UnknownNameError, match="convolutional, recurrent, none"):
        HSTPN(HSTPNConfig(backbone=tiny, temporal="lstm"))
    with pytest.raises(UnknownNameError, match="w18_small_v1"):
        HSTPN(HSTPNConfig(backbone="resnet"))
    with pytest.raises(InputError, match=r"\(B, T, 3, H, W\) needed"):
        HSTPN(HSTPNConfig(backbone=tiny, width=8))(torch.zeros(3, 32, 32))


def test_sizes_beside_the_paper():
    """Table 3 has 26.8 million parameters; on the unshortened W32, whose weights load, it is 7 % more."""
    with torch.device("meta"):
        full, small = HSTPN(HSTPNConfig()), HSTPN(SMALL)
        assert parameter_count(full) == pytest.approx(26.8e6, rel=0.08)
        assert parameter_count(small) < 1.5e6
        assert full.temporal.W.shape == (5, 64, 64)


@pytest.mark.parametrize("temporal", ["convolutional", "recurrent"])
def test_overfits_ten_samples(tiny, temporal):
    torch.manual_seed(0)
    images, centres = discs(10, (32, 64))
    true = gaussian_heatmaps(centres / 4, (8, 16), 1.0).unflatten(0, (2, 5))
    model = HSTPN(HSTPNConfig(backbone=tiny, width=16, window=3, temporal=temporal, n_keypoints=3))
    video = images.unflatten(0, (2, 5))
    first, last = fitted(model, lambda: heatmap_loss(model(video).heatmaps, true).mean(), steps=60, lr=1e-2)
    assert last < 0.1 * first
    p, _ = model.detect(video)  # still with the batch's statistics
    assert float((p.flatten(0, 1) - centres).norm(dim=-1).median()) < 2  # [px], half a pixel of the heatmap


def test_weights_go_through_a_file(tiny, tmp_path):
    torch.manual_seed(0)
    config = HSTPNConfig(backbone=tiny, width=8, n_keypoints=3)
    model = HSTPN(config).eval()
    save_weights(model, tmp_path / "w.safetensors", {"seed": 3})
    again = HSTPN(config).eval()
    assert load_weights(again, tmp_path / "w.safetensors") == {"seed": 3}
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again(image).heatmaps, model(image).heatmaps, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"weights of another HSTPN: .*head.out.weight: \(3, 8, 1, 1\) in the file"):
        load_weights(HSTPN(HSTPNConfig(backbone=tiny, width=8, n_keypoints=4)), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="ends in .safetensors"):
        save_weights(model, tmp_path / "w.pth")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a safetensors file that can be read"):
        load_weights(again, tmp_path / "half.safetensors")
