"""Files are read back by readers that know nothing of the writers: pandas, numpy, OpenSim where it is installed."""

import os
import stat

import numpy as np
import pandas as pd
import pytest

from physpose.errors import InputError
from physpose.io.storage import read_storage, write_storage
from physpose.io.tables import replace_file, write_csv
from physpose.io.trc import read_trc, write_trc

RTOL = 1e-9  # ten digits are written
TIME = np.array([0.1, 0.133, 0.2, 0.25])  # no constant frame rate


@pytest.fixture
def data():
    return np.random.default_rng(0).normal(size=(4, 3))


@pytest.fixture
def markers():
    positions = np.random.default_rng(1).normal(size=(4, 2, 3))
    positions[2, 1] = np.nan
    return positions


def y_up_mm(positions):
    x, y, z = 1000 * positions.transpose(2, 0, 1)
    return np.stack([x, z, -y], -1).reshape(4, 6)


def test_mot_is_read_by_pandas(tmp_path, data):
    path = write_storage(tmp_path / "a.mot", ["a", "b", "c"], TIME, data, in_degrees=True, title="Coordinates")
    lines = path.read_text().splitlines()
    assert lines[0] == "Coordinates"
    assert {"nRows=4", "nColumns=4", "inDegrees=yes"} < set(lines)
    table = pd.read_csv(path, sep="\t", skiprows=lines.index("endheader") + 1)
    assert list(table) == ["time", "a", "b", "c"]
    np.testing.assert_allclose(table, np.column_stack([TIME, data]), rtol=RTOL)


def test_sto_round_trip_keeps_missing_values(tmp_path, data):
    data[1, 2] = np.nan
    path = write_storage(tmp_path / "a.sto", ["a", "b", "c"], TIME, data, in_degrees=False, title="Forces")
    found = read_storage(path)
    assert (found.name, found.names, found.in_degrees) == ("Forces", ("a", "b", "c"), False)
    np.testing.assert_allclose(found.time, TIME, rtol=RTOL)
    np.testing.assert_allclose(found.data, data, rtol=RTOL)


def test_trc_is_read_by_pandas(tmp_path, markers):
    path = write_trc(tmp_path / "a.trc", ["heel", "toe"], TIME, markers)
    head = [line.split("\t") for line in path.read_text().splitlines()[:6]]
    assert head[0] == ["PathFileType", "4", "(X/Y/Z)", "a.trc"]
    about = dict(zip(head[1], head[2], strict=True))
    assert (about["NumFrames"], about["NumMarkers"], about["Units"]) == ("4", "2", "mm")
    assert float(about["DataRate"]) == pytest.approx(3 / 0.15)
    assert head[3][2::3] == ["heel", "toe"]
    assert head[4][2:] == ["X1", "Y1", "Z1", "X2", "Y2", "Z2"]
    table = pd.read_csv(path, sep="\t", skiprows=5, header=None, skip_blank_lines=True)
    np.testing.assert_array_equal(table[0], [1, 2, 3, 4])
    np.testing.assert_allclose(table.loc[:, 1], TIME, rtol=RTOL)
    np.testing.assert_allclose(table.loc[:, 2:], y_up_mm(markers), rtol=RTOL)


def test_trc_round_trip(tmp_path, markers):
    markers[3] = np.nan  # a whole frame, so that its line ends in tabs
    found = read_trc(write_trc(tmp_path / "a.trc", ["heel", "toe"], TIME, markers))
    assert found.names == ("heel", "toe")
    np.testing.assert_allclose(found.positions, markers, rtol=RTOL)
    np.testing.assert_allclose(found.time, TIME, rtol=RTOL)


def test_csv_is_read_by_pandas(tmp_path):
    frame = pd.DataFrame({"time [s]": TIME, 'odd, "name"': [1.0, np.nan, np.pi, -1e-12]})
    pd.testing.assert_frame_equal(pd.read_csv(write_csv(tmp_path / "a.csv", frame)), frame, rtol=RTOL)


def test_one_frame_can_be_written(tmp_path):
    path = write_trc(tmp_path / "a.trc", ["heel"], TIME[:1], np.ones((1, 1, 3)))
    assert read_trc(path).positions.shape == (1, 1, 3)


def test_opensim_reads_all_three(tmp_path, data, markers):
    opensim = pytest.importorskip("opensim", reason="OpenSim's Python package is not installed")
    storage = write_storage(tmp_path / "a.mot", ["a", "b", "c"], TIME, data, in_degrees=True, title="Coordinates")
    table = opensim.TimeSeriesTable(str(storage))
    np.testing.assert_allclose(table.getMatrix().to_numpy(), data, rtol=RTOL)
    assert table.getTableMetaDataAsString("inDegrees") == "yes"
    vectors = opensim.TimeSeriesTableVec3(str(write_trc(tmp_path / "a.trc", ["heel", "toe"], TIME, markers)))
    flat = vectors.flatten()  # kept: its matrix is a view
    np.testing.assert_allclose(flat.getMatrix().to_numpy(), y_up_mm(markers), rtol=RTOL)
    np.testing.assert_allclose(vectors.getIndependentColumn(), TIME, rtol=RTOL)


def test_wrong_shapes_and_names_are_refused_before_anything_is_written(tmp_path, data):
    with pytest.raises(InputError, match=r"\(4, 3\).*2 names"):
        write_storage(tmp_path / "a.mot", ["a", "b"], TIME, data, in_degrees=True, title="Coordinates")
    with pytest.raises(InputError, match="'b c'"):
        write_storage(tmp_path / "a.mot", ["a", "b c", "d"], TIME, data, in_degrees=True, title="Coordinates")
    with pytest.raises(InputError, match="one frame or more"):
        write_trc(tmp_path / "a.trc", ["heel"], np.zeros(0), np.zeros((0, 1, 3)))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_something_else_are_named(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("hello\n")
    with pytest.raises(InputError, match="endheader"):
        read_storage(other)
    with pytest.raises(InputError, match="PathFileType"):
        read_trc(other)
    with pytest.raises(InputError, match="No such file"):
        read_trc(tmp_path / "none.trc")
    other.write_text("x\nendheader\ntime\ta\n0\t1\n1\n")
    with pytest.raises(InputError, match="2 columns"):
        read_storage(other)


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path, monkeypatch):
    path = replace_file(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"a\.txt: No space left"):
        replace_file(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_written_files_have_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        path = replace_file(tmp_path / "a.txt", "x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
