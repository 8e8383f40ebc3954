"""Trains HSTPN by the paper's Algorithm 1 (Li and Li 2025) on drawn videos: prediction, refinement, one summed loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physpose.data.motion_bank import MotionBank
from physpose.data.rendering import RenderSettings, Video, VideoGenerator
from physpose.data.surroundings import SurroundingsSettings, in_surroundings
from physpose.estimation.aprs_body import mirrored
from physpose.losses import hstpn as losses
from physpose.losses import refinement
from physpose.metrics import pck
from physpose.networks.graph import skeleton_graph
from physpose.networks.heatmaps import gaussian_heatmaps
from physpose.networks.hrnet import STRIDE, normalised_images
from physpose.networks.hstpn import HSTPN, SMALL, HSTPNConfig
from physpose.networks.weights import save_weights
from physpose.progress import SILENT, Progress
from physpose.training.checkpoint import Course
from physpose.training.loop import train
from physpose.training.parallel import Processes
from physpose.training.settings import Schedule

VALIDATED = 16  # videos at once


@dataclass(frozen=True, kw_only=True)
class HSTPNTraining:
    """What HSTPN is trained on, and with what weights of its losses."""

    network: HSTPNConfig = SMALL
    sigma: float = 1.5  # [heatmap px] of the true heatmaps
    motion: float = 1e-3  # beta of (23), per px^2
    refinements: int = 2  # N of Algorithm 1
    step: float = 0.05  # of the refinement's gradient; the print's 1 overshoots where many bones meet in a joint
    refined: float = 1e-4  # of the refinement's losses in the sum (32), per px^2
    pool: int = 64  # videos that are drawn, and then used over and over: drawing takes longer than a step
    validation_videos: int = 16
    videos: RenderSettings = field(default_factory=RenderSettings)
    surroundings: SurroundingsSettings | None = field(default_factory=SurroundingsSettings)  # None: as drawn


class HSTPNTask:
    """A ``loop.Task``."""

    unit = "1 - PCK at a tenth of the person's height"

    def __init__(
        self, training: HSTPNTraining, bank: MotionBank | None = None, seed: int = 0, *, processes: int = 1,
        progress: Progress = SILENT,
    ):  # fmt: skip
        """bank: recorded motions, split into people to train and to validate with; None: sampled postures alone.
        ``processes`` draw the videos."""
        self.training, self.seed = training, seed
        parts = {part: None if bank is None else bank.split(part) for part in ("train", "validation")}
        drawn = VideoGenerator(parts["train"], training.videos, seed=seed)
        self.pool = drawn.batch(0, training.pool, processes, progress)
        held_out = VideoGenerator(parts["validation"], training.videos, stream=1)
        self.held_out = held_out.batch(0, training.validation_videos, processes, progress)
        self.edges = torch.tensor(skeleton_graph(training.videos.keypoint_set))
        self.left, self.right = torch.as_tensor(mirrored(training.videos.keypoint_set, self.edges.numpy())).T

    def about(self) -> dict[str, Any]:
        """Settings as JSON values."""
        return json.loads(json.dumps(asdict(self.training)))

    def loss(self, module: HSTPN, step: int, batch: int, part: Processes) -> tuple[Tensor, dict[str, Tensor]]:
        """Equations 20-23 of the first prediction, and 25, 27, 29 of each refinement (32)."""
        rng = np.random.default_rng([self.seed, step])
        rows = torch.as_tensor(rng.integers(self.training.pool, size=batch))[part.part(batch)]
        data = self.shown(self.pool, rows, module, seed=int(rng.integers(2**62)))
        found = module(normalised_images(data.images))
        maps = gaussian_heatmaps(data.keypoints / STRIDE, found.heatmaps.shape[-2:], self.training.sigma)
        heatmap = losses.heatmap_loss(found.heatmaps, maps, data.visible).mean()
        motion = losses.motion_loss(found.p, data.keypoints).mean()
        initial = losses.objective(heatmap, torch.zeros(()), motion, beta=self.training.motion)
        steps = self.refine(found.p, data.keypoints)
        total = refinement.total(initial, [tuple(self.training.refined * x for x in s) for s in steps])  # type: ignore[misc]
        return total, {"heatmap": heatmap, "motion": motion, "refined": total - initial}

    def shown(self, pool: Video, rows: Tensor | slice, module: HSTPN, seed: int) -> Video:
        """Videos of a pool on the module's device, in random surroundings."""
        device = next(module.parameters()).device
        data = Video(*(x[rows].to(device) for x in pool))
        if self.training.surroundings is None:
            return data
        return in_surroundings(data, torch.Generator(device).manual_seed(seed), self.training.surroundings)

    def refine(self, p: Tensor, true: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Spatial, temporal and domain losses (mean over videos) after each step p <- p - step grad(sum of them)."""
        lengths = (true[..., self.edges[:, 0], :] - true[..., self.edges[:, 1], :]).norm(dim=-1)
        found = []
        for _ in range(self.training.refinements):
            total = torch.stack([x.sum() for x in self.terms(p, lengths)]).sum()
            (gradient,) = torch.autograd.grad(total, p, create_graph=True)
            p = p - self.training.step * gradient
            found.append(tuple(x.sum() / len(p) for x in self.terms(p, lengths)))
        return found  # type: ignore[return-value]

    def terms(self, p: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equations 25, 27, 29 of keypoints (B, T, K, 2) [px]; in a picture, lengths differ from frame to frame."""
        longer = refinement.bone_residual(p, self.edges, lengths)
        return (
            refinement.spatial(p, self.edges, lengths).sum(-1),
            refinement.temporal(p).sum(-1),
            refinement.domain(longer[..., self.left] - longer[..., self.right]).sum(-1),
        )

    def validate(self, module: HSTPN, step: int) -> float:
        """Part of visible keypoints that are off by more than a tenth of the person's height."""
        shares = [self._right(module, slice(a, a + VALIDATED)) for a in range(0, len(self.held_out.time), VALIDATED)]
        return 1 - float(torch.cat(shares).nanmean())

    def _right(self, module: HSTPN, rows: slice) -> Tensor:
        """Part of the visible keypoints that are right, frame by frame."""
        data = self.shown(self.held_out, rows, module, seed=rows.start)
        p, _ = module.detect(normalised_images(data.images))
        true = data.keypoints
        height = true[..., 1].amax(-1) - true[..., 1].amin(-1)
        return pck(p, true, 0.1 * height, data.visible).flatten()

    def save(self, module: HSTPN, path: Path, about: Mapping[str, Any]) -> Path:
        """As ``networks.weights.load_weights`` reads it."""
        return save_weights(module, path, about)


def train_hstpn(
    folder: Path, training: HSTPNTraining | None = None, schedule: Schedule | None = None, *,
    bank: MotionBank | None = None, resume: bool = False, device: str = "cpu", processes: int = 1,
    progress: Progress = SILENT,
) -> Course:  # fmt: skip
    """Train an HSTPN on people drawn by ``processes``; see ``loop.train``.

    Raises:
        InputError, TrainingError: what was given and what is possible; also where there is no OpenGL to draw with.
    """
    training = training or HSTPNTraining()
    schedule = schedule or Schedule(steps=300, batch=4, lr=1e-3, warmup=20, validate_every=50, checkpoint_every=50)
    task = HSTPNTask(training, bank, schedule.seed, processes=processes, progress=progress)
    torch.manual_seed(schedule.seed)
    return train(task, HSTPN(training.network), schedule, folder, resume=resume, device=device, progress=progress)
