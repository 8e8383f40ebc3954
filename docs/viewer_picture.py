"""The picture of docs/viewer.md: ``physpose view`` as a headless Chromium shows it, driven over its DevTools protocol.

PYTHONPATH=. python docs/viewer_picture.py RESULT... --out docs/images/viewer.jpg
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

BROWSER = ("chromium", "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--hide-scrollbars",
           "--enable-unsafe-swiftshader", "--remote-debugging-port=0")  # fmt: skip


@contextmanager
def running(command: list[str], pattern: str) -> Iterator[str]:
    """Start a program, wait until its output matches, give what the pattern's group caught, end it."""
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert program.stdout is not None
        lines: list[str] = []
        for line in program.stdout:
            lines.append(line)
            found = re.search(pattern, line)
            if found:
                break
        else:
            sys.exit("".join(lines))
        yield found.group(1)
    finally:
        program.terminate()
        program.wait(30)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: Any):
        self.socket, self.ids = socket, itertools.count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                return dict(answer["result"])

    def run(self, script: str) -> bool:
        """Evaluate an expression in the page; is its value true?"""
        answer = self.call("Runtime.evaluate", expression=f"Boolean({script})", returnByValue=True)
        return bool(answer["result"]["value"])

    def jpeg(self) -> bytes:
        """The page as it is."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="jpeg", quality=75)["data"])


@contextmanager
def tab_of(page: str, size: tuple[int, int]) -> Iterator[Tab]:
    """A browser of that size [px] that shows the page."""
    with tempfile.TemporaryDirectory() as profile:
        browser = [*BROWSER, f"--user-data-dir={profile}", "--window-size={},{}".format(*size), page]
        with running(browser, r"DevTools listening on ws://([\w.:]+)") as port:
            tabs = json.loads(urllib.request.urlopen(f"http://{port}/json").read())
            address = next(t for t in tabs if t["type"] == "page")["webSocketDebuggerUrl"]
            with connect(address, max_size=None) as socket:
                yield Tab(socket)


def main() -> None:
    """Serve, look, click, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--at", type=float, default=1.5, help="[s] on the clock")
    parser.add_argument("--wait", type=float, default=6.0, help="[s] for the picture to be complete")
    parser.add_argument("--placement", help="of several results, e.g. overlaid")
    parser.add_argument("--click", nargs="*", default=["sigma", "momentum"], help="boxes to tick")
    args = parser.parse_args()
    viewer = [sys.executable, "-m", "physpose", "view", "--stay", "--port", "0", *args.result]
    with running(viewer, r"(http://\S+)") as page, tab_of(page, (1200, 1100)) as tab:
        args.out.write_bytes(_picture(tab, args))


def _picture(tab: Tab, args: argparse.Namespace) -> bytes:
    started = time.monotonic()
    while not tab.run(FIND_PAUSE):
        if time.monotonic() - started > 60:
            sys.exit("the page does not show the result within a minute")
        time.sleep(0.1)
    print(f"controls shown after {time.monotonic() - started:.1f} s")
    for label in args.click:
        tab.run(
            f"[...document.querySelectorAll('label')].filter(x => x.innerText.trim() === {json.dumps(label)})"
            ".forEach(x => document.getElementById(x.htmlFor).click())"
        )
    if args.placement:
        tab.run("[...document.querySelectorAll('input')].find(x => x.value === 'side by side').click()")
        time.sleep(1)
        wanted = json.dumps(args.placement)
        tab.run(f"[...document.querySelectorAll('[role=option]')].find(x => x.innerText.trim() === {wanted}).click()")
    tab.run("[...document.querySelectorAll('.mantine-Notification-closeButton')].forEach(x => x.click())")
    tab.run(f"({FIND_PAUSE}).click()")
    time.sleep(2)
    tab.run(f"({TYPE})({FIND_TIME}, '{args.at}')")
    time.sleep(args.wait)
    return tab.jpeg()


FIND_PAUSE = "[...document.querySelectorAll('button')].find(x => x.innerText.trim() === 'pause')"
FIND_TIME = "[...document.querySelectorAll('input[type=text]')].find(x => /^[0-9.]+$/.test(x.value))"
TYPE = """(field, text) => {
    field.focus();
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, text);
    field.dispatchEvent(new Event('input', {bubbles: true}));
    field.blur();
}"""

if __name__ == "__main__":
    main()
