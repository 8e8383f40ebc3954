"""What each part of the lifter is worth, on generated people and cameras that no network has seen.

    python benchmarks/lifting.py MOTIONS.npz --runs FOLDER [--steps 1500] [--seeds 1] [--only modules chain] [--quick]

MOTIONS.npz is what benchmarks/motion_bank.py makes. Tables, as in STSP-Net's ablation: modules (no graph, + graph
attention, + temporal module), number of graph layers, window; what stands behind the network (APRS, the chain layer,
training on without labels, by physics or not); children beside adults, with the same network trained on adults only.
All networks of a table are trained for the same number of steps on the same batches: far from convergence, so that
tables compare, and the shipped weights are better. The papers' figures stand beside ours; they are not comparable:
nobody has their data. Trainings are kept in FOLDER: asked again in the same words, it goes on where it was ended. With
PHYSPOSE_DATA set, networks are also tried on the three phone clips' keypoints. Prints tables and puts them
into lifting.json. "--quick": a few steps, to see that all of it runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lifter_accuracy import coco, landmark_track, seen_in, turned_back
from opencap_clips import CLIPS, read_bodies, score
from torch import Tensor
from video_accuracy import SAMPLES

from physpose import load_skeleton
from physpose.chain import KinematicChain
from physpose.data.generator import Batch, GeneratorSettings, SequenceGenerator
from physpose.data.motion_bank import MotionBank, load_motions
from physpose.data.people import ADULT
from physpose.estimation.aprs import refine
from physpose.estimation.initialise import LEVEL_CAMERA
from physpose.estimation.lifting import with_lifted_landmarks
from physpose.io.tables import replace_file
from physpose.metrics import acceleration_error, bone_length_deviation, mpjpe, pck, temporal_smoothness
from physpose.networks.lifter import Lifter, View, load_lifter, save_lifter, shipped_lifter
from physpose.pipeline import camera_prior
from physpose.projection import ProjectionSettings
from physpose.skeleton.keypoint_sets import keypoint_landmarks, keypoint_names
from physpose.training.lifter import JOINTS, LifterTraining, lifted, train_lifter
from physpose.training.loop import WEIGHTS
from physpose.training.self_supervised import Recording, SelfSupervision, self_supervise
from physpose.training.settings import Schedule
from physpose.types import Keypoints2D

TABLES = ("modules", "layers", "windows", "behind", "chain", "children")  # methods of ``Bench``
# MPJPE [mm] of Liu et al. 2025, Tables 3 to 5, on data that nobody has: not comparable
PAPER = {
    "no graph, single frames": 56.8, "+ GSR": 52.3, "+ GSR + TMP": 48.5, "1 layers": 50.2, "2 layers": 48.5,
    "3 layers": 48.7, "window 1": 52.3, "window 3": 50.1, "window 5": 48.5, "window 7": 48.6, "window 9": 48.7,
}  # fmt: skip
LONG = 12  # frames of the sequences on which windows are compared
CORRECT = 150.0  # [mm] within which a joint counts as right
BEHIND = 24  # sequences for what stands behind the network
TEST_STREAM = 2
RIGID = [(f"{a}_{s}", f"{b}_{s}") for a, b in (("knee", "ankle"), ("shoulder", "elbow")) for s in "rl"]
ADULTS, SIX = ((20.0, 60.0),), ((6.0, 7.0),)
LIFTED = ProjectionSettings(source_sigma=0.055)  # the lifters' error an axis on validation people: 28, 28, 87 mm
CHAIN_LAYERS = (  # name, settings, one body a sequence
    ("+ chain layer", ProjectionSettings(), False),
    ("+ lifter's error counted", LIFTED, False),
    ("+ one body a sequence", LIFTED, True),
)
OVER = np.radians(1.0)  # beyond its range a coordinate counts as a violation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("motions", type=Path)
    parser.add_argument("--keypoint-set", default="coco17")
    parser.add_argument("--runs", type=Path, required=True, help="folder in which trainings are kept")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batches", type=int, default=8, help="of 64 sequences to test on")
    parser.add_argument("--only", nargs="*", default=TABLES, choices=TABLES, help="tables")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seeds, options.batches = 2, 1, 1
    torch.set_num_threads(1)
    bench = Bench(load_motions(options.motions), options)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "lifting.json"
    report: dict = json.loads(file.read_text()) if file.is_file() else {}  # other tables stay
    made = {"torch": torch.__version__, "steps": options.steps, "seeds": options.seeds,
            "keypoint_set": options.keypoint_set, "people": bench.people}  # fmt: skip
    for name in options.only:
        paper = lambda r: {"paper_mm": PAPER[r["network"]]} if r["network"] in PAPER else {}  # noqa: E731
        rows = [r | paper(r) for r in getattr(bench, name)()]
        show(name, rows)
        report[name] = {"made": made, "rows": rows}
        replace_file(file, json.dumps(report, indent=1) + "\n")
    print("\npaper_mm is not comparable: other data, which nobody has")
    print(f"written: {file}")


class Bench:
    """Trains and tests."""

    def __init__(self, bank: MotionBank, options: argparse.Namespace):
        self.bank, self.options = bank, options
        self.people = {part: list(bank.split(part).people) for part in ("train", "test")}
        self.generator = GeneratorSettings(keypoint_set=options.keypoint_set, takes=4)
        self.batches = self.test()
        self.clips = phone_clips()
        self.trained: dict[str, list[Lifter]] = {}

    def test(self, **settings) -> list[Batch]:  # type: ignore[no-untyped-def]
        """Batches of test people."""
        generator = SequenceGenerator(self.bank.split("test"), replace(self.generator, **settings), stream=TEST_STREAM)
        return [generator.batch(i, 64) for i in range(self.options.batches)]

    def networks(self, **settings) -> list[Lifter]:  # type: ignore[no-untyped-def]
        """One network a seed."""
        key = json.dumps(settings, default=str, sort_keys=True)
        if key not in self.trained:
            generated = {k: settings.pop(k) for k in ("ages", "frames") if k in settings}
            training = LifterTraining(size="small", generator=replace(self.generator, **generated), **settings)
            self.trained[key] = [self._train(training, seed) for seed in range(self.options.seeds)]
        return self.trained[key]

    def _train(self, training: LifterTraining, seed: int) -> Lifter:
        n = self.options.steps
        schedule = Schedule(
            steps=n, batch=64, lr=2e-3, warmup=min(200, n // 5), validate_every=n, checkpoint_every=100, seed=seed,
            precision="bfloat16",
        )  # fmt: skip
        training = replace(training, validation_batches=1)
        folder = self.options.runs / hashlib.sha256(repr((training, schedule)).encode()).hexdigest()[:12]
        train_lifter(folder, training, schedule, bank=self.bank, resume=True)
        return load_lifter(folder / WEIGHTS)

    def row(self, name: str, batches: list[Batch] | None = None, **settings) -> dict:  # type: ignore[no-untyped-def]
        """Mean and spread over seeds of a network's errors."""
        networks = self.networks(**settings)
        rows = [errors(n, batches or self.batches) | clip_errors(n, self.clips) for n in networks]
        print(f"  {name}: {[round(r['mpjpe_mm'], 1) for r in rows]}", flush=True)
        spread = float(np.std([r["mpjpe_mm"] for r in rows]))
        return {"network": name, **{k: float(np.mean([r[k] for r in rows])) for k in rows[0]}, "mpjpe_sd": spread}

    def modules(self) -> list[dict]:
        return [
            self.row("no graph, single frames", layers=0, temporal=False, bones=0.0, angles=0.0),
            self.row("the same, with GSR's losses", layers=0, temporal=False),
            self.row("+ GSR, graph's features alone", temporal=False, own=False),
            self.row("+ GSR", temporal=False, own=True),
            self.row("+ GSR + TMP", own=True),
        ]

    def layers(self) -> list[dict]:
        return [self.row(f"{n} layers", layers=n, temporal=False, own=True) for n in (1, 2, 3)]

    def windows(self) -> list[dict]:
        """Longer sequences, so that there is something to look at."""
        batches = self.test(frames=LONG)
        return [self.row(f"window {n}", batches, window=n, frames=LONG, own=True) for n in (1, 3, 5, 7, 9)]

    def behind(self) -> list[dict]:
        """The full network, and what may stand behind it."""
        batch = self.test(rate=(12.0, 12.0))[0].rows(slice(2 if self.options.quick else BEHIND))
        network, start = self.networks(own=True)[0], self.options.runs / "start.safetensors"
        save_lifter(network, start)
        rows = [judged("network alone", metres(network, batch), batch)]
        rows.append(judged("+ APRS", smoothed(network, batch), batch))
        for name, physics in (("+ no labels, reprojection", False), ("+ no labels, body and physics", True)):
            settings = SelfSupervision(rate=12.0, held_out=0.0, **({} if physics else {"body": 0.0, "physics": 0.0}))
            n = 2 if self.options.quick else 60
            schedule = Schedule(steps=n, batch=4, lr=1e-4, warmup=5, validate_every=n, checkpoint_every=10)
            folder = self.options.runs / f"{name[2:].replace(' ', '_')}_{n}"
            self_supervise(folder, start, recordings(batch, self.options.keypoint_set), settings, schedule, resume=True)
            rows.append(judged(name, metres(load_lifter(folder / WEIGHTS), batch), batch))
        return rows

    def chain(self) -> list[dict]:
        """The chain layer behind the shipped network, or behind one trained here where there is none."""
        network = shipped_lifter(self.options.keypoint_set) or self.networks(own=True)[0]
        return projected(network, self.batches[0], 4 if self.options.quick else 32)

    def children(self) -> list[dict]:
        """Errors in statures of 6-year-olds and adults."""
        adults, six = self.test(ages=ADULTS), self.test(ages=SIX)
        rows = []
        shipped = shipped_lifter(self.options.keypoint_set)
        trained = {
            "trained on all ages": self.networks(own=True),
            "trained on adults only": self.networks(own=True, ages=ADULTS),
        }
        for name, networks in (({"shipped": [shipped]} if shipped else {}) | trained).items():
            a, c = (float(np.mean([errors(n, b)["mpjpe_statures"] for n in networks])) for b in (adults, six))
            rows.append({"network": name, "adults": a, "six_years": c, "ratio": c / a})
        return rows


@torch.inference_mode()
def errors(network: Lifter, batches: list[Batch]) -> dict[str, float]:
    """Of the 12 large joints from the middle of the hips: distance, smoothness, acceleration error."""
    index, _ = joints_and_bones(network.config.gsr.keypoint_set)
    rows = []
    for b in batches:
        size = b.stature[:, None, None, None]
        pose, true = (x[:, :, index] for x in (lifted(network, b).pose, b.pose))
        rows.append([
            1e3 * mpjpe(size * pose, size * true).mean(), mpjpe(pose, true).mean(),
            temporal_smoothness(size * pose, b.time).mean(), temporal_smoothness(size * true, b.time).mean(),
            acceleration_error(size * pose, size * true, b.time).mean(),
            100 * pck(size * pose, size * true, CORRECT / 1e3).mean(),
        ])  # fmt: skip
    names = ("mpjpe_mm", "mpjpe_statures", "ts_m_s2", "true_ts_m_s2", "acceleration_error_m_s2", "pck150_percent")
    return {n: float(np.mean([float(r[i]) for r in rows])) for i, n in enumerate(names)}


def phone_clips() -> list:
    """Observations, height and truth of each clip; none where there is no data."""
    data = os.environ.get("PHYSPOSE_DATA")
    if not data:
        print("PHYSPOSE_DATA is not set: no figures on phone clips")
        return []
    folders = {clip: Path(data) / SAMPLES / clip for clip in CLIPS}
    return [(seen_in(f / "video.mp4"), CLIPS[c], read_bodies(f / "sample_mocap.json")) for c, f in folders.items()]


def clip_errors(network: Lifter, clips: list) -> dict[str, float]:
    """Mean root-relative error on the phone clips, as benchmarks/lifter_accuracy.py has it."""
    found = []
    for seen, height, truth in clips:
        prior = camera_prior(None, seen)[0]
        kp = coco(seen.keypoints) if network.config.gsr.keypoint_set == "coco17" else seen.keypoints
        lifted3d = with_lifted_landmarks(kp, prior.focal, prior.principal_point, height, network)
        found.append(score(landmark_track(turned_back(lifted3d, prior.focal, prior.principal_point)), truth)["root"])
    return {"clips_mm": float(np.mean(found))} if found else {}


@torch.inference_mode()
def metres(network: Lifter, batch: Batch) -> Tensor:
    """Lifted poses (N, T, K, 3) [m]."""
    return batch.stature[:, None, None, None] * lifted(network, batch).pose


def smoothed(network: Lifter, batch: Batch) -> Tensor:
    """APRS on lifted poses."""
    keypoint_set = network.config.gsr.keypoint_set
    found = [
        refine(
            p.double().numpy(), t.double().numpy(), keypoint_set=keypoint_set, confidence=c.double().numpy()
        ).keypoints
        for p, t, c in zip(metres(network, batch), batch.time, batch.confidence, strict=True)
    ]
    return torch.as_tensor(np.stack(found))


def recordings(batch: Batch, keypoint_set: str) -> list[Recording]:
    """The sequences as unlabelled keypoints before a camera; a focal length that is not told is taken as the usual."""
    out = []
    for i in range(len(batch.time)):
        kp = Keypoints2D(
            keypoint_set=keypoint_set, names=keypoint_names(keypoint_set), time=batch.time[i].double().numpy(),
            uv=batch.keypoints[i : i + 1].double().numpy(), confidence=batch.confidence[i : i + 1].double().numpy(),
            source=f"generated {i}",
        )  # fmt: skip
        focal, point = batch.view.focal[i], batch.view.principal_point[i]
        focal = focal if bool(focal.isfinite()) else 1.5 * point.max()
        age, height = float(batch.age[i]), float(batch.stature[i])
        body = load_skeleton("adult" if age >= ADULT else "child", age=age, height=height)
        out.append(Recording(kp, View(focal, point), body))
    return out


def judged(name: str, p: Tensor, batch: Batch) -> dict:
    """Figures of poses (N, T, K, 3) [m]."""
    index, edges = joints_and_bones("coco17" if p.shape[2] == 17 else "blazepose33")
    true = batch.stature[:, None, None, None] * batch.pose
    rows = [figures(a, b, index, edges) for a, b in zip(p.double(), true.double(), strict=True)]
    mm, bones = np.mean(rows, 0).tolist()
    ts = float(temporal_smoothness(p[:, :, index], batch.time).mean())
    return {"network": name, "mpjpe_mm": mm, "bone_length_deviation_mm": bones, "ts_m_s2": ts}


def projected(network: Lifter, batch: Batch, n: int) -> list[dict]:
    """n sequences before and after ``KinematicChain.project`` onto the body that age and height give.

    As it stands, keypoints scattered as the set says; with the lifter's error beside that; with one body a sequence.
    """
    keypoint_set = network.config.gsr.keypoint_set
    with torch.inference_mode():
        poses = lifted(network, batch.rows(slice(n))).pose.double()
    rows: dict[str, list[tuple]] = {}
    for i in range(n):
        h, age = float(batch.stature[i]), float(batch.age[i])
        chain = KinematicChain(load_skeleton("adult" if age >= ADULT else "child", age=age, height=h))
        p, true = (h * x.double() @ LEVEL_CAMERA for x in (poses[i], batch.pose[i]))
        rows.setdefault("alone", []).append(figures(p, true, *joints_and_bones(keypoint_set)))
        for name, settings, one_body in CHAIN_LAYERS:
            rows.setdefault(name, []).append(layer_figures(chain, p, true, keypoint_set, settings, one_body))
    names = ("mpjpe_mm", "bone_length_deviation_mm", "limit_violations", "converged")
    mean = lambda values: np.mean(values, 0).tolist()  # noqa: E731
    return [{"network": name, **dict(zip(names, mean(values), strict=False))} for name, values in rows.items()]


def layer_figures(
    chain: KinematicChain, p: Tensor, true: Tensor, keypoint_set: str, settings: ProjectionSettings, one_body: bool
) -> list[float]:
    """``figures`` behind the chain layer, share of coordinates beyond their range, share of poses that settled."""
    body = chain.body_scales(p, keypoint_set, settings=settings) if one_body else None
    scales = chain.log_scales if body is None else body.log_scales
    found = chain.project(p, keypoint_set, settings=settings, log_scales=scales)
    over = chain.limit_residual(found.q).abs() > OVER
    settled = found.converged.double().mean() * (1.0 if body is None else float(body.converged))
    shown = chain.keypoints(found.q, keypoint_set, scales)
    return [*figures(shown, true, *joints_and_bones(keypoint_set)), float(over.double().mean()), float(settled)]


def joints_and_bones(keypoint_set: str) -> tuple[list[int], Tensor]:
    """Indices of ``JOINTS`` and of both ends of ``RIGID``."""
    marks = keypoint_landmarks(keypoint_set)
    edges = torch.tensor([[marks.index(a), marks.index(b)] for a, b in RIGID])
    return [marks.index(j) for j in JOINTS], edges


def figures(p: Tensor, true: Tensor, index: list[int], edges: Tensor) -> list[float]:
    """MPJPE from the middle of the hips and the deviation of bone lengths over time [mm]."""
    hips = [0, 1]  # the first of ``JOINTS``
    a, b = (x[:, index] - x[:, index][:, hips].mean(1, keepdim=True) for x in (p, true))
    return [1e3 * float(mpjpe(a, b).mean()), 1e3 * float(bone_length_deviation(p, edges))]


def show(name: str, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(k for r in rows for k in r if k != "network"))
    print(f"\n{name:32s}" + "".join(f"{c:>26s}" for c in columns))
    for r in rows:
        print(f"{r['network']:32s}" + "".join(f"{r[c]:26.4f}" if c in r else " " * 26 for c in columns))


if __name__ == "__main__":
    main()
