"""The Pinocchio model of a skeleton, against closed forms and identities (against MuJoCo: test_mjcf)."""

from __future__ import annotations

import numpy as np
import pytest
from dynamics_trees import TREES, pendulum, random_external, random_state

from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, UnknownNameError

G = np.array([0.3, -0.5, -9.7])
trees = pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())


def test_pendulum_follows_its_closed_form():
    tree = pendulum(1)
    b = tree.bodies[0]
    q, v, a = random_state(0, tree, 20)
    x = b.com[0] * np.cos(q[:, 0]) + b.com[2] * np.sin(q[:, 0])
    # about y: (I_yy + m |c|^2) a - m g x = tau: turning about y lowers what lies ahead
    inertia = b.inertia[1, 1] + b.mass * (b.com[0] ** 2 + b.com[2] ** 2)
    expected = inertia * a[:, 0] - b.mass * 9.81 * x
    np.testing.assert_allclose(PinocchioModel(tree).inverse_dynamics(q, v, a)[:, 0], expected, atol=1e-12)


@trees
def test_manifold_round_trip(tree):
    model = PinocchioModel(tree)
    q, v, _ = random_state(1, tree, 5)
    np.testing.assert_allclose(model.difference(q, model.integrate(q, 0.3 * v)), 0.3 * v, atol=1e-12)


@trees
def test_external_wrench_does_the_work_of_its_jacobian(tree):
    model = PinocchioModel(tree)
    q, v, a = random_state(2, tree, 4)
    external = random_external(2, tree, 4)
    JT_f = sum(np.einsum("tij,ti->tj", model.jacobian(name, q), w) for name, w in external.items())
    tau = model.inverse_dynamics(q, v, a, G)
    np.testing.assert_allclose(model.inverse_dynamics(q, v, a, G, external), tau - JT_f, atol=1e-9)


@pytest.mark.parametrize("name", ["adult", "child", "zoo", "small"])
def test_momentum_changes_by_gravity_and_external_force(name):
    tree = TREES[name]
    model = PinocchioModel(tree)
    q, v, a = random_state(3, tree, 3)
    dt = 1e-5
    before = model.integrate(q, -v * dt), v - a * dt
    after = model.integrate(q, v * dt), v + a * dt
    rate = (model.centroidal_momentum(*after) - model.centroidal_momentum(*before)) / (2 * dt)
    tau = model.inverse_dynamics(q, v, a, G)
    # the root's joint force is all that acts besides gravity: moved to the centre of mass, it is the rate
    p, R = (x[:, 0] for x in model.forward_kinematics(q))
    force, moment = np.einsum("tij,tj->ti", R, tau[:, :3]), np.einsum("tij,tj->ti", R, tau[:, 3:6])
    moment = moment + np.cross(p - model.com(q), force)
    np.testing.assert_allclose(rate[:, :3], force + tree.mass * G, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(rate[:, 3:], moment, rtol=1e-5, atol=1e-4)


@trees
def test_power_is_the_rate_of_energy(tree):
    model = PinocchioModel(tree)
    q, v, a = random_state(4, tree, 3)
    dt = 1e-5
    E = [sum(model.energy(model.integrate(q, s * v * dt), v + s * a * dt, G)) for s in (-1, 1)]
    power = (model.inverse_dynamics(q, v, a, G) * v).sum(-1)
    np.testing.assert_allclose((E[1] - E[0]) / (2 * dt), power, rtol=1e-5, atol=1e-4)


def test_gravity_may_differ_from_frame_to_frame():
    tree, gravity = TREES["zoo"], np.array([[0, 0, 0], G, [0, 0, -9.81]])
    model = PinocchioModel(tree)
    q, v, a = random_state(5, tree, 3)
    tau = model.inverse_dynamics(q, v, a, gravity)
    for t in range(3):
        np.testing.assert_array_equal(model.inverse_dynamics(q[[t]], v[[t]], a[[t]], gravity[t])[0], tau[t])


def test_bad_input_is_refused():
    tree = TREES["zoo"]
    model = PinocchioModel(tree)
    q, v, a = random_state(6, tree, 3)
    with pytest.raises(InputError, match="v has shape"):
        model.inverse_dynamics(q, v[:2], a)
    with pytest.raises(InputError, match="gravity"):
        model.inverse_dynamics(q, v, a, gravity=-9.81)
    with pytest.raises(InputError, match="external wrench on base"):
        model.inverse_dynamics(q, v, a, external={"base": np.zeros((3, 3))})
    with pytest.raises(UnknownNameError, match="thigh"):
        model.inverse_dynamics(q, v, a, external={"thigh": np.zeros((3, 6))})
