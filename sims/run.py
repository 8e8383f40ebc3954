"""The simulations' command line: roll out, write arrays, make a picture or a video, or look at it live."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from physpose import conventions, load_skeleton
from physpose.errors import InputError, MissingPackageError, PhysposeError
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.types import Array
from sims.common import Simulation

SIZE = (720, 480)  # width, height [px] of pictures and videos
VIDEO_FPS = 30
Image = NDArray[np.uint8]
Indices = NDArray[np.intp]


def main(
    doc: str | None,
    simulate: Callable[..., Simulation],
    *,
    seconds: float,
    human: bool = True,
    options: dict[str, Any] | None = None,
) -> None:
    """Run one simulation from the command line.

    ``simulate`` takes a skeleton where ``human``, then ``seconds``, then the keywords of ``options`` (name -> default).
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=seconds, help=f"how long to simulate [s], default {seconds}")
    parser.add_argument("--out", type=Path, help="write time, q, v, a, tau and the known truth to this .npz file")
    parser.add_argument("--video", type=Path, help="write a video (.mp4)")
    parser.add_argument("--picture", type=Path, help="write a picture (.png): six moments side by side")
    parser.add_argument("--view", action="store_true", help="play in MuJoCo's window")
    for name, default in (options or {}).items():
        flag, kind = f"--{name.replace('_', '-')}", type(default)
        parser.add_argument(flag, type=kind, default=default, help=f"default {default}")
    if human:
        _subject_options(parser)
    args = parser.parse_args()
    try:
        _run(args, simulate, human, options or {})
    except PhysposeError as error:
        parser.exit(2, f"error: {error}\n")


def _subject_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skeleton", default="adult", help="adult, child, infant or a .yaml file")
    parser.add_argument("--age", type=float, help="[years]")
    parser.add_argument("--sex", choices=["f", "m"])
    parser.add_argument("--height", type=float, help="[m]")
    parser.add_argument("--mass", type=float, help="[kg]")


def _run(args: argparse.Namespace, simulate: Callable[..., Simulation], human: bool, options: dict[str, Any]) -> None:
    if not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds}: a positive number is needed")
    keywords = {name: getattr(args, name) for name in options}
    body = [_skeleton(args)] if human else []
    sim = simulate(*body, seconds=args.seconds, **keywords)
    print(describe(sim))
    for path, write in ((args.video, write_video), (args.picture, write_picture)):
        if path is not None:
            print(f"wrote {write(sim, path)}")
    if args.out is not None:
        print(f"wrote {sim.save(args.out)}")
    if args.view:
        view(sim)


def _skeleton(args: argparse.Namespace) -> Skeleton:
    return load_skeleton(args.skeleton, age=args.age, sex=args.sex, height=args.height, mass=args.mass)


def describe(sim: Simulation) -> str:
    """What was simulated and what is known of it, a line each."""
    lines = [
        f"{sim.name}: {sim.skeleton.name}, {sim.skeleton.mass:.2f} kg, {sim.time[-1]:.2f} s, {len(sim.time)} frames"
    ]
    for name, value in sim.truth.items():
        x = np.asarray(value)
        lines.append(f"  {name}: " + (f"{x:.6g}" if x.ndim == 0 and x.dtype.kind == "f" else f"{x.dtype} {x.shape}"))
    return "\n".join(lines)


# --- pictures -------------------------------------------------------------------------------------------------------


def write_video(sim: Simulation, path: Path) -> Path:
    """An .mp4 of the motion in real time (30 frames a second), put in place at once."""
    try:
        import av
    except ImportError:
        raise MissingPackageError("av", "video", "writing a video") from None
    if path.suffix.lower() != ".mp4":
        raise InputError(f"{path.name}: videos are written as .mp4")
    frames = _at_rate(sim.time, VIDEO_FPS)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.mp4")
    try:
        with av.open(str(temporary), "w") as container:
            stream = container.add_stream("libx264", rate=VIDEO_FPS)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            for image in render(sim, frames, SIZE):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_picture(sim: Simulation, path: Path, moments: int = 6) -> Path:
    """A .png with ``moments`` of the motion side by side, put in place at once."""
    import av

    if path.suffix.lower() != ".png":
        raise InputError(f"{path.name}: pictures are written as .png")
    frames = np.linspace(0, len(sim.time) - 1, moments).round().astype(int)
    strip = np.concatenate(list(render(sim, frames, (320, 400))), axis=1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp.png")
    try:
        av.VideoFrame.from_ndarray(np.ascontiguousarray(strip), format="rgb24").save(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def render(sim: Simulation, frames: Indices, size: tuple[int, int]) -> Iterator[Image]:
    """RGB pictures (height, width, 3) uint8 of the frames, the camera following the body from the side."""
    model = _visual_model(sim, size)
    data = mujoco.MjData(model)
    camera = mujoco.MjvCamera()
    qpos = conventions.q_to_mujoco(sim.skeleton, sim.q)
    with _renderer(model, size) as renderer:
        for t in frames:
            _pose(model, data, qpos[t])
            _aim(camera, sim, data)
            renderer.update_scene(data, camera)
            yield renderer.render()


def _pose(model: Any, data: Any, qpos: Array) -> None:
    """Put the body in a pose, the lamp above it: shadows are drawn near the lamp only."""
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    data.light_xpos[:, :2] = data.subtree_com[0, :2]


def _aim(camera: Any, sim: Simulation, data: Any) -> None:
    """Look at the body from the side, at its centre of mass where its root is free."""
    camera.azimuth, camera.elevation, camera.distance = 120.0, -8.0, _view_distance(sim)
    follow = sim.skeleton.bodies[0].joint.kind == "free"
    camera.lookat[:] = data.subtree_com[0] if follow else (0.0, 0.0, 1.0)


def _visual_model(sim: Simulation, size: tuple[int, int]) -> Any:
    spec = mujoco.MjSpec.from_string(to_mjcf(sim.skeleton))
    spec.visual.global_.offwidth, spec.visual.global_.offheight = size
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    if sim.gravity == (0.0, 0.0, 0.0):  # no floor in orbit
        spec.delete(next(g for g in spec.worldbody.geoms if g.name == "floor"))
    return spec.compile()


def _view_distance(sim: Simulation) -> float:
    # arms stretched overhead are in the picture too
    tall = sim.skeleton.subject.height if sim.skeleton.subject else 2.0
    return 1.8 * tall


def _renderer(model: Any, size: tuple[int, int]) -> Any:
    try:
        return mujoco.Renderer(model, height=size[1], width=size[0])
    except Exception as error:  # every GL library has exceptions of its own
        backend = os.environ.get("MUJOCO_GL", "the default")
        raise InputError(
            f"cannot draw: no working OpenGL (MUJOCO_GL: {backend}; {error}); install libegl1 or libosmesa6 and set "
            "MUJOCO_GL=egl or osmesa"
        ) from error


def view(sim: Simulation) -> None:
    """Play the motion over and over in MuJoCo's window, in real time, until it is closed."""
    import time as clock

    import mujoco.viewer

    _check_screen()
    model = _visual_model(sim, SIZE)
    data = mujoco.MjData(model)
    qpos = conventions.q_to_mujoco(sim.skeleton, sim.q)
    aimed = False
    with mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False) as window:
        start = clock.perf_counter()
        while window.is_running():
            t = (clock.perf_counter() - start) % max(sim.time[-1], 1 / VIDEO_FPS)
            _pose(model, data, qpos[min(np.searchsorted(sim.time, t), len(qpos) - 1)])
            if not aimed:  # once: then the mouse turns the camera, which goes on following the body
                _aim(window.cam, sim, data)
                _follow(window.cam, sim)
                aimed = True
            window.sync()
            clock.sleep(0.01)


def _follow(camera: Any, sim: Simulation) -> None:
    if sim.skeleton.bodies[0].joint.kind == "free":
        camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, 1


def _check_screen() -> None:
    """Raise where no window can be opened: MuJoCo would end the program with words of its own."""
    import warnings

    import glfw

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        works = bool(glfw.init())
        if works:
            glfw.window_hint(glfw.VISIBLE, False)
            works = bool(glfw.create_window(64, 64, "", None, None))
            glfw.terminate()
    if not works:
        reason = str(said[-1].message) if said else "no reason given"
        raise InputError(f"cannot open a window ({reason}); on a machine without a screen use --video or --picture")


def _at_rate(time: Array, fps: float) -> Indices:
    """Indices of the frames nearest to fps a second."""
    wanted = np.arange(time[0], time[-1] + 1e-9, 1 / fps)
    return np.searchsorted(time, wanted).clip(0, len(time) - 1)
