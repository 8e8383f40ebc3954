"""Does the camera move? What is seen beside the people must stay where it is.

Small grey pictures of the clip are kept while the detector looks at it (``Album``). Corners beside the people
(Shi & Tomasi 1994) are followed from one of them to a later one (pyramidal Lucas-Kanade, forward and backward). Of
a camera at rest most stay, whatever else moves; the median distance tells so, a corner that is lost counting as far.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.errors import MissingPackageError
from physpose.types import Array, Keypoints2D

LONG_SIDE = 480  # [px] of the pictures kept
SPACING = 0.4  # [s] between pictures kept, doubled whenever the album is full
MOST = 256  # pictures kept
LAGS = (1, 3)  # pictures apart: shaking and panning; creeping
CORNERS = 12  # in each cell of the grid below, so that one busy tree does not outvote the rest
GRID = 4  # cells along each side
CLEAR = 1e-3  # least eigenvalue of a corner: noise of 3 grey levels on a blank wall stays below 4e-4
FEWEST = 20  # corners that can tell
MARGIN = 0.15  # of a person's size around the keypoints: hair, hands, clothes, shadows
STILL = 1e-3  # of the picture's longer side; eight clips from tripods stay below 0.6e-3, leaves in the wind included
BACK = 0.5  # [px of the small picture] a corner followed there and back may miss by


@dataclass(kw_only=True)
class Album:
    """Small grey pictures of a clip at even distances, however long it is."""

    time: list[float] = field(default_factory=list)  # [s]
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    spacing: float = SPACING  # [s]

    def add(self, t: float, picture: NDArray[np.uint8]) -> None:
        """Keep the picture (height, width, 3) of time ``t`` [s], if it is time for one."""
        if self.time and t - self.time[-1] < 0.999 * self.spacing:
            return
        if len(self.time) == MOST:
            del self.time[1::2], self.pictures[1::2]
            self.spacing *= 2
            return self.add(t, picture)
        self.time.append(t)
        self.pictures.append(_small(picture))
        return None


@dataclass(frozen=True, kw_only=True)
class CameraMotion:
    """How far what is seen beside the people moved between pairs of pictures in which enough is seen."""

    time: Array  # (n, 2) [s] of the two pictures of each pair
    distance: Array  # (n,) [px of the full picture], the corners' median; infinite where most of them are lost
    image_size: tuple[int, int]  # width, height [px]

    def between(self, first: float, last: float) -> CameraMotion:
        """The same with only the pairs from ``first`` to ``last`` [s]; if there are none, those that reach into it."""
        keep = (self.time[:, 0] >= first) & (self.time[:, 1] <= last)
        if not keep.any():
            keep = (self.time[:, 0] <= last) & (self.time[:, 1] >= first)
        return replace(self, time=self.time[keep], distance=self.distance[keep])

    @property
    def moved(self) -> NDArray[np.bool_]:
        """(n,) where the background moved by more than a camera at rest can make it seem."""
        return self.distance > STILL * max(self.image_size)

    @property
    def at_rest(self) -> bool:
        """Nothing moved, or one picture alone differs from the others: a flash, or somebody before the lens."""
        pairs = self.time[self.moved]
        if len(pairs) in (0, len(self.time)):
            return len(pairs) == 0
        return any(bool((pairs == t).any(axis=1).all()) for t in pairs[0])


def camera_motion(album: Album, people: Keypoints2D) -> CameraMotion:
    """Motion of the background between the album's pictures.

    Args:
        album: pictures of the clip.
        people: everyone whom the detector found in it, with the picture's size.
    """
    assert people.image_size is not None  # detectors tell it
    found = [(i, j, _distance(album, people, i, j)) for i, j in _pairs(len(album.time))]
    telling = [(i, j, d) for i, j, d in found if d is not None]
    time = np.array([(album.time[i], album.time[j]) for i, j, _ in telling]).reshape(-1, 2)
    return CameraMotion(time=time, distance=np.array([d for *_, d in telling]), image_size=people.image_size)


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((i, i + lag) for lag in LAGS for i in range(n - lag))


def _distance(album: Album, people: Keypoints2D, i: int, j: int) -> float | None:
    """Median distance [px of the full picture] of the corners beside the people; None where there are too few."""
    first, second = album.pictures[i], album.pictures[j]
    scale = first.shape[1] / people.image_size[0] if people.image_size else 1.0
    free = _beside(people, (album.time[i], album.time[j]), first.shape, scale)
    corners = _corners(first, free)
    if len(corners) < FEWEST:
        return None
    return float(np.median(_followed(first, second, corners))) / scale


def _beside(people: Keypoints2D, times: tuple[float, float], shape: tuple[int, ...], scale: float) -> NDArray[np.uint8]:
    """255 where nobody is at either time, else 0."""
    free = np.full(shape, 255, np.uint8)
    for t in times:
        uv = people.uv[:, int(np.argmin(np.abs(people.time - t)))] * scale
        for person in uv[np.isfinite(uv).all(-1).any(-1)]:
            low, high = np.nanmin(person, 0), np.nanmax(person, 0)
            margin = MARGIN * np.linalg.norm(high - low)
            left, top = np.maximum(low - margin, 0).astype(int)
            right, bottom = np.maximum(high + margin, 0).astype(int) + 1
            free[top:bottom, left:right] = 0
    return free


def _corners(picture: NDArray[np.uint8], free: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 2) [px of the small picture], at most ``CORNERS`` in each cell."""
    cv2 = _import_cv2()
    rows, columns = (np.linspace(0, side, GRID + 1).astype(int) for side in picture.shape)
    usable = np.where(cv2.cornerMinEigenVal(picture, 3) > CLEAR, free, 0).astype(np.uint8)
    found = [np.empty((0, 2), np.float32)]
    for r, c in itertools.product(range(GRID), repeat=2):
        cell = np.s_[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
        corners = cv2.goodFeaturesToTrack(picture[cell], CORNERS, 0.01, 5, mask=usable[cell])
        if corners is not None:
            found.append(corners.reshape(-1, 2) + np.array([columns[c], rows[r]], np.float32))
    return np.concatenate(found)


def _followed(first: NDArray[np.uint8], second: NDArray[np.uint8], corners: NDArray[np.float32]) -> Array:
    """How far each corner moved (n,) [px of the small picture]; infinite where it is lost."""
    cv2 = _import_cv2()
    there, ok, _ = cv2.calcOpticalFlowPyrLK(first, second, corners[:, None], None)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(second, first, there, None)
    missed = np.linalg.norm(back[:, 0] - corners, axis=1)
    lost = (ok[:, 0] == 0) | (ok_back[:, 0] == 0) | (missed > BACK)
    return np.where(lost, np.inf, np.linalg.norm(there[:, 0] - corners, axis=1).astype(float))


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cv2 = _import_cv2()
    scale = min(1.0, LONG_SIDE / max(picture.shape[:2]))
    size = tuple(max(1, round(scale * side)) for side in picture.shape[1::-1])
    small: NDArray[np.uint8] = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return small


def _import_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(
            "opencv (it comes with mediapipe)", "video", "a look at the camera's motion"
        ) from error
    return cv2
