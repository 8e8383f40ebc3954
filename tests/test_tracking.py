"""Made-up people who walk on known paths, shuffled in each frame: their identities are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from physpose.detectors.tracking import choose_person, track
from physpose.errors import InputError, NoPersonError
from physpose.io.keypoint_files import read_keypoints
from physpose.skeleton.keypoint_sets import keypoint_names
from physpose.types import Keypoints2D

FPS = 30.0
NAMES = keypoint_names("coco17")
K = len(NAMES)
SHAPE = np.random.default_rng(1).uniform([-0.2, 0.0], [0.2, 1.0], (K, 2))  # a body of height 1


def person(x: np.ndarray, y: np.ndarray | float = 100.0, height: np.ndarray | float = 300.0) -> np.ndarray:
    """Keypoints (T, K, 2) [px] of somebody of ``height`` px whose head is at (x, y)."""
    x, y, height = np.broadcast_arrays(np.asarray(x, float), y, height)
    return np.stack([x, y], -1)[:, None] + SHAPE * height[:, None, None]


def observed(people: list[np.ndarray], *, seed: int | None = 0, noise: float = 3.0) -> Keypoints2D:
    """Keypoints of ``people`` in a random order in each frame; NaN frames are missing. Confidence tells who is who."""
    rng = np.random.default_rng(seed)
    uv = np.stack(people) + rng.normal(0, noise, (len(people), *people[0].shape))
    confidence = np.where(np.isfinite(uv).all(-1), 0.5 + 0.1 * np.arange(len(people))[:, None, None], 0.0)
    if seed is not None:
        order = np.array([rng.permutation(len(people)) for _ in range(uv.shape[1])]).T
        uv, confidence = (
            np.take_along_axis(a, order.reshape(*order.shape, *[1] * (a.ndim - 2)), 0) for a in (uv, confidence)
        )
    T = uv.shape[1]
    return Keypoints2D(
        keypoint_set="coco17", names=NAMES, time=np.arange(T) / FPS, uv=uv, confidence=confidence,
        landmarks=np.concatenate([uv, uv[..., :1]], -1), image_size=(1280, 720), source="made up",
    )  # fmt: skip


def identities(kp: Keypoints2D) -> list[set[float]]:
    """The true persons (by their confidence) that each track holds."""
    return [set(np.round(c[c > 0], 3)) for c in kp.confidence]


T = 90
t = np.arange(T) / FPS


def test_shuffled_people_get_one_index_each():
    kp = observed([person(200 + 100 * t), person(900 - 50 * t), person(600 + 0 * t, 300)])
    tracked = track(kp)
    assert tracked.n_persons == 3
    assert sorted(map(sorted, identities(tracked))) == [[0.5], [0.6], [0.7]]
    assert np.isfinite(tracked.uv).all()


def test_landmarks_and_confidence_go_with_their_person():
    tracked = track(observed([person(200 + 100 * t), person(900 - 50 * t)]))
    np.testing.assert_array_equal(tracked.landmarks[..., :2], tracked.uv)
    assert all(len(who) == 1 for who in identities(tracked))


def test_people_who_cross_at_different_distance_keep_their_index():
    near, far = person(100 + 300 * t, 100, 400), person(1000 - 300 * t, 150, 250)
    assert sorted(map(sorted, identities(track(observed([near, far]))))) == [[0.5], [0.6]]


@pytest.mark.parametrize("gap", [1, 10, 45])
def test_person_who_leaves_and_returns_keeps_the_index(gap):
    walker = person(200 + 100 * t)
    walker[30 : 30 + gap] = np.nan
    tracked = track(observed([walker, person(900 + 0 * t)]))
    assert sorted(map(sorted, identities(tracked))) == [[0.5], [0.6]]


@pytest.mark.parametrize("gap", [2, 50])
def test_someone_else_far_away_after_a_gap_is_someone_else(gap):
    first, second = person(100 + 0 * t, 100, 200), person(1200 + 0 * t, 100, 200)
    first[30:], second[: 30 + gap] = np.nan, np.nan
    tracked = track(observed([first, second]))
    assert identities(tracked) == [{0.5}, {0.6}]


def test_who_passes_where_another_was_last_seen_keeps_the_index():
    gone, walker = person(500 + 0 * t), person(200 + 200 * t)
    gone[30:] = np.nan
    assert sorted(map(sorted, identities(track(observed([gone, walker]))))) == [[0.5], [0.6]]


def test_detector_that_jumps_from_one_person_to_another_makes_two():
    jumper = person(np.where(np.arange(T) < 40, 100, 1100))
    assert track(observed([jumper])).n_persons == 2


def test_detector_that_leaves_with_a_passer_does_not_take_the_index_along():
    walker, passer = person(800 - 60 * t), person(100 + 260 * t, 90)
    away = (passer - walker)[:, 0, 0]
    along = (away > 60) & (away < 160)  # a fifth to a half of their size
    assert 8 < along.sum() < 16
    seen = np.where(along[:, None, None], passer, walker)
    tracked, _ = choose_person(track(observed([seen], seed=None)))
    np.testing.assert_array_equal(np.isfinite(tracked.uv[0, :, 0, 0]), ~along)


@pytest.mark.parametrize("when", [33, 42, 51])
def test_something_else_where_a_person_is_looked_for_is_left_out(when):
    walker = person(200 + 100 * t)
    walker[30:55] = np.nan
    walker[when] = person(200 + 100 * t, 450, 150)[when]
    tracked, _ = choose_person(track(observed([walker], seed=None)))
    np.testing.assert_array_equal(np.isfinite(tracked.uv[0, :, 0, 0]), (np.arange(T) < 30) | (np.arange(T) >= 55))


def test_wrong_pictures_before_a_return_do_not_take_the_index_along():
    walker = person(200 + 60 * t)
    walker[30:38], walker[41:50] = np.nan, np.nan
    walker[38:41] = person(200 + 60 * t, 100, 200)[38:41] + [90, 150]
    tracked, _ = choose_person(track(observed([walker], seed=None)))
    assert np.isfinite(tracked.uv[0, :30]).all()
    assert np.isfinite(tracked.uv[0, 50:]).all()


@pytest.mark.parametrize("every", [2, 10])
def test_who_is_found_in_few_pictures_is_one_person(every):
    walker = person(200 + 100 * t)
    walker[np.arange(T) % every > 0] = np.nan
    tracked = track(observed([walker]))
    assert tracked.n_persons == 1
    assert np.isfinite(tracked.uv[0, ::every]).all()


@pytest.mark.parametrize("fps", [5, 10, 240])
def test_a_jump_of_half_a_height_is_followed_at_any_frame_rate(fps):
    """Who jumps up and lands: 9.81 m/s^2 of somebody 1.8 m tall are 5.5 heights/s^2."""
    s = np.arange(int(2 * fps)) / fps
    flight = 2 * np.sqrt(2 * 0.5 / 5.5)
    up = np.where((s > 0.5) & (s < 0.5 + flight), 5.5 / 2 * (s - 0.5) * (0.5 + flight - s), 0)
    kp = observed([person(300 + 50 * s, 400 - 300 * up)])
    assert track(replace(kp, time=s)).n_persons == 1


def test_person_taken_back_to_front_stays_the_same():
    """A detector in doubt swaps left and right: each keypoint jumps, the box does not."""
    walker = person(200 + 50 * t)
    swap = [0, *(i + 1 if i % 2 else i - 1 for i in range(1, K))]
    walker[::3] = walker[::3][:, swap]
    assert track(observed([walker])).n_persons == 1


def test_doubles_of_one_person_are_removed():
    walker = person(200 + 100 * t)
    ghost = walker + 4.0
    ghost[50:] = np.nan
    tracked = track(observed([ghost, walker, person(900 + 0 * t)]))
    assert identities(tracked) == [{0.6}, {0.7}] or identities(tracked) == [{0.7}, {0.6}]


def test_result_does_not_depend_on_the_order_in_frames():
    people = [person(200 + 100 * t), person(900 - 50 * t)]
    plain, shuffled = (observed(people, seed=s, noise=0.0) for s in (None, 3))
    a, b = (np.sort(track(kp).uv.sum((1, 2, 3))) for kp in (plain, shuffled))
    np.testing.assert_allclose(a, b)


def test_size_of_the_picture_does_not_matter():
    people = [person(200 + 600 * t), person(2500 - 50 * t)]
    for scale in (0.1, 1.0, 10.0):
        tracked = track(observed([scale * p for p in people], noise=scale))
        assert sorted(map(sorted, identities(tracked))) == [[0.5], [0.6]]


def test_nobody_stays_nobody():
    empty = observed([np.full((T, K, 2), np.nan)])
    assert track(empty).n_persons == 0
    with pytest.raises(NoPersonError, match=r"no person found in made up \(90 frames\)"):
        choose_person(track(empty))
    with pytest.raises(NoPersonError):
        choose_person(track(empty.persons([])))


def test_single_frame():
    one, report = choose_person(track(observed([person(np.array([200.0]))])))
    assert one.uv.shape == (1, 1, K, 2)
    assert report.startswith("person 0 of 1: seen in 1 of 1 frames")


def test_default_is_the_person_seen_longest_and_largest():
    bystander, subject, late = (
        person(100 + 0 * t, 300, 100),
        person(400 + 50 * t, 50, 400),
        person(1000 + 0 * t, 50, 420),
    )
    late[:60] = np.nan
    kp, report = choose_person(track(observed([bystander, subject, late], seed=None, noise=0.0)))
    assert identities(kp) == [{0.6}]
    assert kp.n_persons == 1
    size = np.linalg.norm(np.ptp(SHAPE, axis=0)) * 400
    assert report == f"person 1 of 3: seen in 90 of 90 frames, mean size {size:.0f} px"


def test_chosen_person_is_the_one_asked_for():
    tracked = track(observed([person(200 + 100 * t), person(900 - 50 * t)]))
    for index in (0, 1):
        kp, report = choose_person(tracked, index)
        np.testing.assert_array_equal(kp.uv[0], tracked.uv[index])
        assert report.startswith(f"person {index} of 2:")


@pytest.mark.parametrize("index", [2, -1])
def test_person_who_is_not_there_lists_who_is(index):
    tracked = track(observed([person(200 + 100 * t), person(900 - 50 * t)]))
    with pytest.raises(InputError, match=rf"person {index} is not in .*0: seen in 90 of 90.*1: seen in 90 of 90"):
        choose_person(tracked, index)


def test_ten_minutes_are_two_people():
    n = 18_000
    long = observed([person(200 + 100 * np.sin(np.arange(n) / 100)), person(np.full(n, 900.0))])
    assert track(long).n_persons == 2


def test_child_stays_the_main_person_of_a_clinical_walk(data_dir):
    """401 frames of a child; an adult is seen in four. Every frame with a body in it belongs to one person."""
    kp = read_keypoints(data_dir / "mobile_gaitlab/demo/out/keypoints", fps=30)
    _, report = choose_person(track(kp))
    assert "seen in 40" in report
    assert "of 401 frames" in report
