"""Velocity and acceleration of a trajectory against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dynamics_trees import TREES
from scipy.spatial.transform import Rotation

from physpose.chain import KinematicChain
from physpose.estimation.derivatives import derivatives

ZOO = KinematicChain(TREES["zoo"])
UNEVEN = np.array([0.0, 0.02, 0.05, 0.06, 0.10, 0.13, 0.15, 0.19])  # [s]


def held(twist: np.ndarray, time: np.ndarray) -> np.ndarray:
    """q (T, nq) of a velocity (nv,) held from the zoo's neutral pose."""
    q0 = torch.as_tensor(TREES["zoo"].neutral)
    return np.stack([ZOO.integrate(q0, torch.as_tensor(twist * t)).numpy() for t in time])


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_a_constant_velocity_is_found_exactly(frames):
    twist = np.random.default_rng(0).normal(size=ZOO.nv) * 3
    v, a = derivatives(ZOO, UNEVEN[:frames], held(twist, UNEVEN[:frames]))
    np.testing.assert_allclose(v, np.tile(twist, (frames, 1)), atol=1e-11)
    np.testing.assert_allclose(a, np.zeros((frames, ZOO.nv)), atol=1e-9)


def accelerating(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, v, a of hinges and slides that accelerate evenly and of a ball that spins up about a fixed axis."""
    spec = TREES["zoo"]
    q = np.tile(spec.neutral, (len(time), 1))
    v, a = np.zeros((len(time), ZOO.nv)), np.zeros((len(time), ZOO.nv))
    rate, gain = 2.0, 5.0
    angle = rate * time + gain * time**2 / 2
    axis = np.array([0.6, -0.8, 0.0])
    twist = np.zeros((len(time), ZOO.nv))
    twist[:, 3:6] = angle[:, None] * axis  # the base spins about its own origin
    twist[:, 6:9] = angle[:, None] * axis  # so does the first ball
    twist[:, 9:] = angle[:, None] * (ZOO.axis[9:].abs().sum(1) > 0).numpy()
    twist[:, -5:-2] = 0.0  # the second ball stays
    shape = np.where(twist[-1] != 0, twist[-1] / angle[-1], 0.0)
    q = np.stack([ZOO.integrate(torch.as_tensor(spec.neutral), torch.as_tensor(x)).numpy() for x in twist])
    v, a = (rate + gain * time)[:, None] * shape, np.full((len(time), 1), gain) * shape
    return q, v, a


def test_even_acceleration_is_found_exactly_at_uneven_times():
    q, v, a = accelerating(UNEVEN)
    found_v, found_a = derivatives(ZOO, UNEVEN, q)
    np.testing.assert_allclose(found_v, v, atol=1e-10)
    np.testing.assert_allclose(found_a, a, atol=1e-8)


def test_three_frames_give_even_acceleration_too():
    q, v, a = accelerating(UNEVEN[2:5])
    found_v, found_a = derivatives(ZOO, UNEVEN[2:5], q)
    np.testing.assert_allclose(found_v, v, atol=1e-10)
    np.testing.assert_allclose(found_a, a, atol=1e-8)


def circling(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The base on a circle of radius 2 m without turning: its velocity turns in its own frame, too."""
    w, r = 4.0, 2.0
    q = np.tile(TREES["zoo"].neutral, (len(time), 1))
    R = Rotation.from_quat(q[:, 3:7]).as_matrix()
    q[:, 0], q[:, 1] = r * np.cos(w * time), r * np.sin(w * time)
    zero = np.zeros_like(time)
    v_world = r * w * np.stack([-np.sin(w * time), np.cos(w * time), zero], -1)
    a_world = -r * w**2 * np.stack([np.cos(w * time), np.sin(w * time), zero], -1)
    body = lambda x: (R.swapaxes(1, 2) @ x[..., None])[..., 0]  # noqa: E731
    return q, body(v_world), body(a_world)


def rolling(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The base on the same circle, turning with it: in its own frame velocity and twist rate are constant."""
    w, r = 4.0, 2.0
    q = np.tile(TREES["zoo"].neutral, (len(time), 1))
    q[:, 0], q[:, 1] = r * np.cos(w * time), r * np.sin(w * time)
    q[:, 3:7] = np.stack([0 * time, 0 * time, np.sin(w * time / 2), np.cos(w * time / 2)], -1)
    v = np.tile([0.0, r * w, 0.0], (len(time), 1))  # along the body's y
    return q, v, np.zeros((len(time), 3))  # dv/dt in the body's frame, not the centripetal acceleration


@pytest.mark.parametrize(("motion", "turns"), [(circling, 0.0), (rolling, 4.0)])
def test_error_falls_with_the_square_of_the_time_step(motion, turns):
    errors = []
    for frames in (26, 51):
        time = np.linspace(0, 0.5, frames)
        q, v, a = motion(time)
        found_v, found_a = derivatives(ZOO, time, q)
        errors.append((np.abs(found_v[:, :3] - v).max(), np.abs(found_a[1:-1, :3] - a[1:-1]).max()))
        np.testing.assert_allclose(found_v[:, 5], turns, atol=1e-9)
    assert errors[0][0] < 0.1
    assert errors[0][1] < 0.2
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 0.3 * coarse or coarse < 1e-9


def test_one_frame_is_at_rest():
    v, a = derivatives(ZOO, np.array([3.0]), TREES["zoo"].neutral[None])
    assert v.shape == a.shape == (1, ZOO.nv)
    assert not v.any()
    assert not a.any()


def test_sign_of_quaternions_does_not_matter():
    q, v, _ = accelerating(UNEVEN)
    q[[2, 5], 3:7] *= -1
    np.testing.assert_allclose(derivatives(ZOO, UNEVEN, q)[0], v, atol=1e-10)


def test_a_long_motions_forces_are_found_piece_by_piece(monkeypatch):
    """Ten pieces of a march, against all of it at once."""
    from estimation_cases import CHILD, marching

    from physpose.estimation import dynamics

    time = np.arange(120) / 30.0
    q, belief = marching(time), np.zeros((120, len(CHILD.support_points)))
    belief[:, :8] = 1.0
    whole, found = dynamics.dynamics_of(CHILD, time, q, belief, np.array([0.0, 0.0, -9.81]))
    monkeypatch.setattr(dynamics, "PIECE", 12)
    monkeypatch.setattr(dynamics, "LONGEST", 12)
    monkeypatch.setattr(dynamics, "OVERLAP", 8)
    pieces, none = dynamics.dynamics_of(CHILD, time, q, belief, np.array([0.0, 0.0, -9.81]))
    assert found is not None
    assert none is None
    np.testing.assert_allclose(pieces.contacts.force, whole.contacts.force, atol=0.02 * CHILD.mass * 9.81)
    np.testing.assert_allclose(pieces.tau, whole.tau, atol=0.02 * CHILD.mass * 9.81)
