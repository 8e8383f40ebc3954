"""Training without labels: reprojection by closed forms, and that a lifter gets better on what nobody labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import physpose
from physpose.data.generator import GeneratorSettings, SequenceGenerator
from physpose.errors import InputError
from physpose.losses.reprojection import reprojection_error, translation
from physpose.networks.gsr import GSRConfig
from physpose.networks.lifter import VIEW, Lifter, LifterConfig, View, save_lifter
from physpose.networks.tmp import TMPConfig
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.training.loop import WEIGHTS
from physpose.training.self_supervised import Recording, SelfSupervisedTask, SelfSupervision, self_supervise
from physpose.training.settings import Schedule
from physpose.types import Keypoints2D

FOCAL, POINT = torch.tensor(900.0).double(), torch.tensor([320.0, 240.0]).double()


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points (2, 6, 3), where they stand (2, 3), and their picture (2, 6, 2)."""
    g = torch.Generator().manual_seed(0)
    p = torch.randn(2, 6, 3, generator=g, dtype=torch.float64) * 0.4
    t = torch.tensor([[0.2, -0.1, 3.0], [-0.5, 0.3, 6.0]], dtype=torch.float64)
    x = p + t[:, None]
    return p, t, FOCAL * x[..., :2] / x[..., 2:] + POINT


def test_a_body_is_placed_where_it_stands():
    p, t, uv = scene()
    weight = torch.ones(2, 6, dtype=torch.float64)
    torch.testing.assert_close(translation(p, uv, weight, FOCAL, POINT), t)
    error = reprojection_error(p + t[:, None], uv, weight, FOCAL, POINT)
    torch.testing.assert_close(error, torch.zeros(2).double(), atol=1e-12, rtol=0)
    uv[0, 1] = torch.nan
    uv[1, 2], weight[1, 2] = 0.0, 0.0
    torch.testing.assert_close(translation(p, uv, weight, FOCAL, POINT), t)
    focal = torch.stack([FOCAL, FOCAL])
    torch.testing.assert_close(translation(p, uv, weight, focal, POINT.expand(2, 2)), t)


def test_a_body_of_which_nothing_is_seen_stays():
    p, _, uv = scene()
    assert not translation(p, uv * torch.nan, torch.ones(2, 6).double(), FOCAL, POINT).any()
    assert not reprojection_error(p, uv * torch.nan, torch.ones(2, 6).double(), FOCAL, POINT).any()


def test_error_is_in_metres_at_the_body():
    p = torch.tensor([[[0.0, 0, 4], [1, 0, 4]]], dtype=torch.float64)
    uv = FOCAL * p[..., :2] / 4 + POINT
    uv[0, 0, 1] += 9.0  # 9 px at 4 m with 900 px focal length: 4 cm, of two points
    assert float(reprojection_error(p, uv, torch.ones(1, 2).double(), FOCAL, POINT)) == pytest.approx(0.02)


def test_gradients_of_reprojection():
    p, t, uv = scene()
    weight = torch.full((2, 6), 0.7, dtype=torch.float64)

    def total(q):
        placed = q + translation(q, uv, weight, FOCAL, POINT)[:, None]
        return reprojection_error(placed, uv, weight, FOCAL, POINT)

    noisy = (p + 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype)).requires_grad_()
    assert torch.autograd.gradcheck(total, (noisy,))


# --- training ---------------------------------------------------------------------------------------------------------


def recording() -> Recording:
    """Two seconds of someone at 12 frames/s."""
    generator = SequenceGenerator(
        None, GeneratorSettings(keypoint_set="coco17", people=1, frames=24, rate=(12.0, 12.0))
    )
    batch = generator.batch(0, 1)
    kp = Keypoints2D(
        keypoint_set="coco17", names=keypoint_names("coco17"), time=batch.time[0].double().numpy(),
        uv=batch.keypoints.double().numpy(), confidence=batch.confidence.double().numpy(),
    )  # fmt: skip
    height = float(batch.stature[0])
    skeleton = physpose.load_skeleton("adult" if height > 1.5 else "child", height=height)
    return Recording(kp, View(torch.tensor(800.0), batch.view.principal_point[0]), skeleton)


def lifter() -> Lifter:
    torch.manual_seed(0)
    gsr = GSRConfig(keypoint_set="coco17", features=VIEW, embed=8, width=8, node_width=4, trunk=32, blocks=1)
    return Lifter(LifterConfig(gsr=gsr, tmp=TMPConfig(window=1, width=8, heads=2)))


def test_a_lifter_gets_better_without_labels(tmp_path):
    save_lifter(lifter(), tmp_path / "start.safetensors")
    schedule = Schedule(steps=40, batch=2, lr=5e-3, warmup=1, validate_every=20, checkpoint_every=40)
    settings = SelfSupervision(frames=4, anchor=0.0, body=0.0, physics=0.0)
    task = SelfSupervisedTask([recording()], lifter(), settings)
    before = task.validate(lifter(), 0)
    course = self_supervise(tmp_path / "run", tmp_path / "start.safetensors", [recording()], settings, schedule)
    assert course.best < 0.7 * before
    assert (tmp_path / "run" / WEIGHTS).is_file()


def test_every_loss_reaches_the_lifter():
    r = recording()
    module = lifter()
    task = SelfSupervisedTask([r], lifter(), SelfSupervision(frames=4))
    terms = task.terms(module, 0, np.arange(4))
    for name in ("reprojection", "bones", "body", "physics"):
        module.zero_grad(set_to_none=True)
        terms[name].backward(retain_graph=True)
        assert float(module.gsr.out.weight.grad.abs().max()) > 0, name
        assert torch.isfinite(module.gsr.out.weight.grad).all(), name


def test_recordings_must_fit():
    r = recording()
    other = replace(r, keypoints=replace(r.keypoints, keypoint_set="blazepose33"))
    with pytest.raises(InputError, match="coco17"):
        SelfSupervisedTask([other], lifter(), SelfSupervision())
    with pytest.raises(InputError, match="as long as 99 frames"):
        SelfSupervisedTask([r], lifter(), SelfSupervision(frames=99))
