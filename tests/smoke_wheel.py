"""Is the installed wheel whole? Run by the Python of an environment that holds the wheel and no extra.

venv/bin/python smoke_wheel.py          (from a folder that is not the repository)
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import physpose


def physpose_command(*args: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.prefix) / "bin" / "physpose"
    return subprocess.run([program, *args], capture_output=True, text=True, check=False)


def check_the_wheel_is_what_runs() -> None:
    assert Path(physpose.__file__).is_relative_to(sys.prefix), f"imported from {physpose.__file__}"
    assert find_spec("mediapipe") is None, "this environment has extras; the smoke test needs a bare one"


def check_the_skeletons_are_inside() -> None:
    listed = physpose_command("skeletons")
    assert listed.returncode == 0, listed.stderr
    for name in ("adult", "child", "infant"):
        assert name in listed.stdout, f"{name} not in {listed.stdout!r}"
    girl = physpose.load_skeleton("child", age=8, sex="f", height=1.28, mass=26.0)
    assert abs(girl.mass - 26.0) < 1e-9
    assert "knee_angle_r" in girl.coordinate_names


def check_a_fit_runs_and_is_saved() -> None:
    """Five frames of somebody who stands, from keypoints: needs all data files, and no extra."""
    import numpy as np
    import torch

    from physpose.types import Camera

    skeleton = physpose.load_skeleton("adult", height=1.75, mass=70.0)
    points = physpose.KinematicChain(skeleton).keypoints(torch.as_tensor(skeleton.neutral), "coco17").numpy()
    camera = Camera(image_size=(720, 1280), focal=950.0, principal_point=(360.0, 640.0), t=np.array([0.0, 1.2, 4.0]))
    uv = np.tile(camera.project(points), (5, 1, 1))
    result = physpose.fit(uv, skeleton, keypoint_set="coco17", fps=30.0, image_size=(720, 1280))
    assert result.q.shape == (5, skeleton.nq)
    assert np.isfinite(result.tau).all()
    files = result.save("standing")
    assert all(path.is_file() for path in files.values())


def check_the_chain_computes() -> None:
    import torch

    skeleton = physpose.load_skeleton("adult", height=1.75)
    chain = physpose.KinematicChain(skeleton)
    positions = chain.fk(torch.as_tensor(skeleton.neutral)).p
    assert positions.shape == (len(skeleton.bodies), 3)
    assert torch.isfinite(positions).all()


def check_the_command_answers() -> None:
    version = physpose_command("--version")
    assert version.stdout.strip() == f"physpose {physpose.__version__}", version
    shown = physpose_command("skeletons", "child", "--age", "8")
    assert shown.returncode == 0, shown.stderr
    assert "femur_r" in shown.stdout


def check_a_missing_extra_is_named() -> None:
    Path("clip.mp4").write_bytes(b"not a video")
    failed = physpose_command("fit", "clip.mp4", "--out", "out")
    assert failed.returncode == 2, failed
    assert "physpose[video]" in failed.stderr, failed.stderr
    assert len(failed.stderr.splitlines()) == 1, failed.stderr


def main() -> None:
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    for check in checks:
        check()
        print(check.__name__.removeprefix("check_").replace("_", " "))


if __name__ == "__main__":
    main()
