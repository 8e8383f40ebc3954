"""Poses, motion axes, velocities and accelerations of all bodies at once, in world axes.

Spatial motion vectors are [linear, angular] at one reference point c of the sample, the first body's origin: the linear
part is the velocity of the body-fixed point that passes c. Sums along the tree are products with a constant 0-1 matrix,
so a batch needs a few large operations and no recursion beyond the poses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.parameters import BodyParameters
from physpose.dynamics.tree import BALL, FREE, HINGE, SLIDE, Tree, tree_of
from physpose.spatial import axis_rotation, matvec, quat_to_matrix


class Poses(NamedTuple):
    """Where the bodies are, and along what each velocity coordinate moves them."""

    R: Tensor  # (*b, n_bodies, 3, 3), R_world_body
    p: Tensor  # (*b, n_bodies, 3) [m], body origins, world
    c: Tensor  # (*b, 3) [m] the reference point, world
    S: Tensor  # (*b, nv, 6) motion axes [linear, angular] at c, world axes


def poses(chain: KinematicChain, q: Tensor, parameters: BodyParameters) -> Poses:
    """Forward kinematics of q (*b, nq). Quaternions are normalised here: gradients are tangent to the sphere."""
    tree = tree_of(chain)
    R_link, p_link, before = _links(tree, q, parameters.translation)
    rows = tree.body_link.tolist()
    R, p = torch.stack([R_link[i] for i in rows], -3), torch.stack([p_link[i] for i in rows], -2)
    c = p[..., 0, :].detach()  # any point serves; constant, because nothing depends on it
    axes, origins = _axes(tree, R_link, p_link, before)
    slides = tree.tensor("slides", q)
    # v(c) = axis x (c - origin) for a turn about the axis, axis for a slide along it
    linear = torch.where(slides, axes, torch.linalg.cross(axes, c[..., None, :] - origins))
    angular = torch.where(slides, torch.zeros_like(axes), axes)
    return Poses(R, p, c, torch.cat([linear, angular], -1))


def velocities(chain: KinematicChain, x: Poses, v: Tensor) -> Tensor:
    """Spatial velocities (*b, n_bodies, 6) at c: V_i = sum_j S_j v_j over the coordinates j that move body i."""
    return tree_of(chain).tensor("supports", v) @ (x.S * v[..., None])


def accelerations(chain: KinematicChain, x: Poses, v: Tensor, a: Tensor) -> Tensor:
    """Spatial accelerations (*b, n_bodies, 6) at c: A_i = sum_j S_j a_j + (V_j x S_j) v_j (Featherstone 2008, 2.48)."""
    tree = tree_of(chain)
    V_axis = tree.tensor("carries", v) @ (x.S * v[..., None])  # of the frame that holds axis j
    return tree.tensor("supports", v) @ (x.S * a[..., None] + motion_cross(V_axis, x.S) * v[..., None])


def motion_cross(V: Tensor, S: Tensor) -> Tensor:
    """V x S of spatial motion vectors (*b, 6)."""
    v, w, s, u = V[..., :3], V[..., 3:], S[..., :3], S[..., 3:]
    return torch.cat([torch.linalg.cross(w, s) + torch.linalg.cross(v, u), torch.linalg.cross(w, u)], -1)


def subtree_sum(chain: KinematicChain, F: Tensor) -> Tensor:
    """For every velocity coordinate the sum (*b, nv, k) of F (*b, n_bodies, k) over the bodies it moves."""
    return tree_of(chain).tensor("supports", F).mT @ F


def _links(tree: Tree, q: Tensor, translation: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Poses of the links, and the rotation of each just before its own motion."""
    own = _single_axis_rotations(tree, q)
    axis, placement = tree.tensor("axis", q), tree.tensor("rotation", q)
    R: list[Tensor] = []
    p: list[Tensor] = []
    before: list[Tensor] = []
    batch = q.shape[:-1]
    for i, (kind, parent, k) in enumerate(zip(tree.kind, tree.parent, tree.q, strict=True)):
        R_i = R[parent] if parent >= 0 else torch.eye(3, dtype=q.dtype, device=q.device).expand(*batch, 3, 3)
        p_i = p[parent] if parent >= 0 else q.new_zeros(*batch, 3)
        if tree.joint[i] >= 0:
            p_i = p_i + matvec(R_i, translation[..., tree.joint[i], :].expand_as(p_i))
            R_i = R_i @ placement[i] if tree.tilted[i] else R_i
        before.append(R_i)
        if kind == FREE:
            p_i, R_i = p_i + matvec(R_i, q[..., k : k + 3]), R_i @ _rotation(q[..., k + 3 : k + 7])
        elif kind == BALL:
            R_i = R_i @ _rotation(q[..., k : k + 4])
        elif kind == HINGE:
            R_i = R_i @ own[i]
        elif kind == SLIDE:
            p_i = p_i + (R_i @ axis[i]) * q[..., k, None]
        R.append(R_i)
        p.append(p_i)
    return R, p, before


def _single_axis_rotations(tree: Tree, q: Tensor) -> dict[int, Tensor]:
    """R(axis, angle) of all hinges in one go, by link."""
    hinges = (tree.kind == HINGE).nonzero()[0].tolist()
    axis = tree.tensor("axis", q)[hinges]
    R = axis_rotation(axis, q[..., tree.q[hinges].tolist()])
    return dict(zip(hinges, R.unbind(-3), strict=True))


def _axes(tree: Tree, R: list[Tensor], p: list[Tensor], before: list[Tensor]) -> tuple[Tensor, Tensor]:
    """World axis and a point on it (*b, nv, 3) of each velocity coordinate."""
    axis = tree.tensor("axis", p[0])
    axes: list[Tensor] = []
    origins: list[Tensor] = []
    for i, kind in enumerate(tree.kind):
        if kind in (FREE, BALL):  # velocities are in the moving frame
            axes += list(R[i].unbind(-1)) * (2 if kind == FREE else 1)
        elif kind in (HINGE, SLIDE):
            axes.append(before[i] @ axis[i])
        origins += [p[i]] * (len(axes) - len(origins))
    return torch.stack(axes, -2), torch.stack(origins, -2)


def _rotation(quat: Tensor) -> Tensor:
    return quat_to_matrix(quat / quat.norm(dim=-1, keepdim=True))
