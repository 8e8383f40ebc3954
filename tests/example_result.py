"""A made-up but consistent result: someone marches on the spot past a camera. Dynamics by Pinocchio."""

import numpy as np

from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.result import FitResult
from physpose.skeleton import load_skeleton
from physpose.types import Assumption, Camera, Contacts, Energy, FitStatus, Keypoints2D

GRAVITY = np.array([0.0, 0.0, -9.81])
SWING = {  # mean, amplitude [rad], phase [turns]
    "hip_flexion": (0.35, 0.45, 0.0),
    "knee_angle": (0.55, 0.5, 0.05),
    "ankle_angle": (0.05, 0.2, 0.3),
    "arm_flex": (0.05, 0.4, 0.5),
    "elbow_flex": (0.7, 0.3, 0.5),
    "hip_adduction": (0.0, 0.06, 0.2),
}


def example_result(T: int = 60, seed: int = 0, **changes) -> FitResult:
    """T frames at about 30 a second with uneven time stamps; ``changes`` replace fields."""
    rng = np.random.default_rng(seed)
    body = load_skeleton("adult", sex="f", age=30.0, height=1.68, mass=60.0)
    model = PinocchioModel(body)
    time = np.cumsum(np.r_[0.0, rng.uniform(0.03, 0.037, T - 1)])
    q = _march(body, time)
    v = np.zeros((T, body.nv))
    if T > 1:
        v[:-1] = model.difference(q[:-1], q[1:]) / np.diff(time)[:, None]
        v[-1] = v[-2]
    a = np.gradient(v, time, axis=0) if T > 1 else np.zeros_like(v)
    positions, rotations = model.forward_kinematics(q)
    tau = model.inverse_dynamics(q, v, a, GRAVITY)
    kinetic, potential = model.energy(q, v, GRAVITY)
    fields = {
        "time": time, "q": q, "v": v, "a": a, "tau": tau, "power": tau * v,
        "positions": positions, "rotations": rotations, "com": model.com(q),
        "contacts": _contacts(body, time), "momentum": model.centroidal_momentum(q, v),
        "energy": Energy(kinetic=kinetic, potential=potential),
        "skeleton": body, "source": "marching.json", "camera": _camera(),
        "keypoints": _keypoints(body, time, positions, rotations, rng),
        "assumptions": (*body.assumptions, Assumption(what="focal length", value="1100 px", source="estimated")),
        "warnings": ("this motion is made up",), "gravity": GRAVITY,
        "status": FitStatus(converged=True, iterations=9, cost=1.0, seconds={"estimation": 1.25, "dynamics": 0.25}),
    }  # fmt: skip
    return FitResult(**(fields | changes))


def _march(body, time):
    q = np.tile(body.neutral, (len(time), 1))
    q[:, 0] = 1.0 * time
    q[:, 2] += 0.02 * np.cos(4 * np.pi * time) - 0.05
    for i, name in enumerate(body.coordinate_names):
        mean, swing, phase = SWING.get(name[:-2], (0.0, 0.0, 0.0))
        half = 0.5 if name.endswith("_l") else 0.0
        q[:, 7 + i] = mean + swing * np.sin(2 * np.pi * (time + phase + half))
    return q


def _contacts(body, time):
    names = tuple(p.name for p in body.contact_points)
    right = np.sin(2 * np.pi * time) < 0.1
    left = np.sin(2 * np.pi * time) > -0.1
    active = np.stack([(right if n.endswith("_r") else left) & (not n.startswith("hand")) for n in names], 1)
    force = np.zeros((*active.shape, 3))
    force[..., 2] = body.mass * 9.81 * active / active.sum(1, keepdims=True)
    force[..., 0] = 0.1 * force[..., 2] * np.sin(4 * np.pi * time)[:, None]
    return Contacts(
        points=names, active=active, force=force, method="made up: body weight shared by the points in contact"
    )


def _camera():
    # 4.2 m to the person's right, looking at her: x_camera along the world's x, down along -z, forward along y
    R = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    position = np.array([1.0, -4.2, 1.1])
    return Camera(
        image_size=(1280, 720), focal=1100.0, principal_point=(640.0, 360.0), R_camera_world=R, t=-R @ position
    )


def _keypoints(body, time, positions, rotations, rng):
    kset = body.keypoint_sets["blazepose33"]
    index = [body.body_index(p.body) for p in kset.points]
    world = positions[:, index] + np.stack(
        [rotations[:, i] @ p.offset for i, p in zip(index, kset.points, strict=True)], 1
    )
    uv = _camera().project(world) + rng.normal(scale=3.0, size=(*world.shape[:2], 2))
    confidence = np.ones(uv.shape[:2])
    if len(time) > 5:
        uv[4, 3], confidence[4, 3] = np.nan, 0.0
    return Keypoints2D(
        keypoint_set="blazepose33", names=kset.names, time=time, uv=uv[None], confidence=confidence[None],
        image_size=(1280, 720), source="marching.json",
    )  # fmt: skip
