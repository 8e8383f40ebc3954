"""A floor that slopes: z is its normal, gravity leans. Statics tells what it gives."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lab_walk import markers
from scipy.spatial.transform import Rotation

import physpose
from physpose import marker_pipeline
from physpose.chain import KinematicChain
from physpose.errors import InputError
from physpose.estimation.marker_fit import fit_markers
from physpose.skeleton import load_skeleton
from physpose.types import Array

SLOPE = np.radians(10)
DOWN = 9.81 * np.array([-np.sin(SLOPE), 0.0, -np.cos(SLOPE)])  # rises along x
ADULT = load_skeleton("adult", age=30, sex="m", height=1.75, mass=72.0)
WEIGHT = ADULT.mass * 9.81
KNOWN = {"scale": False, "register": False}


def uphill() -> Array:
    """Standing still, upright against gravity, facing up the slope, soles on it (nq,)."""
    q = ADULT.neutral.copy()
    q[3:7] = (Rotation.from_euler("y", SLOPE) * Rotation.from_quat(q[3:7])).as_quat()
    for side in "rl":
        q[7 + ADULT.coordinate_names.index(f"ankle_angle_{side}")] += SLOPE
    chain = KinematicChain(ADULT)
    soles = chain.points(tuple(p for p in ADULT.contact_points if not p.name.startswith("hand")))
    q[2] -= float(chain.locate(chain.fk(torch.as_tensor(q)), soles)[:, 2].min())
    return q


@pytest.fixture(scope="module")
def seen():
    q = np.tile(uphill(), (60, 1))
    return markers(SimpleNamespace(body=ADULT, q=q, time=np.arange(60) / 60))


def test_a_slope_gives_weight_and_friction(seen):
    found = physpose.fit(seen, ADULT, gravity=tuple(DOWN), **KNOWN)
    force = found.contacts.force.sum(1)[10:-10]
    np.testing.assert_allclose(force, np.tile(-ADULT.mass * DOWN, (40, 1)), atol=0.02 * WEIGHT)
    np.testing.assert_allclose(found.gravity, DOWN)
    assert np.linalg.norm(found.unexplained[10:-10, :3], axis=1).max() < 0.02 * WEIGHT
    assert not found.warnings
    assert found.plausibility["friction"].passed
    # moment about both ankles of what is above them: their torque
    ankles = [ADULT.body_index(f"talus_{s}") for s in "rl"]
    feet = [b for b in ADULT.bodies if b.name[:-2] in ("talus", "calcn", "toes")]
    tau = sum(found[f"ankle_angle_{s}"].tau[30] for s in "rl")
    at = found.positions[30, ankles].mean(0)
    points = found.skeleton.support_points
    moment = np.zeros(3)
    for c, name in enumerate(found.contacts.points):
        point = next(p for p in points if p.name == name)
        i = ADULT.body_index(point.body)
        where = found.positions[30, i] + found.rotations[30, i] @ point.offset
        moment += np.cross(where - at, found.contacts.force[30, c])
    for body in feet:
        i = ADULT.body_index(body.name)
        moment += np.cross(found.positions[30, i] + found.rotations[30, i] @ body.com - at, body.mass * DOWN)
    # the y axis points to the left, ankle_angle turns the toes up: the muscle holds against the floor's moment
    assert tau == pytest.approx(moment[1], abs=1.5)


def test_the_estimate_knows_it_too(seen, monkeypatch):
    """Not only the inverse dynamics behind it."""
    fits = []
    monkeypatch.setattr(marker_pipeline, "fit_markers", lambda *a, **k: fits.append(fit_markers(*a, **k)) or fits[-1])
    physpose.fit(seen, ADULT, gravity=tuple(DOWN), **KNOWN)
    problem = fits[0].evidence.problem
    np.testing.assert_allclose(problem.gravity_vector, DOWN)
    assert problem.gravity == pytest.approx(9.81)
    assert problem.has_floor


def test_taken_for_level_the_same_needs_no_friction(seen):
    found = physpose.fit(seen, ADULT, **KNOWN)
    force = found.contacts.force.sum(1)[10:-10]
    assert np.abs(force[:, 0]).max() < 0.05 * WEIGHT


@pytest.mark.parametrize("gravity", [(-9.81, 0, -1.0), (0.1, 0.0, 0.0), (0, 0, 9.81)])
def test_walls_are_no_floors(seen, gravity):
    with pytest.raises(InputError, match="slopes by less than 45 deg"):
        physpose.fit(seen, ADULT, gravity=gravity)


def test_a_video_knows_no_slope():
    points = np.random.default_rng(0).uniform(100, 400, (5, 17, 2))
    with pytest.raises(InputError, match="z is up") as told:
        physpose.fit(points, keypoint_set="coco17", fps=30, image_size=(640, 480), gravity=tuple(DOWN))
    assert "slopes" not in str(told.value)
