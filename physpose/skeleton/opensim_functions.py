"""Functions of an OpenSim file (<SimmSpline>, <LinearFunction>, ...) as piecewise polynomials."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

import numpy as np

from physpose.errors import InputError
from physpose.skeleton import polynomials
from physpose.skeleton.opensim_xml import numbers_of
from physpose.skeleton.polynomials import PiecewisePolynomial
from physpose.types import Array


def read_function(e: ET.Element) -> PiecewisePolynomial:
    """The function in an element. Raises ``InputError`` for one that is no piecewise polynomial, naming those that are."""
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
