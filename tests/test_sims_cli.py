"""The simulations as programs: what they write, and what they say when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sims

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("pendulum", "jump", "somersault", "astronaut", "child_and_adult", "exoskeleton", "walk", "planted", "swing")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL")}
    given |= {"OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)


def test_every_simulation_is_a_program_that_says_what_is_known():
    for name in NAMES:
        text = (ROOT / "sims" / f"{name}.py").read_text()
        assert "Known exactly" in text.split('"""')[1]
        assert f"python -m sims.{name}" in text.split('"""')[1]
        assert 'if __name__ == "__main__":' in text


def test_the_list_names_every_simulation():
    done = run("sims")
    assert done.returncode == 0, done.stderr
    listed = {
        line.split()[2].removeprefix("sims.") for line in done.stdout.splitlines() if line.startswith("python -m")
    }
    assert listed == set(NAMES)


def test_arrays_are_written_with_their_truth(tmp_path):
    out = tmp_path / "pendulum.npz"
    done = run("sims.pendulum", "--seconds", "0.5", "--out", str(out))
    assert done.returncode == 0, done.stderr
    with np.load(out, allow_pickle=False) as data:
        assert data["q"].shape == data["v"].shape == data["tau"].shape == (501, 1)
        assert np.abs(data["q"] - data["truth_angle"]).max() < 1e-6
        assert list(data["coordinate_names"]) == ["swing_1"]
    assert [p.name for p in tmp_path.iterdir()] == ["pendulum.npz"]


def test_video_is_written_or_the_reason_told(tmp_path):
    av = pytest.importorskip("av")
    out = tmp_path / "pendulum.mp4"
    done = run("sims.pendulum", "--seconds", "0.5", "--video", str(out))
    if done.returncode:
        assert "cannot draw: no working OpenGL" in done.stderr
        pytest.skip("no OpenGL here: " + done.stderr.strip().splitlines()[-1])
    with av.open(str(out)) as container:
        frames = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    assert len(frames) == 16
    assert np.abs(frames[0] - frames[8]).max() > 100  # something moved
    assert frames[0].std() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sims.pendulum", "--links", "3"], "3 links; 1 or 2"),
        (["sims.pendulum", "--seconds", "-1"], "a positive number"),
        (["sims.planted", "--motion", "lunge"], "known: squat, sit_to_stand"),
        (["sims.pendulum", "--seconds", "0.1", "--video", "x.gif"], "written as .mp4"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_screen_the_message_says_what_to_do(tmp_path):
    done = run("sims.pendulum", "--seconds", "0.1", "--picture", str(tmp_path / "p.png"), MUJOCO_GL="glfw")
    assert done.returncode == 2
    assert "MUJOCO_GL=egl or osmesa" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("there", "way"), [({"EGL", "OSMesa"}, "egl"), ({"OSMesa"}, "osmesa"), (set(), None)])
def test_without_a_screen_mujoco_draws_by_a_library_that_is_there(monkeypatch, there, way):
    monkeypatch.setattr(sims, "find_library", lambda name: name if name in there else None)
    assert sims.offscreen() == way


def test_without_a_screen_the_window_is_refused_in_one_line():
    done = run("sims.pendulum", "--seconds", "0.1", "--view")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot open a window")
    assert "--video or --picture" in done.stderr
    assert len(done.stderr.splitlines()) == 1
