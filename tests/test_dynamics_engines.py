"""Which engine runs, and the compiled kernel as other machines run it."""

from __future__ import annotations

import os
import threading
import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from dynamics_trees import TREES, random_state

from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.dynamics import engine_warp
from physpose.dynamics.engines import choose
from physpose.dynamics.gradients import Arguments
from physpose.dynamics.parameters import BodyParameters
from physpose.errors import MissingPackageError

needs_warp = pytest.mark.skipif(find_spec("warp") is None, reason="the extra 'warp' is not installed")
TREE = TREES["adult"]


def chosen(
    n: int,
    dtype: torch.dtype = torch.float64,
    parameters: BodyParameters | None = None,
    external: torch.Tensor | None = None,
) -> str:
    chain = KinematicChain(TREE, dtype)
    x = [torch.tensor(y, dtype=dtype) for y in random_state(0, TREE, n)]
    return choose(Arguments(*x, torch.zeros(3, dtype=dtype), external, parameters or dynamics.body_parameters(chain)))


def wanted_parameters() -> BodyParameters:
    parameters = dynamics.body_parameters(KinematicChain(TREE))
    return BodyParameters(*(x.detach().requires_grad_() for x in parameters))


@needs_warp
def test_choice_of_engine():
    chain = KinematicChain(TREE)
    assert chosen(1) == "pinocchio"
    assert chosen(1, external=torch.zeros(1, len(TREE.bodies), 6).double()) == "warp"
    assert chosen(2) == "warp"
    assert chosen(1, torch.float32) == "warp"
    assert chosen(1, torch.float16) == "torch"
    assert chosen(1, parameters=wanted_parameters()) == "warp"
    bodies = dynamics.body_parameters(chain, chain.log_scales.detach().expand(2, -1))
    assert chosen(2, parameters=bodies) == "torch"


def test_choice_without_the_extra(monkeypatch):
    monkeypatch.setattr(engine_warp, "available", lambda: False)
    assert chosen(512) == "pinocchio"
    assert chosen(512, torch.float32) == "torch"
    assert chosen(1, parameters=wanted_parameters()) == "torch"


def test_forcing_the_extra_that_is_not_there_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "warp", None)
    engine_warp._warp.cache_clear()
    engine_warp._kernel.cache_clear()
    monkeypatch.setattr(engine_warp, "_of_thread", threading.local())
    x = [torch.tensor(y) for y in random_state(0, TREE, 2)]
    with pytest.raises(MissingPackageError, match=r"pip install 'physpose\[warp\]'"):
        dynamics.rnea(KinematicChain(TREE), *x, engine="warp")


def torques_and_gradient(dtype: torch.dtype, engine: str, n: int = 21) -> list[torch.Tensor]:
    q, v, a = (torch.tensor(x, dtype=dtype, requires_grad=True) for x in random_state(1, TREE, n))
    tau = dynamics.rnea(KinematicChain(TREE, dtype), q, v, a, engine=engine)
    return [tau.detach(), *torch.autograd.grad(tau.square().sum(), (q, v, a))]


@needs_warp
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_one_sample_a_thread_as_on_a_gpu(monkeypatch, dtype, rtol):
    expected = torques_and_gradient(dtype, "torch")
    monkeypatch.setattr(engine_warp, "LANES", {dtype: 1})
    for value, wanted in zip(torques_and_gradient(dtype, "warp"), expected, strict=True):
        assert float((value - wanted).abs().max() / wanted.abs().max()) < rtol


@needs_warp
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_angles_of_many_turns_keep_their_precision(dtype, rtol):
    q, v, a = (torch.tensor(x, dtype=dtype) for x in random_state(3, TREE, 20))
    q[:, 7:] += torch.logspace(0, 9, 20, dtype=dtype)[:, None]
    chain = KinematicChain(TREE, dtype)
    expected, value = (dynamics.rnea(chain, q, v, a, engine=engine) for engine in ("torch", "warp"))
    assert float(((value - expected).abs().amax(-1) / expected.abs().amax(-1)).max()) < rtol


@needs_warp
def test_several_threads_share_a_batch(monkeypatch):
    expected = torques_and_gradient(torch.float64, "warp", 50)
    workers, launch = set(), engine_warp._launch_once

    def noted(*arguments):
        workers.add(threading.get_ident())
        time.sleep(0.01)  # so that no thread takes all
        launch(*arguments)

    monkeypatch.setattr(engine_warp, "_launch_once", noted)
    monkeypatch.setattr(engine_warp, "SAMPLES_PER_CHUNK", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for value, wanted in zip(torques_and_gradient(torch.float64, "warp", 50), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)
    assert len(workers) >= 3


@needs_warp
def test_threads_load_a_kernel_one_after_the_other(monkeypatch):
    """Loaded twice at once, the first code is unloaded while its thread runs it: a segmentation fault."""
    load, inside, most = engine_warp._kernel, [], []

    def slow_load(*key):
        inside.append(key)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return load(*key)

    monkeypatch.setattr(engine_warp, "_kernel", slow_load)
    monkeypatch.setattr(engine_warp, "_of_thread", threading.local())
    arguments = torch.float64, False, 48, 8, torch.device("cpu")
    threads = [threading.Thread(target=engine_warp._command, args=arguments) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


@needs_warp
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_threads_are_there_again_after_a_fork(monkeypatch):
    monkeypatch.setattr(engine_warp, "SAMPLES_PER_CHUNK", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    engine_warp._pool(1).submit(int).result()
    child = os.fork()
    if child == 0:
        started = engine_warp._pool(1).submit(int)
        os._exit(0 if started.result(timeout=20) == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_warp
@pytest.mark.parametrize("vjp", [False, True], ids=["forward", "vjp"])
def test_kernel_compiles_for_gpus(tmp_path, vjp):
    wp = engine_warp._warp()
    kernel, _ = engine_warp._kernel(torch.float32, vjp, 48, 1)
    wp.compile_aot_module(kernel.module, arch=90, module_dir=tmp_path, use_ptx=True)
    (ptx,) = tmp_path.glob("*.ptx")
    assert ".target sm_90" in ptx.read_text()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("engine", ["torch", "warp"])
def test_gpu_follows_the_cpu(engine):
    n = 1000
    q, v, a = (torch.tensor(x, dtype=torch.float32) for x in random_state(2, TREE, n))
    results = []
    for device, chosen_engine, dtype in (("cpu", "torch", torch.float64), ("cuda", engine, torch.float32)):
        leaves = [x.to(device, dtype).requires_grad_() for x in (q, v, a)]
        tau = dynamics.rnea(KinematicChain(TREE, dtype).to(device), *leaves, engine=chosen_engine)
        results.append([x.detach().cpu().double() for x in (tau, *torch.autograd.grad(tau.square().sum(), leaves))])
    for wanted, value in zip(*results, strict=True):
        assert float((value - wanted).abs().max() / wanted.abs().max()) < 1e-4
