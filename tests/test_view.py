"""The viewer shows what was saved, listens where it is told, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from example_result import example_result
from scipy.spatial.transform import Rotation

from physpose.plausibility.support import distance_outside
from physpose.saved import load_result
from physpose.skeleton import load_skeleton
from physpose.types import Energy, Sigma
from physpose.viz.actor import FORCE_LENGTH, Actor, actors, contact_positions, hull
from physpose.viz.film import HEIGHT, Film, video_of
from physpose.viz.playhead import Playhead
from physpose.viz.report import write_report
from physpose.viz.shapes import DENSITY, segment_shapes
from physpose.viz.solids import triangles

ROOT = Path(__file__).parents[1]
needs_viser = pytest.mark.skipif(find_spec("viser") is None, reason="viser is not installed")


def with_sigma(result):
    """The result with standard deviations, every one a different number."""
    numbers = np.random.default_rng(1).uniform(0.01, 0.05, 10**6)
    like = lambda x: numbers[: x.size].reshape(x.shape) + x.size  # noqa: E731
    names = ("q", "v", "a", "tau", "positions", "com", "momentum", "power")
    values = {n: like(getattr(result, "v" if n == "q" else n)) for n in names}
    energy = Energy(kinetic=like(result.time), potential=like(result.time) + 1)
    return Sigma(**values, force=like(result.contacts.force), energy=energy)


@pytest.fixture(scope="module")
def result():
    plain = example_result()
    return example_result(sigma=with_sigma(plain))


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("view") / "march"
    result.save(out)
    return out


@pytest.fixture(scope="module")
def actor(folder):
    return Actor("march", load_result(folder))


def test_sigma_and_camera_come_back(result, actor):
    saved, body = actor.saved, actor.skeleton
    for i, name in enumerate(body.coordinate_names):
        own = result[name].sigma
        np.testing.assert_array_equal(saved.sigma.tau[:, 6 + i], own.tau)
        np.testing.assert_array_equal(saved.sigma.q[:, 6 + i], own.q)
    for i, name in enumerate(body.body_names):
        k = result.skeleton.body_index(name)
        np.testing.assert_array_equal(saved.sigma.positions[:, i], result.sigma.positions[:, k])
    for i, name in enumerate(saved.contacts.points):
        k = result.contacts.points.index(name)
        np.testing.assert_array_equal(saved.sigma.force[:, i], result.sigma.force[:, k])
    np.testing.assert_array_equal(saved.sigma.energy.potential, result.sigma.energy.potential)
    world = result.positions[:3]
    np.testing.assert_allclose(saved.camera.project(world), result.camera.project(world), rtol=1e-12)
    assert saved.camera.image_size == result.camera.image_size


def test_nothing_saved_is_nothing(tmp_path):
    saved = load_result(example_result(T=3, camera=None, keypoints=None).save(tmp_path / "out")["npz"])
    assert (saved.sigma, saved.camera) == (None, None)


@pytest.mark.parametrize("shape", segment_shapes(load_skeleton("child", age=8)), ids=lambda s: f"body {s['body']}")
def test_solids_hold_the_segment_and_face_outward(shape):
    vertices, faces = triangles(shape)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    volume = (a * np.cross(b, c)).sum() / 6
    mass = load_skeleton("child", age=8).bodies[shape["body"]].mass
    # polygons lie inside the round section; a limb's ends reach beyond its joints
    assert 0.97 < volume * DENSITY / mass < (1.0 if shape["kind"] == "ellipsoid" else 1.6)
    middle = (shape["from"] + shape["to"]) / 2
    normals = np.cross(b - a, c - a)
    outward = (normals * ((a + b + c) / 3 - middle)).sum(1)
    assert (outward > -1e-12).mean() > 0.95  # a strongly tapered limb's near end is hollow seen from the middle


def test_poses_and_frames(actor, result):
    R = Rotation.from_quat(actor.quaternions.reshape(-1, 4), scalar_first=True).as_matrix()
    np.testing.assert_allclose(R.reshape(actor.motion.rotations.shape), actor.motion.rotations, atol=1e-12)
    assert actor.seen.all()
    for t in np.linspace(-1, 4, 101):
        assert abs(result.time[actor.frame_at(t)] - t) == np.abs(result.time - t).min()


def test_a_lost_pose_is_not_seen(actor):
    actor.motion.rotations[7, 3] = np.nan
    fresh = Actor("again", actor.saved)
    assert np.flatnonzero(~fresh.seen).tolist() == [7]
    actor.motion.rotations[7, 3] = np.eye(3)


def test_arrows(actor):
    weight = 9.81 * actor.skeleton.mass
    for frame in (0, 20, 41):
        arrows = actor.force_arrows(frame)
        total = (arrows[:, 1] - arrows[:, 0]).sum(0) / FORCE_LENGTH * weight
        np.testing.assert_allclose(total, actor.motion.contacts.force[frame].sum(0), atol=1e-9)
        linear, angular = actor.momentum_arrows(frame)
        np.testing.assert_allclose(linear[:, 0], actor.motion.com[[frame]])
        for arrow, h in ((linear, actor.motion.momentum[frame, :3]), (angular, actor.motion.momentum[frame, 3:])):
            along = (arrow[0, 1] - arrow[0, 0]) / np.linalg.norm(arrow[0, 1] - arrow[0, 0])
            np.testing.assert_allclose(along, h / np.linalg.norm(h), atol=1e-12)


def test_support_is_the_hull_of_what_touches(actor):
    points = contact_positions(actor.motion, actor.skeleton)
    active = actor.motion.contacts.active
    for frame in (0, 10, 30):
        edges = actor.support(frame)
        np.testing.assert_array_equal(edges[:, 1], np.roll(edges[:, 0], -1, 0))
        corners = edges[None, :, 0, :2]
        every = np.ones(corners.shape[:2], bool)
        for p in points[frame][active[frame]]:
            assert distance_outside(p[None, :2], corners, every)[0] < 1e-9
        assert {*map(tuple, edges[:, 0, :2])} <= {*map(tuple, points[frame][active[frame]][:, :2])}


def test_a_hull_of_points_on_a_line_is_its_ends():
    line = np.linspace(0, 1, 5)[[2, 0, 4, 1, 3], None] * [[0.3, 0.1]]
    assert sorted(hull(line)) == [1, 2]


def test_names_tell_results_apart(tmp_path, actor):
    paths = [tmp_path / a / "fit" for a in ("one", "two")]
    for p in paths:
        p.mkdir(parents=True)
    assert [a.name for a in actors([(str(paths[0]), actor.saved)])] == ["fit"]
    assert [a.name for a in actors([(str(p), actor.saved) for p in paths])] == [str(p) for p in paths]
    assert len({a.name for a in actors([(str(paths[0]), actor.saved)] * 2)}) == 2


def test_the_clock_plays_pauses_and_starts_again():
    clock = Playhead(1.0, 3.0)
    clock.advance(100.0)
    clock.seek(1.0)
    assert clock.advance(101.0) == 1.0
    clock.toggle()
    assert clock.advance(101.5) == 1.5
    clock.set_speed(0.5)
    assert clock.advance(102.5) == 2.0
    clock.toggle()
    assert clock.advance(110.0) == 2.0
    clock.seek(9.0)
    assert clock.advance(110.5) == 3.0
    clock.toggle()
    assert clock.advance(111.0) == 1.25


def test_the_film_is_the_reports(tmp_path):
    """Its pictures at their times, small."""
    av = pytest.importorskip("av", reason="the extra 'video' is not installed")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = 300, 400
        for k in range(10):
            picture = np.full((400, 300, 3), 20 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    write_report(example_result(T=3), tmp_path / "report.html", video=(tmp_path / "clip.mp4").read_bytes())
    film = Film()
    assert film.number_at(0.3) is None
    film.decode(video_of(tmp_path))
    for t, expected in ((0.0, 0), (0.3, 60), (0.38, 60), (0.9, 180), (7.0, 180)):
        picture = film.picture(film.number_at(t))
        assert max(picture.shape[:2]) <= HEIGHT
        assert abs(picture.mean() - expected) < 4, t


@pytest.mark.parametrize("report", [None, "no film", '<script type="text/plain" id="video-data">AAA'])
def test_no_film_is_nothing(tmp_path, report):
    if report is not None:
        (tmp_path / "report.html").write_text(report)
    assert video_of(tmp_path) is None


# --- the server -----------------------------------------------------------------------------------------------------


def start(*words) -> subprocess.Popen:
    command = [sys.executable, "-m", "physpose", "view", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    wakes = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731, a shell's "&" ignores it
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=wakes
    )


@contextmanager
def serving(*words):
    program = start(*words)
    try:
        line = program.stdout.readline()
        address = re.match(r"(http://127\.0\.0\.1:(\d+))  ", line)
        assert address, line + program.stderr.read()
        yield program, address[1], int(address[2])
    finally:
        program.kill()
        program.communicate()


def ended(program: subprocess.Popen) -> tuple[int, str, str]:
    out, err = program.communicate(timeout=30)
    return program.returncode, out, err


@needs_viser
def test_serves_a_page_until_interrupted(folder):
    with serving(folder, folder, "--port", 0) as (program, address, port):
        page = urllib.request.urlopen(address, timeout=20).read().decode()
        assert "<html" in page
        assert "viser" in page.lower()
        taken = ended(start(folder, "--port", port))
        assert taken[:2] == (2, "")
        assert re.fullmatch(rf"physpose: error: cannot listen on 127.0.0.1:{port}: .*\n", taken[2])
        program.send_signal(signal.SIGINT)
        assert ended(program) == (0, "", "")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (3.0, 0.0, 1.0), "fov": 0.7, "near": 0.1,
    "far": 100.0, "image_height": 600, "image_width": 800, "look_at": (0.0, 0.0, 1.0), "up_direction": (0.0, 0.0, 1.0),
}  # fmt: skip


@needs_viser
def test_plays_to_a_browser_and_ends_when_it_has_left(folder):
    """A page that says where it looks from, as viser's own does first of all, counts as a browser."""
    import msgspec
    import viser
    from websockets.sync.client import connect

    version = f"viser-v{viser.__version__}"
    with serving(folder, "--port", 0) as (program, _, port):
        with connect(f"ws://127.0.0.1:{port}", subprotocols=[version], max_size=None) as browser:
            browser.send(msgspec.msgpack.encode(CAMERA))
            received = [browser.recv(timeout=20) for _ in range(30)]
            assert program.poll() is None
        assert sum(map(len, received)) > 10_000
        assert ended(program) == (0, "", "")


@needs_viser
def test_a_page_that_is_closed_at_once_counts(folder):
    import msgspec
    import viser
    from websockets.sync.client import connect

    with serving(folder, "--port", 0) as (program, _, port):
        with connect(f"ws://127.0.0.1:{port}", subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as browser:
            browser.send(msgspec.msgpack.encode(CAMERA))
            browser.recv(timeout=20)
        assert ended(program) == (0, "", "")


@needs_viser
def test_sigterm_ends_it_quietly(folder):
    with serving(folder, "--port", 0) as (program, *_):
        program.terminate()
        assert ended(program) == (143, "", "")


@pytest.mark.parametrize("spoil", ["no folder", "no body", "cut arrays", "empty folder"])
def test_a_broken_result_is_one_line(folder, tmp_path, spoil):
    broken = tmp_path / "broken"
    if spoil != "no folder":
        broken.mkdir()
    if spoil in ("no body", "cut arrays"):
        data = (folder / "result.npz").read_bytes()
        (broken / "result.npz").write_bytes(data if spoil == "no body" else data[: len(data) // 2])
    code, out, err = ended(start(folder, broken))
    assert (code, out) == (2, "")
    assert re.fullmatch(r"physpose: error: .*\n", err)
    assert "broken" in err
