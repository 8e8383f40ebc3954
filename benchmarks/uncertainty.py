"""Is the spread of many fits what each of them says of itself? A Monte Carlo check of every standard deviation.

    PHYSPOSE_DATA=... python benchmarks/uncertainty.py [--fits 12] [--cases walk squat video]

One motion is fitted again and again, each time with fresh errors of its keypoints, drawn as the estimator takes them to
be: as large as each keypoint's spread in the skeleton file, lasting 0.2 s, and 0.7 of that in the body's own axes all
through the clip; the detector's depths, where there are any, with 0.1 m along the line of sight. Focal length, height
and mass given, all settings the defaults; the people's proportions are drawn from what is known of people's, and the
fit is not told.

"walk", "squat": simulations; "walk 2 px": the same walk with white errors of 2 px, far fewer than the estimator reckons
with. "video": a phone's clip of a walk; what is drawn anew is the error about the motion that was found in it, which
then is the truth.

sigma: reported, RMS over frames and components. spread: standard deviation over the fits, RMS likewise. error: of the
fits from the truth, RMS. spread/s tells of the noise alone. What of the error is no spread comes again with each fit,
as what smoothness, usual postures and the rules of contact prefer over what is seen; sigma is to hold both: error/s.
inside: the part of all frames and components in which the 90 % interval holds the truth.

The truth's torques and forces are those that the same rules of contact give for the true motion and its true rates.
Sigma holds that feet, heels and toes may share their load otherwise: "torques, legs, simulated" are the simulation's
own, whose feet do. "torques, legs, of motion": against the same rules' torques with that part of sigma left out; how
much of the variance it is, is told above the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opencap_clips import CLIPS
from torque_noise import ADULT, EARTH, PIXELS, lasting, people, resting

import physpose
from physpose import FitResult, KinematicChain
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.settings import EstimationSettings
from physpose.progress import SILENT
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D, Motion
from sims import planted, walk
from sims.common import Simulation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic import beside  # noqa: E402

FPS = 30.0
EDGE = 0.2  # [s] at both ends, which are left out
DEPTH = (0.03, 0.03, 0.10)  # [m] errors of a detector's depths, camera x, y, z
LASTING = EstimationSettings().lasting
INSIDE = 1.645  # sigma of a 90 % interval
VIDEO = "opencap_visualizer_samples/public/samples/walk/video.mp4"
LEGS = ("hip", "knee", "ankle", "subtalar", "mtp")
UNITS = {
    "angles": ("deg", 180 / np.pi), "angles, legs": ("deg", 180 / np.pi), "velocities": ("deg/s", 180 / np.pi),
    "accelerations": ("rad/s^2", 1.0), "torques": ("N.m", 1.0), "torques, legs": ("N.m", 1.0),
    "torques, legs, of motion": ("N.m", 1.0), "torques, legs, simulated": ("N.m", 1.0), "contact forces": ("N", 1.0),
    "joint centres": ("mm", 1e3), "centre of mass": ("mm", 1e3), "momentum": ("kg.m/s", 1.0),
    "angular momentum": ("kg.m^2/s", 1.0), "kinetic energy": ("J", 1.0), "potential energy": ("J", 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A motion that is known, and how it is seen."""

    truth: Motion
    skeleton: Skeleton
    camera: Camera
    keypoint_set: str
    depths: bool  # does the detector give them?
    who: dict[str, Any]
    confidence: Array  # (T, K)
    white: float | None = None  # [px] of the errors, if they are white
    tau: Array | None = None  # (T, nv) the simulation's own

    def seen(self, seed: int) -> Keypoints2D:
        """Keypoints with errors of their own."""
        rng = np.random.default_rng(seed)
        kset = self.skeleton.keypoint_set(self.keypoint_set)
        chain = KinematicChain(self.skeleton)
        places = chain.points(kset.points)
        moved = LASTING * kset.sigma[:, None] * rng.standard_normal((len(kset.sigma), 3))
        if self.white is None:  # where the detector sees them on this body
            places = places._replace(offset=places.offset + torch.as_tensor(moved))
        points = chain.locate(chain.fk(torch.as_tensor(self.truth.q)), places).numpy()
        before = self.camera.to_camera(points)
        uv, shape = self.camera.project(points), points.shape[:2]
        if self.white is None:
            uv = uv + (kset.sigma * self.camera.focal / before[..., 2])[..., None] * lasting((*shape, 2), rng)
        else:
            uv = uv + self.white * rng.standard_normal(uv.shape)
        hips = [kset.names.index("left_hip"), kset.names.index("right_hip")]
        depths = before - before[:, hips].mean(1, keepdims=True) + DEPTH * lasting((*shape, 3), rng)
        return Keypoints2D(
            keypoint_set=self.keypoint_set, names=kset.names, time=self.truth.time, uv=uv[None],
            confidence=self.confidence[None], landmarks=depths[None] if self.depths else None,
            image_size=self.camera.image_size, source="simulation",
        )  # fmt: skip

    def fit(self, seed: int) -> FitResult:
        return physpose.fit(self.seen(seed), camera=self.camera.focal, progress=SILENT, **self.who)


def of_simulation(sim: Simulation, white: float | None = None) -> Case:
    """Seen by one phone, by a detector that gives no depths."""
    keep = np.arange(0, len(sim.time), round(1 / FPS / (sim.time[1] - sim.time[0])))
    q, t = sim.q[keep], sim.time[keep]
    belief = resting(KinematicChain(sim.skeleton), q, t)
    truth, _ = dynamics_of(sim.skeleton, t, q, belief, np.array(EARTH), rates=(sim.v[keep], sim.a[keep]))
    K = len(sim.skeleton.keypoint_set("blazepose33").names)
    return Case(truth=truth, skeleton=sim.skeleton, camera=beside(sim), keypoint_set="blazepose33", depths=False,
                who=ADULT, confidence=np.ones((len(t), K)), white=white, tau=sim.tau[keep])  # fmt: skip


def of_video() -> Case:
    """About what was found in a video; keypoints as sure as the detector was."""
    data = os.environ.get("PHYSPOSE_DATA")
    if not data:
        raise SystemExit("set PHYSPOSE_DATA to the folder that holds opencap_visualizer_samples, or leave out 'video'")
    who = {"height": CLIPS["walk"], "mass": 60.0}
    found = physpose.fit(Path(data) / VIDEO, progress=SILENT, **who)
    assert found.camera is not None
    assert found.keypoints is not None
    kp = found.keypoints
    return Case(truth=found, skeleton=found.skeleton, camera=found.camera, keypoint_set=kp.keypoint_set,
                depths=kp.landmarks is not None, who=who, confidence=kp.confidence[0])  # fmt: skip


def cases() -> dict[str, Callable[[], Case]]:
    one, other = people(2)
    return {
        "walk": lambda: of_simulation(walk.simulate(one, 2.5)),
        "walk 2 px": lambda: of_simulation(walk.simulate(one, 2.5), PIXELS),
        "squat": lambda: of_simulation(planted.simulate(other, planted.DURATION["squat"], motion="squat")),
        "video": of_video,
    }


# --- comparison -------------------------------------------------------------------------------------------------------


def values(m: Motion, body: Skeleton, turn: Array, shift: Array) -> Iterator[tuple[str, Array]]:
    """Quantities (T, n), places and vectors turned about the vertical and shifted."""
    T, legs = len(m.time), legs_of(body)
    yield "angles", m.q[:, 7:]
    yield "angles, legs", m.q[:, 7:][:, legs]
    yield "velocities", m.v[:, 6:]
    yield "accelerations", m.a[:, 6:]
    yield "torques", m.tau[:, 6:]
    yield "torques, legs", m.tau[:, 6:][:, legs]
    yield "contact forces", (m.contacts.force @ turn.T).reshape(T, -1)
    yield "joint centres", (m.positions @ turn.T + shift).reshape(T, -1)
    yield "centre of mass", m.com @ turn.T + shift
    yield "momentum", m.momentum[:, :3] @ turn.T
    yield "angular momentum", m.momentum[:, 3:] @ turn.T
    yield "kinetic energy", m.energy.kinetic[:, None]
    yield "potential energy", m.energy.potential[:, None]


def sigmas(r: FitResult) -> Iterator[tuple[str, Array]]:
    """Of the same quantities."""
    s, T, legs = r.sigma, len(r.time), legs_of(r.skeleton)
    assert s is not None
    yield "angles", s.q[:, 6:]
    yield "angles, legs", s.q[:, 6:][:, legs]
    yield "velocities", s.v[:, 6:]
    yield "accelerations", s.a[:, 6:]
    yield "torques", s.tau[:, 6:]
    yield "torques, legs", s.tau[:, 6:][:, legs]
    yield "contact forces", s.force.reshape(T, -1)
    yield "joint centres", s.positions.reshape(T, -1)
    yield "centre of mass", s.com
    yield "momentum", s.momentum[:, :3]
    yield "angular momentum", s.momentum[:, 3:]
    yield "kinetic energy", s.energy.kinetic[:, None]
    yield "potential energy", s.energy.potential[:, None]


def legs_of(body: Skeleton) -> list[int]:
    return [i for i, n in enumerate(body.coordinate_names) if n.startswith(LEGS)]


def into_the_fits_world(case: Case, fit: FitResult) -> tuple[Array, Array]:
    """Turn (3, 3) about the vertical and shift (3,), from the truth's world: by the camera's heading and place."""
    assert fit.camera is not None
    yaw = [np.arctan2(*c.R_camera_world[2, 1::-1]) for c in (case.camera, fit.camera)]
    c, s = np.cos(yaw[1] - yaw[0]), np.sin(yaw[1] - yaw[0])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    shift = fit.camera.position - turn @ case.camera.position
    return turn, shift * [1, 1, 0]


def compared(case: Case, fits: list[FitResult]) -> dict[str, dict[str, float]]:
    """Name of a quantity -> figures."""
    t = case.truth.time
    inside = (t > t[0] + EDGE) & (t < t[-1] - EDGE)
    truth = {n: [] for n in UNITS}
    found, sigma = {n: [] for n in UNITS}, {n: [] for n in UNITS}
    for fit in fits:
        said = dict(sigmas(fit))
        for name, x in values(case.truth, case.skeleton, *into_the_fits_world(case, fit)):
            truth[name].append(x)
        for name, x in values(fit, fit.skeleton, np.eye(3), np.zeros(3)):
            found[name].append(x)
            sigma[name].append(said[name])
    same, moved, own = "torques, legs", "torques, legs, of motion", "torques, legs, simulated"
    truth[moved], found[moved] = truth[same], found[same]
    sigma[moved] = [np.sqrt(np.maximum(s**2 - shared(f), 0)) for s, f in zip(sigma[same], fits, strict=True)]
    if case.tau is not None:
        truth[own] = [case.tau[:, 6:][:, legs_of(case.skeleton)]] * len(fits)
        found[own], sigma[own] = found[same], sigma[same]
    out = {}
    for name in (n for n in UNITS if found[n]):
        x, s, y = (np.stack(v)[:, inside] * UNITS[name][1] for v in (found[name], sigma[name], truth[name]))
        out[name] = figures(x, s, y)
    return out


def figures(found: Array, sigma: Array, truth: Array) -> dict[str, float]:
    """Of values (fits, T, n); what nobody doubts, as the force of a foot in the air, is left out."""
    doubted = (sigma > 1e-3 * sigma.max()).all(0)
    x, s, y = found[:, doubted], sigma[:, doubted], truth[:, doubted]
    rms = lambda v: float(np.sqrt(np.mean(v**2)))  # noqa: E731
    spread, reported, error = rms(x.std(0, ddof=1)), rms(s), rms(x - y)
    return {
        "sigma": reported, "spread": spread, "error": error, "spread/sigma": spread / reported,
        "error/sigma": error / reported, "inside": float((np.abs(x - y) < INSIDE * s).mean()),
    }  # fmt: skip


def shared(fit: FitResult) -> Array:
    """Variance (T, n) [N^2.m^2] of the legs' torques that is the contacts': how they share a load in any one motion."""
    body, chain = fit.skeleton, KinematicChain(fit.skeleton)
    names = [p.name for p in body.support_points]
    belief = np.zeros((len(fit.time), len(names)))
    belief[:, [names.index(n) for n in fit.contacts.points]] = fit.contacts.active
    _, forces = dynamics_of(body, fit.time, fit.q, belief, fit.gravity)
    assert forces is not None
    frames = chain.fk(torch.as_tensor(fit.q))
    points = chain.points(body.support_points)
    J = chain.point_jacobian(frames, points, chain.locate(frames, points)).flatten(1, 2)
    # tau = ... - J' f
    return ((J.mT @ forces.covariance) * J.mT).sum(-1).numpy()[:, 6:][:, legs_of(body)]


# --- the table --------------------------------------------------------------------------------------------------------


def show(name: str, n: int, rows: dict[str, dict[str, float]], seconds: float) -> None:
    whole, motion = (rows[q]["sigma"] for q in ("torques, legs", "torques, legs, of motion"))
    part = 100 * (1 - (motion / whole) ** 2)
    print(f"\n{name}: {n} fits, {seconds:.0f} s; of the variance of the legs' torques {part:.0f} % are shared loads")
    print(f"{'':26s}{'unit':>9s}{'sigma':>9s}{'spread':>9s}{'error':>9s}{'spread/s':>10s}{'error/s':>9s}{'inside':>8s}")
    for quantity, r in rows.items():
        print(
            f"{quantity:26s}{UNITS[quantity][0]:>9s}{r['sigma']:9.2f}{r['spread']:9.2f}{r['error']:9.2f}"
            f"{r['spread/sigma']:10.2f}{r['error/sigma']:9.2f}{100 * r['inside']:6.0f} %",
            flush=True,
        )


def main() -> int:
    known = cases()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=12, help="of each case (default: 12)")
    parser.add_argument("--cases", nargs="+", choices=list(known), default=list(known))
    args = parser.parse_args()
    if args.fits < 2:
        parser.error(f"--fits {args.fits}: at least 2 fits have a spread")
    report: dict = {"machine": platform.machine(), "python": platform.python_version(), "fits": args.fits, "cases": {}}
    for name in args.cases:
        case, start = known[name](), clock.perf_counter()
        fits = [case.fit(seed) for seed in range(args.fits)]
        report["cases"][name] = compared(case, fits)
        show(name, args.fits, report["cases"][name], clock.perf_counter() - start)
    out = Path(__file__).parent / "results" / "uncertainty.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
