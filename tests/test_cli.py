"""The command line: exit codes, one-line errors, pure JSON, nothing written where something failed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_result import example_result

import physpose
from physpose import cli
from physpose.errors import PhysposeError
from physpose.result import FitResult
from physpose.skeleton.model import Body, Coordinate, Joint, Skeleton, Subject
from physpose.types import Assumption, Contacts, Energy, FitStatus

KNEE = np.deg2rad([5.0, 65.0, 20.0])
KNEE_TORQUE = np.array([-40.0, 12.0, 7.0])  # [N.m]


def one_knee() -> Skeleton:
    """A pelvis and a knee: the least that has a free-flyer and a named coordinate."""
    knee = Coordinate(name="knee_angle_r", axis=np.array([0.0, 0, 1]), range=(0.0, 2.0))
    inertia = {"com": np.zeros(3), "inertia": np.eye(3)}
    pelvis = Body(name="pelvis", parent=None, joint=Joint(name="root", kind="free"), mass=20.0, **inertia)
    joint = Joint(name="knee_r", kind="chain", coordinates=(knee,))
    return Skeleton(
        name="one_knee",
        bodies=(pelvis, Body(name="tibia_r", parent="pelvis", joint=joint, mass=6.0, **inertia)),
        subject=Subject(age=8.0, sex="f", height=1.28, mass=26.0),
        keypoint_sets={},
        contact_points=(),
        scale_groups=(),
        neutral=np.r_[0, 0, 1, 0, 0, 0, 1, 0.0],
    )


class ResultOfOneFile(FitResult):
    """A result whose ``save`` writes one file, and so needs none of the writers."""

    def save(self, out):
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text("<html>")
        return {"report": out / "report.html"}


def fit_result(kind=ResultOfOneFile, **changes) -> FitResult:
    """Three frames of one knee with known extremes."""
    q, tau = np.zeros((3, 8)), np.zeros((3, 7))
    q[:, 6], q[:, 7], tau[:, 6], tau[:, 2] = 1.0, KNEE, KNEE_TORQUE, 999.0
    values = {
        "time": np.array([0.0, 0.1, 0.25]), "q": q, "v": np.zeros((3, 7)), "a": np.zeros((3, 7)), "tau": tau,
        "positions": np.zeros((3, 2, 3)), "rotations": np.tile(np.eye(3), (3, 2, 1, 1)), "com": np.zeros((3, 3)),
        "momentum": np.zeros((3, 6)), "power": np.zeros((3, 7)), "camera": None, "keypoints": None,
        "contacts": Contacts(points=(), active=np.zeros((3, 0), bool), force=np.zeros((3, 0, 3)), method="split"),
        "energy": Energy(kinetic=np.array([1.0, 3.0, 2.0]), potential=np.array([200.0, 210.0, 190.0])),
        "skeleton": one_knee(), "source": "clip.mp4", "warnings": ("the left foot [calcn_l] is never seen",),
        "assumptions": (Assumption(what="mass", value="26.0 kg", source="a growth [survey] table"),),
        "status": FitStatus(converged=True, iterations=7, cost=1.0, seconds={"detect": 2.0, "fit": 1.0}),
    }  # fmt: skip
    return kind(**(values | changes))


@pytest.fixture
def fitted(monkeypatch):
    """``physpose.fit`` replaced by one that records what it was asked for."""
    asked = {}

    def fit(source, **kwargs):
        asked.update(kwargs, source=source)
        with kwargs["progress"].stage("look closely", total=3) as stage:
            stage.advance(3)
        return fit_result()

    monkeypatch.setitem(physpose.__dict__, "fit", fit)
    return asked


def failing(error: BaseException):
    def fit(source, **kwargs):
        raise error

    return fit


def physpose_command(*args: object, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "physpose", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


def assert_one_error_line(stderr: str, pattern: str) -> None:
    assert re.fullmatch(rf"physpose: error: [^\n]*{pattern}[^\n]*\n", stderr), stderr


def test_version():
    run = physpose_command("--version")
    assert (run.returncode, run.stdout) == (0, f"physpose {physpose.__version__}\n")


def test_fit_hands_every_word_to_the_python_function(fitted, tmp_path):
    words = "--skeleton child --age 8 --sex f --height 1.28 --mass 26 --person 1 --detector rtmlib --fps 50 "
    words += "--keypoint-set openpose_body25 --camera 1450 --image-size 320 480 --gravity 0 0 -1.62 --check mujoco "
    words += "--physics soft --static a.trc --forces b.mot --force-lowpass 20 --marker R1=asis_r --marker L1=asis_l "
    words += "--no-scale --register --units m --up z --no-floor --treadmill 1.2 "
    words += "--hold hand_r --hold hand_l:1-2 --hold hand_l:3-4.5"
    assert cli.main(["fit", "kp.json", *shlex.split(words), "--out", str(tmp_path / "out")]) == 0
    del fitted["progress"]
    assert fitted == {
        "source": "kp.json", "skeleton": "child", "age": 8.0, "sex": "f", "height": 1.28, "mass": 26.0, "person": 1,
        "detector": "rtmlib", "fps": 50.0, "keypoint_set": "openpose_body25", "camera": 1450.0,
        "image_size": (320, 480), "gravity": (0.0, 0.0, -1.62), "check": "mujoco", "physics": "soft",
        "static": "a.trc", "forces": "b.mot",
        "force_lowpass": 20.0, "marker_set": {"R1": "asis_r", "L1": "asis_l"}, "scale": False, "register": True,
        "units": "m", "up": "z", "floor": False, "treadmill": 1.2,
        "holds": {"hand_r": None, "hand_l": [(1.0, 2.0), (3.0, 4.5)]},
    }  # fmt: skip


def test_several_sources_are_several_cameras(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "b/one.mp4", "b/two.mp4", "--camera", "Calib.toml"]) == 0
    assert fitted["source"] == ["b/one.mp4", "b/two.mp4"]
    assert str(fitted["camera"]) == "Calib.toml"
    assert (tmp_path / "one_physpose").is_dir()


def test_another_files_result_is_not_overwritten_unless_its_folder_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for day in ("one", "two"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "walk.json").write_text("{}")
    monkeypatch.setitem(physpose.__dict__, "fit", lambda source, **_: example_result(T=3, source=str(source)))
    assert cli.main(["fit", "one/walk.json"]) == 0
    assert cli.main(["fit", str(tmp_path / "one/walk.json")]) == 0  # the same once more
    capsys.readouterr()
    assert cli.main(["fit", "two/walk.json"]) == cli.EXIT_ERROR
    assert_one_error_line(capsys.readouterr().err, "walk_physpose holds the result of .*one/walk.json.*--out")
    assert cli.main(["fit", "two/walk.json", "--out", "walk_physpose"]) == 0
    assert physpose.load_result("walk_physpose").source == "two/walk.json"
    (tmp_path / "two/walk.json").rename(tmp_path / "two/later.json")  # what is gone is no reason
    assert cli.main(["fit", "one/walk.json"]) == 0


def test_fit_defaults_are_those_of_the_python_function(fitted, tmp_path):
    cli.main(["fit", "clip.mp4", "--out", str(tmp_path)])
    given = {k: v for k, v in fitted.items() if k not in ("source", "progress")}
    pipeline = pytest.importorskip("physpose.pipeline")
    import inspect

    parameters = inspect.signature(pipeline.fit).parameters
    assert given == {k: parameters[k].default for k in given}


def test_summary_says_warnings_first_then_who_joints_and_files(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["fit", "clip.mp4", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("warning: the left foot [calcn_l] is never seen\n")
    assert "one_knee, 8 years, f, 1.28 m, 26.0 kg" in out
    assert "3 frames, 0.25 s" in out
    assert "26.0 kg (a growth [survey] table)" in out
    assert re.search(r"knee_angle_r .* 5 to 65 deg .* 40 N\.m", out)
    assert out.rstrip().endswith(f"report: {tmp_path / 'out' / 'report.html'}")


def test_stages_go_to_stderr_one_line_each_without_a_terminal(fitted, tmp_path, capsys):
    cli.main(["fit", "clip.mp4", "--out", str(tmp_path)])
    stages = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in stages] == ["look closely", "save"]


def test_json_is_one_object_and_nothing_else_on_stdout(monkeypatch, tmp_path, capfd):
    def noisy_fit(source, **kwargs):
        print("printed by Python")
        os.write(1, b"printed by a compiled library\n")
        return fit_result()

    monkeypatch.setitem(physpose.__dict__, "fit", noisy_fit)
    assert cli.main(["fit", "clip.mp4", "--json", "--out", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert summary["coordinates"]["knee_angle_r"] == {
        "unit": "rad", "range": [KNEE.min(), KNEE.max()], "sigma": None, "force_unit": "N.m", "peak_force": 40.0,
        "peak_force_sigma": None,
    }  # fmt: skip
    assert summary["subject"] == {"age_years": 8.0, "sex": "f", "height_m": 1.28, "mass_kg": 26.0}
    assert (summary["frames"], summary["duration_s"], summary["converged"]) == (3, 0.25, True)
    assert summary["kinetic_energy_J"] == [1.0, 3.0]
    assert summary["files"] == {"report": str(tmp_path / "report.html")}
    assert "printed by Python" in err
    assert "printed by a compiled library" in err


def test_json_says_null_where_a_number_is_not_finite(monkeypatch, tmp_path, capfd):
    energy = Energy(kinetic=np.array([1.0, np.nan, 2.0]), potential=np.zeros(3))
    monkeypatch.setitem(physpose.__dict__, "fit", lambda source, **kwargs: fit_result(energy=energy))
    assert cli.main(["fit", "clip.mp4", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capfd.readouterr().out)["kinetic_energy_J"] == [None, None]


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        (PhysposeError("no person in\nclip.mp4"), "no person in clip.mp4"),
        (FileNotFoundError(2, "No such file or directory", "clip.mp4"), "clip.mp4: No such file or directory"),
        (OSError(28, "No space left on device", "out/a.npz"), "out/a.npz: No space left on device"),
    ],
)
def test_error_is_one_line_and_exit_code_2(monkeypatch, tmp_path, capsys, error, pattern):
    monkeypatch.setitem(physpose.__dict__, "fit", failing(error))
    out = tmp_path / "out"
    assert cli.main(["fit", "clip.mp4", "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert_one_error_line(captured.err, re.escape(pattern))
    assert not out.exists()


def test_a_defect_of_ours_is_not_hidden(monkeypatch, tmp_path):
    monkeypatch.setitem(physpose.__dict__, "fit", failing(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["fit", "clip.mp4", "--out", str(tmp_path)])


def test_interrupt_exits_130(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(physpose.__dict__, "fit", failing(KeyboardInterrupt()))
    assert cli.main(["fit", "clip.mp4", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "physpose: interrupted\n"


def test_sigterm_unwinds_and_exits_143(monkeypatch, tmp_path):
    unwound = []

    def fit(source, **kwargs):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            unwound.append(True)

    monkeypatch.setitem(physpose.__dict__, "fit", fit)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "clip.mp4", "--out", str(tmp_path)])
    assert (stop.value.code, unwound) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        ([], "COMMAND"),
        (["fit"], "SOURCE"),
        (
            ["fit", "clip.mp4", "--age", "eight"],
            "--age: a number is needed, e.g. 1.75, without its unit; 'eight' given",
        ),
        (["fit", "clip.mp4", "--gravity", "0", "0"], "--gravity: expected 3 arguments"),
        (["fly"], "invalid choice: 'fly'"),
        (["fit", "clip.mp4", "--person", "first"], "--person: a whole number is needed; 'first' given"),
        (["fit", "clip.mp4", "--hight", "1.75"], "unknown: --hight 1.75; is --height meant? (see physpose fit --help)"),
        (["demo", "clip.mp4"], "unknown: clip.mp4 (see physpose demo --help)"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(args, pattern, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 2
    assert_one_error_line(capsys.readouterr().err, re.escape(pattern))


@pytest.mark.parametrize("command", ["fit", "demo"])
def test_unwritable_output_is_refused_before_the_work(command, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setitem(physpose.__dict__, "fit", failing(AssertionError("the fit was started")))
    source = ["clip.mp4"] if command == "fit" else []
    assert cli.main([command, *source, "--out", str(tmp_path / "file" / "out")]) == 2
    assert_one_error_line(capsys.readouterr().err, r"file is not a folder; choose another")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_read_only_output_is_refused_before_the_work(monkeypatch, capsys):
    monkeypatch.setitem(physpose.__dict__, "fit", failing(AssertionError("the fit was started")))
    assert cli.main(["fit", "clip.mp4", "--out", "/proc/physpose"]) == 2
    assert_one_error_line(capsys.readouterr().err, r"cannot write to /proc/physpose: ")


def test_checking_the_output_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setitem(physpose.__dict__, "fit", failing(PhysposeError("no")))
    cli.main(["fit", "clip.mp4", "--out", str(tmp_path / "a" / "b")])
    assert list(tmp_path.iterdir()) == []


def test_default_output_is_named_after_the_source(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli.main(["fit", "films/walk.mp4"])
    assert [p.name for p in tmp_path.iterdir()] == ["walk_physpose"]


def test_demo_fits_the_demo_clip_and_credits_it(fitted, monkeypatch, tmp_path, capsys):
    import physpose.demo

    monkeypatch.setattr(physpose.demo, "demo_clip", lambda: tmp_path / "demo.mp4")
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert fitted["source"] == str(tmp_path / "demo.mp4")
    assert physpose.demo.CREDIT in captured.err
    assert captured.out.rstrip().endswith(f"report: {tmp_path / 'out' / 'report.html'}")


# Saves a whole result, but the last writer writes half a file, says so, and stalls.
STALLING_RUN = """
import signal, sys, time
import physpose, physpose.export
from physpose import cli
from physpose.result import FitResult
from test_cli import fit_result

def stall(result, path):
    path.write_text("half")
    print("stalled", flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits an ignored one
physpose.export.WRITERS = {"npz": physpose.export.WRITERS["npz"], "late": ("late.txt", stall)}
physpose.__dict__["fit"] = lambda source, **kwargs: fit_result(FitResult)
sys.exit(cli.main(["fit", "clip.mp4", "--out", sys.argv[1]]))
"""


def end_during_save(out: Path, how: signal.Signals) -> int:
    """Start ``STALLING_RUN``, send it ``how`` while it saves; returns its exit code."""
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    run = subprocess.Popen(
        [sys.executable, "-c", STALLING_RUN, str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"stalled\n"
        run.send_signal(how)
        return run.wait(timeout=30)


def visible(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_killed_run_leaves_no_half_written_result(tmp_path):
    assert end_during_save(tmp_path / "out", signal.SIGKILL) == -signal.SIGKILL
    assert visible(tmp_path) == []


def test_killed_run_leaves_an_earlier_result_as_it_was(tmp_path):
    (tmp_path / "result.npz").write_text("earlier")
    assert end_during_save(tmp_path, signal.SIGKILL) == -signal.SIGKILL
    assert visible(tmp_path) == ["result.npz"]
    assert (tmp_path / "result.npz").read_text() == "earlier"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_run_leaves_nothing_at_all(tmp_path, how, code):
    assert end_during_save(tmp_path / "out", how) == code
    assert list(tmp_path.iterdir()) == []


def test_skeletons_lists_all_with_a_line_about_each(capsys):
    from physpose.skeleton import list_skeletons

    assert cli.main(["skeletons"]) == 0
    out = capsys.readouterr().out
    for name, about in list_skeletons().items():
        assert re.search(rf"^{name} +{re.escape(about)}$", out, flags=re.MULTILINE)


def test_skeletons_shows_the_body_of_that_subject(capsys):
    assert cli.main(["skeletons", "child", "--age", "8", "--sex", "f", "--height", "1.28", "--mass", "26"]) == 0
    out = capsys.readouterr().out
    for word in ("8.0 years", "26.00 kg", "femur_r", "knee_angle_r", "heel"):
        assert word in out


def test_skeletons_asks_for_a_name_where_somebody_is_described(capsys):
    assert cli.main(["skeletons", "--age", "8"]) == 2
    assert "--age of whom? physpose skeletons NAME" in capsys.readouterr().err


# Each is refused by the real pipeline before it looks at pictures.
@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("nowhere.mp4", "no such file: .*nowhere.mp4"),
        ("clip.mp4 --height 128", r"height 128 .*metres: --height 1\.28"),
        ("clip.mp4 --forces grf.mot", "--forces can be used with markers .* leave it out"),
        ("clip.mp4 --skeleton child", r"needs --age \[years\], or --height \[m\]"),
        ("clip.mp4 clip.mp4", "need their calibration: --camera Calib.toml"),
        ("walk_ik.mot", "use physpose id, or physpose check"),
        ("clip.mp4 --mass -5", "mass -5"),
        ("clip.mp4 --age 300", "age 300"),
        ("clip.mp4 --sex q", "'q'"),
        ("clip.mp4 --fps 30", "fps: for keypoints; clip.mp4 is a video"),
        ("clip.mp4 --skeleton chidl", "unknown skeleton 'chidl'; known: adult, child, infant"),
        ("clip.mp4", "clip.mp4 is not a video"),
        ("empty.mp4", "empty.mp4"),
        ("text.json", "text.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, pattern, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.json").write_text("{")
    assert cli.main(["fit", *words.split(), "--out", "out"]) == 2
    assert_one_error_line(capsys.readouterr().err, pattern)
    assert not (tmp_path / "out").exists()
