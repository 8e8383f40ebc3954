"""Standard deviations against what they claim: derivatives by finite differences, and errors of many noisy fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from estimation_cases import CHILD, FOCAL, SIZE, level_camera, marching, seen

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.errors import InputError
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.trajectory import fit_trajectory
from physpose.estimation.uncertainty import _Maps, joined
from physpose.estimation.video_problem import CameraPrior
from physpose.rates import rates

GRAVITY = np.array([0.0, 0.0, -9.81])
TIME = np.array([0.0, 0.033, 0.071, 0.1, 0.14])  # [s], uneven
CHAIN = KinematicChain(CHILD)
KNOWN = CameraPrior(image_size=SIZE, focal=FOCAL, sigma_log_focal=0.0, principal_point=(SIZE[0] / 2, SIZE[1] / 2))
CENTRE = 2  # the frame looked at
JERK = torch.linspace(5.0, 80.0, CHAIN.nv, dtype=torch.float64)
JERK[:3] = 8.0


def a_motion() -> np.ndarray:
    """q (5, nq), nothing at rest or in line with an axis."""
    q = torch.as_tensor(marching(TIME))
    wiggle = torch.as_tensor(np.random.default_rng(0).normal(size=(len(TIME), CHAIN.nv))) * 0.01
    return CHAIN.integrate(q, wiggle).numpy()


def stepped(q: np.ndarray, frame: int, k: int, h: float) -> np.ndarray:
    """One of a frame's unknowns moved by h: pelvis position (world), rotation (pelvis frame), coordinates."""
    dv = torch.zeros(len(q), CHAIN.nv, dtype=torch.float64)
    moved = torch.as_tensor(q).clone()
    if k < 3:
        moved[frame, k] += h
    else:
        dv[frame, k] = h
    return CHAIN.integrate(moved, dv).numpy()


def numerical(q: np.ndarray, value, h: float = 1e-6) -> np.ndarray:  # noqa: ANN001
    """d value(q) / d unknowns of the three frames around CENTRE: (m, 3 nv)."""
    columns = []
    for frame in (CENTRE - 1, CENTRE, CENTRE + 1):
        for k in range(CHAIN.nv):
            columns.append((value(stepped(q, frame, k, h)) - value(stepped(q, frame, k, -h))) / (2 * h))
    return np.stack(columns, -1)


@pytest.fixture(scope="module")
def maps() -> tuple[np.ndarray, _Maps, dict[str, np.ndarray]]:
    """The motion, and the Jacobian (m, 3 nv) of every quantity at CENTRE."""
    q = a_motion()
    belief = np.ones((len(TIME), len(CHILD.support_points)))
    motion, found = dynamics_of(CHILD, TIME, q, belief, GRAVITY)
    assert found is not None
    maps = _Maps(CHAIN, motion, found, GRAVITY, torch.zeros(len(CHILD.scale_groups), dtype=torch.bool), JERK)
    return q, maps, {name: J[0].numpy() for name, J, _ in maps.rows(torch.tensor([CENTRE]))}


def state_at(q: np.ndarray) -> tuple[torch.Tensor, ...]:
    """q, v, a of the frame CENTRE."""
    Q = torch.as_tensor(q)
    return tuple(x[CENTRE : CENTRE + 1] for x in (Q, *rates(CHAIN, torch.as_tensor(TIME), Q)))


@pytest.mark.parametrize(("name", "index"), [("v", 1), ("a", 2)])
def test_rates_follow_their_neighbours(maps, name, index):
    q, _, J = maps
    expected = numerical(q, lambda x: state_at(x)[index][0].numpy())
    # leaves out how the exponential map bends between neighbours, of the order of the step
    np.testing.assert_allclose(J[name], expected, atol=0.03 * np.abs(expected).max())


def test_places_energy_and_momentum_follow_the_pose(maps):
    q, _, J = maps
    origin = lambda x: CHAIN.fk(torch.as_tensor(x[CENTRE : CENTRE + 1])).p[0].flatten().numpy()  # noqa: E731
    np.testing.assert_allclose(J["positions"], numerical(q, origin), atol=1e-6)
    com = lambda x: dynamics.center_of_mass(CHAIN, torch.as_tensor(x[CENTRE : CENTRE + 1]))[0].numpy()  # noqa: E731
    np.testing.assert_allclose(J["com"], numerical(q, com), atol=1e-6)
    for name, i in (("kinetic", 0), ("potential", 1)):
        energy = lambda x, i=i: dynamics.energy(CHAIN, *state_at(x)[:2])[i].numpy()  # noqa: E731
        expected = numerical(q, energy)
        np.testing.assert_allclose(J[name], expected, atol=0.02 * np.abs(expected).max())
    momentum = lambda x: dynamics.centroidal_momentum(CHAIN, *state_at(x)[:2])[0].numpy()  # noqa: E731
    expected = numerical(q, momentum)
    np.testing.assert_allclose(J["momentum"], expected, atol=0.05 * np.abs(expected).max())


def test_torques_follow_the_pose_with_the_forces_held(maps):
    """All but the forces' own response, which test_forces looks at."""
    q, m, _ = maps
    force = m.found.force[CENTRE]
    points = CHAIN.points(CHILD.support_points)

    def tau(x: np.ndarray) -> np.ndarray:
        state = state_at(x)
        frames = CHAIN.fk(state[0])
        J = CHAIN.point_jacobian(frames, points, CHAIN.locate(frames, points))[0]
        pushed = torch.einsum("cik,ci->k", J, force)
        return (dynamics.rnea(CHAIN, *state, gravity=torch.as_tensor(GRAVITY))[0] - pushed).numpy()

    held = replace(m.found, response=torch.zeros_like(m.found.response))
    still = _Maps(CHAIN, m.motion, held, GRAVITY, m.free_scales, m.jerk)
    J = {name: J[0].numpy() for name, J, _ in still.rows(torch.tensor([CENTRE]))}["tau"]
    expected = numerical(q, tau)
    np.testing.assert_allclose(J, expected, atol=0.03 * np.abs(expected).max())


def test_derivatives_of_inverse_dynamics_are_those_of_rnea():
    state = state_at(a_motion())
    found = dynamics.rnea_derivatives(CHAIN, *state)
    for i, h in ((0, 1e-6), (1, 1e-5), (2, 1e-4)):
        for k in range(CHAIN.nv):
            e = torch.zeros(1, CHAIN.nv, dtype=torch.float64)
            e[0, k] = h
            move = lambda x, d, i=i: CHAIN.integrate(x, d) if i == 0 else x + d  # noqa: E731
            ahead, behind = (dynamics.rnea(CHAIN, *state[:i], move(state[i], s * e), *state[i + 1 :]) for s in (1, -1))
            column = (ahead - behind)[0] / (2 * h)
            np.testing.assert_allclose(found[i][0, :, k].numpy(), column.numpy(), atol=2e-5, rtol=1e-5)


def test_derivatives_want_double_precision():
    chain = KinematicChain(CHILD, torch.float32)
    q, zero = torch.as_tensor(CHILD.neutral, dtype=torch.float32)[None], torch.zeros(1, chain.nv)
    with pytest.raises(InputError, match="float64"):
        dynamics.rnea_derivatives(chain, q, zero, zero)


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_errors_of_noisy_fits_are_as_large_as_their_sigma():
    """The same marching six times, with white noise of which the settings know: 90 % intervals hold the truth."""
    time = np.arange(12) / 15.0
    q = marching(time)
    # white noise: no error lasts, all points count, and the model's own spread of points is the noise's
    settings = EstimationSettings(keypoint_correlation_time=1e-3, confidence_power=0.0)
    z: dict[str, list[np.ndarray]] = {"q": [], "v": [], "a": []}
    for seed in range(6):
        kp = spread_like_the_model(time, q, seed)
        found = fit_trajectory(CHILD, kp, KNOWN, True, settings)
        assert found.sigma is not None
        truth = torch.as_tensor(q)
        error = CHAIN.difference(truth, torch.as_tensor(found.q)).numpy()
        v, _ = rates(KinematicChain(found.skeleton), torch.as_tensor(time), torch.as_tensor(found.q))
        true_v, _ = rates(CHAIN, torch.as_tensor(time), truth)
        legs = [6 + i for i, n in enumerate(CHILD.coordinate_names) if n.startswith(("hip_flex", "knee", "arm_flex"))]
        z["q"].append((error / found.sigma.q)[:, legs])
        z["v"].append(((v - true_v).numpy() / found.sigma.v)[2:-2][:, legs])
    for name in ("q", "v"):
        inside = float((np.abs(np.concatenate(z[name])) < 1.645).mean())
        assert 0.75 <= inside <= 1.0, (name, inside)


def test_where_a_detector_sees_keypoints_moves_fits_by_what_sigma_adds_for_it():
    """All through a clip, in the body's axes, drawn anew for each fit and nothing else: a Monte Carlo check."""
    time = np.arange(12) / 15.0
    q = marching(time)
    kp, kset = seen(time, q), CHILD.keypoint_set("blazepose33")
    places, frames = CHAIN.points(kset.points), CHAIN.fk(torch.as_tensor(q))
    share, spread = EstimationSettings().lasting, torch.as_tensor(kset.sigma)[:, None]
    found = []
    for seed in range(8):
        moved = share * spread * torch.as_tensor(np.random.default_rng(seed).normal(size=(len(spread), 3)))
        elsewhere = CHAIN.locate(frames, places._replace(offset=places.offset + moved))
        uv = level_camera().project(elsewhere.numpy())[None]
        found.append(fit_trajectory(CHILD, replace(kp, uv=uv), KNOWN, True).q[:, 7:])
    none = fit_trajectory(CHILD, kp, KNOWN, True, EstimationSettings(lasting=0.0)).sigma
    sigma = fit_trajectory(CHILD, kp, KNOWN, True).sigma
    added = np.sqrt(sigma.q**2 - none.q**2)[:, 6:]
    legs = [i for i, n in enumerate(CHILD.coordinate_names) if n.startswith(("hip_flex", "knee", "elbow", "arm_flex"))]
    ratio = np.sqrt((np.var(found, axis=0, ddof=1)[:, legs]).mean() / (added[:, legs] ** 2).mean())
    assert 0.7 < ratio < 1.4


def test_a_focal_length_that_nobody_gave_is_an_error_in_depth():
    time = np.arange(12) / 15.0
    kp = seen(time, marching(time), noise=1.0)
    unknown = replace(KNOWN, sigma_log_focal=0.15)
    given, not_given = (fit_trajectory(CHILD, kp, camera, True).sigma for camera in (KNOWN, unknown))
    assert np.median(not_given.com[:, 0]) > 1.5 * np.median(given.com[:, 0])  # the camera looks along x


def spread_like_the_model(time: np.ndarray, q: np.ndarray, seed: int):  # noqa: ANN201
    """Keypoints whose white noise is as large as the skeleton's keypoint set says."""
    kp = seen(time, q)
    sigma = CHILD.keypoint_set(kp.keypoint_set).sigma * FOCAL / 3.0
    noise = np.random.default_rng(seed).normal(size=kp.uv.shape) * sigma[:, None]
    return replace(kp, uv=kp.uv + noise)


# --- windows ----------------------------------------------------------------------------------------------------------


def test_windows_are_joined_and_gaps_are_unknown():
    found = fit_trajectory(CHILD, seen(TIME, marching(TIME), noise=1.0), KNOWN, True)
    s = found.sigma
    assert s is not None
    whole = joined([(slice(0, 5), s), (slice(3, 8), s), (slice(8, 9), None)], 10)
    assert whole is not None
    np.testing.assert_array_equal(whole.q[:3], s.q[:3])
    np.testing.assert_array_equal(whole.q[3:8], s.q)
    np.testing.assert_array_equal(whole.energy.kinetic[3:8], s.energy.kinetic)
    assert np.isnan(whole.tau[8:]).all()
    assert joined([(slice(0, 2), None)], 2) is None


def test_what_is_not_seen_is_less_sure():
    time = np.arange(12) / 15.0
    kp = seen(time, marching(time), noise=1.0)
    arm = [kp.names.index(n) for n in ("left_elbow", "left_wrist", "left_pinky", "left_index", "left_thumb")]
    uv, confidence, landmarks = kp.uv.copy(), kp.confidence.copy(), kp.landmarks.copy()
    uv[:, :, arm], confidence[:, :, arm], landmarks[:, :, arm] = np.nan, 0.0, np.nan
    whole = fit_trajectory(CHILD, kp, KNOWN, True).sigma
    hidden = fit_trajectory(CHILD, replace(kp, uv=uv, confidence=confidence, landmarks=landmarks), KNOWN, True).sigma
    i = 6 + CHILD.coordinate_names.index("elbow_flex_l")
    assert np.median(hidden.q[:, i]) > 1.5 * np.median(whole.q[:, i])


@pytest.mark.parametrize("frames", [1, 2])
def test_too_few_frames_have_no_sigma(frames):
    time = np.arange(frames) / 15.0
    assert fit_trajectory(CHILD, seen(time, marching(time)), KNOWN, True).sigma is None


# --- between two pictures ---------------------------------------------------------------------------------------------


def test_differences_miss_rates_by_what_white_jerk_does_between_pictures(maps):
    """Many random motions of white jerk: their velocity and acceleration in the middle against their differences."""
    _, m, _ = maps
    v_own, a_own = m._between(torch.tensor([CENTRE]))
    rng, n, paths = np.random.default_rng(0), 400, 4000
    h = 0.5 * (TIME[CENTRE + 1] - TIME[CENTRE - 1])
    dt = 2 * h / n
    a = np.cumsum(rng.normal(size=(paths, n + 1)), 1) * np.sqrt(dt)  # of density 1
    v = np.cumsum(a, 1) * dt
    x = np.cumsum(v, 1) * dt
    first, middle, last = x[:, 0], x[:, n // 2], x[:, -1]
    v_miss = v[:, n // 2] - (last - first) / (2 * h)
    a_miss = a[:, n // 2] - (last - 2 * middle + first) / h**2
    for miss, own in ((v_miss, v_own), (a_miss, a_own)):
        np.testing.assert_allclose(miss.std(), (own[0].sqrt() / JERK).numpy(), rtol=0.05)
    assert abs(np.corrcoef(v_miss, a_miss)[0, 1]) < 0.05


def test_torques_and_forces_follow_their_own_rates(maps):
    """What a velocity or an acceleration of its own does, by differences of inverse dynamics and of the momentum."""
    _, m, _ = maps
    t = torch.tensor([CENTRE])
    own = {name: variance[0].numpy() for name, _, variance in m.rows(t) if variance is not None}
    q, v, a = (x[t] for x in (m.q, m.v, m.a))
    J = m._point_jacobian(t)[0].flatten(0, 1)
    gain = m.found.response[CENTRE].reshape(-1, 6)
    shared = m.found.covariance[CENTRE]
    tau, force = ((J.mT @ shared) * J.mT).sum(-1), shared.diagonal().clone()
    momentum, kinetic = torch.zeros(6, dtype=torch.float64), 0.0
    g = torch.as_tensor(GRAVITY)
    of = lambda v, a: (  # noqa: E731
        dynamics.rnea(CHAIN, q, v, a, gravity=g)[0], dynamics.centroidal_momentum_rate(CHAIN, q, v, a)[0],
        dynamics.centroidal_momentum(CHAIN, q, v)[0], dynamics.energy(CHAIN, q, v)[0][0],
    )  # fmt: skip
    variances = m._between(t)
    for k in range(CHAIN.nv):
        for i, variance in enumerate(variances):
            e = torch.zeros(2, 1, CHAIN.nv, dtype=torch.float64)
            e[i, 0, k] = 1e-4
            dtau, dh, h, K = (
                (x - y) / 2e-4 for x, y in zip(of(v + e[0], a + e[1]), of(v - e[0], a - e[1]), strict=True)
            )
            dF = gain @ dh
            tau += (dtau - J.mT @ dF) ** 2 * variance[0, k]
            force += dF**2 * variance[0, k]
            momentum += h**2 * variance[0, k]
            kinetic += float(K**2 * variance[0, k])
    np.testing.assert_allclose(own["tau"], tau.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own["force"], force.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(own["momentum"], momentum.numpy(), rtol=1e-5)
    np.testing.assert_allclose(own["kinetic"], kinetic, rtol=1e-5)
