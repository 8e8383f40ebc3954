"""Make the file of motions that networks train on, from public motion capture and the simulations.

    python benchmarks/motion_bank.py FOLDER OUT.npz [--rate 30]

FOLDER holds ``cmu_cgspeed_bvh``, ``cmu_expmap`` (CMU Graphics Lab Motion Capture Database: "The data used in this
project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217.") and
``ui_prmd`` (Vakanski et al. 2018, Data 3:2, public domain), unpacked or as .tar.xz archives. Inverse kinematics
gives the adult skeleton's motion; frames that it explains badly are cut out. Adults only.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from fit_posture_prior import SAME_PEOPLE, SKELETON, Track, recentre, solve_all

import sims.jump
import sims.planted
import sims.walk
from physpose.data.motion_bank import MotionBank, MotionClip
from physpose.skeleton import load_skeleton
from physpose.types import Array

DATA_SETS = ("cmu_cgspeed_bvh", "cmu_expmap", "ui_prmd")
SHORTEST = 0.5  # [s] of a stretch that is kept


def unpacked(folder: Path, into: Path) -> Path:
    """The folder itself where the data sets lie open in it, else ``into``, with the archives' contents."""
    if all((folder / name).is_dir() for name in DATA_SETS):
        return folder
    for name in DATA_SETS:
        with tarfile.open(folder / f"{name}.tar.xz") as archive:
            archive.extractall(into, filter="data")
    return into


def clips(track: Track, rate: float) -> list[MotionClip]:
    """Stretches of a fitted motion that the inverse kinematics explains, at ``rate`` [1/s]."""
    good = track.good & np.isfinite(track.q).all(1)
    edges = np.flatnonzero(np.diff(np.r_[0, good.astype(int), 0]))
    out = []
    for k, (a, b) in enumerate(edges.reshape(-1, 2)):
        if b - a > SHORTEST * track.rate:
            person = SAME_PEOPLE.get(track.person, track.person)
            whole = MotionClip(
                name=f"{track.name} {k}", person=person, source=track.source, rate=track.rate, q=track.q[a:b]
            )
            out.append(resampled(whole, rate))
    return out


def resampled(clip: MotionClip, rate: float) -> MotionClip:
    """The clip at another rate [1/s]."""
    time = np.arange(0, clip.seconds, 1 / rate)
    return MotionClip(name=clip.name, person=clip.person, source=clip.source, rate=rate, q=clip.at(time))


def simulated(rate: float) -> list[MotionClip]:
    """Walks straight and on curves, squats, rising from a seat, jumps and drops of adults and children."""
    out = []
    for kind, body in (("adult", load_skeleton("adult", height=1.7)), ("child", load_skeleton("child", age=7))):
        motions: dict[str, tuple[Array, Array]] = {}
        for yaw in (-60.0, 0.0, 60.0):
            s = sims.walk.simulate(body, 3.0, yaw_rate=yaw)
            motions[f"walk, {yaw:g} deg/s"] = s.time, s.q
        for motion in ("jump", "drop"):
            s = sims.jump.simulate(body, motion=motion)
            motions[motion] = s.time, s.q
        for motion in ("squat", "sit_to_stand"):
            s = sims.planted.simulate(body, sims.planted.DURATION[motion], motion=motion)
            motions[motion] = s.time, s.q
        for name, (time, q) in motions.items():
            whole = MotionClip(
                name=f"{kind}: {name}", person=f"sim_{kind}", source="simulation", rate=1 / (time[1] - time[0]), q=q
            )
            out.append(resampled(whole, rate))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", type=float, default=30.0, help="[1/s]")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        tracks = solve_all(unpacked(args.folder, Path(scratch)))
    recentre(tracks)
    found = [c for t in tracks for c in clips(t, args.rate)] + simulated(args.rate)
    bank = MotionBank(coordinate_names=SKELETON.coordinate_names, clips=tuple(found))
    bank.save(args.out)
    for split in ("train", "validation", "test"):
        part = bank.split(split)
        print(f"{split}: {sum(c.seconds for c in part.clips) / 60:.1f} minutes of {', '.join(part.people)}")
    print(f"{len(bank.clips)} clips -> {args.out}, {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
