"""The kinematic chain as a differentiable layer: q in, bodies and keypoints out, constant bones by construction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from physpose.errors import InputError, UnknownNameError
from physpose.expansion import Expanded, Expansion
from physpose.skeleton.model import Joint, Point, Skeleton
from physpose.skeleton.validate import check_tree
from physpose.spatial import axis_rotation, matvec, quat_conj, quat_mul, quat_to_matrix, se3_exp, se3_log, skew

if TYPE_CHECKING:
    from physpose.body_scales import BodyScales
    from physpose.projection import Projection, ProjectionSettings


class Frames(NamedTuple):
    """Poses of all bodies in the world, and the world axis of every velocity coordinate."""

    R: Tensor  # (*b, n_bodies, 3, 3), R_world_body
    p: Tensor  # (*b, n_bodies, 3) [m], body origins
    axes: Tensor  # (*b, nv, 3): of each velocity coordinate, in the world
    origins: Tensor  # (*b, nv, 3) [m]: a point on each of these axes
    expanded: Expanded | None = None  # of a skeleton with a coordinate map; the nv above are then the joints' own


class Points(NamedTuple):
    """Points fixed to bodies, as tensors."""

    body: Tensor  # (K,) body index
    offset: Tensor  # (K, 3) [m], body frame, at unit scale


class KinematicChain(nn.Module):
    """Batched, differentiable kinematics of a ``Skeleton``.

    q: (*b, nq) = pelvis position [m], quaternion xyzw, coordinates [rad; m]; v: (*b, nv), the pelvis twist in the
    pelvis frame, then rates. ``log_scales`` (n_groups,) are log bone scales, each shared by left and right; they
    are a parameter of the module (frozen unless ``requires_grad_()``) and may be given per call, batched too.
    """

    def __init__(self, skeleton: Skeleton, dtype: torch.dtype = torch.float64):
        super().__init__()
        check_tree(skeleton)
        self.skeleton = skeleton
        self.nq, self.nv = skeleton.nq, skeleton.nv
        self.body_names, self.coordinate_names = skeleton.body_names, skeleton.coordinate_names
        self._joints = _joint_table(skeleton)
        self._manifold = _manifold_table(skeleton.joints)
        self.log_scales = nn.Parameter(torch.zeros(len(skeleton.scale_groups), dtype=dtype), requires_grad=False)
        self._buffer("axis", _axes(skeleton), dtype)
        self._buffer("translation", np.array([b.joint.translation for b in skeleton.bodies]), dtype)
        self._buffer("rotation", np.array([b.joint.rotation for b in skeleton.bodies]), dtype)
        self._buffer("limits", np.array([c.range for c in skeleton.coordinates]).reshape(-1, 2), dtype)
        hinges = [(j.q + k, j.v + k) for j in self._joints for k, kind in enumerate(j.axis_kinds) if kind == "hinge"]
        self._hinges_q, self._hinges_v = ([h[i] for h in hinges] for i in (0, 1))
        self._parents = [j.parent for j in self._joints]
        self.register_buffer(
            "linear_columns", torch.tensor([f for j in self._joints for f in j.linear]), persistent=False
        )
        self.register_buffer("scale_index", torch.as_tensor(skeleton.scale_index), persistent=False)
        self.register_buffer("supports", torch.as_tensor(_supports(skeleton)), persistent=False)
        self.expansion = Expansion(skeleton, dtype) if skeleton.coordinate_map is not None else None
        self._expanded = KinematicChain(skeleton.expanded, dtype) if self.expansion is not None else None
        if self._expanded is not None:
            self._expanded.log_scales = self.log_scales  # one body, one size

    axis: Tensor  # (nv, 3) of each velocity coordinate in its own frame
    translation: Tensor  # (n_bodies, 3) joint origin in the parent
    rotation: Tensor  # (n_bodies, 3, 3)
    limits: Tensor  # (n_coordinates, 2)
    scale_index: Tensor  # (n_bodies, 3)
    linear_columns: Tensor  # (nv,) bool of the joints' own coordinates: which ones are translations
    supports: Tensor  # (n_bodies, nv) bool: does the velocity coordinate move the body

    def _buffer(self, name: str, value: np.ndarray, dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.as_tensor(value, dtype=dtype), persistent=False)

    @property
    def expanded(self) -> KinematicChain:
        """The chain of the joints' own coordinates, z = phi(s); itself without a coordinate map."""
        return self if self._expanded is None else self._expanded

    # --- kinematics -------------------------------------------------------------------------------------------------

    def axis_scales(self, log_scales: Tensor | None = None) -> Tensor:
        """Scale factor of every body axis (*b, n_bodies, 3)."""
        s = (self.log_scales if log_scales is None else log_scales).exp()
        s = torch.cat([s, s.new_ones(*s.shape[:-1], 1)], -1)  # index -1: not scaled
        return s[..., self.scale_index]

    def fk(self, q: Tensor, log_scales: Tensor | None = None) -> Frames:
        """Forward kinematics: poses (*b, n_bodies, ...) of the bodies for q (*b, nq)."""
        self._check(q)
        scales = self.axis_scales(log_scales)
        expanded = None if self.expansion is None else self.expansion(q, scales)
        q = q if expanded is None else expanded.q
        turns = axis_rotation(self.axis[self._hinges_v], q[..., self._hinges_q]).unbind(-3)
        offsets = (self.translation * scales[..., self._parents, :]).unbind(-2)
        R: list[Tensor] = []
        p: list[Tensor] = []
        before: list[Tensor] = []  # of each velocity coordinate, the axes in which its own axis is told
        origins: list[Tensor] = []
        hinge = 0
        for i, joint in enumerate(self._joints):
            R_i, p_i = self._joint_origin(i, joint.parent, R, p, offsets[i], q)
            if joint.kind == "free":
                p_i = p_i + matvec(R_i, q[..., joint.q : joint.q + 3])
                R_i = R_i @ quat_to_matrix(q[..., joint.q + 3 : joint.q + 7])
            elif joint.kind == "ball":
                R_i = R_i @ quat_to_matrix(q[..., joint.q : joint.q + 4])
            if joint.kind in ("free", "ball"):
                before += [R_i] * joint.nv
                origins += [p_i] * joint.nv
            for k, kind in enumerate(joint.axis_kinds):
                before.append(R_i)
                origins.append(p_i)
                if kind == "hinge":
                    R_i = R_i @ turns[hinge]
                    hinge += 1
                else:
                    p_i = p_i + (R_i @ self.axis[joint.v + k]) * q[..., joint.q + k, None]
            R.append(R_i)
            p.append(p_i)
        axes = matvec(torch.stack(before, -3), self.axis)
        return Frames(torch.stack(R, -3), torch.stack(p, -2), axes, torch.stack(origins, -2), expanded)

    def _joint_origin(
        self, i: int, parent: int, R: list[Tensor], p: list[Tensor], offset: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        R_joint = self.rotation[i]
        if parent < 0:
            shape = q.shape[:-1]
            return R_joint.expand(*shape, 3, 3), self.translation[i].expand(*shape, 3)
        p_i = p[parent] + matvec(R[parent], offset.expand_as(p[parent]))
        return R[parent] @ R_joint if self._joints[i].rotated else R[parent], p_i

    def points(self, points: tuple[Point, ...]) -> Points:
        """Named body points as tensors, for ``locate`` and ``point_jacobian``."""
        body = torch.tensor([self.skeleton.body_index(p.body) for p in points], dtype=torch.long)
        offset = torch.as_tensor(np.array([p.offset for p in points]).reshape(-1, 3)).to(self.translation)
        return Points(body.to(offset.device), offset)

    def keypoint_points(self, keypoint_set: str) -> Points:
        """The body points of a keypoint set."""
        return self.points(self.skeleton.keypoint_set(keypoint_set).points)

    def locate(self, frames: Frames, points: Points, log_scales: Tensor | None = None) -> Tensor:
        """World positions (*b, K, 3) [m] of body points."""
        offset = points.offset * self.axis_scales(log_scales)[..., points.body, :]
        R, p = frames.R[..., points.body, :, :], frames.p[..., points.body, :]
        return p + matvec(R, offset.expand_as(p))

    def keypoints(self, q: Tensor, keypoint_set: str = "blazepose33", log_scales: Tensor | None = None) -> Tensor:
        """World positions (*b, K, 3) [m] of a keypoint set's points for q (*b, nq)."""
        return self.locate(self.fk(q, log_scales), self.keypoint_points(keypoint_set), log_scales)

    def point_jacobian(self, frames: Frames, points: Points, located: Tensor) -> Tensor:
        """d(world position)/d(v) (*b, K, 3, nv) of body points that ``locate`` put at ``located`` (*b, K, 3)."""
        turn, shift = self._screws(frames)
        # [p, 1] @ [w x e_x; w x e_y; w x e_z; u] for all points and coordinates in one product
        rows = torch.cat([skew(turn).transpose(-3, -1), shift.mT[..., None, :, :]], -3)  # (*b, 4, 3, nv)
        p = torch.cat([located, torch.ones_like(located[..., :1])], -1)
        columns = (p @ rows.flatten(-2)).unflatten(-1, rows.shape[-2:])
        columns *= self.supports[points.body][:, None]  # in place: the largest array here
        return columns if self.expansion is None else columns @ self.expansion.gather

    def summed_motion(self, frames: Frames, body: Tensor, A: Tensor, a: Tensor) -> Tensor:
        """sum_s (A_s w_s + a_s x u_s) by v (*b, 3, nv), world axes.

        w_s, u_s: angular velocity of ``body`` s (S,), and its velocity where the world's origin is. A: (*b, S, 3, 3),
        a: (*b, S, 3).
        """
        turn, shift = self._screws(frames)
        carried = self.supports[body].to(a).T  # (nv, S)
        by_turn, by_shift = (carried @ A.flatten(-2)).unflatten(-1, (3, 3)), carried @ a
        columns = (matvec(by_turn, turn) + torch.linalg.cross(by_shift, shift)).mT
        return columns if self.expansion is None else columns @ self.expansion.gather

    def _screws(self, frames: Frames) -> tuple[Tensor, Tensor]:
        """w_j and u_j (*b, nv, 3) of the joints' own coordinates: a point p that j moves has dp/dv_j = w_j x p + u_j.

        Hinge: w = axis, u = origin x axis; slide, pelvis' linear velocity: w = 0, u = axis.
        """
        linear = self.linear_columns[:, None]
        turn = torch.where(linear, 0.0, frames.axes)
        shift = torch.where(linear, frames.axes, torch.linalg.cross(frames.origins, frames.axes))
        if self.expansion is None or frames.expanded is None:
            return turn, shift
        gain = frames.expanded.gain[..., None]
        return gain * turn, gain * shift

    def jacobian(self, q: Tensor, keypoint_set: str = "blazepose33", log_scales: Tensor | None = None) -> Tensor:
        """d(keypoints)/d(v) (*b, K, 3, nv), world axes."""
        frames, points = self.fk(q, log_scales), self.keypoint_points(keypoint_set)
        return self.point_jacobian(frames, points, self.locate(frames, points, log_scales))

    def scale_jacobian(self, frames: Frames, points: Points, log_scales: Tensor | None = None) -> Tensor:
        """d(world position)/d(log_scales) (*b, K, 3, n_groups) of body points."""
        scales, n = self.axis_scales(log_scales), self.log_scales.shape[0]
        onehot = torch.nn.functional.one_hot(self.scale_index % (n + 1), n + 1)[..., :n].to(frames.R)  # (nb, 3, n)
        d_slide = self._slide_scale_jacobian(frames, scales, onehot)
        d_origin: list[Tensor] = []
        for i, joint in enumerate(self._joints):
            if joint.parent < 0:
                d_origin.append(frames.R.new_zeros(*frames.R.shape[:-3], 3, n))
                continue
            offset = self.translation[i] * scales[..., joint.parent, :]
            local = offset[..., None] * onehot[joint.parent]
            d_origin.append(d_origin[joint.parent] + frames.R[..., joint.parent, :, :] @ local)
            d_origin[i] = d_origin[i] + sum(d_slide.get(joint.v + k, 0) for k in range(joint.nv))
        offset = points.offset * scales[..., points.body, :]
        local = offset[..., None] * onehot[points.body]
        return torch.stack(d_origin, -3)[..., points.body, :, :] + frames.R[..., points.body, :, :] @ local

    def _slide_scale_jacobian(self, frames: Frames, scales: Tensor, onehot: Tensor) -> dict[int, Tensor]:
        """By column of the expanded v: d(displacement)/d(log_scales) (*b, 3, n_groups) of slides that are lengths."""
        if self.expansion is None or frames.expanded is None or not len(self.expansion.slide_rows):
            return {}
        x, parent = self.expansion, self.expansion.slide_parent
        weights = scales[..., parent, :] * x.slide_weight
        # z = f(s) sum_k w_k S_k, so dz/d(log S_k) = z w_k S_k / (sum of them)
        z = frames.expanded.q[..., x.slide_q]
        dz = z[..., None] * ((weights / weights.sum(-1, keepdim=True))[..., None, :] @ onehot[parent]).squeeze(-2)
        columns = frames.axes[..., x.slide_v, :][..., None] * dz[..., None, :]
        return dict(zip(x.slide_v.tolist(), columns.unbind(-3), strict=True))

    # --- the manifold -----------------------------------------------------------------------------------------------

    def integrate(self, q: Tensor, dv: Tensor) -> Tensor:
        """q + dv on the manifold: (*b, nq), (*b, nv) -> (*b, nq). dv = v dt."""
        parts = []
        for j in self._manifold:
            x, d = q[..., j.q : j.q + j.nq], dv[..., j.v : j.v + j.nv]
            if j.kind == "free":
                p, quat = se3_exp(d)
                p = x[..., :3] + matvec(quat_to_matrix(x[..., 3:]), p)
                parts += [p, _unit(quat_mul(x[..., 3:], quat))]
            elif j.kind == "ball":
                parts.append(_unit(quat_mul(x, se3_exp(torch.cat([torch.zeros_like(d), d], -1))[1])))
            else:
                parts.append(x + d)
        return torch.cat(parts, -1)

    def difference(self, q0: Tensor, q1: Tensor) -> Tensor:
        """The dv (*b, nv) with integrate(q0, dv) = q1; a velocity once divided by the time between."""
        parts = []
        for j in self._manifold:
            x0, x1 = q0[..., j.q : j.q + j.nq], q1[..., j.q : j.q + j.nq]
            if j.kind == "free":
                inverse = quat_conj(x0[..., 3:])
                p = matvec(quat_to_matrix(inverse), x1[..., :3] - x0[..., :3])
                parts.append(se3_log(p, quat_mul(inverse, x1[..., 3:])))
            elif j.kind == "ball":
                parts.append(se3_log(torch.zeros_like(x0[..., :3]), quat_mul(quat_conj(x0), x1))[..., 3:])
            else:
                parts.append(x1 - x0)
        return torch.cat(parts, -1)

    # --- the nearest pose -------------------------------------------------------------------------------------------

    def project(
        self,
        keypoints: Tensor,
        keypoint_set: str = "blazepose33",
        *,
        weights: Tensor | None = None,
        q0: Tensor | None = None,
        log_scales: Tensor | None = None,
        settings: ProjectionSettings | None = None,
    ) -> Projection:
        """The skeleton's nearest pose to any 3D keypoints, differentiable by them, their weights and the bone scales.

        Args:
            keypoints: (*b, K, 3) [m], world, z up; NaN where missing.
            keypoint_set: what they are; a name in ``skeleton.keypoint_sets``.
            weights: (*b, K) or (K,), for instance a detector's confidences, on top of the set's own spread; 0: missing.
            q0: (*b, nq) or (nq,) first guess; None: the neutral posture laid on the trunk's keypoints, and other
                postures where that ends far off.
            log_scales: (*b, n_groups) or (n_groups,) of the bones; None: the module's.
            settings: softness of the limits, posture prior, tolerance.

        Returns:
            q, the distance from each keypoint to the body's, which samples converged. q's gradient takes ``q0`` as
            constant; second derivatives are not available.

        Raises:
            UnknownNameError, InputError: unknown keypoint set; shapes or dtypes that do not fit, negative weights.
        """
        from physpose.projection import project  # here, since that module builds on this one

        return project(
            self, keypoints, keypoint_set, weights=weights, q0=q0, log_scales=log_scales, settings=settings
        )  # fmt: skip

    def body_scales(
        self,
        keypoints: Tensor,
        keypoint_set: str = "blazepose33",
        *,
        weights: Tensor | None = None,
        settings: ProjectionSettings | None = None,
    ) -> BodyScales:
        """The most probable log bone scales of the one body that sequences of 3D keypoints are of, for ``project``.

        Args:
            keypoints: (*b, T, K, 3) [m], world, z up; NaN where missing.
            keypoint_set: what they are; a name in ``skeleton.keypoint_sets``.
            weights: (*b, T, K) or (K,), as ``project`` takes them.
            settings: as ``project`` takes them. Frames count as independent: a ``source_sigma`` of less than what the
                source's error is over many frames lets it draw the bones further from those of the skeleton.

        Returns:
            log_scales (*b, n_groups), differentiable by keypoints and weights, and which sequences converged.

        Raises:
            UnknownNameError, InputError: as ``project``.
        """
        from physpose.body_scales import body_scales  # here, since that module builds on this one

        return body_scales(self, keypoints, keypoint_set, weights=weights, settings=settings)

    # --- limits -----------------------------------------------------------------------------------------------------

    def limit_residual(self, q: Tensor, margin: float = 0.0) -> Tensor:
        """How far each coordinate lies outside its soft range (*b, n_coordinates) [rad; m]; zero inside.

        A ``margin`` [rad; m] narrows the range at both ends.
        """
        x = q[..., self._coordinate_q]
        return torch.relu(x - self.limits[:, 1] + margin) - torch.relu(self.limits[:, 0] + margin - x)

    def coordinate_index(self, name: str) -> int:
        """Index of a coordinate in ``coordinate_names``."""
        if name not in self.coordinate_names:
            raise UnknownNameError("coordinate", name, self.coordinate_names)
        return self.coordinate_names.index(name)

    @property
    def _coordinate_q(self) -> list[int]:
        return [j.q + k for j in self._manifold if j.kind == "chain" for k in range(j.nq)]

    def _check(self, q: Tensor) -> None:
        if q.shape[-1:] != (self.nq,):
            raise InputError(f"q has shape {tuple(q.shape)}; {self.skeleton.name} needs (..., {self.nq})")
        if q.dtype != self.axis.dtype:
            raise InputError(f"q is {q.dtype}, the chain {self.axis.dtype}; convert one: chain.to(q.dtype)")


class _Columns(NamedTuple):
    kind: str
    q: int  # first index in q
    v: int  # first index in v
    nq: int
    nv: int


class _Joint(NamedTuple):
    parent: int
    kind: str
    q: int  # first index in the expanded q
    v: int  # first index in the expanded v
    nq: int
    nv: int
    axis_kinds: tuple[str, ...]  # "hinge" | "slide" of a chain joint's coordinates
    linear: tuple[bool, ...]  # of each velocity coordinate
    rotated: bool  # is the joint frame turned against the parent's


def _manifold_table(joints: tuple[Joint, ...]) -> tuple[_Columns, ...]:
    """Where each joint lies in q and v."""
    table, q, v = [], 0, 0
    for j in joints:
        table.append(_Columns(j.kind, q, v, j.nq, j.nv))
        q, v = q + j.nq, v + j.nv
    return tuple(table)


def _joint_table(skeleton: Skeleton) -> tuple[_Joint, ...]:
    table, q, v = [], 0, 0
    for body in skeleton.bodies:
        j = body.joint
        kinds = tuple(c.kind for c in j.coordinates) if j.kind == "chain" else ()
        linear = {"free": (True,) * 3 + (False,) * 3, "ball": (False,) * 3}.get(
            j.kind, tuple(k == "slide" for k in kinds)
        )
        parent = -1 if body.parent is None else skeleton.body_index(body.parent)
        rotated = not np.array_equal(j.rotation, np.eye(3))
        table.append(_Joint(parent, j.kind, q, v, j.nq, j.nv, kinds, linear, rotated))
        q, v = q + j.nq, v + j.nv
    return tuple(table)


def _axes(skeleton: Skeleton) -> np.ndarray:
    """(nv, 3): unit axes of the free-flyer and balls, then each coordinate's own."""
    own = {"free": [*np.eye(3), *np.eye(3)], "ball": list(np.eye(3))}
    rows = [a for b in skeleton.bodies for a in own.get(b.joint.kind, [c.axis for c in b.joint.coordinates])]
    return np.array(rows).reshape(-1, 3)


def _supports(skeleton: Skeleton) -> np.ndarray:
    """(n_bodies, nv) bool: does velocity coordinate j move body i."""
    table = _joint_table(skeleton)
    supports = np.zeros((len(table), sum(j.nv for j in table)), bool)
    for i, joint in enumerate(table):
        if joint.parent >= 0:
            supports[i] = supports[joint.parent]
        supports[i, joint.v : joint.v + joint.nv] = True
    return supports


def _unit(quat: Tensor) -> Tensor:
    return quat / quat.norm(dim=-1, keepdim=True)
