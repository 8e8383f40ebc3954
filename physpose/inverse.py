"""``inverse_dynamics``: a known motion and measured forces in, the joint torques out. One call a line."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from physpose import dynamics
from physpose.caveats import checked_gravity
from physpose.chain import KinematicChain
from physpose.dynamics.simbody import simbody_difference
from physpose.errors import InputError
from physpose.estimation.plates import Assignment, PlateSettings, assign_to_feet, check_bodies
from physpose.io.amass import is_amass_file, read_amass
from physpose.io.forces import Forces, read_forces
from physpose.known_motion import Kinematics, read_motion, taken_skeleton
from physpose.plausibility.settings import PlausibilitySettings
from physpose.residuals import ResidualReport, residual_report, unsupported_report
from physpose.result import FitResult
from physpose.saved import is_saved_result, load_result
from physpose.skeleton import load_skeleton
from physpose.skeleton.load import refuse_description
from physpose.skeleton.model import Skeleton
from physpose.skeleton.smpl_file import is_smpl_file, read_smpl_file, same_shapes, sex_in_path
from physpose.types import Array, Assumption, Contacts, Energy, FitStatus, Motion, Wrench

EARTH = (0.0, 0.0, -9.81)  # [m/s^2]
MEASURED = "measured: force plates, each given to the foot that stood on it"
NONE = "no external forces: none were given"


def inverse_dynamics(
    motion: Any,
    skeleton: str | Path | Skeleton | None = None,
    *,
    forces: str | Path | Forces | None = None,
    lowpass: float | None = None,
    force_lowpass: float | str | None = None,
    bodies: Mapping[str, str] | None = None,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    gravity: tuple[float, float, float] | None = None,
    degrees: bool | None = None,
    plates: PlateSettings | None = None,
    limits: PlausibilitySettings | None = None,
    like_opensim: bool = False,
) -> FitResult:
    """Joint torques, contact forces, momentum and energy of a motion that is known: OpenSim's inverse dynamics.

    Args:
        motion: .mot or .sto with coordinates by name, .bvh, .npz (AMASS's too: its betas shape a body model's file,
            unless a height is given), arrays (time (T,), q (T, nq)), a ``FitResult`` or a folder that one was saved in.
        skeleton: "adult", "child", "infant", a file (.osim, .yaml, .xml, a body model's .npz), or a loaded one. None:
            a result's own, else "adult".
        forces: .mot, .sto, .c3d, or OpenSim's external loads .xml; or ``Forces``. Forces that name no body are given to
            the foot that made them. None: nothing touches the body, and all that its motion needs appears at the root.
        lowpass: cutoff [Hz] of the zero-lag filter of the motion, as OpenSim's tool has it; None: not filtered.
        force_lowpass: the same for the forces; None: not filtered, as in OpenSim's tool; "same": as the motion.
        bodies: force -> body, against the automatic choice.
        age: [years]; this and the next three for the named skeletons and body models.
        sex: "f" or "female", "m" or "male", or "x", the mean of both.
        height: [m].
        mass: [kg].
        gravity: (3,) [m/s^2], world z up; None: the result's or the model file's, else (0, 0, -9.81).
        degrees: of the angles in a .mot or .sto, against its header.
        plates: numbers of the assignment.
        limits: whose ``residual_force`` and ``residual_moment`` are the residuals above which a warning is given.
        like_opensim: add what OpenSim's torques have beyond exact ones where one coordinate drives several turns
            (``dynamics.simbody``: some 0.1 N.m at the hip in walking), to reproduce its numbers.

    Returns:
        A ``FitResult`` without camera, keypoints and sigma; frames are those of the motion. ``contacts.valid`` tells in
        which the forces were measured completely; ``result.tau[:, :6]`` is the residual at the root.

    Raises:
        PhysposeError (a ValueError): says what was given and what is possible.
    """
    start = clock.perf_counter()
    who: dict[str, Any] = {"age": age, "sex": sex, "height": height, "mass": mass}
    motion = load_result(motion) if skeleton is None and is_saved_result(motion) else motion
    own = isinstance(motion, FitResult)
    nobodys = skeleton is None and not own and isinstance(motion, (str, Path))
    skeleton = (motion.skeleton if own else "adult") if skeleton is None else skeleton
    if isinstance(skeleton, Skeleton):
        refuse_description(**who)
    body = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(skeleton, **shape_of(motion, skeleton, who))
    check_masses(body)
    known_gravity = (gravity, motion.gravity if own else None, body.gravity, EARTH)
    g = checked_gravity(next(x for x in known_gravity if x is not None))
    known = read_motion(motion, body, lowpass=lowpass, degrees=degrees)
    known = replace(known, warnings=(*taken_skeleton(body), *known.warnings)) if nobodys else known
    measured = measured_forces(forces, known.time, lowpass, force_lowpass, bodies, body)
    moved, of_forces = with_torques(known, body, g, measured, plates)
    moved, opensim = _like_opensim(KinematicChain(body), moved) if like_opensim else (moved, ())
    moved, residual = with_residual(moved, body, g, limits, plates)
    evidence: tuple[Evidence, ...] = (body, known, *opensim, *of_forces, *residual)
    return _finished(moved, known, body, g, evidence, clock.perf_counter() - start)


def with_torques(
    known: Kinematics, body: Skeleton, gravity: Array, measured: Forces | None, plates: PlateSettings | None = None
) -> tuple[Motion, tuple[Evidence, ...]]:
    """The motion with the measured forces given to the bodies that made them, and its torques."""
    chain = KinematicChain(body)
    positions, rotations = _poses(chain, known.q)
    given = assign_to_feet(measured, body, known.time, positions, rotations, plates) if measured else None
    contacts = contacts_of(given, body, known.time, positions, rotations)
    moved = _dynamics(chain, known, positions, rotations, contacts, gravity)
    return moved, (measured, given) if measured and given else ()


def shape_of(motion: Any, skeleton: str | Path, who: dict[str, Any]) -> dict[str, Any]:
    """Who moves; of an AMASS motion on a body model's file also the betas, and the sex where nothing else tells it."""
    if not (isinstance(motion, (str, Path)) and is_smpl_file(skeleton) and is_amass_file(motion)):
        return who
    file, model = read_amass(motion), read_smpl_file(skeleton)
    who = {**who, "sex": who["sex"] or sex_in_path(Path(skeleton)) or file.sex}
    if who["height"] is not None or not same_shapes(file.family, model.family):
        return who
    return {**who, "betas": file.betas[: model.shapedirs.shape[-1]]}


def check_masses(skeleton: Skeleton) -> None:
    """Refuse a body without masses."""
    if skeleton.mass <= 0:
        raise InputError(
            f"{skeleton.name} has no masses, so its motion tells no torques; give a skeleton whose bodies have masses"
        )


def _poses(chain: KinematicChain, q: Array) -> tuple[Array, Array]:
    frames = chain.fk(torch.as_tensor(q))
    return frames.p.detach().numpy(), frames.R.detach().numpy()


# --- forces -----------------------------------------------------------------------------------------------------------


def measured_forces(
    forces: str | Path | Forces | None,
    time: Array,
    lowpass: float | None,
    force_lowpass: float | str | None,
    bodies: Mapping[str, str] | None,
    skeleton: Skeleton,
) -> Forces | None:
    """The forces of a file at the motion's times (T,) [s], checked; None without any.

    Args as ``inverse_dynamics`` takes them.
    """
    if forces is None:
        if force_lowpass is not None or bodies:
            raise InputError(f"{'force_lowpass' if force_lowpass is not None else 'bodies'}= is of measured forces: "
                             "give forces=, or leave it out")  # fmt: skip
        return None
    if isinstance(force_lowpass, str) and force_lowpass != "same":
        raise InputError(f"force_lowpass is {force_lowpass!r}; a number [Hz], 'same' or None is needed")
    loaded = forces if isinstance(forces, Forces) else read_forces(forces)
    if bodies:
        loaded = loaded.named(**bodies)
    check_bodies(loaded, skeleton)
    _check_overlap(loaded, time)
    return loaded.at(time, lowpass if force_lowpass == "same" else force_lowpass)  # type: ignore[arg-type]


def _check_overlap(forces: Forces, time: Array) -> None:
    start, end = min(w.time[0] for w in forces.wrenches), max(w.time[-1] for w in forces.wrenches)
    if end < time[0] or start > time[-1]:
        raise InputError(
            f"{forces.source}: the forces run from {start:g} to {end:g} s, the motion from {time[0]:g} to {time[-1]:g} "
            "s: they are not of the same recording, or their clocks differ"
        )


def contacts_of(
    given: Assignment | None, skeleton: Skeleton, time: Array, positions: Array, rotations: Array
) -> Contacts:
    """Measured forces in world axes, as ``Contacts``; none without any."""
    wrenches = given.wrenches if given else ()
    T, C = len(time), len(wrenches)
    force, where, moment = (np.zeros((T, C, 3)) for _ in range(3))
    for c, w in enumerate(wrenches):
        R = _frame(w.force_frame, skeleton, rotations)
        force[:, c] = np.einsum("tij,tj->ti", R, w.force)
        moment[:, c] = np.einsum("tij,tj->ti", R, w.free_moment)
        where[:, c] = _point(w, skeleton, positions, rotations)
    acts = np.linalg.norm(force, axis=-1) > PlateSettings.min_force
    return Contacts(
        points=tuple(_name(w) for w in wrenches),
        active=acts,
        force=force,
        method=MEASURED if given else NONE,
        bodies=tuple(str(w.body) for w in wrenches),
        positions=where,
        free_moment=moment,
        valid=given.valid if given else None,
    )


def _name(w: Wrench) -> str:
    """E.g. "plate_1_calcn_r"."""
    return "_".join(f"{w.name} {w.body}".split())


def _frame(name: str, skeleton: Skeleton, rotations: Array) -> Array:
    if name == "world":
        return np.broadcast_to(np.eye(3), (len(rotations), 3, 3))
    return rotations[:, skeleton.body_index(name)]


def _point(w: Wrench, skeleton: Skeleton, positions: Array, rotations: Array) -> Array:
    """Point of application (T, 3) [m], world; where there is none, and no force, the body's origin."""
    own = positions[:, skeleton.body_index(str(w.body))]
    if w.point_frame != "world":
        i = skeleton.body_index(w.point_frame)
        return positions[:, i] + np.einsum("tij,tj->ti", rotations[:, i], w.cop)
    return np.where(np.isfinite(w.cop).all(axis=1, keepdims=True), w.cop, own)


def body_wrenches(contacts: Contacts, skeleton: Skeleton, positions: Array) -> dict[str, Array]:
    """Body -> wrench (T, 6) [N, N.m] about its origin, world axes, of measured contacts."""
    wrenches: dict[str, Array] = {}
    for c, body in enumerate(contacts.bodies or ()):
        assert contacts.positions is not None
        assert contacts.free_moment is not None
        arm = contacts.positions[:, c] - positions[:, skeleton.body_index(body)]
        moment = np.cross(arm, contacts.force[:, c]) + contacts.free_moment[:, c]
        wrenches[body] = wrenches.get(body, 0.0) + np.concatenate([contacts.force[:, c], moment], 1)
    return wrenches


# --- dynamics ---------------------------------------------------------------------------------------------------------


def _dynamics(
    chain: KinematicChain, known: Kinematics, positions: Array, rotations: Array, contacts: Contacts, g: Array
) -> Motion:
    q, v, a, gravity = (torch.as_tensor(x) for x in (known.q, known.v, known.a, g))
    external = {n: torch.as_tensor(w) for n, w in body_wrenches(contacts, chain.skeleton, positions).items()}
    # tau = M a + h - sum J^T f
    tau = dynamics.rnea(chain, q, v, a, gravity=gravity, external=external or None).detach().numpy()
    kinetic, potential = (e.detach().numpy() for e in dynamics.energy(chain, q, v, gravity=gravity))
    return Motion(
        time=known.time, q=known.q, v=known.v, a=known.a, tau=tau, positions=positions, rotations=rotations,
        com=dynamics.center_of_mass(chain, q).detach().numpy(), contacts=contacts,
        momentum=dynamics.centroidal_momentum(chain, q, v).detach().numpy(),
        energy=Energy(kinetic=kinetic, potential=potential), power=tau * known.v,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Note:
    """An assumption of its own."""

    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...] = ()


def _like_opensim(chain: KinematicChain, motion: Motion) -> tuple[Motion, tuple[_Note, ...]]:
    """With OpenSim's own deviation from the equations of motion."""
    difference = simbody_difference(chain, torch.as_tensor(motion.q), torch.as_tensor(motion.v)).detach().numpy()
    tau = motion.tau + difference
    line = Assumption(
        what="torques", value=f"as OpenSim has them, up to {np.abs(difference).max():.2g} N.m or N off the exact ones",
        source="given",
    )  # fmt: skip
    return replace(motion, tau=tau, power=tau * motion.v), (_Note(assumptions=(line,)),)


def _finished(
    motion: Motion, known: Kinematics, body: Skeleton, gravity: Array, evidence: Sequence[Evidence], seconds: float
) -> FitResult:
    """The result, with what each step assumed and doubts."""
    return FitResult(
        **{f: getattr(motion, f) for f in Motion.__dataclass_fields__},
        skeleton=body,
        source=known.source,
        camera=None,
        keypoints=None,
        assumptions=tuple(a for e in evidence for a in e.assumptions),
        warnings=tuple(w for e in evidence for w in e.warnings),
        gravity=gravity,
        status=FitStatus(
            converged=True, iterations=0, cost=0.0, seconds={"inverse dynamics": seconds},
            details=next((e.details for e in evidence if isinstance(e, ResidualReport)), {}),
        ),
    )  # fmt: skip


class Evidence(Protocol):
    """What a step of the way assumed, and what a careful reader should doubt."""

    @property
    def assumptions(self) -> tuple[Assumption, ...]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...


def with_residual(
    motion: Motion, body: Skeleton, gravity: Array, limits: PlausibilitySettings | None, plates: PlateSettings | None
) -> tuple[Motion, tuple[Evidence, ...]]:
    """The motion with the frames in which a force was missing marked, and the report; without forces the report alone.

    The motion's contacts are measured ones, or none; limits and plates None: their defaults.
    """
    if motion.contacts.valid is None:
        return motion, (unsupported_report(motion, body, gravity, plates),)
    report = residual_report(motion, body, gravity, limits or PlausibilitySettings(), plates)
    return replace(motion, contacts=replace(motion.contacts, valid=report.valid)), (report,)
