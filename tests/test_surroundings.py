"""What stands behind and before drawn people: pictures and keypoints move together, everything else is new."""

from __future__ import annotations

import torch

from physpose.data.rendering import Video
from physpose.data.surroundings import SurroundingsSettings, in_surroundings, textures

H, W = 96, 64
PLAIN = SurroundingsSettings(occluded=0.0, blur=0.0, noise=0.0)


def discs(n: int = 6, T: int = 2) -> Video:
    """A white disc of 4 px at each video's only keypoint, which moves from frame to frame."""
    g = torch.Generator().manual_seed(0)
    p = torch.tensor([W / 2, H / 2]) + 10 * (torch.rand(n, T, 1, 2, generator=g) - 0.5)
    x, y = torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")
    person = ((x - p[..., 0, :1, None]) ** 2 + (y - p[..., 0, 1:, None]) ** 2) < 16
    images = 255 * person[:, :, None].expand(-1, -1, 3, -1, -1).to(torch.uint8)
    return Video(images, person, p, torch.ones(n, T, 1, dtype=torch.bool), torch.arange(T).expand(n, T) / 12)


def test_keypoints_stay_where_the_person_is():
    shown = in_surroundings(discs(), torch.Generator().manual_seed(1), PLAIN)
    x, y = torch.meshgrid(torch.arange(W), torch.arange(H), indexing="xy")
    weight = shown.person / shown.person.sum((2, 3), keepdim=True)
    centre = torch.stack([(weight * x).sum((2, 3)), (weight * y).sum((2, 3))], -1)
    assert float((centre - shown.keypoints[:, :, 0]).abs().max()) < 0.4
    assert float((shown.keypoints - discs().keypoints).abs().max()) > 4  # the camera did move
    assert shown.visible.all()


def test_the_camera_turns_and_zooms_and_does_not_shear():
    """Distances between keypoints change by one factor a video."""
    video, g = discs(), torch.Generator().manual_seed(5)
    corners = torch.tensor([[20.0, 30.0], [44.0, 30.0], [20.0, 66.0], [44.0, 66.0]]).expand(6, 2, 4, 2)
    seen = video._replace(keypoints=corners, visible=torch.ones(6, 2, 4, dtype=torch.bool))
    shown = in_surroundings(seen, g, PLAIN).keypoints
    ratio = torch.cdist(shown, shown)[..., *torch.triu_indices(4, 4, 1)]
    ratio = ratio / torch.cdist(corners, corners)[..., *torch.triu_indices(4, 4, 1)]
    assert float((ratio - ratio.mean(-1, keepdim=True)).abs().max()) < 1e-4
    assert float(ratio.min()) >= PLAIN.zoom[0] - 1e-4
    assert float(ratio.max()) <= PLAIN.zoom[1] + 1e-4


def test_what_leaves_the_picture_is_not_visible():
    video = discs()
    corner = video._replace(keypoints=torch.zeros_like(video.keypoints))
    shown = in_surroundings(corner, torch.Generator().manual_seed(1), PLAIN)
    inside = ((shown.keypoints > -0.5) & (shown.keypoints < torch.tensor([W, H]) - 0.5)).all(-1)
    assert torch.equal(shown.visible, inside)
    assert 0 < float(inside.float().mean()) < 1


def test_pictures_follow_from_the_seed_and_differ_else():
    first, again, other = (in_surroundings(discs(), torch.Generator().manual_seed(s)).images for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert float((first - other).abs().mean()) > 0.1
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_something_stands_before_some_people():
    always = SurroundingsSettings(occluded=1.0, blur=0.0, noise=0.0)
    g = [torch.Generator().manual_seed(3) for _ in range(2)]
    hidden, free = (in_surroundings(discs(), x, s).images for x, s in zip(g, (always, PLAIN), strict=True))
    changed = (hidden - free).abs().amax((1, 2)) > 0.05
    assert (changed.flatten(1).float().mean(1) > 0.005).all()
    assert float(changed.float().mean()) < 0.5


def test_textures_fill_their_range_and_are_not_alike():
    found = textures(8, (64, 64), torch.Generator().manual_seed(0))
    assert found.shape == (8, 3, 64, 64)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(found.mean((2, 3)).std(0).min()) > 0.05
