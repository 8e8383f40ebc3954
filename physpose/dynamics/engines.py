"""One meaning of inverse dynamics, several engines: which one runs, and how its gradient joins autograd."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics import engine_pinocchio, engine_torch, engine_warp
from physpose.dynamics.checks import FEW
from physpose.dynamics.gradients import Arguments, Gradients
from physpose.dynamics.parameters import BodyParameters
from physpose.errors import InputError, UnknownNameError

ENGINES = ("auto", "torch", "pinocchio", "warp")


def inverse_dynamics(chain: KinematicChain, x: Arguments, engine: str = "auto") -> Tensor:
    """tau (*b, nv) by the engine asked for; arguments checked before, with any leading batch shape."""
    batch = x.q.shape[:-1]
    x = _flat(x, len(batch))
    name = choose(x) if engine == "auto" else _checked(engine, x)
    if name == "torch":
        tau = engine_torch.forward(chain, x)
    else:
        tensors, compiled = x.tensors, engine_pinocchio if name == "pinocchio" else engine_warp
        differentiate = torch.is_grad_enabled() and any(y is not None and y.requires_grad for y in tensors)
        tau = _Rnea.apply(chain, compiled, *tensors) if differentiate else compiled.forward(chain, x)
    return tau if len(batch) == 1 else tau.reshape(*batch, chain.nv)


def choose(x: Arguments) -> str:
    """The engine that measured fastest for such arguments (benchmarks/dynamics.py)."""
    pinocchio = engine_pinocchio.applies(x, _by_parameters(x))
    if pinocchio and len(x.q) <= FEW:
        return "pinocchio"  # its loop costs less than starting a kernel
    if engine_warp.applies(x) and engine_warp.available():
        return "warp"
    return "pinocchio" if pinocchio else "torch"


def _checked(name: str, x: Arguments) -> str:
    """The engine asked for, if it can take these arguments."""
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    given = f"{x.q.dtype} on {x.q.device}" + (", a body per sample" if x.parameters.batched else "")
    if name == "pinocchio" and not engine_pinocchio.applies(x, _by_parameters(x)):
        needs = "float64 on the cpu, one body for all samples and no gradient by its parameters"
        raise InputError(f"engine 'pinocchio' needs {needs}; given {given}; use 'warp' or 'torch'")
    if name == "warp" and not engine_warp.applies(x):
        raise InputError(
            f"engine 'warp' needs float32 or float64 and one body for all samples; given {given}; use 'torch'"
        )
    return name


class _Rnea(torch.autograd.Function):
    """An engine's inverse dynamics with its own vector-Jacobian product; second derivatives by the tensor code."""

    @staticmethod
    def forward(ctx: Any, chain: KinematicChain, engine: ModuleType, *tensors: Tensor | None) -> Tensor:
        ctx.chain, ctx.engine = chain, engine
        ctx.save_for_backward(*tensors)
        return engine.forward(chain, Arguments.of(tensors))

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():
            return None, None, *_differentiable_vjp(ctx.chain, tensors, needed, u)
        x = Arguments.of(tensors)
        gradients = ctx.engine.vjp(ctx.chain, x, u.contiguous(), by_gravity=needed[3], by_parameters=any(needed[5:]))
        return None, None, *_as_arguments(x, gradients)


def _differentiable_vjp(
    chain: KinematicChain, tensors: tuple[Tensor | None, ...], needed: tuple[bool, ...], u: Tensor
) -> list[Tensor | None]:
    """The vector-Jacobian product as tensor code, itself differentiable."""
    # aliases, so that an argument computed from another one is not followed back to it here
    aliases = [None if x is None else x.view_as(x) for x in tensors]
    wanted = [x for x, need in zip(aliases, needed, strict=True) if need and x is not None]
    tau = engine_torch.forward(chain, Arguments.of(tuple(aliases)))
    gradients = iter(torch.autograd.grad(tau, wanted, u, create_graph=True, materialize_grads=True))
    return [next(gradients) if need else None for need in needed]


def _as_arguments(x: Arguments, g: Gradients) -> tuple[Tensor | None, ...]:
    by_gravity = g.gravity if g.gravity is None or x.gravity.ndim == 2 else g.gravity.sum(0)
    by_parameters = g.parameters if g.parameters is not None else (None,) * len(x.parameters)
    return g.q, g.v, g.a, by_gravity, g.external, *by_parameters


def _flat(x: Arguments, n: int) -> Arguments:
    """Any leading batch shape of n dimensions as one dimension; what has none stays."""
    if n == 1:
        return x

    def flat(y: Tensor, tail: int) -> Tensor:
        return y if y.ndim == tail and n else y.reshape(-1, *y.shape[y.ndim - tail :])

    external = None if x.external is None else flat(x.external, 2)
    gravity = x.gravity if x.gravity.ndim == 1 else flat(x.gravity, 1)
    parameters = x.parameters
    if parameters.batched:
        parameters = BodyParameters(*(_flat_or_same(y, k) for y, k in zip(parameters, (1, 2, 3, 2), strict=True)))
    return Arguments(flat(x.q, 1), flat(x.v, 1), flat(x.a, 1), gravity, external, parameters)


def _flat_or_same(x: Tensor, tail: int) -> Tensor:
    return x if x.ndim == tail else x.reshape(-1, *x.shape[x.ndim - tail :])


def _by_parameters(x: Arguments) -> bool:
    return torch.is_grad_enabled() and x.parameters.requires_grad
