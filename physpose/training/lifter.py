"""Trains the part of STSP-Net behind the keypoints, GSR then GSR with TMP, on generated sequences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physpose.data.ahead import Ahead
from physpose.data.generator import Batch, GeneratorSettings, SequenceGenerator
from physpose.data.motion_bank import MotionBank
from physpose.errors import UnknownNameError
from physpose.losses import stsp_net as losses
from physpose.networks.graph import skeleton_graph
from physpose.networks.gsr import GSRConfig
from physpose.networks.lifter import (
    ACROSS,
    ALONG,
    OF_KEYPOINT,
    VIEW,
    Lifted,
    Lifter,
    LifterConfig,
    View,
    load_lifter,
    save_lifter,
)
from physpose.networks.tmp import TMPConfig
from physpose.progress import SILENT, Progress
from physpose.skeleton import load_skeleton
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.training.checkpoint import Course
from physpose.training.loop import train
from physpose.training.parallel import Processes
from physpose.training.settings import Schedule

UNIT = "statures"
SIZES = {
    "small": LifterConfig(gsr=GSRConfig(features=VIEW, width=64, trunk=256), tmp=TMPConfig(width=128, future=5)),
    "base": LifterConfig(
        gsr=GSRConfig(features=VIEW, width=64, own=True, blocks=3), tmp=TMPConfig(width=128, future=5)
    ),
    "long": LifterConfig(  # sees a second on both sides: people go on behind what hides them
        gsr=GSRConfig(features=VIEW, width=64, own=True, blocks=3),
        tmp=TMPConfig(window=12, future=12, width=160, informed=True),
        rounds=2,
        sure=True,
    ),
    "paper": LifterConfig(gsr=GSRConfig(features=VIEW), tmp=TMPConfig()),  # as printed: no frames ahead
}
"""Structures by name: the keypoint set is put in where they are used."""


@dataclass(frozen=True, kw_only=True)
class LifterTraining:
    """What a lifter is trained on, and with what weights of its losses."""

    size: str = "small"  # a name of ``SIZES``
    single_steps: float = 0.25  # part of the steps in which GSR learns alone
    temporal: bool = True  # False: no TMP, single frames only
    layers: int | None = None  # of graph attention, instead of the size's; 0: no graph
    own: bool | None = None  # instead of the size's: does the regression see a node's own features, too
    window: int | None = None  # tau of TMP, frames back and, where the size looks ahead, ahead
    bones: float = 0.5  # beta_1 of the GSR objective
    angles: float = 0.1  # beta_2, per radian
    velocity: float = 1e-3  # gamma_1 of the TMP objective, per (statures/s)^2
    acceleration: float = 1e-7  # gamma_2, per (statures/s^2)^2
    doubt_weight: float = 0.01  # of the likelihood of what the network says of its own errors
    validation_batches: int = 8
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)


def lifter_config(training: LifterTraining) -> LifterConfig:
    """The structure that is asked for.

    Raises:
        UnknownNameError: no such size.
    """
    if training.size not in SIZES:
        raise UnknownNameError("lifter size", training.size, SIZES)
    size = SIZES[training.size]
    gsr, tmp = replace(size.gsr, keypoint_set=training.generator.keypoint_set), size.tmp
    if training.own is not None:
        gsr = replace(gsr, own=training.own)
    if training.layers is not None:
        gsr = replace(gsr, layers=training.layers)
    if tmp is not None and training.window is not None:
        tmp = replace(tmp, window=training.window, future=training.window if tmp.future else 0)
    return replace(size, gsr=gsr, tmp=tmp if training.temporal else None)


class LifterTask:
    """A ``loop.Task``: STSP-Net's objectives (without the images' part) in statures."""

    unit = UNIT

    def __init__(self, training: LifterTraining, schedule: Schedule, bank: MotionBank | None = None, workers: int = 0):
        """bank: recorded motions, split into people to train and to validate with; None: sampled postures alone.

        workers: processes that make people ahead; 0: this one makes them as it needs them.
        """
        self.training, self.schedule = training, schedule
        parts = {part: None if bank is None else bank.split(part) for part in ("train", "validation")}
        self.motions = [] if bank is None else sorted({c.source for c in bank.clips})
        self.people = None if parts["train"] is None else parts["train"].people
        people = SequenceGenerator(parts["train"], training.generator, seed=schedule.seed, stream=0)
        self.data = Ahead(people, workers) if workers else people
        self.held_out = SequenceGenerator(parts["validation"], training.generator, seed=0, stream=1)
        keypoint_set = training.generator.keypoint_set
        self.edges = torch.tensor(skeleton_graph(keypoint_set))
        self.triples, self.limits = hinge_limits(keypoint_set)
        self._validation: list[Batch] = []

    def about(self) -> dict[str, Any]:
        """Settings and people, as JSON values."""
        return json.loads(
            json.dumps({"training": asdict(self.training), "motions": self.motions, "people": self.people})
        )

    def loss(
        self,
        module: Lifter,
        step: int,
        batch: int,
        part: Processes = Processes(),  # noqa: B008  frozen
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_GSR of the single frames; after the first stage L_TMP of the sequences is added."""
        data = self.data.batch(step, batch).rows(part.part(batch)).to(device_of(module))
        out = lifted(module, data)
        gsr, terms = self.single(out.single, data)
        if module.tmp is None or step < self.training.single_steps * self.schedule.steps:
            return gsr, terms
        tmp, more = self.sequence(out.pose, data)
        if out.sigma is not None:
            more["doubt"] = self.doubt(out, data)
            tmp = tmp + self.training.doubt_weight * more["doubt"]
        return losses.joint_objective(torch.zeros(()), gsr, tmp), terms | more

    def single(self, pose: Tensor, data: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """GSR's objective."""
        true = data.pose[..., self.edges, :]
        lengths = (true[..., 0, :] - true[..., 1, :]).norm(dim=-1)
        terms = {
            "single": losses.position_loss(pose, data.pose).mean(),
            "bones": losses.bone_length_loss(pose, self.edges, lengths).mean(),
            "angles": losses.joint_angle_loss(pose, self.triples, self.limits.to(pose)).mean(),
        }
        t = self.training
        return losses.gsr_objective(*terms.values(), beta1=t.bones, beta2=t.angles), terms

    def sequence(self, pose: Tensor, data: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """TMP's objective."""
        terms = {
            "sequence": losses.position_loss(pose, data.pose).mean(),
            "velocity": losses.velocity_loss(pose, data.pose, data.time).mean(),
            "acceleration": losses.acceleration_loss(pose, data.pose, data.time).mean(),
        }
        t = self.training
        return losses.tmp_objective(*terms.values(), gamma1=t.velocity, gamma2=t.acceleration), terms

    def doubt(self, out: Lifted, data: Batch) -> Tensor:
        """Negative log-likelihood () of what is off by what the network says of it; the pose itself is held."""
        assert out.sigma is not None
        off, seen = (out.pose.detach() - data.pose) ** 2, torch.isfinite(data.off)
        r2 = torch.empty_like(out.sigma)
        r2[..., ACROSS], r2[..., ALONG] = off[..., :2].mean(-1), off[..., 2]
        r2[..., OF_KEYPOINT] = torch.where(seen, data.off, 0.0) ** 2
        axes = torch.tensor([2.0, 1.0, 2.0]).to(r2).repeat(*seen.shape, 1)
        axes[..., OF_KEYPOINT] *= seen
        return (axes * (out.sigma.log() + 0.5 * r2 / out.sigma**2)).mean()

    def validate(self, module: Lifter, step: int) -> float:
        """Mean distance from the truth [statures] on people held out, 12 joints."""
        if not self._validation:
            size = 16 * self.training.generator.people
            self._validation = [self.held_out.batch(i, size) for i in range(self.training.validation_batches)]
        device = device_of(module)
        return sum(float(joint_error(module, x.to(device))) for x in self._validation) / len(self._validation)

    def save(self, module: Lifter, path: Path, about: Mapping[str, Any]) -> Path:
        """As ``load_lifter`` reads it."""
        return save_lifter(module, path, {**about, "unit": UNIT})


def train_lifter(
    folder: Path, training: LifterTraining | None = None, schedule: Schedule | None = None, *,
    bank: MotionBank | None = None, start: Path | None = None, resume: bool = False, device: str = "cpu",
    workers: int = 0, progress: Progress = SILENT,
) -> Course:  # fmt: skip
    """Train a lifter; see ``loop.train``. ``start``: weights to begin with, of the same keypoint set and structure; of
    another temporal part, GSR's alone. ``workers``: processes that make people ahead, for a GPU; the same people.

    Raises:
        InputError, UnknownNameError, TrainingError: what was given and what is possible.
    """
    training, schedule = training or LifterTraining(), schedule or Schedule()
    task = LifterTask(training, schedule, bank, workers)
    torch.manual_seed(schedule.seed)
    module = Lifter(lifter_config(training))
    if start is not None:
        begin(module, load_lifter(start, like=module.config.gsr))
    return train(task, module, schedule, folder, resume=resume, device=device, progress=progress)


def begin(module: Lifter, found: Lifter) -> None:
    """Take over a lifter's weights: GSR's, and the temporal part's where that is of one structure, too."""
    part = (module, found) if module.config == found.config else (module.gsr, found.gsr)
    part[0].load_state_dict(part[1].state_dict())


def device_of(module: Lifter) -> torch.device:
    """Where its weights are."""
    return next(module.parameters()).device


def lifted(module: Lifter, data: Batch) -> Lifted:
    """What a lifter makes of a batch."""
    return module(data.keypoints, data.confidence, data.time, View(*data.view))


JOINTS = tuple(f"{j}_{s}" for j in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for s in "rl")


def joint_error(module: Lifter, data: Batch) -> Tensor:
    """Mean distance () [statures] of the 12 large joints from the truth."""
    index = [keypoint_landmarks(module.config.gsr.keypoint_set).index(j) for j in JOINTS]
    return losses.position_loss(lifted(module, data).pose[..., index, :], data.pose[..., index, :]).mean()


def hinge_limits(keypoint_set: str) -> tuple[Tensor, Tensor]:
    """Keypoint triples (A, 3) at knees and elbows, and the smallest and largest angle (A, 2) [rad] there of an adult.

    A straight limb has an angle of pi, whatever its coordinate's sign beyond.
    """
    marks = keypoint_landmarks(keypoint_set)
    ranges = {c.name: c.range for c in load_skeleton("adult").coordinates}
    limbs = [(f"hip_{s}", f"knee_{s}", f"ankle_{s}", f"knee_angle_{s}") for s in "rl"]
    limbs += [(f"shoulder_{s}", f"elbow_{s}", f"wrist_{s}", f"elbow_flex_{s}") for s in "rl"]
    triples = torch.tensor([[marks.index(m) for m in limb[:3]] for limb in limbs])
    limits = torch.tensor([[torch.pi - ranges[limb[3]][1], torch.pi] for limb in limbs])
    return triples, limits
