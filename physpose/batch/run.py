"""``run_batch``: every clip of a manifest fitted once, whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from physpose.batch import local, on_ray
from physpose.batch.manifest import Manifest, ManifestError, Row, read_manifest
from physpose.batch.progress import Silent, Watcher
from physpose.batch.study import Outcome, Study, Task, task_of
from physpose.batch.tables import write_summary
from physpose.batch.work import Fit, import_pyarrow, physpose_fit
from physpose.errors import InputError, UnknownNameError

TABLES = ("parquet", "csv")
Engine = Callable[[Study, Fit, Iterator[Task]], Generator[Outcome, None, None]]


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How many clips have a result, and how many of these were fitted now."""

    out: Path
    done: int
    failed: int
    fitted: int  # now; the others were there

    @property
    def summary(self) -> Path:
        """The table with one row a clip."""
        return self.out / "summary.csv"


def run_batch(
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    workers: int | None = None,
    ray: str | None = None,
    tables: str = "parquet",
    retry_failed: bool = False,
    carry: Sequence[str] = (),
    defaults: Mapping[str, str] | None = None,
    fit: Fit = physpose_fit,
    watcher: Watcher | None = None,
) -> BatchResult:
    """Fit every clip of a manifest; a clip that fails is a row in the table, not the end of the run.

    The same call again, after whatever end, does what is missing and nothing else: results count once they are complete
    (see ``study``). One whose clip, arguments or version of physpose have changed is made anew.

    Args:
        manifest: a .csv or .parquet file, or a folder of videos or markers (see ``read_manifest``), or what was read of
            one.
        out: folder of the results.
        workers: processes on this machine; None: one a core. Each holds a clip's keypoints and a detector.
        ray: address of a Ray cluster instead, e.g. "auto", "10.0.0.1:6379"; ``out`` has to be a folder that all its
            nodes share, and the clips too.
        tables: "parquet": also summary.parquet and all frames as one data set (extra "batch"); "csv": summary.csv
        retry_failed: also try clips again that failed for their input.
        carry: other columns, which go into the summary as they are.
        defaults: column -> text of empty cells.
        fit: takes a clip's path and a row's arguments, and returns a ``FitResult``; found by name in the workers.
        watcher: is told of every clip.

    Raises:
        ManifestError: all that is wrong in the manifest; nothing was run.
        InputError: ``out`` cannot be written or another run works on it; no Ray cluster at that address.
    """
    book = manifest if isinstance(manifest, Manifest) else read_manifest(manifest, carry=carry, defaults=defaults)
    if book.problems:
        raise ManifestError(book)
    engine = _engine(workers, ray, tables)
    watcher, out = watcher or Silent(), Path(out).resolve()  # workers elsewhere start from another folder
    with Study.opened(out) as study:
        todo = [row for row, task in _tasks(book.rows, tables) if not _known(study, task, retry_failed)]
        watcher.start(len(todo), len(book.rows) - len(todo))
        try:
            with closing(engine(study, fit, (task for _, task in _tasks(todo, tables)))) as outcomes:
                for outcome in outcomes:
                    study.note(outcome)
                    watcher.ended(outcome)
        finally:  # whatever ended it, the table tells what there is
            study.drop_frames_without_result()
            write_summary(study, _tasks(book.rows, tables), book.carried, tables == "parquet")
        done = sum(study.is_done(task) for _, task in _tasks(book.rows, tables))
        fitted = sum(study.is_done(task) for _, task in _tasks(todo, tables))
    return BatchResult(out=out, done=done, failed=len(book.rows) - done, fitted=fitted)


def _tasks(rows: Sequence[Row], tables: str) -> Iterator[tuple[Row, Task]]:
    return ((row, task_of(row, frames=tables == "parquet")) for row in rows)


def _known(study: Study, task: Task, retry_failed: bool) -> bool:
    return study.is_done(task) or (study.fails(task) and not retry_failed)


def _engine(workers: int | None, ray: str | None, tables: str) -> Engine:
    """What runs tasks, after a look at whether it can."""
    if tables not in TABLES:
        raise UnknownNameError("tables", tables, TABLES)
    if tables == "parquet":
        import_pyarrow()
    if ray is not None:
        if workers is not None:
            raise InputError("workers= is for this machine; a Ray cluster has its own")
        return lambda study, fit, tasks: on_ray.run(tasks, study, fit, ray)
    n = len(os.sched_getaffinity(0)) if workers is None else workers
    if n < 1:
        raise InputError(f"workers {n}: one or more are needed")
    return lambda study, fit, tasks: local.run(tasks, study, fit, n)
