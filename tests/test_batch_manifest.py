"""A batch's manifest: every problem at once, each with its line; what is right becomes rows."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from physpose import cli
from physpose.batch.columns import COLUMNS
from physpose.batch.manifest import read_manifest
from physpose.errors import InputError
from physpose.pipeline import fit


@pytest.fixture
def study(tmp_path) -> Path:
    """A folder with three files that might be clips."""
    (tmp_path / "site").mkdir()
    for name in ("a.mp4", "b.mp4", "site/a.mp4"):
        (tmp_path / name).write_bytes(b"not opened here")
    return tmp_path


def manifest(folder: Path, text: str | bytes, **options):
    path = folder / "study.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path, **options)


def problems(folder: Path, text: str | bytes, **options) -> list[str]:
    return [str(p) for p in manifest(folder, text, **options).problems]


def test_rows_hold_what_fit_takes(study):
    text = "clip,skeleton,age,sex,height,mass,camera,person,fps,image_size,gravity,arm\n"
    text += "a.mp4,child,8,f,1.28,26,1450,1.0,30,640x480,0 0 -1.62,left\n"
    (row,) = manifest(study, text, carry=["arm"]).rows
    assert row.arguments == {
        "skeleton": "child", "age": 8.0, "sex": "f", "height": 1.28, "mass": 26.0, "camera": 1450.0, "person": 1,
        "fps": 30.0, "image_size": (640, 480), "gravity": (0.0, 0.0, -1.62),
    }  # fmt: skip
    assert (row.line, row.name, row.views, row.carried) == (2, "a", (study / "a.mp4",), {"arm": "left"})
    assert set(row.arguments) <= set(COLUMNS)


def test_gravity_is_given_or_estimated(study):
    read = manifest(study, "clip,gravity\na.mp4,0 0 0\nb.mp4,estimate\n")
    assert [r.arguments["gravity"] for r in read.rows] == [(0.0, 0.0, 0.0), "estimate"]
    (found,) = problems(study, "clip,gravity\na.mp4,moon\n")
    assert found == "line 2: gravity 'moon': GX GY GZ [m/s^2], z up, or 'estimate', is needed"


def test_the_columns_are_fits_arguments():
    not_in_a_table = {"source", "settings", "progress"}
    assert set(COLUMNS) == set(inspect.signature(fit).parameters) - not_in_a_table


def test_paths_start_at_the_manifest_and_make_the_name(study, monkeypatch):
    monkeypatch.chdir("/")
    read = manifest(study, "clip,name,camera\na.mp4,,\nsite/a.mp4,,b.mp4\na.mp4,again,\n")
    assert not read.problems
    assert [r.name for r in read.rows] == ["a", "site-a", "again"]
    assert read.rows[1].arguments["camera"] == study / "b.mp4"


def test_markers_come_with_their_own_columns(study):
    for name in ("walk.c3d", "stand.c3d"):
        (study / name).write_bytes(b"not opened here")
    text = "clip,skeleton,static,forces,force_lowpass,scale,register,units,up\n"
    text += "walk.c3d,child,stand.c3d,walk.c3d,20,yes,False,mm,z\n"  # nothing of age or height: the file may tell
    read = manifest(study, text)
    assert not read.problems
    assert read.rows[0].arguments == {
        "skeleton": "child", "static": study / "stand.c3d", "forces": study / "walk.c3d", "force_lowpass": 20.0,
        "scale": True, "register": False, "units": "mm", "up": "z",
    }  # fmt: skip
    (wrong,) = problems(study, "clip,scale\nwalk.c3d,perhaps\n")
    assert wrong == "line 2: scale 'perhaps': yes or no is needed"


def test_several_cameras_are_one_clip(study):
    (row,) = manifest(study, "clip,camera\nsite/a.mp4 | b.mp4,a.mp4\n").rows
    assert (row.name, row.views) == ("site-a", (study / "site/a.mp4", study / "b.mp4"))
    (missing,) = problems(study, "clip\na.mp4|gone.mp4\n")
    assert missing == f"line 2: clip: no such file: {study / 'gone.mp4'}"


def test_all_problems_are_told_at_once_with_their_lines(study):
    text = "clip,heigth,height,age,mass,sex,detector,skeleton,image_size\n"
    text += "a.mp4,,128,,,,,,\n"  # cm
    text += "gone.mp4,,,,,,,,\n"
    text += '"a.mp4",,1.7,,,,,,\n\n'
    text += 'b.mp4,,"1,7",x,-3,man,yolo,giant,640\n'
    text += "site/a.mp4,,1.7\n"
    found = problems(study, text)
    assert [p.split(":")[0] for p in found] == [f"line {n}" for n in (1, 2, 3, 4, 6, 6, 6, 6, 6, 6, 6, 7)]
    expected = (
        "did you mean 'height'?", "in cm? give metres: height=1.28", "no such file", "in line 2 already",
        "'x' is no number", "'man'", "write a decimal point", "mass -3 kg must be positive", "'yolo'", "'giant'",
        "WIDTH HEIGHT", "3 cells, the header has 9",
    )  # fmt: skip
    for words in expected:
        assert any(words in p for p in found), (words, found)


def test_a_persons_impossible_mixture_is_a_problem(study):
    (found,) = problems(study, "clip,skeleton,age\na.mp4,adult,8\n")
    assert found.startswith("line 2: age 8 is outside skeleton 'adult'")


def test_bytes_that_are_not_utf8_are_told_by_line(study):
    text = "clip,who\na.mp4,Müller\nb.mp4,Jürgen\n".encode("latin-1")
    found = problems(study, text, carry=["who"])
    assert [p.split(" (")[0] for p in found] == ["line 2: not UTF-8", "line 3: not UTF-8"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spreadsheets_of_all_countries(study, separator, encoding):
    text = "\r\n".join(separator.join(x) for x in (("clip", "height", "who"), ("a.mp4", "1.7", "Müller")))
    (row,) = manifest(study, text.encode(encoding), carry=["who"]).rows
    assert row.arguments == {"height": 1.7}
    assert row.carried == {"who": "Müller"}


def test_a_line_end_within_quotes_does_not_shift_the_lines(study):
    text = 'clip,remark\na.mp4,"two\nlines"\ngone.mp4,\n'
    assert problems(study, text, carry=["remark"]) == [f"line 4: clip: no such file: {study / 'gone.mp4'}"]


def test_defaults_fill_empty_cells(study):
    read = manifest(study, "clip,skeleton\na.mp4,\nb.mp4,adult\n", defaults={"skeleton": "child", "age": "30"})
    (problem,) = read.problems
    assert str(problem).startswith("line 2: age 30 is outside skeleton 'child'")
    assert read.rows[1].arguments == {"skeleton": "adult", "age": 30.0}
    (unknown,) = problems(study, "clip\na.mp4\n", defaults={"hight": "2"})
    assert unknown.startswith("no column 'hight' to set")


def test_a_carried_column_does_not_hide_one_of_the_summary(study):
    (found,) = problems(study, "clip,status\na.mp4,x\n", carry=["status"])
    assert found == "line 1: the summary has a column 'status' of its own; rename this one"


def test_a_folder_is_a_manifest(study):
    (study / "notes.txt").write_text("no clip")
    assert [r.name for r in read_manifest(study).rows] == ["a", "b", "site-a"]
    (study / "result.trc").write_text("made of a.mp4")
    assert [r.name for r in read_manifest(study).rows] == ["a", "b", "site-a"]


def test_a_folder_without_videos_is_one_of_markers(tmp_path):
    (tmp_path / "day 2").mkdir()
    for name in ("walk.c3d", "day 2/Walk.TRC", "grf.mot"):
        (tmp_path / name).write_bytes(b"not opened here")
    assert [r.views[0].name for r in read_manifest(tmp_path).rows] == ["Walk.TRC", "walk.c3d"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no video in .*, and no markers \(\.trc, \.c3d\)"):
        read_manifest(tmp_path / "empty")


def test_parquet_is_read_as_csv_is(study):
    pytest.importorskip("pyarrow", reason="the extra 'batch' is not installed")
    import pandas as pd

    text = "clip,height,person,sex\na.mp4,1.7,1,f\nb.mp4,,,\n"
    pd.DataFrame(
        {"clip": ["a.mp4", "b.mp4"], "height": [1.7, None], "person": [1, None], "sex": ["f", None]}
    ).to_parquet(study / "study.parquet")
    of_csv, of_parquet = manifest(study, text), read_manifest(study / "study.parquet")
    assert [r.arguments for r in of_parquet.rows] == [r.arguments for r in of_csv.rows]
    (study / "study.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_manifest(study / "study.parquet")


@pytest.mark.parametrize(
    ("text", "says"),
    [(b"", "is empty"), (b"\n\n", "is empty"), (b"PK\x03\x04\0\0", "no text file")],
)
def test_what_is_no_table_is_refused(study, text, says):
    with pytest.raises(InputError, match=says):
        manifest(study, text)


def test_a_manifest_without_clips_is_a_problem(study):
    assert problems(study, "clip\n") == ["no clip in it"]
    assert problems(study, "video\na.mp4\n")[-1].startswith("line 1: no column 'clip'")


def test_many_rows_are_all_checked(study):
    n = 20_000
    lines = [f"a.mp4,n{i},1.7" for i in range(n)]
    lines[n // 2] = "a.mp4,mid,170"
    lines.append("a.mp4,N0,1.7")
    found = problems(study, "\n".join(["clip,name,height", *lines]))
    assert [p.split(":")[0] for p in found] == [f"line {n // 2 + 2}", f"line {n + 2}"]


def test_dry_run_prints_every_problem_and_runs_nothing(study, capsys):
    path = study / "study.csv"
    path.write_text("clip,height\na.mp4,170\ngone.mp4,\nb.mp4,1.7\n")
    assert cli.main(["batch", str(path), "--dry-run"]) == 2
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out[:2]] == ["line 2", "line 3"]
    assert out[2].endswith("2 clips can be run, 2 problems")
    assert cli.main(["batch", str(path), "--dry-run", "--json"]) == 2
    assert [p["line"] for p in json.loads(capsys.readouterr().out)["problems"]] == [2, 3]
    assert cli.main(["batch", str(path), "--out", str(study / "out")]) == 2
    assert "has 2 problems; nothing was run" in capsys.readouterr().err
    assert not (study / "out").exists()
    path.write_text("clip\nb.mp4\n")
    assert cli.main(["batch", str(path), "--dry-run"]) == 0
