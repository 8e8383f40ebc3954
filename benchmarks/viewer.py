"""The viewer: how soon it shows a result, how many pictures a second it sends, what is left when the page has closed.

    python benchmarks/viewer.py RESULT... [--seconds 8]

Each RESULT is a folder that ``physpose fit`` or ``demo`` wrote. Served by ``physpose view`` in a process of its own
to a page that only listens, so that the server is measured and not the drawing; then to a headless Chromium, if there
is one, whose pictures a second are those of software rendering. Prints its figures and writes viewer.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import viser
import zstandard
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from viewer_picture import BROWSER, FIND_PAUSE, Tab, running

RESULTS = Path(__file__).parent / "results"
CAMERA = {
    "type": "ViewerCameraMessage", "wxyz": (1.0, 0.0, 0.0, 0.0), "position": (3.0, 0.0, 1.0), "fov": 0.7, "near": 0.1,
    "far": 100.0, "image_height": 600, "image_width": 800, "look_at": (0.0, 0.0, 1.0), "up_direction": (0.0, 0.0, 1.0),
}  # fmt: skip
BODY = "/result_0/pelvis"


def main() -> None:
    """Measure each result, and a broken folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULT")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    figures: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg(), "viser": viser.__version__}
    for folder in options.results:
        time_ = np.load(folder / "result.npz")["time"]
        clip = {"frames": len(time_), "seconds": float(time_[-1] - time_[0])}
        figures[folder.name] = clip | listened(folder, options.seconds) | browsed(folder, options.seconds)
    with tempfile.TemporaryDirectory() as broken:
        (Path(broken) / "result.npz").write_bytes(b"PK broken")
        ended = subprocess.run([*viewer(Path(broken)), "--port", "0"], capture_output=True, text=True)
        figures["broken folder"] = {"exit code": ended.returncode, "lines on stderr": len(ended.stderr.splitlines())}
    print(json.dumps(figures, indent=1))
    (options.out / "viewer.json").write_text(json.dumps(figures, indent=1) + "\n")


def viewer(folder: Path) -> list[str]:
    return [sys.executable, "-m", "physpose", "view", str(folder)]


def listened(folder: Path, seconds: float) -> dict[str, Any]:
    """Start, first picture, rate, cost and end, to a page that listens."""
    start = time.perf_counter()
    program = subprocess.Popen(
        [*viewer(folder), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    address = program.stdout.readline().split()[0]
    served = time.perf_counter() - start
    stamps, first, cpu = [], None, 0.0
    with connect(address.replace("http", "ws"), subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as page:
        page.send(msgspec.msgpack.encode(CAMERA))
        for now, messages in received(page):
            if first is None and any(moves(m) for m in messages):
                first, cpu = now, cpu_time(program.pid)
            if first is not None and any(moves(m) for m in messages):
                stamps.append(now - first)
            if first is not None and now - first > seconds:
                break
        cpu = cpu_time(program.pid) - cpu
    left = time.perf_counter()
    _, errors = program.communicate(timeout=60)
    late = [s for s in stamps if s > 1.0]  # once it plays
    return {
        "served after [s]": served, "first picture after [s]": (first or np.nan) - start,
        "pictures a second": (len(late) - 1) / (late[-1] - late[0]),
        "longest gap between two [ms]": 1000 * float(np.diff(late).max()),
        "median gap [ms]": 1000 * statistics.median(np.diff(late).tolist()),
        "server's processor [%]": 100 * cpu / seconds,
        "ended after the page [s]": time.perf_counter() - left, "exit code": program.returncode, "stderr": errors,
    }  # fmt: skip


def received(page: Any) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """(when, messages) of each packet: sizes, then compressed msgpack, then arrays."""
    unpack = zstandard.ZstdDecompressor()
    while True:
        raw, now = page.recv(timeout=20), time.perf_counter()
        size, packed = (int.from_bytes(raw[k : k + 8], "little") for k in (0, 8))
        yield now, msgspec.msgpack.decode(unpack.decompress(raw[16 : 16 + packed], size))["messages"]


def moves(message: dict[str, Any]) -> bool:
    """Does it turn or move the pelvis?"""
    return message.get("name") == BODY and message["type"] in ("SetPositionMessage", "SetOrientationMessage")


def cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def browsed(folder: Path, seconds: float) -> dict[str, Any]:
    """When a headless browser shows the controls, and how many pictures a second it draws by software."""
    if shutil.which(BROWSER[0]) is None:
        return {}
    start = time.perf_counter()
    command = [*viewer(folder), "--stay", "--port", "0"]
    with tempfile.TemporaryDirectory() as profile, running([*BROWSER, f"--user-data-dir={profile}"], LISTENS) as port:
        begun = time.perf_counter() - start
        with running(command, r"(http://\S+)") as address:
            tabs = json.loads(urllib.request.urlopen(f"http://{port}/json").read())
            with connect(tabs[0]["webSocketDebuggerUrl"], max_size=None) as socket:
                tab = Tab(socket)
                tab.call("Page.navigate", url=address)
                while not tab.run(FIND_PAUSE):
                    time.sleep(0.02)
                shown = time.perf_counter() - start - begun
                tab.run("(window.drawn = 0, (function f() { window.drawn++; requestAnimationFrame(f); })(), true)")
                time.sleep(seconds)
                drawn = tab.call("Runtime.evaluate", expression="window.drawn", returnByValue=True)["result"]["value"]
    return {
        "a browser that runs shows the controls after [s]": shown,
        "pictures a second it draws by software": drawn / seconds,
    }


LISTENS = r"DevTools listening on ws://([\w.:]+)"

if __name__ == "__main__":
    main()
