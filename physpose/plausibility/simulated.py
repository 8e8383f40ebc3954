"""Measures by simulation: the help that a motion needs in MuJoCo to stay upright."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physpose.dynamics.mujoco_upright import Upright, upright_check
from physpose.errors import InputError
from physpose.plausibility.finding import Measure, Plausibility, judged
from physpose.plausibility.recording import Recording
from physpose.plausibility.settings import SOURCES, PlausibilitySettings
from physpose.types import Array

FORCE, MOMENT = "help in MuJoCo, force", "help in MuJoCo, moment"
WINDOW = 0.5  # [s] over which the help is averaged (RMS): impacts are not what is asked


def with_mujoco(found: Plausibility, r: Recording, settings: PlausibilitySettings | None = None) -> Plausibility:
    """The same with the help that MuJoCo finds, CoM distance and pose stability duration in its details."""
    s = settings or PlausibilitySettings()
    try:
        measures = _measures(r, s, _upright(r))
    except InputError as error:
        return replace(found, not_judged=found.not_judged | dict.fromkeys((FORCE, MOMENT), str(error)))
    good = tuple(m for m in measures.values() if isinstance(m, Measure))
    bad = {name: m for name, m in measures.items() if isinstance(m, str)}
    return replace(found, measures=(*found.measures, *good), not_judged=found.not_judged | bad)


def _upright(r: Recording) -> Upright:
    if r.motion is None or r.skeleton is None:
        raise InputError("it needs a skeleton's motion")
    if r.floor is None:
        raise InputError("there is no floor to stand on")
    m = r.motion
    return upright_check(
        r.skeleton, m.time, m.q, m.v, m.a, m.tau, gravity=r.gravity, floor=r.floor, external=r.beside_floor
    )


def _measures(r: Recording, s: PlausibilitySettings, u: Upright) -> dict[str, Measure | str]:
    details = {
        "CoM distance, mean [cm]": 100 * float(u.com_distance.mean()),
        "pose stability duration, mean [s]": u.stability_duration,
        "times fallen": float(u.fallen.sum()),
    }
    weight = r.weight
    rows = {
        FORCE: (u.help_force / weight, s.help_force, "% BW", "force of {value}", details),
        MOMENT: (
            u.help_moment / (weight * r.stature), s.help_moment, "% BW x height", "moment of {value}", {},
        ),
    }  # fmt: skip
    return {
        name: judged(
            name, time=r.time, values=100 * windowed_rms(x, r.time, WINDOW), subjects=("the motion",), unit=unit,
            threshold=100 * threshold, source=SOURCES[name], phrase=f"needs a helping {what} (RMS) to stay upright",
            settings=s, details=more, note=f"RMS over {WINDOW:g} s; BW: body weight",
        )
        for name, (x, threshold, unit, what, more) in rows.items()
    }  # fmt: skip


def windowed_rms(x: Array, time: Array, window: float) -> Array:
    """Root mean square (T,) of x (T,) over the ``window`` [s] around each frame."""
    from physpose.plausibility.kinematic import windowed_mean

    return np.sqrt(windowed_mean(x**2, time, time, window))
