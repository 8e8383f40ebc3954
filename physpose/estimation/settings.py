"""Every number the estimator assumes, in one place, with its unit and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import radians

from physpose.errors import InputError, UnknownNameError

PHYSICS = ("none", "soft", "full")
FASTEST = 15.0  # [m/s] of a treadmill
CHECKS = (None, "mujoco")  # of what was found, by simulation


@dataclass(frozen=True, kw_only=True)
class EstimationSettings:
    """Standard deviations and schedule of the fit.

    What follows from data follows from Pose2Sim's four-camera demo (the detector against its triangulation: depth,
    correlation times, spread of attitude), and from motion capture (posture, jerk, acceleration). The rest is
    judgement. None was chosen on the clips that benchmarks/video_accuracy.py scores.
    """

    # the detector
    keypoint_correlation_time: float = 0.2  # [s] it repeats its error for about so long
    confidence_power: float = 2.0  # weight = confidence ** power
    lasting: float = 0.7  # of a keypoint's spread, an error that stays through a clip: sigma counts it
    reprojection_robust: float = 2.5  # [sigma] Cauchy scale
    depth_sigma: tuple[float, float, float] = (1.0, 1.0, 0.10)  # [m] its 3D bone vectors, camera x, y, z
    start_depth_sigma: float = 0.03  # [m] on all axes, for the first guess alone
    depth_robust: float = 2.0  # [sigma]
    # start from and lean on the shipped lifter's 3D, where there is one for the keypoints, not on the detector's, or on
    # eight guesses that face different ways, which take twice as long; figures: networks/weights_files/README.md
    # None: in place of MediaPipe's own 3D and of none, of people who have weight; it is the more accurate, on three
    # clips and four cameras (benchmarks/lifter_accuracy.py)
    lift: bool | None = None

    # the body
    limit_sigma: float = radians(1.0)  # outside the soft range
    limit_margin: float = radians(2.0)  # the barrier starts so far inside
    posture_correlation_time: float = 0.5  # [s] a posture says as much as its neighbours
    posture_robust: float = 12.0  # [sigma] of the whole posture vector, about 36 numbers: unusual ones stay possible
    attitude_spread: float = 2.0  # widens the prior's pelvis attitude: who leans, leans throughout a clip
    stature_sigma: float = 0.01  # of log stature where the height was given
    unknown_stature_sigma: float = 0.04

    # the motion
    # [m/s^3 sqrt(s)], [rad/s^3 sqrt(s)]: walking people, benchmarks/fit_posture_prior.py; wrists, toes: unverified
    jerk_sigma: Mapping[str, float] = field(
        default_factory=lambda: {
            "pelvis_translation": 8.0,
            "pelvis_rotation": 30.0,
            "hip_flexion": 80.0,
            "hip_adduction": 45.0,
            "hip_rotation": 60.0,
            "knee_angle": 200.0,
            "ankle_angle": 200.0,
            "subtalar_angle": 150.0,
            "mtp_angle": 150.0,
            "lumbar": 35.0,
            "neck": 40.0,
            "arm_flex": 80.0,
            "arm_add": 45.0,
            "arm_rot": 110.0,
            "elbow_flex": 75.0,
            "pro_sup": 150.0,
            "wrist": 150.0,
        }
    )
    # [m/s^2 sqrt(s)], [rad/s^2 sqrt(s)]: three times walking people's, so that only the ends of a clip and gaps feel it
    acceleration_sigma: Mapping[str, float] = field(
        default_factory=lambda: {
            "pelvis_translation": 1.4,
            "pelvis_rotation": 4.0,
            "hip_flexion": 13.0,
            "hip_adduction": 6.0,
            "hip_rotation": 10.0,
            "knee_angle": 35.0,
            "ankle_angle": 32.0,
            "subtalar_angle": 20.0,
            "mtp_angle": 20.0,
            "lumbar": 4.5,
            "neck": 4.0,
            "arm": 8.0,
            "elbow_flex": 8.0,
            "pro_sup": 20.0,
            "wrist": 20.0,
        }
    )

    # markers
    marker_robust: float = 4.0  # [sigma of soft tissue] Cauchy scale
    marker_correlation_time: float = 0.2  # [s] soft tissue repeats its error for about so long
    # how far skin slides in walking people, of the table's soft tissue, and for how long: what fits leave of markers in
    # three laboratories, 28 to 32 % and 0.09 to 0.10 s (benchmarks/skin.py)
    skin_share: float = 0.3
    skin_correlation_time: float = 0.1  # [s]
    marker_wrench_sigma: tuple[float, float] = (0.01, 0.005)  # as ``wrench_sigma``, of a body that markers measured
    skin_robust: float = 12.0  # [sigma] Cauchy scale of a marker's jump from frame to frame
    # expect of feet that walk what plates measured under adults (step_forces.py); without: of gaits unlike theirs
    usual_steps: bool = True
    registration_frames: int = 60  # at most, from which scales and places of markers are found
    joint_centre_sigma: float = 0.008  # [m] of rules that find them from markers (Harrington 2007: 5 to 10 mm)

    # "none": what is seen, postures and smoothness; "soft": also a floor under the feet and balance over them; "full":
    # also the wrench that the motion needs, which forces inside friction cones must give
    physics: str = "full"
    treadmill: float = 0.0  # [m/s] of its belt, backwards to who faces ahead; negative for who walks backwards
    floor: bool = True  # or seat; without: who hangs, swings, swims, is carried; without weight there is none either
    # forces; in body weights, moments in body weights times stature
    wrench_sigma: tuple[float, float] = (0.05, 0.02)  # of what no force explains: masses, lengths, other contacts
    wrench_correlation_time: float = 0.1  # [s]
    wrench_robust: float = 6.0  # [sigma] of force and moment together
    force_sigma: float = 0.3  # of a support point's force about the last estimate
    no_force_sigma: float = 0.002  # of a point that touches nothing
    bearing_speed: float = 0.8  # [m/s] a point faster than this bears nothing
    bearing_height: float = 0.08  # [m] nor does one that is higher
    seat_reach: float = 0.12  # statures from the nearest foot point to where the weight acts: farther, a seat bears it
    seat_height: float = 0.75  # pelvis over feet against standing, below which there may be a seat
    seat_time: float = 0.3  # [s] over which a seat is found
    hold_time: float = 0.3  # [s] over which a point that may hold on has to stay where it is

    # camera and floor
    camera_height: tuple[float, float] = (1.3, 0.5)  # [m] mean, sigma: hand-held or on a tripod
    camera_tilt_sigma: tuple[float, float] = (radians(12.0), radians(3.0))  # pitch, roll
    # [sigma] Cauchy scale: cameras tilted by 57 deg over someone who walks are found to 1 deg with 1, 2 and 3; of
    # somebody on a swing, whom no floor carries, a lower one turns the world by up to 80 deg (sims/swing.py)
    camera_tilt_robust: float = 3.0
    contact_speed: float = 0.35  # [m/s] a foot point slower than this may be in contact
    contact_height: float = 0.06  # [m] and lower than this above the floor
    contact_time_constant: float = 0.1  # [s] of floor terms, as keypoint_correlation_time
    sigma_floor: float = 0.015  # [m]
    sigma_slip: float = 0.10  # [m/s]
    slip_robust: float = 1.5  # [sigma] Cauchy scale: soles roll (benchmarks/contact_slip.py)
    balance_sigma: float = 0.04  # [m] zero-moment point about the middle of the support: a third of a foot
    balance_correlation_time: float = 0.5  # [s] about a step
    standing_height: float = 0.85  # pelvis over feet against standing, above which the feet carry the body

    # the schedule
    coarse_rate: float = 15.0  # [1/s] frame rate of the first passes
    window: float = 30.0  # [s] longest piece solved at once
    overlap: float = 1.0  # [s] of neighbouring windows
    pieces: int = 3  # of a clip longer than a window, from which body and camera are found

    def __post_init__(self) -> None:
        if self.physics not in PHYSICS:
            raise UnknownNameError("physics", str(self.physics), PHYSICS)
        if not abs(self.treadmill) < FASTEST:
            raise InputError(
                f"treadmill {self.treadmill:g} m/s; its belt's speed, less than {FASTEST:g} m/s, is needed"
            )
