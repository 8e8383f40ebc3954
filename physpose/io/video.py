"""Video files: upright RGB frames with their real time stamps, in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physpose.errors import InputError, MissingPackageError

Image = NDArray[np.uint8]
STILL_FORMATS = ("image2", "_pipe", "tty")  # FFmpeg "demuxes" pictures, and text as terminal art
SHORT_BY = 0.1  # fraction of the claimed duration that may be missing before a truncated file is reported
# x264's macroblock tree gives other bytes for the same pictures now and then, with its AVX-512 code
PREVIEW = {"preset": "veryfast", "bf": "0", "x264-params": "mbtree=0"}
CAPTURED = "com.android.capture.fps"  # [1/s] frames a second that a phone filmed, in its metadata
SLOWED = 1.3  # times the frames that are shown a second: slow motion
GAP = 0.5  # [s] without a frame, in a video whose frames come ten times as often, is reported


@dataclass(kw_only=True)
class Video:
    """A video file, opened by :meth:`open`; each call of :meth:`frames` decodes it from the start."""

    path: Path
    image_size: tuple[int, int]  # width, height [px], upright, square pixels
    rotation: int  # [deg] turn applied to the stored picture, counter-clockwise
    n_frames_hint: int | None  # as the container claims, often wrong: only for progress bars
    duration_hint: float | None  # [s], as the container claims
    metadata: dict[str, str]  # of the container and the stream, e.g. "com.apple.quicktime.model"
    warnings: list[str] = field(default_factory=list)  # what was met and what was done, one sentence each
    look: Callable[[float, Image], None] | None = None  # see ``watched``

    @classmethod
    def open(cls, path: str | Path) -> Video:
        """Open ``path`` and decode its first frame.

        Raises:
            InputError: no such file, not a video, no video stream, or no frame in it.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"no such file: {path}")
        with _open_container(path) as container:
            stream = _video_stream(container, path)
            first = next(_decode(container, stream, []), None)
            if first is None:
                raise InputError(f"{path}: no frame of its video stream can be decoded")
            width, height = _upright_size(first, stream)
            return cls(
                path=path,
                image_size=(width, height),
                rotation=_rotation(first),
                n_frames_hint=_frames_hint(stream),
                duration_hint=_duration(container, stream),
                metadata={**container.metadata, **stream.metadata},
            )

    def frames(self) -> Iterator[tuple[int, float, Image]]:
        """Yield (index, time [s], RGB picture (height, width, 3)) in order of presentation.

        The time is the container's presentation time stamp: nothing is assumed about the frame rate. Frames whose
        stamp does not advance are dropped, a damaged or cut file yields what can be decoded; both are reported in
        ``warnings`` once the generator has ended.
        """
        for index, (time, frame) in enumerate(self._stamped_frames()):
            picture = _rgb(frame, self.image_size)
            if self.look is not None:
                self.look(time, picture)
            yield index, time, picture

    def watched(self, look: Callable[[float, Image], None]) -> Video:
        """The same video; ``look`` is shown time [s] and picture of each frame before ``frames`` yields it."""
        return replace(self, look=look)

    def times(self) -> NDArray[np.float64]:
        """Presentation times (T,) [s] of the frames that :meth:`frames` yields; decodes the whole file."""
        return np.array([time for time, _ in self._stamped_frames()])

    def _stamped_frames(self) -> Iterator[tuple[float, Any]]:
        troubles: list[str] = []
        with _open_container(self.path) as container:
            stream = _video_stream(container, self.path)
            clock = _Clock(stream)
            for frame in _decode(container, stream, troubles):
                time = clock.advance(frame)
                if time is not None:
                    yield time, frame
        troubles += clock.report(self.duration_hint)
        troubles += _slow_motion(self.metadata.get(CAPTURED, ""), clock.rate)
        self.warnings.extend(text for text in troubles if text not in self.warnings)


class _Clock:
    """Time of each frame: its own stamp, or the nominal frame rate where a stream has none (raw H.264)."""

    def __init__(self, stream: Any):
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        self.start = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base)
        self.last, self.gap, self.gap_at = -math.inf, 0.0, 0.0  # [s]
        self.n = self.guessed = self.dropped = 0

    def advance(self, frame: Any) -> float | None:
        """Time [s] of the next frame; None where it does not advance."""
        time = self._time(frame)
        if time <= self.last:
            self.dropped += 1
            return None
        if self.n and time - self.last > self.gap:
            self.gap, self.gap_at = time - self.last, self.last
        self.last, self.n = time, self.n + 1
        return time

    def _time(self, frame: Any) -> float:
        if frame.pts is not None:
            return float(frame.pts * frame.time_base)
        if not self.fps:
            raise InputError("the video has neither time stamps nor a frame rate; remux it, e.g. into .mp4")
        self.guessed += 1
        return (self.guessed - 1) / self.fps

    @property
    def rate(self) -> float:
        """Mean frames a second so far."""
        span = self.last - self.start
        return (self.n - 1) / span if self.n > 1 and span > 0 else math.inf

    def report(self, claimed: float | None) -> list[str]:
        """What was remarkable, once all frames are through; ``claimed`` is the container's duration [s]."""
        said = []
        if self.dropped:
            said.append(f"{self.dropped} frames dropped: their time stamps do not advance")
        if self.guessed:
            said.append(f"{self.guessed} frames without a time stamp: {self.fps:g} frames a second assumed")
        step = (self.last - self.start) / max(self.n - 1, 1)
        if self.gap > max(GAP, 10 * step):
            said.append(f"no frame for {self.gap:.2f} s after {self.gap_at:.2f} s")
        if claimed and self.n > 1 and self.last - self.start + step < (1 - SHORT_BY) * claimed:
            said.append(f"video is cut short: it claims {claimed:.2f} s, frames end at {self.last - self.start:.2f} s")
        return said


def _slow_motion(captured: str, shown: float) -> list[str]:
    """A warning where a phone filmed faster than the file plays: its times are not those of the motion."""
    try:
        filmed = float(captured)
    except ValueError:
        return []
    if filmed <= SLOWED * shown:
        return []
    return [
        f"SLOW MOTION: filmed at {filmed:.0f} frames a second, the file shows {shown:.0f}: its times are "
        f"{filmed / shown:.1f} times too long, speeds, forces and torques wrong; give the real times first, e.g. by "
        f"ffmpeg -itsscale {shown / filmed:.4g} -i slow.mp4 -c copy real.mp4"
    ]


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("av", "video", "reading a video") from error
    return av


def _open_container(path: Path) -> Any:
    av = _import_av()
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise InputError(f"{path} is not a video that can be read, or it is truncated ({_reason(error)})") from error
    name = container.format.name
    if any(still in name for still in STILL_FORMATS):
        container.close()
        raise InputError(f"{path} is not a video (format: {name})")
    return container


def _video_stream(container: Any, path: Path) -> Any:
    av = _import_av()
    cover = av.stream.Disposition.attached_pic  # the picture on a music file
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise InputError(f"{path} has no video stream; it has: {kinds}")
    streams[0].thread_type = "AUTO"
    return streams[0]


def _decode(container: Any, stream: Any, troubles: list[str]) -> Iterator[Any]:
    """Frames that can be decoded; says in ``troubles`` what could not, once at the end."""
    av = _import_av()
    bad = 0
    for packet in _packets(container, stream, troubles):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            bad += 1
            continue
        bad += sum(frame.is_corrupt for frame in frames)
        yield from (frame for frame in frames if not frame.is_corrupt)
    if bad:
        troubles.append(f"{bad} damaged frames left out")


def _packets(container: Any, stream: Any, troubles: list[str]) -> Iterator[Any]:
    av = _import_av()
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        troubles.append(f"reading stopped early: {_reason(error)}")


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _frames_hint(stream: Any) -> int | None:
    if stream.frames:
        return int(stream.frames)
    if stream.duration and stream.average_rate:
        return round(float(stream.duration * stream.time_base * stream.average_rate))
    return None


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _rotation(frame: Any) -> int:
    """Counter-clockwise turn [deg] that makes the picture upright: the display matrix, to a right angle."""
    return round(frame.rotation / 90) * 90 % 360


def _upright_size(frame: Any, stream: Any) -> tuple[int, int]:
    width, height = frame.width, frame.height
    if stream.sample_aspect_ratio:
        width = round(width * float(stream.sample_aspect_ratio))
    return (height, width) if _rotation(frame) % 180 else (width, height)


def _rgb(frame: Any, image_size: tuple[int, int]) -> Image:
    turns = _rotation(frame) // 90
    width, height = image_size[::-1] if turns % 2 else image_size
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(picture, turns))


def encode_preview(
    video: Video, time: ArrayLike, max_height: int = 480, *, max_fps: float | None = None, crf: int = 26
) -> bytes:
    """An H.264 .mp4 of the frames at ``time``, small enough to be put into a page; any browser plays it.

    Frame times are kept, counted from the first one: frame i is shown at ``time[i] - time[0]``. The same pictures give
    the same bytes, on however many cores.

    Args:
        video: the clip.
        time: (T,) [s], strictly increasing; each is met by the video's frame nearest to it.
        max_height: [px]; larger pictures are scaled down.
        max_fps: leave out frames nearer than this to the one before, e.g. 30 for a clip of 240 frames a second.
        crf: x264's constant rate factor, 0 (lossless) to 51.

    Raises:
        InputError: the video has no frame at ``time``.
    """
    wanted = _thinned(np.asarray(time, float), max_fps)
    with tempfile.TemporaryDirectory(prefix="physpose-") as folder:
        path = Path(folder) / "preview.mp4"
        _encode(video, wanted, path, _even_size(video.image_size, max_height), crf)
        return path.read_bytes()


def _thinned(time: NDArray[np.float64], max_fps: float | None) -> list[float]:
    kept: list[float] = []
    for t in time:
        if max_fps is None or not kept or t - kept[-1] > 0.999 / max_fps:
            kept.append(float(t))
    return kept


def _even_size(size: tuple[int, int], max_height: int) -> tuple[int, int]:
    """Width and height [px] within ``max_height``, even as 4:2:0 colour needs them."""
    scale = min(1.0, max_height / size[1])
    width, height = (max(2, 2 * round(scale * side / 2)) for side in size)
    return width, height


def _encode(video: Video, time: list[float], path: Path, size: tuple[int, int], crf: int) -> None:
    av = _import_av()
    base = Fraction(1, 90_000)  # [s]
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), **PREVIEW})
        stream.codec_context.thread_count = 1  # how many there are changes the bytes
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        n = 0
        for t, picture in _nearest(video, time):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*size, format="yuv420p")
            frame.pts, frame.time_base = round((t - time[0]) / base), base
            container.mux(stream.encode(frame))
            n += 1
        if not n:
            raise InputError(f"{video.path} has no frame to show")
        container.mux(stream.encode(None))


def _nearest(video: Video, time: list[float]) -> Iterator[tuple[float, Image]]:
    """(time wanted, the frame nearest to it), one for each of ``time`` until the video ends."""
    before: tuple[float, Image] | None = None
    at = 0
    for _, t, picture in video.frames():
        while at < len(time) and time[at] <= t:
            earlier = before is not None and time[at] - before[0] < t - time[at]
            yield time[at], before[1] if earlier and before is not None else picture
            at += 1
        if at == len(time):
            return
        before = t, picture
    if before is not None:
        yield from ((t, before[1]) for t in time[at:])
