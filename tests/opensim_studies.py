"""Real studies whose torques OpenSim's own tool computed: their files, and what differs from its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from opensim_files import with_pins_and_free_patella

import physpose
from physpose import FitResult
from physpose.io.storage import read_storage

ARNOLD = "nimblephysics/data/regression/Arnold2013Synthetic"
GAIT2354 = "opensim_models/Pipelines/Gait2354_Simbody"
GAIT10DOF = "opensim_models/Pipelines/Gait10dof18musc/OutputReference"
ARM26 = "opensim_core/Applications/ID/tests/resources"


@dataclass(frozen=True)
class Study:
    """Files below the folder of recordings, the tool's settings, and how near its torques have to be."""

    name: str
    motion: str
    model: str
    reference: str  # OpenSim's torques
    columns: int  # that both have
    goal: float  # [N.m; N] RMS of each column
    forces: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    pins: bool = False  # the reference was computed with pins at the toes and a free patella

    def torques(self, data: Path, scratch: Path, **more: Any) -> FitResult:
        """The study's inverse dynamics by physpose, from its files; a changed model goes to ``scratch``."""
        model = data / self.model
        if self.pins:
            model = with_pins_and_free_patella(model, scratch / "model.osim")
        forces = data / self.forces if self.forces else None
        return physpose.inverse_dynamics(data / self.motion, model, forces=forces, **self.settings, **more)


def arnold(subject: str) -> Study:
    """A walk of Arnold et al. 2013, as another library's regression data have it."""
    at = f"{ARNOLD}/subject{subject}"
    return Study(
        f"Arnold 2013 subject {subject}", f"{at}/coordinates.sto", f"{at}/subject{subject}.osim", f"{at}/id.sto",
        35, 1e-3, forces=f"{at}/trials/walk2/grf.mot", pins=True,
    )  # fmt: skip


ARNOLDS = tuple(arnold(s) for s in ("01", "02", "04", "18"))
OTHERS = (
    Study(
        "Gait2354", f"{GAIT2354}/OutputReference/subject01_walk1_ik.mot",
        f"{GAIT2354}/OutputReference/subject01_simbody.osim",
        f"{GAIT2354}/OutputReference/ResultsInverseDynamics/inverse_dynamics.sto", 23, 0.01,
        forces=f"{GAIT2354}/subject01_walk1_grf.xml", settings={"lowpass": 6.0},
    ),
    Study(
        "Gait10dof", f"{GAIT10DOF}/IK/subject01_walk_IK.mot", f"{GAIT10DOF}/subject01.osim",
        f"{GAIT10DOF}/ID/Results/subject01_walk_ID.sto", 10, 0.01,
        forces=f"{GAIT10DOF}/ExperimentalData/subject01_walk_grf.xml", settings={"lowpass": 6.0},
    ),
    Study(
        "arm26", f"{ARM26}/arm26_InverseKinematics.mot", f"{ARM26}/arm26.osim",
        f"{ARM26}/std_arm26_InverseDynamics.sto", 2, 1e-3, settings={"lowpass": 6.0, "degrees": True},
    ),
)  # fmt: skip


def rms_of_columns(result: FitResult, reference: Path, out: Path) -> dict[str, float]:
    """Column -> RMS [N.m; N] over the reference's times. A coordinate's kind of unit may be named otherwise."""
    result.save(out)
    mine, theirs = read_storage(out / "torques.sto"), read_storage(reference)

    def stem(name: str) -> str:
        return name.removesuffix("_moment").removesuffix("_force")

    columns = {stem(n): mine.column(n) for n in mine.names}
    rows = [int(np.abs(mine.time - t).argmin()) for t in theirs.time]
    assert np.abs(mine.time[rows] - theirs.time).max() < 1e-4
    common = [n for n in theirs.names if stem(n) in columns]
    return {n: float(np.sqrt(np.mean((columns[stem(n)][rows] - theirs.column(n)) ** 2))) for n in common}
