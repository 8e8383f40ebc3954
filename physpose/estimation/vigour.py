"""How vigorous a motion is from moment to moment: what its smoothness may be expected to be.

Someone who walks has a jerk of known size; who runs or lands has far more, for a while. Smoothing that took the
walker's jerk for granted would blunt an impact, smoothing fit for impacts would leave noise in a walk.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_coeffs, savgol_filter
from torch import Tensor

from physpose.spatial import quat_conj, quat_log, quat_mul
from physpose.types import Array

SPAN = 0.11  # [s] of the cubics fitted to find the jerk: they pass about 10 Hz
ORDER = 4
LASTING = 0.1  # [s] standard deviation of the window over which a squared jerk is averaged


def vigour(q: Tensor, time: Tensor, expected: Tensor) -> Tensor:
    """Root of the jerk's spectral density (T, nv) along poses q (T, nq) of single frames, at least ``expected`` (nv,).

    The variance of Savitzky and Golay's third derivative, less that of the noise, over the kernel's own. Uneven time
    stamps are taken as even ones.
    """
    T, dt = len(time), float(time.diff().median()) if len(time) > 1 else 1.0
    n = max(2 * round(SPAN / dt / 2) + 1, ORDER + 3)
    if n > T:
        return expected.expand(T, -1)
    x = _unrolled(q)
    jerk = savgol_filter(x, n, ORDER, deriv=3, delta=dt, axis=0)
    kernel = savgol_coeffs(n, ORDER, deriv=3, delta=dt, use="dot")
    smooth = savgol_filter(x, n, ORDER, axis=0)
    noise = (1.4826 * np.median(np.abs(x - smooth), axis=0)) ** 2 * (n / (n - ORDER - 1)) * (kernel**2).sum()
    squared = gaussian_filter1d(jerk**2, LASTING / dt, axis=0) - noise
    # white jerk through the kernel K (its third integral): variance s^2 dt sum K^2
    integral = np.cumsum(np.cumsum(np.cumsum(kernel))) * dt**3
    density = np.maximum(squared, 0.0) / ((integral / dt) ** 2 * dt).sum()
    return torch.maximum(torch.as_tensor(np.sqrt(density)), expected)


def _unrolled(q: Tensor) -> Array:
    """(T, nv): pelvis position, its rotation added up from frame to frame, coordinates."""
    turn = quat_log(quat_mul(quat_conj(q[:-1, 3:7]), q[1:, 3:7]))
    turned = torch.cat([turn.new_zeros(1, 3), turn.cumsum(0)])
    return torch.cat([q[:, :3], turned, q[:, 7:]], 1).numpy()
