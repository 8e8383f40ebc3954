"""The independent judge: the same motion through MuJoCo, inverse and forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from physpose import conventions
from physpose.dynamics.pinocchio_backend import GRAVITY, PinocchioModel
from physpose.errors import InputError
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.types import Array

STEP = 1e-3  # [s] longest step of the rollout


@dataclass(frozen=True, kw_only=True)
class MujocoCheck:
    """What MuJoCo says of a motion and its torques."""

    tau: Array  # (T, nv) [N.m; N] by mj_inverse, external wrenches taken off
    torque_error: float  # largest |tau - tau_mujoco|, relative to the largest |tau_mujoco|
    q: Array  # (T, nq) of the rollout: the motion's state at the start of each horizon, then MuJoCo's own
    drift: Array  # (T, nv) [m; rad] from the motion to the rollout, on the manifold
    horizon: float  # [s] after which the rollout starts again from the motion

    @property
    def largest_drift(self) -> float:
        """[m; rad] over all frames and coordinates."""
        return float(np.abs(self.drift).max())


def mujoco_check(
    skeleton: Skeleton,
    time: ArrayLike,
    q: ArrayLike,
    v: ArrayLike,
    a: ArrayLike,
    tau: ArrayLike,
    *,
    gravity: ArrayLike = GRAVITY,
    external: Mapping[str, ArrayLike] | None = None,
    horizon: float = 0.1,
) -> MujocoCheck:
    """Judge torques tau (T, nv) of a motion time (T,), q (T, nq), v, a (T, nv).

    ``mj_inverse`` of the same motion, contacts, limits, damping and armature off; and a forward rollout (Runge-Kutta 4)
    driven by ``tau``, started again from the motion every ``horizon`` seconds, because an open-loop body falls over.
    ``external``: wrenches (T, 6) on bodies, force and moment about the body's origin, world axes. ``gravity``: (3,).
    """
    time, q, v, a, tau = checked(skeleton, time, q, v, a, tau)
    wrenches = {name: np.asarray(w, float) for name, w in (external or {}).items()}
    judge = _Judge(skeleton, np.asarray(gravity, float))
    tau_mujoco = judge.inverse(q, v, a, wrenches)
    q_rollout = judge.rollout(time, q, v, tau, wrenches, horizon)
    return MujocoCheck(
        tau=tau_mujoco,
        torque_error=float(np.abs(tau - tau_mujoco).max() / max(np.abs(tau_mujoco).max(), 1e-300)),
        q=q_rollout,
        drift=PinocchioModel(skeleton).difference(q, q_rollout),
        horizon=horizon,
    )


class _Judge:
    def __init__(self, skeleton: Skeleton, gravity: Array):
        import mujoco

        self.skeleton, self.mujoco = skeleton, mujoco
        self.model = mujoco.MjModel.from_xml_string(to_mjcf(skeleton))
        self.model.opt.gravity = gravity
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
        self.model.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
        self.data: Any = mujoco.MjData(self.model)

    def inverse(self, q: Array, v: Array, a: Array, wrenches: Mapping[str, Array]) -> Array:
        """tau (T, nv) by mj_inverse."""
        qpos, qvel = conventions.q_to_mujoco(self.skeleton, q), conventions.v_to_mujoco(self.skeleton, q, v)
        qacc = conventions.a_to_mujoco(self.skeleton, q, v, a)
        forces = np.empty_like(qvel)
        for t in range(len(q)):
            self.data.qpos[:], self.data.qvel[:], self.data.qacc[:] = qpos[t], qvel[t], qacc[t]
            self.mujoco.mj_inverse(self.model, self.data)
            forces[t] = self.data.qfrc_inverse - self._generalized({n: w[t] for n, w in wrenches.items()})
        return conventions.tau_from_mujoco(self.skeleton, qpos, forces)

    def rollout(
        self, time: Array, q: Array, v: Array, tau: Array, wrenches: Mapping[str, Array], horizon: float
    ) -> Array:
        """q (T, nq) of MuJoCo's own motion under tau."""
        out, started = q.copy(), time[0]
        self._start(q[0], v[0])
        for t in range(1, len(time)):
            self._advance(time, tau, wrenches, t)
            out[t] = conventions.q_from_mujoco(self.skeleton, self.data.qpos)
            if time[t] - started >= horizon:
                self._start(q[t], v[t])
                started = time[t]
        return out

    def _start(self, q: Array, v: Array) -> None:
        self.data.qpos[:] = conventions.q_to_mujoco(self.skeleton, q)
        self.data.qvel[:] = conventions.v_to_mujoco(self.skeleton, q, v)

    def _advance(self, time: Array, tau: Array, wrenches: Mapping[str, Array], t: int) -> None:
        """From frame t - 1 to t; torques and wrenches linear in between, held at each step's middle."""
        dt = time[t] - time[t - 1]
        steps = int(np.ceil(dt / STEP))
        self.model.opt.timestep = dt / steps
        for s in range(steps):
            x = (s + 0.5) / steps
            self.mujoco.mj_kinematics(self.model, self.data)
            self.mujoco.mj_comPos(self.model, self.data)
            q = conventions.q_from_mujoco(self.skeleton, self.data.qpos)
            forces = conventions.tau_to_mujoco(self.skeleton, q, (1 - x) * tau[t - 1] + x * tau[t])
            now = {name: (1 - x) * w[t - 1] + x * w[t] for name, w in wrenches.items()}
            self.data.qfrc_applied[:] = forces + self._generalized(now)
            self.mujoco.mj_step(self.model, self.data)

    def _generalized(self, wrenches: Mapping[str, Array]) -> Array:
        """Wrenches (6,) at body origins, world axes, as MuJoCo's generalized forces (nv,) in the present pose."""
        out = np.zeros(self.model.nv)
        for name, w in wrenches.items():
            body = self.model.body(name).id
            self.mujoco.mj_applyFT(self.model, self.data, w[:3], w[3:], self.data.xpos[body], body, out)
        return out


def checked(
    skeleton: Skeleton, time: ArrayLike, q: ArrayLike, v: ArrayLike, a: ArrayLike, tau: ArrayLike
) -> list[Array]:
    """The arrays of a motion of T frames as float64; raises ``InputError`` for wrong shapes, gaps, or odd times."""
    arrays = [np.asarray(x, float) for x in (time, q, v, a, tau)]
    T = len(arrays[0])
    wanted = [(T,), (T, skeleton.nq), *[(T, skeleton.nv)] * 3]
    for name, x, shape in zip(("time", "q", "v", "a", "tau"), arrays, wanted, strict=True):
        if x.shape != shape:
            raise InputError(f"{name} has shape {x.shape}; {skeleton.name} needs {shape}")
        if not np.isfinite(x).all():
            raise InputError(f"{name} is not finite at {tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])}")
    if T < 2 or not (np.diff(arrays[0]) > 0).all():
        raise InputError("time must be strictly increasing, two frames or more")
    return arrays
