"""APRS as a layer of a network: the refinement with gradients to keypoints, confidences, lengths and weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from physpose.errors import InputError, UnknownNameError
from physpose.estimation.aprs_body import hinges, mirrored
from physpose.estimation.aprs_problem import (
    LAST_CG_TOLERANCE,
    Minimum,
    NormalEquations,
    Objective,
    Term,
    acceleration_stencil,
    minimise,
)
from physpose.estimation.aprs_terms import RefineSettings, bone_term, in_frames, limit_term, symmetry_term
from physpose.implicit import conjugate_gradients
from physpose.losses.refinement import domain, limit_residual, spatial, symmetry_residual, temporal
from physpose.skeleton.keypoint_sets import keypoint_names

LAST_CG_ITERATIONS = 500


class Refinement(NamedTuple):
    """What the layer returns."""

    keypoints: Tensor  # (*b, T, K, D)
    steps: list[tuple[Tensor, Tensor, Tensor]]  # spatial, temporal, domain loss (*b,) of each step, for equation 32


class APRS(nn.Module):
    """Refines 3D keypoints [m], or 2D ones of bones whose lengths are given, within a network.

    solver "gradient": ``steps`` unrolled iterations of equations 24-31, unit step. "gauss-newton": the minimum of the
    objective of ``estimation.aprs_problem`` in real time; gradients by the implicit function theorem, so memory does
    not grow with iterations. The weights (spatial, temporal, domain) are parameters, kept positive by their logarithm.
    """

    def __init__(
        self,
        keypoint_set: str,
        edges: Tensor,
        *,
        solver: str = "gauss-newton",
        weights: tuple[float, float, float] | None = None,
        steps: int = 5,
        settings: RefineSettings | None = None,
    ):
        super().__init__()
        if solver not in ("gauss-newton", "gradient"):
            raise UnknownNameError("solver", solver, ("gauss-newton", "gradient"))
        self.keypoint_set = keypoint_set
        self.solver, self.n_steps, self.settings = solver, steps, settings or RefineSettings(noise=0.02)
        default = (0.1, 0.05, 0.1) if solver == "gradient" else (1.0, 1.0, 1.0)
        self.log_weights = nn.Parameter(torch.tensor(weights or default, dtype=torch.float64).log())
        triplets, ranges = hinges(keypoint_set)
        pairs = np.asarray(edges)[mirrored(keypoint_set, np.asarray(edges))].reshape(-1, 4)
        for name, x in {"edges": edges, "triplets": triplets, "ranges": ranges, "pairs": pairs}.items():
            self.register_buffer(name, torch.as_tensor(x), persistent=False)

    edges: Tensor  # (E, 2)
    triplets: Tensor  # (N, 3)
    ranges: Tensor  # (N, 2) [rad]
    pairs: Tensor  # (M, 4)

    def forward(self, p: Tensor, time: Tensor, lengths: Tensor, confidence: Tensor | None = None) -> Refinement:
        """Refine p (*b, T, K, D), none missing; time (T,) [s]; lengths (E,); confidence (*b, T, K) in 0..1."""
        if p.ndim < 3 or time.shape != (p.shape[-3],) or lengths.shape != (len(self.edges),):
            wanted = f"(*b, T, K, D), (T,), ({len(self.edges)},)"
            raise InputError(
                f"p, time, lengths have shapes {tuple(p.shape)}, {tuple(time.shape)}, {tuple(lengths.shape)}; "
                f"{wanted} needed"
            )
        if not bool(p.isfinite().all()):
            raise InputError("p holds NaN or infinity; fill gaps first (estimation.aprs.refine does)")
        trust = torch.ones_like(p[..., 0]) if confidence is None else confidence
        return self._unrolled(p, lengths) if self.solver == "gradient" else self._minimum(p, time, lengths, trust)

    def losses(self, p: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Equations 25, 27, 29 (*b,), summed over frames and keypoints."""
        residuals = [symmetry_residual(p, self.pairs)]
        if p.shape[-1] == 3:
            residuals.append(limit_residual(p, self.triplets, self.ranges.to(p)))
        return spatial(p, self.edges, lengths).sum(-1), temporal(p).sum(-1), domain(*residuals).sum(-1)

    def _unrolled(self, p: Tensor, lengths: Tensor) -> Refinement:
        found, weights = [], self.log_weights.exp().to(p)
        for _ in range(self.n_steps):
            training = torch.is_grad_enabled()
            with torch.enable_grad():
                x = p if p.requires_grad else p.detach().requires_grad_()
                total = sum(w * loss.sum() for w, loss in zip(weights, self.losses(x, lengths), strict=True))
                (gradient,) = torch.autograd.grad(total, x, create_graph=training)
            p = p - gradient
            found.append(self.losses(p, lengths))
        return Refinement(p, found)

    def _minimum(self, p: Tensor, time: Tensor, lengths: Tensor, trust: Tensor) -> Refinement:
        batch, (T, K, D) = p.shape[:-3], p.shape[-3:]
        # samples side by side as if they were more keypoints: one sparse system, solved on the processor
        y = p.reshape(-1, T, K, D).transpose(0, 1).reshape(T, -1, D)
        c = trust.reshape(-1, T, K).transpose(0, 1).reshape(T, -1)
        inputs = (x.double().cpu() for x in (y, c, lengths, self.log_weights))
        x = _Implicit.apply(*inputs, self, time.detach().double().cpu())
        out = x.reshape(T, -1, K, D).transpose(0, 1).reshape(*batch, T, K, D).to(p)
        return Refinement(out, [self.losses(out, lengths)])

    def objective(self, y: Tensor, trust: Tensor, lengths: Tensor, log_weights: Tensor, time: Tensor) -> Objective:
        """The objective of samples side by side: y (T, n K, D), trust (T, n K)."""
        T, s, weights = len(y), self.settings, log_weights.exp()
        noise = s.noise if s.noise is not None else s.least_noise
        K = len(keypoint_names(self.keypoint_set))
        groups = [_side_by_side(g.cpu(), y.shape[1], K) for g in (self.edges, self.triplets, self.pairs)]
        edges, triplets, pairs = (in_frames(g.numpy(), T, y.shape[1]) for g in groups)
        repeat = len(edges) // max(len(self.edges), 1)
        terms: list[Term] = []
        if len(edges):
            terms.append(bone_term(edges, lengths.repeat(repeat), s.bone_sigma / weights[0].sqrt(), exact=True))
        if len(triplets) and y.shape[-1] == 3:
            ranges = self.ranges.to(y).repeat(repeat, 1)
            terms.append(limit_term(triplets, ranges, s.angle_sigma / weights[2].sqrt()))
        if len(pairs):
            terms.append(symmetry_term(pairs, s.symmetry_sigma / weights[2].sqrt()))
        stencil = torch.from_numpy(acceleration_stencil(time.numpy(), s.acceleration_sigma))
        return Objective(y, (trust / noise) ** 2, stencil, tuple(terms), s.robust, weights[1])


def _side_by_side(groups: Tensor, total: int, K: int) -> Tensor:
    """Groups (N, m) of one sample's K keypoints, for all samples of ``total`` keypoints."""
    shift = torch.arange(0, total, K)[:, None, None]
    return (groups + shift).reshape(-1, groups.shape[-1])


class _Implicit(torch.autograd.Function):
    """The minimum as a function of keypoints, confidences, lengths and log weights."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, trust: Tensor, lengths: Tensor, log_weights: Tensor, layer: APRS, time: Tensor
    ) -> Tensor:
        s = layer.settings
        objective = layer.objective(y, trust, lengths, log_weights, time)
        found: Minimum = minimise(objective, y.detach().clone(), iterations=s.iterations, tolerance=s.tolerance)
        ctx.save_for_backward(y, trust, lengths, log_weights, found.p)
        ctx.layer, ctx.time, ctx.system = layer, time, found.system
        return found.p.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, p = ctx.saved_tensors
        needed, system = ctx.needs_input_grad[:4], ctx.system
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in inputs]
            x = p.detach().requires_grad_()
            cost = ctx.layer.objective(*inputs, ctx.time).cost(x)
            (g,) = torch.autograd.grad(cost, x, create_graph=True)
            z = _solve(system, g, x, u)
            wanted = [i for i, n in zip(inputs, needed, strict=True) if n]
            found = iter(torch.autograd.grad(g, wanted, -z, allow_unused=True))
        return *(next(found) if n else None for n in needed), None, None


def _solve(system: NormalEquations, g: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """z with H z = u, H = dg/dx, the Hessian with the residuals' curvature."""
    product = lambda v: torch.autograd.grad(g, x, v.reshape(x.shape), retain_graph=True)[0].reshape(1, -1)  # noqa: E731
    condition = lambda r: torch.from_numpy(system.condition(r.numpy().reshape(system.shape))).reshape(1, -1)  # noqa: E731
    z, _ = conjugate_gradients(
        product, u.reshape(1, -1), condition, tolerance=LAST_CG_TOLERANCE, iterations=LAST_CG_ITERATIONS
    )
    return z.reshape(x.shape)
