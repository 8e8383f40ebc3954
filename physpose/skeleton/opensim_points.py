"""Markers, contact points and scale groups of an OpenSim model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from physpose.skeleton.model import Body, KeypointSet, Point, ScaleGroup
from physpose.skeleton.opensim_xml import GROUND, OsimFile
from physpose.types import Array

MARKER_SIGMA = 0.01  # [m] spread of a marker about its place on the body: skin moves
SIZE_SIGMA = 0.15  # of log(scale): the file's person may be of quite another size
OFFSET = "_offset"  # ends the name of a massless frame between a joint and the origin of its body

# Under a foot without contact spheres, as on physpose's adult; in distances from calcn to toes, z outwards
SOLE = {
    "heel": ("calcn", (-0.05, -0.10, 0.0)),
    "ball_medial": ("calcn", (1.0, -0.10, -0.23)),
    "ball_lateral": ("calcn", (0.85, -0.10, 0.25)),
    "toe": ("toes", (0.31, -0.10, -0.07)),
}
SPHERE_SOURCE = "OpenSim: lowest point of the contact sphere in the default pose"
SOLE_SOURCE = "unverified: on the sole of physpose's adult, in distances from calcn to toes"

# Bodies that grow together, left and right; of each axis on its own where left and right say what its width is
TOGETHER = {
    "pelvis": ("pelvis", "sacrum"), "torso": ("torso", "thorax", "lumbar", "Abdomen"), "thigh": ("femur", "patella"),
    "shank": ("tibia", "fibula"), "foot": ("talus", "calcn", "toes"), "upper_arm": ("humerus",),
    "forearm": ("ulna", "radius"),
}  # fmt: skip
BY_AXIS = {"pelvis": ("depth", "height", "width"), "torso": ("depth", "length", "width")}


def marker_set(file: OsimFile) -> KeypointSet:
    """The file's markers, but those on the ground, in its order."""
    points = tuple(
        Point(name=m.name, body=m.body, offset=m.offset, source="OpenSim") for m in file.markers if m.body != GROUND
    )
    return KeypointSet(name="markers", points=points, sigma=np.full(len(points), MARKER_SIGMA))


def contact_points(file: OsimFile, bodies: tuple[Body, ...], rotations: dict[str, Array]) -> tuple[Point, ...]:
    """Where contact spheres are lowest, bodies turned by R_world_body ``rotations``; without spheres, the sole."""
    spheres = [s for s in file.spheres if s.body != GROUND]
    if spheres:
        down = np.array([0.0, 0, -1])
        return tuple(
            Point(name=s.name, body=s.body, offset=s.offset + s.radius * down @ rotations[s.body], source=SPHERE_SOURCE)
            for s in spheres
        )
    return tuple(_soles({b.name: b for b in bodies}))


def _soles(bodies: dict[str, Body]) -> Iterator[Point]:
    for side, outwards in (("r", 1), ("l", -1)):
        toes = bodies.get(f"toes_{side}")
        if toes is None or toes.parent != f"calcn_{side}":
            continue
        length = float(np.linalg.norm(toes.joint.translation))
        for name, (body, at) in SOLE.items():
            offset = length * np.array(at) * [1, 1, outwards]
            yield Point(name=f"{name}_{side}", body=f"{body}_{side}", offset=offset, source=SOLE_SOURCE)


def scale_groups(names: tuple[str, ...]) -> tuple[ScaleGroup, ...]:
    """One factor a segment, the same left and right; pelvis and trunk one an axis."""
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(_segment(name), []).append(name)
    return tuple(g for segment, bodies in members.items() for g in _groups(segment, tuple(bodies)))


def _segment(name: str) -> str:
    base = name.removesuffix(OFFSET)
    base = base[:-2] if base.endswith(("_r", "_l")) else base
    return next((s for s, parts in TOGETHER.items() if base.startswith(parts)), base)


def _groups(segment: str, bodies: tuple[str, ...]) -> Iterator[ScaleGroup]:
    source = "unverified: a generic model's person differs by some 15 % from another"
    for k, word in enumerate(BY_AXIS.get(segment, ())):
        yield ScaleGroup(name=f"{segment}_{word}", bodies=bodies, axes=(k,), sigma=SIZE_SIGMA, source=source)
    if segment not in BY_AXIS:
        yield ScaleGroup(name=segment, bodies=bodies, axes=(0, 1, 2), sigma=SIZE_SIGMA, source=source)
