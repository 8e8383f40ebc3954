"""The state of a batch on disk: whatever is killed at whatever moment, each clip is either there as a whole or not.

    study/
      clips/NAME/       a clip's result: what ``FitResult.save`` writes, row.json (what it was made of), timing.json
      frames/skeleton=S/clip=NAME/frames.parquet    all frames of all clips as one data set
      failed/NAME.json  why a clip has none
      summary.csv, summary.parquet                  one row a clip
      worker.log        what libraries said
      .staging/         what is being written

A result is put together in .staging and moved to its place by one rename, which is what makes it count.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import physpose
from physpose.batch.manifest import Row
from physpose.errors import InputError
from physpose.io.tables import make_folder, replace_file

RECORD, TIMING, FRAMES = "row.json", "timing.json", "frames.parquet"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker is given."""

    name: str
    views: tuple[Path, ...]
    arguments: Mapping[str, Any]
    digest: str  # of all that the result depends on
    frames: bool  # also as Parquet


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task; its result, if there is one, is on disk already."""

    task: Task
    failure: str | None = None  # in one line
    kind: str = ""  # of failure: "input" (the user's to mend), "error" (ours), "died" (the worker was killed)
    trace: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Study:
    """A batch's output folder."""

    path: Path

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Study]:
        """The folder, made if needed, for this process alone; what an earlier one left half-done is removed.

        Raises:
            InputError: nothing can be written there, or another run works on it.
        """
        for folder in ("clips", "failed", ".staging"):
            make_folder(path / folder)
        with _locked(path):
            study = cls(path)
            shutil.rmtree(path / ".staging", ignore_errors=True)  # a node may still write there; nobody will miss it
            make_folder(path / ".staging")
            yield study

    def record(self, name: str) -> dict[str, Any] | None:
        """What the clip's result was made of; None if there is none."""
        return _read_json(self.path / "clips" / name / RECORD)

    def failure(self, name: str) -> dict[str, Any] | None:
        """Why the clip has no result, if that is known."""
        return _read_json(self.path / "failed" / f"{name}.json")

    def timing(self, name: str) -> dict[str, Any]:
        """Seconds and place of the clip's fit."""
        return _read_json(self.path / "clips" / name / TIMING) or {}

    def is_done(self, task: Task) -> bool:
        """Is there a result of the same clip, arguments and version, with the tables that are asked for?"""
        record = self.record(task.name)
        if record is None or record["digest"] != task.digest:
            return False
        return not task.frames or any((self.path / "frames").glob(f"skeleton=*/clip={task.name}/{FRAMES}"))

    def fails(self, task: Task) -> bool:
        """Is the task known to fail for a reason that another try does not change?"""
        failure = self.failure(task.name)
        return failure is not None and failure["digest"] == task.digest and failure["kind"] == "input"

    def staging(self, name: str) -> Path:
        """A new folder to put a result together in."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path / ".staging"))

    def commit(self, task: Task, staging: Path, skeleton: str) -> None:
        """Move a complete result from ``staging`` to its place; one that is there of other arguments goes."""
        self._drop_frames(task.name)
        if (staging / FRAMES).exists():
            partition = make_folder(self.path / "frames" / f"skeleton={skeleton}" / f"clip={task.name}")
            os.replace(staging / FRAMES, partition / FRAMES)
        place = self.path / "clips" / task.name
        if place.exists():
            place.rename(self.staging(task.name) / "old")
        staging.chmod(self.path.stat().st_mode & 0o777)  # a temporary folder is private, a result is not
        try:
            staging.rename(place)  # from here on it counts
        except OSError:  # a worker of a run that has been killed was quicker
            if not self.is_done(task):
                raise

    def _drop_frames(self, name: str) -> None:
        for partition in (self.path / "frames").glob(f"skeleton=*/clip={name}"):
            shutil.rmtree(partition)

    def note(self, outcome: Outcome) -> None:
        """Keep the reason of a failure; forget that of an earlier one."""
        path, task = self.path / "failed" / f"{outcome.task.name}.json", outcome.task
        if outcome.failure is None:
            path.unlink(missing_ok=True)
            return
        about: dict[str, Any] = {
            "name": task.name,
            "digest": task.digest,
            "kind": outcome.kind,
            "reason": outcome.failure,
        }
        about |= {"clip": [str(path) for path in task.views], "trace": outcome.trace.splitlines()}
        replace_file(path, json.dumps(about, indent=1) + "\n")

    def drop_frames_without_result(self) -> None:
        """Remove partitions of clips whose result never came to count."""
        for partition in (self.path / "frames").glob("skeleton=*/clip=*"):
            if not (self.path / "clips" / partition.name.removeprefix("clip=") / RECORD).exists():
                shutil.rmtree(partition)


def task_of(row: Row, frames: bool) -> Task:
    """A row as a task; what its result depends on goes into the digest."""
    arguments = {k: _stamp(v) if isinstance(v, Path) else v for k, v in row.arguments.items()}
    what = [physpose.__version__, [_stamp(path) for path in row.views], arguments]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return Task(name=row.name, views=row.views, arguments=row.arguments, digest=digest, frames=frames)


def _stamp(path: Path) -> tuple[str, int, int]:
    """Tells another or a changed file: name, size [bytes], last change [ns]; -1 of one that is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return path.name, -1, -1
    return path.name, stat.st_size, stat.st_mtime_ns


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases however this process ends."""
    with open(path / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = file.read().strip() or "another process"
            raise InputError(f"{other} works on {path} already; wait for it, or choose another folder") from None
        file.truncate(0)
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        file.write(f"process {os.getpid()} on {socket.gethostname()} (since {now})")
        file.flush()
        yield


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return data
