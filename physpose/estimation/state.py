"""The unknowns of a fit, how a step moves them, and the kinematics all terms share.

Per frame (n = nv): pelvis position in the world (3), pelvis rotation in the pelvis frame (3), coordinates.
Shared by all frames: log bone scales, then what the observations bring along: a camera's pitch and roll (about its own
x and z), height and log focal length, or each marker's offset on its body.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from physpose.chain import Frames, KinematicChain, Points
from physpose.spatial import matvec, quat_exp, quat_mul, so3_exp

N_CAMERA = 4  # pitch, roll, height, log focal
PITCH_ROLL, HEIGHT, FOCAL = slice(-4, -2), -2, -1


@dataclass(frozen=True)
class State:
    """Values of the unknowns that every fit has."""

    q: Tensor  # (T, nq)
    log_scales: Tensor  # (G,)

    @property
    def n_own(self) -> int:
        """How many shared unknowns stand behind the scales."""
        return 0

    @property
    def n_shared(self) -> int:
        return self.log_scales.shape[0] + self.n_own

    @property
    def registration(self) -> Tensor:
        """(M, 3) [m], body frame: how far the first M points lie from their places on the scaled body."""
        return self.q.new_zeros(0, 3)

    def stepped(self, dx: Tensor, ds: Tensor) -> Self:
        """The state after a step dx (T, nv) of the frames and ds (n_shared) of the shared unknowns."""
        p = self.q[:, :3] + dx[:, :3]
        quat = quat_mul(self.q[:, 3:7], quat_exp(dx[:, 3:6]))
        quat = quat / quat.norm(dim=-1, keepdim=True)
        q = torch.cat([p, quat, self.q[:, 7:] + dx[:, 6:]], -1)
        return replace(self, q=q, log_scales=self.log_scales + ds[: len(self.log_scales)])

    def frames(self, keep: slice | Tensor) -> Self:
        return replace(self, q=self.q[keep])


@dataclass(frozen=True)
class CameraState(State):
    """With one static camera. It stands above the world's origin and its heading is fixed: the subject's place is
    relative to it."""

    R_camera_world: Tensor  # (3, 3)
    height: Tensor  # () camera above the floor [m]
    log_focal: Tensor  # () log of the focal length [px]

    @property
    def n_own(self) -> int:
        return N_CAMERA

    def stepped(self, dx: Tensor, ds: Tensor) -> Self:
        turn = torch.stack([ds[-4], torch.zeros_like(ds[-4]), ds[-3]])
        return replace(
            super().stepped(dx, ds),
            R_camera_world=so3_exp(turn) @ self.R_camera_world,
            height=self.height + ds[HEIGHT],
            log_focal=self.log_focal + ds[FOCAL],
        )


@dataclass(frozen=True)
class MarkerState(State):
    """With markers whose places on the body are found along with the motion."""

    offsets: Tensor  # (M, 3) [m], body frame

    @property
    def n_own(self) -> int:
        return self.offsets.numel()

    @property
    def registration(self) -> Tensor:
        return self.offsets

    def stepped(self, dx: Tensor, ds: Tensor) -> Self:
        return replace(super().stepped(dx, ds), offsets=self.offsets + ds[len(self.log_scales) :].reshape(-1, 3))


class Kinematics:
    """Poses, points and, once asked for, their Jacobians for one state; computed once, read by every term."""

    def __init__(self, chain: KinematicChain, state: State, points: Points):
        self._chain, self._state, self._points = chain, state, points
        self.frames: Frames = chain.fk(state.q, state.log_scales)
        self.points: Tensor = chain.locate(self.frames, points, state.log_scales)  # (T, K, 3), world
        self.R_pelvis = self.frames.R[:, 0]
        if len(state.registration):
            moved = matvec(self.R_registered, state.registration.expand(len(state.q), -1, -1))
            self.points[:, : len(state.registration)] += moved

    @property
    def R_registered(self) -> Tensor:
        """(T, M, 3, 3) of the bodies whose points were moved: d(points)/d(their own places)."""
        return self.frames.R[:, self._points.body[: len(self._state.registration)]]

    @cached_property
    def J(self) -> Tensor:
        """d(points)/d(frame's unknowns) (T, K, 3, nv)."""
        J = self._chain.point_jacobian(self.frames, self._points, self.points)
        # the pelvis' position is a world vector here
        J[..., :3] = torch.eye(3, dtype=J.dtype)
        return J

    def summed_motion(self, body: Tensor, A: Tensor, a: Tensor) -> Tensor:
        """sum_s (A_s w_s + a_s x u_s) (T, 3, nv) by the frame's unknowns, as ``KinematicChain.summed_motion`` has it,
        of a (T, S, 3) whose sum is zero: the pelvis' position, a world vector here, moves nothing."""
        found = self._chain.summed_motion(self.frames, body, A, a)
        found[..., :3] = 0.0
        return found

    @cached_property
    def J_scales(self) -> Tensor:
        """d(points)/d(log bone scales) (T, K, 3, G)."""
        if not len(self._state.log_scales):
            return self.points.new_zeros(*self.points.shape, 0)
        return self._chain.scale_jacobian(self.frames, self._points, self._state.log_scales)

    @cached_property
    def Js(self) -> Tensor:
        """d(points)/d(shared unknowns) (T, K, 3, n_shared)."""
        G, R = len(self._state.log_scales), self.R_registered
        Js = self.points.new_zeros(*self.points.shape, self._state.n_shared)
        Js[..., :G] = self.J_scales
        for m in range(R.shape[1]):
            Js[:, m, :, G + 3 * m : G + 3 * m + 3] = R[:, m]
        return Js

    def camera_points(self, state: CameraState, index: slice) -> Tensor:
        """The points ``index`` in camera axes (T, k, 3) [m]."""
        p = self.points[:, index].clone()
        p[..., 2] -= state.height
        return matvec(state.R_camera_world, p)


def blend(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
    """Poses between a and b (T, nq) at weight w (T, 1); quaternions by normalised interpolation."""
    sign = torch.where((a[:, 3:7] * b[:, 3:7]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    b = torch.cat([b[:, :3], sign * b[:, 3:7], b[:, 7:]], -1)
    q = a + w * (b - a)
    return torch.cat([q[:, :3], q[:, 3:7] / q[:, 3:7].norm(dim=-1, keepdim=True), q[:, 7:]], -1)


def resample(q: Tensor, time: Tensor, new_time: Tensor) -> Tensor:
    """Poses (T, nq) at ``time`` interpolated to ``new_time``; held constant outside."""
    if len(time) == 1:
        return q.expand(len(new_time), -1).clone()
    i = torch.searchsorted(time, new_time).clamp(1, len(time) - 1)
    w = ((new_time - time[i - 1]) / (time[i] - time[i - 1])).clamp(0, 1)
    return blend(q[i - 1], q[i], w[:, None])
