"""``fit``: observations in, the most probable motion of a physical skeleton out. One call a line."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physpose import dynamics
from physpose.caveats import STANDARD_GRAVITY, checked_gravity, focal_caveat, length_caveat, seat_caveat, unexplained
from physpose.chain import Frames, KinematicChain
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.contact import with_needed_support
from physpose.estimation.derivatives import derivatives
from physpose.estimation.forces import METHOD, ContactForces, Effort, ForceSettings, contact_forces
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.trajectory import Trajectory, fit_trajectory
from physpose.estimation.video_problem import CameraPrior
from physpose.io.camera import camera_from, focal_prior
from physpose.plausibility.recording import located
from physpose.progress import SILENT, Progress, Stage
from physpose.result import FitResult
from physpose.skeleton import load_skeleton
from physpose.skeleton.model import Skeleton
from physpose.sources import Observations, observe
from physpose.types import Array, Assumption, Camera, Contacts, Energy, FitStatus, Motion

CHECKS = (None, "mujoco")
EARTH = (0.0, 0.0, -9.81)
CONTACT_THRESHOLD = 0.5  # of the belief
TOUCH = 0.02  # body weights: less is no contact
SUPPORT_HEIGHT = 0.10  # [m] the lowest foot point may seem so high and yet carry the body: heights are uncertain


def fit(
    source: Any,
    skeleton: str | Path | Skeleton = "adult",
    *,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    camera: Any = None,
    person: int | None = None,
    detector: str = "mediapipe",
    keypoint_set: str | None = None,
    fps: float | None = None,
    image_size: tuple[int, int] | None = None,
    gravity: tuple[float, float, float] = EARTH,
    settings: EstimationSettings | None = None,
    check: str | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """The most probable motion of a physical skeleton, with its dynamics, from observations of a person.

    Args:
        source: a video path; a keypoint file or folder (OpenPose, AlphaPose, COCO results, MMPose JSON); an array
            (T, K, 2|3) of pixels and confidence with ``keypoint_set`` and ``fps``; or ``Keypoints2D``.
        skeleton: "adult", "child", "infant", a YAML path, or a loaded ``Skeleton``.
        age: [years]; sex: "f" or "m"; height: [m]; mass: [kg]. What is missing is filled from growth and population
            tables and reported in ``result.assumptions``.
        camera: focal length [px], ``Camera``, dict or calibration file; None: estimated from a prior for phones.
        person: index of the person to fit; None: the one seen longest and largest (reported).
        detector: for videos, "mediapipe" or "rtmlib".
        keypoint_set: of arrays and of files that do not tell.
        fps: frames per second of keypoint files and arrays; videos carry time stamps.
        image_size: width, height [px] of keypoint files and arrays that do not tell.
        gravity: (3,) [m/s^2] in the result's world, z up.
        settings: the estimator's numbers.
        check: "mujoco" also rolls the motion out there: ``result.plausibility`` then tells how much help it needs to
            stay upright.
        progress: receives stages; None is silent.

    Raises:
        PhysposeError (a ValueError): says what was given and what is possible.
    """
    progress, watch, g = progress or SILENT, _Watch(), checked_gravity(gravity)
    if check not in CHECKS:
        raise UnknownNameError("check", str(check), [c for c in CHECKS if c])
    body = skeleton if isinstance(skeleton, Skeleton) else load_skeleton(
        skeleton, age=age, sex=sex, height=height, mass=mass
    )  # fmt: skip
    size = camera.image_size if isinstance(camera, Camera) else image_size
    with watch("detection"):
        seen = observe(
            source, person=person, detector=detector, keypoint_set=keypoint_set, fps=fps, image_size=size,
            progress=progress,
        )  # fmt: skip
    prior, camera_assumption = camera_prior(camera, seen)
    with watch("estimation"), progress.stage("estimate motion", 100) as stage:
        height_known = isinstance(skeleton, Skeleton) or height is not None
        magnitude = float(np.linalg.norm(g))
        trajectory = fit_trajectory(body, seen.keypoints, prior, height_known, settings, _fraction(stage), magnitude)
    with watch("dynamics"), progress.stage("inverse dynamics"):
        body_found, q, belief = trajectory.skeleton, trajectory.q, trajectory.bearing
        motion = motion_with_dynamics(body_found, seen.keypoints.time, q, belief, g)
    return _result(motion, trajectory, seen, body, (prior, camera_assumption), g, watch.seconds, check)


def camera_prior(camera: Any, seen: Observations) -> tuple[CameraPrior, Assumption]:
    """What is known of the camera before the fit, and the line for the table of assumptions."""
    size = seen.keypoints.image_size
    if camera is not None:
        known, _ = camera_from(camera, size)
        prior = CameraPrior(
            image_size=known.image_size, focal=known.focal, sigma_log_focal=0.0, principal_point=known.principal_point
        )
        return prior, Assumption(what="focal length", value=f"{known.focal:.0f} px", source="given")
    if size is None:
        raise InputError("the keypoints do not tell the image size: give image_size=(width, height)")
    focal, sigma, source = focal_prior(size, seen.metadata)
    prior = CameraPrior(image_size=size, focal=focal, sigma_log_focal=sigma, principal_point=(size[0] / 2, size[1] / 2))
    return prior, Assumption(what="focal length prior", value=f"{focal:.0f} px +- {100 * sigma:.0f} %", source=source)


def motion_with_dynamics(
    skeleton: Skeleton,
    time: Array,
    q: Array,
    belief: Array,
    gravity: Array,
    *,
    rates: tuple[Array, Array] | None = None,
    floor: float = 0.0,
    external: Mapping[str, Array] | None = None,
) -> Motion:
    """Velocities, contact forces, torques, momentum and energy of q (T, nq).

    Args:
        skeleton: whose motion.
        time: (T,) [s].
        q: (T, nq).
        belief: (T, C) in 0..1 that a support point bears a force.
        gravity: (3,) [m/s^2], world.
        rates: v and a (T, nv) of q where they are known; None: differentiated from q.
        floor: height [m]; -inf: none.
        external: known wrenches (T, 6) on bodies besides the floor's, about the body's origin, world axes.
    """
    return dynamics_of(skeleton, time, q, belief, gravity, rates=rates, floor=floor, external=external)[0]


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
) -> tuple[Motion, ContactForces | None]:
    """As ``motion_with_dynamics``, with how the forces were found; None where nothing can bear the body."""
    chain = KinematicChain(skeleton)
    v, a = rates or derivatives(chain, time, q)
    Q, V, A, g = (torch.as_tensor(np.asarray(x, float)) for x in (q, v, a, gravity))
    frames = chain.fk(Q)
    positions, rotations = frames.p.numpy(), frames.R.numpy()
    com = dynamics.center_of_mass(chain, Q)
    wrenches = dict(external or {})
    unsupported = _inverse_dynamics(chain, Q, V, A, g, wrenches)
    contacts, found = _contacts(chain, torch.as_tensor(time), frames, com, unsupported, (belief, gravity, floor))
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
    return dynamics.rnea(chain, q, v, a, gravity=gravity, external=external).numpy()


def _contacts(
    chain: KinematicChain, time: Tensor, frames: Frames, com: Tensor, unsupported: Array,
    given: tuple[Array, Array, float],
) -> tuple[Contacts, ContactForces | None]:  # fmt: skip
    """Contacts that explain what the motion needs: ``unsupported`` (T, nv), the generalized forces without them.

    ``given``: belief (T, C), gravity (3,), height of the floor.
    """
    (belief, gravity, floor), skeleton, T = given, chain.skeleton, len(time)
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
    n = len(skeleton.contact_points)
    on_floor = belief[:, :n] > CONTACT_THRESHOLD
    if not (belief[:, n:] > CONTACT_THRESHOLD).any():
        height = where[:, :n, 2].numpy() - floor
        on_floor = with_needed_support(on_floor, height, force[:, 2].numpy() / weight, SUPPORT_HEIGHT)
    believed = belief.copy()
    believed[:, :n] = np.maximum(belief[:, :n], on_floor)
    J = chain.point_jacobian(frames, points, where)[..., 6:]
    found = contact_forces(
        time, wrench, where - com[:, None], torch.as_tensor(believed), weight=weight,
        stature=skeleton.subject.height if skeleton.subject else 1.7, effort=Effort(tau[:, 6:], J),
    )  # fmt: skip
    active = (found.force.norm(dim=-1) > TOUCH * weight).numpy()
    contacts = Contacts(
        points=tuple(p.name for p in skeleton.support_points), active=active, force=found.force.numpy(),
        method=METHOD.format(mu=ForceSettings.friction),
    )  # fmt: skip
    return contacts, found


def _body_wrenches(skeleton: Skeleton, contacts: Contacts, positions: Array, rotations: Array) -> dict[str, Array]:
    """Contact forces as wrenches (T, 6) on their bodies: force and moment about the body's origin, world axes."""
    points = located(skeleton.support_points, skeleton, positions, rotations)
    wrenches: dict[str, Array] = {}
    for c, point in enumerate(skeleton.support_points if contacts.points else ()):
        arm = points[:, c] - positions[:, skeleton.body_index(point.body)]
        wrench = np.concatenate([contacts.force[:, c], np.cross(arm, contacts.force[:, c])], 1)
        wrenches[point.body] = wrenches.get(point.body, 0.0) + wrench
    return wrenches


def _result(
    motion: Motion, trajectory: Trajectory, seen: Observations, body: Skeleton,
    camera: tuple[CameraPrior, Assumption], gravity: Array, seconds: dict[str, float], check: str | None,
) -> FitResult:  # fmt: skip
    prior, camera_assumption = camera
    residual, residual_warning = unexplained(motion, trajectory.skeleton, gravity)
    assumptions = (
        *body.assumptions,
        Assumption(what="person", value=seen.choice, source=seen.chosen_by),
        camera_assumption,
        Assumption(what="focal length", value=f"{trajectory.camera.focal:.0f} px", source="estimated"),
        Assumption(what="camera height", value=f"{trajectory.camera.position[2]:.2f} m", source="estimated"),
        residual,
    )
    warnings = (*body.warnings, *seen.warnings, *length_caveat(motion.time), *focal_caveat(trajectory.camera, prior))
    warnings += (*residual_warning, *seat_caveat(motion, trajectory.skeleton))
    if not trajectory.converged:
        warnings += (f"the estimate had not settled after {trajectory.iterations} iterations",)
    return FitResult(
        **{f: getattr(motion, f) for f in Motion.__dataclass_fields__},
        skeleton=trajectory.skeleton,
        source=str(seen.video or seen.name),
        camera=trajectory.camera,
        keypoints=seen.keypoints,
        assumptions=assumptions,
        warnings=warnings,
        gravity=gravity,
        check=check,
        status=FitStatus(
            converged=trajectory.converged, iterations=trajectory.iterations, cost=trajectory.cost, seconds=seconds,
            details={"term costs": trajectory.term_costs},
        ),
    )  # fmt: skip


class _Watch:
    """Wall time of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = clock.perf_counter()
        yield
        self.seconds[name] = clock.perf_counter() - start


def _fraction(stage: Stage) -> Any:
    return lambda fraction: stage.update(100 * fraction, 100)
