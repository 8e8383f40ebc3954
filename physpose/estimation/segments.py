"""The bodies that have mass, seen as points: centre of mass and angular momentum of a pose and its rates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.state import Kinematics
from physpose.skeleton.model import Point


@dataclass(frozen=True)
class Segments:
    """Masses, where they are among the kinematics' points, and how each resists turning."""

    mass: Tensor  # (S,) [kg]
    body: Tensor  # (S,) index of the body
    second_moment: Tensor  # (S, 3, 3) [kg.m^2] about its centre of mass, axes of the body, at unit scale
    index: slice  # of the centres of mass among the kinematics' points

    @property
    def total(self) -> Tensor:
        """() [kg]"""
        return self.mass.sum()

    def com(self, points: Tensor) -> Tensor:
        """Centre of mass (T, 3) from the kinematics' points (T, K, 3); also of their Jacobians, (T, K, ...)."""
        own = points[:, self.index]
        return ((self.mass / self.total) @ own.flatten(2)).unflatten(-1, own.shape[2:])

    def momentum_matrix(self, kin: Kinematics, axis_scales: Tensor) -> Tensor:
        """A (T, 3, nv) with angular momentum about the centre of mass = A v [kg.m^2/s], world axes.

        v: rates of the frame's unknowns. A = sum m (c - com) x dc + R I R' w (Orin et al. 2013, centroidal dynamics).
        """
        place = kin.points[:, self.index]
        arm = self.mass[:, None] * (place - self.com(kin.points)[:, None])
        R, eye = kin.frames.R[:, self.body], torch.eye(3, dtype=arm.dtype)
        # dc = w x c + u; a x (w x c) = (a.c) w - c (a.w)
        turned = (arm * place).sum(-1)[..., None, None] * eye - place[..., :, None] * arm[..., None, :]
        return kin.summed_motion(self.body, turned + R @ self._inertia(axis_scales) @ R.mT, arm)

    def _inertia(self, axis_scales: Tensor) -> Tensor:
        """(S, 3, 3) [kg.m^2]: second moments scale with both of their axes."""
        s = axis_scales[self.body]
        scaled = self.second_moment * s[:, :, None] * s[:, None, :]
        trace = scaled.diagonal(dim1=-2, dim2=-1).sum(-1)
        return trace[:, None, None] * torch.eye(3, dtype=scaled.dtype) - scaled


def centres(chain: KinematicChain) -> tuple[Point, ...]:
    """The centres of mass of the bodies that have mass."""
    return tuple(Point(name=b.name, body=b.name, offset=b.com) for b in chain.skeleton.bodies if b.mass > 0)


def segments(chain: KinematicChain, first: int) -> Segments:
    """Of the bodies whose ``centres`` stand at ``first`` and after among the kinematics' points."""
    heavy = [b for b in chain.skeleton.bodies if b.mass > 0]
    inertia = torch.stack([torch.as_tensor(b.inertia, dtype=torch.float64) for b in heavy])
    half = 0.5 * inertia.diagonal(dim1=-2, dim2=-1).sum(-1)
    return Segments(
        mass=torch.tensor([b.mass for b in heavy], dtype=torch.float64),
        body=torch.tensor([chain.skeleton.body_index(b.name) for b in heavy]),
        second_moment=half[:, None, None] * torch.eye(3, dtype=torch.float64) - inertia,
        index=slice(first, first + len(heavy)),
    )
