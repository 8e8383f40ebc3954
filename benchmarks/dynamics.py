"""Inverse dynamics, forward and with its vector-Jacobian product: our engines against Pinocchio, MuJoCo and others.

    python benchmarks/dynamics.py [--threads N] [--batches 1 64 512 4096] [--rounds 15] [--device cpu] [--out DIR]

Contestants take turns within one run, so that a busy machine slows all of them; the ratio to Pinocchio's Python loop in
the same run is what counts. Prints the environment and a table; writes dynamics.json (on a GPU dynamics_cuda.json)
and, with matplotlib, a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.conventions import a_to_mujoco, q_to_mujoco, v_to_mujoco
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.skeleton import load_skeleton
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.spatial import quat_to_matrix

TURN = 0.02  # [s] of each contestant in each round
REFERENCE = "Pinocchio, Python loop"
Run = Callable[[], object]


class Contestant(NamedTuple):
    """What one library does with the same B samples."""

    name: str
    dtype: str
    forward: Run  # tau of all samples
    both: Run | None  # tau and the vector-Jacobian product by q, v, a


class Samples(NamedTuple):
    """B random states."""

    q: np.ndarray
    v: np.ndarray
    a: np.ndarray
    u: np.ndarray  # cotangent of tau


def main() -> None:
    """Parse the arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 512, 4096])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of our engines, not of others")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    skeleton = load_skeleton("adult", age=30, sex="x", height=1.72, mass=70.0)
    about = environment(options.threads, options.rounds, options.device)
    report = {"environment": about, "dof": skeleton.nv, "rows": []}
    print(json.dumps(report["environment"], indent=2), f"\n{skeleton.nv} degrees of freedom\n{HEADER}")
    for B in options.batches:
        for row in measure(skeleton, B, options.rounds, options.threads, options.device):
            report["rows"].append(row)
            print(line(row))
    write(report, options.out)


def environment(threads: int, rounds: int, device: str) -> dict[str, object]:
    """What the figures depend on."""
    packages = ("torch", "pin", "mujoco", "warp-lang", "numpy", "pytorch-kinematics", "adam-robotics", "mujoco-mjx")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": threads,
        "rounds": rounds,
        "warm-up": "two calls each",
        "statistic": "median over rounds; contestants take turns in each",
        "python": platform.python_version(),
        "packages": {p: metadata.version(p) for p in packages if installed(p)},
    }


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor()


def installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def measure(skeleton: Skeleton, B: int, rounds: int, threads: int, device: str) -> list[dict[str, object]]:
    """One row a contestant: microseconds a sample, and how many times faster than the reference."""
    contestants = list(all_contestants(skeleton, samples(skeleton, B), threads, device))
    runs = [(c, kind, run) for c in contestants for kind, run in (("forward", c.forward), ("both", c.both)) if run]
    seconds: dict[tuple[str, str, str], list[float]] = {(c.name, c.dtype, kind): [] for c, kind, _ in runs}
    repeats = [enough(run) for _, _, run in runs]
    for _ in range(rounds):
        for (c, kind, run), n in zip(runs, repeats, strict=True):
            start = time.perf_counter()
            for _ in range(n):
                run()
            seconds[c.name, c.dtype, kind].append((time.perf_counter() - start) / n)
    micro = {key: 1e6 * float(np.median(x)) / B for key, x in seconds.items()}
    return [as_row(c, B, micro) for c in contestants]


def enough(run: Run) -> int:
    """How often to repeat a call, after a first one: long enough that the caches are this contestant's own."""
    run()
    start = time.perf_counter()
    run()
    return max(1, int(TURN / (time.perf_counter() - start)))


def as_row(c: Contestant, B: int, micro: dict[tuple[str, str, str], float]) -> dict[str, object]:
    row: dict[str, object] = {"name": c.name, "dtype": c.dtype, "batch": B}
    for kind in ("forward", "both"):
        value = micro.get((c.name, c.dtype, kind))
        row[f"{kind} [us/sample]"] = value
        row[f"{kind}, times faster"] = value and micro[REFERENCE, "float64", kind] / value
    return row


def samples(skeleton: Skeleton, B: int) -> Samples:
    """Random states about the neutral pose."""
    rng = np.random.default_rng(0)
    model = PinocchioModel(skeleton)
    dq, v, a, u = rng.normal(size=(4, B, skeleton.nv))
    return Samples(model.integrate(np.tile(skeleton.neutral, (B, 1)), 0.5 * dq), v, a, u)


def all_contestants(skeleton: Skeleton, x: Samples, threads: int, device: str) -> Iterator[Contestant]:
    """Everyone who is installed."""
    yield from pinocchio_contestants(skeleton, x, threads)
    yield mujoco_contestant(skeleton, x)
    if len(x.q) == 1:  # it is one call, however large the batch
        yield autograd_overhead(skeleton, x)
    for engine in ("auto", "torch", "pinocchio", "warp"):
        for dtype in (torch.float64, torch.float32):
            if applies(engine, dtype, device):
                yield our_contestant(skeleton, x, engine, dtype, device)
    if find_spec("adam"):
        yield adam_contestant(skeleton, x)
    if find_spec("pytorch_kinematics"):
        yield pytorch_kinematics_contestant(skeleton, x)


def applies(engine: str, dtype: torch.dtype, device: str) -> bool:
    if engine == "pinocchio":
        return dtype == torch.float64 and device == "cpu"
    return engine != "warp" or find_spec("warp") is not None


def our_contestant(skeleton: Skeleton, x: Samples, engine: str, dtype: torch.dtype, device: str) -> Contestant:
    """``dynamics.rnea`` as a user calls it: input checks and autograd included."""
    chain = KinematicChain(skeleton, dtype).to(device)
    q, v, a, u = (torch.tensor(y, dtype=dtype, device=device) for y in x)
    leaves = [y.clone().requires_grad_() for y in (q, v, a)]
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None

    def forward() -> None:
        dynamics.rnea(chain, q, v, a, engine=engine)
        finish()

    def both() -> None:
        torch.autograd.grad(dynamics.rnea(chain, *leaves, engine=engine), leaves, u)
        finish()

    return Contestant(f"physpose, {engine}, {device}", str(dtype).removeprefix("torch."), forward, both)


class Nothing(torch.autograd.Function):
    """As many arguments as inverse dynamics takes, and no work."""

    @staticmethod
    def forward(ctx: Any, chain: object, engine: object, *tensors: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(*tensors)
        return torch.empty_like(tensors[1])

    @staticmethod
    def backward(ctx: Any, u: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, v, a, *_ = ctx.saved_tensors
        return None, None, q, v, a, *[None] * 6


def autograd_overhead(skeleton: Skeleton, x: Samples) -> Contestant:
    """What PyTorch itself takes to call a function of ours and its backward, whatever they do."""
    chain = KinematicChain(skeleton)
    q, v, a, u = (torch.tensor(y) for y in x)
    leaves = [y.clone().requires_grad_() for y in (q, v, a)]
    rest = (torch.zeros(3, dtype=q.dtype), None, *dynamics.body_parameters(chain))

    def forward() -> torch.Tensor:
        return Nothing.apply(chain, None, *leaves, *rest)

    return Contestant("autograd overhead", "float64", forward, lambda: torch.autograd.grad(forward(), leaves, u))


def pinocchio_contestants(skeleton: Skeleton, x: Samples, threads: int) -> Iterator[Contestant]:
    """Pinocchio as its own users call it: a Python loop, and its parallel batch."""
    import pinocchio as pin

    model = PinocchioModel(skeleton)
    m, d = model.model, model.data
    q, v, a, u = model.arguments(q=x.q, v=x.v, a=x.a, u=x.u)

    def forward() -> None:
        for t in range(len(q)):
            pin.rnea(m, d, q[t], v[t], a[t])

    def both() -> None:
        for t in range(len(q)):
            dq, dv, M = pin.computeRNEADerivatives(m, d, q[t], v[t], a[t])  # leaves tau in data.tau
            u[t] @ dq, u[t] @ dv, M @ u[t]

    yield Contestant(REFERENCE, "float64", forward, both)
    pool = pin.ModelPool(m, threads)
    qT, vT, aT = (np.asfortranarray(y.T) for y in (q, v, a))
    yield Contestant(
        "Pinocchio, rneaInParallel", "float64", lambda: pin.rneaInParallel(threads, pool, qT, vT, aT), None
    )


def mujoco_contestant(skeleton: Skeleton, x: Samples) -> Contestant:
    """``mj_inverse``, a Python loop."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(to_mjcf(skeleton))
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    data = mujoco.MjData(model)
    qpos, qvel = q_to_mujoco(skeleton, x.q), v_to_mujoco(skeleton, x.q, x.v)
    qacc = a_to_mujoco(skeleton, x.q, x.v, x.a)

    def forward() -> None:
        for t in range(len(qpos)):
            data.qpos, data.qvel, data.qacc = qpos[t], qvel[t], qacc[t]
            mujoco.mj_inverse(model, data)

    return Contestant("MuJoCo, mj_inverse", "float64", forward, None)


def adam_contestant(skeleton: Skeleton, x: Samples) -> Contestant:
    """adam's inverse dynamics takes no accelerations: its bias force, and the gradient by angles and velocities."""
    import mujoco
    from adam.pytorch import KinDynComputations

    names = list(skeleton.coordinate_names)
    model = mujoco.MjModel.from_xml_string(to_mjcf(one_joint_a_body(skeleton)))
    adam = KinDynComputations.from_mujoco_model(model, joints_name_list=names, dtype=torch.float64)
    q, v, _, u = (torch.tensor(y) for y in x)
    pose = torch.eye(4, dtype=q.dtype).repeat(len(q), 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = quat_to_matrix(q[:, 3:7]), q[:, :3]
    leaves = [q[:, 7:].clone().requires_grad_(), v.clone().requires_grad_()]

    def run(angles: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return adam.bias_force(pose, angles, v[:, :6], v[:, 6:]).reshape(u.shape)

    def both() -> None:
        torch.autograd.grad(run(*leaves), leaves, u)

    return Contestant("adam, bias force", "float64", lambda: run(q[:, 7:], v), both)


def pytorch_kinematics_contestant(skeleton: Skeleton, x: Samples) -> Contestant:
    """pytorch_kinematics has no dynamics: poses of all links only, root fixed, and the gradient of their sum."""
    from pytorch_kinematics import chain as pk_chain
    from pytorch_kinematics.frame import Frame, Joint, Link
    from pytorch_kinematics.transforms import Transform3d

    frames: dict[str | None, Frame] = {None: Frame("world", link=Link("world"))}
    for b in one_joint_a_body(skeleton).bodies:
        offset = Transform3d(pos=b.joint.translation, rot=torch.tensor(b.joint.rotation), dtype=torch.float64)
        moving = {c.name: {"joint_type": "revolute", "axis": torch.tensor(c.axis)} for c in b.joint.coordinates}
        name, joint = next(iter(moving.items()), (f"{b.name}_fixed", {}))
        frames[b.name] = Frame(b.name, Link(b.name, offset), Joint(name, dtype=torch.float64, **joint))
        frames[b.parent].children.append(frames[b.name])
    chain = pk_chain.Chain(frames[None], dtype=torch.float64)
    q = torch.tensor(x.q[:, -len(chain.get_joint_parameter_names()) :])
    leaf = q.clone().requires_grad_()

    def both() -> None:
        poses = chain.forward_kinematics(leaf)
        torch.autograd.grad(sum(p.get_matrix().sum() for p in poses.values()), leaf)

    return Contestant("pytorch_kinematics, poses only", "float64", lambda: chain.forward_kinematics(q), both)


def one_joint_a_body(skeleton: Skeleton) -> Skeleton:
    """The skeleton with a massless body between the hinges of one joint: these libraries know no other."""
    bodies = []
    for b in skeleton.bodies:
        parent, joint = b.parent, b.joint
        for c in joint.coordinates[:-1]:
            name, own = f"{b.name}_{c.name}", replace(joint, coordinates=(c,))
            bodies.append(replace(b, name=name, parent=parent, mass=0.0, inertia=np.zeros((3, 3)), joint=own))
            parent, joint = name, replace(joint, translation=np.zeros(3), rotation=np.eye(3))
        bodies.append(replace(b, parent=parent, joint=replace(joint, coordinates=joint.coordinates[-1:])))
    return replace(skeleton, bodies=tuple(bodies))


COLUMNS = f"{'':32} {'dtype':8} {'B':>6} {'forward':>9} {'x':>6} {'+ VJP':>9} {'x':>6}"
HEADER = f"{COLUMNS}   [us a sample; x: times faster than the loop]"


def line(row: dict[str, object]) -> str:
    """One row as text."""

    def number(key: str, width: int, digits: int) -> str:
        value = row[key]
        return f"{value:{width}.{digits}f}" if isinstance(value, float) else " " * width

    figures = (
        f"{number('forward [us/sample]', 9, 2)} {number('forward, times faster', 6, 1)} "
        f"{number('both [us/sample]', 9, 2)} {number('both, times faster', 6, 1)}"
    )
    return f"{row['name']!s:32} {row['dtype']!s:8} {row['batch']!s:>6} {figures}"


def write(report: dict[str, object], folder: Path) -> None:
    """dynamics.json, and dynamics.png where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = report["environment"]
    assert isinstance(environment, dict)
    name = "dynamics" if environment["threads"] == 1 else f"dynamics_{environment['threads']}_threads"
    name += "_cuda" if environment["gpu"] else ""
    temporary = folder / f".{name}.json.tmp"
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    os.replace(temporary, folder / f"{name}.json")
    if find_spec("matplotlib"):
        plot(report["rows"], folder / f"{name}.png")


def plot(rows: object, path: Path) -> None:
    """Microseconds a sample over the batch, torques alone and with their gradient."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    assert isinstance(rows, list)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    names = list(dict.fromkeys(r["name"] for r in rows))
    for axis, kind, title in zip(axes, ("forward", "both"), ("torques", "torques and their gradient"), strict=True):
        key = f"{kind} [us/sample]"
        for name, dtype in dict.fromkeys((r["name"], r["dtype"]) for r in rows if r[key]):
            points = [(r["batch"], r[key]) for r in rows if (r["name"], r["dtype"]) == (name, dtype)]
            style = "--" if not name.startswith("physpose") else (":" if dtype == "float32" else "-")
            look = {"marker": "o", "markersize": 3, "color": f"C{names.index(name)}", "label": f"{name}, {dtype}"}
            axis.plot(*zip(*points, strict=True), style, **look)
        axis.set(xscale="log", yscale="log", xlabel="samples in the batch", title=f"Inverse dynamics: {title}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("microseconds a sample")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
