"""Real studies from their files, against what OpenSim's own tool computed for them."""

from dataclasses import replace

import pytest
from opensim_studies import ARNOLDS, GAIT2354, OTHERS, rms_of_columns


def differences(study, data, out, **more):
    result = study.torques(data, out, **more)
    rms = rms_of_columns(result, data / study.reference, out / "out")
    assert len(rms) == study.columns
    return result, max(rms.values())


@pytest.mark.parametrize("study", ARNOLDS, ids=lambda s: s.name)
def test_arnold_walks(data_dir, tmp_path, study):
    result, worst = differences(study, data_dir, tmp_path, like_opensim=True)
    assert result.contacts.bodies == ("calcn_r", "calcn_l")  # found, not given
    assert worst < 1e-6  # N.m or N


@pytest.mark.parametrize("study", OTHERS, ids=lambda s: s.name)
def test_studies_of_opensims_own(data_dir, tmp_path, study):
    assert differences(study, data_dir, tmp_path)[1] < study.goal


def test_forces_without_their_external_loads_file(data_dir, tmp_path):
    study = replace(OTHERS[0], forces=f"{GAIT2354}/subject01_walk1_grf.mot")
    assert differences(study, data_dir, tmp_path)[1] < study.goal
