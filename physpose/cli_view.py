"""``physpose view``."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from physpose.cli import EXIT_OK


def add_view(commands: Any) -> None:
    """The command's arguments."""
    help_text = "play saved results in three dimensions in a browser, one or several at once"
    view = commands.add_parser("view", help=help_text, description=help_text)
    view.add_argument("result", metavar="RESULT", nargs="+", help="a folder that fit, id or batch wrote, or its .npz")
    view.add_argument("--skeleton", metavar="FILE", help="body of the results, e.g. SMPL's model file with its surface")
    view.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s: nobody else)")
    view.add_argument("--port", type=int, default=8080, help="0: any free one (default: %(default)s)")
    view.add_argument("--stay", action="store_true", help="go on when the last browser has left (default: end)")
    view.set_defaults(run=_view)


def _view(args: argparse.Namespace) -> int:
    from physpose.saved import load_result
    from physpose.skeleton import load_skeleton
    from physpose.viz.actor import actors
    from physpose.viz.viewer import view

    body = None if args.skeleton is None else load_skeleton(args.skeleton)
    shown = actors([(path, load_result(path, body)) for path in args.result])
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        view(shown, host=args.host, port=args.port, stay=args.stay, ready=_say)
    return EXIT_OK


def _say(address: str) -> None:
    print(f"{address}  (Ctrl-C ends it)", flush=True)
