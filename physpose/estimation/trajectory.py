"""From one person's 2D keypoints to the most probable motion: first guess, coarse passes, fine passes.

A clip up to ``settings.window`` seconds is one problem. A longer one is solved in overlapping windows, in bounded
memory: body and camera from a few pieces of the clip at a low frame rate, then window by window with both held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.facing import most_likely_path
from physpose.estimation.lifting import lifts, with_lifted_landmarks
from physpose.estimation.problem import EARTH_GRAVITY
from physpose.estimation.rig_problem import RigProblem
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import Solution
from physpose.estimation.state import CameraState, blend, resample
from physpose.estimation.threads import one_thread
from physpose.estimation.uncertainty import joined
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D, Sigma

CONTACT_HEIGHTS = (0.20, 0.10)  # [m] of the first coarse passes: the floor is not known well yet
COARSE_ITERATIONS, FINE_ITERATIONS = 25, 40  # at most
FINE_PASSES = 2
USUAL_STATURE = 1.7  # [m] of a skeleton that stands for nobody in particular


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The most probable motion and what was found with it."""

    q: Array  # (T, nq)
    skeleton: Skeleton  # scaled
    camera: Camera
    bearing: Array  # (T, C) belief 0..1 that a support point bears a force
    sigma: Sigma | None  # NaN where nobody was seen; None: too short
    pace: float  # jerk that was expected, against that of people who walk
    converged: bool
    iterations: int
    cost: float
    term_costs: dict[str, float]
    doubt: Array | None = None  # of the keypoints, as in ``Keypoints2D``


def fit_trajectory(
    skeleton: Skeleton,
    kp: Keypoints2D,
    camera: CameraPrior,
    height_known: bool,
    settings: EstimationSettings | None = None,
    on_progress: Callable[[float], None] | None = None,
    gravity: float = EARTH_GRAVITY,
) -> Trajectory:
    """The most probable motion of ``skeleton`` behind one person's keypoints (P = 1).

    ``gravity`` [m/s^2] is a magnitude; at zero there is no floor. ``on_progress`` receives the fraction done.
    """
    with one_thread():
        if lifts(settings or EstimationSettings(), kp, gravity):
            kp = with_lifted_landmarks(kp, camera.focal, camera.principal_point, stature_of(skeleton))
        problem = VideoProblem(KinematicChain(skeleton), kp, camera, height_known, settings, gravity)
        return replace(_fit(problem, kp, on_progress or (lambda fraction: None)), doubt=kp.doubt)


def stature_of(skeleton: Skeleton) -> float:
    """[m] of the person that a skeleton stands for."""
    return skeleton.subject.height if skeleton.subject else USUAL_STATURE


def fit_rig_trajectory(
    skeleton: Skeleton,
    kp: Keypoints2D,
    cameras: Sequence[Camera],
    height_known: bool,
    settings: EstimationSettings | None = None,
    on_progress: Callable[[float], None] | None = None,
    gravity: float = EARTH_GRAVITY,
) -> Trajectory:
    """As ``fit_trajectory``, behind what several ``cameras`` see: ``kp`` (C, T, K), undistorted, at common times."""
    with one_thread():
        problem = RigProblem(KinematicChain(skeleton), kp, cameras, height_known, settings, gravity)
        return _fit(problem, kp, on_progress or (lambda fraction: None))


def _fit(problem: VideoProblem, kp: Keypoints2D, report: Callable[[float], None]) -> Trajectory:
    settings = problem.settings
    windows = list(overlapping_windows(kp.time, settings.window, settings.overlap))
    chosen = slice(None) if len(windows) == 1 else spread_pieces(kp.time, settings.window, settings.pieces)
    coarse = _coarse(problem, kp.frames(chosen), None)
    report(0.3)
    if len(windows) == 1:
        solution, bearing, sigma = _fine(coarse, kp, shared=True)
        report(1.0)
        return _trajectory(coarse.problem, [solution], (solution.state.q, bearing, sigma))
    return _windowed(coarse.problem, kp, coarse.solution.state, windows, report)


@dataclass(frozen=True)
class _Coarse:
    """A solution at low frame rate."""

    problem: VideoProblem  # at the pace that was found
    time: Tensor  # (T',)
    solution: Solution[CameraState]


def _coarse(problem: VideoProblem, kp: Keypoints2D, shared: CameraState | None) -> _Coarse:
    """Solve at a low frame rate, contacts found in between; ``shared`` holds body and camera if they are known."""
    kp = _with_anybody(kp)
    kp = kp.frames(coarse_frames(kp.time, problem.settings.coarse_rate))
    known = shared is not None
    state = first_guess(problem, kp, shared)
    heights: tuple[float | None, ...] = (None,) * 3
    if known:
        support = problem.support_of(state, kp.time)
    else:
        state = problem.on_floor(without_floor(problem, kp, state))
        support = problem.support_of(state, kp.time, CONTACT_HEIGHTS[0], forces=False)
        heights = (CONTACT_HEIGHTS[1], problem.settings.contact_height)
    free = problem.free(scales=not known, camera=not known, focal=False)
    for height in heights:
        solution, found_with = problem.solve_on(kp, state, support, free, COARSE_ITERATIONS), support
        state = solution.state
        support = problem.support_of(state, kp.time, height)
    if not known:  # the floor is, now
        problem = problem.at_its_pace(kp, solution, found_with, free)
    return _Coarse(problem, torch.as_tensor(kp.time), solution)


def _with_anybody(kp: Keypoints2D) -> Keypoints2D:
    """The frames that show somebody: at a low rate others would take their place."""
    seen = np.flatnonzero(np.isfinite(kp.uv).any((0, 2, 3)))
    return kp.frames(seen) if len(seen) else kp


def without_floor(problem: VideoProblem, kp: Keypoints2D, state: CameraState) -> CameraState:
    """Motion, camera and body from what is seen, without floor or forces; the focal length is found here alone.

    It is all but free along with the lengths of steps, and smoothness likes both small: with feet that must not slide,
    it would be taken some 10 % too short. What is wrong with one part of a model is cut off from what another part
    knows better (Plummer 2015, Stat Comput 25:37, cutting feedback).
    """
    support = problem.no_support(kp.n_frames)
    for scales in (False, True):
        free = problem.free(scales=scales, camera=True)
        state = problem.solve_on(kp, state, support, free, COARSE_ITERATIONS).state
    return state


def _fine(coarse: _Coarse, kp: Keypoints2D, *, shared: bool) -> tuple[Solution[CameraState], Tensor, Sigma | None]:
    """Solve on all frames from a coarse solution: it, the belief that support points bear (T, C), how sure it is."""
    problem = coarse.problem
    q = resample(coarse.solution.state.q, coarse.time, torch.as_tensor(kp.time))
    state = replace(coarse.solution.state, q=q)
    iterations, free = coarse.solution.iterations, problem.free(scales=shared, camera=shared, focal=False)
    for _ in range(FINE_PASSES):
        support = problem.support_of(state, kp.time)
        solution = problem.solve_on(kp, state, support, free, FINE_ITERATIONS)
        state = solution.state
        iterations += solution.iterations
    bearing = problem.bearing_of(state, kp.time)
    unsure = problem.free(scales=shared, camera=shared)  # held or not, nobody knows the focal length
    return replace(solution, iterations=iterations), bearing, problem.sigma(kp, state, support, bearing, unsure)


def _windowed(
    problem: VideoProblem, kp: Keypoints2D, shared: CameraState, windows: list[slice], report: Callable[[float], None]
) -> Trajectory:
    """Window by window with body and camera held, blended where windows overlap; unseen stretches are bridged."""
    solutions: list[Solution[CameraState]] = []
    stitched = Stitched(kp.n_frames, problem.chain.nq, len(problem.skeleton.support_points))
    for i, window in enumerate(windows):
        part = kp.frames(window)
        if problem.sees(part):
            solution, bearing, sigma = _fine(_coarse(problem, part, shared), part, shared=False)
            stitched.add(window, solution.state.q, bearing, sigma)
            solutions.append(replace(solution, state=replace(solution.state, q=solution.state.q[:0])))
        report(0.3 + 0.7 * (i + 1) / len(windows))
    return _trajectory(problem, solutions, stitched.bridged(torch.as_tensor(kp.time)))


class Stitched:
    """Poses and beliefs of a clip, put together from windows in order of time."""

    def __init__(self, T: int, nq: int, n_supports: int):
        self.q = torch.zeros(T, nq, dtype=torch.float64)
        self.bearing = torch.zeros(T, n_supports, dtype=torch.float64)
        self.filled = torch.zeros(T, dtype=torch.bool)
        self.sigma: list[tuple[slice, Sigma | None]] = []

    def add(self, window: slice, q: Tensor, bearing: Tensor, sigma: Sigma | None = None) -> None:
        """Fade from what the windows before gave to this one over the frames they share."""
        shared = slice(window.start, window.start + int(self.filled[window].sum()))
        n = shared.stop - shared.start
        w = (torch.arange(n, dtype=torch.float64)[:, None] + 1) / (n + 1)
        self.q[shared] = blend(self.q[shared], q[:n], w)
        self.bearing[shared] = torch.lerp(self.bearing[shared], bearing[:n], w)
        self.q[shared.stop : window.stop], self.bearing[shared.stop : window.stop] = q[n:], bearing[n:]
        self.filled[window] = True
        self.sigma.append((window, sigma))

    def bridged(self, time: Tensor) -> tuple[Tensor, Tensor, Sigma | None]:
        """Poses, beliefs, sigma; where no window saw the person, poses lead from one sighting to the next."""
        known = self.filled
        self.q[~known] = resample(self.q[known], time[known], time[~known])
        return self.q, self.bearing, joined(self.sigma, len(self.q))


def first_guess(problem: VideoProblem, kp: Keypoints2D, shared: CameraState | None) -> CameraState:
    """Start states after a few iterations without contacts; of several, frame by frame the most likely."""
    free = problem.free(scales=False, camera=False)
    guesses = [problem.posed_like_landmarks(kp, g) for g in problem.first_guesses(kp, shared)]
    solutions = [problem.solve_on(kp, g, problem.no_support(kp.n_frames), free, 15) for g in guesses]
    if len(solutions) == 1:
        return solutions[0].state
    costs = torch.stack([problem.frame_costs(kp, s.state) for s in solutions])
    poses = torch.stack([s.state.q for s in solutions])
    path = most_likely_path(torch.as_tensor(kp.time), costs, poses[:, :, 3:7])
    return replace(solutions[0].state, q=poses[path, torch.arange(kp.n_frames)])


def coarse_frames(time: Array, rate: float) -> NDArray[np.intp]:
    """Indices of frames about 1/rate apart, first and last among them; gaps in ``time`` cost nothing."""
    steps = np.minimum(np.diff(time, prepend=time[0]), 2 / rate)
    progress = np.floor(np.cumsum(steps) * rate + 1e-6)
    keep = np.diff(progress, prepend=-1) > 0
    keep[[0, -1]] = True
    return np.flatnonzero(keep)


def overlapping_windows(time: Array, length: float, overlap: float) -> Iterator[slice]:
    """Slices of about ``length`` seconds that share ``overlap`` seconds with the one before."""
    n = max(1, int(np.ceil((time[-1] - time[0] - overlap) / (length - overlap))))
    edges = np.linspace(time[0], time[-1] - overlap, n + 1) if n > 1 else np.array([time[0], time[-1]])
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        start = int(np.searchsorted(time, a))
        stop = len(time) if b == edges[-1] else int(np.searchsorted(time, b + overlap, side="right"))
        if start < stop:  # none lies in a long gap
            yield slice(start, stop)


def spread_pieces(time: Array, total: float, n: int) -> NDArray[np.intp]:
    """Indices of ``n`` pieces, ``total`` seconds together, spread evenly over the clip."""
    length = total / n
    starts = np.linspace(time[0], time[-1] - length, n)
    return np.flatnonzero([any(s <= t <= s + length for s in starts) for t in time])


def _trajectory(
    problem: VideoProblem,
    solutions: list[Solution[CameraState]],
    found: tuple[Tensor, Tensor, Sigma | None],
) -> Trajectory:
    """Tensors to the public result; ``found``: poses, beliefs, sigma."""
    q, bearing, sigma = found
    state = solutions[0].state
    names = solutions[0].term_costs
    return Trajectory(
        q=q.numpy(),
        skeleton=problem.skeleton.scaled(state.log_scales.exp().numpy()),
        camera=problem.camera_of(state),
        bearing=bearing.numpy(),
        sigma=sigma,
        pace=problem.pace,
        converged=all(s.converged for s in solutions),
        iterations=sum(s.iterations for s in solutions),
        cost=sum(s.cost for s in solutions),
        term_costs={n: sum(s.term_costs[n] for s in solutions) for n in names},
    )
