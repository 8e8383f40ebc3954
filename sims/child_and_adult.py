"""A child and an adult doing the same squat: what a small body needs, and what scaling an adult gets wrong.

Known exactly: all follow the same curves, planted on their own feet, in a time that goes with the root of the leg's
length (dynamic similarity, Froude number equal); torques by MuJoCo's inverse dynamics. "miniature" is the adult made
smaller in all lengths by the same factor s at equal density, so that its torques are s^4 times the adult's, exactly
(truth "torque_factor"), and its forces s^3 times. The real child is not a miniature: truth "length_factor" is the
ratio of leg lengths, and the difference of its torques from the miniature's is what a scaled adult gets wrong.

    python -m sims.child_and_adult --who child --age 7 --picture child.png
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from physpose import load_skeleton
from physpose.errors import UnknownNameError
from physpose.skeleton.model import Body, Point, Skeleton
from sims.common import EARTH, Simulation, carried_by, prescribed
from sims.planted import motion_of
from sims.run import main

WHO = ("adult", "child", "miniature")


def miniature(skeleton: Skeleton, s: float) -> Skeleton:
    """The same body with every length times s, at equal density: masses times s^3, inertias times s^5."""

    def small(body: Body) -> Body:
        joint = replace(body.joint, translation=body.joint.translation * s)
        return replace(body, joint=joint, mass=body.mass * s**3, com=body.com * s, inertia=body.inertia * s**5)

    def moved(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(replace(p, offset=p.offset * s) for p in points)

    neutral = skeleton.neutral.copy()
    neutral[:3] *= s
    sets = {n: replace(k, points=moved(k.points), sigma=k.sigma * s) for n, k in skeleton.keypoint_sets.items()}
    return replace(
        skeleton, name=f"{skeleton.name} x {s:.3f}", bodies=tuple(small(b) for b in skeleton.bodies), neutral=neutral,
        subject=None, keypoint_sets=sets, contact_points=moved(skeleton.contact_points),
    )  # fmt: skip


def simulate(seconds: float = 2.4, who: str = "child", age: float = 7.0) -> Simulation:
    """The squat of an adult, of a child of ``age`` [years], or of the adult made as small as the child.

    ``seconds`` is the adult's time; the smaller bodies' is shorter.
    """
    if who not in WHO:
        raise UnknownNameError("body", who, WHO)
    adult, child = load_skeleton("adult"), load_skeleton("child", age=age)
    s = float(child.neutral[2] / adult.neutral[2])
    body = {"adult": adult, "child": child, "miniature": miniature(adult, s)}[who]
    factor = 1.0 if who == "adult" else s
    motion = motion_of(adult if who == "miniature" else body, "squat")
    if who == "miniature":  # the adult's angles themselves; only the pelvis' place shrinks
        coefficients = motion.coefficients.clone()
        coefficients[:3] *= s
        motion = replace(motion, coefficients=coefficients, speed=motion.speed * np.sqrt(s))
    motion = replace(motion, duration=motion.duration * np.sqrt(factor))
    time = np.linspace(0.0, seconds * np.sqrt(factor), round(seconds * 120) + 1)
    half = np.full(len(time), 0.5)
    sim = carried_by(prescribed(f"squat, {who}", body, motion.q, time, EARTH), {"calcn_r": half, "calcn_l": half})
    return replace(sim, truth=sim.truth | {"length_factor": factor, "torque_factor": factor**4})


if __name__ == "__main__":
    main(__doc__, simulate, seconds=2.4, human=False, options={"who": "child", "age": 7.0})
