"""Axes of motion-capture laboratories and of .bvh files, against our z-up world."""

from __future__ import annotations

import numpy as np

from physpose.errors import UnknownNameError
from physpose.types import Array

R_ZUP_LAB = {  # x_zup = R @ x_lab, by the axis of the laboratory that points up
    "+X": np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "-X": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "+Y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-Y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "+Z": np.eye(3),
    "-Z": np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
}
R_BVH_ZUP = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # x_bvh = R @ x_zup: left, up, forward


def lab_axis(up: str) -> str:
    """A key of ``R_ZUP_LAB`` from what people write: "y", "+Y", "-z".

    Raises:
        UnknownNameError: no axis.
    """
    axis = up.upper() if up[:1] in "+-" else f"+{up.upper()}"
    if axis not in R_ZUP_LAB:
        raise UnknownNameError("up axis", up, ("x", "y", "z", "-x", "-y", "-z"))
    return axis


def lab_to_z_up(x: Array, up: str) -> Array:
    """Vectors (..., 3) from laboratory axes, of which ``up`` (a key of ``R_ZUP_LAB``) points up, to z up."""
    return np.asarray(x, float) @ R_ZUP_LAB[up].T
