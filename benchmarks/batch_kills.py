"""Runs of a batch that are killed round after round: nothing may be lost, done twice or come out differently.

    python benchmarks/batch_kills.py [--real] [--ray] [--rounds 10] [--clips 40] [--seed 0]

SIGKILL for a worker, with --ray for a node, and for the driver, at random moments; then a last run. Every good clip
must have one result then, the same to the byte as in a run that nobody killed, and every broken one its reason.

Clips are made up and of 0.3 s; with --real they are cut from the recordings in PHYSPOSE_DATA, each eighth one broken
(see ``SPOILT``), and fitted from the video. --ray: a cluster of two nodes of one core on this machine.
Prints its figures and adds them to batch.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from batch import RESULTS, TESTS, report

FRAMES = 32  # of a real clip
CLOCK = Fraction(1, 90_000)  # [s] of a clip's time stamps
RECORDINGS = (  # in PHYSPOSE_DATA, and the person's height [m]
    ("opencap_visualizer_samples/public/samples/walk/video.mp4", 1.60),
    ("opencap_visualizer_samples/public/samples/walk_ts/video.mp4", 1.59),
    ("opencap_visualizer_samples/public/samples/STS/video.mp4", 1.87),
    ("sports2d/Demo/demo.mp4", 1.75),
)


def main() -> None:
    """Rounds of killing, then a last run; see the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--drive", nargs="+", help=argparse.SUPPRESS)  # a run in a process of its own: what is killed
    options = parser.parse_args()
    if options.drive:
        drive(*options.drive, real=options.real)
    kills(options)


def kills(options: argparse.Namespace) -> None:
    chance, hits, done = random.Random(options.seed), [], []
    with tempfile.TemporaryDirectory() as folder, cluster(options.ray) as nodes:
        manifest, good = (real_clips if options.real else stub_clips)(Path(folder), options.clips)
        batch = Batch(manifest, Path(folder) / "study", nodes, options.real)
        whole = Batch(manifest, Path(folder) / "whole", nodes, options.real)
        start = time.perf_counter()
        whole.start().wait()
        seconds = time.perf_counter() - start
        print(f"without kills: {seconds:.0f} s, {len(whole.results())} of {len(good)} good clips", flush=True)
        assert whole.results() == good, f"missing: {good - whole.results()}; too many: {whole.results() - good}"
        for _ in range(options.rounds):
            hits.append(killed_round(batch, chance))
            done.append(len(batch.results()))
            print(f"killed: {', '.join(hits[-1])}; {done[-1]} of {len(good)} good clips have a result", flush=True)
        last = batch.start().wait()
        figures = {
            "engine": "ray, two nodes" if options.ray else "local", "clips": options.clips, "good clips": len(good),
            "seconds without kills": seconds, "rounds": options.rounds, "killed in each round": hits,
            "results after each round": done, "exit code of the last run": last,
            "good clips with one result": len(batch.results() & good), "others with one": len(batch.results() - good),
            "files": len(whole.contents()),
            "files that differ from those without kills": differing(batch.contents(), whole.contents()),
            "failures as without kills": batch.failures() == whole.failures(), "failures": batch.failures(),
        }  # fmt: skip
    report(
        f"kills, {'real' if options.real else 'made-up'} clips, {'ray' if options.ray else 'local'}",
        figures,
        options.out,
    )


# --- clips ------------------------------------------------------------------------------------------------------------


def stub_clips(folder: Path, n: int) -> tuple[Path, set[str]]:
    """A manifest of made-up clips, every eighth one broken; and the names of the good ones."""
    kinds = {f"clip{i:02}": ("empty" if i % 16 == 5 else "bug") if i % 8 == 5 else "ok 0.3" for i in range(n)}
    for name, what in kinds.items():
        (folder / f"{name}.mp4").write_text(what)
    manifest = folder / "study.csv"
    manifest.write_text("clip\n" + "".join(f"{name}.mp4\n" for name in kinds))
    return manifest, {name for name, what in kinds.items() if what.startswith("ok")}


def real_clips(folder: Path, n: int) -> tuple[Path, set[str]]:
    """A manifest of short clips from real recordings, every eighth one broken; and the names of the good ones."""
    sources = Path(os.environ.get("PHYSPOSE_DATA", ""))
    if missing := [name for name, _ in RECORDINGS if not (sources / name).is_file()]:
        sys.exit(f"PHYSPOSE_DATA does not name a folder with {', '.join(missing)}")
    pieces = itertools.chain.from_iterable(
        ((sources / name, start, height) for start in starts(sources / name)) for name, height in RECORDINGS
    )
    spoil, lines, good = itertools.cycle(SPOILT), ["clip,height"], set()
    for i, (video, start, height) in zip(range(n), itertools.cycle(list(pieces)), strict=False):
        clip, broken = folder / f"clip{i:02}.mp4", i % 8 == 5
        how = next(spoil) if broken else None
        cut(video, start, clip, aside=how is nobody)
        lines.append(f"{(how(clip) if how else clip).name},{height}")
        good |= set() if broken else {clip.stem}
    manifest = folder / "study.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest, good


def starts(video: Path) -> range:
    """First frames of the pieces that a recording has."""
    from physpose.io.video import Video

    return range(0, len(Video.open(video).times()) - FRAMES + 1, FRAMES)


def cut(video: Path, start: int, clip: Path, aside: bool) -> None:
    """FRAMES frames as a video of half the size; ``aside``: its upper corner alone, where nobody is."""
    import av

    from physpose.io.video import Video

    frames = itertools.islice(Video.open(video).frames(), start, start + FRAMES)
    shown = corner if aside else halved
    pictures = [(time_, shown(picture)) for _, time_, picture in frames]
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"preset": "veryfast"})
        stream.height, stream.width = pictures[0][1].shape[:2]
        stream.codec_context.time_base = CLOCK
        for time_, picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture.copy(), "rgb24")
            frame.pts, frame.time_base = round(time_ / CLOCK), CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def halved(picture: Any) -> Any:
    """Every second pixel either way, of even size."""
    return picture[: len(picture) // 4 * 4 : 2, : picture.shape[1] // 4 * 4 : 2]


def corner(picture: Any) -> Any:
    """The upper left one of even size."""
    return picture[: len(picture) // 8 * 2, : picture.shape[1] // 8 * 2]


def truncated(clip: Path) -> Path:
    """Cut off in the middle, as a copy that was interrupted."""
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    return clip


def empty(clip: Path) -> Path:
    """Nothing in it."""
    clip.write_bytes(b"")
    return clip


def text(clip: Path) -> Path:
    """Another kind of file."""
    clip.write_text("time,x,y\n0,1,2\n")
    return clip


def wrong_suffix(clip: Path) -> Path:
    """A video that says it is keypoints."""
    return clip.rename(clip.with_suffix(".json"))


def nobody(clip: Path) -> Path:
    """As it is: it shows a wall."""
    return clip


SPOILT: tuple[Callable[[Path], Path], ...] = (truncated, nobody, empty, wrong_suffix, text)

# --- runs -------------------------------------------------------------------------------------------------------------


class Batch:
    """One output folder, and what runs on it."""

    def __init__(self, manifest: Path, study: Path, nodes: Any, real: bool):
        self.manifest, self.study, self.nodes, self.real = manifest, study, nodes, real
        self.pause = 1.0 if real else 0.5  # [s] at most before each kill

    def start(self) -> subprocess.Popen[bytes]:
        """A driver at work."""
        command = [sys.executable, __file__, *(["--real"] if self.real else [])]
        command += ["--drive", str(self.manifest), str(self.study)]
        return subprocess.Popen(command + ([self.nodes.address] if self.nodes else []), env=environment())

    def results(self) -> set[str]:
        """Names of clips with a complete result."""
        return {p.parent.name for p in self.study.glob("clips/*/row.json")}

    def contents(self) -> dict[str, bytes]:
        """Every file of every result, but the wall times."""
        files = (p for part in ("clips", "frames") for p in (self.study / part).rglob("*") if p.is_file())
        return {str(p.relative_to(self.study)): p.read_bytes() for p in files if p.name != "timing.json"}

    def failures(self) -> dict[str, str]:
        """Reasons of clips without one, without the folder's name."""
        found = {p.stem: json.loads(p.read_text())["reason"] for p in sorted((self.study / "failed").glob("*.json"))}
        return {name: reason.replace(f"{self.manifest.parent}/", "") for name, reason in found.items()}


def differing(a: dict[str, bytes], b: dict[str, bytes]) -> list[str]:
    """Names of files that one has and the other has not, or not the same."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def killed_round(batch: Batch, chance: random.Random) -> list[str]:
    """Start a driver; once it is at work kill a worker, a node of a cluster, then the driver."""
    driver, hits, before, nodes = batch.start(), [], len(batch.results()), batch.nodes
    while driver.poll() is None and len(batch.results()) == before:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, batch.pause))
    if victims := workers_of(driver.pid if nodes is None else os.getpid()):
        os.kill(chance.choice(victims), signal.SIGKILL)
        hits.append("worker")
    time.sleep(chance.uniform(0, batch.pause))
    if nodes is not None:
        nodes.remove_node(chance.choice(sorted(nodes.worker_nodes, key=id)), allow_graceful=False)
        nodes.add_node(num_cpus=1)
        hits.append("node")
        time.sleep(chance.uniform(0, batch.pause))
    if driver.poll() is None:
        driver.kill()
        hits.append("driver")
    driver.wait()
    return hits


def drive(manifest: str, study: str, address: str | None = None, *, real: bool) -> None:
    """One run of a batch, with the tests' made-up fit or the true one; ends the process."""
    from physpose.batch import run_batch
    from physpose.batch.work import physpose_fit as fit

    if not real:
        from batch_stub import fit
    workers = None if address else 2
    result = run_batch(manifest, study, fit=fit, workers=workers, ray=address, tables="parquet")
    sys.exit(1 if result.failed else 0)


def environment() -> dict[str, str]:
    """The made-up fit can be found, by nodes too."""
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}


@contextmanager
def cluster(wanted: bool) -> Iterator[Any]:
    """Two nodes of one core beside a head without; None if not wanted."""
    if not wanted:
        yield None
        return
    os.environ.update(environment())
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    try:
        yield nodes
    finally:
        nodes.shutdown()


def workers_of(pid: int) -> list[int]:
    """Processes below ``pid`` that fit clips."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if command.startswith(b"ray::_work_there") or b"multiprocessing.spawn" in command:
                found.append(child)
            found += workers_of(child)
    return found


if __name__ == "__main__":
    main()
