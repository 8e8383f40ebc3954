"""Inverse dynamics by Pinocchio, with its analytic derivatives: the least overhead for few samples on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.cache import per_chain
from physpose.dynamics.checks import FEW
from physpose.dynamics.gradients import Arguments, Gradients
from physpose.dynamics.parameters import BodyParameters, with_parameters
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.types import Array

_one_at_a_time = Lock()  # a Pinocchio model has one gravity and one set of buffers


class Sample(NamedTuple):
    """One sample in Pinocchio's columns."""

    q: Array
    v: Array
    a: Array
    wrenches: dict[str, Array] | None


class Kept(NamedTuple):
    """What the forward pass of few samples leaves for the vector-Jacobian product."""

    model: PinocchioModel
    samples: list[tuple[Array, Array]]  # q of each, and d tau / d (motion, v, a) (nv, 3 nv)


def applies(x: Arguments, by_parameters: bool = False) -> bool:
    """float64 on the CPU, one body for all samples, no gradient by its parameters."""
    return x.q.dtype == torch.float64 and x.q.is_cpu and not by_parameters and not x.parameters.batched


def forward(chain: KinematicChain, x: Arguments) -> Tensor:
    """tau (B, nv)."""
    import pinocchio as pin

    model = _model(chain, x.parameters)
    tau = np.empty((x.q.shape[0], chain.nv))
    with _one_at_a_time:
        for t, (q, v, a, wrenches) in enumerate(_samples(model, x)):
            tau[t, model.v_columns] = pin.rnea(model.model, model.data, q, v, a, *_forces(model, q, wrenches))
    return torch.from_numpy(tau)


def forward_for_vjp(chain: KinematicChain, x: Arguments) -> tuple[Tensor, Kept | None]:
    """tau (B, nv) and, of few samples in no contact, its derivatives, which Pinocchio computes with it."""
    if x.q.shape[0] > FEW or x.external is not None:
        return forward(chain, x), None
    model = _model(chain, x.parameters)
    kept, tau = Kept(model, []), np.empty((x.q.shape[0], chain.nv))
    with _one_at_a_time:
        for t, sample in enumerate(_samples(model, x)):
            kept.samples.append((sample.q, _derivatives(model, sample)))
            tau[t, model.v_columns] = model.data.tau
    return torch.from_numpy(tau), kept


def vjp(chain: KinematicChain, x: Arguments, u: Tensor, by_gravity: bool, by_parameters: bool) -> Gradients:
    """Gradients of sum(u tau) for u (B, nv), from the derivatives of rnea (Carpentier & Mansard 2018)."""
    assert not by_parameters
    model = _model(chain, x.parameters)
    external_bar = None if x.external is None else np.zeros(x.external.shape)
    turns = np.zeros((len(u), chain.nv))
    with _one_at_a_time:
        if external_bar is not None:
            for t, sample in enumerate(_samples(model, x)):
                external_bar[t], turns[t] = _external_vjp(model, sample, u.numpy()[t, model.v_columns])
        derivatives = ((s.q, _derivatives(model, s)) for s in _samples(model, x))
        gradients = _products(model, derivatives, u, by_gravity, turns)
    return gradients._replace(external=None if external_bar is None else torch.from_numpy(external_bar))


def vjp_of(kept: Kept, u: Tensor, by_gravity: bool) -> Gradients:
    """``vjp`` by what ``forward_for_vjp`` has kept."""
    if not by_gravity:
        return _products(*kept, u, False)
    with _one_at_a_time:
        return _products(*kept, u, True)


def _products(
    model: PinocchioModel,
    derivatives: Iterable[tuple[Array, Array]],
    u: Tensor,
    by_gravity: bool,
    turns: Array | None = None,
) -> Gradients:
    """Gradients from q and d tau / d (motion, v, a) of each sample; ``turns`` (B, nv) adds to those by motions."""
    import pinocchio as pin

    u_all, (B, nv) = u.numpy(), u.shape
    q_bar, v_bar, a_bar = np.empty((B, model.model.nq)), np.empty((B, nv)), np.empty((B, nv))
    gravity_bar = np.empty((B, 3)) if by_gravity else None
    for t, (q, D) in enumerate(derivatives):
        u_t = u_all[t, model.v_columns]
        by_state = u_t @ D
        by_motion = by_state[:nv] if turns is None else by_state[:nv] + turns[t]
        q_bar[t, model.q_columns] = to_q_gradient(model, q, by_motion)
        v_bar[t, model.v_columns], a_bar[t, model.v_columns] = by_state[nv : 2 * nv], by_state[2 * nv :]
        if gravity_bar is not None:
            # tau = ... - sum m J_com^T g
            J_com = pin.jacobianCenterOfMass(model.model, model.data, q)
            gravity_bar[t] = -model.skeleton.mass * (J_com @ u_t)
    gravity = None if gravity_bar is None else torch.from_numpy(gravity_bar)
    return Gradients(torch.from_numpy(q_bar), torch.from_numpy(v_bar), torch.from_numpy(a_bar), gravity, None, None)


def _derivatives(model: PinocchioModel, sample: Sample) -> Array:
    """d tau / d (motion, v, a) (nv, 3 nv), by motions dv of q + dv; leaves tau in the model's data."""
    import pinocchio as pin

    q, v, a, wrenches = sample
    by_state = pin.computeRNEADerivatives(model.model, model.data, q, v, a, *_forces(model, q, wrenches))
    return np.concatenate(by_state, 1)  # a copy: the model's own are overwritten by the next sample


def _forces(model: PinocchioModel, q: Array, wrenches: dict[str, Array] | None) -> tuple[Any, ...]:
    return () if wrenches is None else (model.joint_wrenches(q, wrenches),)


def _external_vjp(model: PinocchioModel, sample: Sample, u: Array) -> tuple[Array, Array]:
    """Gradient by the wrenches (n, 6), and the part of that by motions (nv) that Pinocchio's derivatives leave out."""
    import pinocchio as pin

    wrenches = sample.wrenches or {}
    bar, turn = np.empty((len(wrenches), 6)), np.zeros(len(u))
    pin.computeJointJacobians(model.model, model.data, sample.q)
    for i, (name, w) in enumerate(wrenches.items()):
        J = pin.getFrameJacobian(model.model, model.data, model.frame_ids[name], pin.LOCAL_WORLD_ALIGNED)
        U = J @ u
        bar[i] = -U
        # Pinocchio held the wrench fast to the link; it stays fixed in the world while the link turns
        turn -= J[3:].T @ (np.cross(U[:3], w[:3]) + np.cross(U[3:], w[3:]))
    return bar, turn


def to_q_gradient(model: PinocchioModel, q: Array, tangent: Array) -> Array:
    """Gradient by q (nq), tangent to the sphere at quaternions, from that (nv) by motions dv of q + dv.

    dquat = quat * (w, 0) / 2: its columns are orthogonal, of length |quat| / 2, so the gradient is
    2 quat * (w_bar, 0) / |quat|^2. Scalars, because arrays of three cost more than Pinocchio's derivatives.
    """
    single_q, single_v = model.single_axis_columns
    grad = np.empty(len(q))
    grad[single_q] = tangent[single_v]
    for k, j, free in model.quaternions:
        x, y, z, w = q[k : k + 4].tolist()
        a, b, c = tangent[j : j + 3].tolist()
        s = 2 / (x * x + y * y + z * z + w * w)
        vector = s * (w * a + y * c - z * b), s * (w * b + z * a - x * c), s * (w * c + x * b - y * a)
        grad[k : k + 4] = *vector, -s * (x * a + y * b + z * c)
        if free:
            # the position moves by R dv = dv + s u x (u x dv + w dv)
            a, b, c = tangent[j - 3 : j].tolist()
            d, e, f = y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c
            grad[k - 3 : k] = a + s * (y * f - z * e), b + s * (z * d - x * f), c + s * (x * e - y * d)
    return grad


def _samples(model: PinocchioModel, x: Arguments) -> Iterator[Sample]:
    """The samples one by one, quaternions normalised, gravity set."""
    import pinocchio as pin

    q, v, a = x.seen.few or (x.q.numpy(), x.v.numpy(), x.a.numpy())
    q, v, a = q[:, model.q_columns], v[:, model.v_columns], a[:, model.v_columns]
    gravity, names = x.gravity.numpy(), model.skeleton.body_names
    external = None if x.external is None else x.external.numpy()
    for t in range(len(q)):
        model.model.gravity.linear = gravity if gravity.ndim == 1 else gravity[t]
        wrenches = None if external is None else dict(zip(names, external[t], strict=True))
        yield Sample(pin.normalize(model.model, q[t]), v[t], a[t], wrenches)


@per_chain
def _model(chain: KinematicChain, parameters: BodyParameters) -> PinocchioModel:
    """The chain's Pinocchio model with these parameters."""
    return PinocchioModel(with_parameters(chain.skeleton, parameters))


def derivatives(chain: KinematicChain, x: Arguments) -> tuple[Tensor, ...]:
    """d tau / d (motion, v, a), (B, nv, nv) each, of samples in no contact."""
    model = _model(chain, x.parameters)
    found = np.empty((x.q.shape[0], chain.nv, 3 * chain.nv))
    columns = np.arange(chain.nv)[model.v_columns]
    into = np.concatenate([columns + k * chain.nv for k in range(3)])
    with _one_at_a_time:
        for t, sample in enumerate(_samples(model, x)):
            found[t][np.ix_(columns, into)] = _derivatives(model, sample)
    return torch.from_numpy(found).split(chain.nv, dim=2)
