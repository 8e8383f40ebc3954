"""Store a trained lifter as the package's own, as float16.

    python benchmarks/ship_lifter.py RUN [RUN ...]

RUN: a folder of ``physpose train``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from physpose.networks.lifter import SHIPPED, load_lifter, save_lifter
from physpose.networks.weights import read_safetensors
from physpose.training.loop import WEIGHTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    for run in parser.parse_args().runs:
        lifter, about = load_lifter(run / WEIGHTS), read_safetensors(run / WEIGHTS)[1]
        file = SHIPPED / f"lifter_{lifter.config.gsr.keypoint_set}.safetensors"
        save_lifter(lifter.half(), file, {k: v for k, v in about.items() if k != "lifter"})
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, {about['figures']}")


if __name__ == "__main__":
    main()
