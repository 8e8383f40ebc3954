"""Trees and random states for the tests of the dynamics: our adult and child, and every joint kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from physpose.skeleton import load_skeleton
from physpose.skeleton.model import Body, Coordinate, Joint, KeypointSet, Point, ScaleGroup, Skeleton


def random_inertia(rng: np.random.Generator, mass: float, size: float = 0.2) -> np.ndarray:
    """Inertia (3, 3) of a random cloud of point masses: always a possible one."""
    cloud = rng.normal(size=(20, 3)) * size * np.array([0.3, 1.0, 0.5])
    cloud -= cloud.mean(0)
    second = mass * cloud.T @ cloud / len(cloud)
    return np.trace(second) * np.eye(3) - second


def body(rng: np.random.Generator, name: str, parent: str | None, kind: str, axes: str = "", tilt: bool = True) -> Body:
    """A body with a random placement; ``axes``: x y z hinges, X Y Z slides, o an oblique hinge."""
    coordinates = tuple(coordinate(rng, f"{name}_{i}_{c}", c) for i, c in enumerate(axes))
    root = parent is None
    joint = Joint(
        name=f"{name}_joint",
        kind=kind,
        coordinates=coordinates,
        translation=np.zeros(3) if root else rng.normal(size=3) * 0.2,
        rotation=Rotation.random(random_state=rng).as_matrix() if tilt and not root else np.eye(3),
    )
    mass = float(rng.uniform(0.5, 8))
    inertia = random_inertia(rng, mass)
    return Body(name=name, parent=parent, joint=joint, mass=mass, com=rng.normal(size=3) * 0.1, inertia=inertia)


def coordinate(rng: np.random.Generator, name: str, letter: str) -> Coordinate:
    axis = rng.normal(size=3) if letter == "o" else np.eye(3)["xyz".index(letter.lower())]
    kind = "slide" if letter.isupper() else "hinge"
    return Coordinate(name=name, axis=axis / np.linalg.norm(axis), range=(-2.0, 2.0), kind=kind)


def skeleton(name: str, bodies: list[Body]) -> Skeleton:
    keypoints = tuple(Point(name=f"k_{b.name}", body=b.name, offset=np.asarray(b.com) * 2) for b in bodies)
    tree = Skeleton(
        name=name,
        bodies=tuple(bodies),
        subject=None,
        keypoint_sets={"toy": KeypointSet(name="toy", points=keypoints, sigma=np.full(len(keypoints), 0.01))},
        contact_points=(Point(name="heel", body=bodies[-1].name, offset=np.array([0.0, -0.1, 0.0])),),
        scale_groups=_scale_groups(bodies),
        neutral=np.zeros(0),
    )
    return replace(tree, neutral=random_q(np.random.default_rng(0), tree, 1)[0])


def _scale_groups(bodies: list[Body]) -> tuple[ScaleGroup, ...]:
    names = tuple(b.name for b in bodies)
    long = ScaleGroup(name="long", bodies=names, axes=(1,), sigma=0.1)
    return long, ScaleGroup(name="wide", bodies=names[::2], axes=(0, 2), sigma=0.1)


def zoo(seed: int = 1) -> Skeleton:
    """Every joint kind, slides before and after hinges, oblique axes, a placed root; bodies not depth first."""
    rng = np.random.default_rng(seed)
    rows = [
        ("base", None, "free", ""),
        ("a", "base", "ball", ""),
        ("b", "base", "chain", "Xoz"),
        ("c", "a", "chain", "oZy"),
        ("d", "a", "fixed", ""),
        ("e", "d", "ball", ""),
        ("f", "b", "fixed", ""),
        ("g", "f", "chain", "Yo"),
    ]
    base, *rest = [body(rng, *row) for row in rows]
    placed = replace(base.joint, translation=rng.normal(size=3), rotation=Rotation.random(random_state=rng).as_matrix())
    return skeleton("zoo", [replace(base, joint=placed), *rest])


def small(seed: int = 2) -> Skeleton:
    """Free base, ball, hinge, slide: small enough for numerical second derivatives."""
    rng = np.random.default_rng(seed)
    rows = [("base", None, "free", ""), ("a", "base", "ball", ""), ("b", "base", "chain", "oZ")]
    return skeleton("small", [body(rng, *row) for row in rows])


def pendulum(links: int = 1, seed: int = 3) -> Skeleton:
    """A fixed-base chain of hinges about the world's y axis."""
    rng = np.random.default_rng(seed)
    rows = [(f"link{i}", None if i == 0 else f"link{i - 1}", "chain", "y") for i in range(links)]
    return skeleton(f"pendulum{links}", [body(rng, *row, tilt=False) for row in rows])


def random_q(rng: np.random.Generator, tree: Skeleton, T: int) -> np.ndarray:
    """q (T, nq), quaternions uniform on the sphere."""
    columns = []
    for b in tree.bodies:
        kind = b.joint.kind
        if kind == "free":
            columns.append(rng.normal(size=(T, 3)))
        if kind in ("free", "ball"):
            quat = rng.normal(size=(T, 4))
            columns.append(quat / np.linalg.norm(quat, axis=-1, keepdims=True))
        elif kind == "chain":
            columns.append(rng.uniform(-1.5, 1.5, size=(T, b.joint.nq)))
    return np.concatenate(columns, -1)


def random_state(seed: int, tree: Skeleton, T: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q (T, nq), v (T, nv), a (T, nv)."""
    rng = np.random.default_rng(seed)
    return random_q(rng, tree, T), rng.normal(size=(T, tree.nv)), rng.normal(size=(T, tree.nv))


def random_external(seed: int, tree: Skeleton, T: int) -> dict[str, np.ndarray]:
    """Wrenches (T, 6) on every second body."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(T, 6)) * 10 for name in tree.body_names[::2]}


TREES = {
    "adult": load_skeleton("adult", age=30, sex="m", height=1.78, mass=75),
    "child": load_skeleton("child", age=8, sex="f", height=1.28, mass=26),
    "zoo": zoo(),
    "small": small(),
    "pendulum": pendulum(2),
}
