"""Goes on training a lifter on keypoints that nobody labelled: they must reproject, and be a body that moves as one.

No 3D is needed: the lifted pose is placed before the camera and projected; what is measured is how far it falls from
the keypoints seen, how much its bones change length, how far it is from the nearest pose of the body of that height,
and what of its motion no contact force explains (``PhysicalHead``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.data.people import stature
from physpose.errors import InputError
from physpose.estimation.initialise import LEVEL_CAMERA
from physpose.losses.reprojection import reprojection_error, translation
from physpose.networks.graph import skeleton_graph
from physpose.networks.lifter import Lifter, View, load_lifter, save_lifter, turn_to_keypoints
from physpose.networks.physical_head import PhysicalHead
from physpose.progress import SILENT, Progress
from physpose.skeleton.model import Skeleton
from physpose.training.checkpoint import Course
from physpose.training.lifter import UNIT
from physpose.training.loop import train
from physpose.training.parallel import Processes
from physpose.training.settings import Schedule
from physpose.types import Keypoints2D


@dataclass(frozen=True, kw_only=True)
class SelfSupervision:
    """Weights of the losses, and what is cut from the recordings."""

    frames: int = 8  # of a sequence
    rate: float = 12.0  # [1/s]
    reprojection: float = 1.0  # of the mean distance [statures]
    bones: float = 0.5  # of the bones' mean deviation from their median length [statures]
    body: float = 0.002  # of the squared distance to the body's nearest pose, in the keypoints' spreads
    physics: float = (
        0.0005  # of log(1 + root wrench^2 [body weights] + (torque rate / scale)^2 + penetration^2 + slip^2)
    )
    anchor: float = 0.3  # of the mean distance [statures] from what the starting weights said: depth cannot drift away
    held_out: float = 0.1  # last part of each recording, to validate on


@dataclass(frozen=True)
class Recording:
    """Unlabelled keypoints of one person before one camera."""

    keypoints: Keypoints2D  # P = 1
    view: View
    skeleton: Skeleton


class SelfSupervisedTask:
    """A ``loop.Task``; the camera is taken as level."""

    unit = f"loss, {UNIT}"

    def __init__(self, recordings: Sequence[Recording], start: Lifter, settings: SelfSupervision, seed: int = 0):
        self.recordings, self.start, self.settings, self.seed = recordings, start.eval(), settings, seed
        self.keypoint_set = start.config.gsr.keypoint_set
        for r in recordings:
            if r.keypoints.keypoint_set != self.keypoint_set or r.keypoints.n_persons != 1:
                raise InputError(
                    f"recordings of one person with {self.keypoint_set!r} needed, not {r.keypoints.source}"
                )
        self.heads = [PhysicalHead(KinematicChain(r.skeleton), self.keypoint_set) for r in recordings]
        self.edges = torch.tensor(skeleton_graph(self.keypoint_set))
        self.windows = [self._windows(r.keypoints) for r in recordings]
        if not any(train for train, _ in self.windows):
            raise InputError(
                f"no recording is as long as {settings.frames} frames at {settings.rate:g} frames a second"
            )

    def about(self) -> dict[str, Any]:
        """Settings and recordings, as JSON values."""
        return {"settings": asdict(self.settings), "recordings": [r.keypoints.source for r in self.recordings]}

    def loss(self, module: Lifter, step: int, batch: int, part: Processes) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over ``batch`` windows."""
        rng = np.random.default_rng([self.seed, step])
        pairs = [(i, w) for i, (train, _) in enumerate(self.windows) for w in train]
        chosen = [pairs[k] for k in rng.integers(len(pairs), size=batch)][part.part(batch)]
        rows = [self.terms(module, i, w) for i, w in chosen]
        terms = {k: torch.stack([r[k] for r in rows]).mean() for k in rows[0]}
        return sum((terms.values()), torch.zeros(())), terms

    def terms(self, module: Lifter, i: int, window: np.ndarray) -> dict[str, Tensor]:
        """Weighted losses of one window of recording i."""
        s, r, head = self.settings, self.recordings[i], self.heads[i]
        kp, size = r.keypoints.frames(window), stature(r.skeleton)
        uv, confidence, time = (
            torch.as_tensor(x, dtype=torch.float32) for x in (kp.uv[0], kp.confidence[0], kp.time - kp.time[0])
        )
        confidence = torch.nan_to_num(confidence)
        pose = module(uv, confidence, time, r.view).pose
        with torch.no_grad():
            before = self.start(uv, confidence, time, r.view).pose
        focal, point = r.view.focal.float(), r.view.principal_point.float()
        p = size * pose @ turn_to_keypoints(uv, focal, point).mT
        placed = p + translation(p, uv, confidence, focal, point)[..., None, :]
        miss = reprojection_error(placed, uv, confidence, focal, point).mean() / size
        bones = (pose[..., self.edges[:, 0], :] - pose[..., self.edges[:, 1], :]).norm(dim=-1)
        return {
            "reprojection": s.reprojection * miss,
            "bones": s.bones * (bones - bones.detach().median(0).values).abs().mean(),
            "anchor": s.anchor * (pose - before).norm(dim=-1).mean(),
            **(self.physical(head, placed, time) if s.body or s.physics else {}),  # slow: a body's inverse kinematics
        }

    def physical(self, head: PhysicalHead, placed: Tensor, time: Tensor) -> dict[str, Tensor]:
        """The body's losses of points before a level camera, the lowest on the floor."""
        s = self.settings
        world = placed.double() @ LEVEL_CAMERA
        world = world - torch.tensor([0.0, 0, 1]) * world[..., 2].amin().detach()
        found = head(world, time.double()).losses
        moved = sum(found[k] for k in ("root_wrench", "torque_rate", "penetration", "slip"))
        return {
            "body": s.body * found["projection"].float(),
            "physics": s.physics * torch.log1p(torch.as_tensor(moved)).float(),
        }

    def validate(self, module: Lifter, step: int) -> float:
        """The loss on the ends of the recordings."""
        pairs = [(i, w) for i, (train, held) in enumerate(self.windows) for w in held or train[-1:]]
        losses = [torch.stack([*self.terms(module, i, w).values()]).sum() for i, w in pairs]
        return float(torch.stack(losses).mean().detach())

    def save(self, module: Lifter, path: Path, about: Mapping[str, Any]) -> Path:
        """As ``load_lifter`` reads it."""
        return save_lifter(module, path, {**about, "unit": UNIT})

    def _windows(self, kp: Keypoints2D) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Frames of windows to train on, and to validate on."""
        step = max(1, round(1 / (self.settings.rate * float(np.median(np.diff(kp.time)))))) if kp.n_frames > 1 else 1
        length = step * (self.settings.frames - 1) + 1
        end = kp.n_frames - round(self.settings.held_out * kp.n_frames)
        cut = lambda a, b, by: [np.arange(i, i + length, step) for i in range(a, b - length + 1, by)]  # noqa: E731
        return cut(0, end, step), cut(end, kp.n_frames, length)


def self_supervise(
    folder: Path, start: Path, recordings: Sequence[Recording], settings: SelfSupervision | None = None,
    schedule: Schedule | None = None, *, resume: bool = False, progress: Progress = SILENT,
) -> Course:  # fmt: skip
    """Go on training the lifter ``start`` on unlabelled recordings; see ``loop.train``.

    Raises:
        InputError: weights and recordings of different keypoint sets, or recordings too short.
    """
    schedule = schedule or Schedule(steps=300, batch=4, lr=1e-4, warmup=10, validate_every=50, checkpoint_every=50)
    module = load_lifter(start)
    task = SelfSupervisedTask(recordings, load_lifter(start), settings or SelfSupervision(), schedule.seed)
    return train(task, module, schedule, folder, resume=resume, progress=progress)
