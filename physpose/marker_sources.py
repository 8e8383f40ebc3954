"""Whatever holds markers becomes markers whose places on a skeleton are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from physpose.conventions import lab_axis
from physpose.errors import InputError
from physpose.estimation.marker_spots import CENTRES, MARKER_SET, Spot, spots_on
from physpose.estimation.marker_start import TRUNK
from physpose.io.subject_parameters import SubjectParameters, subject_parameters
from physpose.io.trc import check_extent, read_trc
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Assumption, Markers

SUFFIXES = (".trc", ".c3d")
FEWEST = 6  # known markers, below which a pose is mostly guessed
FEWEST_IN_FRAME = 3  # seen at once: they place a rigid body
RARE = 0.5  # share of the frames: a marker seen in fewer is named
HIDDEN_MASS = 0.04  # of the body's: hands and toes without markers matter little
LONG_GAP = 0.2  # [s] a marker's gap from which it is named
COMMON = "Plug-in-Gait (LASI, RASI, LTHI, LKNE, ...), Helen Hayes (R.ASIS, V.Sacral, ...), OpenCap (r.ASIS_study, ...)"


@dataclass(frozen=True, kw_only=True)
class MarkerFile:
    """A recording of markers, and what its file tells of the subject."""

    markers: Markers
    name: str
    subject: SubjectParameters = field(default_factory=SubjectParameters)
    up: str | None = None  # the file's axis that was taken to point up; None: no file, z up
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeenMarkers:
    """The markers with a known place on the body, as the estimator takes them."""

    spots: tuple[Spot, ...]  # M
    time: Array  # (T,) [s]
    target: Array  # (T, M, 3) [m], world z up, NaN where not seen
    static: Array | None  # (T', M, 3) [m] of the standing trial
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]


def is_marker_source(source: Any) -> bool:
    """Is this a recording of markers: ``Markers``, or the path of a .trc or .c3d file."""
    return isinstance(source, Markers) or (
        isinstance(source, (str, Path)) and Path(source).suffix.lower() in SUFFIXES and not Path(source).is_dir()
    )


def read_marker_file(source: str | Path | Markers, units: str | None = None, up: str | None = None) -> MarkerFile:
    """Markers of a .trc or .c3d file, or given ones.

    Args:
        source: path or ``Markers`` [m, z up].
        units: of the file, "mm", "cm" or "m", against what it says.
        up: axis of the file that points up, "y", "z", "-x", ...; None: as the file says, of a .trc y.

    Raises:
        InputError: a file that cannot be used, units in which the markers are no person's, or no frames.
    """
    if isinstance(source, Markers):
        _check_metres(source)
        return MarkerFile(markers=_checked(source), name=source.source, warnings=source.warnings)
    if not is_marker_source(source):
        raise InputError(f"{source}: markers come as .trc or .c3d files, or as Markers")
    if Path(source).suffix.lower() == ".trc":
        markers = read_trc(source, units, up)
        return MarkerFile(
            markers=_checked(markers), name=str(source), up=lab_axis(up or "y"), warnings=markers.warnings
        )
    from physpose.io.c3d import read_c3d  # here, since its package is optional

    file = read_c3d(source, units, up, plates=False)
    subject = subject_parameters(file.parameters)
    return MarkerFile(
        markers=_checked(file.markers), name=str(source), subject=subject, up=file.up, warnings=file.warnings
    )


def _check_metres(markers: Markers) -> None:
    try:
        check_extent(np.asarray(markers.positions, float), "m", 1.0, markers.source)
    except InputError as error:
        raise InputError(f"{error} (Markers hold metres: scale their positions)") from error


def _checked(markers: Markers) -> Markers:
    T, n = len(markers.time), len(markers.names)
    if T == 0 or markers.positions.shape != (T, n, 3) or (np.diff(markers.time) <= 0).any():
        raise InputError(
            f"{markers.source}: {n} names, time {markers.time.shape} and positions {markers.positions.shape}; times "
            "must increase and positions be (T, n, 3), one frame or more"
        )
    return markers


# --- onto the skeleton ------------------------------------------------------------------------------------------------


def markers_on(
    skeleton: Skeleton,
    moving: MarkerFile,
    static: MarkerFile | None = None,
    marker_set: str | Mapping[str, str] | None = None,
) -> SeenMarkers:
    """The recording's markers at their places on ``skeleton``; those of a standing trial help to find the places.

    Args:
        skeleton: with a keypoint set "markers".
        moving: the recording; frames before and after those in which enough markers are seen are left out.
        static: of the same person with the same markers, or more.
        marker_set: as ``spots_on`` takes it.

    Raises:
        InputError: too few of the labels are known, or too few markers are seen.
        UnknownNameError: an unknown marker set, label or point.
    """
    _check_body(skeleton)
    labels = tuple(dict.fromkeys((*moving.markers.names, *(static.markers.names if static else ()))))
    spots, unknown = spots_on(skeleton, labels, _chosen(marker_set), moving.subject.widths)
    spots = tuple(s for s in spots if _seen(moving, s.label) or (static is not None and _seen(static, s.label)))
    _check_known(skeleton, spots, moving)
    if static is not None:
        _check_static(static, spots, moving)
    target = _columns(moving.markers, spots)
    time, target, notes = _trimmed(moving, target)
    return SeenMarkers(
        spots=spots,
        time=time,
        target=target,
        static=None if static is None else _columns(static.markers, spots),
        assumptions=_about(spots, unknown, labels, moving, static, marker_set),
        warnings=(*notes, *_rare(spots, time, target), *_bare(skeleton, spots, target)),
    )


def _check_body(skeleton: Skeleton) -> None:
    joints = [b.joint.kind for b in skeleton.bodies]
    if joints[0] != "free" or "ball" in joints:
        why = "hangs in the world" if joints[0] != "free" else "has ball joints"
        raise InputError(
            f"skeleton {skeleton.name!r} {why}; markers can be fitted by a body that moves freely with hinges and "
            "slides: 'adult', 'child', 'infant', or an OpenSim model such as Rajagopal's or Gait2354"
        )


def _chosen(marker_set: str | Mapping[str, str] | None) -> str | Mapping[str, str] | None:
    if marker_set is not None and not isinstance(marker_set, (str, Mapping)):
        raise InputError(f"marker_set {marker_set!r}; {CENTRES!r}, or a mapping of labels to points, is needed")
    return marker_set


def _seen(file: MarkerFile, label: str) -> bool:
    names = file.markers.names
    return label in names and bool(np.isfinite(file.markers.positions[:, names.index(label)]).all(-1).any())


def _check_known(skeleton: Skeleton, spots: Sequence[Spot], moving: MarkerFile) -> None:
    known = [s for s in spots if _seen(moving, s.label)]
    if len(known) >= FEWEST:
        return
    points = [p.name for p in skeleton.keypoint_set(MARKER_SET).points]
    found = f"only {', '.join(s.label for s in known)}" if known else "none"
    raise InputError(
        f"{moving.name}: of its labels {_listed(moving.markers.names)}, {found} are known on skeleton "
        f"{skeleton.name!r} and seen; {FEWEST} or more are needed. Known are common sets, as {COMMON}, the set "
        f"{CENTRES!r} by marker_set=, and a model's own names; for others give marker_set={{label: point}} "
        f"(--marker LABEL=POINT), points: {_listed(points, 80)}"
    )


def _check_static(static: MarkerFile, spots: Sequence[Spot], moving: MarkerFile) -> None:
    both = [s for s in spots if _seen(static, s.label) and _seen(moving, s.label)]
    if len(both) < FEWEST:
        raise InputError(
            f"{static.name}, the standing trial, shares {len(both)} known markers with {moving.name}; {FEWEST} or more "
            f"are needed: it has {_listed(static.markers.names)}"
        )


def _columns(markers: Markers, spots: Sequence[Spot]) -> Array:
    """(T, M, 3) [m] in the order of ``spots``; what is not in the file is not seen."""
    missing = np.full((len(markers.time), 3), np.nan)
    at = dict(zip(markers.names, markers.positions.swapaxes(0, 1), strict=True))
    columns = np.stack([at.get(s.label, missing) for s in spots], 1)
    return np.where(np.isfinite(columns).all(-1, keepdims=True), columns, np.nan)


def _trimmed(moving: MarkerFile, target: Array) -> tuple[Array, Array, tuple[str, ...]]:
    """From the first to the last frame in which enough markers are seen."""
    time = np.asarray(moving.markers.time, float)
    count = np.isfinite(target).all(-1).sum(1)
    enough = np.flatnonzero(count >= FEWEST_IN_FRAME)
    if not len(enough):
        raise InputError(f"{moving.name}: in no frame are {FEWEST_IN_FRAME} known markers seen, at most {count.max()}")
    keep = slice(int(enough[0]), int(enough[-1]) + 1)
    notes = []
    if keep.stop - keep.start < len(time):
        notes.append(
            f"enough markers are seen from {time[enough[0]]:.2f} to {time[enough[-1]]:.2f} s only; other frames are "
            "left out"
        )
    blind = int((count[keep] < FEWEST_IN_FRAME).sum())
    if blind:
        notes.append(f"in {blind} frames between fewer than {FEWEST_IN_FRAME} markers are seen: bridged smoothly")
    return time[keep], target[keep], tuple(notes)


# --- what to tell -----------------------------------------------------------------------------------------------------


def _about(
    spots: Sequence[Spot],
    unknown: Sequence[str],
    labels: Sequence[str],
    moving: MarkerFile,
    static: MarkerFile | None,
    marker_set: str | Mapping[str, str] | None,
) -> tuple[Assumption, ...]:
    known = [s.label for s in spots]
    source = "recognised by their labels" if marker_set is None else "labels in common use and marker_set, as given"
    lines = [Assumption(what="markers", value=f"{len(known)} of {len(labels)}: {_listed(known, 60)}", source=source)]
    if unknown:
        lines.append(Assumption(what="points not used", value=_listed(unknown), source="labels without a known place"))
    if static is not None:
        value = f"{static.name}, {len(static.markers.time)} frames"
        lines.append(Assumption(what="standing trial", value=value, source="given"))
    measured = [n for n in moving.subject.widths if n != "marker"]
    if measured:
        value = ", ".join(f"{n} {1e3 * moving.subject.widths[n]:.0f} mm" for n in measured)
        lines.append(Assumption(what="joint breadths", value=value, source="the file's PROCESSING group"))
    return tuple(lines)


def _rare(spots: Sequence[Spot], time: Array, target: Array) -> tuple[str, ...]:
    """Markers that are hardly seen, or not for long."""
    seen = _visible(target)
    rare, gaps = [], []
    for s, column in zip(spots, seen.T, strict=True):
        share = float(column.mean())
        gap = _longest_gap(time, column)
        if 0 < share < RARE:
            rare.append(f"{s.label} ({100 * share:.0f} %)")
        elif share > 0 and gap > LONG_GAP:
            gaps.append(f"{s.label} ({gap:.2f} s)")
    notes = []
    if rare:
        notes.append(f"markers that are seen in less than half of the frames: {_listed(rare)}")
    if gaps:
        notes.append(f"markers with gaps, which the others and smoothness bridge: {_listed(gaps)}")
    return tuple(notes)


def _visible(target: Array) -> NDArray[np.bool_]:
    """(T, M) is the marker seen."""
    return np.asarray(np.isfinite(target).all(-1))


def _longest_gap(time: Array, seen: NDArray[np.bool_]) -> float:
    """[s] from one sighting to the next, at most; from the clip's ends too."""
    at = np.concatenate([time[:1], time[seen], time[-1:]])
    step = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    return float(np.diff(at).max() - step)


def _bare(skeleton: Skeleton, spots: Sequence[Spot], target: Array) -> tuple[str, ...]:
    """A warning where no marker shows a good part of the body."""
    seen = np.asarray(_visible(target).any(0))
    marked = {s.point.body for s, yes in zip(spots, seen, strict=True) if yes}
    shown = {a for body in marked for a in _ancestors(skeleton, body)}
    hidden = [b for b in skeleton.bodies if b.name not in shown and b.mass > 0]
    notes = []
    if sum(b.mass for b in hidden) > HIDDEN_MASS * skeleton.mass:
        names = _listed([b.name for b in hidden])
        notes.append(f"no marker shows {names}: there the posture is the usual one, not measured")
    if not marked & set(TRUNK):
        notes.append("no marker on pelvis or trunk: where the body is follows from its limbs alone")
    return tuple(notes)


def _ancestors(skeleton: Skeleton, body: str | None) -> list[str]:
    """The body and those that carry it."""
    names = []
    while body is not None:
        names.append(body)
        body = skeleton.bodies[skeleton.body_index(body)].parent
    return names


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"
