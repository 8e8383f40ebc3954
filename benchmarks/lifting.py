"""What each part of the lifter is worth, on generated people and cameras that no network has seen.

    python benchmarks/lifting.py MOTIONS.npz [--steps 1000] [--seeds 3] [--only modules chain] [--quick] [--out FOLDER]

MOTIONS.npz is what benchmarks/motion_bank.py makes. Tables, as in STSP-Net's ablation: modules (no graph, + graph
attention, + temporal module), number of graph layers, window; the chain layer behind the network; children beside
adults, with the same network trained on adults only. All networks of a table are trained for the same number of steps
on the same batches: far from convergence, so that tables compare, and the shipped weights are better. Figures are not
comparable to the paper's, whose data nobody has. Prints tables; writes lifting.json. "--quick": a few steps, to see
that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from physpose import load_skeleton
from physpose.chain import KinematicChain
from physpose.data.generator import Batch, GeneratorSettings, SequenceGenerator
from physpose.data.motion_bank import MotionBank, load_motions
from physpose.data.people import ADULT
from physpose.estimation.initialise import LEVEL_CAMERA
from physpose.io.tables import replace_file
from physpose.metrics import acceleration_error, bone_length_deviation, mpjpe, temporal_smoothness
from physpose.networks.lifter import Lifter, load_lifter, shipped_lifter
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.training.lifter import JOINTS, LifterTraining, lifted, train_lifter
from physpose.training.loop import WEIGHTS
from physpose.training.settings import Schedule

TABLES = ("modules", "layers", "windows", "chain", "children")  # methods of ``Bench``
TEST_STREAM = 2
RIGID = [(f"{a}_{s}", f"{b}_{s}") for a, b in (("knee", "ankle"), ("shoulder", "elbow")) for s in "rl"]
ADULTS, SIX = ((20.0, 60.0),), ((6.0, 7.0),)
OVER = np.radians(1.0)  # beyond its range a coordinate counts as a violation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("motions", type=Path)
    parser.add_argument("--keypoint-set", default="coco17")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=8, help="of 64 sequences to test on")
    parser.add_argument("--only", nargs="*", default=TABLES, choices=TABLES, help="tables")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.seeds, options.batches = 2, 1, 1
    torch.set_num_threads(1)
    bench = Bench(load_motions(options.motions), options)
    report: dict = {"environment": {"torch": torch.__version__, "steps": options.steps, "seeds": options.seeds,
                                    "keypoint set": options.keypoint_set, "people": bench.people}}  # fmt: skip
    for name in options.only:
        report[name] = getattr(bench, name)()
        show(name, report[name])
        options.out.mkdir(parents=True, exist_ok=True)
        replace_file(options.out / "lifting.json", json.dumps(report, indent=1) + "\n")
    print(f"\nwritten: {options.out / 'lifting.json'}")


class Bench:
    """Trains and tests."""

    def __init__(self, bank: MotionBank, options: argparse.Namespace):
        self.bank, self.options = bank, options
        self.people = {part: list(bank.split(part).people) for part in ("train", "test")}
        self.generator = GeneratorSettings(keypoint_set=options.keypoint_set)
        self.batches = self.test()
        self.trained: dict[str, list[Lifter]] = {}

    def test(self, **settings) -> list[Batch]:  # type: ignore[no-untyped-def]
        """Batches of test people."""
        generator = SequenceGenerator(self.bank.split("test"), replace(self.generator, **settings), stream=TEST_STREAM)
        return [generator.batch(i, 64) for i in range(self.options.batches)]

    def networks(self, **settings) -> list[Lifter]:  # type: ignore[no-untyped-def]
        """One network a seed."""
        key = json.dumps(settings, default=str, sort_keys=True)
        if key not in self.trained:
            ages = settings.pop("ages", self.generator.ages)
            training = LifterTraining(size="small", generator=replace(self.generator, ages=ages), **settings)
            self.trained[key] = [self._train(training, seed) for seed in range(self.options.seeds)]
        return self.trained[key]

    def _train(self, training: LifterTraining, seed: int) -> Lifter:
        n = self.options.steps
        schedule = Schedule(
            steps=n, batch=64, lr=2e-3, warmup=min(200, n // 5), validate_every=n, checkpoint_every=n, seed=seed
        )
        with tempfile.TemporaryDirectory() as folder:
            train_lifter(Path(folder), replace(training, validation_batches=1), schedule, bank=self.bank)
            return load_lifter(Path(folder) / WEIGHTS)

    def row(self, name: str, **settings) -> dict:  # type: ignore[no-untyped-def]
        """Mean and spread over seeds of a network's errors."""
        rows = [errors(n, self.batches) for n in self.networks(**settings)]
        print(f"  {name}: {[round(r['mpjpe_mm'], 1) for r in rows]}", flush=True)
        spread = float(np.std([r["mpjpe_mm"] for r in rows]))
        return {"network": name, **{k: float(np.mean([r[k] for r in rows])) for k in rows[0]}, "mpjpe_sd": spread}

    def modules(self) -> list[dict]:
        return [
            self.row("no graph, single frames", layers=0, temporal=False),
            self.row("+ GSR", temporal=False),
            self.row("+ GSR beside own features", temporal=False, own=True),
            self.row("+ GSR + TMP"),
        ]

    def layers(self) -> list[dict]:
        return [self.row(f"{n} layers", layers=n, temporal=False) for n in (1, 2, 3)]

    def windows(self) -> list[dict]:
        return [self.row(f"window {n}", window=n) for n in (1, 3, 5, 7, 9)]

    def chain(self) -> list[dict]:
        """The chain layer behind the shipped network, or behind one trained here where there is none."""
        network = shipped_lifter(self.options.keypoint_set) or self.networks()[0]
        return projected(network, self.batches[0], 4 if self.options.quick else 32)

    def children(self) -> list[dict]:
        """Errors in statures of 6-year-olds and adults."""
        adults, six = self.test(ages=ADULTS), self.test(ages=SIX)
        rows = []
        shipped = shipped_lifter(self.options.keypoint_set)
        trained = {"trained on all ages": self.networks(), "trained on adults only": self.networks(ages=ADULTS)}
        for name, networks in (({"shipped": [shipped]} if shipped else {}) | trained).items():
            a, c = (float(np.mean([errors(n, b)["mpjpe_statures"] for n in networks])) for b in (adults, six))
            rows.append({"network": name, "adults": a, "six_years": c, "ratio": c / a})
        return rows


@torch.inference_mode()
def errors(network: Lifter, batches: list[Batch]) -> dict[str, float]:
    """Of the 12 large joints from the middle of the hips: distance, smoothness, acceleration error."""
    index = joint_index(network)
    rows = []
    for b in batches:
        size = b.stature[:, None, None, None]
        pose, true = (x[:, :, index] for x in (lifted(network, b).pose, b.pose))
        rows.append([
            1e3 * mpjpe(size * pose, size * true).mean(), mpjpe(pose, true).mean(),
            temporal_smoothness(size * pose, b.time).mean(), temporal_smoothness(size * true, b.time).mean(),
            acceleration_error(size * pose, size * true, b.time).mean(),
        ])  # fmt: skip
    names = ("mpjpe_mm", "mpjpe_statures", "ts_m_s2", "true_ts_m_s2", "acceleration_error_m_s2")
    return {n: float(np.mean([float(r[i]) for r in rows])) for i, n in enumerate(names)}


def joint_index(network: Lifter) -> list[int]:
    marks = keypoint_landmarks(network.config.gsr.keypoint_set)
    return [marks.index(j) for j in JOINTS]


def projected(network: Lifter, batch: Batch, n: int) -> list[dict]:
    """n sequences before and after ``KinematicChain.project`` onto the body that age and height give."""
    keypoint_set = network.config.gsr.keypoint_set
    marks, index = keypoint_landmarks(keypoint_set), joint_index(network)
    edges = torch.tensor([[marks.index(a), marks.index(b)] for a, b in RIGID])
    with torch.inference_mode():
        poses = lifted(network, batch.rows(slice(n))).pose.double()
    before, after, beyond, total, converged = [], [], 0, 0, 0
    for i in range(n):
        h, age = float(batch.stature[i]), float(batch.age[i])
        chain = KinematicChain(load_skeleton("adult" if age >= ADULT else "child", age=age, height=h))
        p, true = (h * x.double() @ LEVEL_CAMERA for x in (poses[i], batch.pose[i]))
        found = chain.project(p, keypoint_set)
        on_body = chain.keypoints(found.q, keypoint_set)
        for rows, x in ((before, p), (after, on_body)):
            rows.append(figures(x, true, index, edges))
        over = chain.limit_residual(found.q).abs() > OVER
        beyond, total, converged = (
            beyond + int(over.sum()),
            total + over.numel(),
            converged + int(found.converged.sum()),
        )
    names = ("mpjpe_mm", "bone_length_deviation_mm")
    rows = [
        {"network": name, **dict(zip(names, np.mean(values, 0).tolist(), strict=True))}
        for name, values in (("alone", before), ("+ chain layer", after))
    ]
    rows[1] |= {"limit_violations": beyond / total, "converged": converged / (n * batch.pose.shape[1])}
    return rows


def figures(p: Tensor, true: Tensor, index: list[int], edges: Tensor) -> list[float]:
    """MPJPE from the middle of the hips and the deviation of bone lengths over time [mm]."""
    hips = [0, 1]  # the first of ``JOINTS``
    a, b = (x[:, index] - x[:, index][:, hips].mean(1, keepdim=True) for x in (p, true))
    return [1e3 * float(mpjpe(a, b).mean()), 1e3 * float(bone_length_deviation(p, edges))]


def show(name: str, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(k for r in rows for k in r if k != "network"))
    print(f"\n{name:28s}" + "".join(f"{c:>26s}" for c in columns))
    for r in rows:
        print(f"{r['network']:28s}" + "".join(f"{r[c]:26.4f}" if c in r else " " * 26 for c in columns))


if __name__ == "__main__":
    main()
