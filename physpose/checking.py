"""``check``: is a motion from anywhere plausible? A fit, a file, arrays, keypoints, an exoskeleton's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from physpose.caveats import unknown_seat_caveat
from physpose.chain import KinematicChain
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.contact import contact_belief, with_needed_support
from physpose.estimation.dynamics import SUPPORT_HEIGHT, dynamics_of
from physpose.estimation.settings import EstimationSettings
from physpose.inverse import body_wrenches, measured_forces, shape_of, with_residual, with_torques
from physpose.io.forces import Forces
from physpose.known_motion import Kinematics
from physpose.motions import Given, Reading, read_motion
from physpose.pipeline import EARTH
from physpose.plausibility import Plausibility, PlausibilitySettings, Recording, assess
from physpose.plausibility.recording import located
from physpose.plausibility.simulated import with_mujoco
from physpose.result import result_columns
from physpose.skeleton import load_skeleton
from physpose.skeleton.load import refuse_description
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Contacts, Motion

NEAR = 0.05  # [m] a point so low may bear the body: model's soles and measured feet are uncertain by so much
LANDING = 1.0  # [m/s] a heel lands at 0.87 (Winter 1992, Phys Ther 72:45): faster points bear nothing
AUTO_PERCENTILE = 5.0  # of the lowest point's height: the floor, where it is to be found


def check(
    motion: Any,
    skeleton: str | Path | Skeleton | None = None,
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    external: Mapping[str, ArrayLike] | None = None,
    forces: str | Path | Forces | None = None,
    force_lowpass: float | str | None = None,
    gravity: Sequence[float] | None = None,
    floor: float | str | None = None,
    lowpass: float | None = None,
    degrees: bool | None = None,
    scale: float | None = None,
    keypoint_set: str | None = None,
    bones: Sequence[tuple[int, int]] | None = None,
    mujoco: bool = False,
    settings: PlausibilitySettings | None = None,
) -> Plausibility:
    """Judge a motion frame by frame and as a whole: anatomy, floor, smoothness, forces, the person's capacity.

    Args:
        motion: a ``FitResult``; a folder or .npz that one was saved to; a .mot or .sto file of OpenSim's coordinates;
            a .bvh file; an .npz of "time" and "q", or AMASS's with its body model; ``(time, q)`` with q (T, nq) of the
            skeleton [m, quaternion xyzw, rad]; or ``(time, points)`` with points (T, K, 3) [m], z up, NaN where not
            seen. Points are judged without forces.
        skeleton: whose motion: a name or file that ``load_skeleton`` takes, or a ``Skeleton``; needed for coordinates,
            "adult" if not given. With a result, its dynamics are computed anew with this body, e.g. one that
            ``Skeleton.attach`` gave a device's mass.
        age: [years].
        sex: "f" or "female", "m" or "male", or "x", the mean of both.
        height: [m].
        mass: [kg].
        external: what else acts. A coordinate's name -> torque (T,) [N.m; N] of a device there: the person's own is
            what remains. A body's name -> wrench (T, 6): force [N] and moment [N.m] about the body's origin, world
            axes, of a device, a handle, a measured floor.
        forces: measured ones, as ``inverse_dynamics`` takes them: .mot, .sto, .c3d, OpenSim's external loads .xml, or
            ``Forces``. They are all that touches the body; frames in which one was missing are not judged by the
            residual. ``force_lowpass``: cutoff [Hz] of their filter, or "same" as ``lowpass``; None: not filtered.
        gravity: (3,) [m/s^2], world z up; None: the result's, else the earth's.
        floor: its height [m], "auto": found from the lowest points, "none"; None: as the result has it, 0 for another
            motion of a skeleton, "auto" for points. There is none without gravity.
        lowpass: [Hz] cutoff applied to coordinates before they are differentiated, e.g. 6.0 for raw inverse kinematics;
            None: they are taken as they are.
        degrees: of the angles in a .mot or .sto, against its header; None takes the header's word.
        scale: metres a unit of a .bvh, e.g. 0.0254 for inches; None: as the size of its rest pose tells.
        keypoint_set: of points, names and bones: "coco17", "blazepose33", ...
        bones: of points: pairs of columns at constant distance.
        mujoco: also roll the motion out in MuJoCo: how much help does it need to stay upright?
        settings: thresholds.

    Raises:
        PhysposeError (a ValueError): says what was given and what is possible.
    """
    who = {"age": age, "sex": sex, "height": height, "mass": mass}
    if isinstance(skeleton, Skeleton):
        refuse_description(**who)
    body = skeleton if isinstance(skeleton, Skeleton) or skeleton is None else load_skeleton(
        skeleton, **shape_of(motion, skeleton, who)
    )  # fmt: skip
    given = read_motion(motion, body, who, Reading(lowpass=lowpass, degrees=degrees, scale=scale), keypoint_set, bones)
    if forces is not None:
        given = _with_measured(given, forces, lowpass, force_lowpass, gravity)
    elif force_lowpass is not None:
        raise InputError("force_lowpass= filters measured forces: give forces=, or leave it out")
    recording = _recording(given, external or {}, gravity, floor)
    found = assess(recording, settings)
    if mujoco:
        found = with_mujoco(found, recording, settings)
    own = () if isinstance(skeleton, Skeleton) else _body_doubts(given)
    return replace(found, notes=(*given.notes, *own, *_seat_doubts(recording, found)))


def _body_doubts(given: Given) -> tuple[str, ...]:
    """What was taken of a body that was named, not given."""
    body = given.skeleton
    return body.warnings if body is not None and body.subject is not None and given.motion is None else ()


def _seat_doubts(r: Recording, found: Plausibility) -> tuple[str, ...]:
    if r.motion is None or r.skeleton is None or "balance" in found.not_judged:
        return ()
    return unknown_seat_caveat(r.motion, r.skeleton, found["balance"].failing)


def _recording(
    given: Given, external: Mapping[str, ArrayLike], gravity: Sequence[float] | None, floor: float | str | None
) -> Recording:
    g = _gravity(given, gravity)
    if given.points is not None:
        return _recording_of_points(given, g, floor)
    body, moved = given.skeleton, given.motion or given.kinematics
    assert body is not None
    assert moved is not None
    torques, wrenches = _external(body, external, len(moved.time))
    level = _level(floor, _contact_points(body, moved.q), g, 0.0 if given.floor else "none")
    motion, contacts = given.motion, given.contacts if given.motion is None else given.motion.contacts
    if motion is None or wrenches or not np.array_equal(g, _own_gravity(given)):
        motion = _with_forces(body, moved, contacts, g, level, wrenches)
    recording = Recording.of_motion(
        motion, body, gravity=g, floor=level, belt=given.belt, source=given.source, assistance=torques,
        external=wrenches,
    )  # fmt: skip
    return _as_seen(recording) if contacts is None and recording.floor is not None else recording


def _with_measured(
    given: Given, forces: str | Path | Forces, lowpass: float | None, force_lowpass: float | str | None,
    gravity: Sequence[float] | None,
) -> Given:  # fmt: skip
    """The motion with measured forces in place of what it had."""
    body, moved = given.skeleton, given.motion or given.kinematics
    if body is None or moved is None:
        raise InputError(f"{given.source} has points only: measured forces need a skeleton's coordinates")
    g = _gravity(given, gravity)
    plain = Kinematics(time=moved.time, q=moved.q, v=moved.v, a=moved.a, source=given.source)
    measured = measured_forces(forces, plain.time, lowpass, force_lowpass, None, body)
    motion, of_forces = with_torques(plain, body, g, measured)
    motion, residual = with_residual(motion, body, g, None, None)
    doubts = tuple(w for step in (*of_forces, *residual) for w in step.warnings)
    return replace(given, motion=motion, gravity=g, notes=(*given.notes, *doubts))


def _contact_points(body: Skeleton, q: Array) -> Array:
    frames = KinematicChain(body).fk(torch.as_tensor(q))
    return located(body.contact_points, body, frames.p.numpy(), frames.R.numpy())


def _own_gravity(given: Given) -> Array:
    return np.asarray(EARTH if given.gravity is None else given.gravity, float)


def _gravity(given: Given, gravity: Sequence[float] | None) -> Array:
    g = _own_gravity(given) if gravity is None else np.asarray(gravity, float)
    if g.shape != (3,) or not np.isfinite(g).all():
        raise InputError(f"gravity {gravity!r}; three finite numbers [m/s^2] are needed, z is up")
    return g


def _external(body: Skeleton, external: Mapping[str, ArrayLike], T: int) -> tuple[Array | None, dict[str, Array]]:
    """Torques (T, nv) at coordinates, and wrenches (T, 6) on bodies."""
    torques, wrenches = np.zeros((T, body.nv)), {}
    columns = {c.name: c.v for c in result_columns(body)}
    names = tuple(columns)
    for name, values in external.items():
        x = np.asarray(values, float)
        if name not in (*names, *body.body_names):
            raise UnknownNameError("coordinate or body", name, (*names, *body.body_names))
        shape = (T,) if name in names else (T, 6)
        if x.shape != shape or not np.isfinite(x).all():
            what = "torque" if name in names else "wrench"
            raise InputError(f"the external {what} on {name} has shape {x.shape}; finite {shape} needed")
        if name in names:
            torques[:, columns[name]] = x
        else:
            wrenches[name] = x
    return (torques if any(n in names for n in external) else None), wrenches


def _with_forces(
    body: Skeleton, moved: Motion | Kinematics, contacts: Contacts | None, g: Array, level: float | None,
    wrenches: dict[str, Array],
) -> Motion:  # fmt: skip
    """The motion with its dynamics; contacts as measured, else where they are known to be, else estimated."""
    if body.mass <= 0:
        raise InputError(f"{body.name} has no masses: its forces cannot be known; give its points, (time, points)")
    height = -np.inf if level is None else level
    points, rates = _contact_points(body, moved.q), (moved.v, moved.a)
    if contacts is not None and contacts.bodies is not None:
        positions = KinematicChain(body).fk(torch.as_tensor(moved.q)).p.numpy()
        measured = dict(wrenches)
        for name, w in body_wrenches(contacts, body, positions).items():
            measured[name] = measured.get(name, 0.0) + w
        nowhere = np.zeros((len(points), len(body.support_points)))
        found, _ = dynamics_of(body, moved.time, moved.q, nowhere, g, rates=rates, floor=-np.inf, external=measured)
        return replace(found, contacts=contacts)
    belief = np.zeros((len(points), len(body.support_points)))
    belief[:, : points.shape[1]] = np.fmax(_belief(points, moved.time, height), _near(points, moved.time, height))
    names = [p.name for p in body.support_points]
    if contacts is not None and contacts.points and {*contacts.points} <= {*names}:
        belief[:] = 0.0
        belief[:, [names.index(n) for n in contacts.points]] = contacts.active
    return dynamics_of(body, moved.time, moved.q, belief, g, rates=rates, floor=height, external=wrenches)[0]


def _belief(points: Array, time: Array, floor: float) -> Array:
    """In 0..1 (T, C), by the estimator's own measure."""
    if not points.shape[1] or np.isinf(floor):
        return np.zeros(points.shape[:2])
    s = EstimationSettings()
    above = torch.as_tensor(points - [0.0, 0.0, floor])
    return contact_belief(above, torch.as_tensor(time), s.contact_speed, s.contact_height).numpy()


def _near(points: Array, time: Array, floor: float) -> NDArray[np.bool_]:
    """(T, C) points that may bear the body, landing and leaving ones among them; whether they slide is asked apart."""
    if len(time) < 2:
        return points[..., 2] < floor + NEAR
    speed = np.linalg.norm(np.gradient(points, time, axis=0), axis=-1)
    return np.asarray((points[..., 2] < floor + NEAR) & (speed < LANDING))


def _as_seen(r: Recording) -> Recording:
    """The recording of estimated forces: all points that are near may bear, still ones touch, else the lowest."""
    assert r.floor is not None
    still = _belief(r.ground, r.time, r.floor) > 0.5
    needed = np.nan_to_num(r.supported)
    touching = with_needed_support(still, r.ground[..., 2] - r.floor, needed, SUPPORT_HEIGHT) if still.size else still
    return replace(r, active=touching & (needed > 0)[:, None], bearing=touching | _near(r.ground, r.time, r.floor))


def _level(floor: float | str | None, points: Array, g: Array, default: float | str = 0.0) -> float | None:
    """Height of the floor [m]; None without one."""
    wanted = default if floor is None else floor
    if wanted == "none" or not np.any(g):
        return None
    if wanted == "auto":
        z = points[..., 2]
        seen = np.isfinite(z).any(1) if z.shape[1] else np.zeros(len(z), bool)
        if not seen.any():
            raise InputError("floor='auto' needs points that may touch it; give its height [m]")
        return float(np.percentile(np.nanmin(z[seen], axis=1), AUTO_PERCENTILE))
    if isinstance(wanted, str) or not np.isfinite(wanted):
        raise InputError(f"floor {floor!r}; a height [m], 'auto' or 'none'")
    return float(wanted)


def _recording_of_points(given: Given, g: Array, floor: float | str | None) -> Recording:
    points, time = given.points, given.time
    assert points is not None
    assert time is not None
    level = _level(floor, points, g, default="auto")
    active = _touching(points, time, level)
    return Recording(
        time=time, points=points, names=given.names, bones=given.bones, ground=points, ground_names=given.names,
        active=active, bearing=active, floor=level, gravity=g, source=given.source,
    )  # fmt: skip


def _touching(points: Array, time: Array, floor: float | None) -> NDArray[np.bool_]:
    """Points that are slow and low, or the lowest where none is; a point that is not seen touches nothing."""
    if floor is None:
        return np.zeros(points.shape[:2], bool)
    hidden = ~np.isfinite(points.sum(-1))
    low = np.where(hidden[..., None], [0.0, 0.0, 1e3], points)
    active: NDArray[np.bool_] = (_belief(low, time, floor) > 0.5) & ~hidden
    return with_needed_support(active, low[..., 2] - floor, np.ones(len(time)), SUPPORT_HEIGHT) & ~hidden
