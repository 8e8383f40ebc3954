"""Biovision hierarchies, .bvh: a skeleton of ball joints and its motion.

A .bvh has y up and, as its makers draw it, the figure facing +z with its left at +x: (x, y, z)_bvh = (y, z, x)_world.
At zero rotation all its bodies' axes are the laboratory's. It has no masses, and lengths in a unit that it does not
name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from physpose.conventions import R_BVH_ZUP, R_ZUP_LAB
from physpose.errors import InputError, UnknownNameError
from physpose.io.tables import read_lines, replace_file
from physpose.skeleton.model import Body, Coordinate, Joint, Skeleton
from physpose.types import Array, Assumption

ROTATION = {"xrotation": "X", "yrotation": "Y", "zrotation": "Z"}
POSITION = {"xposition": 0, "yposition": 1, "zposition": 2}
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
PERSON = (1.0, 2.3)  # [m] rest pose, head to foot, arms perhaps spread: narrow, so that inches do not pass for cm
STRETCH = 1e-4  # of a bone's length: position channels of inner joints that vary more change the bone


@dataclass(frozen=True, kw_only=True)
class BvhMotion:
    """A .bvh file: its hierarchy as a skeleton without masses, and its motion."""

    skeleton: Skeleton  # bodies are the file's joints
    time: Array  # (T,) [s]
    q: Array  # (T, nq)
    ends: Mapping[str, Array]  # body -> (3,) [m], its end site in the body's frame
    source: str


@dataclass
class _Node:
    name: str
    parent: int
    line: int
    offset: Array = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()
    first: int = 0  # column of its first channel
    end: Array | None = None


def read_bvh(path: str | Path, scale: float | None = None, up: str = "y") -> BvhMotion:
    """Read a .bvh file.

    Args:
        path: the file.
        scale: metres a unit of length, e.g. 0.01, or 0.056444 for CMU's ASF units; None: m, cm or mm, whichever makes
            the rest pose a person's size.
        up: "y" or "z", the file's vertical axis.

    Returns:
        Ball joints where the file has three rotations, hinges ("NAME_x") where it has one or two, a free-flyer at the
        root. Position channels replace the joint's offset, as Blender takes them.

    Raises:
        InputError: no such file, not a .bvh file, cut off, wrong counts, bones that change their length, or no unit
            that fits; the message names the line.
    """
    if up not in ("y", "z"):
        raise UnknownNameError("up axis", up, ("y", "z"))
    lines = read_lines(path)
    nodes, motion_at = _hierarchy(lines, path)
    time, values = _motion(lines, motion_at, sum(len(n.channels) for n in nodes), path)
    metres = _metres(nodes, path) if scale is None else float(scale)
    R_world_lab = R_BVH_ZUP.T if up == "y" else R_ZUP_LAB["+Z"]
    skeleton = _skeleton(nodes, values, metres, R_world_lab, scale is not None, path)
    return BvhMotion(
        skeleton=skeleton,
        time=time,
        q=np.concatenate(list(_columns(nodes, values, metres, R_world_lab)), 1),
        ends={b.name: metres * n.end for b, n in zip(skeleton.bodies, nodes, strict=True) if n.end is not None},
        source=str(path),
    )


# --- the text ---------------------------------------------------------------------------------------------------------


def _hierarchy(lines: Sequence[str], path: str | Path) -> tuple[list[_Node], int]:
    """The joints, parents first, and the index of the line "MOTION"."""
    if lines[0].strip().upper() != "HIERARCHY":
        raise InputError(f"{path} is no .bvh file: it does not start with 'HIERARCHY'")
    nodes: list[_Node] = []
    stack: list[tuple[int, bool]] = []  # joint, and whether inside its end site
    pending: tuple[int, bool] = (-1, False)
    columns = 0
    for i, line in enumerate(lines[1:], 2):
        words = line.replace("{", " { ").replace("}", " } ").split()
        if words[:1] == ["MOTION"]:
            if stack or not nodes:
                raise InputError(f"{path}, line {i}: MOTION comes before the hierarchy is closed; a '}}' is missing")
            return nodes, i - 1
        k = 0
        while k < len(words):
            word, where = words[k].upper(), f"{path}, line {i}"
            if word in ("ROOT", "JOINT"):
                if word == "ROOT" and nodes:
                    raise InputError(f"{where}: a second ROOT; one figure a file can be read")
                nodes.append(_Node(" ".join(words[k + 1 :]).replace("{", "").strip(), stack[-1][0] if stack else -1, i))
                pending, k = (len(nodes) - 1, False), len(words) - (1 if words[-1] == "{" else 0)
            elif word == "END":
                pending, k = (stack[-1][0] if stack else -1, True), k + 2
            elif word == "{":
                stack.append(pending)
                k += 1
            elif word == "}":
                if not stack:
                    raise InputError(f"{where}: a '}}' too many")
                stack.pop()
                k += 1
            elif word == "OFFSET" and stack:
                j, is_end = stack[-1]
                offset = _floats(words[k + 1 : k + 4], 3, where)
                if is_end:
                    nodes[j].end = offset
                else:
                    nodes[j].offset = offset
                k += 4
            elif word == "CHANNELS" and stack:
                count = int(_floats(words[k + 1 : k + 2], 1, where)[0])
                names = tuple(w.lower() for w in words[k + 2 : k + 2 + count])
                _check_channels(names, count, where)
                node = nodes[stack[-1][0]]
                node.channels, node.first = names, columns
                columns += count
                k += 2 + count
            else:
                raise InputError(f"{where}: {words[k]!r} was not expected in a hierarchy")
    raise InputError(f"{path}: there is no line 'MOTION'; the file was cut off")


def _check_channels(names: Sequence[str], count: int, where: str) -> None:
    if len(names) != count:
        raise InputError(f"{where}: {count} channels are announced, {len(names)} follow")
    for name in names:
        if name not in ROTATION and name not in POSITION:
            raise InputError(f"{where}: unknown channel {name!r}; known: Xposition, ..., Zrotation")


def _floats(words: Sequence[str], count: int, where: str) -> Array:
    try:
        numbers = np.array([float(w) for w in words])
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if len(numbers) != count:
        raise InputError(f"{where}: {count} numbers are needed, {len(numbers)} follow")
    return numbers


def _motion(lines: Sequence[str], at: int, width: int, path: str | Path) -> tuple[Array, Array]:
    """Times (T,) and channels (T, width), as many as the header says."""
    text = " ".join(lines[at + 1 : at + 3])
    match = re.search(r"Frames:\s*(\d+)\s+Frame Time:\s*([-+.\deE]+)", text, re.IGNORECASE)
    if match is None:
        raise InputError(f"{path}, line {at + 2}: 'Frames: N' and 'Frame Time: SECONDS' must follow MOTION")
    count, step = int(match[1]), float(match[2])
    if not step > 0:
        raise InputError(f"{path}, line {at + 3}: the frame time is {step:g} s")
    rows = [(i + 1, line.split()) for i, line in enumerate(lines) if i > at + 2 and line.strip()]
    for number, row in rows:
        if len(row) != width:
            raise InputError(f"{path}, line {number}: {len(row)} numbers for {width} channels (cut off?)")
    if len(rows) != count or not rows:
        raise InputError(
            f"{path}, line {at + 2}: 'Frames: {count}' but {len(rows)} rows follow: the file was cut off or the header "
            f"is wrong; if it is complete, write 'Frames: {len(rows)}'"
        )
    try:
        values = np.array([[float(x) for x in row] for _, row in rows])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return step * np.arange(count, dtype=np.float64), values


# --- the skeleton -----------------------------------------------------------------------------------------------------


def _metres(nodes: Sequence[_Node], path: str | Path) -> float:
    points: list[Array] = []
    for node in nodes:
        points.append(node.offset + points[node.parent] if node.parent >= 0 else np.zeros(3))
    points += [points[i] + node.end for i, node in enumerate(nodes) if node.end is not None]
    extent = float(np.ptp(np.array(points), axis=0).max())
    for metres in UNITS.values():
        if PERSON[0] <= metres * extent <= PERSON[1]:
            return metres
    raise InputError(
        f"{path}: the rest pose spans {extent:.4g} units, a person's size neither in m nor in cm "
        f"nor in mm: give scale= "
        f"in metres a unit (0.0254 for inches; a person of 1.7 m would need {1.7 / extent if extent else 1:.3g})"
    )


def _skeleton(
    nodes: Sequence[_Node], values: Array, metres: float, R_world_lab: Array, given: bool, path: str | Path
) -> Skeleton:
    names: list[str] = []
    for node in nodes:
        k, name = 1, "_".join(node.name.split()) or "joint"
        base = name
        while name in names:
            k, name = k + 1, f"{base}_{k + 1}"
        names.append(name)
    bodies = tuple(
        Body(
            name=name,
            parent=names[node.parent] if node.parent >= 0 else None,
            joint=_joint(name, node, values, metres, path),
            mass=0.0,
            com=np.zeros(3),
            inertia=np.zeros((3, 3)),
        )
        for name, node in zip(names, nodes, strict=True)
    )
    unit = Assumption(
        what="unit of length", value=f"{metres:g} m", source="given" if given else "size of the rest pose"
    )
    empty = np.zeros((1, values.shape[1]))
    return Skeleton(
        name=Path(path).stem,
        bodies=bodies,
        subject=None,
        keypoint_sets={},
        contact_points=(),
        scale_groups=(),
        neutral=np.concatenate(list(_columns(nodes, empty, metres, R_world_lab)), 1)[0],
        assumptions=(unit,),
    )


def _joint(name: str, node: _Node, values: Array, metres: float, path: str | Path) -> Joint:
    if node.parent < 0:
        return Joint(name=name, kind="free")
    axes = [ROTATION[c] for c in node.channels if c in ROTATION]
    offset = metres * _inner_offset(node, values, path)
    if len(axes) == 3:
        return Joint(name=name, kind="ball", translation=offset)
    coordinates = tuple(
        Coordinate(name=f"{name}_{a.lower()}", axis=np.eye(3)["XYZ".index(a)], range=(-np.pi, np.pi), source="none")
        for a in axes
    )
    return Joint(name=name, kind="chain" if axes else "fixed", coordinates=coordinates, translation=offset)


def _inner_offset(node: _Node, values: Array, path: str | Path) -> Array:
    """The offset in the parent, from the position channels where an inner joint has them."""
    offset = node.offset.copy()
    for k, channel in enumerate(node.channels):
        if channel in POSITION:
            column = values[:, node.first + k]
            if np.ptp(column) > STRETCH * max(float(np.linalg.norm(node.offset)), 1e-9):
                raise InputError(
                    f"{path}, line {node.line}: the position of the inner joint {node.name!r} varies by "
                    f"{np.ptp(column):.3g} units: its bone has no constant length; export rotations only"
                )
            offset[POSITION[channel]] = column[0]
    return offset


def _columns(nodes: Sequence[_Node], values: Array, metres: float, R_world_lab: Array) -> Iterator[Array]:
    """q of joint after joint, each (T, nq of the joint)."""
    from scipy.spatial.transform import Rotation

    for node in nodes:
        axes = "".join(ROTATION[c] for c in node.channels if c in ROTATION)
        angles = np.deg2rad(values[:, [node.first + k for k, c in enumerate(node.channels) if c in ROTATION]])
        if node.parent >= 0 and len(axes) < 3:
            yield angles
            continue
        R = Rotation.from_euler(axes, angles) if axes else Rotation.from_matrix(np.tile(np.eye(3), (len(values), 1, 1)))
        if node.parent < 0:
            position = np.tile(node.offset, (len(values), 1))
            for k, channel in enumerate(node.channels):
                if channel in POSITION:
                    position[:, POSITION[channel]] = values[:, node.first + k]
            yield metres * position @ R_world_lab.T
            R = Rotation.from_matrix(R_world_lab) * R
        yield _continuous(R.as_quat())


def _continuous(quat: Array) -> Array:
    """Quaternions (T, 4) that keep their sign from frame to frame."""
    flips = np.where((quat[1:] * quat[:-1]).sum(1) < 0, -1.0, 1.0)
    return np.concatenate([quat[:1], quat[1:] * np.cumprod(flips)[:, None]])


# --- writing ----------------------------------------------------------------------------------------------------------


def write_bvh(
    path: str | Path,
    skeleton: Skeleton,
    time: Array,
    positions: Array,
    rotations: Array,
    *,
    ends: Mapping[str, Array] | None = None,
    scale: float = 0.01,
    order: str = "ZXY",
) -> Path:
    """Write a motion as .bvh, y up, facing +z where the world's motion faces +x: what Blender reads.

    Args:
        path: file to write.
        skeleton: parents before children.
        time: (T,) [s]; uneven times are resampled at their mean rate, since the format has one frame time.
        positions: (T, n_bodies, 3) [m], body origins, world; rotations: (T, n_bodies, 3, 3), R_world_body.
        ends: body -> (3,) [m] where bodies without children end, body frame; default: nowhere, of no length.
        scale: metres a unit of length; 0.01 writes centimetres.
        order: of the rotation channels, e.g. "ZXY".

    Raises:
        InputError: an order that is none, more than one root, or shapes that do not fit.
    """
    if sorted(order) != ["X", "Y", "Z"]:
        raise InputError(f"order {order!r}: the three letters X, Y, Z in any order are needed")
    roots = [b.name for b in skeleton.bodies if b.parent is None]
    if len(roots) != 1 or positions.shape[:2] != (len(time), len(skeleton.bodies)):
        raise InputError(f"{path}: one root and positions (T, n_bodies, 3) are needed; roots: {', '.join(roots)}")
    rest = _rest(skeleton)
    time, local_p, local_R = _even(np.asarray(time, float), *_local(skeleton, positions, rotations, rest))
    moving = [b.parent is None or np.ptp(local_p[:, i], 0).max() > 1e-9 for i, b in enumerate(skeleton.bodies)]
    text: list[str] = ["HIERARCHY"]
    order_of_rows = _write_joint(
        skeleton, roots[0], 0, local_p[0] / scale, moving, rest, ends or {}, scale, order, text
    )
    step = (time[-1] - time[0]) / (len(time) - 1) if len(time) > 1 else 1.0
    text += ["MOTION", f"Frames: {len(time)}", f"Frame Time: {step:.12g}"]
    columns = [_channels(local_p[:, i] / scale, local_R[:, i], moving[i], order) for i in order_of_rows]
    text += [" ".join(FINE % x for x in row) for row in np.concatenate(columns, 1)]
    return replace_file(path, "\n".join(text) + "\n")


FINE = "%.14g"  # angles that come back to 1e-9 rad


def _rest(skeleton: Skeleton) -> Array:
    """(n_bodies, 3, 3): turns a body's frame into the .bvh's, which at rest has the laboratory's axes.

    R_lab_bvhbody = R_BVH_ZUP @ R_world_body @ rest[i], identity when the root stands as in ``neutral``, all else at
    zero.
    """
    from scipy.spatial.transform import Rotation

    free = skeleton.bodies[0].joint.kind == "free"
    root = Rotation.from_quat(skeleton.neutral[3:7]).as_matrix() if free else np.eye(3)
    world = np.empty((len(skeleton.bodies), 3, 3))
    for i, body in enumerate(skeleton.bodies):
        R = body.joint.rotation
        world[i] = R @ root if body.parent is None else world[skeleton.body_index(body.parent)] @ R
    return np.asarray((R_BVH_ZUP @ world).transpose(0, 2, 1))


def _local(skeleton: Skeleton, positions: Array, rotations: Array, rest: Array) -> tuple[Array, Array]:
    """Position (T, n, 3) [m] and rotation (T, n, 3, 3) of each body in its parent's .bvh frame."""
    R = R_BVH_ZUP @ rotations @ rest
    p = positions @ R_BVH_ZUP.T
    local_p, local_R = p.copy(), R.copy()
    for i, body in enumerate(skeleton.bodies):
        if body.parent is not None:
            j = skeleton.body_index(body.parent)
            local_p[:, i] = np.einsum("tji,tj->ti", R[:, j], p[:, i] - p[:, j])
            local_R[:, i] = R[:, j].transpose(0, 2, 1) @ R[:, i]
    return local_p, local_R


def _write_joint(
    skeleton: Skeleton, name: str, depth: int, offsets: Array, moving: Sequence[bool], rest: Array,
    ends: Mapping[str, Array], scale: float, order: str, text: list[str],
) -> list[int]:  # fmt: skip
    """Append a joint and all below it; returns body indices in the order of the channels."""
    i, tab = skeleton.body_index(name), "\t" * depth
    offset = np.zeros(3) if depth == 0 else offsets[i]
    channels = [*(["Xposition", "Yposition", "Zposition"] if moving[i] else []), *(f"{a}rotation" for a in order)]
    text += [f"{tab}{'JOINT' if depth else 'ROOT'} {name}", f"{tab}{{", f"{tab}\tOFFSET {_three(offset)}"]
    text.append(f"{tab}\tCHANNELS {len(channels)} {' '.join(channels)}")
    written = [i]
    children = [b.name for b in skeleton.bodies if b.parent == name]
    for child in children:
        written += _write_joint(skeleton, child, depth + 1, offsets, moving, rest, ends, scale, order, text)
    if not children:
        end = rest[i].T @ np.asarray(ends.get(name, np.zeros(3)), float) / scale
        text += [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET {_three(end)}", f"{tab}\t}}"]
    text.append(f"{tab}}}")
    return written


def _three(x: Array) -> str:
    return " ".join(FINE % v for v in x)


def _channels(p: Array, R: Array, moving: bool, order: str) -> Array:
    import warnings

    from scipy.spatial.transform import Rotation

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gimbal lock")  # any of the equal triples will do
        angles = Rotation.from_matrix(R).as_euler(cast(Any, order))
    angles = np.rad2deg(np.unwrap(angles, axis=0))
    return np.concatenate([p, angles], 1) if moving else angles


def _even(time: Array, positions: Array, rotations: Array) -> tuple[Array, Array, Array]:
    """The same at equally spaced times; of poses in the parents' frames, so that bones keep their length."""
    from scipy.spatial.transform import Rotation, Slerp

    steps = np.diff(time)
    if len(steps) < 2 or np.ptp(steps) <= 1e-6 * steps.mean():
        return time, positions, rotations
    even = np.linspace(time[0], time[-1], len(time))
    flat = positions.reshape(len(time), -1)
    p = np.stack([np.interp(even, time, x) for x in flat.T], 1).reshape(positions.shape)
    R = np.stack([Slerp(time, Rotation.from_matrix(r))(even).as_matrix() for r in rotations.transpose(1, 0, 2, 3)], 1)
    return even, p, R
