"""The dynamics in tensors against Pinocchio, and against the identities that mechanics demands."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest
import torch
from dynamics_trees import TREES, random_external, random_state

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.mujoco_check import mujoco_check
from physpose.dynamics.pinocchio_backend import PinocchioModel

RTOL = 1e-9  # relative to the largest entry: float64, some 40 links
G = np.array([0.3, -0.5, -9.7])
BATCHES = [(), (1,), (3, 1, 2)]

trees = pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())


def assert_close(value: torch.Tensor, expected: np.ndarray) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(value.detach().numpy(), expected, rtol=0, atol=RTOL * max(1.0, abs(expected).max()))


def state(seed: int, tree, T: int = 4) -> list[torch.Tensor]:
    return [torch.tensor(x) for x in random_state(seed, tree, T)]


def wrenches(seed: int, tree, T: int = 4) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(w) for name, w in random_external(seed, tree, T).items()}


@trees
def test_rnea_with_external_wrenches_matches_pinocchio(tree):
    chain = KinematicChain(tree)
    q, v, a = state(0, tree)
    tau = dynamics.rnea(chain, q, v, a, gravity=torch.tensor(G), external=wrenches(0, tree), engine="torch")
    assert_close(tau, PinocchioModel(tree).inverse_dynamics(q, v, a, G, random_external(0, tree, 4)))


@trees
@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_rnea_matches_mj_inverse(tree, engine):
    chain, time = KinematicChain(tree), np.linspace(0, 0.01, 6)
    q, v, a = state(14, tree, 6)
    external = wrenches(14, tree, 6)
    tau = dynamics.rnea(chain, q, v, a, gravity=torch.tensor(G), external=external, engine=engine)
    check = mujoco_check(tree, time, q, v, a, tau, gravity=G, external=external)
    assert check.torque_error < 1e-8


@trees
def test_mass_matrix_matches_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, _, _ = state(1, tree)
    assert_close(dynamics.crba(chain, q), model.mass_matrix(q))


@trees
def test_forward_dynamics_matches_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, tau = state(2, tree)
    a = dynamics.aba(chain, q, v, tau, gravity=torch.tensor(G))
    assert_close(a, model.forward_dynamics(q, v, tau, G))


@trees
def test_momentum_and_its_rate_match_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, a = state(3, tree)
    assert_close(dynamics.centroidal_momentum(chain, q, v), model.centroidal_momentum(q, v))
    rate = dynamics.centroidal_momentum_rate(chain, q, v, a)
    for t, state_t in enumerate(zip(*model.arguments(q=q, v=v, a=a), strict=True)):
        pin.computeCentroidalMomentumTimeVariation(model.model, model.data, *state_t)
        assert_close(rate[t], model.data.dhg.vector)


@trees
def test_inertia_about_the_centre_of_mass_matches_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, _ = state(4, tree)
    inertia = dynamics.centroidal_inertia(chain, q)
    for t, state_t in enumerate(zip(*model.arguments(q=q, v=v), strict=True)):
        pin.ccrba(model.model, model.data, *state_t)
        assert_close(inertia[t], model.data.Ig.inertia)


@trees
def test_momentum_by_body_matches_pinocchios_velocities(tree):
    """Each share from Pinocchio's own body velocities, by the definition; and they sum to the whole."""
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, _ = state(5, tree)
    shares = dynamics.momentum_by_body(chain, q, v)
    assert_close(shares.sum(-2), model.centroidal_momentum(q, v))
    for t, (q_t, v_t) in enumerate(zip(*model.arguments(q=q, v=v), strict=True)):
        pin.forwardKinematics(model.model, model.data, q_t, v_t)
        pin.updateFramePlacements(model.model, model.data)
        com = pin.centerOfMass(model.model, model.data, q_t, v_t)
        dcom = model.data.vcom[0]
        for i, b in enumerate(tree.bodies):
            T = model.data.oMf[model.frame_ids[b.name]]
            twist = pin.getFrameVelocity(model.model, model.data, model.frame_ids[b.name], pin.LOCAL_WORLD_ALIGNED)
            c, dc = T.act(np.asarray(b.com)), twist.linear + np.cross(twist.angular, T.rotation @ b.com)
            spin = T.rotation @ b.inertia @ T.rotation.T @ twist.angular
            expected = np.r_[b.mass * dc, spin + b.mass * np.cross(c - com, dc - dcom)]
            assert_close(shares[t, i], expected)


@trees
def test_energy_matches_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    model.model.gravity.linear = G
    q, v, _ = state(4, tree)
    kinetic, potential = dynamics.energy(chain, q, v, gravity=torch.tensor(G))
    q_pin, v_pin = model.arguments(q=q, v=v)
    assert_close(
        kinetic, [pin.computeKineticEnergy(model.model, model.data, *x) for x in zip(q_pin, v_pin, strict=True)]
    )
    assert_close(potential, [pin.computePotentialEnergy(model.model, model.data, x) for x in q_pin])
    assert_close(dynamics.center_of_mass(chain, q), model.com(q))


@trees
def test_poses_jacobians_velocities_and_accelerations_match_pinocchio(tree):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, a = state(5, tree)
    axes = pin.LOCAL_WORLD_ALIGNED
    x = dynamics.kinematics.poses(chain, q, dynamics.body_parameters(chain))
    positions, rotations = model.forward_kinematics(q)
    assert_close(x.p, positions)
    assert_close(x.R, rotations)
    for name, frame in model.frame_ids.items():
        assert_close(dynamics.jacobian(chain, q, name), model.jacobian(name, q))
        velocity = dynamics.frame_velocity(chain, q, v, name)
        acceleration = dynamics.frame_acceleration(chain, q, v, a, name)
        for t, state_t in enumerate(zip(*model.arguments(q=q, v=v, a=a), strict=True)):
            pin.forwardKinematics(model.model, model.data, *state_t)
            pin.updateFramePlacements(model.model, model.data)
            assert_close(velocity[t], pin.getFrameVelocity(model.model, model.data, frame, axes).vector)
            expected = pin.getFrameClassicalAcceleration(model.model, model.data, frame, axes).vector
            assert_close(acceleration[t], expected)


@trees
def test_point_off_the_origin_moves_as_its_finite_difference(tree):
    chain, model, name = KinematicChain(tree), PinocchioModel(tree), tree.body_names[-1]
    q, v, a = state(6, tree)
    offset, dt = torch.tensor([0.1, -0.2, 0.3], dtype=q.dtype), 1e-5
    points = []
    for s in (-1, 1):
        q_s = model.integrate(q, v * dt * s)
        p, R = (x[:, -1] for x in model.forward_kinematics(q_s))
        v_s = dynamics.frame_velocity(chain, torch.tensor(q_s), v + s * a * dt, name, offset=offset)
        points.append((p + R @ offset.numpy(), v_s.numpy()))
    velocity = dynamics.frame_velocity(chain, q, v, name, offset=offset).numpy()
    acceleration = dynamics.frame_acceleration(chain, q, v, a, name, offset=offset).numpy()
    np.testing.assert_allclose((points[1][0] - points[0][0]) / (2 * dt), velocity[:, :3], atol=1e-7)
    np.testing.assert_allclose((points[1][1] - points[0][1]) / (2 * dt), acceleration, atol=1e-6)
    J = dynamics.jacobian(chain, q, name, offset=offset)
    np.testing.assert_allclose((J @ v[..., None])[..., 0], velocity, atol=1e-12)


@trees
def test_tau_is_mass_matrix_times_acceleration_plus_bias(tree):
    chain = KinematicChain(tree)
    q, v, a = state(7, tree)
    M = dynamics.crba(chain, q)
    h = dynamics.rnea(chain, q, v, torch.zeros_like(a))
    tau = dynamics.rnea(chain, q, v, a)
    assert_close((M @ a[..., None])[..., 0] + h, tau)
    assert_close(M, M.mT)
    assert (torch.linalg.eigvalsh(M)[:, 0] > 0).all()


@trees
def test_forward_dynamics_undoes_inverse_dynamics(tree):
    chain = KinematicChain(tree)
    q, v, a = state(8, tree)
    options = {"gravity": torch.tensor(G), "external": wrenches(8, tree)}
    assert_close(dynamics.aba(chain, q, v, dynamics.rnea(chain, q, v, a, **options), **options), a)


@trees
def test_power_is_the_rate_of_energy(tree):
    chain = KinematicChain(tree)
    q, v, a = state(9, tree)

    t = torch.zeros(len(q), 1, dtype=q.dtype, requires_grad=True)
    total = sum(dynamics.energy(chain, chain.integrate(q, v * t), v + a * t))
    (rate,) = torch.autograd.grad(total.sum(), t)  # exact: the derivative along the motion
    assert_close((dynamics.rnea(chain, q, v, a) * v).sum(-1), rate[:, 0])


@pytest.mark.parametrize("name", ["adult", "child", "zoo", "small"])
def test_momentum_rate_is_gravity_plus_external_wrenches_in_flight(name):
    tree = TREES[name]
    chain = KinematicChain(tree)
    q, v, tau = state(10, tree)
    tau[:, :6] = 0  # nothing holds the root
    external = wrenches(10, tree)
    a = dynamics.aba(chain, q, v, tau, gravity=torch.tensor(G), external=external)
    rate = dynamics.centroidal_momentum_rate(chain, q, v, a)
    x, com = dynamics.kinematics.poses(chain, q, dynamics.body_parameters(chain)), dynamics.center_of_mass(chain, q)
    force = sum(w[:, :3] for w in external.values()) + tree.mass * torch.tensor(G)
    arms = {n: x.p[:, tree.body_index(n)] - com for n in external}
    moment = sum(w[:, 3:] + torch.linalg.cross(arms[n], w[:, :3]) for n, w in external.items())
    assert_close(rate, torch.cat([force, moment], -1).numpy())


@pytest.mark.parametrize("batch", BATCHES)
def test_any_leading_batch_shape(batch):
    tree = TREES["zoo"]
    chain = KinematicChain(tree)
    n = int(np.prod(batch))
    q, v, a = state(11, tree, n)
    external, g = wrenches(11, tree, n), torch.randn(n, 3, dtype=q.dtype)
    expected = dynamics.rnea(chain, q, v, a, gravity=g, external=external)
    shaped = [x.reshape(*batch, -1) for x in (q, v, a)]
    shaped_external = {k: w.reshape(*batch, 6) for k, w in external.items()}
    tau = dynamics.rnea(chain, *shaped, gravity=g.reshape(*batch, 3), external=shaped_external)
    torch.testing.assert_close(tau, expected.reshape(*batch, -1), rtol=1e-12, atol=1e-12)
    assert dynamics.crba(chain, shaped[0]).shape == (*batch, chain.nv, chain.nv)
    assert dynamics.aba(chain, *shaped).shape == (*batch, chain.nv)
    assert dynamics.centroidal_momentum(chain, *shaped[:2]).shape == (*batch, 6)
    assert dynamics.centroidal_inertia(chain, shaped[0]).shape == (*batch, 3, 3)
    assert dynamics.momentum_by_body(chain, *shaped[:2]).shape == (*batch, len(tree.bodies), 6)
    assert dynamics.energy(chain, *shaped[:2])[1].shape == batch
    assert dynamics.jacobian(chain, shaped[0], "c").shape == (*batch, 6, chain.nv)


def test_a_body_per_sample():
    tree = TREES["zoo"]
    chain = KinematicChain(tree)
    q, v, a = state(12, tree, 2)
    scales = torch.tensor([[0.1, -0.2], [-0.3, 0.05]], dtype=q.dtype)
    tau = dynamics.rnea(chain, q, v, a, parameters=dynamics.body_parameters(chain, scales))
    for t in range(2):
        body = tree.scaled(scales[t].exp().numpy())
        assert_close(tau[[t]], PinocchioModel(body).inverse_dynamics(q[[t]], v[[t]], a[[t]]))


def test_float32_follows_float64():
    tree = TREES["adult"]
    chain = KinematicChain(tree)
    q, v, a = state(13, tree, 20)
    expected = dynamics.rnea(chain, q, v, a)
    tau = dynamics.rnea(KinematicChain(tree, torch.float32), q.float(), v.float(), a.float())
    assert tau.dtype == torch.float32
    assert float((tau.double() - expected).abs().max() / expected.abs().max()) < 1e-5  # asked for: 1e-4
