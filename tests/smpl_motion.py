"""A made-up motion of a body model, as an AMASS file holds it, and the result that it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from smpl_body import N_BETAS, names

from physpose.chain import KinematicChain
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.estimation.derivatives import derivatives
from physpose.io.amass import amass_motion
from physpose.result import FitResult
from physpose.skeleton.model import Skeleton
from physpose.types import Contacts, Energy, FitStatus

STEP = 1.1  # [1/s] cycles
SWING = {  # joint, axis of the model: mean, amplitude [rad], phase [turns]; the right side half a turn later
    ("left_hip", 0): (-0.15, 0.45, 0.0), ("left_knee", 0): (0.45, 0.4, 0.2), ("left_ankle", 0): (0.0, 0.2, 0.45),
    ("left_shoulder", 2): (-1.2, 0.0, 0.0), ("left_shoulder", 1): (0.0, 0.35, 0.0),
    ("left_elbow", 1): (-0.6, 0.25, 0.0), ("spine1", 1): (0.0, 0.08, 0.0), ("spine3", 1): (0.0, -0.12, 0.0),
}  # fmt: skip


def amass_arrays(family: str = "smplh", T: int = 60, rate: float = 60.0) -> dict[str, np.ndarray]:
    """A walk along the world's x, z up."""
    joints, time = names(family), np.arange(T) / rate
    poses = np.zeros((T, len(joints), 3))
    poses[:, 0] = [2 * np.pi / 3 / np.sqrt(3)] * 3  # model z to x, x to y, y to z
    for (name, axis), (mean, swing, phase) in SWING.items():
        for side, half in (("left", 0.0), ("right", 0.5)):
            mirrored = -1.0 if side == "right" and axis > 0 else 1.0
            wave = mean + swing * np.sin(2 * np.pi * (STEP * time + phase + half))
            poses[:, joints.index(name.replace("left", side)), axis] = mirrored * wave
    trans = np.stack([1.2 * time, 0 * time, 1.16 + 0.02 * np.cos(4 * np.pi * STEP * time)], 1)
    return {
        "poses": poses.reshape(T, -1), "trans": trans, "betas": np.zeros(N_BETAS),
        "gender": np.array("neutral"), "mocap_framerate": np.array(rate),
    }  # fmt: skip


def save_amass(path: Path, family: str = "smplh", **changes) -> Path:
    """An AMASS file; ``changes`` replace arrays, None leaves one out."""
    held = {k: v for k, v in {**amass_arrays(family), **changes}.items() if v is not None}
    np.savez(path, **held)
    return path


def smpl_result(skeleton: Skeleton, path: Path) -> FitResult:
    """The file's motion on a skeleton; dynamics by Pinocchio, nothing touched."""
    motion, model = amass_motion(path, skeleton), PinocchioModel(skeleton)
    v, a = derivatives(KinematicChain(skeleton), motion.time, motion.q)
    tau = model.inverse_dynamics(motion.q, v, a)
    positions, rotations = model.forward_kinematics(motion.q)
    kinetic, potential = model.energy(motion.q, v)
    T, points = len(motion.time), tuple(p.name for p in skeleton.contact_points)
    nothing = np.zeros((T, len(points), 3))
    return FitResult(
        time=motion.time, q=motion.q, v=v, a=a, tau=tau, power=tau * v, positions=positions, rotations=rotations,
        com=model.com(motion.q), momentum=model.centroidal_momentum(motion.q, v),
        contacts=Contacts(points=points, active=nothing[..., 0] > 0, force=nothing, method="none looked for"),
        energy=Energy(kinetic=kinetic, potential=potential), skeleton=skeleton, source=motion.source, camera=None,
        keypoints=None, assumptions=skeleton.assumptions, warnings=(*skeleton.warnings, *motion.warnings),
        status=FitStatus(converged=True, iterations=0, cost=0.0, seconds={}),
    )  # fmt: skip
