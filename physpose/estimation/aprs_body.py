"""What a keypoint set's name alone tells of the body: rigid bones, hinges, mirrored bones, shares of the mass."""

from __future__ import annotations

from functools import lru_cache
from math import pi, radians

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.skeleton.model import Skeleton
from physpose.types import Array

_SIDED_BONES = (
    "shoulder elbow", "elbow wrist", "hip knee", "knee ankle", "ankle heel", "ankle big_toe", "heel big_toe",
    "big_toe small_toe", "wrist index", "wrist pinky", "index pinky", "nose eye", "eye ear", "nose ear",
)  # fmt: skip
_MIDDLE_BONES = ("hip_r hip_l", "shoulder_r shoulder_l", "eye_r eye_l", "ear_r ear_l", "mouth_r mouth_l")
# flexion reaches about 154 (knee) and 157 degrees (elbow), skeletons/: the angle between the bones is the rest to 180
_HINGES = {"hip knee ankle": (radians(20.0), pi), "shoulder elbow wrist": (radians(15.0), pi)}
_POSES = 300  # random poses from which the shares of the mass are found


def bones(keypoint_set: str) -> NDArray[np.intp]:
    """(E, 2) keypoint indices of the bones that keep their length; the trunk, which bends, is none."""
    at = _index(keypoint_set)
    pairs = [pair.split() for pair in _MIDDLE_BONES]
    pairs += [[_on(part, side) for part in pair.split()] for pair in _SIDED_BONES for side in "rl"]
    return np.array([[at[a], at[b]] for a, b in pairs if a in at and b in at], dtype=np.intp).reshape(-1, 2)


def hinges(keypoint_set: str) -> tuple[NDArray[np.intp], Array]:
    """(N, 3) keypoint indices at knees and elbows, and (N, 2) [rad] the range of the angle between the bones."""
    at, triplets, ranges = _index(keypoint_set), [], []
    for names, span in _HINGES.items():
        for side in "rl":
            marks = [_on(part, side) for part in names.split()]
            if all(m in at for m in marks):
                triplets.append([at[m] for m in marks])
                ranges.append(span)
    return np.array(triplets, dtype=np.intp).reshape(-1, 3), np.array(ranges).reshape(-1, 2)


def mirrored(keypoint_set: str, edges: NDArray[np.intp]) -> NDArray[np.intp]:
    """(N, 2) pairs of ``edges`` (left, right) that are each other's mirror image."""
    marks = keypoint_landmarks(keypoint_set)
    ends = [frozenset((marks[a], marks[b])) for a, b in edges]
    other = [frozenset(_mirror(m) for m in e) for e in ends]
    found = [(i, ends.index(o)) for i, o in enumerate(other) if o in ends and o != ends[i]]
    return np.array([f for f in found if _is_left(marks, edges[f[0]])], dtype=np.intp).reshape(-1, 2)


def mass_shares(skeleton: Skeleton, keypoint_set: str) -> Array:
    """(K,) shares, zero or more and summing to one, with which the keypoints make the body's centre of mass.

    Least squares over random poses within the joints' ranges.
    """
    return np.array(_mass_shares(KinematicChain(skeleton), keypoint_set))


@lru_cache(maxsize=8)
def _mass_shares(chain: KinematicChain, keypoint_set: str) -> tuple[float, ...]:
    rng = np.random.default_rng(0)
    low, high = chain.limits.double().numpy().T
    q = np.tile(chain.skeleton.neutral, (_POSES, 1))
    q[:, 7:] = q[:, 7:] + rng.random((_POSES, len(low))) * (0.5 * (low + high) - q[:, 7:])  # neutral to mid-range
    Q = torch.as_tensor(q)
    com, p = dynamics.center_of_mass(chain, Q).numpy(), chain.keypoints(Q, keypoint_set).numpy()
    A = p.transpose(0, 2, 1).reshape(-1, p.shape[1])
    one = 1e3 * np.ones((1, A.shape[1]))  # shares sum to one: no matter where the world's origin is
    x, _ = nnls(np.vstack([A, one]), np.append(com.reshape(-1), 1e3))
    return tuple(x / x.sum())


def _index(keypoint_set: str) -> dict[str, int]:
    return {m: i for i, m in reversed(list(enumerate(keypoint_landmarks(keypoint_set))))}


def _on(part: str, side: str) -> str:
    return part if part == "nose" else f"{part}_{side}"


def _mirror(mark: str) -> str:
    return {"_r": mark[:-2] + "_l", "_l": mark[:-2] + "_r"}.get(mark[-2:], mark)


def _is_left(marks: tuple[str, ...], edge: Array) -> bool:
    return any(marks[i].endswith("_l") for i in edge)
