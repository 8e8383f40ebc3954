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
VIEW = 4  # numbers a frame that tell where its box is: see ``view_features``


@dataclass(frozen=True, kw_only=True)
class LifterConfig:
    """Structure of a lifter."""

    gsr: GSRConfig = field(default_factory=lambda: GSRConfig(features=VIEW))  # with ``VIEW`` features
    tmp: TMPConfig | None = field(default_factory=TMPConfig)  # None: single frames only


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
        self.tmp = None if config.tmp is None else TMP(n, config.gsr.trunk, config.tmp)

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
        pose = frame.pose if self.tmp is None else self.tmp(frame.pose, frame.feature, time, seen)
        return Lifted(pose, frame.pose, seen)


def person_box(keypoints: Tensor) -> Box:
    """Box of each frame's keypoints (*b, T, K, 2): side at least 1 px, [0, 0] and 1 px where nothing is seen."""
    box = bounding_box(keypoints)
    return Box(torch.nan_to_num(box.centre, nan=0.0), torch.nan_to_num(box.scale, nan=1.0).clamp(min=1.0))


def turn_to_keypoints(keypoints: Tensor, focal: Tensor, principal_point: Tensor) -> Tensor:
    """R (*b, T, 3, 3) that turns the optical axis onto the ray to the mean of the keypoints seen (*b, T, K, 2) [px].

    x_camera = R x_turned. Unit where nothing is seen. focal () or (*b), principal_point (2,) or (*b, 2) [px].
    """
    seen = torch.isfinite(keypoints).all(-1, keepdim=True)
    count = seen.sum(-2)
    centre = torch.where(seen, keypoints, 0).sum(-2) / count.clamp(min=1)
    point = principal_point[..., None, :] if principal_point.ndim > 1 else principal_point
    f = focal[..., None, None] if focal.ndim else focal
    ray = torch.cat([(centre - point) / f, torch.ones_like(centre[..., :1])], -1)
    ray = torch.where(count > 0, ray, torch.tensor([0.0, 0, 1]).to(ray))
    return turn_of_z(ray / ray.norm(dim=-1, keepdim=True))


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
    path: str | os.PathLike[str], *, keypoint_set: str | None = None, like: LifterConfig | None = None
) -> Lifter:
    """The lifter of a file, ready for use (evaluation mode).

    Raises:
        InputError: no lifter in it, or one for another keypoint set or of another structure than asked for.
    """
    about = read_safetensors(path)[1]
    try:
        saved = about["lifter"]
        tmp = None if saved["tmp"] is None else TMPConfig(**saved["tmp"])
        config = LifterConfig(gsr=GSRConfig(**saved["gsr"]), tmp=tmp)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} holds no lifter of this version ({error})") from error
    found = config.gsr.keypoint_set
    if keypoint_set not in (None, found):
        raise InputError(f"{path} is a lifter of the keypoint set {found!r}, not of {keypoint_set!r}")
    if like is not None and like != config:
        raise InputError(f"{path} is another lifter: {_difference(config, like)}")
    lifter = Lifter(config)
    load_weights(lifter, path)
    return lifter.eval()


def shipped_lifter(keypoint_set: str) -> Lifter | None:
    """The lifter in the package for a keypoint set; None where there is none."""
    path = SHIPPED / f"lifter_{keypoint_set}.safetensors"
    return load_lifter(path, keypoint_set=keypoint_set) if path.is_file() else None


def _difference(found: LifterConfig, wanted: LifterConfig) -> str:
    """The fields in which two structures differ."""
    a, b = asdict(found), asdict(wanted)
    flat = [{f"{k}.{n}": v for k in ("gsr", "tmp") for n, v in (x[k] or {"": None}).items()} for x in (a, b)]
    names = dict.fromkeys((*flat[0], *flat[1]))
    differs = [n for n in names if flat[0].get(n) != flat[1].get(n)]
    return ", ".join(f"{n} {flat[0].get(n)} in the file, {flat[1].get(n)} wanted" for n in differs)
