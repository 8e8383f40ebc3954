"""Batches made ahead of their time by processes of their own: a GPU learns faster than one core makes people."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Generator
from torch.utils.data import DataLoader, Dataset

from physpose.data.generator import Batch, SequenceGenerator
from physpose.errors import InputError


class _Casts(Dataset[list[Batch]]):
    """The batches that share their bodies, by number: one process makes them all."""

    def __init__(self, generator: SequenceGenerator, size: int):
        self.generator, self.size, self.takes = generator, size, generator.settings.takes

    def __getitem__(self, cast: int) -> list[Batch]:
        return [self.generator.batch(cast * self.takes + take, self.size) for take in range(self.takes)]


class Ahead:
    """The batches of a generator, the same by number, made by ``workers`` processes while others are used.

    Asked for one after the other they are ready; asked for in another order the processes begin anew.
    """

    def __init__(self, generator: SequenceGenerator, workers: int):
        if workers < 1:
            raise InputError(f"{workers} processes that make batches ahead; at least 1")
        self.generator, self.workers = generator, workers
        self._next: tuple[int, int] | None = None
        self._batches: Iterator[Batch] = iter(())

    def batch(self, index: int, size: int) -> Batch:
        """Batch number ``index`` of ``size`` sequences."""
        if self._next != (index, size):
            self._batches = self._from(index, size)
        self._next = index + 1, size
        return next(self._batches)

    def _from(self, index: int, size: int) -> Iterator[Batch]:
        self.generator.check_size(size)
        casts = _Casts(self.generator, size)
        first, skipped = divmod(index, casts.takes)
        own = Generator()  # a loader draws a number, which would shift the training's own
        made = DataLoader(
            casts, batch_size=None, sampler=_Upwards(first), num_workers=self.workers, generator=own
        )  # fmt: skip
        for batches in made:
            yield from batches[skipped:]
            skipped = 0


class _Upwards:
    """Numbers from ``first`` on, without end."""

    def __init__(self, first: int):
        self.first = first

    def __iter__(self) -> Iterator[int]:
        number = self.first
        while True:
            yield number
            number += 1
