"""The part of STSP-Net behind the keypoints: GSR and TMP as one network from 2D sequences of any detector to 3D."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError
from physpose.losses.keypoints import Box, bounding_box, normalised
from physpose.networks.gsr import GSR, GSRConfig
from physpose.networks.tmp import TMP, TMPConfig
from physpose.networks.weights import load_weights, read_safetensors, save_weights
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.spatial import turn_of_z

SHIPPED = Path(__file__).parent / "weights_files"
USUAL_SIGMA = 0.03  # [statures], about, from which what is learned starts
ACROSS, ALONG, OF_KEYPOINT = range(3)  # the view; the 2D keypoint: what the numbers of ``Lifted.sigma`` are of
DOUBTS = 3
VIEW = 4  # numbers a frame that tell where its box is: see ``view_features``


@dataclass(frozen=True, kw_only=True)
class LifterConfig:
    """Structure of a lifter."""

    gsr: GSRConfig = field(default_factory=lambda: GSRConfig(features=VIEW))  # with ``VIEW`` features
    tmp: TMPConfig | None = field(default_factory=TMPConfig)  # None: single frames only
    rounds: int = 1  # of TMP, each on what the one before made of the sequence
    sure: bool = False  # does it say how sure it is


class View(NamedTuple):
    """A camera as far as a lifter needs it."""

    focal: Tensor  # () or (*b) [px]; NaN where it is not known
    principal_point: Tensor  # (2,) or (*b, 2) [px]


class Lifted(NamedTuple):
    """3D keypoints relative to the middle of the hips, x right, y down, z away, unit as trained.

    Axes are those of a camera turned to look at the person (``turn_to_keypoints``): pictures of people in the middle of
    the image and at its edge then look alike, and a focal length that is not known does little harm.
    """

    pose: Tensor  # (*b, T, K, 3), of GSR and TMP
    single: Tensor  # (*b, T, K, 3), of GSR alone
    # (*b, T, K, 3) standard deviations, of a lifter that is ``sure``: of the pose across and along the view, and of the
    # 2D keypoint itself along an image axis
    sigma: Tensor | None
    seen: Tensor  # (*b, T) bool, does the frame have a keypoint to go by; else its pose is TMP's guess from others


class Lifter(nn.Module):
    """2D keypoints of a sequence (*b, T, K, 2) [px] to 3D."""

    def __init__(self, config: LifterConfig):
        super().__init__()
        if config.gsr.features != VIEW:
            raise InputError(f"a lifter's GSR-Module has {VIEW} features a keypoint, not {config.gsr.features}")
        self.config = config
        self.gsr = GSR(config.gsr)
        n = len(keypoint_names(config.gsr.keypoint_set))
        self.tmp, self.further = None, nn.ModuleList()
        if config.tmp is not None:
            self.tmp = TMP(n, config.gsr.trunk, config.tmp)
            self.further = nn.ModuleList(TMP(n, config.tmp.width, config.tmp) for _ in range(config.rounds - 1))
        d = config.gsr.trunk if config.tmp is None else config.tmp.width
        self.doubt = None
        if config.sure:
            self.doubt = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, DOUBTS * n))

    def forward(self, keypoints: Tensor, confidence: Tensor | None, time: Tensor, view: View | None = None) -> Lifted:
        """Lift a sequence.

        Args:
            keypoints: (*b, T, K, 2) [px], x right, y down, in the order of the set; NaN where missing.
            confidence: (*b, T, K) in 0..1; None: 1 where seen.
            time: (T,) or (*b, T) [s], strictly increasing.
            view: the camera, where it is known.
        """
        box = person_box(keypoints)
        p = normalised(keypoints, box)
        features = view_features(box, view)[..., None, :].expand(*p.shape[:-1], VIEW)
        frame = self.gsr(p, confidence, features)
        seen = torch.isfinite(keypoints).all(-1).any(-1)
        pose, feature = frame.pose, frame.feature
        for i, tmp in enumerate([*([] if self.tmp is None else [self.tmp]), *self.further]):
            # the first guesses from frames that show something, the next look at what was guessed, too
            pose, feature = tmp.enhanced(pose, feature, time, seen if i == 0 else None)
        sigma = None if self.doubt is None else USUAL_SIGMA * self.doubt(feature).unflatten(-1, (-1, DOUBTS)).exp()
        return Lifted(pose, frame.pose, sigma, seen)


def person_box(keypoints: Tensor) -> Box:
    """Box of each frame's keypoints (*b, T, K, 2): side at least 1 px, [0, 0] and 1 px where nothing is seen."""
    box = bounding_box(keypoints)
    return Box(torch.nan_to_num(box.centre, nan=0.0), torch.nan_to_num(box.scale, nan=1.0).clamp(min=1.0))


def turn_to_keypoints(keypoints: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """R (*b, T, 3, 3) that turns the optical axis onto the ray to the mean of the keypoints seen (*b, T, K, 2) [px].

    x_camera = R x_turned. In frames where nothing is seen it leads on from frame to frame; unit where nothing ever is.
    focal () or (*b), principal_point (2,) or (*b, 2) [px].
    """
    there = torch.isfinite(keypoints).all(-1, keepdim=True)
    count = there.sum(-2)
    seen = count[..., 0] > 0
    centre = bridged(torch.where(there, keypoints, 0).sum(-2) / count.clamp(min=1), seen)
    point = principal_point[..., None, :] if principal_point.ndim > 1 else principal_point
    f = focal[..., None, None] if focal.ndim else focal
    ray = torch.cat([(centre - point) / f, torch.ones_like(centre[..., :1])], -1)
    ray = torch.where(seen.any(-1)[..., None, None], ray, torch.tensor([0.0, 0, 1]).to(ray))
    return turn_of_z(ray / ray.norm(dim=-1, keepdim=True))


def bridged(x: Tensor, seen: Tensor) -> Tensor:
    """Values (*b, T, d) of frames not ``seen`` (*b, T) linear between the nearest seen ones, held at the ends."""
    T = seen.shape[-1]
    frame = torch.arange(T, device=seen.device).expand(seen.shape)
    before = torch.where(seen, frame, -1).cummax(-1).values
    after = torch.where(seen, frame, T).flip(-1).cummin(-1).values.flip(-1)
    before, after = torch.where(before < 0, after, before), torch.where(after >= T, before, after)
    a, b = (i.clamp(0, T - 1)[..., None].expand(x.shape) for i in (before, after))
    share = (frame - before) / (after - before).clamp(min=1)
    return torch.lerp(x.gather(-2, a), x.gather(-2, b), share[..., None].to(x.dtype))


def view_features(box: Box, view: View | None) -> Tensor:
    """(*b, 4): the box's centre and side as seen from the camera, (c - c0) / f and s / f, and 1; zeros without camera.

    A person at the image's edge is seen from another side than one in its middle (perspective).
    """
    if view is None:
        return box.centre.new_zeros(*box.scale.shape, VIEW)
    focal = torch.as_tensor(view.focal).to(box.scale)
    focal = focal[..., None] if focal.ndim else focal  # (*b, 1) against (*b, T)
    point = torch.as_tensor(view.principal_point).to(box.centre)
    point = point[..., None, :] if point.ndim > 1 else point
    side = box.scale / focal
    known = torch.isfinite(side)[..., None]
    told = torch.cat([(box.centre - point) / focal[..., None], side[..., None], torch.ones_like(side)[..., None]], -1)
    return torch.where(known, told, 0)


def save_lifter(lifter: Lifter, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> Path:
    """Write weights and structure to a .safetensors file; ``about``: data, command, figures, for the model card."""
    return save_weights(lifter, path, {"lifter": asdict(lifter.config), **(about or {})})


def load_lifter(
    path: str | os.PathLike[str], *, keypoint_set: str | None = None, like: GSRConfig | None = None
) -> Lifter:
    """The lifter of a file, ready for use (evaluation mode). ``like``: what its GSR must be.

    Raises:
        InputError: no lifter in it, or one for another keypoint set or of another structure than asked for.
    """
    about = read_safetensors(path)[1]
    try:
        saved = about["lifter"]
        tmp = None if saved["tmp"] is None else TMPConfig(**saved["tmp"])
        config = LifterConfig(**{**saved, "gsr": GSRConfig(**saved["gsr"]), "tmp": tmp})
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} holds no lifter of this version ({error})") from error
    found = config.gsr.keypoint_set
    if keypoint_set not in (None, found):
        raise InputError(f"{path} is a lifter of the keypoint set {found!r}, not of {keypoint_set!r}")
    if like is not None and like != config.gsr:
        raise InputError(f"{path} is another lifter: {_difference(config.gsr, like)}")
    lifter = Lifter(config)
    load_weights(lifter, path)
    return lifter.eval()


def shipped_lifter(keypoint_set: str) -> Lifter | None:
    """The lifter in the package for a keypoint set; None where there is none."""
    path = SHIPPED / f"lifter_{keypoint_set}.safetensors"
    return load_lifter(path, keypoint_set=keypoint_set) if path.is_file() else None


def _difference(found: GSRConfig, wanted: GSRConfig) -> str:
    """The fields in which two structures differ."""
    a, b = asdict(found), asdict(wanted)
    return ", ".join(f"gsr.{n} {a[n]} in the file, {b[n]} wanted" for n in a if a[n] != b[n])
