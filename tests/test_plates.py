"""Which foot stood on which plate: two feet of a few points placed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from physpose.estimation.plates import PlateSettings, assign_to_feet, body_side
from physpose.io.forces import Forces
from physpose.skeleton.model import Body, Joint, Point, Skeleton
from physpose.types import Wrench

TIME = np.arange(100) / 100
HALF = 0.12  # [m] half a foot's length


def skeleton():
    def body(name, parent):
        return Body(name=name, parent=parent, joint=Joint(name=name, kind="free"), mass=1.0, com=np.zeros(3),
                    inertia=np.eye(3))  # fmt: skip

    points = tuple(
        Point(name=f"{end}_{s}", body=f"calcn_{s}", offset=np.array([x, 0, 0]))
        for s in "rl"
        for end, x in (("heel", -HALF), ("toe", HALF))
    )
    bodies = (body("pelvis", None), body("calcn_r", "pelvis"), body("calcn_l", "pelvis"))
    return Skeleton(name="feet", bodies=bodies, subject=None, keypoint_sets={}, contact_points=points, scale_groups=(),
                    neutral=np.zeros(21))  # fmt: skip


def plate(centre, cop, on=slice(20, 80), name="plate 1", size=0.5):
    force, point = np.zeros((100, 3)), np.full((100, 3), np.nan)
    force[on, 2], point[on] = 700.0, cop
    half = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]) * size / 2
    return Wrench(name=name, time=TIME, force=force, cop=point, free_moment=np.zeros((100, 3)),
                  corners=np.asarray(centre, float) + half)  # fmt: skip


def assigned(right, left, *wrenches, **settings):
    positions = np.zeros((100, 3, 3))
    positions[:, 1], positions[:, 2] = right, left
    rotations = np.broadcast_to(np.eye(3), (100, 3, 3, 3))
    forces = Forces(wrenches=wrenches, source="made up")
    return assign_to_feet(forces, skeleton(), TIME, positions, rotations, PlateSettings(**settings))


def swinging(x, y):
    """A foot that passes at 2 m/s, 10 cm above where it stands at the end."""
    at = np.stack([x + 2 * (TIME - 0.5), y + 0 * TIME, 0.1 + 0 * TIME], 1)
    at[-10:] = [x + 1, y, 0]
    return at


def test_the_foot_at_the_pressure_gets_the_force():
    for right, left, foot in (([0, -0.1, 0], swinging(0, 0.1), "calcn_r"), (swinging(0, -0.1), [0, 0.1, 0], "calcn_l")):
        y = -0.1 if foot == "calcn_r" else 0.1
        found = assigned(right, left, plate([0, 0, 0], [0.05, y, 0]))
        assert [w.body for w in found.wrenches] == [foot]
        assert found.valid.all()
        assert found.warnings == ()


def test_both_feet_on_a_plate_cannot_be_told_apart():
    found = assigned([0, -0.1, 0], [0, 0.1, 0], plate([0, 0, 0], [0, -0.06, 0]))
    np.testing.assert_array_equal(found.valid, (np.arange(100) < 20) | (np.arange(100) >= 80))
    assert "both feet were on it" in found.warnings[0]
    assert "60 frames (0.20 to 0.79 s)" in found.warnings[0]


def test_feet_on_plates_of_their_own_are_fine_side_by_side():
    plates = plate([0, -0.26, 0], [0, -0.1, 0]), plate([0, 0.26, 0], [0, 0.1, 0], name="plate 2")
    found = assigned([0, -0.1, 0], [0, 0.1, 0], *plates)
    assert [w.body for w in found.wrenches] == ["calcn_r", "calcn_l"]
    assert found.valid.all()


def test_a_foot_half_beside_its_plate_was_not_measured():
    found = assigned([0.25, -0.1, 0], swinging(0, 0.1), plate([0, 0, 0], [0.2, -0.1, 0]))
    assert not found.valid[20:80].any()
    assert "also stood beside it" in found.warnings[0]


def test_a_plate_that_one_foot_uses_after_the_other_gives_two_forces():
    right, left = np.zeros((100, 3)), np.zeros((100, 3))
    right[:] = np.where(TIME[:, None] < 0.5, [0, -0.1, 0], [0.8, -0.1, 0.2])
    left[:] = np.where(TIME[:, None] < 0.5, [-0.8, 0.1, 0.2], [0, 0.1, 0])
    w = plate([0, 0, 0], [0, -0.1, 0], slice(10, 45))
    later = plate([0, 0, 0], [0, 0.1, 0], slice(55, 90))
    both = replace(w, force=w.force + later.force, cop=np.where(np.isnan(w.cop), later.cop, w.cop))
    found = assigned(right, left, both)
    assert [w.body for w in found.wrenches] == ["calcn_r", "calcn_l"]
    total = sum(w.force for w in found.wrenches)
    np.testing.assert_allclose(total, both.force)
    assert found.wrenches[0].force[10:45, 2].min() == 700
    assert found.wrenches[1].force[:50].max() == 0


def test_the_noise_between_contacts_goes_to_the_nearer_one():
    w = plate([0, 0, 0], [0.05, -0.1, 0])
    noisy = replace(w, force=w.force + [0, 0, 3.0], cop=np.nan_to_num(w.cop))
    found = assigned([0, -0.1, 0], swinging(0, 0.1), noisy)
    np.testing.assert_allclose(found.wrenches[0].force, noisy.force)


def test_pressure_out_of_reach_is_told():
    w = plate([0, 0, 0], [0.05, -0.1, 0])
    drifting = replace(w, cop=w.cop + np.where((np.arange(100) > 60)[:, None], [0, -0.3, 0], 0))
    found = assigned([0, -0.1, 0], swinging(0, 0.1), drifting)
    assert not found.valid[61:80].any()
    assert found.valid[:61].all()
    assert "out of both feet's reach" in found.warnings[0]


def test_without_corners_the_pressure_alone_decides():
    w = replace(plate([0, 0, 0], [0.05, -0.1, 0]), corners=None)
    found = assigned([0, -0.1, 0], [0, 0.1, 0], w)
    assert [w.body for w in found.wrenches] == ["calcn_r"]
    assert found.valid.all()
    between = replace(plate([0, 0, 0], [0.0, -0.01, 0]), corners=None)
    assert not assigned([0, -0.05, 0], [0, 0.05, 0], between).valid[20:80].any()


@pytest.mark.parametrize(
    ("name", "side"),
    [("calcn_r", "right"), ("calcn_l", "left"), ("left_foot", "left"), ("RightFoot", "right"), ("L_toes", "left"),
     ("foot.right", "right"), ("pelvis", None), ("torso", None), ("lowerleg", None)],
)  # fmt: skip
def test_sides_by_name(name, side):
    assert body_side(name) == side
