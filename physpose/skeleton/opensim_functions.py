"""Functions of an OpenSim file (<SimmSpline>, <LinearFunction>, ...) as piecewise polynomials."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import ArrayLike

from physpose.errors import InputError
from physpose.skeleton import polynomials
from physpose.skeleton.opensim_xml import numbers_of
from physpose.skeleton.polynomials import PiecewisePolynomial
from physpose.types import Array


def read_function(e: ET.Element) -> PiecewisePolynomial:
    """The function in an element. Raises ``InputError``, naming those known, for what is no piecewise polynomial."""
    if e.tag not in READERS:
        known = ", ".join(READERS)
        raise InputError(f"has a <{e.tag}>, which is not understood; put one of {known} in its place")
    return READERS[e.tag](e)


def _constant(e: ET.Element) -> PiecewisePolynomial:
    return polynomials.constant(_number(e, "value"))


def _line(e: ET.Element) -> PiecewisePolynomial:
    c = numbers_of(e, "coefficients")
    if len(c) > 2:
        raise InputError(f"<{e.tag}> has {len(c)} coefficients; slope and intercept of one coordinate are understood")
    return polynomials.line(*c)


def _polynomial(e: ET.Element) -> PiecewisePolynomial:
    return polynomials.polynomial(numbers_of(e, "coefficients")[::-1])  # the file has the highest power first


def _spline(e: ET.Element) -> PiecewisePolynomial:
    return polynomials.cubic_spline(*_knots(e))


def _broken_line(e: ET.Element) -> PiecewisePolynomial:
    return polynomials.piecewise_linear(*_knots(e))


def _multiplied(e: ET.Element) -> PiecewisePolynomial:
    inner = e.find("function/*")
    if inner is None:
        raise InputError(f"<{e.tag}> has no function in it")
    return read_function(inner).scaled(_number(e, "scale") if e.find("scale") is not None else 1.0)


def _step(e: ET.Element) -> PiecewisePolynomial:
    return polynomials.smooth_step(*(_number(e, k) for k in ("start_time", "end_time", "start_value", "end_value")))


READERS: dict[str, Callable[[ET.Element], PiecewisePolynomial]] = {
    "Constant": _constant,
    "LinearFunction": _line,
    "PolynomialFunction": _polynomial,
    "SimmSpline": _spline,
    "NaturalCubicSpline": _spline,  # its name before version 3
    "natCubicSpline": _spline,
    "PiecewiseLinearFunction": _broken_line,
    "MultiplierFunction": _multiplied,
    "StepFunction": _step,
}


def _number(e: ET.Element, tag: str) -> float:
    x = numbers_of(e, tag)
    if len(x) != 1:
        raise InputError(f"<{e.tag}> <{tag}> has {len(x)} numbers; one needed")
    return float(x[0])


def _knots(e: ET.Element) -> tuple[Array, Array]:
    x, y = numbers_of(e, "x"), numbers_of(e, "y")
    if len(x) != len(y) or len(x) < 2:
        raise InputError(f"<{e.tag}> has {len(x)} x and {len(y)} y; as many of each needed, two or more")
    if not (np.diff(x) > 0).all():
        raise InputError(f"<{e.tag}> has x that do not increase: {' '.join(f'{v:g}' for v in x)}")
    return x, y


def write_function(parent: ET.Element, f: PiecewisePolynomial | None, where: str) -> None:
    """Append the element of a function; None: the constant zero. Raises ``InputError`` for one that no element is."""
    if f is None or f.constant is not None:
        _element(parent, "Constant", value=[0.0 if f is None or f.constant is None else f.constant])
    elif f.line is not None:
        _element(parent, "LinearFunction", coefficients=f.line)
    elif not len(f.breaks):
        shifted = np.polynomial.Polynomial(f.coefficients[0])(np.polynomial.Polynomial([-f.origins[0], 1]))
        _element(parent, "PolynomialFunction", coefficients=shifted.coef[::-1])
    elif _same(f, polynomials.cubic_spline(f.breaks, f(f.breaks))):
        _element(parent, "SimmSpline", x=f.breaks, y=f(f.breaks))
    else:
        x = np.concatenate([[f.breaks[0] - 1], f.breaks, [f.breaks[-1] + 1]])
        if not _same(f, polynomials.piecewise_linear(x, f(x))):
            raise InputError(f"{where} moves by a function that OpenSim has no element for")
        _element(parent, "PiecewiseLinearFunction", x=x, y=f(x))


def _same(f: PiecewisePolynomial, g: PiecewisePolynomial) -> bool:
    """Do they agree between and beyond the breaks of f, to rounding?"""
    x = np.concatenate([[f.breaks[0] - 1], f.breaks, [f.breaks[-1] + 1]])
    x = np.unique(np.concatenate([x, 0.5 * (x[1:] + x[:-1]), x[:-1] + 0.3 * np.diff(x)]))
    return bool(np.allclose(f(x), g(x), rtol=1e-12, atol=1e-12 * (1 + np.abs(f(x)).max())))


def _element(parent: ET.Element, tag: str, **numbers: ArrayLike) -> None:
    e = ET.SubElement(parent, tag, name="function")
    for name, x in numbers.items():
        ET.SubElement(e, name).text = " ".join(f"{v:.17g}" for v in np.atleast_1d(np.asarray(x, float)))
