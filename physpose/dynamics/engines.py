"""One meaning of inverse dynamics, several engines: which one runs, and how its gradient joins autograd."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import engine_pinocchio, engine_torch, engine_warp
from physpose.dynamics.gradients import Arguments, Gradients, Seen
from physpose.dynamics.parameters import BodyParameters
from physpose.errors import InputError, UnknownNameError

ENGINES = ("auto", "torch", "pinocchio", "warp")


def inverse_dynamics(chain: KinematicChain, x: Arguments, engine: str = "auto") -> Tensor:
    """tau (*b, nv) by the engine asked for; arguments checked before, with any leading batch shape."""
    batch = x.q.shape[:-1]
    if len(batch) != 1:
        x = _flat(x, len(batch))
    name = choose(x) if engine == "auto" else _checked(engine, x)
    if name == "torch":
        tau = engine_torch.forward(chain, x)
    else:
        compiled = engine_pinocchio if name == "pinocchio" else engine_warp
        wanted = _wanted(x)
        tau = _Rnea.apply(chain, compiled, x, wanted, *wanted.values()) if wanted else compiled.forward(chain, x)
    return tau if len(batch) == 1 else tau.reshape(*batch, chain.nv)


def _wanted(x: Arguments) -> dict[int, Tensor]:
    """The tensors among the arguments that want a gradient, by their place."""
    if not torch.is_grad_enabled():
        return {}
    return {i: y for i, y in enumerate(x.tensors) if y is not None and y.requires_grad}


def choose(x: Arguments) -> str:
    """The engine that measured fastest for such arguments (benchmarks/dynamics.py)."""
    pinocchio = engine_pinocchio.applies(x, _by_parameters(x))
    if pinocchio and x.q.shape[0] == 1 and x.external is None:
        return "pinocchio"  # as fast as the kernel, and nothing to compile; its bindings are slow at taking wrenches
    if engine_warp.available() and engine_warp.applies(x):
        return "warp"
    return "pinocchio" if pinocchio else "torch"


def _checked(name: str, x: Arguments) -> str:
    """The engine asked for, if it can take these arguments."""
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    if name == "pinocchio" and not engine_pinocchio.applies(x, _by_parameters(x)):
        needs = "float64 on the cpu, one body for all samples and no gradient by its parameters"
        raise InputError(f"engine 'pinocchio' needs {needs}; given {_given(x)}; use 'warp' or 'torch'")
    if name == "warp" and not engine_warp.applies(x):
        needs = "float32 or float64 and one body for all samples"
        raise InputError(f"engine 'warp' needs {needs}; given {_given(x)}; use 'torch'")
    return name


def _given(x: Arguments) -> str:
    return f"{x.q.dtype} on {x.q.device}" + (", a body per sample" if x.parameters.batched else "")


class _Rnea(torch.autograd.Function):
    """An engine's inverse dynamics with its own vector-Jacobian product; second derivatives by the tensor code.

    Takes the arguments, the places among them of those that want a gradient, and these once more, for autograd to see.
    """

    @staticmethod
    def forward(
        ctx: Any, chain: KinematicChain, engine: ModuleType, x: Arguments, wanted: Collection[int], *_: Tensor
    ) -> Tensor:
        ctx.chain, ctx.engine, ctx.wanted, ctx.q_norm = chain, engine, tuple(wanted), x.seen.q_norm
        ctx.one_gravity = x.gravity.ndim == 1
        ctx.save_for_backward(*x.tensors)
        tau, ctx.kept = engine.forward_for_vjp(chain, x)
        return tau

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.wanted
        if torch.is_grad_enabled():
            return None, None, None, None, *_differentiable_vjp(ctx.chain, ctx.saved_tensors, wanted, u)
        if ctx.kept is not None:
            gradients = ctx.engine.vjp_of(ctx.kept, u, 3 in wanted)
        else:
            x = Arguments.of(ctx.saved_tensors, Seen(ctx.q_norm, None))
            gradients = ctx.engine.vjp(ctx.chain, x, u.contiguous(), 3 in wanted, wanted[-1] > 4)
        by_argument = _as_arguments(gradients, ctx.one_gravity)
        return None, None, None, None, *[by_argument[i] for i in wanted]


def _differentiable_vjp(
    chain: KinematicChain, tensors: tuple[Tensor | None, ...], wanted: tuple[int, ...], u: Tensor
) -> tuple[Tensor, ...]:
    """The vector-Jacobian product as tensor code, itself differentiable."""
    # aliases, so that an argument computed from another one is not followed back to it here
    aliases = [None if x is None else x.view_as(x) for x in tensors]
    tau = engine_torch.forward(chain, Arguments.of(tuple(aliases)))
    inputs = [x for i in wanted if (x := aliases[i]) is not None]
    return torch.autograd.grad(tau, inputs, u, create_graph=True, materialize_grads=True)


def _as_arguments(g: Gradients, one_gravity: bool) -> tuple[Tensor | None, ...]:
    by_gravity = g.gravity.sum(0) if g.gravity is not None and one_gravity else g.gravity
    by_parameters = g.parameters if g.parameters is not None else (None, None, None, None)
    return g.q, g.v, g.a, by_gravity, g.external, *by_parameters


def _flat(x: Arguments, n: int) -> Arguments:
    """Any leading batch shape of n dimensions as one dimension; what has none stays."""

    def flat(y: Tensor, tail: int) -> Tensor:
        return y if y.ndim == tail and n else y.reshape(-1, *y.shape[y.ndim - tail :])

    external = None if x.external is None else flat(x.external, 2)
    gravity = x.gravity if x.gravity.ndim == 1 else flat(x.gravity, 1)
    parameters = x.parameters
    if parameters.batched:
        parameters = BodyParameters(*(_flat_or_same(y, k) for y, k in zip(parameters, (1, 2, 3, 2), strict=True)))
    return Arguments(flat(x.q, 1), flat(x.v, 1), flat(x.a, 1), gravity, external, parameters, x.seen)


def _flat_or_same(x: Tensor, tail: int) -> Tensor:
    return x if x.ndim == tail else x.reshape(-1, *x.shape[x.ndim - tail :])


def _by_parameters(x: Arguments) -> bool:
    return torch.is_grad_enabled() and x.parameters.requires_grad
