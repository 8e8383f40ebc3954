"""What the tests of batches share."""

from __future__ import annotations

import csv
from pathlib import Path

import batch_stub

from physpose.batch import read_manifest, run_batch
from physpose.batch.study import Outcome, Study, task_of
from physpose.batch.work import work

TIMES = {"timing.json"}  # the only file of a result that two runs of the same input differ in


class Seen:
    """Counts what it is told."""

    def __init__(self):
        self.total = self.kept = None
        self.outcomes: list[Outcome] = []

    def start(self, total, kept):
        self.total, self.kept = total, kept

    def ended(self, outcome):
        self.outcomes.append(outcome)


def write_clips(folder: Path, clips: dict[str, str]) -> Path:
    for name, what in clips.items():
        (folder / f"{name}.mp4").write_text(what)
    manifest = folder / "study.csv"
    manifest.write_text("clip,height,site\n" + "".join(f"{name}.mp4,1.7,north\n" for name in clips))
    return manifest


def run(manifest: Path, out: Path, **options):
    seen = Seen()
    options = {"workers": 2, "tables": "csv", "carry": ["site"], "fit": batch_stub.fit, "watcher": seen} | options
    return run_batch(manifest, out, **options), seen


def work_here(manifest: Path, out: Path) -> None:
    """What the workers would do, one clip after the other in this process."""
    with Study.opened(out) as study:
        for row in read_manifest(manifest, carry=["site"]).rows:
            study.note(work(task_of(row, frames=False), study, batch_stub.fit))


def table(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "summary.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def contents(out: Path) -> dict[str, bytes]:
    """Every file of every result, but the times."""
    folders = (out / "clips", out / "frames")
    files = [p for f in folders for p in f.rglob("*") if p.is_file() and p.name not in TIMES]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}
