"""The terms of APRS: bones (equation 25), limits and symmetry (29), and, where asked for, physics."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.errors import InputError
from physpose.estimation.aprs_body import hinges, mirrored
from physpose.estimation.aprs_problem import Term
from physpose.losses.refinement import bone_residual, joint_angle, limit_residual, symmetry_residual
from physpose.types import Array


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Factors on the terms: the lambdas of equation 31 (with ``solver="gradient"`` on the losses as printed)."""

    spatial: float = 1.0
    temporal: float = 1.0
    domain: float = 1.0
    physics: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """Standard deviations. Lengths are for a person of ordinary size, in metres; they scale with ``unit``."""

    noise: float | None = None  # [m] of a keypoint's coordinate, white; None: each keypoint's own, from its jitter
    least_noise: float = 0.003  # [m] estimates of it are not believed below this
    robust: float = 3.0  # [sigma] Cauchy scale: further off counts as an outlier
    bone_sigma: float = 0.005  # [m] of a bone's length as the keypoints show it
    acceleration_sigma: float = 4.0  # [m/s^2 sqrt(s)] of a keypoint: white acceleration
    symmetry_sigma: float = 0.01  # [m] left bone minus right bone
    angle_sigma: float = radians(2.0)  # outside a hinge's range
    floor_sigma: float = 0.01  # [m] below the floor
    slip_sigma: float = 0.05  # [m/s] of a keypoint in contact
    fall_sigma: float = 0.5  # [m/s^2] of the centre of mass against gravity, in flight
    iterations: int = 50
    tolerance: float = 1e-4  # [m] root mean square move of the coordinates in the last step


@dataclass(frozen=True)
class BodyTerms:
    """What is known of the body, and the terms that follow."""

    keypoint_set: str | None
    edges: NDArray[np.intp]  # (E, 2)
    lengths: Array  # (E,); NaN: not known
    exact: bool  # lengths are to be reached, not only not exceeded
    shape: tuple[int, ...]  # K, D

    @property
    def hinges(self) -> tuple[NDArray[np.intp], Array]:
        """(N, 3) knees and elbows, (N, 2) their ranges. None in 2D: a projected angle has no limits."""
        if self.keypoint_set is None or self.shape[1] == 2:
            return np.zeros((0, 3), np.intp), np.zeros((0, 2))
        return hinges(self.keypoint_set)

    @property
    def pairs(self) -> NDArray[np.intp]:
        """(N, 4) left bone's ends, right bone's ends. None in 2D."""
        if self.keypoint_set is None or self.shape[1] == 2:
            return np.zeros((0, 4), np.intp)
        return self.edges[mirrored(self.keypoint_set, self.edges)].reshape(-1, 4)

    def terms(self, T: int, weights: Weights, settings: RefineSettings, unit: float) -> tuple[Term, ...]:
        """The terms whose weight is not zero."""
        found, K, known = [], self.shape[0], np.isfinite(self.lengths)
        if weights.spatial > 0 and known.any():
            sigma = settings.bone_sigma * unit / np.sqrt(weights.spatial)
            lengths = torch.from_numpy(np.tile(self.lengths[known], T))
            found.append(bone_term(in_frames(self.edges[known], T, K), lengths, sigma, exact=self.exact))
        if weights.domain > 0:
            found += self._domain(T, settings, unit, float(np.sqrt(weights.domain)))
        return tuple(found)

    def _domain(self, T: int, settings: RefineSettings, unit: float, root: float) -> list[Term]:
        K, (triplets, ranges), found = self.shape[0], self.hinges, []
        if len(triplets):
            span = torch.from_numpy(np.tile(ranges, (T, 1)))
            found.append(limit_term(in_frames(triplets, T, K), span, settings.angle_sigma / root))
        if len(self.pairs):
            found.append(symmetry_term(in_frames(self.pairs, T, K), settings.symmetry_sigma * unit / root))
        return found


@dataclass(frozen=True, kw_only=True)
class Physics:
    """What is known of the world around 3D keypoints; every part may be left out."""

    up: tuple[float, float, float] = (0.0, 0.0, 1.0)  # unit vector, in the keypoints' axes
    floor: float | None = None  # [keypoints' unit] height along ``up`` that no keypoint is below
    contact: NDArray[np.bool_] | None = None  # (T, K) keypoints that do not slip
    flight: NDArray[np.bool_] | None = None  # (T,) frames in which nothing is touched: the centre of mass falls
    mass_shares: Array | None = None  # (K,) of the keypoints in it, ``aprs_body.mass_shares``; needed with ``flight``
    gravity: float = 9.81  # [m/s^2] along -up

    def terms(
        self, time: Array, shape: tuple[int, ...], weight: float, settings: RefineSettings, unit: float
    ) -> tuple[Term, ...]:
        """Terms for keypoints of ``shape`` (T, K, 3)."""
        self._check(shape)
        T, K, _ = shape
        up, root, found = torch.tensor(self.up, dtype=torch.float64), float(np.sqrt(weight)), []
        if weight == 0:
            return ()
        if self.floor is not None:
            index = torch.arange(T * K)[:, None]
            found.append(floor_term(index, up, self.floor, settings.floor_sigma * unit / root))
        if self.contact is not None:
            found.append(_slip_term(self.contact, time, settings.slip_sigma * unit / root))
        if self.flight is not None:
            fall = -self.gravity * unit * up
            found.append(_fall_term(self.flight, time, self.mass_shares, fall, settings.fall_sigma * unit / root))
        return tuple(t for t in found if len(t.index))

    def _check(self, shape: tuple[int, ...]) -> None:
        T, K, D = shape
        if D != 3:
            raise InputError("physics terms need 3D keypoints; these are 2D")
        wanted = {"contact": (T, K), "flight": (T,), "mass_shares": (K,)}
        for name, size in wanted.items():
            x = getattr(self, name)
            if x is not None and np.shape(x) != size:
                raise InputError(f"physics.{name} has shape {np.shape(x)}; {size} needed")
        if self.flight is not None and self.mass_shares is None:
            raise InputError("physics.flight needs mass_shares: how the keypoints make the centre of mass")


# --- one term a function ----------------------------------------------------------------------------------------------


def in_frames(groups: NDArray[np.intp], T: int, K: int) -> Tensor:
    """(T N, m) indices into T K keypoints of groups (N, m) that repeat in every frame."""
    return torch.from_numpy((np.arange(T)[:, None, None] * K + groups).reshape(-1, groups.shape[1]))


def bone_term(index: Tensor, lengths: Tensor, sigma: float | Tensor, *, exact: bool) -> Term:
    """Equation 25; where not ``exact``, only what exceeds the lengths (R,) counts."""
    edge = torch.tensor([[0, 1]])

    def residual(x: Tensor) -> Tensor:
        r = bone_residual(x, edge, lengths[:, None])
        return (r if exact else torch.relu(r)) / sigma

    return Term("spatial", index, residual)


def limit_term(index: Tensor, ranges: Tensor, sigma: float | Tensor) -> Term:
    """Equation 29 for hinges: angles (R) at the middle keypoint outside ``ranges`` (R, 2)."""
    middle = torch.tensor([[0, 1, 2]])

    def residual(x: Tensor) -> Tensor:
        angle = joint_angle(x, middle)
        return (torch.relu(angle - ranges[:, 1:]) - torch.relu(ranges[:, :1] - angle)) / sigma

    return Term("limits", index, residual)


def symmetry_term(index: Tensor, sigma: float | Tensor) -> Term:
    """Equation 29 for sides: left bone minus right bone."""
    return Term("symmetry", index, lambda x: symmetry_residual(x, torch.tensor([[0, 1, 2, 3]])) / sigma)


def floor_term(index: Tensor, up: Tensor, height: float, sigma: float) -> Term:
    """Depth below the floor."""
    return Term("floor", index, lambda x: torch.relu(height - x @ up) / sigma)


def _slip_term(contact: NDArray[np.bool_], time: Array, sigma: float) -> Term:
    """Velocity between two frames of a keypoint in contact in both."""
    K = contact.shape[1]
    t, k = np.nonzero(contact[:-1] & contact[1:])
    index = torch.from_numpy(np.stack([t * K + k, (t + 1) * K + k], 1))
    h = torch.from_numpy(np.diff(time)[t])[:, None]
    return Term("slip", index, lambda x: (x[:, 1] - x[:, 0]) / (h * sigma))


def _fall_term(flight: NDArray[np.bool_], time: Array, shares: Array | None, fall: Tensor, sigma: float) -> Term:
    """Acceleration of the centre of mass against gravity, over three frames in flight."""
    assert shares is not None
    used = np.flatnonzero(shares > 0)
    t = np.flatnonzero(flight[:-2] & flight[1:-1] & flight[2:])
    index = ((t[:, None, None] + np.arange(3)[:, None]) * len(shares) + used).reshape(len(t), -1)
    s = torch.from_numpy(shares[used])
    h = torch.from_numpy(np.diff(time))
    h0, h1 = h[t][:, None], h[t + 1][:, None]

    def residual(x: Tensor) -> Tensor:
        c = torch.einsum("k,rfkd->rfd", s, x.unflatten(1, (3, len(used))))
        acceleration = 2 * ((c[:, 2] - c[:, 1]) / h1 - (c[:, 1] - c[:, 0]) / h0) / (h0 + h1)
        return (acceleration - fall) / sigma

    return Term("fall", torch.from_numpy(index), residual)


def printed_domain(p: Tensor, body: BodyTerms) -> tuple[Tensor, ...]:
    """Residuals (T, N) of equation 29 in the keypoints' unit and radians, for the gradient solver."""
    (triplets, ranges), pairs = body.hinges, body.pairs
    return (
        limit_residual(p, torch.from_numpy(triplets), torch.from_numpy(ranges).to(p)),
        symmetry_residual(p, torch.from_numpy(pairs)),
    )
