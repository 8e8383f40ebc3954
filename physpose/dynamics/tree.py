"""The chain's topology in the form the recursions take: one row a joint link, each with a body or none.

A chain joint with three hinges is three links, the first two without a body; a ball and a free joint are one link of
three and six degrees of freedom. Coordinate functions z = phi(q) would be inserted before this: links know z only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.skeleton.model import Skeleton
from physpose.skeleton.validate import check_skeleton

FREE, BALL, HINGE, SLIDE, FIXED = range(5)
KINDS = {"free": FREE, "ball": BALL, "hinge": HINGE, "slide": SLIDE, "fixed": FIXED}
N_V = (6, 3, 1, 1, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """L links, parents first."""

    name: tuple[str, ...]  # (L,) of the coordinate, or of the joint
    kind: np.ndarray  # (L,) FREE, BALL, HINGE, SLIDE or FIXED
    parent: np.ndarray  # (L,) -1: the world
    q: np.ndarray  # (L,) first column in q
    v: np.ndarray  # (L,) first column in v
    joint: np.ndarray  # (L,) body whose joint placement comes before this link, -1: none (inside a chain)
    body: np.ndarray  # (L,) body that the link carries, -1: none
    body_link: np.ndarray  # (n_bodies,) link of each body
    axis: np.ndarray  # (L, 3) of hinges and slides; zero elsewhere
    rotation: np.ndarray  # (L, 3, 3) joint placement R_parent_link at zero

    @property
    def nv(self) -> int:
        return int(sum(N_V[k] for k in self.kind))

    @cached_property
    def ancestors(self) -> np.ndarray:
        """(L, L) bool: is link k link i itself or before it."""
        table = np.eye(len(self.kind), dtype=bool)
        for i, parent in enumerate(self.parent):
            if parent >= 0:
                table[i] |= table[parent]
        return table

    @cached_property
    def link_of_v(self) -> np.ndarray:
        """(nv,) link of each velocity coordinate."""
        return np.repeat(np.arange(len(self.kind)), [N_V[k] for k in self.kind])

    @cached_property
    def supports(self) -> np.ndarray:
        """(n_bodies, nv) 0 or 1: does velocity coordinate j move body i."""
        return self.ancestors[self.body_link][:, self.link_of_v].astype(float)

    @cached_property
    def carries(self) -> np.ndarray:
        """(nv, nv) 0 or 1: does coordinate k move the axis of coordinate j, or belong to the same joint."""
        return self.ancestors[self.link_of_v][:, self.link_of_v].astype(float)

    @cached_property
    def slides(self) -> np.ndarray:
        """(nv, 1) bool: is the velocity coordinate a linear one."""
        linear = {FREE: [True] * 3 + [False] * 3, BALL: [False] * 3, HINGE: [False], SLIDE: [True], FIXED: []}
        return np.array([x for k in self.kind for x in linear[int(k)]], bool)[:, None]

    @cached_property
    def quaternions(self) -> dict[str, int]:
        """First column in q of each quaternion, by the name of its joint."""
        rows = zip(self.name, self.kind, self.q, strict=True)
        return {name: int(q) + 3 * int(kind == FREE) for name, kind, q in rows if kind in (FREE, BALL)}

    @cached_property
    def quaternion_columns(self) -> np.ndarray:
        """(n, 4) columns in q of the quaternions."""
        return np.array(list(self.quaternions.values()), int)[:, None] + np.arange(4)

    @cached_property
    def tilted(self) -> list[bool]:
        """(L,) is the joint frame turned against the parent's."""
        return [not np.array_equal(R, np.eye(3)) for R in self.rotation]

    def tensor(self, name: str, like: Tensor) -> Tensor:
        """One of the tables above as a constant of the same dtype (integers and bool keep theirs) and device."""
        return _constant(self, name, like.dtype, like.device)


@lru_cache(maxsize=256)
def _constant(tree: Tree, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    table = np.asarray(getattr(tree, name))
    return torch.as_tensor(table, dtype=dtype if table.dtype.kind == "f" else None, device=device)


def build_tree(skeleton: Skeleton) -> Tree:
    """The links of a skeleton. Raises InputError if its bodies form no tree or are impossible."""
    check_skeleton(skeleton)
    rows: list[tuple[int, int, int, int, int, int, np.ndarray, np.ndarray]] = []
    labels: list[str] = []
    link_of: dict[str | None, int] = {None: -1}
    q = v = 0
    for i, body in enumerate(skeleton.bodies):
        parent, joint, coordinates = link_of[body.parent], body.joint, body.joint.coordinates
        labels += [c.name for c in coordinates] or [joint.name]
        steps = [(KINDS[c.kind], np.asarray(c.axis, float), 1, 1) for c in coordinates]
        if joint.kind != "chain" or not steps:
            steps = [(KINDS.get(joint.kind, FIXED), np.zeros(3), joint.nq, joint.nv)]
        for k, (kind, axis, nq, nv) in enumerate(steps):
            R = np.asarray(joint.rotation, float) if k == 0 else np.eye(3)
            rows.append((kind, parent, q, v, i if k == 0 else -1, i if k == len(steps) - 1 else -1, axis, R))
            parent, q, v = len(rows) - 1, q + nq, v + nv
        link_of[body.name] = parent
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    body_link = np.array([link_of[name] for name in skeleton.body_names])
    names = ("kind", "parent", "q", "v", "joint", "body", "axis", "rotation")
    return Tree(**dict(zip(names, columns, strict=True)), name=tuple(labels), body_link=body_link)


_trees: WeakKeyDictionary[KinematicChain, Tree] = WeakKeyDictionary()


def tree_of(chain: KinematicChain) -> Tree:
    """The chain's tree, built once."""
    tree = _trees.get(chain)
    if tree is None:
        tree = _trees[chain] = build_tree(chain.skeleton)
    return tree
