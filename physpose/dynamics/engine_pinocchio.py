"""Inverse dynamics by Pinocchio, with its analytic derivatives: the least overhead for few samples on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.cache import per_chain
from physpose.dynamics.gradients import Arguments, Gradients, to_q_gradient
from physpose.dynamics.parameters import BodyParameters, with_parameters
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.dynamics.tree import tree_of
from physpose.types import Array


def applies(x: Arguments, by_parameters: bool = False) -> bool:
    """float64 on the CPU, one body for all samples, no gradient by its parameters."""
    return x.q.dtype == torch.float64 and x.q.device.type == "cpu" and not x.parameters.batched and not by_parameters


def forward(chain: KinematicChain, x: Arguments) -> Tensor:
    """tau (B, nv)."""
    import pinocchio as pin

    model = _model(chain, x.parameters)
    tau = np.empty((len(x.q), chain.nv))
    for t, (q, v, a, wrenches) in enumerate(_samples(model, x)):
        forces = () if wrenches is None else (model.joint_wrenches(q, wrenches),)
        tau[t, model.v_columns] = pin.rnea(model.model, model.data, q, v, a, *forces)
    return torch.from_numpy(tau)


def vjp(chain: KinematicChain, x: Arguments, u: Tensor, by_parameters: bool) -> Gradients:
    """Gradients of sum(u tau) for u (B, nv), from the derivatives of rnea (Carpentier & Mansard 2018)."""
    assert not by_parameters
    model = _model(chain, x.parameters)
    u_all = u.numpy()[:, model.v_columns]
    dq_bar, v_bar, a_bar = np.empty(u.shape), np.empty(u.shape), np.empty(u.shape)
    gravity_bar = np.empty((len(u), 3))
    external_bar = None if x.external is None else np.empty(x.external.shape)
    for t, (q, v, a, wrenches) in enumerate(_samples(model, x)):
        bars = _sample_vjp(model, q, v, a, wrenches, u_all[t])
        dq_bar[t, model.v_columns], v_bar[t, model.v_columns], a_bar[t, model.v_columns], gravity_bar[t] = bars[:4]
        if external_bar is not None:
            external_bar[t] = bars[4]
    by_external = None if external_bar is None else torch.from_numpy(external_bar)
    as_tensor = torch.from_numpy
    q_bar = to_q_gradient(tree_of(chain), x.q.numpy(), dq_bar)
    return Gradients(as_tensor(q_bar), as_tensor(v_bar), as_tensor(a_bar), as_tensor(gravity_bar), by_external, None)


def _sample_vjp(
    model: PinocchioModel, q: Array, v: Array, a: Array, wrenches: dict[str, Array] | None, u: Array
) -> tuple[Array, Array, Array, Array, Array | None]:
    import pinocchio as pin

    forces = () if wrenches is None else (model.joint_wrenches(q, wrenches),)
    dq, dv, M = pin.computeRNEADerivatives(model.model, model.data, q, v, a, *forces)
    q_bar, v_bar, a_bar = u @ dq, u @ dv, M @ u
    # tau = ... - sum m J_com^T g
    gravity_bar = -model.skeleton.mass * (pin.jacobianCenterOfMass(model.model, model.data, q) @ u)
    if wrenches is None:
        return q_bar, v_bar, a_bar, gravity_bar, None
    external_bar = np.empty((len(wrenches), 6))
    pin.computeJointJacobians(model.model, model.data, q)
    for i, (name, w) in enumerate(wrenches.items()):
        J = pin.getFrameJacobian(model.model, model.data, model.frame_ids[name], pin.LOCAL_WORLD_ALIGNED)
        U = J @ u
        external_bar[i] = -U
        # Pinocchio held the wrench fast to the link; it stays fixed in the world while the link turns
        q_bar = q_bar - J[3:].T @ (np.cross(U[:3], w[:3]) + np.cross(U[3:], w[3:]))
    return q_bar, v_bar, a_bar, gravity_bar, external_bar


def _samples(model: PinocchioModel, x: Arguments) -> Iterator[tuple[Array, Array, Array, dict[str, Array] | None]]:
    """q, v, a in Pinocchio's columns and the wrenches, sample by sample, gravity set."""
    import pinocchio as pin

    q, v, a = x.q.numpy()[:, model.q_columns], x.v.numpy()[:, model.v_columns], x.a.numpy()[:, model.v_columns]
    gravity = np.broadcast_to(x.gravity.numpy(), (len(q), 3))
    names = model.skeleton.body_names
    external = None if x.external is None else x.external.numpy()
    for t in range(len(q)):
        model.model.gravity.linear = gravity[t]
        yield (
            pin.normalize(model.model, q[t]),
            v[t],
            a[t],
            None if external is None else dict(zip(names, external[t], strict=True)),
        )


@per_chain
def _model(chain: KinematicChain, parameters: BodyParameters) -> PinocchioModel:
    """The chain's Pinocchio model with these parameters."""
    return PinocchioModel(with_parameters(chain.skeleton, parameters))
