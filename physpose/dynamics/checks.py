"""Input checks of the dynamics: a wrong input names what is wrong; nothing is broadcast or mended silently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.pinocchio_backend import GRAVITY
from physpose.dynamics.tree import tree_of
from physpose.errors import InputError, UnknownNameError

FEW = 4  # samples up to which each call counts, more than the arithmetic
UNIT_TOLERANCE = 1e-3  # on the length of a quaternion: a drift of rounding passes, a wrong slice does not

Gravity = Tensor | Sequence[float]
External = Mapping[str, Tensor] | Tensor | None


def check_state(chain: KinematicChain, q: Tensor, **rates: Tensor) -> None:
    """q (*b, nq), and v, a, tau... (*b, nv): shapes, dtype, device, numbers, unit quaternions."""
    _check_shape(chain, "q", q, (*q.shape[:-1], chain.nq))
    of_rates = (*q.shape[:-1], chain.nv)
    for name, x in rates.items():
        _check_shape(chain, name, x, of_rates)
    if not _few_and_sound(chain, q, *rates.values()):
        _check_values(chain, q, **rates)


def check_reduced(chain: KinematicChain, q: Tensor, rates: Mapping[str, Tensor]) -> None:
    """Shapes and numbers of the reduced coordinates of a chain with a coordinate map; quaternions are left to the rest."""
    _check_shape(chain, "q", q, (*q.shape[:-1], chain.nq))
    for name, x in rates.items():
        _check_shape(chain, name, x, (*q.shape[:-1], chain.nv))
    for name, x in {"q": q, **rates}.items():
        if not math.isfinite(float(x.detach().sum())):
            _raise_if_not_finite(name, x, q_names(chain) if name == "q" else v_names(chain))


def _few_and_sound(chain: KinematicChain, q: Tensor, *rates: Tensor) -> bool:
    """Are these few samples on the CPU, all finite, with unit quaternions? By Python's floats, quicker than torch."""
    if q.device.type != "cpu" or not 0 < q.numel() <= FEW * chain.nq:
        return False
    numbers, *rest = [x.detach().flatten().tolist() for x in (q, *rates)]
    # a sum is finite only where all of it is
    if not math.isfinite(sum(numbers) + sum(map(sum, rest))):
        return False
    for k in tree_of(chain).quaternions.values():
        for i in range(k, len(numbers), chain.nq):
            if not abs(math.hypot(*numbers[i : i + 4]) - 1) <= UNIT_TOLERANCE:
                return False
    return True


def _check_values(chain: KinematicChain, q: Tensor, **rates: Tensor) -> None:
    q, rates = q.detach(), {name: x.detach() for name, x in rates.items()}
    # one number to look at; the rare rest comes after
    if not math.isfinite(float(sum(x.sum() for x in (q, *rates.values())))):
        for name, x in {"q": q, **rates}.items():
            _raise_if_not_finite(name, x, q_names(chain) if name == "q" else v_names(chain))
    for joint, k in tree_of(chain).quaternions.items():
        length = torch.linalg.vector_norm(q[..., k : k + 4], dim=-1)
        if length.numel() and (length - 1).abs_().max().item() > UNIT_TOLERANCE:
            _raise_not_unit(joint, length)


def check_gravity(chain: KinematicChain, gravity: Gravity, batch: torch.Size) -> Tensor:
    """Gravity as a tensor (3,) or (*b, 3) [m/s^2], world frame."""
    like = chain.axis
    if gravity is GRAVITY:
        return _constant(GRAVITY, like.dtype, like.device)
    g = gravity if isinstance(gravity, Tensor) else _constant(_numbers(gravity), like.dtype, like.device)
    if g.shape != (3,) and g.shape != (*batch, 3):
        raise InputError(f"gravity has shape {tuple(g.shape)}; (3,) or {(*batch, 3)} needed, in m/s^2, world frame")
    _check_kind(chain, "gravity", g)
    return g


def _numbers(gravity: Sequence[float]) -> tuple[float, ...]:
    try:
        return tuple(float(x) for x in gravity)
    except TypeError:
        raise InputError(f"gravity is {gravity!r}; three numbers or a tensor needed, in m/s^2, world frame") from None


@lru_cache(maxsize=16)
def _constant(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=dtype, device=device)


def check_external(chain: KinematicChain, external: External, batch: torch.Size) -> Tensor | None:
    """External wrenches as one tensor (*b, n_bodies, 6), world axes: force, moment about the body's origin."""
    if external is None:
        return None
    n = len(chain.body_names)
    if isinstance(external, Tensor):
        if external.shape != (*batch, n, 6):
            raise InputError(f"external has shape {tuple(external.shape)}; {(*batch, n, 6)} needed")
        _check_kind(chain, "external", external)
        return external
    for name, wrench in external.items():
        if name not in chain.body_names:
            raise UnknownNameError("body in external", name, chain.body_names)
        if wrench.shape != (*batch, 6):
            raise InputError(f"external[{name!r}] has shape {tuple(wrench.shape)}; {(*batch, 6)} needed")
        _check_kind(chain, f"external[{name!r}]", wrench)
    zero = chain.axis.new_zeros(*batch, 6)
    return torch.stack([external.get(name, zero) for name in chain.body_names], -2) if external else None


def q_names(chain: KinematicChain) -> list[str]:
    """A name for every column of q."""
    parts = {"free": ["x", "y", "z", "qx", "qy", "qz", "qw"], "ball": ["qx", "qy", "qz", "qw"]}
    return _names(chain, parts)


def v_names(chain: KinematicChain) -> list[str]:
    """A name for every column of v."""
    return _names(chain, {"free": ["vx", "vy", "vz", "wx", "wy", "wz"], "ball": ["wx", "wy", "wz"]})


def _names(chain: KinematicChain, parts: dict[str, list[str]]) -> list[str]:
    names = []
    for joint in chain.skeleton.joints:
        own = [f"{joint.name}.{x}" for x in parts.get(joint.kind, [])]
        names += own or [c.name for c in joint.coordinates]
    return names


def _check_shape(chain: KinematicChain, name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise InputError(f"{name} has shape {tuple(x.shape)}; {chain.skeleton.name} needs {shape}")
    _check_kind(chain, name, x)


def _check_kind(chain: KinematicChain, name: str, x: Tensor) -> None:
    like = chain.axis
    if x.dtype != like.dtype:
        raise InputError(f"{name} is {x.dtype}, the chain {like.dtype}; convert one: chain.to({x.dtype})")
    if x.device != like.device:
        raise InputError(f"{name} is on {x.device}, the chain on {like.device}; move one: chain.to({x.device!r})")


def _raise_if_not_finite(name: str, x: Tensor, names: list[str]) -> None:
    bad = (~torch.isfinite(x)).nonzero()
    if len(bad):
        *sample, column = bad[0].tolist()
        value = float(x[(*sample, column)])
        where = f"sample {tuple(sample)}, {names[column]}"
        raise InputError(f"{name} is {value} at {where}; leave such frames out or fill them")


def _raise_not_unit(joint: str, length: Tensor) -> None:
    sample = tuple(((length - 1).abs() > UNIT_TOLERANCE).nonzero()[0].tolist())
    given = float(length[sample])
    raise InputError(f"q: the quaternion of {joint} at sample {sample} has length {given:.4g}; divide it by that")
