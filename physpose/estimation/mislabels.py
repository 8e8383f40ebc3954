"""Markers that carry each other's label for a while, and markers that are somewhere else altogether."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from physpose.types import Array

CLEAR_GAIN = 50.0  # fall in squared distance, in variances, from which two labels are taken to be exchanged
WILD = 6.0  # standard deviations
LEAST_WILD = 0.03  # [m]: nearer markers may be off, but not lost


def find_swaps(expected: Array, measured: Array, sigma: Array) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Pairs of markers (i, j) whose labels are exchanged, and in which frames (T,).

    Args:
        expected: (T, M, 3) [m] from a fit that does not trust every marker.
        measured: (T, M, 3) [m], NaN where not seen.
        sigma: (M,) [m] how far off a marker may be.
    """
    swaps: dict[tuple[int, int], NDArray[np.bool_]] = {}
    own = np.linalg.norm(measured - expected, axis=-1) / sigma
    off = np.flatnonzero((own > np.sqrt(CLEAR_GAIN / 4)).any(0))  # NaN is not
    taken = np.zeros(own.shape, bool)
    for n, i in enumerate(off):
        for j in off[n + 1 :]:
            i_at_j = np.linalg.norm(measured[:, i] - expected[:, j], axis=-1) / sigma[j]
            j_at_i = np.linalg.norm(measured[:, j] - expected[:, i], axis=-1) / sigma[i]
            gain = own[:, i] ** 2 + own[:, j] ** 2 - i_at_j**2 - j_at_i**2
            closer = (j_at_i < 0.5 * own[:, i]) & (i_at_j < 0.5 * own[:, j])
            swapped = (gain > CLEAR_GAIN) & closer & ~taken[:, i] & ~taken[:, j]
            swapped = _of_stretches(swapped, measured[:, i], measured[:, j])
            if swapped.any():
                swaps[int(i), int(j)] = swapped
                taken[swapped, i] = taken[swapped, j] = True
    return swaps


def _of_stretches(swapped: NDArray[np.bool_], a: Array, b: Array) -> NDArray[np.bool_]:
    """The majority's answer in each stretch in which neither marker jumps: labels are exchanged where markers do.

    Args:
        swapped: (T,) as each frame by itself has it; a, b: (T, 3) [m] the two markers.
    """
    steps = np.maximum(*(np.linalg.norm(np.diff(x, axis=0), axis=-1) for x in (a, b)))
    steady = steps < 0.5 * np.linalg.norm(a - b, axis=-1)[1:]  # False beside a gap
    stretch = np.concatenate([[0], np.cumsum(~steady)])
    share = np.bincount(stretch, weights=swapped) / np.bincount(stretch)
    return np.asarray(share[stretch] > 0.5)


def exchanged(measured: Array, swaps: dict[tuple[int, int], NDArray[np.bool_]]) -> Array:
    """The markers (T, M, 3) with labels put right."""
    out = measured.copy()
    for (i, j), frames in swaps.items():
        out[frames, i], out[frames, j] = measured[frames, j], measured[frames, i]
    return out


def wild_markers(expected: Array, measured: Array) -> NDArray[np.bool_]:
    """(T, M) where a marker is far farther off than it usually is: a reflection, or another marker's label."""
    distance = np.linalg.norm(measured - expected, axis=-1)
    never = np.isnan(distance).all(0)
    usual = 1.4826 * np.nanmedian(np.where(never, 0.0, distance), axis=0, keepdims=True)
    wild: NDArray[np.bool_] = np.nan_to_num(distance) > np.maximum(WILD * usual, LEAST_WILD)
    return wild
