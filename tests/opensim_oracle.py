"""OpenSim as the oracle of an .osim file, and small files to ask it about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from physpose.conventions import (
    R_YUP_ZUP,
    a_from_opensim,
    opensim_names,
    q_from_opensim,
    tau_to_opensim,
    v_from_opensim,
)
from physpose.skeleton.model import Skeleton
from physpose.skeleton.opensim_points import OFFSET


class Oracle:
    """A model's own FK and inverse dynamics, forces taken out, couplers not enforced."""

    def __init__(self, path: Path):
        import opensim

        opensim.Logger.setLevelString("Off")
        self.opensim = opensim
        self.model = opensim.Model(str(path))
        self.model.updForceSet().clearAndDestroy()
        self.state = self.model.initSystem()
        coordinates = self.model.getCoordinateSet()
        self.coordinates = [coordinates.get(i) for i in range(coordinates.getSize())]
        self.names = [c.getName() for c in self.coordinates]
        # Q and U are in the order of the multibody tree, Q with room for quaternions that are not used: numbers put
        # there tell which coordinate sees which
        for n, put in ((self.state.getNQ(), self.state.setQ), (self.state.getNU(), self.state.setU)):
            put(self._vector(range(n), range(n), n))
        self.q_slot = [round(c.getValue(self.state)) for c in self.coordinates]
        self.u_slot = [round(c.getSpeedValue(self.state)) for c in self.coordinates]
        self.solver = opensim.InverseDynamicsSolver(self.model)

    def set(self, q: dict[str, float], u: dict[str, float]) -> None:
        self.state.setQ(self._vector([q[n] for n in self.names], self.q_slot, self.state.getNQ()))
        self.state.setU(self._vector([u[n] for n in self.names], self.u_slot, self.state.getNU()))

    def forces(self, q: dict[str, float], u: dict[str, float], a: dict[str, float]) -> dict[str, float]:
        """Generalized forces by coordinate, of gravity and motion alone."""
        self.set(q, u)
        tau = self.solver.solve(self.state, self.accelerations(a))
        return {n: tau.get(i) for n, i in zip(self.names, self.u_slot, strict=True)}

    def accelerations(self, a: dict[str, float]) -> Any:
        """As the solver takes them, in the order of the multibody tree."""
        return self._vector([a[n] for n in self.names], self.u_slot, self.state.getNU())

    def poses(self, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n, 3) [m] and rotations (n, 3, 3) of bodies, z up."""
        self.model.realizePosition(self.state)
        frames = [self.model.getBodySet().get(n).getTransformInGround(self.state) for n in names]
        p = np.array([[f.p().get(i) for i in range(3)] for f in frames])
        R = np.array([[[f.R().get(i, j) for j in range(3)] for i in range(3)] for f in frames])
        return p @ R_YUP_ZUP, R_YUP_ZUP.T @ R

    def linear_momentum(self, q: dict[str, float], u: dict[str, float]) -> np.ndarray:
        """(3,) [kg.m/s], z up."""
        self.set(q, u)
        self.model.realizeVelocity(self.state)
        v = self.model.calcMassCenterVelocity(self.state)
        return self.model.getTotalMass(self.state) * np.array([v.get(i) for i in range(3)]) @ R_YUP_ZUP

    def _vector(self, values: Any, slots: Any, n: int) -> Any:
        vector = self.opensim.Vector(n, 0.0)
        for x, i in zip(values, slots, strict=True):
            vector.set(i, float(x))
        return vector


class Motion:
    """Random states of a skeleton: as OpenSim has them, all coordinates, and as q, v, a."""

    def __init__(self, skeleton: Skeleton, T: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        limits = np.array([c.range for c in skeleton.coordinates]).reshape(-1, 2)
        low, high = np.where(np.isfinite(limits), limits, [-1.0, 1.0]).T
        self.skeleton, self.first = skeleton, skeleton.nv - len(limits)
        self.c = np.hstack([rng.uniform(-1, 1, (T, self.first)), rng.uniform(low, high, (T, len(low)))])
        self.rates, self.accelerations = rng.normal(size=(2, T, skeleton.nv))
        self.q = q_from_opensim(skeleton, self.c)
        self.v = v_from_opensim(skeleton, self.c, self.rates)
        self.a = a_from_opensim(skeleton, self.c, self.rates, self.accelerations)
        phi = skeleton.coordinate_map
        source = list(phi.couplings.source)
        s, ds, dds = (x[:, self.first :] for x in (self.c, self.rates, self.accelerations))
        by = [
            np.stack([f(s[:, i], k) if len(phi.names) else 0 * self.c[:, 0] + f(0.0, k) for i, f in self._pairs()], -1)
            if source
            else np.zeros((T, 0))
            for k in range(3)
        ]
        self.gain = by[1]
        ds, dds = (x[:, source] if len(phi.names) else np.zeros_like(by[0]) for x in (ds, dds))
        self._file = [by[0], by[1] * ds, by[1] * dds + by[2] * ds**2]

    def _pairs(self):
        phi = self.skeleton.coordinate_map
        return zip(phi.couplings.source, phi.couplings.functions, strict=True)

    def at(self, t: int) -> list[dict[str, float]]:
        """Values, rates and accelerations of all the file's coordinates by name."""
        names = opensim_names(self.skeleton)
        file = [c.name for c in self.skeleton.coordinate_map.file_coordinates]
        own = (self.c, self.rates, self.accelerations)
        return [
            dict(zip(names, x[t], strict=True)) | dict(zip(file, y[t], strict=True))
            for x, y in zip(own, self._file, strict=True)
        ]

    def reduced(self, t: int, forces: dict[str, float]) -> np.ndarray:
        """Forces on all coordinates as forces (nv,) on the independent ones: dx/ds^T tau_x."""
        phi = self.skeleton.coordinate_map
        out = np.array([forces[n] for n in opensim_names(self.skeleton)])
        out[self.first :] = 0
        for j, (c, i) in enumerate(zip(phi.file_coordinates, phi.couplings.source, strict=True)):
            if len(phi.names):
                out[self.first + i] += self.gain[t, j] * forces[c.name]
        return out


def compare(path: Path, skeleton: Skeleton, T: int = 4, seed: int = 0) -> dict[str, float]:
    """Largest errors against OpenSim: position [m], rotation, torque over the largest, exact and as Simbody has it."""
    import torch

    from physpose import dynamics
    from physpose.chain import KinematicChain
    from physpose.dynamics.simbody import simbody_difference

    oracle, motion, chain = Oracle(path), Motion(skeleton, T, seed), KinematicChain(skeleton)
    q, v, a = (torch.tensor(x) for x in (motion.q, motion.v, motion.a))
    tau = dynamics.rnea(chain, q, v, a, gravity=tuple(skeleton.gravity)).numpy()
    extra = simbody_difference(chain, q, v).numpy()
    exact, as_simbody = (tau_to_opensim(skeleton, motion.c, x) for x in (tau, tau + extra))
    frames = chain.fk(q)
    names = [n for n in skeleton.body_names if not n.endswith(OFFSET)]
    rows = [skeleton.body_index(n) for n in names]
    expected = np.empty_like(exact)
    p_error = R_error = 0.0
    for t in range(T):
        state = motion.at(t)
        expected[t] = motion.reduced(t, oracle.forces(*state))
        p, R = oracle.poses(names)
        p_error = max(p_error, np.abs(frames.p[t, rows].numpy() - p).max())
        R_error = max(R_error, np.abs(frames.R[t, rows].numpy() - R).max())
    scale = np.abs(expected).max()
    return {
        "position": float(p_error),
        "rotation": float(R_error),
        "torque": float(np.abs(exact - expected).max() / scale),
        "torque_as_simbody": float(np.abs(as_simbody - expected).max() / scale),
    }


# --- small files ----------------------------------------------------------------------------------------------------

BODY = """<Body name="{name}"><mass>{mass}</mass><mass_center>0.02 -0.1 0.03</mass_center>
<inertia>0.03 0.02 0.04 0.002 -0.003 0.001</inertia></Body>"""
COORDINATE = """<Coordinate name="{name}"><default_value>{default}</default_value><range>{range}</range>
<clamped>{clamped}</clamped><locked>{locked}</locked></Coordinate>"""
FRAME = """<PhysicalOffsetFrame name="{name}"><socket_parent>{parent}</socket_parent><translation>{p}</translation>
<orientation>{angles}</orientation></PhysicalOffsetFrame>"""


def body(name: str, mass: float = 2.0) -> str:
    return BODY.format(name=name, mass=mass)


def coordinate(
    name: str, default: float = 0.0, span: str = "-1 1", clamped: str = "true", locked: str = "false", more: str = ""
) -> str:
    text = COORDINATE.format(name=name, default=default, range=span, clamped=clamped, locked=locked)
    return text.replace("</Coordinate>", f"{more}</Coordinate>")


def joint(
    kind: str, name: str, parent: str, child: str, coordinates: str = "", more: str = "", moved: bool = True
) -> str:
    """A joint with frames off both bodies; ``moved``: the child's too."""
    place = "0.1 -0.2 0.05", "0.3 -0.4 0.5"
    inner = ("-0.05 0.15 0.02", "0.2 0.1 -0.3") if moved else ("0 0 0", "0 0 0")
    outer = "/ground" if parent == "ground" else f"/bodyset/{parent}"
    frames = FRAME.format(name=f"{parent}_offset", parent=outer, p=place[0], angles=place[1])
    frames += FRAME.format(name=f"{child}_offset", parent=f"/bodyset/{child}", p=inner[0], angles=inner[1])
    return f"""<{kind} name="{name}"><socket_parent_frame>{parent}_offset</socket_parent_frame>
    <socket_child_frame>{child}_offset</socket_child_frame><coordinates>{coordinates}</coordinates>
    <frames>{frames}</frames>{more}</{kind}>"""


def transform(**axes: tuple[str, str, str]) -> str:
    """A SpatialTransform: name of each axis -> (coordinate, axis, function); constants where nothing is said."""
    text = ""
    for kind in ("rotation", "translation"):
        names = [f"{kind}{k + 1}" for k in range(3)]
        taken = [np.array(axes[n][1].split(), float) for n in names if n in axes]
        for name in names:
            if name not in axes:  # OpenSim wants three independent axes
                e = next(e for e in np.eye(3) if np.linalg.matrix_rank([*taken, e]) > len(taken))
                taken.append(e)
                axes[name] = ("", " ".join(map(str, e)), CONSTANT)
            own = axes[name]
            text += f"""<TransformAxis name="{name}"><coordinates>{own[0]}</coordinates><axis>{own[1]}</axis>
            {own[2]}</TransformAxis>"""
    return f"<SpatialTransform>{text}</SpatialTransform>"


CONSTANT = '<Constant name="function"><value>0</value></Constant>'
LINE = '<LinearFunction name="function"><coefficients>1 0</coefficients></LinearFunction>'


def model(bodies: str, joints: str, more: str = "", version: int = 40000, gravity: str = "0 -9.80665 0") -> str:
    return f"""<?xml version="1.0" encoding="UTF-8" ?>
    <OpenSimDocument Version="{version}"><Model name="small"><gravity>{gravity}</gravity>
    <BodySet name="bodyset"><objects>{bodies}</objects></BodySet>
    <JointSet name="jointset"><objects>{joints}</objects></JointSet>{more}</Model></OpenSimDocument>"""


def pelvis() -> tuple[str, str]:
    """A body on the ground by OpenSim's own ground_pelvis."""
    names = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz")
    axes = dict(zip(("rotation1", "rotation2", "rotation3"), ("0 0 1", "1 0 0", "0 1 0"), strict=True))
    axes |= dict(zip(("translation1", "translation2", "translation3"), ("1 0 0", "0 1 0", "0 0 1"), strict=True))
    moved = {axis: (n, a, LINE) for n, (axis, a) in zip(names, axes.items(), strict=True)}
    coordinates = "".join(coordinate(n, clamped="false") for n in names)
    return body("pelvis", 10.0), joint(
        "CustomJoint", "ground_pelvis", "ground", "pelvis", coordinates, transform(**moved)
    )
