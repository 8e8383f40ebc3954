"""Inverse kinematics: the adult skeleton's q(t) from mocap points, frame by frame Gauss-Newton, many clips at once.

Frames of all clips that share a marker set advance together in time, each started from its last pose, so that the
coordinates are continuous. Bone scales and marker offsets are fitted per person first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from mocap_files import Clip
from torch import Tensor

import physpose
from physpose.chain import Frames, KinematicChain
from physpose.skeleton.model import Point
from physpose.spatial import matrix_to_quat, quat_log

REST = {"elbow_flex": 30.0, "knee_angle": 15.0, "hip_flexion": 8.0, "pro_sup": 45.0}  # [deg]
UNSEEN = ("subtalar", "mtp", "pro_sup", "wrist")  # what these marker sets do not tell: held near rest


@dataclass(frozen=True)
class Marker:
    """A point on a body: offset [m] for a body 1.70 m tall, sigma of measurement, of placement [m]."""

    name: str
    body: str
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sigma: float = 0.01
    placement: float = 0.0


def _both(name: str, body: str, offset: tuple[float, float, float], sigma: float, placement: float) -> list[Marker]:
    x, y, z = offset
    right, left = (name.format("R", "r"), body.format("r")), (name.format("L", "l"), body.format("l"))
    return [Marker(*right, (x, y, z), sigma, placement), Marker(*left, (x, y, -z), sigma, placement)]


# CMU's joint centres are joint centres; the toe joint's height in the foot is not ours
CMU = [
    *_both("hip_{1}", "femur_{}", (0, 0, 0), 0.01, 0),
    *_both("knee_{1}", "tibia_{}", (0, 0, 0), 0.01, 0),
    *_both("ankle_{1}", "talus_{}", (0, 0, 0), 0.01, 0),
    *_both("toe_{1}", "toes_{}", (0, 0, 0), 0.015, 0.03),
    *_both("shoulder_{1}", "humerus_{}", (0, 0, 0), 0.02, 0),
    *_both("elbow_{1}", "ulna_{}", (0, 0, 0), 0.01, 0),
    *_both("wrist_{1}", "hand_{}", (0, 0, 0), 0.01, 0),
]
CMU_ROTATION_SIGMA = {"pelvis": np.radians(3), "torso": np.radians(15), "head": np.radians(4)}
# offsets of the pelvis, legs and feet as in the marker set of the Rajagopal/Lai-Arnold OpenSim models
PLUG_IN_GAIT = [
    *_both("{}ASI", "pelvis", (0.02, 0.005, 0.128), 0.01, 0.01),
    *_both("{}PSI", "pelvis", (-0.154, 0.03, 0.045), 0.01, 0.01),
    *_both("{}KNE", "tibia_{}", (0.0, 0.0, 0.055), 0.01, 0.01),
    *_both("{}ANK", "talus_{}", (-0.005, 0.0, 0.045), 0.01, 0.01),
    *_both("{}HEE", "calcn_{}", (-0.03, 0.015, 0.0), 0.01, 0.01),
    *_both("{}TOE", "calcn_{}", (0.18, 0.018, 0.0), 0.01, 0.01),
    Marker("C7", "torso", (-0.07, 0.41, 0), 0.015, 0.02),
    Marker("T10", "torso", (-0.12, 0.17, 0), 0.02, 0.03),
    Marker("CLAV", "torso", (0.05, 0.34, 0), 0.015, 0.02),
    Marker("STRN", "torso", (0.08, 0.20, 0), 0.02, 0.03),
    *_both("{}SHO", "torso", (0.0, 0.375, 0.16), 0.04, 0.02),
    *_both("{}ELB", "ulna_{}", (0.0, 0.0, 0.04), 0.01, 0.01),
    *_both("{}WR", "hand_{}", (0, 0, 0), 0.01, 0),
    *_both("{}FHD", "head", (0.09, 0.14, 0.07), 0.01, 0.02),
    *_both("{}BHD", "head", (-0.09, 0.12, 0.07), 0.01, 0.02),
]


class Fitter:
    """One person's skeleton against one marker set."""

    def __init__(self, height: float, markers: list[Marker], rotations: dict[str, float]):
        self.skeleton = physpose.load_skeleton("adult", height=height)
        self.chain = KinematicChain(self.skeleton)
        self.markers = [replace(m, offset=tuple(np.array(m.offset) * height / 1.70)) for m in markers]
        self.points = self.chain.points(
            tuple(Point(name=m.name, body=m.body, offset=np.array(m.offset)) for m in markers)
        )
        self.nominal = self.points.offset.clone()
        self.weight = torch.tensor([m.sigma for m in markers], dtype=torch.float64) ** -1
        self.placement = torch.tensor([m.placement for m in markers], dtype=torch.float64)
        self.bodies = [self.skeleton.body_index(b) for b in rotations]
        self.rotation_weight = torch.tensor(list(rotations.values()), dtype=torch.float64) ** -1
        names = self.chain.coordinate_names
        stem = [n[:-2] if n[-2:] in ("_r", "_l") else n for n in names]
        self.rest = torch.tensor([np.radians(REST.get(s, 0.0)) for s in stem], dtype=torch.float64)
        self.rest_weight = torch.tensor(
            [1 / np.radians(5.0) if n.startswith(UNSEEN) else 1 / np.radians(90.0) for n in names], dtype=torch.float64
        )
        self.limit_weight = 1 / np.radians(3.0)
        self.angular = ~self.chain.linear_columns

    def start(self, y: Tensor, R: Tensor, raised: bool) -> Tensor:
        """Rest posture at the measured pelvis, arms down or raised to the front."""
        q = torch.zeros(len(y), self.chain.nq, dtype=torch.float64)
        q[:, 7:] = self.rest
        if raised:
            for s in "rl":
                q[:, 7 + self.chain.coordinate_index(f"arm_flex_{s}")] = np.radians(100.0)
        q[:, 3:7] = matrix_to_quat(R)
        at = self.chain.locate(self.chain.fk(q), self.points)[:, :2]  # hips or anterior spines
        q[:, :3] += torch.nan_to_num(y[:, :2] - at).mean(1)
        return q

    def system(self, q: Tensor, y: Tensor, Rm: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor, Tensor, Frames]:
        """Whitened residual (T, m), Jacobian in v (T, m, nv), in log scales (T, m, G), and the frames."""
        frames = self.chain.fk(q, log_scales)
        at = self.chain.locate(frames, self.points, log_scales)
        seen = torch.isfinite(y).all(-1)
        w = (self.weight * seen)[..., None]
        r = w * (at - torch.where(seen[..., None], y, at))
        J = w[..., None] * self.chain.point_jacobian(frames, self.points, at)
        Js = w[..., None] * self.chain.scale_jacobian(frames, self.points, log_scales)
        T, nv, G = len(q), self.chain.nv, log_scales.shape[-1]
        parts = [(r.reshape(T, -1), J.reshape(T, -1, nv), Js.reshape(T, -1, G))]
        for k, body in enumerate(self.bodies):
            turn = quat_log(matrix_to_quat(frames.R[:, body] @ Rm[:, k].transpose(-1, -2)))
            ok = torch.isfinite(turn).all(-1)[:, None] * self.rotation_weight[k]
            Jr = (frames.axes * (self.chain.supports[body] & self.angular)[:, None]).transpose(-1, -2)
            parts.append((ok * torch.nan_to_num(turn), ok[..., None] * Jr, turn.new_zeros(T, 3, G)))
        x = q[:, 7:]
        eye = torch.eye(nv, dtype=torch.float64)[6:]
        prior = (self.rest_weight * (x - self.rest), (self.rest_weight[:, None] * eye).expand(T, -1, -1))
        over = self.chain.limit_residual(q)
        limit = (self.limit_weight * over, self.limit_weight * (over != 0)[..., None] * eye)
        parts += [(*p, x.new_zeros(T, x.shape[1], G)) for p in (prior, limit)]
        r, J, Js = (torch.cat(p, 1) for p in zip(*parts, strict=True))
        return r, J, Js, frames

    def step(self, q: Tensor, y: Tensor, Rm: Tensor, log_scales: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """One damped Gauss-Newton step of every frame on its own: new q and the cost before it."""
        r, J, _, _ = self.system(q, y, Rm, log_scales)
        Jt = J.transpose(-1, -2)
        H = Jt @ J + damping * torch.eye(J.shape[-1], dtype=torch.float64)
        d = -torch.linalg.solve(H, (Jt @ r[..., None]))[..., 0]
        d = d * (0.5 / d[:, 3:].abs().amax(-1, keepdim=True).clamp(min=0.5))
        return self.chain.integrate(q, d), (r**2).sum(-1)

    def solve(self, y: Tensor, Rm: Tensor, R0: Tensor, log_scales: Tensor, steps: int = 40) -> Tensor:
        """Poses (T, nq) of unrelated frames: the better of two starts."""
        best, cost = None, None
        for raised in (False, True):
            q = self.start(y, R0, raised)
            for i in range(steps):
                q, _ = self.step(q, y, Rm, log_scales, 10.0 if i < steps // 2 else 0.1)
            c = self.step(q, y, Rm, log_scales, 1.0)[1]
            best = q if best is None or cost is None else torch.where((c < cost)[:, None], q, best)
            cost = c if cost is None else torch.minimum(c, cost)
        assert best is not None
        return best

    def fit_scales(self, q: Tensor, y: Tensor, Rm: Tensor, log_scales: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """One Gauss-Newton step of poses and shared scales together (poses eliminated)."""
        r, J, Js, _ = self.system(q, y, Rm, log_scales)
        Jt = J.transpose(-1, -2)
        H = Jt @ J + 0.1 * torch.eye(J.shape[-1], dtype=torch.float64)
        X = torch.linalg.solve(H, torch.cat([Jt @ Js, (Jt @ r[..., None])], -1))
        # prior counts as every other frame, so that bones that the markers do not tell stay as they were
        strength = len(q) / 2 / sigma**2
        S = (Js.transpose(-1, -2) @ (Js - J @ X[..., :-1])).sum(0) + torch.diag(strength)
        g = (Js.transpose(-1, -2) @ (r[..., None] - J @ X[..., -1:])).sum(0)[:, 0] + strength * log_scales
        ds = -torch.linalg.solve(S, g)
        d = -(X[..., -1] + X[..., :-1] @ ds)
        return self.chain.integrate(q, d), log_scales + ds

    def place_markers(self, q: Tensor, y: Tensor, log_scales: Tensor) -> None:
        """Move marker offsets to where they are seen in the body, as far as their placement is free."""
        frames = self.chain.fk(q, log_scales)
        at = self.chain.locate(frames, self.points, log_scales)
        R = frames.R[:, self.points.body]
        local = (R.transpose(-1, -2) @ (y - at)[..., None])[..., 0] / self.chain.axis_scales(log_scales)[
            self.points.body
        ]
        seen = self.points.offset + torch.nan_to_num(torch.nanmean(local, 0))
        trust = (self.placement**2 / (self.placement**2 + 0.01**2))[:, None]
        self.points = self.points._replace(offset=self.nominal + trust * (seen - self.nominal))


def pelvis_rotation(points: dict[str, np.ndarray], rotations: dict[str, np.ndarray]) -> np.ndarray:
    """R_world_pelvis (T, 3, 3) to start from."""
    if "pelvis" in rotations:
        return rotations["pelvis"]
    z = points["RASI"] - points["LASI"]
    x = points["RASI"] + points["LASI"] - points["RPSI"] - points["LPSI"]
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    y = np.cross(z, x)
    y /= np.linalg.norm(y, axis=-1, keepdims=True)
    R = np.stack([np.cross(y, z), y, z], -1)
    return np.where(np.isfinite(R).all((1, 2))[:, None, None], R, np.eye(3))


def leg_height(clips: list[Clip]) -> float:
    """Stature [m] that the legs tell: 0.4755 of it is thigh and shank (hip to ankle joint centre, in our skeleton)."""
    side = lambda c, a, b: np.nanmedian(np.linalg.norm(c.points[a] - c.points[b], axis=-1))  # noqa: E731
    if "hip_r" in clips[0].points:
        legs = [side(c, f"hip_{s}", f"knee_{s}") + side(c, f"knee_{s}", f"ankle_{s}") for c in clips for s in "rl"]
        return float(np.median(legs)) / 0.4755
    shanks = [side(c, f"{s}KNE", f"{s}ANK") for c in clips for s in "RL"]
    return float(np.median(shanks)) / 0.243


@dataclass
class Solved:
    """A clip's fitted motion."""

    clip: Clip
    q: np.ndarray  # (T, nq)
    residual: np.ndarray  # (T,) [m] root mean square distance of the points
    rotation_residual: np.ndarray  # (T,) [rad]


def solve_person(clips: list[Clip], piece: int = 400) -> tuple[list[Solved], Fitter, Tensor]:
    """All clips of one person: scales, marker offsets, then q(t) in pieces that advance together."""
    cmu = "hip_r" in clips[0].points
    markers, turns = (CMU, CMU_ROTATION_SIGMA) if cmu else (PLUG_IN_GAIT, {})
    fitter = Fitter(leg_height(clips), markers, turns)
    Y = [torch.tensor(np.stack([c.points[m.name] for m in markers], 1)) for c in clips]
    Rm = [_rotations(c, list(turns)) for c in clips]
    R0 = [torch.tensor(pelvis_rotation(c.points, c.rotations)) for c in clips]
    log_scales = calibrate(fitter, torch.cat(Y), torch.cat(Rm), torch.cat(R0), cmu)
    pieces = [(i, a) for i, y in enumerate(Y) for a in range(0, len(y), piece)]
    q = [torch.zeros(len(y), fitter.chain.nq, dtype=torch.float64) for y in Y]
    at = lambda x, k: torch.stack([x[i][a + k] for i, a in pieces if a + k < len(x[i])])  # noqa: E731
    now = fitter.solve(at(Y, 0), at(Rm, 0), at(R0, 0), log_scales)
    for k in range(piece):
        alive = [n for n, (i, a) in enumerate(pieces) if a + k < len(Y[i])]
        if not alive:
            break
        pieces, now = [pieces[n] for n in alive], now[alive]
        for _ in range(2):
            now, _ = fitter.step(now, at(Y, k), at(Rm, k), log_scales, 0.1)
        for n, (i, a) in enumerate(pieces):
            q[i][a + k] = now[n]
    return (
        [_solved(fitter, c, a, y, r, log_scales) for c, a, y, r in zip(clips, q, Y, Rm, strict=True)],
        fitter,
        log_scales,
    )


def _rotations(clip: Clip, names: list[str]) -> Tensor:
    if not names:
        return torch.zeros(len(clip), 0, 3, 3, dtype=torch.float64)
    return torch.tensor(np.stack([clip.rotations[n] for n in names], 1))


def calibrate(fitter: Fitter, Y: Tensor, Rm: Tensor, R0: Tensor, cmu: bool, n: int = 120) -> Tensor:
    """Log scales (G,) of a person, and marker placement, from n frames spread over all clips."""
    pick = torch.linspace(0, len(Y) - 1, min(n, len(Y))).long()
    Y, Rm, R0 = Y[pick], Rm[pick], R0[pick]
    log_scales = torch.zeros(len(fitter.skeleton.scale_groups), dtype=torch.float64)
    free = ("torso_length", "forearm") if cmu else ()  # CMU's spine and forearm are shorter than a person's
    sigma = torch.tensor([0.25 if g.name in free else 1.5 * g.sigma for g in fitter.skeleton.scale_groups])
    q = fitter.solve(Y, Rm, R0, log_scales)
    for _ in range(3):
        for _ in range(4):
            q, log_scales = fitter.fit_scales(q, Y, Rm, log_scales, sigma)
        fitter.place_markers(q, Y, log_scales)
    return log_scales


def _solved(fitter: Fitter, clip: Clip, q: Tensor, Y: Tensor, Rm: Tensor, log_scales: Tensor) -> Solved:
    frames = fitter.chain.fk(q, log_scales)
    d2 = ((fitter.chain.locate(frames, fitter.points, log_scales) - Y) ** 2).sum(-1)
    turn = quat_log(matrix_to_quat(frames.R[:, fitter.bodies] @ Rm.transpose(-1, -2))).norm(dim=-1)
    rotation = turn.pow(2).mean(-1).sqrt() if len(fitter.bodies) else torch.zeros(len(q), dtype=torch.float64)
    return Solved(clip, q.numpy(), torch.nanmean(d2, -1).sqrt().numpy(), rotation.numpy())
