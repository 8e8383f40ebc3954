"""Gradients of the dynamics: numerical, analytic ones of Pinocchio's, and engine against engine."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pinocchio as pin
import pytest
import torch
from dynamics_trees import TREES, random_state
from torch.autograd import gradcheck, gradgradcheck

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.engine_pinocchio import to_q_gradient
from physpose.dynamics.parameters import BodyParameters
from physpose.dynamics.pinocchio_backend import PinocchioModel

RTOL = 1e-9  # relative to the largest entry: float64
G = [0.3, -0.5, -9.7]

trees = pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
needs_warp = pytest.mark.skipif(find_spec("warp") is None, reason="the extra 'warp' is not installed")
WARP = pytest.param("warp", marks=needs_warp)
engines = pytest.mark.parametrize("engine", ["torch", "pinocchio", WARP])


def assert_close(value: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> None:
    value, expected = torch.as_tensor(value).detach(), torch.as_tensor(expected).detach()
    atol = RTOL * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(value, expected, rtol=0, atol=atol)


def leaves(seed: int, tree, T: int = 3) -> list[torch.Tensor]:
    """q, v, a, gravity, external as leaves."""
    rng = np.random.default_rng(seed)
    arrays = [*random_state(seed, tree, T), rng.normal(size=(T, 3)), rng.normal(size=(T, len(tree.bodies), 6))]
    return [torch.tensor(x, requires_grad=True) for x in arrays]


def free_parameters(chain: KinematicChain) -> BodyParameters:
    return BodyParameters(*(x.detach().clone().requires_grad_() for x in dynamics.body_parameters(chain)))


@engines
@pytest.mark.parametrize("name", ["small", "zoo", "pendulum"])
def test_first_derivatives_match_finite_differences(name, engine):
    chain = KinematicChain(TREES[name])

    def tau(q, v, a, gravity, external):
        return dynamics.rnea(chain, q, v, a, gravity=gravity, external=external, engine=engine)

    assert gradcheck(tau, leaves(0, TREES[name], 2), atol=1e-6, rtol=1e-5)


@engines
def test_second_derivatives_match_finite_differences(engine):
    chain = KinematicChain(TREES["small"])

    def tau(q, v, a, gravity, external):
        return dynamics.rnea(chain, q, v, a, gravity=gravity, external=external, engine=engine)

    assert gradgradcheck(tau, leaves(1, TREES["small"], 1), atol=1e-5, rtol=1e-4)


def test_second_derivatives_of_arguments_that_depend_on_one_another():
    chain = KinematicChain(TREES["small"])
    q, v, a = leaves(1, TREES["small"], 1)[:3]

    def tau(v, engine="pinocchio"):
        return dynamics.rnea(chain, q.detach(), v, a.detach() + v * v, engine=engine)

    assert gradgradcheck(tau, [v], atol=1e-5, rtol=1e-4)
    expected = torch.autograd.grad(tau(v, "torch").square().sum(), v)[0]
    assert_close(torch.autograd.grad(tau(v).square().sum(), v, create_graph=True)[0], expected)


@needs_warp
@pytest.mark.parametrize(("dtype", "turns", "rtol"), [(torch.float64, 1e3, 1e-9), (torch.float32, 10, 1e-5)])
def test_kernels_own_sine_and_cosine_hold_over_many_turns(dtype, turns, rtol):
    tree = TREES["adult"]
    chain = KinematicChain(tree, dtype)
    q, v, a = (x.detach().to(dtype) for x in leaves(12, tree, 64)[:3])
    q[:, 7:] = turns * 6 * (torch.rand(q[:, 7:].shape, generator=torch.Generator().manual_seed(0)).to(dtype) - 0.5)
    tau, expected = (dynamics.rnea(chain, q, v, a, engine=e) for e in ("warp", "torch"))
    assert float((tau - expected).abs().max() / expected.abs().max()) < rtol


@pytest.mark.parametrize("engine", ["torch", WARP])
def test_derivatives_by_the_body_match_finite_differences(engine):
    chain = KinematicChain(TREES["small"])
    q, v, a = (x.detach() for x in leaves(2, TREES["small"], 2)[:3])

    def tau(*parameters):
        return dynamics.rnea(chain, q, v, a, parameters=BodyParameters(*parameters), engine=engine)

    assert gradcheck(tau, list(free_parameters(chain)), atol=1e-6, rtol=1e-5)
    assert gradgradcheck(tau, list(free_parameters(chain)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("function", ["crba", "aba", "centroidal_momentum", "centroidal_momentum_rate", "energy"])
def test_other_algorithms_match_finite_differences_twice(function):
    chain = KinematicChain(TREES["small"])
    n = {"crba": 1, "aba": 3, "centroidal_momentum": 2, "centroidal_momentum_rate": 3, "energy": 2}[function]
    inputs = leaves(3, TREES["small"], 1)[:n]

    def value(*inputs):
        return getattr(dynamics, function)(chain, *inputs)

    assert gradcheck(value, inputs, atol=1e-6, rtol=1e-5)
    assert gradgradcheck(value, inputs, atol=1e-5, rtol=1e-4)


@engines
@trees
def test_engines_agree_with_pinocchios_analytic_derivatives(tree, engine):
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    model.model.gravity.linear = np.array(G)
    q, v, a, _, _ = leaves(4, tree)
    u = torch.randn(len(q), tree.nv, dtype=q.dtype, generator=torch.Generator().manual_seed(0))
    tau = dynamics.rnea(chain, q, v, a, gravity=torch.tensor(G, dtype=q.dtype), engine=engine)
    by_q, by_v, by_a = torch.autograd.grad((u * tau).sum(), (q, v, a))
    inputs = [x.detach() for x in (q, v, a)]
    for t, state in enumerate(zip(*model.arguments(q=inputs[0], v=inputs[1], a=inputs[2]), strict=True)):
        dq, dv, M = pin.computeRNEADerivatives(model.model, model.data, *state)
        u_t = u[t].numpy()[model.v_columns]
        # Pinocchio's are by motions dv of q + dv
        t_q, t_by_q = inputs[0][[t]], by_q[[t]]
        zero = torch.zeros(1, tree.nv, dtype=q.dtype)
        _, by_motion = torch.autograd.functional.vjp(lambda dv, q=t_q: chain.integrate(q, dv), zero, t_by_q)
        assert_close(by_motion[0][model.v_columns], u_t @ dq)
        assert_close(by_v[t][model.v_columns], u_t @ dv)
        assert_close(by_a[t][model.v_columns], M @ u_t)
        assert_close(by_q[t][model.q_columns], to_q_gradient(model, state[0], u_t @ dq))  # and tangent to the sphere


@pytest.mark.parametrize("engine", ["pinocchio", WARP])
@trees
def test_engines_agree_with_tensor_code(tree, engine):
    chain, inputs = KinematicChain(tree), leaves(5, tree, 19)  # 19: no multiple of the vector's lanes
    results = []
    for e in ("torch", engine):
        q, v, a, gravity, external = inputs
        tau = dynamics.rnea(chain, q, v, a, gravity=gravity, external=external, engine=e)
        results.append((tau, *torch.autograd.grad((tau * tau).sum(), inputs)))
    for x, expected in zip(results[1], results[0], strict=True):
        assert_close(x, expected)


@needs_warp
@trees
def test_warp_agrees_with_tensor_code_on_the_bodys_parameters(tree):
    chain = KinematicChain(tree)
    q, v, a, gravity, external = (x.detach() for x in leaves(6, tree, 5))
    results = []
    for e in ("torch", "warp"):
        parameters = free_parameters(chain)
        tau = dynamics.rnea(chain, q, v, a, gravity=gravity, external=external, parameters=parameters, engine=e)
        results.append(torch.autograd.grad((tau * tau).sum(), list(parameters)))
    for x, expected in zip(results[1], results[0], strict=True):
        assert_close(x, expected)


@pytest.mark.parametrize("engine", ["torch", WARP])
@pytest.mark.parametrize("name", ["adult", "zoo"])
def test_derivatives_by_inertial_parameters_are_pinocchios_regressor(name, engine):
    tree = TREES[name]
    chain, model = KinematicChain(tree), PinocchioModel(tree)
    q, v, a = (x.detach() for x in leaves(7, tree, 1)[:3])
    u = torch.randn(1, tree.nv, dtype=q.dtype, generator=torch.Generator().manual_seed(0))
    parameters = free_parameters(chain)
    tau = dynamics.rnea(chain, q, v, a, parameters=parameters, engine=engine)
    by_mass, by_com, by_inertia, _ = torch.autograd.grad((u * tau).sum(), list(parameters))
    Y = pin.computeJointTorqueRegressor(model.model, model.data, *(x[0] for x in model.arguments(q=q, v=v, a=a)))
    by_link = (u[0].numpy()[model.v_columns] @ Y).reshape(-1, 10)  # m, m c, xx xy yy xz yz zz at the joint
    for i, b in enumerate(tree.bodies):
        frame = model.model.frames[model.frame_ids[b.name]]
        if b.joint.kind == "fixed":
            continue  # Pinocchio counts it with its parent
        m, h, (xx, xy, yy, xz, yz, zz) = np.split(by_link[frame.parentJoint - 1], [1, 4])
        c, S = np.asarray(b.com), np.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
        # moved to (m, c, I about c): I_origin = I + m (c.c 1 - c c^T), h = m c
        assert_close(by_inertia[i], S)
        assert_close(by_mass[i], m[0] + h @ c + np.sum(S * (c @ c * np.eye(3) - np.outer(c, c))))
        assert_close(by_com[i], b.mass * (h + 2 * np.trace(S) * c - 2 * S @ c))


def test_bone_scales_receive_gradients_from_torques():
    chain = KinematicChain(TREES["zoo"])
    q, v, a = (x.detach() for x in leaves(8, TREES["zoo"], 2)[:3])

    def tau(log_scales):
        return dynamics.rnea(chain, q, v, a, parameters=dynamics.body_parameters(chain, log_scales))

    assert gradcheck(tau, [torch.tensor([0.1, -0.2], dtype=q.dtype, requires_grad=True)])
    chain.log_scales.requires_grad_()
    dynamics.rnea(chain, q, v, a).square().sum().backward()
    assert chain.log_scales.grad is not None
    assert bool((chain.log_scales.grad != 0).all())


def test_changed_bone_scales_are_noticed():
    tree = TREES["zoo"]
    chain = KinematicChain(tree)
    q, v, a = (x.detach() for x in leaves(9, tree, 2)[:3])
    for scales in ([0.0, 0.0], [0.2, -0.1]):
        with torch.no_grad():
            chain.log_scales.copy_(torch.tensor(scales))
        expected = PinocchioModel(tree.scaled(np.exp(scales))).inverse_dynamics(q, v, a)
        for engine in ("torch", "pinocchio"):
            assert_close(dynamics.rnea(chain, q, v, a, engine=engine), expected)


@engines
@pytest.mark.parametrize("angle", [0.0, 1e-9, np.pi - 1e-9, np.pi])
def test_gradients_are_finite_and_right_at_no_turn_and_at_half_a_turn(angle, engine):
    chain = KinematicChain(TREES["small"])
    q, v, a, gravity, external = leaves(10, TREES["small"], 1)
    half = torch.tensor([np.sin(angle / 2), 0, 0, np.cos(angle / 2)], dtype=q.dtype)
    q = torch.cat(
        [q[:, :3].detach(), half[None], half[None], torch.full((1, 2), angle, dtype=q.dtype)], -1
    ).requires_grad_()

    def tau(*x):
        return dynamics.rnea(chain, *x[:3], gravity=x[3], external=x[4], engine=engine)

    assert gradcheck(tau, [q, v, a, gravity, external], atol=1e-6, rtol=1e-5)


def test_float32_on_large_batches_follows_float64():
    tree = TREES["adult"]
    q, v, a, gravity, external = leaves(11, tree, 100)
    results = []
    for dtype in (torch.float64, torch.float32):
        chain = KinematicChain(tree, dtype)
        x = [y.detach().to(dtype).requires_grad_() for y in (q, v, a, gravity, external)]
        tau = dynamics.rnea(chain, *x[:3], gravity=x[3], external=x[4])
        results.append([y.double() for y in (tau, *torch.autograd.grad(tau.square().sum(), x))])
    for expected, value in zip(*results, strict=True):
        assert float(((value - expected).abs().max() / expected.abs().max()).detach()) < 1e-5  # asked for: 1e-4
