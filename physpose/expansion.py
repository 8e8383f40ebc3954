"""z = phi(s) in PyTorch: from the coordinates a user sees to those of the single-axis joints, and forces back.

See ``skeleton.coordinate_map``. Reduced q = [quaternion joints in the order of the bodies, s], v likewise; the
expanded q and v are those of ``Skeleton.bodies`` joint by joint, as ``Skeleton.expanded`` has them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from physpose.skeleton.coordinate_map import Layer
from physpose.skeleton.model import Skeleton


class Expanded(NamedTuple):
    """phi and its derivatives at s, each z by its own s."""

    q: Tensor  # (*b, nq_z): quaternion joints as they were, z at the single axes
    gain: Tensor  # (*b, nv_z): dz/ds; ones at quaternion joints
    bend: Tensor  # (*b, nv_z): d2z/ds2; zeros at quaternion joints


class Expansion(nn.Module):
    """The coordinate map of a skeleton as tensors; any leading batch shape, differentiable any number of times."""

    def __init__(self, skeleton: Skeleton, dtype: torch.dtype):
        super().__init__()
        assert skeleton.coordinate_map is not None
        self.layers = nn.ModuleList(_Functions(layer, dtype) for layer in skeleton.coordinate_map.layers)
        kinds = [(b.joint.kind != "chain", b.joint.nq, b.joint.nv) for b in skeleton.bodies if b.joint.nq]
        self.n_q = sum(nq for quaternion, nq, _ in kinds if quaternion)  # columns of quaternion joints in q
        self.n_v = sum(nv for quaternion, _, nv in kinds if quaternion)
        self._integers("q_order", _order([(quaternion, nq) for quaternion, nq, _ in kinds]))
        self._integers("v_order", _order([(quaternion, nv) for quaternion, _, nv in kinds]))
        self.in_order = bool((np.diff(self.q_order.numpy()) > 0).all())  # quaternion joints before all others
        source = _final_source(skeleton.coordinate_map.layers)
        v_source = np.concatenate([np.arange(self.n_v), self.n_v + source])[self.v_order.numpy()]
        self._integers("v_source", v_source)
        self._floats("gather", np.eye(skeleton.nv)[v_source], dtype)
        self._floats("slide_scale", skeleton.coordinate_map.scales, dtype)
        rows, parents, weights = skeleton.slide_lengths
        self._integers("slide_rows", rows)
        self._integers("slide_parent", parents)
        self._floats("slide_weight", weights, dtype)
        # where z_j came to lie in the expanded q and v
        self._integers("slide_q", np.argsort(self.q_order.numpy())[self.n_q + rows])
        self._integers("slide_v", np.argsort(self.v_order.numpy())[self.n_v + rows])

    q_order: Tensor  # (nq_z,) column of [quaternion joints, z] of each of the expanded q's
    v_order: Tensor  # (nv_z,)
    v_source: Tensor  # (nv_z,) column of the reduced v that moves each of the expanded v's
    gather: Tensor  # (nv_z, nv) the same as a matrix of zeros and ones
    slide_scale: Tensor  # (n_z,)
    slide_rows: Tensor  # (m,) of z: slides that are lengths of the parent, not coordinates of their own
    slide_parent: Tensor  # (m,) body
    slide_weight: Tensor  # (m, 3) squared components of the slide's axis in the parent's frame
    slide_q: Tensor  # (m,) column in the expanded q
    slide_v: Tensor  # (m,) column in the expanded v

    def forward(self, q: Tensor, axis_scales: Tensor) -> Expanded:
        """phi at q (*b, nq) with body axes scaled by ``axis_scales`` (*b, n_bodies, 3)."""
        s = q[..., self.n_q :]
        first, *others = self.layers
        z, gain, bend = first(s)
        for layer in others:
            z, gain, bend = layer(z, gain, bend)
        factor = self.factors(axis_scales)
        z, gain, bend = z * factor, gain * factor, bend * factor
        kept = q.new_ones(*z.shape[:-1], self.n_v)
        return Expanded(
            self._placed(q[..., : self.n_q].expand(*z.shape[:-1], self.n_q), z, self.q_order),
            self._placed(kept, gain, self.v_order),
            self._placed(torch.zeros_like(kept), bend, self.v_order),
        )

    def third(self, q: Tensor, axis_scales: Tensor) -> Tensor:
        """d3z/ds3 (*b, nv_z) at q (*b, nq): every z by its own s, so one direction moves them all."""
        along = torch.cat([torch.zeros_like(q[..., : self.n_q]), torch.ones_like(q[..., self.n_q :])], -1)
        found: Tensor = torch.func.jvp(lambda x: self(x, axis_scales).bend, (q,), (along,))[1]
        return found

    def _placed(self, kept: Tensor, z: Tensor, order: Tensor) -> Tensor:
        """Columns of quaternion joints and of z in the order of the joints."""
        columns = torch.cat([kept, z], -1)
        return columns if self.in_order else columns.index_select(-1, order)

    def factors(self, axis_scales: Tensor) -> Tensor:
        """Factor (*b, n_z) on each z: a slide that is a length of the parent grows with it."""
        if not len(self.slide_rows):
            return self.slide_scale
        s = (axis_scales[..., self.slide_parent, :] * self.slide_weight).sum(-1)
        ones = s.new_ones(*s.shape[:-1], len(self.slide_scale))
        return self.slide_scale * ones.index_copy(-1, self.slide_rows, s)

    def rate(self, x: Expanded, v: Tensor) -> Tensor:
        """Expanded v (*b, nv_z): zd = phi' sd."""
        return x.gain * v.index_select(-1, self.v_source)  # which is faster than v[..., columns]

    def acceleration(self, x: Expanded, v: Tensor, a: Tensor) -> Tensor:
        """Expanded a (*b, nv_z): zdd = phi' sdd + phi'' sd^2."""
        v, a = (y.index_select(-1, self.v_source) for y in (v, a))
        return torch.addcmul(x.gain * a, x.bend, v.square())

    def reduce(self, x: Expanded, rows: Tensor) -> Tensor:
        """phi'^T rows: forces (*b, nv_z) on the expanded coordinates as forces (*b, nv) on the reduced ones."""
        return (x.gain * rows) @ self.gather

    def reduce_columns(self, x: Expanded, columns: Tensor) -> Tensor:
        """J phi': derivatives (*b, ..., nv_z) by the expanded v as derivatives (*b, ..., nv) by the reduced."""
        gain = x.gain.reshape(*x.gain.shape[:-1], *[1] * (columns.ndim - x.gain.ndim), x.gain.shape[-1])
        return (gain * columns) @ self.gather

    def reduce_derivatives(self, x: Expanded, by_motion: Tensor, force: Tensor) -> Tensor:
        """d(phi'^T F)/ds (*b, nv, nv) of forces F (*b, nv_z), dF/dz = ``by_motion``: phi'^T dF/dz phi' + phi''^T F."""
        turned = self.gather.T @ (x.gain[..., None] * self.reduce_columns(x, by_motion))
        return turned + ((x.bend * force) @ self.gather).diag_embed()

    def _integers(self, name: str, value: object) -> None:
        self.register_buffer(name, torch.as_tensor(np.asarray(value, np.int64)), persistent=False)

    def _floats(self, name: str, value: np.ndarray, dtype: torch.dtype) -> None:
        self.register_buffer(name, torch.as_tensor(np.asarray(value, float)).to(dtype), persistent=False)


class _Functions(nn.Module):
    """A ``Layer``: straight lines in one product, the rest by table."""

    def __init__(self, layer: Layer, dtype: torch.dtype):
        super().__init__()
        straight = [f.line for f in layer.functions]
        curved = [j for j, f in enumerate(straight) if f is None]
        self.curved = bool(curved)
        self._table("source", np.asarray(layer.source, np.int64))
        self._table("slope", np.array([f[0] if f else 0.0 for f in straight]), dtype)
        self._table("intercept", np.array([f[1] if f else 0.0 for f in straight]), dtype)
        self._table("rows", np.asarray(curved, np.int64))
        self._table("curved_source", np.asarray(layer.source, np.int64)[curved])
        breaks, origins, coefficients = _padded(layer, curved)
        self._table("breaks", breaks, dtype)
        self._table("origins", origins, dtype)
        self._table("powers", coefficients.T.copy(), dtype)
        self._table("first", np.arange(len(curved))[:, None] * origins.shape[-1])

    source: Tensor  # (n,)
    slope: Tensor  # (n,)
    intercept: Tensor  # (n,)
    rows: Tensor  # (m,) of the n: what is no straight line
    curved_source: Tensor  # (m,)
    breaks: Tensor  # (m, k)
    origins: Tensor  # (m, k + 1)
    powers: Tensor  # (degree + 1, m (k + 1)) coefficients, ascending
    first: Tensor  # (m, 1) first row of each function in the table

    def forward(
        self, x: Tensor, gain: Tensor | None = None, bend: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y and its first two derivatives by s, each (*b, n), of x and its own (*b, n_x); without them x is s."""
        if not x.shape[-1]:  # nothing but constants
            y = self.intercept.expand(*x.shape[:-1], -1)
            return y, torch.zeros_like(y), torch.zeros_like(y)
        y = torch.addcmul(self.intercept, self.slope, x.index_select(-1, self.source))
        y1 = self.slope.expand_as(y)
        y2 = torch.zeros_like(y)
        if self.curved:
            f = self._evaluate(x.index_select(-1, self.curved_source))
            y, y1, y2 = (a.index_copy(-1, self.rows, b) for a, b in zip((y, y1.contiguous(), y2), f, strict=True))
        if gain is None or bend is None:
            return y, y1, y2
        x1, x2 = (d.index_select(-1, self.source) for d in (gain, bend))
        # dy/ds = f' x',  d2y/ds2 = f' x'' + f'' x'^2
        return y, y1 * x1, y1 * x2 + y2 * x1**2

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f, f', f'' (*b, m) at x (*b, m), by Horner's rule."""
        flat = x.detach().reshape(-1, x.shape[-1]).T.contiguous()
        piece = (self.first + torch.searchsorted(self.breaks, flat, right=True)).T.flatten()
        origin, *c = (row.index_select(0, piece).reshape(x.shape) for row in (self.origins.flatten(), *self.powers))
        t, f = x - origin, c[-1]
        f1, f2 = torch.zeros_like(t), torch.zeros_like(t)
        for coefficient in c[-2::-1]:
            f2 = torch.addcmul(2 * f1, f2, t)
            f1 = torch.addcmul(f, f1, t)
            f = torch.addcmul(coefficient, f, t)
        return f, f1, f2

    def _table(self, name: str, value: np.ndarray, dtype: torch.dtype | None = None) -> None:
        self.register_buffer(name, torch.as_tensor(value).to(dtype or torch.int64), persistent=False)


def _padded(layer: Layer, rows: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables of equal width: breaks at infinity, coefficients zero where there are none."""
    f = [layer.functions[j] for j in rows]
    k = max((len(g.breaks) for g in f), default=0)
    d = max((g.coefficients.shape[1] for g in f), default=1)
    breaks, origins, coefficients = (
        np.full((len(f), k), np.inf),
        np.zeros((len(f), k + 1)),
        np.zeros((len(f), k + 1, d)),
    )
    for i, g in enumerate(f):
        breaks[i, : len(g.breaks)] = g.breaks
        origins[i, : len(g.origins)] = g.origins
        coefficients[i, : len(g.origins), : g.coefficients.shape[1]] = g.coefficients
    return breaks, origins, coefficients.reshape(-1, d)


def _order(joints: list[tuple[bool, int]]) -> np.ndarray:
    """Columns of [quaternion joints, z] in the order of the joints."""
    kept = sum(n for quaternion, n in joints if quaternion)
    columns, next_kept, next_z = [], 0, kept
    for quaternion, n in joints:
        start = next_kept if quaternion else next_z
        columns.append(np.arange(start, start + n))
        next_kept, next_z = (next_kept + n, next_z) if quaternion else (next_kept, next_z + n)
    return np.concatenate(columns) if columns else np.zeros(0, int)


def _final_source(layers: tuple[Layer, ...]) -> np.ndarray:
    """(n_z,) column of s of each z."""
    source = np.asarray(layers[0].source, int)
    for layer in layers[1:]:
        source = source[np.asarray(layer.source, int)]
    return source
