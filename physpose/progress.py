"""What a long computation tells while it runs: named stages, each with a count of things done."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.console
    import rich.progress


EVERY = 30.0  # [s] between two lines of a stage in a log


class Stage(Protocol):
    """A stage that is under way."""

    def advance(self, n: float = 1) -> None:
        """``n`` more things are done."""

    def update(self, done: float, total: float | None = None) -> None:
        """``done`` things are done in all; ``total`` replaces the total where it is given."""


class Progress(Protocol):
    """Receives stages: ``with progress.stage("detect keypoints", total=75) as stage: ... stage.advance()``."""

    def stage(self, name: str, total: float | None = None) -> AbstractContextManager[Stage]:
        """Open a stage; ``total`` None while the number of things is unknown. Stages may be nested."""


class _Ignore:
    def advance(self, n: float = 1) -> None:
        """Nothing."""

    def update(self, done: float, total: float | None = None) -> None:
        """Nothing."""


class SilentProgress:
    """Shows nothing: the default of ``physpose.fit``."""

    @contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """Open a stage nobody sees."""
        yield _Ignore()


SILENT = SilentProgress()


class _Lines:
    """A line now and then while a stage goes on."""

    def __init__(self, name: str, total: float | None, stream: IO[str]):
        self._name, self._total, self._stream = name, total, stream
        self._done, self._start = 0.0, time.perf_counter()
        self._told = self._start

    def advance(self, n: float = 1) -> None:
        self.update(self._done + n)

    def update(self, done: float, total: float | None = None) -> None:
        self._done, self._total = done, self._total if total is None else total
        now = time.perf_counter()
        if now - self._told >= EVERY:
            self._told = now
            of = "" if self._total is None else f" of {self._total:g}"
            print(f"{self._name}: {done:g}{of}, {now - self._start:.0f} s", file=self._stream, flush=True)


class LineProgress:
    """One line per stage, with its wall time, and one every half a minute until then: for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream if stream is not None else sys.stderr
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """Open a stage; its line is written when it ends without an error."""
        start = time.perf_counter()
        self._depth += 1
        try:
            yield _Lines("  " * (self._depth - 1) + name, total, self._stream)
        finally:
            self._depth -= 1
        indent = "  " * self._depth
        print(f"{indent}{name}: {time.perf_counter() - start:.1f} s", file=self._stream, flush=True)


class _Bar:
    def __init__(self, bars: rich.progress.Progress, task: rich.progress.TaskID):
        self._bars, self._task = bars, task

    def advance(self, n: float = 1) -> None:
        self._bars.advance(self._task, n)

    def update(self, done: float, total: float | None = None) -> None:
        if total is None:
            self._bars.update(self._task, completed=done)
        else:
            self._bars.update(self._task, completed=done, total=total)


class BarProgress:
    """A bar per stage on a terminal; the bars of finished stages stay on the screen."""

    def __init__(self, console: rich.console.Console):
        self._console = console
        self._bars: rich.progress.Progress | None = None  # one set of bars for each outermost stage
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """Open a stage; a bar that pulses while ``total`` is unknown."""
        bars = self._bars = self._bars or _new_bars(self._console)
        bars.start()
        task = bars.add_task("  " * self._depth + name, total=total)
        self._depth += 1
        try:
            yield _Bar(bars, task)
            _fill(bars, task)
        finally:
            self._depth -= 1
            bars.stop_task(task)
            if self._depth == 0:
                bars.stop()
                self._bars = None


def _new_bars(console: rich.console.Console) -> rich.progress.Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    name = TextColumn("{task.description:<28}", markup=False)
    return Progress(name, BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), console=console)


def _fill(bars: rich.progress.Progress, task: rich.progress.TaskID) -> None:
    """The count a stage ended with becomes its total."""
    (state,) = (t for t in bars.tasks if t.id == task)
    done = state.completed or state.total or 1
    bars.update(task, completed=done, total=done)


def for_console(console: rich.console.Console) -> Progress:
    """Bars where ``console`` is a terminal, else one line per stage."""
    return BarProgress(console) if console.is_terminal else LineProgress(console.file)
