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


class LineProgress:
    """One line per stage, with its wall time: for logs and pipes."""

    def __init__(self, stream: IO[str] | None = None):
        self._stream = stream if stream is not None else sys.stderr
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: float | None = None) -> Iterator[Stage]:
        """Open a stage; its line is written when it ends without an error."""
        start = time.perf_counter()
        self._depth += 1
        try:
            yield _Ignore()
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
