"""What an engine is given, what it returns, and the step from gradients by a motion of the joints to gradients by q."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from physpose.dynamics.parameters import BodyParameters
from physpose.dynamics.tree import Tree
from physpose.types import Array

YZX, ZXY = [1, 2, 0], [2, 0, 1]


class Arguments(NamedTuple):
    """Checked arguments of inverse dynamics, one leading batch dimension."""

    q: Tensor  # (B, nq)
    v: Tensor  # (B, nv)
    a: Tensor  # (B, nv)
    gravity: Tensor  # (3,) or (B, 3)
    external: Tensor | None  # (B, n_bodies, 6)
    parameters: BodyParameters  # unbatched, or B of each

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them in a row."""
        return *self[:5], *self.parameters

    @staticmethod
    def of(tensors: tuple[Tensor | None, ...]) -> Arguments:
        """The inverse of ``tensors``."""
        q, v, a, gravity, external, *parameters = tensors
        return Arguments(q, v, a, gravity, external, BodyParameters(*parameters))  # type: ignore[arg-type]


class Gradients(NamedTuple):
    """Gradients of sum(u tau), u (B, nv)."""

    q: Tensor  # (B, nq), tangent to the sphere at quaternions
    v: Tensor  # (B, nv)
    a: Tensor  # (B, nv)
    gravity: Tensor  # (B, 3)
    external: Tensor | None  # (B, n_bodies, 6)
    parameters: BodyParameters | None  # summed over the samples


def to_q_gradient(tree: Tree, q: Array, tangent: Array) -> Array:
    """Gradient by q (B, nq) of a function of q at unit quaternions, from that (B, nv) by motions dv of q + dv.

    dquat = quat * (w, 0) / 2 turns the body by w; its columns are orthogonal with length 1/2, so the gradient that is
    tangent to the sphere is 2 quat * (w_bar, 0), and 1/|quat| of it where the quaternion is not of unit length.
    """
    grad = np.zeros(q.shape)
    single_q, single_v = tree.single_axis_columns
    grad[:, single_q] = tangent[:, single_v]
    for k, j, free in tree.quaternions:
        length = np.linalg.norm(q[:, k : k + 4], axis=-1, keepdims=True)
        u, w, w_bar = q[:, k : k + 3] / length, q[:, k + 3 : k + 4] / length, tangent[:, j : j + 3]
        grad[:, k : k + 3] = 2 * (w * w_bar + _cross(u, w_bar)) / length
        grad[:, k + 3] = -2 * (u * w_bar).sum(-1) / length[:, 0]
        if free:
            # p moves by R dv: R x = x + 2 w u x x + 2 u x (u x x)
            p_bar = tangent[:, j - 3 : j]
            turned = _cross(u, p_bar)
            grad[:, k - 3 : k] = p_bar + 2 * w * turned + 2 * _cross(u, turned)
    return grad


def _cross(a: Array, b: Array) -> Array:
    """a x b (B, 3): np.cross takes longer than Pinocchio's derivatives at one sample."""
    return a[:, YZX] * b[:, ZXY] - a[:, ZXY] * b[:, YZX]
