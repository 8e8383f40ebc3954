"""Rigid-body dynamics by Pinocchio: the reference that the other engines are tested against, and fast for few samples.

The model is built from ``Skeleton`` directly. A chain joint becomes single-axis joints in a row with massless links in
between; a fixed body is welded to the joint before it. Pinocchio's algorithms rely on joints in depth-first order; for
a skeleton in another order the columns of q, v, a are permuted on the way in and out, otherwise they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physpose.conventions import depth_first
from physpose.errors import InputError
from physpose.skeleton.model import Body, Coordinate, Skeleton
from physpose.skeleton.validate import check_skeleton
from physpose.types import Array

GRAVITY = (0.0, 0.0, -9.81)  # [m/s^2], world


def build_model(skeleton: Skeleton) -> Any:
    """``pinocchio.Model`` of a skeleton, joints depth first, with a BODY frame at every body's origin."""
    import pinocchio as pin

    check_skeleton(skeleton)
    model = pin.Model()
    model.name = skeleton.name
    frames: dict[str | None, tuple[int, Any]] = {None: (0, pin.SE3.Identity())}
    for body in (skeleton.bodies[i] for i in depth_first(skeleton)):
        joint, placement = frames[body.parent]
        placement = placement * pin.SE3(np.asarray(body.joint.rotation), np.asarray(body.joint.translation))
        for name, kind in _pinocchio_joints(body):
            joint = model.addJoint(joint, kind, placement, name)
            placement = pin.SE3.Identity()
        model.appendBodyToJoint(
            joint, pin.Inertia(body.mass, np.asarray(body.com), np.asarray(body.inertia)), placement
        )
        model.addFrame(pin.Frame(body.name, joint, placement, pin.FrameType.BODY))
        frames[body.name] = joint, placement
    return model


def _pinocchio_joints(body: Body) -> list[tuple[str, Any]]:
    import pinocchio as pin

    if body.joint.kind == "free":
        return [(body.joint.name, pin.JointModelFreeFlyer())]
    if body.joint.kind == "ball":
        return [(body.joint.name, pin.JointModelSpherical())]
    return [(c.name, _single_axis(c)) for c in body.joint.coordinates]


def _single_axis(coordinate: Coordinate) -> Any:
    import pinocchio as pin

    axis = np.asarray(coordinate.axis, float)
    letter = "XYZ"[int(np.argmax(axis))]
    aligned = axis.max() == 1.0 and np.count_nonzero(axis) == 1  # Pinocchio has faster code for these
    if coordinate.kind == "hinge":
        return getattr(pin, f"JointModelR{letter}")() if aligned else pin.JointModelRevoluteUnaligned(axis)
    return getattr(pin, f"JointModelP{letter}")() if aligned else pin.JointModelPrismaticUnaligned(axis)


def _columns(skeleton: Skeleton, sizes: list[int]) -> NDArray[np.intp] | slice:
    """Columns of q or v in depth-first order of the bodies; all as they are, without a copy, where they are so."""
    first, order = np.cumsum([0, *sizes]), depth_first(skeleton)
    if list(order) == sorted(order):
        return slice(None)
    return np.concatenate([np.arange(first[i], first[i + 1]) for i in order]).astype(np.intp)


class PinocchioModel:
    """A skeleton's dynamics over T frames, a frame at a time. float64; q (T, nq), v and a (T, nv) as everywhere.

    ``external`` maps body names to wrenches (T, 6) on that body: force [N] and moment about the body's origin [N.m],
    both in world axes. ``gravity`` is (3,) or (T, 3) [m/s^2], world.
    """

    def __new__(cls, skeleton: Skeleton) -> PinocchioModel:
        if cls is PinocchioModel and skeleton.coordinate_map is not None:
            from physpose.dynamics.pinocchio_reduced import ReducedPinocchioModel  # here, since that builds on this

            return super().__new__(ReducedPinocchioModel)
        return super().__new__(cls)

    def __init__(self, skeleton: Skeleton):
        self.skeleton = skeleton
        self.model = build_model(skeleton)
        self.data = self.model.createData()
        self.q_columns = _columns(skeleton, [b.joint.nq for b in skeleton.bodies])  # ours of each of Pinocchio's
        self.v_columns = _columns(skeleton, [b.joint.nv for b in skeleton.bodies])

    @cached_property
    def quaternions(self) -> list[tuple[int, int, bool]]:
        """Of ball and free joints: first column of the quaternion in q and of the angular velocity in v; is it free."""
        joints = [(j.idx_q, j.idx_v, j.nq) for j in self.model.joints if j.nq in (4, 7)]
        return [(q + 3, v + 3, True) if nq == 7 else (q, v, False) for q, v, nq in joints]

    @cached_property
    def single_axis_columns(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Columns in q and in v of hinges and slides, in Pinocchio's order."""
        single = [j for j in self.model.joints if j.nq == 1]
        return np.array([j.idx_q for j in single], np.intp), np.array([j.idx_v for j in single], np.intp)

    @cached_property
    def frame_ids(self) -> dict[str, int]:
        """Pinocchio's frame of each body's origin."""
        import pinocchio as pin

        return {name: self.model.getFrameId(name, pin.FrameType.BODY) for name in self.skeleton.body_names}

    def inverse_dynamics(
        self,
        q: ArrayLike,
        v: ArrayLike,
        a: ArrayLike,
        gravity: ArrayLike = GRAVITY,
        external: Mapping[str, ArrayLike] | None = None,
    ) -> Array:
        """Generalized forces tau (T, nv) [N.m; N]: M a + h - sum J^T f_external; the root's in its frame."""
        import pinocchio as pin

        q, v, a = self.arguments(q=q, v=v, a=a)
        set_gravity = self._gravity(gravity, len(q))
        wrenches = self._external(external or {}, len(q))

        def one(t: int) -> Array:
            set_gravity(t)
            if not wrenches:
                return pin.rnea(self.model, self.data, q[t], v[t], a[t])
            f_joint = self.joint_wrenches(q[t], {name: w[t] for name, w in wrenches.items()})
            return pin.rnea(self.model, self.data, q[t], v[t], a[t], f_joint)

        return self._from_v(self._loop(q, one))

    def joint_wrenches(self, q: Array, external: Mapping[str, Array]) -> Any:
        """One frame's wrenches (6,) at body origins, world axes, as the forces in joint frames that Pinocchio takes."""
        import pinocchio as pin

        pin.forwardKinematics(self.model, self.data, q)
        forces = [pin.Force.Zero() for _ in range(self.model.njoints)]
        for name, wrench in external.items():
            frame = self.model.frames[self.frame_ids[name]]
            R_body_world = (self.data.oMi[frame.parentJoint].rotation @ frame.placement.rotation).T
            at_body = pin.Force(R_body_world @ wrench[:3], R_body_world @ wrench[3:])
            forces[frame.parentJoint] += frame.placement.act(at_body)
        stacked = pin.StdVec_Force()
        stacked.extend(forces)
        return stacked

    def forward_dynamics(self, q: ArrayLike, v: ArrayLike, tau: ArrayLike, gravity: ArrayLike = GRAVITY) -> Array:
        """Accelerations a (T, nv): M a + h = tau, by the articulated-body algorithm."""
        import pinocchio as pin

        q, v, tau = self.arguments(q=q, v=v, tau=tau)
        set_gravity = self._gravity(gravity, len(q))

        def one(t: int) -> Array:
            set_gravity(t)
            return pin.aba(self.model, self.data, q[t], v[t], tau[t])

        return self._from_v(self._loop(q, one))

    def mass_matrix(self, q: ArrayLike) -> Array:
        """M (T, nv, nv)."""
        import pinocchio as pin

        (q,) = self.arguments(q=q)
        M = self._loop(q, lambda t: np.triu(pin.crba(self.model, self.data, q[t])))
        M = M + np.triu(M, 1).swapaxes(-1, -2)
        return self._from_v(self._from_v(M).swapaxes(-1, -2))

    def centroidal_momentum(self, q: ArrayLike, v: ArrayLike) -> Array:
        """Momentum (T, 6) about the centre of mass, world axes: linear [kg.m/s], angular [kg.m^2/s]."""
        import pinocchio as pin

        q, v = self.arguments(q=q, v=v)
        return self._loop(q, lambda t: pin.computeCentroidalMomentum(self.model, self.data, q[t], v[t]).vector.copy())

    def energy(self, q: ArrayLike, v: ArrayLike, gravity: ArrayLike = GRAVITY) -> tuple[Array, Array]:
        """Kinetic and potential energy, each (T,) [J]; the potential -m g . com is zero at the world's origin."""
        import pinocchio as pin

        com = self.com(q)
        q, v = self.arguments(q=q, v=v)
        g = np.broadcast_to(np.asarray(gravity, float), (len(q), 3))
        kinetic = self._loop(q, lambda t: pin.computeKineticEnergy(self.model, self.data, q[t], v[t]))
        return kinetic, -self.skeleton.mass * (g * com).sum(-1)

    def com(self, q: ArrayLike) -> Array:
        """Whole-body centre of mass (T, 3) [m], world."""
        import pinocchio as pin

        (q,) = self.arguments(q=q)
        return self._loop(q, lambda t: pin.centerOfMass(self.model, self.data, q[t]).copy())

    def forward_kinematics(self, q: ArrayLike) -> tuple[Array, Array]:
        """Positions (T, n_bodies, 3) [m] of the body origins and rotations R_world_body (T, n_bodies, 3, 3)."""
        import pinocchio as pin

        (q,) = self.arguments(q=q)
        ids = list(self.frame_ids.values())
        positions, rotations = np.empty((len(q), len(ids), 3)), np.empty((len(q), len(ids), 3, 3))
        for t in range(len(q)):
            pin.framesForwardKinematics(self.model, self.data, q[t])
            for i, frame in enumerate(ids):
                positions[t, i], rotations[t, i] = self.data.oMf[frame].translation, self.data.oMf[frame].rotation
        return positions, rotations

    def positions(self, q: ArrayLike) -> Array:
        """Body origins (T, n_bodies, 3) [m], world."""
        return self.forward_kinematics(q)[0]

    def rotations(self, q: ArrayLike) -> Array:
        """R_world_body (T, n_bodies, 3, 3)."""
        return self.forward_kinematics(q)[1]

    def jacobian(self, body: str, q: ArrayLike) -> Array:
        """J (T, 6, nv): J v = linear velocity of the body's origin [m/s], angular [rad/s], world axes."""
        import pinocchio as pin

        (q,) = self.arguments(q=q)
        frame, axes = self.frame_ids[self.skeleton.body_names[self.skeleton.body_index(body)]], pin.LOCAL_WORLD_ALIGNED
        J = self._loop(q, lambda t: pin.computeFrameJacobian(self.model, self.data, q[t], frame, axes).copy())
        return self._from_v(J)

    def integrate(self, q: ArrayLike, dv: ArrayLike) -> Array:
        """q + dv on the manifold: (T, nq), (T, nv) -> (T, nq). dv = v dt."""
        import pinocchio as pin

        q, dv = self.arguments(q=q, dv=dv)
        q1 = self._loop(q, lambda t: pin.integrate(self.model, q[t], dv[t]))
        out = np.empty_like(q1)
        out[:, self.q_columns] = q1
        return out

    def difference(self, q0: ArrayLike, q1: ArrayLike) -> Array:
        """The dv (T, nv) with integrate(q0, dv) = q1."""
        import pinocchio as pin

        (q0,), (q1,) = self.arguments(q=q0), self.arguments(q=q1)
        return self._from_v(self._loop(q0, lambda t: pin.difference(self.model, q0[t], q1[t])))

    def arguments(self, **given: ArrayLike) -> tuple[Array, ...]:
        """q (T, nq) and the rest (T, nv), checked, in Pinocchio's order of columns."""
        out, T = [], len(np.asarray(next(iter(given.values()))))
        for name, x in given.items():
            n, columns = (self.model.nq, self.q_columns) if name == "q" else (self.model.nv, self.v_columns)
            array = np.asarray(x, dtype=np.float64)
            if array.shape != (T, n):
                needed = f"{self.skeleton.name} needs (T, {n}), here ({T}, {n})"
                raise InputError(f"{name} has shape {array.shape}; {needed}")
            out.append(np.ascontiguousarray(array[:, columns]))
        return tuple(out)

    def _from_v(self, x: Array) -> Array:
        """Pinocchio's columns (..., nv) in our order."""
        out = np.empty_like(x)
        out[..., self.v_columns] = x
        return out

    def _loop(self, q: Array, one: Callable[[int], Any]) -> Array:
        return np.array([one(t) for t in range(len(q))])

    def _gravity(self, gravity: ArrayLike, T: int) -> Callable[[int], None]:
        g = np.asarray(gravity, float)
        if g.shape not in {(3,), (T, 3)}:
            raise InputError(f"gravity has shape {g.shape}; (3,) or (T, 3) = ({T}, 3) needed, in m/s^2")
        g = np.broadcast_to(g, (T, 3))

        def set_gravity(t: int) -> None:
            self.model.gravity.linear = g[t]

        return set_gravity

    def _external(self, external: Mapping[str, ArrayLike], T: int) -> dict[str, Array]:
        wrenches = {name: np.asarray(w, float) for name, w in external.items()}
        for name, w in wrenches.items():
            self.skeleton.body_index(name)  # raises with the names that exist
            if w.shape != (T, 6):
                raise InputError(f"the external wrench on {name} has shape {w.shape}; (T, 6) = ({T}, 6) needed")
        return wrenches
