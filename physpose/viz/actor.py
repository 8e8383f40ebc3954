"""What the viewer shows of one saved result, frame by frame, as plain arrays: no browser is needed to test it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.result import FitResult
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Motion

FORCE_LENGTH = 0.8  # [m] of an arrow of one body weight
VELOCITY_LENGTH = 0.4  # [m] of an arrow of linear momentum, for each m/s of the centre of mass
SPIN_LENGTH = 0.05  # [m] of an arrow of angular momentum, for each kg.m^2/s
SHORTEST = 0.02  # [m]; shorter arrows are not drawn
EARTH = 9.81  # [m/s^2]: forces are drawn in body weights on earth also where nothing weighs anything


@dataclass(frozen=True)
class Actor:
    """One result on the stage. Positions in metres, world, z up."""

    name: str
    saved: FitResult
    folder: Path | None = None  # of the saved result, where its report may hold the video

    @property
    def motion(self) -> Motion:
        return self.saved

    @property
    def skeleton(self) -> Skeleton:
        return self.saved.skeleton

    @cached_property
    def quaternions(self) -> Array:
        """(T, n_bodies, 4) wxyz of R_world_body; NaN in frames without a pose."""
        from scipy.spatial.transform import Rotation

        R = self.motion.rotations
        out = np.full((*R.shape[:2], 4), np.nan)
        seen = np.isfinite(R).all((2, 3))
        if seen.any():
            out[seen] = Rotation.from_matrix(R[seen]).as_quat(scalar_first=True)
        return out

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(T,) the whole body has a pose in this frame."""
        posed = np.concatenate([self.quaternions, self.motion.positions], 2)
        return np.asarray(np.isfinite(posed).all((1, 2)))

    def frame_at(self, time: float) -> int:
        """The frame nearest to ``time`` [s]; the first or last outside the motion."""
        t = self.motion.time
        after = int(np.clip(np.searchsorted(t, time), 1, max(len(t) - 1, 1)))
        return after - 1 if len(t) == 1 or time - t[after - 1] <= t[after] - time else after

    def force_arrows(self, frame: int) -> Array:
        """(n, 2, 3) [m] foot and tip of the contact forces that are long enough to be seen."""
        scale = FORCE_LENGTH / (self.skeleton.mass * EARTH)
        return _arrows(self._contact_positions[frame], scale * self.motion.contacts.force[frame])

    def momentum_arrows(self, frame: int) -> tuple[Array, Array]:
        """Linear and angular momentum as arrows (0 or 1, 2, 3) [m] from the centre of mass."""
        com, h = self.motion.com[frame], self.motion.momentum[frame]
        linear = VELOCITY_LENGTH / self.skeleton.mass * h[:3]
        return _arrows(com[None], linear[None]), _arrows(com[None], SPIN_LENGTH * h[None, 3:])

    def support(self, frame: int) -> Array:
        """(n, 2, 3) [m] edges of the convex hull of the points in contact, on the lowest one's height."""
        points = self._contact_positions[frame][self.motion.contacts.active[frame]]
        points = points[np.isfinite(points).all(1)]
        if len(points) < 2:
            return np.empty((0, 2, 3))
        corners = points[hull(points[:, :2])]
        corners[:, 2] = points[:, 2].min()
        return np.stack([corners, np.roll(corners, -1, 0)], 1)

    def plumb_line(self, frame: int) -> Array:
        """(0 or 1, 2, 3) [m] from the centre of mass down to the floor at z = 0; none without gravity."""
        com = self.motion.com[frame]
        if not np.any(self.saved.gravity) or not np.isfinite(com).all():
            return np.empty((0, 2, 3))
        return np.stack([com, com * (1, 1, 0)])[None]

    @cached_property
    def _contact_positions(self) -> Array:
        return contact_positions(self.motion, self.skeleton)

    def series(self, name: str, what: str) -> tuple[Array, str]:
        """(T,) and its unit, of a coordinate's "angle" or "torque"; angles in degrees."""
        from physpose.result import result_columns

        for c in result_columns(self.skeleton):
            if c.name == name and c.axis is None:
                slides = c.kind == "slide"
                if what == "torque":
                    return self.motion.tau[:, c.v], "N" if slides else "N.m"
                return (self.motion.q[:, c.q], "m") if slides else (np.rad2deg(self.motion.q[:, c.q]), "deg")
        return np.full(len(self.motion.time), np.nan), ""

    def sideways(self) -> Array:
        """(3,) horizontal unit vector across the way that is gone, or across the facing of one who stays."""
        com = self.motion.com[self.seen]
        if not len(com):
            return np.array([0.0, 1.0, 0.0])
        way = com[-1] - com[0]
        if np.linalg.norm(way[:2]) < 0.5:
            way = self.motion.rotations[self.seen][0, 0, :, 0]
        across = np.array([-way[1], way[0], 0.0])
        size = float(np.linalg.norm(across))
        return across / size if size > 1e-6 else np.array([0.0, 1.0, 0.0])


def contact_positions(motion: Motion, skeleton: Skeleton) -> Array:
    """(T, C, 3) [m], world: where measured forces act, else the body's points of ``motion.contacts``."""
    if motion.contacts.positions is not None:
        return motion.contacts.positions
    by_name: dict[str, Any] = {p.name: p for p in skeleton.support_points}
    out = np.empty((*motion.contacts.active.shape, 3))
    for k, name in enumerate(motion.contacts.points):
        i = skeleton.body_index(by_name[name].body)
        out[:, k] = motion.positions[:, i] + motion.rotations[:, i] @ by_name[name].offset
    return out


def hull(points: Array) -> NDArray[np.intp]:
    """Indices of the corners of the convex hull of (n, 2) points, in turn; the two ends if they lie on one line."""
    from scipy.spatial import ConvexHull

    away = points - points.mean(0)
    _, size, axes = np.linalg.svd(away, full_matrices=False)
    if len(points) < 3 or size[1] <= 1e-6 * max(size[0], 1e-12):
        along = away @ axes[0]
        return np.array([along.argmin(), along.argmax()])
    return np.asarray(ConvexHull(points).vertices, np.intp)


def actors(results: list[tuple[str, FitResult]]) -> list[Actor]:
    """One actor a result; a name is what tells the folders apart."""
    paths = [Path(path).resolve() for path, _ in results]
    names = [p.name if p.is_dir() else p.parent.name for p in paths]
    if len(set(names)) < len(names):
        names = [str(p) for p, _ in results]
    if len(set(names)) < len(names):
        names = [f"{n} ({i})" for i, n in enumerate(names, 1)]
    folders = [p if p.is_dir() else p.parent for p in paths]
    return [Actor(name, r[1], folder) for name, r, folder in zip(names, results, folders, strict=True)]


def _arrows(foot: Array, vector: Array) -> Array:
    long = np.isfinite(foot).all(1) & (np.linalg.norm(vector, axis=1) > SHORTEST)  # NaN is not long
    return np.stack([foot[long], foot[long] + vector[long]], 1)
