"""Piecewise polynomials of one variable: what every function of an OpenSim joint is, written in one form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from physpose.types import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class PiecewisePolynomial:
    """f(x) = sum_d coefficients[k, d] (x - origins[k])^d on piece k, breaks[k - 1] <= x < breaks[k].

    The first and the last piece have no end: extrapolation is a piece like any other.
    """

    breaks: Array  # (m,) increasing
    origins: Array  # (m + 1,)
    coefficients: Array  # (m + 1, degree + 1), ascending powers

    def __call__(self, x: ArrayLike, order: int = 0) -> Array:
        """The ``order``-th derivative at x (*b,)."""
        x = np.asarray(x, float)
        k = np.searchsorted(self.breaks, x, side="right")
        t, c = x - self.origins[k], self.coefficients[k]
        return sum(
            (math.perm(d, order) * c[..., d] * t ** (d - order) for d in range(order, c.shape[-1])), np.zeros_like(x)
        )

    @cached_property
    def line(self) -> tuple[float, float] | None:
        """(slope, intercept) of a straight line or a constant, else None."""
        if len(self.breaks) or np.any(self.coefficients[:, 2:]):
            return None
        c0, c1 = np.pad(self.coefficients[0, :2], (0, max(0, 2 - self.coefficients.shape[1])))
        return float(c1), float(c0 - c1 * self.origins[0])

    @property
    def constant(self) -> float | None:
        """The value of a constant, else None."""
        return self.line[1] if self.line is not None and self.line[0] == 0 else None

    def scaled(self, factor: float) -> PiecewisePolynomial:
        """factor * f."""
        return PiecewisePolynomial(breaks=self.breaks, origins=self.origins, coefficients=factor * self.coefficients)

    def after_line(self, slope: float, intercept: float) -> PiecewisePolynomial:
        """x -> f(slope x + intercept)."""
        if slope == 0:
            return constant(float(self(intercept)))
        powers = slope ** np.arange(self.coefficients.shape[1])
        parts = (self.breaks - intercept) / slope, (self.origins - intercept) / slope, self.coefficients * powers
        breaks, origins, coefficients = parts if slope > 0 else (x[::-1] for x in parts)
        return PiecewisePolynomial(breaks=breaks, origins=origins, coefficients=coefficients)

    def then_line(self, slope: float, intercept: float) -> PiecewisePolynomial:
        """x -> slope f(x) + intercept."""
        coefficients = slope * self.coefficients
        coefficients[:, 0] += intercept
        return PiecewisePolynomial(breaks=self.breaks, origins=self.origins, coefficients=coefficients)


def polynomial(coefficients: ArrayLike) -> PiecewisePolynomial:
    """sum_d coefficients[d] x^d."""
    c = np.atleast_1d(np.asarray(coefficients, float))
    return PiecewisePolynomial(breaks=np.zeros(0), origins=np.zeros(1), coefficients=c[None])


def constant(value: float) -> PiecewisePolynomial:
    return polynomial([value])


def line(slope: float, intercept: float = 0.0) -> PiecewisePolynomial:
    return polynomial([intercept, slope])


def piecewise_linear(x: ArrayLike, y: ArrayLike) -> PiecewisePolynomial:
    """Straight lines through the knots (n,), the first and the last one going on beyond the ends."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    slope = np.diff(y) / np.diff(x)
    return PiecewisePolynomial(breaks=x[1:-1], origins=x[:-1], coefficients=np.stack([y[:-1], slope], 1))


def cubic_spline(x: ArrayLike, y: ArrayLike) -> PiecewisePolynomial:
    """Interpolating cubic spline through the knots (n,), tangents going on beyond the ends: OpenSim's SimmSpline.

    The third derivative at each end is that of the cubic through the four knots there (Forsythe, Malcolm & Moler 1977,
    "Computer Methods for Mathematical Computations", ch. 4.4); with three knots it is zero, two give a line.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    n = len(x)
    if n == 2:
        return piecewise_linear(x, y)
    # continuity of the slope: h_i-1 s_i-1 + 2 (h_i-1 + h_i) s_i + h_i s_i+1 = slope_i - slope_i-1, s = f'' / 6
    A, b = np.zeros((n, n)), np.zeros(n)
    for i in range(1, n - 1):
        A[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        b[i] = slope[i] - slope[i - 1]
    # the ends: (s_1 - s_0) / h_0 = f''' / 6, a divided difference of third order
    A[0, :2], A[-1, -2:] = (-1, 1), (-1, 1)
    if n > 3:
        b[0], b[-1] = h[0] * _third_difference(x[:4], y[:4]), h[-1] * _third_difference(x[-4:], y[-4:])
    s = np.linalg.solve(A, b)
    first = slope - h * (2 * s[:-1] + s[1:])
    pieces = np.stack([y[:-1], first, 3 * s[:-1], np.diff(s) / h], 1)
    last = slope[-1] + h[-1] * (s[-2] + 2 * s[-1])
    ends = [[y[0], first[0], 0, 0]], [[y[-1], last, 0, 0]]
    return PiecewisePolynomial(
        breaks=x, origins=np.concatenate([x[:1], x]), coefficients=np.concatenate([ends[0], pieces, ends[1]])
    )


def _third_difference(x: Array, y: Array) -> float:
    for k in (1, 2, 3):
        y = np.diff(y) / (x[k:] - x[:-k])
    return float(y[0])


def smooth_step(x0: float, x1: float, y0: float, y1: float) -> PiecewisePolynomial:
    """y0 before x0, y1 after x1, between them the quintic with no slope and no curvature at both ends."""
    # y0 + (y1 - y0) (10 t^3 - 15 t^4 + 6 t^5), t = (x - x0) / (x1 - x0)
    rise = (y1 - y0) * np.array([0, 0, 0, 10, -15, 6]) / (x1 - x0) ** np.arange(6.0)
    flat = np.zeros(6)
    coefficients = np.stack([flat, rise, flat]) + np.array([y0, y0, y1])[:, None] * (np.arange(6) == 0)
    return PiecewisePolynomial(breaks=np.array([x0, x1]), origins=np.array([x0, x0, x1]), coefficients=coefficients)
