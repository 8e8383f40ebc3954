"""Every threshold of the plausibility check, with its unit and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf, isfinite, radians
from typing import Any

from physpose.errors import InputError, UnknownNameError

HICKS = "Hicks et al. 2015, J Biomech Eng 137:020905"
MOCAP = "drop jumps by optical motion capture at 100 Hz (Uhlrich et al. 2023, PLoS Comput Biol 19:e1011462) stay below"


@dataclass(frozen=True, kw_only=True)
class PlausibilitySettings:
    """Thresholds: a frame fails a measure whose value is larger; ``inf`` reports a measure without judging it.

    Raises:
        InputError: a number that is negative or not a number.
    """

    # anatomy
    joint_limit: float = radians(
        5.0
    )  # [rad] beyond the range: marker motion capture errs so much (McGinley et al. 2009)
    slide_limit: float = 0.005  # [m] the same for slides; judgement
    bone_length: float = 0.05  # of the bone's median length; judgement
    side_difference: float = 0.05  # of the mean of both sides; legs differ by 5 +- 4 mm, 1 % (Knutson 2005)
    motion_symmetry: float = inf  # difference of the ranges of motion over their mean; one-sided motion is possible

    # the floor
    skate_speed: float = 0.35  # [m/s] horizontal, of a point in contact: twice what mocap feet reach; judgement
    penetration: float = 0.03  # [m] depth; HuMoR's first threshold above zero (Rempe et al. 2021)
    floating: float = 0.05  # [m] lowest point over the floor while the motion needs support; judgement
    needs_support: float = 0.3  # body weights of upward force: less is near free fall

    # smoothness
    jitter: float = 2000.0  # [m/s^3] third difference, mean over points and over ``smoothness_window``
    acceleration: float = 50.0  # [m/s^2] second difference, the same
    smoothness_window: float = 0.5  # [s]

    # forces
    residual_force: float = 0.05  # of the peak external force (Hicks et al. 2015)
    residual_moment: float = 0.01  # of peak external force times height of the centre of mass (Hicks et al. 2015)
    friction: float = 1.0  # coefficient: rubber on dry rough floor; judgement
    pull: float = 0.05  # body weights: a floor does not hold feet down; as much as the root's residual may be
    support_distance: float = 0.03  # [m] of the zero-moment point outside the contact points: soles reach further; the
    # moment of an estimated force that acts so much further out is no residual either
    least_force: float = 0.1  # body weights: forces smaller than that have no meaningful direction

    # the person's capacity
    strength_band: float = 2.5  # times the mean of isometric tests: stretch, elite and tests' own limits; wide
    power: float = (
        40.0  # [W/kg] generated at one joint; sprinters' hips and ankles reach about 30 (Schache et al. 2011)
    )
    strength: Mapping[str, tuple[float, float]] = field(
        default_factory=dict
    )  # coordinate -> N.m (-, +), over the table

    # in MuJoCo
    help_force: float = 0.10  # body weights (RMS) a hand at the pelvis gives; judgement
    help_moment: float = 0.05  # body weights times stature (RMS); judgement

    # the clip: a limit is taken as two standard deviations of what sound recordings show. Of normal errors 5 % lie
    # beyond two, and nothing (0.006 %) beyond four
    tolerated_share: float = 0.05  # of the judged frames may fail a measure before the clip fails it
    gross: float = 2.0  # times the limit: one frame beyond fails the clip

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "strength" and not (value >= 0 and (isfinite(value) or value == inf)):
                raise InputError(f"{f.name} {value!r}; a number of zero or more is needed (inf: report, do not judge)")
        for name, pair in self.strength.items():
            if len(pair) != 2 or not (pair[0] < 0 < pair[1]):
                raise InputError(f"strength of {name} {pair!r}; (negative, positive) [N.m] needed, as (-80.0, 200.0)")


def settings_of(texts: Mapping[str, str]) -> PlausibilitySettings:
    """Thresholds by their names, as text: {"friction": "0.6"}.

    Raises:
        InputError: no number, or one that makes no sense; UnknownNameError: no such threshold, those that exist.
    """
    known = [f.name for f in fields(PlausibilitySettings) if f.name != "strength"]
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in known:
            raise UnknownNameError("setting", name, known)
        try:
            values[name] = float(text)
        except ValueError:
            raise InputError(f"setting {name}={text!r}: a number is needed") from None
    return PlausibilitySettings(**values)


SOURCES = {
    "joint limits": "the skeleton's ranges, widened by the error of motion capture (McGinley et al. 2009)",
    "slide limits": "the skeleton's ranges; the tolerance is judgement",
    "bone lengths": "bones are rigid; the tolerance is judgement",
    "left-right lengths": "leg lengths differ by 5 +- 4 mm (Knutson 2005, Chiropr Osteopat 13:11), widened",
    "left-right motion": "symmetry index of Robinson et al. 1987; reported, not judged, unless a threshold is set",
    "foot skate": "judgement; feet of motion capture slip by about 0.1 m/s",
    "penetration": "second of the thresholds of HuMoR (Rempe et al. 2021): 0, 3, 6, 9, 12, 15 cm",
    "float": "judgement",
    "jitter": f"{MOCAP} it",
    "acceleration": f"{MOCAP} it",
    "root residual force": f"5 % of the peak external force: {HICKS}",
    "root residual moment": f"1 % of peak external force times height of the centre of mass: {HICKS}",
    "friction": "coefficient of rubber on a dry rough floor",
    "pull of the floor": "contact is unilateral",
    "balance": "zero-moment point inside the support polygon (Vukobratovic & Borovac 2004), widened to the sole's edge",
    "joint torque": "isometric strength by age and sex (Anderson et al. 2007; trunk, arms: a gymnast's) times a band",
    "joint power": "above the largest joint powers of sprinting (Schache et al. 2011, Med Sci Sports Exerc 43:1260)",
    "help in MuJoCo, force": "judgement",
    "help in MuJoCo, moment": "judgement",
}
