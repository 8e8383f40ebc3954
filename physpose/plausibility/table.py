"""A plausibility check on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from physpose.plausibility.finding import Measure, Plausibility, figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

CELLS = 20  # characters of a timeline
MOST = 3  # sentences of a measure


def print_plausibility(p: Plausibility, console: Console) -> None:
    """Verdict, a line a measure with its frames against time, then what fails in sentences."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for note in p.notes:
        console.print(f"[bold yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", no_wrap=True)
    table.add_column("worst", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column(f"{p.time[0]:.2f} to {p.time[-1]:.2f} s", no_wrap=True)
    for m in [*p.failed, *(m for m in p.measures if m.passed)]:
        table.add_row(*_cells(m))
    console.print(table)
    for m in p.failed:
        for f in m.findings[:MOST]:
            console.print(f"[red]-[/] {escape(f.sentence)}", highlight=False, soft_wrap=True)
        if len(m.findings) > MOST:
            console.print(f"  and {len(m.findings) - MOST} more of {m.name}", highlight=False)
    for name, why in p.not_judged.items():
        console.print(f"[dim]not judged: {escape(name)} ({escape(why)})[/]", highlight=False, soft_wrap=True)
    word = "[bold green]plausible[/]" if p.passed else "[bold red]not plausible[/]"
    console.print(f"{word}: {int(p.frames_passed.sum())} of {len(p.time)} frames pass every measure", highlight=False)


def _cells(m: Measure) -> tuple[str, str, str, Text]:
    judged = np.isfinite(m.threshold)
    name = m.name if m.passed else f"[red]{m.name}[/]"
    return name, f"{figure(m.value)} {m.unit}".strip(), f"{m.threshold:g}" if judged else "-", _timeline(m)


def _timeline(m: Measure) -> Text:
    """Frames in even groups: red where any fails, green where all pass, a dot where none is judged."""
    from rich.text import Text

    line = Text()
    for group in np.array_split(np.arange(len(m.series)), min(CELLS, len(m.series))):
        if m.failing[group].any():
            line.append("\u2588", style="red")
        elif np.isfinite(m.series[group]).any() and np.isfinite(m.threshold):
            line.append("\u2501", style="green")
        else:
            line.append("\u00b7", style="dim")
    return line
