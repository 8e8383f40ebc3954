"""What a training writes down: one CSV row a validation, and the learning curve as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from physpose.errors import MissingPackageError
from physpose.io.tables import replace_file

Row = Mapping[str, float | str]


class Record:
    """Rows of ``log.csv``. A training resumed from step n first drops the rows after n."""

    def __init__(self, path: Path, step: int):
        self.path = path
        self.rows: list[Row] = []
        if path.is_file() and step > 0:
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def add(self, row: Row) -> None:
        """Append a row, which holds ``step``; the file is replaced at once."""
        self.rows.append(row)
        names = list(dict.fromkeys(n for r in self.rows for n in r))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        replace_file(self.path, text.getvalue())


def draw_curves(record: Path, picture: Path) -> Path:
    """A picture of training loss and validation over steps, from a training's log.csv; needs matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("matplotlib", "train", "pictures of learning curves") from error
    with record.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(r["step"]) for r in rows]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.semilogy(steps, [float(r["loss"]) for r in rows], color="tab:blue", label="training loss")
    left.set(xlabel="step", ylabel="training loss")
    right = left.twinx()
    right.plot(steps, [float(r["validation"]) for r in rows], color="tab:orange", label="validation")
    right.set(ylabel=f"validation, {rows[-1].get('unit', '') if rows else ''}", ylim=(0, None))
    figure.legend(loc="upper right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return replace_file(picture, buffer.getvalue())
