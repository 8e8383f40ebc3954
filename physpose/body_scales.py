"""The bones of the one body that a sequence of 3D keypoints is of: a layer with gradients.

The minimum over log bone scales s of

    sum_t min_q C(q, s; y_t)  +  1/2 sum_g s_g^2 / sigma_g^2

with C what ``physpose.projection`` minimises and sigma_g how people of one age, sex and height differ, as the skeleton
states it. By Newton's method: the gradient by s is C's at the nearest poses (envelope theorem), and differentiating it
through these gives the exact Hessian. Gradients of s come from the implicit function theorem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from physpose.errors import InputError
from physpose.projection import ProjectionSettings, keypoint_variance

if TYPE_CHECKING:
    from physpose.chain import KinematicChain

ITERATIONS = 30
TOLERANCE = 1e-7  # of any log scale: the poses behind the gradient are themselves found to 1e-9
LONGEST_STEP = 0.1  # of any log scale: two spreads of people


class BodyScales(NamedTuple):
    """Bones of a batch *b of sequences."""

    log_scales: Tensor  # (*b, n_groups)
    converged: Tensor  # (*b,) bool


def body_scales(
    chain: KinematicChain,
    keypoints: Tensor,
    keypoint_set: str = "blazepose33",
    *,
    weights: Tensor | None = None,
    settings: ProjectionSettings | None = None,
) -> BodyScales:
    """Log bone scales of the one body behind keypoints (*b, T, K, 3) [m]: see ``KinematicChain.body_scales``."""
    if keypoints.ndim < 3:
        raise InputError(f"keypoints have shape {tuple(keypoints.shape)}; a sequence is (*b, T, K, 3)")
    batch, n = keypoints.shape[:-3], len(chain.log_scales)
    y = keypoints.reshape(-1, *keypoints.shape[-3:])
    w = None if weights is None else weights.expand(*keypoints.shape[:-1]).reshape(y.shape[:-1])
    problem = _Problem(chain, keypoint_set, y, w, settings or ProjectionSettings())
    s, q, converged = _minimise(problem.detached())
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (keypoints, weights)):
        # ds/dy = -H^-1 dg/dy
        g, _ = problem.gradient(s, q)
        _, H, _ = _newton(problem.detached(), s, q)
        s = s - torch.linalg.solve(H, (g - g.detach())[..., None])[..., 0]
    return BodyScales(s.reshape(*batch, n), converged.reshape(batch))


class _Problem(NamedTuple):
    """The objective of B sequences."""

    chain: KinematicChain
    keypoint_set: str
    y: Tensor  # (B, T, K, 3) [m]
    weights: Tensor | None  # (B, T, K)
    settings: ProjectionSettings

    def detached(self) -> _Problem:
        return self._replace(y=self.y.detach(), weights=None if self.weights is None else self.weights.detach())

    @property
    def prior(self) -> Tensor:
        """(n_groups,) information."""
        return self.y.new_tensor([g.sigma**-2 for g in self.chain.skeleton.scale_groups])

    def gradient(self, s: Tensor, q0: Tensor | None) -> tuple[Tensor, Tensor]:
        """g (B, n_groups), differentiable by s, y and weights through the nearest poses; these (B, T, nq)."""
        chain, y = self.chain, self.y
        scales = s[:, None].expand(*y.shape[:2], -1)
        q = chain.project(
            y, self.keypoint_set, weights=self.weights, q0=q0, log_scales=scales, settings=self.settings
        ).q  # fmt: skip
        frames, points = chain.fk(q, scales), chain.keypoint_points(self.keypoint_set)
        r = chain.locate(frames, points, scales) - y
        seen = r.isfinite().all(-1)
        info = torch.where(seen, 1.0 if self.weights is None else self.weights, 0.0)
        pull = (info / keypoint_variance(chain, self.keypoint_set, self.settings))[..., None] * r.where(
            seen[..., None], 0.0
        )
        J = chain.scale_jacobian(frames, points, scales)
        return torch.einsum("btkig,btki->bg", J, pull) + self.prior * s, q


def _newton(problem: _Problem, s: Tensor, q: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (B, n_groups), exact Hessian (B, n_groups, n_groups) and nearest poses at s, from poses q."""
    with torch.enable_grad():
        s = s.detach().requires_grad_()
        g, q = problem.gradient(s, q)
        rows = [torch.autograd.grad(x.sum(), s, retain_graph=True)[0] for x in g.unbind(-1)]
    H = torch.stack(rows, -2)
    return g.detach(), 0.5 * (H + H.mT), q.detach()


def _minimise(problem: _Problem) -> tuple[Tensor, Tensor, Tensor]:
    """s (B, n_groups), its nearest poses, which sequences converged."""
    s = problem.y.new_zeros(len(problem.y), len(problem.prior))
    tolerance = TOLERANCE if s.dtype == torch.float64 else 1e3 * TOLERANCE
    g, H, q = _newton(problem, s)
    for _ in range(ITERATIONS):
        step = -_away_from_saddles(H, problem.prior, g)
        s = s + step.clamp(-LONGEST_STEP, LONGEST_STEP)
        moved = step.abs().amax(-1)
        if bool((moved < tolerance).all()):
            break
        g, H, q = _newton(problem, s, q)
    return s, q, moved < tolerance


def _away_from_saddles(H: Tensor, prior: Tensor, g: Tensor) -> Tensor:
    """H^-1 g with eigenvalues, in units of the prior's information, of at least a half: at a minimum all are so."""
    unit = prior.rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * H * unit)
    x = (vectors.mT @ (unit * g)[..., None])[..., 0] / values.clamp(min=0.5)
    return unit * (vectors @ x[..., None])[..., 0]
