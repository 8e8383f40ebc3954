"""Force plates of types 1 to 4 (C3D format user guide, "FORCE_PLATFORM"): channels in, forces on the body out.

A plate measures in its own axes, z into the ground; the corners place it. Corner 1 lies at +x +y of the surface's
centre, 2 at -x +y, 3 at -x -y, 4 at +x -y. Everything leaves here in SI, in the axes in which the corners were given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError
from physpose.types import Array, Wrench

MIN_FORCE = 10.0  # [N] vertical: with less, the centre of pressure is noise over noise
HEAVIEST = 20e3  # [N] more than any person does to one plate
CHANNELS = {1: 6, 2: 6, 3: 8, 4: 6}  # of each type
NEAR = 0.2  # [m] a centre of pressure so far off the plate still is the noise of light contact
MISPLACED = 0.5  # share of loaded samples


@dataclass(frozen=True, kw_only=True)
class ForcePlate:
    """What one force plate measured: SI, world z up, forces on the body."""

    name: str  # "plate 1", ...
    type: int  # 1 to 4
    time: Array  # (N,) [s]
    force: Array  # (N, 3) [N]
    moment: Array  # (N, 3) [N.m], about ``origin``
    origin: Array  # (3,) [m], centre of the surface
    corners: Array  # (4, 3) [m]

    @property
    def normal(self) -> Array:
        """Unit vector (3,) out of the surface, upwards."""
        n = np.cross(self.corners[2] - self.corners[0], self.corners[3] - self.corners[1])
        n = n / np.linalg.norm(n)
        return n if n[2] >= 0 else -n

    def loaded(self, min_force: float = MIN_FORCE) -> NDArray[np.bool_]:
        """(N,) bool: is the force into the plate more than ``min_force`` [N]."""
        return self.force @ self.normal > min_force

    def cop(self, min_force: float = MIN_FORCE) -> Array:
        """Centre of pressure (N, 3) [m] on the surface; NaN where not ``loaded(min_force)``."""
        # moment = r x force + t n with r in the surface: n x moment = r (n . force)
        n, on = self.normal, self.loaded(min_force)
        r = np.full_like(self.force, np.nan)
        r[on] = np.cross(n, self.moment[on]) / (self.force[on] @ n)[:, None]
        return self.origin + r

    def free_moment(self, min_force: float = MIN_FORCE) -> Array:
        """Moment (N, 3) [N.m] about the centre of pressure, along the normal; zero where not loaded."""
        rest = self.moment - np.cross(self.cop(min_force) - self.origin, self.force)
        along = (rest @ self.normal)[:, None] * self.normal
        return np.where(self.loaded(min_force)[:, None], along, 0.0)

    def wrench(self, min_force: float = MIN_FORCE) -> Wrench:
        """The same as a ``Wrench``: no force where not loaded."""
        return Wrench(
            name=self.name,
            time=self.time,
            force=np.where(self.loaded(min_force)[:, None], self.force, 0.0),
            cop=self.cop(min_force),
            free_moment=self.free_moment(min_force),
            corners=self.corners,
        )

    def turned(self, R: Array) -> ForcePlate:
        """The same in other axes: x_new = R @ x."""
        return replace(
            self,
            force=self.force @ R.T,
            moment=self.moment @ R.T,
            origin=R @ self.origin,
            corners=self.corners @ R.T,
        )


def plate_wrench(
    kind: int, channels: Array, origin: Array, calibration: Array | None = None, *, name: str
) -> tuple[Array, Array]:
    """Force and moment (N, 3) about the centre of the surface, plate axes, of a plate's channels.

    Args:
        kind: type of the plate, 1 to 4.
        channels: (N, 6), or (N, 8) for type 3, SI.
        origin: (3,) [m]: from the plate's true origin to the centre of its surface, plate axes (type 3: sensor
            distances a, b and offset az0). Since z points into the ground, the third must be negative; many files hold
            the opposite vector, which is turned round.
        calibration: (6, 6) of type 4: readings = calibration @ channels, SI.
        name: of the plate, for messages.

    Raises:
        InputError: another type, or another number of channels.
    """
    if kind not in CHANNELS:
        raise InputError(f"{name} is of type {kind}; types 1 to 4 can be read: leave the plate out of the file")
    if channels.shape[1] != CHANNELS[kind]:
        raise InputError(f"{name} of type {kind} has {channels.shape[1]} channels, {CHANNELS[kind]} are needed")
    origin = np.array(origin, float)
    if kind == 3:
        return _piezoelectric(channels, np.array([*np.abs(origin[:2]), -abs(origin[2])]))
    if kind == 1:
        x, y = channels[:, 3], channels[:, 4]
        force, r = channels[:, :3], np.stack([x, y, np.zeros_like(x)], 1)
        return force, np.cross(r, force) + np.stack([0 * x, 0 * x, channels[:, 5]], 1)
    if kind == 4:
        if calibration is None or calibration.shape != (6, 6):
            raise InputError(f"{name} of type 4 needs a 6 x 6 calibration matrix, FORCE_PLATFORM:CAL_MATRIX")
        channels = channels @ calibration.T
    origin = -origin if origin[2] > 0 else origin
    force, moment = channels[:, :3], channels[:, 3:]
    # about the centre c of the surface: M_c = M_o - c x F
    return force, moment - np.cross(origin, force)


def _piezoelectric(c: Array, origin: Array) -> tuple[Array, Array]:
    """Type 3: fx12, fx34, fy14, fy23, fz1, fz2, fz3, fz4 at the corners (+-a, +-b), az0 below the surface."""
    fx12, fx34, fy14, fy23, fz1, fz2, fz3, fz4 = c.T
    a, b, az0 = origin
    force = np.stack([fx12 + fx34, fy14 + fy23, fz1 + fz2 + fz3 + fz4], 1)
    moment = np.stack(
        [b * (fz1 + fz2 - fz3 - fz4), a * (-fz1 + fz2 + fz3 - fz4), b * (-fx12 + fx34) + a * (fy14 - fy23)], 1
    )
    return force, moment - np.cross([0.0, 0.0, az0], force)


def plate_axes(corners: Array, name: str) -> Array:
    """R (3, 3) with x_lab = R @ x_plate, from the corners (4, 3).

    Raises:
        InputError: corners that span no rectangle.
    """
    x = corners[0] + corners[3] - corners[1] - corners[2]
    y = corners[0] + corners[1] - corners[2] - corners[3]
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if min(lengths) == 0 or not np.isfinite(corners).all():
        raise InputError(f"{name}: the four corners {np.round(corners, 3).tolist()} [m] span no surface")
    x, z = x / lengths[0], np.cross(x, y)
    z = z / np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], 1)


def check_placement(plate: ForcePlate, where: str) -> None:
    """Refuse moments or lengths in a wrong unit: the centre of pressure would lie off the plate.

    Raises:
        InputError: in most loaded samples it does; says whether another unit would mend it.
    """
    share = _off_share(plate, 1.0)
    if share <= MISPLACED:
        return
    for factor, label in ((1e-3, "N.mm"), (1e3, "N.m")):
        if _off_share(plate, factor) < 1 - MISPLACED:
            raise InputError(
                f"{where}, {plate.name}: the centre of pressure is off the plate in {100 * share:.0f} % of the loaded "
                f"samples; with moments in {label} it would lie on it: give moment_units={label!r}, or correct "
                "ANALOG:UNITS"
            )
    raise InputError(
        f"{where}, {plate.name}: the centre of pressure is off the plate in {100 * share:.0f} % of the loaded samples: "
        "check FORCE_PLATFORM:CORNERS, ORIGIN and CHANNEL, and the units of the analog channels; plates=False reads "
        "the file without its plates"
    )


def _off_share(plate: ForcePlate, factor: float) -> float:
    """Share of well loaded samples whose centre of pressure lies off the plate, if moments were ``factor`` times."""
    strong = max(0.3 * float((plate.force @ plate.normal).max(initial=0.0)), 5 * MIN_FORCE)
    cop = replace(plate, moment=factor * plate.moment).cop(strong)
    on = np.isfinite(cop[:, 0])
    if not on.any():
        return 0.0
    axes = plate_axes(plate.corners, plate.name)[:, :2]
    half = np.abs((plate.corners - plate.origin) @ axes).max(0)
    return float((np.abs((cop[on] - plate.origin) @ axes) > half + NEAR).any(1).mean())
