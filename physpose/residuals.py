"""What motion and measured forces leave unexplained at the root, against limits, in words.

With exact motion, masses and forces it is zero. Hicks et al. 2015 (J Biomech Eng 137:020905) ask that peak residual
forces stay under 5 % of the peak external force, and residual moments under 1 % of that force times the height of the
centre of mass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.caveats import STANDARD_GRAVITY
from physpose.estimation.plates import PlateSettings
from physpose.plausibility.settings import PlausibilitySettings
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Assumption, Motion

MASS_LIMIT = 0.05  # force plates agree with a scale to some per cent


@dataclass(frozen=True, kw_only=True)
class ResidualReport:
    """The residual of one motion."""

    valid: NDArray[np.bool_]  # (T,) the contacts' own, less the frames in which a force was missing
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    details: dict[str, Any]  # peaks and root mean squares, as shares; the limits


def residual_report(
    motion: Motion,
    skeleton: Skeleton,
    gravity: Array,
    limits: PlausibilitySettings,
    settings: PlateSettings | None = None,
) -> ResidualReport:
    """The root's residual over the valid frames, as shares of the peak measured force (and the CoM's height)."""
    assert motion.contacts.valid is not None
    if skeleton.bodies[0].joint.kind != "free":
        return ResidualReport(valid=motion.contacts.valid, assumptions=(), warnings=(), details={})
    weight = skeleton.mass * (float(np.linalg.norm(gravity)) or STANDARD_GRAVITY)
    unmeasured = _unmeasured(motion, (settings or PlateSettings()).unmeasured * weight)
    valid = motion.contacts.valid & ~unmeasured
    warnings = _missing_force(motion.time, unmeasured)
    peak = float(np.linalg.norm(motion.contacts.force.sum(1), axis=1).max(initial=0.0))
    if not valid.any() or peak == 0:
        return ResidualReport(valid=valid, assumptions=(), warnings=(*warnings, NOTHING_VALID), details={})
    height = float(np.mean(motion.com[valid, 2] - _floor(motion, valid)))
    force, moment = (np.linalg.norm(motion.tau[valid, i : i + 3], axis=1) for i in (0, 3))
    shares = {"force": force / peak, "moment": moment / (peak * height)}
    details = {
        "residual": {
            **{f"peak {n}": float(x.max()) for n, x in shares.items()},
            **{f"rms {n}": float(np.sqrt(np.mean(x**2))) for n, x in shares.items()},
            "limit force": limits.residual_force, "limit moment": limits.residual_moment,
            "valid frames": int(valid.sum()),
            "peak measured force [N]": peak, "height of the centre of mass [m]": height,
        }
    }  # fmt: skip
    return ResidualReport(
        valid=valid,
        assumptions=(_line(shares, valid),),
        warnings=(*warnings, *_above(shares, limits), *_other_mass(motion, skeleton.mass, valid)),
        details=details,
    )


def unsupported_report(
    motion: Motion, skeleton: Skeleton, gravity: Array, settings: PlateSettings | None = None
) -> ResidualReport:
    """Of a motion that was given no forces: the frames in which something must have carried the body."""
    everywhere = ResidualReport(valid=np.ones(len(motion.time), bool), assumptions=(), warnings=(), details={})
    if skeleton.bodies[0].joint.kind != "free":
        return everywhere
    weight = skeleton.mass * (float(np.linalg.norm(gravity)) or STANDARD_GRAVITY)
    carried = _unmeasured(motion, (settings or PlateSettings()).unmeasured * weight)
    if not carried.any():
        return everywhere
    doubt = (
        f"no forces were given, but in {int(carried.sum())} of {len(carried)} frames something carries the body: what "
        "it does is at the root, and the torques of the limbs that it touches lack it; give the forces"
    )
    return ResidualReport(valid=~carried, assumptions=(), warnings=(doubt,), details={})


LIMITS_ARE = (
    "these limits are those of a simulation after residual reduction (Hicks et al. 2015); where it is much more than "
    "in like trials, check the mass, the forces' timing and place, and the trunk's posture"
)
NOTHING_VALID = "in no frame were all contacts measured: torques below the trunk are not to be trusted"


def _line(shares: dict[str, Array], valid: NDArray[np.bool_]) -> Assumption:
    def percent(x: Array) -> str:
        return f"{100 * x.max():.1f} % peak, {100 * np.sqrt(np.mean(x**2)):.1f} % RMS"

    return Assumption(
        what="residual at the root",
        value=f"force {percent(shares['force'])} of the peak measured force; "
        f"moment {percent(shares['moment'])} of that "
        "times the height of the centre of mass",
        source=f"what the measured forces leave unexplained in {int(valid.sum())} of {len(valid)} frames; 0 if motion, "
        "masses and forces were exact",
    )


def _above(shares: dict[str, Array], limits: PlausibilitySettings) -> tuple[str, ...]:
    """One sentence for what lies above its limit: the limits are meant for what residual reduction leaves."""
    of = {
        "force": (limits.residual_force, "of the peak measured force"),
        "moment": (limits.residual_moment, "of the peak measured force times the height of the centre of mass"),
    }
    told = [
        f"the residual {name} at the root reaches {100 * shares[name].max():.1f} % {what} and is above {100 * limit:g} "
        f"% in {100 * np.mean(shares[name] > limit):.0f} % of the valid frames"
        for name, (limit, what) in of.items()
        if shares[name].max() > limit
    ]
    if not told:
        return ()
    return (f"measured forces do not go with the motion: {', '.join(told)}; {LIMITS_ARE}",)


def _other_mass(motion: Motion, mass: float, valid: NDArray[np.bool_]) -> tuple[str, ...]:
    """What the forces weigh, by the motion's own accelerations, where that is not the body's mass."""
    measured = motion.contacts.force[valid].sum(1)[:, 2]
    needed = measured + np.einsum("tj,tj->t", motion.rotations[valid, 0, 2], motion.tau[valid, :3])
    found = mass * float(measured @ needed / (needed @ needed))
    if abs(found / mass - 1) < MASS_LIMIT:
        return ()
    return (f"the measured forces are those of {found:.1f} kg, the body has {mass:.1f} kg: is that the mass?",)


def _unmeasured(motion: Motion, limit: float) -> NDArray[np.bool_]:
    """(T,) is more than ``limit`` [N] of upward force needed beyond what was measured."""
    upward = np.einsum("tj,tj->t", motion.rotations[:, 0, 2], motion.tau[:, :3])  # root force, world z
    return np.asarray(upward > limit)


def _missing_force(time: Array, frames: NDArray[np.bool_]) -> tuple[str, ...]:
    if not frames.any():
        return ()
    t = time[frames]
    return (
        f"in {int(frames.sum())} of {len(time)} frames ({t[0]:.2f} to {t[-1]:.2f} s) the body needs more support "
        "than was "
        "measured: something that is no plate was touched, or the forces do not belong to this motion; "
        "these frames are "
        "not valid",
    )


def _floor(motion: Motion, valid: NDArray[np.bool_]) -> float:
    """Height [m] at which the measured forces act."""
    contacts = motion.contacts
    assert contacts.positions is not None
    on = contacts.active & valid[:, None]
    return float(np.median(contacts.positions[..., 2][on])) if on.any() else 0.0
