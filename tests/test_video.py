"""Videos written here with known pictures and time stamps; OpenCV and the container's own tables as second opinions."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from physpose.errors import InputError
from physpose.io.video import Video, encode_preview

av = pytest.importorskip("av")
W, H = 64, 48
BASE = Fraction(1, 1000)  # [s]
ATOL_TIME = 1e-6  # s: stamps are whole milliseconds
ATOL_GREY = 12  # levels: lossy coding of flat colour


def write_video(
    path: Path, pts: list[int], *, degrees: int = 0, sample_aspect: Fraction | None = None, codec: str = "libx264",
    tags: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """Frames shown at ``pts`` [ms], grey level rising with the index, top left quarter red."""
    format = "yuv420p" if codec == "libx264" else "rgb24"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"} if tags else {}) as container:
        container.metadata.update(tags or {})
        options = {"crf": "5", "bf": "0", "g": "5"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = W, H, format
        stream.time_base = stream.codec_context.time_base = BASE
        if sample_aspect:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if degrees:
            stream.set_display_rotation(degrees)
        for i, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24").reformat(format=format)
            frame.pts, frame.time_base = stamp, BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def picture(i: int) -> np.ndarray:
    image = np.full((H, W, 3), min(60 + 5 * i, 255), np.uint8)
    image[: H // 2, : W // 2] = (220, 30, 30)
    return image


STEADY = [40 * i for i in range(20)]


def test_frames_come_in_order_with_their_pictures(tmp_path):
    video = Video.open(write_video(tmp_path / "a.mp4", STEADY))
    frames = list(video.frames())
    assert video.image_size == (W, H)
    assert [i for i, _, _ in frames] == list(range(20))
    for i, _, rgb in frames:
        assert rgb.shape == (H, W, 3)
        assert rgb.dtype == np.uint8
        np.testing.assert_allclose(rgb[H - 8 :, W - 8 :].mean(), 60 + 5 * i, atol=ATOL_GREY)
    assert video.warnings == []


def test_variable_frame_rate_keeps_each_time_stamp(tmp_path):
    pts = np.cumsum([0, 33, 17, 100, 33, 8, 250, 33]).tolist()
    video = Video.open(write_video(tmp_path / "a.mp4", pts))
    np.testing.assert_allclose([t for _, t, _ in video.frames()], np.array(pts) / 1000, atol=ATOL_TIME)
    np.testing.assert_allclose(video.times(), np.array(pts) / 1000, atol=ATOL_TIME)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_phone_rotation_is_undone_as_opencv_does(tmp_path, degrees):
    cv2 = pytest.importorskip("cv2")
    path = write_video(tmp_path / "a.mp4", STEADY, degrees=degrees)
    video = Video.open(path)
    _, _, rgb = next(video.frames())
    ok, bgr = cv2.VideoCapture(str(path)).read()
    assert ok
    assert video.image_size == (rgb.shape[1], rgb.shape[0]) == (bgr.shape[1], bgr.shape[0])
    assert video.image_size == ((H, W) if abs(degrees) == 90 else (W, H))
    assert np.abs(rgb.astype(float) - bgr[..., ::-1]).mean() < ATOL_GREY


@pytest.mark.parametrize(("filmed", "told"), [("240", True), ("25.0", False), ("30", False), ("", False), ("x", False)])
def test_slow_motion_is_told(tmp_path, filmed, told):
    """25 frames are shown a second; a phone says how many it filmed."""
    video = Video.open(write_video(tmp_path / "a.mp4", STEADY, tags={"com.android.capture.fps": filmed}))
    video.times()
    assert any("SLOW MOTION" in w for w in video.warnings) == told
    if told:
        assert "times are 9.6 times too long" in video.warnings[0]
        assert "-itsscale 0.1042" in video.warnings[0]


def test_pixels_that_are_not_square_are_widened(tmp_path):
    video = Video.open(write_video(tmp_path / "a.mp4", STEADY, sample_aspect=Fraction(2, 1)))
    assert video.image_size == (2 * W, H)
    assert next(video.frames())[2].shape == (H, 2 * W, 3)


def test_time_stamps_that_go_back_are_dropped_and_reported(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", STEADY)
    video = Video.open(path)
    import physpose.io.video as module

    decode = module._decode

    def jumping(*args):
        for i, frame in enumerate(decode(*args)):
            if i in (7, 8):
                frame.pts = 10
            yield frame

    monkeypatch.setattr(module, "_decode", jumping)
    times = [t for _, t, _ in video.frames()]
    np.testing.assert_allclose(times, [s / 1000 for i, s in enumerate(STEADY) if i not in (7, 8)], atol=ATOL_TIME)
    assert video.warnings == ["2 frames dropped: their time stamps do not advance"]


def test_raw_stream_without_time_stamps_uses_its_frame_rate_and_says_so(tmp_path):
    source = write_video(tmp_path / "a.mp4", STEADY)
    raw = tmp_path / "a.h264"
    with av.open(str(source)) as given, av.open(str(raw), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    video = Video.open(raw)
    times = [t for _, t, _ in video.frames()]
    assert len(times) == 20
    assert np.all(np.diff(times) > 0)
    assert any("without a time stamp" in text for text in video.warnings)


def test_truncated_file_yields_what_is_there_and_says_so(tmp_path):
    path = write_video(tmp_path / "a.mkv", [40 * i for i in range(200)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video.open(path)
    n = sum(1 for _ in video.frames())
    assert 20 < n < 180
    assert len(video.warnings) >= 1
    before = list(video.warnings)
    list(video.frames())
    assert video.warnings == before  # not said twice


def test_file_cut_before_its_index_is_refused_in_one_line(tmp_path):
    path = write_video(tmp_path / "a.mp4", STEADY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="truncated") as error:
        Video.open(path)
    assert "\n" not in str(error.value)


def test_damaged_middle_is_left_out_and_reported(tmp_path):
    path = write_video(tmp_path / "a.mkv", [40 * i for i in range(200)])
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    video = Video.open(path)
    times = [t for _, t, _ in video.frames()]
    assert len(times) < 200
    assert np.all(np.diff(times) > 0)
    assert any("damaged frames left out" in text for text in video.warnings)
    assert any(f"no frame for {np.diff(times).max():.2f} s" in text for text in video.warnings)


def test_frames_that_cannot_be_decoded_are_left_out_and_counted(tmp_path):
    path = write_video(tmp_path / "a.mov", STEADY, codec="png")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 8] == b"\x89PNG\r\n\x1a\n"]
    for start in starts[4:7]:
        data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    video = Video.open(path)
    times = [t for _, t, _ in video.frames()]
    np.testing.assert_allclose(times, [s / 1000 for i, s in enumerate(STEADY) if i not in (4, 5, 6)], atol=ATOL_TIME)
    assert video.warnings == ["3 damaged frames left out"]


def write_text(path: Path) -> None:
    path.write_text("this is no video\n" * 50)


def write_png(path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture(0)).save(path)


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.mp4", lambda path: None, "no such file"),
        ("folder", lambda path: path.mkdir(), "no such file"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "not a video"),
        ("noise.mp4", lambda path: path.write_bytes(bytes(range(256)) * 40), "not a video"),
        ("notes.txt", write_text, "not a video"),
        ("still.png", write_png, "not a video"),
        ("sound.mp4", write_sound, "no video stream; it has: audio"),
        ("zero.mp4", lambda path: write_video(path, []), "video"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, name, write, message):
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError, match=message) as error:
        Video.open(path)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_container_that_claims_more_frames_than_decode(data_dir):
    """271 frames claimed, 75 shown: the rest lies outside of the container's edit list."""
    cv2 = pytest.importorskip("cv2")
    path = data_dir / "opencap_visualizer_samples/public/samples/walk/video.mp4"
    video = Video.open(path)
    capture = cv2.VideoCapture(str(path))
    decoded = 0
    while capture.read()[0]:
        decoded += 1
    assert video.n_frames_hint == 271
    assert len(video.times()) == decoded == 75


def test_frames_are_not_kept(tmp_path):
    """The generator holds one picture at a time: a long clip costs the memory of a short one."""
    import tracemalloc

    video = Video.open(write_video(tmp_path / "a.mp4", [40 * i for i in range(400)]))
    tracemalloc.start()
    for _ in video.frames():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * W * H * 3


def test_preview_keeps_frame_times_and_fits_the_height(tmp_path):
    pts = np.cumsum([500, 33, 17, 100, 33, 8, 250, 33]).tolist()
    video = Video.open(write_video(tmp_path / "a.mp4", pts))
    data = encode_preview(video, video.times(), max_height=24)
    assert data.find(b"moov") < data.find(b"mdat")  # a browser can start before it has all
    (tmp_path / "b.mp4").write_bytes(data)
    preview = Video.open(tmp_path / "b.mp4")
    assert preview.image_size == (32, 24)
    np.testing.assert_allclose(preview.times(), np.array(pts) / 1000 - 0.5, atol=1e-4)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.video[0].codec_context.name == "h264"


def test_preview_shows_the_frames_nearest_to_the_times_asked_for(tmp_path):
    video = Video.open(write_video(tmp_path / "a.mp4", STEADY))
    (tmp_path / "b.mp4").write_bytes(encode_preview(video, [0.121, 0.19, 0.41], max_height=H))
    grey = [rgb[H - 8 :, W - 8 :].mean() for _, _, rgb in Video.open(tmp_path / "b.mp4").frames()]
    np.testing.assert_allclose(grey, [60 + 5 * i for i in (3, 5, 10)], atol=2)


def test_preview_thins_fast_clips(tmp_path):
    video = Video.open(write_video(tmp_path / "a.mp4", [4 * i for i in range(100)]))
    (tmp_path / "b.mp4").write_bytes(encode_preview(video, video.times(), max_fps=25))
    assert len(Video.open(tmp_path / "b.mp4").times()) == 10


def test_preview_is_the_same_on_one_core_and_on_all(tmp_path):
    """Workers of a batch have cores of their own."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core: nothing to compare with")
    video = Video.open(write_video(tmp_path / "a.mp4", STEADY))
    everywhere = encode_preview(video, video.times())
    os.sched_setaffinity(0, {min(cores)})
    try:
        alone = encode_preview(video, video.times())
    finally:
        os.sched_setaffinity(0, cores)
    assert alone == everywhere


def test_preview_is_the_same_to_the_byte_each_time(data_dir, tmp_path):
    """Sees x264's macroblock tree where the processor has AVX-512; no made-up pictures were found that do."""
    frames = itertools.islice(Video.open(data_dir / "sports2d/Demo/demo.mp4").frames(), 32, 64)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height = 884, 496
        for _, _, rgb in frames:
            half = np.ascontiguousarray(rgb[:992:2, ::2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24")))
        container.mux(stream.encode(None))
    video, chance = Video.open(tmp_path / "a.mp4"), np.random.default_rng(0)
    times, previews = video.times(), set()
    for _ in range(15):
        [chance.bytes(n) for n in chance.integers(1_000, 4_000_000, 3)]  # what lay in memory before is another
        previews.add(encode_preview(video, times))
    assert len(previews) == 1
    assert b"mbtree=0" in previews.pop()  # x264 writes its settings into the stream
