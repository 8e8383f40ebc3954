"""Caveats appear where the physics says so, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from example_result import example_result
from scipy.spatial.transform import Rotation

from physpose.caveats import (
    checked_gravity,
    focal_caveat,
    gravity_given,
    length_caveat,
    posture_caveat,
    rate_caveat,
    seat_caveat,
    sliding_caveat,
    tilt_caveat,
    unexplained,
)
from physpose.chain import KinematicChain
from physpose.conventions import lab_to_z_up
from physpose.errors import InputError
from physpose.estimation.video_problem import CameraPrior
from physpose.types import Camera

EARTH = np.array([0.0, 0.0, -9.81])


def with_residual(force: float, moment: float, share: float):
    """A motion whose root lacks ``force`` [body weights] and ``moment`` [body weights times stature] in some frames."""
    result = example_result()
    weight = result.skeleton.mass * 9.81
    tau = result.tau.copy()
    tau[:, :6] = 0.0
    some = np.arange(len(tau)) < share * len(tau)
    tau[some, 0], tau[some, 4] = force * weight, moment * weight * result.skeleton.subject.height
    return replace(result, tau=tau)


def test_unexplained_wrench_is_in_body_weights_and_statures():
    result = with_residual(0.4, 0.08, 0.25)
    line, warnings = unexplained(result, result.skeleton, EARTH)
    assert line.value.startswith("force 20 % of body weight, moment 4 % of body weight times stature")
    assert warnings == ()


@pytest.mark.parametrize(("force", "moment"), [(0.6, 0.0), (0.0, 0.12)])
def test_frames_that_feet_cannot_explain_are_counted(force, moment):
    result = with_residual(force, moment, 0.2)
    _, warnings = unexplained(result, result.skeleton, EARTH)
    assert len(warnings) == 1
    assert warnings[0].startswith("in 20 % of the frames")
    assert f"of {force:.1f} body weights and a moment of {moment:.2f} body weights times stature" in warnings[0]
    few = with_residual(force, moment, 0.05)
    assert unexplained(few, few.skeleton, EARTH)[1] == ()


def test_body_without_subject_has_a_stature():
    result = with_residual(0.6, 0.0, 1.0)
    line, _ = unexplained(result, replace(result.skeleton, subject=None), np.zeros(3))
    assert line.value.startswith("force 60 % of body weight")


@pytest.mark.parametrize(("focal", "sigma", "warns"), [(1000, 0.1, False), (1300, 0.1, False), (1400, 0.1, True),
                                                       (700, 0.1, True), (700, 0.0, False)])  # fmt: skip
def test_focal_length_far_from_its_prior_is_told(focal, sigma, warns):
    centre = (500.0, 500.0)
    prior = CameraPrior(image_size=(1000, 1000), focal=1000.0, sigma_log_focal=sigma, principal_point=centre)
    text = focal_caveat(Camera(image_size=(1000, 1000), focal=focal, principal_point=centre), prior)
    assert len(text) == warns
    assert all(f"{focal} px" in t and "1000 px" in t for t in text)


@pytest.mark.parametrize(
    ("turn", "warns"),
    [((20, 0, 0), False), ((45, 0, 0), True), ((0, 0, 35), False), ((0, 0, 45), True), ((32, 0, 32), True),
     ((0, 170, 0), False)],
)  # fmt: skip
def test_crooked_cameras_are_told(turn, warns):
    """Turned about its own axes [deg]: pitch and roll count, heading does not."""
    level = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    R = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ level
    camera = Camera(image_size=(1000, 1000), focal=1000.0, principal_point=(500.0, 500.0), R_camera_world=R)
    assert len(tilt_caveat(camera)) == warns


@pytest.mark.parametrize(
    ("time", "start"), [([0.0], "one frame only"), ([0.0, 0.1], "0.10 s are too short"), ([0.0, 0.4], None)]
)
def test_short_clips_are_told(time, start):
    text = length_caveat(np.array(time))
    assert text == () if start is None else text[0].startswith(start)


@pytest.mark.parametrize(("step", "warns"), [(0.2, True), (0.1, True), (1 / 15, False), (1 / 30, False)])
def test_slow_clips_are_told(step, warns):
    time = step * np.arange(20)
    time[5:] += 1.0  # a gap is no step
    text = rate_caveat(time)
    assert len(text) == warns
    assert all(f"{1 / step:.3g} frames a second" in t and "peaks are missed" in t for t in text)
    assert rate_caveat(time[:2]) == ()


@pytest.mark.parametrize("gravity", [(0, 0, 9.81), (9.81, 0, 0), (0, 0, np.nan), (0, 0), "estimate", None, -9.81])
def test_gravity_that_is_not_down_is_refused(gravity):
    with pytest.raises(InputError, match="the world's z is up"):
        checked_gravity(gravity)


def test_gravity_in_millimetres_is_asked_about():
    with pytest.raises(InputError, match=r"98100 m/s\^2: at most 100; is it in m/s\^2"):
        checked_gravity((0, 0, -98100))


def test_only_gravity_that_is_not_the_earths_is_worth_a_line():
    assert gravity_given(checked_gravity((0, 0, -9.81))).lines == ()
    (line,) = gravity_given(checked_gravity((0, 0, -1.62))).lines
    assert (line.what, line.value, line.source) == ("gravity", "(0, 0, -1.62) m/s^2", "given")


def test_gravity_of_moon_and_orbit_is_taken():
    np.testing.assert_array_equal(checked_gravity([0, 0, -1.62]), [0, 0, -1.62])
    np.testing.assert_array_equal(checked_gravity((0, 0, 0)), np.zeros(3))


@pytest.mark.parametrize(("drop", "seconds", "warns"), [(0.0, 3.0, False), (0.45, 3.0, True), (0.45, 0.5, False)])
def test_hips_that_stay_low_may_sit(drop, seconds, warns):
    """Hips lowered by ``drop`` of standing height for ``seconds`` of a four-second clip, feet where they were."""
    result = example_result()
    time = np.linspace(0.0, 4.0, len(result.time))
    standing = KinematicChain(result.skeleton).fk(torch.as_tensor(result.skeleton.neutral)).p.numpy()
    positions = np.tile(standing, (len(time), 1, 1))
    positions[time < seconds, 0, 2] -= drop * standing[0, 2]
    text = seat_caveat(replace(result, time=time, positions=positions), result.skeleton)
    assert len(text) == warns
    assert all("chair" in t for t in text)


def test_a_seat_that_was_found_needs_no_warning():
    result = example_result()
    points = tuple(p.name for p in result.skeleton.support_points)
    time = np.linspace(0.0, 4.0, len(result.time))
    positions = result.positions.copy()
    positions[:, 0, 2] -= 0.45 * result.skeleton.neutral[2]
    force = np.zeros((len(time), len(points), 3))
    sitting = replace(result, time=time, positions=positions)
    for i, name in enumerate(points):
        active = np.zeros((len(time), len(points)), bool)
        active[:, i] = True
        seat = replace(result.contacts, points=points, active=active, force=force)
        assert bool(seat_caveat(replace(sitting, contacts=seat), result.skeleton)) == (
            not name.startswith(("isch", "th"))
        )


def walking(speed: float, carried: float = 1.0):
    """A motion that stands on the floor while the floor moves with ``speed`` [m/s], carried by so many body weights."""
    result = example_result()
    body, T = result.skeleton, len(result.time)
    q = np.tile(body.neutral, (T, 1))
    q[:, 0] = speed * result.time
    frames = KinematicChain(body).fk(torch.as_tensor(q))
    tau = np.zeros_like(result.tau)
    tau[:, :3] = (frames.R[:, 0].numpy().swapaxes(1, 2) @ [0, 0, carried * body.mass * 9.81])[..., :]
    contacts = replace(result.contacts, force=0 * result.contacts.force, active=result.contacts.active & False)
    return replace(result, q=q, tau=tau, positions=frames.p.numpy(), rotations=frames.R.numpy(), contacts=contacts)


@pytest.mark.parametrize(
    ("speed", "carried", "gravity", "warns"),
    [
        (1.2, 1.0, EARTH, True),
        (0.3, 1.0, EARTH, False),
        (1.2, 0.0, EARTH, False),
        (1.2, 1.0, 0 * EARTH, False),
    ],
)
def test_feet_that_slide_where_a_floor_must_carry_are_told(speed, carried, gravity, warns):
    """Not in flight, not in orbit, not on a seat."""
    motion = walking(speed, carried)
    found = sliding_caveat(motion, motion.skeleton, gravity, np.zeros(3))
    assert len(found) == warns
    if warns:
        assert "in 100 % of the frames" in found[0]
        assert "by 1.2 m/s" in found[0]
        points = (*motion.contacts.points, motion.skeleton.seat_points[0].name)
        T = len(motion.time)
        seated = replace(motion.contacts, points=points, active=np.ones((T, len(points)), bool),
                         force=np.zeros((T, len(points), 3)))  # fmt: skip
        assert sliding_caveat(replace(motion, contacts=seated), motion.skeleton, gravity, np.zeros(3)) == ()


# --- which way is up --------------------------------------------------------------------------------------------------

AXES = {"x": 0, "y": 1, "z": 2}


def in_file(positions, up):
    """Positions whose z is up, as a file has them whose ``up`` axis points up; by hand, the other two in turn."""
    i, sign = AXES[up[-1]], -1.0 if up[0] == "-" else 1.0
    file = np.empty_like(positions)
    file[..., i] = sign * positions[..., 2]
    file[..., (i + 1) % 3], file[..., (i + 2) % 3] = positions[..., 0], sign * positions[..., 1]
    return file


@pytest.mark.parametrize("true", ["x", "y", "z", "-x", "-y", "-z"])
@pytest.mark.parametrize("taken", ["+X", "+Y", "+Z", "-Y", "-Z"])
def test_a_file_read_with_another_axis_up_is_told_with_the_right_one(true, taken):
    result = example_result()
    seen = replace(result, positions=lab_to_z_up(in_file(result.positions, true), taken))
    warnings = posture_caveat(seen, seen.skeleton, taken)
    if taken == (true if true[0] == "-" else f"+{true}").upper():
        assert warnings == ()
        return
    assert len(warnings) == 1
    assert f"give up='{true}'" in warnings[0]
    opposite = taken[1:].lower() == true[-1]
    assert ("head down" in warnings[0]) == opposite


def test_markers_without_a_file_are_to_be_turned():
    result = example_result()
    lying = replace(result, positions=result.positions[..., [2, 1, 0]])
    told = posture_caveat(lying, lying.skeleton, None)[0]
    assert told.endswith("if the person stands, x points up in the markers' positions, not z: turn that")


def test_who_sits_crouches_or_turns_over_for_a_moment_is_not_asked():
    result = example_result()
    body, time = result.skeleton, result.time
    assert posture_caveat(result, body, "+Y") == ()
    chain = KinematicChain(body)
    q = np.tile(body.neutral, (len(time), 1))
    for name in ("hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l"):
        q[:, 7 + body.coordinate_names.index(name)] = np.radians(120.0)
    curled = chain.fk(torch.as_tensor(q)).p.numpy()[..., [2, 1, 0]]  # curled up on the side
    assert posture_caveat(replace(result, positions=curled), body, "+Y") == ()
    angle = 2 * np.pi * np.clip((time - 0.5) / 0.8, 0, 1)
    over = Rotation.from_rotvec(angle[:, None] * [0.0, 1.0, 0.0]).as_matrix()
    somersault = np.einsum("tij,tbj->tbi", over, result.positions)
    assert posture_caveat(replace(result, positions=somersault), body, "+Y") == ()
