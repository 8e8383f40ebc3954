"""The video of a saved result as small pictures for the viewer, from the report beside it."""

from __future__ import annotations

import base64
import tempfile
from bisect import bisect_right
from pathlib import Path

from physpose.io.video import Image, Video

REPORT = "report.html"
START, END = '<script type="text/plain" id="video-data">', "</script>"
HEIGHT = 180  # [px] at most: it is shown in a frustum some decimetres wide
PICTURES = 20.0  # a second at most


class Film:
    """Pictures in order of time, there as soon as they have been decoded."""

    def __init__(self) -> None:
        self._time: list[float] = []  # [s] since the first frame
        self._pictures: list[Image] = []

    def add(self, time: float, picture: Image) -> None:
        """The next picture, (height, width, 3); a reader in another thread sees it whole or not at all."""
        self._pictures.append(picture)
        self._time.append(time)

    def number_at(self, time: float) -> int | None:
        """Which picture is shown ``time`` [s] after the first frame; None before there is any."""
        if not self._time:
            return None
        return max(bisect_right(self._time, time + 1e-3) - 1, 0)  # a video's time stamps are rounded

    def picture(self, number: int) -> Image:
        """RGB (height, width, 3)."""
        return self._pictures[number]

    def decode(self, video: bytes) -> None:
        """Add the pictures of an .mp4.

        Raises:
            InputError: it is no video.
        """
        with tempfile.NamedTemporaryFile(suffix=".mp4", prefix="physpose-") as file:
            file.write(video)
            file.flush()
            for _, time, picture in Video.open(file.name).frames():
                if not self._time or time - self._time[-1] > 0.999 / PICTURES:
                    step = -(-len(picture) // HEIGHT)
                    self.add(time, picture[::step, ::step].copy())


def video_of(folder: Path) -> bytes | None:
    """The .mp4 inside the report of a saved result; None if there is none."""
    report = folder / REPORT
    if not report.is_file():
        return None
    html = report.read_text(encoding="utf-8", errors="replace")
    start = html.find(START)
    if start < 0:
        return None
    start += len(START)
    return _decoded(html[start : html.find(END, start)].strip())


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except ValueError:  # a report that was cut off; the arrays may be whole
        return None
