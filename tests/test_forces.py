"""Contact forces: what statics settles must come out, nothing that a floor cannot give, and the optimum itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from physpose.estimation.forces import ContactForces, Effort, ForceSettings, believed_sigma, contact_forces

WEIGHT, STATURE = 600.0, 1.7  # [N], [m]
# Two feet side by side, a metre below the centre of mass: heel and toe each.
FEET = np.array([[-0.1, 0.1, -1.0], [0.1, 0.1, -1.0], [-0.1, -0.1, -1.0], [0.1, -0.1, -1.0]])
MU = ForceSettings.friction
ALL = (1.0, 1.0, 1.0, 1.0)
Array = NDArray[np.float64]


def wrench_at(force: list[float], place: list[float]) -> Array:
    """(6,) of a force [N] that acts at ``place`` [m]: moment about the centre of mass, the origin here."""
    return np.concatenate([force, np.cross(place, force)])


def found(
    wrench: Array, belief: tuple[float, ...] = ALL, effort: Effort | None = None, T: int = 5, fps: float = 30.0,
    settings: ForceSettings | None = None,
) -> ContactForces:  # fmt: skip
    """Of one wrench (6,) that lasts, or of a series (T, 6)."""
    wrench = np.tile(wrench, (T, 1)) if wrench.ndim == 1 else wrench
    T = len(wrench)
    tensors = (np.arange(T) / fps, wrench, np.tile(FEET, (T, 1, 1)), np.tile(belief, (T, 1)))
    told = {"weight": WEIGHT, "stature": STATURE, "effort": effort, "settings": settings}
    return contact_forces(*(torch.as_tensor(x) for x in tensors), **told)


def forces(wrench: Array, belief: tuple[float, ...] = ALL) -> Array:
    """(C, 3) [N] of the middle frame."""
    return found(wrench, belief).force[2].numpy()


def test_standing_still_gives_body_weight_shared_equally():
    f = forces(wrench_at([0, 0, WEIGHT], [0.0, 0.0, -1.0]))
    np.testing.assert_allclose(f[:, 2], WEIGHT / 4, rtol=0.01)
    np.testing.assert_allclose(f[:, :2], 0, atol=0.01 * WEIGHT)


@pytest.mark.parametrize("side", [0.04, -0.07])
def test_feet_share_by_the_distance_of_the_centre_of_pressure(side):
    f = forces(wrench_at([0, 0, WEIGHT], [0.0, side, -1.0]))
    assert f[:2, 2].sum() / WEIGHT == pytest.approx((side + 0.1) / 0.2, abs=0.03)


def test_toes_carry_who_leans_forward():
    f = forces(wrench_at([0, 0, WEIGHT], [0.08, 0.0, -1.0]))
    assert f[[1, 3], 2].sum() / WEIGHT == pytest.approx(0.9, abs=0.04)


def test_a_possible_wrench_is_explained():
    push = np.random.default_rng(0).uniform(0.2, 1, (4, 3)) * [0.2 * WEIGHT * MU, 0.2 * WEIGHT * MU, WEIGHT]
    given = np.concatenate([push.sum(0), np.cross(FEET, push).sum(0)])
    residual = found(given).residual[2].numpy()
    np.testing.assert_allclose(residual[:3], 0, atol=0.01 * WEIGHT)
    np.testing.assert_allclose(residual[3:], 0, atol=0.01 * WEIGHT * STATURE)
    np.testing.assert_allclose(found(given).force[2].sum(0).numpy() + residual[:3], given[:3])


def test_points_off_the_floor_get_next_to_nothing():
    f = forces(wrench_at([0, 0, WEIGHT], [0.0, 0.1, -1.0]), (1.0, 1.0, 0.0, 0.0))
    assert np.abs(f[2:]).max() < 0.005 * WEIGHT
    assert f[:2, 2].sum() == pytest.approx(WEIGHT, rel=0.01)


def test_a_little_belief_is_nearly_none():
    sigma = believed_sigma(torch.tensor([0.0, 0.02, 1.0]), 0.002, 1.0)
    assert sigma[1] < 1.2 * sigma[0]
    assert sigma[2] == pytest.approx(1.0)


def test_nobody_pushes_in_the_air():
    assert not found(wrench_at([0, 0, WEIGHT], [0.0, 0.0, -1.0]), (0.0,) * 4).force.any()


def test_the_floor_never_pulls():
    for place, force in (([0.0, 0.0, -1.0], -WEIGHT), ([1.0, 0.0, -1.0], WEIGHT)):  # upwards; far before the toes
        f = forces(wrench_at([0, 0, force], place))
        assert (f[:, 2] >= 0).all()
    assert np.abs(forces(wrench_at([0, 0, -WEIGHT], [0.0, 0.0, -1.0]))).max() < 0.01 * WEIGHT


def test_forces_stay_inside_the_friction_cone():
    rng = np.random.default_rng(1)
    slides = 0
    for _ in range(20):
        f = forces(rng.normal(size=6) * WEIGHT * [1, 1, 1, 0.2, 0.2, 0.2])
        tangential = np.hypot(f[:, 0], f[:, 1])
        assert (tangential < MU * f[:, 2]).all()
        slides += bool((tangential > 0.95 * MU * f[:, 2]).any())
    assert slides > 5  # the bound was reached, not merely kept


def test_one_point_carries_all():
    f = forces(wrench_at([0, 0, WEIGHT], [0.1, 0.1, -1.0]), (0.0, 1.0, 0.0, 0.0))
    np.testing.assert_allclose(f[1], [0, 0, WEIGHT], atol=0.01 * WEIGHT)


def test_effort_decides_where_statics_does_not():
    """Pushing the feet apart changes nothing outside but loads the hips: the cheapest sideways force wins."""
    T, C = 5, 4
    J = torch.zeros(T, C, 3, 2, dtype=torch.float64)
    J[:, :2, 1, 0] = J[:, 2:, 1, 1] = 1.0  # sideways force of each foot [N] to a torque [N.m]
    tau = torch.tensor([[60.0, -60.0]], dtype=torch.float64).expand(T, 2)
    f = found(wrench_at([0, 0, WEIGHT], [0.0, 0.0, -1.0]), effort=Effort(tau, J)).force[2].numpy()
    left, right = f[:2, 1].sum(), f[2:, 1].sum()
    assert left == pytest.approx(-right, abs=1.0)
    assert 20 < left < 60  # torque 60 - left: nearer to none
    assert f[:, 2].sum() == pytest.approx(WEIGHT, rel=0.01)


def test_forces_change_smoothly():
    """A wrench that hands the weight from foot to foot in one frame: the sum follows, the shares take their time."""
    T, side = 30, np.where(np.arange(30) < 15, 0.02, -0.02)
    wrench = np.stack([wrench_at([0, 0, WEIGHT], [0, s, -1.0]) for s in side])
    f = found(wrench).force[:, :, 2].numpy()
    np.testing.assert_allclose(f.sum(1), WEIGHT, rtol=0.01)
    assert len(f) == T


def test_the_optimum_is_that_of_a_general_solver():
    """Two frames, four points: SciPy's trust region with the cones as constraints finds nothing better."""
    rng, s, T = np.random.default_rng(3), ForceSettings(), 2
    wrench = np.stack([wrench_at([0.3 * WEIGHT, 0, x * WEIGHT], [0.02, 0.03, -1.0]) for x in (1.0, 1.2)])
    wrench += rng.normal(size=wrench.shape) * WEIGHT * 0.02
    belief = (1.0, 0.8, 0.9, 0.1)
    mine = found(wrench, belief).force.numpy() / WEIGHT
    weight = (1 / 30.0) / s.correlation_time
    scale = np.array([s.wrench_sigma[0]] * 3 + [s.wrench_sigma[1] * STATURE] * 3)
    sigma = believed_sigma(torch.tensor(belief), s.no_force_sigma, s.force_sigma).numpy()

    def cost(x: Array) -> float:
        f = x.reshape(T, 4, 3)
        given = np.concatenate([f.sum(1), np.cross(FEET, f).sum(1)], 1)
        unexplained = ((wrench / WEIGHT - given) / scale) ** 2
        small, rate = (f / sigma[:, None]) ** 2, (f[1] - f[0]) ** 2 * 30.0 / s.rate_sigma**2
        return 0.5 * (weight * (unexplained.sum() + small.sum()) + rate.sum())

    cone = {"type": "ineq", "fun": lambda x: MU * x.reshape(-1, 3)[:, 2] - np.hypot(*x.reshape(-1, 3)[:, :2].T + 1e-12)}
    start = np.tile([0.0, 0.0, 0.3], T * 4)
    best = minimize(cost, start, constraints=[cone], method="SLSQP", options={"maxiter": 500, "ftol": 1e-12})
    assert best.success
    # the barrier of eight cones costs a little: twice its weight a cone at most
    assert cost(mine.ravel()) <= best.fun + 2 * 2 * s.barrier * T * 4
    np.testing.assert_allclose(mine, best.x.reshape(T, 4, 3), atol=0.03)


def test_response_and_covariance_are_those_of_the_optimum():
    """Where no cone is near: forces follow a small change of a lasting wrench as the linearisation says."""
    wrench, step = wrench_at([30, 0, WEIGHT], [0.02, 0.01, -1.0]), np.array([5.0, -3.0, 20.0, 1.0, 2.0, -1.0])
    one = found(wrench, T=1)
    moved = found(wrench + step, T=1).force - one.force
    expected = (one.response[0] @ torch.as_tensor(step)).numpy()
    np.testing.assert_allclose(moved[0].numpy(), expected, atol=0.05 * np.abs(expected).max())
    assert torch.linalg.eigvalsh(one.covariance[0])[0] > 0


@pytest.mark.parametrize("fps", [5.0, 30.0, 240.0])
def test_how_a_load_is_shared_is_as_unsure_at_any_frame_rate(fps):
    """Twice the pictures tell nothing more of it: neighbours say the same."""
    wrench = wrench_at([30, 0, WEIGHT], [0.02, 0.01, -1.0])
    few, many = (found(wrench, T=T, fps=rate).covariance for T, rate in ((3, 10.0), (5, fps)))
    np.testing.assert_allclose(many[2].numpy(), few[1].numpy(), rtol=0.02, atol=1e-3 * float(few.abs().max()))


def test_horizontal_forces_are_as_unsure_as_plates_show():
    """No foot pushes against the other by more, and what the wrench tells of both together is as sure as it was."""
    wrench = wrench_at([30, 0, WEIGHT], [0.02, 0.01, -1.0])
    loose, tight = (
        found(wrench, T=1, settings=ForceSettings(horizontal_error=e)).covariance[0].reshape(4, 3, 4, 3) / WEIGHT**2
        for e in (10.0, 0.05)
    )
    for axis in (0, 1):
        assert tight[:, axis, :, axis].diagonal().max() <= 0.05**2
        assert loose[:, axis, :, axis].diagonal().max() > 4 * 0.05**2
    both = [x.sum((0, 2)).diagonal().sqrt() for x in (loose, tight)]
    assert (both[1] <= both[0] + 1e-12).all()
    assert (both[0] < 0.012).all()  # wrench_sigma
