"""Files written here as each tool writes them, and recordings of the real tools."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from physpose.errors import InputError, NoPersonError, UnknownNameError
from physpose.estimation.video_problem import DEPTH_EDGES, joint_index
from physpose.io.keypoint_files import keypoints_from_array, read_keypoints
from physpose.io.keypoint_layouts import MAPPED
from physpose.skeleton import load_skeleton
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES, keypoint_names

T = 5


def body(k: int, t: int, person: int = 0) -> np.ndarray:
    """Keypoints (k, 3): x tells the keypoint, y the frame, confidence the person."""
    return np.column_stack([10.0 + np.arange(k), np.full(k, 100.0 + t), np.full(k, 0.9 - 0.1 * person)])


def save(path, content) -> None:
    path.write_text(json.dumps(content))


def openpose(folder, frames: dict[int, list[np.ndarray]], name="clip_{:012d}_keypoints.json"):
    folder.mkdir(exist_ok=True)
    for n, people in frames.items():
        save(
            folder / name.format(n),
            {"version": 1.3, "people": [{"pose_keypoints_2d": p.ravel().tolist()} for p in people]},
        )
    return folder


def body25(t: int) -> np.ndarray:
    """As :func:`body`, with the neck between the shoulders and the mid-hip between the hips."""
    p = body(25, t)
    p[1, 0], p[8, 0] = p[[2, 5], 0].mean(), p[[9, 12], 0].mean()
    return p


def assert_frames(kp, keypoint_set: str, x: np.ndarray, frames=range(T)) -> None:
    assert kp.keypoint_set == keypoint_set
    assert kp.names == keypoint_names(keypoint_set)
    np.testing.assert_allclose(kp.uv[0, :, :, 0], np.tile(x, (len(kp.time), 1)))
    np.testing.assert_allclose(kp.uv[0, :, 0, 1], [100 + n for n in frames])
    np.testing.assert_allclose(kp.confidence[0], np.where(np.isnan(kp.uv[0, ..., 0]), 0.0, 0.9))


# --- OpenPose


def test_openpose_folder_takes_time_from_file_numbers(tmp_path):
    numbers = [3, 4, 7, 12]
    folder = openpose(tmp_path / "json", {n: [body25(n)] for n in numbers})
    kp = read_keypoints(folder, fps=25, image_size=(320, 480))
    assert_frames(kp, "openpose_body25", body25(0)[:, 0], numbers)
    np.testing.assert_allclose(kp.time, np.array(numbers) / 25)
    assert kp.image_size == (320, 480)
    assert kp.source == "openpose_body25, json"


def test_frame_without_people_and_keypoint_without_confidence_are_missing(tmp_path):
    p = body25(2)
    p[4] = 0.0
    kp = read_keypoints(openpose(tmp_path / "json", {0: [body25(0)], 1: [], 2: [p]}), fps=30)
    assert np.isnan(kp.uv[0, 1]).all()
    assert (kp.confidence[0, 1] == 0).all()
    assert np.isnan(kp.uv[0, 2, 4]).all()
    assert np.isfinite(kp.uv[0, 2, 5]).all()


def test_several_people_become_several_rows(tmp_path):
    kp = read_keypoints(
        openpose(tmp_path / "json", {0: [body25(0), body25(0) + [50, 0, -0.2]], 1: [body25(1)]}), fps=30
    )
    assert kp.uv.shape == (2, 2, 25, 2)
    assert np.isnan(kp.uv[1, 1]).all()
    np.testing.assert_allclose(kp.uv[1, 0] - kp.uv[0, 0], np.tile([50, 0], (25, 1)))


# OpenPose's documentation, 03_output: the order of its COCO and BODY_25B outputs.
def sided(side: str, *parts: str) -> list[str]:
    return [f"{side}_{part}" for part in parts]


ARM, LEG, FOOT = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"), ("big_toe", "small_toe", "heel")
FEET = [*sided("left", *FOOT), *sided("right", *FOOT)]
COCO18 = ["nose", "neck", *sided("right", *ARM), *sided("left", *ARM), *sided("right", *LEG), *sided("left", *LEG)]
COCO18 += ["right_eye", "left_eye", "right_ear", "left_ear"]
BODY25B = [*KEYPOINT_NAMES["coco17"], "upper_neck", "head", *FEET]


@pytest.mark.parametrize(("names", "keypoint_set"), [(COCO18, "coco17"), (BODY25B, "halpe26")])
def test_layouts_without_a_set_of_their_own_are_mapped_by_name(tmp_path, names, keypoint_set):
    kp = read_keypoints(openpose(tmp_path / "json", {t: [body(len(names), t)] for t in range(T)}), fps=30)
    expected = [10.0 + names.index(n) if n in names else np.nan for n in keypoint_names(keypoint_set)]
    assert_frames(kp, keypoint_set, np.array(expected))
    assert "neck left out" in kp.source


def test_body25_is_told_from_body25b_by_where_the_middles_lie(tmp_path):
    kp = read_keypoints(openpose(tmp_path / "a", {t: [body25(t)] for t in range(T)}), fps=30)
    assert kp.keypoint_set == "openpose_body25"
    forced = read_keypoints(tmp_path / "a", fps=30, keypoint_set="openpose_body25b")
    assert forced.keypoint_set == "halpe26"


def test_openpose_names_without_a_number_are_refused(tmp_path):
    (tmp_path / "json").mkdir()
    save(tmp_path / "json" / "keypoints.json", {"people": [{"pose_keypoints_2d": body25(0).ravel().tolist()}]})
    with pytest.raises(InputError, match="frame number"):
        read_keypoints(tmp_path / "json", fps=30)


def test_two_files_of_one_frame_are_refused(tmp_path):
    folder = openpose(tmp_path / "json", {1: [body25(1)]})
    openpose(folder, {1: [body25(1)]}, name="other_{}_keypoints.json")
    with pytest.raises(InputError, match="frame number"):
        read_keypoints(folder, fps=30)


# --- AlphaPose and COCO results


def results(k: int, image_id, frames=range(T), people: int = 1) -> list[dict]:
    return [
        {"image_id": image_id(t), "category_id": 1, "keypoints": body(k, t, p).ravel().tolist(), "score": 2.5}
        for t in frames
        for p in range(people)
    ]


@pytest.mark.parametrize(("k", "keypoint_set"), [(17, "coco17"), (26, "halpe26"), (136, "halpe26")])
def test_alphapose_takes_time_from_image_names(tmp_path, k, keypoint_set):
    frames = [0, 1, 2, 10]  # nobody in between: AlphaPose writes no entry
    save(tmp_path / "alphapose-results.json", results(k, lambda t: f"frame_{t:06d}.jpg", frames))
    kp = read_keypoints(tmp_path / "alphapose-results.json", fps=50)
    np.testing.assert_allclose(kp.time, np.arange(11) / 50)
    assert np.isnan(kp.uv[:, 3:10]).all()
    x = 10.0 + np.arange(len(keypoint_names(keypoint_set)))
    seen = replace(kp, time=kp.time[frames], uv=kp.uv[:, frames], confidence=kp.confidence[:, frames])
    assert_frames(seen, keypoint_set, x, frames)


def test_pictures_of_nobody_are_not_made_up_by_the_thousand(tmp_path):
    numbers = [0, 1, 2, 3, 10**7]
    save(tmp_path / "r.json", results(17, lambda t: numbers[t], range(5)))
    np.testing.assert_allclose(read_keypoints(tmp_path / "r.json", fps=30).time, np.array(numbers) / 30)


def test_coco_results_are_sorted_by_image_id(tmp_path):
    entries = results(17, lambda t: t, people=2)
    save(tmp_path / "r.json", entries[::-1])
    kp = read_keypoints(tmp_path / "r.json", fps=30)
    assert kp.uv.shape == (2, T, 17, 2)
    np.testing.assert_allclose(kp.uv[..., 0, 1], np.tile(100.0 + np.arange(T), (2, 1)))


def test_coco_ids_of_a_data_set_count_as_they_come(tmp_path):
    save(tmp_path / "r.json", results(17, lambda t: 1000 + 37 * t))
    np.testing.assert_allclose(read_keypoints(tmp_path / "r.json", fps=30).time, np.arange(T) / 30)


def test_coco_visibility_flags_become_confidence(tmp_path):
    p = body(17, 0)
    p[:, 2] = 2
    p[3, 2], p[4, 2] = 1, 0
    save(tmp_path / "r.json", [{"image_id": 1, "keypoints": p.ravel().tolist()}])
    confidence = read_keypoints(tmp_path / "r.json", fps=30).confidence[0, 0]
    assert confidence[0] == 1
    assert confidence[3] == 0.5
    assert confidence[4] == 0


# --- MMPose


def mmpose(k: int, name: str) -> dict:
    frames = [{"frame_id": t + 1, "instances": [mmpose_person(body(k, t))]} for t in range(T)]
    return {"meta_info": {"dataset_name": name}, "instance_info": frames}


def mmpose_person(p: np.ndarray) -> dict:
    return {"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist(), "bbox": [[0, 0, 9, 9]]}


@pytest.mark.parametrize(("k", "name", "keypoint_set"), [(17, "coco", "coco17"), (26, "halpe26", "halpe26"),
                                                         (17, "h36m", "h36m17")])  # fmt: skip
def test_mmpose(tmp_path, k, name, keypoint_set):
    save(tmp_path / "m.json", mmpose(k, name))
    kp = read_keypoints(tmp_path / "m.json", fps=30)
    assert_frames(kp, keypoint_set, 10.0 + np.arange(k))
    np.testing.assert_allclose(kp.time, np.arange(1, T + 1) / 30)


def test_mmpose_in_3d_is_refused(tmp_path):
    content = mmpose(17, "h36m")
    for frame in content["instance_info"]:
        frame["instances"][0]["keypoints"] = np.zeros((17, 3)).tolist()
    save(tmp_path / "m.json", content)
    with pytest.raises(InputError, match="not 3D"):
        read_keypoints(tmp_path / "m.json", fps=30)


def test_wholebody_keeps_body_and_feet():
    names = [*KEYPOINT_NAMES["coco17"], *FEET]  # COCO-WholeBody's first 23
    taken = MAPPED["coco_wholebody133"].apply(body(133, 0))
    expected = [10.0 + names.index(n) if n in names else np.nan for n in keypoint_names("halpe26")]
    np.testing.assert_array_equal(taken[:, 0], expected)


def test_wholebody_in_coco_results_is_read(tmp_path):  # as DWPose writes it
    save(tmp_path / "r.json", results(133, lambda t: t))
    names = [*KEYPOINT_NAMES["coco17"], *FEET]
    kp = read_keypoints(tmp_path / "r.json", fps=25)
    expected = [10.0 + names.index(n) if n in names else np.nan for n in keypoint_names("halpe26")]
    assert_frames(kp, "halpe26", np.array(expected))
    again = read_keypoints(tmp_path / "r.json", fps=25, keypoint_set="coco_wholebody133")
    np.testing.assert_array_equal(again.uv, kp.uv)


# --- what cannot be used


def test_missing_fps_is_asked_for(tmp_path):
    save(tmp_path / "r.json", results(17, lambda t: t))
    with pytest.raises(InputError, match="give fps="):
        read_keypoints(tmp_path / "r.json")


@pytest.mark.parametrize("fps", [0, -30, float("nan"), float("inf")])
def test_impossible_fps_is_refused(tmp_path, fps):
    save(tmp_path / "r.json", results(17, lambda t: t))
    with pytest.raises(InputError, match="fps="):
        read_keypoints(tmp_path / "r.json", fps=fps)


@pytest.mark.parametrize(
    "content",
    [
        "no json at all",
        "[]",
        "{}",
        '[{"image_id": 1}]',
        '[{"image_id": 1, "keypoints": [1, 2]}]',
        '[{"image_id": 1, "keypoints": "none"}]',
        '[{"image_id": "first", "keypoints": [1, 2, 1]}]',
        '{"people": []}',
        '{"instance_info": [{"frame": 1}]}',
        '{"instance_info": [3]}',
    ],
)
def test_json_that_holds_no_keypoints_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json") as error:
        read_keypoints(tmp_path / "x.json", fps=30)
    assert "\n" not in str(error.value)


def test_no_such_path_and_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_keypoints(tmp_path / "none.json", fps=30)
    with pytest.raises(InputError, match=r"no \.json file"):
        read_keypoints(tmp_path, fps=30)


def test_nobody_in_any_frame(tmp_path):
    with pytest.raises(NoPersonError, match="nobody in any of 3 frames"):
        read_keypoints(openpose(tmp_path / "a", {0: [], 1: [], 2: []}), fps=30)
    with pytest.raises(NoPersonError, match="every keypoint"):
        read_keypoints(openpose(tmp_path / "b", {0: [np.zeros((25, 3))]}), fps=30)


def test_unknown_number_of_keypoints_lists_the_sets(tmp_path):
    save(tmp_path / "r.json", results(19, lambda t: t))
    with pytest.raises(InputError, match=r"19 keypoints .*coco17 \(17\).*halpe26 \(26\)"):
        read_keypoints(tmp_path / "r.json", fps=30)


def test_given_set_that_does_not_fit_is_refused(tmp_path):
    save(tmp_path / "r.json", results(17, lambda t: t))
    with pytest.raises(InputError, match="17 keypoints a person, but 'halpe26' has 26"):
        read_keypoints(tmp_path / "r.json", fps=30, keypoint_set="halpe26")
    with pytest.raises(UnknownNameError, match=r"keypoint set 'coco'.*coco17 \(17\)"):
        read_keypoints(tmp_path / "r.json", fps=30, keypoint_set="coco")


# --- arrays


def test_array_of_one_person_and_of_several():
    one = np.stack([body(17, t) for t in range(T)])
    kp = keypoints_from_array(one, fps=20, keypoint_set="coco17")
    assert kp.uv.shape == (1, T, 17, 2)
    np.testing.assert_allclose(kp.time, np.arange(T) / 20)
    np.testing.assert_allclose(kp.confidence, 0.9)
    two = keypoints_from_array([one, one + [5, 5, 0]], time=np.arange(T) ** 2 / 7, keypoint_set="coco17")
    assert two.uv.shape == (2, T, 17, 2)
    np.testing.assert_allclose(two.time, np.arange(T) ** 2 / 7)


def test_array_without_confidence_trusts_what_is_there():
    uv = np.stack([body(17, t)[:, :2] for t in range(T)])
    uv[2, 3, 0] = np.nan
    kp = keypoints_from_array(uv, fps=30, keypoint_set="coco17")
    assert kp.confidence[0, 2, 3] == 0
    assert np.isnan(kp.uv[0, 2, 3]).all()  # half a position is none
    assert kp.confidence.sum() == T * 17 - 1


GOOD = np.stack([body(17, t) for t in range(T)])


def test_keypoints_lifted_elsewhere_come_along():
    lifted = np.random.default_rng(0).normal(size=(T, 17, 3))  # (T, 17, 3) in Human3.6M's order, as MixSTE's
    lifted[3, 4] = np.nan  # left hip
    kp = keypoints_from_array(GOOD, fps=50, keypoint_set="h36m17", landmarks=lifted)
    assert kp.landmarks is not None
    assert kp.landmarks.shape == (1, T, 17, 3)
    names = keypoint_names("h36m17")
    hips = [names.index("RHip"), names.index("LHip")]
    np.testing.assert_allclose(kp.landmarks[0, [0, 1, 2, 4]][:, hips].mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(kp.landmarks[0, 0] - kp.landmarks[0, 0, 0], lifted[0] - lifted[0, 0])
    assert np.isnan(kp.landmarks[0, 3]).all()  # there is no middle of the hips
    mapped = keypoints_from_array(np.stack([body(133, t) for t in range(T)]), fps=50, landmarks=np.zeros((T, 133, 3)),
                                  keypoint_set="coco_wholebody133")  # fmt: skip
    assert mapped.landmarks is not None
    assert mapped.landmarks.shape == (1, T, 26, 3)


@pytest.mark.parametrize("name", KEYPOINT_NAMES)
def test_3d_of_every_set_tells_the_direction_of_limbs(name):
    index = joint_index(load_skeleton("adult").keypoint_set(name))
    edges = [(a, b) for a, b in DEPTH_EDGES if a in index and b in index]
    assert len(edges) >= 12  # hips, shoulders, and both sides' trunk, thigh, shank, upper arm, forearm
    names = keypoint_names(name)
    for side, letter in (("l", "lL"), ("r", "rR")):
        assert names[index[f"knee_{side}"]][0] in letter
        assert "knee" in names[index[f"knee_{side}"]].lower()


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((T, 17, 2)), r"landmarks of shape \(5, 17, 2\); \(1, 5, 17, 3\) fits"),
        (np.zeros((T + 1, 17, 3)), "fits the 2D keypoints"),
        (np.full((T, 17, 3), np.inf), "infinite"),
        ("abc", "array of numbers"),
    ],
)
def test_landmarks_that_do_not_fit_are_refused(landmarks, message):
    with pytest.raises(InputError, match=message):
        keypoints_from_array(GOOD, fps=50, keypoint_set="coco17", landmarks=landmarks)


def test_3d_keypoints_alone_are_told_where_to_go():
    with pytest.raises(InputError, match="3D go into landmarks="):
        keypoints_from_array(np.full((T, 17, 3), -0.5), fps=50, keypoint_set="h36m17")


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (GOOD[..., 0], {"fps": 30}, r"shape \(5, 17\)"),
        (GOOD[:0], {"fps": 30}, r"shape \(0, 17, 3\)"),
        ([["a"]], {"fps": 30}, "array of numbers"),
        (GOOD[:, :16], {"fps": 30}, r"16 keypoints given, but 'coco17' has 17"),
        (GOOD, {}, "give fps="),
        (GOOD, {"fps": 30, "time": np.arange(T)}, "give one"),
        (GOOD, {"time": [0, 1, 2]}, r"expected \(5,\)"),
        (GOOD, {"time": [0, 0.1, 0.3, 0.2, 0.4]}, r"does not increase at frame 3: 0.2 s after 0.3 s"),
        (GOOD, {"time": [0, 0.1, 0.1, 0.2, 0.4]}, "does not increase at frame 2"),
        (GOOD, {"time": [0, 1, 2, 3, np.nan]}, "finite"),
        (GOOD * [1, 1, 50], {"fps": 30}, r"third column is the confidence"),
        (GOOD * [1, 1, -1], {"fps": 30}, r"third column is the confidence"),
        (np.where(GOOD == 10, np.inf, GOOD), {"fps": 30}, "infinite"),
        (GOOD * np.nan, {"fps": 30}, "every keypoint of all 5 frames is missing"),
        (GOOD, {"fps": 30, "image_size": (0, 480)}, "image_size"),
    ],
)
def test_array_that_cannot_be_used_is_refused_in_one_line(array, options, message):
    with pytest.raises((InputError, NoPersonError), match=message) as error:
        keypoints_from_array(array, keypoint_set="coco17", **options)
    assert "\n" not in str(error.value)


# --- real files


def test_openpose_recording_of_a_child(data_dir):
    kp = read_keypoints(data_dir / "mobile_gaitlab/demo/out/keypoints", fps=30, image_size=(320, 480))
    assert kp.keypoint_set == "openpose_body25"
    assert kp.n_frames == 401
    np.testing.assert_allclose(np.diff(kp.time), 1 / 30)
    at = {n: i for i, n in enumerate(kp.names)}
    y = np.nanmedian(kp.uv[0, ..., 1], axis=0)
    knee, ankle = (y[[i for n, i in at.items() if part in n.lower()]].mean() for part in ("knee", "ankle"))
    assert y[at[kp.names[0]]] < y[1] < y[8] < knee < ankle  # nose, neck, mid-hip


def test_openpose_recording_in_the_other_order_of_25(data_dir):
    trial = "pose2sim/S00_Demo_Session/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial/pose-associated/cam02_json"
    kp = read_keypoints(data_dir / trial, fps=60)
    assert kp.keypoint_set == "halpe26"
    assert kp.n_frames == 100
    seen = np.isfinite(kp.uv[0, ..., 0]).any(0)
    uv = {n: kp.uv[0, :, i] for i, n in enumerate(kp.names) if seen[i]}
    assert set(kp.names) - set(uv) <= {"neck", "hip", "mid_hip"}
    heights = [np.nanmedian(uv[n][:, 1]) for n in ("head", "nose", *sided("left", "shoulder", *LEG))]
    assert np.all(np.diff(heights) > 0)
    for side, other in (("left", "right"), ("right", "left")):
        for part in FOOT:
            own, far = (np.linalg.norm(uv[f"{side}_{part}"] - uv[f"{s}_ankle"], axis=-1) for s in (side, other))
            assert np.nanmedian(own) < np.nanmedian(far)
