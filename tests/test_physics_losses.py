"""Physics residuals: zero on motions that obey mechanics, and what the closed form says on those that do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dynamics_trees import TREES, random_external, random_q

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.mujoco_check import mujoco_check
from physpose.errors import InputError
from physpose.losses import physics

TREE = TREES["small"]
G = (0.3, -0.5, -9.7)


@pytest.fixture(scope="module")
def chain():
    return KinematicChain(TREE)


def simulate(chain, tau_of, T=201, dt=2e-3, gravity=G, wrench=None):
    """A motion by Runge-Kutta 4 on the manifold, of torques tau_of(t, v): time, q, v, a, tau, external."""
    time = torch.cumsum(dt * (1 + 0.5 * torch.sin(torch.arange(T).double())), 0)  # uneven on purpose
    q = torch.tensor(random_q(np.random.default_rng(0), chain.skeleton, 1)[0])
    v = torch.linspace(-1, 1, chain.nv).double()
    external = {} if wrench is None else {"b": wrench}

    def acceleration(t, q, v):
        return dynamics.aba(chain, q, v, tau_of(t, v), gravity=gravity, external=external)

    rows = []
    for t, h in zip(time, [*time.diff(), torch.tensor(0.0)], strict=True):
        k1 = acceleration(t, q, v)
        rows.append((q, v, k1, tau_of(t, v)))
        q2, v2 = chain.integrate(q, h / 2 * v), v + h / 2 * k1
        k2 = acceleration(t + h / 2, q2, v2)
        q3, v3 = chain.integrate(q, h / 2 * v2), v + h / 2 * k2
        k3 = acceleration(t + h / 2, q3, v3)
        q4, v4 = chain.integrate(q, h * v3), v + h * k3
        k4 = acceleration(t + h, q4, v4)
        # of fourth order but for commutators, which these steps are too small to show
        q, v = chain.integrate(q, h / 6 * (v + 2 * v2 + 2 * v3 + v4)), v + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    motion = [torch.stack(x) for x in zip(*rows, strict=True)]
    return time, *motion, {n: w.expand(T, 6) for n, w in external.items()}


def torques(t, v):
    tau = torch.sin(5 * t + torch.arange(len(v)).double())
    tau[:6] = 0
    return tau


@pytest.fixture(scope="module")
def motion(chain):
    return simulate(chain, torques, wrench=torch.tensor([5.0, -3, 8, 0.5, 0.2, -0.4], dtype=torch.float64))


def test_lawful_motion_leaves_no_residual(chain, motion):
    time, q, v, _, tau, external = motion
    options = {"gravity": G, "external": external}
    for residual, scale in [
        (physics.linear_momentum(chain, time, q, v, **options), TREE.mass * 9.7 * 2e-3),
        (physics.angular_momentum(chain, time, q, v, **options), 8 * 0.3 * 2e-3),
        (physics.energy_balance(chain, time, q, v, tau, **options), 1.0),
    ]:
        assert residual.shape[0] == len(time) - 1
        assert float(residual.abs().max()) < 1e-3 * scale  # trapezoids over 2 ms


def test_forgotten_wrench_is_what_remains(chain, motion):
    time, q, v, _, tau, external = motion
    dt, w = time.diff(), external["b"][0]
    missing = physics.linear_momentum(chain, time, q, v, gravity=G)
    torch.testing.assert_close(missing, dt[:, None] * w[:3], rtol=1e-3, atol=1e-6)
    assert float(physics.angular_momentum(chain, time, q, v, gravity=G).abs().max()) > 1e-3
    assert float(physics.energy_balance(chain, time, q, v, tau, gravity=G).abs().max()) > 1e-2


def test_mujoco_confirms_torques_and_motion(chain, motion):
    time, q, v, a, tau, external = motion
    check = mujoco_check(TREE, time, q, v, a, tau, gravity=G, external=external)
    assert check.torque_error < 1e-8
    assert check.largest_drift < 1e-4  # torques linear between frames, 0.1 s at a time
    wrong = mujoco_check(TREE, time, q, v, a, 1.1 * tau, gravity=G, external=external)
    assert wrong.torque_error > 0.05
    assert wrong.largest_drift > 10 * check.largest_drift


def test_mujoco_check_refuses_what_it_cannot_judge(motion):
    time, q, v, a, tau, _ = motion
    with pytest.raises(InputError, match="tau has shape"):
        mujoco_check(TREE, time, q, v, a, tau[:, :-1])
    with pytest.raises(InputError, match="increasing"):
        mujoco_check(TREE, time.flip(0), q, v, a, tau)
    with pytest.raises(InputError, match="a is not finite at"):
        mujoco_check(TREE, time, q, v, a * torch.nan, tau)


def test_torque_terms_by_hand():
    tau = torch.arange(24.0).reshape(3, 8)
    time = torch.tensor([0.0, 0.1, 0.3])
    torch.testing.assert_close(physics.torque(tau, 2.0), tau[:, 6:] / 2)
    torch.testing.assert_close(physics.torque_rate(tau, time), torch.tensor([[80.0, 80.0], [40.0, 40.0]]))
    torch.testing.assert_close(physics.power(tau, 2 * tau), 2 * tau[:, 6:] ** 2)
    wrench = physics.root_wrench(tau, mass=10.0, height=2.0)
    torch.testing.assert_close(wrench[1], tau[1, :6] / 98.0665 / torch.tensor([1, 1, 1, 2, 2, 2.0]))
    with pytest.raises(InputError, match="increasing"):
        physics.torque_rate(tau, time.flip(0))
    with pytest.raises(InputError, match="time has shape"):
        physics.torque_rate(tau, time[:2])


def test_ground_terms_by_hand():
    points = torch.tensor([[0.0, 0, 0.1], [0, 0, -0.02]])
    torch.testing.assert_close(physics.ground_penetration(points), torch.tensor([0.0, 0.02]))
    torch.testing.assert_close(physics.ground_penetration(points, 0.15), torch.tensor([0.05, 0.17]))
    velocity, active = torch.tensor([[1.0, 2, 3], [4, 5, 6]]), torch.tensor([True, False])
    torch.testing.assert_close(physics.slip(velocity, active), torch.tensor([[1.0, 2], [0, 0]]))


def test_residuals_are_differentiable_and_take_any_batch(chain, motion):
    time, q, v, _, tau, _ = motion
    q2, v2 = (x[:5].expand(2, 5, -1).clone().requires_grad_() for x in (q, v))
    tau2 = tau[:5].expand(2, 5, -1)
    terms = [
        physics.linear_momentum(chain, time[:5], q2, v2),
        physics.angular_momentum(chain, time[:5], q2, v2),
        physics.energy_balance(chain, time[:5], q2, v2, tau2)[..., None],
        physics.torque_rate(dynamics.rnea(chain, q2, v2, v2), time[:5]),
    ]
    assert [tuple(x.shape[:2]) for x in terms] == [(2, 4)] * 4
    for term in terms:
        by_q, by_v = torch.autograd.grad(term.square().sum(), (q2, v2), retain_graph=True)
        assert torch.isfinite(by_q).all()
        assert bool((by_v != 0).any())


def test_random_wrenches_do_the_work_of_their_velocities(chain):
    external = {n: torch.tensor(w) for n, w in random_external(3, TREE, 2).items()}
    q = torch.tensor(random_q(np.random.default_rng(3), TREE, 2))
    v = torch.randn(2, chain.nv, dtype=q.dtype, generator=torch.Generator().manual_seed(0))
    held = dynamics.rnea(chain, q, v, v) - dynamics.rnea(chain, q, v, v, external=external)
    velocity = dynamics.body_velocities(chain, q, v)
    work = sum((w * velocity[:, TREE.body_index(n)]).sum(-1) for n, w in external.items())
    torch.testing.assert_close((held * v).sum(-1), work, rtol=1e-10, atol=1e-10)
