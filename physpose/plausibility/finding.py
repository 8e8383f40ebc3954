"""What a check says: measures with their series, and findings in sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from physpose.errors import UnknownNameError
from physpose.plausibility.settings import PlausibilitySettings
from physpose.types import Array

if TYPE_CHECKING:
    import pandas as pd

MOST_SPANS = 3  # named one by one in a sentence
POSSIBLE, DISAGREE = "plausible", "plausible movement, but the measured forces do not go with it"
IMPOSSIBLE = "not plausible"
WHY_DISAGREE = (
    "its accelerations need other forces, or feet elsewhere, than were measured; the limits of residuals are "
    "those of a simulation after residual reduction (Hicks et al. 2015)"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not plausible."""

    measure: str  # e.g. "joint limits"
    subject: str  # e.g. "knee_angle_r"
    value: float  # the worst
    unit: str
    threshold: float
    source: str  # of the threshold
    frames: NDArray[np.intp]  # that fail, counted from 0
    sentence: str  # "knee_angle_r exceeds its range by 12 deg in 14 frames, 0.43-0.90 s"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure over a clip."""

    name: str
    unit: str
    threshold: float  # inf: reported, not judged
    source: str  # of the threshold
    series: Array  # (T,) the worst of each frame; NaN: nothing to judge there
    failing: NDArray[np.bool_]  # (T,)
    findings: tuple[Finding, ...]
    passed: bool  # the clip
    note: str = ""  # normaliser, what was left out
    details: dict[str, float] = field(default_factory=dict)  # further figures, named with their unit
    of_forces: bool = False  # compares measured forces with the motion, which by itself may be possible

    @property
    def value(self) -> float:
        """The worst of the clip."""
        return float(np.nanmax(self.series))

    @property
    def mean(self) -> float:
        """Over the frames that were judged."""
        return float(np.nanmean(self.series))

    @property
    def judged(self) -> int:
        """Number of frames with something to judge."""
        return int(np.isfinite(self.series).sum()) if math.isfinite(self.threshold) else 0

    @property
    def share(self) -> float:
        """Of the judged frames that fail."""
        return float(self.failing.sum() / max(self.judged, 1))


@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """Pass or fail of a motion, frame by frame and as a whole, with every failing value explained.

    ``plausibility["foot skate"]`` gives one measure.
    """

    time: Array  # (T,) [s]
    measures: tuple[Measure, ...]
    not_judged: dict[str, str]  # measure -> why
    source: str  # what was checked
    skeleton: str  # name of the body, "" without one
    settings: PlausibilitySettings  # by which it was judged
    notes: tuple[str, ...] = ()  # what was taken or left out on the way

    @cached_property
    def frames_passed(self) -> NDArray[np.bool_]:
        """(T,) frames that fail no measure."""
        return self._without_failure(self.measures)

    @cached_property
    def motion_passed(self) -> NDArray[np.bool_]:
        """(T,) frames that fail no measure of the motion by itself, whether or not measured forces go with it."""
        return self._without_failure(m for m in self.measures if not m.of_forces)

    @cached_property
    def forces_passed(self) -> NDArray[np.bool_]:
        """(T,) frames in which the measured forces go with the motion; True, too, where that is not judged."""
        return self._without_failure(m for m in self.measures if m.of_forces)

    @cached_property
    def forces_judged(self) -> NDArray[np.bool_]:
        """(T,) frames in which measured forces are compared with the motion."""
        seen = (np.isfinite(m.series) for m in self.measures if m.of_forces)
        return np.any([np.zeros(len(self.time), bool), *seen], axis=0)

    def _without_failure(self, measures: Iterable[Measure]) -> NDArray[np.bool_]:
        return ~np.any([np.zeros(len(self.time), bool), *(m.failing for m in measures)], axis=0)

    @property
    def passed(self) -> bool:
        """Does the clip pass every measure that was judged?"""
        return all(m.passed for m in self.measures)

    @property
    def verdict(self) -> str:
        """In words: "plausible", "not plausible", or that the movement is, but measured forces disagree."""
        if self.passed:
            return POSSIBLE
        return DISAGREE if all(m.of_forces for m in self.failed) else IMPOSSIBLE

    @property
    def explanation(self) -> str:
        """What the verdict means and by which rule it was reached, in words."""
        return f"{WHY_DISAGREE}; {self.rule}" if self.verdict == DISAGREE else self.rule

    @property
    def failed(self) -> tuple[Measure, ...]:
        """The measures that the clip fails, the worst against its threshold first."""
        return tuple(sorted((m for m in self.measures if not m.passed), key=_severity, reverse=True))

    @property
    def tolerated(self) -> tuple[Measure, ...]:
        """The measures that the clip passes although frames fail them, the worst against its threshold first."""
        some = (m for m in self.measures if m.passed and m.failing.any())
        return tuple(sorted(some, key=_severity, reverse=True))

    @property
    def rule(self) -> str:
        """What a clip may show and still pass, in words."""
        s = self.settings
        if s.tolerated_share == 0:
            return "no frame may exceed a limit"
        return (
            f"up to {100 * s.tolerated_share:g} % of a measure's frames may exceed its limit, none by more than "
            f"{s.gross:g} times"
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, those of the worst measure first."""
        return tuple(f for m in sorted(self.measures, key=_severity, reverse=True) for f in m.findings)

    def __getitem__(self, name: str) -> Measure:
        """One measure by its name.

        Raises:
            UnknownNameError: no such measure was judged; the message lists those that were, and why others were not.
        """
        for m in self.measures:
            if m.name == name:
                return m
        why = f" ({self.not_judged[name]})" if name in self.not_judged else ""
        raise UnknownNameError("measure", f"{name}{why}", (m.name for m in self.measures))

    def __iter__(self) -> Iterator[Measure]:
        return iter(self.measures)

    def to_frame(self) -> pd.DataFrame:
        """One row a frame: time, each measure with its unit in brackets, and "passed"."""
        import pandas as pd

        columns: dict[str, Any] = {"time [s]": self.time}
        columns |= {f"{m.name} [{m.unit}]": m.series for m in self.measures}
        return pd.DataFrame(columns | {"passed": self.frames_passed})

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; null for what is not finite."""
        return {
            "source": self.source,
            "skeleton": self.skeleton,
            "frames": len(self.time),
            "passed": self.passed,
            "verdict": self.verdict,
            "frames_passed": int(self.frames_passed.sum()),
            "rule": self.rule,
            "measures": [_measure_dict(m) for m in self.measures],
            "not_judged": self.not_judged,
            "notes": list(self.notes),
        }

    def save(self, out: str | Path) -> dict[str, Path]:
        """Write plausibility.json, plausibility.csv (a row a frame) and plausibility.html, a picture of it all.

        Returns:
            kind -> path: json, csv, picture.

        Raises:
            InputError: nothing can be written there.
        """
        from physpose.io.tables import make_folder, replace_file, write_csv
        from physpose.viz.plausibility import render_page

        folder = make_folder(out)
        return {
            "json": replace_file(folder / "plausibility.json", json.dumps(self.to_dict(), indent=2, allow_nan=False)),
            "csv": write_csv(folder / "plausibility.csv", self.to_frame()),
            "picture": replace_file(folder / "plausibility.html", render_page(self)),
        }


def judged(
    name: str,
    *,
    time: Array,
    values: Array,
    subjects: tuple[str, ...],
    threshold: float,
    unit: str,
    source: str,
    phrase: str,
    settings: PlausibilitySettings,
    note: str = "",
    details: dict[str, float] | None = None,
    of_forces: bool = False,
) -> Measure | str:
    """A measure of values (T, n), one column a subject; in words why not, where nothing can be judged.

    A few frames beyond the threshold do not fail the clip, unless one is far beyond: ``settings.tolerated_share`` and
    ``settings.gross``. ``phrase`` is the sentence's middle, with {value}: "exceeds its range by {value}".
    """
    values = np.asarray(values, float).reshape(len(time), -1)
    seen = np.isfinite(values).any(1) if values.shape[1] else np.zeros(len(time), bool)
    if not seen.any():
        return "no frame has what it takes to judge it"
    series = np.full(len(time), np.nan)
    series[seen] = np.nanmax(values[seen], axis=1)
    bad = values > threshold
    findings = [
        _finding(name, subject, values[:, i], bad[:, i], time, threshold, unit, source, phrase)
        for i, subject in enumerate(subjects)
        if bad[:, i].any()
    ]
    failing = np.asarray(bad.any(1))
    few = failing.sum() <= settings.tolerated_share * seen.sum()
    gross = series[seen].max() > settings.gross * threshold
    return Measure(
        name=name, unit=unit, threshold=threshold, source=source, series=series, failing=failing,
        findings=tuple(sorted(findings, key=lambda f: -f.value)), note=note, details=details or {},
        passed=bool(not failing.any() or (few and not gross)), of_forces=of_forces,
    )  # fmt: skip


def _finding(
    name: str, subject: str, values: Array, bad: NDArray[np.bool_], time: Array,
    threshold: float, unit: str, source: str, phrase: str,
) -> Finding:  # fmt: skip
    frames, worst = np.flatnonzero(bad), float(np.nanmax(values[bad]))
    told = phrase.format(value=f"{figure(worst)} {unit}".strip())
    n = len(frames)
    where = f"in {n} frame{'s' * (n != 1)}, {spans(time, frames)}"
    return Finding(
        measure=name, subject=subject, value=worst, unit=unit, threshold=threshold, source=source, frames=frames,
        sentence=f"{subject} {told} {where}",
    )  # fmt: skip


def spans(time: Array, frames: NDArray[np.intp]) -> str:
    """When frames are, in words: "0.43-0.90 s", "0.10 s and 0.43-0.90 s", "0.10-4.20 s in 7 pieces"."""
    pieces = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    if len(pieces) > MOST_SPANS:
        return f"{time[frames[0]]:.2f}-{time[frames[-1]]:.2f} s in {len(pieces)} pieces"
    words = [f"{time[p[0]]:.2f}" + (f"-{time[p[-1]]:.2f}" if len(p) > 1 else "") for p in pieces]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) + " s"


def figure(x: float) -> str:
    """Three digits, no exponent; what is smaller than 0.0001 is 0."""
    if not math.isfinite(x):
        return "unbounded"
    if abs(x) < 1e-4:
        return "0"
    return f"{x:.{min(max(0, 2 - math.floor(math.log10(abs(x)))), 4)}f}"


def _severity(m: Measure) -> float:
    """How far the worst value lies over the threshold, as a ratio."""
    if m.threshold > 0:
        return m.value / m.threshold
    return math.inf if m.value > 0 else 0.0


def _measure_dict(m: Measure) -> dict[str, Any]:
    return {
        "name": m.name, "passed": m.passed, "of_forces": m.of_forces,
        "value": finite(m.value), "mean": finite(m.mean), "unit": m.unit,
        "threshold": finite(m.threshold), "source": m.source, "note": m.note,
        "frames_judged": m.judged, "frames_failing": np.flatnonzero(m.failing).tolist(),
        "details": {k: finite(v) for k, v in m.details.items()},
        "findings": [
            {"subject": f.subject, "value": finite(f.value), "frames": f.frames.tolist(), "sentence": f.sentence}
            for f in m.findings
        ],
    }  # fmt: skip


def finite(x: float) -> float | None:
    """The number for JSON."""
    return float(x) if math.isfinite(x) else None
