"""What the report plots: groups of curves with titles, units and what their sign means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.result import CoordinateResult, FitResult
from physpose.skeleton.model import HOLD
from physpose.skeleton.names import side, without_side
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a plot."""

    label: str
    key: str  # names its colour: "r", "l", "c" (no side), "x", "y", "z", "a", "b"
    values: Array  # (T,), NaN is a gap
    sigma: Array | None = None  # (T,) one standard deviation, drawn as a band


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One set of axes. ``per_kg``: also offered divided by body mass."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    hint: str = ""  # what positive means
    per_kg: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled group of plots; ``more`` are folded away."""

    id: str
    title: str
    note: str
    plots: tuple[Plot, ...]
    more: tuple[Plot, ...] = field(default=())


# coordinate without its side -> title, what positive means (OpenSim's signs; Rajagopal et al. 2016)
TITLES = {
    "hip_flexion": ("Hip flexion", "flexion +"),
    "hip_adduction": ("Hip adduction", "adduction +"),
    "hip_rotation": ("Hip rotation", "internal +"),
    "knee_angle": ("Knee flexion", "flexion +"),
    "ankle_angle": ("Ankle dorsiflexion", "dorsiflexion +"),
    "subtalar_angle": ("Subtalar", "inversion +"),
    "mtp_angle": ("Toes", "extension +"),
    "lumbar_extension": ("Lumbar extension", "extension +"),
    "lumbar_bending": ("Lumbar bending", "to the right +"),
    "lumbar_rotation": ("Lumbar rotation", "to the left +"),
    "arm_flex": ("Shoulder flexion", "flexion +"),
    "arm_add": ("Shoulder adduction", "adduction +"),
    "arm_rot": ("Shoulder rotation", "internal +"),
    "elbow_flex": ("Elbow flexion", "flexion +"),
    "pro_sup": ("Forearm", "pronation +"),
    "wrist_flex": ("Wrist flexion", "flexion +"),
    "wrist_dev": ("Wrist deviation", ""),
}
# of ball joints: about the body's own axes, x forward, y up, z to the right when standing in T-pose
BALL_TITLES = {
    "hip_z": ("Hip z", "flexion +"),
    "knee_z": ("Knee z", "extension +"),
    "ankle_z": ("Ankle z", "dorsiflexion +"),
    "foot_z": ("Toes z", "extension +"),
}
BALL_NOTE = (
    " Of ball joints: components x (forward), y (up), z (to the right) in the segment's own axes; angles are rotation "
    "vectors."
)
BODY_NOTE = "Momentum is linear, and angular about the centre of mass, both in world axes (z up)."
NOT_FEET = ("hand", "ischium", "thigh", HOLD)  # contact points
MAIN = ("hip_", "knee_", "ankle_", "lumbar_", "arm_", "elbow_")  # shown at once; the rest is folded


def sections(result: FitResult) -> list[Section]:
    """All plots of a result, in the report's order."""
    angles = "Right and left against time."
    gaps = "" if result.torques_known.all() else " Gaps: a force that acts there was not measured."
    torques = "Net joint torque by inverse dynamics: what muscles, ligaments and contact inside the joint add up to."
    power = "Torque times angular velocity: positive where the joint gives energy to the body, negative where it takes."
    if any(b.joint.kind == "ball" for b in result.skeleton.bodies):
        angles, torques, power = (note + BALL_NOTE for note in (angles, torques, power))
    else:
        angles += " Signs are OpenSim's."
    return [
        Section(id="body", title="Whole body", note=BODY_NOTE + gaps, plots=tuple(_body_plots(result))),
        _joint_section(result, "angles", "Joint angles", angles),
        _joint_section(result, "torques", "Joint torques", torques + gaps),
        _joint_section(result, "power", "Joint power", power + gaps),
    ]


def _joint_section(result: FitResult, what: str, title: str, note: str) -> Section:
    main: list[Plot] = []
    more: list[Plot] = []
    for base, coordinates in _pairs(result).items():
        plot = _joint_plot(base, coordinates, what, result.torques_known)
        (main if base.startswith(MAIN) else more).append(plot)
    if not main:  # a body with other names
        main, more = more, []
    return Section(id=what, title=title, note=note, plots=tuple(main), more=tuple(more))


def _pairs(result: FitResult) -> dict[str, list[CoordinateResult]]:
    """Coordinates by their name without side, right before left, from the hips down, then the trunk and the arms."""
    groups: dict[str, list[CoordinateResult]] = {}
    for c in result.coordinate_results():
        groups.setdefault(without_side(c.name), []).append(c)
    for coordinates in groups.values():
        coordinates.sort(key=lambda c: side(c.name) != "r")
    known = [base for base in TITLES if base in groups]
    return {base: groups[base] for base in [*known, *(b for b in groups if b not in TITLES)]}


def _joint_plot(base: str, coordinates: list[CoordinateResult], what: str, known: NDArray[np.bool_]) -> Plot:
    title, hint = TITLES.get(base) or BALL_TITLES.get(base) or (base.replace("_", " ").capitalize(), "")
    hinge = coordinates[0].unit == "rad"
    unit = {"angles": "deg" if hinge else "m", "torques": coordinates[0].tau_unit, "power": "W"}[what]
    curves = tuple(_joint_curve(c, what, known) for c in coordinates)
    return Plot(title=title, unit=unit, curves=curves, hint=hint if what == "angles" else "", per_kg=what != "angles")


def _joint_curve(c: CoordinateResult, what: str, known: NDArray[np.bool_]) -> Curve:
    label, key = {"r": ("right", "r"), "l": ("left", "l"), "": ("", "c")}[side(c.name)]
    angle = np.rad2deg if c.unit == "rad" else np.asarray
    values = angle(c.q) if what == "angles" else np.where(known, {"torques": c.tau, "power": c.power}[what], np.nan)
    s = c.sigma
    sigma = None if s is None else {"angles": angle(s.q), "torques": s.tau, "power": s.power}[what]
    return Curve(label=label, key=key, values=values, sigma=sigma)


def _body_plots(result: FitResult) -> Iterator[Plot]:
    contact = vertical_force_plot(result)
    if contact is not None:
        yield contact
    height = Curve(label="z", key="z", values=result.com[:, 2], sigma=_sigma(result, "com", 2))
    yield Plot(title="Centre of mass height", unit="m", curves=(height,))
    speed = np.linalg.norm(result.momentum[:, :3], axis=1) / result.skeleton.mass
    yield Plot(title="Centre of mass speed", unit="m/s", curves=(Curve(label="", key="c", values=speed),))
    yield Plot(title="Linear momentum", unit="kg\u00b7m/s", curves=_momentum(result, 0))
    yield Plot(title="Angular momentum", unit="kg\u00b7m\u00b2/s", curves=_momentum(result, 3))
    kinetic = Curve(label="kinetic", key="a", values=result.energy.kinetic, sigma=_sigma(result, "energy.kinetic"))
    potential = Curve(
        label="potential", key="b", values=result.energy.potential, sigma=_sigma(result, "energy.potential")
    )
    total = Curve(label="total", key="c", values=kinetic.values + potential.values)
    yield Plot(title="Energy", unit="J", curves=(total, potential, kinetic))
    yield Plot(title="Kinetic energy", unit="J", curves=(kinetic,))
    yield Plot(title="Total joint power", unit="W", curves=(_joint_power(result),))


def _joint_power(result: FitResult) -> Curve:
    """Sum over all joints; the free-flyer's residual is no joint."""
    skip = result.skeleton.bodies[0].joint.nv if result.skeleton.bodies[0].joint.kind == "free" else 0
    total = result.power[:, skip:].sum(1)
    return Curve(label="all joints", key="c", values=np.where(result.torques_known, total, np.nan))


def _momentum(result: FitResult, first: int) -> tuple[Curve, ...]:
    """Its three components from column ``first``."""
    return tuple(
        Curve(label=axis, key=axis, values=result.momentum[:, i], sigma=_sigma(result, "momentum", i))
        for i, axis in enumerate("xyz", first)
    )


def _sigma(result: FitResult, name: str, column: int | None = None) -> Array | None:
    """Standard deviation (T,) of one quantity, by its name in ``Sigma``; None where it was not estimated."""
    if result.sigma is None:
        return None
    found: Array = attrgetter(name)(result.sigma)
    return found if column is None else found[:, column]


def body_weight(result: FitResult) -> float | None:
    """m |g| [N]; None in weightlessness."""
    weight = result.skeleton.mass * float(np.linalg.norm(result.gravity))
    return weight if weight > 0 else None


def vertical_force_plot(result: FitResult) -> Plot | None:
    """Contact force against gravity, right, left and all, in body weights (N without gravity)."""
    contacts, weight = result.contacts, body_weight(result)
    if not contacts.points:
        return None
    up = -result.gravity / np.linalg.norm(result.gravity) if weight else np.array([0.0, 0, 1])
    force = contacts.force @ up / (weight or 1.0)
    known = result.torques_known  # elsewhere a foot stood where nothing measured: no force there is not zero force
    curves = [Curve(label="total", key="c", values=np.where(known, force.sum(1), np.nan))]
    for label, key in (("right", "r"), ("left", "l")):
        mine = [i for i, p in enumerate(contacts.points) if p.endswith(f"_{key}") and not p.startswith(NOT_FEET)]
        if mine:
            seen = known | contacts.active[:, mine].any(1)
            curves.append(Curve(label=label, key=key, values=np.where(seen, force[:, mine].sum(1), np.nan)))
    return Plot(title="Vertical contact force", unit="body weights" if weight else "N", curves=tuple(curves))


def headline(result: FitResult) -> list[dict[str, str]]:
    """A few figures that tell most: name, value, unit, remark."""
    tiles: list[dict[str, Any]] = []
    span = float(result.time[-1] - result.time[0])
    path = np.linalg.norm(np.diff(result.com[:, :2], axis=0), axis=1)
    if span > 0 and np.isfinite(path).all():
        tiles.append(
            {
                "name": "Mean speed",
                "value": f"{path.sum() / span:.2f}",
                "unit": "m/s",
                "note": "centre of mass, over ground",
            }
        )
    force = vertical_force_plot(result)
    if force is not None and np.isfinite(force.curves[0].values).any():
        unit = "BW" if force.unit == "body weights" else "N"
        note = "vertical, in body weights" if unit == "BW" else "along z"
        peak = f"{np.nanmax(force.curves[0].values):.2f}"
        tiles.append({"name": "Peak contact force", "value": peak, "unit": unit, "note": note})
    tiles += [t for base in ("knee_angle", "hip_flexion") if (t := _range_tile(result, base))]
    error = reprojection_error(result)
    if error is not None:
        tiles.append(
            {
                "name": "Fit to the picture",
                "value": f"{error:.1f}",
                "unit": "px",
                "note": "RMS distance to the detector's points",
            }
        )
    return tiles


def _range_tile(result: FitResult, base: str) -> dict[str, str] | None:
    names = [n for n in (f"{base}_r", f"{base}_l") if n in result.skeleton.coordinate_names]
    spans = [
        np.rad2deg(np.nanmax(result[n].q) - np.nanmin(result[n].q)) for n in names if np.isfinite(result[n].q).any()
    ]
    if len(spans) != 2:
        return None
    return {
        "name": f"{TITLES[base][0]} range",
        "value": f"{spans[0]:.0f}\u00b0 / {spans[1]:.0f}\u00b0",
        "unit": "",
        "note": "right / left",
    }


def reprojection_error(result: FitResult) -> float | None:
    """RMS distance [px] of fitted to observed keypoints of confidence 0.5 and above; None without pictures."""
    keypoints, camera = result.keypoints, result.camera
    if keypoints is None or camera is None or keypoints.keypoint_set not in result.skeleton.keypoint_sets:
        return None
    points = result.skeleton.keypoint_sets[keypoints.keypoint_set].points
    if len(points) != len(keypoints.names):
        return None
    index = [result.skeleton.body_index(p.body) for p in points]
    offset = np.array([p.offset for p in points])
    world = result.positions[:, index] + np.einsum("tkij,kj->tki", result.rotations[:, index], offset)
    error = np.linalg.norm(camera.project(world) - keypoints.uv[0], axis=-1)
    seen = (keypoints.confidence[0] >= 0.5) & np.isfinite(error)
    return float(np.sqrt(np.mean(error[seen] ** 2))) if seen.any() else None
