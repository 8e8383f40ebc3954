"""What a batch tells while it runs: how many clips are through, which failed, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from physpose.batch.study import Outcome

if TYPE_CHECKING:
    from rich.console import Console


class Watcher(Protocol):
    """Is told of every clip as it ends."""

    def start(self, total: int, kept: int) -> None:
        """``total`` clips are to be run; ``kept`` need not be."""

    def ended(self, outcome: Outcome) -> None:
        """One clip more."""


class Silent:
    """Tells nothing: the default in Python."""

    def start(self, total: int, kept: int) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""


class Lines:
    """A line a clip, with the time left: for logs and pipes, and under the bar on a terminal for failures only."""

    def __init__(self, console: Console):
        self._console = console
        self._total = self._done = 0
        self._begin = 0.0

    def start(self, total: int, kept: int) -> None:
        """Say what is to do."""
        self._total, self._begin = total, time.monotonic()
        known = f", {kept} are known from before" if kept else ""
        self._say(f"{total} clip{'s' * (total != 1)} to fit{known}")

    def ended(self, outcome: Outcome) -> None:
        """Say how the clip went."""
        self._done += 1
        how = f"{outcome.seconds:.1f} s" if outcome.failure is None else f"FAILED: {outcome.failure}"
        self._say(f"[{self._done}/{self._total}] {outcome.task.name}: {how}; {self.time_left()}")

    def time_left(self) -> str:
        """The pace so far, carried on."""
        left = self._total - self._done
        return f"{span((time.monotonic() - self._begin) / self._done * left)} left" if left else "none left"

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bar(Lines):
    """One bar on a terminal; failures stay above it."""

    def __init__(self, console: Console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(console)
        left = TextColumn("{task.fields[left]}", markup=False)
        self._bars = Progress(
            TextColumn("fit clips"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), left,
            console=console,
        )  # fmt: skip

    def start(self, total: int, kept: int) -> None:
        """Show the bar."""
        super().start(total, kept)
        self._bar = self._bars.add_task("", total=total, left="")

    def ended(self, outcome: Outcome) -> None:
        """Move the bar on; say why a clip failed."""
        self._done += 1
        if outcome.failure is not None:
            self._say(f"{outcome.task.name}: FAILED: {outcome.failure}")
        self._bars.update(self._bar, completed=self._done, left=self.time_left())


@contextmanager
def for_console(console: Console) -> Iterator[Watcher]:
    """A bar where ``console`` is a terminal, else lines."""
    if not console.is_terminal:
        yield Lines(console)
        return
    bar = Bar(console)
    with bar._bars:
        yield bar


def span(seconds: float) -> str:
    """Seconds in words: "40 s", "12 min", "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
