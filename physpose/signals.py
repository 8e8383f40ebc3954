"""Filtering and differentiating measured series, as OpenSim's tools do it, so that results can be compared.

Recipe of OpenSim 4's InverseDynamicsTool, which reads the coordinates, pads, filters, fits splines and differentiates
those; checked against its own Storage and GCVSpline to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from physpose.errors import InputError
from physpose.types import Array

FILTER = "Butterworth of order 3, forwards and backwards"
ORDER = 3  # of the Butterworth filter, run forwards and backwards
FINEST = 10  # two stamps that nearly coincide must not resample a recording more finely than this, times its mean rate


def lowpass(time: Array, x: Array, cutoff: float) -> tuple[Array, Array]:
    """Zero-lag low-pass filter: third-order Butterworth, forwards and backwards, no correction of the cutoff.

    Args:
        time: (T,) [s].
        x: (T, n).
        cutoff: [Hz] of one pass; both together let half of the power through there.

    Returns:
        Times (T',) and filtered values (T', n). Both ends were lengthened by T // 2 samples reflected through the end
        point, and stay so: a spline through all of it has no edge within the measured time.

    Raises:
        InputError: a cutoff that is not between zero and half the sampling rate, gaps, or too few samples.
    """
    from scipy.signal import butter

    time, x = np.asarray(time, float), np.asarray(x, float)
    if len(time) < 2 * ORDER:
        raise InputError(f"{len(time)} samples cannot be filtered; {2 * ORDER} or more are needed, or lowpass=None")
    if not np.isfinite(x).all():
        t = time[np.flatnonzero(~np.isfinite(x).all(1))[0]]
        raise InputError(f"the series has a gap at {t:g} s; fill it before filtering")
    step = (time[-1] - time[0]) / (len(time) - 1)
    if not 0 < cutoff < 0.5 / step:
        raise InputError(
            f"lowpass {cutoff:g} Hz; at {1 / step:.4g} samples a second it must lie in (0, {0.5 / step:.4g})"
        )
    time, x, step = _even(*_padded(time, x))
    b, a = butter(ORDER, 2 * cutoff * step)
    return time, _one_pass(b, a, _one_pass(b, a, x)[::-1])[::-1]


def _even(time: Array, x: Array) -> tuple[Array, Array, float]:
    """Equally spaced samples, and their step: the smallest one, by the quintic spline, where steps differ at all."""
    mean, least = (time[-1] - time[0]) / (len(time) - 1), float(np.diff(time).min())
    if mean - least <= np.finfo(float).eps:
        return time, x, least
    step = max(least, mean / FINEST)
    even = time[0] + step * np.arange(int((time[-1] - time[0]) / step) + 1)
    return even, spline_derivatives(time, x, even)[0], step


def _padded(time: Array, x: Array) -> tuple[Array, Array]:
    """Lengthened at both ends by half its length, reflected through the end points."""
    n = len(time) // 2
    before, after = slice(n, 0, -1), slice(-2, -n - 2, -1)
    time = np.concatenate([2 * time[0] - time[before], time, 2 * time[-1] - time[after]])
    return time, np.concatenate([2 * x[0] - x[before], x, 2 * x[-1] - x[after]])


def _one_pass(b: Array, a: Array, x: Array) -> Array:
    """The filter once, its first samples being the signal's own."""
    from scipy.signal import lfilter, lfiltic

    head = x[:ORDER]
    zi = np.stack([lfiltic(b, a, head[::-1, i], head[::-1, i]) for i in range(x.shape[1])], 1)
    return np.concatenate([head, lfilter(b, a, x[ORDER:], axis=0, zi=zi)[0]])


def interpolate(time: Array, x: Array, at: Array) -> Array:
    """Values (T', n) of x (N, n) at other times, on straight lines; constant beyond the ends."""
    return np.stack([np.interp(at, time, column) for column in np.asarray(x, float).T], 1).reshape(len(at), -1)


def spline_derivatives(time: Array, x: Array, at: Array) -> tuple[Array, Array, Array]:
    """Value, first and second derivative (T', n) of the interpolating quintic spline at other times.

    Third and fourth derivatives are zero at the ends: OpenSim's GCVSpline of degree 5 without smoothing. Fewer than
    six samples take a polynomial of the highest degree that they determine.

    Args:
        time: (T,) [s]; x: (T, n); at: (T',) [s].
    """
    from scipy.interpolate import BSpline, make_interp_spline

    time, x = np.asarray(time, float), np.asarray(x, float)
    if len(time) == 1:
        return np.repeat(x, len(at), 0), np.zeros((len(at), x.shape[1])), np.zeros((len(at), x.shape[1]))
    degree = min(5, len(time) - 1)
    natural = [(3, np.zeros(x.shape[1])), (4, np.zeros(x.shape[1]))]
    ends: Any = (natural, natural) if len(time) >= 6 else None
    degree = degree if ends or degree % 2 else degree - 1
    spline: BSpline = make_interp_spline(time, x, k=max(degree, 1), bc_type=ends)
    return spline(at), spline(at, 1), spline(at, 2)
