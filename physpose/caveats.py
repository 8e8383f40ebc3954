"""What a careful reader should doubt in a fit, in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from physpose.conventions import R_ZUP_LAB
from physpose.errors import InputError
from physpose.plausibility.recording import located
from physpose.skeleton.model import HOLD, Skeleton
from physpose.types import Array, Assumption, Camera, Motion

if TYPE_CHECKING:
    from physpose.detectors.camera_motion import CameraMotion
    from physpose.estimation.gravity import Fall
    from physpose.estimation.video_problem import CameraPrior
    from physpose.result import FitResult

STRONGEST = 100.0  # [m/s^2]: nobody moves under ten times the earth's
STANDARD_GRAVITY = 9.81  # [m/s^2], the scale of forces where there is no gravity
FORCE_LIMIT = 0.5  # body weights: half of the body hangs on something that is not modelled
MOMENT_LIMIT = 0.1  # body weights times stature: a good part of a hip's largest torque in walking
SHARE_LIMIT, MOSTLY = 0.1, 0.5  # of the frames
TILT_LIMIT = 40.0  # [deg] from level; chosen with four cameras in view that stood crooked by 26 to 33 deg
FOCAL_LIMIT = 3.0  # standard deviations of the prior
SLIDE_SPEED = 0.5  # [m/s]; with two clips in view: 0.03 from a tripod, 1.0 where the camera follows
CARRIED = 0.5  # body weights that the surroundings have to give
SEAT_HEIGHT = 0.7  # pelvis over feet, against standing: chairs are about there, squats go by quickly
SEAT_TIME = 1.0  # [s]
STRETCHED = 0.85  # of the height of the trunk's top over the feet in the neutral pose
LEVEL, HEAD_DOWN = 60.0, 120.0  # [deg] of the body's long axis from straight up
MOST_TILT = 5.0  # [deg] between the fall and the world's -z
SLOWEST = 14.0  # [1/s]
SHORTEST = 0.3  # [s]: below, accelerations are the prior's


def checked_gravity(gravity: object, steepest: float = 0.0, *, estimable: bool = False) -> Array:
    """Gravity (3,) [m/s^2] in a world whose z is up, or the normal of a floor that slopes by up to ``steepest`` [rad].

    ``estimable``: the message says that it may be estimated, too.

    Raises:
        InputError: not three numbers, not finite, not along -z, or more than anybody moves under.
    """
    try:
        g = np.asarray(gravity, float)
    except (TypeError, ValueError):
        g = np.empty(0)
    along = g.shape == (3,) and np.isfinite(g).all() and np.hypot(*g[:2]) <= -np.tan(steepest) * g[2]
    if along and np.linalg.norm(g) > STRONGEST:
        raise InputError(f"gravity of {np.linalg.norm(g):g} m/s^2: at most {STRONGEST:g}; is it in m/s^2?")
    if not along or g[2] > 0:
        given = f"({', '.join(f'{x:g}' for x in g)})" if g.ndim == 1 and g.size else repr(gravity)
        raise InputError(
            f"gravity {given} [m/s^2]; the world's z is up: (0, 0, -9.81) on earth, (0, 0, 0) in orbit"
            + (", or 'estimate'" if estimable else "")
            + ("; or z is the normal of a floor that slopes by less than 45 deg" if steepest else "")
        )
    return g


ESTIMATE = "estimate"  # of gravity


@dataclass(frozen=True)
class GravityFound:
    """Gravity to go on with, and what to say of it."""

    gravity: Array  # (3,) [m/s^2], along -z
    lines: tuple[Assumption, ...]
    doubts: tuple[str, ...]

    def noted(self, result: FitResult) -> FitResult:
        """The result with this in its table and warnings."""
        return replace(
            result, assumptions=(*result.assumptions, *self.lines), warnings=(*result.warnings, *self.doubts)
        )  # fmt: skip


def gravity_given(gravity: Array) -> GravityFound:
    """What was given, for the table; of the earth's there is nothing to say."""
    if np.array_equal(gravity, (0.0, 0.0, -STANDARD_GRAVITY)):
        return GravityFound(gravity, (), ())
    value = f"({', '.join(f'{x:g}' for x in gravity)}) m/s^2"
    return GravityFound(gravity, (Assumption(what="gravity", value=value, source="given"),), ())


def gravity_found(fall: Fall | None) -> GravityFound:
    """From what flights tell; a warning where there was none, or where it is not along the world's -z."""
    if fall is None:
        line = Assumption(what="gravity", value="9.81 m/s^2", source="not told: no flight is seen")
        doubt = "gravity was to be estimated, but nobody is seen in flight: its size is taken as 9.81 m/s^2"
        return GravityFound(np.array([0.0, 0.0, -9.81]), (line,), (doubt,))
    size = float(np.linalg.norm(fall.acceleration))
    off = float(np.degrees(np.arctan2(np.linalg.norm(fall.acceleration[:2]), abs(fall.acceleration[2]))))
    value = f"{size:.2f} +- {fall.sigma:.2f} m/s^2, {off:.1f} deg from the world's -z"
    source = f"estimated: fall of the centre of mass in {fall.flights} flights, {fall.seconds:.2f} s"
    far = off > MOST_TILT and size > 5 * fall.sigma
    doubts = (f"in flight the body falls {off:.0f} deg from straight down: is the world's z up?",) if far else ()
    line = Assumption(what="gravity", value=value, source=source)
    return GravityFound(np.array([0.0, 0.0, -size]), (line,), doubts)


def unexplained(motion: Motion, skeleton: Skeleton, gravity: Array) -> tuple[Assumption, tuple[str, ...]]:
    """The root's residual wrench as a line of the table, and a warning where it is large.

    With exact motion, masses and contacts it is zero (Hicks et al. 2015, J Biomech Eng 137:020905, residual forces).
    """
    force, moment = _residuals(motion, skeleton, gravity)
    rms = [100 * math.sqrt(np.mean(x**2)) for x in (force, moment)]
    line = Assumption(
        what="unexplained wrench",
        value=f"force {rms[0]:.0f} % of body weight, moment {rms[1]:.0f} % of body weight times stature (RMS)",
        source="what motion needs beyond the contact forces found; 0 if both were exact",
    )
    lost = (force > FORCE_LIMIT) | (moment > MOMENT_LIMIT)
    share = float(np.mean(lost))
    if share <= SHARE_LIMIT:
        return line, ()
    sizes = f"{np.median(force[lost]):.1f} body weights and a moment of {np.median(moment[lost]):.2f}"
    outside = f"{sizes} body weights times stature (medians there, result.unexplained)"
    doubt = "torques there" if share <= MOSTLY else "torques, nor which way is down: no standing foot tells it"
    return line, (
        f"in {100 * share:.0f} % of the frames the contacts found cannot explain the motion: an outside force that is "
        f"not known acts, of {outside} (a hold, a swing, somebody who carries? then say so by holds and floor; a "
        f"contact missed? a moving camera?): do not trust {doubt}",
    )


def _residuals(motion: Motion, skeleton: Skeleton, gravity: Array) -> tuple[Array, Array]:
    """Residual force in body weights and moment in body weights times stature, each (T,)."""
    weight = skeleton.mass * (float(np.linalg.norm(gravity)) or STANDARD_GRAVITY)
    stature = skeleton.subject.height if skeleton.subject else float(np.ptp(motion.positions[..., 2], axis=1).max())
    force, moment = (np.linalg.norm(motion.tau[:, i : i + 3], axis=1) for i in (0, 3))
    return force / weight, moment / (weight * stature)


def focal_caveat(camera: Camera, prior: CameraPrior) -> tuple[str, ...]:
    """A warning if the focal length found is one that such a camera does not have."""
    if prior.sigma_log_focal == 0 or abs(math.log(camera.focal / prior.focal)) <= FOCAL_LIMIT * prior.sigma_log_focal:
        return ()
    return (
        f"the focal length found, {camera.focal:.0f} px, is far from the expected {prior.focal:.0f} px (a cropped or "
        "zoomed picture? a moving camera?): give camera= if it is known",
    )


def tilt_caveat(camera: Camera) -> tuple[str, ...]:
    """A warning if the camera is found to stand so crooked that the body's vertical may be wrong instead.

    From one video the direction of gravity follows from how people stand and move on their feet. Of somebody who lies,
    is carried or swings it is a guess.
    """
    down = camera.R_camera_world @ np.array([0.0, 0.0, -1.0])  # y in a level camera
    tilt = math.degrees(math.acos(float(np.clip(down[1], -1, 1))))
    if tilt <= TILT_LIMIT:
        return ()
    return (
        f"the camera is found tilted by {tilt:.0f} deg: if it was not, the direction of gravity is wrong (nobody who "
        "stands or walks on a floor?), and with it contacts, forces and torques",
    )


def camera_at_rest(background: CameraMotion) -> tuple[Assumption, tuple[str, ...]]:
    """What the background tells of the camera, as a line of the table, and a warning if it moves.

    Shaking, panning, zooming or cutting: what moves the picture is taken for motion of the person.
    """
    d = background.distance
    if not len(d):
        why = "not told: too little is to be seen beside the person, or too short a clip"
        return Assumption(what="camera", value="at rest", source=why), ()
    how = f"the picture beside the person moves by {_pixels(np.median(d))} (median), {_pixels(d.max())} at most"
    source = f"corners followed between {len(d)} pairs of pictures"
    if background.at_rest:
        return Assumption(what="camera", value=f"at rest: {how}", source=source), ()
    share = 100 * background.moved.mean()
    return Assumption(what="camera", value=f"MOVES: {how}", source=source), (
        f"THE CAMERA MOVES, or the video is cut ({how}; in {share:.0f} % of the pairs of pictures by more than a "
        "camera at rest explains), but it is taken to stand still: do not trust the path through the world, contacts, "
        "forces or torques; nor do their standard deviations know of it. Film from a tripod",
    )


def _pixels(x: float) -> str:
    return f"{x:.1f} px" if math.isfinite(x) else "more than can be followed"


def sliding_caveat(motion: Motion, skeleton: Skeleton, gravity: Array, belt: Array) -> tuple[str, ...]:
    """A warning if the lowest point of the body mostly moves over the floor while the floor has to carry it.

    So it looks if the camera goes with the person, or the floor does; keypoints alone do not tell.
    """
    if len(motion.time) < 2 or not skeleton.contact_points or not gravity.any():
        return ()
    speed = _lowest_speed(motion, skeleton, belt)[_on_the_floor(motion, skeleton, gravity)]
    share = float(np.mean(speed > SLIDE_SPEED)) if len(speed) else 0.0
    if share <= MOSTLY:
        return ()
    return (
        f"in {100 * share:.0f} % of the frames that need a floor the lowest foot slides over it, by "
        f"{np.median(speed):.1f} m/s (median): a camera that moves along, a treadmill (then give its speed), "
        "somebody who is carried or glides? Do not trust the path through the world, contacts, forces or torques",
    )


def _lowest_speed(motion: Motion, skeleton: Skeleton, belt: Array) -> Array:
    """Horizontal speed (T,) [m/s] over the floor, which moves with ``belt``, of the contact point that is lowest."""
    p = located(skeleton.contact_points, skeleton, motion.positions, motion.rotations)
    speed = np.linalg.norm(np.gradient(p[..., :2], motion.time, axis=0) - belt[:2], axis=-1)
    lowest: Array = np.take_along_axis(speed, p[..., 2].argmin(1)[:, None], 1)[:, 0]
    return lowest


def _on_the_floor(motion: Motion, skeleton: Skeleton, gravity: Array) -> NDArray[np.bool_]:
    """(T,) is the body neither in flight nor on a seat, nor does it hang?"""
    root = np.einsum("tj,tj->t", motion.rotations[:, 0, 2], motion.tau[:, :3])  # [N] upward, that no contact gives
    holds = [name.startswith(HOLD) for name in motion.contacts.points]
    needed = motion.contacts.force[:, np.logical_not(holds), 2].sum(1) + root
    seat = {p.name for p in skeleton.seat_points}
    seated = motion.contacts.active[:, [name in seat for name in motion.contacts.points]].any(1)
    return np.asarray((needed > CARRIED * skeleton.mass * np.linalg.norm(gravity)) & ~seated)


def posture_caveat(
    motion: Motion, skeleton: Skeleton, up: str | None, world: str = "the markers' positions"
) -> tuple[str, ...]:
    """A warning if somebody is mostly stretched out level, or head down, as who stands is if another axis points up.

    Who lies or stands on the hands looks the same: it is asked. ``up``: the file's axis that was taken; None: z of
    ``world``, which cannot be told otherwise.
    """
    feet = [i for i, name in enumerate(skeleton.body_names) if name.startswith("calcn")]
    top = next((skeleton.body_index(n) for n in ("head", "torso") if n in skeleton.body_names), None)
    if not feet or top is None:
        return ()
    axis = motion.positions[:, top] - motion.positions[:, feet].mean(1)
    length = np.linalg.norm(axis, axis=1)
    stretched = length > STRETCHED * _standing_length(skeleton, top, feet)
    off = np.degrees(np.arccos(np.clip(axis[:, 2] / length, -1, 1)))
    odd = stretched & (off > LEVEL)
    if odd.mean() <= MOSTLY:
        return ()
    how = "head down, as of who hangs or stands on the hands" if np.median(off[odd]) > HEAD_DOWN else (
        "level, as of who lies"
    )  # fmt: skip
    return (
        f"in {100 * odd.mean():.0f} % of the frames the body is stretched out {how}: {_other_up(axis[odd], up, world)}",
    )


def _standing_length(skeleton: Skeleton, top: int, feet: list[int]) -> float:
    import torch  # here, since a batch's driver does without

    from physpose.chain import KinematicChain

    p = KinematicChain(skeleton).fk(torch.as_tensor(skeleton.neutral)).p.numpy()
    return float(np.linalg.norm(p[top] - p[feet].mean(0)))


def _other_up(axis: Array, up: str | None, world: str) -> str:
    """What to do if the long axis (T, 3), world, of the body is upright in truth."""
    mean = np.mean(axis, axis=0) @ R_ZUP_LAB[up or "+Z"]  # in the file's axes
    i = int(np.abs(mean).argmax())
    true = ("-" if mean[i] < 0 else "") + "xyz"[i]
    if up is None:
        return f"if the person stands, {true} points up in {world}, not z: turn that"
    return f"if the person stands, the file's {true} points up, not {up.lower().lstrip('+')}: give up={true!r}"


def length_caveat(time: Array) -> tuple[str, ...]:
    """A warning if the clip is too short to tell accelerations."""
    if len(time) == 1:
        return ("one frame only: the person is taken to be at rest, torques are static",)
    if time[-1] - time[0] < SHORTEST:
        return (f"{time[-1] - time[0]:.2f} s are too short to tell accelerations: do not trust torques",)
    return ()


def rate_caveat(time: Array) -> tuple[str, ...]:
    """A warning if frames are so far apart that accelerations change in between.

    Differences of poses then tell their mean over two steps; standard deviations know of the rest
    (benchmarks/frame_rates.py), the values do not show it.
    """
    rate = 1 / float(np.median(np.diff(time))) if len(time) > 2 else math.inf
    if rate >= SLOWEST:
        return ()
    return (
        f"{rate:.3g} frames a second are too few to follow accelerations: torques and forces are means over "
        f"{2 / rate:.2f} s, their peaks are missed; angles hold",
    )


def _low_as_on_a_chair(motion: Motion, skeleton: Skeleton) -> NDArray[np.bool_]:
    """(T,) are the hips so low over the feet; of bodies without feet never."""
    feet = [i for i, name in enumerate(skeleton.body_names) if name.startswith("calcn")]
    if not feet:
        return np.zeros(len(motion.time), bool)
    height = motion.positions[:, 0, 2] - motion.positions[:, feet, 2].min(axis=1)
    return np.asarray(height < SEAT_HEIGHT * skeleton.neutral[2])


def unknown_seat_caveat(motion: Motion, skeleton: Skeleton, out_of_balance: NDArray[np.bool_]) -> tuple[str, ...]:
    """A warning if who is checked without a seat seems to sit: hips low, and out of balance over the feet (T,)."""
    if len(motion.time) < 2:
        return ()
    sits = _low_as_on_a_chair(motion, skeleton) & out_of_balance
    seconds = float(np.sum(np.gradient(motion.time)[sits]))
    if seconds < SEAT_TIME:
        return ()
    return (
        f"for {seconds:.1f} s the hips are as low as on a chair and the weight acts beside the feet: who sits there is "
        "judged as if there was no seat; give what it bears: measured forces=, or external={'pelvis': ...}",
    )


def seat_caveat(motion: Motion, skeleton: Skeleton) -> tuple[str, ...]:
    """A warning if the hips stay as low over the feet as on a chair, and no seat was found under them."""
    if len(motion.time) < 2:
        return ()
    seat = {p.name for p in skeleton.seat_points}
    if any(motion.contacts.active[:, i].any() for i, name in enumerate(motion.contacts.points) if name in seat):
        return ()
    seconds = float(np.sum(np.gradient(motion.time)[_low_as_on_a_chair(motion, skeleton)]))
    if seconds < SEAT_TIME:
        return ()
    return (
        f"for {seconds:.1f} s the hips are as low as on a chair, but the weight seems to act over the feet: if the "
        "person sits, the forces at the feet and the torques of the legs are too large there",
    )
