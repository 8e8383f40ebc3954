"""The loop that trains any network on any task, kill-proof: weights, checkpoint and log in one folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from physpose.errors import InputError, PhysposeError
from physpose.io.tables import make_folder
from physpose.progress import SILENT, Progress
from physpose.training.checkpoint import Course, load_checkpoint, save_checkpoint
from physpose.training.parallel import Processes, processes
from physpose.training.record import Record
from physpose.training.settings import Schedule

M = TypeVar("M", bound=nn.Module, contravariant=True)
CHECKPOINT, WEIGHTS, LOG = "checkpoint.safetensors", "weights.safetensors", "log.csv"


class TrainingError(PhysposeError):
    """Training that cannot go on."""


class Task(Protocol[M]):
    """What a network is trained for."""

    unit: str  # of ``validate``

    def about(self) -> dict[str, Any]:
        """JSON values that a training must share with the checkpoint it is resumed from."""

    def loss(self, module: M, step: int, batch: int, part: Processes) -> tuple[Tensor, dict[str, Tensor]]:
        """Objective () of the process' part of a step's batch, and its terms (), by name. Random only by ``step``."""

    def validate(self, module: M, step: int) -> float:
        """Error on people held out; the lower, the better."""

    def save(self, module: M, path: Path, about: Mapping[str, Any]) -> Path:
        """Write the weights in the form in which they are used."""


def train(
    task: Task[M], module: M, schedule: Schedule, folder: Path, *, resume: bool = False,
    device: torch.device | str = "cpu", progress: Progress = SILENT,
) -> Course:  # fmt: skip
    """Train ``module``; the folder then holds weights.safetensors (the best by validation), a checkpoint and log.csv.

    A training that was killed at any point goes on with ``resume``, on a CPU to bit-identical losses; it must be asked
    for in the same words. Under ``torchrun`` every process takes its part of each batch.

    Raises:
        InputError: the folder holds a training and ``resume`` is not asked for, or holds another one.
        TrainingError: the loss or its gradient is not finite; weights and checkpoint stay as they last were.
    """
    device = usable_device(device)
    with processes(device) as part:
        loop = _Loop(task, module.to(device), schedule, make_folder(folder), part)
        loop.start(resume)
        return loop.run(progress if part.first else SILENT)


def usable_device(device: torch.device | str) -> torch.device:
    """The device of that name, e.g. "cpu", "cuda", "cuda:1".

    Raises:
        InputError: no such device, or none in this machine, or none that this torch was built for.
    """
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    possible = {"cpu", *gpus} | ({"cuda"} if gpus else set())
    if found is None or str(found) not in possible:
        raise InputError(f"device {str(device)!r} cannot be used here; possible: {', '.join(sorted(possible))}")
    return found


class _Loop:
    def __init__(self, task: Task[Any], module: nn.Module, schedule: Schedule, folder: Path, part: Processes):
        self.task, self.module, self.schedule, self.folder, self.part = task, module, schedule, folder, part
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
        self.course = Course()
        self.about = {"task": task.about(), "schedule": asdict(schedule), "processes": part.count}
        part.part(schedule.batch)  # complains now if it does not divide

    def start(self, resume: bool) -> None:
        """From the beginning, or from the folder's checkpoint."""
        file = self.folder / CHECKPOINT
        torch.manual_seed(self.schedule.seed + self.part.rank)  # of dropout: each process its own
        if file.is_file():
            if not resume:
                raise InputError(f"{self.folder} holds a training; go on with it by resume, or give another folder")
            self.course = load_checkpoint(file, self.module, self.optimizer, self.about)
        self.record = Record(self.folder / LOG, self.course.step)

    def run(self, progress: Progress) -> Course:
        """Step until the end of the schedule, or until nothing gets better."""
        with progress.stage("train", self.schedule.steps) as stage:
            stage.update(self.course.step)
            begin = time.monotonic()
            while self.course.step < self.schedule.steps and self.course.waited < self.schedule.early_stop:
                loss, terms = self.step()
                stage.advance()
                last = self.course.step == self.schedule.steps
                if last or self.course.step % self.schedule.validate_every == 0:
                    self.validated(loss, terms, time.monotonic() - begin)
                if last or self.course.step % self.schedule.checkpoint_every == 0:
                    self.write()
        return self.course

    def step(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One step of the optimiser; the loss and its terms, averaged over the processes."""
        course, parameters = self.course, list(self.module.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(course.step, course.plateaus)
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        with self.mixed():
            loss, terms = self.task.loss(self.module, course.step, self.schedule.batch, self.part)
        mean = self.part.mean(loss.detach())
        self.must_be_finite(mean, "loss", terms)
        loss.backward()
        self.part.average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.schedule.clip)
        self.must_be_finite(norm, "gradient", terms)
        self.optimizer.step()
        course.step += 1
        return mean, {k: self.part.mean(v.detach()) for k, v in terms.items()}

    def mixed(self) -> Any:
        """Mixed precision, where it is asked for."""
        if self.schedule.precision == "float32":
            return nullcontext()
        return torch.autocast(next(self.module.parameters()).device.type, torch.bfloat16)

    def must_be_finite(self, value: Tensor, what: str, terms: Mapping[str, Tensor]) -> None:
        if bool(torch.isfinite(value)):
            return
        bad = ", ".join(f"{k} {float(v.detach()):g}" for k, v in terms.items())
        file = self.folder / CHECKPOINT
        kept = f"; the checkpoint {file} is of before" if file.is_file() else ""
        raise TrainingError(f"{what} is {float(value)} at step {self.course.step} ({bad}){kept}; try a lower rate")

    def validated(self, loss: Tensor, terms: Mapping[str, Tensor], seconds: float) -> None:
        """Validate, keep the weights if they are the best, note the row, halve the rate on a plateau."""
        course, lr = self.course, self.optimizer.param_groups[0]["lr"]
        value = 0.0
        if self.part.first:
            self.module.eval()
            with torch.no_grad():
                value = self.task.validate(self.module, course.step)
        value = self.part.from_first(value)
        self.must_be_finite(torch.tensor(value), "validation", terms)
        if course.best is None or value < course.best:
            course.best, course.best_step, course.waited, course.since_plateau = value, course.step, 0, 0
            if self.part.first:
                figures = {"step": course.step, "validation": value, "unit": self.task.unit}
                self.task.save(self.module, self.folder / WEIGHTS, {**self.about, "figures": figures})
        else:
            course.waited += 1
            course.since_plateau += 1
        if course.since_plateau >= self.schedule.patience:
            course.plateaus, course.since_plateau = course.plateaus + 1, 0
        if self.part.first:
            row = {"step": course.step, "loss": float(loss), "validation": value, "unit": self.task.unit, "lr": lr}
            self.record.add(row | {k: float(v) for k, v in terms.items()} | {"seconds": round(seconds, 1)})

    def write(self) -> None:
        """The checkpoint."""
        if self.part.first:
            save_checkpoint(self.folder / CHECKPOINT, self.module, self.optimizer, self.course, self.about)
