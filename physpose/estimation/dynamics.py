"""The dynamics of a motion that is known: rates, contact forces, torques, momentum, energy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from physpose import dynamics
from physpose.chain import Frames, KinematicChain
from physpose.estimation.contact import with_needed_support
from physpose.estimation.derivatives import derivatives
from physpose.estimation.forces import HELD, METHOD, WALKED, ContactForces, Effort, ForceSettings, contact_forces
from physpose.estimation.step_forces import Gait, StepForces, step_forces
from physpose.estimation.threads import one_thread
from physpose.plausibility.recording import STANDARD_GRAVITY, located
from physpose.skeleton.model import HOLD, Skeleton
from physpose.types import Array, Contacts, Energy, Motion

CONTACT_THRESHOLD = 0.5  # of the belief
TOUCH = 0.02  # body weights: less is no contact
LONGEST = 8000  # frames whose forces are found at once: a window of 30 s at 240 frames a second has to fit
PIECE, OVERLAP = 4000, 30  # of longer motions, frames whose forces are found together, and seen beside them
STEEPEST_WALK = 0.02  # sine of a slope: of steeper ones it was not measured how people walk
SUPPORT_HEIGHT = 0.10  # [m] the lowest foot point may seem so high and yet carry the body: heights are uncertain


@one_thread()
def dynamics_of(
    skeleton: Skeleton,
    time: Array,
    q: Array,
    belief: Array,
    gravity: Array,
    *,
    rates: tuple[Array, Array] | None = None,
    floor: float = 0.0,
    external: Mapping[str, Array] | None = None,
    walks: bool = False,
) -> tuple[Motion, ContactForces | None]:
    """Velocities, contact forces, torques, momentum and energy of q (T, nq).

    Args:
        skeleton: whose motion.
        time: (T,) [s].
        q: (T, nq).
        belief: (T, C) in 0..1 that a support point bears a force; of contact points alone, there is no seat.
        gravity: (3,) [m/s^2], world.
        rates: v and a (T, nv) of q where they are known; None: differentiated from q.
        floor: height [m]; -inf: none.
        external: known wrenches (T, 6) on bodies besides the floor's, about the body's origin, world axes.
        walks: expect of feet that walk what plates measured under people: of motions found from markers.

    Returns:
        The motion, and how its forces were found; None where nothing can bear the body, and of long motions, whose
        forces are found piece by piece.
    """
    chain = KinematicChain(skeleton)
    v, a = rates or derivatives(chain, time, q)
    Q, V, A, g = (torch.as_tensor(np.asarray(x, float)) for x in (q, v, a, gravity))
    frames = chain.fk(Q)
    positions, rotations = frames.p.numpy(), frames.R.numpy()
    com = dynamics.center_of_mass(chain, Q)
    wrenches = dict(external or {})
    unsupported = _inverse_dynamics(chain, Q, V, A, g, wrenches)
    find = _contacts if len(time) <= LONGEST else _contacts_in_pieces
    steps = _steps(chain, time, frames, com, belief, gravity) if walks else None
    contacts, found = find(chain, torch.as_tensor(time), frames, com, unsupported, (belief, gravity, floor, steps))
    for name, wrench in _body_wrenches(skeleton, contacts, positions, rotations).items():
        wrenches[name] = wrenches.get(name, 0.0) + wrench
    tau = _inverse_dynamics(chain, Q, V, A, g, wrenches)
    kinetic, potential = dynamics.energy(chain, Q, V, gravity=g)
    motion = Motion(
        time=time, q=q, v=v, a=a, tau=tau, positions=positions, rotations=rotations, com=com.numpy(),
        contacts=contacts, momentum=dynamics.centroidal_momentum(chain, Q, V).numpy(),
        energy=Energy(kinetic=kinetic.numpy(), potential=potential.numpy()), power=tau * v,
    )  # fmt: skip
    return motion, found


def _inverse_dynamics(
    chain: KinematicChain, q: Tensor, v: Tensor, a: Tensor, gravity: Tensor, wrenches: Mapping[str, Array]
) -> Array:
    external = {name: torch.as_tensor(np.asarray(w, float)) for name, w in wrenches.items()}
    # a motion asks twice: the kernel would save milliseconds, and loading Warp takes a third of a second
    return dynamics.rnea(chain, q, v, a, gravity=gravity, external=external, engine="pinocchio").numpy()


def _contacts(
    chain: KinematicChain, time: Tensor, frames: Frames, com: Tensor, unsupported: Array,
    given: tuple[Array, Array, float, StepForces | None],
) -> tuple[Contacts, ContactForces | None]:  # fmt: skip
    """Contacts that explain what the motion needs: ``unsupported`` (T, nv), the generalized forces without them.

    ``given``: belief (T, C), gravity (3,), height of the floor, what is expected of feet that walk.
    """
    (belief, gravity, floor, steps), skeleton, T = given, chain.skeleton, len(time)
    if not skeleton.support_points or skeleton.bodies[0].joint.kind != "free":
        why = "the world carries the body" if skeleton.support_points else "the body has no contact points"
        nowhere = np.zeros((T, 0, 3))
        return Contacts(points=(), active=nowhere[..., 0] > 0, force=nowhere, method=f"none: {why}"), None
    points = chain.points(skeleton.support_points)
    where = chain.locate(frames, points)
    tau = torch.as_tensor(unsupported)
    force, moment = ((frames.R[:, 0] @ tau[:, i : i + 3, None])[..., 0] for i in (0, 3))
    wrench = torch.cat([force, moment + torch.linalg.cross(frames.p[:, 0] - com, force)], 1)
    weight = skeleton.mass * (float(np.linalg.norm(gravity)) or STANDARD_GRAVITY)
    n, n_holds = len(skeleton.contact_points), len(skeleton.hold_points)
    on_floor = belief[:, :n] > CONTACT_THRESHOLD
    floor_believed = (belief[:, :n] > 0).any()  # a belief is never quite zero where there may be a floor
    if floor_believed and not (belief[:, n:] > CONTACT_THRESHOLD).any():
        height = where[:, :n, 2].numpy() - floor
        on_floor = with_needed_support(on_floor, height, force[:, 2].numpy() / weight, SUPPORT_HEIGHT)
    believed = np.zeros((T, len(skeleton.support_points)))
    believed[:, : belief.shape[1]] = belief
    believed[:, :n] = np.maximum(belief[:, :n], on_floor)
    J = chain.point_jacobian(frames, points, where)[..., 6:]
    solve = partial(
        contact_forces, time, wrench, where - com[:, None], torch.as_tensor(believed), weight=weight,
        stature=skeleton.subject.height if skeleton.subject else 1.7, effort=Effort(tau[:, 6:], J), n_holds=n_holds,
    )  # fmt: skip
    found = solve()
    if steps and (steps := steps.borne_out(found.force / weight)):
        found = solve(steps=steps)
    active = (found.force.norm(dim=-1) > TOUCH * weight).numpy()
    contacts = Contacts(
        points=tuple(p.name for p in skeleton.support_points), active=active, force=found.force.numpy(),
        method=_method(skeleton, found.settled, steps),
    )  # fmt: skip
    return contacts, found


def _steps(
    chain: KinematicChain, time: Array, frames: Frames, com: Tensor, belief: Array, gravity: Array
) -> StepForces | None:
    """What is expected of feet that walk on level ground; None: nothing."""
    size = float(np.linalg.norm(gravity))
    if not size or float(np.linalg.norm(gravity[:2])) > STEEPEST_WALK * size:
        return None
    points = chain.locate(frames, chain.points(chain.skeleton.support_points)).numpy()
    positions, facing = frames.p.numpy(), frames.R[:, 0, :, 0].numpy()
    believed = np.zeros(points.shape[:2])
    believed[:, : belief.shape[1]] = belief
    return step_forces(Gait(chain.skeleton, time, positions, facing, com.numpy(), points), believed)


def _method(skeleton: Skeleton, settled: bool, steps: StepForces | None) -> str:
    """How the forces were found, in words."""
    holds = ", ".join(h.name.removeprefix(HOLD) for h in skeleton.hold_points)
    found = METHOD.format(mu=ForceSettings.friction) + (HELD.format(holds=holds) if holds else "")
    return found + (WALKED if steps else "") + ("" if settled else "; the iteration had not settled")


def _contacts_in_pieces(
    chain: KinematicChain, time: Tensor, frames: Frames, com: Tensor, unsupported: Array,
    given: tuple[Array, Array, float, StepForces | None],
) -> tuple[Contacts, None]:  # fmt: skip
    """As ``_contacts``, in bounded memory: pieces that overlap, since forces change smoothly."""
    belief, gravity, floor, steps = given
    parts = []
    for start in range(0, len(time), PIECE):
        end = min(start + PIECE, len(time))
        cut = slice(max(start - OVERLAP, 0), min(end + OVERLAP, len(time)))
        piece, _ = _contacts(
            chain, time[cut], _frames(frames, cut), com[cut], unsupported[cut],
            (belief[cut], gravity, floor, steps and steps.frames(cut)),
        )  # fmt: skip
        parts.append(piece.frames(slice(start - cut.start, end - cut.start)))
    active, force = (np.concatenate([getattr(p, name) for p in parts]) for name in ("active", "force"))
    method = max((p.method for p in parts), key=len)  # the one that has not settled, if any
    return Contacts(points=parts[0].points, active=active, force=force, method=method), None


def _frames(frames: Frames, cut: slice) -> Frames:
    x = frames.expanded
    expanded = None if x is None else type(x)(*(y[cut] for y in x))
    return Frames(frames.R[cut], frames.p[cut], frames.axes[cut], frames.origins[cut], expanded)


def _body_wrenches(skeleton: Skeleton, contacts: Contacts, positions: Array, rotations: Array) -> dict[str, Array]:
    """Contact forces as wrenches (T, 6) on their bodies: force and moment about the body's origin, world axes."""
    points = located(skeleton.support_points, skeleton, positions, rotations)
    wrenches: dict[str, Array] = {}
    for c, point in enumerate(skeleton.support_points if contacts.points else ()):
        arm = points[:, c] - positions[:, skeleton.body_index(point.body)]
        wrench = np.concatenate([contacts.force[:, c], np.cross(arm, contacts.force[:, c])], 1)
        wrenches[point.body] = wrenches.get(point.body, 0.0) + wrench
    return wrenches
