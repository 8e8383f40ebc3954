"""APRS after each source of 3D keypoints on three phone clips: accuracy and smoothness before and after.

    PHYSPOSE_DATA=... python benchmarks/aprs_clips.py [--weights FILE ...] [--out FOLDER]

Sources: MediaPipe's own 3D, the shipped lifters on MediaPipe's 2D keypoints (BlazePose's and the COCO ones among them).
MPJPE [mm]: 12 joint centres from the middle of the hips, one rotation a clip removed, against optical motion capture.
TS [m/s^2]: mean acceleration of these joints, from the middle of the hips, at the video's frames; the truth's
beside it. Settings are the defaults; lifted poses become metres by the height. Prints a table; writes aprs_clips.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lifter_accuracy import coco, landmark_track, seen_in, turned_back
from opencap_clips import CLIPS, JointTrack, data_folder, read_bodies, score
from video_accuracy import SAMPLES

from physpose.estimation.aprs import refine
from physpose.estimation.lifting import with_lifted_landmarks
from physpose.io.tables import replace_file
from physpose.metrics import temporal_smoothness
from physpose.networks.lifter import Lifter, load_lifter, shipped_lifter
from physpose.pipeline import camera_prior
from physpose.sources import Observations
from physpose.types import Keypoints2D


def sources(seen: Observations, height: float, lifters: dict[str, Lifter]) -> dict[str, Keypoints2D]:
    """Keypoints with 3D landmarks, by source."""
    kp, prior = seen.keypoints, camera_prior(None, seen)[0]
    found = {"MediaPipe's 3D": kp}
    for name, points in (("blazepose33", kp), ("coco17", coco(kp))):
        if name in lifters:
            lifted = with_lifted_landmarks(points, prior.focal, prior.principal_point, height, lifters[name])
            found[f"lifter {name}"] = turned_back(lifted, prior.focal, prior.principal_point)
    return found


def refined(kp: Keypoints2D) -> Keypoints2D:
    """APRS on the landmarks, for the frames that have them."""
    assert kp.landmarks is not None
    p = kp.landmarks[0]
    seen = np.isfinite(p).all(-1)
    found = refine(p, kp.time, keypoint_set=kp.keypoint_set, confidence=np.where(seen, kp.confidence[0], 0.0))
    return replace(kp, landmarks=np.where(seen.any(1)[:, None, None], found.keypoints, np.nan)[None])


def smoothness(track: JointTrack, time: np.ndarray) -> float:
    """TS [m/s^2] of joints from the middle of the hips, at the times of the video's frames that the track covers."""
    time = time[(time >= track.time[0]) & (time <= track.time[-1])]
    p = track.at(time)
    relative = torch.as_tensor(p - p[:, :2].mean(1, keepdims=True))
    return float(temporal_smoothness(relative, torch.as_tensor(time)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other lifters than the shipped ones")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    data = data_folder()
    torch.set_num_threads(1)
    shipped = {name: shipped_lifter(name) for name in ("blazepose33", "coco17")}
    lifters = {name: lifter for name, lifter in shipped.items() if lifter is not None}
    lifters |= {lifter.config.gsr.keypoint_set: lifter for lifter in map(load_lifter, options.weights)}
    rows = []
    print(f"{'clip':10s}{'source':22s}{'MPJPE':>8s}{'+ APRS':>8s}{'TS':>8s}{'+ APRS':>8s}{'truth':>8s}  [mm; m/s^2]")
    for clip, height in CLIPS.items():
        folder = data / SAMPLES / clip
        truth, seen = read_bodies(folder / "sample_mocap.json"), seen_in(folder / "video.mp4")
        for name, kp in sources(seen, height, lifters).items():
            before, after = (landmark_track(x) for x in (kp, refined(kp)))
            rows.append({
                "clip": clip, "source": name, "mpjpe": score(before, truth)["root"],
                "mpjpe_aprs": score(after, truth)["root"], "ts": smoothness(before, kp.time),
                "ts_aprs": smoothness(after, kp.time), "ts_truth": smoothness(truth, kp.time),
            })  # fmt: skip
            print(f"{clip:10s}{name:22s}" + "".join(f"{v:8.1f}" for v in list(rows[-1].values())[2:]), flush=True)
    lower = [r["mpjpe_aprs"] < r["mpjpe"] and r["ts_aprs"] < r["ts"] for r in rows]
    print(f"APRS lowers both in {sum(lower)} of {len(rows)} rows")
    options.out.mkdir(parents=True, exist_ok=True)
    replace_file(
        options.out / "aprs_clips.json", json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
