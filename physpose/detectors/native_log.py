"""Keeps known chatter of native libraries off the terminal; everything else still gets there."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def muted(*noise: bytes) -> Iterator[None]:
    """Hold back what is written to standard error inside the block, then pass on the lines without any of ``noise``.

    Works on the file descriptor, since native code writes past ``sys.stderr``. Meant for short blocks: a crash of the
    process inside takes what was held with it.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no standard error, as under a service: nothing to hold back
        yield
        return
    _flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            lines = held.read().splitlines(keepends=True)
            os.write(2, b"".join(line for line in lines if not any(n in line for n in noise)))


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
