"""The nearest pose of a skeleton to 3D keypoints: a layer with gradients both ways.

For every sample, the minimum over the pose q of

    1/2 sum_k w_k |p_k(q, s) - y_k|^2 / sigma_k^2  +  1/2 |limit residual|^2 / sigma_limit^2
      +  1/2 |coordinates - neutral|^2 / sigma_posture^2  (weak: only what the keypoints do not show feels it)

by Levenberg-Marquardt on the manifold, all samples at once, those that have converged left out. Gradients of q by
y, w and the log bone scales s come from the implicit function theorem (``physpose.implicit``) with the exact Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import radians
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from physpose.errors import InputError
from physpose.implicit import conjugate_gradients
from physpose.spatial import matrix_to_quat, matvec, quat_to_matrix

if TYPE_CHECKING:
    from physpose.chain import Frames, KinematicChain, Points

ROOT_SIGMA = 100.0  # [m; rad] holds the root where fewer than three keypoints are seen
TRUNK = ("hip", "shoulder", "neck", "thorax", "pelvis")  # parts of the names of keypoints that turn with the trunk
LONGEST_STEP = 0.8  # [rad; m] of any coordinate
ROUGH_LIMIT, ROUGH_ITERATIONS, ROUGH_STEP = 0.2, 12, 3e-2  # [rad; m], steps, [rad; m]: while a start is made
FIRST_DAMPING = 1e-2
LEAST_DAMPING = 1e-10
MOST_DAMPING = 1e8
CG_ITERATIONS = 200


@dataclass(frozen=True, kw_only=True)
class ProjectionSettings:
    """How a pose is found.

    Limits and posture only matter beside the keypoints' own standard deviations, some centimetres.
    """

    source_sigma: float = 0.0  # [m] an axis, of whoever says where keypoints are, beside the set's own spread
    limit_sigma: float = radians(0.5)  # [rad; m] softness of the ranges
    limit_margin: float = radians(1.0)  # [rad; m] limits act from so far inside the range
    posture_sigma: float = 10.0  # [rad; m] about the neutral posture
    iterations: int = 200  # most steps; only samples that have not settled take them
    tolerance: float | None = None  # [rad; m] longest entry of the last step; None: 1e-9, or 1e-4 in float32
    restarts: int = 4  # further starts, from other postures, for samples whose first answer lies far off
    restart_distance: float = 4.0  # [sigma an axis] distance of one keypoint that counts as far off


class Projection(NamedTuple):
    """The nearest poses of a batch *b."""

    q: Tensor  # (*b, nq)
    distance: Tensor  # (*b, K) [m] from each keypoint to the skeleton's; NaN where none was given
    converged: Tensor  # (*b,) bool
    iterations: int


def project(
    chain: KinematicChain,
    keypoints: Tensor,
    keypoint_set: str = "blazepose33",
    *,
    weights: Tensor | None = None,
    q0: Tensor | None = None,
    log_scales: Tensor | None = None,
    settings: ProjectionSettings | None = None,
) -> Projection:
    """The nearest pose to keypoints (*b, K, 3) [m], world: see ``KinematicChain.project``."""
    settings = settings or ProjectionSettings()
    _check(chain, keypoints, keypoint_set, weights, q0, log_scales)
    batch, K = keypoints.shape[:-2], keypoints.shape[-2]
    y, w = _seen(keypoints.reshape(-1, K, 3), None if weights is None else weights.expand(*batch, K).reshape(-1, K))
    scales = chain.log_scales if log_scales is None else log_scales
    scales = scales if scales.ndim == 1 else scales.expand(*batch, -1).reshape(len(y), -1)
    problem = _Problem.of(chain, keypoint_set, y, w, scales, settings)
    with torch.no_grad():
        start = _first_guess(chain, problem) if q0 is None else q0.detach().expand(*batch, -1).reshape(-1, chain.nq)
        anchored = replace(problem.detached(), anchor=problem.anchored(start))
        found = _minimise(anchored, start) if q0 is not None else _solve(anchored, start)
    q = _Implicit.apply(y, problem.w, scales, replace(problem, anchor=problem.anchored(start)), found.q)
    distance = torch.where(w > 0, problem.located(q).sub(y).norm(dim=-1), torch.nan)
    return Projection(
        q.reshape(*batch, -1), distance.reshape(*batch, K), found.converged.reshape(batch), found.iterations
    )


def keypoint_variance(chain: KinematicChain, keypoint_set: str, settings: ProjectionSettings) -> Tensor:
    """(K,) [m^2] an axis of each keypoint at weight 1: the set's spread on the body, and the source's error."""
    sigma = torch.as_tensor(chain.skeleton.keypoint_set(keypoint_set).sigma).to(chain.axis)
    return sigma**2 + settings.source_sigma**2


# --- the problem ------------------------------------------------------------------------------------------------------


class _Normal(NamedTuple):
    """An objective of B samples at a pose."""

    cost: Tensor  # (B,)
    g: Tensor  # (B, nv) gradient
    A: Tensor  # (B, nv, nv) Gauss-Newton matrix
    bend: Tensor  # (B, nv, nv) what the exact Hessian has beside it, up to terms with the gradient

    def where(self, chosen: Tensor, other: _Normal) -> _Normal:
        """These where ``chosen`` (B,), else the other's."""
        pick = lambda a, b: torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) if a.ndim else a  # noqa: E731
        return _Normal(*map(pick, self, other))

    def rows(self, index: Tensor) -> _Normal:
        """The same for the samples ``index``."""
        return _Normal(*(x[index] if x.ndim else x for x in self))


@dataclass(frozen=True)
class _Problem:
    """The objective of B samples, and its derivatives by a step dv on the manifold."""

    chain: KinematicChain
    points: Points
    y: Tensor  # (B, K, 3) [m]
    w: Tensor  # (B, K) [1/m^2] information of each keypoint; 0: not seen
    scales: Tensor  # (G,) or (B, G)
    anchor: Tensor  # (B, nq) or (nq,): neutral coordinates on the first guess's root
    prior: Tensor  # (nv,) information about the anchor
    moves: Tensor  # (n_coordinates, nv): which velocity moves which coordinate
    limit_info: Tensor  # (n_coordinates,) information outside the ranges
    settings: ProjectionSettings
    trunk: Tensor  # (K,) bool
    depth: Tensor  # (K,) moving joints between each keypoint's body and the root, 0 for the whole trunk
    before: Tensor  # (nv, nv) bool: is column i on the way from the root to j, or j itself

    @staticmethod
    def of(
        chain: KinematicChain, keypoint_set: str, y: Tensor, weights: Tensor, scales: Tensor,
        settings: ProjectionSettings,
    ) -> _Problem:  # fmt: skip
        body_set = chain.skeleton.keypoint_set(keypoint_set)
        neutral = torch.as_tensor(chain.skeleton.neutral).to(chain.axis)
        prior = torch.full((chain.nv,), settings.posture_sigma**-2).to(chain.axis)
        if _free_root(chain):
            prior[:6] = ROOT_SIGMA**-2
        trunk = torch.tensor([any(part in n.lower() for part in TRUNK) for n in body_set.names], device=y.device)
        depth = torch.where(trunk, 0, _depth(chain, keypoint_set))
        moves = _coordinate_moves(chain)
        return _Problem(
            chain, chain.keypoint_points(keypoint_set), y,
            weights / keypoint_variance(chain, keypoint_set, settings), scales, neutral, prior, moves,
            moves.new_full((len(moves),), settings.limit_sigma**-2), settings, trunk, depth, _before(chain),
        )  # fmt: skip

    def anchored(self, start: Tensor) -> Tensor:
        """Neutral coordinates (B, nq) with the roots of ``start``."""
        neutral = torch.as_tensor(self.chain.skeleton.neutral).to(start).expand_as(start).clone()
        if _free_root(self.chain):
            neutral[:, :7] = start[:, :7]
        return neutral

    def detached(self) -> _Problem:
        return replace(self, y=self.y.detach(), w=self.w.detach(), scales=self.scales.detach())

    def rows(self, index: Tensor) -> _Problem:
        """The same for the samples ``index``."""
        scales = self.scales if self.scales.ndim == 1 else self.scales[index]
        return replace(self, y=self.y[index], w=self.w[index], scales=scales, anchor=self.anchor[index])

    def located(self, q: Tensor) -> Tensor:
        """The skeleton's keypoints (B, K, 3)."""
        return self.chain.locate(self.chain.fk(q, self.scales), self.points, self.scales)

    def gradient(self, q: Tensor) -> Tensor:
        """g (B, nv), differentiable by q, y, w and scales."""
        return self._parts(q)[1]

    def normal_equations(self, q: Tensor) -> _Normal:
        """Cost and its derivatives."""
        cost, g, J, beyond, pull, frames = self._parts(q)
        JW = (J * self.w[..., None, None]).flatten(-3, -2)
        A = JW.mT @ J.flatten(-3, -2)
        diagonal = self.prior + (self.limit_info * (beyond != 0)) @ self.moves**2
        return _Normal(cost, g, A + torch.diag_embed(diagonal), self._curvature(J, pull, frames))

    def _curvature(self, J: Tensor, pull: Tensor, frames: Frames) -> Tensor:
        """What the keypoints' own bending adds to the Gauss-Newton matrix (B, nv, nv); zero for coupled coordinates.

        d2p/dv_i dv_j = axis_i x dp/dv_j where i comes before j on the way from the root to the point.
        """
        if self.chain.expansion is not None:
            return J.new_zeros(())
        turn = torch.where(self.chain.linear_columns[:, None], 0.0, frames.axes)
        moment = torch.linalg.cross(J, pull[..., None].expand_as(J), dim=-2).sum(-3)  # (B, 3, nv)
        half = torch.where(self.before, turn @ moment, 0.0)
        return half + half.triu(1).mT

    def _parts(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Frames]:
        """Cost, gradient, keypoint Jacobian (B, K, 3, nv), limit residual (B, n_coordinates), w r, frames."""
        frames = self.chain.fk(q, self.scales)
        p = self.chain.locate(frames, self.points, self.scales)
        J = self.chain.point_jacobian(frames, self.points, p)
        r = p - self.y
        away = self.chain.difference(self.anchor.expand_as(q), q)
        beyond = self.chain.limit_residual(q, self.settings.limit_margin)
        pull = self.w[..., None] * r
        squares = (pull * r).sum((-2, -1)) + (self.limit_info * beyond**2).sum(-1)
        g = torch.einsum("bkiv,bki->bv", J, pull) + (self.limit_info * beyond) @ self.moves
        return 0.5 * (squares + (self.prior * away**2).sum(-1)), g + self.prior * away, J, beyond, pull, frames


def _coordinate_moves(chain: KinematicChain) -> Tensor:
    """(n_coordinates, nv) which velocity moves which coordinate: asked far outside the ranges, where both show."""
    with torch.enable_grad():
        rest = chain.axis.new_zeros(chain.nv, requires_grad=True)
        neutral = torch.as_tensor(chain.skeleton.neutral).to(chain.axis)
        outside = chain.integrate(neutral, rest + 100.0)
        residual = chain.limit_residual(outside)
        rows = [torch.autograd.grad(r, rest, retain_graph=True)[0] for r in residual]
    return torch.stack(rows) if rows else chain.axis.new_zeros(0, chain.nv)


def _depth(chain: KinematicChain, keypoint_set: str) -> Tensor:
    """(K,) how many moving joints lie between a keypoint's body and the root."""
    depth: dict[str | None, int] = {None: -1}
    for b in chain.skeleton.bodies:
        depth[b.name] = depth[b.parent] + (b.joint.nv > 0)
    points = chain.skeleton.keypoint_set(keypoint_set).points
    return torch.tensor([depth[p.body] for p in points], device=chain.axis.device)


def _before(chain: KinematicChain) -> Tensor:
    """(nv, nv) bool: every body that column j moves, column i moves, too, and i is no later in v."""
    if chain.expansion is not None:
        return chain.axis.new_zeros(0, dtype=torch.bool)
    moved = chain.supports != 0  # (n_bodies, nv)
    return (moved[:, :, None] | ~moved[:, None, :]).all(0).triu()


def _free_root(chain: KinematicChain) -> bool:
    return chain.skeleton.bodies[0].joint.kind == "free"


# --- the solver -------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    q: Tensor
    converged: Tensor
    cost: Tensor
    iterations: int


def _solve(problem: _Problem, start: Tensor) -> _Found:
    """From a rough start: from the root outwards first, then once more from other postures where that ends far off."""
    found = _minimise(problem, _outwards(problem, start))
    generator = torch.Generator().manual_seed(0)
    for _ in range(problem.settings.restarts):
        far = _far(problem, found.q)
        if not len(far):
            break
        some = problem.rows(far)
        again = _minimise(some, _outwards(some, _other_posture(some, start[far], generator)))
        better = again.cost < found.cost[far]
        for old, new in zip(found[:3], again[:3], strict=True):
            old[far[better]] = new[better]
        found = found._replace(iterations=found.iterations + again.iterations)
    return found


def _outwards(problem: _Problem, q: Tensor) -> Tensor:
    """Poses (B, nq) from the trunk's keypoints first, then those one joint further out, and so on.

    Each limb then has little left to turn: from all keypoints at once, folded limbs end in a wrong fold. Joints of
    three hinges turn without limits meanwhile, and then take those of their angles that lie inside.
    """
    q = _folded(problem, q)
    problem = replace(problem, anchor=q)  # what is not seen yet stays as it starts
    rough = replace(problem.settings, iterations=ROUGH_ITERATIONS, tolerance=ROUGH_STEP)
    info = torch.full_like(problem.limit_info, ROUGH_LIMIT**-2)
    info[[i for joint in _three_hinges(problem.chain) for i in joint]] = 0.0
    for level in problem.depth.unique():
        w = problem.w * (problem.depth <= level)
        q = _minimise(replace(problem, w=w, settings=rough, limit_info=info), q).q
        q = _inside(problem, q)
    return q


def _folded(problem: _Problem, q: Tensor) -> Tensor:
    """The poses with knees, elbows and other lone hinges halfway: a straight one does not know which way it bends."""
    lone = torch.ones_like(problem.limit_info)
    lone[[i for joint in _three_hinges(problem.chain) for i in joint]] = 0.0
    middle = problem.chain.limits.mean(-1)
    lone = lone * middle.isfinite()
    return problem.chain.integrate(q, (lone * (torch.nan_to_num(middle) - _coordinates(problem, q))) @ problem.moves)


def _three_hinges(chain: KinematicChain) -> list[tuple[int, int, int]]:
    """Coordinates of each joint of three hinges about three perpendicular axes."""
    found, first = [], 0
    for b in chain.skeleton.bodies:
        c = b.joint.coordinates
        axes = np.array([x.axis for x in c])
        if len(c) == 3 and all(x.kind == "hinge" for x in c) and np.allclose(axes @ axes.T, np.eye(3), atol=1e-6):
            found.append((first, first + 1, first + 2))
        first += len(c)
    return found


def _inside(problem: _Problem, q: Tensor) -> Tensor:
    """The same orientations by angles that lie inside the ranges, where there are such.

    Whole turns do nothing; and of three perpendicular hinges, (a, b, c) turns as (a + pi, pi - b, c + pi) does.
    """
    x = _coordinates(problem, q)
    best = _wrapped(problem.chain, x)
    for joint in map(list, _three_hinges(problem.chain)):
        other = best.clone()
        other[:, joint] = best[:, joint] * best.new_tensor([1.0, -1.0, 1.0]) + torch.pi
        other = _wrapped(problem.chain, other)
        better = _outside(problem.chain, other)[:, joint].sum(-1) < _outside(problem.chain, best)[:, joint].sum(-1)
        best = torch.where(better[:, None], other, best)
    return problem.chain.integrate(q, (best - x) @ problem.moves)


def _coordinates(problem: _Problem, q: Tensor) -> Tensor:
    """(B, n_coordinates) the coordinates' values."""
    neutral = torch.as_tensor(problem.chain.skeleton.neutral).to(q)
    at = torch.tensor([b.joint.nq for b in problem.chain.skeleton.bodies])
    chained = torch.tensor([b.joint.kind == "chain" for b in problem.chain.skeleton.bodies])
    zero = neutral[torch.repeat_interleave(chained, at)]
    return zero + problem.chain.difference(neutral.expand_as(q), q) @ problem.moves.T


def _wrapped(chain: KinematicChain, x: Tensor) -> Tensor:
    """Hinges turned by whole turns to the middle of their range."""
    hinge = torch.tensor([c.kind == "hinge" for c in chain.skeleton.coordinates], device=x.device)
    middle = chain.limits.mean(-1)
    middle = torch.where(middle.isfinite(), middle, 0.0)
    return torch.where(hinge, x - 2 * torch.pi * torch.round((x - middle) / (2 * torch.pi)), x)


def _outside(chain: KinematicChain, x: Tensor) -> Tensor:
    return torch.relu(x - chain.limits[:, 1]) + torch.relu(chain.limits[:, 0] - x)


def _far(problem: _Problem, q: Tensor) -> Tensor:
    """Samples with a keypoint further off than noise explains."""
    square = problem.w * (problem.located(q) - problem.y).square().sum(-1) / 3
    return (square.amax(-1) > problem.settings.restart_distance**2).nonzero()[:, 0]


def _other_posture(problem: _Problem, q: Tensor, generator: torch.Generator) -> Tensor:
    """Coordinates drawn within two radians of neutral, on the present roots."""
    turn = torch.rand(*q.shape[:1], problem.chain.nv, generator=generator, dtype=torch.float64).to(q) * 2 - 1
    if _free_root(problem.chain):
        turn[:, :6] = 0
    drawn = problem.chain.integrate(problem.anchored(q), 2 * turn)
    # back into the ranges: limit_residual is how far outside each coordinate lies
    return problem.chain.integrate(drawn, -problem.chain.limit_residual(drawn) @ problem.moves)


def _minimise(problem: _Problem, start: Tensor) -> _Found:
    """Levenberg-Marquardt, each sample with its own damping; samples leave once their step is short."""
    settings, q = problem.settings, start.clone()
    tolerance = settings.tolerance or (1e-9 if q.dtype == torch.float64 else 1e-4)
    active, done = torch.arange(len(q), device=q.device), torch.zeros(len(q), dtype=torch.bool, device=q.device)
    damping = q.new_full((len(q),), FIRST_DAMPING)
    some, x = problem, q
    at = some.normal_equations(x)
    total, iterations = at.cost.clone(), 0
    while len(active) and iterations < settings.iterations:
        iterations += 1
        step = _step(at, damping)
        trial = problem.chain.integrate(x, step)
        there = some.normal_equations(trial)
        size = step.abs().amax(-1)
        better = there.cost <= at.cost * (1 + 8 * torch.finfo(q.dtype).eps)
        x, at = torch.where(better[:, None], trial, x), there.where(better, at)
        damping = torch.where(better, damping / 10, damping * 8).clamp(min=LEAST_DAMPING)
        short = (size < tolerance) & (better | (damping > 1))
        leave = short | (damping > MOST_DAMPING)
        q[active], total[active] = x, at.cost
        done[active] = short
        keep = (~leave).nonzero()[:, 0]
        if len(keep) < len(active):
            active, some = active[keep], some.rows(keep)
            x, at, damping = x[keep], at.rows(keep), damping[keep]
    return _Found(q, done, total, iterations)


def _step(at: _Normal, damping: Tensor) -> Tensor:
    """-(H + damping D)^-1 g (B, nv), at most LONGEST_STEP, in float64: the condition is beyond float32.

    H is the exact Hessian where that is positive: keypoints far off the body bend the cost more than Gauss and Newton
    see, and coordinates that hardly show then creep for hundreds of steps. Else H is the Gauss-Newton matrix A.
    D = diag A plus its median: a limb that hangs straight hardly feels its turning, and must not spin.
    """
    A, diagonal = at.A.double(), at.A.double().diagonal(dim1=-2, dim2=-1)
    D = torch.diag_embed(damping.double()[:, None] * (diagonal + diagonal.median(-1, keepdim=True).values))
    L, failed = torch.linalg.cholesky_ex(A + at.bend.double() + D)
    if bool(failed.any()):
        L = torch.where((failed != 0)[:, None, None], torch.linalg.cholesky_ex(A + D).L, L)
    step = -torch.cholesky_solve(at.g.double()[..., None], L)[..., 0].to(at.g.dtype)
    return step * (LONGEST_STEP / step.abs().amax(-1, keepdim=True).clamp(min=LONGEST_STEP))


# --- first guess ------------------------------------------------------------------------------------------------------


def _first_guess(chain: KinematicChain, problem: _Problem) -> Tensor:
    """The neutral posture (B, nq), turned and placed as the trunk's keypoints are (all keypoints where those lack)."""
    B = len(problem.y)
    neutral = torch.as_tensor(chain.skeleton.neutral).to(problem.y).expand(B, -1)
    if not _free_root(chain):
        return neutral.clone()
    x = problem.located(neutral)
    enough = ((problem.w > 0) & problem.trunk).sum(-1, keepdim=True) >= 3
    w = torch.where(enough, problem.w * problem.trunk, problem.w)
    R, t = _kabsch(x, problem.y, w)
    joint = chain.skeleton.bodies[0].joint
    R0, t0 = (torch.as_tensor(np.asarray(v)).to(problem.y) for v in (joint.rotation, joint.translation))
    # T_world_root = T0 T(q): T(q') = T0^-1 [R t] T0 T(q)
    q = neutral.clone()
    world = matvec(R, t0 + matvec(R0.expand(B, 3, 3), neutral[:, :3])) + t
    q[:, :3] = matvec(R0.T.expand(B, 3, 3), world - t0)
    q[:, 3:7] = matrix_to_quat(R0.T @ R @ R0 @ quat_to_matrix(neutral[:, 3:7]))
    return q


def _kabsch(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """R (B, 3, 3) and t (B, 3) that carry points x onto y (B, K, 3) best, weights w (B, K)."""
    share = (w / w.sum(-1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny))[..., None]
    x0, y0 = (share * x).sum(-2), (share * y).sum(-2)
    M = ((y - y0[:, None]) * share).mT @ (x - x0[:, None])
    U, _, Vh = torch.linalg.svd(M)
    sign = torch.ones_like(x0)
    sign[:, 2] = torch.linalg.det(U @ Vh)
    R = U @ (sign[..., None] * Vh)
    return R, y0 - matvec(R, x0)


# --- the gradient -----------------------------------------------------------------------------------------------------


class _Implicit(torch.autograd.Function):
    """q* as a function of keypoints, their information and the log scales."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, w: Tensor, scales: Tensor, problem: _Problem, q: Tensor) -> Tensor:
        ctx.save_for_backward(y, w, scales, q)
        ctx.problem = problem
        return q.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u_q: Tensor) -> tuple[Tensor | None, ...]:
        y, w, scales, q = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in (y, w, scales)]
            problem = replace(ctx.problem, y=inputs[0], w=inputs[1], scales=inputs[2])
            dv = q.new_zeros(len(q), problem.chain.nv, requires_grad=True)
            moved = problem.chain.integrate(q, dv)
            (u,) = torch.autograd.grad(moved, dv, u_q, retain_graph=True)
            g = problem.gradient(moved)
            x = _solve_hessian(problem, q, g, dv, u)
            wanted = [i for i, n in zip(inputs, needed, strict=True) if n]
            found = iter(torch.autograd.grad(g, wanted, -x, allow_unused=True))
        return *(next(found) if n else None for n in needed), None, None


def _solve_hessian(problem: _Problem, q: Tensor, g: Tensor, dv: Tensor, u: Tensor) -> Tensor:
    """x (B, nv) with H x = u, H = dg/dv; the Gauss-Newton matrix conditions it."""
    with torch.no_grad():
        L, _ = torch.linalg.cholesky_ex(problem.normal_equations(q).A.double())
    return conjugate_gradients(
        lambda x: torch.autograd.grad(g, dv, x, retain_graph=True)[0],
        u,
        lambda r: torch.cholesky_solve(r.double()[..., None], L)[..., 0].to(r.dtype),
        tolerance=1e-12 if q.dtype == torch.float64 else 1e-5,
        iterations=CG_ITERATIONS,
    )[0]


# --- checks -----------------------------------------------------------------------------------------------------------


def _seen(y: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Keypoints with zeros where they are missing, and their weights (B, K), zero there."""
    finite = y.isfinite().all(-1)
    w = torch.where(finite, torch.ones_like(y[..., 0]) if weights is None else weights, 0.0)
    return torch.where(finite[..., None], y, 0.0), w


def _check(
    chain: KinematicChain, keypoints: Tensor, keypoint_set: str, weights: Tensor | None, q0: Tensor | None,
    log_scales: Tensor | None,
) -> None:  # fmt: skip
    K = len(chain.skeleton.keypoint_set(keypoint_set).points)
    if keypoints.shape[-2:] != (K, 3):
        raise InputError(f"keypoints have shape {tuple(keypoints.shape)}; {keypoint_set} needs (..., {K}, 3)")
    batch = keypoints.shape[:-2]
    given = {"keypoints": keypoints, "weights": weights, "q0": q0, "log_scales": log_scales}
    sizes = {"weights": K, "q0": chain.nq, "log_scales": len(chain.log_scales)}
    for name, x in given.items():
        if x is None:
            continue
        if x.dtype != chain.axis.dtype:
            raise InputError(f"{name} is {x.dtype}, the chain {chain.axis.dtype}; convert one: chain.to({name}.dtype)")
        if name != "keypoints" and (x.shape[-1:] != (sizes[name],) or not _expands(x.shape[:-1], batch)):
            allowed = f"({sizes[name]},) or {(*batch, sizes[name])}"
            raise InputError(f"{name} has shape {tuple(x.shape)}; {allowed} needed")
    if weights is not None and not bool((weights >= 0).all()):
        raise InputError("weights must be zero or more, and not NaN; a missing keypoint has weight 0")
    if q0 is not None and not bool(q0.isfinite().all()):
        raise InputError("q0 holds NaN or infinity; leave it out for a first guess from the keypoints")


def _expands(shape: torch.Size, batch: torch.Size) -> bool:
    return len(shape) <= len(batch) and all(a in (1, b) for a, b in zip(shape[::-1], batch[::-1], strict=False))
