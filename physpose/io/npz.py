"""NumPy's .npz files, without unpickling."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError


def read_npz(path: Path, names: Sequence[str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """The arrays of a file that are among ``names``, all if None; and the names of all that it holds.

    Raises:
        InputError: no such file, no .npz, a damaged one, or one whose arrays hold pickled objects.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"cannot read {path}: it is no .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = [name for name in file.files if names is None or name in names]
            return {name: file[name] for name in wanted}, sorted(file.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        what = "holds objects, not numbers" if "allow_pickle" in str(error) else f"is damaged ({error})"
        raise InputError(f"cannot read {path}: it {what}") from error
