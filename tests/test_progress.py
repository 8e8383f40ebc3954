"""Progress: stages that nest, count, and close when something fails."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from physpose.progress import SILENT, BarProgress, LineProgress, for_console


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_stages(progress) -> None:
    with progress.stage("detect keypoints", total=271) as detect:
        with progress.stage("fetch [pose] model", total=10) as fetch:
            fetch.update(4)
            fetch.advance(6)
        detect.update(75)
    with progress.stage("fit") as fit:
        fit.update(3, total=5)
        fit.advance()


def stop_halfway(progress) -> None:
    with progress.stage("fit") as stage:
        stage.update(1, total=5)
        stage.advance()
        raise ValueError("bad frame")


def test_silent_progress_shows_nothing(capfd):
    run_stages(SILENT)
    assert capfd.readouterr() == ("", "")


def test_lines_come_one_per_stage_with_the_inner_stage_first():
    stream = io.StringIO()
    run_stages(LineProgress(stream))
    names = [line.rsplit(":", 1)[0] for line in stream.getvalue().splitlines()]
    assert names == ["  fetch [pose] model", "detect keypoints", "fit"]


def test_a_long_stage_says_now_and_then_how_far_it_is(monkeypatch):
    stream, clock = io.StringIO(), iter(range(0, 1000, 20))  # [s] at every look
    monkeypatch.setattr("physpose.progress.time.perf_counter", lambda: next(clock))
    with LineProgress(stream).stage("train", total=5) as stage:
        for _ in range(5):
            stage.advance()
    lines = stream.getvalue().splitlines()
    assert lines[:-1] == ["train: 2 of 5, 40 s", "train: 4 of 5, 80 s"]
    assert lines[-1].startswith("train: 1")


def test_bars_end_with_what_was_done():
    console = terminal()
    run_stages(BarProgress(console))
    last = {name: shown(console).rsplit(name, 1)[1].split("\n")[0] for name in ("fetch [pose] model", "detect", "fit")}
    assert "10/10" in last["fetch [pose] model"]
    assert "75/75" in last["detect"]
    assert "4/4" in last["fit"]


def test_bar_of_a_failed_stage_is_not_filled_and_the_terminal_is_given_back():
    console = terminal()
    progress = BarProgress(console)
    with pytest.raises(ValueError, match="bad frame"):
        stop_halfway(progress)
    assert "2/5" in shown(console).rsplit("fit", 1)[1]
    assert shown(console).count("\x1b[?25h") == shown(console).count("\x1b[?25l") == 1  # cursor hidden, then shown
    run_stages(progress)


def test_a_terminal_gets_bars_and_a_file_gets_lines():
    assert isinstance(for_console(terminal()), BarProgress)
    assert isinstance(for_console(Console(file=io.StringIO())), LineProgress)
