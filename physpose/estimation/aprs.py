"""APRS: refinement of any keypoint sequence by bone lengths, smoothness, and what a body can do (HSTPN, eq. 24-31).

After any detector or network, 2D [px] or 3D [m, mm, ...]: ``refine``. ``solver="gradient"`` is the paper's iteration as
printed; the default minimises one objective in real time, with the keypoints as data, and says how sure it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from physpose.errors import InputError, UnknownNameError
from physpose.estimation.aprs_body import bones, mirrored
from physpose.estimation.aprs_gradient import DivergenceError, descend
from physpose.estimation.aprs_problem import Objective, acceleration_stencil, marginal_sigma, minimise
from physpose.estimation.aprs_terms import BodyTerms, Physics, RefineSettings, Weights
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.types import Array, Keypoints2D

__all__ = ["DivergenceError", "Physics", "Refined", "RefineSettings", "Weights", "refine", "refine_keypoints"]

REACH = 1.7  # [m] diagonal of the box around the keypoints of a person who stands or walks: it sets the unit
FULL_LENGTH = 0.98  # quantile of a bone's projected lengths that counts as its full one, in 2D
SPARE_LENGTH = 1.05
NOISE_GAIN = np.sqrt(70.0)  # of the fourth difference (1, -4, 6, -4, 1)
FEW = 20  # fourth differences from which a keypoint's own noise is estimated


@dataclass(frozen=True)
class Refined:
    """A refined sequence."""

    keypoints: Array  # (T, K, D), gaps filled
    sigma: Array  # (T, K) upper bound of each coordinate's standard deviation, same unit; grows in gaps; NaN: unknown
    filled: NDArray[np.bool_]  # (T, K) where the input had nothing
    outlier: NDArray[np.bool_]  # (T, K) where the input was further off than ``robust`` sigma
    edges: NDArray[np.intp]  # (E, 2)
    lengths: Array  # (E,) lengths aimed at, in 2D not to be exceeded; NaN: not seen enough
    noise: Array  # (K,) standard deviation of the input's jitter, same unit
    unit: float  # length of a metre in the keypoints' unit, as assumed
    costs: dict[str, tuple[float, float]] = field(default_factory=dict)  # each term's before and after
    iterations: int = 0
    converged: bool = False


def refine(
    keypoints: Any,
    time: Any,
    *,
    keypoint_set: str | None = None,
    edges: Sequence[tuple[int, int]] | Array | None = None,
    lengths: Any = None,
    confidence: Any = None,
    weights: Weights | None = None,
    solver: Literal["gauss-newton", "gradient"] = "gauss-newton",
    iterations: int | None = None,
    unit: float | None = None,
    settings: RefineSettings | None = None,
    physics: Physics | None = None,
) -> Refined:
    """Refine one person's keypoints (T, K, 2 or 3), in any unit; NaN where missing.

    Args:
        time: (T,) [s], strictly increasing, steps of any length.
        keypoint_set: name of the set: it brings bones, hinges, symmetry. None: only ``edges`` are known.
        edges: (E, 2) bones that keep their length; None: the set's.
        lengths: (E,) of the bones, same unit. None: from the sequence, the median over time, left and right together.
            In 2D a bone's length changes with its direction: there the length (from the sequence, nearly the longest
            seen) is only not exceeded, unless ``lengths`` are given.
        confidence: (T, K) in 0..1, of the detector; None: one.
        weights: factors on the terms.
        solver: "gauss-newton", or "gradient": equations 24-31 as printed, which start from the keypoints and know no
            data term, real time or uncertainty.
        iterations: most iterations; for "gradient" their number N (Algorithm 1), 50 by default.
        unit: length of a metre in the keypoints' unit (1 for metres, 1000 for mm); None: from the person's size.
        physics: gravity, flight, floor, contacts; 3D only.

    Raises:
        InputError: arrays that do not fit together. UnknownNameError: keypoint set, solver.
        DivergenceError: the gradient solver left with a weight too large.
    """
    settings, given = settings or RefineSettings(), _checked(keypoints, time, keypoint_set, confidence)
    y, t, seen, trust = given
    if solver not in ("gauss-newton", "gradient"):
        raise UnknownNameError("solver", str(solver), ("gauss-newton", "gradient"))
    E = _edges(edges, keypoint_set, y.shape[1])
    scale = _unit(y, seen) if unit is None else float(unit)
    L, exact = _lengths(lengths, y, seen, E, keypoint_set)
    noise = _noise(y, seen, settings, scale)
    start = filled_gaps(y, seen, t)
    body = BodyTerms(keypoint_set, E, L, exact, y.shape[1:])
    if solver == "gradient":
        p, done = descend(start, body, weights or printed_weights(len(t)), 50 if iterations is None else iterations)
        nothing = np.full(seen.shape, np.nan)
        return Refined(p, nothing, ~seen, np.zeros_like(seen), E, L, noise, scale, iterations=done, converged=True)
    info = np.where(seen, (trust / noise) ** 2, 0.0)
    terms = body.terms(len(t), weights or Weights(), settings, scale)
    if physics is not None:
        terms += physics.terms(t, y.shape, (weights or Weights()).physics, settings, scale)
    objective = Objective(
        torch.from_numpy(np.where(seen[..., None], y, 0.0)),
        torch.from_numpy(info),
        torch.from_numpy(acceleration_stencil(t, settings.acceleration_sigma * scale)),
        terms,
        settings.robust,
        torch.tensor((weights or Weights()).temporal, dtype=torch.float64),
    )
    p0 = torch.from_numpy(start)
    found = minimise(
        objective, p0, iterations=iterations or settings.iterations, tolerance=settings.tolerance * scale
    )  # fmt: skip
    off = objective.data(found.p)[1].numpy() < 0.5  # Cauchy's weight at one scale
    before, after = objective.costs(p0), objective.costs(found.p)
    return Refined(
        found.p.numpy(), marginal_sigma(found.system), ~seen, off & seen, E, L, noise, scale,
        {n: (float(before[n]), float(after[n])) for n in before}, found.iterations, found.converged,
    )  # fmt: skip


def refine_keypoints(kp: Keypoints2D, **options: Any) -> Keypoints2D:
    """Every person's uv refined where it was seen (gaps stay gaps); ``options`` are those of ``refine``."""
    uv = kp.uv.copy()
    for person in range(kp.n_persons):
        if np.isfinite(uv[person]).all(-1).any():
            refined = refine(
                kp.uv[person], kp.time, keypoint_set=kp.keypoint_set, confidence=kp.confidence[person], **options
            )  # fmt: skip
            uv[person] = np.where(refined.filled[..., None], np.nan, refined.keypoints)
    return replace(kp, uv=uv)


def printed_weights(T: int) -> Weights:
    """Lambdas with which the printed unit step is stable: see ``aprs_gradient``."""
    return Weights(spatial=0.1, temporal=max(T - 2, 1) / 32, domain=0.1)


# --- what the sequence itself tells -----------------------------------------------------------------------------------


def filled_gaps(y: Array, seen: NDArray[np.bool_], time: Array) -> Array:
    """Keypoints (T, K, D) with gaps bridged linearly in time, held at the ends; never seen: at the others' middle."""
    filled = y.copy()
    for k in range(y.shape[1]):
        good = seen[:, k]
        if good.any():
            for d in range(y.shape[2]):
                filled[:, k, d] = np.interp(time, time[good], y[good, k, d])
    never = ~seen.any(0)
    if never.any():
        filled[:, never] = filled[:, ~never].mean(1, keepdims=True)
    return filled


def _unit(y: Array, seen: NDArray[np.bool_]) -> float:
    """Length of a metre in y's unit, from the person's size: good to a quarter, which is all that sigmas need."""
    x = np.where(seen[..., None], y, np.nan)[seen.any(1)]
    extent = np.linalg.norm(np.nanmax(x, 1) - np.nanmin(x, 1), axis=-1)
    return max(float(np.nanpercentile(extent, 90)), 1e-9) / REACH


def _lengths(
    given: Any, y: Array, seen: NDArray[np.bool_], edges: NDArray[np.intp], keypoint_set: str | None
) -> tuple[Array, bool]:
    """Lengths (E,) and whether they are to be reached (True) or only not exceeded."""
    if given is not None:
        lengths = np.asarray(given, float)
        if lengths.shape != (len(edges),) or not (lengths > 0).all():
            raise InputError(f"lengths have shape {lengths.shape}; ({len(edges)},) positive ones needed, one an edge")
        return lengths, True
    both = seen[:, edges].all(-1)
    length = np.where(both, np.linalg.norm(y[:, edges[:, 0]] - y[:, edges[:, 1]], axis=-1), np.nan)
    enough = both.sum(0) >= 3
    lengths = np.full(len(edges), np.nan)
    if y.shape[-1] == 2:
        lengths[enough] = SPARE_LENGTH * np.nanquantile(length[:, enough], FULL_LENGTH, axis=0)
        return lengths, False
    lengths[enough] = np.nanmedian(length[:, enough], axis=0)
    if keypoint_set is not None:
        for pair in mirrored(keypoint_set, edges):
            if np.isfinite(lengths[pair]).any():
                lengths[pair] = np.nanmean(lengths[pair])
    return lengths, True


def _noise(y: Array, seen: NDArray[np.bool_], settings: RefineSettings, unit: float) -> Array:
    """(K,) standard deviation of white noise on each keypoint, from fourth differences: motion hardly shows in them."""
    least, K = settings.least_noise * unit, y.shape[1]
    if settings.noise is not None:
        return np.full(K, settings.noise * unit)
    if len(y) < 5:
        return np.full(K, least)
    d = np.diff(np.where(seen[..., None], y, np.nan), n=4, axis=0)
    count = np.isfinite(d[..., 0]).sum(0)
    spread = np.full(K, np.nan)
    known = count >= FEW
    if known.any():
        spread[known] = 1.4826 * np.nanmedian(np.abs(d[:, known]), axis=(0, 2)) / NOISE_GAIN
    others = float(np.nanmedian(spread)) if known.any() else least
    return np.maximum(np.where(known, spread, others), least)


def _edges(given: Any, keypoint_set: str | None, K: int) -> NDArray[np.intp]:
    if given is None:
        return bones(keypoint_set) if keypoint_set is not None else np.zeros((0, 2), np.intp)
    edges = np.asarray(given)
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu" or edges.min() < 0 or edges.max() >= K:
        raise InputError(f"edges must be (E, 2) indices of the {K} keypoints, 0 to {K - 1}")
    return edges.astype(np.intp)


def _checked(
    keypoints: Any, time: Any, keypoint_set: str | None, confidence: Any
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """Keypoints, times, what is seen (T, K), confidences (T, K)."""
    y, t = np.asarray(keypoints, float), np.asarray(time, float)
    if y.ndim != 3 or y.shape[2] not in (2, 3) or not y.size:
        raise InputError(f"keypoints have shape {y.shape}; (T, K, 2) or (T, K, 3) of one person needed")
    if t.shape != (len(y),) or not np.isfinite(t).all() or not (np.diff(t) > 0).all():
        raise InputError(f"time has shape {t.shape}; ({len(y)},) strictly increasing seconds needed, one a frame")
    if keypoint_set is not None and len(keypoint_names(keypoint_set)) != y.shape[1]:
        n = len(keypoint_names(keypoint_set))
        raise InputError(f"keypoints have shape {y.shape}; {keypoint_set} needs (T, {n}, 2 or 3)")
    trust = np.ones(y.shape[:2]) if confidence is None else np.asarray(confidence, float)
    if trust.shape != y.shape[:2] or (trust[np.isfinite(trust)] < 0).any():
        raise InputError(f"confidence has shape {trust.shape}; {y.shape[:2]} of numbers in 0..1 needed")
    seen = np.isfinite(y).all(-1) & (np.nan_to_num(trust) > 0)
    if not seen.any():
        raise InputError("no keypoint is seen in any frame")
    return y, t, seen, np.nan_to_num(trust)
