"""The whole state of a training in one safetensors file: it goes on from there bit for bit. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from physpose.errors import InputError
from physpose.networks.weights import mismatch, read_safetensors, save_tensors

ADAM = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class Course:
    """Where a training is."""

    step: int = 0  # optimiser's steps done
    best: float | None = None  # lowest validation
    best_step: int = 0
    waited: int = 0  # validations since the best
    since_plateau: int = 0  # validations since the best or the last halving
    plateaus: int = 0  # halvings of the learning rate


def save_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, course: Course, about: Mapping[str, Any]
) -> Path:
    """Write it; the file takes the old one's place only once it is whole."""
    tensors = {f"module.{n}": t for n, t in module.state_dict().items()}
    for name, p in module.named_parameters():
        tensors |= {f"{k}.{name}": optimizer.state[p][k] for k in ADAM if p in optimizer.state}
    tensors["random"] = torch.get_rng_state()
    return save_tensors(path, tensors, {**about, "course": asdict(course)})


def load_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, about: Mapping[str, Any]
) -> Course:
    """Put module, optimiser and random numbers into the state of a file; ``about`` must be what it was saved with.

    Raises:
        InputError: not a checkpoint, or one of another training: says what differs.
    """
    tensors, saved = read_safetensors(path)
    if "course" not in saved or "random" not in tensors:
        raise InputError(f"{path} is no checkpoint of a training")
    differs = [f"{k}: {_short(saved.get(k))} there, {_short(v)} now" for k, v in about.items() if saved.get(k) != v]
    if differs:
        raise InputError(f"{path} is of another training ({'; '.join(differs)}); give another folder")
    state = {n.removeprefix("module."): t for n, t in tensors.items() if n.startswith("module.")}
    difference = mismatch(module, state)
    if difference:
        raise InputError(f"{path} holds another network: {difference}")
    module.load_state_dict(state)
    _restore(optimizer, module, tensors)
    torch.set_rng_state(tensors["random"])
    return Course(**saved["course"])


def _restore(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Moments of the parameters that had any; the groups hold the parameters in the module's order."""
    state = {
        i: {k: tensors[f"{k}.{name}"] for k in ADAM}
        for i, (name, _) in enumerate(module.named_parameters())
        if f"step.{name}" in tensors
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
