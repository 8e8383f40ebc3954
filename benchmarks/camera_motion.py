"""How far the background of videos moves, and what a moving camera does to a fit.

    PHYSPOSE_DATA=... python benchmarks/camera_motion.py

Eight clips from tripods, as they are and with every frame shifted as a camera would that pans or is held by hand
(``SHAKE``: white angles through a first-order low-pass at 2 Hz, as large as told, and a roll of as many pixels at the
picture's edge). Then one walk, fitted from its original and from its moved pictures: what becomes of the joint centres
and of the total force. The limit was chosen with these clips in view.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time as clock
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from opencap_clips import JOINT_BODIES, data_folder

import physpose
from physpose import FitResult
from physpose.caveats import camera_at_rest
from physpose.detectors import detect
from physpose.detectors.camera_motion import STILL, Album, CameraMotion, camera_motion
from physpose.io.video import Video
from physpose.progress import SILENT
from physpose.types import Array, Keypoints2D

CLIPS = {
    **{name: f"opencap_visualizer_samples/public/samples/{name}/video.mp4" for name in ("walk", "walk_ts", "STS")},
    **{f"cam0{i}": f"pose2sim/Demo_SinglePerson/videos/cam0{i}.mp4" for i in (1, 2, 3, 4)},
    "sports2d": "sports2d/Demo/demo.mp4",
}
PAN, SHAKE = (0.3, 1.0, 3.0, 20.0), (0.5, 1.0, 3.0)  # [px/frame], [px] standard deviation
FITTED, HEIGHT = "walk", 1.60  # [m]


def motions() -> dict[str, Callable[[Array], Array]]:
    """Name -> time (T,) [s] to (T, 3): shift [px] right and down, and roll [px at the picture's edge]."""
    pans = {f"pan {v:g}": lambda t, v=v: np.outer(np.arange(len(t)), (v, 0.0, 0.0)) for v in PAN}
    return {"as it is": lambda t: np.zeros((len(t), 3))} | pans | {
        f"shake {a:g}": lambda t, a=a: a * shaking(t) for a in SHAKE
    }  # fmt: skip


def shaking(t: Array, corner: float = 2.0) -> Array:
    """(T, 3) of unit standard deviation."""
    rng = np.random.default_rng(0)
    keep = np.exp(-2 * np.pi * corner * np.median(np.diff(t)))
    x = np.zeros((len(t) + 500, 3))
    for i in range(1, len(x)):
        x[i] = keep * x[i - 1] + rng.normal(size=3)
    return x[500:] / x.std(0)


def moved(picture: np.ndarray, shift: Array) -> np.ndarray:
    """The picture (height, width, 3) as the moved camera sees it; what it does not show is mirrored."""
    size = picture.shape[1::-1]
    M = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), np.degrees(shift[2] / (max(size) / 2)), 1.0)
    M[:, 2] += shift[:2]
    return cv2.warpAffine(picture, M, size, borderMode=cv2.BORDER_REFLECT)


def measured(path: Path, people: Keypoints2D, shift: Callable[[Array], Array]) -> tuple[CameraMotion, float]:
    """The background's motion, and how long finding it took [s]."""
    album, seconds, shifts = Album(), 0.0, shift(people.time)
    for i, t, picture in Video.open(path).frames():
        seen = moved(picture, shifts[i]) if shifts[i].any() else picture
        start = clock.perf_counter()
        album.add(t, seen)
        seconds += clock.perf_counter() - start
    start = clock.perf_counter()
    found = camera_motion(album, people)
    return found, seconds + clock.perf_counter() - start


def of_clip(name: str, path: Path) -> list[dict]:
    start = clock.perf_counter()
    people = detect(path)
    detection = clock.perf_counter() - start
    rows = []
    for motion, shift in motions().items():
        found, seconds = measured(path, people, shift)
        _, doubts = camera_at_rest(found)
        d = found.distance
        rows.append({
            "clip": name, "camera": motion, "pairs": len(d), "median_px": float(np.median(d)), 
            "most_px": float(d.max()),
            "limit_px": STILL * max(found.image_size), "moved_pairs": int(found.moved.sum()), "caveat": bool(doubts),
            "cost_percent_of_detection": 100 * seconds / detection,
        })  # fmt: skip
        show(rows[-1])
    return rows


def show(row: dict) -> None:
    print(
        f"{row['clip']:9s} {row['camera']:10s} {row['pairs']:5d} {row['median_px']:9.2f} {row['most_px']:9.2f} "
        f"{row['limit_px']:6.2f} {row['moved_pairs']:6d}  {'MOVES' if row['caveat'] else 'at rest':8s}"
        f"{row['cost_percent_of_detection']:5.1f} %"
    )


def write_moved(path: Path, out: Path, shift: Callable[[Array], Array]) -> None:
    """The video with every frame moved, at its own times."""
    video = Video.open(path)
    shifts = shift(video.times())
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"crf": "12", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *video.image_size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        for i, t, picture in video.frames():
            frame = av.VideoFrame.from_ndarray(moved(picture, shifts[i]), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(t * 90000), stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def against(result: FitResult, still: FitResult) -> dict[str, float]:
    """Distance [mm] of joint centres seen from the pelvis' frame, and of the total force [% of body weight] (RMS)."""
    joints = [result.skeleton.body_index(b) for b in JOINT_BODIES]
    n = min(len(result.time), len(still.time))
    a, b = (((r.positions - r.positions[:, :1]) @ r.rotations[:, 0])[:n, joints] for r in (result, still))
    weight = 9.81 * still.skeleton.mass
    needed = [
        np.gradient(np.gradient(r.com, r.time, axis=0), r.time, axis=0)[:n] * r.skeleton.mass for r in (result, still)
    ]
    return {
        "joints_mm": float(1e3 * np.linalg.norm(a - b, axis=-1).mean()),
        "force_percent": float(100 * np.sqrt(((needed[0] - needed[1]) ** 2).sum(-1).mean()) / weight),
        "residual_percent": float(100 * np.sqrt((result.tau[:, :3] ** 2).sum(1).mean()) / weight),
        "caveat": any("CAMERA MOVES" in w for w in result.warnings),
    }


def fits(path: Path) -> dict[str, dict]:
    out: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        still = None
        for name, shift in motions().items():
            if name == f"pan {max(PAN):g}":  # the person leaves the picture at once
                continue
            file = Path(folder) / "moved.mp4"
            write_moved(path, file, shift)
            for physics in ("full", "none"):
                result = physpose.fit(file, height=HEIGHT, physics=physics, progress=SILENT)
                still = still or result
                row = out[f"{name}, {physics}"] = against(result, still)
                print(
                    f"{name:10s} physics {physics:5s}: joints {row['joints_mm']:5.0f} mm, force "
                    f"{row['force_percent']:6.1f} % of body weight, residual {row['residual_percent']:5.1f} %, "
                    f"caveat {row['caveat']}"
                )
    return out


def main() -> int:
    data = data_folder()
    print("clip      camera     pairs    median      most  limit  moved  verdict  cost of detection's   [px]")
    rows = [row for name, path in CLIPS.items() for row in of_clip(name, data / path)]
    print(f"\n{FITTED}, against the fit of its original pictures:")
    report = {"clips": rows, "fits": fits(data / CLIPS[FITTED])}
    out = Path(__file__).parent / "results" / "camera_motion.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
