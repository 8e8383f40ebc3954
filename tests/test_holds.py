"""Who holds on: a bar, a rail, a wall, a push in orbit. Forces of any direction there, none where nothing is held."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from synthetic import beside, filmed

import physpose
from physpose import load_skeleton
from physpose.chain import KinematicChain
from physpose.cli import main
from physpose.conventions import q_to_mujoco, v_to_mujoco
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.forces import ContactForces, contact_forces
from physpose.estimation.holds import hold_belief, holding_last
from physpose.estimation.settings import EstimationSettings
from physpose.pipeline import fit
from physpose.plausibility.assess import assess
from physpose.plausibility.recording import Recording
from physpose.plausibility.simulated import FORCE, with_mujoco
from physpose.result import FitResult
from physpose.saved import load_result
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Hold, Skeleton
from physpose.spatial import quat_to_matrix
from physpose.types import Array, Contacts, Markers, Motion
from sims import astronaut, swing
from sims.common import EARTH, Simulation

WHO = {"sex": "m", "height": 1.75, "mass": 72.0}
HANDS = ("hand_r", "hand_l")
WEIGHT, STATURE = 600.0, 1.7
POINTS = np.array([[0.1, 0.1, -1.0], [0.1, -0.1, -1.0], [0.6, 0.0, 0.3]])  # [m] two feet, and a hand on a rail


@pytest.fixture(scope="module")
def adult() -> Skeleton:
    return load_skeleton("adult", **WHO)


@pytest.fixture(scope="module")
def hanging(adult) -> Simulation:
    return swing.simulate(adult, 2.0, motion="hang")


# --- forces -----------------------------------------------------------------------------------------------------------


def shared(wrench: Array, belief: tuple[float, ...] = (1.0, 1.0, 1.0), T: int = 5) -> ContactForces:
    tensors = (np.arange(T) / 30, np.tile(wrench, (T, 1)), np.tile(POINTS, (T, 1, 1)), np.tile(belief, (T, 1)))
    return contact_forces(*(torch.as_tensor(x) for x in tensors), weight=WEIGHT, stature=STATURE, n_holds=1)


def wrench_at(*forces_and_places: tuple[list[float], Array]) -> Array:
    return np.sum([np.concatenate([f, np.cross(p, f)]) for f, p in forces_and_places], axis=0)


@pytest.mark.parametrize("pull", [[-150.0, 0, 0], [0, 0, -200.0], [60.0, 90.0, 120.0]])
def test_feet_and_a_hold_explain_a_wrench_together(pull):
    """Feet carry in the middle between them, the hand pulls: across the line between both, statics leaves no choice."""
    feet = [0.0, 0.0, WEIGHT - pull[2]]
    found = shared(wrench_at((feet, POINTS[:2].mean(0)), (pull, POINTS[2])))
    np.testing.assert_allclose(found.residual[2].numpy(), 0, atol=0.02 * WEIGHT)
    loose = found.force[2].numpy()
    assert (loose[:2, 2] > 0).all()
    # along the line from feet to hand a pull is the same wrench at either end: effort and size choose
    line = (POINTS[2] - POINTS[:2].mean(0)) / np.linalg.norm(POINTS[2] - POINTS[:2].mean(0))
    across = loose[2] - pull - line * ((loose[2] - pull) @ line)
    np.testing.assert_allclose(across, 0, atol=0.06 * WEIGHT)


def test_who_does_not_hold_is_not_pulled():
    wrench = wrench_at(([0, 0, WEIGHT], POINTS[:2].mean(0)))
    found = shared(wrench, (1.0, 1.0, 0.0))
    np.testing.assert_allclose(found.force[2, 2].numpy(), 0, atol=1e-3 * WEIGHT)


@pytest.mark.parametrize("pull", [[30.0, 0, WEIGHT], [-300.0, 0, 100.0], [0, 50.0, -200.0]])
def test_a_hold_alone_bears_all(pull):
    """Sideways and downwards, too, where a floor could not."""
    found = shared(wrench_at((pull, POINTS[2])), (0.0, 0.0, 1.0))
    np.testing.assert_allclose(found.force[2, 2].numpy(), pull, atol=0.01 * WEIGHT)
    assert found.settled


def test_the_feet_carry_first():
    belief = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.25, 1.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(holding_last(belief, 1)[:, 2], [0.0, 0.75, 1.0])
    assert holding_last(belief, 0) is belief


def test_points_hold_while_they_stay_or_when_it_was_said():
    time = torch.arange(90, dtype=torch.float64) / 30
    moves = torch.where(time < 1.5, 0.0, 1.0 * (time - 1.5))  # [m]
    p = torch.stack([moves, moves, moves], -1)[:, None].expand(-1, 2, -1)
    still, told = Hold(name="a", body="b", offset=np.zeros(3)), Hold(
        name="a", body="b", offset=np.zeros(3), spans=((0.5, 1.0), (2.0, 9.0))
    )  # fmt: skip
    belief = hold_belief(p, time, (still, told), EstimationSettings()).numpy()
    assert (belief[:35, 0] > 0.95).all()
    assert (belief[55:, 0] < 0.05).all()
    np.testing.assert_array_equal(belief[:, 1] == 1, ((time >= 0.5) & (time <= 1.0) | (time >= 2.0)).numpy())


# --- a known motion ---------------------------------------------------------------------------------------------------


def in_hands(sim: Simulation, skeleton: Skeleton, step: int = 4) -> tuple[Motion, Array]:
    k = np.arange(0, len(sim.time), step)
    belief = np.zeros((len(k), len(skeleton.support_points)))
    belief[:, len(belief[0]) - len(skeleton.hold_points) :] = 1.0
    rates = (sim.v[k], sim.a[k])
    return dynamics_of(skeleton, sim.time[k], sim.q[k], belief, np.array(EARTH), rates=rates)[0], k


def test_the_bar_gives_a_hanging_body_what_its_pendulum_needs(hanging, adult):
    motion, k = in_hands(hanging, adult.holding(HANDS))
    given = motion.contacts.force.sum(1)
    np.testing.assert_allclose(given, hanging.truth["outside_force"][k], atol=0.02 * 72 * 9.81)
    feet = [i for i, n in enumerate(motion.contacts.points) if not n.startswith("hold_")]
    assert np.abs(motion.contacts.force[:, feet]).max() < 1.0
    assert "hand_r, hand_l" in motion.contacts.method


@pytest.mark.parametrize(("belief", "carried"), [(0.0, 0.0), (1e-6, 1.0)])
def test_where_there_is_no_floor_none_is_made_up(adult, belief, carried):
    """Standing still at z = 0: feet too quick to be believed are helped out, but not where no floor is."""
    q = np.tile(adult.neutral, (20, 1))
    motion, _ = dynamics_of(
        adult, np.arange(20) / 30, q, np.full((20, len(adult.contact_points)), belief), np.array(EARTH)
    )
    np.testing.assert_allclose(motion.contacts.force.sum(1)[:, 2] / (adult.mass * 9.81), carried, atol=0.02)


def test_what_is_held_is_not_asked_of_the_floor(hanging, adult):
    motion, _ = in_hands(hanging, adult.holding(HANDS))
    seen = Recording.of_motion(motion, adult.holding(HANDS), gravity=np.array(EARTH))
    assert np.abs(seen.needed_wrench[:, 2]).min() > 0.9 * 72 * 9.81
    assert np.abs(seen.floor_wrench[:, :3]).max() < 0.03 * 72 * 9.81
    assert np.abs(seen.supported).max() < 0.03
    assert {*seen.floor_forces} == {p.body for p in (*adult.contact_points, *adult.seat_points)}
    assert not any(f.any() for f in ([np.abs(x) > 1.0 for x in seen.floor_forces.values()]))


def test_torques_of_a_hanging_body_are_mujocos(hanging, adult):
    """Inverse dynamics there, with the same forces at the palms."""
    held = adult.holding(HANDS)
    motion, k = in_hands(hanging, held, step=40)
    model = mujoco.MjModel.from_xml_string(to_mjcf(adult))
    model.opt.gravity = EARTH
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    data = mujoco.MjData(model)
    names = [f"{n}_{s}" for n in ("arm_flex", "arm_add", "elbow_flex", "lumbar_extension", "hip_flexion") for s in "rl"]
    names = [n for n in names if n in adult.coordinate_names]
    for t, frame in enumerate(k):
        q, v, a = hanging.q[frame], hanging.v[frame], hanging.a[frame]
        data.qpos[:], data.qvel[:] = q_to_mujoco(adult, q), v_to_mujoco(adult, q, v)
        R = motion.rotations[t, 0]
        data.qacc[:3] = R @ (a[:3] + np.cross(v[3:6], v[:3]))
        data.qacc[3:6] = a[3:6]
        for i, name in enumerate(adult.coordinate_names):
            data.qacc[model.joint(name).dofadr[0]] = a[6 + i]
        mujoco.mj_inverse(model, data)
        needed = data.qfrc_inverse.copy()
        for c, point in enumerate(held.hold_points):
            J = np.zeros((3, model.nv))
            body = model.body(point.body).id
            where = data.xpos[body] + data.xmat[body].reshape(3, 3) @ point.offset
            mujoco.mj_jac(model, data, J, None, where, body)
            needed -= J.T @ motion.contacts.force[t, len(motion.contacts.points) - 2 + c]
        for name in names:
            own = motion.tau[t, 6 + adult.coordinate_names.index(name)]
            assert own == pytest.approx(needed[model.joint(name).dofadr[0]], abs=1e-6)


# --- a fit ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(hanging) -> tuple[FitResult, Array]:
    camera = beside(hanging, distance=5.0)
    keypoints, keep = filmed(hanging, camera)
    return fit(keypoints, camera=camera.focal, floor=False, holds=HANDS, **WHO), keep


def test_a_video_of_somebody_who_hangs(seen, hanging):
    result, keep = seen
    W = 72 * 9.81
    held = result.contacts.force[:, [result.contacts.points.index(f"hold_{n}") for n in HANDS]]
    np.testing.assert_allclose(held.sum(1)[:, 2].mean(), hanging.truth["outside_force"][keep][:, 2].mean(), rtol=0.03)
    assert np.median(np.linalg.norm(result.unexplained[:, :3], axis=1)) < 0.03 * W
    assert result.warnings == ()
    assert result.plausibility["root residual force"].passed
    assert result.sigma is not None
    lean = lean_of(result.rotations[:, 0])
    true = lean_of(quat_to_matrix(torch.as_tensor(hanging.q[keep, 3:7])).numpy())
    assert lean.mean() == pytest.approx(true.mean(), abs=8.0)  # which way is down is told by the hands


def lean_of(pelvis: Array) -> Array:
    """Angle (T,) [deg] of the pelvis' own y from the vertical."""
    return np.degrees(np.arccos(pelvis[:, 2, 1]))


def test_without_a_word_of_it_nothing_holds(hanging):
    camera = beside(hanging, distance=5.0)
    keypoints, _ = filmed(hanging, camera)
    result = fit(keypoints, camera=camera.focal, floor=False, **WHO)
    assert np.abs(result.contacts.force).max() < 1.0
    told = [w for w in result.warnings if "an outside force that is not known acts" in w]
    assert len(told) == 1
    assert "holds" in told[0]


def test_it_is_saved_and_checked_as_it_was(seen, tmp_path):
    result, _ = seen
    result.save(tmp_path)
    saved = load_result(tmp_path)
    assert not saved.floor
    assert [h.name for h in saved.skeleton.hold_points] == [f"hold_{n}" for n in HANDS]
    np.testing.assert_allclose(saved.contacts.force, result.contacts.force)
    for again in (physpose.check(result), physpose.check(tmp_path)):
        assert {m.name for m in again.failed} == {m.name for m in result.plausibility.failed}
        assert "friction" not in {m.name for m in again.measures}
    report = (tmp_path / "report.html").read_text()
    assert "right hand" in report


def test_a_rollout_in_mujoco_holds_on_too(hanging, adult):
    """With the bar's forces the body hangs; without them it would fall."""
    motion, _ = in_hands(hanging, adult.holding(HANDS), step=1)
    of = lambda m: Recording.of_motion(m, adult.holding(HANDS), gravity=np.array(EARTH))  # noqa: E731
    help_needed = {}
    for name, m in (("held", motion), ("loose", replace(motion, contacts=loose(motion.contacts)))):
        found = with_mujoco(assess(of(m)), of(m))
        help_needed[name] = np.nanmedian(found[FORCE].series)
    assert help_needed["held"] < 5.0  # % of body weight
    assert help_needed["loose"] > 50.0


def loose(contacts: Contacts) -> Contacts:
    return replace(contacts, force=0 * contacts.force, active=np.zeros_like(contacts.active))


def test_a_push_in_orbit_is_what_the_feet_were_told_to_give():
    """Impulse from a video; before and after, momentum is kept."""
    skeleton = load_skeleton("adult", **WHO)
    sim = astronaut.simulate(skeleton, 1.5)
    camera = beside(sim, distance=4.5)
    keypoints, keep = filmed(sim, camera, landmark_noise=None)
    push = [(0.0, astronaut.PUSH_TIME)]
    result = fit(
        keypoints, camera=camera.focal, gravity=(0, 0, 0), holds={"calcn_r": push, "calcn_l": push}, **WHO
    )  # fmt: skip
    force = result.contacts.force.sum(1)
    impulse = np.linalg.norm(np.trapezoid(force, result.time, axis=0))
    assert impulse == pytest.approx(np.linalg.norm(sim.truth["impulse"]), rel=0.3)
    free = result.time > astronaut.PUSH_TIME + 0.05
    assert np.abs(force[free]).max() < 5.0
    drift = result.momentum[free, :3]
    assert np.linalg.norm(drift - drift.mean(0), axis=1).max() < 0.15 * np.linalg.norm(drift.mean(0))


# --- what was asked ---------------------------------------------------------------------------------------------------


def test_where_one_may_hold(adult):
    held = adult.holding({"hand_r": None, "ischium_l": [(0, 1), (2, 3)], "torso": [(0, 9)]})
    assert [(h.name, h.body) for h in held.hold_points] == [
        ("hold_hand_r", "hand_r"), ("hold_ischium_l", "pelvis"), ("hold_torso", "torso")
    ]  # fmt: skip
    palm = next(p for p in adult.contact_points if p.name == "hand_r")
    np.testing.assert_array_equal(held.hold_points[0].offset, palm.offset)
    assert held.hold_points[1].spans == ((0.0, 1.0), (2.0, 3.0))
    assert [h.name for h in adult.holding("hand_r").hold_points] == ["hold_hand_r"]
    twice = held.scaled(np.full(len(held.scale_groups), 2.0))
    np.testing.assert_allclose(twice.hold_points[0].offset, 2 * palm.offset)


@pytest.mark.parametrize("spans", [[(2, 1)], [], [(1,)], "1-2", [(float("nan"), 1)]])
def test_times_that_are_none(adult, spans):
    with pytest.raises(InputError, match=r"hold hand_r: .*\(from, to\) in seconds"):
        adult.holding({"hand_r": spans})


def test_a_point_that_is_not_there(adult):
    with pytest.raises(UnknownNameError, match="point to hold by 'palm'.*hand_r"):
        adult.holding(["palm"])


def test_the_command_line_takes_holds(tmp_path, capsys):
    file = tmp_path / "keypoints.json"
    file.write_text("[]")
    assert main(["fit", str(file), "--hold", "hand_r:soon"]) == 2
    error = capsys.readouterr().err
    assert "hold hand_r:soon: POINT:FROM-TO" in error
    assert error.count("\n") == 1


def test_markers_of_somebody_who_hangs(hanging, adult):
    """Of a known body, at its own landmarks."""
    k = np.arange(0, len(hanging.time), 2)
    points = adult.keypoint_set("markers")
    chain = KinematicChain(adult)
    p = chain.keypoints(torch.as_tensor(hanging.q[k]), "markers").numpy()
    seen = Markers(names=points.names, time=hanging.time[k], positions=p, rate=60.0)
    spots = {n: n for n in points.names}
    result = fit(seen, adult, scale=False, register=False, floor=False, holds=HANDS, marker_set=spots)
    given = result.contacts.force.sum(1)[10:-10]
    np.testing.assert_allclose(given, hanging.truth["outside_force"][k][10:-10], atol=0.05 * 72 * 9.81)
    assert not [w for w in result.warnings if "slides" in w or "chair" in w or "outside force" in w]
