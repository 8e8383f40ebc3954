"""Measures of the forces behind a motion: one function a measure, a reason in words where it does not apply."""

from __future__ import annotations

import numpy as np

from physpose.plausibility.finding import Measure, judged
from physpose.plausibility.kinematic import NO_FLOOR, NO_SKELETON
from physpose.plausibility.recording import Recording
from physpose.plausibility.settings import SOURCES, PlausibilitySettings
from physpose.plausibility.strength import strength
from physpose.plausibility.support import distance_outside
from physpose.result import result_columns
from physpose.skeleton.model import Subject
from physpose.types import Array

NO_ROOT = "the body has no free root: the world carries it"
NO_GROUND = "no point of the body may touch the floor: give the ground's forces as external"
NO_FORCES = "fewer than three frames have no accelerations"
NO_STRENGTH = "no strength is known for the coordinates of this skeleton"
NO_PERSON = "how strong the person is, is not known: the body is fixed to the world and tells no size"
ADULT_AGE = 30.0  # [years] of a body of unknown age


def residual_force(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Force on the root that no contact explains, over the peak external force [%]."""
    found = _residual(r, s)
    if isinstance(found, str):
        return found
    force, _, peak, what, _ = found
    return judged(
        "root residual force", time=r.time, values=100 * force / peak, subjects=("the root",), unit="%",
        threshold=100 * s.residual_force, source=SOURCES["root residual force"],
        phrase=f"needs a force that nothing explains, {{value}} of {what},", settings=s,
        note=f"over {what}, {peak:.0f} N", details=_rms(force, "N") | {"peak [N]": float(np.nanmax(force))},
        of_forces=r.measured_forces,
    )  # fmt: skip


def residual_moment(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Moment on the root that no contact explains, over peak external force times height of the centre of mass [%]."""
    found = _residual(r, s)
    if isinstance(found, str):
        return found
    _, moment, peak, what, height = found
    scale = peak * height
    return judged(
        "root residual moment", time=r.time, values=100 * moment / scale, subjects=("the root",), unit="%",
        threshold=100 * s.residual_moment, source=SOURCES["root residual moment"],
        phrase=f"needs a moment that nothing explains, {{value}} of {what} times the centre of mass's height,",
        settings=s, note=f"over {what} times {height:.2f} m, {scale:.0f} N\u00b7m",
        details=_rms(moment, "N.m") | {"peak [N.m]": float(np.nanmax(moment))}, of_forces=r.measured_forces,
    )  # fmt: skip


def _residual(r: Recording, s: PlausibilitySettings) -> tuple[Array, Array, float, str, float] | str:
    """Norms of the root's force and moment (T,), the scale of force and its name, and the centre of mass's height."""
    if r.motion is None or r.skeleton is None:
        return NO_SKELETON
    if r.needed_wrench is None:
        return NO_ROOT
    if len(r.time) < 3:
        return NO_FORCES
    if _carried_by_nothing(r):
        return NO_GROUND
    known = np.where(r.force_known, 1.0, np.nan)  # a force that was not measured cannot be missed
    force, moment = known * np.linalg.norm(r.motion.tau[:, :3], axis=1), known * _moment(r, s)
    if not np.isfinite(force).any():
        return "torques are not known"
    acting = np.linalg.norm(r.contact_wrench[:, :3] + r.external_force, axis=1)
    peak, what = float(np.nanmax(acting)), "the peak external force"
    if not peak > 0.1 * r.weight:  # in flight and in orbit nothing acts
        peak, what = r.weight, "body weight"
    height = float(np.nanmean(r.motion.com[:, 2])) - r.floor if r.floor is not None else 0.55 * r.stature  # as standing
    return force, moment, peak, what, max(height, 0.1 * r.stature)


def _moment(r: Recording, s: PlausibilitySettings) -> Array:
    """(T,) [N.m] norm of the root's moment, less what soles beyond the points of estimated forces explain."""
    assert r.motion is not None
    moment = (r.motion.rotations[:, 0] @ r.motion.tau[:, 3:6, None])[..., 0]
    if r.floor is None or r.measured_forces:
        return np.asarray(np.linalg.norm(moment, axis=1))
    # M = d x F: a force F that acts d further out
    reach = s.support_distance * np.maximum(r.contact_wrench[:, 2], 0.0)
    level = np.maximum(np.hypot(moment[:, 0], moment[:, 1]) - reach, 0.0)
    return np.hypot(level, moment[:, 2])


def _carried_by_nothing(r: Recording) -> bool:
    """Has the body weight, but neither points to stand on nor given forces?"""
    return bool(np.any(r.gravity)) and not r.motion_contacts and not r.external and r.needed_wrench is not None


def _rms(x: Array, unit: str) -> dict[str, float]:
    return {f"RMS [{unit}]": float(np.sqrt(np.nanmean(x**2)))}


def friction(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Friction coefficient that the forces need: of each body in contact, and of the motion as a whole."""
    forces = _floor_forces(r)
    if isinstance(forces, str):
        return forces
    values = []
    for force in forces.values():
        size, normal = np.linalg.norm(force, axis=1), force[:, 2]
        # |tangential| / normal; a pulling force is another measure's
        clear = (size > s.least_force * r.weight) & (normal > 0)
        values.append(np.where(clear, np.hypot(force[:, 0], force[:, 1]) / np.where(clear, normal, 1.0), np.nan))
    return judged(
        "friction", time=r.time, values=np.stack(values, 1), subjects=tuple(forces), unit="", threshold=s.friction,
        source=SOURCES["friction"], phrase="needs a friction coefficient of {value}", settings=s,
        note=f"of forces above {s.least_force:g} body weights",
    )  # fmt: skip


def pull(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Force with which the floor would have to pull [% of body weight]."""
    forces = _floor_forces(r)
    if isinstance(forces, str):
        return forces
    values = np.stack([100 * np.maximum(-f[:, 2], 0.0) / r.weight for f in forces.values()], 1)
    return judged(
        "pull of the floor", time=r.time, values=values, subjects=tuple(forces), unit="% BW",
        threshold=100 * s.pull, source=SOURCES["pull of the floor"],
        phrase="is pulled down with {value}", settings=s, note="BW: body weight",
    )  # fmt: skip


def _floor_forces(r: Recording) -> dict[str, Array] | str:
    """Forces (T, 3) [N] of the floor on each body that touches it, and what the motion needs in all."""
    if r.floor is None:
        return NO_FLOOR
    if r.motion is None or r.skeleton is None:
        return NO_SKELETON
    if r.floor_wrench is None:
        return NO_ROOT
    if len(r.time) < 3:
        return NO_FORCES
    return r.floor_forces | {"the motion as a whole": r.floor_wrench[:, :3]}


def balance(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Distance [cm] of the zero-moment point outside the points on the floor, where the motion needs support."""
    if r.floor is None:
        return NO_FLOOR
    if r.floor_wrench is None:
        return NO_SKELETON if r.skeleton is None else NO_ROOT
    if len(r.time) < 3:
        return NO_FORCES
    if not r.ground_names:
        return "no point of the body may touch the floor"
    held = (r.supported > s.needs_support) & r.force_known  # who else bears the body, if not the measured feet?
    if not held.any():
        return "the motion needs no support"
    zmp = zero_moment_point(r.floor_wrench, r.floor)
    distance = distance_outside(np.where(held[:, None], zmp, 0.0), r.ground[..., :2], r.bearing & held[:, None])
    return judged(
        "balance", time=r.time, values=100 * distance, subjects=("the zero-moment point",), unit="cm",
        threshold=100 * s.support_distance, source=SOURCES["balance"], phrase="lies {value} outside the support",
        settings=s, note="judged where the motion needs support and no force is missing",
        of_forces=r.measured_forces,
    )  # fmt: skip


def zero_moment_point(wrench: Array, floor: float) -> Array:
    """Where (T, 2) [m] on the floor a wrench (T, 6) about the world's origin has no horizontal moment.

    M = p x F + (0, 0, m): x = (h F_x - M_y) / F_z, y = (h F_y + M_x) / F_z at height h; NaN where F_z = 0
    """
    F, M = wrench[:, :3], wrench[:, 3:]
    Fz = np.where(F[:, 2] != 0, F[:, 2], np.nan)
    return np.stack([floor * F[:, 0] - M[:, 1], floor * F[:, 1] + M[:, 0]], 1) / Fz[:, None]


def joint_torque(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """The person's torque at each joint over what people of that body can exert [%]; a device's share taken off."""
    if r.motion is None or r.skeleton is None:
        return NO_SKELETON
    if len(r.time) < 3:
        return NO_FORCES
    if _carried_by_nothing(r):
        return NO_GROUND
    who = _subject(r)
    known = np.where(r.force_known, 1.0, np.nan)
    values, names, without = [], [], []
    for c in result_columns(r.skeleton):
        norm = who and strength(c.name, who)
        limits = s.strength.get(c.name) or (norm and (s.strength_band * norm[0], s.strength_band * norm[1]))
        if not limits:
            without.append(c.name)
            continue
        tau = known * _human(r)[:, c.v]
        values.append(100 * np.where(tau < 0, tau / limits[0], tau / limits[1]))
        names.append(c.name)
    if not names:
        return f"{NO_STRENGTH if who else NO_PERSON}: settings.strength gives it"
    return judged(
        "joint torque", time=r.time, values=np.stack(values, 1), subjects=tuple(names), unit="%", threshold=100.0,
        source=SOURCES["joint torque"], phrase=f"exerts {{value}} of {_capacity(s)}", settings=s,
        note=_torque_note(s, without),
    )  # fmt: skip


def _capacity(s: PlausibilitySettings) -> str:
    return "what the person can" if s.strength else f"{s.strength_band:g} times the mean strength of such a person"


def _torque_note(s: PlausibilitySettings, without: list[str]) -> str:
    note = f"100 % is {s.strength_band:g} times the mean of isometric tests"
    return note + (f"; no norm for {', '.join(without)}" if without else "")


def joint_power(r: Recording, s: PlausibilitySettings) -> Measure | str:
    """Power that the person generates at each joint over body mass [W/kg]; absorbed power is not judged."""
    if r.motion is None or r.skeleton is None:
        return NO_SKELETON
    if len(r.time) < 3:
        return NO_FORCES
    if _carried_by_nothing(r):
        return NO_GROUND
    columns = [(c.name, c.v) for c in result_columns(r.skeleton)]
    if not columns:
        return "this skeleton has no named coordinates"
    if (who := _subject(r)) is None:
        return NO_PERSON
    index = [i for _, i in columns]
    power = (_human(r) * r.motion.v)[:, index] / who.mass
    power[~r.force_known] = np.nan
    return judged(
        "joint power", time=r.time, values=np.fmax(power, 0.0 * power), subjects=tuple(n for n, _ in columns),
        unit="W/kg", threshold=s.power, source=SOURCES["joint power"], phrase="generates {value}",
        settings=s, note=f"over {who.mass:.1f} kg of body mass",
    )  # fmt: skip


def _human(r: Recording) -> Array:
    """tau (T, nv) that the person exerts: tau = tau_human + tau_device."""
    assert r.motion is not None
    return r.motion.tau if r.assistance is None else r.motion.tau - r.assistance


def _subject(r: Recording) -> Subject | None:
    """Whose strength it is: as given, else an adult of the body's own size; None for a part that hangs in the world."""
    assert r.skeleton is not None
    if r.skeleton.subject is not None:
        return r.skeleton.subject
    if r.skeleton.bodies[0].joint.kind != "free":
        return None
    return Subject(age=ADULT_AGE, sex="x", height=r.stature, mass=r.skeleton.mass)
