"""All measures of one recording."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from physpose.errors import InputError
from physpose.plausibility import kinematic, kinetic
from physpose.plausibility.finding import Measure, Plausibility
from physpose.plausibility.recording import Recording
from physpose.plausibility.settings import PlausibilitySettings

MEASURES: dict[str, Callable[[Recording, PlausibilitySettings], Measure | str]] = {
    "joint limits": kinematic.joint_limits,
    "slide limits": kinematic.slide_limits,
    "bone lengths": kinematic.bone_lengths,
    "left-right lengths": kinematic.side_lengths,
    "left-right motion": kinematic.side_motion,
    "foot skate": kinematic.skate,
    "penetration": kinematic.penetration,
    "float": kinematic.floating,
    "jitter": kinematic.jitter,
    "acceleration": kinematic.acceleration,
    "root residual force": kinetic.residual_force,
    "root residual moment": kinetic.residual_moment,
    "friction": kinetic.friction,
    "pull of the floor": kinetic.pull,
    "balance": kinetic.balance,
    "joint torque": kinetic.joint_torque,
    "joint power": kinetic.joint_power,
}


def assess(recording: Recording, settings: PlausibilitySettings | None = None) -> Plausibility:
    """Judge a recording by every measure that applies to it; the others are listed with the reason."""
    settings = settings or PlausibilitySettings()
    if not isinstance(settings, PlausibilitySettings):
        raise InputError(f"settings {settings!r}; physpose.PlausibilitySettings(friction=0.6, ...) needed")
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN marks what was not seen
        found = {name: measure(recording, settings) for name, measure in MEASURES.items()}
    return Plausibility(
        time=recording.time,
        measures=tuple(m for m in found.values() if isinstance(m, Measure)),
        not_judged={name: why for name, why in found.items() if isinstance(why, str)},
        source=recording.source,
        settings=settings,
        skeleton=recording.skeleton.name if recording.skeleton else "",
    )
