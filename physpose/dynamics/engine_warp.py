"""Inverse dynamics by one compiled kernel for large batches: newton_euler.h, through NVIDIA Warp, for CPU and GPU."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physpose.chain import KinematicChain
from physpose.dynamics.cache import per_chain
from physpose.dynamics.gradients import Arguments, Gradients
from physpose.dynamics.parameters import BodyParameters
from physpose.dynamics.tree import HINGE, SLIDE, Tree, tree_of
from physpose.errors import MissingPackageError
from physpose.spatial import skew

SOURCE = Path(__file__).with_name("newton_euler.h")
LANES = {torch.float64: 8, torch.float32: 16}  # of a 512-bit register; half as wide ones take two
SAMPLES_PER_CHUNK = 512  # at least: fewer take less time than waking a thread
LARGEST_ANGLE = 1e5  # [rad] that the kernel's sine and cosine take at full precision
REALS = {torch.float64: "double", torch.float32: "float"}


SIZES = ("samples", "n_links", "nq", "nv", "gravity_width")
POINTERS = (
    "table", "parameters", "q", "v_in", "a_in", "u_in", "gravity", "external",
    "tau", "q_bar", "v_bar", "a_bar", "gravity_bar", "external_bar", "parameter_bar",
)  # fmt: skip


@lru_cache(maxsize=1)
def available() -> bool:
    """Is Warp installed."""
    from importlib.util import find_spec

    return find_spec("warp") is not None


def applies(x: Arguments) -> bool:
    """One body for all samples, in a precision that the kernel is written for."""
    return x.q.dtype in LANES and (x.q.is_cpu or x.q.is_cuda) and not x.parameters.batched


def forward(chain: KinematicChain, x: Arguments) -> Tensor:
    """tau (B, nv)."""
    tree, tau = tree_of(chain), torch.empty_like(x.v, memory_format=torch.contiguous_format)
    _launch(tree, False, {**_inputs(chain, x), "tau": tau})
    return tau


def forward_for_vjp(chain: KinematicChain, x: Arguments) -> tuple[Tensor, None]:
    """tau (B, nv), and what is kept for the vector-Jacobian product: nothing."""
    return forward(chain, x), None


def vjp(chain: KinematicChain, x: Arguments, u: Tensor, by_gravity: bool, by_parameters: bool) -> Gradients:
    """Gradients of sum(u tau) for u (B, nv); those by the body's parameters only where asked for."""
    tree, B = tree_of(chain), x.q.shape[0]
    L = len(tree.kind)
    new = x.q.new_empty
    # the kernel always writes that by gravity
    bars = {"q_bar": new(x.q.shape), "v_bar": new(u.shape), "a_bar": new(u.shape), "gravity_bar": new(B, 3)}
    if x.external is not None:
        bars["external_bar"] = new(B, L, 6)
    if by_parameters:
        bars["parameter_bar"] = new(B, L, 13)
    _launch(tree, True, {**_inputs(chain, x), "u_in": u.contiguous(), **bars})
    external_bar = bars["external_bar"][:, tree.tensor("body_link", x.q)] if x.external is not None else None
    by_body = _to_bodies(tree, x.parameters, bars["parameter_bar"].sum(0)) if by_parameters else None
    gravity_bar = bars["gravity_bar"] if by_gravity else None
    return Gradients(bars["q_bar"], bars["v_bar"], bars["a_bar"], gravity_bar, external_bar, by_body)


def _to_bodies(tree: Tree, parameters: BodyParameters, bar: Tensor) -> BodyParameters:
    """Gradients by the links' inertias and origins (L, 13), carried back to the bodies' parameters."""
    with torch.enable_grad():
        leaves = BodyParameters(*(x.detach().requires_grad_() for x in parameters))
        links = link_inertias(tree, leaves), link_origins(tree, leaves)
        return BodyParameters(*torch.autograd.grad(links, list(leaves), (bar[:, :10], bar[:, 10:])))


@per_chain
def _constants(chain: KinematicChain, parameters: BodyParameters) -> tuple[Tensor, Tensor]:
    """Link table (L, 4): kind, parent, first column in q and in v; and the links' parameters (L, 46)."""
    tree = tree_of(chain)
    table = np.stack([tree.kind, tree.parent, tree.q, tree.v], -1)
    links = link_parameters(tree, BodyParameters(*(x.detach() for x in parameters)))
    return torch.as_tensor(table, dtype=torch.int32, device=links.device), links.contiguous()


def link_parameters(tree: Tree, parameters: BodyParameters) -> Tensor:
    """(L, 46) per link: joint placement and motion, inertia at the link's origin."""
    inertia = link_inertias(tree, parameters)
    R, axis = tree.tensor("rotation", inertia), tree.tensor("axis", inertia)
    K = skew(axis)
    hinge = torch.as_tensor(tree.kind == HINGE, device=R.device)[:, None, None]
    slide = torch.as_tensor(tree.kind == SLIDE, device=R.device)[:, None]
    eye = torch.eye(3, dtype=R.dtype, device=R.device)
    # R_placement (1 + sin K + (1 - cos) K^2) = A + sin B + cos C
    A = torch.where(hinge, R @ (eye + K @ K), R)
    B, C = torch.where(hinge, R @ K, 0 * R), torch.where(hinge, -R @ K @ K, 0 * R)
    along = torch.where(slide, (R @ axis[..., None]).squeeze(-1), 0 * axis)
    columns = [x.mT.flatten(-2) for x in (A, B, C)]  # the kernel reads matrices by columns
    return torch.cat([*columns, link_origins(tree, parameters), along, axis, inertia], -1)


def link_inertias(tree: Tree, parameters: BodyParameters) -> Tensor:
    """(L, 10): mass, first moment m c, second moment (xx xy xz yy yz zz) at the link's origin; zero without a body."""
    m, c = parameters.mass[:, None], parameters.com
    # parallel axes: I_origin = I - m [c]x^2
    second = parameters.inertia - m[..., None] * (skew(c) @ skew(c))
    rows = torch.cat([m, m * c, second[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]], -1)
    zero = torch.zeros_like(rows[:1])
    return torch.cat([rows, zero])[tree.body.tolist()]  # -1: the zero row


def link_origins(tree: Tree, parameters: BodyParameters) -> Tensor:
    """(L, 3) [m]: where a link begins in its parent; zero inside a chain."""
    zero = torch.zeros_like(parameters.translation[:1])
    return torch.cat([parameters.translation, zero])[tree.joint.tolist()]


def _inputs(chain: KinematicChain, x: Arguments) -> dict[str, Tensor]:
    table, parameters = _constants(chain, x.parameters)
    tree = tree_of(chain)
    arrays = {
        "table": table,
        "parameters": parameters,
        "q": _turned_back(tree, x).contiguous(),
        "v_in": x.v.contiguous(),
        "a_in": x.a.contiguous(),
        "gravity": x.gravity.contiguous(),
    }
    if x.external is not None:
        arrays["external"] = x.q.new_zeros(len(x.q), len(tree.kind), 6)
        arrays["external"][:, tree.tensor("body_link", x.q)] = x.external.detach()
    return arrays


def _turned_back(tree: Tree, x: Arguments) -> Tensor:
    """q (B, nq), hinge angles beyond what the kernel takes brought within half a turn, in float64."""
    if x.seen.q_norm <= LARGEST_ANGLE:
        return x.q
    q = x.q.detach()
    hinges = torch.as_tensor(tree.q[tree.kind == HINGE], device=q.device)
    angles = q[:, hinges].double()
    # not the remainder by 2 pi, whose own rounding counts after many turns
    return q.index_copy(1, hinges, torch.atan2(angles.sin(), angles.cos()).to(q.dtype))


def _launch(tree: Tree, vjp: bool, arrays: dict[str, Tensor]) -> None:
    """Run the kernel on these arrays; on the CPU by as many threads as torch may use."""
    q = arrays["q"]
    chunks = 1 if q.is_cuda else q.shape[0] // SAMPLES_PER_CHUNK
    threads = min(torch.get_num_threads(), chunks)
    if threads <= 1:
        _launch_once(tree, vjp, arrays)
        return
    # more chunks than threads, for whoever is free: a thread that waits for a busy core holds up one chunk only
    bounds = [q.shape[0] * i // chunks for i in range(chunks + 1)]
    parts = deque({name: _part(name, x, slice(*ends)) for name, x in arrays.items()} for ends in pairwise(bounds))
    others = [_pool(threads - 1).submit(_launch_all, tree, vjp, parts) for _ in range(threads - 1)]
    _launch_all(tree, vjp, parts)  # the kernel runs without Python's lock
    for other in others:
        if not other.cancel():
            other.result()


def _launch_all(tree: Tree, vjp: bool, parts: deque[dict[str, Tensor]]) -> None:
    """Take parts until none is left."""
    while True:
        try:
            part = parts.popleft()
        except IndexError:
            return
        _launch_once(tree, vjp, part)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept, because starting threads takes longer than many a batch."""
    return ThreadPoolExecutor(threads, thread_name_prefix="physpose-rnea")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of the threads


def _part(name: str, x: Tensor, samples: slice) -> Tensor:
    shared = name in ("table", "parameters") or (name == "gravity" and x.ndim == 1)
    return x if shared else x[samples]


def _launch_once(tree: Tree, vjp: bool, arrays: dict[str, Tensor]) -> None:
    q, gravity = arrays["q"], arrays["gravity"]
    samples, nq = q.shape
    lanes = LANES[q.dtype] if q.is_cpu else 1
    command, call_type = _command(q.dtype, vjp, -(-len(tree.kind) // 16) * 16, lanes, q.device)
    pointers = [arrays[name].data_ptr() if name in arrays else 0 for name in POINTERS]
    call = call_type(samples, len(tree.kind), nq, tree.nv, 0 if gravity.ndim == 1 else 3, *pointers)
    command.set_param_at_index_from_ctype(0, call)
    blocks = -(-samples // lanes)
    if command.bounds.size != blocks:
        command.set_dim(blocks)
    command.launch(_warp().stream_from_torch(torch.cuda.current_stream(q.device)) if q.is_cuda else None)


def _command(dtype: torch.dtype, vjp: bool, capacity: int, lanes: int, device: torch.device) -> tuple[Any, Any]:
    """This thread's recorded launch of a kernel, to be given its arguments: a third of the time of ``wp.launch``."""
    commands: dict[Any, tuple[Any, Any]] = _of_thread.__dict__.setdefault("commands", {})
    key = dtype, vjp, capacity, lanes, device
    if key not in commands:
        with _one_loads:
            kernel, Call = _kernel(dtype, vjp, capacity, lanes)
            recorded = _warp().launch(kernel, dim=1, inputs=[Call()], device=str(device), record_cmd=True)
        commands[key] = recorded, type(Call().__ctype__())
    return commands[key]


_of_thread = threading.local()
_one_loads = threading.Lock()  # two threads that load a kernel at once leave one with the address of unloaded code


@lru_cache(maxsize=16)
def _kernel(dtype: torch.dtype, vjp: bool, capacity: int, lanes: int) -> tuple[Any, Any]:
    wp = _warp()
    fields = {**dict.fromkeys(SIZES, int), **dict.fromkeys(POINTERS, wp.uint64)}
    Call = wp.struct(type("Call", (), {"__annotations__": fields, "__module__": __name__}))
    snippet = _source(dtype, vjp, capacity, lanes)

    @wp.func_native(snippet)
    def newton_euler(block: int, call: Call) -> None: ...  # type: ignore[valid-type]

    @wp.kernel(enable_backward=False, module="unique")
    def kernel(call: Call) -> None:  # type: ignore[valid-type]
        newton_euler(wp.tid(), call)

    return kernel, Call


def _source(dtype: torch.dtype, vjp: bool, capacity: int, lanes: int) -> str:
    """newton_euler.h with its definitions, the fields of the call unpacked."""
    defines = {"REAL": REALS[dtype], "LANES": lanes, "CAPACITY": capacity, "VJP": int(vjp)}
    unpack = [f"const int {name} = call.{name};" for name in SIZES]
    unpack += [f"const auto {name} = reinterpret_cast<REAL*>(call.{name});" for name in POINTERS if name != "table"]
    unpack += ["const auto table = reinterpret_cast<const int*>(call.table);"]
    flags = ["const bool has_external = external != nullptr, has_parameters = parameter_bar != nullptr;"]
    before = [f"#define {name} {value}" for name, value in defines.items()]
    after = [f"#undef {name}" for name in (*defines, "GET", "SET")]
    return "\n".join(["", *before, *unpack, *flags, SOURCE.read_text(encoding="utf-8"), *after, ""])


@lru_cache(maxsize=1)
def _warp() -> Any:
    try:
        import warp as wp
    except ImportError as error:
        raise MissingPackageError("warp-lang", "warp", "engine='warp'") from error
    wp.config.log_level = wp.LOG_ERROR
    with contextlib.nullcontext() if torch.cuda.is_available() else _silent_stderr():
        wp.init()
    return wp


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Warp's library writes, past Python, that it found no GPU driver: no news where torch has found none either."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
