"""Physics as residuals: one equation a function, tensors in, a residual out. Weights and sums live with the caller.

Frames lie along the dimension before the last: q (*b, T, nq), v, tau (*b, T, nv). ``time`` is (T,) [s], never assumed
even. A residual between two frames has T - 1 of them; integrals in between are trapezoidal, exact to second order.
World axes, z up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics import GRAVITY, BodyParameters
from physpose.dynamics.checks import External, Gravity, check_external, check_gravity
from physpose.dynamics.coupling import joint_positions
from physpose.dynamics.kinematics import poses
from physpose.dynamics.parameters import current_parameters
from physpose.errors import InputError

STANDARD_GRAVITY = 9.80665  # [m/s^2] makes forces into body weights, also where nothing weighs anything


def root_wrench(tau: Tensor, mass: Tensor | float, height: float) -> Tensor:
    """Wrench on a free root that no contact explains (*b, T, 6), in body weights: force / mg, moment / (mg height)."""
    weight = mass * STANDARD_GRAVITY
    return torch.cat([tau[..., :3] / weight, tau[..., 3:6] / (weight * height)], -1)


def torque(tau: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Joint torques after the free root's six (*b, T, nv - 6), over ``scale`` [N.m; N]: a number, or each its own."""
    return tau[..., 6:] / scale


def torque_rate(tau: Tensor, time: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """d tau / dt of the joint torques (*b, T - 1, nv - 6) [N.m/s; N/s], over ``scale``."""
    return _between(torque(tau, scale)) / _steps(tau, time)


def power(tau: Tensor, v: Tensor) -> Tensor:
    """Joint power (*b, T, nv - 6) [W], tau_j v_j: positive where the joint drives the motion."""
    return (tau * v)[..., 6:]


def linear_momentum(
    chain: KinematicChain,
    time: Tensor,
    q: Tensor,
    v: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Change of linear momentum that gravity and contacts do not explain (*b, T - 1, 3) [kg.m/s].

    p(t1) - p(t0) - integral of (m g + sum f)
    """
    rate, h = _momentum_and_rate(chain, q, v, gravity, external, parameters)
    return _between(h[..., :3]) - _integral(rate[..., :3], time)


def angular_momentum(
    chain: KinematicChain,
    time: Tensor,
    q: Tensor,
    v: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Change of angular momentum about the centre of mass that contacts do not explain (*b, T - 1, 3) [kg.m^2/s].

    L(t1) - L(t0) - integral of sum (n + (p - com) x f); in flight and in orbit simply the change
    """
    rate, h = _momentum_and_rate(chain, q, v, gravity, external, parameters)
    return _between(h[..., 3:]) - _integral(rate[..., 3:], time)


def energy_balance(
    chain: KinematicChain,
    time: Tensor,
    q: Tensor,
    v: Tensor,
    tau: Tensor,
    *,
    gravity: Gravity = GRAVITY,
    external: External = None,
    parameters: BodyParameters | None = None,
) -> Tensor:
    """Change of energy that no force explains (*b, T - 1) [J] (work-energy).

    E(t1) - E(t0) - integral of (tau . v + sum f . v_body + n . w_body)
    """
    kinetic, potential = dynamics.energy(chain, q, v, gravity=gravity, parameters=parameters)
    work = (tau * v).sum(-1)
    wrenches = check_external(chain, external, q.shape[:-1])
    if wrenches is not None:
        velocity = dynamics.body_velocities(chain, q, v, parameters=parameters)
        work = work + (wrenches * velocity).sum((-2, -1))
    change = _between((kinetic + potential)[..., None]) - _integral(work[..., None], time)
    return change.squeeze(-1)


def ground_penetration(points: Tensor, height: Tensor | float = 0.0) -> Tensor:
    """Depth (*b, C) [m] of points (*b, C, 3) below the floor z = height; zero above."""
    return torch.relu(height - points[..., 2])


def slip(velocities: Tensor, active: Tensor) -> Tensor:
    """Horizontal velocity (*b, C, 2) [m/s] of contact points (*b, C, 3), times ``active`` (*b, C) in 0..1."""
    return velocities[..., :2] * active[..., None].to(velocities.dtype)


def _momentum_and_rate(
    chain: KinematicChain,
    q: Tensor,
    v: Tensor,
    gravity: Gravity,
    external: External,
    parameters: BodyParameters | None,
) -> tuple[Tensor, Tensor]:
    """The rate of centroidal momentum that forces explain, and the momentum itself, each (*b, T, 6)."""
    h = dynamics.centroidal_momentum(chain, q, v, parameters=parameters)
    parameters = current_parameters(chain) if parameters is None else parameters
    com = dynamics.center_of_mass(chain, q, parameters=parameters)
    weight = parameters.mass.sum(-1)[..., None] * check_gravity(chain, gravity, q.shape[:-1])
    rate = torch.cat([weight.expand(*q.shape[:-1], 3), torch.zeros_like(com)], -1)
    wrenches = check_external(chain, external, q.shape[:-1])
    if wrenches is None:
        return rate, h
    force, moment = wrenches[..., :3], wrenches[..., 3:]
    arms = poses(*joint_positions(chain, q), parameters).p - com[..., None, :]
    return rate + torch.cat([force, moment + torch.linalg.cross(arms, force)], -1).sum(-2), h


def _steps(x: Tensor, time: Tensor) -> Tensor:
    if time.shape != (x.shape[-2],):
        raise InputError(f"time has shape {tuple(time.shape)}; ({x.shape[-2]},) needed, one a frame")
    if not bool((time.diff() > 0).all()):
        raise InputError("time must be strictly increasing")
    return time.diff()[:, None]


def _between(x: Tensor) -> Tensor:
    return x[..., 1:, :] - x[..., :-1, :]


def _integral(rate: Tensor, time: Tensor) -> Tensor:
    return 0.5 * (rate[..., 1:, :] + rate[..., :-1, :]) * _steps(rate, time)
