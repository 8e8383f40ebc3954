"""Where a playing motion stands: plain time keeping, apart from any screen."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock


@dataclass
class Playhead:
    """Time [s] between ``start`` and ``end`` that runs on by the wall clock, round and round, while playing.

    Buttons in a browser and the loop that draws are different threads: each call is atomic.
    """

    start: float
    end: float
    speed: float = 1.0  # of the motion's time by the wall clock
    playing: bool = True

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._time, self._since = self.start, 0.0

    def seek(self, time: float) -> None:
        """Stop there."""
        with self._lock:
            self._time, self.playing = min(max(time, self.start), self.end), False

    def toggle(self) -> None:
        """Play or pause; from the start again where the end was reached."""
        with self._lock:
            self.playing = not self.playing
            if self.playing and self._time >= self.end:
                self._time = self.start

    def set_speed(self, speed: float) -> None:
        """From now on."""
        with self._lock:
            self.speed = speed

    def advance(self, now: float) -> float:
        """The motion's time [s] when the wall clock shows ``now`` [s]; past the end it starts again."""
        with self._lock:
            passed, self._since = now - self._since, now
            if self.playing and self.end > self.start:
                self._time += self.speed * passed
                if self._time > self.end:
                    self._time = self.start
            return self._time
