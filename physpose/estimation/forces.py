"""Contact forces from motion alone: what the body's momentum needs, shared among the points that can bear it.

One convex problem over all frames. The forces explain the wrench that the motion needs, lie inside friction cones,
change no faster than forces do, and where that leaves a choice (double support) cost the joints little effort. Of feet
that walk more is expected (step_forces.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from numpy.linalg import LinAlgError
from torch import Tensor

from physpose.estimation.banded import BorderedSystem
from physpose.estimation.step_forces import StepForces
from physpose.spatial import skew

METHOD = (
    "the most probable forces inside friction cones (mu = {mu}) at points that are slow and low, and at the seat where "
    "someone sits, that explain the change of momentum, change smoothly and cost the joints little effort"
)
WALKED = "; feet that walk are expected to press as plates measured under adults"
HELD = "; of any direction at {holds}, where the body holds on"

NEVER = 0.01  # belief in contact that means none
FIRST_BARRIER = 0.01  # the start is near
MOST_STEPS = 50  # of Newton's method, for each weight of the barrier


@dataclass(frozen=True, kw_only=True)
class ForceSettings:
    """Standard deviations; forces in body weights, moments in body weights times stature. By judgement, but one."""

    friction: float = 0.8  # shoe on dry floor, a common upper value; slipping is not modelled
    wrench_sigma: tuple[float, float] = (0.01, 0.005)  # of force and moment that are not explained
    force_sigma: float = 1.0  # of a point in contact
    no_force_sigma: float = 0.0003  # of a point without
    rate_sigma: float = 4.0  # [1/sqrt(s)] of a random walk: a step's rise, about one body weight in 60 ms
    effort_sigma: float = 0.05  # of each joint torque, in body weights times stature
    correlation_time: float = 0.1  # [s] frames within say the same
    # of a point's horizontal force as found, where two feet share a load: by plates, benchmarks/shared_loads.py; it
    # counts for the covariance alone
    horizontal_error: float = 0.05
    barrier: float = 1e-3  # of the friction cones, in units of the objective


@dataclass(frozen=True)
class Effort:
    """Joint torques are tau - sum J' f."""

    tau: Tensor  # (T, n) [N.m] without contacts
    jacobian: Tensor  # (T, C, 3, n) of the support points


@dataclass(frozen=True)
class ContactForces:
    """What the points bear, and what they leave unexplained."""

    force: Tensor  # (T, C, 3) [N], world
    residual: Tensor  # (T, 6) needed wrench less what the forces give: force [N], moment about the centre [N.m]
    response: Tensor  # (T, C, 3, 6) d(force)/d(wrench) of the same frame, linearised at the solution
    covariance: (
        Tensor  # (T, 3 C, 3 C) [N^2] of what the wrench leaves open: how points share it, whatever the frame rate
    )
    settled: bool  # did the iteration end where it should

    def frames(self, keep: slice) -> ContactForces:
        """The same of the frames of ``keep``."""
        timed = ("force", "residual", "response", "covariance")
        return replace(self, **{name: getattr(self, name)[keep] for name in timed})


def contact_forces(
    time: Tensor,
    wrench: Tensor,
    arms: Tensor,
    belief: Tensor,
    *,
    weight: float,
    stature: float,
    effort: Effort | None = None,
    mean: Tensor | None = None,
    settings: ForceSettings | None = None,
    n_holds: int = 0,
    steps: StepForces | None = None,
) -> ContactForces:
    """The most probable forces at the support points.

    Args:
        time: (T,) [s].
        wrench: (T, 6) that the motion needs: force [N] and moment about the centre of mass [N.m], world axes, z up.
        arms: (T, C, 3) [m] from the centre of mass to the support points.
        belief: (T, C) in 0..1 that a point is in contact.
        weight, stature: [N], [m], the scales of forces and moments.
        effort: torques that the forces change; None: forces are shared evenly instead.
        mean: (T, C, 3) [N] what is expected of them beforehand; None: nothing.
        settings: standard deviations.
        n_holds: so many of the last points hold on: their forces may point anywhere.
        steps: what is expected of feet that walk; None: nothing.
    """
    T, C = belief.shape
    force, response = torch.zeros_like(arms), arms.new_zeros(T, C, 3, 6)
    covariance = arms.new_zeros(T, C, 3, C, 3)
    settled, used = True, belief.max(0).values > NEVER  # a hand that never comes near anything is no unknown
    if used.any():
        spared = effort and Effort(effort.tau, effort.jacobian[:, used])
        scales = (weight, stature, settings or ForceSettings())
        expected = None if mean is None else mean[:, used] / weight
        coned = (torch.arange(C) < C - n_holds)[used]
        walk = steps and steps.of_points(used)
        problem = _Problem(time, wrench, arms[:, used], belief[:, used], coned, spared, expected, walk, *scales)
        f, settled = problem.solve(), problem.settled
        gain, spread = problem.linearised(f)
        force[:, used], response[:, used] = f * weight, gain.reshape(T, -1, 3, 6)
        n = int(used.sum())
        inner = arms.new_zeros(T, n, 3, C, 3)
        inner[:, :, :, used] = weight**2 * spread.reshape(T, n, 3, n, 3)
        covariance[:, used] = inner
    given = torch.cat([force.sum(1), torch.linalg.cross(arms, force).sum(1)], -1)
    covariance = covariance.reshape(T, 3 * C, 3 * C)
    return ContactForces(
        force=force, residual=wrench - given, response=response, covariance=covariance, settled=settled
    )


class _Problem:
    """Forces in body weights as unknowns x (T, 3 C): quadratic, with a barrier at the friction cones."""

    def __init__(
        self, time: Tensor, wrench: Tensor, arms: Tensor, belief: Tensor, coned: Tensor, effort: Effort | None,
        mean: Tensor | None, steps: StepForces | None, weight: float, stature: float, s: ForceSettings,
    ):  # fmt: skip
        self.T, self.C = belief.shape
        self.coned = coned  # (C,) points whose forces lie in a cone: the first
        self.s, self.mu2, self.weight = s, s.friction**2, weight
        self.scale = _wrench_scale(s.wrench_sigma, weight, stature).to(wrench).expand(self.T, 6)
        if steps is not None:
            in_walks = _wrench_scale(steps.wrench_sigma, weight, stature).to(wrench)
            self.scale = torch.where(steps.walks[:, None], in_walks, self.scale)
        rate = _frame_seconds(time) / s.correlation_time
        self.time_weight = rate.clamp(max=1.0)
        self.needed = wrench[:, 2] / weight  # body weights, upwards
        self.settled = False
        system = BorderedSystem(self.T, 3 * self.C, 0, min(1, self.T - 1))
        self._explain(system, wrench, arms, weight)
        self._bound(system, belief, mean)
        if steps is not None:
            w = self.time_weight.sqrt()[:, None]
            system.add_frame(w * steps.residual.flatten(1), w[..., None] * steps.jacobian.flatten(1, 2).flatten(2))
        if effort is not None:
            self._spare(system, effort, weight, stature)
        self.alone = system.H[0] / self.time_weight[:, None, None]  # of one frame: its neighbours say the same
        self._smooth(system, time)
        self.system = system
        self.linear, self.constant = system.g.clone(), system.H[0].clone()  # of the part without barrier

    def _explain(self, system: BorderedSystem, wrench: Tensor, arms: Tensor, weight: float) -> None:
        eye = torch.eye(3, dtype=arms.dtype).expand_as(skew(arms))
        G = torch.cat([eye, skew(arms)], -2) * weight  # (T, C, 6, 3)
        w = self.time_weight.sqrt()[:, None] / self.scale
        self.G = w[..., None] * G.transpose(1, 2).reshape(self.T, 6, -1)
        system.add_frame(-w * wrench, self.G)

    def _bound(self, system: BorderedSystem, belief: Tensor, mean: Tensor | None) -> None:
        self.sigma = believed_sigma(belief, self.s.no_force_sigma, self.s.force_sigma)
        w = (self.time_weight.sqrt()[:, None] / self.sigma).repeat_interleave(3, dim=1)
        system.H[0].diagonal(dim1=-2, dim2=-1).add_(w**2)
        if mean is not None:
            system.g -= w**2 * mean.flatten(1)

    def _spare(self, system: BorderedSystem, effort: Effort, weight: float, stature: float) -> None:
        w = self.time_weight.sqrt()[:, None] / (self.s.effort_sigma * weight * stature)
        J = -effort.jacobian.flatten(1, 2).mT * weight  # (T, n, 3 C)
        system.add_frame(w * effort.tau, w[..., None] * J)

    def _smooth(self, system: BorderedSystem, time: Tensor) -> None:
        if self.T < 2:
            return
        w = (1 / (self.s.rate_sigma * time.diff().sqrt()))[:, None].expand(-1, 3 * self.C)
        system.add_diagonal_stencil(torch.zeros_like(w), [-w, w], torch.arange(3 * self.C))

    # --- Newton's method inside the cones ---------------------------------------------------------------------------

    def solve(self, tolerance: float = 1e-6) -> Tensor:
        """Forces (T, C, 3) in body weights."""
        f = self._start()
        pull = self._times(f.flatten(1))
        barrier = FIRST_BARRIER
        while barrier > 0.99 * self.s.barrier:
            for _ in range(MOST_STEPS):
                f, pull, decrease = self._step(f, pull, barrier)
                enough = max(max(tolerance, 0.1 * barrier) * self.T, tolerance * abs(self._value(f, pull, barrier)))
                self.settled = decrease < enough
                if self.settled:
                    break
            barrier /= 10
        return f

    def _start(self) -> Tensor:
        """The weight that is needed, shared among the points that can bear it: near the end, and inside the cones."""
        share = self.sigma / self.sigma.sum(1, keepdim=True)
        needed = self.needed[:, None].clamp(min=0.0)
        f = torch.zeros(self.T, self.C, 3, dtype=share.dtype)
        f[..., 2] = (share * needed).clamp(min=0.0) + 0.05 * self.sigma * self.coned
        return f

    def _step(self, f: Tensor, pull: Tensor, barrier: float) -> tuple[Tensor, Tensor, float]:
        """The forces, the quadratic's matrix times them (T, 3 C) as ``pull`` was before, and how far the value fell."""
        g, H = self._barrier(f, barrier)
        self.system.H[0] = self.constant + _block_diagonal(H)
        self.system.g = self.linear + pull + g.flatten(1)
        try:
            step = self.system.solve(0.0, torch.zeros(0, dtype=torch.bool))[0].reshape(f.shape)
        except LinAlgError:
            step = self.system.solve(1e-8, torch.zeros(0, dtype=torch.bool))[0].reshape(f.shape)
        reach = self._reach(f, step)
        slopes = (self.system.g * step.flatten(1)).sum(1)
        if float(reach.flatten() @ slopes) >= 0:  # frames are nearly, not wholly, problems of their own
            reach = reach.amin().expand_as(reach)
        step, slope = reach * step, float(reach.flatten() @ slopes)
        size, before, more = 1.0, self._value(f, pull, barrier), self._times(step.flatten(1))
        while size > 1e-10:
            after = self._value(f + size * step, pull + size * more, barrier)
            if after <= before + 0.1 * size * slope:
                return f + size * step, pull + size * more, -slope * size
            size /= 2
        return f, pull, 0.0

    def _times(self, x: Tensor) -> Tensor:
        """The quadratic's matrix times x (T, 3 C); of neighbours each unknown feels itself alone."""
        y = (self.constant @ x[..., None])[..., 0]
        if self.T > 1:
            off = self.system.H[1, : self.T - 1].diagonal(dim1=-2, dim2=-1)
            y[1:] += off * x[:-1]
            y[:-1] += off * x[1:]
        return y

    def _value(self, f: Tensor, pull: Tensor, barrier: float) -> float:
        """Of forces through which the quadratic's matrix gives ``pull`` (T, 3 C)."""
        return float((f.flatten(1) * (self.linear + 0.5 * pull)).sum() - barrier * self._inside(f).log().sum())

    def _inside(self, f: Tensor) -> Tensor:
        """mu^2 fz^2 - fx^2 - fy^2 of the points that have a cone, positive inside (and inside its mirror image)."""
        f = f[:, self.coned]
        return self.mu2 * f[..., 2] ** 2 - (f[..., :2] ** 2).sum(-1)

    def _barrier(self, f: Tensor, barrier: float) -> tuple[Tensor, Tensor]:
        """Gradient (T, C, 3) and Hessian (T, C, 3, 3) of -barrier log(f'Qf); zero where there is no cone."""
        Q = torch.tensor([-1.0, -1.0, self.mu2]).to(f)
        u, Qf = self._inside(f)[..., None], Q * f[:, self.coned]
        g, H = torch.zeros_like(f), f.new_zeros(*f.shape, 3)
        g[:, self.coned] = c = -2 * Qf / u
        H[:, self.coned] = c[..., None] * c[..., None, :] - torch.diag(2 * Q) / u[..., None]
        return barrier * g, barrier * H

    def _reach(self, f: Tensor, step: Tensor) -> Tensor:
        """How far along the step (T, 1, 1), at most 1, all forces of a frame stay inside their cones."""
        size = torch.ones(self.T, 1, 1, dtype=f.dtype)
        for _ in range(60):
            x = f + size * step
            outside = ((self._inside(x) <= 0) | (x[:, self.coned, 2] <= 0)).any(1)
            if not outside.any():
                break
            size[outside] *= 0.7
        return size

    def linearised(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """d(force)/d(wrench) (T, 3 C, 6) [1; 1/m] and covariance (T, 3 C, 3 C) in squared body weights."""
        cones = _block_diagonal(self._barrier(f, self.s.barrier)[1])
        G = self.G * (self.time_weight.sqrt()[:, None] / self.scale)[..., None]
        known = self.coned[:, None] * f.new_tensor([1, 1, 0])  # of holds there are no such plates
        found = torch.diag(known.flatten() / self.s.horizontal_error**2)
        load = self.needed.clamp(min=1.0)[:, None, None]  # who lands is less sure in proportion
        alone = (self.alone + found) / load**2 + cones
        return self.weight * torch.linalg.solve(self.constant + cones, G.mT), torch.linalg.inv(alone)


def believed_sigma(belief: Tensor, without: float, touching: float) -> Tensor:
    """Standard deviation of a force between that without contact and that in it: a little belief is nearly none."""
    return without * (touching / without) ** belief


def evenly_shared(wrench: Tensor, belief: Tensor) -> Tensor:
    """(T, C, 3) [N]: the upward part of a wrench (T, 6), shared by how much points are believed to touch (T, C)."""
    share = belief / belief.sum(1, keepdim=True).clamp(min=1.0)
    force = torch.zeros(*belief.shape, 3, dtype=belief.dtype)
    force[..., 2] = share * wrench[:, 2:3].clamp(min=0.0)
    return force


def _wrench_scale(sigma: tuple[float, float], weight: float, stature: float) -> Tensor:
    """(6,) [N; N.m] of force and moment."""
    return torch.tensor([weight * sigma[0]] * 3 + [weight * stature * sigma[1]] * 3)


def _block_diagonal(H: Tensor) -> Tensor:
    """(T, C, 3, 3) to (T, 3 C, 3 C)."""
    T, C = H.shape[:2]
    blocks = torch.zeros(T, C, 3, C, 3, dtype=H.dtype)
    index = torch.arange(C)
    blocks[:, index, :, index] = H.transpose(0, 1)
    return blocks.reshape(T, 3 * C, 3 * C)


def _frame_seconds(time: Tensor) -> Tensor:
    """Seconds each frame stands for (T,)."""
    if len(time) == 1:
        return time.new_full((1,), 1e6)
    dt = time.diff()
    return torch.cat([dt[:1], (dt[1:] + dt[:-1]) / 2, dt[-1:]])
