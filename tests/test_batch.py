"""Batches: each clip one complete result or one reason, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import batch_stub
import pytest
from batch_cases import contents, run, table, work_here, write_clips

from physpose import cli
from physpose.batch import ManifestError, local, read_manifest, run_batch
from physpose.batch.progress import Lines, span
from physpose.batch.study import Outcome, Study, Task, task_of
from physpose.batch.work import work
from physpose.errors import InputError, MissingPackageError, UnknownNameError
from physpose.result import FitResult

CLIPS = {"a": "ok", "b": "ok", "empty": "empty", "bug": "bug", "kill": "kill", "c": "ok"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A batch of good clips and of all kinds of bad ones."""
    folder = tmp_path_factory.mktemp("mixed")
    manifest = write_clips(folder, CLIPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "TRIES", 2)
        result, seen = run(manifest, folder / "out")
    return manifest, folder / "out", result, seen


def test_a_failure_is_a_row_in_the_table(mixed):
    _, out, result, seen = mixed
    rows = table(out)
    assert list(rows) == list(CLIPS)  # in the manifest's order
    assert (result.done, result.failed, result.fitted, seen.total, seen.kept) == (3, 3, 3, 6, 0)
    assert sorted(o.task.name for o in seen.outcomes) == sorted(CLIPS)
    status = {name: row["status"] for name, row in rows.items()}
    assert status == {
        "a": "done", "b": "done", "c": "done",
        "empty": "failed (input)", "bug": "failed (error)", "kill": "failed (died)",
    }  # fmt: skip
    assert rows["empty"]["reason"] == "nobody is seen"
    assert rows["bug"]["reason"] == "TypeError: an error of ours"
    assert "2 times (killed by SIGKILL)" in rows["kill"]["reason"]
    assert {row["site"] for row in rows.values()} == {"north"}
    assert "batch_stub.py" in " ".join(json.loads((out / "failed/bug.json").read_text())["trace"])


def test_a_row_tells_who_how_and_by_what(mixed):
    _, out, _, _ = mixed
    row = table(out)["a"]
    assert (row["frames"], row["skeleton"], row["sex"], row["height [m]"]) == ("6", "adult", "f", "1.68")
    assert row["physpose"]
    assert "torch=" in row["packages"]
    assert row["plausible"] in ("True", "False")
    assert json.loads(row["warnings"]) == ["this motion is made up"]
    assert {"what", "value", "source"} <= set(json.loads(row["assumptions"])[0])
    assert float(row["seconds"]) == pytest.approx(1.5)


def test_the_same_command_again_does_nothing_but_what_may_change(mixed):
    manifest, out, _, _ = mixed
    before = {path: (out / path).stat().st_mtime_ns for path in contents(out)}
    (manifest.parent / "kill.mp4").write_text("ok 0")
    result, seen = run(manifest, out, workers=1)
    assert sorted(o.task.name for o in seen.outcomes) == ["bug", "kill"]  # not the one whose input is at fault
    assert (result.done, result.failed, result.fitted) == (4, 2, 1)
    assert {path: (out / path).stat().st_mtime_ns for path in before} == before


def test_what_has_changed_is_made_anew_and_only_that(tmp_path):
    manifest, out = write_clips(tmp_path, {"a": "ok", "b": "ok", "empty": "empty"}), tmp_path / "out"
    work_here(manifest, out)
    stamp = (out / "clips/a/row.json").stat().st_mtime_ns
    (tmp_path / "empty.mp4").write_text("ok 0")
    manifest.write_text(manifest.read_text().replace("b.mp4,1.7", "b.mp4,1.8"))
    result, seen = run(manifest, out, workers=1)
    assert sorted(o.task.name for o in seen.outcomes) == ["b", "empty"]
    assert (result.done, result.failed) == (3, 0)
    assert (out / "clips/a/row.json").stat().st_mtime_ns == stamp
    assert list((out / "failed").iterdir()) == []


def test_frames_are_one_data_set(tmp_path):
    pytest.importorskip("pyarrow", reason="the extra 'batch' is not installed")
    import pandas as pd

    manifest, out = write_clips(tmp_path, {"a": "ok", "b": "ok"}), tmp_path / "out"
    work_here(manifest, out)
    result, _ = run(manifest, out, workers=1, tables="parquet")
    assert result.fitted == 2  # anew: they had no frames
    with Study.opened(out) as study:  # and they do without them, too
        assert all(study.is_done(task_of(row, frames=False)) for row in read_manifest(manifest, carry=["site"]).rows)
    frames = pd.read_parquet(tmp_path / "out/frames")
    assert frames.groupby("clip", observed=True).size().to_dict() == {"a": 6, "b": 6}
    one = pd.read_csv(tmp_path / "out/clips/a/motion.csv")["knee_angle_r [rad]"]
    assert frames[frames["clip"] == "a"]["knee_angle_r [rad]"].to_numpy() == pytest.approx(one.to_numpy())
    summary = pd.read_parquet(tmp_path / "out/summary.parquet")
    assert list(summary["name"]) == ["a", "b"]
    assert summary["frames"].sum() == 12


def test_fit_is_given_one_path_or_those_of_all_cameras(tmp_path):
    manifest = write_clips(tmp_path, {"a": "ok", "b": "ok"})
    manifest.write_text("clip,name\na.mp4,one\na.mp4|b.mp4,two\n")
    given = []

    def fit(source, **arguments):
        given.append(source)
        return batch_stub.fit(tmp_path / "a.mp4")

    with Study.opened(tmp_path / "out") as study:
        for row in read_manifest(manifest).rows:
            assert work(task_of(row, frames=False), study, fit).failure is None
    assert given == [str(tmp_path / "a.mp4"), [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]]


def test_only_what_is_the_clips_fault_is_not_tried_again(tmp_path):
    """A full disk, a missing package: the next run may do better."""

    class Unsaved(FitResult):
        def save(self, out):
            raise InputError("cannot write: No space left on device")

    def without_a_package(source, **arguments):
        raise MissingPackageError("av", "video", "reading a video")

    def without_space(source, **arguments):
        result = batch_stub.fit(source)
        return Unsaved(**{name: getattr(result, name) for name in FitResult.__dataclass_fields__})

    (row,) = read_manifest(write_clips(tmp_path, {"a": "ok"}), carry=["site"]).rows
    task = task_of(row, frames=False)
    with Study.opened(tmp_path / "out") as study:
        for fit in (without_a_package, without_space):
            study.note(work(task, study, fit))
            assert study.failure("a")["kind"] == "error"
            assert not study.fails(task)
        assert list((tmp_path / "out/.staging").iterdir()) == list((tmp_path / "out/clips").iterdir()) == []


def test_two_runs_on_one_folder_are_refused(tmp_path):
    manifest = write_clips(tmp_path, {"a": "ok"})
    with Study.opened(tmp_path / "out"), pytest.raises(InputError, match=f"process {os.getpid()} on .* already"):
        run(manifest, tmp_path / "out")


def test_what_cannot_run_is_refused_before_anything(tmp_path, monkeypatch):
    manifest = write_clips(tmp_path, {"a": "ok"})
    with pytest.raises(ManifestError, match="1 problem; the first: line 1: unknown column 'site'"):
        run(manifest, tmp_path / "out", carry=[])
    with pytest.raises(UnknownNameError, match="known: parquet, csv"):
        run(manifest, tmp_path / "out", tables="excel")
    with pytest.raises(InputError, match="workers 0"):
        run(manifest, tmp_path / "out", workers=0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"tables='csv'.*physpose\[batch\]"):
        run(manifest, tmp_path / "out", tables="parquet")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"physpose\[ray\]"):
        run(manifest, tmp_path / "out", workers=None, ray="auto")
    assert not (tmp_path / "out/summary.csv").exists() or table(tmp_path / "out")["a"]["status"] == "not run"


def test_the_command_runs_a_batch_and_tells_by_its_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_batch, "__kwdefaults__", run_batch.__kwdefaults__ | {"fit": batch_stub.fit})
    manifest = write_clips(tmp_path, {"a": "ok", "empty": "empty"})
    arguments = ["batch", str(manifest), "--out", str(tmp_path / "out"), "--carry", "site", "--workers", "1"]
    assert cli.main([*arguments, "--tables", "csv", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"done": 1, "failed": 1, "fitted": 1, "summary": str(tmp_path / "out/summary.csv")}
    assert "[2/2] empty: FAILED: nobody is seen; none left" in said.err


def test_time_left_is_the_pace_so_far(monkeypatch):
    from rich.console import Console

    lines, task = (
        Lines(Console(record=True, width=200)),
        Task(name="a", views=(Path("a"),), arguments={}, digest="", frames=False),
    )
    now = iter([100.0, 160.0])
    monkeypatch.setattr("physpose.batch.progress.time.monotonic", lambda: next(now))
    lines.start(11, 0)
    lines.ended(Outcome(task=task, seconds=60.0))
    assert lines._console.export_text().endswith("[1/11] a: 60.0 s; 10 min left\n")
    assert [span(s) for s in (0, 89, 91, 7100, 9000)] == ["0 s", "89 s", "2 min", "118 min", "2 h 30 min"]


@pytest.mark.parametrize(
    ("cores", "workers", "sizes"), [(8, 2, [4, 4]), (5, 2, [2, 3]), (2, 2, [1, 1]), (2, 3, [1] * 3)]
)
def test_workers_share_the_cores(cores, workers, sizes):
    shares = local._shares(frozenset(range(3, 3 + cores)), workers)
    assert sorted(map(len, shares)) == sizes
    assert frozenset().union(*shares) == frozenset(range(3, 3 + cores))
    assert sum(sizes) == cores or workers > cores


def test_a_worker_stays_on_its_cores(tmp_path):
    """Also the threads that libraries start on import; a worker that follows a dead one takes its cores."""
    before = os.sched_getaffinity(0)
    manifest = write_clips(tmp_path, {"a": "cores 0.3", "b": "cores 0.3", "killed": "kill"})
    run(manifest, tmp_path / "out", workers=len(before))
    seen = [(tmp_path / f"{name}.cores").read_text() for name in "ab"]
    assert all(len(cores.split()) == 1 for cores in seen)
    assert {int(cores) for cores in seen} <= before
    assert os.sched_getaffinity(0) == before
