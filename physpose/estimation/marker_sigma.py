"""How sure a motion is that was found from markers.

Three things are not known. What the smooth motion leaves open: its posterior covariance. How the skin slid: motions of
skin are drawn, as large as the recording's own residuals say, and followed through the normal equations. And where on
the body the markers sit, and how large it is, which were found with an error that lasts through the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain, Points
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.covariance import BandCovariance, band_covariance
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.forces import ContactForces
from physpose.estimation.marker_problem import MarkerProblem
from physpose.estimation.marker_terms import MarkerDistance, SlidingSkin
from physpose.estimation.pace import jerk_of, left_open
from physpose.estimation.skin import skin_sigma, wandering
from physpose.estimation.state import Kinematics, State
from physpose.estimation.terms import Smoothness
from physpose.estimation.threads import one_thread
from physpose.estimation.uncertainty import joined, sigma_along
from physpose.skeleton.model import Skeleton
from physpose.types import Array, Motion, Sigma

PIECE, BESIDE = 500, 50  # frames that are looked at together, and seen beside them
DRAWS = 100  # motions of the skin: a standard deviation from so many is good to 7 %
TOLD = 0.1  # share of a coordinate's jerk that the markers determine, below which they do not tell of it
ANYTHING = np.pi  # [rad; m] standard deviation of a coordinate of which nobody tells anything


@dataclass(frozen=True, kw_only=True)
class MarkerEvidence:
    """What a motion was found from."""

    problem: MarkerProblem  # of the body as it was found
    body: Skeleton  # the same, with scale groups if its size was found
    time: Array  # (T,) [s]
    target: Array  # (T, M, 3) [m]; NaN where not seen or not believed
    start: Tensor  # (T, nq) poses of single frames, which told how vigorous the motion is
    places: Tensor  # (G + 3 M, G + 3 M) covariance of log scales and markers' places [m], zero of what was given


@one_thread()
def marker_sigma(
    seen: MarkerEvidence, motion: Motion, found: ContactForces | None, bearing: Array, gravity: Array
) -> Sigma | None:
    """One standard deviation of the motion of markers.

    Args:
        seen: what it was found from.
        motion: what was found.
        found: how its forces were found; None: they were measured, or, of long motions, are found again piece by piece.
        bearing: (T, C) belief that support points bear a force.
        gravity: (3,) [m/s^2].

    Returns:
        None for fewer than three frames, which tell no accelerations.
    """
    if len(motion.time) < 3:
        return None
    skin = wander_of(seen, torch.as_tensor(motion.q))
    parts: list[tuple[slice, Sigma | None]] = []
    for cut, keep in pieces(len(motion.time)):
        covariance, jerk = marker_covariance(seen, torch.as_tensor(motion.q[cut]), skin, cut)
        part = motion.frames(cut)
        forces = _forces(seen, part, bearing[cut], gravity) if found is None else found.frames(cut)
        free = torch.ones(len(seen.body.scale_groups), dtype=torch.bool)
        sigma = sigma_along(part, covariance, seen.body, forces, gravity, free, jerk)
        parts.append((keep, sigma.frames(slice(keep.start - cut.start, keep.stop - cut.start))))
    return joined(parts, len(motion.time))


def pieces(T: int) -> Iterator[tuple[slice, slice]]:
    """Frames to look at, and those of them to keep."""
    edges = np.linspace(0, T, max(1, round(T / PIECE)) + 1).astype(int)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        yield slice(max(a - BESIDE, 0), min(b + BESIDE, T)), slice(int(a), int(b))


def _forces(seen: MarkerEvidence, motion: Motion, bearing: Array, gravity: Array) -> ContactForces | None:
    """How the forces follow from the motion; None where they were measured."""
    if motion.contacts.bodies is not None:
        return None
    usual = seen.problem.settings.usual_steps
    told = (motion.time, motion.q, bearing, gravity)
    return dynamics_of(seen.body, *told, rates=(motion.v, motion.a), walks=usual)[1]


# --- what is not known ------------------------------------------------------------------------------------------------


def marker_covariance(seen: MarkerEvidence, q: Tensor, skin: Tensor, cut: slice) -> tuple[BandCovariance, Tensor]:
    """Of the unknowns of frames ``cut``, whose poses are q (T, nq), and of the bone scales; and their jerk (T, nv).

    ``skin``: (M,) [m] how far each marker wanders. The shared unknowns are scales and places of markers, whose
    covariance is known from where they were found, and draws of how the skin slid, which as good as have one.
    """
    problem, time = seen.problem, torch.as_tensor(seen.time[cut])
    target, state = torch.as_tensor(seen.target[cut]), problem.state(q)
    kin = Kinematics(problem.chain, state, problem.points)
    skin_term = problem.skin(target, time)
    by_scales, by_places, slid = _pull(seen, skin_term, kin, _slid(time, skin, problem.settings.skin_correlation_time))
    system = BorderedSystem(len(q), problem.chain.nv, 0, min(3, len(q) - 1))
    terms = problem.motion_terms(target, time, seen.start[cut])
    for term in terms:
        term.add_to(system, state, kin)
    bound(system)
    system.B = torch.cat([by_scales, by_places, slid], -1)
    draws = torch.eye(slid.shape[-1], dtype=torch.float64) / slid.shape[-1]
    free = torch.ones(system.B.shape[-1], dtype=torch.bool)
    found = band_covariance(system, free, torch.block_diag(seen.places, draws))
    size, own = 1.0, found.of_frames()
    if (jerk := jerk_of(terms)) and len(q) > jerk.order:
        size = likely_size(jerk, state, kin, own)
    own = found.of_frames(size**2)
    covariance = replace(found, diagonal=own.diagonal, beside=own.beside)
    return covariance, size * problem.jerk(time, seen.start[cut])


def likely_size(jerk: Smoothness, state: State, kin: Kinematics, covariance: BandCovariance) -> float:
    """The likeliest size of jerk and noise together, against what the fit took them for; their ratio is the fit's.

    By evidence (pace.py): what is left of each coordinate's jerk, over how much of it the markers determine. The
    median of the coordinates that they tell of: the jerk of toes and wrists is hardly known.
    """
    system = BorderedSystem(len(state.q), jerk.sigma.shape[-1], 0, jerk.order)
    jerk.add_to(system, state, kin)
    left = jerk.squares(state)
    n = len(state.q) - jerk.order
    determined = n - left_open(system, covariance)
    told = determined > TOLD * n
    return float((left[told] / determined[told]).median().sqrt()) if told.any() else 1.0


def bound(system: BorderedSystem) -> None:
    """Coordinates of which nothing tells anything, as those of hands without markers, may be anything; they are not
    infinite."""
    system.H[0].diagonal(dim1=-2, dim2=-1).add_(1 / ANYTHING**2)


def _pull(seen: MarkerEvidence, term: SlidingSkin, kin: Kinematics, slid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How bone scales (T, nv, G), places of markers (T, nv, 3 M) and skin enter the normal equations.

    ``slid``: (T, M, 3, K) [m] motions of the skin, axes of the bodies.
    """
    T, M = term.target.shape[:2]
    points, G = seen.problem.points, len(seen.body.scale_groups)
    J, R = kin.J[:, :M], kin.frames.R[:, points.body[:M]]
    by_places = torch.einsum("tmin,tmij->tnmj", J, term.weighed(kin, R)).reshape(T, -1, 3 * M)
    by_skin = J.flatten(1, 2).mT @ term.weighed(kin, R @ slid).flatten(1, 2)
    if not G:
        return by_places[..., :0], by_places, by_skin
    moved = Points(points.body[:M], points.offset[:M])
    by_scale = KinematicChain(seen.body).scale_jacobian(kin.frames, moved, torch.zeros(G, dtype=torch.float64))
    return torch.einsum("tmin,tmig->tng", J, term.weighed(kin, by_scale)), by_places, by_skin


def _slid(time: Tensor, skin: Tensor, correlation_time: float) -> Tensor:
    """Draws (T, M, 3, DRAWS) of how the skin slid [m], in the bodies' axes."""
    generator = torch.Generator().manual_seed(0)
    paths = wandering(time, 3 * len(skin) * DRAWS, correlation_time, generator)
    return paths.reshape(len(time), len(skin), 3, DRAWS) * skin[:, None, None]


def wander_of(seen: MarkerEvidence, q: Tensor) -> Tensor:
    """How far each marker wanders (M,) [m], by what the motion q (T, nq) leaves of it."""
    problem = seen.problem
    return problem.soft_tissue * skin_sigma(*leftovers(seen, q), problem.points.body[: len(problem.spots)])


def leftovers(seen: MarkerEvidence, q: Tensor) -> tuple[Tensor, Tensor]:
    """Markers from their places (T, M, 3), world axes, over what is usual, and of each marker's three numbers how many
    the motion q (T, nq) does not follow (T, M); both 0 where it was not seen, less where it is hardly believed."""
    pieces = (slice(first, first + PIECE) for first in range(0, len(q), PIECE))
    parts = [_left(seen, q[cut], cut) for cut in pieces]
    residual, freedom = (torch.cat(x) for x in zip(*parts, strict=True))
    return residual, freedom


def _left(seen: MarkerEvidence, q: Tensor, cut: slice) -> tuple[Tensor, Tensor]:
    """As ``leftovers``, of frames ``cut``."""
    problem, target = seen.problem, torch.as_tensor(seen.target[cut])
    state = problem.state(q)
    kin = Kinematics(problem.chain, state, problem.points)
    system = BorderedSystem(len(q), problem.chain.nv, 0, 0)
    distance, *postures = problem.frame_terms(target, problem.soft_tissue)
    for term in (distance, *postures):
        term.add_to(system, state, kin)
    bound(system)
    assert isinstance(distance, MarkerDistance)
    weight = distance.believed(kin)
    J = kin.J[:, : weight.shape[1]]
    follows = (torch.linalg.solve(system.H[0][:, None], J.mT) * J.mT).sum((-2, -1)) * weight
    seen_at = weight > 0
    return weight.sqrt()[..., None] * distance.residual(kin), torch.where(seen_at, (3 - follows).clamp(min=0), 0.0)
