"""A FitResult in short: one JSON-able dictionary, and the table that the command line prints from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from physpose.result import FitResult

MAIN_COORDINATES = (
    "lumbar_extension", "hip_flexion", "knee_angle", "ankle_angle", "arm_flex", "elbow_flex",
    "spine1_z", "hip_z", "knee_z", "ankle_z", "elbow_y",  # of SMPL's balls
)  # fmt: skip


def summarize(result: FitResult, files: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The result as plain JSON types: SI units, radians; null where a number is not finite.

    Args:
        result: what ``physpose.fit`` returned.
        files: what ``FitResult.save`` returned, if it was saved.
    """
    import physpose

    return {
        "physpose": physpose.__version__,
        "source": str(result.source),
        "warnings": [str(w) for w in result.warnings],
        "skeleton": result.skeleton.name,
        "subject": _subject(result),
        "frames": len(result.time),
        "duration_s": _number(result.time[-1] - result.time[0]),
        "converged": bool(result.status.converged),
        "iterations": int(result.status.iterations),
        "seconds": {stage: _number(s) for stage, s in result.status.seconds.items()},
        "coordinates": _coordinates(result),
        "kinetic_energy_J": _range(result.energy.kinetic),
        "potential_energy_J": _range(result.energy.potential),
        "contact_forces": result.contacts.method,
        "assumptions": [{"what": a.what, "value": a.value, "source": a.source} for a in result.assumptions],
        "plausibility": _plausibility(result),
        "files": {kind: str(path) for kind, path in (files or {}).items()},
    }


def _plausibility(result: FitResult) -> dict[str, Any]:
    p = result.plausibility
    return {
        "passed": p.passed,
        "frames_passed": int(p.frames_passed.sum()),
        "failed": [m.name for m in p.failed],
        "verdict": p.verdict,
        "findings": [f.sentence for f in p.findings],
    }


def _subject(result: FitResult) -> dict[str, Any] | None:
    who = result.skeleton.subject
    if who is None:
        return None
    return {"age_years": who.age, "sex": who.sex, "height_m": who.height, "mass_kg": who.mass}


def _coordinates(result: FitResult) -> dict[str, dict[str, Any]]:
    """Range and peak |generalized force| of every coordinate after the free-flyer, with one standard deviation.

    The peak is that of frames in which no force was missing.
    """
    table, known = {}, result.torques_known
    for c in result.coordinate_results():
        at, s = int(np.argmax(np.where(known, np.abs(c.tau), -1.0))), c.sigma
        table[c.name] = {
            "unit": c.unit, "range": _range(c.q), "sigma": None if s is None else _number(np.nanmedian(s.q)),
            "force_unit": c.tau_unit, "peak_force": _number(abs(c.tau[at])) if known.any() else None,
            "peak_force_sigma": None if s is None else _number(s.tau[at]),
        }  # fmt: skip
    return table


def _range(x: np.ndarray) -> list[float | None]:
    return [_number(np.min(x)), _number(np.max(x))]


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print what ``summarize`` returned: warnings first, then who, joints, energy, files."""
    from rich.markup import escape

    for warning in summary["warnings"]:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    console.print(_facts_table(summary))
    console.print(_joints_table(summary["coordinates"]))
    for kind, path in summary["files"].items():
        console.print(f"{kind:<10} {path}", highlight=False, markup=False, soft_wrap=True)


def _facts_table(summary: Mapping[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(summary):
        table.add_row(name, escape(value))
    return table


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    frames, duration = summary["frames"], summary["duration_s"]
    how = "converged" if summary["converged"] else "NOT converged"
    seconds = sum(s for s in summary["seconds"].values() if s is not None)
    facts = [
        ("source", summary["source"]),
        ("who", _who(summary)),
        ("clip", f"{frames} frames, {duration:.2f} s"),
        ("fit", f"{how} after {summary['iterations']} iterations, {seconds:.1f} s in all")
        if summary["iterations"]
        else ("computed", f"in {seconds:.1f} s"),
        ("kinetic energy", _span(summary["kinetic_energy_J"], "J")),
        ("potential energy", _span(summary["potential_energy_J"], "J")),
        ("contact forces", summary["contact_forces"]),
        ("plausibility", _verdict(summary["plausibility"], frames)),
    ]
    not_given = [a for a in summary["assumptions"] if a["source"] != "given"]
    return facts + [(a["what"], f"{a['value']} ({a['source']})") for a in not_given]


def _verdict(p: Mapping[str, Any], frames: int) -> str:
    failed = f"; failed: {', '.join(p['failed'])}" if p["failed"] else ""
    return f"{p['verdict']}: {p['frames_passed']} of {frames} frames pass every measure{failed}"


def _who(summary: Mapping[str, Any]) -> str:
    who = summary["subject"]
    if who is None:
        return str(summary["skeleton"])
    return (
        f"{summary['skeleton']}, {who['age_years']:.4g} years, {who['sex']}, "
        f"{who['height_m']:.2f} m, {who['mass_kg']:.1f} kg"
    )


def _joints_table(coordinates: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("coordinate", box=box.SIMPLE_HEAD, pad_edge=False)
    sure = all(c["sigma"] is not None for c in coordinates.values())
    more = " \u00b1 sd" if sure else ""
    table.add_column(f"range{more}", justify="right")
    table.add_column(f"peak torque{more}", justify="right")
    for name in _main(coordinates):
        c = coordinates[name]
        scale, unit, digits = (math.degrees(1), "deg", 0) if c["unit"] == "rad" else (1.0, "m", 3)
        low, high, spread = (None if x is None else scale * x for x in (*c["range"], c["sigma"]))
        span = f"{_show(low, digits)} to {_show(high, digits)}{_spread(spread, digits)} {unit}"
        table.add_row(name, span, f"{_show(c['peak_force'])}{_spread(c['peak_force_sigma'])} {c['force_unit']}")
    return table


def _main(coordinates: Mapping[str, Any]) -> list[str]:
    """The main joints' coordinates; all of them for a body that has none of those names."""
    sided = ("{}", "{}_r", "{}_l", "right_{}", "left_{}")
    main = [n for base in MAIN_COORDINATES for n in (s.format(base) for s in sided) if n in coordinates]
    return main or list(coordinates)


def _spread(sigma: float | None, digits: int = 0) -> str:
    return "" if sigma is None else f" \u00b1 {sigma:.{digits}f}"


def _show(x: float | None, digits: int = 0) -> str:
    return "not finite" if x is None else f"{x:.{digits}f}"


def _span(span: list[float | None], unit: str, digits: int = 0) -> str:
    return f"{_show(span[0], digits)} to {_show(span[1], digits)} {unit}"
