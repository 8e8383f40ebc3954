"""How jerky people's motion is: spectral densities of acceleration and jerk, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

PIECE = 400  # frames that inverse kinematics advanced through in one go
EDGE = 0.25  # [s] left out at both ends, where the filter has nothing to lean on
PELVIS = (
    "pelvis forward [m]",
    "pelvis sideways [m]",
    "pelvis up [m]",
    "pelvis turn x",
    "pelvis turn y",
    "pelvis turn z",
)
CUTOFFS = (4.0, 6.0, 9.0)  # [1/s]


def noise_bandwidth(cutoff: float, order: int = 4) -> float:
    """[1/s] of a Butterworth filter run both ways: integral of (1 + (f / fc)^(2 order))^-2 over f > 0."""
    f = np.linspace(0, 20, 20001)
    return float(cutoff * np.trapezoid((1 + f ** (2 * order)) ** -2.0, f))


def rates(q: np.ndarray, rate: float) -> np.ndarray:
    """Velocities (T - 1, 6 + n): pelvis along its heading, sideways, up; its turning, own axes; coordinates."""
    R = Rotation.from_quat(q[:, 3:7])
    x_axis = R.as_matrix()[:, :, 0]
    heading = np.unwrap(np.arctan2(x_axis[:, 1], x_axis[:, 0])).mean()  # one a piece: no turning frame's accelerations
    c, s = np.cos(heading), np.sin(heading)
    p = q[:, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    turn = (R[:-1].inv() * R[1:]).as_rotvec()
    return np.concatenate([np.diff(p, axis=0), turn, np.diff(q[:, 7:], axis=0)], 1) * rate


def densities(q: np.ndarray, rate: float, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Spectral densities (two-sided: a white signal's mean over h has variance density / h) of acceleration, jerk."""
    v = sosfiltfilt(butter(4, cutoff, fs=rate, output="sos"), rates(q, rate), axis=0)
    a = np.gradient(v, 1 / rate, axis=0)
    j = (v[2:] - 2 * v[1:-1] + v[:-2]) * rate**2
    k, band = round(EDGE * rate), 2 * noise_bandwidth(cutoff)
    return (a[k:-k] ** 2).mean(0) / band, (j[k:-k] ** 2).mean(0) / band


def pieces(tracks: Sequence) -> list[tuple[np.ndarray, float, float]]:  # type: ignore[type-arg]
    """Runs of good frames of at least 1.5 s: q, rate, mean speed."""
    out = []
    for t in tracks:
        for a in range(0, len(t.q), PIECE):
            rows = np.flatnonzero(t.good[a : a + PIECE]) + a
            if len(rows) > 1.5 * t.rate and rows[-1] - rows[0] == len(rows) - 1:
                out.append((t.q[rows], t.rate, float(t.speed[rows].mean())))
    return out


def print_motion_table(tracks: Sequence, names: Sequence[str]) -> None:  # type: ignore[type-arg]
    """Square roots of the densities: median over clips (and 90th percentile), left and right together."""
    runs = pieces(tracks)
    labels = (*PELVIS, *names)
    table = {
        c: [np.sqrt(np.array(d)) for d in zip(*(densities(q, r, c) for q, r, _ in runs), strict=True)] for c in CUTOFFS
    }
    moving = np.array([speed for _, _, speed in runs]) > 0.5
    print(f"{len(runs)} runs, {moving.sum()} of them walking or running; sqrt of spectral density, m or rad:")
    head = "".join(f"  jerk<{c:.0f}Hz med  p90" for c in CUTOFFS) + "  (6 Hz: still, moving)   accel<6Hz med  p90"
    print(f"{'':20s}{head}")
    for label in dict.fromkeys(n[:-2] if n[-2:] in ("_r", "_l") else n for n in labels):
        i = [k for k, n in enumerate(labels) if n == label or n[:-2] == label]
        jerk = [table[c][1][:, i].mean(1) for c in CUTOFFS]
        a, j6 = table[6.0][0][:, i].mean(1), jerk[1]
        cells = "".join(f"  {np.median(j):12.1f} {np.percentile(j, 90):6.1f}" for j in jerk)
        print(f"{label:20s}{cells}  {np.median(j6[~moving]):9.1f} {np.median(j6[moving]):9.1f}"
              f"    {np.median(a):10.2f} {np.percentile(a, 90):7.2f}")  # fmt: skip
