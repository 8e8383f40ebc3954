"""Angles of the same attitude: chosen so that they go on, never another attitude."""

from __future__ import annotations

import numpy as np
import torch

from physpose import load_skeleton
from physpose.chain import KinematicChain
from physpose.estimation.euler_choice import continuous_angles, within_ranges

ADULT = load_skeleton("adult", height=1.75, mass=70)
CHAIN = KinematicChain(ADULT)
ARM = [7 + ADULT.coordinate_names.index(f"arm_{n}_r") for n in ("flex", "add", "rot")]


def waving(frames: int = 40) -> np.ndarray:
    """q (T, nq) of an arm that goes from hanging to overhead."""
    q = np.tile(ADULT.neutral, (frames, 1))
    s = np.linspace(0, 1, frames)
    q[:, ARM] = np.stack([2.6 * s, -0.2 - 0.8 * s, 0.3 * s], 1)
    return q


def flipped(q: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The arm's angles written the other way in some frames."""
    out = q.copy()
    a, b, c = out[np.ix_(frames, ARM)].T
    out[np.ix_(frames, ARM)] = np.stack([a - np.pi, np.pi - b, c + np.pi], 1)
    return out


def test_flipped_frames_are_put_right_and_the_pose_stays():
    q = waving()
    wrong = flipped(q, np.array([3, 4, 17, 30, 31, 39]))
    assert np.abs(np.diff(wrong[:, ARM], axis=0)).max() > 2.5
    found = continuous_angles(CHAIN, wrong)
    np.testing.assert_allclose(found, q, atol=1e-9)
    before, after = (CHAIN.fk(torch.as_tensor(x)).R for x in (wrong, found))
    torch.testing.assert_close(before, after, atol=1e-9, rtol=0)


def test_the_first_frame_takes_the_angles_a_joint_can_have():
    q = waving()
    found = continuous_angles(CHAIN, flipped(q, np.arange(len(q))))
    np.testing.assert_allclose(found, q, atol=1e-9)


def test_whole_turns_are_taken_off():
    q = waving()
    turned = q.copy()
    turned[5:9, ARM[0]] += 2 * np.pi
    np.testing.assert_allclose(continuous_angles(CHAIN, turned), q, atol=1e-9)


def beyond(angles: np.ndarray) -> np.ndarray:
    """[rad] how far the arm's angles (T, 3) leave their ranges."""
    limits = CHAIN.limits.numpy()[[i - 7 for i in ARM]]
    return np.maximum(angles - limits[:, 1], 0) + np.maximum(limits[:, 0] - angles, 0)


def test_angles_that_went_on_are_told_within_their_ranges():
    q = waving()
    gone_on = flipped(q, np.arange(len(q)))
    gone_on[:, ARM] += 2 * np.pi * np.array([1, -1, 2])
    assert beyond(gone_on[:, ARM]).sum(1).min() > 1.0
    sign, offset = within_ranges(CHAIN, gone_on)
    told = gone_on.copy()
    told[:, 7:] = sign * gone_on[:, 7:] + offset
    np.testing.assert_allclose(told[:, ARM], q[:, ARM], atol=1e-9)
    before, after = (CHAIN.fk(torch.as_tensor(x)).R for x in (gone_on, told))
    torch.testing.assert_close(before, after, atol=1e-9, rtol=0)


def test_angles_in_their_ranges_are_left_as_they_are():
    q = waving()
    sign, offset = within_ranges(CHAIN, q)
    assert (sign == 1).all()
    assert not offset.any()
