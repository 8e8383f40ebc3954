"""Height and mass that people have at an age: growth tables of children, surveys of adults.

Below 2 years: length lying and weight; from 2 to 20: stature and body mass index (CDC 2000); from 30 on a survey of
adults, in between a smooth change from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any, Literal

import numpy as np

from physpose.skeleton.files import Sex, at_age, read_shipped

Quantity = Literal["height", "bmi", "weight"]
INFANT, GROWN, SURVEYED = 2.0, 20.0, 30.0  # [years] ends of the tables, mean age of the survey


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A quantity's distribution at one age: z = ((x / M)^L - 1) / (L S) (Cole 1990)."""

    L: float
    M: float  # median [m; kg; kg/m^2]
    S: float
    source: str

    def z(self, x: float) -> float:
        """Standard deviations from the median."""
        return log(x / self.M) / self.S if abs(self.L) < 1e-6 else ((x / self.M) ** self.L - 1) / (self.L * self.S)

    def at(self, z: float) -> float:
        """The value ``z`` standard deviations from the median."""
        return self.M * (exp(self.S * z) if abs(self.L) < 1e-6 else (1 + self.L * self.S * z) ** (1 / self.L))


def distribution(quantity: Quantity, age: float, sex: Sex) -> Distribution:
    """Distribution of height [m] or body mass index [kg/m^2] at ``age`` [years]; "weight" [kg] below 2 years only."""
    if age < INFANT:
        return _tabulated("length" if quantity == "height" else "weight", age, sex)
    young = _tabulated("stature" if quantity == "height" else "bmi", min(age, GROWN), sex)
    if age <= GROWN:
        return young
    t = min((age - GROWN) / (SURVEYED - GROWN), 1.0)
    w, population = t * t * (3 - 2 * t), read_shipped("adult")["population"]
    entry = population["height" if quantity == "height" else "bmi"]
    old = float(at_age(entry, age, sex))
    spread = young.S if quantity == "height" else (1 - w) * young.S + w * float(population["bmi_spread"]["value"])
    source = f"{_source(entry['source'])}; growth tables at 20 y" if t < 1 else _source(entry["source"])
    return Distribution(L=(1 - w) * young.L, M=(1 - w) * young.M + w * old, S=spread, source=source)


def _tabulated(name: str, age: float, sex: Sex) -> Distribution:
    table: dict[str, Any] = read_shipped("growth")[name]

    def at(letter: str) -> float:
        return float(at_age({"age": table["age"], "f": table["f"][letter], "m": table["m"][letter]}, age, sex))

    return Distribution(L=at("L"), M=at("M"), S=at("S"), source="CDC growth charts 2000")


def _source(key: str) -> str:
    return {"ansur2": "ANSUR II survey (US Army, 2012)"}.get(key.split(":")[0], key)


def median_mass(age: float, sex: Sex, height: float) -> tuple[float, str]:
    """Median mass [kg] at ``height`` [m], and its source: of the body mass index, which below 2 years is made from the
    medians of weight and length."""
    if age < INFANT:
        weight, length = distribution("weight", age, sex), distribution("height", age, sex)
        return weight.M * (height / length.M) ** 2, f"{weight.source}, median weight for age, times (height / median)^2"
    bmi = distribution("bmi", age, sex)
    return bmi.M * height**2, f"{bmi.source}, median body mass index {bmi.M:.1f} kg/m^2"


def age_of_height(height: float, sex: Sex, ages: tuple[float, float]) -> float | None:
    """The age [years] whose median height is ``height`` [m]; None where no age in ``ages`` has it."""
    grid = np.arange(ages[0], ages[1] + 1e-9, 0.05)
    median = np.array([distribution("height", float(a), sex).M for a in grid])
    grown = int(np.argmax(median))
    if not median[0] <= height <= median[grown]:
        return None
    return float(np.interp(height, median[: grown + 1], grid[: grown + 1]))


def bmi_z(age: float, sex: Sex, height: float, mass: float) -> float:
    """Standard deviations of the body mass index from the median (below 2 years: of the weight)."""
    if age < INFANT:
        return distribution("weight", age, sex).z(mass)
    return distribution("bmi", age, sex).z(mass / height**2)
