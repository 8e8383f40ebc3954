"""Sizes, masses and inertias of the segments by age, sex, height and mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from physpose.skeleton.files import Sex, at_age, body_at_another_age, read_shipped
from physpose.skeleton.model import Subject
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """What does not depend on a person's height and mass."""

    lengths: dict[str, float]  # dimension -> fraction of body height
    masses: dict[str, float]  # body, right or middle -> fraction of body mass


def proportions(data: dict[str, Any], age: float, sex: Sex) -> Proportions:
    """Proportions at ``age`` [years]: the file's own, turning smoothly into those of the next older skeleton's.

    The weight of the older is 3 t^2 - 2 t^3, t from 0 to 1 over the ages of the file's ``older`` entry.
    """
    data = for_age(data, age)
    own = _own_proportions(data, age, sex)
    older = data.get("older")
    if older is None or age <= older["from"]:
        return own
    t = min((age - older["from"]) / (older["to"] - older["from"]), 1.0)
    other, w = _own_proportions(body_at_another_age(data, older["use"]), age, sex), t * t * (3 - 2 * t)
    return Proportions(lengths=_mixed(own.lengths, other.lengths, w), masses=_mixed(own.masses, other.masses, w))


def for_age(data: dict[str, Any], age: float) -> dict[str, Any]:
    """The file to use at ``age``: a younger body's where the file says so, with what the file changes."""
    younger = data.get("younger")
    if not younger or age >= younger["below"]:
        return data
    return for_age(body_at_another_age(data, younger["use"]), age)


def n_sides(name: str) -> int:
    """2 for what has a left mirror image, else 1."""
    return 2 if name.endswith("_r") else 1


def _own_proportions(data: dict[str, Any], age: float, sex: Sex) -> Proportions:
    lengths = {n: float(at_age(d, age, sex)) for n, d in data["dimensions"].items()}
    segments = {n: float(at_age(d, age, sex)) for n, d in data["masses"].items()}
    masses = {b: segments[s["segment"]] * float(at_age(s["share"], age, sex)) for b, s in data["segments"].items()}
    total = sum(m * n_sides(b) for b, m in masses.items())
    return Proportions(lengths=lengths, masses={b: m / total for b, m in masses.items()})


def _mixed(a: dict[str, float], b: dict[str, float], w: float) -> dict[str, float]:
    return {n: (1 - w) * a[n] + w * b[n] for n in a}


def segment_inertia(data: dict[str, Any], body: str, subject: Subject, mass: float, length: float) -> Array:
    """Inertia (3, 3) [kg.m^2] about the centre of mass, body axes, of a segment of ``mass`` [kg], ``length`` [m].

    With s_i^2 the second mass moment along axis i over mass and length^2, k_x^2 = s_y^2 + s_z^2 and so on. The tables'
    k hold for a reference body; s^2 along the segment is kept, s^2 across it grows with mass / length^3, as in a
    segment of the same density that is thicker.
    """
    entry = data["inertia"][body]
    along = "xyz".index(entry["along"])
    k2 = at_age(entry["gyration"], subject.age, subject.sex) ** 2
    s2 = 0.5 * k2.sum() - k2
    across = np.arange(3) != along
    s2[across] *= (mass / length**3) / _reference_density(data, body, entry["length"], subject.sex)
    return mass * length**2 * np.diag(s2.sum() - s2)


def _reference_density(data: dict[str, Any], body: str, dimension: str, sex: Sex) -> float:
    """Mass / length^3 [kg/m^3] of the segment in the body that the radii of gyration were measured on."""
    reference = data["reference"]
    own = _own_proportions(read_shipped(reference["use"]), 30.0, sex)
    height, mass = (float(at_age(reference[k], 30.0, sex)) for k in ("height", "mass"))
    return own.masses[body] * mass / (own.lengths[dimension] * height) ** 3
