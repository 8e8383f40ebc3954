"""Left and right exchanged by a detector: found and undone on made-up marching, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimation_cases import marching, seen

from physpose.estimation.sides import mirrored_index, unswap_sides
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES
from physpose.types import Keypoints2D

TIME = np.arange(60) / 30  # [s]


def marched(landmarks: bool = True, noise: float = 0.0, keypoint_set: str = "blazepose33") -> Keypoints2D:
    kp = seen(TIME, marching(TIME), landmarks=landmarks, noise=noise, keypoint_set=keypoint_set)
    if kp.landmarks is None or not noise:
        return kp
    return replace(kp, landmarks=kp.landmarks + 0.02 * np.random.default_rng(1).normal(size=kp.landmarks.shape))


def with_swapped(kp: Keypoints2D, *blocks: tuple[int, int]) -> tuple[Keypoints2D, np.ndarray]:
    """Left and right exchanged in blocks of frames, by names."""
    partner = [kp.names.index(other(n)) for n in kp.names]
    uv, confidence = kp.uv.copy(), kp.confidence.copy()
    landmarks = None if kp.landmarks is None else kp.landmarks.copy()
    frames = np.zeros(kp.n_frames, bool)
    for a, b in blocks:
        frames[a:b] = True
        uv[0, a:b], confidence[0, a:b] = uv[0, a:b][:, partner], confidence[0, a:b][:, partner]
        if landmarks is not None:
            landmarks[0, a:b] = landmarks[0, a:b][:, partner]
    return replace(kp, uv=uv, confidence=confidence, landmarks=landmarks), frames


def other(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")


def hidden(kp: Keypoints2D, a: int, b: int) -> Keypoints2D:
    uv, confidence = kp.uv.copy(), kp.confidence.copy()
    uv[0, a:b], confidence[0, a:b] = np.nan, 0.0
    landmarks = None if kp.landmarks is None else kp.landmarks.copy()
    if landmarks is not None:
        landmarks[0, a:b] = np.nan
    return replace(kp, uv=uv, confidence=confidence, landmarks=landmarks)


def check_undone(found: Keypoints2D, true: Keypoints2D) -> None:
    np.testing.assert_array_equal(found.uv, true.uv)
    np.testing.assert_array_equal(found.confidence, true.confidence)
    if true.landmarks is not None:
        np.testing.assert_array_equal(found.landmarks, true.landmarks)


@pytest.mark.parametrize("landmarks", [True, False], ids=["3D", "2D"])
@pytest.mark.parametrize("noise", [0.0, 3.0])
@pytest.mark.parametrize("blocks", [[(20, 31)], [(0, 12)], [(50, 60)], [(10, 11), (30, 45)]], ids=str)
def test_swapped_blocks_are_found_and_undone(blocks, noise, landmarks):
    true = marched(landmarks, noise)
    uneven = replace(true, confidence=np.random.default_rng(2).uniform(0.3, 1, true.confidence.shape))
    swapped, frames = with_swapped(uneven, *blocks)
    found, changed = unswap_sides(swapped)
    np.testing.assert_array_equal(changed, frames)
    check_undone(found, uneven)


def test_most_frames_are_right():
    swapped, frames = with_swapped(marched(), (10, 55))
    _, changed = unswap_sides(swapped)
    np.testing.assert_array_equal(changed, ~frames)  # 45 of 60 swapped: nothing tells them from the truth


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_what_is_right_stays(noise):
    true = marched(noise=noise)
    found, changed = unswap_sides(true)
    assert not changed.any()
    check_undone(found, true)


def test_in_profile_where_both_sides_look_alike_nothing_is_exchanged():
    kp = seen(TIME, marching(TIME, turned=0.0), landmarks=False, noise=6.0)
    assert not unswap_sides(kp)[1].any()


def test_a_short_gap_is_bridged():
    true = hidden(marched(), 20, 24)
    swapped, frames = with_swapped(true, (24, 40))
    found, changed = unswap_sides(swapped)
    np.testing.assert_array_equal(changed, frames)
    check_undone(found, true)


def test_after_a_long_gap_each_side_is_judged_by_itself():
    true = hidden(marched(), 20, 32)
    swapped, _ = with_swapped(true, (32, 60))  # nothing joins it to the frames before
    found, changed = unswap_sides(swapped)
    assert not changed.any()
    check_undone(found, swapped)


def test_a_missing_keypoint_in_a_swapped_block_does_not_hide_the_swap():
    true = marched()
    swapped, frames = with_swapped(true, (20, 30))
    for kp in (true, swapped):
        kp.uv[0, 24, kp.names.index("nose")], kp.confidence[0, 24, kp.names.index("nose")] = np.nan, 0
    np.testing.assert_array_equal(unswap_sides(swapped)[1], frames)


@pytest.mark.parametrize("landmarks", [True, False], ids=["3D", "2D"])
def test_a_real_turn_is_not_a_swap(landmarks):
    """A whole turn in 1.2 s, as in a pirouette: in the picture left and right cross twice."""
    q = np.concatenate([marching(TIME[i : i + 1], turned=float(x)) for i, x in enumerate(2 * np.pi * TIME / 1.2)])
    assert not unswap_sides(seen(TIME, q, landmarks=landmarks))[1].any()


def test_too_little_to_judge_is_left_alone():
    true = marched()
    for kp in (true.frames(slice(0, 2)), hidden(true, 0, 60)):
        found, changed = unswap_sides(kp)
        assert changed.shape == (kp.n_frames,)
        assert not changed.any()
        np.testing.assert_array_equal(found.uv, kp.uv)


def test_input_is_not_written_to():
    swapped, _ = with_swapped(marched(), (20, 30))
    before = swapped.uv.copy()
    unswap_sides(swapped)
    np.testing.assert_array_equal(swapped.uv, before)


def partners(names: tuple[str, ...]) -> set[tuple[str, str]]:
    index = mirrored_index(names)
    assert sorted(index) == list(range(len(names)))
    np.testing.assert_array_equal(index[index], np.arange(len(names)))
    return {(a, names[i]) for a, i in zip(names, index, strict=True) if a != names[i]}


@pytest.mark.parametrize("keypoint_set", KEYPOINT_NAMES)
def test_every_sided_keypoint_has_its_partner(keypoint_set):
    names = KEYPOINT_NAMES[keypoint_set]
    sided = [n for n in names if "left" in n.lower() or "right" in n.lower() or n[0] in "LR" and n[1:2].isupper()]
    assert {a for a, _ in partners(names)} == set(sided)


def test_middle_keypoints_are_their_own_partner():
    names = KEYPOINT_NAMES["openpose_body25"]
    assert {"Nose", "Neck", "MidHip"}.isdisjoint({a for a, _ in partners(names)})
    assert ("RKnee", "LKnee") in partners(names)
