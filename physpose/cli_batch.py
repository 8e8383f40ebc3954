"""``physpose batch``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physpose.cli import EXIT_ERROR, EXIT_FAILED, EXIT_OK
from physpose.errors import InputError

if TYPE_CHECKING:
    from physpose.batch.manifest import Manifest
SHOWN = 20  # problems of a manifest that is run; --dry-run shows all


def add_batch(commands: Any) -> None:
    """The command's arguments."""
    help_text = "fit many clips: a table of clips and people in, one result a clip and one table out"
    batch = commands.add_parser("batch", help=help_text, description=help_text)
    batch.add_argument(
        "manifest", metavar="MANIFEST", help="a .csv or .parquet table, or a folder of videos or markers"
    )
    batch.add_argument("--out", type=Path, metavar="DIR", help="results (default: MANIFEST's name + _physpose)")
    batch.add_argument("--dry-run", action="store_true", help="check the manifest, list every problem, run nothing")
    batch.add_argument("--workers", type=int, metavar="N", help="processes on this machine (default: one a core)")
    batch.add_argument("--ray", metavar="ADDRESS", help="run on a Ray cluster, e.g. auto, HOST:PORT")
    batch.add_argument(
        "--carry", nargs="+", default=[], metavar="COLUMN", help="other columns, which go into the summary as they are"
    )
    batch.add_argument(
        "--set", action="append", default=[], metavar="COLUMN=VALUE", help="of empty cells, e.g. skeleton=child"
    )
    batch.add_argument(
        "--tables", choices=["parquet", "csv"], default="parquet", help="frames and summary as Parquet, or CSV only"
    )
    batch.add_argument("--retry-failed", action="store_true", help="also try clips again that their input made fail")
    batch.add_argument("--json", action="store_true", help="print one JSON object on stdout, and nothing else there")
    batch.set_defaults(run=_batch)


def _batch(args: argparse.Namespace) -> int:
    from rich.console import Console

    from physpose.batch.manifest import read_manifest
    from physpose.progress import for_console

    progress = for_console(Console(stderr=True))
    manifest = read_manifest(args.manifest, carry=args.carry, defaults=_pairs(args.set), progress=progress)
    if args.dry_run:
        return _dry_run(manifest, args.json)
    if manifest.problems:
        _complain(manifest)
        return EXIT_ERROR
    return _run(manifest, args)


def _dry_run(manifest: Manifest, as_json: bool) -> int:
    if as_json:
        problems = [{"line": p.line, "problem": p.text} for p in manifest.problems]
        print(json.dumps({"clips": len(manifest.rows), "problems": problems}, indent=2))
    else:
        for problem in manifest.problems:
            print(problem)
        n = len(manifest.problems)
        print(f"{manifest.source}: {len(manifest.rows)} clips can be run, {n or 'no'} problem{'s' * (n != 1)}")
    return EXIT_ERROR if manifest.problems else EXIT_OK


def _complain(manifest: Manifest) -> None:
    n = len(manifest.problems)
    print(f"physpose: error: {manifest.source} has {n} problem{'s' * (n > 1)}; nothing was run", file=sys.stderr)
    for problem in manifest.problems[:SHOWN]:
        print(f"  {problem}", file=sys.stderr)
    if n > SHOWN:
        print(f"  and {n - SHOWN} more: --dry-run lists all", file=sys.stderr)


def _run(manifest: Manifest, args: argparse.Namespace) -> int:
    from rich.console import Console

    from physpose.batch.progress import for_console
    from physpose.batch.run import run_batch

    out = args.out or Path(f"{Path(args.manifest).resolve().stem}_physpose")
    with for_console(Console(stderr=True)) as watcher:
        result = run_batch(
            manifest, out, workers=args.workers, ray=args.ray, tables=args.tables, retry_failed=args.retry_failed,
            watcher=watcher,
        )  # fmt: skip
    if args.json:
        counts = {"done": result.done, "failed": result.failed, "fitted": result.fitted}
        print(json.dumps(counts | {"summary": str(result.summary)}, indent=2))
    else:
        print(f"{result.done} clips done, {result.failed} failed\n{result.summary.resolve()}")
    return EXIT_FAILED if result.failed else EXIT_OK


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """ "COLUMN=VALUE" as column -> value."""
    for text in texts:
        if "=" not in text:
            raise InputError(f"--set {text!r}: COLUMN=VALUE is needed, e.g. skeleton=child")
    return {column.strip(): value.strip() for column, _, value in (text.partition("=") for text in texts)}
