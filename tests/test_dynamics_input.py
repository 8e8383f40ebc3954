"""Wrong input to the dynamics: a clear error, never a silent broadcast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dynamics_trees import TREES, random_state

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.dynamics.tree import build_tree
from physpose.errors import InputError, UnknownNameError

TREE = TREES["zoo"]


@pytest.fixture
def chain():
    return KinematicChain(TREE)


def states(samples):
    return [torch.tensor(x) for x in random_state(0, TREE, samples)]


@pytest.fixture
def state():
    return states(4)


few_and_many = pytest.mark.parametrize("samples", [4, 20])  # few are looked at by other code


@pytest.mark.parametrize("i", [0, 1, 2])
def test_wrong_shapes_name_the_argument(chain, state, i):
    short, fewer = list(state), list(state)
    short[i], fewer[i] = state[i][:, :-1], state[i][:1]
    with pytest.raises(InputError, match=rf"^{'qva'[i]} has shape \(4, {state[i].shape[1] - 1}\); zoo needs"):
        dynamics.rnea(chain, *short)
    with pytest.raises(InputError, match="has shape"):
        dynamics.rnea(chain, *fewer)


@few_and_many
def test_nan_names_joint_and_sample(chain, samples):
    q, v, a = states(samples)
    q[2, chain.nq - 1] = torch.nan
    with pytest.raises(InputError, match=rf"q is nan at sample \(2,\), {TREE.coordinate_names[-1]}"):
        dynamics.rnea(chain, q, v, a)
    v[3, 4] = torch.inf
    with pytest.raises(InputError, match=r"v is inf at sample \(3,\), base_joint\.wy"):
        dynamics.rnea(chain, q.nan_to_num(), v, a)


@few_and_many
def test_large_but_finite_numbers_are_no_error(chain, samples):
    q, v, a = states(samples)
    a[0, -1] = 1e200  # its square overflows
    assert bool(torch.isfinite(dynamics.rnea(chain, q, v, a)).all())


@few_and_many
def test_unnormalised_quaternion_names_its_joint(chain, samples):
    q, v, a = states(samples)
    q[1, 7:11] *= 2  # the ball joint after the root
    with pytest.raises(InputError, match=r"a_joint at sample \(1,\) has length 2"):
        dynamics.rnea(chain, q, v, a)


def test_mixed_dtypes_and_devices_are_refused(chain, state):
    q, v, a = state
    with pytest.raises(InputError, match=r"v is torch\.float32, the chain torch\.float64"):
        dynamics.rnea(chain, q, v.float(), a)
    with pytest.raises(InputError, match="a is on meta, the chain on cpu"):
        dynamics.rnea(chain, q, v, a.to("meta"))
    with pytest.raises(InputError, match="gravity is"):
        dynamics.rnea(chain, q, v, a, gravity=torch.zeros(3))


def test_gravity_and_wrenches_are_never_broadcast(chain, state):
    with pytest.raises(InputError, match=r"gravity has shape \(1, 3\); \(3,\) or \(4, 3\)"):
        dynamics.rnea(chain, *state, gravity=torch.zeros(1, 3).double())
    with pytest.raises(InputError, match="gravity"):
        dynamics.rnea(chain, *state, gravity=-9.81)
    with pytest.raises(InputError, match=r"external\['a'\] has shape \(6,\); \(4, 6\)"):
        dynamics.rnea(chain, *state, external={"a": torch.zeros(6).double()})
    with pytest.raises(UnknownNameError, match=r"hand.*base, a, b"):
        dynamics.rnea(chain, *state, external={"hand": torch.zeros(4, 6).double()})
    with pytest.raises(InputError, match="external has shape"):
        dynamics.rnea(chain, *state, external=torch.zeros(4, 6).double())


def test_impossible_parameters_are_refused(chain, state):
    parameters = dynamics.body_parameters(chain)
    mass = parameters.mass.clone()
    mass[3] = -1
    with pytest.raises(InputError, match="c has mass -1 kg"):
        dynamics.rnea(chain, *state, parameters=parameters._replace(mass=mass))
    with pytest.raises(InputError, match=r"parameters\.com has shape"):
        dynamics.rnea(chain, *state, parameters=parameters._replace(com=parameters.com[:2]))
    with pytest.raises(InputError, match=r"parameters\.com is torch\.float32"):
        dynamics.rnea(chain, *state, parameters=parameters._replace(com=parameters.com.float()))
    with pytest.raises(InputError, match="last dimension is for long, wide"):
        dynamics.body_parameters(chain, torch.zeros(3).double())


def test_unknown_and_unfit_engines_are_refused(chain, state):
    with pytest.raises(UnknownNameError, match="drake.*auto, torch, pinocchio, warp"):
        dynamics.rnea(chain, *state, engine="drake")
    with pytest.raises(InputError, match="needs float64"):
        dynamics.rnea(KinematicChain(TREE, torch.float32), *(x.float() for x in state), engine="pinocchio")
    bodies = dynamics.body_parameters(chain, torch.zeros(4, 2).double())
    with pytest.raises(InputError, match="a body per sample"):
        dynamics.rnea(chain, *state, parameters=bodies, engine="warp")


def changed(**bodies):
    return replace(TREE, bodies=tuple(replace(b, **bodies.get(b.name, {})) for b in TREE.bodies))


@pytest.mark.parametrize("build", [build_tree, PinocchioModel], ids=["tensor code", "Pinocchio"])
def test_trees_that_are_none_are_refused(build):
    with pytest.raises(InputError, match="loop, not a tree: b -> g -> f -> b"):
        build(changed(b={"parent": "g"}))
    with pytest.raises(InputError, match="c comes before its parent g"):
        build(changed(c={"parent": "g"}))
    with pytest.raises(UnknownNameError, match="nowhere"):
        build(changed(c={"parent": "nowhere"}))
    with pytest.raises(InputError, match=r"e in zoo has mass -2\.0 kg"):
        build(changed(e={"mass": -2.0}))
    with pytest.raises(InputError, match="negative principal moment"):
        build(changed(e={"inertia": -np.eye(3)}))
    with pytest.raises(InputError, match="symmetric"):
        build(changed(e={"inertia": np.arange(9.0).reshape(3, 3)}))
    with pytest.raises(InputError, match="same name"):
        build(changed(e={"name": "d"}))


def test_no_samples_give_no_torques(chain):
    empty = [torch.zeros(0, n, dtype=torch.float64) for n in (chain.nq, chain.nv, chain.nv)]
    for engine in ("auto", "torch", "pinocchio"):
        assert dynamics.rnea(chain, *empty, engine=engine).shape == (0, chain.nv)
