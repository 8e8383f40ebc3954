"""How much help a motion needs in MuJoCo: next to none if it is true, more with each fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from physpose import check, load_skeleton
from physpose.dynamics.mujoco_upright import upright_check
from physpose.errors import InputError
from sims import planted, walk

FORCE, MOMENT = "help in MuJoCo, force", "help in MuJoCo, moment"


@pytest.fixture(scope="module")
def adult():
    return load_skeleton("adult", sex="m", height=1.75, mass=72)


@pytest.fixture(scope="module")
def squat(adult):
    return planted.simulate(adult, 1.2, 60.0)


@pytest.fixture(scope="module")
def true(squat, adult):
    return check((squat.time, squat.q), adult, mujoco=True)


def rms(m):
    return float(np.sqrt(np.nanmean(m.series**2)))


def test_a_motion_with_all_its_forces_known_needs_no_help(adult):
    sim = walk.simulate(adult, 0.6, 500.0)
    weight = adult.mass * 9.81
    # the ground's wrenches as they are known, the floor far below
    u = upright_check(adult, sim.time, sim.q, sim.v, sim.a, sim.tau, external=sim.external, floor=-1.0)
    force, moment = u.rms_help
    assert force < 0.005 * weight
    assert moment < 0.002 * weight * 1.75
    assert np.sqrt(np.mean(u.tracking_torque**2)) < 1.0  # [N.m]
    assert np.abs(u.inverse_root[:, :3] - sim.tau[:, :3]).max() < 1e-6 * weight


def test_a_squat_in_balance_passes(true):
    assert true[FORCE].passed
    assert true[MOMENT].passed
    assert rms(true[FORCE]) < 6.0  # % of body weight
    assert true[FORCE].details["times fallen"] == 0
    assert true[FORCE].details["pose stability duration, mean [s]"] == pytest.approx(1.2)


def test_a_hovering_body_needs_all_its_weight(squat, adult):
    q = squat.q.copy()
    q[:, 2] += 0.10
    p = check((squat.time, q), adult, mujoco=True)
    assert not p[FORCE].passed
    assert rms(p[FORCE]) > 60.0


def test_a_lean_that_would_fall_needs_more(squat, adult, true):
    from scipy.spatial.transform import Rotation

    q, lean = squat.q.copy(), Rotation.from_euler("y", 12, degrees=True)
    q[:, :3] = lean.apply(q[:, :3])
    q[:, 3:7] = (lean * Rotation.from_quat(q[:, 3:7])).as_quat()
    p = check((squat.time, q), adult, mujoco=True)
    assert rms(p[FORCE]) > 4 * rms(true[FORCE])
    assert rms(p[MOMENT]) > 4 * rms(true[MOMENT])
    assert p[FORCE].details["CoM distance, mean [cm]"] > 2 * true[FORCE].details["CoM distance, mean [cm]"]
    assert p[FORCE].details["pose stability duration, mean [s]"] < 1.2


def test_where_nobody_can_stand_it_is_not_judged(squat, adult):
    p = check((squat.time, squat.q), adult, gravity=(0, 0, 0), mujoco=True)
    assert "no floor" in p.not_judged[FORCE]
    assert p.passed == check((squat.time, squat.q), adult, gravity=(0, 0, 0)).passed


def test_a_floor_at_another_height_changes_nothing(squat, adult, true):
    q = squat.q.copy()
    q[:, 2] += 0.8
    p = check((squat.time, q), adult, floor=0.8, mujoco=True)
    assert rms(p[FORCE]) == pytest.approx(rms(true[FORCE]), rel=0.02)


def test_arrays_that_do_not_fit_are_refused(squat, adult):
    zeros = np.zeros((3, adult.nv))
    with pytest.raises(InputError, match="q has shape"):
        upright_check(adult, [0.0, 0.1, 0.2], np.zeros((3, 5)), zeros, zeros, zeros)


def test_a_motion_that_flies_apart_leaves_no_trace(squat, adult, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    tau = np.zeros((len(squat.time), adult.nv))
    tau[:, -1] = 1e6  # [N.m] at a wrist
    u = upright_check(adult, squat.time, squat.q, squat.v, squat.a, tau)
    assert u.fallen.any()
    assert np.isfinite(u.help_force).all()
    assert np.isfinite(u.com_distance).all()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_body_whose_neutral_pose_is_under_the_floor_is_refused(squat, adult):
    sunk = replace(adult, neutral=np.r_[np.zeros(3), adult.neutral[3:]])
    with pytest.raises(InputError, match="cannot stand: its neutral pose is not above the floor"):
        upright_check(sunk, squat.time, squat.q, squat.v, squat.a, squat.tau)
