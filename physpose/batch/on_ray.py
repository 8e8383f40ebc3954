"""Workers on a Ray cluster: its tasks, its retries after a worker or a node has died, its autoscaling."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator
from typing import Any

from physpose.batch.study import Outcome, Study, Task
from physpose.batch.work import Fit, work
from physpose.errors import InputError, MissingPackageError

ANSWER = 10.0  # [s] within which a cluster takes a connection
RETRIES = 3  # of a task whose worker or node dies
AHEAD = 2  # tasks in hand for each core: as many wait as run, so that no core does and an autoscaler sees the need


def run(tasks: Iterator[Task], study: Study, fit: Fit, address: str) -> Generator[Outcome, None, None]:
    """Outcomes of ``tasks`` in order of completion, from the cluster at ``address``."""
    ray = _connect(address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_work_there)
        pending: dict[Any, Task] = {}
        more = True
        while more or pending:
            while more and len(pending) < AHEAD * _cores(ray):
                task = next(tasks, None)
                more = task is not None
                if task is not None:
                    pending[remote.remote(task, study, fit)] = task
            if pending:
                (done,), _ = ray.wait(list(pending))
                yield _outcome(ray, done, pending.pop(done))
    finally:
        ray.shutdown()


def _work_there(task: Task, study: Study, fit: Fit) -> Outcome:
    """On whatever node: the folder has to be there too."""
    if not (study.path / ".lock").exists():
        why = f"node {socket.gethostname()} does not see {study.path}: results need a folder that all nodes share"
        return Outcome(task=task, failure=why, kind="error")
    return work(task, study, fit)


def _outcome(ray: Any, done: Any, task: Task) -> Outcome:
    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayTaskError as error:  # it could not begin, e.g. physpose is missing on a node
        return Outcome(task=task, failure=_last_line(error), kind="error", trace=str(error))
    except ray.exceptions.RayError as error:
        return Outcome(task=task, failure=f"{type(error).__name__}: {_last_line(error)}", kind="died", trace=str(error))
    return outcome


def _last_line(error: Exception) -> str:
    """Where Ray's errors say what happened."""
    return str(error).strip().splitlines()[-1].strip()


def _cores(ray: Any) -> int:
    """Of the cluster as it is now."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _knock(address: str) -> None:
    """Is anybody at host:port? Ray would try for minutes, and talk all the while."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=ANSWER).close()


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError("ray", "ray", "--ray") from error
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"no Ray cluster at {address!r}: {reason}; 'ray start --head' starts one") from error
    return ray
