"""A skeleton as a MuJoCo model (MJCF): the same masses, centres and inertias, joints named as the coordinates."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from physpose.errors import InputError
from physpose.skeleton.model import Body, Coordinate, Skeleton
from physpose.types import Array

TINY_MASS = 1e-10  # [kg; kg.m^2] MuJoCo refuses a moving body without mass
SKIN, BONE = "0.76 0.79 0.84 1", "0.4 0.45 0.55 1"  # rgba
BONE_RADIUS = 0.015  # [m]
SET_SEPARATOR = ":"  # between a keypoint set's name and the keypoint's, in a site's name
NAME_SEPARATOR = "|"  # between names of keypoints
EARTH = (0.0, 0.0, -9.81)  # [m/s^2]
TOUCH_GROUP = 3  # of the sites at contact points
SEAT_GROUP = 4  # of those that someone sits on
HOLD_GROUP = 5  # of those by which someone holds on
TOUCH_RADIUS = 0.01  # [m] sphere at a contact point


def to_mjcf(
    skeleton: Skeleton, *, contacts: bool = False, damping: float = 0.0, armature: float = 0.0, floor: float = 0.0
) -> str:
    """MJCF text of a skeleton.

    Bodies, joints (named as the coordinates) and inertias are the skeleton's own. Ellipsoids (each of its body's mass
    and inertia) and capsules are for looks only and touch nothing; ``contacts``: the contact points become small
    spheres that touch the floor z = ``floor`` [m]. ``damping`` [N.m.s/rad; N.s/m] and ``armature`` [kg.m^2; kg] are
    every joint's.
    Keypoints are sites named "set:keypoint", contact points sites named after themselves. MuJoCo orders bodies and
    joints depth first: ``physpose.conventions`` converts q, v, a, tau. Gravity is the skeleton's, else the earth's.
    """
    root = ET.Element("mujoco", model=skeleton.name)
    _add(root, "compiler", angle="radian", inertiafromgeom="false", autolimits="false")
    gravity = EARTH if skeleton.gravity is None else skeleton.gravity
    _add(root, "option", gravity=_text(gravity), timestep="0.001", integrator="implicitfast")
    _defaults(root, damping, armature)
    _surroundings(root)
    world = _add(root, "worldbody")
    _add(world, "light", pos="0 0 4", dir="0 0 -1", directional="true")
    ground = {"contype": "1", "conaffinity": "1"} if contacts else {}
    ground |= {"pos": _text([0, 0, floor])} if floor else {}
    _add(world, "geom", name="floor", type="plane", size="0 0 0.1", material="floor", **ground)
    elements: dict[str | None, ET.Element] = {None: world}
    for body in skeleton.bodies:
        elements[body.name] = _body(elements[body.parent], _standing(body, skeleton), _children(skeleton, body))
    _sites(elements, skeleton, contacts)
    _keypoint_order(root, skeleton)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def save_mjcf(skeleton: Skeleton, path: str | Path, *, contacts: bool = False) -> Path:
    """Write ``to_mjcf`` to ``path`` at once: a reader never sees half a file."""
    path = Path(path)
    if path.suffix.lower() not in {".xml", ".mjcf"}:
        raise InputError(f"{path.name}: MJCF files end in .xml or .mjcf")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(to_mjcf(skeleton, contacts=contacts), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _defaults(root: ET.Element, damping: float, armature: float) -> None:
    default = _add(root, "default")
    _add(default, "joint", damping=_text([damping]), armature=_text([armature]))
    _add(default, "geom", contype="0", conaffinity="0", rgba=BONE)
    _add(default, "site", size="0.008", group="4", rgba="0.9 0.3 0.2 1")


def _surroundings(root: ET.Element) -> None:
    visual = _add(root, "visual")
    _add(visual, "headlight", ambient="0.45 0.45 0.45", diffuse="0.5 0.5 0.5", specular="0.1 0.1 0.1")
    _add(visual, "rgba", haze="0.8 0.85 0.91 1")
    _add(visual, "global", offwidth="1920", offheight="1080")
    asset = _add(root, "asset")
    colors = {"rgb1": "0.86 0.88 0.9", "rgb2": "0.8 0.82 0.85"}
    sky = {"rgb1": "0.93 0.95 0.98", "rgb2": "0.68 0.75 0.85"}
    _add(asset, "texture", name="sky", type="skybox", builtin="gradient", width="256", height="256", **sky)
    _add(asset, "texture", name="floor", type="2d", builtin="checker", width="256", height="256", **colors)
    _add(asset, "material", name="floor", texture="floor", texuniform="true", texrepeat="1 1")


def _standing(body: Body, skeleton: Skeleton) -> Body:
    """A free body where it is in the neutral pose: there it starts, and is read back."""
    if body.joint.kind != "free":
        return body
    from scipy.spatial.transform import Rotation

    q = skeleton.neutral
    joint = replace(body.joint, translation=q[:3], rotation=Rotation.from_quat(q[3:7]).as_matrix())
    return replace(body, joint=joint)


def _body(parent: ET.Element, body: Body, children: list[Body]) -> ET.Element:
    place = {"pos": _text(body.joint.translation), "quat": _text(_wxyz(body.joint.rotation))}
    element = _add(parent, "body", name=body.name, **place)
    if body.joint.kind == "free":
        _add(element, "freejoint", name=body.joint.name)
    elif body.joint.kind == "ball":
        _add(element, "joint", name=body.joint.name, type="ball")
    for coordinate in body.joint.coordinates if body.joint.kind == "chain" else ():
        _add(element, "joint", **_joint(coordinate))
    _inertial(element, body)
    for child in children:
        _bone(element, np.asarray(child.joint.translation, float))
    _flesh(element, body)
    return element


def _joint(c: Coordinate) -> dict[str, str]:
    attributes = {"name": c.name, "type": c.kind, "axis": _text(c.axis)}
    if np.isfinite(c.range).all():
        attributes |= {"range": _text(c.range), "limited": "true"}
    return attributes


def _inertial(element: ET.Element, body: Body) -> None:
    mass, inertia = body.mass, np.asarray(body.inertia, float)
    if mass == 0:
        mass, inertia = TINY_MASS, TINY_MASS * np.eye(3)
    full = inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]  # xx yy zz xy xz yz
    _add(element, "inertial", pos=_text(body.com), mass=_text([mass]), fullinertia=_text(full))


def _bone(element: ET.Element, end: Array) -> None:
    """A thin capsule from the body's origin to a child's."""
    if np.linalg.norm(end) > 0.01:
        _add(element, "geom", type="capsule", fromto=_text([0, 0, 0, *end]), size=_text([BONE_RADIUS]))


def _flesh(element: ET.Element, body: Body) -> None:
    """What one sees is what moves."""
    shape = equal_ellipsoid(body)
    if shape is not None:
        radii, R = shape
        _add(element, "geom", pos=_text(body.com), rgba=SKIN, type="ellipsoid", size=_text(radii), quat=_text(_wxyz(R)))


def equal_ellipsoid(body: Body) -> tuple[Array, Array] | None:
    """Radii (3,) [m] and R_body_ellipsoid of the homogeneous ellipsoid with the body's mass and inertia, if any has."""
    moments, axes = np.linalg.eigh(np.asarray(body.inertia, float))
    # I_x = m (b^2 + c^2) / 5, so a^2 = 5 (I_y + I_z - I_x) / (2 m)
    squared = 2.5 * (moments.sum() - 2 * moments) / max(body.mass, TINY_MASS)
    if body.mass == 0 or squared.min() <= 0:
        return None
    return np.sqrt(squared), axes * np.sign(np.linalg.det(axes))


def _sites(elements: dict[str | None, ET.Element], skeleton: Skeleton, contacts: bool) -> None:
    for name, keypoint_set in skeleton.keypoint_sets.items():
        for p in keypoint_set.points:
            _add(elements[p.body], "site", name=f"{name}{SET_SEPARATOR}{p.name}", pos=_text(p.offset))
    for p in skeleton.contact_points:
        _add(elements[p.body], "site", name=p.name, pos=_text(p.offset), group=str(TOUCH_GROUP))
        if contacts:
            sphere = {"type": "sphere", "size": _text([TOUCH_RADIUS]), "contype": "1", "rgba": SKIN}
            _add(elements[p.body], "geom", name=p.name, pos=_text(p.offset), **sphere)
    for group, points in ((SEAT_GROUP, skeleton.seat_points), (HOLD_GROUP, skeleton.hold_points)):
        for p in points:
            _add(elements[p.body], "site", name=p.name, pos=_text(p.offset), group=str(group))


def _keypoint_order(root: ET.Element, skeleton: Skeleton) -> None:
    """Sites follow the bodies; the order of the keypoints and their spread are kept aside, for ``read_mjcf``."""
    custom = _add(root, "custom")
    for name, keypoint_set in skeleton.keypoint_sets.items():
        _add(custom, "text", name=name, data=NAME_SEPARATOR.join(keypoint_set.names))
        _add(custom, "numeric", name=name, data=_text(keypoint_set.sigma))


def _children(skeleton: Skeleton, body: Body) -> list[Body]:
    return [b for b in skeleton.bodies if b.parent == body.name]


def _wxyz(R: Array) -> Array:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(R).as_quat(scalar_first=True)


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _text(values: Iterable[float] | Array) -> str:
    """Numbers with all their digits: masses and lengths survive the file exactly."""
    return " ".join(repr(float(x)) for x in values)
