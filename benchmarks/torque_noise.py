"""How much of the keypoints' noise reaches the joint torques, and whether the fit knows it.

    python benchmarks/torque_noise.py

Simulated motions seen by one phone, or by three whose places are known, 60 pictures a second, two kinds of error of the
2D keypoints: "white", 2 px, independent from picture to picture, which the settings are told; and "lasting", with the
spread that each keypoint has in the skeleton file and a memory of 0.2 s, as detectors err, with the default settings.
No 3D of a detector. Focal length, height, mass given; the two people's proportions are drawn from what is known of
people's, and the fit is not told.

Against it "fit, filter, differentiate": the same camera model and body, every picture fitted by itself (no smoothness,
no physics; usual postures and joint limits as in the fit), coordinates filtered at 6 Hz (Butterworth, zero lag, 4th
order), differentiated, torques with contact forces found from that motion by the same rules.

The truth is what the same rules of contact give for the true motion, its velocities and accelerations: how forces are
shared between feet is not noise. Error: RMS of the flexion torques of hips, knees and ankles [N.m], 0.2 s at both ends
left out, over two draws of each person's keypoints. Noise: the standard deviation over the draws, RMS. What of the
error is no noise comes again with each draw: wrong proportions, what smoothness takes off the motion (the simulated
walk sets its feet down hard, and its torques jump within a frame or two), and where contacts are found. Coverage: the
part of frames and coordinates in which the truth lies within 1.645 sigma: 90 % is right.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.signal import butter, sosfiltfilt

import physpose
from physpose import FitResult, KinematicChain, load_skeleton
from physpose.estimation.contact import contact_belief
from physpose.estimation.derivatives import derivatives
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.problem import stature_gradient
from physpose.estimation.settings import EstimationSettings
from physpose.progress import SILENT
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D
from sims import planted, walk
from sims.common import EARTH, Simulation

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic import beside, filmed, phone  # noqa: E402  what a camera makes of a simulation

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}
FPS, PIXELS = 60.0, 2.0
MEMORY = 0.2  # [s]
CUTOFF = 6.0  # [Hz]
EDGE = 0.2  # [s]
PEOPLE, DRAWS = 2, 2
JOINTS = ("hip_flexion", "knee_angle", "ankle_angle")
COORDINATES = tuple(f"{n}_{s}" for n in JOINTS for s in "rl")
MOTIONS: dict[str, Callable[[Skeleton], Simulation]] = {
    "walk": lambda body: walk.simulate(body, 3.0),
    "squat": lambda body: planted.simulate(body, planted.DURATION["squat"], motion="squat"),
}
WHITE = EstimationSettings(keypoint_correlation_time=1 / FPS)


def seen(sim: Simulation, camera: Camera, kind: str, seed: int) -> tuple[Keypoints2D, Array]:
    """Keypoints with an error of the kind, and which frames were filmed."""
    keypoints, keep = filmed(sim, camera, fps=FPS, noise=0.0, landmark_noise=None, seed=seed)
    rng = np.random.default_rng(seed)
    shape = keypoints.uv[0].shape
    if kind == "white":
        error = PIXELS * rng.standard_normal(shape)
    else:
        depth = camera.to_camera(sim.q[keep][:, None, :3])[:, 0, 2]
        sigma = sim.skeleton.keypoint_set(keypoints.keypoint_set).sigma * (camera.focal / depth)[:, None]
        error = sigma[..., None] * lasting(shape, rng)
    return replace(keypoints, uv=keypoints.uv + error), keep


def lasting(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Of unit variance, with an exponential memory."""
    stay = np.exp(-1 / (FPS * MEMORY))
    x = rng.standard_normal(shape)
    for t in range(1, len(x)):
        x[t] = stay * x[t - 1] + np.sqrt(1 - stay**2) * x[t]
    return x


def cameras_of(sim: Simulation, several: bool) -> list[Camera]:
    if not several:
        return [beside(sim)]
    x, y, z = sim.q[:, :3].mean(0)
    angles = np.radians((-60.0, 60.0, 180.0))
    return [phone(at=(x + 3.5 * np.cos(a), y + 3.5 * np.sin(a), 1.2), look_at=(x, y, float(0.95 * z))) for a in angles]


def fitted(views: list[Keypoints2D], cameras: list[Camera], settings: EstimationSettings) -> FitResult:
    if len(views) == 1:
        return physpose.fit(views[0], camera=cameras[0].focal, settings=settings, progress=SILENT, **ADULT)
    return physpose.fit(views, camera=cameras, settings=settings, progress=SILENT, **ADULT)


def filtered(result: FitResult) -> Array:
    """Torques (T, nv) of a fit whose pictures stand for themselves, filtered and differentiated."""
    sos = butter(2, CUTOFF, fs=FPS, output="sos")
    q = result.q.copy()
    quat = q[:, 3:7] * np.sign((q[:, 3:7] * q[:1, 3:7]).sum(1, keepdims=True))
    q[:, 3:7] = quat
    q = sosfiltfilt(sos, q, axis=0).copy()
    q[:, 3:7] /= np.linalg.norm(q[:, 3:7], axis=1, keepdims=True)
    chain = KinematicChain(result.skeleton)
    rates = derivatives(chain, result.time, q)
    belief = resting(chain, q, result.time)
    return dynamics_of(result.skeleton, result.time, q, belief, np.array(EARTH), rates=rates)[0].tau


def resting(chain: KinematicChain, q: Array, time: Array) -> Array:
    """Belief (T, C) in contact by the estimator's own rule, the floor being where the lowest points mostly are."""
    s = EstimationSettings()
    p = chain.locate(chain.fk(torch.as_tensor(q)), chain.points(chain.skeleton.contact_points))
    p[..., 2] -= p[..., 2].amin(1).median()
    return contact_belief(p, torch.as_tensor(time), s.contact_speed, s.contact_height).numpy()


def frame_by_frame(settings: EstimationSettings) -> EstimationSettings:
    """No smoothness, no physics."""
    loose = {
        name: {k: 1e4 * x for k, x in getattr(settings, name).items()} for name in ("jerk_sigma", "acceleration_sigma")
    }
    return replace(settings, physics="none", **loose)


def errors(tau: Array, truth: Array) -> dict[str, float]:
    """Of torques (draws, T, 6) of the coordinates against the truth (T, 6): all, each joint's, and the draws' noise."""
    rms = lambda x: float(np.sqrt((x**2).mean()))  # noqa: E731
    joints = {name: rms((tau - truth)[..., 2 * i : 2 * i + 2]) for i, name in enumerate(JOINTS)}
    return {"error": rms(tau - truth), "noise": rms(tau.std(0, ddof=1)), **joints}


def coverage(
    result: FitResult, sim: Simulation, truth: Array, keep: Array, columns: list[int], inside: Array
) -> dict[str, float]:
    """Part of frames and coordinates whose truth lies in the 90 % interval."""
    assert result.sigma is not None
    pairs = {
        "angles": (result.q[:, 1:] - sim.q[keep][:, 1:], result.sigma.q),
        "velocities": (result.v - sim.v[keep], result.sigma.v),
        "torques": (result.tau - truth, result.sigma.tau),
    }
    return {
        name: float((np.abs(d)[np.ix_(inside, columns)] < 1.645 * s[np.ix_(inside, columns)]).mean())
        for name, (d, s) in pairs.items()
    }


def reference(sim: Simulation, keep: Array) -> Array:
    """Torques (T, nv) of the true motion, contacts by the estimator's rules."""
    q, rates = sim.q[keep], (sim.v[keep], sim.a[keep])
    belief = resting(KinematicChain(sim.skeleton), q, sim.time[keep])
    return dynamics_of(sim.skeleton, sim.time[keep], q, belief, np.array(EARTH), rates=rates)[0].tau


def row(sim: Simulation, kind: str, several: bool) -> dict:
    cameras = cameras_of(sim, several)
    settings = WHITE if kind == "white" else EstimationSettings()
    columns = [6 + sim.skeleton.coordinate_names.index(n) for n in COORDINATES]
    ours, peers, covers = [], [], []
    for draw in range(DRAWS):
        pictures = [seen(sim, c, kind, len(cameras) * draw + i) for i, c in enumerate(cameras)]
        views, keep = [k for k, _ in pictures], pictures[0][1]
        time, truth = sim.time[keep], reference(sim, keep)
        inside = (time > time[0] + EDGE) & (time < time[-1] - EDGE)
        chosen = np.ix_(inside, columns)
        full = fitted(views, cameras, settings)
        ours.append(full.tau[chosen])
        peers.append(filtered(fitted(views, cameras, frame_by_frame(settings)))[chosen])
        covers.append(coverage(full, sim, truth, keep, columns, inside))
    return {
        "truth": {"torque": float(np.sqrt((truth[chosen] ** 2).mean()))},
        "physpose": errors(np.stack(ours), truth[chosen]),
        "peer": errors(np.stack(peers), truth[chosen]),
        "coverage": {name: float(np.mean([c[name] for c in covers])) for name in covers[0]},
    }


def show(name: str, kind: str, several: bool, r: dict) -> None:
    cover = ", ".join(f"{k} {100 * v:.0f}" for k, v in r["coverage"].items())
    ours, peer = r["physpose"], r["peer"]
    each = "".join(f"{ours[j]:6.1f} /{peer[j]:6.1f} " for j in ("error", *JOINTS, "noise"))
    ratios = f"{peer['error'] / ours['error']:7.1f}{peer['noise'] / ours['noise']:7.1f}"
    truth = r["truth"]["torque"]
    print(f"{name:8s}{kind:9s}{3 if several else 1:<8d}{truth:6.1f}{each}{ratios}  {cover}", flush=True)


def people(n: int) -> list[Skeleton]:
    """Adults of one height, of proportions drawn from the skeleton's own spreads."""
    body, rng = load_skeleton("adult", **ADULT), np.random.default_rng(0)
    gradient = stature_gradient(KinematicChain(body)).numpy()
    found = []
    for _ in range(n):
        scale = rng.standard_normal(len(gradient)) * [g.sigma for g in body.scale_groups]
        scale -= gradient * (gradient @ scale) / (gradient @ gradient)  # as tall as before
        found.append(body.scaled(np.exp(scale)))
    return found


def mean(rows: list[dict]) -> dict:
    """Of errors the root of the mean square, of coverage the mean."""
    power = {part: 1.0 if part == "coverage" else 2.0 for part in rows[0]}
    return {
        part: {k: float(np.mean([r[part][k] ** n for r in rows]) ** (1 / n)) for k in rows[0][part]}
        for part, n in power.items()
    }


def main() -> int:
    bodies = people(PEOPLE)
    report: dict = {"machine": platform.machine(), "python": platform.python_version(), "rows": {}}
    print("RMS [N.m], physpose / fit, filter, differentiate; ratio of the errors and of the noise alone")
    pairs = "".join(f"{n:>14s} " for n in ("error", "hip", "knee", "ankle", "noise"))
    print(f"{'motion':8s}{'noise':9s}{'cameras':8s}{'truth':>6s}{pairs}{'error':>7s}{'noise':>7s}  coverage of 90 %")
    for name, simulate in MOTIONS.items():
        sims = [simulate(body) for body in bodies]
        for kind in ("white", "lasting"):
            for several in (False, True):
                r = mean([row(sim, kind, several) for sim in sims])
                report["rows"][f"{name}, {kind}, {3 if several else 1}"] = r
                show(name, kind, several, r)
    out = Path(__file__).parent / "results" / "torque_noise.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
