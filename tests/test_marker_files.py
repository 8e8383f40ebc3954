""".trc and .sto in the dialects that are about, and broken."""

import numpy as np
import pytest

from physpose.errors import InputError, PhysposeError, UnknownNameError
from physpose.io.storage import read_storage
from physpose.io.trc import read_trc, write_trc

TIME = np.array([0.0, 0.01, 0.02])
NAMES = ("head", "hip", "knee", "heel", "toe")
STILL = np.array([[0, 0, 1.6], [0, 0.1, 0.95], [0, 0.1, 0.5], [-0.05, 0.1, 0.05], [0.15, 0.1, 0.02]])
POSITIONS = STILL + 0.01 * np.arange(3)[:, None, None]  # z up


@pytest.fixture
def path(tmp_path):
    return write_trc(tmp_path / "a.trc", NAMES, TIME, POSITIONS)


def edit(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("units", ["mm", "cm", "m"])
def test_units_of_the_header(tmp_path, units):
    found = read_trc(write_trc(tmp_path / "a.trc", NAMES, TIME, POSITIONS, units=units))
    np.testing.assert_allclose(found.positions, POSITIONS, atol=1e-9)
    assert (found.names, found.rate) == (NAMES, pytest.approx(100))


def test_windows_line_ends_blank_separators_and_trailing_tabs(path):
    lines = path.read_text().split("\n")
    variants = (
        "\r\n".join(lines),
        "\n".join(x.replace("\t", "  ") if i not in (3, 4) else x for i, x in enumerate(lines)),
        "\n".join(x + "\t\t" for x in lines),
        "\n".join([*lines[:5], *lines[6:]]),  # no blank line before the numbers
    )
    for text in variants:
        path.write_bytes(text.encode())
        np.testing.assert_allclose(read_trc(path).positions, POSITIONS, atol=1e-9)


def test_lost_markers_are_nan_however_written(path):
    rows = path.read_text().split("\n")
    for i, fill in ((6, ""), (7, "nan"), (8, "0")):
        cells = rows[i].split("\t")
        cells[5:8] = [fill] * 3
        rows[i] = "\t".join(cells)
    last = rows[8].split("\t")
    rows[8] = "\t".join(last[:-3]) + "\t\t\t"
    path.write_text("\n".join(rows))
    found = read_trc(path)
    assert np.isnan(found.positions[:, 1]).all()
    assert np.isnan(found.positions[2, 4]).all()
    np.testing.assert_allclose(found.positions[:, 0], POSITIONS[:, 0], atol=1e-9)


def test_markers_of_the_same_name_are_told_apart(path):
    found = read_trc(edit(path, ("knee", "hip")))
    assert found.names == ("head", "hip", "hip_2", "heel", "toe")
    assert "hip" in found.warnings[0]


def test_a_rate_that_is_not_the_times_own_is_told(path):
    assert read_trc(path).warnings == ()
    edit(path, ("100\t100\t3", "60\t60\t3"))
    assert "60 frames a second, the times 100" in read_trc(path).warnings[0]


def test_metres_labelled_millimetres_are_asked_about(tmp_path):
    path = edit(write_trc(tmp_path / "a.trc", NAMES, TIME, POSITIONS, units="m"), ("\tm\t", "\tmm\t"))
    with pytest.raises(InputError, match=r"a\.trc, line 3.*'mm'.*0\.00158 m.*units='m'"):
        read_trc(path)
    np.testing.assert_allclose(read_trc(path, units="m").positions, POSITIONS, atol=1e-9)
    np.testing.assert_allclose(read_trc(path, units="mm").positions, POSITIONS / 1000, atol=1e-12)
    with pytest.raises(UnknownNameError, match="known: mm, cm, m"):
        read_trc(path, units="inch")


def test_a_file_that_is_z_up_is_doubted_and_read_so_on_request(tmp_path):
    y_up = np.stack([POSITIONS[..., 0], -POSITIONS[..., 2], POSITIONS[..., 1]], -1)  # lies down when taken as y up
    path = write_trc(tmp_path / "a.trc", NAMES, TIME, y_up)
    assert "up='z'" in read_trc(path).warnings[0]
    on_disk = np.stack([y_up[..., 0], y_up[..., 2], -y_up[..., 1]], -1)
    np.testing.assert_allclose(read_trc(path, up="z").positions, on_disk, atol=1e-9)
    assert read_trc(path, up="z").warnings == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("\t3\t5\tmm", "\t4\t5\tmm")], r"line 3: the header says NumFrames=4, but 3 follow"),
        ([("\t3\t5\tmm", "\t3\t6\tmm")], r"line 3: the header says NumMarkers=6, but 5 follow"),
        ([("\t3\t5\tmm", "\tx\t5\tmm")], r"line 3: NumFrames='x' is no number"),
        ([("\t5\tmm", "\t5\tinch")], "inch"),
        ([("\n3\t0.02\t", "\n3\t0.01\t")], r"line 9: time 0\.01 s does not come after"),
        ([("\n3\t0.02\t", "\n3\t0.02\tabc")], r"line 9: could not convert"),
        ([("PathFileType", "File")], "PathFileType"),
    ],
)
def test_broken_marker_files_are_refused_with_their_line(path, changes, message):
    with pytest.raises(PhysposeError, match=message):
        read_trc(edit(path, *changes))


def test_a_line_that_was_cut_off_is_found(path):
    path.write_text(path.read_text()[:-30])
    with pytest.raises(InputError, match=r"line 9: 1\d cells where the header has 17 columns"):
        read_trc(path)


def test_counts_can_be_ignored(path):
    edit(path, ("\t3\t5\tmm", "\t9\t5\tmm"))
    assert len(read_trc(path, check_counts=False).time) == 3


def test_binary_and_empty_files_are_refused(tmp_path):
    (tmp_path / "a.trc").write_bytes(b"PathFileType\0\0\0")
    with pytest.raises(InputError, match="no text file"):
        read_trc(tmp_path / "a.trc")
    (tmp_path / "a.trc").write_bytes(b"\n")
    with pytest.raises(InputError, match="is empty"):
        read_trc(tmp_path / "a.trc")


def test_real_marker_files_are_read(data_dir):
    for path in [*(data_dir / "opensim_models").rglob("*.trc"), *(data_dir / "pose2sim").rglob("*BalancingTrial*.trc")]:
        found = read_trc(path)
        spread = np.nanmax(found.positions, 1) - np.nanmin(found.positions, 1)
        assert 0.8 < np.median(spread[:, 2]) < 2.2  # someone upright, z up


# --- .mot and .sto ----------------------------------------------------------------------------------------------------

HEADERS = {
    "today": "Coordinates\nversion=1\nnRows=2\nnColumns=3\ninDegrees=yes\n\nUnits are S.I. units\n\nendheader\n",
    "tables": "inDegrees=no\nDataType=double\nversion=3\nOpenSimVersion=4.4\nnRows=2\nendheader\n",
    "old": "Coordinates\nnRows=2\nnColumns=3\n\nAngles are in degrees.\n\nendheader\n",
    "simm": "name a.mot\ndatacolumns 3\ndatarows 2\notherdata 1\nrange 0 1\nendheader\n",
}


@pytest.mark.parametrize(("kind", "degrees"), [("today", True), ("tables", False), ("old", True), ("simm", None)])
def test_headers_of_all_versions(tmp_path, kind, degrees):
    (tmp_path / "a.mot").write_text(HEADERS[kind] + "time\ta\tb\n0\t1\t2\n1\t3\t\n")
    found = read_storage(tmp_path / "a.mot")
    assert (found.names, found.in_degrees) == (("a", "b"), degrees)
    np.testing.assert_array_equal(found.data, [[1, 2], [3, np.nan]])


def test_repeated_columns(tmp_path):
    (tmp_path / "a.mot").write_text("x\nendheader\ntime a a b b\n0 1 1 2 3\n1 4 4 5 6\n")
    found = read_storage(tmp_path / "a.mot")
    np.testing.assert_array_equal(found.column("a"), [1, 4])
    with pytest.raises(InputError, match=r"columns 4, 5 are all named 'b'"):
        found.column("b")
    with pytest.raises(UnknownNameError, match=r"known: a, a, b, b"):
        found.column("c")


def test_rows_that_repeat_a_time_are_left_out_with_a_warning(tmp_path):
    (tmp_path / "a.mot").write_text("x\nendheader\ntime a\n0 1\n1 4\n1 4\n")
    found = read_storage(tmp_path / "a.mot")
    np.testing.assert_array_equal(found.time, [0, 1])
    assert "1 rows" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nRows=3\nendheader\ntime a\n0 1\n1 4\n", r"line 1: the header says nRows=3, but 2 follow"),
        ("datarows 3\nendheader\ntime a\n0 1\n1 4\n", r"line 1: the header says nRows=3"),
        ("nColumns=3\nendheader\ntime a\n0 1\n1 4\n", r"line 1: the header says nColumns=3, but 2 follow"),
        ("x\nendheader\ntime a\n0 1\n1\n", r"line 5: 1 cells where the header has 2 columns"),
        ("x\nendheader\ntime a\n1 1\n0 2\n", r"line 5: time 0 s does not come after 1 s"),
        ("x\nendheader\nt a\n1 1\n", r"line 3: the first column is 't'"),
        ("x\nendheader\ntime a\n", "no row of numbers"),
        ("time a\n1 1\n", "no line 'endheader'"),
        ("x\nendheader\ntime a\n0 one\n", r"line 4: could not convert"),
    ],
)
def test_broken_tables_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "a.mot").write_text(text)
    with pytest.raises(InputError, match=message):
        read_storage(tmp_path / "a.mot")
