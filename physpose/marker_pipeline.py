"""``fit`` for markers: a recording in, the most probable motion with its dynamics out. One call a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physpose.caveats import (
    ESTIMATE,
    checked_gravity,
    gravity_found,
    gravity_given,
    length_caveat,
    posture_caveat,
    seat_caveat,
    sliding_caveat,
    unexplained,
)
from physpose.chain import KinematicChain
from physpose.errors import InputError
from physpose.estimation.contact import belt_velocity
from physpose.estimation.derivatives import derivatives
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.forces import ContactForces
from physpose.estimation.gravity import fall_of_poses
from physpose.estimation.holds import check_holds
from physpose.estimation.marker_fit import MarkerFit, fit_markers
from physpose.estimation.marker_sigma import marker_sigma
from physpose.estimation.plates import assign_to_feet
from physpose.estimation.settings import EstimationSettings
from physpose.inverse import body_wrenches, check_masses, contacts_of, measured_forces, with_residual
from physpose.io.forces import Forces
from physpose.marker_sources import MarkerFile, SeenMarkers, markers_on, read_marker_file
from physpose.pipeline import EARTH, Watch, fraction
from physpose.progress import SILENT, Progress
from physpose.residuals import ResidualReport
from physpose.result import FitResult
from physpose.skeleton import load_skeleton
from physpose.skeleton.load import refuse_description
from physpose.skeleton.model import Skeleton
from physpose.skeleton.subject import NO_HEIGHT
from physpose.types import Array, Assumption, FitStatus, Markers, Motion, Sigma

FILE = "the file's PROCESSING group"
MODELS = (".osim", ".xml")  # files of bodies of one size
STEEPEST = np.pi / 4  # [rad] slope of a floor
MISPLACED = 6.0  # standard deviations of a marker's place, all three axes together
FAR = 0.04  # [m] root mean square distance of markers from a body above which body or labels are in doubt
OTHER_SIZE, ANOTHER_SIZE = 0.08, 0.15  # of the logarithm of all bones' length: of a stature that was told, that was not
MARKER_RADIUS = 0.007  # [m] of common markers, 14 mm wide


def fit_marker_file(
    source: str | Path | Markers,
    skeleton: str | Path | Skeleton = "adult",
    *,
    static: str | Path | Markers | None = None,
    forces: str | Path | Forces | None = None,
    force_lowpass: float | None = None,
    marker_set: str | Mapping[str, str] | None = None,
    scale: bool | None = None,
    register: bool | None = None,
    units: str | None = None,
    up: str | None = None,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    gravity: tuple[float, float, float] | str = EARTH,
    settings: EstimationSettings | None = None,
    holds: Any = None,
    check: str | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """The most probable motion behind markers, with measured or estimated contact forces.

    Args as ``physpose.fit`` takes them.

    Raises:
        PhysposeError (a ValueError): says what was given and what is possible.
    """
    if force_lowpass is not None and forces is None:
        raise InputError(f"force_lowpass={force_lowpass:g} without forces to filter: give forces=, or leave it out")
    unknown = isinstance(gravity, str) and gravity == ESTIMATE
    progress, watch = progress or SILENT, Watch()
    g = checked_gravity(EARTH if unknown else gravity, STEEPEST, estimable=True)
    with watch("reading"), progress.stage("read markers"):
        moving = read_marker_file(source, units, up)
        still = None if static is None else read_marker_file(static, units, up)
        given = {"age": age, "sex": sex, "height": height, "mass": mass}
        who = _subject(moving, still, skeleton, given)
        body = _body(skeleton, who, given)
        body = body if holds is None else body.holding(holds)
        seen = markers_on(body, moving, still, marker_set)
        check_holds(body.hold_points, seen.time)
        check_masses(body)
        measured = measured_forces(forces, seen.time, None, force_lowpass, None, body)
        scale, register = (_whether(x, skeleton) for x in (scale, register))
    with watch("estimation"), progress.stage("fit markers", 100) as stage:
        fitted = fit_markers(
            body, seen.spots, seen.time, seen.target, static=seen.static, scale=scale, register=register,
            height_known=_stature_known(skeleton, who), settings=_without_gravity(settings) if unknown else settings,
            marker_radius=moving.subject.widths.get("marker", 2 * MARKER_RADIUS) / 2,
            gravity=g, on_progress=fraction(stage),
        )  # fmt: skip
    told = gravity_found(fall_of_poses(fitted.skeleton, seen.time, fitted.q)) if unknown else gravity_given(g)
    g = told.gravity
    with watch("dynamics"), progress.stage("inverse dynamics"):
        motion, found_forces, evidence = _dynamics(fitted, seen.time, measured, g)
    with watch("uncertainty"), progress.stage("standard deviations"):
        sigma = marker_sigma(fitted.evidence, motion, found_forces, fitted.bearing, g)
    files, found = (moving, still), (scale, register)
    belt = _belt(settings or EstimationSettings(), motion)
    result = _result(motion, fitted, seen, files, body, evidence, found, g, belt, watch.seconds, check, sigma)
    return told.noted(result)


def _without_gravity(settings: EstimationSettings | None) -> EstimationSettings:
    """For who may weigh nothing: no forces are asked for before that is known."""
    return replace(settings or EstimationSettings(), physics="none")


def _belt(settings: EstimationSettings, motion: Motion) -> Array | None:
    """Velocity (3,) [m/s] of the floor; None: there is none."""
    if not settings.floor:
        return None
    return belt_velocity(settings.treadmill, torch.as_tensor(motion.rotations[:, 0])).numpy()


# --- who --------------------------------------------------------------------------------------------------------------


def _subject(
    moving: MarkerFile, still: MarkerFile | None, skeleton: str | Path | Skeleton, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Age, sex, height, mass as given; height and mass else as the files tell them."""
    who = dict(given)
    if _is_someones(skeleton):
        return who
    for name in ("height", "mass"):
        told = (getattr(f.subject, name) for f in (moving, still) if f is not None)
        if who[name] is None:
            who[name] = next((x for x in told if x is not None), None)
    return who


def _body(skeleton: str | Path | Skeleton, who: Mapping[str, Any], given: Mapping[str, Any]) -> Skeleton:
    """The skeleton before the fit, with what the files told of the subject marked as theirs."""
    if isinstance(skeleton, Skeleton):
        refuse_description(**given)
        return skeleton
    body = load_skeleton(skeleton, **who)
    told = {n for n, x in who.items() if x is not None and given[n] is None}
    lines = (replace(a, source=a.source.replace("given", FILE, 1)) if a.what in told else a for a in body.assumptions)
    return replace(body, assumptions=tuple(lines))


def _stature_known(skeleton: str | Path | Skeleton, who: Mapping[str, Any]) -> bool:
    return who["height"] is not None or (isinstance(skeleton, Skeleton) and skeleton.subject is not None)


def _whether(wanted: bool | None, skeleton: str | Path | Skeleton) -> bool:
    """Find the body's size, or the markers' places: as wanted, else for bodies that have none of their own."""
    return wanted if wanted is not None else not _is_someones(skeleton)


def _is_someones(skeleton: str | Path | Skeleton) -> bool:
    """Has the skeleton a size of its own: a loaded one, or a model's file."""
    return isinstance(skeleton, Skeleton) or Path(skeleton).suffix.lower() in MODELS


# --- dynamics ---------------------------------------------------------------------------------------------------------


def _dynamics(
    fitted: MarkerFit, time: Array, measured: Forces | None, g: Array
) -> tuple[Motion, ContactForces | None, tuple[Any, ...]]:
    """The motion with its dynamics, how its forces were found, and what measured ones assumed."""
    body, q = fitted.skeleton, fitted.q
    chain = KinematicChain(body)
    rates = derivatives(chain, time, q)
    if measured is None:
        usual = fitted.evidence.problem.settings.usual_steps
        return *dynamics_of(body, time, q, fitted.bearing, g, rates=rates, walks=usual), ()
    frames = chain.fk(torch.as_tensor(q))
    positions, rotations = frames.p.numpy(), frames.R.numpy()
    given = assign_to_feet(measured, body, time, positions, rotations)
    contacts = contacts_of(given, body, time, positions, rotations)
    nowhere, wrenches = np.zeros_like(fitted.bearing), body_wrenches(contacts, body, positions)
    motion, _ = dynamics_of(body, time, q, nowhere, g, rates=rates, floor=-np.inf, external=wrenches)
    motion, residual = with_residual(replace(motion, contacts=contacts), body, g, None, None)
    return motion, None, (measured, given, *residual)


# --- what to tell -----------------------------------------------------------------------------------------------------


def _result(
    motion: Motion, fitted: MarkerFit, seen: SeenMarkers, files: tuple[MarkerFile, MarkerFile | None], body: Skeleton,
    evidence: tuple[Any, ...], found: tuple[bool, bool], g: Array, belt: Array | None, seconds: dict[str, float],
    check: str | None, sigma: Sigma | None,
) -> FitResult:  # fmt: skip
    assumptions = (*body.assumptions, *seen.assumptions, *_found(body, fitted, seen, *found), _closeness(fitted))
    own = (w for w in body.warnings if not (found[0] and w.startswith(NO_HEIGHT)))  # the markers told the size
    warnings = (*own, *(w for f in files if f for w in f.warnings), *seen.warnings, *fitted.notes)
    misfit = _wrong_size(body, fitted.skeleton) if found[0] else ()
    warnings += misfit or _displaced(fitted, seen)  # a body of the wrong size has its markers in odd places
    warnings += posture_caveat(motion, fitted.skeleton, files[0].up)
    warnings += (*_far(fitted, found), *length_caveat(motion.time), *_unsettled(fitted))
    if not evidence:
        residual, more = unexplained(motion, fitted.skeleton, g)
        assumptions, warnings = (*assumptions, residual), (*warnings, *more)
        if g.any() and belt is not None:
            warnings += (*seat_caveat(motion, fitted.skeleton), *sliding_caveat(motion, fitted.skeleton, g, belt))
    details = next((e.details for e in evidence if isinstance(e, ResidualReport)), {})
    return FitResult(
        **{f: getattr(motion, f) for f in Motion.__dataclass_fields__},
        skeleton=fitted.skeleton,
        source=files[0].name,
        camera=None,
        keypoints=None,
        assumptions=(*assumptions, *(a for e in evidence for a in e.assumptions)),
        warnings=(*warnings, *(w for e in evidence for w in e.warnings)),
        gravity=g,
        floor=belt is not None,
        belt=np.zeros(3) if belt is None else belt,
        check=check,
        sigma=sigma,
        status=FitStatus(
            converged=fitted.converged, iterations=fitted.iterations, cost=fitted.cost, seconds=seconds,
            details={"term costs": fitted.term_costs, "markers": _details(fitted), **details},
        ),
    )  # fmt: skip


def _found(
    body: Skeleton, fitted: MarkerFit, seen: SeenMarkers, scale: bool, register: bool
) -> tuple[Assumption, Assumption]:
    """What of body and markers was found, and how far from what was expected."""
    from_what = "found from the markers" + (" of the standing trial and the motion" if seen.static is not None else "")
    lengths = _length_changes(body, fitted.skeleton)
    size = f"bones {100 * lengths.min():.0f} to {100 * lengths.max():.0f} % of the expected"
    moved = 1e3 * np.array([np.linalg.norm(a.point.offset - b.point.offset) for a, b in
                            zip(fitted.spots, seen.spots, strict=True)])  # fmt: skip
    places = f"{np.median(moved):.0f} mm from the usual ones in the middle, {moved.max():.0f} mm at most"
    kept = "kept as the skeleton has them"
    return (
        Assumption(what="size of the body", value=size if scale else "as the skeleton has it",
                   source=from_what if scale else "not scaled"),
        Assumption(what="places of the markers", value=places if register else kept,
                   source=from_what if register else "not registered"),
    )  # fmt: skip


def _length_changes(before: Skeleton, after: Skeleton) -> Array:
    """Length of each bone, from joint to joint, over what it was."""
    a, b = (np.array([np.linalg.norm(x.joint.translation) for x in s.bodies[1:]]) for s in (before, after))
    long = a > 0
    return b[long] / a[long] if long.any() else np.ones(1)


def _wrong_size(before: Skeleton, after: Skeleton) -> tuple[str, ...]:
    """Are the bones that the markers show those of somebody far taller or smaller than was said?"""
    long = [sum(float(np.linalg.norm(b.joint.translation)) for b in s.bodies[1:]) for s in (before, after)]
    height = next((a for a in before.assumptions if a.what == "height"), None)
    if before.subject is None or height is None or long[0] == 0:
        return ()
    ratio, told = long[1] / long[0], not height.source.startswith("not given")
    if abs(np.log(ratio)) < (OTHER_SIZE if told else ANOTHER_SIZE):
        return ()
    size, said = before.subject.height, "given" if told else "taken"
    return (
        f"the markers show bones {100 * ratio:.0f} % as long as of somebody of the {size:.2f} m {said}: give "
        f"height={ratio * size:.2f}, about, and mass=; or is it the unit of length?",
    )


def _used(fitted: MarkerFit) -> Array:
    """(T, M) [m] distances of the markers that were believed, NaN elsewhere."""
    return np.where(fitted.used, fitted.distance, np.nan)


def _rms(distance: Array) -> float:
    return float(np.sqrt(np.nanmean(distance**2)))


def _closeness(fitted: MarkerFit) -> Assumption:
    distance = _used(fitted)
    of_each = {s.label: _rms(d) for s, d in zip(fitted.spots, distance.T, strict=True) if np.isfinite(d).any()}
    worst = max(of_each, key=lambda label: of_each[label])
    return Assumption(
        what="distance of the markers",
        value=f"{1e3 * _rms(distance):.1f} mm RMS; worst {worst}, {1e3 * of_each[worst]:.1f} mm",
        source="from each marker to its place on the moving body: soft tissue, and what the body cannot follow",
    )


def _far(fitted: MarkerFit, found: Sequence[bool]) -> tuple[str, ...]:
    rms = _rms(_used(fitted))
    if rms <= FAR:
        return ()
    ask = "are the labels right?"
    if not all(found):
        ask = "if the model is not this person's, find size and places of markers with scale=True, register=True"
    return (f"the markers lie {1e3 * rms:.0f} mm (RMS) from their places on the body: {ask}",)


def _displaced(fitted: MarkerFit, seen: SeenMarkers) -> tuple[str, ...]:
    """Markers that were found where their labels hardly let them be."""
    off = []
    for found, expected in zip(fitted.spots, seen.spots, strict=True):
        moved = found.point.offset - expected.point.offset
        if np.linalg.norm(moved / expected.spread) > MISPLACED:
            off.append(f"{found.label} ({1e3 * np.linalg.norm(moved):.0f} mm)")
    if not off:
        return ()
    return (f"markers found far from where their labels put them (labels exchanged throughout?): {', '.join(off)}",)


def _unsettled(fitted: MarkerFit) -> tuple[str, ...]:
    if fitted.converged:
        return ()
    return (f"the estimate had not settled after {fitted.iterations} iterations",)


def _details(fitted: MarkerFit) -> dict[str, Any]:
    """RMS distance [m], of all and of each marker that was seen; and where each was found."""
    distance = _used(fitted)
    each = {s.label: _rms(d) for s, d in zip(fitted.spots, distance.T, strict=True) if np.isfinite(d).any()}
    return {"rms [m]": _rms(distance), "rms of each [m]": each, "points": {s.label: s.point for s in fitted.spots}}
