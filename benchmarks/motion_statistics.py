"""How jerky people's motion is: spectral densities of acceleration and jerk, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
HELD = ("subtalar", "mtp", "pro_sup", "wrist")  # near rest by the inverse kinematics: their motion tells nothing
FAST = ("cmu05", "cmu49", "expmap_jumping", "expmap_soccer", "expmap_basketball")
KINDS = {"slow": "squats, lunges, raising arms", "gesture": "other motion on the spot", "walk": "0.5-2 m/s",
         "fast": "running, jumping, ball games, dance, acrobatics"}  # fmt: skip


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


class Run(NamedTuple):
    """Good frames in a row."""

    q: np.ndarray
    rate: float
    kind: str


def runs(tracks: Sequence) -> list[Run]:  # type: ignore[type-arg]
    """Stretches of at least 1.5 s, by kind of motion."""
    out = []
    for t in tracks:
        for a in range(0, len(t.q), PIECE):
            rows = np.flatnonzero(t.good[a : a + PIECE]) + a
            if len(rows) > 1.5 * t.rate and rows[-1] - rows[0] == len(rows) - 1:
                speed = float(t.speed[rows].mean())
                kind = "fast" if speed > 2 or t.person in FAST else "walk" if speed > 0.5 else "slow"
                out.append(Run(t.q[rows], t.rate, "gesture" if kind == "slow" and t.source != "ui_prmd" else kind))
    return out


def print_motion_table(tracks: Sequence, names: Sequence[str]) -> None:  # type: ignore[type-arg]
    """Square roots of the densities, root mean square over runs of a kind, left and right together."""
    found = runs(tracks)
    kinds = {k: np.array([r.kind == k for r in found]) for k in KINDS}
    values = {c: [np.array(d) for d in zip(*(densities(r.q, r.rate, c) for r in found), strict=True)] for c in CUTOFFS}
    print(
        f"{len(found)} runs:",
        {k: int(v.sum()) for k, v in kinds.items()},
        "; ".join(f"{k}: {v}" for k, v in KINDS.items()),
    )
    print("square root of the spectral density [m or rad; s], median over runs")
    print(f"{'jerk, below':20s}" + "".join(f" |{k:>8s}" + "".join(f" {c:4.0f}Hz" for c in CUTOFFS) for k in KINDS)
          + " | all: rms 6Hz | acceleration 6Hz:" + "".join(f" {k:>7s}" for k in KINDS))  # fmt: skip
    labels = (*PELVIS, *names)
    for label in dict.fromkeys(n[:-2] if n[-2:] in ("_r", "_l") else n for n in labels):
        if label.startswith(HELD):
            continue
        i = [k for k, n in enumerate(labels) if n == label or n[:-2] == label]
        of = lambda c, d, m: np.sqrt(np.median(values[c][d][m][:, i].mean(1)))  # noqa: B023, E731
        cells = "".join(" |        " + "".join(f" {of(c, 1, m):6.1f}" for c in CUTOFFS) for m in kinds.values())
        rms = np.sqrt(np.mean([values[6.0][1][m][:, i].mean() for m in kinds.values()]))
        print(
            f"{label:20s}{cells} | {rms:12.1f} | {'':17s}" + "".join(f" {of(6.0, 0, m):7.2f}" for m in kinds.values())
        )
