"""The body's parameters as tensors: what lengths, masses, centres and inertias the dynamics is differentiated by."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.cache import per_chain
from physpose.errors import InputError
from physpose.skeleton.model import Skeleton


class BodyParameters(NamedTuple):
    """Parameters of n_bodies bodies; a leading batch shape *b, the samples' own, is allowed: a body per sample."""

    mass: Tensor  # (n_bodies,) [kg]
    com: Tensor  # (n_bodies, 3) [m], body frame
    inertia: Tensor  # (n_bodies, 3, 3) [kg.m^2], about the centre of mass, body axes; its symmetric part counts
    translation: Tensor  # (n_bodies, 3) [m], joint origin in the parent's frame: the lengths

    @property
    def batched(self) -> bool:
        return self.mass.ndim > 1 or self.com.ndim > 2 or self.inertia.ndim > 3 or self.translation.ndim > 2

    @property
    def requires_grad(self) -> bool:
        mass, com, inertia, translation = self
        return mass.requires_grad or com.requires_grad or inertia.requires_grad or translation.requires_grad


def current_parameters(chain: KinematicChain) -> BodyParameters:
    """``body_parameters(chain)``, kept while its bone scales neither change nor want a gradient."""
    # not as attributes, which takes a module a microsecond each
    scales, lengths = chain._parameters["log_scales"], chain._buffers["translation"]
    assert scales is not None
    assert lengths is not None
    if scales.requires_grad and torch.is_grad_enabled():
        return body_parameters(chain)
    return _kept_parameters(chain, (scales, lengths))


@per_chain
def _kept_parameters(chain: KinematicChain, _: tuple[Tensor, ...]) -> BodyParameters:
    with torch.no_grad():
        return body_parameters(chain)


def body_parameters(chain: KinematicChain, log_scales: Tensor | None = None) -> BodyParameters:
    """The chain's parameters at its bone scales (``log_scales`` (*b, n_groups), default the chain's own).

    Lengths and centres scale with the body axes, masses stay, and the second moment of mass turns into S Sigma S, as
    ``Skeleton.scaled`` does. Differentiable by ``log_scales``.
    """
    if log_scales is not None and log_scales.shape[-1:] != chain.log_scales.shape:
        groups = ", ".join(g.name for g in chain.skeleton.scale_groups)
        raise InputError(f"log_scales has shape {tuple(log_scales.shape)}; the last dimension is for {groups}")
    if log_scales is not None and chain.expansion is not None and len(chain.expansion.slide_rows):
        # the lengths that are functions of coordinates are no part of the parameters
        name = chain.skeleton.name
        raise InputError(f"{name} has lengths that are functions of coordinates; set chain.log_scales itself")
    bodies = chain.skeleton.bodies
    mass = _tensor(chain, np.array([b.mass for b in bodies]))
    com = _tensor(chain, np.array([b.com for b in bodies]))
    inertia = _tensor(chain, np.array([b.inertia for b in bodies]))
    S = chain.axis_scales(log_scales)
    parents = [-1 if b.parent is None else chain.skeleton.body_index(b.parent) for b in bodies]
    S_parent = torch.cat([S, torch.ones_like(S[..., :1, :])], -2)[..., parents, :]
    eye = torch.eye(3, dtype=com.dtype, device=com.device)
    # Sigma = tr(I)/2 1 - I;  Sigma' = S Sigma S;  I' = tr(Sigma') 1 - Sigma'
    sigma = 0.5 * _trace(inertia) * eye - inertia
    sigma = sigma * (S[..., :, None] * S[..., None, :])
    translation = chain.translation * S_parent
    return BodyParameters(mass.expand(*S.shape[:-1]), com * S, _trace(sigma) * eye - sigma, translation)


def with_parameters(skeleton: Skeleton, parameters: BodyParameters) -> Skeleton:
    """The skeleton with unbatched parameters in place of its own masses, centres, inertias and joint origins."""
    values = (x.detach().double().cpu().numpy() for x in parameters)
    bodies = tuple(
        replace(b, mass=float(m), com=c, inertia=inertia, joint=replace(b.joint, translation=t))
        for b, m, c, inertia, t in zip(skeleton.bodies, *values, strict=True)
    )
    return replace(skeleton, bodies=bodies)


def check_parameters(chain: KinematicChain, parameters: BodyParameters, batch: torch.Size) -> None:
    """Raise if shapes are neither unbatched nor the samples' own, or if a mass is negative."""
    n = len(chain.body_names)
    for name, x, tail in zip(parameters._fields, parameters, ((n,), (n, 3), (n, 3, 3), (n, 3)), strict=True):
        if x.shape != tail and x.shape != batch + tail:
            allowed = f"{tuple(tail)} or {tuple(batch + tail)}"
            raise InputError(f"parameters.{name} has shape {tuple(x.shape)}; {allowed} needed")
        if x.dtype != chain.axis.dtype or x.device != chain.axis.device:
            wanted = f"{chain.axis.dtype} on {chain.axis.device}"
            raise InputError(f"parameters.{name} is {x.dtype} on {x.device}, the chain {wanted}; convert one")
    if not bool((parameters.mass >= 0).all()):
        worst = int(parameters.mass.detach().reshape(-1, n).amin(0).argmin())
        mass = float(parameters.mass.detach().reshape(-1, n)[:, worst].amin())
        raise InputError(f"{chain.body_names[worst]} has mass {mass:g} kg; zero or more is needed")


def _tensor(chain: KinematicChain, x: np.ndarray) -> Tensor:
    return torch.as_tensor(x, dtype=chain.axis.dtype, device=chain.axis.device)


def _trace(x: Tensor) -> Tensor:
    return x.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
