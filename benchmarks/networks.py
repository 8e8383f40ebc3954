"""Sizes and speed of the networks beside what was published of them.

    python benchmarks/networks.py [--device cpu] [--threads 1] [--seconds 2] [--out benchmarks/results]

Untrained weights, but of the shipped lifters: sizes and speed do not depend on them. Goals: the shipped lifters at 1000
frames a second on one core, HSTPN small at 15 on two. Networks take turns, so that a busy machine slows all of them;
"cpu ms" is the processor time of one call, which other processes disturb less than the wall clock. GFLOPs are
multiplications plus additions, as PyTorch counts them. Papers count otherwise, and on other machines: what they print
stands beside ours for orientation, and is marked where it is not comparable. Prints a table; writes networks.json, on a
GPU networks_cuda.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from physpose.io.tables import replace_file
from physpose.networks.gsr import GSRConfig
from physpose.networks.hrnet import hrnet
from physpose.networks.hstpn import HSTPN, SMALL, HSTPNConfig
from physpose.networks.lifter import VIEW, Lifter, LifterConfig, shipped_lifter
from physpose.networks.stsp_net import STSPNet, STSPNetConfig
from physpose.networks.weights import forward_flops, parameter_count
from physpose.skeleton.keypoint_sets import keypoint_names

IMAGE = (256, 192)
FRAMES = 300  # of a sequence to lift, 10 s at 30 frames/s
OURS_2_30 = "multiply-adds over 2^30: halve ours and divide by 1.074"
NOT_COMPARABLE = "not comparable: input size and layers are not printed, and HRNet-W32 has 82.9 in the same table"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a publication says of a network."""

    source: str
    params_m: float | None = None
    gflops: float | None = None
    ms: float | None = None  # of one image, there an NVIDIA A100
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Network:
    """One row: a network, its input, and how many frames the input holds."""

    name: str
    module: nn.Module
    inputs: tuple[Tensor | None, ...]
    frames: int = 1
    published: Published | None = None


def main() -> None:
    """Parse the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, each network")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, object] = {"environment": environment(options), "rows": []}
    print(json.dumps(report["environment"], indent=2))
    rows = [row for row in networks(torch.device(options.device)) if options.only in row.name]
    sizes = [{"network": r.name, **size(r)} for r in rows]
    speeds = measure(rows, options.seconds)
    report["rows"] = [{**a, **b, "published": r.published and asdict(r.published)}
                      for a, b, r in zip(sizes, speeds, rows, strict=True)]  # fmt: skip
    show(report["rows"])
    goals(report["rows"])
    write(report, options.out, "networks.json" if options.device == "cpu" else f"networks_{options.device}.json")


def environment(options: argparse.Namespace) -> dict[str, object]:
    """Where the figures come from."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    return {
        "device": device, "cores": os.cpu_count(), "threads": options.threads, "load": os.getloadavg()[0],
        "torch": torch.__version__, "dtype": "float32", "image": IMAGE, "batch": 1, "sequence": FRAMES,
    }  # fmt: skip


def networks(device: torch.device) -> list[Network]:
    """All rows, in evaluation mode."""
    torch.manual_seed(0)
    image, time_ = torch.rand(1, 3, *IMAGE), torch.arange(FRAMES) / 30
    hrnet_readme = "README of leoxiaobin/deep-high-resolution-net.pytorch"
    classification = "HRNet-Image-Classification, with its head of some 11.9 M"
    table3 = "Li and Li 2025, Table 3"
    rows = [
        Network(name="HRNet-W32, heatmaps", module=hrnet("w32", n_keypoints=17), inputs=(image,),
                published=Published(source=hrnet_readme, params_m=28.5, gflops=7.1, note=OURS_2_30)),
        Network(name="HRNet-W48, heatmaps", module=hrnet("w48", n_keypoints=17), inputs=(image,),
                published=Published(source=hrnet_readme, params_m=63.6, gflops=14.6, note=OURS_2_30)),
        Network(name="HRNet-W18-small-v1, heatmaps", module=hrnet("w18_small_v1", n_keypoints=17), inputs=(image,),
                published=Published(source=classification, params_m=13.2, note="not comparable: other head")),
        Network(name="HRNet-W18-small-v2, heatmaps", module=hrnet("w18_small_v2", n_keypoints=17), inputs=(image,),
                published=Published(source=classification, params_m=15.6, note="not comparable: other head")),
        Network(name="HSTPN", module=HSTPN(HSTPNConfig()), inputs=(image,),
                published=Published(source=table3, params_m=26.8, gflops=80.1, ms=58.2, note=NOT_COMPARABLE)),
        Network(name="HSTPN small", module=HSTPN(SMALL), inputs=(image,)),
        Network(name="HSTPN small, video of 8", module=HSTPN(SMALL), inputs=(torch.rand(1, 8, 3, *IMAGE),), frames=8),
        Network(name="STSP-Net, video of 6", module=STSPNet(STSPNetConfig()), frames=6,
                inputs=(torch.rand(1, 6, 3, *IMAGE), time_[:6])),
    ]  # fmt: skip
    for name in ("blazepose33", "coco17"):
        keypoints = torch.randn(1, FRAMES, len(keypoint_names(name)), 2) * 100 + 500
        for what, tmp in (("GSR + TMP", LifterConfig().tmp), ("GSR alone", None)):
            config = LifterConfig(gsr=GSRConfig(keypoint_set=name, features=VIEW), tmp=tmp)
            rows.append(Network(name=f"lifter {name}, {what}", module=Lifter(config), frames=FRAMES,
                                inputs=(keypoints, None, time_)))  # fmt: skip
        shipped = shipped_lifter(name)
        if shipped is not None:
            rows.append(Network(name=f"lifter {name}, shipped", module=shipped, frames=FRAMES,
                                inputs=(keypoints, None, time_)))  # fmt: skip
    return [
        Network(name=r.name, module=r.module.eval().to(device), frames=r.frames, published=r.published,
                inputs=tuple(None if x is None else x.to(device) for x in r.inputs))
        for r in rows
    ]  # fmt: skip


def size(row: Network) -> dict[str, float]:
    """Parameters and operations a frame."""
    return {
        "params_m": parameter_count(row.module) / 1e6,
        "gflops": forward_flops(row.module, *row.inputs) / row.frames / 1e9,
    }


def measure(rows: list[Network], seconds: float) -> list[dict[str, float]]:
    """Medians over calls in turn: wall and processor time a frame, frames a second."""
    times: list[list[tuple[float, float]]] = [[] for _ in rows]
    calls: list[Callable[[], object]] = [lambda r=r: r.module(*r.inputs) for r in rows]  # type: ignore[misc]
    with torch.inference_mode():
        for call in calls:
            call()  # warm-up
        spent = [0.0] * len(rows)
        while min(spent) < seconds:
            for i, call in enumerate(calls):
                if spent[i] < seconds:
                    times[i].append(timed(call))
                    spent[i] += times[i][-1][0]
    out = []
    for row, taken in zip(rows, times, strict=True):
        wall, cpu = (statistics.median(t[k] for t in taken) / row.frames for k in (0, 1))
        out.append({"ms": 1e3 * wall, "cpu_ms": 1e3 * cpu, "frames_per_s": 1 / wall, "frames_per_cpu_s": 1 / cpu,
                    "calls": len(taken)})  # fmt: skip
    return out


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time [s] of one call."""
    start = time.perf_counter(), time.process_time()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def show(rows: object) -> None:
    """A table, one network a line; what was published in brackets."""
    assert isinstance(rows, list)
    print(f"\n{'network':33}{'params [M]':>17}{'GFLOPs/frame':>18}{'ms/frame':>18}{'cpu ms':>9}{'frames/cpu s':>14}")
    for row in rows:
        p = row["published"] or {}
        cells = [
            f"{row[k]:.{n}f}" + (f" ({p[k]:g})" if p.get(k) else "")
            for k, n in (("params_m", 2), ("gflops", 3), ("ms", 2))
        ]
        print(f"{row['network']:33}{cells[0]:>17}{cells[1]:>18}{cells[2]:>18}{row['cpu_ms']:>9.2f}"
              f"{row['frames_per_cpu_s']:>14.0f}")  # fmt: skip
    print()
    for row in rows:
        if row["published"]:
            print(f"{row['network']}: ({row['published']['source']}) {row['published']['note']}")


def goals(rows: object) -> None:
    """What was asked for, and whether it is met."""
    assert isinstance(rows, list)
    for row in rows:
        goal = 1000 if "shipped" in row["network"] else 15 if "HSTPN small" in row["network"] else None
        if goal:
            met = "met" if row["frames_per_cpu_s"] >= goal else "MISSED on one core"
            print(f"goal {row['network']}: {row['frames_per_s']:.0f} frames/s by the clock, "
                  f"{row['frames_per_cpu_s']:.0f} by processor time, of {goal}: {met}")  # fmt: skip


def write(report: dict[str, object], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / name, json.dumps(report, indent=1) + "\n")
    print(f"\nwritten: {folder / name}")


if __name__ == "__main__":
    main()
