"""Standard deviations of everything a fit gives, from the posterior covariance of its unknowns.

Velocities and accelerations are differences of neighbouring poses, whose errors go together: their covariance is that
of the poses on the band, not of poses taken alone. Torques and forces follow linearly from there. What happens between
two pictures differences cannot tell: people's jerk says how much that may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from physpose import dynamics
from physpose.chain import Frames, KinematicChain
from physpose.estimation.covariance import BandCovariance
from physpose.estimation.forces import ContactForces
from physpose.estimation.segments import centres, segments
from physpose.estimation.state import Kinematics, State
from physpose.estimation.wrench import RootWrench, Stencil
from physpose.expansion import Expanded
from physpose.skeleton.model import Point, Skeleton
from physpose.spatial import skew
from physpose.types import Array, Contacts, Energy, Motion, Sigma

CHUNK = 64  # frames treated at once: their covariances are large


def sigma_along(
    motion: Motion, covariance: BandCovariance, skeleton: Skeleton, found: ContactForces | None, gravity: Array,
    free_scales: Tensor, jerk: Tensor,
) -> Sigma:  # fmt: skip
    """One standard deviation of a motion whose unknowns have a covariance.

    Args:
        motion: of at least three frames.
        covariance: of each frame's unknowns; the shared ones begin with the bone scales that are free.
        found: how its forces were found; None: there are none, or they were measured and are taken at their word.
        gravity: (3,) [m/s^2].
        free_scales: (G,) bool.
        jerk: (nv,) or (T, nv), root of the spectral density of each unknown's jerk [m/s^3 sqrt(s)], [rad/s^3 sqrt(s)];
            the pelvis' the same on all axes.
    """
    maps = _Maps(KinematicChain(skeleton), motion, found, gravity, free_scales, jerk)
    n_scales = int(free_scales.sum())
    inner = [_chunk(maps, covariance, n_scales, first) for first in torch.arange(len(motion.time) - 2).split(CHUNK)]
    return _padded(_appended(inner), covariance)


def joined(parts: list[tuple[slice, Sigma | None]], T: int) -> Sigma | None:
    """Of windows in order of time, that of all T frames; NaN where none is. A later window's counts where both are."""
    known = [(window, s) for window, s in parts if s is not None]
    if not known:
        return None

    def over_time(get: Callable[[Sigma], Array]) -> Array:
        whole = np.full((T, *get(known[0][1]).shape[1:]), np.nan)
        for window, s in known:
            whole[window] = get(s)
        return whole

    arrays = {name: over_time(attrgetter(name)) for name in vars(known[0][1]) if name != "energy"}
    kinetic, potential = (over_time(attrgetter(f"energy.{name}")) for name in ("kinetic", "potential"))
    return Sigma(**arrays, energy=Energy(kinetic=kinetic, potential=potential))


def _chunk(maps: _Maps, covariance: BandCovariance, n_scales: int, first: Tensor) -> dict[str, Tensor]:
    """Of the frames first + 1: name -> standard deviations (K, ...)."""
    P = covariance.windows(first, 3, slice(0, n_scales))
    found = {}
    for name, J, own in maps.rows(first + 1):
        variance = ((J @ P) * J).sum(-1)
        found[name] = (variance if own is None else variance + own).clamp(min=0).sqrt()
    return found


def _appended(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def _padded(inner: dict[str, Tensor], covariance: BandCovariance) -> Sigma:
    """With the first and last frame, whose rates are their neighbours'."""
    x = {name: torch.cat([s[:1], s, s[-1:]]).numpy() for name, s in inner.items()}
    T = len(x["q"])
    ends = covariance.windows(torch.tensor([0, T - 1]), 1).diagonal(dim1=1, dim2=2).sqrt().numpy()
    x["q"][[0, -1], 3:] = ends[:, 3:]
    energy = Energy(kinetic=x.pop("kinetic")[:, 0], potential=x.pop("potential")[:, 0])
    positions, force = (x.pop(name).reshape(T, -1, 3) for name in ("positions", "force"))
    return Sigma(**x, positions=positions, force=force, energy=energy)


class _Maps:
    """How everything moves with three neighbouring frames' unknowns and the bone scales."""

    def __init__(
        self, chain: KinematicChain, motion: Motion, found: ContactForces | None, gravity: Array, free_scales: Tensor,
        jerk: Tensor,
    ):  # fmt: skip
        self.chain, self.motion, self.found, self.free_scales = chain, motion, found, free_scales
        self.jerk = jerk
        self.q, self.v, self.a, self.tau = (torch.as_tensor(getattr(motion, n)) for n in ("q", "v", "a", "tau"))
        self.time, self.gravity = torch.as_tensor(motion.time), torch.as_tensor(np.asarray(gravity, float))
        support = chain.skeleton.support_points if found is not None else ()
        self.support, self.n = slice(0, len(support)), chain.nv
        points = chain.points((*support, *centres(chain)))
        state = State(self.q, torch.zeros(len(chain.skeleton.scale_groups), dtype=torch.float64))
        self.state, self.kin = state, Kinematics(chain, state, points)
        self.segments = segments(chain, len(support))
        self.energies = self._energy_gradients()
        self.wrench = self._wrench_jacobian()

    # --- rates ------------------------------------------------------------------------------------------------------

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """d(motion of q, v, a)/d(unknowns of frames t - 1, t, t + 1) (K, nv, 3 nv) each.

        y = body-frame displacement of a pose: dv = y' + ad_v y, da = y'' + ad_a y + ad_v y'.
        """
        h0, h1 = (self.time[t + 1 - k] - self.time[t - k] for k in (1, 0))
        stencil = Stencil(h0[:, None], h1[:, None])
        second = torch.cat(stencil.second(), 1)
        slope = torch.stack([-h1 / (h0 * (h0 + h1)), (h1 - h0) / (h0 * h1), h0 / (h1 * (h0 + h1))], 1)
        body = [self._body_frame(t + k) for k in (-1, 0, 1)]
        y, dy, ddy = (
            torch.cat([w[:, i, None, None] * b for i, b in enumerate(body)], -1)
            for w in (torch.tensor([[0.0, 1.0, 0.0]]).to(slope).expand_as(slope), slope, second)
        )
        ad_v, ad_a = self._ad(self.v[t]), self._ad(self.a[t])
        dv = dy + ad_v @ y
        return y, dv, ddy + ad_a @ y + ad_v @ dy

    def _body_frame(self, t: Tensor) -> Tensor:
        """(K, nv, nv) unknowns to the tangent of q: the pelvis' place is moved in its own frame."""
        E = torch.eye(self.n, dtype=torch.float64).repeat(len(t), 1, 1)
        E[:, :3, :3] = self.kin.R_pelvis[t].mT
        return E

    def _ad(self, v: Tensor) -> Tensor:
        """(K, nv, nv): ad_v y = (w x rho + v x theta, w x theta) of the free root's twist (v, w)."""
        A = torch.zeros(len(v), self.n, self.n, dtype=torch.float64)
        A[:, :3, :3] = A[:, 3:6, 3:6] = skew(v[:, 3:6])
        A[:, :3, 3:6] = skew(v[:, :3])
        return A

    def _between(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Variances (K, nv) of v and a about the differences over steps of h [s] by which they are found.

        Of white jerk with density S: x'(t) - (x(t + h) - x(t - h)) / 2 h has S h^3 / 40, x''(t) less the second
        difference, in which accelerations count by a triangle, has S h / 10; the two are independent.
        """
        h = 0.5 * (self.time[t + 1] - self.time[t - 1])[:, None]
        squared = (self.jerk if self.jerk.ndim == 1 else self.jerk[t]) ** 2
        return squared * h**3 / 40, squared * h / 10

    # --- everything -------------------------------------------------------------------------------------------------

    def rows(self, t: Tensor) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Name, Jacobian (K, m, 3 nv + n_scales) and variance (K, m) from elsewhere of each quantity at frames t."""
        y, dv, da = self._rates(t)
        v_own, a_own = self._between(t)
        yield "q", self._with_scales(y), None
        yield "v", self._with_scales(dv), v_own
        yield "a", self._with_scales(da), a_own
        tau, tau_own, force, force_own = self._torques(t, y, dv, da)
        yield "tau", tau, tau_own
        if force is not None:
            yield "force", force, force_own
        else:  # none, or measured
            yield "force", tau.new_zeros(len(t), 3 * self.motion.contacts.force.shape[1], tau.shape[2]), None
        power = self.v[t][..., None] * tau + self.tau[t][..., None] * self._with_scales(dv)
        yield "power", power, tau_own * self.v[t] ** 2 + self.tau[t] ** 2 * v_own
        yield from self._places(t)
        yield "momentum", *self._momentum(t, v_own)
        kinetic = (self.energies[0][t][:, None] @ y) + (self.energies[1][t][:, None] @ dv)
        yield "kinetic", self._with_scales(kinetic), (self.energies[1][t] ** 2 * v_own).sum(-1, keepdim=True)
        yield "potential", self._with_scales(self.energies[2][t][:, None] @ y), None

    def _with_scales(self, J: Tensor, by_scales: Tensor | None = None) -> Tensor:
        free = int(self.free_scales.sum())
        more = J.new_zeros(*J.shape[:-1], free) if by_scales is None else by_scales[..., self.free_scales]
        return torch.cat([J, more], -1)

    def _middle(self, J: Tensor) -> Tensor:
        """(K, m, nv) on the frame itself, as (K, m, 3 nv)."""
        zero = torch.zeros_like(J)
        return torch.cat([zero, J, zero], -1)

    def _places(self, t: Tensor) -> Iterator[tuple[str, Tensor, None]]:
        points = self.chain.points(origins(self.chain.skeleton))
        kin = Kinematics(self.chain, State(self.q[t], self.state.log_scales), points)
        J, Js = kin.J.flatten(1, 2), kin.Js.flatten(1, 2)
        yield "positions", self._with_scales(self._middle(J), Js), None
        com, by_scales = self.segments.com(self.kin.J[t]), self.segments.com(self.kin.Js[t])
        yield "com", self._with_scales(self._middle(com), by_scales), None

    def _momentum(self, t: Tensor, v_own: Tensor) -> tuple[Tensor, Tensor]:
        """Linear: mass times the rate of the centre of mass. Angular: the momentum matrix times the rates."""
        h0, h1 = (self.time[t + 1 - k] - self.time[t - k] for k in (1, 0))
        slope = (-h1 / (h0 * (h0 + h1)), (h1 - h0) / (h0 * h1), h0 / (h1 * (h0 + h1)))
        A = self.momentum_matrix[t]
        linear = [self.segments.total * self.segments.com(self.kin.J[t + k]) for k in (-1, 0, 1)]
        steps = [torch.cat([x, A], -2) * w[:, None, None] for x, w in zip(linear, slope, strict=True)]
        by_rates = torch.cat([linear[1], A], -2)
        return self._with_scales(torch.cat(steps, -1)), (by_rates**2 @ v_own[..., None])[..., 0]

    def _energy_gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """d(kinetic)/d(motion), d(kinetic)/dv, d(potential)/d(motion), (T, nv) each."""
        step = torch.zeros_like(self.v, requires_grad=True)
        v = self.v.clone().requires_grad_()
        energies = dynamics.energy(self.chain, self.chain.integrate(self.q, step), v, gravity=self.gravity)
        kinetic, potential = (e.sum() for e in energies)
        by_motion, by_v = torch.autograd.grad(kinetic, (step, v), retain_graph=True)
        (height,) = torch.autograd.grad(potential, step, allow_unused=True)
        return by_motion, by_v, torch.zeros_like(by_v) if height is None else height

    # --- torques and forces -----------------------------------------------------------------------------------------

    def _wrench_jacobian(self) -> tuple[list[Tensor], Tensor]:
        """d(needed wrench less what the forces give)/d(unknowns) (T-2, 6, nv) of three frames, and by the scales."""
        T, C = len(self.time), self.support.stop
        axis_scales = self.chain.axis_scales(self.state.log_scales)
        self.momentum_matrix = self.segments.momentum_matrix(self.kin, axis_scales)
        forces = self.found.force if self.found is not None else torch.zeros(T, 0, 3, dtype=torch.float64)
        term = RootWrench(
            segments=self.segments, support_index=torch.arange(C), time=self.time, gravity=self.gravity,
            axis_scales=axis_scales, forces=forces, whiten=torch.eye(6, dtype=torch.float64).expand(T, 6, 6),
            time_weight=torch.ones(T, dtype=torch.float64), robust_scale=1.0,
        )  # fmt: skip
        return term.jacobian(self.state, self.kin), term.shared_jacobian(self.kin)

    def _torques(
        self, t: Tensor, y: Tensor, dv: Tensor, da: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Jacobians of torques and forces, each with the variance that the motion does not explain."""
        by_motion, by_v, by_a = dynamics.rnea_derivatives(
            self.chain, self.q[t], self.v[t], self.a[t], gravity=self.gravity
        )
        rates_own = torch.cat(self._between(t), -1)[..., None]
        by_rates = torch.cat([by_v, by_a], -1)
        if self.found is None:
            by_motion = by_motion - self._turned_wrenches(t)
            tau = self._with_scales(by_motion @ y + by_v @ dv + by_a @ da)
            return tau, (by_rates**2 @ rates_own)[..., 0], None, None
        force = self.found.force[t]
        by_motion = by_motion - self._turned_forces(t, force)
        tau = self._with_scales(by_motion @ y + by_v @ dv + by_a @ da)
        C, (frames, scales) = force.shape[1], self.wrench
        wrench = self._with_scales(torch.cat([x[t - 1] for x in frames], -1), scales[t - 1])
        gain = self.found.response[t].reshape(len(t), 3 * C, 6)
        response, by_rates_force = gain @ wrench, gain @ self._about_com(t, by_rates[:, :6])
        J = self._point_jacobian(t).flatten(1, 2)  # (K, 3 C, nv)
        own = self.found.covariance[t]
        tau = tau - J.mT @ response
        tau_own = ((J.mT @ own) * J.mT).sum(-1) + ((by_rates - J.mT @ by_rates_force) ** 2 @ rates_own)[..., 0]
        force_own = own.diagonal(dim1=1, dim2=2) + (by_rates_force**2 @ rates_own)[..., 0]
        return tau, tau_own, response, force_own

    def _turned_wrenches(self, t: Tensor) -> Tensor:
        """d(S' F)/d(motion) (K, nv, nv) of measured wrenches F, which stay where they are in the world.

        S: unit twists of the axes (w, o x w), about the world's origin. An axis turns with every axis before it, by
        S_j x S_i = (w_j x w_i, w_j x v_i + v_j x w_i).
        """
        n, frames, contacts = len(self.chain.linear_columns), self.kin.frames, self.motion.contacts
        found, pushed = torch.zeros(len(t), n, n, dtype=torch.float64), torch.zeros(len(t), n, dtype=torch.float64)
        linear = self.chain.linear_columns[:, None]
        w = torch.where(linear, 0.0, frames.axes[t])
        v = torch.where(linear, frames.axes[t], torch.linalg.cross(frames.origins[t], w))
        first = 6 if self.chain.skeleton.bodies[0].joint.kind == "free" else 0
        i, j = torch.arange(n)[:, None], torch.arange(n)
        for c, body in enumerate(contacts.bodies or ()):
            force, moment = _about_origin(contacts, c, t)
            inner = w @ skew(moment) @ w.mT + w @ skew(force) @ v.mT + v @ skew(force) @ w.mT
            moved = self.chain.supports[self.chain.skeleton.body_index(body)]
            found += inner * ((j <= i) | (j < first)) * moved * moved[:, None]
            pushed += moved * (w @ moment[..., None] + v @ force[..., None])[..., 0]
        return self._by_own_coordinates(t, found, pushed)

    def _by_own_coordinates(self, t: Tensor, by_motion: Tensor, force: Tensor) -> Tensor:
        """(K, nv, nv): derivatives of generalized forces (K, n) of the joints' own coordinates by those a user sees."""
        x = self.kin.frames.expanded
        if self.chain.expansion is None or x is None:
            return by_motion
        return self.chain.expansion.reduce_derivatives(Expanded(*(y[t] for y in x)), by_motion, force)

    def _about_com(self, t: Tensor, root: Tensor) -> Tensor:
        """Columns (K, 6, m) of a wrench on the pelvis in its own frame: in world axes, about the centre of mass."""
        R = self.kin.R_pelvis[t]
        force, moment = R @ root[:, :3], R @ root[:, 3:]
        arm = self.q[t, :3] - torch.as_tensor(self.motion.com)[t]
        return torch.cat([force, moment + skew(arm) @ force], 1)

    def _point_jacobian(self, t: Tensor) -> Tensor:
        """d(support points)/d(v) (K, C, 3, nv)."""
        return self._pelvis_frame(t, self.kin.J[t][:, self.support])

    def _pelvis_frame(self, t: Tensor, J: Tensor) -> Tensor:
        """Columns of points (K, C, 3, n) by v: the pelvis moves in its own frame."""
        J = J.clone()
        J[..., :3] = self.kin.R_pelvis[t][:, None]
        return J

    def _turned_forces(self, t: Tensor, force: Tensor) -> Tensor:
        """d(J' f)/d(motion) (K, nv, nv) of forces (K, C, 3) at the support points."""
        frames, points = self.kin.frames, self.chain.points(self.chain.skeleton.support_points)
        own = Frames(frames.R[t], frames.p[t], frames.axes[t], frames.origins[t])
        J = self._pelvis_frame(t, self.chain.expanded.point_jacobian(own, points, self.kin.points[t][:, self.support]))
        pushed = torch.einsum("kcim,kci->km", J, force)
        return self._by_own_coordinates(t, _turned_forces(self.chain, own.axes, J, force), pushed)


def _turned_forces(chain: KinematicChain, axes: Tensor, J: Tensor, force: Tensor) -> Tensor:
    """d(J' f)/d(motion) (K, nv, nv) of forces (K, C, 3) that stay as they are in the world.

    A column J_i = axis_i x (p - o_i) turns with every axis before it, and its point moves with every axis after it.
    """
    linear = chain.linear_columns
    w = torch.where(linear[:, None], 0.0, axes)  # (K, nv, 3)
    moments = torch.linalg.cross(J.mT, force[:, :, None, :].expand(*J.shape[:2], J.shape[3], 3))
    # f.(w_a x J_b) = w_a.(J_b x f)
    carries = chain.supports[chain.points(chain.skeleton.support_points).body].to(w)  # (C, nv)
    turning = carries[:, :, None] * w[:, None]
    inner = turning.transpose(1, 2).flatten(2) @ moments.permute(0, 1, 3, 2).flatten(1, 2)
    n, first = len(linear), 6 if chain.skeleton.bodies[0].joint.kind == "free" else 0
    i, j = torch.arange(n)[:, None], torch.arange(n)
    turned_by_j = (j <= i) | (j < first)
    return torch.where(turned_by_j, inner.mT, inner)


def _about_origin(contacts: Contacts, c: int, t: Tensor) -> tuple[Tensor, Tensor]:
    """Force and moment (K, 3) about the world's origin of the measured contact c at frames t."""
    assert contacts.positions is not None
    assert contacts.free_moment is not None
    force, at, free = (torch.as_tensor(x[:, c])[t] for x in (contacts.force, contacts.positions, contacts.free_moment))
    return force, torch.linalg.cross(at, force) + free


def origins(skeleton: Skeleton) -> tuple[Point, ...]:
    """The bodies' origins as points."""
    return tuple(Point(name=b.name, body=b.name, offset=np.zeros(3)) for b in skeleton.bodies)
