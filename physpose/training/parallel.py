"""Several processes, each with a part of every batch, that keep one network: started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from physpose.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among all."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Does this one write files and messages."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """This process' rows of a batch."""
        if size % self.count:
            raise InputError(f"a batch of {size} does not divide among {self.count} processes")
        n = size // self.count
        return slice(self.rank * n, (self.rank + 1) * n)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes: that of the whole batch, since parts are of one size."""
        if self.count == 1:
            return
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.count
        for g, new in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            g.copy_(new.view_as(g))

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a tensor over the processes."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.count

    def from_first(self, value: float) -> float:
        """The first process' number, in all."""
        if self.count == 1:
            return value
        x = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(x, 0)
        return float(x)


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that ``torchrun`` started (gloo on CPUs, NCCL on GPUs), or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
