"""Soft limits of the coordinates by age and sex."""

from __future__ import annotations

from typing import Any

import numpy as np

from physpose.skeleton.files import at_age
from physpose.skeleton.model import Subject


def soft_limits(data: dict[str, Any], name: str, subject: Subject) -> tuple[float, float]:
    """Limits [rad] of a coordinate: the mean end of the motion each way, widened by ``margin`` standard deviations."""
    c = data["coordinates"][name]
    zero = float(c.get("zero", 0.0))
    low, high = (zero + _limit(data, c[end], subject) for end in ("low", "high"))
    return float(np.deg2rad(max(low, -180.0))), float(np.deg2rad(min(high, 180.0)))


def limit_source(data: dict[str, Any], name: str) -> str:
    """Where the limits come from, both ends."""
    c = data["coordinates"][name]
    ends = [str(c[end]).lstrip("-") for end in ("low", "high")]
    sources = [data["motions"][e]["source"] if e in data["motions"] else c["source"] for e in ends]
    return " / ".join(dict.fromkeys(sources))


def _limit(data: dict[str, Any], spec: str | float, subject: Subject) -> float:
    if not isinstance(spec, str):
        return float(spec)
    motion, sign = data["motions"][spec.lstrip("-")], -1 if spec.startswith("-") else 1
    mean = float(at_age(motion["mean"], subject.age, subject.sex))
    return sign * (mean + float(data["margin"]["value"]) * float(motion["sd"]))
