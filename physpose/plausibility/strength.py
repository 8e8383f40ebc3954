"""What human joints can do: peak isometric torque by age and sex, as a share of body weight times stature.

Hip, knee and ankle: Anderson, Madigan & Nussbaum 2007 (J Biomech 40:3105), Table 3, parameter C1, means of three age
groups. Trunk, shoulder, elbow, forearm and wrist: one trained gymnast, the data set "Gymnast" of RBDL's torque muscles
(Millard et al. 2016), taken as 70 kg and 1.73 m (unverified) and for all ages and both sexes. Children take the young
adults' shares: of their own weight and stature (unverified). Joints not listed have no norm here.
"""

from __future__ import annotations

import numpy as np

from physpose.skeleton.model import Subject

G = 9.81  # [m/s^2]
AGES = (21.5, 60.0, 70.0)  # [years] middles of the groups 18-25, 55-65, over 65
# coordinate -> sex -> ((negative, positive) at each of AGES)
LEGS = {
    "hip_flexion": {
        "m": ((0.161, 0.113), (0.171, 0.107), (0.144, 0.101)),
        "f": ((0.181, 0.127), (0.140, 0.091), (0.138, 0.081)),
    },
    "knee_angle": {
        "m": ((0.163, 0.087), (0.156, 0.081), (0.137, 0.069)),
        "f": ((0.159, 0.080), (0.128, 0.060), (0.124, 0.060)),
    },
    "ankle_angle": {
        "m": ((0.095, 0.033), (0.114, 0.028), (0.106, 0.029)),
        "f": ((0.104, 0.027), (0.093, 0.024), (0.125, 0.022)),
    },
}
GYMNAST = 70.0 * G * 1.73  # [N.m] weight times stature
UPPER = {  # [N.m] (negative, positive)
    "lumbar_extension": (212.0, 688.0),
    "arm_flex": (127.0, 91.0),
    "arm_add": (94.7, 128.0),
    "arm_rot": (43.6, 50.5),
    "elbow_flex": (69.9, 101.0),
    "pro_sup": (13.5, 13.0),
    "wrist_flex": (15.6, 39.2),
    "wrist_dev": (23.8, 31.4),
}


def strength(coordinate: str, who: Subject) -> tuple[float, float] | None:
    """Mean peak torques [N.m] against and along a coordinate, e.g. (-212.0, 149.0); None without a norm."""
    base = coordinate[:-2] if coordinate.endswith(("_r", "_l")) else coordinate
    scale = who.mass * G * who.height
    if base in LEGS:
        sexes = "fm" if who.sex == "x" else who.sex
        table = np.mean([LEGS[base][sex] for sex in sexes], axis=0)
        low, high = (float(np.interp(who.age, AGES, table[:, k])) for k in (0, 1))
        return -low * scale, high * scale
    if base in UPPER:
        low, high = UPPER[base]
        return -low / GYMNAST * scale, high / GYMNAST * scale
    return None
