"""What a fit returns: the motion, who moved, how it was found; and its way to tables, files and a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from physpose.conventions import PELVIS_COORDINATES, rotation_vectors
from physpose.errors import InputError, UnknownNameError
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Assumption, Camera, FitStatus, Keypoints2D, Motion, Sigma

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from physpose.plausibility import Plausibility


@dataclass(frozen=True, kw_only=True)
class CoordinateSigma:
    """One standard deviation of a coordinate's values, in their units."""

    q: Array  # (T,)
    v: Array  # (T,)
    a: Array  # (T,)
    tau: Array  # (T,)
    power: Array  # (T,)


@dataclass(frozen=True, kw_only=True)
class CoordinateResult:
    """One coordinate's motion and generalized force.

    A ball joint has three, one for each axis of its body's frame: q is then the rotation vector's component (from
    parent to body; it runs on without jumps up to a full turn), v, a and tau are those of angular velocity, angular
    acceleration and torque in the body's frame, so that tau v sums to the power; v is not the derivative of q.
    """

    name: str
    unit: str  # of q: "rad" (hinge) or "m" (slide); v and a per second and per second squared
    tau_unit: str  # of tau: "N.m" (hinge) or "N" (slide)
    q: Array  # (T,)
    v: Array  # (T,)
    a: Array  # (T,)
    tau: Array  # (T,)
    power: Array  # (T,) [W], tau * v
    sigma: CoordinateSigma | None  # None: the source gave no standard deviations


@dataclass(frozen=True, kw_only=True)
class FitResult(Motion):
    """A motion with its skeleton, its source and everything that was assumed on the way.

    World: z up, right-handed, SI units, radians. ``result["knee_angle_r"]`` gives one coordinate.

    Raises:
        InputError: arrays whose number of frames differs from ``time``, or keypoints of more than one person.
    """

    skeleton: Skeleton  # the scaled body
    source: str  # what was fitted, e.g. the video's path
    camera: Camera | None  # as estimated or given; None without pictures
    keypoints: Keypoints2D | None  # (1, T, K) as observed, the person fitted
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    status: FitStatus
    gravity: Array = field(default_factory=lambda: np.array([0.0, 0.0, -9.81]))  # (3,) [m/s^2], world
    sigma: Sigma | None = None  # None: the estimator did not provide standard deviations
    floor: bool = True  # is there one, or a seat; there is none without gravity
    belt: Array = field(default_factory=lambda: np.zeros(3))  # (3,) [m/s] velocity of the floor: a treadmill's
    filmed: bool = False  # is ``source`` a video that was read: a name that came with keypoints is only a name
    check: str | None = None  # "mujoco": ``plausibility`` also rolls the motion out there

    def __post_init__(self) -> None:
        T = len(self.time)
        frames = {n: len(getattr(self, n)) for n in ("q", "v", "a", "tau", "positions", "rotations", "com", "power")}
        frames |= {"momentum": len(self.momentum), "contacts": len(self.contacts.force)}
        if self.keypoints is not None:
            if self.keypoints.n_persons != 1:
                raise InputError(f"keypoints hold {self.keypoints.n_persons} persons; a result has one: persons([i])")
            frames["keypoints"] = self.keypoints.n_frames
        for name, n in frames.items():
            if n != T:
                raise InputError(f"{name} has {n} frames, time has {T}")

    def __repr__(self) -> str:
        """In one line; the arrays themselves would flood a notebook."""
        seconds = self.time[-1] - self.time[0]
        how = "" if self.status.converged else ", NOT converged"
        return (
            f"<FitResult of {self.source}: {self.skeleton.name}, {self.skeleton.mass:.1f} kg, {len(self.time)} frames, "
            f'{seconds:.2f} s{how}; result["{self.coordinate_names[-1]}"], .summary(), .report(path), .save(folder)>'
        )

    def __getitem__(self, name: str) -> CoordinateResult:
        """One coordinate by its name, e.g. "knee_angle_r".

        Raises:
            InputError: one of OpenSim's coordinates of the pelvis, which is free; the message says where they are.
            UnknownNameError: no such coordinate; the message lists those that exist.
        """
        for c in result_columns(self.skeleton):
            if c.name == name:
                return CoordinateResult(
                    name=name,
                    unit="m" if c.kind == "slide" else "rad",
                    tau_unit="N" if c.kind == "slide" else "N.m",
                    q=self.q[:, c.q] if c.axis is None else rotation_vectors(self.q[:, c.q : c.q + 4])[:, c.axis],
                    v=self.v[:, c.v],
                    a=self.a[:, c.v],
                    tau=self.tau[:, c.v],
                    power=self.power[:, c.v],
                    sigma=self._sigma_of(c.v),
                )
        if name in PELVIS_COORDINATES:
            raise InputError(
                f"{name!r} is part of where the pelvis is, result.q[:, :7]; OpenSim's six of it come first in "
                "physpose.conventions.q_to_opensim(result.skeleton, result.q), and in the saved motion.mot"
            )
        raise UnknownNameError("coordinate", name, self.coordinate_names)

    def _sigma_of(self, i: int) -> CoordinateSigma | None:
        s = self.sigma
        if s is None:
            return None
        return CoordinateSigma(q=s.q[:, i], v=s.v[:, i], a=s.a[:, i], tau=s.tau[:, i], power=s.power[:, i])

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """All names that ``result[name]`` takes: hinges and slides, and three for each ball ("left_hip_x", ...)."""
        return tuple(c.name for c in result_columns(self.skeleton))

    def coordinate_results(self) -> Iterator[CoordinateResult]:
        """Every coordinate of ``coordinate_names``, in the skeleton's order."""
        return (self[name] for name in self.coordinate_names)

    def marker_positions(self) -> tuple[tuple[str, ...], Array]:
        """Names and world positions (T, n, 3) [m] of the joint centres, then of the fitted keypoints and contacts."""
        kset = None if self.keypoints is None else self.skeleton.keypoint_sets.get(self.keypoints.keypoint_set)
        names, positions = list(self.skeleton.body_names), [self.positions]
        for point in (*(kset.points if kset else ()), *self.skeleton.contact_points):
            i = self.skeleton.body_index(point.body)
            names.append(point.name if point.name not in names else f"{point.name}_point")
            positions.append((self.positions[:, i] + self.rotations[:, i] @ point.offset)[:, None])
        return tuple(names), np.concatenate(positions, 1)

    def to_frame(self) -> pd.DataFrame:
        """One row a frame; the unit of each column stands in brackets. World z up; pelvis rates in the pelvis frame."""
        import pandas as pd

        return pd.DataFrame(dict(_frame_columns(self)))

    def to_xarray(self) -> xr.Dataset:
        """All of it as an xarray data set: named dimensions, each variable's unit in ``attrs["units"]`` (extra
        ``xarray``).

        Raises:
            MissingPackageError: xarray is not installed.
        """
        from physpose.io.labelled import to_dataset

        return to_dataset(self)

    def save(self, out: str | Path) -> dict[str, Path]:
        """Write report.html, the motion (.mot, .trc, .sto, .csv, .npz, .bvh) and the body (.xml: MJCF, .osim).

        All files are written aside and moved into ``out`` once every one is complete: a run that is killed leaves
        neither a half-written file nor a folder with half the files. Other files in ``out`` stay.
        There is no skeleton.osim of a body with joints that OpenSim's CustomJoint cannot be, and no motion.bvh of a
        motion with frames that have no pose.

        Returns:
            kind -> path: report, motion, positions, torques, csv, npz, skeleton, model (.osim), animation (.bvh).

        Raises:
            InputError: nothing can be written there.
        """
        from physpose.export import save_result

        return save_result(self, Path(out))

    def report(self, path: str | Path) -> Path:
        """Write the report alone: one HTML file that needs nothing else, not even a network."""
        from physpose.viz.report import write_report

        return write_report(self, Path(path))

    @cached_property
    def plausibility(self) -> Plausibility:
        """Pass or fail of each frame and of the clip, each failing value explained; computed when first asked for.

        ``physpose.check(result, settings=...)`` does the same with other thresholds, bodies or devices.
        """
        from physpose.plausibility import Recording, assess
        from physpose.plausibility.simulated import with_mujoco

        recording = Recording.of_result(self)
        found = assess(recording)
        return with_mujoco(found, recording) if self.check == "mujoco" else found

    @property
    def torques_known(self) -> NDArray[np.bool_]:
        """(T,) frames in which none of the measured forces was missing: elsewhere torques lack what nobody measured."""
        c = self.contacts
        return np.ones(len(self.time), bool) if c.valid is None or c.bodies is None else c.valid

    @property
    def unexplained(self) -> Array:
        """The outside wrench (T, 6) that the motion needs and no contact explains, world axes: force [N], moment [N.m].

        About the centre of mass. It is ``tau[:, :6]`` in other axes: zero if motion, masses and contacts were exact; of
        somebody who is carried, holds on to something or sits on a swing, the unknown force of these.
        """
        R, p = self.rotations[:, 0], self.positions[:, 0]
        force, moment = ((R @ self.tau[:, i : i + 3, None])[..., 0] for i in (0, 3))
        return np.concatenate([force, moment + np.cross(p - self.com, force)], 1)

    @cached_property
    def inertia(self) -> Array:
        """Inertia (T, 3, 3) [kg.m^2] of the whole body about its centre of mass, world axes; as if it were rigid."""
        from physpose.inertial import inertia

        return inertia(self)

    @cached_property
    def momentum_by_body(self) -> Array:
        """Each body's share (T, n_bodies, 6) of ``momentum``: linear [kg.m/s], angular [kg.m^2/s], world axes.

        Angular about the whole body's centre of mass and with velocities relative to it, so that shares do not depend
        on how fast the person travels; they sum to ``momentum``. Bodies as ``skeleton.body_names``.
        """
        from physpose.inertial import momentum_by_body

        return momentum_by_body(self)

    def summary(self) -> dict[str, Any]:
        """The result in short, as plain JSON types; SI units, radians."""
        from physpose.summary import summarize

        return summarize(self)


class ResultColumn(NamedTuple):
    """Where one coordinate of a result lies in q and v; they differ wherever a joint holds a quaternion."""

    name: str
    kind: str  # "hinge", "slide"; "ball": one component of it
    q: int  # a ball's: of its whole quaternion
    v: int
    axis: int | None  # of a ball: 0 x, 1 y, 2 z


def result_columns(skeleton: Skeleton) -> Iterator[ResultColumn]:
    """Every coordinate after the free-flyer, and three components of every ball joint, named body_x, body_y, body_z."""
    i_q = i_v = 0
    bodies = {id(b.joint): b.name for b in skeleton.bodies}
    for joint in skeleton.joints:
        for k, coordinate in enumerate(joint.coordinates):
            yield ResultColumn(coordinate.name, coordinate.kind, i_q + k, i_v + k, None)
        for k, axis in enumerate("xyz" if joint.kind == "ball" else ""):
            yield ResultColumn(f"{bodies[id(joint)]}_{axis}", "ball", i_q, i_v + k, k)
        i_q, i_v = i_q + joint.nq, i_v + joint.nv


def _frame_columns(r: FitResult) -> Iterator[tuple[str, np.ndarray]]:
    yield "time [s]", r.time
    yield from _quaternion_joint_columns(r)
    for c in r.coordinate_results():
        yield f"{c.name} [{c.unit}]", c.q
        yield f"{c.name} velocity [{c.unit}/s]", c.v
        yield f"{c.name} acceleration [{c.unit}/s^2]", c.a
        yield f"{c.name} {'torque' if c.tau_unit == 'N.m' else 'force'} [{c.tau_unit}]", c.tau
        yield f"{c.name} power [W]", c.power
    yield from _xyz("centre of mass", "m", r.com)
    yield from _xyz("linear momentum", "kg.m/s", r.momentum[:, :3])
    yield from _xyz("angular momentum", "kg.m^2/s", r.momentum[:, 3:])
    for i, name in enumerate(r.skeleton.body_names):
        yield from _xyz(f"{name} linear momentum", "kg.m/s", r.momentum_by_body[:, i, :3])
        yield from _xyz(f"{name} angular momentum", "kg.m^2/s", r.momentum_by_body[:, i, 3:])
    for i, j in combinations_with_replacement(range(3), 2):
        yield f"inertia {'xyz'[i]}{'xyz'[j]} [kg.m^2]", r.inertia[:, i, j]
    yield "kinetic energy [J]", r.energy.kinetic
    yield "potential energy [J]", r.energy.potential
    for i, name in enumerate(r.contacts.points):
        yield f"{name} contact", r.contacts.active[:, i].astype(int)
        yield from _xyz(f"{name} contact force", "N", r.contacts.force[:, i])


def _quaternion_joint_columns(r: FitResult) -> Iterator[tuple[str, np.ndarray]]:
    """The free-flyer, and the quaternions of ball joints."""
    i_q = i_v = 0
    bodies = {id(b.joint): b.name for b in r.skeleton.bodies}
    for joint in r.skeleton.joints:
        kind, name = joint.kind, bodies.get(id(joint), "")
        if kind == "free":
            yield from _xyz(f"{name} position", "m", r.q[:, i_q : i_q + 3])
            yield from _xyz(f"{name} velocity", "m/s", r.v[:, i_v : i_v + 3])
            yield from _xyz(f"{name} residual force", "N", r.tau[:, i_v : i_v + 3])
        if kind in ("free", "ball"):
            q, v = i_q + joint.nq - 4, i_v + joint.nv - 3
            for k, axis in enumerate("xyzw"):
                yield f"{name} quaternion {axis}", r.q[:, q + k]
        if kind == "free":
            yield from _xyz(f"{name} angular velocity", "rad/s", r.v[:, v : v + 3])
            yield from _xyz(f"{name} residual moment", "N.m", r.tau[:, v : v + 3])
        i_q, i_v = i_q + joint.nq, i_v + joint.nv


def _xyz(name: str, unit: str, vectors: Array) -> Iterator[tuple[str, np.ndarray]]:
    return ((f"{name} {axis} [{unit}]", vectors[:, i]) for i, axis in enumerate("xyz"))
