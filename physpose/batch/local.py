"""Workers on this machine: processes that take one task at a time; one that dies costs no other clip."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from physpose.batch.study import Outcome, Study, Task
from physpose.batch.work import Fit

TRIES = 3  # of a task whose worker dies
Cores = frozenset[int]


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, study: Study, fit: Fit, cores: Cores):
        context = multiprocessing.get_context("spawn")  # a forked copy of torch's or MediaPipe's threads hangs
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, study, fit), daemon=True)
        self.cores = cores
        with _confined_to(cores):
            self.process.start()
        theirs.close()
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        try:
            self.pipe.send(task)
        except OSError:  # it has died; ``wait`` tells
            return

    def take(self) -> Outcome | None:
        """What it has sent; None if it has died."""
        self.task = None
        try:
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return outcome

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class _Queue:
    """Tasks to do, and first those whose worker has died, until they have had their tries."""

    def __init__(self, tasks: Iterator[Task]):
        self._tasks, self._again = tasks, deque[Task]()
        self._deaths: dict[str, int] = {}

    def next(self) -> Task | None:
        return self._again.popleft() if self._again else next(self._tasks, None)

    def try_again(self, task: Task) -> bool:
        """Take back the task of a worker that has died; False if it has had its tries."""
        deaths = self._deaths[task.name] = self._deaths.get(task.name, 0) + 1
        if deaths < TRIES:
            self._again.append(task)
        return deaths < TRIES


def run(tasks: Iterator[Task], study: Study, fit: Fit, workers: int) -> Generator[Outcome, None, None]:
    """Outcomes of ``tasks`` in order of completion. Tasks are taken as workers get free."""
    shares, queue = _shares(frozenset(os.sched_getaffinity(0)), workers), _Queue(tasks)
    with _pool() as pool:
        while True:
            while len(pool) < workers and (task := queue.next()) is not None:
                free = Counter(shares) - Counter(worker.cores for worker in pool)
                pool.append(_Worker(study, fit, next(iter(free))))
                pool[-1].give(task)
            if not pool:
                return
            for worker in _ready(pool):
                if (outcome := _collect(worker, pool, queue)) is not None:
                    yield outcome


def _shares(cores: Cores, workers: int) -> list[Cores]:
    """A worker's cores, for each: apart where they suffice, else one each in turn."""
    order, n = sorted(cores), min(workers, len(cores))
    return [frozenset(order[k % n :: n]) for k in range(workers)]


@contextmanager
def _confined_to(cores: Cores) -> Iterator[None]:
    """A process started here stays on ``cores``, and libraries start no more threads than these.

    Decoder's and detector's threads of several workers that wait for each other cost a fifth of the time otherwise.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _collect(worker: _Worker, pool: list[_Worker], queue: _Queue) -> Outcome | None:
    """A worker's outcome, and its next task; None if it has died and its task is to be tried again."""
    task = worker.task
    assert task is not None
    outcome = worker.take()
    if outcome is None:
        pool.remove(worker)
        worker.end()
        return None if queue.try_again(task) else Outcome(task=task, failure=_how_it_died(worker.process), kind="died")
    if (following := queue.next()) is None:
        pool.remove(worker)
        worker.end()
    else:
        worker.give(following)
    return outcome


def _ready(pool: list[_Worker]) -> list[_Worker]:
    """Workers that have sent an outcome or died; a dead one's pipe is at its end."""
    pipes = wait([worker.pipe for worker in pool])
    return [worker for worker in pool if worker.pipe in pipes]


@contextmanager
def _pool() -> Iterator[list[_Worker]]:
    pool: list[_Worker] = []
    try:
        yield pool
    finally:
        for worker in pool:
            worker.end()


def _how_it_died(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the worker died {TRIES} times ({how}); out of memory, or a library crashed: see worker.log"


# --- in the worker ----------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, study: Study, fit: Fit) -> None:
    """Work on what comes through the pipe until it ends, and then at once: nobody waits for the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which ends its workers
    _log_to(study.path / "worker.log")
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    from physpose.batch.work import work

    while True:
        pipe.send(work(tasks.get(), study, fit))


def _receive(pipe: Connection, tasks: Any) -> None:
    while True:
        try:
            tasks.put(pipe.recv())
        except (EOFError, OSError):
            os._exit(1)  # the driver is gone


def _log_to(path: Path) -> None:
    """What any library prints goes to a file: the driver's terminal shows progress."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
