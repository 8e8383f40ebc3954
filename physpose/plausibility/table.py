"""A plausibility check on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from physpose.plausibility.finding import DISAGREE, IMPOSSIBLE, POSSIBLE, Measure, Plausibility, figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

CELLS = 14  # characters of a timeline
MOST = 3  # sentences of a measure


def print_plausibility(p: Plausibility, console: Console) -> None:
    """A line a measure with its frames against time, what fails and what is tolerated in sentences, the verdict."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    for note in p.notes:
        console.print(f"[bold yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", no_wrap=True)
    table.add_column("worst", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("beyond", justify="right", no_wrap=True)
    table.add_column(f"{p.time[0]:.2f} to {p.time[-1]:.2f} s", no_wrap=True)
    for m in [*p.failed, *p.tolerated, *(m for m in p.measures if not m.failing.any())]:
        table.add_row(*_cells(m))
    console.print(table)
    for m in (*p.failed, *p.tolerated):
        mark = "[yellow]tolerated:[/]" if m.passed else "[red]-[/]"
        for f in m.findings[:MOST]:
            console.print(f"{mark} {escape(f.sentence)}", highlight=False, soft_wrap=True)
        if len(m.findings) > MOST:
            console.print(f"  and {len(m.findings) - MOST} more of {m.name}", highlight=False)
    for name, why in p.not_judged.items():
        console.print(f"[dim]not judged: {escape(name)} ({escape(why)})[/]", highlight=False, soft_wrap=True)
    colour = {POSSIBLE: "green", DISAGREE: "yellow", IMPOSSIBLE: "red"}[p.verdict]
    count = f"{int(p.frames_passed.sum())} of {len(p.time)} frames pass every measure"
    console.print(f"[bold {colour}]{p.verdict}[/]: {count}; {p.explanation}", highlight=False, soft_wrap=True)


def _cells(m: Measure) -> tuple[str, str, str, str, Text]:
    judged = np.isfinite(m.threshold)
    colour = "red" if not m.passed else "yellow" if m.failing.any() else "default"
    beyond = f"{int(m.failing.sum())}/{m.judged}" if judged else "-"
    worst, limit = f"{figure(m.value)} {m.unit}".strip(), f"{m.threshold:g}" if judged else "-"
    return f"[{colour}]{m.name}[/]", worst, limit, beyond, _timeline(m)


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
