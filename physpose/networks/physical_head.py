"""Makes any network's 3D keypoints physical: the nearest poses of a body, its dynamics, and their losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics import GRAVITY
from physpose.dynamics.checks import Gravity
from physpose.errors import InputError
from physpose.losses import physics
from physpose.projection import ProjectionSettings
from physpose.rates import rates

FORCE_SPREAD = 1.0  # [body weights] of a contact force in full contact: among forces that explain a wrench, small ones
LEAST_CONTACT = 1e-3  # as much of it where there is none
WRENCH_SPREAD = 0.01  # [body weights] of the wrench that contacts need not explain


class Physical(NamedTuple):
    """What the head makes of keypoints (*b, T, K, 3)."""

    q: Tensor  # (*b, T, nq)
    v: Tensor  # (*b, T, nv)
    a: Tensor  # (*b, T, nv)
    tau: Tensor  # (*b, T, nv) [N.m; N]; the first six: what contacts leave unexplained, pelvis frame
    force: Tensor  # (*b, T, C, 3) [N] contact forces, world
    keypoints: Tensor  # (*b, T, K, 3) [m] the body's
    losses: dict[str, Tensor]  # name -> () mean square, without unit
    converged: Tensor  # (*b, T) bool


class PhysicalHead(nn.Module):
    """Network keypoints -> ``KinematicChain.project`` -> velocities, accelerations -> dynamics -> physics losses.

    Gradients flow back to the keypoints. The losses, each a dimensionless mean square, are the caller's to weigh:

    - ``projection``: distance from the keypoints to the body's, over the set's standard deviations
    - ``root_wrench``: force and moment on the pelvis that the contacts leave unexplained, in body weights
    - ``torque``, ``torque_rate``: over ``torque_scale`` [N.m], its rate over ``torque_scale`` a second
    - ``power``: over ``torque_scale`` times one rad/s
    - ``pull``: contact forces that pull on the floor or leave the friction cone, in body weights
    - ``penetration``: depth of contact points below the floor, over 1 cm; ``slip``: their speed in contact, m/s
    - ``angular_momentum``, ``linear_momentum``: change that the contact forces do not explain, over m h^2/s and m h/s

    Contacts are given, or believed where a point is low and slow. Their forces are the least-squares ones that explain
    the root wrench, the smaller the less a contact is believed; ``pull`` keeps them pushing.
    """

    def __init__(
        self,
        chain: KinematicChain,
        keypoint_set: str = "blazepose33",
        *,
        gravity: Gravity = GRAVITY,
        floor: float | None = 0.0,
        friction: float = 0.8,
        torque_scale: float | None = None,
        settings: ProjectionSettings | None = None,
    ):
        """floor: height [m] of z = floor; None: there is none, nothing touches. torque_scale [N.m]: None: 1 N.m/kg.

        settings: ``source_sigma`` is the network's own error, where that is known. The body is the chain's;
        ``chain.body_scales`` finds its bones from keypoints.
        """
        super().__init__()
        chain.skeleton.keypoint_set(keypoint_set)
        if chain.skeleton.bodies[0].joint.kind != "free":
            raise InputError(f"{chain.skeleton.name} has no free root; the head needs one to ask what holds it")
        self.chain, self.keypoint_set, self.gravity, self.floor = chain, keypoint_set, gravity, floor
        self.friction, self.settings = friction, settings
        self.mass = chain.skeleton.mass
        self.height = chain.skeleton.subject.height if chain.skeleton.subject else 1.7
        self.torque_scale = self.mass if torque_scale is None else torque_scale
        sigma = torch.as_tensor(chain.skeleton.keypoint_set(keypoint_set).sigma).to(chain.axis)
        self.register_buffer("sigma", sigma, persistent=False)

    sigma: Tensor  # (K,) [m]

    def forward(
        self, keypoints: Tensor, time: Tensor, *, weights: Tensor | None = None, contact: Tensor | None = None
    ) -> Physical:
        """Keypoints (*b, T, K, 3) [m], world, z up, at times (T,) [s]; at least three frames.

        weights: (*b, T, K) of the keypoints; contact: (*b, T, C) in 0..1, belief in each of the skeleton's contact
        points. Both may carry gradients.
        """
        if keypoints.ndim < 3 or keypoints.shape[-3] < 3:
            raise InputError(f"keypoints have shape {tuple(keypoints.shape)}; (*b, T, K, 3) with T of 3 or more needed")
        chain, y = self.chain, keypoints.to(self.chain.axis)
        found = chain.project(y, self.keypoint_set, weights=weights, settings=self.settings)
        q, time = found.q, time.to(y)
        v, a = rates(chain, time, q)
        frames = chain.fk(q)
        points = chain.points(chain.skeleton.contact_points)
        p_contact = chain.locate(frames, points)
        J = chain.point_jacobian(frames, points, p_contact)  # (*b, T, C, 3, nv)
        v_contact = torch.einsum("...civ,...v->...ci", J, v)
        active = self._contact(p_contact, v_contact) if contact is None else contact.to(y)
        tau_free = dynamics.rnea(chain, q, v, a, gravity=self.gravity)
        force = self._forces(tau_free[..., :6], J[..., :6], active)
        # tau = tau_free - sum J' f
        tau = tau_free - torch.einsum("...civ,...ci->...v", J, force)
        wrenches = _wrenches(force, p_contact, frames.p, points.body)
        losses = self._motion_losses(found.distance, q, v, tau, time, wrenches)
        losses |= self._contact_losses(force, p_contact, v_contact, active)
        marks = chain.locate(frames, chain.keypoint_points(self.keypoint_set))
        means = {name: r.square().mean() for name, r in losses.items()}
        return Physical(q, v, a, tau, force, marks, means, found.converged)

    def _contact(self, p: Tensor, v: Tensor) -> Tensor:
        """Belief (*b, T, C): low (about 4 cm) and slow (about 0.4 m/s)."""
        if self.floor is None:
            return torch.zeros_like(p[..., 0])
        low = torch.sigmoid((0.04 - (p[..., 2] - self.floor)) / 0.01)
        speed2 = (v * v).sum(-1)
        return low * torch.sigmoid((0.16 - speed2) / 0.05)

    def _forces(self, root: Tensor, J: Tensor, active: Tensor) -> Tensor:
        """Forces (*b, T, C, 3) [N]: least |root - sum J' f|^2 / s_w^2 + sum |f|^2 / s_f^2, in body weights."""
        C = J.shape[-3]
        weight = self.mass * physics.STANDARD_GRAVITY
        arm = J.new_tensor([1.0, 1, 1, *(1 / self.height,) * 3])
        A = (J * arm).flatten(-3, -2)  # (*b, T, 3C, 6), per newton
        spread = FORCE_SPREAD * (LEAST_CONTACT + (1 - LEAST_CONTACT) * active).repeat_interleave(3, -1)
        # f = S A (A' S A + s_w^2)^-1 root, S = spread^2
        SA = spread[..., None] ** 2 * A
        M = A.mT @ SA + WRENCH_SPREAD**2 * torch.eye(6).to(A)
        f = SA @ torch.linalg.solve(M, (root * arm / weight)[..., None])
        return weight * f[..., 0].unflatten(-1, (C, 3))

    def _motion_losses(
        self, distance: Tensor, q: Tensor, v: Tensor, tau: Tensor, time: Tensor, wrenches: Tensor
    ) -> dict[str, Tensor]:
        """Residuals of pose, torques and momentum."""
        chain, m, h, scale = self.chain, self.mass, self.height, self.torque_scale
        linear = physics.linear_momentum(chain, time, q, v, gravity=self.gravity, external=wrenches)
        angular = physics.angular_momentum(chain, time, q, v, gravity=self.gravity, external=wrenches)
        return {
            "projection": torch.where(distance.isfinite(), distance, 0.0) / self.sigma,
            "root_wrench": physics.root_wrench(tau, m, h),
            "torque": physics.torque(tau, scale),
            "torque_rate": physics.torque_rate(tau, time, scale),
            "power": physics.power(tau, v) / scale,
            "linear_momentum": linear / (m * h),
            "angular_momentum": angular / (m * h**2),
        }

    def _contact_losses(self, force: Tensor, p_contact: Tensor, v_contact: Tensor, active: Tensor) -> dict[str, Tensor]:
        """Residuals of contact points and forces."""
        floor = -torch.inf if self.floor is None else self.floor
        pull = torch.relu(-force[..., 2])
        horizontal = force[..., :2].square().sum(-1).clamp(min=1e-12).sqrt()
        slide = torch.relu(horizontal - self.friction * torch.relu(force[..., 2]))
        return {
            "pull": (pull + slide) / (self.mass * physics.STANDARD_GRAVITY),
            "penetration": physics.ground_penetration(p_contact, floor) / 0.01,
            "slip": physics.slip(v_contact, active),
        }


def _wrenches(force: Tensor, p_contact: Tensor, p_body: Tensor, bodies: Tensor) -> Tensor:
    """Forces (*b, T, C, 3) as wrenches (*b, T, n_bodies, 6) about the bodies' origins, world axes."""
    arm = p_contact - p_body[..., bodies, :]
    wrench = torch.cat([force, torch.linalg.cross(arm, force)], -1)
    onto = torch.nn.functional.one_hot(bodies, p_body.shape[-2]).to(force)
    return torch.einsum("cn,...ci->...ni", onto, wrench)
