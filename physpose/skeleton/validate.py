"""Is a skeleton a tree of bodies that physics allows? Checked where dynamics begins."""

from __future__ import annotations

import numpy as np

from physpose.errors import InputError, UnknownNameError
from physpose.skeleton.model import Skeleton


def check_skeleton(skeleton: Skeleton) -> None:
    """Raise if the bodies form no tree, parents first, or if a mass or an inertia is impossible."""
    check_tree(skeleton)
    for body in skeleton.bodies:
        if not (np.isfinite(body.mass) and body.mass >= 0):
            raise InputError(f"{body.name} in {skeleton.name} has mass {body.mass} kg; zero or more is needed")
        inertia = np.asarray(body.inertia, float)
        if inertia.shape != (3, 3) or not np.allclose(inertia, inertia.T, atol=1e-12 * (1 + abs(inertia).max())):
            raise InputError(f"{body.name} in {skeleton.name}: the inertia must be a symmetric (3, 3) matrix")
        if np.linalg.eigvalsh(inertia)[0] < -1e-12:
            raise InputError(f"{body.name} in {skeleton.name}: the inertia has a negative principal moment")


def check_tree(skeleton: Skeleton) -> None:
    """Raise if a body has an unknown parent, is its own ancestor, or comes before its parent."""
    parents = {b.name: b.parent for b in skeleton.bodies}
    if len(parents) < len(skeleton.bodies):
        raise InputError(f"two bodies of {skeleton.name} have the same name: {', '.join(skeleton.body_names)}")
    for name, parent in parents.items():
        if parent is not None and parent not in parents:
            raise UnknownNameError(f"parent of {name}", parent, skeleton.body_names)
    for name in parents:
        _check_ancestors(skeleton.name, name, parents)
    seen: set[str | None] = {None}
    for name, parent in parents.items():
        if parent not in seen:
            raise InputError(f"{name} comes before its parent {parent} in {skeleton.name}; list parents first")
        seen.add(name)


def _check_ancestors(skeleton: str, name: str, parents: dict[str, str | None]) -> None:
    path, current = [name], parents[name]
    while current is not None:
        path.append(current)
        if current == name:
            raise InputError(f"the bodies of {skeleton} form a loop, not a tree: {' -> '.join(path)}")
        if len(path) > len(parents):
            return  # the loop lies above; the walk from one of its own bodies names it
        current = parents[current]
