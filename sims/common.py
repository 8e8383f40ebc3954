"""What the simulations share: the result, rolling a body out in MuJoCo, and prescribing its motion."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from physpose import conventions
from physpose.chain import KinematicChain
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.spatial import matvec, quat_conj, quat_mul, quat_to_matrix
from physpose.types import Array

EARTH = (0.0, 0.0, -9.81)  # [m/s^2]
ORBIT = (0.0, 0.0, 0.0)
STEP = 1e-3  # [s]
Controller = Callable[[float, Array, Array], Array]  # time [s], coordinates, rates -> joint torques, skeleton's order
Push = Callable[[float], dict[str, Array]]  # time [s] -> force (3,) [N] on bodies' centres of mass, world axes


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A motion with its forces, in physpose's conventions: SI units, z up, v and a in the pelvis frame."""

    name: str
    skeleton: Skeleton
    time: Array  # (T,) [s]
    q: Array  # (T, nq)
    v: Array  # (T, nv)
    a: Array  # (T, nv)
    tau: Array  # (T, nv) [N.m; N] what acts besides gravity and ``external``; the first six: root wrench, pelvis frame
    gravity: tuple[float, float, float] = EARTH
    external: dict[str, Array] = field(default_factory=dict)  # body -> (T, 6) wrench about its origin, world axes
    truth: dict[str, Any] = field(default_factory=dict)  # what else is known, by name; arrays or numbers, SI units

    def save(self, path: str | Path) -> Path:
        """Write everything to an .npz file, put in place at once."""
        path = Path(path)
        arrays: dict[str, Any] = {n: getattr(self, n) for n in ("time", "q", "v", "a", "tau", "gravity")}
        arrays |= {f"external_{name}": wrench for name, wrench in self.external.items()}
        arrays |= {f"truth_{name}": np.asarray(value) for name, value in self.truth.items()}
        arrays["coordinate_names"] = np.array(self.skeleton.coordinate_names, dtype=np.str_)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.npz")
        try:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def coordinate(self, name: str) -> Array:
        """One coordinate (T,) [rad; m]."""
        return self.q[:, self.q.shape[1] - len(self.skeleton.coordinates) + self.skeleton.coordinate_names.index(name)]


class Simulator:
    """A skeleton in MuJoCo, with coordinates in the skeleton's order."""

    def __init__(
        self,
        skeleton: Skeleton,
        gravity: tuple[float, float, float] = EARTH,
        *,
        contacts: bool = False,
        step: float = STEP,
    ):
        self.skeleton, self.gravity, self.contacts = skeleton, gravity, contacts
        self.model = mujoco.MjModel.from_xml_string(to_mjcf(skeleton, contacts=contacts))
        self.data: Any = mujoco.MjData(self.model)
        self.model.opt.gravity, self.model.opt.timestep = gravity, step
        joints = [self.model.joint(c.name) for c in skeleton.coordinates]
        self.qpos_index = np.array([int(j.qposadr[0]) for j in joints], dtype=int)
        self.qvel_index = np.array([int(j.dofadr[0]) for j in joints], dtype=int)
        self.model.opt.tolerance = 1e-12  # of the contact solver
        if contacts:  # Euler: momentum gained in a step is exactly force times step
            self.model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
            self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_LIMIT
            self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP
        else:
            self.model.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
            self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
        self.n_root = self.model.nv - len(joints)

    def start(self, q: Array, v: Array) -> None:
        """Put the body in state q (nq,), v (nv,)."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = conventions.q_to_mujoco(self.skeleton, q)
        self.data.qvel[:] = conventions.v_to_mujoco(self.skeleton, q, v)
        mujoco.mj_forward(self.model, self.data)

    def torques_for(self, acceleration: Array) -> Array:
        """Joint torques that give the coordinates ``acceleration`` beyond what they do by themselves, root free."""
        M = np.zeros((self.model.nv, self.model.nv))
        mujoco.mj_fullM(self.model, self.data, M)
        j = self.qvel_index
        # M^-1 restricted to the joints: how they answer torques while the root floats
        answer = np.linalg.inv(M)[np.ix_(j, j)]
        return np.linalg.solve(answer, acceleration)

    def rollout(
        self, q: Array, v: Array, controller: Controller, seconds: float, name: str = "", push: Push | None = None
    ) -> Simulation:
        """Roll out from q, v. Torques and pushes are held over a step; T = steps + 1."""
        self.start(q, v)
        n, dt = round(seconds / self.model.opt.timestep), self.model.opt.timestep
        log: dict[str, list[Array]] = {k: [] for k in ("qpos", "qvel", "qacc", "tau", "force")}
        pushed: dict[str, list[Array]] = {}
        for k in range(n + 1):
            mujoco.mj_forward(self.model, self.data)  # the controller and the pushes need this state's poses
            torque = controller(k * dt, self.data.qpos[self.qpos_index], self.data.qvel[self.qvel_index])
            self.data.qfrc_applied[self.qvel_index] = torque
            for body, force in (push(k * dt) if push else {}).items():
                pushed.setdefault(body, []).append(self._push(body, force))
            mujoco.mj_forward(self.model, self.data)
            log["qpos"].append(self.data.qpos.copy())
            log["qvel"].append(self.data.qvel.copy())
            log["qacc"].append(self.data.qacc.copy())
            log["tau"].append(self.data.qfrc_applied.copy())
            log["force"].append(self._contact_forces() if self.contacts else np.zeros((0, 3)))
            if k < n:
                mujoco.mj_step(self.model, self.data)
        assert np.isfinite(log["qacc"][-1]).all(), f"{name}: MuJoCo's integration is unstable"
        sim = self._simulation(name, {k: np.array(x) for k, x in log.items()})
        return replace(sim, external={body: np.array(w) for body, w in pushed.items()})

    def _push(self, body: str, force: Array) -> Array:
        """Push a body at its centre of mass; the wrench (6,) about its origin, world axes."""
        i = self.model.body(body).id
        self.data.xfrc_applied[i, :3] = force
        return np.concatenate([force, np.cross(self.data.xipos[i] - self.data.xpos[i], force)])

    def _contact_forces(self) -> Array:
        """(C, 3) [N] forces of the floor on the contact points, world."""
        forces = np.zeros((len(self.skeleton.contact_points), 3))
        geoms = {self.model.geom(p.name).id: c for c, p in enumerate(self.skeleton.contact_points)}
        wrench = np.zeros(6)
        for i in range(self.data.ncon):
            contact = self.data.contact[i]
            mujoco.mj_contactForce(self.model, self.data, i, wrench)
            # rows of the frame: normal from geom1 (the floor) to geom2, then two tangents
            forces[geoms[int(contact.geom2)]] += contact.frame.reshape(3, 3).T @ wrench[:3]
        return forces

    def _simulation(self, name: str, log: dict[str, Array]) -> Simulation:
        s, qpos, qvel = self.skeleton, log["qpos"], log["qvel"]
        q = conventions.q_from_mujoco(s, qpos)
        sim = Simulation(
            name=name,
            skeleton=s,
            time=self.model.opt.timestep * np.arange(len(qpos)),
            q=q,
            v=conventions.v_from_mujoco(s, qpos, qvel),
            a=conventions.a_from_mujoco(s, qpos, qvel, log["qacc"]),
            tau=conventions.tau_from_mujoco(s, qpos, log["tau"]),
            gravity=self.gravity,
            truth={"contact_force": log["force"]} if self.contacts else {},
        )
        return sim

    def inverse(self, q: Array, v: Array, a: Array) -> Array:
        """Generalized forces (T, nv) behind a motion, by mj_inverse."""
        s = self.skeleton
        qpos, qvel = conventions.q_to_mujoco(s, q), conventions.v_to_mujoco(s, q, v)
        qacc = conventions.a_to_mujoco(s, q, v, a)
        forces = np.empty_like(qvel)
        for t in range(len(q)):
            self.data.qpos[:], self.data.qvel[:], self.data.qacc[:] = qpos[t], qvel[t], qacc[t]
            mujoco.mj_inverse(self.model, self.data)
            forces[t] = self.data.qfrc_inverse
        return conventions.tau_from_mujoco(s, qpos, forces)

    def generalized(self, q: Array, wrenches: dict[str, Array]) -> Array:
        """Wrenches (T, 6) about body origins, world axes, as generalized forces (T, nv)."""
        qpos = conventions.q_to_mujoco(self.skeleton, q)
        forces = np.zeros((len(q), self.model.nv))
        for t in range(len(q)):
            self.data.qpos[:] = qpos[t]
            mujoco.mj_kinematics(self.model, self.data)
            mujoco.mj_comPos(self.model, self.data)
            for name, w in wrenches.items():
                body = self.model.body(name).id
                mujoco.mj_applyFT(self.model, self.data, w[t, :3], w[t, 3:], self.data.xpos[body], body, forces[t])
        return conventions.tau_from_mujoco(self.skeleton, qpos, forces)


def carried_by(sim: Simulation, share: dict[str, Array]) -> Simulation:
    """The same motion with its root wrench brought in by other bodies, each ``share`` (T,) of it; shares sum to one.

    Every body takes its share of the force, and of the moment about one and the same point. The root wrench that
    remains is zero, the joint torques are those of someone who is carried there.
    """
    chain = KinematicChain(sim.skeleton)
    frames = chain.fk(torch.as_tensor(sim.q))
    p, R = frames.p.numpy(), frames.R[:, 0].numpy()
    force, moment = ((R @ sim.tau[:, i : i + 3, None])[..., 0] for i in (0, 3))
    wrenches = {}
    for name, part in share.items():
        arm = p[:, 0] - p[:, sim.skeleton.body_index(name)]
        wrenches[name] = part[:, None] * np.concatenate([force, moment + np.cross(arm, force)], 1)
    tau = sim.tau - Simulator(sim.skeleton, sim.gravity).generalized(sim.q, wrenches)
    return replace(sim, tau=tau, external=wrenches, truth=sim.truth | {"ground_force": force})


def tracking(simulator: Simulator, target: Callable[[float], Array], frequency: float = 2.0) -> Controller:
    """Critically damped: coordinates follow ``target`` (time -> (n,)) as springs of ``frequency`` [Hz]."""
    w = 2 * np.pi * frequency

    def controller(t: float, x: Array, rates: Array) -> Array:
        # x'' = w^2 (target - x) - 2 w x'
        return simulator.torques_for(w**2 * (target(t) - x) - 2 * w * rates)

    return controller


def prescribed(
    name: str,
    skeleton: Skeleton,
    q_of_time: Callable[[Tensor], Tensor],
    time: Array,
    gravity: tuple[float, float, float] = EARTH,
) -> Simulation:
    """A motion given as a smooth function of time, () -> (nq,): v and a exact, tau by mj_inverse.

    tau's first six are the whole root wrench: what the surroundings do to the body, as felt at the pelvis.
    """
    t = torch.as_tensor(time, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)

    def rate(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda s: torch.func.jvp(f, (s,), (one,))[1]

    first = rate(q_of_time)
    q, dq, ddq = (torch.vmap(f)(t) for f in (q_of_time, first, rate(first)))
    v, a = _body_rates(q, dq, ddq)
    arrays = [x.numpy() for x in (q, v, a)]
    tau = Simulator(skeleton, gravity).inverse(*arrays)
    return Simulation(
        name=name, skeleton=skeleton, time=np.asarray(time, float), q=arrays[0], v=arrays[1], a=arrays[2], tau=tau,
        gravity=gravity,
    )  # fmt: skip


def _body_rates(q: Tensor, dq: Tensor, ddq: Tensor) -> tuple[Tensor, Tensor]:
    """v, a (T, nv) of a free-flyer and hinges from derivatives of q (T, nq) by time."""
    R_T = quat_to_matrix(q[:, 3:7]).mT
    inverse = quat_conj(q[:, 3:7])
    # dot(quat) = quat * (w, 0) / 2, so w = 2 quat^-1 dot(quat) and dot(w) = 2 vec(quat^-1 ddot(quat)), body axes
    w = 2 * quat_mul(inverse, dq[:, 3:7])[:, :3]
    dw = 2 * quat_mul(inverse, ddq[:, 3:7])[:, :3]
    linear = matvec(R_T, dq[:, :3])
    # d/dt (R^T dp) = R^T ddp - w x R^T dp
    dlinear = matvec(R_T, ddq[:, :3]) - torch.linalg.cross(w, linear)
    return torch.cat([linear, w, dq[:, 7:]], -1), torch.cat([dlinear, dw, ddq[:, 7:]], -1)


# --- what the truths need -------------------------------------------------------------------------------------------


def pose(skeleton: Skeleton, degrees: dict[str, float]) -> Array:
    """The neutral pose (nq,) with some coordinates set [deg]."""
    q = skeleton.neutral.copy()
    first = len(q) - len(skeleton.coordinates)
    for name, angle in degrees.items():
        q[first + skeleton.coordinate_names.index(name)] = np.radians(angle)
    return q


def centre_of_mass(sim: Simulation) -> tuple[Array, Array]:
    """Centre of mass (T, 3) [m] and momentum about it (T, 6), world axes, by MuJoCo's own sums."""
    s = sim.skeleton
    model = mujoco.MjModel.from_xml_string(to_mjcf(s))
    data: Any = mujoco.MjData(model)
    qpos, qvel = conventions.q_to_mujoco(s, sim.q), conventions.v_to_mujoco(s, sim.q, sim.v)
    com, h = np.empty((len(qpos), 3)), np.empty((len(qpos), 6))
    for t in range(len(qpos)):
        data.qpos[:], data.qvel[:] = qpos[t], qvel[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_subtreeVel(model, data)
        com[t] = data.subtree_com[0]
        h[t] = np.concatenate([s.mass * data.subtree_linvel[0], data.subtree_angmom[0]])
    return com, h


def work_of(sim: Simulation) -> Array:
    """Work (T,) [J] of joint torques that are held over each step, since the start."""
    n = len(sim.skeleton.coordinates)
    steps = (sim.tau[:-1, -n:] * np.diff(sim.q[:, -n:], axis=0)).sum(1)
    return np.append(0.0, np.cumsum(steps))
