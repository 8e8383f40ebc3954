"""The shipped lifter on three phone videos against optical motion capture: alone, and as the start of a fit.

    PHYSPOSE_DATA=... python benchmarks/lifter_accuracy.py [--weights FILE] [--no-fit] [--balancing]

Alone: a single pass over MediaPipe's 2D keypoints, beside MediaPipe's own 3D; height given. Lifted poses, which are in
the axes of a camera turned to the person, are turned back into those of the camera at rest; MediaPipe's are taken as
they are, which suits them better (93.0 against 94.1 mm). Fits: from MediaPipe's 3D,
from the lifter's, and from 2D alone (eight facings); then the same two from the 17 COCO keypoints among MediaPipe's, as
a detector without 3D gives them. Nothing was trained on the clips; what was chosen with them in view, the model card
says. Scores as in benchmarks/video_accuracy.py. "--balancing" instead: each camera of Pose2Sim's balancing trial
against the fit of all four (OpenPose's keypoints), which nothing was chosen by. Prints tables; writes
lifter_accuracy.json or lifter_balancing.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from opencap_clips import CLIPS, JOINT_BODIES, JointTrack, data_folder, read_bodies, root_relative_error, score
from several_cameras import FPS, HEIGHT, SESSION, TRIAL
from video_accuracy import SAMPLES, joint_track

import physpose
from physpose.estimation.lifting import with_lifted_landmarks
from physpose.estimation.settings import EstimationSettings
from physpose.io.tables import replace_file
from physpose.networks.lifter import Lifter, load_lifter, shipped_lifter, turn_to_keypoints
from physpose.pipeline import camera_prior
from physpose.progress import SILENT
from physpose.skeleton.keypoint_sets import keypoint_landmarks, keypoint_names
from physpose.sources import Observations, observe
from physpose.types import Keypoints2D

RESULTS = Path(__file__).parent / "results"
AS_GIVEN = EstimationSettings(lift=False)  # the 3D that the keypoints bring
BODY_MARK = {"femur": "hip", "tibia": "knee", "talus": "ankle", "humerus": "shoulder", "ulna": "elbow", "hand": "wrist"}


def seen_in(video: Path) -> Observations:
    """MediaPipe's keypoints of a clip."""
    return observe(
        video, person=None, detector="mediapipe", keypoint_set=None, fps=None, image_size=None, progress=SILENT
    )


def landmark_track(kp: Keypoints2D) -> JointTrack:
    """The 12 joint centres in a detector's or lifter's 3D; it knows no world."""
    assert kp.landmarks is not None
    marks = keypoint_landmarks(kp.keypoint_set)
    index = [marks.index(f"{BODY_MARK[b[:-2]]}{b[-2:]}") for b in JOINT_BODIES]
    p = kp.landmarks[0][:, index]
    good = np.isfinite(p).all((1, 2))
    return JointTrack(kp.time[good], p[good])


def turned_back(kp: Keypoints2D, focal: float, principal_point: tuple[float, float]) -> Keypoints2D:
    """Landmarks in the axes of the camera at rest."""
    assert kp.landmarks is not None
    R = turn_to_keypoints(torch.as_tensor(kp.uv[0]), torch.tensor(focal), torch.tensor(principal_point)).numpy()
    return replace(kp, landmarks=np.einsum("tij,tkj->tki", R, kp.landmarks[0])[None])


def coco(kp: Keypoints2D) -> Keypoints2D:
    """The COCO keypoints among BlazePose's, without 3D."""
    marks = keypoint_landmarks(kp.keypoint_set)
    index = [marks.index(m) for m in keypoint_landmarks("coco17")]
    return replace(
        kp, keypoint_set="coco17", names=keypoint_names("coco17"), uv=kp.uv[:, :, index],
        confidence=kp.confidence[:, :, index], landmarks=None,
    )  # fmt: skip


def alone(seen: Observations, height: float, lifters: dict[str, Lifter | None]) -> dict[str, JointTrack]:
    """3D of one pass."""
    kp, prior = seen.keypoints, camera_prior(None, seen)[0]
    tracks = {"MediaPipe's 3D": landmark_track(kp)}
    for name, points in (("blazepose33", kp), ("coco17", coco(kp))):
        if lifters[name] is not None:
            found = with_lifted_landmarks(points, prior.focal, prior.principal_point, height, lifters[name])
            tracks[f"lifter {name}"] = landmark_track(turned_back(found, prior.focal, prior.principal_point))
    return tracks


def fits(seen: Observations, height: float, lifters: dict[str, Lifter | None]) -> dict[str, physpose.FitResult]:
    """Fits that differ in where they start, and in the depth that they lean on."""
    kp, prior = seen.keypoints, camera_prior(None, seen)[0]
    found: dict[str, physpose.FitResult] = {}
    for name, points in (("blazepose33", kp), ("coco17", coco(kp))):
        starts = {"2D alone": replace(points, landmarks=None)}
        if points.landmarks is not None:
            starts["MediaPipe's 3D"] = points
        if lifters[name] is not None:
            starts["lifter"] = with_lifted_landmarks(points, prior.focal, prior.principal_point, height, lifters[name])
        for start, given in starts.items():
            found[f"{name}, {start}"] = physpose.fit(given, height=height, settings=AS_GIVEN)
    return found


def balancing(data: Path, lifters: dict[str, Lifter | None]) -> dict:
    """Errors [mm] of one camera's MediaPipe keypoints against four cameras, after one alignment of the clip."""
    folders = sorted(p for p in (data / TRIAL / "pose-associated").iterdir() if p.is_dir())
    calibration = data / SESSION / "S00_Calibration/Calib_qualisys.toml"
    four = physpose.fit(folders, "adult", camera=calibration, fps=FPS, height=HEIGHT, progress=SILENT)
    truth, rows = joint_track(four), {}
    for video in sorted((data / "pose2sim/Demo_SinglePerson/videos").glob("*.mp4")):
        seen = seen_in(video)
        row = {f"{name}, alone, root": _root(track, truth) for name, track in alone(seen, HEIGHT, lifters).items()}
        for name, fitted in fits(seen, HEIGHT, lifters).items():
            row[f"fit, {name}, root"] = _root(joint_track(fitted), truth)
            row[f"fit, {name}, iterations"] = fitted.status.iterations
        rows[video.stem] = row
        print(video.stem, {k: round(v, 1) for k, v in row.items()}, flush=True)
    return rows | {"mean": {k: float(np.mean([r[k] for r in rows.values()])) for k in row}}


def _root(track: JointTrack, truth: JointTrack) -> float:
    inside = (truth.time >= track.time[0]) & (truth.time <= track.time[-1])
    return 1e3 * float(root_relative_error(track.at(truth.time[inside]), truth.p[inside]).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other lifters than the shipped ones")
    parser.add_argument("--no-fit", action="store_true")
    parser.add_argument("--balancing", action="store_true", help="Pose2Sim's four cameras instead of the clips")
    options = parser.parse_args()
    data = data_folder()
    torch.set_num_threads(1)
    lifters = {name: shipped_lifter(name) for name in ("blazepose33", "coco17")}
    lifters |= {lifter.config.gsr.keypoint_set: lifter for lifter in map(load_lifter, options.weights)}
    if options.balancing:
        found = balancing(data, lifters)
        print("mean", {k: round(v, 1) for k, v in found["mean"].items()})
        replace_file(RESULTS / "lifter_balancing.json", json.dumps(found, indent=1, default=float) + "\n")
        return 0
    report: dict = {}
    for clip, height in CLIPS.items():
        folder = data / SAMPLES / clip
        truth, seen = read_bodies(folder / "sample_mocap.json"), seen_in(folder / "video.mp4")
        rows = {name: {**score(track, truth)} for name, track in alone(seen, height, lifters).items()}
        if not options.no_fit:
            for name, result in fits(seen, height, lifters).items():
                about = {"iterations": result.status.iterations, "cost": result.status.cost}
                rows[f"fit, {name}"] = {**score(joint_track(result), truth), **about, **result.status.seconds}
        report[clip] = rows
        show(clip, rows)
    means = {
        name: {k: float(np.mean([report[c][name][k] for c in report])) for k in row if k not in ("per_joint", "offset")}
        for name, row in rows.items()
    }
    show("mean", means)
    out = RESULTS / "lifter_accuracy.json"
    replace_file(out, json.dumps({**report, "mean": means}, indent=1, default=float) + "\n")
    print(f"written: {out}")
    return 0


def show(clip: str, rows: dict) -> None:
    print(f"\n{clip:34s}    root    legs   world  [mm]   iterations  estimation [s]")
    for name, r in rows.items():
        fit = f"{r['world']:8.1f}{r['iterations']:14.0f}{r['estimation']:14.1f}" if "iterations" in r else ""
        print(f"{name:34s}{r['root']:8.1f}{r['legs']:8.1f}{fit}")


if __name__ == "__main__":
    sys.exit(main())
