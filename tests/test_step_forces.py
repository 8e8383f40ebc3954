"""What is expected of feet that walk: whole stances of steady walks, by quantities that are what they are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import physpose
from physpose.estimation import dynamics
from physpose.estimation.forces import ForceSettings, contact_forces
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.step_forces import Gait, StepForces, StepTable, quantities, soles, step_forces
from physpose.estimation.step_forces import walking_stances as stances_of
from physpose.io.forces import read_forces

ADULT = physpose.load_skeleton("adult", sex="m", height=1.75, mass=72.0)
TIME = np.arange(300) / 100.0
SPEED, STEP_TIME, STANCE_TIME, HEIGHT = 1.2, 0.55, 0.675, 0.95  # [m/s], [s], [s], [m]
SOLE = np.array([[-0.2, 0, 0], [0, 0.04, 0], [0, -0.04, 0], [0.06, 0, 0]])  # [m] from the ball's joint
UP = 0.02  # [m] of that joint over the sole
CHILD = "biomechzoo_children/data/sample_study/raw c3d files/HC050A"


def walk(stance_time: float = STANCE_TIME) -> tuple[Gait, np.ndarray]:
    """Somebody who walks along x, and the belief that his points bear."""
    names = [p.name for p in ADULT.support_points]
    positions = np.zeros((len(TIME), len(ADULT.bodies), 3))
    points, belief = np.zeros((len(TIME), len(names), 3)), np.zeros((len(TIME), len(names)))
    com = np.stack([SPEED * TIME, 0 * TIME, HEIGHT + 0 * TIME], 1)
    for k, side in enumerate("rl"):
        time = TIME + 1e-9 - k * STEP_TIME
        steps = time // (2 * STEP_TIME)
        since = time - 2 * STEP_TIME * steps  # [s] the strike
        stands = since < stance_time
        swing = np.clip((since - stance_time) / (2 * STEP_TIME - stance_time), 0, 1)
        x = SPEED * (k * STEP_TIME + 2 * STEP_TIME * (steps + swing) + stance_time / 2)
        toes = np.stack([x, 0 * x + (0.1 if side == "l" else -0.1), UP + 0.1 * (swing > 0)], 1)
        positions[:, ADULT.body_index(f"toes_{side}")] = toes
        points[:, soles(ADULT, side)] = toes[:, None] + SOLE - [0, 0, UP]
        belief[:, soles(ADULT, side)] = stands[:, None]
    facing = np.tile([1.0, 0.0, 0.2], (len(TIME), 1))
    return Gait(ADULT, TIME, positions, facing, com, points), belief


def test_whole_stances_are_found():
    gait, belief = walk()
    found = sorted((s.frames.start, s.frames.stop, s.side) for s in stances_of(gait, belief))
    # strikes every 0.55 s; the first stance begins with the recording, the last ones are cut off
    assert found == [(55, 123, "l"), (110, 178, "r"), (165, 233, "l"), (220, 288, "r")]
    steps = [s.step for s in stances_of(gait, belief)]
    np.testing.assert_allclose(steps, SPEED * STEP_TIME / HEIGHT, rtol=1e-9)


def test_blips_of_contact_neither_make_nor_end_a_stance():
    gait, belief = walk()
    expected = [s.frames for s in stances_of(gait, belief)]
    assert belief[200, soles(ADULT, "r")].max() == 0  # in the middle of a swing
    belief[199:202, soles(ADULT, "r")] = 1.0
    belief[140:143, soles(ADULT, "r")] = 0.0
    assert [s.frames for s in stances_of(gait, belief)] == expected


def elsewhere(gait: Gait, x: np.ndarray, y: np.ndarray) -> Gait:
    """The same with the centre of mass on another way."""
    return replace(gait, com=np.stack([x, y, gait.com[:, 2]], 1))


def stairs(gait: Gait) -> Gait:
    return replace(gait, points=gait.points + 0.2 * (gait.points[..., 1:2] > 0) * [0, 0, 1])


def bearing(belief: np.ndarray, points: list[int], value: float) -> np.ndarray:
    return np.where(np.isin(np.arange(belief.shape[1]), points), value, belief)


HAND = [p.name for p in ADULT.support_points].index("hand_r")
NO_WALKS = {
    "backwards": lambda gait, belief: (replace(gait, facing=-gait.facing), belief),
    "turning": lambda gait, belief: (elsewhere(gait, 2 * np.sin(0.6 * TIME), -2 * np.cos(0.6 * TIME)), belief),
    "stopping": lambda gait, belief: (elsewhere(gait, -np.exp(-TIME), 0 * TIME), belief),
    "stairs": lambda gait, belief: (stairs(gait), belief),
    "on the spot": lambda gait, belief: (replace(gait, positions=gait.positions * [0.3, 1, 1]), belief),
    "hands hold on": lambda gait, belief: (gait, bearing(belief, [HAND], 1.0)),
    "hopping on one leg": lambda gait, belief: (gait, bearing(belief, soles(ADULT, "l"), 0.0)),
}


@pytest.mark.parametrize("change", NO_WALKS.values(), ids=NO_WALKS.keys())
def test_nothing_is_expected_of_who_does_not_walk(change):
    assert step_forces(*change(*walk())) is None


def test_nothing_is_expected_of_who_runs():
    assert step_forces(*walk(0.5)) is None


def test_quantities_are_what_they_are_called():
    gait, belief = walk()
    rng = np.random.default_rng(0)
    for stance in stances_of(gait, belief):
        rows, sole = quantities(gait, stance), soles(ADULT, stance.side)
        frame = stance.frames.start + 20
        force = np.zeros((gait.points.shape[1], 3))
        force[sole] = rng.uniform([-0.1, -0.1, 0.1], [0.1, 0.1, 0.4], (4, 3))
        total, at = force.sum(0), gait.points[frame]
        cop = (force[sole, 2] @ at[sole]) / total[2]  # on the floor z = 0
        toes = gait.of(f"toes_{stance.side}")[frame]
        length = np.linalg.norm(ADULT.bodies[ADULT.body_index(f"toes_{stance.side}")].joint.translation)
        moment = np.cross(at[sole] - gait.com[frame], force[sole]).sum(0)
        truth = [
            (cop - toes)[0] / length * total[2],
            total[0] / stance.step,
            moment[1] / (HEIGHT * stance.step),
        ]
        np.testing.assert_allclose(np.einsum("qci,ci->q", rows[20], force), truth, atol=1e-12)


def test_rows_are_white_at_the_mean():
    """Forces that have the table's pressure and drive leave nothing of these; one sigma off leaves one."""
    gait, belief = walk()
    found, table = step_forces(gait, belief), StepTable.load_shipped()
    stance = next(stances_of(gait, belief))
    frame, foot = stance.frames.start + 30, "rl".index(stance.side)
    load, mean, sigma = (x[30] for x in table.at(stance.phase))
    heel, *_, toe = soles(ADULT, stance.side)
    length = np.linalg.norm(ADULT.bodies[ADULT.body_index(f"toes_{stance.side}")].joint.translation)
    for off in (0.0, 1.0):
        force = torch.zeros(gait.points.shape[1], 3, dtype=torch.float64)
        share = ((mean[0] + off * sigma[0]) * length - SOLE[0, 0]) / (SOLE[3, 0] - SOLE[0, 0])
        force[heel, 2], force[toe, 2] = load * (1 - share), load * share
        force[heel, 0] = (mean[1] + off * sigma[1]) * stance.step
        left = found.residual[frame, foot] + torch.einsum("qci,ci->q", found.jacobian[frame, foot], force)
        np.testing.assert_allclose(left[:2], off, atol=1e-9)
    assert not found.residual[belief.max(1) == 0].any()


def test_forces_are_the_least_squares_of_all_that_is_known():
    """One frame against numpy's own solution, where no force is near its cone."""
    arms = torch.tensor([[[-0.1, 0, -1.0], [0.1, 0, -1.0], [0.0, 0.05, -1.0]]], dtype=torch.float64)
    weight, stature = 600.0, 1.7
    wrench = torch.tensor([[20.0, 5.0, 590.0, 3.0, -8.0, 1.0]], dtype=torch.float64)
    rows, residual = torch.zeros(1, 2, 3, 3, 3).double(), torch.zeros(1, 2, 3).double()
    rows[0, 0, 1, :, 0], rows[0, 1, 0, :, 2] = 50.0, torch.tensor([-4.0, 4.0, 0.0])
    residual[0, 0, 1], residual[0, 1, 0] = -6.0, 1.0
    steps = StepForces(residual, rows, torch.tensor([[1, 2]]), (0.03, 0.01))
    s = ForceSettings(barrier=1e-9)
    found = contact_forces(torch.zeros(1), wrench, arms, torch.ones(1, 3).double(), weight=weight, stature=stature,
                           settings=s, steps=steps)  # fmt: skip
    scale = np.array([0.03 * weight] * 3 + [0.01 * weight * stature] * 3)
    G = np.concatenate([np.concatenate([np.eye(3), np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])])
                        for x, y, z in arms[0].numpy()], 1) * weight  # fmt: skip
    A = np.concatenate([G / scale[:, None], np.eye(9) / s.force_sigma, rows[0].numpy().reshape(6, 9)])
    b = np.concatenate([wrench[0].numpy() / scale, np.zeros(9), -residual.numpy().ravel()])
    best = weight * np.linalg.lstsq(A, b, rcond=None)[0]
    np.testing.assert_allclose(found.force[0].numpy().ravel(), best, atol=1e-3 * weight)


def test_stances_of_wholly_other_forces_are_left_alone():
    gait, belief = walk()
    expected = step_forces(gait, belief)
    numbers = {s.side + str(s.frames.start): i for i, s in enumerate(stances_of(gait, belief), 1)}
    force = torch.zeros(*belief.shape, 3, dtype=torch.float64)
    for stance in stances_of(gait, belief):
        load, mean, _ = StepTable.load_shipped().at(stance.phase)
        heel, *_, toe = soles(ADULT, stance.side)
        length = np.linalg.norm(ADULT.bodies[ADULT.body_index(f"toes_{stance.side}")].joint.translation)
        share = (mean[:, 0] * length - SOLE[0, 0]) / (SOLE[3, 0] - SOLE[0, 0])
        force[stance.frames, heel, 2] = torch.as_tensor(load * (1 - share))
        force[stance.frames, toe, 2] = torch.as_tensor(load * share)
        force[stance.frames, heel, 0] = torch.as_tensor(mean[:, 1] * stance.step)
    assert expected.borne_out(force).stance.unique().tolist() == [0, 1, 2, 3, 4]
    force[110:178, soles(ADULT, "r"), 0] += 0.2  # body weights, of each of four points
    kept = expected.borne_out(force)
    assert kept.stance.unique().tolist() == [0, *sorted(set(numbers.values()) - {numbers["r110"]})]
    assert not kept.jacobian[110:178, 0].any()
    assert expected.borne_out(force + 1.0) is None


@pytest.fixture(scope="module")
def childs_walk(data_dir):
    """A fit without plates, and the file that has them."""
    trial, still = (next((data_dir / CHILD / kind).glob("*.c3d")) for kind in ("Straight", "Static"))
    return physpose.fit(trial, "child", static=still), trial


def test_a_childs_feet_brake_and_push_as_plates_measured(childs_walk):
    """No child is in the table. Without it the error of the fore-aft force here is 2.8 % of body weight."""
    result, trial = childs_walk
    weight = result.skeleton.mass * 9.81
    force = sum(np.nan_to_num(w.force) for w in read_forces(trial).at(result.time, 12.0).wrenches)
    first, *_, last = np.flatnonzero(force[:, 2] > 0.05 * weight)
    both = slice(first + 15, last - 15)  # one foot alone, both, the other alone: all on plates
    ahead = (result.com[-1] - result.com[0]) * [1, 1, 0]
    ahead /= np.linalg.norm(ahead)
    error = (result.contacts.force.sum(1) - force)[both] @ ahead / weight
    assert np.abs(error).mean() < 0.022
    assert "plates measured" in result.contacts.method


def test_nothing_is_expected_of_unusual_gaits(childs_walk):
    result, trial = childs_walk
    other = physpose.fit(trial, result.skeleton, settings=EstimationSettings(usual_steps=False))
    assert "plates measured" not in other.contacts.method


def test_long_walks_are_found_piece_by_piece(childs_walk, monkeypatch):
    result, _ = childs_walk
    names = [p.name for p in result.skeleton.support_points]
    belief = np.zeros((len(result.time), len(names)))
    belief[:, [names.index(n) for n in result.contacts.points]] = result.contacts.active
    told = (result.skeleton, result.time, result.q, belief, result.gravity)
    whole, plain = (dynamics.dynamics_of(*told, walks=walks)[0].contacts.force for walks in (True, False))
    for name, value in (("LONGEST", 60), ("PIECE", 60), ("OVERLAP", 20)):
        monkeypatch.setattr(dynamics, name, value)
    pieces = dynamics.dynamics_of(*told, walks=True)[0].contacts.force
    assert np.abs(pieces - whole).max() < 0.02 * result.skeleton.mass * 9.81
    assert np.abs(plain - whole).max() > 0.1 * result.skeleton.mass * 9.81
