"""An HSTPN trained on drawn people, on three phone videos of real ones: is it of any use there?

    PHYSPOSE_DATA=... python benchmarks/hstpn_clips.py WEIGHTS [--images FOLDER]

WEIGHTS is what physpose.training.hstpn.train_hstpn wrote. The person's box is MediaPipe's. Keypoints are scored
against MediaPipe's, which are good to a few pixels (PCK: within a tenth of the person's height; and the median
distance in heights), and, both lifted by the shipped lifter of COCO keypoints, against optical motion capture. With
--images, frames are drawn with the keypoints found. Prints a table; writes hstpn_clips.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from lifter_accuracy import coco, landmark_track, seen_in, turned_back
from opencap_clips import CLIPS, data_folder, read_bodies, score
from torch import Tensor
from video_accuracy import SAMPLES

from physpose.estimation.lifting import with_lifted_landmarks
from physpose.io.tables import replace_file
from physpose.io.video import Video
from physpose.metrics import pck
from physpose.networks.hrnet import normalised_images
from physpose.networks.hstpn import HSTPN, SMALL
from physpose.networks.weights import load_weights
from physpose.pipeline import camera_prior
from physpose.types import Keypoints2D

RESULTS = Path(__file__).parent / "results"
SIZE = (256, 192)  # [px] height, width
MARGIN = 1.25  # of the box about the keypoints
RATE, LENGTH = 12.0, 8  # frames a second, as in training, and frames looked at together


def crops(video: Path, kp: Keypoints2D) -> tuple[Tensor, Tensor, np.ndarray]:
    """Pictures of the person (T, 3, H, W) in 0..1, their corner and scale (T, 3) in the video, and which frames."""
    step = max(1, round(1 / (RATE * float(np.median(np.diff(kp.time))))))
    pictures, boxes, rows = [], [], []
    for i, _, image in Video.open(video).frames():
        if i >= kp.n_frames or i % step or not np.isfinite(kp.uv[0, i]).any():
            continue
        low, high = np.nanmin(kp.uv[0, i], 0), np.nanmax(kp.uv[0, i], 0)
        scale = MARGIN * max((high - low)[1] / SIZE[0], (high - low)[0] / SIZE[1])
        corner = (low + high) / 2 - scale * np.array(SIZE[::-1]) / 2
        pictures.append(cut_out(torch.as_tensor(image.copy()).movedim(-1, 0)[None] / 255, corner, scale)[0])
        boxes.append([*corner, scale])
        rows.append(i)
    return torch.stack(pictures), torch.tensor(np.array(boxes), dtype=torch.float32), np.array(rows)


def cut_out(image: Tensor, corner: np.ndarray, scale: float) -> Tensor:
    """Bilinear; black beyond the picture."""
    y, x = (torch.arange(n) * scale + c for n, c in zip(SIZE, corner[::-1], strict=True))
    H, W = image.shape[-2:]
    grid = torch.stack(torch.meshgrid((2 * y + 1) / H - 1, (2 * x + 1) / W - 1, indexing="ij")[::-1], -1)
    blurred = torch.nn.functional.avg_pool2d(image, k) if (k := max(1, int(scale))) > 1 else image
    return torch.nn.functional.grid_sample(blurred, grid[None].float(), align_corners=False)


@torch.inference_mode()
def detected(network: HSTPN, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints (T, 17, 2) [px of the crops] and confidences (T, 17)."""
    parts = [network.detect(normalised_images(x)[None]) for x in pictures.split(LENGTH)]
    return torch.cat([p[0][0] for p in parts]), torch.cat([p[1][0] for p in parts])


def clip_of(network: HSTPN, folder: Path, height: float, images: Path | None) -> dict[str, float]:
    seen = seen_in(folder / "video.mp4")
    kp, prior = coco(seen.keypoints), camera_prior(None, seen)[0]
    pictures, boxes, rows = crops(folder / "video.mp4", seen.keypoints)
    p, confidence = detected(network, pictures)
    uv = p * boxes[:, None, 2:] + boxes[:, None, :2]
    known = torch.as_tensor(kp.uv[0, rows], dtype=torch.float32)
    size = known[..., 1].amax(-1) - known[..., 1].amin(-1)
    truth = read_bodies(folder / "sample_mocap.json")
    own = Keypoints2D(
        keypoint_set="coco17", names=kp.names, time=kp.time[rows], uv=uv.double().numpy()[None],
        confidence=confidence.clamp(0, 1).double().numpy()[None],
    )  # fmt: skip
    row = {
        "pck": float(pck(uv, known, 0.1 * size).mean()),
        "median distance [heights]": float(((uv - known).norm(dim=-1) / size[:, None]).median()),
    }
    for name, points in (("drawn people", own), ("MediaPipe", kp.frames(rows))):
        found = with_lifted_landmarks(points, prior.focal, prior.principal_point, height)
        row[f"{name}, lifted [mm]"] = score(
            landmark_track(turned_back(found, prior.focal, prior.principal_point)), truth
        )["root"]
    if images is not None:
        show(pictures, p, images / f"{folder.name}.png")
    return row


def show(pictures: Tensor, p: Tensor, path: Path) -> None:
    from PIL import Image

    chosen = torch.linspace(0, len(pictures) - 1, 8).long()
    sheet = (torch.cat(list(pictures[chosen]), -1) * 255).byte().movedim(0, -1).numpy().copy()
    for k, i in enumerate(chosen):
        for x, y in p[i].round().long().tolist():
            sheet[max(y - 2, 0) : y + 3, max(k * SIZE[1] + x - 2, 0) : k * SIZE[1] + x + 3] = (255, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=Path, help="folder for pictures with the keypoints found")
    options = parser.parse_args()
    data = data_folder()
    network = HSTPN(SMALL).eval()
    about = load_weights(network, options.weights)
    report: dict = {"training": about["schedule"] | {"figures": about["figures"]}}
    for clip, height in CLIPS.items():
        report[clip] = clip_of(network, data / SAMPLES / clip, height, options.images)
        print(clip, {k: round(v, 3) for k, v in report[clip].items()}, flush=True)
    replace_file(RESULTS / "hstpn_clips.json", json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
