"""What files call the markers of motion capture, and where those lie on the human tree (skeletons/markers.yaml)."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from physpose.skeleton.files import read_shipped

REFERENCE_HEIGHT = 1.70  # [m] of the body that the table's millimetres are for


def marker_table() -> dict[str, Any]:
    """Contents of the table; shared between callers, so not to be changed."""
    return read_shipped("markers")


def marker_points(bodies: dict[str, Any]) -> dict[str, Any]:
    """Entries of the markers and joint centres on ``bodies``, right and middle ones."""
    table = marker_table()
    return {n: e for part in ("markers", "centres") for n, e in table[part].items() if e["body"] in bodies}


def plain_label(label: str) -> str:
    """A label as it is compared: without what stands before a colon, without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", label.rsplit(":", 1)[-1].lower())


@cache
def point_names(part: str) -> dict[str, str]:
    """Plain label -> name of the marker point, both sides; ``part``: "markers" or "centres"."""
    found: dict[str, str] = {}
    for name, entry in marker_table()[part].items():
        for label in map(plain_label, (name, *entry["labels"])):
            found[label] = name
            if name.endswith("_r"):
                found[_left(label, is_name=label == plain_label(name))] = name[:-2] + "_l"
    return found


def _left(label: str, *, is_name: bool) -> str:
    """The left side's plain label of a right one."""
    if is_name:
        return label[:-1] + "l"
    return "left" + label[5:] if label.startswith("right") else "l" + label[1:]


def spread_of(name: str) -> tuple[float, float, float]:
    """Standard deviation of a marker point's place before it is fitted [m], body axes, on a body of 1.70 m."""
    table, right = marker_table(), name[:-2] + "_r" if name.endswith("_l") else name
    entry = table["markers"].get(right) or table["centres"][right]
    x, y, z = (1e-3 * v for v in entry["spread"])
    return x, y, z


def soft_tissue_of(body: str) -> float:
    """How far a body's skin markers wander on it [m], standard deviation, on a body of 1.70 m."""
    right = body[:-2] + "_r" if body.endswith("_l") else body
    return 1e-3 * float(marker_table()["soft_tissue"].get(right, 10.0))
