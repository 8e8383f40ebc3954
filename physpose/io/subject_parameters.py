"""What a .c3d file's PROCESSING group tells of the subject, as Vicon's software writes it: kg, mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GROUP = "PROCESSING"
MASS, HEIGHT, DIAMETER = "Bodymass", "Height", "MarkerDiameter"
WIDTHS = {"RKneeWidth": "knee_r", "LKneeWidth": "knee_l", "RAnkleWidth": "ankle_r", "LAnkleWidth": "ankle_l"}
HEIGHT_UNITS = ((300.0, 1e-3), (3.0, 1e-2), (0.0, 1.0))  # above so much: mm, cm, m


@dataclass(frozen=True, kw_only=True)
class SubjectParameters:
    """What was measured on the subject; what the file does not tell is None or missing."""

    mass: float | None = None  # [kg]
    height: float | None = None  # [m]
    widths: Mapping[str, float] = field(default_factory=dict)  # [m] of "knee_r", "ankle_l", ...; "marker": a diameter


def subject_parameters(parameters: Mapping[str, Mapping[str, Any]]) -> SubjectParameters:
    """The subject's mass, height and breadths.

    Args:
        parameters: of a file, group -> name -> value (``C3D.parameters``). Zero stands for "not measured".
    """
    group = parameters.get(GROUP, {})
    mm = {ours: _number(group, theirs) for theirs, ours in (*WIDTHS.items(), (DIAMETER, "marker"))}
    height = _number(group, HEIGHT)
    return SubjectParameters(
        mass=_number(group, MASS),
        height=None if height is None else height * next(unit for low, unit in HEIGHT_UNITS if height > low),
        widths={name: 1e-3 * x for name, x in mm.items() if x is not None},
    )


def _number(group: Mapping[str, Any], name: str) -> float | None:
    """A positive number, rounded to the single precision in which the file holds it; None without one."""
    value = group.get(name)
    if not isinstance(value, (int, float)) or not np.isfinite(value) or value <= 0:
        return None
    return round(float(value), 4)
