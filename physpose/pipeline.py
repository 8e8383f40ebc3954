"""``fit``: observations in, the most probable motion of a physical skeleton out. One call a line."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from physpose.caveats import (
    ESTIMATE,
    GravityFound,
    checked_gravity,
    focal_caveat,
    gravity_found,
    gravity_given,
    length_caveat,
    posture_caveat,
    rate_caveat,
    seat_caveat,
    sliding_caveat,
    tilt_caveat,
    unexplained,
)
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.contact import belt_velocity
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.gravity import fall_of_poses
from physpose.estimation.holds import check_holds
from physpose.estimation.settings import CHECKS, EstimationSettings
from physpose.estimation.trajectory import Trajectory, fit_rig_trajectory, fit_trajectory, stature_of
from physpose.estimation.video_problem import CameraPrior
from physpose.io.camera import camera_from, focal_prior
from physpose.io.video import Video
from physpose.marker_sources import is_marker_source
from physpose.progress import SILENT, Progress, Stage
from physpose.result import FitResult
from physpose.seen import hidden_limbs, with_lost_pictures
from physpose.skeleton import load_skeleton
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES
from physpose.skeleton.load import refuse_description
from physpose.skeleton.model import Skeleton
from physpose.sources import Observations, is_video, observe, refuse_for_video
from physpose.types import Array, Assumption, Camera, FitStatus, Keypoints2D, Motion
from physpose.views import Views, observe_views

EARTH = (0.0, 0.0, -9.81)


def fit(
    source: Any,
    skeleton: str | Path | Skeleton = "adult",
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    camera: Any = None,
    person: int | None = None,
    detector: str = "mediapipe",
    keypoint_set: str | None = None,
    fps: float | None = None,
    image_size: tuple[int, int] | None = None,
    gravity: tuple[float, float, float] | str = EARTH,
    physics: str | None = None,
    floor: bool = True,
    treadmill: float = 0.0,
    holds: Sequence[str] | Mapping[str, Sequence[tuple[float, float]] | None] | None = None,
    static: Any = None,
    forces: Any = None,
    force_lowpass: float | None = None,
    marker_set: str | Mapping[str, str] | None = None,
    scale: bool | None = None,
    register: bool | None = None,
    units: str | None = None,
    up: str | None = None,
    settings: EstimationSettings | None = None,
    check: str | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """The most probable motion of a physical skeleton, with its dynamics, from observations of a person.

    Args:
        source: a video path; a keypoint file or folder (OpenPose, AlphaPose, COCO results, MMPose JSON); an array
            (T, K, 2|3) of pixels and confidence with ``keypoint_set`` and ``fps``; or ``Keypoints2D``. A list of them,
            one for each of several cameras at once, with their calibration as ``camera``. Or markers of a laboratory: a
            .trc or .c3d file, or ``Markers``.
        skeleton: "adult", "child", "infant", a YAML path, an OpenSim model (.osim), or a loaded ``Skeleton``.
        age: [years]. What is missing of these four is filled from growth and population tables and reported in
            ``result.assumptions``.
        sex: "f" or "female", "m" or "male", or "x", the mean of both.
        height: [m].
        mass: [kg].
        camera: focal length [px], ``Camera``, dict or calibration file; None: estimated from a prior for phones. Of
            several cameras: a calibration .toml of Pose2Sim's or Anipose's kind, world z up, or one for each.
        person: index of the person to fit; None: the one seen longest and largest (reported).
        detector: for videos, "mediapipe" or "rtmlib".
        keypoint_set: of arrays and of files that do not tell.
        fps: frames per second of keypoint files and arrays; videos carry time stamps.
        image_size: width, height [px] of keypoint files and arrays that do not tell.
        gravity: (3,) [m/s^2] in the result's world, z up; "estimate": its size from flights, where some are seen (its
            direction is always found, from a video). With markers, z may be the normal of a floor that slopes: on one
            that rises by 10 deg along x (-1.70, 0, -9.66).
        physics: "full": contact forces inside friction cones explain the motion; "soft": a floor under the feet and
            balance over them; "none": what is seen, usual postures and smoothness alone. None: as ``settings`` says.
            With markers "soft" is "none".
        floor: is there a floor, or a seat? False for who hangs, swings or is carried.
        treadmill: [m/s] speed of its belt, backwards to who faces ahead; negative for who walks backwards.
        holds: where the person holds on, or is held: contact points ("hand_r", "hand_l"), seat points or bodies, or
            name -> [(from, to), ...] [s]; without times whenever the point stays where it is. Forces of any direction
            may act there.
        static: with markers: a file of the same person standing still, from which size and places are found too.
        forces: with markers: measured forces, .mot, .sto, .c3d (the markers' own file for its plates), or OpenSim's
            external loads .xml; or ``Forces``. None: contact forces are estimated.
        force_lowpass: cutoff [Hz] of the forces' zero-lag filter; None: not filtered.
        marker_set: None: markers are recognised by the labels of common sets, and by a model's own; "joint centres"
            takes those that a gait model left in the file too; or label -> point, see the skeleton's keypoint set
            "markers".
        scale: find the body's size from the markers; None: for named skeletons yes, for a model file or a loaded
            skeleton no.
        register: the same for the places of the markers on the body.
        units: "mm", "cm" or "m" of a marker file, against what it says.
        up: axis of a marker file that points up, "y", "z", "-x", ..., against what is found.
        settings: the estimator's numbers.
        check: "mujoco" also rolls the motion out there: ``result.plausibility`` then tells how much help it needs to
            stay upright.
        progress: receives stages; None is silent.

    Raises:
        PhysposeError (a ValueError): says what was given and what is possible.
    """
    numbers = _numbers(settings, physics, check)
    numbers = replace(numbers, floor=numbers.floor and floor, treadmill=treadmill or numbers.treadmill)
    who: dict[str, Any] = {"age": age, "sex": sex, "height": height, "mass": mass}
    of_video: dict[str, Any] = {
        "camera": camera, "person": person, "keypoint_set": keypoint_set, "fps": fps, "image_size": image_size,
    }  # fmt: skip
    of_markers: dict[str, Any] = {
        "static": static, "forces": forces, "force_lowpass": force_lowpass, "marker_set": marker_set, "scale": scale,
        "register": register, "units": units, "up": up,
    }  # fmt: skip
    common: dict[str, Any] = {"gravity": gravity, "holds": holds, "check": check, "progress": progress}
    if is_marker_source(source):
        from physpose.marker_pipeline import fit_marker_file  # here, since it builds on this module

        _refuse(of_video, "a video or keypoints", "markers")
        return fit_marker_file(source, skeleton, settings=numbers, **who, **common, **of_markers)
    _refuse(of_markers, "markers (.trc, .c3d)", "a video or keypoints")
    return _fit_pictures(source, skeleton, who, detector, of_video, numbers, **common)


def _fit_pictures(
    source: Any, skeleton: str | Path | Skeleton, who: dict[str, Any], detector: str, of_video: dict[str, Any],
    numbers: EstimationSettings, *, gravity: tuple[float, float, float] | str, holds: Any, check: str | None,
    progress: Progress | None,
) -> FitResult:  # fmt: skip
    """``fit`` of a video or keypoints."""
    unknown = isinstance(gravity, str) and gravity == ESTIMATE
    progress, watch, g = progress or SILENT, Watch(), checked_gravity(EARTH if unknown else gravity, estimable=True)
    if isinstance(skeleton, Skeleton):
        refuse_description(**who)
    body = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton, **who)
    body = body if holds is None else body.holding(holds)
    if not set(body.keypoint_sets) & set(KEYPOINT_NAMES):
        raise InputError(f"{body.name} has no keypoints that are seen in pictures: give 'adult', 'child' or markers")
    height_known = isinstance(skeleton, Skeleton) or who["height"] is not None
    with watch("detection"):
        seen = _look(source, detector, of_video, progress)
    check_holds(body.hold_points, seen.shown.keypoints.time)
    told = gravity_given(g)
    if unknown:
        with watch("gravity"), progress.stage("estimate gravity", 100) as stage:
            told = _gravity_seen(seen, body, height_known, numbers, stage)
            g = told.gravity
    with watch("estimation"), progress.stage("estimate motion", 100) as stage:
        trajectory = seen.fit(body, height_known, numbers, fraction(stage), float(np.linalg.norm(g)))
    with watch("dynamics"), progress.stage("inverse dynamics"):
        motion, _ = dynamics_of(trajectory.skeleton, seen.shown.keypoints.time, trajectory.q, trajectory.bearing, g)
    result = _result(motion, trajectory, seen, body, g, numbers, watch.seconds, check)
    return told.noted(result)


def _numbers(settings: EstimationSettings | None, physics: str | None, check: str | None) -> EstimationSettings:
    """The estimator's numbers, with the physics asked for."""
    if check not in CHECKS:
        raise UnknownNameError("check", str(check), [c for c in CHECKS if c])
    numbers = settings or EstimationSettings()
    if not isinstance(numbers, EstimationSettings):
        raise InputError(f"settings {settings!r}; physpose.EstimationSettings(...) needed")
    return replace(numbers, physics=physics) if physics else numbers


def _gravity_seen(
    seen: _Seen, body: Skeleton, height_known: bool, numbers: EstimationSettings, stage: Stage
) -> GravityFound:
    """Gravity as flights show it, from a fit that asks contact forces for nothing."""
    soft = replace(numbers, physics="soft" if numbers.physics == "full" else numbers.physics)
    first = seen.fit(body, height_known, soft, fraction(stage), float(np.linalg.norm(EARTH)))
    return gravity_found(fall_of_poses(first.skeleton, seen.shown.keypoints.time, first.q))


class _Seen(Protocol):
    """What was seen of the person, and how a motion is fitted to it."""

    @property
    def shown(self) -> Observations:
        """Of the one camera that is shown."""
        ...

    def fit(
        self, body: Skeleton, height_known: bool, settings: EstimationSettings, report: Callable[[float], None],
        gravity: float,
    ) -> Trajectory: ...  # fmt: skip

    def notes(
        self, trajectory: Trajectory, motion: Motion, gravity: Array
    ) -> tuple[tuple[Assumption, ...], tuple[str, ...]]:
        """Assumptions and warnings."""
        ...


def _look(source: Any, detector: str, of_video: dict[str, Any], progress: Progress) -> _Seen:
    options = {name: of_video[name] for name in ("person", "keypoint_set", "fps", "image_size")}
    options |= {"detector": detector, "progress": progress}
    camera = of_video["camera"]
    several = isinstance(source, (list, tuple)) and source and isinstance(source[0], (str, Path, Keypoints2D))
    if several:
        return _SeenByMany(observe_views(source, camera, **options))
    refuse_for_video(source, of_video)
    if isinstance(camera, Camera):
        options["image_size"] = camera.image_size
    if camera is not None and is_video(source):
        camera_from(camera, Video.open(source).image_size)  # wrong ones are told before the long work
    seen = observe(source, **options)
    seen = replace(seen, keypoints=with_lost_pictures(seen.keypoints))
    return _SeenByOne(seen, *camera_prior(camera, seen))


@dataclass(frozen=True)
class _SeenByOne:
    shown: Observations
    prior: CameraPrior
    assumption: Assumption  # of the camera

    def fit(
        self, body: Skeleton, height_known: bool, settings: EstimationSettings, report: Callable[[float], None],
        gravity: float,
    ) -> Trajectory:  # fmt: skip
        return fit_trajectory(body, self.shown.keypoints, self.prior, height_known, settings, report, gravity)

    def notes(
        self, trajectory: Trajectory, motion: Motion, gravity: Array
    ) -> tuple[tuple[Assumption, ...], tuple[str, ...]]:
        camera = trajectory.camera
        lines = (
            Assumption(what="person", value=self.shown.choice, source=self.shown.chosen_by),
            self.assumption,
            Assumption(what="focal length", value=f"{camera.focal:.0f} px", source="estimated"),
            Assumption(what="camera height", value=f"{camera.position[2]:.2f} m", source="estimated"),
        )
        hidden = hidden_limbs(replace(self.shown.keypoints, doubt=trajectory.doubt), stature_of(trajectory.skeleton))
        doubts = (*self.shown.warnings, *hidden, *focal_caveat(camera, self.prior))
        if gravity.any():
            doubts += tilt_caveat(camera)
        return (*lines, *self.shown.assumptions), doubts


@dataclass(frozen=True)
class _SeenByMany:
    views: Views

    @property
    def shown(self) -> Observations:
        return self.views.first

    def fit(
        self, body: Skeleton, height_known: bool, settings: EstimationSettings, report: Callable[[float], None],
        gravity: float,
    ) -> Trajectory:  # fmt: skip
        kp, cameras = self.views.keypoints, self.views.cameras
        return fit_rig_trajectory(body, kp, cameras, height_known, settings, report, gravity)

    def notes(
        self, trajectory: Trajectory, motion: Motion, gravity: Array
    ) -> tuple[tuple[Assumption, ...], tuple[str, ...]]:
        floor = self.views.cameras[0].position[2] - trajectory.camera.position[2]
        line = Assumption(what="floor", value=f"{floor:+.3f} m in the calibration's world", source="estimated")
        lying = posture_caveat(motion, trajectory.skeleton, None, "the calibration's world")
        return (*self.views.assumptions, line), (*self.views.warnings, *lying)


def _refuse(arguments: Mapping[str, Any], belong: str, given: str) -> None:
    """Refuse arguments that would have no effect."""
    useless = [name for name, value in arguments.items() if value is not None]
    if useless:
        named, them = ", ".join(f"{name}=" for name in useless), "it" if len(useless) == 1 else "them"
        raise InputError(f"{named} can be used with {belong}; the source holds {given}: leave {them} out")


def camera_prior(camera: Any, seen: Observations) -> tuple[CameraPrior, Assumption]:
    """What is known of the camera before the fit, and the line for the table of assumptions."""
    size = seen.keypoints.image_size
    if camera is not None:
        known, _ = camera_from(camera, size)
        prior = CameraPrior(
            image_size=known.image_size, focal=known.focal, sigma_log_focal=0.0, principal_point=known.principal_point
        )
        return prior, Assumption(what="focal length", value=f"{known.focal:.0f} px", source="given")
    if size is None:
        raise InputError("the keypoints do not tell the image size: give image_size=(width, height)")
    focal, sigma, source = focal_prior(size, seen.metadata)
    prior = CameraPrior(image_size=size, focal=focal, sigma_log_focal=sigma, principal_point=(size[0] / 2, size[1] / 2))
    return prior, Assumption(what="focal length prior", value=f"{focal:.0f} px +- {100 * sigma:.0f} %", source=source)


def _result(
    motion: Motion, trajectory: Trajectory, seen: _Seen, body: Skeleton, gravity: Array, numbers: EstimationSettings,
    seconds: dict[str, float], check: str | None,
) -> FitResult:  # fmt: skip
    residual, residual_warning = unexplained(motion, trajectory.skeleton, gravity)
    lines, doubts = seen.notes(trajectory, motion, gravity)
    pace = Assumption(what="jerk", value=f"{trajectory.pace:.2f} of that of people who walk", source="estimated")
    warnings = (*body.warnings, *doubts, *length_caveat(motion.time), *rate_caveat(motion.time), *residual_warning)
    belt = belt_velocity(numbers.treadmill, torch.as_tensor(motion.rotations[:, 0])).numpy()
    if gravity.any() and numbers.floor:
        warnings += seat_caveat(motion, trajectory.skeleton)
        if numbers.physics != "none":  # else nothing holds feet to a floor
            warnings += sliding_caveat(motion, trajectory.skeleton, gravity, belt)
    if not trajectory.converged:
        warnings += (f"the estimate had not settled after {trajectory.iterations} iterations",)
    return FitResult(
        **{f: getattr(motion, f) for f in Motion.__dataclass_fields__},
        skeleton=trajectory.skeleton,
        source=str(seen.shown.video or seen.shown.name),
        filmed=seen.shown.video is not None,
        camera=trajectory.camera,
        keypoints=seen.shown.keypoints,
        assumptions=(*body.assumptions, *lines, pace, residual),
        warnings=warnings,
        gravity=gravity,
        floor=numbers.floor,
        belt=belt,
        sigma=trajectory.sigma,
        check=check,
        status=FitStatus(
            converged=trajectory.converged, iterations=trajectory.iterations, cost=trajectory.cost, seconds=seconds,
            details={"term costs": trajectory.term_costs},
        ),
    )  # fmt: skip


class Watch:
    """Wall time of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = clock.perf_counter()
        yield
        self.seconds[name] = clock.perf_counter() - start


def fraction(stage: Stage) -> Any:
    """A function of the fraction done that moves the stage's bar."""
    return lambda fraction: stage.update(100 * fraction, 100)
