"""The generator of people who move before cameras: what it makes is what it says, and always the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import physpose
from physpose.data.ahead import Ahead
from physpose.data.detector_noise import ANY, DetectorNoise, ornstein_uhlenbeck
from physpose.data.filming import FilmingSettings, hidden_by_trunk, random_cameras
from physpose.data.generator import GeneratorSettings, SequenceGenerator, _mirrored
from physpose.data.motion_bank import MotionBank, MotionClip, load_motions
from physpose.data.people import random_person, side_swap
from physpose.data.random_motion import MotionMix, RandomMotion, _upright
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.initialise import place
from physpose.skeleton.growth import distribution
from physpose.skeleton.keypoint_sets import keypoint_edges, keypoint_landmarks

NAMES = physpose.load_skeleton("adult").coordinate_names
EXACT = DetectorNoise(
    lasting=0, wandering=0, white=0, occluded=0, scattered=0, dropped=0, lost=0, made_up=0, stuttering=0
)
ATOL = 2e-5  # float32, in statures


def clip(name: str = "a", person: str = "a", T: int = 61, rate: float = 30.0) -> MotionClip:
    """Turning about the vertical at 1 rad/s, right knee bending at 0.5 rad/s."""
    t = np.arange(T) / rate
    q = np.zeros((T, 7 + len(NAMES)))
    q[:, 2] = 0.9
    q[:, 3:7] = (Rotation.from_euler("z", t[:, None]) * Rotation.from_euler("x", 90, degrees=True)).as_quat()
    q[:, 7 + NAMES.index("knee_angle_r")] = 0.5 * t
    return MotionClip(name=name, person=person, source="made", rate=rate, q=q)


def bank(*clips: MotionClip) -> MotionBank:
    return MotionBank(coordinate_names=NAMES, clips=clips or (clip(),))


def generator(**settings) -> SequenceGenerator:
    return SequenceGenerator(bank(), GeneratorSettings(**{"people": 2, "keypoint_set": "coco17", **settings}), seed=3)


def same(a, b) -> bool:
    return all(
        torch.equal(torch.nan_to_num(x), torch.nan_to_num(y)) for x, y in zip(a[:3] + a[4:], b[:3] + b[4:], strict=True)
    )


# --- motions ----------------------------------------------------------------------------------------------------------


def test_clips_are_interpolated_on_the_manifold():
    found = clip().at(np.array([0.11, 0.5, 1.987]))
    turn = Rotation.from_quat(found[:, 3:7]) * Rotation.from_euler("x", -90, degrees=True)
    np.testing.assert_allclose(turn.as_rotvec()[:, 2], [0.11, 0.5, 1.987], atol=1e-4)
    np.testing.assert_allclose(found[:, 7 + NAMES.index("knee_angle_r")], [0.055, 0.25, 0.9935], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found[:, 3:7], axis=1), 1)


def test_neighbours_of_opposite_sign_are_one_attitude():
    q = clip().q.copy()
    q[1::2, 3:7] *= -1
    flipped = MotionClip(name="a", person="a", source="made", rate=30.0, q=q)
    time = np.linspace(0, 2, 33)
    dots = (flipped.at(time)[:, 3:7] * clip().at(time)[:, 3:7]).sum(1)
    np.testing.assert_allclose(np.abs(dots), 1, atol=1e-9)


def test_windows_run_at_the_speed_asked_for_and_hold_the_end():
    q = bank().window(np.random.default_rng(0), np.array([0.0, 0.4]), speed=1.5)
    knee = q[:, 7 + NAMES.index("knee_angle_r")]
    assert knee[1] - knee[0] == pytest.approx(0.5 * 0.4 * 1.5)
    long = bank().window(np.random.default_rng(0), np.array([0.0, 9.0]))
    assert long[1, 7 + NAMES.index("knee_angle_r")] == pytest.approx(1.0)


def test_parts_share_nobody_and_lose_nobody():
    people = [f"p{i}" for i in range(40)]
    whole = bank(*(clip(name=p, person=p) for p in people))
    parts = {p: set(whole.split(p).people) for p in ("train", "validation", "test")}
    assert set.union(*parts.values()) == set(people)
    assert sum(map(len, parts.values())) == len(people)
    assert len(parts["train"]) > 20
    with pytest.raises(UnknownNameError, match="train, validation, test"):
        whole.split("testing")
    with pytest.raises(UnknownNameError, match="p99"):
        whole.of(["p99"])


def test_motions_survive_their_file(tmp_path):
    b = bank(clip("a"), clip("b", person="b", T=40, rate=25.0))
    found = load_motions(b.save(tmp_path / "m.npz"))
    assert [(c.name, c.person, c.source, c.rate) for c in found.clips] == [
        ("a", "a", "made", 30.0),
        ("b", "b", "made", 25.0),
    ]
    for x, y in zip(found.clips, b.clips, strict=True):
        np.testing.assert_allclose(x.q, y.q, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_files_that_hold_no_motions_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_motions(tmp_path / "none.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(bank().save(tmp_path / "m.npz").read_bytes()[:-300])
    with pytest.raises(InputError, match="cannot be read|can be read"):
        load_motions(broken)
    np.savez(tmp_path / "other.npz", q=np.zeros(3))
    with pytest.raises(InputError, match="lacks coordinate_names"):
        load_motions(tmp_path / "other.npz")
    with np.load(tmp_path / "m.npz") as data:
        fields = dict(data)
    np.savez(tmp_path / "pickled.npz", **{**fields, "name": np.array([object()])})
    with pytest.raises(InputError, match="can be read"):
        load_motions(tmp_path / "pickled.npz")
    np.savez(tmp_path / "short.npz", **{**fields, "q": fields["q"][:-1]})
    with pytest.raises(InputError, match="frames in all"):
        load_motions(tmp_path / "short.npz")
    with pytest.raises(InputError, match=".npz"):
        bank().save(tmp_path / "m.npy")


def test_pelvis_sees_the_vertical_where_it_should():
    up = np.array([[0.0, 0, 0], [0.3, 0, -0.2], [-0.6, 0, 0.1]])
    R = Rotation.from_quat(_upright(up)).as_matrix()
    np.testing.assert_allclose(R[:, 2, [0, 2]], up[:, [0, 2]], atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    assert (R[:, 2, 1] > 0).all()


@pytest.mark.parametrize("kind", ["recorded", "usual", "seated", "ranging"])
def test_every_kind_of_motion_stays_in_range_and_moves_smoothly(kind):
    mix = MotionMix(**{k: float(k == kind) for k in ("recorded", "usual", "seated", "ranging")})
    skeleton = physpose.load_skeleton("child", age=6)
    time = np.tile(np.arange(30) / 30, (5, 1))
    q = RandomMotion(bank(), mix).draw(np.random.default_rng(0), skeleton, time)
    low, high = np.array([c.range for c in skeleton.coordinates]).T
    assert (q[..., 7:] >= low).all()
    assert (q[..., 7:] <= high).all()
    assert np.abs(np.diff(q[..., 7:], axis=1)).max() < np.radians(45)
    assert np.abs(np.diff(q[..., 7:], axis=1)).max() > 0
    np.testing.assert_allclose(np.linalg.norm(q[..., 3:7], axis=-1), 1)


def test_free_arms_reach_where_usual_ones_do_not():
    skeleton, time = physpose.load_skeleton("adult"), np.zeros((60, 2))
    arm = 7 + NAMES.index("arm_add_r")

    def spread(share: float) -> float:
        mix = MotionMix(recorded=0, seated=0, ranging=0, offset=0.0, free_arms=share)
        return float(RandomMotion(None, mix).draw(np.random.default_rng(0), skeleton, time)[:, 0, arm].std())

    low, high = skeleton.coordinates[NAMES.index("arm_add_r")].range
    # between keys of beta(2, 2), whose spread is 0.22 of the range
    assert spread(1.0) == pytest.approx(0.2 * (high - low), rel=0.35)
    assert spread(0.0) < 0.75 * spread(1.0)


def test_no_motions_at_all_is_said():
    with pytest.raises(InputError, match="no motions"):
        RandomMotion(None, MotionMix(usual=0, seated=0, ranging=0)).draw(
            np.random.default_rng(0), physpose.load_skeleton("adult"), np.zeros((1, 2))
        )


# --- people -----------------------------------------------------------------------------------------------------------


def test_people_have_the_heights_of_their_age():
    rng = np.random.default_rng(0)
    z = []
    for _ in range(40):
        s = random_person(rng, (6.0, 7.0)).subject
        assert 6 <= s.age <= 7
        z.append(distribution("height", s.age, s.sex).z(s.height))
    assert np.abs(z).max() < 2.01
    assert abs(np.mean(z)) < 0.5
    assert 0.6 < np.std(z) < 1.3


def test_value_at_a_score_undoes_the_score():
    for quantity, age in (("height", 1.0), ("height", 9.3), ("bmi", 45.0)):
        d = distribution(quantity, age, "f")
        assert d.z(d.at(-1.3)) == pytest.approx(-1.3)


# --- cameras and detector ---------------------------------------------------------------------------------------------


def test_noise_is_correlated_as_it_says():
    time = torch.arange(6).float().expand(40000, 6) * 0.1
    x = ornstein_uhlenbeck((40000, 6, 1), time, 0.2, torch.Generator().manual_seed(0))[..., 0]
    for lag in (0, 1, 3):
        assert float((x[:, 0] * x[:, lag]).mean()) == pytest.approx(np.exp(-0.1 * lag / 0.2), abs=0.03)
    assert float(x[:, 5].var()) == pytest.approx(1, abs=0.03)


def test_cameras_see_the_person_upright():
    hips = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.1 + torch.tensor([0.0, 0, 0.9])
    cameras = random_cameras(hips, torch.full((200,), 1.7), FilmingSettings(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(cameras.R @ cameras.R.mT, torch.eye(3).expand(200, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(cameras.R), torch.ones(200))
    p = cameras.to_camera(hips[:, :1, None])
    above = cameras.to_camera(hips[:, :1, None] + torch.tensor([0.0, 0, 0.5]))
    assert (p[..., 2] > 0.5).all()
    uv, uv_above = cameras.project(p), cameras.project(above)
    assert (uv_above[..., 1] < uv[..., 1]).all()  # up is up
    inside = ((uv >= 0) & (uv <= cameras.size[:, None, None])).all(-1).float().mean()
    assert inside > 0.9


def test_a_hand_behind_the_back_is_hidden_and_one_before_it_is_not():
    shoulders, hips = torch.tensor([[[0.0, -0.3, 3.0]]]), torch.tensor([[[0.0, 0.2, 3.0]]])
    hands = torch.tensor([[[[0.05, 0.0, 3.3], [0.05, 0.0, 2.7], [0.5, 0.0, 3.3]]]])
    assert hidden_by_trunk(hands, shoulders, hips, torch.tensor([1.7])).tolist() == [[[True, False, False]]]


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_follows_from_its_number_alone():
    a = generator()
    first, second = a.batch(0, 4), a.batch(1, 4)
    assert same(generator().batch(1, 4), second)
    assert same(next(generator().batches(4, start=1)), second)
    assert not same(first, second)
    assert not same(SequenceGenerator(bank(), a.settings, seed=3, stream=1).batch(0, 4), first)
    assert not same(SequenceGenerator(bank(), a.settings, seed=4).batch(0, 4), first)
    with pytest.raises(InputError, match="divide"):
        a.batch(0, 3)


def test_truth_is_a_body_in_statures():
    batch = generator(keypoint_set="blazepose33", frames=5).batch(0, 8)
    marks = keypoint_landmarks("blazepose33")
    hips = batch.pose[:, :, [marks.index("hip_l"), marks.index("hip_r")]].mean(2)
    torch.testing.assert_close(hips, torch.zeros_like(hips), atol=ATOL, rtol=0)
    for limb in (("knee_r", "ankle_r"), ("shoulder_l", "elbow_l"), ("eye_l", "ear_l")):
        i, j = (marks.index(m) for m in limb)
        length = (batch.pose[:, :, i] - batch.pose[:, :, j]).norm(dim=-1)
        assert float((length - length[:, :1]).abs().max()) < ATOL
    thigh = (batch.pose[..., marks.index("hip_r"), :] - batch.pose[..., marks.index("knee_r"), :]).norm(dim=-1)
    assert 0.18 < float(thigh.min()) < float(thigh.max()) < 0.30


def test_truth_placed_before_the_camera_projects_onto_exact_keypoints():
    settings = {"noise": EXACT, "focal_known": 1.0, "focal_error": 0.0, "frames": 4}
    batch = generator(**settings).batch(0, 16)
    from physpose.networks.lifter import turn_to_keypoints

    R = turn_to_keypoints(batch.keypoints, batch.view.focal, batch.view.principal_point)
    p = (batch.pose @ R.mT * batch.stature[:, None, None, None]).double().numpy()
    for n in range(16):
        uv, focal, point = (
            batch.keypoints[n].double().numpy(),
            float(batch.view.focal[n]),
            batch.view.principal_point[n],
        )
        point = point.double().numpy()
        t = place(p[n], uv, np.ones(uv.shape[:2]), focal, point)
        x = p[n] + t[:, None]
        np.testing.assert_allclose(focal * x[..., :2] / x[..., 2:] + point, uv, atol=0.5)


def test_noise_grows_where_confidence_falls():
    quiet = {"focal_known": 1.0, "frames": 4, "people": 8}
    exact = generator(noise=EXACT, **quiet)
    noisy = generator(
        noise=DetectorNoise(dropped=0, lost=0, lasting=0, quality=0, scattered=0.2, made_up=0, stuttering=0), **quiet
    )
    errors, confidence = [], []
    for i in range(3):
        rng = np.random.default_rng(i)
        bodies = noisy.bodies(rng, 64)
        a, b = (g.filmed(bodies, torch.Generator().manual_seed(i)) for g in (exact, noisy))
        side = (a.keypoints.amax((2,)) - a.keypoints.amin((2,))).amax(-1)
        errors.append(((a.keypoints - b.keypoints).norm(dim=-1) / side[..., None]).flatten())
        confidence.append(b.confidence.flatten())
    e, c = torch.cat(errors), torch.cat(confidence)
    medians = [float(e[(c >= low) & (c < high)].median()) for low, high in ((0.9, 1.01), (0.5, 0.8), (0.0, 0.3))]
    assert medians[0] < medians[1] < medians[2]
    assert 1.5 < medians[2] / medians[0] < 8


def test_hidden_limbs_are_made_up():
    """Behind something the ends of limbs are off by as much as was measured, the trunk is not, and limbs move whole."""
    noise = replace(EXACT, occluded=1.0, made_up=0.16, guessed=(0.3, 0.3), sure=(1.0, 1.0))
    exact, found = (generator(noise=x, people=8).batch(0, 256) for x in (replace(noise, made_up=0.0), noise))
    off = found.keypoints - exact.keypoints
    hidden = found.confidence < 0.7
    marks = keypoint_landmarks("coco17")
    ankle, knee, hip = (marks.index(f"{j}_l") for j in ("ankle", "knee", "hip"))
    assert float(off[~hidden].abs().max()) < 0.1
    both = hidden[..., ankle] & hidden[..., knee]
    size = [float(off[..., j, :][both].pow(2).mean().sqrt()) for j in (ankle, knee)]
    assert 1.6 < size[0] / size[1] < 2.4
    assert float(off[..., hip, :].abs().median()) < 0.2 * size[0]
    a, k = off[..., ankle, :][both].flatten(), off[..., knee, :][both].flatten()
    assert float(torch.corrcoef(torch.stack([a, k]))[0, 1]) > 0.7


def test_some_videos_stutter():
    found = generator(noise=replace(EXACT, stuttering=1.0), people=8, frames=20).batch(0, 64)
    lost = torch.isnan(found.keypoints).all((2, 3)).float().mean(1)
    assert 0.25 < float(lost.mean()) < 0.5
    assert float(lost.max()) < 0.95
    assert not torch.isfinite(found.keypoints).all((2, 3)).all()


def test_detectors_differ_in_what_they_call_sure():
    """Each tells its confidence on a scale of its own, some none; where keypoints are does not depend on that."""
    by_mediapipe = generator(noise=DetectorNoise(), people=8, frames=4).batch(0, 256)
    found = generator(people=8, frames=4).batch(0, 256)
    assert torch.equal(torch.isnan(found.keypoints), torch.isnan(by_mediapipe.keypoints))
    told = found.confidence.eq(1).logical_or(found.confidence.eq(0)).all(-1).all(-1).logical_not()
    assert 0.03 < 1 - float(told.float().mean()) < 0.25
    ratio = (found.confidence / by_mediapipe.confidence).nanquantile(0.5, dim=-1).nanmedian(-1).values[told]
    low, high = ANY.scale
    assert low * 0.7 < float(ratio.min()) < low + 0.1
    assert high - 0.1 < float(ratio.max()) <= 1.0
    alone = generator(keypoint_set="blazepose33", people=8, frames=4)
    assert alone.noise == DetectorNoise()


def test_batches_made_ahead_are_the_same():
    people = generator(people=2, frames=3, takes=2)
    ahead = Ahead(people, 2)
    for index in (3, 4, 5, 1, 2):  # onwards in the middle of a cast, and back
        assert same(ahead.batch(index, 4), people.batch(index, 4))
    with pytest.raises(InputError, match="multiple of 2"):
        ahead.batch(0, 3)
    with pytest.raises(InputError, match="at least 1"):
        Ahead(people, -1)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"rate": (0.0, 30.0)}, {"rate": (30.0, 8.0)}])
def test_sequences_need_frames(wrong):
    with pytest.raises(InputError, match="frames at"):
        generator(**wrong)


def test_mirrored_people_are_people_of_the_other_side():
    g = generator(keypoint_set="blazepose33", frames=3)
    bodies = g.bodies(np.random.default_rng(0), 64)
    found = _mirrored(bodies, "blazepose33", torch.Generator().manual_seed(0))
    swap = side_swap("blazepose33")
    flipped = (found.true != bodies.true).flatten(1).any(1)
    assert 10 < int(flipped.sum()) < 54
    for i, j in keypoint_edges("blazepose33"):
        a = (bodies.true[..., i, :] - bodies.true[..., j, :]).norm(dim=-1)
        b = (found.true[..., swap[i], :] - found.true[..., swap[j], :]).norm(dim=-1)
        torch.testing.assert_close(a[flipped], b[flipped])
    torch.testing.assert_close(found.true[flipped][..., swap, 2], bodies.true[flipped][..., 2])


def test_focal_lengths_are_told_as_often_as_asked():
    batch = generator(focal_known=0.5, frames=2, people=8).batch(0, 400)
    assert 0.35 < float(torch.isfinite(batch.view.focal).float().mean()) < 0.65


def test_recorded_motions_of_other_bodies_are_refused():
    other = MotionBank(
        coordinate_names=("knee",), clips=(MotionClip(name="a", person="a", source="x", rate=30.0, q=np.ones((5, 8))),)
    )
    with pytest.raises(InputError, match="lack coordinates"):
        SequenceGenerator(other, GeneratorSettings(people=1, mix=MotionMix(usual=0, seated=0, ranging=0))).batch(0, 1)


def test_a_clip_must_hold_numbers(tmp_path):
    q = clip().q.copy()
    q[3, 9] = np.nan
    with pytest.raises(InputError, match="NaN"):
        bank(MotionClip(name="a", person="a", source="x", rate=30.0, q=q))
    with pytest.raises(InputError, match="needed"):
        bank(MotionClip(name="a", person="a", source="x", rate=30.0, q=q[:, :9]))


def test_takes_film_the_same_bodies_anew_whenever_they_are_asked_for():
    g = generator(takes=2)
    first, second, third = (g.batch(i, 4) for i in (6, 7, 8))
    assert torch.equal(first.stature, second.stature)
    assert not torch.equal(first.stature, third.stature)
    knees = [(b.pose[..., 13, :] - b.pose[..., 14, :]).norm(dim=-1) for b in (first, second)]  # a mirror keeps it
    torch.testing.assert_close(knees[0], knees[1], atol=ATOL, rtol=0)
    assert not torch.allclose(torch.nan_to_num(first.keypoints), torch.nan_to_num(second.keypoints), atol=1.0)
    assert same(second, generator(takes=2).batch(7, 4))
