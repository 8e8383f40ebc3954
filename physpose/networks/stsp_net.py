"""STSP-Net (Liu et al. 2025): 3D keypoints of a video by its three modules, and the paper's three training stages.

One class a module: ``EPE`` (equations 1-7), ``GSR`` (10-14), ``TMP`` (17-18, 21); the losses are in
``losses.stsp_net``. Without images, on keypoints of any detector: ``lifter.Lifter``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError, UnknownNameError
from physpose.losses.keypoints import normalised
from physpose.networks.epe import EPE, EPEConfig, EPEOutput
from physpose.networks.gsr import GSR, GSRConfig
from physpose.networks.lifter import VIEW, View, person_box, view_features
from physpose.networks.tmp import TMP, TMPConfig
from physpose.skeleton.keypoint_sets import keypoint_names

STAGES = ("keypoints", "lifting", "all")
"""Pretrain the EPE-Module; hold it and train GSR and TMP together; train everything."""


@dataclass(frozen=True, kw_only=True)
class STSPNetConfig:
    """Structure of STSP-Net. Numbers of keypoints and features follow from ``keypoint_set`` and the backbone."""

    keypoint_set: str = "blazepose33"
    epe: EPEConfig = field(default_factory=EPEConfig)
    gsr: GSRConfig = field(default_factory=GSRConfig)
    tmp: TMPConfig = field(default_factory=TMPConfig)


class STSPNetOutput(NamedTuple):
    """2D and 3D keypoints of a video."""

    image: EPEOutput  # its arrays (*b, T, ...)
    single: Tensor  # (*b, T, K, 3), of each frame by itself: GSR
    pose: Tensor  # (*b, T, K, 3), of the motion: TMP


class STSPNet(nn.Module):
    """Videos (*b, T, 3, H, W) to 3D keypoints relative to the middle of the hips, camera axes, unit as trained."""

    def __init__(self, config: STSPNetConfig):
        super().__init__()
        self.config, K = config, len(keypoint_names(config.keypoint_set))
        self.epe = EPE(replace(config.epe, n_keypoints=K))
        features = VIEW + self.epe.visual_width
        self.gsr = GSR(replace(config.gsr, keypoint_set=config.keypoint_set, features=features))
        self.tmp = TMP(K, config.gsr.trunk, config.tmp)

    def forward(
        self, images: Tensor, time: Tensor, saliency: Tensor | None = None, view: View | None = None
    ) -> STSPNetOutput:
        """Keypoints of a video.

        Args:
            images: (*b, T, 3, H, W) as for ``HRNet``.
            time: (T,) or (*b, T) [s], strictly increasing.
            saliency: (*b, T, H, W) in 0..1, see ``optical_flow.motion_saliency``.
            view: the camera of these images, where it is known.
        """
        if images.ndim < 4:
            raise InputError(f"images of shape {tuple(images.shape)}; (*b, T, 3, H, W) needed")
        lead = images.shape[:-3]
        flat = None if saliency is None else saliency.flatten(0, -3)
        found = EPEOutput(*(x.unflatten(0, lead) for x in self.epe(images.flatten(0, -4), flat)))
        box = person_box(found.p)
        where = view_features(box, view)[..., None, :].expand(*found.p.shape[:-1], VIEW)
        frame = self.gsr(normalised(found.p, box), found.confidence, torch.cat([where, found.visual], -1))
        return STSPNetOutput(found, frame.pose, self.tmp(frame.pose, frame.feature, time))

    def train_stage(self, stage: str) -> list[nn.Parameter]:
        """Set which parameters are trained in a stage of ``STAGES``; returns them, for the optimiser.

        A module that is held is also in evaluation mode, so that its batch statistics stay.
        """
        if stage not in STAGES:
            raise UnknownNameError("training stage", stage, STAGES)
        trained: dict[str, list[nn.Module]] = {
            "keypoints": [self.epe],
            "lifting": [self.gsr, self.tmp],
            "all": [self.epe, self.gsr, self.tmp],
        }
        for module in (self.epe, self.gsr, self.tmp):
            on = module in trained[stage]
            module.train(on)
            module.requires_grad_(on)
        return [p for module in trained[stage] for p in module.parameters()]
