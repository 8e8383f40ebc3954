"""Who the subject is: what is given, what is filled in and from where, what cannot be."""

from __future__ import annotations

from math import erf, isfinite, sqrt
from typing import Any, cast

import numpy as np

from physpose.errors import SubjectError
from physpose.skeleton.files import SHIPPED, Sex, read_shipped
from physpose.skeleton.growth import INFANT, age_of_height, bmi_z, distribution, median_mass
from physpose.skeleton.model import Subject
from physpose.types import Assumption

ADULT_AGE = 30.0  # [years] of an adult of unknown age: the mean age of the survey of adults
WARN_Z = 2.5
REFUSE_Z = (-6.0, 6.0)  # the WHO's flags of implausible heights of children
REFUSE_Z_ADULT = (-6.0, 8.0)  # the tallest people are tall with a nearly common shape
REFUSE_MASS = (0.4, 3.0)  # mass over the median at that age, sex and height
NO_HEIGHT = "height was not given"
SEX_NAMES = {"f": "female", "m": "male", "x": "mean of both sexes"}


def complete_subject(
    data: dict[str, Any],
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
) -> tuple[Subject, tuple[Assumption, ...], tuple[str, ...]]:
    """The subject with all four known, one assumption for each, and warnings.

    ``data``: contents of a skeleton file. Raises ``SubjectError`` for what no person has or what contradicts itself.
    """
    given_sex = check_sex(sex)
    check_numbers(age, height, mass)
    body = given_sex or "x"
    years, age_source = _age(data, age, body, height)
    metres, height_source = _height(years, body, height)
    kilograms, mass_source = _mass(years, body, metres, mass)
    assumptions = (
        Assumption(what="age", value=f"{years:.1f} years", source=age_source),
        Assumption(what="sex", value=SEX_NAMES[body], source="given" if given_sex else "not given"),
        Assumption(what="height", value=f"{metres:.3f} m", source=height_source),
        Assumption(what="mass", value=f"{kilograms:.1f} kg", source=mass_source),
    )
    warnings = _warnings(years, body, metres, kilograms, height is not None, mass is not None)
    return Subject(age=years, sex=body, height=metres, mass=kilograms), assumptions, warnings


def check_sex(sex: str | None) -> Sex | None:
    """The sex as given, "Female" as "f". Raises ``SubjectError`` for a word that is none."""
    if sex is None:
        return None
    word = str(sex).strip().lower()
    short = {name: letter for letter, name in SEX_NAMES.items()}.get(word, word)
    if short not in SEX_NAMES:
        raise SubjectError(f"sex {sex!r}; possible: 'f' or 'female', 'm' or 'male', 'x' (mean of both)")
    return cast("Sex", short)


def check_numbers(age: float | None, height: float | None, mass: float | None) -> None:
    """Raise ``SubjectError`` for an age [years], height [m] or mass [kg] that no person has, or in other units."""
    for name, value, unit in (("age", age, "years"), ("height", height, "m"), ("mass", mass, "kg")):
        if value is None:
            continue
        if not _is_number(value):
            raise SubjectError(f"{name} {value!r} is not a number [{unit}]")
        if value < 0 or (value == 0 and name != "age"):
            raise SubjectError(f"{name} {value:g} {unit} must {'not be negative' if name == 'age' else 'be positive'}")
    if age is not None and age > 120:
        raise SubjectError(f"age {age:g} years: no person is older than 120; give years")
    if height is not None and height > 3:
        hint = f"in cm? give metres: height={height / 100:.2f}" if 30 <= height <= 260 else "give metres"
        raise SubjectError(f"height {height:g} m: no person is taller than 3 m ({hint})")
    if mass is not None and mass > 650:
        raise SubjectError(f"mass {mass:g} kg: no person is heavier than 650 kg; give kilograms")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and isfinite(value)


def _age(data: dict[str, Any], age: float | None, sex: Sex, height: float | None) -> tuple[float, str]:
    low, high = data["ages"]["value"]
    if age is not None:
        if not low <= age <= high:
            span = f"{low:g} to {high:g} years"
            raise SubjectError(f"age {age:g} is outside skeleton {data['name']!r} ({span}){_better(age)}")
        return float(age), "given"
    if low >= 18:
        return ADULT_AGE, f"not given; sizes and masses of adults hardly depend on it ({low:g} to {high:g} years)"
    if height is None:
        raise SubjectError(f"skeleton {data['name']!r} needs age= [years], or height= [m] to guess it from")
    guess = age_of_height(height, sex, (low, high))
    if guess is None:
        raise SubjectError(f"height {height:g} m is the median of no age in skeleton {data['name']!r}: give age=")
    source = distribution("height", guess, sex).source
    return guess, f"not given; the age whose median height is {height:g} m ({source}, {SEX_NAMES[sex]})"


def _better(age: float) -> str:
    for name in SHIPPED:
        low, high = read_shipped(name)["ages"]["value"]
        if low <= age <= high:
            return f"; use skeleton={name!r}"
    return ""


def _height(age: float, sex: Sex, height: float | None) -> tuple[float, str]:
    d = distribution("height", age, sex)
    if height is None:
        return d.M, f"not given; median at {age:.1f} years, {SEX_NAMES[sex]} ({d.source})"
    low, high = REFUSE_Z if age < 20 else REFUSE_Z_ADULT
    z = d.z(height)
    if not low <= z <= high:
        other = "; for a child use skeleton='child' and age=" if age >= 18 and z < 0 else ""
        raise SubjectError(
            f"height {height:g} m is {abs(z):.0f} standard deviations {'below' if z < 0 else 'above'} the median "
            f"{d.M:.2f} m at {age:.1f} years{other} ({d.source})"
        )
    return float(height), f"given; {_ordinal(z)} at {age:.1f} years ({d.source})"


def _mass(age: float, sex: Sex, height: float, mass: float | None) -> tuple[float, str]:
    median, source = median_mass(age, sex, height)
    if mass is None:
        return median, f"not given; {source}, {SEX_NAMES[sex]}"
    ratio = mass / median
    if not REFUSE_MASS[0] <= ratio <= REFUSE_MASS[1]:
        low, high = (r * median for r in REFUSE_MASS)
        raise SubjectError(
            f"mass {mass:g} kg at {height:g} m and {age:.1f} years: body mass index {mass / height**2:.1f} kg/m^2, "
            f"{ratio:.1f} times the median; possible here: {low:.1f} to {high:.1f} kg"
        )
    measure = "weight" if age < INFANT else "body mass index"
    return float(mass), f"given; {_ordinal(bmi_z(age, sex, height, mass))} of {measure} at {age:.1f} years"


def _warnings(
    age: float, sex: Sex, height: float, mass: float, height_given: bool, mass_given: bool
) -> tuple[str, ...]:
    out = []
    d = distribution("height", age, sex)
    z, z_mass = d.z(height), bmi_z(age, sex, height, mass)
    if abs(z) > WARN_Z:
        out.append(f"height {height:.2f} m is unusual at {age:.1f} years: {_ordinal(z)} (z = {z:+.1f})")
    if mass_given and abs(z_mass) > WARN_Z:
        out.append(f"mass {mass:.1f} kg is unusual at {height:.2f} m: {_ordinal(z_mass)} (z = {z_mass:+.1f})")
    if not height_given:
        out.append(f"{NO_HEIGHT}: all lengths scale with the {height:.2f} m taken")
    if not mass_given:
        out.append(f"mass was not given: forces, torques, momentum and energy scale with the {mass:.1f} kg taken")
    return tuple(out)


def _ordinal(z: float) -> str:
    """The percentile of a normal deviate in words; in the tails beyond 0.1 and 99.9 only their bound."""
    p = 50 * (1 + erf(z / sqrt(2)))
    if not 0.1 <= p <= 99.9:
        return "below percentile 0.1" if p < 50 else "above percentile 99.9"
    return f"percentile {p:.1f}" if p < 1 or p > 99 else f"percentile {p:.0f}"
