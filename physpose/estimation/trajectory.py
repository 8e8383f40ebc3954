"""From one person's 2D keypoints to the most probable motion: first guess, coarse passes, fine passes.

A clip up to ``settings.window`` seconds is one problem. A longer one is solved in overlapping windows, in bounded
memory: body and camera from a few pieces of the clip at a low frame rate, then window by window with both held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation import initialise
from physpose.estimation.facing import most_likely_path
from physpose.estimation.lifting import with_lifted_landmarks
from physpose.estimation.problem import EARTH_GRAVITY
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.solver import Solution
from physpose.estimation.state import CameraState, blend, resample
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Camera, Keypoints2D

CONTACT_HEIGHTS = (0.20, 0.10)  # [m] of the first coarse passes: the floor is not known well yet
COARSE_ITERATIONS, FINE_ITERATIONS = 25, 10
FINE_PASSES = 2
USUAL_STATURE = 1.7  # [m] of a skeleton that stands for nobody in particular


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """The most probable motion and what was found with it."""

    q: Array  # (T, nq)
    skeleton: Skeleton  # scaled
    camera: Camera
    contact: Array  # (T, C) belief 0..1
    converged: bool
    iterations: int
    cost: float
    term_costs: dict[str, float]


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
        if kp.landmarks is None and (settings or EstimationSettings()).lift:
            stature = skeleton.subject.height if skeleton.subject else USUAL_STATURE
            kp = with_lifted_landmarks(kp, camera.focal, camera.principal_point, stature)
        problem = VideoProblem(KinematicChain(skeleton), kp, camera, height_known, settings, gravity)
        return _fit(problem, kp, on_progress or (lambda fraction: None))


def _fit(problem: VideoProblem, kp: Keypoints2D, report: Callable[[float], None]) -> Trajectory:
    settings = problem.settings
    windows = list(overlapping_windows(kp.time, settings.window, settings.overlap))
    chosen = slice(None) if len(windows) == 1 else spread_pieces(kp.time, settings.window, settings.pieces)
    coarse = _coarse(problem, kp.frames(chosen), None)
    report(0.3)
    if len(windows) == 1:
        solution, contact = _fine(problem, kp, coarse, shared=True)
        report(1.0)
        return _trajectory(problem, [solution], solution.state.q, contact)
    return _windowed(problem, kp, coarse.solution.state, windows, report)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices: with several threads torch and BLAS are slower, on busy machines many times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Coarse:
    """A solution at low frame rate."""

    time: Tensor  # (T',)
    solution: Solution[CameraState]


def _coarse(problem: VideoProblem, kp: Keypoints2D, shared: CameraState | None) -> _Coarse:
    """Solve at a low frame rate, contacts found in between; ``shared`` holds body and camera if they are known."""
    kp = kp.frames(coarse_frames(kp.time, problem.settings.coarse_rate))
    known = shared is not None
    state = first_guess(problem, kp, shared)
    contact = problem.no_contact(kp.n_frames) if not known else problem.contacts_of(state, kp.time)
    for k, height in enumerate((*CONTACT_HEIGHTS, problem.settings.contact_height)):
        free = problem.free(scales=not known and k > 0, camera=not known)
        solution = problem.solve_on(kp, state, contact, free, COARSE_ITERATIONS)
        if k == 0 and not known:
            solution = replace(solution, state=problem.on_floor(solution.state))
        state = solution.state
        contact = problem.contacts_of(state, kp.time, problem.settings.contact_height if known else height)
    return _Coarse(torch.as_tensor(kp.time), solution)


def _fine(
    problem: VideoProblem, kp: Keypoints2D, coarse: _Coarse, *, shared: bool
) -> tuple[Solution[CameraState], Tensor]:
    """Solve on all frames from a coarse solution. Returns it and the belief in contact (T, C)."""
    q = resample(coarse.solution.state.q, coarse.time, torch.as_tensor(kp.time))
    state = replace(coarse.solution.state, q=q)
    iterations = coarse.solution.iterations
    for _ in range(FINE_PASSES):
        contact = problem.contacts_of(state, kp.time)
        solution = problem.solve_on(kp, state, contact, problem.free(scales=shared, camera=shared), FINE_ITERATIONS)
        state = solution.state
        iterations += solution.iterations
    return replace(solution, iterations=iterations), problem.contacts_of(state, kp.time)


def _windowed(
    problem: VideoProblem, kp: Keypoints2D, shared: CameraState, windows: list[slice], report: Callable[[float], None]
) -> Trajectory:
    """Window by window with body and camera held, blended where windows overlap; unseen stretches are bridged."""
    solutions: list[Solution[CameraState]] = []
    stitched = Stitched(kp.n_frames, problem.chain.nq, len(problem.skeleton.contact_points))
    for i, window in enumerate(windows):
        part = kp.frames(window)
        if np.isfinite(part.uv[0, ..., 0]).sum(1).max() >= initialise.MIN_POINTS:
            solution, contact = _fine(problem, part, _coarse(problem, part, shared), shared=False)
            stitched.add(window, solution.state.q, contact)
            solutions.append(replace(solution, state=replace(solution.state, q=solution.state.q[:0])))
        report(0.3 + 0.7 * (i + 1) / len(windows))
    return _trajectory(problem, solutions, *stitched.bridged(torch.as_tensor(kp.time)))


class Stitched:
    """Poses and contacts of a clip, put together from windows in order of time."""

    def __init__(self, T: int, nq: int, n_contacts: int):
        self.q = torch.zeros(T, nq, dtype=torch.float64)
        self.contact = torch.zeros(T, n_contacts, dtype=torch.float64)
        self.filled = torch.zeros(T, dtype=torch.bool)

    def add(self, window: slice, q: Tensor, contact: Tensor) -> None:
        """Fade from what the windows before gave to this one over the frames they share."""
        shared = slice(window.start, window.start + int(self.filled[window].sum()))
        n = shared.stop - shared.start
        w = (torch.arange(n, dtype=torch.float64)[:, None] + 1) / (n + 1)
        self.q[shared] = blend(self.q[shared], q[:n], w)
        self.contact[shared] = torch.lerp(self.contact[shared], contact[:n], w)
        self.q[shared.stop : window.stop], self.contact[shared.stop : window.stop] = q[n:], contact[n:]
        self.filled[window] = True

    def bridged(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Poses and contacts; where no window saw the person, poses lead from one sighting to the next."""
        known = self.filled
        self.q[~known] = resample(self.q[known], time[known], time[~known])
        return self.q, self.contact


def first_guess(problem: VideoProblem, kp: Keypoints2D, shared: CameraState | None) -> CameraState:
    """Start states after a few iterations without contacts; of several, frame by frame the most likely."""
    free = problem.free(scales=False, camera=False)
    guesses = [problem.posed_like_landmarks(kp, g) for g in problem.first_guesses(kp, shared)]
    solutions = [problem.solve_on(kp, g, problem.no_contact(kp.n_frames), free, 15) for g in guesses]
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
    problem: VideoProblem, solutions: list[Solution[CameraState]], q: Tensor, contact: Tensor
) -> Trajectory:
    """Tensors to the public result."""
    state = solutions[0].state
    R = state.R_camera_world.numpy()
    camera = Camera(
        image_size=problem.camera.image_size,
        focal=float(state.log_focal.exp()),
        principal_point=problem.camera.principal_point,
        R_camera_world=R,
        t=-R[:, 2] * float(state.height),
    )
    names = solutions[0].term_costs
    return Trajectory(
        q=q.numpy(),
        skeleton=problem.skeleton.scaled(state.log_scales.exp().numpy()),
        camera=camera,
        contact=contact.numpy(),
        converged=all(s.converged for s in solutions),
        iterations=sum(s.iterations for s in solutions),
        cost=sum(s.cost for s in solutions),
        term_costs={n: sum(s.term_costs[n] for s in solutions) for n in names},
    )
