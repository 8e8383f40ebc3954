"""What to expect of the force under a foot that walks: measures skeletons/step_forces.yaml.

    PHYSPOSE_DATA=... python benchmarks/fit_step_forces.py [--write]

Three adults of three recording sessions walk over force plates (six stances, three, one); their motion is found from
markers with defaults, stances as the estimator finds them. Of each stance that one plate measured whole: the vertical
force and the three quantities of ``estimation/step_forces.py``, over the stance's phase. Mean over people; sigma is
that of somebody who was not measured: people about their mean, times (n + 1) / n, and a person's stances about theirs.

Printed: how much of each person lies within 90 % intervals that the other two gave, and the RMS error of the wrench
that these walks need, of the worst axis, which is the table's ``wrench_sigma``. No child is looked at:
benchmarks/lab_children.py tests it.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from lab_forces import (
    ARCHIVE,
    ON_PLATES,
    SECOND,
    SECOND_TRIALS,
    SECOND_WHO,
    SUBJECT,
    TRIALS,
    UNDER_SOLE,
    WHO,
    foot_points,
    from_sole,
)

import physpose
from physpose import FitResult
from physpose.estimation import marker_sigma, step_forces
from physpose.estimation.step_forces import QUANTITIES, Gait, Stance
from physpose.io.forces import Forces, read_forces
from physpose.plausibility.recording import located
from physpose.types import Array, Wrench

TABLE = Path(__file__).resolve().parent.parent / "skeletons" / "step_forces.yaml"
THIRD = "osim/LaiArnoldSubject6"  # in the archive
MODEL = "LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim"
PHASE = np.linspace(0, 1, 21)
LEAST_SIGMA = np.array([0.06, 0.02, 0.014])  # of QUANTITIES: three people agree by chance here and there
INSIDE = 1.645  # sigma of a 90 % interval
LOADED = 0.03  # body weights: less tells no centre of pressure
WHOLE = 0.8  # of a stance, for which a plate is loaded at least


@dataclass(frozen=True)
class Walk:
    """One recording."""

    result: FitResult
    forces: Forces
    bearing: Array  # (T, C) belief of the fit that support points bear a force


def people(data: Path) -> Iterator[list[Walk]]:
    """The walks of each adult."""
    folder = data / SUBJECT
    yield [walk(next(folder.rglob(f"{n}.trc")), next(folder.rglob(f"{n}_grf.mot")), **WHO) for n in TRIALS["walking"]]
    folder = data / SECOND
    names = SECOND_TRIALS["walking, second adult"]
    yield [walk(folder / f"MarkerData/{n}.trc", folder / f"ID/{n}_grf.mot", **SECOND_WHO) for n in names]
    with tempfile.TemporaryDirectory() as place, tarfile.open(data / ARCHIVE) as packed:
        packed.extractall(place, filter="data", members=[m for m in packed if m.name.startswith(THIRD)])
        folder = Path(place) / THIRD
        mass = physpose.load_skeleton(folder / MODEL).mass
        yield [walk(folder / "walking1.trc", folder / "walking1_forces.mot", mass=mass)]


def walk(markers: Path, forces: Path, **who: float) -> Walk:
    """Fitted without the plates."""
    print(f"  {markers.name}", file=sys.stderr)
    with mock.patch("physpose.marker_pipeline.marker_sigma", wraps=marker_sigma.marker_sigma) as sigma:
        result = physpose.fit(markers, "adult", **who)
    return Walk(result, read_forces(forces).at(result.time), sigma.call_args.args[3])


# --- what plates say of a stance --------------------------------------------------------------------------------------


def gait_of(result: FitResult) -> Gait:
    points = located(result.skeleton.support_points, result.skeleton, result.positions, result.rotations)
    facing = result.rotations[:, 0, :, 0]
    return Gait(result.skeleton, result.time, result.positions, facing, result.com, points)


def curves(w: Walk) -> list[Array]:
    """(P, 4) load and QUANTITIES of each stance that one plate measured whole."""
    gait = gait_of(w.result)
    return [curve(plate, stance, gait) for stance, plate in measured_stances(w, gait)]


def measured_stances(w: Walk, gait: Gait) -> Iterator[tuple[Stance, Wrench]]:
    """Whole stances, and the plate that each foot alone was on."""
    for stance in step_forces.walking_stances(gait, w.bearing):
        yield from ((stance, plate) for plate in w.forces.wrenches if measures(plate, stance, w.result))


def weight(result: FitResult) -> float:
    return result.skeleton.mass * 9.81


def measures(plate: Wrench, stance: Stance, result: FitResult) -> bool:
    """Is the plate loaded by this foot alone, for the whole of its stance."""
    vertical = np.nan_to_num(plate.force[:, 2])
    loaded = vertical > ON_PLATES * weight(result)
    k = stance.frames
    if loaded[k].mean() < WHOLE:
        return False
    away = {side: from_sole(foot_points(result, side), np.nan_to_num(plate.cop))[loaded] for side in "rl"}
    other = {"r": "l", "l": "r"}[stance.side]
    return bool(np.median(away[stance.side]) < UNDER_SOLE and (away[stance.side] < away[other]).all())


def curve(plate: Wrench, stance: Stance, gait: Gait) -> Array:
    """(P, 4) load [body weights] and QUANTITIES over the phase."""
    k, side, ahead = stance.frames, stance.side, stance.ahead
    force = np.nan_to_num(plate.force[k]) / (gait.skeleton.mass * 9.81)
    sure = force[:, 2] > LOADED
    cop, com = np.where(sure[:, None], plate.cop[k], 0.0), gait.com[k]
    length = np.linalg.norm(gait.skeleton.bodies[gait.skeleton.body_index(f"toes_{side}")].joint.translation)
    left, h = np.cross([0.0, 0.0, 1.0], ahead), com[:, 2] - stance.floor
    pressure = (cop - gait.of(f"toes_{side}")[k]) @ ahead / length
    drive = force @ ahead / stance.step
    pitch = np.where(sure, np.cross(cop - com, force) @ left / (h * stance.step), 0.0)
    over = lambda y, ok=slice(None): np.interp(PHASE, stance.phase[ok], y[ok])  # noqa: E731
    return np.stack([over(force[:, 2]), over(pressure, sure), over(drive), over(pitch)], 1)


def wrench_errors(w: Walk) -> tuple[Array, Array]:
    """Of the force (n, 3) [body weights] and moment (n, 3) [body weights times stature] about the centre of mass that
    the motion needs, while one foot that a plate measures stands alone."""
    r, gait = w.result, gait_of(w.result)
    force, moment = needed(r, gait)
    sole = {side: step_forces.soles(r.skeleton, side) for side in "rl"}
    found = []
    for stance, plate in measured_stances(w, gait):
        k, other = stance.frames, {"r": "l", "l": "r"}[stance.side]
        alone = np.arange(k.start, k.stop)[w.bearing[k][:, sole[other]].max(1) < step_forces.TOUCHES]
        f = plate.force[alone]
        turn = np.cross(plate.cop[alone] - r.com[alone], f) + plate.free_moment[alone]
        found.append(np.concatenate([force[alone] - f, (moment[alone] - turn) / r.skeleton.subject.height], 1))
    errors = np.concatenate(found) / weight(r)
    return errors[:, :3], errors[:, 3:]


def needed(r: FitResult, gait: Gait) -> tuple[Array, Array]:
    """Force [N] and moment about the centre of mass [N.m] (T, 3): what the contacts gave, and the root's residual."""
    force, moment = (np.einsum("tij,tj->ti", r.rotations[:, 0], r.tau[:, i : i + 3]) for i in (0, 3))
    moment = moment + np.cross(r.positions[:, 0] - r.com, force)
    names = [p.name for p in r.skeleton.support_points]
    arms = gait.points[:, [names.index(n) for n in r.contacts.points]] - r.com[:, None]
    return force + r.contacts.force.sum(1), moment + np.cross(arms, r.contacts.force).sum(1)


# --- the table --------------------------------------------------------------------------------------------------------


def table(of_people: list[Array]) -> tuple[Array, Array]:
    """Mean and sigma (P, 4) from each person's curves (n, P, 4)."""
    means = np.array([c.mean(0) for c in of_people])
    n = len(means)
    between = means.var(0, ddof=1) * (n + 1) / n
    within = np.mean([c.var(0, ddof=1) for c in of_people if len(c) > 2], axis=0)
    return means.mean(0), np.sqrt(between + within)


def held(left_out: Array, others: list[Array]) -> Array:
    """(3,) part of a person's phases within the 90 % intervals of the others."""
    mean, sigma = table(others)
    off = np.abs(left_out - mean)[..., 1:] / np.maximum(sigma[:, 1:], LEAST_SIGMA)
    return (off < INSIDE).mean((0, 1))


def written(mean: Array, sigma: Array, wrench: tuple[float, float]) -> str:
    """The table as YAML."""
    row = lambda x: "[" + ", ".join(f"{v:.3f}" for v in x) + "]"  # noqa: E731
    lines = [
        "# The force under a foot that walks, over a stance from strike to toe-off: physpose/estimation/step_forces.py",
        "# says of what. By benchmarks/fit_step_forces.py, from force plates under three adults.",
        f"phase: {row(PHASE)}",
        f"load: {row(mean[:, 0])}",
    ]
    for name, x in (("mean", mean), ("sigma", np.maximum(sigma[:, 1:], LEAST_SIGMA))):
        lines += [f"{name}:", *(f"  {q}: {row(c)}" for q, c in zip(QUANTITIES, x.T[-3:], strict=True))]
    return "\n".join([*lines, f"wrench_sigma: [{wrench[0]:.3f}, {wrench[1]:.3f}]", ""])


def main() -> int:
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if not os.environ.get("PHYSPOSE_DATA") or not (data / SUBJECT).is_dir():
        print("fit_step_forces: skipped, PHYSPOSE_DATA has no Subject4")
        return 0
    walks = list(people(data))
    of_people = [np.array([c for w in mine for c in curves(w)]) for mine in walks]
    print("stances:", ", ".join(str(len(c)) for c in of_people))
    print(f"within 90 % of the others' intervals: {'':8s}" + "".join(f"{q:>10s}" for q in QUANTITIES))
    for i, left_out in enumerate(of_people):
        parts = held(left_out, [c for k, c in enumerate(of_people) if k != i])
        print(f"  person {i + 1}{'':37s}" + "".join(f"{100 * x:8.0f} %" for x in parts))
    errors = [[np.concatenate(x) for x in zip(*map(wrench_errors, mine), strict=True)] for mine in walks]
    rms = [float(np.sqrt(np.mean([(e[k] ** 2).mean(0) for e in errors], axis=0).max())) for k in (0, 1)]  # worst axis
    print(f"error of the needed wrench: {100 * rms[0]:.1f} % of body weight, {100 * rms[1]:.1f} % of it times stature")
    text = written(*table(of_people), (rms[0], rms[1]))
    print(text)
    if "--write" in sys.argv[1:]:
        TABLE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
