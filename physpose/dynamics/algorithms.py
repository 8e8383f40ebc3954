"""Rigid-body dynamics of a chain, for any leading batch shape *b. World frame z up, SI units, gravity an argument.

q (*b, nq) and v, a, tau (*b, nv) as everywhere: the root's part of v, a and tau is in the root's own frame.
``gravity``: (3,) or (*b, 3) [m/s^2], world. ``external``: a mapping from body names to wrenches (*b, 6) on that body,
or all of them (*b, n_bodies, 6): force [N] and moment about the body's origin [N.m], world axes.
``parameters``: ``body_parameters(chain)`` unless given; gradients flow to them. All functions are differentiable twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import engine_pinocchio
from physpose.dynamics import engine_torch as tensor_code
from physpose.dynamics.checks import External, Gravity, check_external, check_gravity, check_reduced, check_state
from physpose.dynamics.coupling import expand
from physpose.dynamics.engine_torch import split
from physpose.dynamics.engines import inverse_dynamics
from physpose.dynamics.gradients import Arguments
from physpose.dynamics.kinematics import Poses, accelerations, poses, subtree_sum, velocities
from physpose.dynamics.parameters import BodyParameters, check_parameters, current_parameters
from physpose.dynamics.pinocchio_backend import GRAVITY
from physpose.dynamics.tree import tree_of
from physpose.errors import InputError, UnknownNameError
from physpose.spatial import matvec, skew

cross = torch.linalg.cross


def rnea(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    a: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
    engine: str = "auto",
) -> Tensor:
    """Generalized forces tau (*b, nv) [N.m; N]: tau = M a + h - sum J^T f_external (Featherstone 2008, ch. 5).

    ``engine``: "auto" chooses by device, dtype, batch and what needs gradients; "torch", "pinocchio", "warp" force one.
    """
    if chain.expansion is not None:
        z = expand(chain, q, v, a)
        tau = rnea(
            chain.expanded, z.q, z.v, z.a, gravity=gravity, external=external, parameters=parameters, engine=engine
        )
        return z.forces(tau)
    seen = check_state(chain, q, v=v, a=a)
    parameters = _parameters(chain, q, parameters)
    g = check_gravity(chain, gravity, q.shape[:-1])
    wrenches = check_external(chain, external, q.shape[:-1])
    return inverse_dynamics(chain, Arguments(q, v, a, g, wrenches, parameters, seen), engine)


def rnea_derivatives(
    chain: KinematicChain, q: Tensor, v: Tensor, a: Tensor, *, gravity: Gravity = GRAVITY
) -> tuple[Tensor, ...]:
    """Jacobians of ``rnea`` without external wrenches: by a motion dv of q + dv, by v, by a; (B, nv, nv) each.

    q (B, nq), v and a (B, nv): float64 on the CPU. By Pinocchio (Carpentier & Mansard 2018); no gradients flow.

    Raises:
        InputError: another dtype or device.
    """
    if chain.expansion is not None:
        return _coupled_derivatives(chain, q, v, a, gravity)
    seen = check_state(chain, q, v=v, a=a)
    x = Arguments(q, v, a, check_gravity(chain, gravity, q.shape[:-1]), None, current_parameters(chain), seen)
    if q.ndim != 2 or not engine_pinocchio.applies(x):
        raise InputError(f"q is {q.dtype} {tuple(q.shape)} on {q.device}; float64 (B, nq) on the cpu is needed")
    return engine_pinocchio.derivatives(chain, x)


def _coupled_derivatives(
    chain: KinematicChain, q: Tensor, v: Tensor, a: Tensor, gravity: Gravity
) -> tuple[Tensor, ...]:
    z = expand(chain, q, v, a)
    x, phi = z.derivatives, z.phi
    by_z, by_zd, by_zdd = rnea_derivatives(chain.expanded, z.q, z.v, z.a, gravity=gravity)
    tau = rnea(chain.expanded, z.q, z.v, z.a, gravity=gravity)
    sd, sdd = (y.index_select(-1, phi.v_source) for y in (v, a))
    # zd = phi' sd, zdd = phi' sdd + phi'' sd^2, each by s and by sd
    rate, acceleration = x.bend * sd, x.bend * sdd + phi.third(q, chain.axis_scales()) * sd**2
    moved = (by_zd * rate[..., None, :] + by_zdd * acceleration[..., None, :]) @ phi.gather
    hastened = z.columns(by_zd) + 2 * (by_zdd * rate[..., None, :]) @ phi.gather
    by_motion = phi.reduce_derivatives(x, by_z, tau) + z.columns(moved.mT).mT
    return by_motion, z.columns(hastened.mT).mT, z.matrix(by_zdd)


def crba(chain: KinematicChain, q: Tensor, *, parameters: BodyParameters | None = None) -> Tensor:
    """Mass matrix M (*b, nv, nv), symmetric positive definite, by composite inertias (Featherstone 2008, ch. 6)."""
    if chain.expansion is not None:
        z = expand(chain, q)
        return z.matrix(crba(chain.expanded, z.q, parameters=parameters))
    parameters = _prepare(chain, q, parameters)
    x = poses(chain, q, parameters)
    inertias = _spatial_inertias(x, parameters)
    # composite inertia of all that coordinate j moves, applied to its axis: F_j = Ic_j S_j
    composite = subtree_sum(chain, inertias.flatten(-2)).unflatten(-1, (6, 6))
    F = matvec(composite, x.S)
    # M_jk = F_j . S_k where k moves j's axis
    carries = tree_of(chain).tensor("carries", q)
    lower = (F @ x.S.mT) * carries
    return torch.where(carries.bool(), lower, lower.mT)


def aba(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    tau: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Forward dynamics a (*b, nv): M a = tau - h, by Cholesky of the mass matrix."""
    if chain.expansion is not None:
        check_reduced(chain, q, {"v": v, "tau": tau})
        rest = torch.zeros_like(v)
        h = rnea(chain, q, v, rest, gravity=gravity, external=external, parameters=parameters, engine="torch")
        return _solve(crba(chain, q, parameters=parameters), tau - h)
    parameters = _prepare(chain, q, parameters, v=v, tau=tau)
    g = check_gravity(chain, gravity, q.shape[:-1])
    wrenches = check_external(chain, external, q.shape[:-1])
    h = tensor_code.forward(chain, Arguments(q, v, torch.zeros_like(v), g, wrenches, parameters))
    return _solve(crba(chain, q, parameters=parameters), tau - h)


def center_of_mass(chain: KinematicChain, q: Tensor, *, parameters: BodyParameters | None = None) -> Tensor:
    """Whole-body centre of mass (*b, 3) [m], world."""
    if chain.expansion is not None:
        return center_of_mass(chain.expanded, expand(chain, q).q, parameters=parameters)
    parameters = _prepare(chain, q, parameters)
    x = poses(chain, q, parameters)
    return x.c + _com_from_c(x, parameters)


def centroidal_momentum(
    chain: KinematicChain, q: Tensor, v: Tensor, *, parameters: BodyParameters | None = None
) -> Tensor:
    """Momentum (*b, 6) about the centre of mass, world axes: linear [kg.m/s], angular [kg.m^2/s]."""
    if chain.expansion is not None:
        z = expand(chain, q, v)
        return centroidal_momentum(chain.expanded, z.q, z.v, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v)
    x = poses(chain, q, parameters)
    total = tensor_code.momenta(x, velocities(chain, x, v), parameters).sum(-2)
    return _to_com(x, parameters, total)


def momentum_by_body(
    chain: KinematicChain, q: Tensor, v: Tensor, *, parameters: BodyParameters | None = None
) -> Tensor:
    """Each body's share (*b, n_bodies, 6) of ``centroidal_momentum``, world axes: linear, angular; they sum to it.

    m_i dc_i, and I_i w_i + m_i (c_i - c) x (dc_i - dc) with c the whole body's centre of mass (Herr & Popovic 2008, eq.
    1): a share does not depend on how fast the body travels.
    """
    if chain.expansion is not None:
        z = expand(chain, q, v)
        return momentum_by_body(chain.expanded, z.q, z.v, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v)
    x = poses(chain, q, parameters)
    p, n = split(tensor_code.momenta(x, velocities(chain, x, v), parameters))
    m = parameters.mass[..., None]
    c, centre = tensor_code.com_from_reference(x, parameters), _com_from_c(x, parameters)[..., None, :]
    dcom = (p.sum(-2) / m.sum(-2))[..., None, :]
    # n is about the reference: n - c x p + (c - centre) x m (dc - dcom)
    return torch.cat([p, n - cross(c, p) + cross(c - centre, p - m * dcom)], -1)


def centroidal_inertia(chain: KinematicChain, q: Tensor, *, parameters: BodyParameters | None = None) -> Tensor:
    """Inertia (*b, 3, 3) [kg.m^2] of the whole body about its centre of mass, as if it were rigid; world axes."""
    if chain.expansion is not None:
        return centroidal_inertia(chain.expanded, expand(chain, q).q, parameters=parameters)
    parameters = _prepare(chain, q, parameters)
    x = poses(chain, q, parameters)
    r = skew(tensor_code.com_from_reference(x, parameters) - _com_from_c(x, parameters)[..., None, :])
    # I = sum R I_i R^T - m_i [r] [r]
    return (x.R @ parameters.inertia @ x.R.mT - parameters.mass[..., None, None] * (r @ r)).sum(-3)


def centroidal_momentum_rate(
    chain: KinematicChain, q: Tensor, v: Tensor, a: Tensor, *, parameters: BodyParameters | None = None
) -> Tensor:
    """Time derivative (*b, 6) of ``centroidal_momentum``: force [N], moment about the centre of mass [N.m]."""
    if chain.expansion is not None:
        z = expand(chain, q, v, a)
        return centroidal_momentum_rate(chain.expanded, z.q, z.v, z.a, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v, a=a)
    x = poses(chain, q, parameters)
    V, A = velocities(chain, x, v), accelerations(chain, x, v, a)
    return _to_com(x, parameters, tensor_code.inertial_wrenches(x, V, A, q.new_zeros(3), parameters).sum(-2))


def energy(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    parameters: BodyParameters | None = None,
) -> tuple[Tensor, Tensor]:
    """Kinetic and potential energy, each (*b) [J]; the potential -m g . com is zero at the world's origin."""
    if chain.expansion is not None:
        z = expand(chain, q, v)
        return energy(chain.expanded, z.q, z.v, gravity=gravity, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v)
    g = check_gravity(chain, gravity, q.shape[:-1])
    x = poses(chain, q, parameters)
    V = velocities(chain, x, v)
    # K = 1/2 sum V . I V
    kinetic = 0.5 * (V * tensor_code.momenta(x, V, parameters)).sum((-2, -1))
    com = x.c + _com_from_c(x, parameters)
    return kinetic, -parameters.mass.sum(-1) * (g * com).sum(-1)


def jacobian(
    chain: KinematicChain,
    q: Tensor,
    body: str,
    *,
    offset: Tensor | None = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """J (*b, 6, nv), J v = [linear, angular] in world axes, of a body's point ``offset`` (3,) [m] (None: origin)."""
    if chain.expansion is not None:
        z = expand(chain, q)
        return z.columns(jacobian(chain.expanded, z.q, body, offset=offset, parameters=parameters))
    parameters = _prepare(chain, q, parameters)
    x, i = poses(chain, q, parameters), _body_index(chain, body)
    S = x.S * tree_of(chain).tensor("supports", q)[i, :, None]
    linear, angular = split(S)
    arm = _point(x, i, offset) - x.c
    # v(point) = V_lin + w x arm
    return torch.cat([linear + cross(angular, arm[..., None, :].expand_as(angular)), angular], -1).mT


def body_velocities(chain: KinematicChain, q: Tensor, v: Tensor, *, parameters: BodyParameters | None = None) -> Tensor:
    """Velocities (*b, n_bodies, 6) of all bodies' origins: linear [m/s], angular [rad/s], world axes."""
    if chain.expansion is not None:
        z = expand(chain, q, v)
        return body_velocities(chain.expanded, z.q, z.v, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v)
    x = poses(chain, q, parameters)
    linear, w = split(velocities(chain, x, v))
    return torch.cat([linear + cross(w, x.p - x.c[..., None, :]), w], -1)


def frame_velocity(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    body: str,
    *,
    offset: Tensor | None = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Velocity (*b, 6) of a body's point: linear [m/s], angular [rad/s], world axes."""
    if chain.expansion is not None:
        z = expand(chain, q, v)
        return frame_velocity(chain.expanded, z.q, z.v, body, offset=offset, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v)
    x, i = poses(chain, q, parameters), _body_index(chain, body)
    linear, w = split(velocities(chain, x, v)[..., i, :])
    return torch.cat([linear + cross(w, _point(x, i, offset) - x.c), w], -1)


def frame_acceleration(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    a: Tensor,
    body: str,
    *,
    offset: Tensor | None = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Acceleration (*b, 6) of a body's point, d/dt of ``frame_velocity``: linear [m/s^2], angular [rad/s^2]."""
    if chain.expansion is not None:
        z = expand(chain, q, v, a)
        return frame_acceleration(chain.expanded, z.q, z.v, z.a, body, offset=offset, parameters=parameters)
    parameters = _prepare(chain, q, parameters, v=v, a=a)
    x, i = poses(chain, q, parameters), _body_index(chain, body)
    linear, w = split(velocities(chain, x, v)[..., i, :])
    dlinear, dw = split(accelerations(chain, x, v, a)[..., i, :])
    arm = _point(x, i, offset) - x.c
    # a(point) = A_lin + dw x r + w x (V_lin + w x r)
    return torch.cat([dlinear + cross(dw, arm) + cross(w, linear + cross(w, arm)), dw], -1)


def _solve(M: Tensor, x: Tensor) -> Tensor:
    """M^-1 x for symmetric positive definite M (*b, n, n), x (*b, n)."""
    return torch.cholesky_solve(x[..., None], torch.linalg.cholesky(M)).squeeze(-1)


def _prepare(chain: KinematicChain, q: Tensor, parameters: BodyParameters | None, **rates: Tensor) -> BodyParameters:
    check_state(chain, q, **rates)
    return _parameters(chain, q, parameters)


def _parameters(chain: KinematicChain, q: Tensor, parameters: BodyParameters | None) -> BodyParameters:
    if parameters is None:
        return current_parameters(chain)
    check_parameters(chain, parameters, q.shape[:-1])
    return parameters._replace(inertia=0.5 * (parameters.inertia + parameters.inertia.mT))


def _spatial_inertias(x: Poses, parameters: BodyParameters) -> Tensor:
    """Spatial inertias (*b, n_bodies, 6, 6) at c, world axes (Featherstone 2008, 2.63)."""
    r = skew(tensor_code.com_from_reference(x, parameters))
    m = parameters.mass[..., None, None]
    top = torch.cat([m * torch.eye(3, dtype=r.dtype, device=r.device).expand_as(r), -m * r], -1)
    bottom = torch.cat([m * r, x.R @ parameters.inertia @ x.R.mT - m * (r @ r)], -1)
    return torch.cat([top, bottom], -2)


def _com_from_c(x: Poses, parameters: BodyParameters) -> Tensor:
    m = parameters.mass[..., None]
    return (m * tensor_code.com_from_reference(x, parameters)).sum(-2) / m.sum(-2)


def _to_com(x: Poses, parameters: BodyParameters, wrench: Tensor) -> Tensor:
    """A wrench or momentum (*b, 6) at c, moved to the centre of mass: n - r x f."""
    f, n = split(wrench)
    return torch.cat([f, n - cross(_com_from_c(x, parameters), f)], -1)


def _point(x: Poses, i: int, offset: Tensor | None) -> Tensor:
    p = x.p[..., i, :]
    return p if offset is None else p + matvec(x.R[..., i, :, :], offset.expand_as(p))


def _body_index(chain: KinematicChain, name: str) -> int:
    if name not in chain.body_names:
        raise UnknownNameError("body", name, chain.body_names)
    return chain.body_names.index(name)
