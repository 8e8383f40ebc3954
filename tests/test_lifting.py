"""The shipped lifters as a source of 3D keypoints: right axes, right unit, every frame, and better than no network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import physpose
from physpose.chain import KinematicChain
from physpose.data.detector_noise import DetectorNoise
from physpose.data.generator import Batch, GeneratorSettings, SequenceGenerator
from physpose.data.random_motion import MotionMix
from physpose.errors import InputError
from physpose.estimation.lifting import WORSE, _of_real_detectors, lifts, with_lifted_landmarks
from physpose.estimation.settings import EstimationSettings
from physpose.estimation.trajectory import fit_trajectory
from physpose.estimation.video_problem import CameraPrior, VideoProblem
from physpose.networks.lifter import SHIPPED, load_lifter, shipped_lifter, turn_to_keypoints
from physpose.skeleton.keypoint_sets import keypoint_landmarks, keypoint_names
from physpose.types import Array, Keypoints2D

SETS = ("blazepose33", "coco17")
WORST = 0.10  # [statures] on sampled usual and seated postures; 0.19 for a pose that is always the same


def batches(keypoint_set: str, **settings) -> list[Batch]:
    """Four people whom no training has seen, usual and seated postures."""
    mix = MotionMix(recorded=0.0, ranging=0.0)
    settings = {"keypoint_set": keypoint_set, "mix": mix, "focal_known": 1.0, "focal_error": 0.0, **settings}
    generator = SequenceGenerator(None, GeneratorSettings(**settings), stream=9)
    return [generator.batch(i, 16) for i in range(2)]


def keypoints(batch: Batch, n: int, keypoint_set: str) -> Keypoints2D:
    """Sequence n of a batch."""
    return Keypoints2D(
        keypoint_set=keypoint_set, names=keypoint_names(keypoint_set), time=batch.time[n].double().numpy(),
        uv=batch.keypoints[n : n + 1].double().numpy(), confidence=batch.confidence[n : n + 1].double().numpy(),
    )  # fmt: skip


def lifted(batch: Batch, n: int, keypoint_set: str, stature: float | None = None) -> Array:
    """(T, K, 3) [m]"""
    point = batch.view.principal_point[n]
    found = with_lifted_landmarks(
        keypoints(batch, n, keypoint_set), float(batch.view.focal[n]), (float(point[0]), float(point[1])),
        stature or float(batch.stature[n]),
    )  # fmt: skip
    assert found.landmarks is not None
    return found.landmarks[0]


@pytest.mark.parametrize("keypoint_set", SETS)
def test_lifted_people_are_where_the_truth_is(keypoint_set):
    errors, flipped = [], []
    for batch in batches(keypoint_set):
        for n in range(16):
            found = lifted(batch, n, keypoint_set) / float(batch.stature[n])
            true = batch.pose[n].double().numpy()
            errors.append(np.nanmean(np.linalg.norm(found - true, axis=-1)))
            flipped.append(np.nanmean(np.linalg.norm(found * [1, 1, -1] - true, axis=-1)))
    assert np.mean(errors) < WORST
    assert np.mean(errors) < 0.8 * np.mean(flipped)  # depth is seen, and runs away from the camera


def test_every_frame_is_lifted_and_metres_follow_the_stature():
    (batch, _) = batches("coco17", frames=31, rate=(60.0, 60.0))
    kp = keypoints(batch, 0, "coco17")
    found = lifted(batch, 0, "coco17", 1.0)
    np.testing.assert_allclose(lifted(batch, 0, "coco17", 1.5), 1.5 * found)
    seen = np.isfinite(kp.uv[0]).all(-1).any(-1)
    assert np.isfinite(found[seen]).all()
    assert np.isnan(found[~seen]).all()
    steps = np.linalg.norm(np.diff(found[seen], axis=0), axis=-1)
    assert np.median(steps) < 0.05  # neighbours of one motion, though lifted apart


def test_the_ray_leads_on_where_nothing_is_seen():
    """Rays to one keypoint that moves evenly: with frames taken away, the axes are those of the whole."""
    u = torch.linspace(100.0, 500.0, 9)
    uv = torch.stack([u, torch.full_like(u, 240.0)], -1)[:, None]
    focal, point = torch.tensor(800.0), torch.tensor([320.0, 240.0])
    whole = turn_to_keypoints(uv, focal, point)
    torch.testing.assert_close(whole[:, :, 2], torch.nn.functional.normalize(
        torch.stack([(u - 320) / 800, torch.zeros_like(u), torch.ones_like(u)], -1), dim=-1
    ))  # fmt: skip
    gone = uv.clone()
    gone[[3, 4, 5]] = torch.nan
    torch.testing.assert_close(turn_to_keypoints(gone, focal, point), whole)
    gone[:2] = torch.nan
    torch.testing.assert_close(turn_to_keypoints(gone, focal, point)[:3], whole[2].expand(3, 3, 3))
    torch.testing.assert_close(turn_to_keypoints(gone * torch.nan, focal, point), torch.eye(3).expand(9, 3, 3))


def test_frames_where_nothing_is_seen_have_no_landmarks():
    (batch, _) = batches("coco17")
    kp = keypoints(batch, 0, "coco17")
    uv = kp.uv.copy()
    uv[0, 3] = np.nan
    point = (320.0, 240.0)
    found = with_lifted_landmarks(replace(kp, uv=uv), 800.0, point, 1.7).landmarks
    assert found is not None
    assert np.isnan(found[0, 3]).all()
    assert np.isfinite(found[0, 4]).all() or np.isnan(uv[0, 4]).all()
    single = with_lifted_landmarks(kp.frames(slice(0, 1)), 800.0, point, 1.7).landmarks
    assert single is not None
    assert single.shape == (1, 1, 17, 3)


def test_a_lifter_doubts_what_is_made_up():
    """Against the true errors of the generated keypoints: larger where these are, and of their size."""
    told, true = [], []
    for batch in batches("blazepose33", frames=24, rate=(8.0, 20.0), noise=DetectorNoise(occluded=0.7)):
        for n in range(16):
            point = batch.view.principal_point[n].tolist()
            kp = keypoints(batch, n, "blazepose33")
            told.append(with_lifted_landmarks(kp, float(batch.view.focal[n]), tuple(point), 1.0).doubt[0])
            true.append(batch.off[n].double().numpy())
    told, true = (np.concatenate(x).ravel() for x in (told, true))
    seen = np.isfinite(true)
    told, true = told[seen], true[seen]
    rms = [np.sqrt((true[part] ** 2).mean()) for part in (told < 0.02, (told > 0.02) & (told < 0.05), told > 0.08)]
    assert rms[0] < 0.02
    assert rms[0] < rms[1] < rms[2]
    assert rms[2] > 0.06
    assert 0.6 < np.sqrt(((true / told) ** 2).mean()) < 1.7


def test_a_doubted_keypoint_counts_as_little_as_it_is_sure():
    (batch, _) = batches("blazepose33")
    kp = keypoints(batch, 0, "blazepose33")
    kp = replace(kp, uv=np.nan_to_num(kp.uv), confidence=np.ones((1, 8, 33)))
    camera = CameraPrior(image_size=(640, 480), focal=800.0, sigma_log_focal=0.0, principal_point=(320.0, 240.0))
    problem = VideoProblem(KinematicChain(physpose.load_skeleton("adult")), kp, camera, True)
    state = problem._prior_state()
    state = replace(state, q=state.q.expand(8, -1) + torch.tensor([4.0] + [0.0] * (state.q.shape[1] - 1)))
    rate = torch.full((8,), 0.1, dtype=torch.float64)
    plain = problem._reprojection(kp, rate, state).weight
    doubt = np.full((1, 8, 33), 1e-3)
    doubt[0, 2, 27], doubt[0, 3, 28] = 0.4, np.nan
    found = problem._reprojection(replace(kp, doubt=doubt), rate, state).weight
    ratio = found / plain
    expected = torch.ones(8, 33, dtype=torch.float64)
    expected[2, 27] = (problem.set.sigma[27] / 0.4) ** 2
    torch.testing.assert_close(ratio, expected)


def test_sets_without_a_lifter_stay_as_they_are():
    names = keypoint_names("h36m17")
    kp = Keypoints2D(
        keypoint_set="h36m17", names=names, time=np.zeros(1), uv=np.ones((1, 1, 17, 2)), confidence=np.ones((1, 1, 17))
    )  # fmt: skip
    assert shipped_lifter("h36m17") is None
    assert with_lifted_landmarks(kp, 800.0, (1.0, 1.0), 1.7) is kp


def test_a_fit_starts_from_the_lifter_where_it_is_asked_to():
    (batch, _) = batches("coco17")
    kp, point = keypoints(batch, 0, "coco17"), batch.view.principal_point[0]
    focal, size = float(batch.view.focal[0]), (int(2 * point[0]), int(2 * point[1]))
    camera = CameraPrior(image_size=size, focal=focal, sigma_log_focal=0.0, principal_point=(size[0] / 2, size[1] / 2))
    body = physpose.load_skeleton("adult", height=1.7)
    given = with_lifted_landmarks(kp, focal, camera.principal_point, 1.7)
    found = [
        fit_trajectory(body, points, camera, True, EstimationSettings(lift=lift)).q
        for points, lift in (
            (given, False),
            (kp, True),
            (replace(given, landmarks=-given.landmarks), True),
            (kp, False),
        )
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])  # whatever 3D the detector gave
    assert not np.array_equal(found[0], found[3])


def test_sets_that_hold_cocos_are_lifted_by_them():
    (batch, _) = batches("coco17")
    kp = keypoints(batch, 0, "coco17")
    names = keypoint_names("openpose_body25")
    places = [keypoint_landmarks("openpose_body25").index(m) for m in keypoint_landmarks("coco17")]
    uv, confidence = np.full((1, kp.n_frames, 25, 2), np.nan), np.zeros((1, kp.n_frames, 25))
    uv[:, :, places], confidence[:, :, places] = kp.uv, kp.confidence
    more = replace(kp, keypoint_set="openpose_body25", names=names, uv=uv, confidence=confidence)
    one, other = (with_lifted_landmarks(x, 800.0, (320.0, 240.0), 1.7).landmarks for x in (kp, more))
    np.testing.assert_array_equal(other[:, :, places], one)
    assert np.isnan(np.delete(other, places, axis=2)).all()
    with pytest.raises(InputError, match="blazepose33 cannot lift coco17"):
        with_lifted_landmarks(kp, 800.0, (320.0, 240.0), 1.7, shipped_lifter("blazepose33"))


def test_a_fit_leans_on_3d_of_some_of_the_keypoints():
    """Feet that no lifter knows do not spoil the others."""
    (batch, _) = batches("blazepose33")
    kp = keypoints(batch, 0, "blazepose33")
    known = [keypoint_landmarks("blazepose33").index(m) for m in keypoint_landmarks("coco17")]
    given = with_lifted_landmarks(kp, 800.0, (320.0, 240.0), 1.7)
    partly = np.full_like(given.landmarks, np.nan)
    partly[:, :, known] = given.landmarks[:, :, known]
    camera = CameraPrior(image_size=(640, 480), focal=800.0, sigma_log_focal=0.0, principal_point=(320.0, 240.0))
    body = physpose.load_skeleton("adult", height=1.7)
    q = fit_trajectory(body, replace(given, landmarks=partly), camera, True, EstimationSettings(lift=False)).q
    assert np.isfinite(q).all()
    problem = VideoProblem(KinematicChain(body), given, camera, True)
    weights = [
        problem._depth(replace(given, landmarks=x), torch.ones(kp.n_frames, dtype=torch.float64), 800.0).weight
        for x in (given.landmarks, partly)
    ]
    assert 0.4 * float(weights[0].sum()) < float(weights[1].sum()) < float(weights[0].sum())


def test_the_lifter_takes_the_place_of_mediapipes_3d_or_none():
    (batch, _) = batches("blazepose33")
    kp = keypoints(batch, 0, "blazepose33")
    given = replace(kp, landmarks=np.zeros((*kp.uv.shape[:3], 3)))
    unasked, seen = EstimationSettings(), replace(given, source="MediaPipe pose landmarker, clip.mp4")
    assert lifts(unasked, seen, 9.81)
    assert not lifts(unasked, given, 9.81)  # somebody else's 3D is meant
    assert lifts(unasked, replace(given, landmarks=None), 9.81)
    assert not lifts(unasked, seen, 0.0)
    assert lifts(EstimationSettings(lift=True), given, 0.0)
    assert not lifts(EstimationSettings(lift=False), seen, 9.81)


def test_weights_in_the_package_are_small_and_say_what_they_are():
    files = sorted(SHIPPED.glob("*.safetensors"))
    assert [f.stem for f in files] == [f"lifter_{s}" for s in SETS]
    assert sum(f.stat().st_size for f in files) < 12e6
    card = (SHIPPED / "README.md").read_text()
    for file, keypoint_set in zip(files, SETS, strict=True):
        assert file.name in card
        lifter = load_lifter(file, keypoint_set=keypoint_set)
        assert all(torch.isfinite(p).all() for p in lifter.parameters())
    for word in ("mocap.cs.cmu.edu", "UI-PRMD", "physpose train", "seed"):
        assert word in card


def test_what_is_made_up_is_doubted_more_than_a_lifter_says_and_what_is_in_sight_is_not():
    said = np.array([0.01, 0.02, 0.1])  # statures
    found = _of_real_detectors(1.7 * said, 1.7) / 1.7
    np.testing.assert_allclose(found[:2], said[:2])
    np.testing.assert_allclose(found[2], WORSE * said[2], rtol=0.02)
