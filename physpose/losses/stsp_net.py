"""STSP-Net's losses (Liu et al. 2025, equations 8, 9, 15, 16, 19, 20, 22, 23): one function an equation.

Sequences are (*b, T, K, d), poses (*b, K, d); leading dimensions stay. The paper counts in frames; given real ``time``
stamps (T,) [s], differences become velocities and accelerations per second, right also for uneven frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.losses.refinement import joint_angle
from physpose.metrics import accelerations, mpjpe, velocities


def local_trajectory_loss(p: Tensor, time: Tensor | None = None) -> Tensor:
    """Local trajectory constraint (*b, T - 2) of 2D keypoints (*b, T, K, 2) (equation 8).

    1/N sum_i |p_t - 2 p_{t-1} + p_{t-2}|_2^2
    """
    return (_acceleration(p, time) ** 2).sum(-1).mean(-1)


def epe_objective(keypoint: Tensor, smooth: Tensor, *, alpha: float = 1.0) -> Tensor:
    """L_EPE = L_KP + alpha L_smooth (equation 9)."""
    return keypoint + alpha * smooth


def position_loss(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """L_3D of the GSR-Module's sum and L_seq of (22): MPJPE (*b) of poses (*b, K, 3)."""
    return mpjpe(predicted, true, visible)


def bone_length_loss(p: Tensor, edges: Tensor, lengths: Tensor) -> Tensor:
    """Skeletal consistency (*b) of poses (*b, K, 3) for bones ``edges`` (E, 2), ``lengths`` (*b, E) (equation 15).

    1/|E| sum_ij | ||P_i - P_j||_2 - l_ij |

    Printed without the outer absolute value: then every shorter bone lowers the loss, without bound for a body that
    shrinks to a point. The absolute value is what the text asks for ("consistent with reference values").
    """
    ends = p[..., edges, :]
    return ((ends[..., 0, :] - ends[..., 1, :]).norm(dim=-1) - lengths).abs().mean(-1)


def joint_angle_loss(p: Tensor, triples: Tensor, limits: Tensor) -> Tensor:
    """Angles beyond their limits (*b) [rad] of poses (*b, K, 3) (equation 16).

    1/|A| sum_ijk max(0, theta_ijk - theta_max) + max(0, theta_min - theta_ijk)

    Args:
        triples: (A, 3) keypoints i, j, k; theta is the angle at j, in 0..pi.
        limits: (A, 2) [rad] smallest and largest angle.
    """
    theta = joint_angle(p, triples)
    return (torch.relu(theta - limits[..., 1]) + torch.relu(limits[..., 0] - theta)).mean(-1)


def gsr_objective(position: Tensor, bones: Tensor, angle: Tensor, *, beta1: float = 1.0, beta2: float = 1.0) -> Tensor:
    """L_GSR = L_3D + beta_1 L_skel + beta_2 L_angle (unnumbered, after equation 16)."""
    return position + beta1 * bones + beta2 * angle


def velocity_loss(p: Tensor, true: Tensor | None = None, time: Tensor | None = None) -> Tensor:
    """Velocity constraint (*b) of a sequence (*b, T, K, 3) (equation 19), keypoints summed.

    Without ``true`` as printed: 1/(T-2) sum_{t>=3} |v_t - v_{t-1}|_2^2. The print starts at t = 2, which needs a v_1
    that no frame gives; and v_t - v_{t-1} is the a_t of (20), so that (19) and (20) are one loss twice. With ``true``
    it constrains what its name says: 1/(T-1) sum |v_t - v_t^true|_2^2.
    """
    if true is None:
        return acceleration_loss(p, time=time)
    error = p - true
    v = error.diff(dim=-3) if time is None else velocities(error, time)
    return (v**2).sum((-2, -1)).mean(-1)


def acceleration_loss(p: Tensor, true: Tensor | None = None, time: Tensor | None = None) -> Tensor:
    """Acceleration constraint (*b) of a sequence (*b, T, K, 3) (equation 20), keypoints summed.

    1/(T-2) sum_{t>=3} |a_t|_2^2, a_t = v_t - v_{t-1}. With ``true`` of the error's acceleration instead: as printed the
    loss pulls every jump and every throw towards uniform motion.
    """
    a = _acceleration(p if true is None else p - true, time)
    return (a**2).sum((-2, -1)).mean(-1)


def tmp_objective(
    sequence: Tensor, velocity: Tensor, acceleration: Tensor, *, gamma1: float = 1.0, gamma2: float = 1.0
) -> Tensor:
    """L_TMP = L_seq + gamma_1 L_vel + gamma_2 L_acc (equation 22)."""
    return sequence + gamma1 * velocity + gamma2 * acceleration


def joint_objective(epe: Tensor, gsr: Tensor, tmp: Tensor, *, omega1: float = 1.0, omega2: float = 1.0) -> Tensor:
    """L_total = L_EPE + omega_1 L_GSR + omega_2 L_TMP (equation 23); the paper sets every weight to 1."""
    return epe + omega1 * gsr + omega2 * tmp


def _acceleration(p: Tensor, time: Tensor | None) -> Tensor:
    return p.diff(n=2, dim=-3) if time is None else accelerations(p, time)
