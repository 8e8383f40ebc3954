"""The made-up walk of ``walker`` as a laboratory records it: markers by their usual labels, two force plates."""

from dataclasses import replace

import numpy as np
import torch
from walker import Walk

from physpose.chain import KinematicChain
from physpose.io.force_plates import ForcePlate
from physpose.types import Markers

RIGHT = {
    "RASI": "asis_r", "RPSI": "psis_r", "RTHI1": "thigh_r", "RKNE": "knee_lateral_r", "RKNM": "knee_medial_r",
    "RSK1": "shank_r", "RSHN": "shin_r", "RANK": "ankle_lateral_r", "RMMA": "ankle_medial_r", "RHEE": "heel_r",
    "RTOE": "metatarsal_2_r", "RD5M": "metatarsal_5_r", "RHLX": "hallux_r", "RSHO": "acromion_r",
    "RUPA": "arm_r", "RELB": "elbow_lateral_r", "RELM": "elbow_medial_r", "RWRA": "wrist_radial_r",
    "RWRB": "wrist_ulnar_r", "RFIN": "hand_back_r", "RFHD": "head_front_r", "RBHD": "head_back_r",
}  # fmt: skip
MIDDLE = {"C7": "c7", "T10": "t10", "CLAV": "jugular_notch", "STRN": "xiphoid"}
LABELS = MIDDLE | RIGHT | {"L" + label[1:]: name[:-1] + "l" for label, name in RIGHT.items()}
PLATE = np.array([[0.6, -0.8, 0], [-0.6, -0.8, 0], [-0.6, 0.8, 0], [0.6, 0.8, 0]])  # its z points into the ground
RATIO = 10  # samples of the plates a frame


def markers(walk: Walk, q=None, time=None) -> Markers:
    """Exactly where the body's own marker points are."""
    q, time = walk.q if q is None else q, walk.time if time is None else time
    points = {p.name: p for p in walk.body.keypoint_set("markers").points}
    chain = KinematicChain(walk.body)
    at = chain.locate(chain.fk(torch.as_tensor(q)), chain.points(tuple(points[n] for n in LABELS.values())))
    return Markers(names=tuple(LABELS), time=time, positions=at.numpy(), rate=100.0, source="made up")


def standing(walk: Walk) -> Markers:
    """Half a second of standing still."""
    time = np.arange(50) / 100.0
    return markers(walk, np.tile(walk.body.neutral, (50, 1)), time)


def plates(walk: Walk) -> list[ForcePlate]:
    """The forces as two plates measure them; both plates lie under the whole walk, each is used by one foot."""
    time = walk.time[0] + np.arange(RATIO * len(walk.time)) / (100.0 * RATIO)
    out = []
    for k, w in enumerate(walk.forces.wrenches):
        corners = PLATE + [0.0, 0.0, 0.0]
        moment = np.cross(np.nan_to_num(w.cop) - corners.mean(0), w.force) + w.free_moment
        force, moment = (np.stack([np.interp(time, w.time, c) for c in x.T], 1) for x in (w.force, moment))
        out.append(ForcePlate(name=f"plate {k + 1}", type=2, time=time, force=force, moment=moment,
                              origin=corners.mean(0), corners=corners))  # fmt: skip
    return out


def without(seen: Markers, label: str, frames: slice) -> Markers:
    """The same with one marker lost for some frames."""
    positions = seen.positions.copy()
    positions[frames, seen.names.index(label)] = np.nan
    return replace(seen, positions=positions)


def swapped(seen: Markers, a: str, b: str, frames: slice) -> Markers:
    """The same with two labels exchanged for some frames."""
    positions, i, j = seen.positions.copy(), seen.names.index(a), seen.names.index(b)
    positions[frames, i], positions[frames, j] = seen.positions[frames, j], seen.positions[frames, i]
    return replace(seen, positions=positions)


def renamed(seen: Markers, names: dict[str, str]) -> Markers:
    """The same with other labels."""
    return replace(seen, names=tuple(names.get(n, n) for n in seen.names))
