"""Mass, centre and inertia of a body's segments from its surface: the mesh is cut at the joints, each piece closed.

The cut at a joint runs where the faces of the joint's whole subtree end. Each loop of the cut is closed by a fan of
triangles about its centroid, which belongs to both sides. Thus every piece is a closed surface, and the pieces add up
to the whole body exactly, also where three segments meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from physpose.errors import InputError, MissingPackageError
from physpose.types import Array

Faces = NDArray[np.int64]
MOST_OPEN = 0.02  # of the surface: eye sockets and a mouth are below, a torn mesh is not


class Pieces(NamedTuple):
    """Closed pieces of a mesh that share one list of vertices."""

    vertices: Array  # (V', 3) [m]: the mesh's own, then the centroids of the loops that were closed
    faces: tuple[Faces, ...]  # of each segment, outward


def cut(vertices: Array, faces: Faces, weights: Array, parents: Sequence[int]) -> Pieces:
    """Cut a mesh into one closed piece for each of n segments; a piece may be empty.

    Args:
        vertices: (V, 3) [m].
        faces: (F, 3), consistently oriented.
        weights: (V, n) skinning weights; a face belongs to the segment with the largest sum over its corners.
        parents: (n,) of each segment, before it; -1 for the root.

    Raises:
        InputError: a mesh that is open by more than eyes and a mouth.
    """
    vertices, faces, label = _closed(vertices, faces, weights)
    if _volume(vertices[faces]) < 0:
        faces = faces[:, ::-1]
    members = _subtrees(parents)
    own = [faces[label == i] for i in range(len(parents))]
    for i in range(1, len(parents)):
        # d(faces of the subtree) = the loops of the cut at its joint
        vertices, cap = _caps(vertices, _loops(_boundary(faces[np.isin(label, members[i])])))
        own[i] = np.concatenate([own[i], cap])
        own[parents[i]] = np.concatenate([own[parents[i]], cap[:, ::-1]])
    return Pieces(vertices, tuple(own))


def pseudo_inertias(pieces: Pieces) -> Array:
    """Pseudo-inertia (n, 4, 4) of each piece at unit density, about the mesh's origin, by ``trimesh``.

    [[int x x^T, int x], [int x^T, int 1]] over the volume (Wensing, Kim, Slotine 2018, eq. 4): it adds up over pieces,
    and is positive definite for what is a solid.
    """
    return np.array([_pseudo_inertia(pieces.vertices, f) for f in pieces.faces])


def is_solid(P: Array) -> bool:
    """Is a pseudo-inertia (4, 4) one of a body with extent: positive mass and second moments about its centre?"""
    if P[3, 3] <= 0:
        return False
    central = P[:3, :3] - np.outer(P[:3, 3], P[:3, 3]) / P[3, 3]
    return bool(np.linalg.eigvalsh(central)[0] > 0)


def mass_properties(P: Array) -> tuple[float, Array, Array]:
    """Mass [kg], centre (3,) [m] and inertia about it (3, 3) [kg.m^2] of a pseudo-inertia (4, 4)."""
    mass, centre = float(P[3, 3]), P[:3, 3] / P[3, 3]
    # Sigma about the centre; I = tr(Sigma) 1 - Sigma
    second = P[:3, :3] - mass * np.outer(centre, centre)
    return mass, centre, np.trace(second) * np.eye(3) - second


def _pseudo_inertia(vertices: Array, faces: Faces) -> Array:
    P = np.zeros((4, 4))
    if len(faces) == 0 or _volume(vertices[faces]) == 0:
        return P
    try:
        import trimesh
    except ImportError as error:
        raise MissingPackageError("trimesh", "smpl", "a body model's masses") from error
    # about the piece itself, for digits
    origin = vertices[faces].mean((0, 1))
    found = trimesh.triangles.mass_properties(vertices[faces] - origin)
    volume, centre = float(found["volume"]), np.asarray(found["center_mass"], float)
    inertia = np.asarray(found["inertia"], float)
    second = 0.5 * np.trace(inertia) * np.eye(3) - inertia
    centre = centre + origin
    P[:3, :3] = second + volume * np.outer(centre, centre)
    P[:3, 3] = P[3, :3] = volume * centre
    P[3, 3] = volume
    return P


def _closed(vertices: Array, faces: Faces, weights: Array) -> tuple[Array, Faces, NDArray[np.intp]]:
    """The mesh with its own holes closed, and the segment of each face."""
    loops = _loops(_boundary(faces))
    vertices, caps = _caps(vertices, loops)
    share = _area(vertices[caps]) / _area(vertices[faces])
    if share > MOST_OPEN:
        holes = f"its {len(loops)} holes are {100 * share:.0f} % of its surface"
        raise InputError(f"the mesh is open: {holes}; a damaged file?")
    weights = np.concatenate([weights, *(weights[loop].mean(0)[None] for loop in loops)])
    faces = np.concatenate([faces, caps])
    return vertices, faces, weights[faces].sum(1).argmax(1)


def _subtrees(parents: Sequence[int]) -> list[list[int]]:
    members: list[list[int]] = [[i] for i in range(len(parents))]
    for i in range(len(parents) - 1, 0, -1):
        members[parents[i]] += members[i]
    return members


def _boundary(faces: Faces) -> Faces:
    """Directed edges (n, 2) of faces that no other face runs the other way."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    forward = edges[:, 0] < edges[:, 1]
    keys, index = np.unique(np.sort(edges, 1), axis=0, return_inverse=True)
    net = np.bincount(index.ravel(), np.where(forward, 1, -1), len(keys)).astype(int)
    out = np.where((net > 0)[:, None], keys, keys[:, ::-1])
    return np.repeat(out, np.abs(net), axis=0)


def _loops(edges: Faces) -> list[list[int]]:
    """Directed edges in rows of vertices, each a closed loop."""
    after: dict[int, list[int]] = {}
    for u, v in edges.tolist():
        after.setdefault(u, []).append(v)
    loops = []
    for start in list(after):
        while after[start]:
            loop, at = [start], after[start].pop()
            while at != start:
                loop.append(at)
                at = after[at].pop()
            loops.append(loop)
    return loops


def _caps(vertices: Array, loops: Sequence[list[int]]) -> tuple[Array, Faces]:
    """The vertices with the loops' centroids added, and fans that close the loops of a part of the mesh."""
    centres: list[Array] = []
    fans: list[Faces] = []
    for loop in loops:
        ahead = np.roll(loop, -1)
        centre = len(vertices) + len(centres)
        centres.append(_loop_centroid(vertices[loop]))
        fans.append(np.stack([ahead, loop, np.full(len(loop), centre)], 1))
    if not fans:
        return vertices, np.empty((0, 3), np.int64)
    return np.concatenate([vertices, centres]), np.concatenate(fans).astype(np.int64)


def _loop_centroid(points: Array) -> Array:
    """Of the line, so that dense vertices do not pull."""
    ahead = np.roll(points, -1, axis=0)
    length = np.linalg.norm(ahead - points, axis=1) + 1e-12
    return (0.5 * (points + ahead) * length[:, None]).sum(0) / length.sum()


def _area(triangles: Array) -> float:
    return float(0.5 * np.linalg.norm(_normals(triangles), axis=1).sum())


def _volume(triangles: Array) -> float:
    return float((triangles[:, 0] * _normals(triangles)).sum() / 6)


def _normals(triangles: Array) -> Array:
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
