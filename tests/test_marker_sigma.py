"""Standard deviations of fits to markers: how skin slides, what measured forces do, and errors of many noisy fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_walk import LABELS, markers, standing
from rich.console import Console
from scipy.ndimage import gaussian_filter1d
from walker import walk

import physpose
from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.estimation import marker_fit, marker_sigma
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import band_covariance
from physpose.estimation.skin import autocorrelation, skin_sigma, wandering
from physpose.estimation.uncertainty import _Maps
from physpose.rates import rates
from physpose.skeleton.marker_names import soft_tissue_of
from physpose.summary import print_summary, summarize

KNOWN = {"scale": False, "register": False}
FRAMES = slice(10, 70)
INNER = slice(10, -10)


@pytest.fixture(scope="module")
def made():
    return walk()


@pytest.fixture(scope="module")
def part(made):
    """Sixty frames of the walk, without noise."""
    return markers(made, made.q[FRAMES], made.time[FRAMES])


def fitted(seen, made, **more):
    return physpose.fit(seen, made.body, **KNOWN, **more)


# --- skin -------------------------------------------------------------------------------------------------------------


def test_skin_wanders_with_the_autocorrelation_that_is_said():
    time = torch.tensor([0.0, 0.01, 0.03, 0.08, 0.2, 0.21, 0.5])  # uneven
    x = wandering(time.double(), 40_000, 0.1, torch.Generator().manual_seed(1))
    expected = autocorrelation(time[:, None].double() - time.double(), 0.1)
    np.testing.assert_allclose((x @ x.T / x.shape[1]).numpy(), expected.numpy(), atol=0.02)


def test_skin_has_the_velocity_and_acceleration_of_its_process():
    """Differences over 5 ms: 2 (k0 - k2) / 4 h^2 and (6 k0 - 8 k1 + 2 k2) / h^4, near 5 / 3 l^2 and 25 / l^4."""
    length, h = 0.1, 0.005
    x = wandering(torch.arange(60) * h, 20_000, length, torch.Generator().manual_seed(2))
    k0, k1, k2 = autocorrelation(torch.arange(3).double() * h, length).tolist()
    v, a = (x[2:] - x[:-2]) / (2 * h), (x[2:] - 2 * x[1:-1] + x[:-2]) / h**2
    np.testing.assert_allclose(float((v**2).mean()), (k0 - k2) / (2 * h**2), rtol=0.03)
    np.testing.assert_allclose(
        float((a**2).mean()), (6 * k0 - 8 * k1 + 2 * k2) / h**4, rtol=0.15
    )  # knots a third of it apart
    np.testing.assert_allclose((k0 - k2) / (2 * h**2), 5 / (3 * length**2), rtol=0.05)


def test_residuals_tell_how_far_each_bodys_skin_wanders():
    rng = np.random.default_rng(0)
    body = torch.tensor([0] * 12 + [1] * 12 + [2])
    truth = torch.tensor([0.3] * 12 + [1.2] * 12 + [0.8])
    x = torch.as_tensor(rng.normal(size=(400, 25, 3))) * truth[:, None]
    freedom = torch.full((400, 25), 3.0, dtype=torch.float64)
    freedom[:100, 3] = x[:100, 3] = 0.0  # not seen
    found = skin_sigma(x, freedom, body)
    whole = (x**2).sum() / freedom.sum()
    off = ((found**2 - truth**2) / (whole - truth**2)).numpy()  # 0: as the body's own say, 1: as all do
    assert (np.abs(off[:24]) < 0.15).all()  # twelve markers speak for themselves
    assert 0.25 < off[24] < 0.75  # one leans on the others


# --- linear algebra ---------------------------------------------------------------------------------------------------


def test_shared_unknowns_of_known_covariance_move_the_frames():
    """Against dense matrices: H^-1 + H^-1 B S B' H^-1, and -H^-1 B S between frames and shared unknowns."""
    T, n, m = 7, 3, 4
    rng = np.random.default_rng(3)
    system, dense = BorderedSystem(T, n, 0, 2), np.zeros((T * n, T * n))
    for k in range(3):
        J = [torch.as_tensor(rng.normal(size=(T - k, 5, n))) for _ in range(k + 1)]
        system.add_neighbours(torch.zeros(T - k, 5, dtype=torch.float64), J)
        for t in range(T - k):
            row = np.zeros((5, T * n))
            row[:, t * n : (t + k + 1) * n] = np.concatenate([x[t].numpy() for x in J], 1)
            dense += row.T @ row
    B, root = rng.normal(size=(T * n, m)), rng.normal(size=(m, m - 1))
    S = root @ root.T  # one combination is known
    system.B = torch.as_tensor(B).reshape(T, n, m)
    found = band_covariance(system, torch.ones(m, dtype=torch.bool), torch.as_tensor(S))
    inverse = np.linalg.inv(dense)
    X = inverse @ B
    whole = np.block([[inverse + X @ S @ X.T, -X @ S[:, :2]], [-S[:2] @ X.T, S[:2, :2]]])
    at = np.r_[2 * n : 5 * n, T * n : T * n + 2]
    np.testing.assert_allclose(found.windows(torch.tensor([2]), 3, slice(0, 2))[0], whole[np.ix_(at, at)], atol=1e-9)
    np.testing.assert_allclose(
        found.of_frames(2.0).windows(torch.tensor([2]), 3)[0], 2 * inverse[2 * n : 5 * n, 2 * n : 5 * n], atol=1e-9
    )


def test_torques_follow_the_pose_under_measured_forces_that_stay(made, part):
    """By differences of inverse dynamics, the force and where it acts held in the world."""
    result = fitted(part, made, forces=made.forces)
    chain, k = KinematicChain(result.skeleton), 30
    cut = slice(k - 2, k + 3)
    motion = result.frames(cut)
    time, gravity = torch.as_tensor(motion.time), torch.as_tensor(result.gravity)
    none = torch.zeros(len(result.skeleton.scale_groups), dtype=torch.bool)
    maps = _Maps(chain, motion, None, result.gravity, none, torch.zeros(chain.nv, dtype=torch.float64))
    J = {name: J[0].numpy() for name, J, _ in maps.rows(torch.tensor([2]))}["tau"]
    c = motion.contacts

    def tau(q: torch.Tensor) -> np.ndarray:
        v, a = rates(chain, time, q)
        p, external = chain.fk(q).p.numpy(), {}
        for i, body in enumerate(c.bodies):
            arm = c.positions[:, i] - p[:, result.skeleton.body_index(body)]
            moment = np.cross(arm, c.force[:, i]) + c.free_moment[:, i]
            wrench = np.concatenate([c.force[:, i], moment], 1)
            external[body] = external.get(body, 0.0) + wrench
        given = {n: torch.as_tensor(w[2]) for n, w in external.items()}
        return dynamics.rnea(chain, q[2], v[2], a[2], gravity=gravity, external=given).numpy()

    q, h, R = torch.as_tensor(motion.q), 1e-6, chain.fk(torch.as_tensor(motion.q)).R[2, 0].numpy()
    expected = np.zeros((chain.nv, chain.nv))
    for j in range(chain.nv):
        step = torch.zeros(5, chain.nv, dtype=torch.float64)
        step[2, j] = h
        expected[:, j] = (tau(chain.integrate(q, step)) - tau(chain.integrate(q, -step))) / (2 * h)
    expected[:, :3] = expected[:, :3] @ R.T  # the pelvis' place is an unknown in the world
    assert np.abs(c.force[2]).max() > 300  # somebody stands on the plate
    found = J[:, chain.nv : 2 * chain.nv]
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max(0, keepdims=True).max())
    held = replace(motion, contacts=replace(c, force=0 * c.force, free_moment=0 * c.free_moment))
    without = _Maps(chain, held, None, result.gravity, none, maps.jerk)
    turned = found - {n: J[0].numpy() for n, J, _ in without.rows(torch.tensor([2]))}["tau"][:, chain.nv : 2 * chain.nv]
    assert np.abs(turned).max() > 300  # [N.m/rad; N.m/m] what the forces add is no trifle


def test_a_rules_error_moves_body_and_markers_as_said(made, monkeypatch):
    """Against the registration done again with a hip's centre that lies beside where it lay, in all frames."""
    seen = markers(made, made.q[::10], made.time[::10])
    R_pelvis = KinematicChain(made.body).fk(torch.as_tensor(made.q[::10])).R[:, 0].numpy()
    rule, pull, registered = marker_fit.joint_centres, marker_fit._pull_of_rules, marker_fit._Registration._registered
    uncertainty, shift, seen_states, covariances = marker_fit._uncertainty, np.zeros((2, 3)), [], []

    def shifted(*args):
        found = rule(*args)
        return found | {
            f"hip_centre_{s}": found[f"hip_centre_{s}"] + R_pelvis @ d for s, d in zip("rl", shift, strict=True)
        }

    def found() -> np.ndarray:
        physpose.fit(seen, made.body, scale=True, register=True)
        return np.concatenate([seen_states[-1].log_scales.numpy(), seen_states[-1].offsets.numpy().ravel()])

    monkeypatch.setattr(marker_fit, "joint_centres", shifted)
    well_placed = lambda p, kin, n, rule: torch.zeros(3 * (len(p.spots) - n), 3 * n, dtype=torch.float64)  # noqa: E731
    monkeypatch.setattr(marker_fit, "_by_misplaced", well_placed)

    def kept(self, state, turnable):
        seen_states.append(state)
        return registered(self, state, turnable)

    monkeypatch.setattr(marker_fit._Registration, "_registered", kept)
    monkeypatch.setattr(marker_fit, "_uncertainty", lambda *a: covariances.append(uncertainty(*a)) or covariances[-1])
    start = found()
    monkeypatch.setattr(marker_fit, "_pull_of_rules", lambda *a: tuple(0 * x for x in pull(*a)))
    found()
    added = (covariances[0] - covariances[1]).numpy()
    expected = np.zeros_like(added)
    for side in range(2):
        for axis in range(3):
            shift[:] = 0
            shift[side, axis] = 0.001
            moved = (found() - start) * 8.0  # a rule is good to 8 mm
            expected += np.outer(moved, moved)
    size = np.sqrt(np.diag(expected))
    felt = size > 0.001  # of scales, and a millimetre
    assert felt[len(seen_states[0].log_scales) :].sum() > 10
    np.testing.assert_allclose((added / size / size[:, None])[felt][:, felt],
                               (expected / size / size[:, None])[felt][:, felt], atol=0.1)  # fmt: skip


def test_a_misplaced_markers_error_goes_through_the_rules_as_said(made, monkeypatch):
    """Against the registration done again with a marker of the pelvis off its place in all frames, and what is expected
    of its place where it was: the error then is what is found less that."""
    seen = markers(made, made.q[::10], made.time[::10])
    R_pelvis = KinematicChain(made.body).fk(torch.as_tensor(made.q[::10])).R[:, 0].numpy()
    registered, added, states, given = marker_fit._Registration._registered, marker_fit._with_misplaced, [], []

    def kept(self, state, turnable):
        states.append(state)
        return registered(self, state, turnable)

    monkeypatch.setattr(marker_fit._Registration, "_registered", kept)
    monkeypatch.setattr(marker_fit, "_with_misplaced", lambda *a: given.append(a) or added(*a))

    def found(shift: np.ndarray, m: int) -> np.ndarray:
        moved = seen.positions.copy()
        moved[:, m] += R_pelvis @ shift
        physpose.fit(replace(seen, positions=moved), made.body, scale=True, register=True)
        return np.concatenate([states[-1].log_scales.numpy(), states[-1].offsets.numpy().ravel()])

    start, G = found(np.zeros(3), 0), len(made.body.scale_groups)
    known, along, spread = (x.numpy() for x in given[0])
    # ways in which no frame's posture goes over to another component of what postures people take
    for label, axis, step in (("RASI", 2, 0.001), ("RASI", 0, 0.001), ("LASI", 1, -0.001)):
        m = list(LABELS).index(label)
        at = 3 * m + axis
        error = (found(step * np.eye(3)[axis], m) - start) / step
        error[G + at] -= 1.0
        expected = along[:, at] / spread.ravel()[at] - known[:, G + at] / spread.ravel()[at] ** 2
        assert np.abs(along[:, at]).max() > 0.1 * np.sqrt(known[G + at, G + at])
        np.testing.assert_allclose(expected, error, rtol=0, atol=0.05 * np.abs(error).max())
    cross = -known[:, G : G + along.shape[1]] / spread.ravel()[: along.shape[1]] @ along.T
    np.testing.assert_allclose(added(*given[0]).numpy(), cross + cross.T + along @ along.T, atol=1e-12)


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_errors_on_skin_that_slides_are_as_large_as_their_sigma(made, part):
    """Skin of another kind than is reckoned with, white noise through a Gaussian filter, on a body that is known."""
    names = {*LABELS.values()}
    usual = [soft_tissue_of(p.body) for p in made.body.keypoint_set("markers").points if p.name in names]
    inside: dict[str, list[np.ndarray]] = {"q": [], "v": [], "tau": []}
    chain = KinematicChain(made.body)
    v, _ = rates(chain, torch.as_tensor(part.time), torch.as_tensor(made.q[FRAMES]))
    truth = physpose.inverse_dynamics((made.time, made.q), made.body, forces=made.forces)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        slid = gaussian_filter1d(rng.standard_normal((160, len(LABELS), 3)), 8.0, axis=0)[50:110]
        slid *= 0.4 * np.median(usual) / slid.std()
        result = fitted(replace(part, positions=part.positions + slid), made, forces=made.forces)
        s = result.sigma
        error = chain.difference(torch.as_tensor(made.q[FRAMES]), torch.as_tensor(result.q)).numpy()
        inside["q"].append(np.abs(error / s.q)[INNER, 6:])
        inside["v"].append(np.abs((result.v - v.numpy()) / s.v)[INNER, 6:])
        inside["tau"].append(np.abs((result.tau - truth.tau[FRAMES]) / s.tau)[INNER, 6:])
    for name, z in inside.items():
        part_inside = float((np.concatenate(z) < 1.645).mean())
        assert 0.8 <= part_inside <= 1.0, (name, part_inside)


# --- what has them, and what they are like ----------------------------------------------------------------------------


def test_measured_forces_are_taken_at_their_word(made, part):
    alone, with_plates = fitted(part, made), fitted(part, made, forces=made.forces)
    assert with_plates.sigma.force.shape == with_plates.contacts.force.shape
    assert not with_plates.sigma.force.any()
    assert alone.sigma.force.shape == alone.contacts.force.shape
    np.testing.assert_allclose(alone.sigma.q, with_plates.sigma.q)
    ankle = 6 + made.body.coordinate_names.index("ankle_angle_r")
    assert with_plates.sigma.tau[:, ankle].max() < 0.5 * alone.sigma.tau[:, ankle].max()


def test_the_summary_tells_how_sure_it_is(made, part, capsys):
    result = fitted(part, made, forces=made.forces)
    summary, i = summarize(result), 6 + made.body.coordinate_names.index("knee_angle_r")
    knee, at = summary["coordinates"]["knee_angle_r"], np.abs(result.tau[:, i]).argmax()
    assert knee["sigma"] == pytest.approx(np.median(result.sigma.q[:, i]))
    assert (knee["peak_force"], knee["peak_force_sigma"]) == (abs(result.tau[at, i]), result.sigma.tau[at, i])
    print_summary(summary, Console(width=120))
    row = next(line for line in capsys.readouterr().out.splitlines() if "knee_angle_r" in line)
    assert f"{knee['peak_force']:.0f} \u00b1 {knee['peak_force_sigma']:.0f} N.m" in row
    assert f"\u00b1 {np.degrees(knee['sigma']):.0f} deg" in row


@pytest.mark.parametrize(("frames", "known"), [(1, False), (2, False), (3, True), (5, True)])
def test_few_frames(made, frames, known):
    result = fitted(markers(made, made.q[:frames], made.time[:frames]), made)
    assert (result.sigma is not None) == known
    if known:
        assert all(np.isfinite(x).all() for n, x in vars(result.sigma).items() if n != "energy")


def test_long_recordings_are_looked_at_in_pieces(made, part, monkeypatch):
    slid = gaussian_filter1d(np.random.default_rng(0).standard_normal((160, len(LABELS), 3)), 8.0, axis=0)[50:110]
    part = replace(part, positions=part.positions + 0.004 * slid / slid.std())
    whole = fitted(part, made)
    monkeypatch.setattr(marker_sigma, "PIECE", 20)
    monkeypatch.setattr(marker_sigma, "BESIDE", 15)
    monkeypatch.setattr("physpose.estimation.dynamics.PIECE", 20)
    monkeypatch.setattr("physpose.estimation.dynamics.LONGEST", 50)
    pieces = fitted(part, made)
    np.testing.assert_array_equal(whole.q, pieces.q)
    legs = [6 + i for i, n in enumerate(made.body.coordinate_names) if n.startswith(("hip", "knee", "ankle"))]
    for name in ("q", "v", "tau"):
        a, b = (np.median(getattr(r.sigma, name)[:, legs], 0) for r in (whole, pieces))
        np.testing.assert_allclose(b, a, rtol=0.35)  # other motions of the skin were drawn
    assert np.isfinite(pieces.sigma.tau).all()


def test_what_no_marker_tells_is_anything(made, part):
    hand = [i for i, n in enumerate(part.names) if n not in ("RFIN", "RWRA", "RWRB")]
    bare = replace(part, names=tuple(part.names[i] for i in hand), positions=part.positions[:, hand])
    i = 6 + made.body.coordinate_names.index("pro_sup_r")
    known, unknown = fitted(part, made).sigma, fitted(bare, made).sigma
    assert np.median(unknown.q[:, i]) > 2 * np.median(known.q[:, i])
    assert np.isfinite(unknown.tau).all()


def test_places_that_were_sought_are_less_sure(made, part):
    sought = physpose.fit(part, made.body, scale=True, register=True, static=standing(made)).sigma
    given = fitted(part, made).sigma
    legs = [6 + i for i, n in enumerate(made.body.coordinate_names) if n.startswith(("hip", "knee", "ankle"))]
    assert (np.median(sought.q[:, legs], 0) > np.median(given.q[:, legs], 0)).all()
    assert np.median(sought.positions) > np.median(given.positions)
