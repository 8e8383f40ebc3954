"""Weights in files: safetensors, with what they are of in the header. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from physpose.errors import InputError
from physpose.io.tables import replace_file

HEADER = "physpose"  # the metadata entry that holds ours, as JSON
SHOWN = 5  # names an error lists before it counts


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """How the tensors of a file differ from those of a module."""

    missing: tuple[str, ...]  # the module has, the file has not
    unexpected: tuple[str, ...]  # the file has, the module has not
    shapes: tuple[str, ...]  # "name: (file) in the file, (module) in the module"

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes)

    def __str__(self) -> str:
        parts = [("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.shapes)]
        return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in parts if names)


def save_weights(module: nn.Module, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> Path:
    """Write a module's weights to a .safetensors file; ``about`` (JSON values) goes into its header.

    The file takes its place only once it is whole.
    """
    return save_tensors(path, module.state_dict(), about)


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None
) -> Path:
    """Write tensors by name as ``save_weights`` does a module's."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"cannot save weights as {str(path)!r}; give a name that ends in .safetensors")
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return replace_file(path, safetensors.torch.save(plain, {HEADER: json.dumps(dict(about or {}))}))


def load_weights(module: nn.Module, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Load what ``save_weights`` wrote; float16 files fill float32 modules. Returns the header's ``about``.

    Raises:
        InputError: no safetensors file, or weights of another module; the module is then as it was.
    """
    tensors, about = read_safetensors(path)
    difference = mismatch(module, tensors)
    if difference:
        raise InputError(f"{path} holds weights of another {type(module).__name__}: {difference}")
    module.load_state_dict(tensors)
    return about


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and our entry of the header ({} where there is none)."""
    if not Path(path).is_file():
        raise InputError(f"no such file: {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        return tensors, json.loads(metadata.get(HEADER, "{}"))
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a safetensors file that can be read ({error})") from error


def mismatch(module: nn.Module, tensors: Mapping[str, Tensor]) -> Mismatch:
    """What keeps ``tensors`` from being the weights of ``module``."""
    own = module.state_dict()
    shapes = tuple(
        f"{n}: {tuple(tensors[n].shape)} in the file, {tuple(own[n].shape)} in the module"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    )
    return Mismatch(
        missing=tuple(n for n in own if n not in tensors),
        unexpected=tuple(n for n in tensors if n not in own),
        shapes=shapes,
    )


def parameter_count(module: nn.Module) -> int:
    """Number of trainable numbers in a module."""
    return sum(p.numel() for p in module.parameters())


def forward_flops(module: nn.Module, *inputs: Any) -> int:
    """Floating-point operations of one call: a multiplication and an addition count as two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops())


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f", and {more} more" if more > 0 else "")
