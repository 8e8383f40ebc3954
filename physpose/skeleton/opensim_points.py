"""Markers, contact points and scale groups of an OpenSim model."""

from __future__ import annotations

import numpy as np

from physpose.skeleton.model import KeypointSet, Point, ScaleGroup
from physpose.skeleton.opensim_xml import GROUND, OsimFile

MARKER_SIGMA = 0.01  # [m] spread of a marker about its place on the body


def marker_set(file: OsimFile) -> KeypointSet:
    points = tuple(
        Point(name=m.name, body=m.body, offset=m.offset, source="OpenSim") for m in file.markers if m.body != GROUND
    )
    return KeypointSet(name="markers", points=points, sigma=np.full(len(points), MARKER_SIGMA))


def contact_points(file: OsimFile) -> tuple[Point, ...]:
    return ()


def scale_groups(names: tuple[str, ...]) -> tuple[ScaleGroup, ...]:
    return ()
