"""Every term's normal equations against finite differences of its cost; smoothness by what it must not punish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from estimation_cases import CAMERA_HEIGHT, CHILD, FOCAL, SIZE, dense, marching, seen
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.camera_terms import CameraPlace, Depth, Reprojection
from physpose.estimation.posture_prior import PosturePrior, posture_vector
from physpose.estimation.problem import Support
from physpose.estimation.state import CameraState, Kinematics
from physpose.estimation.terms import Floor, Posture, Smoothness, Term
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.estimation.wrench import RootWrench, needed_wrench
from physpose.spatial import quat_exp, quat_mul, skew

TIME = np.array([0.0, 0.03, 0.07, 0.10, 0.15, 0.18, 0.21])  # [s], uneven
RTOL = 1e-6  # of central differences with steps near 1e-5
CENTRE = (SIZE[0] / 2, SIZE[1] / 2)
CHAIN = KinematicChain(CHILD)


def a_problem(time: np.ndarray = TIME) -> VideoProblem:
    camera = CameraPrior(image_size=SIZE, focal=FOCAL, sigma_log_focal=0.15, principal_point=CENTRE)
    return VideoProblem(CHAIN, seen(time, marching(time), noise=8.0), camera, True)


def true_state(q: np.ndarray) -> CameraState:
    R = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=torch.float64)
    scales = torch.zeros(len(CHILD.scale_groups), dtype=torch.float64)
    numbers = (torch.tensor(x, dtype=torch.float64) for x in (CAMERA_HEIGHT, np.log(FOCAL)))
    return CameraState(torch.as_tensor(q), scales, R, *numbers)


def random_step(state: CameraState, seed: int, size: float = 1.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    T, n = state.q.shape[0], state.q.shape[1] - 1
    return torch.as_tensor(size * rng.normal(size=(T, n))), torch.as_tensor(size * rng.normal(size=state.n_shared))


def at_rest(state: CameraState) -> CameraState:
    """Every frame as the first: there the root wrench's Jacobian, which holds the momentum matrix, is exact."""
    return replace(state, q=state.q[:1].expand_as(state.q).clone())


def perturbed(seed: int = 0, time: np.ndarray = TIME, size: float = 0.1) -> CameraState:
    """A state away from the truth, scales, camera and all."""
    state = true_state(marching(time))
    return state.stepped(*random_step(state, seed, size))


def terms(problem: VideoProblem, state: CameraState, *left_out: str) -> dict[str, Term]:
    belief = torch.as_tensor(np.random.default_rng(1).uniform(0, 1, (len(state.q), len(CHILD.contact_points))))
    forces = problem.forces_of(state, problem.kp.time)
    found = [*problem.terms(problem.kp, state, Support(belief, None))]
    found += [t for t in problem.terms(problem.kp, state, Support(belief, forces)) if t.name == "root wrench"]
    return {t.name: t for t in found if t.name not in left_out}


def normal_equations(problem: VideoProblem, term: Term, state: CameraState) -> tuple[np.ndarray, np.ndarray]:
    system = BorderedSystem(len(state.q), CHAIN.nv, state.n_shared, 3)
    term.add_to(system, state, Kinematics(CHAIN, state, problem.points))
    return dense(system)


def cost_along(
    problem: VideoProblem, term: Term, state: CameraState, dx: Tensor, ds: Tensor
) -> Callable[[float], float]:
    """The term's cost after a part of a step."""

    def cost(part: float) -> float:
        moved = state.stepped(part * dx, part * ds)
        return float(term.cost(moved, Kinematics(CHAIN, moved, problem.points)))

    return cost


def flat(dx: Tensor, ds: Tensor) -> np.ndarray:
    return np.concatenate([dx.numpy().ravel(), ds.numpy()])


# --- gradients and curvature ------------------------------------------------------------------------------------------


NAMES = tuple(terms(a_problem(), perturbed()))  # every term that the estimator uses


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_cost(name):
    problem, state = a_problem(), perturbed()
    rtol = RTOL
    if name == "root wrench":
        state, rtol = at_rest(state), 10 * RTOL  # second differences over 30 ms: steeper, so steps count for more
    term = terms(problem, state)[name]
    _, gradient = normal_equations(problem, term, state)
    assert gradient.any()
    for seed, part in enumerate(("all", "all", "frames", "shared")):
        dx, ds = random_step(state, seed)
        dx, ds = dx * (part != "shared"), ds * (part != "frames")
        cost, h = cost_along(problem, term, state, dx, ds), 1e-6
        numerical = (cost(h) - cost(-h)) / (2 * h)
        scale = np.linalg.norm(gradient) + 1e-9 * cost(0) / h
        assert gradient @ flat(dx, ds) == pytest.approx(numerical, abs=rtol * scale), part


def test_gradient_of_every_unknown_alone():
    """Random directions could hide a small wrong entry; each unknown of the middle frame and each shared one."""
    problem, state = a_problem(), perturbed(2)
    check_each_gradient(problem, state, terms(problem, state, "root wrench"), 1e-5)
    resting = at_rest(state)
    check_each_gradient(problem, resting, {"root wrench": terms(problem, resting)["root wrench"]}, 1e-6)


def check_each_gradient(problem: VideoProblem, state: CameraState, tested: dict[str, Term], h: float) -> None:
    n = CHAIN.nv
    gradients = {name: normal_equations(problem, term, state)[1] for name, term in tested.items()}

    def costs(k: int, step: float) -> dict[str, float]:
        dx, ds = torch.zeros(len(TIME), n, dtype=torch.float64), torch.zeros(state.n_shared, dtype=torch.float64)
        (dx[3] if k < n else ds)[k if k < n else k - n] = step
        moved = state.stepped(dx, ds)
        kin = Kinematics(CHAIN, moved, problem.points)
        return {name: float(term.cost(moved, kin)) for name, term in tested.items()}

    for k in range(n + state.n_shared):
        ahead, behind, column = costs(k, h), costs(k, -h), 3 * n + k if k < n else (len(TIME) - 1) * n + k
        for name, gradient in gradients.items():
            numerical, atol = (ahead[name] - behind[name]) / (2 * h), 1e-6 * np.abs(gradient).max()
            assert gradient[column] == pytest.approx(numerical, rel=1e-4, abs=atol), (name, k)


def without_residuals(name: str) -> tuple[VideoProblem, Term, CameraState]:
    """A term at a state where its residuals vanish (or are linear): there Gauss-Newton's matrix is the Hessian."""
    still = np.tile(CHILD.neutral, (len(TIME), 1))
    still[:, 0] += 3.0
    state = true_state(still)
    problem = a_problem()
    problem.kp = seen(TIME, still)
    kin = Kinematics(CHAIN, state, problem.points)
    term = terms(problem, state)[name]
    if isinstance(term, Reprojection):
        term.robust_scale = 1e6
    elif isinstance(term, Depth):
        between = kin.points[:, term.child] - kin.points[:, term.parent]
        term = replace(term, offset=between @ state.R_camera_world.T, robust_scale=1e6)
    elif isinstance(term, Posture):
        x = posture_vector(state.q[0], CHAIN.coordinate_names, term.prior.names)
        one = PosturePrior(term.prior.names, torch.zeros(1).double(), x[None], term.prior.factors[:1])
        term = replace(term, prior=one, robust_scale=1e6)
    elif isinstance(term, Floor):
        active = (kin.points[:, term.index, 2].abs() < 1e-9).double()
        term = replace(term, active=active, robust_slip=1e6)
        assert term.active.any()  # what lies on the floor has no residual; the hands, high up, have no say
    elif term.name == "balance":
        term = replace(term, shift=term.shift - term._residual(kin), robust_scale=1e6)
        assert term.time_weight.any()
    elif isinstance(term, RootWrench):
        arms = skew(kin.points[:, term.support_index] - term.segments.com(kin.points)[:, None])
        lever = torch.cat([torch.eye(3).to(arms).expand_as(arms), arms], -2).transpose(1, 2).flatten(2)
        A = term.segments.momentum_matrix(kin, term.axis_scales)
        needed = needed_wrench(term.segments, state, kin, A, term.time, term.gravity)
        forces = torch.linalg.lstsq(lever, needed[..., None], driver="gelsd").solution
        term = replace(term, forces=forces.reshape(term.forces.shape), robust_scale=1e6)
    elif isinstance(term, CameraPlace):
        term = replace(term, height=(CAMERA_HEIGHT, 0.5), log_focal=(float(np.log(FOCAL)), 0.15))
    return problem, term, state


@pytest.mark.parametrize("name", NAMES)
def test_matrix_is_the_hessian_where_residuals_vanish(name):
    problem, term, state = without_residuals(name)
    if name == "limits":
        q = state.q.clone()
        q[:, 7:] = CHAIN.limits[:, 1] + 0.1  # outside, where the residual is linear
        state = replace(state, q=q)
    A, _ = normal_equations(problem, term, state)
    for seed in range(3):
        dx, ds = random_step(state, seed)
        cost, h = cost_along(problem, term, state, dx, ds), 1e-4
        curvature = (cost(h) - 2 * cost(0) + cost(-h)) / h**2
        assert flat(dx, ds) @ A @ flat(dx, ds) == pytest.approx(curvature, rel=1e-4), seed


def test_costs_of_frames_add_up_to_the_cost():
    problem, state = a_problem(), perturbed(3)
    kin = Kinematics(CHAIN, state, problem.points)
    for name in ("reprojection", "depth", "limits", "posture"):
        term = terms(problem, state)[name]
        assert term.frame_costs(state, kin).shape == (len(TIME),)
        assert float(term.frame_costs(state, kin).sum()) == pytest.approx(float(term.cost(state, kin)))
        assert float(term.cost(state, kin)) > 0


def test_unseen_keypoints_pull_nothing():
    problem, state = a_problem(), perturbed(4)
    uv, confidence = problem.kp.uv.copy(), problem.kp.confidence.copy()
    uv[0, 2], confidence[0, 2] = np.nan, 0.0
    landmarks = np.where(np.isnan(uv[..., :1]), np.nan, problem.kp.landmarks)
    kp = replace(problem.kp, uv=uv, confidence=confidence, landmarks=landmarks)
    kin = Kinematics(CHAIN, state, problem.points)
    belief = problem.no_support(kp.n_frames)
    for term in problem.terms(kp, state, belief)[:2]:
        costs = term.frame_costs(state, kin)
        assert costs[2] == 0
        assert costs.isfinite().all()
        A, gradient = normal_equations(problem, term, state)
        assert np.isfinite(A).all()
        assert (gradient.reshape(-1)[2 * CHAIN.nv : 3 * CHAIN.nv] == 0).all()
        assert (gradient[: CHAIN.nv] != 0).any()


def test_reprojection_vanishes_at_the_truth():
    problem = a_problem()
    problem.kp = seen(TIME, marching(TIME))
    state = true_state(marching(TIME))
    term = terms(problem, state)["reprojection"]
    assert float(term.cost(state, Kinematics(CHAIN, state, problem.points))) < 1e-15


def test_keypoints_that_lie_elsewhere_on_the_body_pull_as_their_normal_equations_say():
    """Of a detector that sees them elsewhere: the gradient at the truth is the pull times how far, the sign turned."""
    problem, state = a_problem(), true_state(marching(TIME))
    places = CHAIN.points(problem.set.points)
    moved = 1e-6 * torch.as_tensor(np.random.default_rng(0).normal(size=places.offset.shape))
    points = CHAIN.locate(CHAIN.fk(state.q), places._replace(offset=places.offset + moved)).numpy()
    problem.kp = seen(TIME, marching(TIME))
    camera = problem.camera_of(state)
    problem.kp = replace(problem.kp, uv=camera.project(points)[None])
    term = terms(problem, state)["reprojection"]
    kin = Kinematics(CHAIN, state, problem.points)
    system = BorderedSystem(len(TIME), CHAIN.nv, state.n_shared, 3)
    term.add_to(system, state, kin)
    by_frames, by_shared = term.pull(state, kin, kin.frames.R[:, places.body])
    for gradient, pull in ((system.g, by_frames), (system.gs, by_shared)):
        expected = -(pull @ moved.flatten()).numpy()
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


# --- smoothness -------------------------------------------------------------------------------------------------------


def smoothness(time: np.ndarray, order: int = 3) -> Smoothness:
    return Smoothness(torch.as_tensor(time), torch.ones(CHAIN.nv, dtype=torch.float64), order)


def smoothness_cost(time: np.ndarray, q: np.ndarray, order: int = 3) -> float:
    return float(smoothness(time, order).cost(true_state(q), None))


def spinning(time: np.ndarray, rate: tuple[float, float, float], start: np.ndarray | None = None) -> np.ndarray:
    """Neutral pose turning at a constant rate [rad/s] about an axis fixed in the pelvis."""
    q = torch.as_tensor(np.tile(CHILD.neutral if start is None else start, (len(time), 1)))
    turn = quat_exp(torch.as_tensor(np.outer(time, rate)))
    return torch.cat([q[:, :3], quat_mul(q[:, 3:7], turn), q[:, 7:]], -1).numpy()


@pytest.mark.parametrize("order", [2, 3])
def test_uniform_motion_costs_nothing_however_uneven_the_time(order):
    q = spinning(TIME, (3.0, -7.0, 5.0))
    q[:, :3] += np.outer(TIME, [1.0, -2.0, 0.5])
    q[:, 7:] += np.outer(TIME, np.linspace(-3, 3, CHAIN.nv - 6))
    assert smoothness_cost(TIME, q, order) < 1e-15


def test_constant_acceleration_costs_nothing_in_jerk_when_time_is_even():
    time = np.arange(7) / 30
    q = np.tile(CHILD.neutral, (7, 1))
    q[:, 7:] += np.outer(time**2, np.linspace(-9, 9, CHAIN.nv - 6))
    assert smoothness_cost(time, q) < 1e-15
    assert smoothness_cost(time, q, order=2) > 1


def test_cost_is_half_the_integral_of_squared_jerk():
    time = np.arange(1000) / 1000
    q = np.tile(CHILD.neutral, (1000, 1))
    q[:, 10] += np.sin(2 * np.pi * time)  # jerk^2 = (2 pi)^6 cos^2, integral (2 pi)^6 / 2
    assert smoothness_cost(time, q) == pytest.approx((2 * np.pi) ** 6 / 4, rel=0.01)
    turning = np.tile(CHILD.neutral, (1000, 1))
    axis = np.outer(np.sin(2 * np.pi * time), [0.6, 0.0, 0.8])
    turning[:, 3:7] = quat_mul(torch.as_tensor(turning[:, 3:7]), quat_exp(torch.as_tensor(axis))).numpy()
    assert smoothness_cost(time, turning) == pytest.approx((2 * np.pi) ** 6 / 4, rel=0.01)


@pytest.mark.parametrize("order", [2, 3])
def test_cost_does_not_depend_on_the_frame_rate(order):
    costs = []
    for rate in (50, 100, 400):
        time = np.arange(rate + 1) / rate
        q = spinning(time, (2.0, -1.0, 3.0))
        q[:, 7:] += np.sin(5 * time[:, None] + np.arange(CHAIN.nv - 6))
        costs.append(smoothness_cost(time, q, order))
    assert costs[0] == pytest.approx(costs[2], rel=0.06)
    assert costs[1] == pytest.approx(costs[2], rel=0.03)


def test_sign_of_quaternions_does_not_matter():
    q = spinning(TIME, (20.0, 0.0, 9.0))
    flipped = q.copy()
    flipped[[1, 4], 3:7] *= -1
    assert smoothness_cost(TIME, flipped) < 1e-15


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_too_few_frames_to_judge_cost_nothing(frames):
    time = TIME[:frames]
    problem, state = a_problem(time), perturbed(5, time)
    term = terms(problem, state)["jerk"]
    A, gradient = normal_equations(problem, term, state)
    assert smoothness_cost(time, marching(time)) == 0
    assert not A.any()
    assert not gradient.any()


def test_hessian_of_smoothness_is_exact_in_steady_turning():
    problem, state = a_problem(), true_state(spinning(TIME, (6.0, -4.0, 9.0)))
    term = terms(problem, state)["jerk"]
    A, gradient = normal_equations(problem, term, state)
    assert np.abs(gradient).max() < 1e-8
    dx, ds = random_step(state, 6, 1.0)
    cost, h = cost_along(problem, term, state, dx, ds), 1e-4
    assert flat(dx, ds) @ A @ flat(dx, ds) == pytest.approx((cost(h) - 2 * cost(0) + cost(-h)) / h**2, rel=1e-4)


def test_a_sole_that_rolls_on_is_held_back_less_than_in_proportion():
    """Twice the slip costs less than four times as much: the loss is Cauchy's."""
    state = true_state(np.tile(CHILD.neutral, (len(TIME), 1)))
    problem = a_problem()
    term = terms(problem, state)["floor"]
    term = replace(term, active=torch.ones_like(term.active), sigma_height=1e6, sigma_depth=1e6)

    def cost(speed: float) -> float:
        q = state.q.clone()
        q[:, 0] += speed * torch.as_tensor(TIME)
        moved = replace(state, q=q)
        return float(term.cost(moved, Kinematics(CHAIN, moved, problem.points)))

    unit, c = term.sigma_slip, term.robust_slip
    assert cost(4 * unit) / cost(2 * unit) == pytest.approx(np.log1p(16 / c**2) / np.log1p(4 / c**2), rel=1e-9)
