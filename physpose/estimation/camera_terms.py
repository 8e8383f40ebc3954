"""The terms that one camera's pictures bring: what it sees, the depth a detector guesses, where it may stand."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from physpose.estimation.banded import BorderedSystem
from physpose.estimation.state import FOCAL, HEIGHT, PITCH_ROLL, CameraState, Kinematics
from physpose.estimation.terms import FrameTerm, robust
from physpose.spatial import skew


class PictureTerm(FrameTerm[CameraState]):
    """Detected 2D keypoints against projected body points, robust, weighted by confidence; a subclass projects."""

    weight: Tensor  # (T, K) [1/px^2], 0 where not seen
    time_weight: Tensor  # (T,) the part of ``weight`` that is dt / correlation time
    robust_scale: float

    def _residual(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor]:
        """Differences (T, K, 2) [px], points in camera axes (T, K, 3) [m] and their depths (T, K)."""
        raise NotImplementedError

    def _whitened(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Residuals (T, K, 2); their Jacobians by frames' unknowns (T, K, 2, n), by shared ones (T, K, 2, s), by points
        in the world (T, K, 2, 3)."""
        raise NotImplementedError

    def add_to(self, system: BorderedSystem, state: CameraState, kin: Kinematics) -> None:
        r, J, Js, _ = self._whitened(state, kin)
        system.add_frame(r.flatten(1), J.flatten(1, 2), Js.flatten(1, 2))

    def pull(self, state: CameraState, kin: Kinematics, R: Tensor) -> tuple[Tensor, Tensor]:
        """How points that lie elsewhere on their bodies enter the normal equations, of frames and shared unknowns.

        ``R``: (T, K, 3, 3) of the bodies. Gives (T, n, 3 K) and (s, 3 K).
        """
        _, J, Js, P = self._whitened(state, kin)
        moved = P @ R
        by_frames = torch.einsum("tkin,tkij->tnkj", J, moved).flatten(-2)
        return by_frames, torch.einsum("tkis,tkij->skj", Js, moved).flatten(-2)

    def _robust(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return robust((r**2).sum(-1) * self.weight / self.time_weight[:, None], self.robust_scale)

    def frame_costs(self, state: CameraState, kin: Kinematics) -> Tensor:
        loss, _ = self._robust(self._residual(state, kin)[0])
        return 0.5 * (self.time_weight[:, None] * loss).sum(1)


@dataclass
class Reprojection(PictureTerm):
    """Of the one camera whose place and focal length are unknown."""

    uv: Tensor  # (T, K, 2) [px]; NaN where not seen
    weight: Tensor  # (T, K) [1/px^2]: 0 where not seen, else confidence, spread and time weight
    principal_point: Tensor  # (2,) [px]
    index: slice  # of the keypoints in the kinematics' points
    time_weight: Tensor  # (T,) the part of ``weight`` that is dt / correlation time
    robust_scale: float = 2.0
    name: str = "reprojection"

    def __post_init__(self) -> None:
        self.uv = torch.where(self.weight[..., None] > 0, self.uv, 0.0)

    def _residual(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor]:
        p = kin.camera_points(state, self.index)
        z = p[..., 2].clamp(min=0.1)
        r = state.log_focal.exp() * p[..., :2] / z[..., None] + self.principal_point - self.uv
        return r, p, z

    def _whitened(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r, p, z = self._residual(state, kin)
        root = (self.weight * self._robust(r)[1]).sqrt()[..., None]
        by_camera = projection_jacobian(p, z, state.log_focal.exp()) * root[..., None]
        R = state.R_camera_world
        P = by_camera @ R
        Js = P @ kin.Js[:, self.index]
        turn = -skew(p)  # phi x p for a small turn phi of the camera
        Js[..., PITCH_ROLL] = by_camera @ turn[..., [0, 2]]
        Js[..., HEIGHT] = -(by_camera @ R[:, 2])
        Js[..., FOCAL] = (r + self.uv - self.principal_point) * root
        return r * root, P @ kin.J[:, self.index], Js, P


def projection_jacobian(p: Tensor, z: Tensor, focal: Tensor) -> Tensor:
    """d(uv)/d(p_camera) (T, K, 2, 3) of points p (T, K, 3) at depths z (T, K)."""
    zero = torch.zeros_like(z)
    rows = [focal / z, zero, -focal * p[..., 0] / z**2, zero, focal / z, -focal * p[..., 1] / z**2]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


@dataclass
class Depth(FrameTerm[CameraState]):
    """Weak prior from the detector's own 3D: depth of each keypoint relative to a parent keypoint."""

    offset: Tensor  # (T, E, 3) [m], detector's vector from parent to child keypoint, camera axes
    weight: Tensor  # (T, E, 3) 1/m^2 per camera axis
    child: Tensor  # (E,) index in the kinematics' points
    parent: Tensor  # (E,)
    robust_scale: float = 2.0
    time_weight: Tensor = field(default_factory=lambda: torch.ones(1))
    name: str = "depth"

    def _residual(self, state: CameraState, kin: Kinematics) -> tuple[Tensor, Tensor]:
        d = kin.points[:, self.child] - kin.points[:, self.parent]
        r = d @ state.R_camera_world.T - self.offset
        return r, (r**2 * self.weight).sum(-1) / self.time_weight[:, None]

    def frame_costs(self, state: CameraState, kin: Kinematics) -> Tensor:
        _, r2 = self._residual(state, kin)
        return 0.5 * (self.time_weight[:, None] * robust(r2, self.robust_scale)[0]).sum(1)

    def add_to(self, system: BorderedSystem, state: CameraState, kin: Kinematics) -> None:
        r, r2 = self._residual(state, kin)
        w = (self.weight * robust(r2, self.robust_scale)[1][..., None]).sqrt()
        R, T = state.R_camera_world, r.shape[0]
        J = w[..., None] * (R @ (kin.J[:, self.child] - kin.J[:, self.parent]))
        Js = w[..., None] * (R @ (kin.Js[:, self.child] - kin.Js[:, self.parent]))
        Js[..., PITCH_ROLL] = w[..., None] * -skew(r + self.offset)[..., [0, 2]]
        system.add_frame((w * r).reshape(T, -1), J.reshape(T, -1, J.shape[-1]), Js.reshape(T, -1, Js.shape[-1]))


@dataclass
class CameraPlace:
    """Priors of the camera: attitude, height, focal length."""

    height: tuple[float, float]  # mean, sigma of the camera's height [m]
    tilt_sigma: tuple[float, float]  # pitch, roll [rad]
    tilt_robust: float  # [sigma] Cauchy scale
    log_focal: tuple[float, float]  # mean, sigma
    name: str = "camera"

    def _residual(self, state: CameraState) -> tuple[Tensor, Tensor]:
        # world z seen by the camera is (roll, -1, pitch) for a level one
        up = state.R_camera_world[:, 2]
        w = self._tilt_weight(up)
        r = torch.stack(
            [
                -w[0] * up[2] / self.tilt_sigma[0],
                w[1] * up[0] / self.tilt_sigma[1],
                (state.height - self.height[0]) / self.height[1],
                (state.log_focal - self.log_focal[0]) / self.log_focal[1],
            ]
        )
        J = torch.zeros(4, state.n_shared, dtype=r.dtype)
        turn = -skew(up)[:, [0, 2]]  # d up = phi x up
        J[0, PITCH_ROLL] = -w[0] * turn[2] / self.tilt_sigma[0]
        J[1, PITCH_ROLL] = w[1] * turn[0] / self.tilt_sigma[1]
        J[2, HEIGHT] = 1 / self.height[1]
        J[3, FOCAL] = 1 / self.log_focal[1]
        return r, J

    def _tilt(self, up: Tensor) -> Tensor:
        return torch.stack([up[2] / self.tilt_sigma[0], up[0] / self.tilt_sigma[1]])

    def _tilt_weight(self, up: Tensor) -> Tensor:
        # most cameras stand level, some are tilted on purpose: heavy tails
        return robust(self._tilt(up) ** 2, self.tilt_robust)[1].sqrt()

    def cost(self, state: CameraState, kin: Kinematics) -> Tensor:
        r, up = self._residual(state)[0], state.R_camera_world[:, 2]
        return 0.5 * ((r[2:] ** 2).sum() + robust(self._tilt(up) ** 2, self.tilt_robust)[0].sum())

    def add_to(self, system: BorderedSystem, state: CameraState, kin: Kinematics) -> None:
        system.add_shared(*self._residual(state))
