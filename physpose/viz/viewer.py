"""Saved results playing in three dimensions in a browser, by viser."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from physpose.errors import InputError, MissingPackageError
from physpose.skeleton.names import side
from physpose.skeleton.skin import rest_origins
from physpose.types import Array
from physpose.viz.actor import Actor
from physpose.viz.film import Film, video_of
from physpose.viz.panel import BESIDE, CENTRED, Panel
from physpose.viz.playhead import Playhead
from physpose.viz.shapes import segment_shapes
from physpose.viz.solids import triangles

PICTURES = 60.0  # a second at most
SLOW_PICTURES = 10.0  # a second, of plots and numbers
APART = 1.2  # [m] between two results side by side
FROM = np.array([1.45, -2.5, 0.5])  # in reaches: the first look is from the front right, a little above
ASIDE = 0.42 * np.array([2.5, 1.45, 0.0]) / np.hypot(2.5, 1.45)  # in reaches, to the right as seen from there
GRACE = 5.0  # [s] without a browser until the viewer ends: long enough to load the page again
SIDES = {"": (207, 214, 223), "r": (126, 166, 238), "l": (240, 163, 115)}
OTHERS = ((120, 190, 150), (200, 130, 190), (220, 190, 90), (140, 150, 220))  # the second result, the third, ...
FORCE, COM, LINEAR, ANGULAR, SUPPORT, SIGMA, CAMERA = (
    (217, 55, 94), (217, 119, 6), (21, 128, 61), (139, 92, 246), (18, 133, 122), (47, 111, 228), (90, 100, 115)
)  # fmt: skip


def view(
    actors: Sequence[Actor], *, host: str = "127.0.0.1", port: int = 8080, stay: bool = False,
    ready: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Serve the results until interrupted, or until the last browser has been gone for ``GRACE`` seconds.

    Args:
        actors: one a result, all on the same clock.
        host: on which address to listen; "0.0.0.0": whoever reaches this machine can watch.
        port: 0 takes a free one.
        stay: go on without a browser.
        ready: told the page's address once it is served.

    Raises:
        MissingPackageError: viser is not installed.
        InputError: the port is taken, or the address is none of this machine's.
    """
    try:
        import viser
    except ImportError:
        raise MissingPackageError("viser", "viewer", "the viewer") from None
    port = _free(host, port)
    with _hushed():
        server = viser.ViserServer(host=host, port=port, label="physpose", verbose=False)
    try:
        stage = Stage(server, actors)
        ready(f"http://{'localhost' if host == '0.0.0.0' else host}:{server.get_port()}")
        _loop(stage, stay)
    finally:
        with _hushed():
            server.stop()


def _hushed() -> contextlib.AbstractContextManager[Any]:
    """Without viser's own banners on stdout."""
    return contextlib.redirect_stdout(io.StringIO())


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0; viser itself would take another one without a word."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"cannot listen on {host}:{port}: {why}; choose another --port or --host") from error
        return int(probe.getsockname()[1])


def _loop(stage: Stage, stay: bool) -> None:
    came, last_seen = threading.Event(), time.monotonic()
    stage.server.on_client_connect(lambda _: came.set())  # also of a page that has left before the next look
    while True:
        now = time.monotonic()
        if stage.server.get_clients():
            last_seen = now
        if came.is_set() and not stay and now - last_seen > GRACE:
            return
        stage.draw(now)
        time.sleep(max(0.0, 1 / PICTURES - (time.monotonic() - now)))


class Stage:
    """All results on one floor, with one clock and one panel of controls."""

    def __init__(self, server: Any, actors: Sequence[Actor]):
        self.server = server
        times = [a.motion.time for a in actors]
        self.clock = Playhead(float(min(t[0] for t in times)), float(max(t[-1] for t in times)))
        self.shown: tuple[Any, ...] = ()
        self.slow_at = 0.0
        self._floor(actors)
        self.figures = [
            Figure(server, f"/result_{k}", actor, None if k == 0 else OTHERS[(k - 1) % len(OTHERS)])
            for k, actor in enumerate(actors)
        ]
        self.panel = Panel(server, actors, self.clock)

    def _floor(self, actors: Sequence[Actor]) -> None:
        server = self.server
        server.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        server.scene.configure_default_lights(enabled=True, cast_shadow=True)
        centre, reach = _bounds(actors)
        if any(np.any(a.saved.gravity) for a in actors):
            server.scene.add_grid(
                "/floor", infinite_grid=True, cell_size=0.5, section_size=1.0, fade_distance=30.0, shadow_opacity=0.25
            )
        server.initial_camera.fov = np.deg2rad(40)
        # what moves is left of the picture's middle: the panel covers the right
        server.initial_camera.position = tuple(centre + reach * (FROM + ASIDE))
        server.initial_camera.look_at = tuple(centre + reach * ASIDE)

    def draw(self, now: float) -> None:
        """Show the clock's time, if anything has changed since the last picture."""
        at = self.clock.advance(now)
        frames = tuple(f.actor.frame_at(at) for f in self.figures)
        state = (*frames, self.panel.placement.value, *(box.value for box in self.panel.layers.values()))
        if state != self.shown:
            self.shown = state
            layers = {name: bool(box.value) for name, box in self.panel.layers.items()}
            with self.server.atomic():
                for k, (figure, frame) in enumerate(zip(self.figures, frames, strict=True)):
                    figure.show(frame, self._offset(k, frames), layers)
        if now - self.slow_at > 1 / SLOW_PICTURES:
            self.slow_at = now
            self.panel.show(at, frames)

    def _offset(self, k: int, frames: tuple[int, ...]) -> Array:
        """(3,) [m] that moves the k-th result away from where it was."""
        first, own = self.figures[0].actor, self.figures[k].actor
        if self.panel.placement.value == BESIDE:
            return k * APART * first.sideways()
        if self.panel.placement.value == CENTRED and k:
            away = first.motion.com[frames[0]] - own.motion.com[frames[k]]
            return np.where(np.isfinite(away), away, 0.0) * (1, 1, 0)
        return np.zeros(3)


def _bounds(actors: Sequence[Actor]) -> tuple[Array, float]:
    """Centre of all that moves (3,), side by side, and how far it reaches from there [m]."""
    step = APART * actors[0].sideways()
    points = np.concatenate([(a.motion.positions[a.seen] + k * step).reshape(-1, 3) for k, a in enumerate(actors)])
    if not len(points):
        return np.array([0.0, 0.0, 1.0]), 1.5
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 0.6)


class Figure:
    """One result's nodes in the scene."""

    def __init__(self, server: Any, path: str, actor: Actor, colour: tuple[int, int, int] | None):
        self.actor, scene = actor, server.scene
        self.root = scene.add_frame(path, show_axes=False)
        self.body = _Surface(scene, path, actor, colour) if actor.skeleton.skin else _Solids(scene, path, actor, colour)
        nothing = np.zeros((1, 2, 3))
        arrow: dict[str, Any] = {"shaft_radius": 0.012, "head_radius": 0.03, "head_length": 0.07, "visible": False}
        self.arrows = {
            name: scene.add_arrows(f"{path}/{name}", nothing, c, **arrow)
            for name, c in (("force", FORCE), ("linear", LINEAR), ("angular", ANGULAR))
        }
        self.com = scene.add_icosphere(f"{path}/com", radius=0.035, color=COM)
        self.plumb = scene.add_line_segments(f"{path}/plumb", nothing, COM, thickness=0.008, visible=False)
        self.support = scene.add_line_segments(f"{path}/support", nothing, SUPPORT, thickness=0.012, visible=False)
        self.sigma = None if actor.saved.sigma is None else _blobs(scene, path, actor)
        self.camera = _frustum(scene, path, actor)
        self.film, self.projected = Film(), -1
        if self.camera is not None and actor.folder is not None and find_spec("av") is not None:
            threading.Thread(target=_load, args=(self.film, actor.folder), daemon=True).start()

    def show(self, frame: int, offset: Array, layers: dict[str, bool]) -> None:
        """Move everything to where it is in this frame."""
        actor = self.actor
        self.root.visible = bool(actor.seen[frame])
        if not actor.seen[frame]:
            return
        self.root.position = offset
        self.body.show(actor.motion.positions[frame], actor.quaternions[frame], layers["body"])
        linear, angular = actor.momentum_arrows(frame)
        _lines(self.arrows["force"], actor.force_arrows(frame), layers["contact forces"])
        _lines(self.arrows["linear"], linear, layers["momentum"])
        _lines(self.arrows["angular"], angular, layers["momentum"])
        _lines(self.support, actor.support(frame), layers["support polygon"])
        _lines(self.plumb, actor.plumb_line(frame), layers["centre of mass"])
        self.com.visible = layers["centre of mass"]
        self.com.position = actor.motion.com[frame]
        if self.sigma is not None and actor.saved.sigma is not None:
            self.sigma.visible = layers["sigma"]
            self.sigma.batched_positions = actor.motion.positions[frame].astype(np.float32)
            self.sigma.batched_scales = actor.saved.sigma.positions[frame].astype(np.float32)
        if self.camera is not None:
            self.camera.visible = layers["camera"]
            self._project(float(actor.motion.time[frame] - actor.motion.time[0]))

    def _project(self, time: float) -> None:
        """The video's picture into the camera's frustum, ``time`` [s] after the first frame."""
        number = self.film.number_at(time)
        if number is not None and number != self.projected:
            self.projected, self.camera.image = number, self.film.picture(number)


class _Solids:
    """The body as one solid a segment."""

    def __init__(self, scene: Any, path: str, actor: Actor, colour: tuple[int, int, int] | None):
        self.frames: dict[int, Any] = {}
        for k, shape in enumerate(segment_shapes(actor.skeleton)):
            i = shape["body"]
            name = actor.skeleton.body_names[i]
            if i not in self.frames:
                self.frames[i] = scene.add_frame(f"{path}/{name}", show_axes=False)
            vertices, faces = triangles(shape)
            scene.add_mesh_simple(f"{path}/{name}/solid_{k}", vertices, faces, color=colour or SIDES[side(name)])

    def show(self, positions: Array, quaternions: Array, visible: bool) -> None:
        for i, frame in self.frames.items():
            frame.visible = visible
            frame.position, frame.wxyz = positions[i], quaternions[i]


class _Surface:
    """The body's own surface, which follows its bodies by linear blend skinning."""

    def __init__(self, scene: Any, path: str, actor: Actor, colour: tuple[int, int, int] | None):
        skin = actor.skeleton.skin
        assert skin is not None
        n = len(actor.skeleton.bodies)
        weights = np.zeros((len(skin.vertices), n))
        np.add.at(weights, (np.arange(len(weights))[:, None], skin.bodies), skin.weights)
        self.mesh = scene.add_mesh_skinned(
            f"{path}/surface", skin.vertices, skin.faces, skin_weights=weights, color=colour or SIDES[""],
            bone_wxyzs=np.tile([1.0, 0, 0, 0], (n, 1)), bone_positions=rest_origins(actor.skeleton),
        )  # fmt: skip

    def show(self, positions: Array, quaternions: Array, visible: bool) -> None:
        self.mesh.visible = visible
        for bone, p, q in zip(self.mesh.bones, positions, quaternions, strict=True):
            bone.position, bone.wxyz = p, q


def _lines(node: Any, points: Array, wanted: bool) -> None:
    """Put arrows or lines (n, 2, 3) in place; none are hidden, since an empty batch cannot be drawn."""
    node.visible = wanted and len(points) > 0
    if node.visible:
        node.points = points.astype(np.float32)


def _blobs(scene: Any, path: str, actor: Actor) -> Any:
    """Ellipsoids of one standard deviation along the world's axes about every body's origin."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    n = len(actor.skeleton.bodies)
    return scene.add_batched_meshes_simple(
        f"{path}/sigma", np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.uint32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)), np.zeros((n, 3), np.float32),
        batched_scales=np.ones((n, 3), np.float32), batched_colors=SIGMA, opacity=0.45, lod="off", visible=False,
    )  # fmt: skip


def _load(film: Film, folder: Path) -> None:
    """Decode the video beside the viewer's work: the body need not wait for it."""
    try:
        if (video := video_of(folder)) is not None:
            film.decode(video)
    except InputError as error:
        print(f"physpose: the video in {folder} is not shown: {error}", file=sys.stderr)


def _frustum(scene: Any, path: str, actor: Actor) -> Any:
    """The camera that filmed it: viser's frustums look along z with y down, as OpenCV's cameras do."""
    from scipy.spatial.transform import Rotation

    camera = actor.saved.camera
    if camera is None:
        return None
    width, height = camera.image_size
    return scene.add_camera_frustum(
        f"{path}/camera", fov=2 * np.arctan2(height / 2, camera.focal), aspect=width / height, color=CAMERA,
        scale=0.2, thickness=0.006,
        position=camera.position, wxyz=Rotation.from_matrix(camera.R_camera_world.T).as_quat(scalar_first=True),
    )  # fmt: skip
