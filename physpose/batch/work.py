"""What a worker does with one task: fit the clip, save its result as a whole, or say why not."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import physpose
from physpose.batch.study import FRAMES, RECORD, TIMING, Outcome, Study, Task
from physpose.download import DownloadError
from physpose.errors import MissingPackageError, PhysposeError
from physpose.summary import summarize

if TYPE_CHECKING:
    from physpose.result import FitResult

PACKAGES = ("numpy", "torch", "scipy", "pin", "mediapipe", "rtmlib")
Fit = Callable[..., "FitResult"]


def physpose_fit(source: str | list[str], **arguments: Any) -> FitResult:
    """``physpose.fit``, which is loaded by whoever works: who only hands out the clips can start them at once."""
    return physpose.fit(source, **arguments)


def work(task: Task, study: Study, fit: Fit) -> Outcome:
    """Fit one clip and save it; an error becomes an ``Outcome``, so that other clips go on."""
    start = time.perf_counter()
    failure, kind, trace = None, "", ""
    try:
        if not study.is_done(task):  # it is, where a worker was killed before it could say so
            _save(_fitted(task, fit), task, study)
    except _OfInput as error:
        failure, kind = _one_line(error), "input"
    except PhysposeError as error:
        failure, kind = _one_line(error), "error"
    except Exception as error:  # of any kind: it is told in the table, the others go on
        failure, kind, trace = f"{type(error).__name__}: {_one_line(error)}", "error", traceback.format_exc()
    return Outcome(task=task, failure=failure, kind=kind, trace=trace, seconds=time.perf_counter() - start)


class _OfInput(Exception):
    """What the clip or its row is to blame for, and another try would not change."""


def _fitted(task: Task, fit: Fit) -> FitResult:
    views = [str(path) for path in task.views]
    try:
        return fit(views[0] if len(views) == 1 else views, **task.arguments)
    except (MissingPackageError, DownloadError):
        raise
    except PhysposeError as error:
        raise _OfInput(_one_line(error)) from error


def _save(result: FitResult, task: Task, study: Study) -> None:
    """Wall times and the place go apart, so that the same input gives the same result to the byte."""
    staging = study.staging(task.name)
    try:
        timeless = replace(result, status=replace(result.status, seconds={}))
        timeless.save(staging)
        about = {"digest": task.digest, "packages": packages(), **summarize(timeless)}
        del about["files"], about["seconds"]
        (staging / RECORD).write_text(json.dumps(about, indent=1, allow_nan=False) + "\n")
        timing = {"host": socket.gethostname(), "seconds": result.status.seconds}
        (staging / TIMING).write_text(json.dumps(timing, indent=1) + "\n")
        if task.frames:
            _write_frames(timeless, staging / FRAMES)
        study.commit(task, staging, re.sub(r"[^\w.-]", "_", result.skeleton.name))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def packages() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _write_frames(result: FitResult, path: Path) -> None:
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pandas(result.to_frame(), preserve_index=False), path)


def import_pyarrow() -> Any:
    """The package, or where to get it from."""
    try:
        import pyarrow
    except ImportError as error:
        purpose = "writing tables as Parquet (or choose tables='csv')"
        raise MissingPackageError("pyarrow", "batch", purpose) from error
    return pyarrow


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
