"""How much help does a motion need to stay upright? Its torques, with a small tracking feedback, in MuJoCo on a floor.

Two rollouts. In the first a hand at the pelvis (a spring and damper towards the motion) helps: what it gives is what
the motion's physics lacks. In the second nobody helps; whenever the body has fallen away from the motion it starts
again from it: how long it lasts, and how far its centre of mass strays, are the pose stability duration and the CoM
distance in the sense of Louis, Khoshlessan & Corso 2025 (arXiv 2502.04483), here with the motion's own torques in
place of optimised targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from physpose import conventions
from physpose.dynamics.mujoco_check import checked
from physpose.dynamics.pinocchio_backend import GRAVITY
from physpose.errors import InputError
from physpose.skeleton.mjcf import TOUCH_RADIUS, to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.types import Array

STEP = 1e-3  # [s] longest step
ARMATURE = 0.01  # [kg.m^2; kg] of every joint, its torque given back: light toes and hands would shake on contacts
FALLEN = 0.15  # of the standing height of the pelvis times two: so far the centre of mass may stray


@dataclass(frozen=True, kw_only=True)
class Upright:
    """What MuJoCo with contacts says of a motion and its torques."""

    help_force: Array  # (T,) [N] of the hand at the pelvis
    help_moment: Array  # (T,) [N.m]
    tracking_torque: Array  # (T, nv) [N.m; N] of the feedback at the joints beyond the motion's own, helped
    com_distance: Array  # (T,) [m] from the motion's centre of mass, unhelped
    fallen: Array  # (T,) bool: frames at which the unhelped body had to start again
    stability_duration: float  # [s] the unhelped body follows the motion, on average
    inverse_root: Array  # (T, 6) root wrench, pelvis frame, by mj_inverse with contacts: touchy to millimetres

    @property
    def rms_help(self) -> tuple[float, float]:
        """Force [N] and moment [N.m]."""
        return tuple(float(np.sqrt(np.mean(x**2))) for x in (self.help_force, self.help_moment))  # type: ignore[return-value]


def upright_check(
    skeleton: Skeleton,
    time: ArrayLike,
    q: ArrayLike,
    v: ArrayLike,
    a: ArrayLike,
    tau: ArrayLike,
    *,
    gravity: ArrayLike = GRAVITY,
    floor: float = 0.0,
    external: Mapping[str, ArrayLike] | None = None,
    tracking: float = 20.0,
    hand: float = 3.0,
) -> Upright:
    """Roll a motion out on a floor, with and without help.

    Args:
        skeleton: with a free root and contact points.
        time, q, v, a: (T,) [s], (T, nq), (T, nv), (T, nv).
        tau: (T, nv) [N.m; N], floor forces taken off; the root's first six are not applied: they are what is asked.
        gravity: (3,) [m/s^2], world.
        floor: height [m].
        external: wrenches (T, 6) on bodies besides the floor's, about the body's origin, world axes.
        tracking: natural frequency [Hz] of the joints' feedback, critically damped, over the inertia they move.
        hand: the same [Hz] of the hand at the pelvis.

    Raises:
        InputError: arrays of wrong shape or not finite; a body without a free root or without contact points, or whose
            neutral pose is not above the floor.
    """
    arrays = checked(skeleton, time, q, v, a, tau)
    if skeleton.coordinate_map is not None:
        raise InputError(f"MuJoCo cannot follow {skeleton.name}: some of its coordinates drive several joints")
    if skeleton.bodies[0].joint.kind != "free" or not skeleton.contact_points:
        raise InputError(f"{skeleton.name} cannot stand: it needs a free root and contact points")
    if skeleton.neutral[2] <= 0:
        raise InputError(f"{skeleton.name} cannot stand: its neutral pose is not above the floor")
    wrenches = {name: np.asarray(w, float) for name, w in (external or {}).items()}
    stage = _Stage(skeleton, np.asarray(gravity, float), floor, arrays, wrenches, 2 * np.pi * tracking)
    with _quiet():
        helped = stage.rollout(2 * np.pi * hand)
        alone = stage.rollout(0.0)
    starts = np.flatnonzero(alone.restarted)
    lasted = np.diff(stage.time[np.concatenate([[0], starts, [len(stage.time) - 1]]).astype(int)])
    return Upright(
        help_force=np.linalg.norm(helped.help[:, :3], axis=1), help_moment=np.linalg.norm(helped.help[:, 3:], axis=1),
        tracking_torque=conventions.tau_from_mujoco(skeleton, stage.qpos, helped.feedback),
        com_distance=alone.com_distance, fallen=alone.restarted, stability_duration=float(lasted[lasted > 0].mean()),
        inverse_root=stage.inverse_root(),
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """A body that flies apart starts again; MuJoCo shall neither print that nor write it to a file."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


@dataclass(frozen=True, kw_only=True)
class _Rollout:
    help: Array  # (T, 6)
    feedback: Array  # (T, nv), MuJoCo's order
    com_distance: Array  # (T,)
    restarted: Array  # (T,) bool


class _Stage:
    """The body on a floor in MuJoCo, and the motion it should follow, in MuJoCo's coordinates."""

    def __init__(
        self, skeleton: Skeleton, gravity: Array, floor: float, arrays: list[Array], wrenches: Mapping[str, Array],
        tracking: float,
    ):  # fmt: skip
        import mujoco

        self.mujoco, self.skeleton, self.tracking, self.wrenches = mujoco, skeleton, tracking, wrenches
        # contact points are on the skin, the spheres around them reach below it
        text = to_mjcf(skeleton, contacts=True, armature=ARMATURE, floor=floor - TOUCH_RADIUS)
        self.model = mujoco.MjModel.from_xml_string(text)
        self.model.opt.gravity = gravity
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_LIMIT
        self.data: Any = mujoco.MjData(self.model)
        self.time, q, v, a, tau = arrays
        self.qpos, self.qvel = conventions.q_to_mujoco(skeleton, q), conventions.v_to_mujoco(skeleton, q, v)
        self.qacc = conventions.a_to_mujoco(skeleton, q, v, a)
        self.tau = conventions.tau_to_mujoco(skeleton, q, tau) + self.model.dof_armature * self.qacc
        self.tau[:, :6] = 0.0
        self.com = np.array([self._com(x) for x in self.qpos])
        self.allowed = 2 * FALLEN * float(skeleton.neutral[2])

    def _com(self, qpos: Array) -> Array:
        self.data.qpos[:] = qpos.copy()
        self.mujoco.mj_kinematics(self.model, self.data)
        self.mujoco.mj_comPos(self.model, self.data)
        return self.data.subtree_com[1].copy()

    def rollout(self, hand: float) -> _Rollout:
        """Follow the motion from its first frame; a body that strays too far starts again from it."""
        T, nv = len(self.time), self.model.nv
        help_, feedback = np.zeros((T, 6)), np.zeros((T, nv))
        distance, restarted = np.zeros(T), np.zeros(T, bool)
        self._start(0)
        for t in range(1, T):
            help_[t], feedback[t] = self._advance(t, hand)
            distance[t] = np.linalg.norm(self._com(self.data.qpos) - self.com[t])
            if not distance[t] <= self.allowed:
                distance[t] = self.allowed
                restarted[t] = True
                self._start(t)
        help_[0], feedback[0] = help_[min(1, T - 1)], feedback[min(1, T - 1)]
        return _Rollout(help=help_, feedback=feedback, com_distance=distance, restarted=restarted)

    def _start(self, t: int) -> None:
        self.mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = self.qpos[t], self.qvel[t]
        self.mujoco.mj_forward(self.model, self.data)

    def _advance(self, t: int, hand: float) -> tuple[Array, Array]:
        """From frame t - 1 to t; means of help (6,) and feedback (nv,) on the way."""
        dt = self.time[t] - self.time[t - 1]
        steps = int(np.ceil(dt / STEP))
        self.model.opt.timestep = dt / steps
        helped, fed = np.zeros(6), np.zeros(self.model.nv)
        for s in range(steps):
            x = (s + 0.5) / steps
            self.mujoco.mj_step1(self.model, self.data)  # poses, inertias and contacts of this very state
            push = self._feedback(t, x, dt, hand)
            helped += push[:6] / steps
            fed[6:] += push[6:] / steps
            self.data.qfrc_applied[:] = (1 - x) * self.tau[t - 1] + x * self.tau[t] + push + self._pushes(t, x)
            self.mujoco.mj_step2(self.model, self.data)
        return helped, fed

    def _feedback(self, t: int, x: float, dt: float, hand: float) -> Array:
        """Critically damped springs from the body to the motion, over the inertia that each moves.

        Joints, the root floating: tau_j = (M_jj - M_jr M_rr^-1 M_rj) (w^2 e + 2 w de/dt), no force from outside.
        Hand, the whole body carried along: tau = M_.r (w^2 e + 2 w de/dt).
        """
        nv, gap, wanted = self.model.nv, np.zeros(self.model.nv), self.qpos[t - 1].copy()
        self.mujoco.mj_differentiatePos(self.model, gap, dt, self.qpos[t - 1], self.qpos[t])
        self.mujoco.mj_integratePos(self.model, wanted, gap, x * dt)
        error, M = np.zeros(nv), np.zeros((nv, nv))
        self.mujoco.mj_differentiatePos(self.model, error, 1.0, self.data.qpos, wanted)
        late = (1 - x) * self.qvel[t - 1] + x * self.qvel[t] - self.data.qvel
        self.mujoco.mj_fullM(self.model, self.data, M)
        floating = M[6:, 6:] - M[6:, :6] @ np.linalg.solve(M[:6, :6], M[:6, 6:])
        w = self.tracking
        out = M[:, :6] @ (hand**2 * error[:6] + 2 * hand * late[:6])
        out[6:] += floating @ (w**2 * error[6:] + 2 * w * late[6:])
        return out

    def _pushes(self, t: int, x: float) -> Array:
        """The known wrenches on bodies as generalized forces (nv,)."""
        out = np.zeros(self.model.nv)
        for name, w in self.wrenches.items():
            now, body = (1 - x) * w[t - 1] + x * w[t], self.model.body(name).id
            self.mujoco.mj_applyFT(self.model, self.data, now[:3], now[3:], self.data.xpos[body], body, out)
        return out

    def inverse_root(self) -> Array:
        """Root wrench (T, 6) that MuJoCo's own contacts leave unexplained, pelvis frame."""
        forces = np.empty_like(self.qacc)
        for t in range(len(self.qpos)):
            self.data.qpos[:], self.data.qvel[:], self.data.qacc[:] = self.qpos[t], self.qvel[t], self.qacc[t]
            self.mujoco.mj_inverse(self.model, self.data)
            forces[t] = self.data.qfrc_inverse - self._pushes(max(t, 1), float(t > 0))
        return conventions.tau_from_mujoco(self.skeleton, self.qpos, forces)[:, :6]
