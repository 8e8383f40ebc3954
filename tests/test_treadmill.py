"""A treadmill: who walks on a belt walks as on the ground, but for the belt's velocity (Galilei)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_walk import markers
from synthetic import beside, filmed
from walker import walk

import physpose
from physpose import load_skeleton
from physpose.errors import InputError
from physpose.estimation.contact import belt_velocity
from physpose.pipeline import fit
from physpose.saved import load_result
from physpose.types import Array
from sims import walk as walking

KNOWN = {"scale": False, "register": False}
INNER = slice(10, -10)


@pytest.fixture(scope="module")
def over_ground():
    made = walk()
    return made, physpose.fit(markers(made), made.body, **KNOWN)


def on_a_belt(made, speed: float) -> tuple[physpose.types.Markers, Array]:
    """Markers as seen from a laboratory through which the ground goes backwards; its velocity."""
    seen = markers(made)
    velocity = np.array([-speed, 0.0, 0.0])  # the body faces x
    return replace(seen, positions=seen.positions + velocity * seen.time[:, None, None]), velocity


@pytest.mark.parametrize("speed", [0.8, 1.4])
def test_a_belt_changes_no_angle_and_no_force(over_ground, speed):
    made, ground = over_ground
    seen, velocity = on_a_belt(made, speed)
    found = physpose.fit(seen, made.body, treadmill=speed, **KNOWN)
    np.testing.assert_allclose(found.belt, velocity, atol=0.05 * speed)
    np.testing.assert_allclose(found.q[INNER, 7:], ground.q[INNER, 7:], atol=np.radians(0.3))
    weight = made.body.mass * 9.81
    difference = np.abs(found.contacts.force - ground.contacts.force)[INNER].mean() / weight
    assert difference < 0.005
    without = physpose.fit(seen, made.body, **KNOWN)
    assert np.abs(without.contacts.force - ground.contacts.force)[INNER].mean() / weight > 4 * difference
    skates = [r.plausibility["foot skate"].details["mean in contact [m/s]"] for r in (ground, found)]
    assert skates[1] == pytest.approx(skates[0], abs=0.05)


def test_a_video_of_somebody_on_a_treadmill():
    who = {"sex": "m", "height": 1.75, "mass": 72.0}
    sim = walking.simulate(load_skeleton("adult", **who), 2.5)
    drift = (sim.q[-1, :2] - sim.q[0, :2]) / (sim.time[-1] - sim.time[0])
    q = sim.q.copy()
    q[:, :2] -= drift * sim.time[:, None]
    on_the_spot = replace(sim, q=q)
    camera = beside(on_the_spot, distance=5.0)
    keypoints, _ = filmed(on_the_spot, camera)
    speed = float(np.linalg.norm(drift))
    result = fit(keypoints, camera=camera.focal, treadmill=speed, **who)
    assert np.linalg.norm(result.belt) == pytest.approx(speed)
    assert not [w for w in result.warnings if "slides" in w]
    travelled = np.linalg.norm(result.com[-1, :2] - result.com[0, :2])
    assert travelled < 0.15
    skate = result.plausibility["foot skate"].details["mean in contact [m/s]"]
    assert skate < 0.05  # feet go with the belt; 0.24 where they are held to the room
    assert [w for w in fit(keypoints, camera=camera.focal, **who).warnings if "a treadmill (then give its speed)" in w]


def test_it_is_saved(over_ground, tmp_path):
    made, _ = over_ground
    seen, velocity = on_a_belt(made, 1.0)
    found = physpose.fit(seen, made.body, treadmill=1.0, **KNOWN)
    found.save(tmp_path)
    np.testing.assert_allclose(load_result(tmp_path).belt, found.belt)
    again = physpose.check(tmp_path)
    assert again["foot skate"].details == pytest.approx(found.plausibility["foot skate"].details)


def test_the_belt_goes_against_the_face_and_is_level():
    turn = np.radians(30)
    R = torch.tensor([[np.cos(turn), -np.sin(turn), 0.3], [np.sin(turn), np.cos(turn), 0.1], [0.2, 0.1, 1.0]])
    found = belt_velocity(2.0, R.expand(5, 3, 3))
    np.testing.assert_allclose(found, [-2 * np.cos(turn), -2 * np.sin(turn), 0.0], atol=1e-12)
    np.testing.assert_allclose(belt_velocity(-2.0, R.expand(5, 3, 3)), -found)


@pytest.mark.parametrize("speed", [float("nan"), 40.0, -float("inf")])
def test_speeds_of_no_belt(over_ground, speed):
    made, _ = over_ground
    with pytest.raises(InputError, match="its belt's speed"):
        physpose.fit(markers(made), made.body, treadmill=speed, **KNOWN)
