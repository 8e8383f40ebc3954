"""From keypoints to a motion, end to end on made-up clips of seconds, and the helpers that cut clips into pieces."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from estimation_cases import CHILD, FOCAL, SIZE, level_camera, marching, seen

from physpose.chain import KinematicChain
from physpose.errors import NoPersonError, UnknownNameError
from physpose.estimation.forces import evenly_shared
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.state import State
from physpose.estimation.trajectory import (
    Trajectory,
    coarse_frames,
    fit_trajectory,
    overlapping_windows,
    spread_pieces,
)
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.types import Array, Keypoints2D

KNOWN = CameraPrior(image_size=SIZE, focal=FOCAL, sigma_log_focal=0.0, principal_point=(SIZE[0] / 2, SIZE[1] / 2))


# --- cutting clips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [5, 15, 24, 30, 59.94, 240])
def test_coarse_frames_are_evenly_spread(fps):
    time = 3.0 + np.arange(round(4 * fps)) / fps
    keep = coarse_frames(time, 15.0)
    assert keep[0] == 0
    assert keep[-1] == len(time) - 1
    gaps = np.diff(time[keep])[:-1]  # the last is what remains
    assert gaps.max() <= max(2 / 15, 1 / fps) + 1e-9
    assert gaps.mean() == pytest.approx(max(1 / 15, 1 / fps), rel=0.02)


def test_coarse_frames_keep_both_sides_of_a_gap():
    time = np.concatenate([np.arange(30) / 30, 100 + np.arange(30) / 30])
    keep = coarse_frames(time, 15.0)
    assert len(keep) < 35
    assert np.diff(time[keep])[np.diff(time[keep]) < 50].max() < 0.11


@pytest.mark.parametrize("frames", [1, 2])
def test_of_one_or_two_frames_all_are_kept(frames):
    assert coarse_frames(np.arange(frames) / 30, 15.0).tolist() == list(range(frames))


@pytest.mark.parametrize("duration", [0.0, 3.0, 10.0, 10.5, 17.0, 19.0, 60.0, 61.3])
@pytest.mark.parametrize("fps", [5, 30])
def test_windows_cover_every_frame_and_overlap(duration, fps):
    time = 5.0 + np.arange(max(1, round(duration * fps))) / fps
    windows = list(overlapping_windows(time, 10.0, 1.0))
    assert windows[0].start == 0
    assert windows[-1].stop == len(time)
    for before, after in zip(windows[:-1], windows[1:], strict=True):
        assert before.start < after.start < before.stop < after.stop
        shared = time[before.stop - 1] - time[after.start]
        assert 1.0 - 2 / fps - 1e-9 <= shared <= 1.0 + 1e-9
    assert max(time[w][-1] - time[w][0] for w in windows) <= 10.0 + 1e-9
    if duration <= 10.0:
        assert windows == [slice(0, len(time))]


@pytest.mark.parametrize("resumes", [25, 60, 500])
def test_windows_do_not_lose_the_frames_around_a_gap(resumes):
    time = np.concatenate([np.arange(100) / 10, resumes + np.arange(100) / 10])
    covered = np.zeros(len(time), int)
    for window in overlapping_windows(time, 10.0, 1.0):
        covered[window] += 1
        assert window.stop > window.start
    assert covered.min() >= 1


def test_pieces_are_spread_over_the_clip_and_as_long_as_asked():
    time = np.arange(1000) / 10
    keep = spread_pieces(time, 12.0, 3)
    starts = keep[np.flatnonzero(np.diff(keep, prepend=-10) > 1)]
    np.testing.assert_allclose(time[starts], [0.0, 48.0, 96.0], atol=0.11)
    assert keep[-1] == len(time) - 1
    assert len(keep) == pytest.approx(120, abs=3)


# --- fitting ----------------------------------------------------------------------------------------------------------


def clip(frames: int, fps: float = 15.0, **seen_options: object) -> tuple[Keypoints2D, Array]:
    time = 0.2 + np.arange(frames) / fps
    q = marching(time)
    return seen(time, q, **{"noise": 1.0, **seen_options}), q  # type: ignore[arg-type]


def fitted(kp: Keypoints2D, **settings: object) -> Trajectory:
    return fit_trajectory(CHILD, kp, KNOWN, True, EstimationSettings(**settings))  # type: ignore[arg-type]


def check_sound(found: Trajectory, kp: Keypoints2D) -> None:
    """Whatever the input: finite, unit quaternions, nothing beyond its joint's range, bones near the prior's."""
    T = kp.n_frames
    assert found.q.shape == (T, CHILD.nq)
    assert found.bearing.shape == (T, len(CHILD.support_points))
    for x in (found.q, found.bearing, found.camera.R_camera_world, found.camera.t, found.camera.focal, found.cost):
        assert np.isfinite(x).all()
    assert all(np.isfinite(c) for c in found.term_costs.values())
    np.testing.assert_allclose(np.linalg.norm(found.q[:, 3:7], axis=1), 1, atol=1e-12)
    low, high = np.array([c.range for c in CHILD.coordinates]).T
    assert (found.q[:, 7:] > low - 0.1).all()
    assert (found.q[:, 7:] < high + 0.1).all()
    assert found.iterations > 0


def joints(q: Array, skeleton=CHILD) -> Array:  # noqa: ANN001
    return KinematicChain(skeleton).fk(torch.as_tensor(q)).p.numpy()


def pose_error(found: Trajectory, q: Array) -> float:
    """RMS distance [m] of joint centres, in camera axes, the pelvis' own left out."""
    p, true = found.camera.to_camera(joints(found.q, found.skeleton)), level_camera().to_camera(joints(q))
    error = (p - p[:, :1]) - (true - true[:, :1])
    return float(np.sqrt((error**2).sum(-1).mean()))


def pixel_error(found: Trajectory, kp: Keypoints2D) -> float:
    """RMS [px] over the keypoints that were seen."""
    chain = KinematicChain(found.skeleton)
    points = chain.keypoints(torch.as_tensor(found.q), kp.keypoint_set).numpy()
    return float(np.sqrt(np.nanmean((found.camera.project(points) - kp.uv[0]) ** 2)))


@cache
def whole() -> tuple[Keypoints2D, Array, Trajectory]:
    kp, q = clip(30)
    return kp, q, fitted(kp)


def test_a_marching_child_is_found():
    kp, q, found = whole()
    check_sound(found, kp)
    assert pixel_error(found, kp) < 6
    assert pose_error(found, q) < 0.06
    np.testing.assert_allclose(found.skeleton.mass, CHILD.mass)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_a_few_frames_are_enough(frames):
    kp, q = clip(frames)
    found = fitted(kp)
    check_sound(found, kp)
    assert pixel_error(found, kp) < 5
    assert pose_error(found, q) < 0.08


@pytest.mark.parametrize("keypoint_set", ["blazepose33", "coco17"])
def test_the_picture_alone_is_enough_to_be_near(keypoint_set):
    kp, _ = clip(8, landmarks=False, keypoint_set=keypoint_set)
    found = fitted(kp)
    check_sound(found, kp)
    assert pixel_error(found, kp) < 5


def test_five_frames_a_second_are_enough():
    kp, q = clip(10, fps=5.0)
    found = fitted(kp)
    check_sound(found, kp)
    assert pose_error(found, q) < 0.08


def lost(kp: Keypoints2D, missing: np.ndarray) -> Keypoints2D:
    """Keypoints (T, K) of ``missing`` unseen."""
    uv, confidence = kp.uv.copy(), kp.confidence.copy()
    uv[0, missing], confidence[0, missing] = np.nan, 0.0
    landmarks = None if kp.landmarks is None else np.where(missing[..., None], np.nan, kp.landmarks)
    return replace(kp, uv=uv, confidence=confidence, landmarks=landmarks)


def test_missing_keypoints_are_made_up_for():
    kp, q = clip(12)
    missing = np.random.default_rng(3).random((12, len(kp.names))) < 0.3
    found = fitted(lost(kp, missing))
    check_sound(found, kp)
    assert pose_error(found, q) < 0.10


def test_an_arm_never_seen_stays_at_ease():
    kp, _ = clip(8)
    arm = ("left_elbow", "left_wrist", "left_pinky", "left_index", "left_thumb")
    missing = np.zeros((8, len(kp.names)), bool)
    missing[:, [kp.names.index(n) for n in arm]] = True
    check_sound(fitted(lost(kp, missing)), kp)


def test_a_person_hidden_for_a_while_moves_on_in_between():
    kp, q = clip(16)
    missing = np.zeros((16, len(kp.names)), bool)
    missing[7:9] = True
    found = fitted(lost(kp, missing))
    check_sound(found, kp)
    step = np.linalg.norm(np.diff(joints(found.q, found.skeleton), axis=0), axis=-1).max(1)
    true = np.linalg.norm(np.diff(joints(q), axis=0), axis=-1).max()
    assert step.max() < 3 * true  # no jump


def test_keypoints_with_nothing_seen_are_refused():
    kp, _ = clip(4)
    with pytest.raises(NoPersonError, match="no frame"):
        fitted(lost(kp, np.ones((4, len(kp.names)), bool)))


def test_windows_give_nearly_the_joint_solution():
    kp, q, joint = whole()
    found = fitted(kp, window=1.0, overlap=0.4)
    check_sound(found, kp)
    assert pose_error(found, q) < pose_error(joint, q) + 0.02
    apart = np.linalg.norm(joints(found.q, found.skeleton) - joints(joint.q, joint.skeleton), axis=-1)
    assert np.sqrt((apart**2).mean()) < 0.08
    jump = np.linalg.norm(np.diff(joints(found.q, found.skeleton), axis=0), axis=-1).max()
    assert jump < 2 * np.linalg.norm(np.diff(joints(q), axis=0), axis=-1).max()


def test_a_recording_that_stops_for_longer_than_a_window_is_fitted():
    kp, q, _ = whole()
    kept = np.r_[0:9, 21:30]
    found = fitted(kp.frames(kept), window=0.5, overlap=0.2)
    check_sound(found, kp.frames(kept))
    assert pose_error(found, q[kept]) < 0.08


def test_known_focal_length_stays():
    assert whole()[2].camera.focal == pytest.approx(FOCAL)


def test_unknown_focal_length_is_estimated():
    kp, _ = clip(4)
    found = fit_trajectory(CHILD, kp, replace(KNOWN, focal=1.1 * FOCAL, sigma_log_focal=0.1), True)
    check_sound(found, kp)
    assert found.camera.focal != pytest.approx(1.1 * FOCAL, rel=1e-6)


def test_progress_rises_to_one():
    kp, _ = clip(3)
    seen_fractions: list[float] = []
    fit_trajectory(CHILD, kp, KNOWN, True, None, seen_fractions.append)
    assert seen_fractions == sorted(seen_fractions)
    assert seen_fractions[-1] == 1.0


def sitting(time: Array) -> Array:
    """q of someone on a chair, thighs level, trunk upright, feet flat before the pelvis."""
    q = marching(np.zeros_like(time))
    for side in "rl":
        for name, value in (("hip_flexion", np.pi / 2), ("knee_angle", np.pi / 2)):
            q[:, 7 + CHILD.coordinate_names.index(f"{name}_{side}")] = value
    frames = KinematicChain(CHILD).fk(torch.as_tensor(q))
    points = KinematicChain(CHILD).locate(frames, KinematicChain(CHILD).points(CHILD.contact_points[:8]))
    q[:, 2] -= points[..., 2].min(1).values.numpy()
    return q


def squatting(time: Array) -> Array:
    """As low as on a chair, but the trunk and the shanks lean so far that the weight is over the feet."""
    q = sitting(time)
    chain, names = KinematicChain(CHILD), CHILD.coordinate_names
    for side in "rl":
        q[:, 7 + names.index(f"knee_angle_{side}")] = 2.3
        q[:, 7 + names.index(f"ankle_angle_{side}")] = 0.5
        q[:, 7 + names.index(f"hip_flexion_{side}")] = 1.8
    frames = chain.fk(torch.as_tensor(q))
    soles = chain.locate(frames, chain.points(CHILD.contact_points[:8]))
    q[:, 2] -= soles[..., 2].min(1).values.numpy()
    return q


def test_a_chair_is_found_under_someone_who_sits():
    time = np.arange(20) / 15.0
    feet = CHILD.contact_points[:8]

    def seat(q: Array) -> Array:
        problem = VideoProblem(KinematicChain(CHILD), seen(time, q), KNOWN, True)
        state = State(torch.as_tensor(q), torch.zeros(len(CHILD.scale_groups), dtype=torch.float64))
        assert (problem.bearing_of(state, time)[:, : len(feet)].max(1).values > 0.5).all()
        return problem.bearing_of(state, time)[:, len(CHILD.contact_points) :].numpy()

    assert seat(sitting(time)).shape[1] == 4
    assert (seat(sitting(time)) > 0.5).all()
    assert not (seat(marching(time)) > 0.1).any()
    assert not (seat(squatting(time)) > 0.1).any()


def test_physics_can_be_softened_and_switched_off():
    kp, q = clip(8)
    names = {physics: set(fitted(kp, physics=physics).term_costs) for physics in ("none", "soft", "full")}
    laws = {"floor", "balance", "root wrench"}
    assert names["none"] & laws == set()
    assert names["soft"] & laws == {"floor", "balance"}
    assert names["full"] & laws == {"floor", "root wrench"}
    with pytest.raises(UnknownNameError, match="unknown physics 'some'; known: none, soft, full"):
        fitted(kp, physics="some")


def test_without_gravity_there_is_no_floor():
    """The same marching, in orbit: nothing is touched, and nothing pulls the feet to z = 0."""
    kp, _ = clip(8)
    floating = fit_trajectory(CHILD, kp, KNOWN, height_known=True, gravity=0.0)
    assert not floating.bearing.any()
    assert not {"floor", "balance"} & set(floating.term_costs)
    assert {"floor", "root wrench"} <= set(fitted(kp).term_costs)


# --- forces that shape the motion -------------------------------------------------------------------------------------


def forces_in(q: Array, time: Array):  # noqa: ANN201
    """What the root wrench's term takes the forces to be (T, C, 3) [N], what even sharing would be, and belief."""
    problem = VideoProblem(KinematicChain(CHILD), seen(time, q), KNOWN, True)
    state = State(torch.as_tensor(q), torch.zeros(len(CHILD.scale_groups), dtype=torch.float64))
    wrench, arms, kin = problem.body.wrench(problem.chain, state, torch.as_tensor(time), problem.gravity_vector)
    belief = problem._may_bear(state, torch.as_tensor(time), wrench, arms, kin)
    return problem.forces_of(state, time).mean.numpy(), evenly_shared(wrench, belief).numpy()


def test_who_stands_well_is_expected_to_share_evenly():
    """No cone is near: eliminating Gaussian forces about even ones leaves even ones, wherever the weight acts."""
    time = np.arange(8) / 15.0
    still = marching(np.zeros_like(time))
    found, even = forces_in(still, time)
    weight = CHILD.mass * 9.81
    np.testing.assert_allclose(found.sum(1), even.sum(1), atol=0.03 * weight)
    np.testing.assert_allclose(found, even, atol=0.03 * weight)


def test_whose_weight_is_beyond_the_toes_is_pushed_back():
    time = np.arange(8) / 15.0
    leaning = marching(np.zeros_like(time))
    turn = torch.zeros(8, CHILD.nv, dtype=torch.float64)
    turn[:, 5] = -0.5  # [rad] forward about the pelvis' z
    leaning = KinematicChain(CHILD).integrate(torch.as_tensor(leaning), turn).numpy()
    feet = joints(leaning)[:, [CHILD.body_index("calcn_r"), CHILD.body_index("calcn_l")], 2].min()
    leaning[:, 2] -= feet - 0.04
    found, even = forces_in(leaning, time)
    assert np.abs(found - even).max() > 0.2 * CHILD.mass * 9.81
