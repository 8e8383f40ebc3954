"""Are the standard deviations of fits to markers right? Against simulations, force plates, and moments from plates.

    PHYSPOSE_DATA=... python benchmarks/marker_sigma.py [--fits 8]

"walk", "squat", simulated: fitted again and again with markers that are spread about their usual places, of a person
whose proportions are drawn, on skin that slides as recordings' residuals say (benchmarks/skin.py): SKIN of the table's
soft tissue, a Matern process of 0.1 s. "walk, skin by stride": the skin's motion is periodic with the stride instead,
three harmonics, as soft tissue artefacts mostly are. Height and mass given, a standing trial too; the truth's torques
and forces as in benchmarks/uncertainty.py, whose columns these are.

"total force": of real people, from markers alone, against plates, one gain a kind removed: RMS error and sigma of the
force that the motion needs [% of body weight], fore-aft / sideways / vertical, and the part of frames within 90 %
intervals (frames as benchmarks/lab_forces.py takes them). "plates below 6 Hz": the children's markers come low-passed
there, and tell nothing of faster forces.

"moments": of nine children from markers alone, against those from the same markers with the plates' forces, over the
same stances (benchmarks/lab_children.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import lab_children
import lab_forces
import numpy as np
import shared_loads
import torch
import uncertainty
from lab_forces import SUBJECT, walking_axes
from torque_noise import ADULT, people

import physpose
from physpose import FitResult, KinematicChain
from physpose.estimation import marker_sigma
from physpose.estimation.marker_sigma import MarkerEvidence
from physpose.estimation.skin import wandering
from physpose.estimation.wrench import Stencil
from physpose.io.forces import Forces
from physpose.progress import SILENT
from physpose.skeleton.marker_names import soft_tissue_of, spread_of
from physpose.types import Array, Markers
from sims import planted, walk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lab_walk import LABELS  # noqa: E402

RESULT = Path(__file__).parent / "results" / "marker_sigma.json"
RATE = 100.0  # [1/s] of the simulated markers
SKIN = 0.35  # of the table's soft tissue, see above
NOISE = 0.0003  # [m] white
INSIDE = uncertainty.INSIDE
AXES = ("fore-aft", "sideways", "vertical")
FILTERED = 6.0  # [Hz] of the children's markers


# --- looking over a fit's shoulder ------------------------------------------------------------------------------------


def watched_trials(data: Path) -> Iterator[tuple[str, FitResult, Forces, MarkerEvidence]]:
    """As ``shared_loads.trials``, with what each motion was found from."""
    with mock.patch("physpose.marker_pipeline.marker_sigma", wraps=marker_sigma.marker_sigma) as sigma:
        for kind, result, forces in shared_loads.trials(data):
            yield kind, result, forces, sigma.call_args.args[0]


def needed_force_sigma(seen: MarkerEvidence, result: FitResult, axes: Array) -> Array:
    """(T, 3) [N] of the force that the motion needs, along ``axes`` (rows)."""
    problem, q = seen.problem, torch.as_tensor(result.q)
    skin, parts = marker_sigma.wander_of(seen, q), []
    for cut, keep in marker_sigma.pieces(len(q)):
        covariance, jerk = marker_sigma.marker_covariance(seen, q[cut], skin, cut)
        time = torch.as_tensor(result.time[cut])
        com = problem.body.segments.com(problem.body.kinematics(problem.chain, problem.state(q[cut])).J)
        com = torch.as_tensor(axes) @ com
        weights, first = Stencil.of(time).second(), torch.arange(len(time) - 2)
        J = torch.cat([w[:, :, None] * com[k : len(com) - 2 + k] for k, w in enumerate(weights)], -1)
        between = 0.5 * (time[2:] - time[:-2])[:, None] / 10 * jerk[1:-1] ** 2
        squared = ((J @ covariance.windows(first, 3)) * J).sum(-1) + (com[1:-1] ** 2 @ between[..., None])[..., 0]
        whole = torch.cat([squared[:1], squared, squared[-1:]]).sqrt().numpy()
        parts.append(whole[keep.start - cut.start : keep.stop - cut.start])
    return result.skeleton.mass * np.concatenate(parts)


# --- simulated --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Worn:
    """A motion that is known, under markers."""

    case: uncertainty.Case
    by_stride: float | None = None  # [s] period of the skin's motion; None: it wanders

    def markers(self, q: Array, time: Array, places: Array, seed: int) -> Markers:
        """Seen at poses q, on skin that slides from ``places`` (M, 3), body axes."""
        body, rng = self.case.skeleton, np.random.default_rng(seed)
        points = [self.points[n] for n in LABELS.values()]
        frames = KinematicChain(body).fk(torch.as_tensor(q))
        index = [body.body_index(p.body) for p in points]
        slid = places + self.skin(time, [p.body for p in points], seed) * (len(time) > 1)
        at = frames.p[:, index].numpy() + (frames.R[:, index].numpy() @ slid[..., None])[..., 0]
        at += NOISE * rng.standard_normal(at.shape)
        return Markers(names=tuple(LABELS), time=time, positions=at, rate=RATE, source="simulation")

    @property
    def points(self) -> dict[str, object]:
        return {p.name: p for p in self.case.skeleton.keypoint_set("markers").points}

    def skin(self, time: Array, bodies: list[str], seed: int) -> Array:
        """(T, M, 3) [m]."""
        size = SKIN * self.grown * np.array([soft_tissue_of(b) for b in bodies])[:, None]
        if self.by_stride is None:
            generator = torch.Generator().manual_seed(1000 + seed)
            x = wandering(torch.as_tensor(time), 3 * len(bodies), 0.1, generator).numpy()
            return size * x.reshape(len(time), -1, 3)
        rng = np.random.default_rng(1000 + seed)
        cycles = np.arange(1, 4)
        a = rng.standard_normal((2, 3, len(bodies), 3)) / cycles[:, None, None] / np.sqrt((1 / cycles**2).sum())
        angle = 2 * np.pi * time[:, None] / self.by_stride * cycles
        return size * (np.einsum("tk,kmi->tmi", np.cos(angle), a[0]) + np.einsum("tk,kmi->tmi", np.sin(angle), a[1]))

    @property
    def grown(self) -> float:
        return ADULT["height"] / 1.70

    def fit(self, seed: int) -> FitResult:
        truth, rng = self.case.truth, np.random.default_rng(500 + seed)
        points = [self.points[n] for n in LABELS.values()]
        spread = self.grown * np.array([spread_of(p.name) for p in points])
        places = np.stack([p.offset for p in points]) + spread * rng.standard_normal(spread.shape)
        still = self.markers(self.case.skeleton.neutral[None], np.zeros(1), places, seed + 77)
        moving = self.markers(truth.q, truth.time, places, seed)
        return physpose.fit(moving, "adult", static=still, progress=SILENT, **ADULT)


def cases() -> dict[str, Worn]:
    one, other = people(2)
    walking = at_rate(uncertainty.of_simulation, walk.simulate(one, 2.5, fps=RATE))
    squat = planted.simulate(other, planted.DURATION["squat"], motion="squat", fps=RATE)
    return {
        "walk": Worn(case=walking),
        "walk, skin by stride": Worn(case=walking, by_stride=walk.cycle(one)),
        "squat": Worn(case=at_rate(uncertainty.of_simulation, squat)),
    }


def at_rate(make, sim):  # noqa: ANN001, ANN201
    """A case whose frames are the markers'."""
    with mock.patch("uncertainty.FPS", RATE):
        return make(sim)


def compared(worn: Worn, fits: list[FitResult]) -> dict[str, dict[str, float]]:
    """Figures of ``uncertainty.compared``: markers have the world of the laboratory, which is the truth's."""
    with mock.patch("uncertainty.into_the_fits_world", return_value=(np.eye(3), np.zeros(3))):
        return uncertainty.compared(worn.case, fits)


# --- measured ---------------------------------------------------------------------------------------------------------


def total_forces(data: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Kind -> axis -> figures."""
    rows: dict[str, list[tuple[Array, Array, Array]]] = {}
    for kind, result, forces, seen in watched_trials(data):
        print(f"  {kind}: {result.source}", file=sys.stderr)
        weight = result.skeleton.mass * 9.81
        sigma = needed_force_sigma(seen, result, walking_axes(result)) / weight
        for name, cutoff in ((kind, lab_forces.LOWPASS), (f"{kind}, plates below 6 Hz", FILTERED)):
            if cutoff == lab_forces.LOWPASS or kind == "children":
                with mock.patch("lab_forces.LOWPASS", cutoff):
                    trial, use = trial_of(result, forces, kind)
                rows.setdefault(name, []).append((trial.found, trial.measured, sigma[use]))
    return {name: force_figures(x) for name, x in rows.items()}


def trial_of(result: FitResult, forces: Forces, kind: str) -> tuple[lab_forces.Trial, Array]:
    """With the frames that count."""
    used: list[Array] = []
    keep = lab_forces.feet_error
    with mock.patch("lab_forces.feet_error", lambda r, f, use: used.append(use) or keep(r, f, use)):
        trial = lab_forces.trial_of("", result, forces, kind.split(",")[0])
    return trial, used[0]


def force_figures(rows: list[tuple[Array, Array, Array]]) -> dict[str, dict[str, float]]:
    gain = sum(m[:, 2].sum() for _, m, _ in rows) / sum(f[:, 2].sum() for f, _, _ in rows)
    error = np.concatenate([gain * f - m for f, m, _ in rows])
    sigma = np.concatenate([s for _, _, s in rows])
    return {a: coverage(error[:, i], sigma[:, i]) for i, a in enumerate(AXES)}


def coverage(error: Array, sigma: Array) -> dict[str, float]:
    rms = lambda x: float(np.sqrt(np.mean(x**2)))  # noqa: E731
    inside = float((np.abs(error) < INSIDE * sigma).mean())
    return {"error": rms(error), "sigma": rms(sigma), "inside": inside, "frames": len(error)}


def moments(data: Path) -> dict[str, dict[str, float]]:
    """Joint -> figures [N.m/kg]."""
    rows: dict[str, list[tuple[Array, Array]]] = {j: [] for j in lab_children.JOINTS}
    for folder in sorted((data / lab_children.FOLDER).iterdir()):
        with_plates, _ = lab_children.fitted(folder, "markers")
        alone, _ = lab_children.fitted(folder, "no plates")
        assert alone.sigma is not None
        for side, stance in lab_children.stances(with_plates).items():
            for joint, (name, _) in lab_children.JOINTS.items():
                i = 6 + alone.skeleton.coordinate_names.index(f"{name}_{side}")
                error = (alone.tau - with_plates.tau)[stance.on, i] / alone.skeleton.mass
                rows[joint].append((error, alone.sigma.tau[stance.on, i] / alone.skeleton.mass))
    return {j: coverage(*(np.concatenate(x) for x in zip(*r, strict=True))) for j, r in rows.items()}


# --- the tables -------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=8, help="of each simulation (default: 8)")
    args = parser.parse_args()
    if args.fits < 2:
        parser.error(f"--fits {args.fits}: at least 2 fits have a spread")
    report: dict = {"machine": platform.machine(), "python": platform.python_version(), "fits": args.fits, "cases": {}}
    for name, worn in cases().items():
        fits = [worn.fit(seed) for seed in range(args.fits)]
        report["cases"][name] = compared(worn, fits)
        uncertainty.show(name, args.fits, report["cases"][name], 0.0)
    data = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if os.environ.get("PHYSPOSE_DATA") and (data / SUBJECT).is_dir():
        report |= {"total force": total_forces(data), "moments": moments(data)}
        for kind, row in report["total force"].items():
            share = ("error", 8.1), ("sigma", 7.1), ("inside", 6.0)
            cells = "".join(f"{100 * r[n]:{width}f}" for r in row.values() for n, width in share)
            print(f"{kind:34s}{row['vertical']['frames']:6d}{cells}")
        for joint, r in report["moments"].items():
            print(f"{joint:8s}{r['error']:7.2f}{r['sigma']:7.2f} N.m/kg{100 * r['inside']:6.0f} %")
    else:
        print("marker_sigma: plates skipped, PHYSPOSE_DATA has no Subject4")
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
