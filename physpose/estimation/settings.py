"""Every number the estimator assumes, in one place, with its unit and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import radians


@dataclass(frozen=True, kw_only=True)
class EstimationSettings:
    """Standard deviations and schedule of the fit. None is chosen on the clips that the benchmarks score."""

    keypoint_correlation_time: float = 0.2  # [s] a detector repeats its error for about so long
    confidence_power: float = 2.0  # weight = confidence ** power
    reprojection_robust: float = 2.5  # [sigma] Cauchy scale
    depth_sigma: tuple[float, float, float] = (1.0, 1.0, 0.10)  # [m] detector's 3D bone vectors, camera x, y, z
    start_depth_sigma: float = 0.03  # [m] on all axes, for the first guess alone
    depth_robust: float = 2.0
    limit_sigma: float = radians(1.0)  # outside the soft range
    limit_margin: float = radians(2.0)  # the barrier starts so far inside
    posture_correlation_time: float = 0.5  # [s] a posture says as much as its neighbours
    posture_robust: float = 12.0  # [sigma] of the whole posture vector (about 36 numbers): unusual ones are not excluded
    smoothness_order: int = 3  # 3: jerk, 2: acceleration
    jerk_sigma: dict[str, float] = field(
        default_factory=lambda: {
            "pelvis_translation": 10.0,  # [m/s^3 sqrt(s)]
            "pelvis_rotation": 60.0,  # [rad/s^3 sqrt(s)]
            "trunk": 60.0,
            "limb": 250.0,
            "extremity": 150.0,
        }
    )
    stature_sigma: float = 0.01  # of log stature where the height was given
    unknown_stature_sigma: float = 0.04
    camera_height: tuple[float, float] = (1.3, 0.5)  # [m] mean, sigma: hand-held or on a tripod
    camera_tilt_sigma: tuple[float, float] = (radians(12.0), radians(3.0))  # pitch, roll
    contact_speed: float = 0.35  # [m/s] a foot point slower than this may be in contact
    contact_height: float = 0.06  # [m] and lower than this above the floor
    contact_time_constant: float = 0.1  # [s] of floor terms, as keypoint_correlation_time
    sigma_floor: float = 0.015  # [m]
    sigma_slip: float = 0.10  # [m/s]
    coarse_rate: float = 15.0  # [1/s] frame rate of the first passes
    window: float = 30.0  # [s] longest piece solved at once
    overlap: float = 1.0  # [s] of neighbouring windows
    pieces: int = 3  # of a clip longer than a window, from which body and camera are found
