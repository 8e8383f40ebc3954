"""From markers to the most probable motion: labels put right, body and places of markers found, then the motion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.estimation.alignment import Alignment, aligned_skeleton, expanded, with_alignment
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import band_covariance
from physpose.estimation.euler_choice import continuous_angles
from physpose.estimation.joint_centres import joint_centres
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_sigma import MarkerEvidence, bound
from physpose.estimation.marker_spots import MARKER_SET, Spot
from physpose.estimation.marker_terms import MarkerDistance, MarkerOffsets
from physpose.estimation.mislabels import exchanged, find_swaps, wild_markers
from physpose.estimation.problem import EARTH_GRAVITY
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import Solution
from physpose.estimation.state import Kinematics, MarkerState, State
from physpose.estimation.terms import Term
from physpose.estimation.threads import one_thread
from physpose.estimation.trajectory import Stitched, overlapping_windows
from physpose.skeleton.model import Skeleton
from physpose.types import Array

REGISTRATION_ITERATIONS, MOTION_ITERATIONS = 60, 30
FEWEST = 3  # frames, from which a motion tells no forces worth explaining
CENTRE_SPREAD = 0.001  # [m] of a joint centre that markers tell: it is the joint by definition, its error is in sigma
ROUNDS = 3  # of putting labels right


@dataclass(frozen=True, kw_only=True)
class MarkerFit:
    """The most probable motion and what was found with it."""

    q: Array  # (T, nq)
    skeleton: Skeleton  # scaled
    spots: tuple[Spot, ...]  # the markers at the places found
    distance: Array  # (T, M) [m] from marker to its place; NaN where not seen
    used: NDArray[np.bool_]  # (T, M) seen and believed
    bearing: Array  # (T, C) belief 0..1 that a support point bears a force
    evidence: MarkerEvidence  # for ``marker_sigma``
    notes: tuple[str, ...]  # what was put right, for the user
    converged: bool
    iterations: int
    cost: float
    term_costs: dict[str, float]


def fit_markers(
    skeleton: Skeleton,
    spots: Sequence[Spot],
    time: Array,
    target: Array,
    *,
    static: Array | None = None,
    scale: bool = True,
    register: bool = True,
    height_known: bool = True,
    marker_radius: float = 0.007,
    settings: EstimationSettings | None = None,
    gravity: float | Array = EARTH_GRAVITY,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> MarkerFit:
    """The most probable motion of ``skeleton`` behind markers.

    Args:
        spots: M markers and where they sit.
        time: (T,) [s]; target: (T, M, 3) [m], world z up, NaN where not seen.
        static: (T', M, 3) of a person who stands still, with which body and markers are found too.
        scale, register: find the body's size, the markers' places; else both stay as they are.
        height_known: is the stature given.
        marker_radius: [m], for joint centres below markers.
        gravity: [m/s^2], a magnitude, or (3,) where the floor z = 0 slopes.
        on_progress: receives the fraction done.
    """
    with one_thread():
        body = replace(skeleton, scale_groups=())
        problem = MarkerProblem(body, spots, settings, gravity)
        sigma = ((problem.spread**2).mean(-1) + problem.soft_tissue**2).sqrt()
        target, state, notes = _labelled(problem, time, target, sigma)
        on_progress(0.2)
        sized, places = body, torch.zeros(3 * len(spots), 3 * len(spots), dtype=torch.float64)
        if (scale and skeleton.scale_groups) or register:
            registration = _Registration(skeleton, spots, settings, height_known, marker_radius)
            still = None if static is None else _posed_static(problem, static, sigma)
            sized, spots, places = registration.solve(time, target, state, still, scale=scale, register=register)
            body = replace(sized, scale_groups=())
            problem = MarkerProblem(body, spots, settings, gravity)
            target, state, more = _relabelled(problem, target, state)
            notes += more
        on_progress(0.4)
        target, state, wild = _without_wild(problem, target, state)
        state = replace(state, q=torch.as_tensor(continuous_angles(problem.chain, state.q.numpy())))
        evidence = MarkerEvidence(problem=problem, body=sized, time=time, target=target, start=state.q, places=places)
        solution, q = _motion(problem, time, target, state, lambda x: on_progress(0.4 + 0.6 * x))
        return _result(evidence, solution, q, (*notes, *wild))


# --- labels -----------------------------------------------------------------------------------------------------------


def _labelled(
    problem: MarkerProblem, time: Array, target: Array, sigma: Tensor
) -> tuple[Array, State, tuple[str, ...]]:
    """Markers with exchanged labels put right, poses frame by frame, and what was done."""
    notes: tuple[str, ...] = ()
    for _ in range(ROUNDS):
        state, _ = problem.posed(torch.as_tensor(target), problem.start(target, time), sigma)
        swaps = find_swaps(problem.marker_positions(state).numpy(), target, sigma.numpy())
        if not swaps:
            break
        target = exchanged(target, swaps)
        notes += _swap_notes(problem, swaps)
    return target, state, notes


def _relabelled(problem: MarkerProblem, target: Array, state: State) -> tuple[Array, State, tuple[str, ...]]:
    """The same once the markers' places are known: now neighbours can be told apart too."""
    sigma = problem.soft_tissue
    state, _ = problem.posed(torch.as_tensor(target), state, sigma)
    swaps = find_swaps(problem.marker_positions(state).numpy(), target, sigma.numpy())
    if not swaps:
        return target, state, ()
    target = exchanged(target, swaps)
    return target, problem.posed(torch.as_tensor(target), state, sigma)[0], _swap_notes(problem, swaps)


def _swap_notes(problem: MarkerProblem, swaps: dict[tuple[int, int], NDArray[np.bool_]]) -> tuple[str, ...]:
    label = [s.label for s in problem.spots]
    return tuple(
        f"markers {label[i]} and {label[j]} were exchanged in {int(f.sum())} of {len(f)} frames: put right"
        for (i, j), f in swaps.items()
    )


def _without_wild(problem: MarkerProblem, target: Array, state: State) -> tuple[Array, State, tuple[str, ...]]:
    """Markers that are far off in single frames are left out there."""
    wild = wild_markers(problem.marker_positions(state).numpy(), target)
    if not wild.any():
        return target, state, ()
    target = np.where(wild[..., None], np.nan, target)
    notes = tuple(
        f"marker {s.label} is far from its place in {int(n)} of {len(wild)} frames: left out there"
        for s, n in zip(problem.spots, wild.sum(0), strict=True)
        if n
    )
    return target, problem.posed(torch.as_tensor(target), state, problem.soft_tissue)[0], notes


# --- body and places of markers ---------------------------------------------------------------------------------------


def _posed_static(problem: MarkerProblem, static: Array, sigma: Tensor) -> tuple[Array, State]:
    """The median of a static trial as one frame (1, M, 3), and its pose."""
    never = np.isnan(static).all(0)
    frame = np.where(never, np.nan, np.nanmedian(np.where(never, 0.0, static), axis=0))[None]
    state, _ = problem.posed(torch.as_tensor(frame), problem.start(frame, np.zeros(1)), sigma)
    return frame, state


class _Registration:
    """Body scales and the markers' places, from some frames of the motion and a static one."""

    def __init__(
        self,
        skeleton: Skeleton,
        spots: Sequence[Spot],
        settings: EstimationSettings | None,
        height_known: bool,
        marker_radius: float,
    ):
        self.settings = settings or EstimationSettings()
        self.skeleton, self.spots, self.marker_radius = skeleton, tuple(spots), marker_radius
        self.height_known = height_known

    def solve(
        self,
        time: Array,
        target: Array,
        state: State,
        static: tuple[Array, State] | None,
        *,
        scale: bool,
        register: bool,
    ) -> tuple[Skeleton, tuple[Spot, ...], Tensor]:
        """The scaled skeleton, with scale groups if its size was found, the markers at their places on it, and the
        covariance of log scales and these places."""
        s = self.settings
        keep = spread_frames(time, np.isfinite(target).all(-1).sum(1), s.registration_frames)
        spots, seen = self._with_centres(target[keep])
        own_joints = self.skeleton.coordinate_map is None  # a model file's are what it says
        turnable = with_alignment(self.skeleton) if scale and own_joints else self.skeleton
        problem = MarkerProblem(turnable, spots, s, EARTH_GRAVITY)
        spacing = (time[keep[-1]] - time[keep[0]]) / max(len(keep) - 1, 1) or s.marker_correlation_time
        q = state.q[torch.as_tensor(keep)]
        weight = torch.full((len(keep),), min(1.0, spacing / s.marker_correlation_time), dtype=torch.float64)
        if static is not None:
            q = torch.cat([static[1].q, q])
            seen = np.concatenate([self._with_centres(static[0])[1], seen])
            # standing, the skin is where the markers were put on: as telling as many moving frames
            weight = torch.cat([torch.full((1,), STATIC_WEIGHT, dtype=torch.float64), weight])
        terms = self._terms(problem, torch.as_tensor(seen), weight, register)
        G, M = len(self.skeleton.scale_groups), len(spots)
        q = expanded(self.skeleton, turnable, q)
        start = MarkerState(q, torch.zeros(G, dtype=torch.float64), torch.zeros(M, 3, dtype=torch.float64))
        free = torch.cat([torch.full((G,), scale), torch.full((3 * M,), register)])
        found = problem.solve(terms, start, free, REGISTRATION_ITERATIONS, width=1).state
        body, places = self._registered(found, turnable)
        unsure = _uncertainty(problem, terms, found, free, len(self.spots), self._centres)
        own = torch.arange(G + 3 * len(self.spots)) if scale else torch.arange(G, G + 3 * len(self.spots))
        return (body if scale else replace(body, scale_groups=())), places, unsure[own][:, own]

    def _with_centres(self, target: Array) -> tuple[tuple[Spot, ...], Array]:
        """The markers and the joint centres that follow from them, with where they are (T, M', 3)."""
        if MARKER_SET not in self.skeleton.keypoint_sets:
            return self.spots, target
        points = {p.name: p for p in self.skeleton.keypoint_set(MARKER_SET).points}
        centres = {n: p.offset for n, p in points.items() if "_centre_" in n}
        if not centres:
            return self.spots, target
        seen = joint_centres(self.spots, target, centres, self.marker_radius)
        sigma = self.settings.joint_centre_sigma
        more = (Spot(label=n, point=points[n], spread=np.full(3, CENTRE_SPREAD), soft_tissue=sigma) for n in seen)
        return (*self.spots, *more), np.concatenate([target, *(x[:, None] for x in seen.values())], 1)

    def _centres(self, target: Array) -> Array:
        """(T, C, 3) [m] the joint centres that follow from the markers (T, M, 3)."""
        return self._with_centres(target)[1][:, len(self.spots) :]

    def _terms(self, problem: MarkerProblem, target: Tensor, weight: Tensor, register: bool) -> list[Term[MarkerState]]:
        s = self.settings
        distance = problem.distance(target, problem.soft_tissue, s.marker_robust)
        distance.weight = distance.weight * weight[:, None]
        rate = weight * s.posture_correlation_time
        terms: list[Term[MarkerState]] = [distance, *problem.posture_terms(rate), MarkerOffsets(problem.spread)]
        if problem.skeleton is not self.skeleton:
            terms.append(Alignment.of(problem.chain))
        if self.skeleton.scale_groups:
            terms.append(problem.body_prior(s.stature_sigma if self.height_known else s.unknown_stature_sigma))
        return terms

    def _registered(self, state: MarkerState, turnable: Skeleton) -> tuple[Skeleton, tuple[Spot, ...]]:
        scales = state.log_scales.exp().numpy()
        body = self.skeleton.scaled(scales)
        if turnable is not self.skeleton:
            body = aligned_skeleton(body, turnable, state.q)
        axis = dict(zip(self.skeleton.body_names, self.skeleton.axis_scales(scales), strict=True))
        spots = tuple(
            replace(s, point=replace(s.point, offset=s.point.offset * axis[s.point.body] + d, source="fitted"))
            for s, d in zip(self.spots, state.offsets.numpy()[: len(self.spots)], strict=True)
        )
        return body, spots


def _uncertainty(
    problem: MarkerProblem, terms: Sequence[Term[MarkerState]], state: MarkerState, free: Tensor, n_markers: int,
    centres: Callable[[Array], Array],
) -> Tensor:  # fmt: skip
    """Covariance of the shared unknowns at a solution; zero of those that were held.

    Behind ``n_markers`` spots there are joint centres by rule, ``centres`` of markers. The solution takes each frame's
    for an observation of its own; but a rule errs the same way throughout, and where its markers are misplaced it errs
    with them. Both come on top.
    """
    system = BorderedSystem(len(state.q), problem.chain.nv, state.n_shared, min(1, len(state.q) - 1))
    kin = Kinematics(problem.chain, state, problem.points)
    for term in terms:
        term.add_to(system, state, kin)
    bound(system)
    known = band_covariance(system, free)
    of_frames, of_shared = _pull_of_rules(problem, terms, kin, n_markers)
    # rows of the inverse on the shared unknowns, times what a rule's error adds to the normal equations
    moved = known.shared @ (of_shared[free] - known.response[: len(of_frames)].T @ of_frames)
    covariance = known.shared + moved @ moved.T
    if bool(free[-state.offsets.numel() :].all()):
        along = moved @ _by_misplaced(problem, kin, n_markers, centres)
        covariance = covariance + _with_misplaced(known.shared, along, problem.spread)
    found, index = torch.zeros_like(system.S), torch.nonzero(free)[:, 0]
    found[index[:, None], index] = covariance
    return found


def _with_misplaced(known: Tensor, along: Tensor, spread: Tensor) -> Tensor:
    """What misplaced markers add to the covariance ``known`` (n, n) through the rules.

    A marker off its place by its ``spread`` [m] (of all spots, the last unknowns) moves the unknowns twice: by what is
    expected of its place, which ``known`` has, and ``along`` (n, 3 M) with the joint centres: (a + b)(a + b)' - a a'.
    """
    first = len(known) - spread.numel()
    alone = -known[:, first : first + along.shape[1]] / spread.flatten()[: along.shape[1]]
    both = alone @ along.T
    return both + both.T + along @ along.T


def _by_misplaced(problem: MarkerProblem, kin: Kinematics, n_markers: int, centres: Callable[[Array], Array]) -> Tensor:
    """(3 C, 3 M) how far joint centres by rule move along the axes of their bodies, in the rules' standard deviations,
    with each marker that is off its place by its spread along an axis of its body."""
    at, R = kin.points[:1, :n_markers].numpy(), kin.R_registered[0].numpy()
    start, moved = centres(at), []
    for m in range(n_markers):
        for step in (R[m] * problem.spread[m].numpy()).T:
            there = at.copy()
            there[0, m] += step
            moved.append((centres(there) - start)[0])
    local = np.einsum("cij,kci->cjk", R[n_markers:], np.reshape(moved, (3 * n_markers, -1, 3)))
    return torch.as_tensor(local).flatten(0, 1) / problem.soft_tissue[n_markers:].repeat_interleave(3)[:, None]


def _pull_of_rules(
    problem: MarkerProblem, terms: Sequence[Term[MarkerState]], kin: Kinematics, first: int
) -> tuple[Tensor, Tensor]:
    """What one standard deviation of each joint centre's rule, along each axis of its body, adds to the normal
    equations: of the frames (T nv, 3 C) and of the shared unknowns (n_shared, 3 C)."""
    distance = next(t for t in terms if isinstance(t, MarkerDistance))
    last = len(problem.spots)
    R = kin.frames.R[:, problem.points.body[first:last]]
    R = R * (distance.believed(kin)[:, first:] * problem.soft_tissue[first:])[..., None, None]
    of_frames, of_shared = (D[:, first:last].transpose(1, 2) for D in (kin.J, kin.Js))
    frames = torch.einsum("ticn,tcij->tncj", of_frames, R)
    shared = torch.einsum("tics,tcij->scj", of_shared, R)
    return frames.flatten(2).flatten(0, 1), shared.flatten(1)


STATIC_WEIGHT = 10.0  # frames


def spread_frames(time: Array, n_seen: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Indices of at most ``n`` frames spread over the time, of each stretch one in which most markers are seen."""
    edges = np.linspace(time[0], time[-1], n + 1)
    stretch = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, n - 1)
    best = [np.flatnonzero(stretch == k) for k in range(n)]
    return np.array([f[n_seen[f].argmax()] for f in best if len(f) and n_seen[f].max() > 0])


# --- the motion -------------------------------------------------------------------------------------------------------


def _motion(
    problem: MarkerProblem, time: Array, target: Array, state: State, report: Callable[[float], None]
) -> tuple[Solution[State], Tensor]:
    """The smooth motion, window by window, from poses frame by frame."""
    s, still = problem.settings, torch.zeros(0, dtype=torch.bool)
    windows = list(overlapping_windows(time, s.window, s.overlap))
    stitched = Stitched(len(time), problem.chain.nq, len(problem.skeleton.support_points))
    solutions = []
    for i, window in enumerate(windows):
        t, part = torch.as_tensor(time[window]), replace(state, q=state.q[window])
        terms = problem.motion_terms(torch.as_tensor(target[window]), t, part.q)
        solution = problem.solve(terms, part, still, MOTION_ITERATIONS)
        if problem.explains_forces and len(t) > FEWEST:
            whole, terms = problem.with_forces(terms, solution.state, time[window])
            solution = whole.solve(terms, solution.state, still, MOTION_ITERATIONS)
        solutions.append(solution)
        stitched.add(window, solution.state.q, problem.bearing_of(solution.state, time[window]))
        report((i + 1) / len(windows))
    q, _, _ = stitched.bridged(torch.as_tensor(time))
    names = solutions[0].term_costs
    total = replace(
        solutions[0],
        cost=sum(x.cost for x in solutions),
        iterations=sum(x.iterations for x in solutions),
        converged=all(x.converged for x in solutions),
        term_costs={n: sum(x.term_costs[n] for x in solutions) for n in names},
    )
    return total, q


def _result(evidence: MarkerEvidence, solution: Solution[State], q: Tensor, notes: tuple[str, ...]) -> MarkerFit:
    problem, time, target = evidence.problem, evidence.time, evidence.target
    state = replace(solution.state, q=q)
    distance = np.linalg.norm(problem.marker_positions(state).numpy() - target, axis=-1)
    return MarkerFit(
        q=q.numpy(),
        skeleton=problem.skeleton,
        spots=problem.spots,
        distance=distance,
        used=np.asarray(np.isfinite(target).all(-1)),
        bearing=problem.bearing_of(state, time).numpy(),
        evidence=evidence,
        notes=notes,
        converged=solution.converged,
        iterations=solution.iterations,
        cost=solution.cost,
        term_costs=solution.term_costs,
    )
