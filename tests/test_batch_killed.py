"""Batches whose driver, workers or nodes are killed: nothing is lost, nothing is done twice."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from batch_cases import contents, run, work_here, write_clips

from physpose.errors import InputError

CLIPS = {f"clip{i}": "ok 0.3" for i in range(6)}


def test_a_killed_driver_loses_nothing(tmp_path):
    """Killed in the middle; the next run finishes; the results are those of a run that nobody killed."""
    manifest, out = write_clips(tmp_path, CLIPS), tmp_path / "out"
    work_here(manifest, tmp_path / "whole")
    code = "import sys, batch_cases as t; from pathlib import Path; t.run(Path(sys.argv[1]), Path(sys.argv[2]))"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(manifest), str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    wait_for(lambda: len(list(out.glob("clips/*"))) >= 2 or driver.poll() is not None)
    driver.kill()
    driver.wait()
    done = len(list(out.glob("clips/*")))
    assert 2 <= done < len(CLIPS)
    result, seen = run(manifest, out, workers=1)
    assert result.done == len(CLIPS)
    assert seen.kept >= done
    assert contents(out) == contents(tmp_path / "whole")
    assert list((out / ".staging").iterdir()) == []


def wait_for(condition, seconds: float = 300.0) -> None:  # a busy machine takes a minute to start a cluster
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def cluster(monkeypatch):
    """Ray's head on this machine, without a core for tasks."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))  # nodes find batch_stub there

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_a_killed_node_loses_nothing(tmp_path, cluster):
    """Ray tries the tasks of a node that is gone on another one."""
    manifest, out = write_clips(tmp_path, CLIPS | {"empty": "empty"}), tmp_path / "out"
    work_here(manifest, tmp_path / "whole")
    first, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)

    def kill_a_node():
        wait_for(lambda: len(list(out.glob("clips/*"))) >= 2)
        cluster.remove_node(first, allow_graceful=False)

    with ThreadPoolExecutor(1) as other_thread:
        killed = other_thread.submit(kill_a_node)
        result, _ = run(manifest, out, workers=None, ray=cluster.address)
        killed.result()
    assert (result.done, result.failed) == (len(CLIPS), 1)
    assert contents(out) == contents(tmp_path / "whole")
    again, seen = run(manifest, out, workers=None, ray=cluster.address)
    assert (again.done, again.fitted, seen.total) == (len(CLIPS), 0, 0)


def test_an_address_where_nobody_answers_is_told_before_ray_tries(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray tries for minutes"))
    manifest = write_clips(tmp_path, {"a": "ok"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            InputError, match=f"no Ray cluster at '{address}': .*refused.*'ray start --head' starts one"
        ):
            run(manifest, tmp_path / "out", workers=None, ray=address)


def test_no_cluster_is_one_sentence(tmp_path, monkeypatch):
    services = pytest.importorskip("ray._private.services", reason="the extra 'ray' is not installed")
    monkeypatch.setattr(
        services, "find_gcs_addresses", functools.cache(set)
    )  # tests beside this one may have a cluster
    monkeypatch.setattr(services, "find_bootstrap_address", lambda _: None)
    manifest = write_clips(tmp_path, {"a": "ok"})
    with pytest.raises(InputError, match="no Ray cluster at 'auto': .*'ray start --head' starts one"):
        run(manifest, tmp_path / "out", workers=None, ray="auto")
