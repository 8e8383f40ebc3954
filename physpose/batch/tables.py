"""The summary of a batch: one row a clip, in the manifest's order, as CSV and as Parquet."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from physpose.batch.columns import SUMMARY
from physpose.batch.manifest import CAMERAS, Row
from physpose.batch.study import Study, Task
from physpose.batch.work import import_pyarrow

CHUNK = 1000  # rows at a time


def write_summary(study: Study, rows: Iterable[tuple[Row, Task]], carried: tuple[str, ...], parquet: bool) -> None:
    """Write summary.csv and, where asked for, summary.parquet; each replaces an older one when it is complete."""
    columns = {**SUMMARY, **dict.fromkeys(carried, "string")}
    table = (_row(study, row, task) for row, task in rows)
    with _csv(study.path / "summary.csv", list(columns)) as to_csv, _parquet(study, columns, parquet) as to_parquet:
        while chunk := list(itertools.islice(table, CHUNK)):
            to_csv.writerows(chunk)
            if to_parquet is not None:
                to_parquet(chunk)


def _row(study: Study, row: Row, task: Task) -> dict[str, Any]:
    start = {**row.carried, "name": row.name, "line": row.line, "clip": CAMERAS.join(map(str, row.views))}
    if study.is_done(task):
        return start | {"status": "done"} | _done(study, row.name)
    failure = study.failure(row.name)
    if failure is not None and failure["digest"] == task.digest:
        return start | {"status": f"failed ({failure['kind']})", "reason": failure["reason"]}
    return start | {"status": "not run"}


def _done(study: Study, name: str) -> dict[str, Any]:
    about, timing = study.record(name) or {}, study.timing(name)
    who, plausible = about["subject"] or {}, about["plausibility"]
    return {
        "physpose": about["physpose"], "packages": _pairs(about["packages"]), "host": timing.get("host"),
        "seconds": sum(timing.get("seconds", {}).values()), "skeleton": about["skeleton"],
        "age [years]": who.get("age_years"), "sex": who.get("sex"), "height [m]": who.get("height_m"),
        "mass [kg]": who.get("mass_kg"), "frames": about["frames"], "duration [s]": about["duration_s"],
        "converged": about["converged"], "iterations": about["iterations"], "plausible": plausible["passed"],
        "plausible frames": plausible["frames_passed"], "failed measures": "; ".join(plausible["failed"]),
        "assumptions": json.dumps(about["assumptions"]), "warnings": json.dumps(about["warnings"]),
    }  # fmt: skip


def _pairs(versions: dict[str, str]) -> str:
    return " ".join(f"{name}={version}" for name, version in versions.items())


@contextmanager
def _csv(path: Path, columns: list[str]) -> Iterator[csv.DictWriter[str]]:
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        yield writer
    os.replace(temporary, path)


@contextmanager
def _parquet(study: Study, columns: dict[str, str], wanted: bool) -> Iterator[Any]:
    if not wanted:
        yield None
        return
    pyarrow = import_pyarrow()
    from pyarrow import parquet

    path = study.path / "summary.parquet"
    temporary = path.with_name(f".{path.name}.tmp")
    types = {
        "bool": pyarrow.bool_(),
        "string": pyarrow.string(),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(temporary, schema) as writer:
        yield lambda rows: writer.write_table(pyarrow.Table.from_pylist(rows, schema))
    os.replace(temporary, path)
