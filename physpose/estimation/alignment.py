"""How a subject's legs are aligned: bow legs and knock knees, twisted shins. Fixed in time, unlike on either side.

The human tree's knee is a hinge and its ankle's axis lies at one place in the shin. Real ones differ by degrees.
While the body is sought, each such angle is a coordinate that hardly changes over time; then it goes into the joint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.estimation.banded import BorderedSystem
from physpose.estimation.state import Kinematics, State
from physpose.skeleton.model import Coordinate, Joint, Skeleton
from physpose.spatial import axis_rotation

# body: name, axis in the parent, spread over people [rad] (knee: Bellemans 2012 has 2-3 deg of the
# hip-knee-ankle angle; shin: Strecker 1997 has 9 deg of tibial torsion; the latter's mean is in the human tree)
ALIGNMENTS = {
    "tibia": ("knee_alignment", (1.0, 0.0, 0.0), np.radians(3.0)),
    "talus": ("shin_torsion", (0.0, 1.0, 0.0), np.radians(9.0)),
}
CHANGE = np.radians(0.02)  # [rad] from frame to frame: as good as none


def alignment_names(skeleton: Skeleton) -> dict[str, float]:
    """Coordinates that ``with_alignment`` adds, and their spread [rad]."""
    parts = ((s, *ALIGNMENTS[b]) for b in ALIGNMENTS for s in "rl" if f"{b}_{s}" in skeleton.body_names)
    return {f"{name}_{s}": spread for s, name, _, spread in parts}


def with_alignment(skeleton: Skeleton) -> Skeleton:
    """The skeleton with its alignments as coordinates before the joints' own."""
    bodies = tuple(
        replace(b, joint=_turnable(b.joint, b.name)) if b.name[:-2] in ALIGNMENTS else b for b in skeleton.bodies
    )
    out = replace(skeleton, bodies=bodies, neutral=skeleton.neutral)
    return replace(out, neutral=expanded(skeleton, out, torch.as_tensor(skeleton.neutral)[None])[0].numpy())


def _turnable(joint: Joint, body: str) -> Joint:
    name, axis, spread = ALIGNMENTS[body[:-2]]
    extra = Coordinate(name=f"{name}_{body[-1]}", axis=np.array(axis), range=(-5 * spread, 5 * spread))
    return replace(joint, coordinates=(extra, *joint.coordinates))


def expanded(skeleton: Skeleton, aligned: Skeleton, q: Tensor) -> Tensor:
    """Poses (T, nq) of ``skeleton`` as poses of ``aligned``, whose alignments are zero."""
    out = q.new_zeros(len(q), aligned.nq)
    out[:, :7] = q[:, :7]
    for i, name in enumerate(skeleton.coordinate_names):
        out[:, 7 + aligned.coordinate_names.index(name)] = q[:, 7 + i]
    return out


def aligned_skeleton(skeleton: Skeleton, aligned: Skeleton, q: Tensor) -> Skeleton:
    """``skeleton`` with the alignments found in the poses q (T, nq) of ``aligned`` in its joints."""
    mean = dict(zip(aligned.coordinate_names, q[:, 7:].mean(0), strict=True))
    bodies = []
    for b in skeleton.bodies:
        if b.name[:-2] in ALIGNMENTS:
            name, axis, _ = ALIGNMENTS[b.name[:-2]]
            R = axis_rotation(torch.tensor(axis, dtype=torch.float64), mean[f"{name}_{b.name[-1]}"]).numpy()
            b = replace(b, joint=replace(b.joint, rotation=b.joint.rotation @ R))
        bodies.append(b)
    return replace(skeleton, bodies=tuple(bodies))


@dataclass
class Alignment:
    """The alignments hardly change from frame to frame, and are near zero."""

    columns: Tensor  # (A,) of the alignments in v
    spread: Tensor  # (A,) [rad] over people
    name: str = "alignment"

    @staticmethod
    def of(chain: KinematicChain) -> Alignment:
        spreads = {n: s for n, s in alignment_names(chain.skeleton).items() if n in chain.coordinate_names}
        columns = [6 + chain.coordinate_index(n) for n in spreads]
        return Alignment(torch.tensor(columns), torch.tensor([*spreads.values()], dtype=torch.float64))

    def _residuals(self, state: State) -> tuple[Tensor, Tensor]:
        """Changes (T-1, A), and values (T, A) that together count as one observation."""
        x = state.q[:, self.columns + 1]
        return x.diff(dim=0) / CHANGE, x / (self.spread * len(x) ** 0.5)

    def cost(self, state: State, kin: Kinematics) -> Tensor:
        change, value = self._residuals(state)
        return 0.5 * ((change**2).sum() + (value**2).sum())

    def add_to(self, system: BorderedSystem, state: State, kin: Kinematics) -> None:
        change, value = self._residuals(state)
        system.add_diagonal_stencil(value, [(1 / (self.spread * len(value) ** 0.5)).expand_as(value)], self.columns)
        if len(change):
            one = torch.full_like(change, 1 / CHANGE)
            system.add_diagonal_stencil(change, [-one, one], self.columns)
