"""Triangles of the simple solids that stand for segments: turned about the segment's axis, as wide as its mass says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.types import Array

AROUND, ALONG = 24, 10  # points about the axis; of a quarter of a round end
CAP = 0.45  # how far the round ends of a limb reach beyond its joints, in radii
TIP = 1e-5  # [m] radius of the poles, so that no triangle has no area


def triangles(shape: dict[str, Any]) -> tuple[Array, NDArray[np.int64]]:
    """Vertices (V, 3) [m] in the body's frame and faces (F, 3), outward, of a shape of ``segment_shapes``."""
    axis = shape["to"] - shape["from"]
    length = float(np.linalg.norm(axis))
    along, wide = axis / length, shape["wide"]
    radius, height = _profile(shape, length)
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    stretch = np.sqrt(shape["ratio"])  # width by this, depth by its inverse: the section's area stays
    round_it = np.stack([stretch * np.cos(angle), np.sin(angle) / stretch], 1) @ np.stack([wide, np.cross(wide, along)])
    vertices = shape["from"] + radius[:, None, None] * round_it + height[:, None, None] * along
    return vertices.reshape(-1, 3), _faces(len(radius))


def _profile(shape: dict[str, Any], length: float) -> tuple[Array, Array]:
    """Radius and height [m] of the rings from the near end to the far one."""
    if shape["kind"] == "ellipsoid":
        a = np.pi * np.arange(2 * ALONG + 1) / (2 * ALONG)
        return shape["radius"][0] * np.sin(a) + TIP, length / 2 * (1 - np.cos(a))
    (near, far), a = shape["radius"], np.pi / 2 * np.arange(ALONG + 1) / ALONG
    radius = np.concatenate([near * np.sin(a), far * np.cos(a)]) + TIP
    height = np.concatenate([near * CAP * (1 - 2 * np.cos(a)), length + far * CAP * (2 * np.sin(a) - 1)])
    return radius, height


def _faces(rings: int) -> NDArray[np.int64]:
    i, k = np.meshgrid(np.arange(rings - 1), np.arange(AROUND), indexing="ij")
    a, b = AROUND * i + k, AROUND * i + (k + 1) % AROUND
    return np.stack([a, a + AROUND, b, b, a + AROUND, b + AROUND], -1).reshape(-1, 3).astype(np.int64)
