"""How vigorously somebody moves: the evidence against dense matrices, and what simulated people show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from estimation_cases import dense, marching, seen
from synthetic import beside, filmed
from test_terms import CENTRE, CHAIN, FOCAL, SIZE, TIME, true_state

from physpose import fit, load_skeleton
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.pace import WALKING, pace_factor
from physpose.estimation.state import Kinematics
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.types import Keypoints2D
from sims import planted, walk
from sims.common import Simulation

ADULT = {"sex": "m", "height": 1.75, "mass": 72.0}


def jerk_against_walking(sim: Simulation) -> float:
    """As the fit of its film reports it."""
    keypoints, _ = filmed(sim, beside(sim), fps=30.0)
    result = fit(keypoints, camera=beside(sim).focal, **ADULT)
    return float(next(a.value for a in result.assumptions if a.what == "jerk").split()[0])


def test_who_squats_slowly_moves_less_vigorously_than_who_walks():
    body = load_skeleton("adult", **ADULT)
    squatting = jerk_against_walking(planted.simulate(body, planted.DURATION["squat"], motion="squat"))
    walking = jerk_against_walking(walk.simulate(body, 2.0))
    assert squatting < 0.6 < walking < 1.6


def a_case(time: np.ndarray) -> tuple[VideoProblem, Keypoints2D]:
    kp = seen(time, marching(time), noise=4.0)
    camera = CameraPrior(image_size=SIZE, focal=FOCAL, sigma_log_focal=0.15, principal_point=CENTRE)
    return VideoProblem(CHAIN, kp, camera, True), kp


def test_the_evidence_counts_what_the_observations_determine():
    """gamma = N - trace(J' J C) and the sum of squared residuals, by dense linear algebra."""
    problem, kp = a_case(TIME)
    state, free = true_state(marching(TIME)), problem.free(scales=True, camera=True)
    terms = problem.terms(kp, state, problem.no_support(len(TIME)))
    kin = Kinematics(CHAIN, state, problem.points)
    systems = [BorderedSystem(len(TIME), CHAIN.nv, state.n_shared, 3) for _ in range(2)]
    jerk = next(t for t in terms if t.name == "jerk")
    jerk.add_to(systems[0], state, kin)
    for term in terms:
        term.add_to(systems[1], state, kin)
    own, whole = (dense(s)[0] for s in systems)
    keep = np.r_[np.ones(len(TIME) * CHAIN.nv, bool), free.numpy()]
    inside = np.trace(own[np.ix_(keep, keep)] @ np.linalg.inv(whole[np.ix_(keep, keep)]))
    count, n = CHAIN.nv * (len(TIME) - 3), CHAIN.nv
    left = 2 * float(jerk.cost(state, kin))
    expected = np.sqrt((left / WALKING**2 + n) / (count - inside + n))
    assert pace_factor(CHAIN, problem.points, terms, state, free, 3) == pytest.approx(expected, rel=1e-6)


def test_too_few_frames_say_nothing_of_it():
    time = TIME[:3]
    problem, kp = a_case(time)
    state = true_state(marching(time))
    terms = problem.terms(kp, state, problem.no_support(3))
    free = torch.zeros(state.n_shared, dtype=torch.bool)
    assert pace_factor(CHAIN, problem.points, terms, state, free, 2) == 1.0


@pytest.mark.parametrize("tempo", [0.5, 2.0])
def test_the_same_motion_at_another_tempo_is_as_probable_at_its_pace(tempo):
    """Time stamps alone change; what smoothness costs then says nothing of how vigorous the motion is."""
    problem, _ = a_case(TIME)
    state, time = true_state(marching(TIME)), torch.as_tensor(TIME)
    kin = Kinematics(CHAIN, state, problem.points)
    there = problem.paced(tempo**2.5).smoothness(time / tempo)
    for own, other in zip(problem.smoothness(time), there, strict=True):
        assert float(other.cost(state, kin)) == pytest.approx(float(own.cost(state, kin)), rel=1e-9), own.name
