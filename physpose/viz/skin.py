"""A body's surface for the report: few bytes, to be moved by the bodies' poses in the browser."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physpose.skeleton.model import Skeleton, Skin
from physpose.skeleton.names import side
from physpose.skeleton.skin import rest_origins

MOST_VERTICES = 30_000  # two thirds of a megabyte; SMPL has 6890, SMPL-X 10475
STEPS = 32767  # of a 16-bit number for the largest coordinate: 0.03 mm
WEIGHT_STEPS = 65535
SIDES = ("", "r", "l")  # order of the faces' groups


def skin_payload(skeleton: Skeleton) -> dict[str, Any] | None:
    """Vertices (16 bit), faces sorted by side, the bodies each vertex follows and how much; None without."""
    skin = skeleton.skin
    if skin is None or len(skin.vertices) > MOST_VERTICES or len(skeleton.bodies) > 256:
        return None
    scale = float(np.abs(skin.vertices).max()) / STEPS
    faces, counts = _by_side(skeleton, skin)
    return {
        "scale": scale,
        "vertices": packed_as(skin.vertices / scale, "i16"),
        "faces": packed_as(faces, "u16"),
        "groups": counts,
        "bodies": packed_as(skin.bodies, "u8"),
        "weights": packed_as(WEIGHT_STEPS * skin.weights, "u16"),
        "origins": packed_as(rest_origins(skeleton), "f32"),
    }


def packed_as(array: ArrayLike, kind: str) -> dict[str, Any]:
    """{"shape": ..., kind: base64} with kind "f32", "i16", "u16" or "u8", little-endian."""
    dtype = {"f32": "<f4", "i16": "<i2", "u16": "<u2", "u8": "u1"}[kind]
    values = np.asarray(array)
    rounded = values if kind == "f32" else np.round(values)
    packed = np.ascontiguousarray(rounded, dtype=dtype)
    return {"shape": list(packed.shape), kind: base64.b64encode(packed.tobytes()).decode()}


def _by_side(skeleton: Skeleton, skin: Skin) -> tuple[NDArray[np.int64], list[int]]:
    """Faces with those of no side first, then right, then left; and how many of each."""
    sides = np.array([SIDES.index(side(n)) for n in skeleton.body_names])
    vertex = sides[skin.bodies[np.arange(len(skin.bodies)), skin.weights.argmax(1)]]
    of_face = np.median(vertex[skin.faces], axis=1).astype(int)
    counts: list[int] = np.bincount(of_face, minlength=len(SIDES)).tolist()
    return skin.faces[np.argsort(of_face, kind="stable")], counts
