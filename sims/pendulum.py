"""A pendulum of one or two cylinders, released at rest.

Known exactly: one link swings as sin(angle/2) = k cd(w t, k) with k = sin(angle_0/2) and w^2 = m g c / I about the
pivot (Jacobi's elliptic functions; truth "angle"), with period 4 K(k) / w (truth "period"). Two links follow
Lagrange's equations, written out here by hand and integrated apart from MuJoCo to 1e-12 (truth "angle", chaotic: for
seconds, not for minutes). Both keep their energy (truth "energy", J, zero at the world's origin).

    python -m sims.pendulum --links 2 --video double.mp4
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physpose.errors import InputError
from physpose.skeleton.model import Body, Coordinate, Joint, ScaleGroup, Skeleton
from physpose.types import Array
from sims.common import EARTH, Simulation, Simulator
from sims.run import main

LENGTH, MASS = (0.6, 0.4), (1.5, 0.8)  # [m], [kg] of the rods
RADIUS = 0.025  # [m]
PIVOT = 1.3  # [m] above the floor
G = -EARTH[2]


def pendulum(links: int) -> Skeleton:
    """A skeleton of one or two rods that hang from the world; coordinates: angles about -y, zero hanging."""
    if links not in (1, 2):
        raise InputError(f"{links} links; 1 or 2 are possible")
    bodies = tuple(_rod(i) for i in range(links))
    return Skeleton(
        name=f"pendulum of {links}", bodies=bodies, subject=None, keypoint_sets={}, contact_points=(),
        scale_groups=(ScaleGroup(name="length", bodies=tuple(b.name for b in bodies), axes=(2,), sigma=0.1),),
        neutral=np.zeros(links),
    )  # fmt: skip


def _rod(i: int) -> Body:
    m, length = MASS[i], LENGTH[i]
    swing = Coordinate(name=f"swing_{i + 1}", axis=np.array([0.0, -1.0, 0.0]), range=(-1e3, 1e3))
    at = np.array([0.0, 0.0, PIVOT]) if i == 0 else np.array([0.0, 0.0, -LENGTH[i - 1]])
    return Body(
        name=f"rod_{i + 1}", parent=None if i == 0 else f"rod_{i}",
        joint=Joint(name=f"pivot_{i + 1}", kind="chain", coordinates=(swing,), translation=at),
        mass=m, com=np.array([0.0, 0.0, -length / 2]), inertia=np.diag([_across(i), _across(i), m * RADIUS**2 / 2]),
    )  # fmt: skip


def _across(i: int) -> float:
    """Moment of inertia [kg.m^2] of a solid cylinder about its centre, across its axis."""
    return MASS[i] * (LENGTH[i] ** 2 / 12 + RADIUS**2 / 4)


def simulate(seconds: float = 10.0, links: int = 1, degrees: float = 120.0) -> Simulation:
    """Released at rest with every rod at ``degrees`` from hanging."""
    skeleton, angle = pendulum(links), float(np.radians(degrees))
    simulator = Simulator(skeleton)
    q = np.array([angle, 0.0])[:links]
    sim = simulator.rollout(q, np.zeros(links), lambda t, x, rates: np.zeros(links), seconds, name="pendulum")
    truth = closed_form(sim.time, angle) if links == 1 else {"angle": lagrange(sim.time, angle)}
    centres = [PIVOT - LENGTH[0] / 2 * np.cos(angle), PIVOT - (LENGTH[0] + LENGTH[1] / 2) * np.cos(angle)]
    energy = sum(m * G * z for m, z in zip(MASS[:links], centres[:links], strict=True))
    return replace(sim, truth=truth | {"energy": energy})


def closed_form(time: Array, angle: float) -> dict[str, Array | float]:
    """Angle (T, 1) [rad] and period [s] of one rod."""
    from scipy.special import ellipj, ellipk

    w, k = np.sqrt(MASS[0] * G * LENGTH[0] / 2 / (_across(0) + MASS[0] * LENGTH[0] ** 2 / 4)), np.sin(angle / 2)
    _, cn, dn, _ = ellipj(w * time, k**2)
    return {"angle": 2 * np.arcsin(k * cn / dn)[:, None], "period": float(4 * ellipk(k**2) / w)}


def lagrange(time: Array, angle: float) -> Array:
    """Angles (T, 2) [rad] of two rods, the second relative to the first."""
    from scipy.integrate import solve_ivp

    (m1, m2), (l1, l2) = MASS, LENGTH
    J1, J2, K = _across(0) + (m1 / 4 + m2) * l1**2, _across(1) + m2 * l2**2 / 4, m2 * l1 * l2 / 2

    def rates(t: float, y: Array) -> Array:
        a1, a2, w1, w2 = y  # angles from hanging, both against the vertical
        c, s = np.cos(a1 - a2), np.sin(a1 - a2)
        M = np.array([[J1, K * c], [K * c, J2]])
        f = [-K * s * w2**2 - (m1 / 2 + m2) * l1 * G * np.sin(a1), K * s * w1**2 - m2 * l2 / 2 * G * np.sin(a2)]
        return np.array([w1, w2, *np.linalg.solve(M, f)])

    y = solve_ivp(rates, (0, time[-1]), [angle, angle, 0, 0], method="DOP853", t_eval=time, rtol=1e-12, atol=1e-12).y
    return np.column_stack([y[0], y[1] - y[0]])


if __name__ == "__main__":
    main(__doc__, simulate, seconds=3.0, human=False, options={"links": 1, "degrees": 120.0})
