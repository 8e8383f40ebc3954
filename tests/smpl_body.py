"""A made-up body in the format of SMPL's files: arrays of the same names and shapes, none of anybody's data.

A person in T-pose of capsules, taken together on a grid of voxels into one closed and smoothed surface; fingers, jaw
and eyes are ellipsoids apart. The model's own axes: y up, z forward, x to the left.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import smplx.joint_names
import trimesh
from scipy.sparse import csr_matrix

VOXEL = 0.02  # [m]
BLEND = 0.02  # [m] over which the skin passes from one bone to the next
N_BETAS = 10
JOINTS = {  # left side and middle [m]
    "pelvis": (0, -0.24, 0), "left_hip": (0.09, -0.32, 0), "spine1": (0, -0.12, -0.02), "left_knee": (0.1, -0.7, 0),
    "spine2": (0, 0.02, -0.02), "left_ankle": (0.1, -1.1, -0.03), "spine3": (0, 0.09, -0.02),
    "left_foot": (0.11, -1.16, 0.1), "neck": (0, 0.28, -0.03), "left_collar": (0.08, 0.2, -0.03),
    "head": (0, 0.37, 0), "left_shoulder": (0.18, 0.21, -0.03), "left_elbow": (0.44, 0.2, -0.04),
    "left_wrist": (0.69, 0.21, -0.04), "left_hand": (0.77, 0.2, -0.05), "jaw": (0, 0.38, 0.06),
    "left_eye_smplhf": (0.03, 0.45, 0.1),
}  # fmt: skip
PARENTS = {
    "left_hip": "pelvis", "spine1": "pelvis", "left_knee": "left_hip", "spine2": "spine1", "left_ankle": "left_knee",
    "spine3": "spine2", "left_foot": "left_ankle", "neck": "spine3", "left_collar": "spine3", "head": "neck",
    "left_shoulder": "left_collar", "left_elbow": "left_shoulder", "left_wrist": "left_elbow",
    "left_hand": "left_wrist", "jaw": "head", "left_eye_smplhf": "head",
}  # fmt: skip
CAPSULES = {  # ends and radius [m]
    "pelvis": ((-0.07, -0.26, 0), (0.07, -0.26, 0), 0.11), "spine1": ((-0.06, -0.1, 0), (0.06, -0.1, 0), 0.105),
    "spine2": ((-0.07, 0.02, 0), (0.07, 0.02, 0), 0.105), "spine3": ((-0.09, 0.15, 0), (0.09, 0.15, 0), 0.11),
    "neck": ((0, 0.28, -0.02), (0, 0.37, 0), 0.055), "head": ((0, 0.43, 0.01), (0, 0.48, 0.01), 0.09),
    "left_collar": ((0.08, 0.2, -0.02), (0.17, 0.21, -0.02), 0.07),
    "left_hip": ((0.09, -0.34, 0), (0.1, -0.7, 0), 0.075), "left_knee": ((0.1, -0.7, 0), (0.1, -1.08, -0.02), 0.052),
    "left_ankle": ((0.1, -1.14, -0.07), (0.11, -1.15, 0.09), 0.042),
    "left_foot": ((0.11, -1.155, 0.11), (0.11, -1.16, 0.16), 0.036),
    "left_shoulder": ((0.19, 0.21, -0.03), (0.44, 0.2, -0.04), 0.048),
    "left_elbow": ((0.44, 0.2, -0.04), (0.68, 0.21, -0.04), 0.04),
    "left_wrist": ((0.7, 0.21, -0.04), (0.76, 0.2, -0.05), 0.036),
    "left_hand": ((0.78, 0.2, -0.05), (0.85, 0.2, -0.05), 0.03),
}  # fmt: skip
MIRROR = np.array([-1.0, 1, 1])


def names(family: str) -> list[str]:
    body = smplx.joint_names.SMPLH_JOINT_NAMES[:22]
    if family == "smpl":
        return [*body, "left_hand", "right_hand"]
    return smplx.joint_names.JOINT_NAMES[:55] if family == "smplx" else smplx.joint_names.SMPLH_JOINT_NAMES[:52]


def both_sides(table, flip=lambda x: np.asarray(x) * MIRROR):
    right = {n.replace("left_", "right_"): flip(x) for n, x in table.items() if n.startswith("left_")}
    return {**table, **right}


def joint_position(name: str) -> np.ndarray:
    at = both_sides(JOINTS)
    if name in at:
        return np.asarray(at[name], float)
    side, finger = name.split("_")  # e.g. left_index2
    row, k = ["index", "middle", "pinky", "ring", "thumb"].index(finger[:-1]), int(finger[-1])
    left = np.array([0.79 + 0.025 * k, 0.2, -0.09 + 0.022 * row])
    return left if side == "left" else left * MIRROR


def parent(name: str) -> str | None:
    mirrored = name.replace("right_", "left_")
    if mirrored in PARENTS:
        found = PARENTS[mirrored]
        return found.replace("left_", "right_") if name.startswith("right_") else found
    if name == "pelvis":
        return None
    k = int(name[-1])
    return f"{name[:-1]}{k - 1}" if k > 1 else name.split("_")[0] + "_wrist"


@cache
def arrays(family: str = "smpl", seed: int = 0) -> dict[str, np.ndarray]:
    """What a model file holds, by its keys."""
    rng = np.random.default_rng(seed)
    joints = names(family)
    vertices, faces, weights = surface(family)
    at = np.array([joint_position(n) for n in joints])
    parents = np.array([joints.index(parent(n)) if parent(n) else 2**32 - 1 for n in joints], np.uint32)
    out = {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(len(joints), dtype=np.uint32)]),
        "J_regressor": np.stack([regressor(p, vertices) for p in at]),
        "shapedirs": shape_directions(vertices, rng, 2 * N_BETAS if family == "smplx" else N_BETAS),
        "posedirs": np.zeros((len(vertices), 3, 9 * (len(joints) - 1)), np.float32),
    }
    if family != "smpl":
        out |= {f"hands_components{s}": np.eye(45) for s in "lr"}
        out |= {f"hands_mean{s}": rng.normal(scale=0.2, size=45) for s in "lr"}
    if family == "smplx":
        out |= {"lmk_faces_idx": np.zeros(51, int), "lmk_bary_coords": np.ones((51, 3)) / 3}
    return out


def save(path: Path, family: str = "smpl", **changes) -> Path:
    """A model file; ``changes`` replace arrays, None leaves one out."""
    held = {k: v for k, v in {**arrays(family), **changes}.items() if v is not None}
    np.savez(path, **held)
    return path


def surface(family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces, skinning weights."""
    joints = names(family)
    capsules = both_sides(CAPSULES, lambda c: (np.asarray(c[0]) * MIRROR, np.asarray(c[1]) * MIRROR, c[2]))
    capsules = {n: c for n, c in capsules.items() if n in joints}
    vertices, faces = voxel_surface(list(capsules.values()))
    weights = np.zeros((len(vertices), len(joints)))
    for name, capsule in capsules.items():
        weights[:, joints.index(name)] = np.exp(-distance(vertices, *capsule) / BLEND)
    weights[weights < np.sort(weights, 1)[:, -4:-3]] = 0
    weights /= weights.sum(1, keepdims=True)
    parts = [(vertices, faces, weights)]
    for name in joints:
        if name not in capsules:
            parts.append(ellipsoid(joints.index(name), len(joints), joint_position(name)))
    first = np.cumsum([0, *(len(p[0]) for p in parts)])
    return (
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] + i for p, i in zip(parts, first, strict=False)]),
        np.concatenate([p[2] for p in parts]),
    )


def ellipsoid(index: int, n: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(subdivisions=1)
    weights = np.zeros((len(ball.vertices), n))
    weights[:, index] = 1
    return ball.vertices * [0.012, 0.009, 0.01] + at, np.asarray(ball.faces), weights


def distance(points: np.ndarray, a, b, radius: float) -> np.ndarray:
    """To a capsule's surface, negative inside."""
    a, d = np.asarray(a, float), np.subtract(b, a, dtype=float)
    s = np.clip((points - a) @ d / (d @ d), 0, 1)
    return np.linalg.norm(points - a - s[..., None] * d, axis=-1) - radius


def voxel_surface(capsules) -> tuple[np.ndarray, np.ndarray]:
    """One closed surface about all capsules: the outer faces of the voxels inside, smoothed."""
    low, high = np.array([-1.0, -1.3, -0.3]), np.array([1.0, 0.7, 0.35])
    n = np.round((high - low) / VOXEL).astype(int)
    centres = low + VOXEL * (np.stack(np.meshgrid(*map(np.arange, n), indexing="ij"), -1) + 0.5)
    inside = np.min([distance(centres, *c) for c in capsules], 0) < 0
    quads = []
    for axis in range(3):
        ring = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
        square = np.array([[0, 0, 0], ring[0], ring[0] + ring[1], ring[1]])
        for step in (-1, 1):
            open_side = inside & ~np.roll(inside, -step, axis)
            corner = np.argwhere(open_side) + (np.eye(3, dtype=int)[axis] if step > 0 else 0)
            quads.append(corner[:, None] + (square if step > 0 else square[::-1]))
    corners, index = np.unique(np.concatenate(quads).reshape(-1, 3), axis=0, return_inverse=True)
    quad = index.reshape(-1, 4)
    faces = np.concatenate([quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]])
    return smoothed(low + VOXEL * corners, faces), faces


def smoothed(vertices: np.ndarray, faces: np.ndarray, steps: int = 12) -> np.ndarray:
    """Taubin's smoothing, which does not shrink."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    A = csr_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    A = ((A + A.T) > 0).astype(float)
    degree = np.asarray(A.sum(1))
    for _ in range(steps):
        for step in (0.5, -0.52):
            vertices = vertices + step * (A @ vertices / degree - vertices)
    return vertices


def regressor(at: np.ndarray, vertices: np.ndarray, n: int = 40) -> np.ndarray:
    """Weights of the nearest vertices, of sum one, whose mean is ``at``."""
    near = np.argsort(np.linalg.norm(vertices - at, axis=1))[:n]
    A = np.vstack([vertices[near].T, np.ones(n)])
    row = np.zeros(len(vertices))
    row[near] = np.linalg.lstsq(A, np.append(at, 1.0), rcond=None)[0]
    return row


def shape_directions(vertices: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """The first makes the body taller as a whole, the others bend and widen it smoothly."""
    out = [0.035 * vertices]
    for _ in range(n - 1):
        A, B, phase = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.uniform(0, 6, 3)
        out.append(0.01 * vertices @ A + 0.002 * np.sin(3 * vertices @ B + phase))
    return np.stack(out, -1)
