"""A camera that moves is told from one that stands still before moving people, whatever else moves or is not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from physpose import sources
from physpose.caveats import camera_at_rest
from physpose.detectors.camera_motion import MOST, STILL, Album, CameraMotion, camera_motion
from physpose.io.video import Video
from physpose.progress import SILENT
from physpose.types import Keypoints2D

cv2 = pytest.importorskip("cv2")
SIZE = (960, 540)  # [px]
TIME = np.arange(90) / 30  # [s]
Shift = Callable[[int], tuple[float, float]]  # of frame -> right, down [px]


def scenery(seed: int = 0, contrast: float = 60.0) -> np.ndarray:
    """Blobs of all sizes (height, width), larger than the picture on all sides."""
    rng, picture = np.random.default_rng(seed), np.full((SIZE[1] + 400, SIZE[0] + 400), 128.0)
    for width in (3, 12, 40):
        blobs = cv2.GaussianBlur(rng.normal(size=picture.shape), (0, 0), width)
        picture += contrast * blobs / blobs.std() / 2
    return picture


def filmed(shift: Shift, scene: np.ndarray, box: tuple[int, int] = (130, 400), also=None) -> tuple[Album, Keypoints2D]:  # noqa: ANN001
    """The album of three seconds in which a spotted person crosses the picture, and where the person is.

    ``box``: width and height of the person [px]; ``also``: changes frame i's picture (height, width).
    """
    album, rng, uv = Album(), np.random.default_rng(1), []
    spots = scenery(7)[: box[1], : box[0]]
    for i, t in enumerate(TIME):
        M = np.array([[1.0, 0, shift(i)[0] - 200], [0, 1, shift(i)[1] - 200]])
        view = cv2.warpAffine(scene, M, SIZE, flags=cv2.INTER_CUBIC)
        left, top = 60 + 5 * i, SIZE[1] - box[1] - 40
        left = min(left, SIZE[0] - box[0])
        view[top : top + box[1], left : left + box[0]] = spots
        view = view if also is None else also(i, view)
        noisy = np.clip(view + rng.normal(scale=4.0, size=view.shape), 0, 255).astype(np.uint8)
        album.add(float(t), np.repeat(noisy[..., None], 3, -1))
        uv.append([(left + a * box[0], top + b * box[1]) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5))])
    return album, people(np.array(uv, float)[None])


def people(uv: np.ndarray) -> Keypoints2D:
    names = tuple(f"k{i}" for i in range(uv.shape[2]))
    return Keypoints2D(
        keypoint_set="toy", names=names, time=TIME, uv=uv, confidence=np.ones(uv.shape[:3]), image_size=SIZE
    )


def at_rest(i: int) -> tuple[float, float]:
    return 0.0, 0.0


def shaken(size: float) -> Shift:
    """A hand's: slow and quick parts."""
    t, phase = TIME[:, None], np.random.default_rng(2).uniform(0, 6.28, (2, 1, 4))
    x = np.sin(2 * np.pi * np.array([0.7, 1.9, 3.1, 5.3]) * t + phase).sum(-1)
    x *= size / x.std()
    return lambda i: (x[0, i], x[1, i])


def test_camera_at_rest_gives_no_alarm():
    found = camera_motion(*filmed(at_rest, scenery()))
    assert len(found.distance) > 8
    assert found.distance.max() < 0.5 * STILL * SIZE[0]
    line, warnings = camera_at_rest(found)
    assert line.value.startswith("at rest: the picture beside the person moves by 0.")
    assert warnings == ()


@pytest.mark.parametrize(
    "shift",
    [
        lambda i: (0.3 * i, 0.0),
        lambda i: (2.0 * i, -0.5 * i),
        lambda i: (-25.0 * i % 199, 0.0),
        shaken(1.5),
        shaken(6.0),
    ],
    ids=["creep", "pan", "whip pan", "slight shake", "shake"],
)
def test_moving_camera_is_told(shift):
    found = camera_motion(*filmed(shift, scenery()))
    line, warnings = camera_at_rest(found)
    assert line.value.startswith("MOVES")
    assert len(warnings) == 1
    assert "CAMERA MOVES" in warnings[0]
    assert "contacts, forces or torques" in warnings[0]


def test_distance_is_that_of_the_pan():
    album, seen = filmed(lambda i: (0.5 * i, 0.0), scenery())
    found = camera_motion(album, seen)
    frames = np.ptp(found.time, axis=1) * 30
    np.testing.assert_allclose(found.distance, 0.5 * frames, atol=0.3)


def test_a_moving_person_alone_is_no_moving_camera():
    """Without the box around the person, most corners would move: everything else is a blank wall with a frieze."""
    wall = np.full((SIZE[1] + 400, SIZE[0] + 400), 128.0)
    wall[200:280, 300:900] = scenery()[200:280, 300:900]
    album, seen = filmed(at_rest, wall, box=(380, 330))
    assert not camera_motion(album, seen).moved.any()
    nobody = people(np.full((1, len(TIME), 5, 2), np.nan))
    assert camera_motion(album, nobody).moved.any()


def test_a_tree_in_the_wind_is_no_moving_camera():
    leaves = scenery(3)[:, :330]

    def tree(i: int, view: np.ndarray) -> np.ndarray:
        view[:, :330] = np.roll(leaves, round(6 * np.sin(i)), 1)[: SIZE[1]]
        return view

    assert camera_at_rest(camera_motion(*filmed(at_rest, scenery(), also=tree)))[1] == ()


def test_a_flash_is_no_moving_camera():
    flash = lambda i, view: np.full_like(view, 250.0) if i == 48 else view  # noqa: E731
    album, seen = filmed(at_rest, scenery(), also=flash)
    assert 48 / 30 in [pytest.approx(t) for t in album.time]
    assert camera_at_rest(camera_motion(album, seen))[1] == ()


def test_a_cut_is_told():
    """Nothing of the first scene is found again in the second: what is lost counts as far."""
    second = scenery(5)[200:, 200:][: SIZE[1], : SIZE[0]]
    found = camera_motion(*filmed(at_rest, scenery(), also=lambda i, view: second if i > 45 else view))
    assert np.isinf(found.distance[found.moved]).all()
    assert "cut" in camera_at_rest(found)[1][0]


@pytest.mark.parametrize(("contrast", "box"), [(0.0, (130, 400)), (60.0, (900, 500))], ids=["blank wall", "close"])
def test_where_nothing_is_seen_nothing_is_told(contrast, box):
    found = camera_motion(*filmed(lambda i: (2.0 * i, 0.0), scenery(contrast=contrast), box=box))
    line, warnings = camera_at_rest(found)
    assert len(found.distance) == 0
    assert line.source.startswith("not told")
    assert warnings == ()


def test_only_the_persons_time_counts():
    found = CameraMotion(
        time=np.array([(0.0, 0.4), (0.4, 0.8), (2.0, 2.4), (2.4, 2.8)]), distance=np.array([0.1, 0.1, 9.0, np.inf]),
        image_size=SIZE,
    )  # fmt: skip
    assert camera_at_rest(found)[1] == ()  # one picture is in both pairs
    assert camera_at_rest(found.between(1.0, 3.0))[1] != ()  # none is at rest
    found = replace(found, time=np.array([(0.0, 0.4), (0.4, 0.8), (2.0, 2.4), (2.8, 3.2)]))
    assert camera_at_rest(found)[1] != ()
    assert camera_at_rest(found.between(0.0, 2.0))[1] == ()
    assert camera_at_rest(found.between(2.1, 2.2))[1] != ()  # seen for a moment, in which the camera moves
    assert len(found.between(5.0, 6.0).distance) == 0


def test_album_of_a_long_clip_stays_small_and_even():
    album, picture = Album(), np.zeros((8, 8, 3), np.uint8)
    for t in np.arange(0.0, 600.0, 0.1):
        album.add(float(t), picture)
    assert MOST / 2 <= len(album.time) <= MOST
    assert album.time[0] == 0.0
    assert album.time[-1] > 595.0
    assert np.ptp(np.diff(album.time)) < 0.11


def test_a_video_is_looked_at_while_it_is_detected(monkeypatch, tmp_path):
    """From the file to the table of assumptions: decoded once."""
    test_video = pytest.importorskip("test_video")
    path = test_video.write_video(tmp_path / "a.mp4", test_video.STEADY)
    decoded: list[int] = []

    def fake_detect(video: Video, detector: str, progress=None) -> Keypoints2D:  # noqa: ANN001
        time = []
        for i, t, _ in video.frames():
            decoded.append(i)
            time.append(t)
        uv = np.tile(np.array([(10.0, 5), (30, 5), (10, 40), (30, 40), (20, 20)]), (1, len(time), 1, 1))
        return replace(people(np.zeros((1, len(TIME), 5, 2))), time=np.array(time), uv=uv,
                       confidence=np.ones(uv.shape[:3]), image_size=video.image_size)  # fmt: skip

    monkeypatch.setattr(sources, "detect", fake_detect)
    seen = sources.observe(Path(path), person=None, detector="mediapipe", keypoint_set=None, fps=None, image_size=None,
                           progress=SILENT)  # fmt: skip
    assert decoded == list(range(20))
    assert [a.what for a in seen.assumptions] == ["camera"]
    moving = CameraMotion(time=np.array([(0.0, 0.2), (0.4, 0.7)]), distance=np.array([5.0, 5.0]), image_size=SIZE)
    monkeypatch.setattr(sources, "camera_motion", lambda album, found: moving)
    seen = sources.observe(Path(path), person=None, detector="mediapipe", keypoint_set=None, fps=None, image_size=None,
                           progress=SILENT)  # fmt: skip
    assert "CAMERA MOVES" in seen.warnings[0]


def test_clips_from_tripods_give_no_alarm(data_dir):
    """Real pictures, one with leaves and grass in the wind; nobody is boxed, which is harder."""
    pytest.importorskip("av")
    for name in ("opencap_visualizer_samples/public/samples/walk/video.mp4", "sports2d/Demo/demo.mp4",
                 "pose2sim/Demo_SinglePerson/videos/cam03.mp4"):  # fmt: skip
        video, album, time = Video.open(data_dir / name), Album(), []
        for _, t, picture in video.frames():
            album.add(t, picture)
            time.append(t)
        uv = np.full((1, len(time), 5, 2), np.nan)
        nobody = replace(people(uv), time=np.array(time), image_size=video.image_size)
        found = camera_motion(album, nobody)
        line, warnings = camera_at_rest(found)
        assert line.value.startswith("at rest: "), name
        assert warnings == ()
