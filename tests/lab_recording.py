"""A made-up recording of the laboratory: a person's markers, two force plates, events. Forces are known."""

import numpy as np

from physpose.io.c3d import Event
from physpose.io.force_plates import ForcePlate
from physpose.types import Markers

FRAMES, RATE, RATIO = 60, 100.0, 10
START = 0.5  # [s] of the first frame
NAMES = ("LASI", "RASI", "LKNE", "RKNE", "LHEE", "RHEE")
# seen from above, x forward: +x +y, -x +y, -x -y, +x -y of a plate whose own z points into the ground and x along the
# lab's
CORNERS = np.array([[0.6, -0.3, 0], [0, -0.3, 0], [0, 0.3, 0], [0.6, 0.3, 0]])


def markers():
    time = START + np.arange(FRAMES) / RATE
    still = np.array(
        [[0, 0.1, 1.0], [0, -0.1, 1.0], [0.05, 0.1, 0.5], [0.05, -0.1, 0.5], [0, 0.1, 0.05], [0, -0.1, 0.04]]
    )
    positions = still + 0.1 * np.sin(time)[:, None, None]
    positions[7, 2] = np.nan
    return Markers(names=NAMES, time=time, positions=positions, rate=RATE)


def true_force(time):
    return np.stack([50 * np.sin(9 * time), 30 * np.cos(7 * time), 600 + 100 * np.sin(20 * time)], 1)


def true_cop(time, centre):
    return centre + np.stack([0.1 * np.sin(3 * time), 0.05 * np.cos(3 * time), 0 * time], 1)


def true_free_moment(time):
    return np.stack([0 * time, 0 * time, 4 * np.sin(5 * time)], 1)


def plate(name="plate 1", shift=0.0):
    time = START + np.arange(FRAMES * RATIO) / (RATE * RATIO)
    corners = CORNERS + [shift, 0, 0]
    centre, force = corners.mean(0), true_force(time)
    moment = np.cross(true_cop(time, centre) - centre, force) + true_free_moment(time)
    return ForcePlate(name=name, type=2, time=time, force=force, moment=moment, origin=centre, corners=corners)


EVENTS = (Event(name="Foot Strike", context="Left", time=0.62), Event(name="Foot Off", context="Right", time=61.5))


def write(path, **parameters):
    from physpose.io.c3d_write import write_c3d

    subject = {"PROCESSING": {"Bodymass": 32.1, "Height": 1450.0}}
    return write_c3d(path, markers(), [plate(), plate("plate 2", 0.7)], EVENTS, {**subject, **parameters})
