"""HRNet: the published sizes, names and computation; weights from files, and what is told where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from physpose.errors import InputError, UnknownNameError
from physpose.networks.hrnet import CONFIGS, HRNet, HRNetConfig, hrnet, normalised_images
from physpose.networks.hrnet_weights import load_hrnet_weights
from physpose.networks.weights import forward_flops, parameter_count

TINY = HRNetConfig(widths=(4, 6, 8, 10), modules=(1, 2, 2), blocks=1, stem_blocks=2, stem_width=8, n_keypoints=5)


def official(c: HRNetConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' pose network, written out from its description (lib/models/pose_hrnet.py)."""
    out: dict[str, tuple[int, ...]] = {}

    def conv(name, w_out, w_in, k):
        out[f"{name}.weight"] = (w_out, w_in, k, k)

    def bn(name, w):
        out.update({f"{name}.{n}": (w,) for n in ("weight", "bias", "running_mean", "running_var")})
        out[f"{name}.num_batches_tracked"] = ()

    for i, w_in in ((1, 3), (2, 64)):
        conv(f"conv{i}", 64, w_in, 3)
        bn(f"bn{i}", 64)
    s = c.stem_width
    for b in range(c.stem_blocks):
        w_in = 64 if b == 0 else 4 * s
        for i, (o, n, k) in enumerate(((s, w_in, 1), (s, s, 3), (4 * s, s, 1)), 1):
            conv(f"layer1.{b}.conv{i}", o, n, k)
            bn(f"layer1.{b}.bn{i}", o)
        if w_in != 4 * s:
            conv(f"layer1.{b}.downsample.0", 4 * s, w_in, 1)
            bn(f"layer1.{b}.downsample.1", 4 * s)
    w = c.widths
    conv("transition1.0.0", w[0], 4 * s, 3)
    bn("transition1.0.1", w[0])
    for t in (1, 2, 3):
        conv(f"transition{t}.{t}.0.0", w[t], 4 * s if t == 1 else w[t - 1], 3)
        bn(f"transition{t}.{t}.0.1", w[t])
    for stage in (2, 3, 4):
        for m in range(c.modules[stage - 2]):
            at = f"stage{stage}.{m}"
            for j in range(stage):
                for b in range(c.blocks):
                    for i in (1, 2):
                        conv(f"{at}.branches.{j}.{b}.conv{i}", w[j], w[j], 3)
                        bn(f"{at}.branches.{j}.{b}.bn{i}", w[j])
            last = stage == 4 and m == c.modules[2] - 1 and not c.all_scales
            for i in range(1 if last else stage):
                for j in range(stage):
                    if j > i:
                        conv(f"{at}.fuse_layers.{i}.{j}.0", w[i], w[j], 1)
                        bn(f"{at}.fuse_layers.{i}.{j}.1", w[i])
                    for k in range(i - j):
                        o = w[i] if k == i - j - 1 else w[j]
                        conv(f"{at}.fuse_layers.{i}.{j}.{k}.0", o, w[j], 3)
                        bn(f"{at}.fuse_layers.{i}.{j}.{k}.1", o)
    if c.n_keypoints is not None:
        out["final_layer.weight"], out["final_layer.bias"] = (c.n_keypoints, w[0], 1, 1), (c.n_keypoints,)
    return out


def weights(c: HRNetConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {n: 0.2 * torch.randn(shape, generator=generator) for n, shape in official(c).items()}
    for n in tensors:
        if n.endswith("running_var"):
            tensors[n] = tensors[n].abs() + 0.5
        if n.endswith("num_batches_tracked"):
            tensors[n] = torch.tensor(7)
    return tensors


def forward_twin(sd: dict[str, torch.Tensor], c: HRNetConfig, x: torch.Tensor) -> torch.Tensor:
    """The authors' network as plain function calls on a dictionary of weights, in evaluation mode."""

    def cb(x, conv, bn, stride=1, relu=True):
        k = sd[f"{conv}.weight"]
        x = F.conv2d(x, k, stride=stride, padding=k.shape[-1] // 2)
        mean, var, g, b = (sd[f"{bn}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
        x = g * (x - mean) / (var + 1e-5).sqrt() + b
        return x.clamp(min=0) if relu else x

    def seq(x, at, stride=1, relu=True):
        return cb(x, f"{at}.0", f"{at}.1", stride, relu)

    x = cb(cb(x, "conv1", "bn1", 2), "conv2", "bn2", 2)
    for b in range(c.stem_blocks):
        at = f"layer1.{b}"
        y = cb(cb(x, f"{at}.conv1", f"{at}.bn1"), f"{at}.conv2", f"{at}.bn2")
        y = cb(y, f"{at}.conv3", f"{at}.bn3", relu=False)
        x = (y + (seq(x, f"{at}.downsample", relu=False) if f"{at}.downsample.0.weight" in sd else x)).clamp(min=0)
    maps = [seq(x, "transition1.0"), seq(x, "transition1.1.0", 2)]
    for stage in (2, 3, 4):
        if stage > 2:
            maps.append(seq(maps[-1], f"transition{stage - 1}.{stage - 1}.0", 2))
        for m in range(c.modules[stage - 2]):
            at = f"stage{stage}.{m}"
            for j in range(stage):
                for b in range(c.blocks):
                    block = f"{at}.branches.{j}.{b}"
                    y = cb(maps[j], f"{block}.conv1", f"{block}.bn1")
                    y = cb(y, f"{block}.conv2", f"{block}.bn2", relu=False)
                    maps[j] = (y + maps[j]).clamp(min=0)
            rows = []
            for i in range(1 if stage == 4 and m == c.modules[2] - 1 else stage):
                total = 0
                for j in range(stage):
                    y, fuse = maps[j], f"{at}.fuse_layers.{i}.{j}"
                    if j > i:
                        y = seq(y, fuse, relu=False).repeat_interleave(2 ** (j - i), -1)
                        y = y.repeat_interleave(2 ** (j - i), -2)
                    for k in range(i - j):
                        y = seq(y, f"{fuse}.{k}", 2, relu=k < i - j - 1)
                    total = total + y
                rows.append(total.clamp(min=0))
            maps = rows
    return F.conv2d(maps[0], sd["final_layer.weight"], sd["final_layer.bias"])


@pytest.mark.parametrize("name", CONFIGS)
def test_names_and_shapes_are_the_authors(name):
    model = hrnet(name, n_keypoints=17)
    assert {n: tuple(t.shape) for n, t in model.state_dict().items()} == official(model.config)


@pytest.mark.parametrize(
    ("name", "size", "millions", "gflops"),
    # README of leoxiaobin/deep-high-resolution-net.pytorch. Its GFLOPs are multiply-adds over 2^30.
    [("w32", (256, 192), 28.5, 7.1), ("w32", (384, 288), 28.5, 16.0), ("w48", (256, 192), 63.6, 14.6)],
)
def test_pose_networks_have_the_published_size(name, size, millions, gflops):
    with torch.device("meta"):
        model, image = hrnet(name, n_keypoints=17), torch.zeros(1, 3, *size)
    assert round(parameter_count(model) / 1e6, 1) == millions
    assert round(forward_flops(model, image) / 2 / 2**30, 1) == gflops


@pytest.mark.parametrize(("name", "millions"), [("w18_small_v1", 13.2), ("w18_small_v2", 15.6)])
def test_small_networks_have_the_published_size_with_the_classification_head(name, millions):
    """HRNet/HRNet-Image-Classification counts its head, too: bottlenecks to 128..1024, three reductions, 2048, 1000."""
    with torch.device("meta"):
        model = hrnet(name, all_scales=True)

    def bottleneck(w_in, w):
        return w_in * w + 9 * w * w + 4 * w * w + 4 * w * w_in + 2 * (w + w + 4 * w + 4 * w)

    inner = (32, 64, 128, 256)
    head = sum(bottleneck(w_in, w) for w_in, w in zip(model.config.widths, inner, strict=True))
    head += sum(9 * 4 * a * 4 * b + 4 * b + 2 * 4 * b for a, b in zip(inner, inner[1:], strict=False))
    head += 1024 * 2048 + 2048 + 2 * 2048 + 2048 * 1000 + 1000
    assert round((parameter_count(model) + head) / 1e6, 1) == millions


def test_computes_what_the_authors_network_computes(tmp_path):
    tensors = weights(TINY)
    torch.save(tensors, tmp_path / "pose.pth")
    model = HRNet(TINY).eval()
    assert load_hrnet_weights(model, tmp_path / "pose.pth").loaded == len(tensors)
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y, expected = model(x), forward_twin(tensors, TINY, x)
    assert y.shape == (2, 5, 16, 24)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_features_have_four_resolutions():
    for all_scales in (False, True):
        model = HRNet(HRNetConfig(widths=(4, 6, 8, 10), modules=(1, 1, 1), blocks=1, all_scales=all_scales)).eval()
        maps = model.features(torch.zeros(2, 3, 64, 96))
        assert [tuple(m.shape) for m in maps] == [(2, 4, 16, 24), (2, 6, 8, 12), (2, 8, 4, 6), (2, 10, 2, 3)]
    with pytest.raises(InputError, match="multiples of 32"):
        model(torch.zeros(1, 3, 60, 64))
    with pytest.raises(UnknownNameError, match="w18_small_v1"):
        hrnet("w31")


def test_images_are_normalised_as_imagenet():
    grey = torch.full((3, 2, 2), 128, dtype=torch.uint8)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalised_images(grey)[:, 0, 0], expected)


# --- weight files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "parallel", "mmpose", "safetensors"])
def test_weights_load_whatever_they_are_wrapped_in(tmp_path, form):
    tensors, path = weights(TINY), tmp_path / "w.pth"
    if form == "plain":
        torch.save(tensors, path)
    elif form == "parallel":
        torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in tensors.items()}}, path)
    elif form == "mmpose":
        prefix = {n: "keypoint_head." if n.startswith("final_layer") else "backbone." for n in tensors}
        torch.save({"state_dict": {prefix[n] + n: t for n, t in tensors.items()}}, path)
    else:
        path = tmp_path / "w.safetensors"
        save_file(tensors, path)
    model = HRNet(TINY)
    report = load_hrnet_weights(model, path)
    assert report.left_out == report.untrained == ()
    for name, t in model.state_dict().items():
        torch.testing.assert_close(t, tensors[name])


def test_imagenet_weights_fill_a_pose_network_with_a_new_head(tmp_path):
    tensors = weights(replace(TINY, n_keypoints=None, all_scales=True))
    tensors |= {"classifier.weight": torch.zeros(10, 8), "incre_modules.0.0.conv1.weight": torch.zeros(2, 2)}
    torch.save(tensors, tmp_path / "w.pth")
    model = HRNet(TINY)
    with pytest.raises(InputError, match="no heatmap head: new_head=True"):
        load_hrnet_weights(model, tmp_path / "w.pth")
    report = load_hrnet_weights(model, tmp_path / "w.pth", new_head=True)
    assert report.untrained == ("final_layer.weight", "final_layer.bias")
    assert "classifier.weight" in report.left_out
    assert "stage4.1.fuse_layers.1.0.0.0.weight" in report.left_out
    torch.testing.assert_close(model.state_dict()["stage4.0.fuse_layers.1.0.0.0.weight"],
                               tensors["stage4.0.fuse_layers.1.0.0.0.weight"])  # fmt: skip


def test_other_numbers_of_keypoints_are_told(tmp_path):
    torch.save(weights(replace(TINY, n_keypoints=16)), tmp_path / "w.pth")
    model = HRNet(TINY)
    before = model.final_layer.weight.clone()
    with pytest.raises(InputError, match=r"final_layer.weight: \(16, 4, 1, 1\) in the file, \(5, 4, 1, 1\).*new_head"):
        load_hrnet_weights(model, tmp_path / "w.pth")
    report = load_hrnet_weights(model, tmp_path / "w.pth", new_head=True)
    assert set(report.left_out) == {"final_layer.weight", "final_layer.bias"}
    torch.testing.assert_close(model.final_layer.weight, before)
    features_only = HRNet(replace(TINY, n_keypoints=None))
    assert load_hrnet_weights(features_only, tmp_path / "w.pth").left_out == ("final_layer.weight", "final_layer.bias")


def test_mismatches_are_listed_and_change_nothing(tmp_path):
    tensors = weights(TINY)
    del tensors["bn2.bias"]
    tensors["layer1.0.conv2.weight"] = torch.zeros(3, 3)
    tensors["stage5.weight"] = torch.zeros(1)
    torch.save(tensors, tmp_path / "w.pth")
    model = HRNet(TINY)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_hrnet_weights(model, tmp_path / "w.pth")
    for words in ("1 missing: bn2.bias", "1 unexpected: stage5.weight", "layer1.0.conv2.weight: (3, 3) in the file"):
        assert words in str(error.value)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_nothing_but_tensors_is_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="no PyTorch file of plain weights"):
        load_hrnet_weights(HRNet(TINY), tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="no PyTorch file"):
        load_hrnet_weights(HRNet(TINY), tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no dictionary of named tensors"):
        load_hrnet_weights(HRNet(TINY), tmp_path / "list.pth")
    with pytest.raises(InputError, match="no such file"):
        load_hrnet_weights(HRNet(TINY), tmp_path / "none.pth")
