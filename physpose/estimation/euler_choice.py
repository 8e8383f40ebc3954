"""Three angles about axes at right angles tell each attitude twice: (a, b, c) and (a + pi, pi - b, c + pi).

Poses found frame by frame may take either, so that a raised arm's angles jump while the arm does not.
"""

from __future__ import annotations

import numpy as np

from physpose.chain import KinematicChain
from physpose.types import Array

ORTHOGONAL = 1e-6


def continuous_angles(chain: KinematicChain, q: Array) -> Array:
    """The same poses (T, nq) with each such joint's angles as near as can be to those of the frame before.

    The first frame takes the angles that violate their ranges least.
    """
    if chain.expansion is not None:
        return q
    q, limits, first = q.copy(), chain.limits.numpy(), chain.nq - len(chain.coordinate_names)
    for k in _triples(chain):
        columns = slice(first + k, first + k + 3)
        q[:, columns] = _continued(q[:, columns], limits[k : k + 3])
    return q


def within_ranges(chain: KinematicChain, q: Array) -> tuple[Array, Array]:
    """Sign and offset (T, n) that tell poses (T, nq) by angles which violate their ranges least.

    Angles that go on without a jump leave the ranges of a joint that passes overhead, though the attitude is one that
    it can have: ``sign * angles + offset`` tells it so.
    """
    angles = q[:, chain.nq - len(chain.coordinate_names) :]
    sign, offset = np.ones_like(angles), np.zeros_like(angles)
    if chain.expansion is not None:
        return sign, offset
    for k in _triples(chain):
        x, limits = angles[:, k : k + 3], chain.limits.numpy()[k : k + 3]
        other = np.array([1.0, -1.0, 1.0])
        both = np.stack([x, x * other + np.pi])
        turns = -2 * np.pi * np.round((both - limits.mean(1)) / (2 * np.pi))
        beyond = np.maximum(both + turns - limits[:, 1], 0) + np.maximum(limits[:, 0] - both - turns, 0)
        turned = (beyond.sum(-1).argmin(0) == 1)[:, None]
        sign[:, k : k + 3] = np.where(turned, other, 1.0)
        offset[:, k : k + 3] = np.where(turned, np.pi + turns[1], turns[0])
    return sign, offset


def _triples(chain: KinematicChain) -> list[int]:
    """First coordinates of joints that turn about three axes at right angles."""
    found, k = [], 0
    for joint in chain.skeleton.joints:
        c = joint.coordinates
        if joint.kind == "chain" and len(c) == 3 and all(x.kind == "hinge" for x in c):
            axes = np.stack([x.axis for x in c])
            if np.abs(axes @ axes.T - np.eye(3)).max() < ORTHOGONAL:
                found.append(k)
        k += len(c)
    return found


def _continued(angles: Array, limits: Array) -> Array:
    out = angles.copy()
    for t in range(len(out)):
        both = np.stack([out[t], out[t] * [1, -1, 1] + np.pi])
        if t == 0:
            both = (both + np.pi) % (2 * np.pi) - np.pi
            beyond = np.maximum(both - limits[:, 1], 0) + np.maximum(limits[:, 0] - both, 0)
            out[t] = both[np.argmin(beyond.sum(1))]
        else:
            both += 2 * np.pi * np.round((out[t - 1] - both) / (2 * np.pi))
            out[t] = both[np.argmin(np.abs(both - out[t - 1]).sum(1))]
    return out
