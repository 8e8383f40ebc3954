"""Coordinates that are functions of others, against Lagrange's equation: energies only, no recursion."""

from __future__ import annotations

import pytest
import torch
from dynamics_trees import TREES, pendulum
from torch.autograd import gradcheck

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics.coupling import coupled_rnea, expand
from physpose.errors import InputError

G = (0.3, -0.5, -9.7)


def phi(s: torch.Tensor) -> torch.Tensor:
    """Three hinges of two coordinates, not linear."""
    x, y = s.unbind(-1)
    return torch.stack([x, torch.sin(x) + 0.3 * x * y, y**3 - x], -1)


@pytest.fixture
def chain():
    return KinematicChain(pendulum(3))


def state(n: int = 5):
    return [torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3)]


def test_forces_follow_from_lagranges_equation(chain):
    q, v, a = state()

    def lagrangian(s, sd):
        _, zd = torch.autograd.functional.jvp(phi, s, sd, create_graph=True)
        kinetic, potential = dynamics.energy(chain, phi(s), zd, gravity=G)
        return (kinetic - potential).sum()

    def momentum(s, sd):
        return torch.autograd.functional.jacobian(lagrangian, (s, sd), create_graph=True)[1]

    # tau = d/dt (dL/dsd) - dL/ds
    _, rate = torch.autograd.functional.jvp(momentum, (q, v), (v, a))
    expected = rate - torch.autograd.functional.jacobian(lagrangian, (q, v))[0]
    torch.testing.assert_close(coupled_rnea(chain, phi, q, v, a, gravity=G), expected, rtol=1e-9, atol=1e-9)


def test_root_stays_as_it_is_and_power_is_the_same():
    tree = TREES["child"]
    chain = KinematicChain(tree)
    mix = torch.randn(len(tree.coordinates), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q = torch.cat([torch.tensor(tree.neutral[:7]), torch.zeros(4).double()]).expand(3, 11)
    v, a = (torch.randn(3, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))

    def bend(s):
        return torch.tanh(s @ mix.mT)

    tau = coupled_rnea(chain, bend, q, v, a)
    x = expand(chain, bend, q, v, a)
    tau_z = dynamics.rnea(chain, *x)
    torch.testing.assert_close(tau[:, :6], tau_z[:, :6])
    torch.testing.assert_close((tau * v).sum(-1), (tau_z * x.v).sum(-1))


def test_derivatives_match_finite_differences(chain):
    inputs = [x.requires_grad_() for x in state(2)]
    assert gradcheck(lambda q, v, a: coupled_rnea(chain, phi, q, v, a), inputs, atol=1e-6, rtol=1e-5)


def test_what_does_not_fit_is_refused(chain):
    q, v, a = state()
    with pytest.raises(InputError, match="must agree"):
        coupled_rnea(chain, phi, q, v[:, :1], a)
    with pytest.raises(InputError, match=r"phi gives z of shape \(5, 2\); \(5, 3\) needed"):
        coupled_rnea(chain, lambda s: s, q, v, a)
    with pytest.raises(InputError, match="ball joint after its first coordinate"):
        coupled_rnea(KinematicChain(TREES["zoo"]), phi, q, v, a)
