"""Drawn videos, and HSTPN trained on them by Algorithm 1."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

import physpose
from physpose import conventions
from physpose.data.rendering import RenderSettings, VideoGenerator, draw, project
from physpose.errors import InputError
from physpose.networks.hstpn import HSTPN, HSTPNConfig
from physpose.networks.weights import load_weights
from physpose.skeleton.mjcf import to_mjcf
from physpose.training.hstpn import HSTPNTask, HSTPNTraining, train_hstpn
from physpose.training.loop import WEIGHTS
from physpose.training.parallel import Processes
from physpose.training.settings import Schedule

SMALL = RenderSettings(size=(64, 64), frames=3)


@pytest.fixture(scope="module")
def opengl(tmp_path_factory):
    """Skips where nothing can be drawn."""
    try:
        VideoGenerator(None, SMALL).video(0)
    except InputError as error:
        pytest.skip(str(error))


def test_points_are_projected_as_mujoco_draws_them(opengl):
    settings = RenderSettings(size=(96, 160), fovy=37.0)
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation, camera.distance = 57.0, -19.0, 4.0
    camera.lookat[:] = (0.1, -0.2, 0.8)
    skeleton = physpose.load_skeleton("adult")
    spec = mujoco.MjSpec.from_string(to_mjcf(skeleton))
    spec.visual.global_.fovy = settings.fovy
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = conventions.q_to_mujoco(skeleton, skeleton.neutral)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, *settings.size) as renderer:
        renderer.update_scene(data, camera)
        eyes = renderer.scene.camera
        eye, forward, up = (np.mean([getattr(e, n) for e in eyes], 0) for n in ("pos", "forward", "up"))
        half_height = eyes[0].frustum_top / eyes[0].frustum_near
    sites = [model.site(f"coco17:{p.name}").id for p in skeleton.keypoint_set("coco17").points]
    p = data.site_xpos[sites] - eye
    depth, right, high = p @ forward, p @ np.cross(forward, up), p @ up
    h, w = settings.size
    expected = (
        np.stack([right / depth / half_height * h / 2 + w / 2, h / 2 - high / depth / half_height * h / 2], -1) - 0.5
    )
    np.testing.assert_allclose(project(data.site_xpos[sites], camera, settings), expected, atol=1e-3)


def test_the_body_is_drawn_where_the_keypoints_are(opengl):
    """Pixels that change when the body moves away are about the keypoints, not elsewhere."""
    skeleton = physpose.load_skeleton("adult")
    settings = RenderSettings(size=(128, 128))
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation, camera.distance = 10.0, -10.0, 4.5
    camera.lookat[:] = (0.0, 0.0, 0.9)
    q = np.tile(skeleton.neutral, (2, 1))
    q[1, 0] += 100.0
    (here, away), person = draw(skeleton, q, camera, settings)
    here, away = here.float(), away.float()
    changed = ((here - away).abs().amax(0) > 40).nonzero().flip(-1).float()  # x, y
    points = physpose.KinematicChain(skeleton).keypoints(torch.as_tensor(q[:1]), "coco17").numpy()
    uv = torch.as_tensor(project(points, camera, settings), dtype=torch.float32)[0]
    assert float(torch.cdist(uv, changed).amin(1).max()) < 3  # each keypoint is on the body
    assert float(torch.cdist(changed, uv).amin(1).quantile(0.9)) < 25


def test_a_video_follows_from_its_number(opengl):
    a, b = VideoGenerator(None, SMALL, seed=1), VideoGenerator(None, SMALL, seed=1)
    first = a.video(3)
    assert all(torch.equal(x, y) for x, y in zip(first, b.video(3), strict=True))
    assert not torch.equal(first.images, a.video(4).images)
    batch = a.batch(1, 3)
    assert batch.images.shape == (3, 3, 3, 64, 64)
    assert torch.equal(batch.keypoints[0], first.keypoints)
    assert float(first.visible.float().mean()) > 0.8


def test_algorithm_1_overfits_drawn_videos(opengl, tiny, tmp_path):
    training = HSTPNTraining(
        network=HSTPNConfig(backbone=tiny, width=16, window=3), videos=SMALL, pool=2, validation_videos=1
    )
    schedule = Schedule(steps=30, batch=2, lr=1e-2, warmup=2, validate_every=30, checkpoint_every=30)
    task = HSTPNTask(training)
    torch.manual_seed(0)
    fresh = HSTPN(training.network)
    before = float(task.loss(fresh, 0, 2, Processes())[0].detach())
    course = train_hstpn(tmp_path, training, schedule)
    assert course.step == 30
    trained = HSTPN(training.network)
    load_weights(trained, tmp_path / WEIGHTS)
    after = float(task.loss(trained.train(), 0, 2, Processes())[0].detach())
    assert after < 0.6 * before


def test_refinement_comes_nearer_to_the_bones(opengl, tiny):
    training = HSTPNTraining(network=HSTPNConfig(backbone=tiny), videos=SMALL, pool=2, validation_videos=1)
    task = HSTPNTask(replace(training, refinements=8))
    true = task.pool.keypoints
    g = torch.Generator().manual_seed(0)
    p = (true + 2 * torch.randn(true.shape, generator=g)).requires_grad_()
    steps = task.refine(p, true)
    sums = [float(sum(s).detach()) for s in steps]
    assert sums == sorted(sums, reverse=True)
    assert sums[-1] < 0.8 * sums[0]
    lengths = (true[..., task.edges[:, 0], :] - true[..., task.edges[:, 1], :]).norm(dim=-1)
    spatial, _, domain = task.terms(true, lengths)
    assert float(spatial.max()) < 1e-8  # the truth has the right bones
    assert float(domain.max()) < 1e-8
