"""Real studies from their files, against what OpenSim's own tool computed for them."""

import numpy as np
import pytest
from opensim_files import with_pins_and_free_patella

import physpose
from physpose.io.storage import read_storage

PIPELINES = "opensim_models/Pipelines"


def rms_of_columns(result, reference, out):
    """Column -> RMS [N.m; N] over the reference's times. A coordinate's kind of unit may be named otherwise."""
    result.save(out)
    mine, theirs = read_storage(out / "torques.sto"), read_storage(reference)

    def stem(name):
        return name.removesuffix("_moment").removesuffix("_force")

    columns = {stem(n): mine.column(n) for n in mine.names}
    rows = [int(np.abs(mine.time - t).argmin()) for t in theirs.time]
    assert np.abs(mine.time[rows] - theirs.time).max() < 1e-4
    common = [n for n in theirs.names if stem(n) in columns]
    return {n: float(np.sqrt(np.mean((columns[stem(n)][rows] - theirs.column(n)) ** 2))) for n in common}


@pytest.mark.parametrize("subject", ["01", "02", "04", "18"])
def test_arnold_walks(data_dir, tmp_path, subject):
    folder = data_dir / "nimblephysics/data/regression/Arnold2013Synthetic" / f"subject{subject}"
    model = with_pins_and_free_patella(folder / f"subject{subject}.osim", tmp_path / "model.osim")
    result = physpose.inverse_dynamics(
        folder / "coordinates.sto", model, forces=folder / "trials/walk2/grf.mot", like_opensim=True
    )
    assert result.contacts.bodies == ("calcn_r", "calcn_l")  # found, not given
    rms = rms_of_columns(result, folder / "id.sto", tmp_path / "out")
    assert len(rms) == 35
    assert max(rms.values()) < 1e-6  # N.m or N


@pytest.mark.parametrize("forces", ["xml", "mot"])
def test_gait2354(data_dir, tmp_path, forces):
    folder = data_dir / PIPELINES / "Gait2354_Simbody"
    output = folder / "OutputReference"
    result = physpose.inverse_dynamics(
        output / "subject01_walk1_ik.mot", output / "subject01_simbody.osim",
        forces=folder / f"subject01_walk1_grf.{forces}", lowpass=6.0,
    )  # fmt: skip
    rms = rms_of_columns(result, output / "ResultsInverseDynamics/inverse_dynamics.sto", tmp_path / "out")
    assert len(rms) == 23
    assert max(rms.values()) < 0.01


def test_gait10dof(data_dir, tmp_path):
    folder = data_dir / PIPELINES / "Gait10dof18musc/OutputReference"
    result = physpose.inverse_dynamics(
        folder / "IK/subject01_walk_IK.mot", folder / "subject01.osim",
        forces=folder / "ExperimentalData/subject01_walk_grf.xml", lowpass=6.0,
    )  # fmt: skip
    rms = rms_of_columns(result, folder / "ID/Results/subject01_walk_ID.sto", tmp_path / "out")
    assert len(rms) == 10
    assert max(rms.values()) < 0.01


def test_arm26(data_dir, tmp_path):
    folder = data_dir / "opensim_core/Applications/ID/tests/resources"
    result = physpose.inverse_dynamics(
        folder / "arm26_InverseKinematics.mot", folder / "arm26.osim", lowpass=6.0, degrees=True
    )
    rms = rms_of_columns(result, folder / "std_arm26_InverseDynamics.sto", tmp_path / "out")
    assert len(rms) == 2
    assert max(rms.values()) < 1e-3
