"""Batches: what they cost over a plain loop, what a second worker brings, the driver's memory.

    python benchmarks/batch.py                   both
    python benchmarks/batch.py speed [--clips CLIP...] [--copies 6] [--turns 2] [--out benchmarks/results]
    python benchmarks/batch.py memory [--rows 10000]

speed: real clips, detection included, as a loop of ``fit`` and ``save``, then as batches of one and of two workers;
few clips and many, so that the cost per clip is known apart from that of a start.
memory: the driver's resident memory over made-up clips of a few milliseconds.
Each prints its figures and adds them to batch.json.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TESTS = Path(__file__).parents[1] / "tests"  # whose made-up fit the stubs are
CORES = os.cpu_count()


def main() -> None:
    """Run one of the two, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what")
    for name, run in (("speed", speed), ("memory", memory)):
        what.add_parser(name).set_defaults(run=run)
        what.choices[name].add_argument("--out", type=Path, default=RESULTS)
    one = what.choices
    one["speed"].add_argument("--clips", type=Path, nargs="+", default=default_clips())
    one["speed"].add_argument("--copies", type=int, default=6)
    one["speed"].add_argument("--turns", type=int, default=2)
    one["memory"].add_argument("--rows", type=int, default=10_000)
    given = sys.argv[1:]
    for arguments in [given] if given else [["speed"], ["memory"]]:
        options = parser.parse_args(arguments)
        options.run(options)


# --- speed ------------------------------------------------------------------------------------------------------------


def default_clips() -> list[Path]:
    samples = Path(os.environ.get("PHYSPOSE_DATA", "")) / "opencap_visualizer_samples/public/samples"
    return sorted(p for name in ("walk", "walk_ts") for p in (samples / name).glob("*.mp4"))


def speed(options: argparse.Namespace) -> None:
    """Wall and processor time of a loop, one worker, two workers; each in processes of its own, in turns."""
    if not options.clips:
        sys.exit("no clips: give --clips, or PHYSPOSE_DATA")
    few, many = len(options.clips), len(options.clips) * options.copies
    turns: list[dict[str, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.turns):
            turns.append({})
            for n, name in itertools.product((few, many), ("loop", "1 worker", "2 workers")):
                manifest = copies(options.clips, n // few, Path(folder))
                run = speed_loop if name == "loop" else speed_batch
                cost = measured(run, manifest, Path(folder) / f"{name} {n} {turn}", name)
                turns[-1][f"{name}, {n} clips"] = cost
                print(f"{name:10} {n:3} clips: {cost}", flush=True)
        manifest = copies(options.clips, options.copies, Path(folder))
        alone = in_process(clip_by_clip, manifest, Path(folder) / "alone", Path(folder) / "batch")
    figures = {"clips": many, "a worker's clip over fit and save, clip by clip (cpu)": spread(alone)}
    report("speed", figures | speed_figures(turns, few, many), options.out)


def speed_figures(turns: list[dict[str, Cost]], few: int, many: int) -> dict[str, Any]:
    """Ratios within each turn, and their medians; per clip: what ``many`` cost more than ``few``, without the start."""

    def ratio(of: str, to: str, what: str, per_clip: bool) -> dict[str, Any]:
        def cost(turn: dict[str, Cost], name: str) -> float:
            less = getattr(turn[f"{name}, {few} clips"], what) if per_clip else 0.0
            return float(getattr(turn[f"{name}, {many} clips"], what)) - less

        return spread([cost(turn, of) / cost(turn, to) for turn in turns])

    figures: dict[str, Any] = {}
    for what, per_clip in itertools.product(("wall", "cpu"), (True, False)):
        kind = f"{what}, {'per clip' if per_clip else f'{many} clips with start'}"
        figures[f"one worker over the loop ({kind})"] = ratio("1 worker", "loop", what, per_clip)
        if what == "wall":
            figures[f"two workers' speed over one's ({kind})"] = ratio("1 worker", "2 workers", what, per_clip)
        else:
            figures[f"two workers' cost over one's ({kind})"] = ratio("2 workers", "1 worker", what, per_clip)
    for name in ("loop", "1 worker", "2 workers"):
        figures[f"start, {name} (cpu) [s]"] = spread([start(turn, name, few, many) for turn in turns])
    return figures | {"runs": [{name: vars(cost) for name, cost in turn.items()} for turn in turns]}


def start(turn: dict[str, Cost], name: str, few: int, many: int) -> float:
    """Processor time [s] that no clips would have taken: imports, and what a first fit has to load."""
    less, more = turn[f"{name}, {few} clips"].cpu, turn[f"{name}, {many} clips"].cpu
    return less - few * (more - less) / (many - few)


def spread(ratios: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(ratios), "each": [round(r, 3) for r in ratios]}


def in_process(run: Callable[..., Any], *arguments: object) -> Any:
    """What a function returns in a process of its own."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def clip_by_clip(manifest: Path, alone: Path, batch: Path) -> list[float]:
    """Processor time of a worker's task over that of ``fit`` and ``save``, for each clip but the first, in turns.

    Whatever slows a machine down for a while slows both.
    """
    import physpose
    from physpose.batch import read_manifest
    from physpose.batch.study import Study, task_of
    from physpose.batch.work import work

    def loop(row: Any) -> float:
        start = time.process_time()
        physpose.fit(str(row.views[0]), **row.arguments).save(alone / row.name)
        return time.process_time() - start

    def task(row: Any) -> float:
        start = time.process_time()
        assert work(task_of(row, frames=True), study, physpose.fit).failure is None
        return time.process_time() - start

    alone.mkdir()
    with Study.opened(batch) as study:
        ratios = []
        for k, row in enumerate(read_manifest(manifest).rows):
            a, b = (loop(row), task(row)) if k % 2 else (task(row), loop(row))[::-1]
            ratios.append(b / a)
    return ratios[1:]


@dataclass(frozen=True)
class Cost:
    """Seconds that something took."""

    wall: float
    cpu: float  # of all its processes
    cpu_of_others: float  # that other processes of the machine took meanwhile

    def __str__(self) -> str:
        return f"{self.wall:6.1f} s wall {self.cpu:6.1f} s of processors ({self.cpu_of_others:.1f} s beside it)"


def copies(clips: list[Path], n: int, folder: Path) -> Path:
    """A manifest with every clip n times."""
    rows = [f"{clip.resolve()},{clip.parent.name}_{i}" for i in range(n) for clip in clips]
    manifest = folder / f"{n}.csv"
    manifest.write_text("\n".join(["clip,name", *rows]) + "\n")
    return manifest


def measured(run: Callable[..., None], *arguments: object) -> Cost:
    """What a function costs in a new process, its children included."""
    before, busy, start = resource.getrusage(resource.RUSAGE_CHILDREN), machine_busy(), time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=run, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, machine_busy() - busy - cpu)


def machine_busy() -> float:
    """Seconds that the machine's processors have worked: user, nice, system, interrupts."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def speed_loop(manifest: Path, out: Path, _: str) -> None:
    import physpose
    from physpose.batch import read_manifest

    out.mkdir()
    for row in read_manifest(manifest).rows:
        physpose.fit(str(row.views[0]), **row.arguments).save(out / row.name)


def speed_batch(manifest: Path, out: Path, name: str) -> None:
    from physpose.batch import run_batch

    result = run_batch(manifest, out, workers=int(name.split()[0]))
    assert not result.failed


# --- memory -----------------------------------------------------------------------------------------------------------


def memory(options: argparse.Namespace) -> None:
    """The driver's resident memory as clips go by."""
    from physpose.batch import run_batch

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "clip.mp4").write_text("ok")
        manifest = Path(folder) / "study.csv"
        rows = (f"clip.mp4,n{i},{1.5 + i % 400 / 1000}" for i in range(options.rows))
        manifest.write_text("\n".join(["clip,name,height", *rows]) + "\n")
        watcher = MemoryWatcher(options.rows // 10)
        result = run_batch(manifest, Path(folder) / "out", fit=small_fit, workers=CORES, tables="csv", watcher=watcher)
        assert result.done == options.rows
        watcher.marks["after the summary"] = resident()
    figures = {"rows": options.rows, "driver's resident memory [MB] after so many clips": watcher.marks}
    report("memory", figures, options.out)


class MemoryWatcher:
    """Notes the memory of its process every so many clips."""

    def __init__(self, every: int):
        self.every, self.n = every, 0
        self.marks: dict[str, float] = {}

    def start(self, total: int, kept: int) -> None:
        self.marks["0"] = resident()

    def ended(self, outcome: object) -> None:
        self.n += 1
        if self.n % self.every == 0:
            self.marks[str(self.n)] = resident()
            print(f"{self.n:7} clips {resident():7.1f} MB", flush=True)


def resident() -> float:
    """Resident memory of this process [MB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def small_fit(source: str, **arguments: object) -> Any:
    """A made-up result that takes little time to save."""
    return small_result()


@lru_cache(maxsize=1)
def small_result() -> Any:
    sys.path.insert(0, str(TESTS))
    from example_result import example_result

    from physpose.result import FitResult

    class Small(FitResult):
        def save(self, out: str | Path) -> dict[str, Path]:
            (Path(out) / "result.txt").write_text("made up")
            return {}

    example = example_result(T=3)
    judged = example.plausibility
    Small.plausibility = property(lambda _: judged)
    return Small(**{name: getattr(example, name) for name in FitResult.__dataclass_fields__})


# --- report -----------------------------------------------------------------------------------------------------------


def report(name: str, figures: dict[str, Any], folder: Path) -> None:
    """Print figures, and add them to batch.json."""
    figures = {"cores": CORES, "load": os.getloadavg(), "python": platform.python_version(), **figures}
    print(json.dumps(figures, indent=1))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "batch.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(known | {name: figures}, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
