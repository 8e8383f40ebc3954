"""The values that travel between the layers: plain frozen data, SI units, z up, right-handed world."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """One line of the table "what was assumed": shown in reports, summaries and ``FitResult``."""

    what: str  # e.g. "mass"
    value: str  # e.g. "26.0 kg"
    source: str  # e.g. "given", "CDC 2000 weight-for-age, median, girls, 8.0 y"


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Pinhole camera, OpenCV axes: x right, y down, z forward. x_camera = R_camera_world @ x_world + t."""

    image_size: tuple[int, int]  # width, height [px]
    focal: float  # [px]
    principal_point: tuple[float, float]  # [px]
    R_camera_world: Array = field(default_factory=lambda: np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]))
    t: Array = field(default_factory=lambda: np.zeros(3))  # [m]

    @property
    def position(self) -> Array:
        """Camera centre in the world (3,) [m]."""
        return -self.R_camera_world.T @ self.t

    def to_camera(self, p_world: Array) -> Array:
        """Points (..., 3) [m] from world to camera axes."""
        return p_world @ self.R_camera_world.T + self.t

    def project(self, p_world: Array) -> Array:
        """World points (..., 3) [m] to pixels (..., 2)."""
        p = self.to_camera(p_world)
        return self.focal * p[..., :2] / p[..., 2:3] + np.asarray(self.principal_point)


@dataclass(frozen=True, kw_only=True)
class Keypoints2D:
    """Detected keypoints of P persons in T frames. A missing keypoint has uv = NaN and confidence 0.

    Readers and detectors put persons in any order; ``detectors.tracking`` gives each identity one index.
    """

    keypoint_set: str  # a name of physpose.skeleton.keypoint_sets, e.g. "blazepose33"
    names: tuple[str, ...]  # K keypoint names, in the order of the arrays
    time: Array  # (T,) [s], strictly increasing
    uv: Array  # (P, T, K, 2) [px], x right, y down
    confidence: Array  # (P, T, K) in 0..1
    landmarks: Array | None = None  # (P, T, K, 3) [m], detector's own 3D: camera axes, origin mid-hip
    doubt: Array | None = None  # (P, T, K) [m] how far off, along an image axis, a lifter takes uv to be; NaN: not told
    image_size: tuple[int, int] | None = None  # width, height [px]
    source: str = "array"

    @property
    def n_persons(self) -> int:
        return self.uv.shape[0]

    @property
    def n_frames(self) -> int:
        return self.uv.shape[1]

    def persons(self, index: list[int]) -> Keypoints2D:
        """The same with only the persons of ``index``, in that order."""
        part = {name: _of(getattr(self, name), index) for name in _OF_PERSONS}
        return replace(self, **part)

    def frames(self, keep: slice | NDArray[np.intp]) -> Keypoints2D:
        """The same with only the frames of ``keep``."""
        part = {name: _of(getattr(self, name), (slice(None), keep)) for name in _OF_PERSONS}
        return replace(self, time=self.time[keep], **part)

    def with_frames(self, time: Array) -> Keypoints2D:
        """The same with more frames at ``time`` (N,) [s], in which nobody is seen."""
        order = np.argsort(np.concatenate([self.time, time]), kind="stable")
        nobody = {name: 0.0 if name == "confidence" else np.nan for name in _OF_PERSONS}
        part = {name: _longer(getattr(self, name), len(time), x, order) for name, x in nobody.items()}
        return replace(self, time=np.concatenate([self.time, time])[order], **part)


_OF_PERSONS = ("uv", "confidence", "landmarks", "doubt")  # (P, T, K, ...)


def _of(x: Array | None, index: Any) -> Any:
    return None if x is None else x[index]


def _longer(x: Array | None, n: int, value: float, order: NDArray[np.intp]) -> Any:
    """x (P, T, ...) with ``n`` more frames of ``value``, in ``order``."""
    return None if x is None else np.concatenate([x, np.full((len(x), n, *x.shape[2:]), value)], 1)[:, order]


@dataclass(frozen=True, kw_only=True)
class Markers:
    """Trajectories of markers, as read from .trc or .c3d: metres, world z up."""

    names: tuple[str, ...]  # n, all different
    time: Array  # (T,) [s], strictly increasing
    positions: Array  # (T, n, 3) [m], world; a missing marker is NaN in all three
    rate: float  # frames per second, as the file says [1/s]
    source: str = "array"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wrench:
    """One measured force with its point of application, e.g. a force plate's: what the surroundings do to the body.

    Where no force acts the point of application has no meaning; it is NaN there, or whatever the file says.
    """

    name: str  # e.g. "plate 1"
    time: Array  # (N,) [s], strictly increasing
    force: Array  # (N, 3) [N], axes of ``force_frame``
    cop: Array  # (N, 3) [m], point of application (of a plate: centre of pressure), in ``point_frame``
    free_moment: Array  # (N, 3) [N.m], about the point of application, axes of ``force_frame``
    body: str | None = None  # on which it acts; None: not yet known
    force_frame: str = "world"  # or a body's name
    point_frame: str = "world"  # or a body's name
    corners: Array | None = None  # (4, 3) [m], world: of the plate's surface


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """Where the body touches its surroundings, and with what force."""

    points: tuple[str, ...]  # C names: of Skeleton.contact_points, or of measured forces (then ``bodies`` is given)
    active: NDArray[np.bool_]  # (T, C)
    force: Array  # (T, C, 3) [N], world, on the body
    method: str  # how the forces were found, in one sentence
    bodies: tuple[str, ...] | None = None  # on which measured forces act; None: those of the contact points
    positions: Array | None = None  # (T, C, 3) [m], world, where measured forces act; None: at the contact points
    free_moment: Array | None = None  # (T, C, 3) [N.m], world, about these positions; None: zero
    valid: NDArray[np.bool_] | None = None  # (T,) every contact was measured, each foot by itself; None: not known

    def frames(self, keep: slice | NDArray[np.intp]) -> Contacts:
        """The same with only the frames of ``keep``."""
        timed = ("active", "force", "positions", "free_moment", "valid")
        kept: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[keep] for name in timed
        }
        return replace(self, **kept)


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Mechanical energy of the whole body. Potential is zero at z = 0."""

    kinetic: Array  # (T,) [J]
    potential: Array  # (T,) [J]


@dataclass(frozen=True, kw_only=True)
class Sigma:
    """One standard deviation of the same names in ``Motion``, in their units."""

    q: Array  # (T, nv), in the tangent space of q
    v: Array  # (T, nv)
    a: Array  # (T, nv)
    tau: Array  # (T, nv)
    positions: Array  # (T, n_bodies, 3)
    com: Array  # (T, 3)
    momentum: Array  # (T, 6)
    force: Array  # (T, C, 3) of the contact forces
    power: Array  # (T, nv)
    energy: Energy

    def frames(self, keep: slice | NDArray[np.intp]) -> Sigma:
        """The same with only the frames of ``keep``."""
        energy = Energy(kinetic=self.energy.kinetic[keep], potential=self.energy.potential[keep])
        arrays = {name: x[keep] for name, x in vars(self).items() if name != "energy"}
        return Sigma(**arrays, energy=energy)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A skeleton's motion and its dynamics; the numeric part of a FitResult."""

    time: Array  # (T,) [s]
    q: Array  # (T, nq): pelvis position [m], quaternion xyzw, coordinates [rad; m]
    v: Array  # (T, nv): pelvis linear and angular velocity in the pelvis frame, rates
    a: Array  # (T, nv): time derivative of v
    tau: Array  # (T, nv) [N.m; N], generalized joint forces; the first six are the root residual wrench, pelvis frame
    positions: Array  # (T, n_bodies, 3) [m], body origins, world
    rotations: Array  # (T, n_bodies, 3, 3), R_world_body
    com: Array  # (T, 3) [m], whole-body centre of mass, world
    contacts: Contacts
    momentum: Array  # (T, 6) about the CoM, world axes: linear [kg.m/s], angular [kg.m^2/s]
    energy: Energy
    power: Array  # (T, nv) [W], tau * v

    def frames(self, keep: slice | NDArray[np.intp]) -> Motion:
        """The motion alone, with only the frames of ``keep``."""
        energy = Energy(kinetic=self.energy.kinetic[keep], potential=self.energy.potential[keep])
        arrays = {n: getattr(self, n)[keep] for n in Motion.__dataclass_fields__ if n not in ("contacts", "energy")}
        return Motion(**arrays, contacts=self.contacts.frames(keep), energy=energy)


@dataclass(frozen=True, kw_only=True)
class FitStatus:
    """How the estimation went."""

    converged: bool
    iterations: int
    cost: float
    seconds: dict[str, float]  # stage -> wall time
    details: dict[str, Any] = field(default_factory=dict)  # e.g. rms reprojection [px], cost per term
