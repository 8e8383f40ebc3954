"""Coordinates that drive joints by functions: z = phi(s), from the independent coordinates s of a body to its joints.

OpenSim's joints have axes that turn and slide as functions of a coordinate, and coordinates that follow others. Here
every axis is a coordinate z of its own; what the user sees, s, are fewer. Each z depends on one s:
    z = phi(s),  zd = phi' sd,  zdd = phi' sdd + phi'' sd^2,  tau_s = phi'^T tau_z.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from physpose.skeleton.polynomials import PiecewisePolynomial, constant
from physpose.types import Array

if TYPE_CHECKING:
    from physpose.skeleton.model import Coordinate


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """n functions, each of one variable: y_j = functions[j](x[source[j]])."""

    source: tuple[int, ...]  # column of x; of a constant any
    functions: tuple[PiecewisePolynomial, ...]

    def __call__(self, x: Array) -> Array:
        """y (*b, n) of x (*b, n_x)."""
        x = np.asarray(x, float)
        columns = [f(x[..., i]) for i, f in zip(self.source, self.functions, strict=True)]
        return np.stack(columns, -1) if columns else x[..., :0]


@dataclass(frozen=True, kw_only=True, eq=False)
class CoordinateMap:
    """z = phi(s) of a skeleton: s -> all coordinates of its file, some following others or held -> z.

    ``coordinates`` are the independent ones, the tails of q and v; z are the coordinates of ``Skeleton.bodies``.
    """

    coordinates: tuple[Coordinate, ...]  # n_s
    file_coordinates: tuple[Coordinate, ...]  # n_x, every coordinate of the file, in its order
    couplings: Layer  # s -> x
    joints: Layer  # x -> z
    places: tuple[
        tuple[int, int], ...
    ] = ()  # (n_z,) number of its axis among a CustomJoint's six, and of its coordinate
    #                                         among the joint's own; (0, 0) in other joints
    slide_scales: Array = field(default_factory=lambda: np.ones(0))  # (n_z,) factor on each z, see Skeleton.scaled

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.coordinates)

    def dependents(self, s: Array) -> dict[str, Array]:
        """Values (*b,) [rad; m] of the file's coordinates that follow others or are held, of s (*b, n_s)."""
        x = self.couplings(s)
        return {c.name: x[..., i] for i, c in enumerate(self.file_coordinates) if c.name not in self.names}

    def __call__(self, s: Array) -> Array:
        """z (*b, n_z) [rad; m] of s (*b, n_s)."""
        return self.joints(self.couplings(s)) * self.scales

    @property
    def scales(self) -> Array:
        """(n_z,) ``slide_scales``, ones where none are given."""
        return self.slide_scales if len(self.slide_scales) else np.ones(len(self.joints.source))

    def is_coordinate(self, j: int) -> bool:
        """Is z_j the value of a coordinate itself, not a function of one."""
        return self.joints.functions[j].line in ((1.0, 0.0), (-1.0, 0.0))

    def scaled(self, factors: Array) -> CoordinateMap:
        """The same with every z times its factor (n_z,)."""
        return replace(self, slide_scales=self.scales * factors)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The composition with as few layers as are exact: one, unless a function follows another that is no line."""
        fused = _fused(self.couplings, self.joints)
        return (self.couplings, self.joints) if fused is None else (fused,)


def _fused(inner: Layer, outer: Layer) -> Layer | None:
    rows = [_composed(inner, i, f) for i, f in zip(outer.source, outer.functions, strict=True)]
    if any(r is None for r in rows):
        return None
    return Layer(source=tuple(r[0] for r in rows if r), functions=tuple(r[1] for r in rows if r))


def _composed(inner: Layer, i: int, outer: PiecewisePolynomial) -> tuple[int, PiecewisePolynomial] | None:
    if outer.constant is not None:
        return 0, outer
    g = inner.functions[i]
    if g.constant is not None:
        return 0, constant(float(outer(g.constant)))
    if g.line is not None:
        return inner.source[i], outer.after_line(*g.line)
    return None if outer.line is None else (inner.source[i], g.then_line(*outer.line))
