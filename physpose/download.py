"""Files fetched once and kept in the user's cache: by address with checksum, or out of a wheel of the package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from physpose.errors import PhysposeError

TIMEOUT = 20.0  # [s] without an answer
CHUNK = 1 << 18  # [bytes]
# Any one wheel will do: only data files are taken out of it, and those are the same in all of them.
ANY_WHEEL = ("--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none",
             "--platform", "manylinux_2_28_x86_64", "--platform", "any", "--only-binary", ":all:")  # fmt: skip


class DownloadError(PhysposeError):
    """A file could not be fetched, or is not the one that was expected."""


def cache_dir() -> Path:
    """The user's cache folder of this package: ``$XDG_CACHE_HOME/physpose``, else ``~/.cache/physpose``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "physpose"


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes otherwise."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {path.parent}: {error.strerror}; set XDG_CACHE_HOME to a writable folder"
        ) from error
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def download(url: str, sha256: str, path: Path, what: str) -> Path:
    """Fetch ``url`` to ``path`` unless it is there already.

    Says on standard error what is fetched, from where, how large it is and how far it is.

    Args:
        url: where from.
        sha256: hexadecimal checksum that the file must have.
        path: where to; its folder is made.
        what: name for the messages, e.g. "pose model".

    Raises:
        DownloadError: no network, or another checksum; nothing is left at ``path``.
    """
    if path.exists():
        return path
    with replacing(path) as part:
        try:
            digest = _fetch(url, part, what)
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise DownloadError(f"{what}: cannot fetch {url} ({reason}), is there a network?") from error
        if digest != sha256:
            raise DownloadError(f"{what}: {url} has SHA-256 {digest}, expected {sha256}; nothing was kept")
    return path


def _fetch(url: str, path: Path, what: str) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as out:
        total = int(answer.headers.get("Content-Length") or 0)
        _say(f"{what}: {url} ({total / 1e6:.1f} MB)")
        done, shown = 0, 0.0
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            shown = _show_progress(done, total, shown)
    return digest.hexdigest()


def _show_progress(done: int, total: int, shown: float) -> float:
    """Draw the bar on a terminal at each new percent; returns the fraction last shown."""
    fraction = done / total if total else 0.0
    if sys.stderr.isatty() and (fraction - shown >= 0.01 or done == total):
        end = "\n" if done == total else ""
        print(f"\r  [{'=' * int(30 * fraction):30}] {100 * fraction:3.0f} %", end=end, file=sys.stderr, flush=True)
        return fraction
    return shown


def wheel_member(package: str, version: str, member: str, sha256: str, path: Path) -> Path:
    """Take one file out of a wheel of the package index, by the configured ``pip``.

    Works where only a package index can be reached, with its mirrors and proxies as ``pip`` knows them.

    Args:
        package, version: the wheel, of whatever Python and platform.
        member: path of the file inside the wheel.
        sha256: hexadecimal checksum of that file.
        path: where to put it, unless it is there already.

    Raises:
        DownloadError: pip is missing or fails, no such member, or another checksum; nothing is left at ``path``.
    """
    if not path.exists():
        wheel_members(package, version, {member: (sha256, path)})
    return path


def wheel_members(package: str, version: str, members: dict[str, tuple[str, Path]]) -> None:
    """Like :func:`wheel_member` for several files of one wheel: member -> (SHA-256, path)."""
    with tempfile.TemporaryDirectory(prefix="physpose-") as folder:
        wheel = _pip_download(package, version, Path(folder))
        for member, (sha256, path) in members.items():
            data = _read_member(wheel, member)
            if sha256_of(data) != sha256:
                raise DownloadError(
                    f"{member} of {wheel.name} has SHA-256 {sha256_of(data)}, expected {sha256}; nothing was kept"
                )
            with replacing(path) as part:
                part.write_bytes(data)


def _pip_download(package: str, version: str, folder: Path) -> Path:
    _say(f"{package} {version}: wheel from the package index by pip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--quiet",
               *ANY_WHEEL, "--dest", str(folder), f"{package}=={version}"]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode or not wheels:
        lines = [line for line in run.stderr.splitlines() if line.strip()] or ["pip brought no wheel"]
        raise DownloadError(
            f"pip could not download {package}=={version}: {lines[-1]};"
            " is there a network, and pip in this environment?"
        )
    _say(f"{package} {version}: {wheels[0].stat().st_size / 1e6:.1f} MB")
    return wheels[0]


def _read_member(wheel: Path, member: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise DownloadError(f"{wheel.name} has no {member}")
        return archive.read(member)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
