"""Skeletons from body models of the SMPL family, from the user's own licensed file: SMPL (Loper et al. 2015), SMPL-H
(Romero et al. 2017), SMPL-X (Pavlakos et al. 2019).

Bodies carry the model's joint names (``left_knee`` is the shank, which turns about the left knee), in its order; each
joint is a ball, the pelvis is free. Body frames are turned to this package's axes, x forward, y up, z to the right, so
that rotation vectors (x, y, z)_model become (z, y, -x); see ``physpose.conventions``. Masses come from the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from physpose.conventions import R_BODY_SMPL, UPRIGHT_XYZW
from physpose.errors import InputError, MissingPackageError, SubjectError
from physpose.skeleton.files import Sex
from physpose.skeleton.growth import age_of_height
from physpose.skeleton.mesh_mass import cut, is_solid, mass_properties, pseudo_inertias
from physpose.skeleton.model import Body, Joint, Skeleton, Skin, Subject
from physpose.skeleton.smpl_file import TITLES, Family, FilePath, SmplFile, read_smpl_file, sex_in_path
from physpose.skeleton.smpl_points import contact_points, smpl_keypoint_sets
from physpose.skeleton.subject import ADULT_AGE, SEX_NAMES, check_numbers, check_sex
from physpose.types import Array, Assumption

HEIGHT_BETAS = 10  # shape parameters that a height alone may move
UNUSUAL = 3.0  # standard deviations of a shape parameter
MASS_APART = 1.25  # the given mass over the mesh's, or the other way round
KID_AGES = (0.0, 18.0)  # [years] in which a body between infant and adult is looked up by its height
DENSITY = {  # [kg/m^3]
    "head": 1110, "neck": 1110, "jaw": 1110, "eye": 1110, "collar": 1040, "spine3": 920, "spine2": 920, "spine1": 1010,
    "pelvis": 1010, "shoulder": 1070, "elbow": 1130, "wrist": 1160, "hand": 1160, "hip": 1050, "knee": 1090,
    "ankle": 1100, "foot": 1100,
}  # fmt: skip
FINGERS = 1160  # [kg/m^3]
DENSITY_SOURCE = (
    "Dempster 1955 (WADC TR 55-159) in Winter 2009, table 4.1: head and neck 1110, shoulder 1040, thorax 920, abdomen "
    "and pelvis 1010, upper arm 1070, forearm 1130, hand 1160, thigh 1050, leg 1090, foot 1100 kg/m^3"
)


class _Rest(NamedTuple):
    """The body in its rest pose: the model's frame [m]."""

    betas: Array  # (n,)
    vertices: Array  # (V, 3)
    joints: Array  # (J, 3)
    warnings: tuple[str, ...]


def load_smpl(
    path: FilePath,
    *,
    family: str | None = None,
    betas: ArrayLike | None = None,
    kid_template: FilePath | None = None,
    age: float | None = None,
    sex: str | None = None,
    height: float | None = None,
    mass: float | None = None,
    allow_pickle: bool = False,
) -> Skeleton:
    """The skeleton of a body model's file; see ``physpose.load_skeleton``.

    ``betas``: the model's shape parameters, any number of those it has. ``kid_template``: the .npy file of the infant's
    template; the last beta is then its share, 0 adult, 1 infant (Patel et al. 2021, AGORA). ``height`` [m] instead of
    betas: the most probable body of that height. ``mass`` [kg]: scales the segments' densities; None: these as they
    are.

    Raises:
        InputError: a file that cannot be used; see ``read_smpl_file``.
        SubjectError: betas and height together, or a subject that cannot be.
        MissingPackageError: without the extra "smpl".
    """
    check_numbers(age, height, mass)
    given_sex = check_sex(sex)
    file = read_smpl_file(path, family=family, allow_pickle=allow_pickle)
    rest = _rest(file, betas, kid_template, height)
    names = joint_names(file.family)
    bodies, mesh_mass, notes = _bodies(file, rest, names, mass)
    subject, known = _subject(file, rest, bodies, age=age, sex=given_sex, kid=kid_template is not None)
    assumptions = (*known, *_assumptions(rest, mesh_mass, mass, height, betas is not None))
    skeleton = Skeleton(
        name=file.family, bodies=bodies, subject=subject, keypoint_sets={}, contact_points=(), scale_groups=(),
        neutral=np.zeros(0), assumptions=assumptions, warnings=(*rest.warnings, *notes, *_warnings(mesh_mass, mass)),
        skin=_skin(file, rest),
    )  # fmt: skip
    return _with_points(skeleton)


def joint_names(family: Family) -> tuple[str, ...]:
    """The model's joints in its order: 24 of "smpl", 52 of "smplh", 55 of "smplx"."""
    names = _smplx_package().joint_names
    if family == "smplx":
        return tuple(names.JOINT_NAMES[:55])
    body = tuple(names.SMPLH_JOINT_NAMES[:22])
    return (*body, "left_hand", "right_hand") if family == "smpl" else tuple(names.SMPLH_JOINT_NAMES[:52])


def _smplx_package() -> Any:
    try:
        import smplx
        import smplx.joint_names
        import smplx.lbs
    except ImportError as error:
        raise MissingPackageError("smplx", "smpl", "a body model") from error
    return smplx


# --- shape ----------------------------------------------------------------------------------------------------------


def _rest(file: SmplFile, betas: ArrayLike | None, kid_template: FilePath | None, height: float | None) -> _Rest:
    directions = file.shapedirs
    if kid_template is not None:
        infant = _kid_template(kid_template, len(file.v_template))
        directions = np.concatenate([directions, (infant - file.v_template)[..., None]], -1)
    if height is not None and betas is not None:
        raise SubjectError("betas fix the body's height: leave out height=, or give it instead of betas")
    if height is not None and kid_template is not None:
        raise SubjectError("kid_template= needs betas= (the last is its share); a height alone does not tell the shape")
    shape = _betas_of_height(file, height) if height is not None else _checked_betas(betas, directions, kid_template)
    vertices = _shaped(file.v_template, directions, shape)
    free = shape if kid_template is None else shape[:-1]
    warnings: tuple[str, ...] = ()
    if np.abs(free).max(initial=0) > UNUSUAL:
        warnings = (f"the body's shape is unusual: betas up to {np.abs(free).max():.1f} standard deviations",)
    return _Rest(shape, vertices, _joints(file, vertices), warnings)


def _shaped(template: Array, directions: Array, betas: Array) -> Array:
    import torch

    blend = _smplx_package().lbs.blend_shapes
    return template + blend(torch.as_tensor(betas)[None], torch.as_tensor(directions[..., : len(betas)]))[0].numpy()


def _joints(file: SmplFile, vertices: Array) -> Array:
    import torch

    regress = _smplx_package().lbs.vertices2joints
    return regress(torch.as_tensor(file.J_regressor), torch.as_tensor(vertices)[None])[0].numpy()


def _checked_betas(betas: ArrayLike | None, directions: Array, kid_template: object) -> Array:
    n = directions.shape[-1]
    shape = np.zeros(0) if betas is None else np.asarray(betas, float).ravel()
    if not np.isfinite(shape).all():
        raise InputError(f"betas are not finite at {int(np.flatnonzero(~np.isfinite(shape))[0])}")
    if kid_template is None:
        if len(shape) > n:
            raise InputError(f"{len(shape)} betas given, this model has {n}")
        return shape
    if not 1 <= len(shape) <= n:
        raise InputError(f"kid_template= needs betas=, at most {n - 1} and the template's share last")
    # smplx puts the template's direction behind the betas that are used
    return np.concatenate([shape[:-1], np.zeros(n - len(shape)), shape[-1:]])


def _kid_template(path: FilePath, n_vertices: int) -> Array:
    try:
        infant = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: the infant's template (.npy) cannot be read ({error}); it comes with https://agora.is.tue.mpg.de"
        ) from error
    if not isinstance(infant, np.ndarray) or infant.shape != (n_vertices, 3):
        shape = getattr(infant, "shape", None)
        raise InputError(f"{path}: the infant's template has shape {shape}; this model needs ({n_vertices}, 3)")
    return infant - infant.mean(0)


def _betas_of_height(file: SmplFile, height: float) -> Array:
    """The betas of least norm, thus the most probable, whose body is ``height`` [m] from sole to vertex."""
    directions = file.shapedirs[:, 1, :HEIGHT_BETAS]
    betas = np.zeros(directions.shape[-1])
    for _ in range(20):
        y = file.v_template[:, 1] + directions @ betas
        top, bottom = int(y.argmax()), int(y.argmin())
        # height = y_top - y_bottom = h_0 + g . betas, hence betas = g (height - h_0) / |g|^2
        g = directions[top] - directions[bottom]
        missing = height - (file.v_template[top, 1] - file.v_template[bottom, 1])
        betas = g * missing / max(g @ g, 1e-12)
    reached = np.ptp(file.v_template[:, 1] + directions @ betas)
    if abs(reached - height) > 1e-3 or np.abs(betas).max() > 2 * UNUSUAL:
        low, high = (np.ptp(file.v_template[:, 1] + directions @ (b * betas / np.linalg.norm(betas))) for b in (-5, 5))
        low, high = min(low, high), max(low, high)
        raise SubjectError(
            f"height {height:g} m is beyond this model's shapes ({low:.2f} to {high:.2f} m within 5 standard "
            "deviations); for a child give kid_template= and betas="
        )
    return betas


# --- bodies ---------------------------------------------------------------------------------------------------------


def segment_density(name: str) -> float:
    """Density [kg/m^3] of the segment that turns about joint ``name``."""
    part = name.removeprefix("left_").removeprefix("right_")
    if part.startswith("eye"):
        return DENSITY["eye"]
    return DENSITY.get(part, FINGERS)


def _bodies(
    file: SmplFile, rest: _Rest, names: Sequence[str], mass: float | None
) -> tuple[tuple[Body, ...], float, tuple[str, ...]]:
    """Bodies, the mass at the segments' own densities [kg], warnings."""
    try:
        pieces = cut(rest.vertices, file.faces, file.weights, file.parents)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error
    density = np.array([segment_density(n) for n in names], float)
    P = density[:, None, None] * pseudo_inertias(pieces)
    P, notes = _merged(P, file.parents, names)
    mesh_mass = float(P[:, 3, 3].sum())
    if mass is not None:
        P = P * (mass / mesh_mass)
    return tuple(_body(file, rest, names, P[i], i) for i in range(len(names))), mesh_mass, notes


def _merged(P: Array, parents: Sequence[int], names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Pieces that are no solid (of a joint that leads no vertex, say) count as their parent's."""
    P, lost = P.copy(), []
    for i in range(len(P) - 1, 0, -1):
        if not is_solid(P[i]):
            P[parents[i]] += P[i]
            P[i] = 0
            lost.append(names[i])
    if not is_solid(P[0]):
        raise InputError(f"the surface about {names[0]} encloses no volume: is the mesh damaged?")
    if not lost:
        return P, ()
    return P, (f"no closed piece of the surface follows {', '.join(lost[::-1])} alone: massless, the parent has it",)


def _body(file: SmplFile, rest: _Rest, names: Sequence[str], P: Array, i: int) -> Body:
    parent = file.parents[i]
    mass, com, inertia = mass_properties(P) if P[3, 3] > 0 else (0.0, rest.joints[i], np.zeros((3, 3)))
    at = np.zeros(3) if parent < 0 else R_BODY_SMPL @ (rest.joints[i] - rest.joints[parent])
    return Body(
        name=names[i],
        parent=None if parent < 0 else names[parent],
        joint=Joint(name=names[i], kind="free" if parent < 0 else "ball", translation=at),
        mass=mass,
        com=R_BODY_SMPL @ (com - rest.joints[i]),
        inertia=R_BODY_SMPL @ inertia @ R_BODY_SMPL.T,
    )


def _skin(file: SmplFile, rest: _Rest) -> Skin:
    n = min(4, file.weights.shape[1])
    bodies = np.argsort(-file.weights, axis=1, kind="stable")[:, :n]
    weights = np.take_along_axis(file.weights, bodies, 1)
    return Skin(
        vertices=(rest.vertices - rest.joints[0]) @ R_BODY_SMPL.T,
        faces=file.faces,
        bodies=bodies.astype(np.int64),
        weights=weights / weights.sum(1, keepdims=True),
        betas=rest.betas,
        root_at=rest.joints[0],
    )


def _with_points(skeleton: Skeleton) -> Skeleton:
    contacts = contact_points(skeleton)
    assert skeleton.skin is not None
    lowest = skeleton.skin.vertices[:, 1].min()
    balls: NDArray[np.float64] = np.tile([0.0, 0, 0, 1], len(skeleton.bodies) - 1)
    neutral = np.concatenate([[0, 0, -lowest], UPRIGHT_XYZW, balls])
    sets = smpl_keypoint_sets(skeleton, _smplx_package())
    return replace(skeleton, contact_points=contacts, keypoint_sets=sets, neutral=neutral)


# --- who ------------------------------------------------------------------------------------------------------------


def _subject(
    file: SmplFile, rest: _Rest, bodies: tuple[Body, ...], *, age: float | None, sex: Any, kid: bool
) -> tuple[Subject, tuple[Assumption, ...]]:
    height = float(np.ptp(rest.vertices[:, 1]))
    body, sex_source = (sex, "given") if sex else _sex_of(file.path)
    years, age_source = (float(age), "given") if age is not None else _age(height, body, kid)
    subject = Subject(age=years, sex=body, height=height, mass=float(sum(b.mass for b in bodies)))
    return subject, (
        Assumption(what="body model", value=TITLES[file.family], source=str(file.path)),
        Assumption(what="age", value=f"{years:.1f} years", source=age_source),
        Assumption(what="sex", value=SEX_NAMES[body], source=sex_source),
    )


def _age(height: float, sex: Any, kid: bool) -> tuple[float, str]:
    if not kid:
        return ADULT_AGE, "not given; the model is of adults"
    years = age_of_height(height, sex, KID_AGES)
    if years is None:
        raise SubjectError(f"a body of {height:.2f} m is the median of no age from 0 to 18 years: give age=")
    return years, f"not given; the age whose median height is the body's, {height:.2f} m"


def _sex_of(path: Path) -> tuple[Sex, str]:
    found = sex_in_path(path)
    return (found, f"from the file's name, {path.parent.name}/{path.name}") if found else ("x", "not given")


def _assumptions(
    rest: _Rest, mesh_mass: float, mass: float | None, height: float | None, betas: bool
) -> tuple[Assumption, ...]:
    size = f"{np.ptp(rest.vertices[:, 1]):.3f} m"
    tall = "given; the most probable shape of that height" if height is not None else "the model's surface"
    heavy = "given" if mass is not None else "not given; the surface's volume at the segments' densities"
    factor = 1.0 if mass is None else mass / mesh_mass
    shape = "given" if betas else "least norm for the height" if height is not None else "not given: the mean body"
    listed = ", ".join(f"{b:.2f}" for b in rest.betas[:10]) + (", ..." if len(rest.betas) > 10 else "")
    return (
        Assumption(what="shape", value=f"betas ({listed or 'zero'})", source=shape),
        Assumption(what="height", value=size, source=tall),
        Assumption(what="mass", value=f"{mesh_mass * factor:.1f} kg", source=heavy),
        Assumption(
            what="segment masses",
            value=f"closed pieces of the surface, densities times {factor:.3f}",
            source=DENSITY_SOURCE,
        ),
        Assumption(what="joint limits", value="none", source="the model's joints are balls of unknown range"),
    )


def _warnings(mesh_mass: float, mass: float | None) -> tuple[str, ...]:
    out = ["the body model's joints are balls without limits: nothing keeps an estimate from unnatural angles"]
    if mass is None:
        out.append(f"mass was not given: forces, torques, momentum and energy scale with the {mesh_mass:.1f} kg taken")
    elif not 1 / MASS_APART < mass / mesh_mass < MASS_APART:
        out.append(f"mass {mass:.1f} kg is far from the {mesh_mass:.1f} kg of the body's surface: are the betas right?")
    return tuple(out)
