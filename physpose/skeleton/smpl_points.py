"""Points on a body model: what keypoint detectors find, and where the soles touch the floor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from physpose.skeleton.files import read_shipped
from physpose.skeleton.keypoint_sets import keypoint_sets
from physpose.skeleton.model import KeypointSet, Point, Skeleton
from physpose.skeleton.skin import rest_origins
from physpose.types import Array

JOINT_SIGMA = 0.01  # [m]: the joint itself, by definition; what a network says of it is not so sharp
VERTEX_SETS = {6890: "smplh", 10475: "smplx"}  # number of vertices -> smplx.vertex_ids
VERTICES = {  # landmark -> name in smplx.vertex_ids
    "nose": "nose", "eye_r": "reye", "eye_l": "leye", "ear_r": "rear", "ear_l": "lear", "thumb_r": "rthumb",
    "thumb_l": "lthumb", "index_r": "rindex", "index_l": "lindex", "pinky_r": "rpinky", "pinky_l": "lpinky",
    "big_toe_r": "RBigToe", "big_toe_l": "LBigToe", "small_toe_r": "RSmallToe", "small_toe_l": "LSmallToe",
    "heel_r": "RHeel", "heel_l": "LHeel",
}  # fmt: skip
JOINTS = {f"{part}_{s}": f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
          for s, side in (("r", "right"), ("l", "left"))}  # fmt: skip
SOLE = "the model's surface: lowest there"
TOUCH = {  # of the foot's length from behind and of its breadth from the inside
    "heel": (0.06, 0.5), "ball_medial": (0.72, 0.15), "ball_lateral": (0.64, 0.88), "toe": (0.95, 0.35),
}  # fmt: skip
NEAR = 0.1  # of the foot's length: vertices that tell how high the sole is there


def smpl_keypoint_sets(skeleton: Skeleton, smplx: Any) -> dict[str, KeypointSet]:
    """The model's joints as a set named as the model; detectors' sets too where the vertices are the official ones."""
    joints = tuple(Point(name=n, body=n, offset=np.zeros(3), source="definition") for n in skeleton.body_names)
    parents = [b.parent for b in skeleton.bodies]
    edges = tuple((skeleton.body_names.index(p), i) for i, p in enumerate(parents) if p)
    own = KeypointSet(name=skeleton.name, points=joints, sigma=np.full(len(joints), JOINT_SIGMA), edges=edges)
    return {own.name: own, **keypoint_sets(_landmarks(skeleton, smplx), partly=True)}


def _landmarks(skeleton: Skeleton, smplx: Any) -> dict[str, tuple[Point, float]]:
    assert skeleton.skin is not None
    assert skeleton.subject is not None
    shipped, height = read_shipped("human")["landmarks"], skeleton.subject.height

    def sigma(name: str) -> float:
        one_side = f"{name[:-2]}_r" if name.endswith("_l") else name
        return float(shipped[one_side]["sigma"]) * height

    return {p.name: (p, sigma(p.name)) for p in _landmark_points(skeleton, smplx)}


def _landmark_points(skeleton: Skeleton, smplx: Any) -> Iterator[Point]:
    skin = skeleton.skin
    assert skin is not None
    at = dict(zip(skeleton.body_names, rest_origins(skeleton), strict=True))
    for name, joint in JOINTS.items():
        yield Point(name=name, body=joint, offset=np.zeros(3), source="definition: the model's joint")
    for name, body, joints in (("mid_hip", "pelvis", "hip"), ("mid_shoulder", "spine3", "shoulder")):
        middle = 0.5 * (at[f"left_{joints}"] + at[f"right_{joints}"])
        yield Point(name=name, body=body, offset=middle - at[body], source="definition: midway between joints")
    yield Point(name="thorax", body="spine3", offset=at["neck"] - at["spine3"], source="unverified: the neck joint")
    yield Point(name="spine", body="spine1", offset=at["spine2"] - at["spine1"], source="unverified: the joint spine2")
    top = int(skin.vertices[:, 1].argmax())
    yield _on_surface(skeleton, "vertex", top, "definition: the highest vertex")
    kind = VERTEX_SETS.get(len(skin.vertices))
    for name, key in VERTICES.items() if kind else ():
        yield _on_surface(skeleton, name, int(smplx.vertex_ids.vertex_ids[kind][key]), f"smplx.vertex_ids: {key}")


def _on_surface(skeleton: Skeleton, name: str, vertex: int, source: str) -> Point:
    """A vertex, fixed to the body that it follows most."""
    assert skeleton.skin is not None
    body = int(skeleton.skin.bodies[vertex, skeleton.skin.weights[vertex].argmax()])
    offset = skeleton.skin.vertices[vertex] - rest_origins(skeleton)[body]
    return Point(name=name, body=skeleton.body_names[body], offset=offset, source=source)


def contact_points(skeleton: Skeleton) -> tuple[Point, ...]:
    """Heel, ball (medial, lateral) and toe tip on each sole, found on the surface."""
    return tuple(p for side in ("right", "left") for p in _sole(skeleton, side))


def _sole(skeleton: Skeleton, side: str) -> Iterator[Point]:
    skin = skeleton.skin
    assert skin is not None
    foot, toes = (skeleton.body_names.index(f"{side}_{part}") for part in ("ankle", "foot"))
    led = skin.bodies[np.arange(len(skin.bodies)), skin.weights.argmax(1)]
    vertices = skin.vertices[np.isin(led, [foot, toes])]
    if len(vertices) == 0:
        return
    low, high = vertices.min(0), vertices.max(0)
    length, origins = high[0] - low[0], rest_origins(skeleton)
    for name, (along, across) in TOUCH.items():
        z = across if side == "right" else 1 - across  # z is to the right
        x_z = np.array([low[0] + along * length, low[2] + z * (high[2] - low[2])])
        point = np.array([x_z[0], _height(vertices, x_z, NEAR * length), x_z[1]])
        body = toes if name == "toe" else foot
        label = f"{name}_{side[0]}"
        yield Point(name=label, body=skeleton.body_names[body], offset=point - origins[body], source=SOLE)


def _height(vertices: Array, x_z: Array, radius: float) -> float:
    """Of the sole there: the lowest of the vertices near, or of the nearest one."""
    away = np.linalg.norm(vertices[:, [0, 2]] - x_z, axis=1)
    return float(vertices[away <= max(radius, away.min())][:, 1].min())
