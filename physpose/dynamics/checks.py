"""Input checks of the dynamics: a wrong input names what is wrong; nothing is broadcast or mended silently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.gradients import UNSEEN, Seen
from physpose.dynamics.pinocchio_backend import GRAVITY
from physpose.dynamics.tree import tree_of
from physpose.errors import InputError, UnknownNameError
from physpose.types import Array

FEW = 16  # samples up to which each call counts, more than the arithmetic
UNIT_TOLERANCE = 1e-3  # on the length of a quaternion: a drift of rounding passes, a wrong slice does not

ARRAYS = (torch.float64, torch.float32)  # that NumPy knows too

Gravity = Tensor | Sequence[float]
External = Mapping[str, Tensor] | Tensor | None


def check_state(chain: KinematicChain, q: Tensor, **rates: Tensor) -> Seen:
    """q (*b, nq), and v, a, tau... (*b, nv): shapes, dtype, device, numbers, unit quaternions."""
    batch, like = q.shape[:-1], reference(chain)
    _check_array(chain, like, "q", q, (*batch, chain.nq))
    of_rates = (*batch, chain.nv)
    for name, x in rates.items():
        _check_array(chain, like, name, x, of_rates)
    few = _few(chain, q, *rates.values())
    seen = _look(chain, q, *rates.values()) if few is None else _look_at_few(chain, few)
    if seen is None:
        _raise_for_values(chain, q.detach(), {name: x.detach() for name, x in rates.items()})
    return seen or UNSEEN


def check_reduced(chain: KinematicChain, q: Tensor, rates: Mapping[str, Tensor]) -> None:
    """Shapes and numbers of a chain's reduced coordinates; quaternions are left to the checks of the expanded ones."""
    like = reference(chain)
    _check_array(chain, like, "q", q, (*q.shape[:-1], chain.nq))
    for name, x in rates.items():
        _check_array(chain, like, name, x, (*q.shape[:-1], chain.nv))
    for name, x in {"q": q, **rates}.items():
        if not math.isfinite(float(x.detach().sum())):
            _raise_if_not_finite(name, x, q_names(chain) if name == "q" else v_names(chain))


def reference(chain: KinematicChain) -> Tensor:
    """A tensor whose dtype and device are the chain's; without the microsecond that ``chain.axis`` takes."""
    return chain._buffers["axis"]  # type: ignore[return-value]


def _few(chain: KinematicChain, *state: Tensor) -> tuple[Array, ...] | None:
    """q, v, a... of few samples on the CPU as arrays (n, nq or nv) on the same memory; None of others."""
    q = state[0]
    if not q.is_cpu or q.dtype not in ARRAYS or not 0 < q.numel() <= FEW * chain.nq:
        return None
    arrays = tuple(x.detach().numpy() if x.requires_grad else x.numpy() for x in state)
    return arrays if q.ndim == 2 else tuple(x.reshape(-1, x.shape[-1]) for x in arrays)


def _look_at_few(chain: KinematicChain, few: tuple[Array, ...]) -> Seen | None:
    """What ``_look`` finds, by NumPy and Python's floats: quicker than torch for few."""
    q, *rates = few
    squared = float(np.vdot(q, q))
    # a sum of squares is finite only where all of it is
    if not math.isfinite(squared + sum([np.vdot(x, x) for x in rates])):
        return None
    for k in tree_of(chain).quaternions.values():
        for row in q[:, k : k + 4].tolist():
            if not abs(math.hypot(*row) - 1) <= UNIT_TOLERANCE:
                return None
    return Seen(math.sqrt(squared), few)


def _look(chain: KinematicChain, q: Tensor, *rates: Tensor) -> Seen | None:
    """Are all numbers finite and the quaternions of unit length? Asked of a device once; None where not."""
    q = q.detach()
    norms = [torch.linalg.vector_norm(x) for x in (q, *(x.detach() for x in rates))]
    columns = tree_of(chain).tensor("quaternion_columns", q)
    if columns.numel() and q.numel():
        norms.append((torch.linalg.vector_norm(q[..., columns], dim=-1) - 1).abs_().max())
    q_norm, *others = torch.stack(norms).tolist()
    *of_rates, off_unit = others if len(others) > len(rates) else (*others, 0.0)
    sound = math.isfinite(q_norm + sum(of_rates)) and off_unit <= UNIT_TOLERANCE
    return Seen(q_norm, None) if sound else None


def _raise_for_values(chain: KinematicChain, q: Tensor, rates: dict[str, Tensor]) -> None:
    """Name the first number that is wrong, if one is: norms overflow where all are finite, too."""
    for name, x in {"q": q, **rates}.items():
        _raise_if_not_finite(name, x, q_names(chain) if name == "q" else v_names(chain))
    for joint, k in tree_of(chain).quaternions.items():
        length = torch.linalg.vector_norm(q[..., k : k + 4], dim=-1)
        if length.numel() and (length - 1).abs_().max().item() > UNIT_TOLERANCE:
            _raise_not_unit(joint, length)


def check_gravity(chain: KinematicChain, gravity: Gravity, batch: torch.Size) -> Tensor:
    """Gravity as a tensor (3,) or (*b, 3) [m/s^2], world frame."""
    like = reference(chain)
    if gravity is GRAVITY:
        return _constant(GRAVITY, like.dtype, like.device)
    g = gravity if isinstance(gravity, Tensor) else _constant(_numbers(gravity), like.dtype, like.device)
    if g.shape != (3,) and g.shape != (*batch, 3):
        raise InputError(f"gravity has shape {tuple(g.shape)}; (3,) or {(*batch, 3)} needed, in m/s^2, world frame")
    _check_kind(like, "gravity", g)
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
    n, like = len(chain.body_names), reference(chain)
    if isinstance(external, Tensor):
        if external.shape != (*batch, n, 6):
            raise InputError(f"external has shape {tuple(external.shape)}; {(*batch, n, 6)} needed")
        _check_kind(like, "external", external)
        return external
    for name, wrench in external.items():
        if name not in chain.body_names:
            raise UnknownNameError("body in external", name, chain.body_names)
        if wrench.shape != (*batch, 6):
            raise InputError(f"external[{name!r}] has shape {tuple(wrench.shape)}; {(*batch, 6)} needed")
        _check_kind(like, f"external[{name!r}]", wrench)
    zero = like.new_zeros(*batch, 6)
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


def _check_array(chain: KinematicChain, like: Tensor, name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise InputError(f"{name} has shape {tuple(x.shape)}; {chain.skeleton.name} needs {shape}")
    if x.dtype is not like.dtype or x.device != like.device:
        _check_kind(like, name, x)


def _check_kind(like: Tensor, name: str, x: Tensor) -> None:
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
