"""Networks, chain and training on a GPU give what they give on a processor. Skips without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_hstpn_training import opengl  # noqa: F401  (a fixture)

from physpose import KinematicChain, load_skeleton
from physpose.data.rendering import RenderSettings, Video
from physpose.data.surroundings import in_surroundings
from physpose.estimation.aprs_module import APRS
from physpose.networks.graph import skeleton_graph
from physpose.networks.hrnet import normalised_images
from physpose.networks.hstpn import HSTPN, SMALL
from physpose.networks.lifter import shipped_lifter
from physpose.training.hstpn import HSTPNTraining, train_hstpn
from physpose.training.lifter import LifterTraining, train_lifter
from physpose.training.settings import Schedule

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
DEVICES = ("cpu", "cuda")


def near(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    scale = float(a.abs().max())
    assert float((a - b.cpu()).abs().max()) < tolerance * scale


def poses(n: int) -> torch.Tensor:
    skeleton = load_skeleton("adult")
    q = torch.as_tensor(np.tile(skeleton.neutral, (n, 1)))
    return q + torch.cat([torch.zeros(n, 7), 0.2 * torch.randn(n, q.shape[1] - 7, generator=seeded())], 1)


def seeded(device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def test_forward_kinematics_and_its_gradient():
    found = []
    for device in DEVICES:
        chain = KinematicChain(load_skeleton("adult")).to(device)
        q = poses(64).to(device).requires_grad_()
        p = chain.keypoints(q, "coco17")
        found.append((p.detach(), torch.autograd.grad(p.square().sum(), q)[0]))
    for cpu, gpu in zip(*found, strict=True):
        near(cpu, gpu, 1e-10)


def test_projection_and_its_gradient():
    found = []
    noise = 0.03 * torch.randn(8, 17, 3, generator=seeded(), dtype=torch.float64)
    for device in DEVICES:
        chain = KinematicChain(load_skeleton("adult")).to(device)
        target = (chain.keypoints(poses(8).to(device), "coco17") + noise.to(device)).detach().requires_grad_()
        result = chain.project(target, "coco17")
        p = chain.keypoints(result.q, "coco17")
        found.append((p.detach(), torch.autograd.grad(p.square().sum(), target)[0]))
    for cpu, gpu in zip(*found, strict=True):
        near(cpu, gpu, 1e-5)


@pytest.mark.parametrize("name", ["blazepose33", "coco17"])
def test_the_shipped_lifters(name):
    lifter = shipped_lifter(name)
    uv = 500 + 100 * torch.randn(1, 40, int(name[-2:]), 2, generator=seeded())
    time = torch.arange(40) / 12
    with torch.inference_mode():
        cpu = lifter(uv, None, time).pose
        near(cpu, lifter.to("cuda")(uv.cuda(), None, time.cuda()).pose, 1e-3)


def test_hstpn():
    torch.manual_seed(0)
    network, images = HSTPN(SMALL).eval(), torch.rand(1, 4, 3, 64, 64, generator=seeded())
    with torch.inference_mode():
        cpu = network(normalised_images(images)).p
        near(cpu, network.to("cuda")(normalised_images(images.cuda())).p, 1e-3)


def test_surroundings_are_drawn_on_the_gpu():
    video = Video(
        torch.zeros(2, 3, 3, 64, 64, dtype=torch.uint8), torch.zeros(2, 3, 64, 64, dtype=torch.bool),
        torch.full((2, 3, 17, 2), 31.5), torch.ones(2, 3, 17, dtype=torch.bool), torch.zeros(2, 3),
    )  # fmt: skip
    shown = in_surroundings(Video(*(x.cuda() for x in video)), seeded("cuda"))
    assert shown.images.device.type == "cuda"
    assert 0.01 < float(shown.images.std()) < 0.5


def test_a_lifter_trains(tmp_path):
    schedule = Schedule(steps=6, batch=8, warmup=1, validate_every=3, checkpoint_every=3, precision="bfloat16")
    course = train_lifter(tmp_path, LifterTraining(), schedule, device="cuda")
    assert course.step == 6
    assert course.best < 1.0


def test_hstpn_trains(opengl, tmp_path):  # noqa: F811
    training = HSTPNTraining(videos=RenderSettings(size=(64, 64), frames=3), pool=4, validation_videos=2)
    schedule = Schedule(steps=6, batch=2, warmup=1, validate_every=3, checkpoint_every=3, precision="bfloat16")
    assert train_hstpn(tmp_path, training, schedule, device="cuda", processes=2).step == 6


def test_aprs_as_a_module():
    chain = KinematicChain(load_skeleton("adult"))
    edges, time = torch.tensor(skeleton_graph("coco17")), torch.arange(30, dtype=torch.float64) / 30
    true = chain.keypoints(poses(1), "coco17").expand(30, -1, -1)
    p = true + 0.02 * torch.randn(true.shape, generator=seeded(), dtype=torch.float64)
    lengths = (true[0, edges[:, 0]] - true[0, edges[:, 1]]).norm(dim=-1)
    found = []
    for device in DEVICES:
        layer = APRS("coco17", edges).to(device)
        found.append(layer(p.to(device), time.to(device), lengths.to(device)).keypoints.detach())
    near(*found, 1e-5)
