"""From whatever is given to one person's keypoints: trimmed, gaps told, unusable input refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from estimation_cases import SIZE, marching, seen

import physpose
from physpose import load_skeleton
from physpose.errors import InputError, NoPersonError
from physpose.progress import SILENT
from physpose.seen import with_lost_pictures
from physpose.sources import Observations, observe
from physpose.types import Keypoints2D

TIME = np.arange(90) / 30  # [s]


def observed(source: Any, **options: Any) -> Observations:
    defaults: dict[str, Any] = {
        "person": None, "detector": "mediapipe", "keypoint_set": None, "fps": None, "image_size": None,
        "progress": SILENT,
    }  # fmt: skip
    return observe(source, **{**defaults, **options})


def marched(*hidden: tuple[int, int]) -> Keypoints2D:
    """Three seconds of marching, not seen in some blocks of frames."""
    kp = seen(TIME, marching(TIME), noise=1.0)
    for a, b in hidden:
        kp.uv[0, a:b], kp.confidence[0, a:b], kp.landmarks[0, a:b] = np.nan, 0.0, np.nan  # type: ignore[index]
    return kp


def as_array(kp: Keypoints2D) -> np.ndarray:
    return np.concatenate([kp.uv[0], kp.confidence[0, ..., None]], -1)


# --- one person -------------------------------------------------------------------------------------------------------


def test_keypoints_of_one_person_pass_as_they_are():
    kp = marched()
    found = observed(kp)
    np.testing.assert_array_equal(found.keypoints.uv, kp.uv)
    np.testing.assert_array_equal(found.keypoints.landmarks, kp.landmarks)
    assert found.warnings == ()
    assert "seen in 90 of 90 frames" in found.choice


def test_frames_before_and_after_the_person_are_left_out_and_told():
    found = observed(marched((0, 12), (81, 90)))
    assert found.keypoints.n_frames == 69
    assert found.keypoints.time[0] == pytest.approx(0.4)
    assert found.keypoints.time[-1] == pytest.approx(80 / 30)
    assert any("0.40 s to 2.67 s" in w for w in found.warnings)


def test_a_gap_is_told_with_its_length():
    found = observed(marched((40, 52)))
    assert found.keypoints.n_frames == 90
    assert any("0.43 s" in w and "interpolated" in w for w in found.warnings)


def test_a_blink_is_not_worth_a_warning():
    assert observed(marched((40, 43))).warnings == ()


def with_times(kp: Keypoints2D, time: np.ndarray) -> Keypoints2D:
    return replace(kp.frames(np.arange(len(time))), time=time)


def test_frames_without_a_picture_are_filled_in():
    """A gap of 0.4 s at 30 frames a second gets frames of nobody, at most a fifteenth of a second apart."""
    whole = marched()
    time = np.delete(whole.time, slice(10, 21))  # of 30 frames a second
    kp = with_lost_pictures(with_times(whole, time))
    new = ~np.isin(kp.time, time)
    assert np.isnan(kp.uv[0, new]).all()
    assert not kp.confidence[0, new].any()
    assert np.diff(kp.time).max() < 1 / 15 + 1e-6
    assert (np.diff(kp.time) > 0.03).all()
    assert new.sum() == 5
    np.testing.assert_array_equal(kp.uv[0, ~new], whole.uv[0, : len(time)])


@pytest.mark.parametrize(
    "time",
    [
        np.arange(20) / 5,  # slow, but nothing is lost
        np.arange(20) / 30,
        np.cumsum(np.tile([1 / 60, 1 / 30], 10)),  # a phone's
        np.r_[np.arange(10), np.arange(11, 21)] / 60,  # one lost at 60 frames a second
        np.r_[np.arange(10) / 30, 2 + np.arange(10) / 30],  # longer than a blink: nobody says what happened
        np.array([0.0]),
    ],
)
def test_videos_that_miss_nothing_stay_as_they_are(time):
    kp = with_times(marched(), time)
    assert with_lost_pictures(kp) is kp


def test_the_larger_person_is_chosen_unless_told():
    near, far = marched(), marched()
    small = 100 + (far.uv - np.array(SIZE) / 2) * 0.45 + [150, 150]
    both = replace(
        near,
        uv=np.concatenate([small, near.uv]),
        confidence=np.concatenate([far.confidence, near.confidence]),
        landmarks=np.concatenate([far.landmarks, near.landmarks]),
    )
    np.testing.assert_array_equal(observed(both).keypoints.uv, near.uv)
    assert "of 2" in observed(both).choice
    other = next(p for p in (0, 1) if not np.array_equal(observed(both, person=p).keypoints.uv, near.uv))
    np.testing.assert_array_equal(observed(both, person=other).keypoints.uv, small)
    with pytest.raises(InputError, match="2"):
        observed(both, person=2)


def test_exchanged_sides_are_put_right_and_told():
    kp = marched()
    swapped = replace(kp, uv=kp.uv.copy(), landmarks=kp.landmarks.copy())
    other = [n.replace("left", "R").replace("right", "left").replace("R", "right") for n in kp.names]
    index = [kp.names.index(n) for n in other]
    swapped.uv[0, 30:41], swapped.landmarks[0, 30:41] = kp.uv[0, 30:41][:, index], kp.landmarks[0, 30:41][:, index]
    found = observed(swapped)
    np.testing.assert_array_equal(found.keypoints.uv, kp.uv)
    assert any("exchanged in 11 frames" in w for w in found.warnings)


def test_nobody_is_refused():
    with pytest.raises(NoPersonError):
        observed(marched((0, 90)))
    three_points = marched()
    three_points.uv[0, :, 3:], three_points.confidence[0, :, 3:] = np.nan, 0.0
    with pytest.raises(NoPersonError, match="four or more keypoints"):
        observed(three_points)


# --- arrays and lists -------------------------------------------------------------------------------------------------


def test_an_array_is_read_with_its_layout_and_rate():
    kp = marched()
    found = observed(as_array(kp), keypoint_set="blazepose33", fps=30.0, image_size=SIZE)
    np.testing.assert_allclose(found.keypoints.uv, kp.uv)
    np.testing.assert_allclose(found.keypoints.time, TIME)
    assert found.keypoints.image_size == SIZE
    assert found.name == "array"
    assert found.video is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoint_set": None}, "needs keypoint_set="),
        ({"keypoint_set": "coco17"}, "33 keypoints given, but 'coco17' has 17"),
        ({"fps": None}, "give fps="),
        ({"fps": -30.0}, "fps=-30"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"image_size": (0, 720)}, "image_size="),
    ],
    ids=str,
)
def test_an_array_that_lacks_something_is_refused_with_what_it_lacks(change, message):
    given = {"keypoint_set": "blazepose33", "fps": 30.0, "image_size": SIZE} | change
    with pytest.raises(InputError, match=message):
        observed(as_array(marched()), **given)


def test_an_unknown_keypoint_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"coco18.*coco17"):
        observed(as_array(marched()), keypoint_set="coco18", fps=30.0)


@pytest.mark.parametrize("shape", [(90,), (90, 33), (90, 33, 4), (0, 33, 3), (90, 0, 2)], ids=str)
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="shape|keypoints"):
        observed(np.ones(shape), keypoint_set="blazepose33", fps=30.0)


@pytest.mark.parametrize("source", [{"uv": 1}, object(), None, ["a", 1.0]], ids=lambda s: type(s).__name__)
def test_what_is_neither_path_nor_numbers_is_refused(source):
    with pytest.raises(InputError):
        observed(source, keypoint_set="blazepose33", fps=30.0)


def test_what_is_no_observation_is_refused_with_what_is_possible():
    with pytest.raises(InputError, match="cannot fit 3; give a video path"):
        observed(3)
    for name in ("ik.mot", "ik.STO", "walk.bvh", "result.npz"):
        with pytest.raises(InputError, match="known already: use physpose.inverse_dynamics"):
            observed(name)


def test_what_describes_keypoints_is_refused_of_a_video():
    with pytest.raises(InputError, match=r"fps, image_size: for keypoints; clip\.mp4 is a video"):
        physpose.fit("clip.mp4", fps=30.0, image_size=SIZE, height=1.7, mass=60.0)


@pytest.mark.parametrize("camera", [-5.0, "nowhere.toml", {"focal": 900.0, "image_size": (400, 640)}])
def test_a_wrong_camera_is_refused_before_the_long_look(camera, monkeypatch):
    monkeypatch.setattr("physpose.pipeline.observe", lambda *a, **k: pytest.fail("looked"))
    monkeypatch.setattr("physpose.pipeline.Video.open", lambda path: SimpleNamespace(image_size=(640, 400)))
    with pytest.raises(InputError):
        physpose.fit("walk.mp4", camera=camera)


def test_a_body_without_keypoints_is_refused_before_the_long_look(monkeypatch):
    monkeypatch.setattr("physpose.pipeline.observe", lambda *a, **k: pytest.fail("looked"))
    body = load_skeleton("adult")
    bare = replace(body, keypoint_sets={"markers": body.keypoint_sets["markers"]})
    with pytest.raises(InputError, match="no keypoints that are seen in pictures: give 'adult', 'child' or markers"):
        physpose.fit("walk.mp4", bare)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    for name in ("gone.mp4", "gone.json"):
        with pytest.raises((InputError, FileNotFoundError), match=name):
            observed(tmp_path / name, fps=30.0)
