"""Input that is wrong, poor or incomplete, through the real command: one error line, or a fit that says what it did."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import phone

import physpose
from physpose import cli
from physpose.chain import KinematicChain
from physpose.download import cache_dir
from physpose.errors import InputError, NoPersonError
from physpose.progress import SILENT
from physpose.skeleton import load_skeleton
from physpose.sources import observe
from physpose.types import Keypoints2D

MODEL = cache_dir() / "pose_landmarker_full.task"
WHO = ("--height", "1.75", "--mass", "70")
FILES = ("--fps", "30", "--image-size", "1080", "1920")
T = 12
BASE = Fraction(1, 1000)  # [s]


@pytest.fixture(scope="module")
def seen() -> Keypoints2D:
    """A person who lifts a leg, as a perfect COCO-17 detector sees it: 0.4 s at 30 frames a second."""
    body = load_skeleton("adult", height=1.75, mass=70.0)
    q = np.tile(body.neutral, (T, 1))
    for name in ("knee_angle_r", "hip_flexion_r"):
        q[:, 7 + body.coordinate_names.index(name)] = 0.7 * np.sin(np.linspace(0, np.pi, T))
    camera = phone(at=(1.5, -3.0, 1.2), look_at=(0, 0, 0.9))
    uv = camera.project(KinematicChain(body).keypoints(torch.as_tensor(q), "coco17").numpy())
    return Keypoints2D(
        keypoint_set="coco17", names=body.keypoint_set("coco17").names, time=np.arange(T) / 30, uv=uv[None],
        confidence=np.ones((1, T, 17)), image_size=camera.image_size,
    )  # fmt: skip


def write_coco(path: Path, *people: np.ndarray) -> Path:
    """A COCO-results file of people (T, 17, 2) [px]; NaN is missing, and so is a person whose row is all NaN."""
    found = []
    for person in people:
        for t, uv in enumerate(person):
            visible = np.isfinite(uv).all(-1)
            if visible.any():
                rows = np.column_stack([np.where(visible[:, None], uv, 0), visible])
                found.append({"image_id": t, "category_id": 1, "keypoints": rows.ravel().tolist(), "score": 1.0})
    path.write_text(json.dumps(found))
    return path


def write_video(path: Path, pictures: list[np.ndarray]) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "5", "bf": "0"})
        stream.height, stream.width = pictures[0].shape[:2] if pictures else (48, 64)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = BASE
        container.start_encoding()
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(1000 * i / 30), BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


GREY = np.full((96, 64, 3), 128, np.uint8)


def fit(source: Path, *words: str) -> int:
    return cli.main(["fit", str(source), *WHO, *words, "--json", "--out", str(source.parent / "out")])


def fitted(source: Path, capfd: pytest.CaptureFixture[str], *words: str) -> dict:
    """The summary of a fit that must work, with finite numbers and a report."""
    code = fit(source, *words)
    out, err = capfd.readouterr()
    assert code == 0, err
    summary = json.loads(out)
    assert all(np.isfinite([*c["range"], c["peak_force"]]).all() for c in summary["coordinates"].values())
    assert Path(summary["files"]["report"]).stat().st_size > 0
    return summary


def refused(source: Path, capfd: pytest.CaptureFixture[str], pattern: str, *words: str) -> None:
    """One error line (after those of the stages), exit code 2, and no result."""
    assert fit(source, *words) == 2
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if not re.fullmatch(r"[\w ]+: [\d.]+ s", line)]
    assert out == ""
    assert len(lines) == 1
    assert re.match(rf"physpose: error: .*{pattern}", lines[0]), lines[0]
    assert not (source.parent / "out").exists()


def warning(summary: dict, pattern: str) -> str:
    found = [w for w in summary["warnings"] if re.search(pattern, w)]
    assert len(found) == 1, summary["warnings"]
    return found[0]


def assumed(summary: dict, what: str) -> str:
    return next(a["value"] for a in summary["assumptions"] if a["what"] == what)


# --- videos; a stand-in sees the same person in every picture


@pytest.fixture
def detector(monkeypatch, seen):
    def detect(video, name, *, progress=None, **options):
        time = np.array([t for _, t, _ in video.frames()])
        return replace(seen.frames(np.arange(len(time))), time=time, image_size=(1080, 1920))

    monkeypatch.setattr("physpose.sources.detect", detect)


def test_truncated_video_is_fitted_as_far_as_it_goes(detector, tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (T, 96, 64, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.mkv", list(noise)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    summary = fitted(tmp_path / "cut.mkv", capfd)
    assert 3 <= summary["frames"] < 0.7 * T
    assert "it claims 0.4" in warning(summary, "cut short")


def test_video_cut_before_its_index_is_refused(tmp_path, capfd):
    whole = write_video(tmp_path / "whole.mp4", [GREY] * T).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.mp4", capfd, "cut.mp4 is not a video that can be read, or it is truncated")


def test_video_without_frames_is_refused(tmp_path, capfd):
    refused(write_video(tmp_path / "none.mp4", []), capfd, "none.mp4.* (frame|video)")


def test_video_of_one_frame_is_a_person_at_rest(detector, tmp_path, capfd):
    summary = fitted(write_video(tmp_path / "one.mp4", [GREY]), capfd)
    assert summary["frames"] == 1
    assert summary["kinetic_energy_J"] == [0.0, 0.0]
    warning(summary, "one frame only")


@pytest.mark.skipif(not MODEL.exists(), reason="needs MediaPipe's pose model in the cache: run `physpose demo` once")
def test_video_of_nobody_is_one_line_without_chatter(tmp_path):
    pytest.importorskip("mediapipe")
    path = write_video(tmp_path / "nobody.mp4", [GREY] * 5)
    command = [sys.executable, "-m", "physpose", "fit", str(path), "--out", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    stage, error = run.stderr.splitlines()
    assert stage.startswith("detect keypoints: ")
    assert "no person found in" in error
    assert "nobody.mp4 (5 frames)" in error
    assert not (tmp_path / "out").exists()


# --- keypoint files


def test_person_who_leaves_and_returns_is_one_person(seen, tmp_path, capfd):
    uv = seen.uv[0, np.r_[0:T, 0:T, 0:T]].copy()
    uv[T : 2 * T] = np.nan
    summary = fitted(write_coco(tmp_path / "kp.json", uv), capfd, *FILES)
    assert summary["frames"] == 3 * T  # those of nobody, which the file leaves out, are among them
    assert f"up to {(T + 1) / 30:.2f} s" in warning(summary, "not seen for")
    assert assumed(summary, "person").startswith(f"person 0 of 1: seen in {2 * T} of {3 * T}")


def test_few_frames_after_a_long_gap_are_left_out(seen, tmp_path, capfd):
    uv = np.full((T + 15, 17, 2), np.nan)
    uv[:T], uv[-3:] = seen.uv[0], seen.uv[0, :3]
    summary = fitted(write_coco(tmp_path / "kp.json", uv), capfd, *FILES)
    assert summary["frames"] == T
    warning(summary, r"seen from 0\.00 s to 0\.37 s only")


@pytest.mark.parametrize(("lost", "kept"), [(15, T + 3), (45, T)])
def test_few_frames_after_lost_pictures_are_kept(seen, lost, kept):
    """No picture for half a second says nothing, one of nobody (above) that the person was elsewhere."""
    rows = np.r_[0:T, 0:3]
    frame = np.r_[0:T, T + lost : T + lost + 3]
    kp = replace(seen, time=frame / 30, uv=seen.uv[:, rows], confidence=seen.confidence[:, rows])
    options = {"person": None, "detector": "mediapipe", "keypoint_set": None, "fps": None, "image_size": None}
    one = observe(kp, **options, progress=SILENT)
    assert one.keypoints.n_frames == kept
    assert ("is not seen for up to 0.53 s" in " ".join(one.warnings)) == (kept > T)


def test_of_two_persons_the_larger_is_taken_unless_told(seen, tmp_path, capfd):
    far = (seen.uv[0] - [540, 960]) * 0.6 + [900, 800]
    path = write_coco(tmp_path / "kp.json", far, seen.uv[0])
    first, other = fitted(path, capfd, *FILES), fitted(path, capfd, *FILES, "--person", "0")
    assert [a["source"] for s in (first, other) for a in s["assumptions"] if a["what"] == "person"] == [
        "default: seen longest and largest",
        "given",
    ]
    assert assumed(first, "person").startswith("person 1 of 2: seen in 12 of 12 frames")
    assert assumed(other, "person").startswith("person 0 of 2: ")
    refused_path = tmp_path / "again" / "kp.json"
    refused_path.parent.mkdir()
    path.rename(refused_path)
    refused(refused_path, capfd, "person 7 is not in .*; persons: 0: seen .*; 1: seen", *FILES, "--person", "7")


def test_missing_keypoints_are_bridged(seen, tmp_path, capfd):
    uv = seen.uv[0].copy()
    uv[np.random.default_rng(0).random((T, 17)) < 0.2] = np.nan
    whole = fitted(write_coco(tmp_path / "whole.json", seen.uv[0]), capfd, *FILES)
    holed = fitted(write_coco(tmp_path / "kp.json", uv), capfd, *FILES)
    top, expected = (s["coordinates"]["knee_angle_r"]["range"][1] for s in (holed, whole))
    assert abs(top - expected) < np.deg2rad(5)
    assert not any("hardly ever" in w for w in holed["warnings"])


def test_limbs_that_are_never_seen_are_named(seen, tmp_path, capfd):
    uv = seen.uv[0].copy()
    uv[:, 13:] = np.nan
    text = warning(fitted(write_coco(tmp_path / "kp.json", uv), capfd, *FILES), "^hardly ever seen")
    assert text.startswith("hardly ever seen: left_knee, right_knee, left_ankle, right_ankle;")


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (FILES[2:], r"kp.json does not tell its frame rate; give --fps"),
        (("--fps", "0", *FILES[2:]), r"--fps 0.0; expected a positive number"),
        (FILES[:2], r"give --image-size width height"),
        (("--fps", "30", "--image-size", "0", "480"), r"--image-size 0 480; expected"),
        (("--fps", "30", "--image-size", "320", "240"), r"outside the picture of 320 x 240 px"),
        ((*FILES, "--keypoint-set", "halpe26"), r"17 keypoints a person, but 'halpe26' has 26"),
        ((*FILES, "--keypoint-set", "coco"), r"unknown keypoint set 'coco'; known: blazepose33"),
        ((*FILES, "--camera", "0"), r"focal=0.0; expected a positive number"),
        ((*FILES, "--camera", "nowhere.toml"), r"no such file: nowhere.toml"),
        ((*FILES, "--gravity", "0", "0", "9.81"), r"gravity \(0, 0, 9.81\).* z is up"),
        ((*FILES, "--gravity", "0", "0", "nan"), r"gravity \(0, 0, nan\)"),
    ],
)
def test_words_that_do_not_fit_are_refused(words, pattern, seen, tmp_path, capfd):
    refused(write_coco(tmp_path / "kp.json", seen.uv[0]), capfd, pattern, *words)


def test_files_without_anyone_are_refused(tmp_path, capfd):
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", capfd, "folder has no .json file; expected an OpenPose folder", *FILES)
    refused(write_coco(tmp_path / "kp.json", np.full((3, 17, 2), np.nan)), capfd, "kp.json", *FILES)


def test_fractions_of_the_picture_are_refused(seen, tmp_path, capfd):
    refused(write_coco(tmp_path / "kp.json", seen.uv[0] / 1920), capfd, "expected pixels, not fractions", *FILES)


# --- Keypoints2D, whose numbers nobody has checked yet


@pytest.mark.parametrize(
    ("stamp", "pattern"),
    [(0.2, r"time does not increase at frame 9: 0\.2 s after 0\.26"), (np.nan, "time of frame 9 is not a number")],
)
def test_time_that_goes_back_is_refused(seen, stamp, pattern):
    time = seen.time.copy()
    time[9] = stamp
    with pytest.raises(InputError, match=pattern):
        physpose.fit(replace(seen, time=time))


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
    [
        ("uv", np.inf, "right_eye in frame 4 is infinite"),
        ("confidence", np.nan, "confidence nan of right_eye in frame 4"),
        ("confidence", 80.0, "confidence 80 of right_eye in frame 4"),
    ],
)
def test_keypoints_that_are_no_numbers_are_refused(seen, name, value, pattern):
    changed = getattr(seen, name).copy()
    changed[0, 4, 2] = value
    with pytest.raises(InputError, match=pattern):
        physpose.fit(replace(seen, **{name: changed}))


def test_arrays_that_do_not_fit_together_are_refused(seen):
    with pytest.raises(InputError, match=r"confidence \(1, 11, 17\) do not fit 12 times and 17 names"):
        physpose.fit(replace(seen, confidence=seen.confidence[:, 1:]))


def test_three_keypoints_are_nobody(seen):
    uv = seen.uv.copy()
    uv[:, :, 3:] = np.nan
    with pytest.raises(NoPersonError, match="four or more keypoints"):
        physpose.fit(replace(seen, uv=uv))
