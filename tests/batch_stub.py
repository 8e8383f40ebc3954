"""Stands in for ``physpose.fit`` in tests of batches: what it does is written in the clip."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from example_result import example_result

from physpose.errors import NoPersonError


def fit(source, **arguments):
    """A made-up result that depends on the clip's name; or what the clip's text asks for."""
    what, *seconds = Path(source).read_text().split()
    time.sleep(float(seconds[0]) if seconds else 0.0)
    if what == "empty":
        raise NoPersonError("nobody is seen")
    if what == "bug":
        raise TypeError("an error of ours")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "cores":
        threads = [os.sched_getaffinity(int(t)) for t in os.listdir("/proc/self/task")]
        Path(source).with_suffix(".cores").write_text(" ".join(map(str, sorted(set().union(*threads)))))
    seed = sum(Path(source).name.encode())
    return example_result(T=6, seed=seed, source=Path(source).name)
