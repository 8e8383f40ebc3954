"""The plausibility of a motion as a picture: a row a measure, its frames green or red, what fails in words."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from physpose.plausibility.finding import DISAGREE, IMPOSSIBLE, POSSIBLE, Measure, Plausibility, figure
from physpose.types import Array

WIDTH = 1000.0  # of a strip, in its own units
LEAST = 2.0  # a single frame stays visible
MOST_SENTENCES = 3  # of a measure at once; the rest is folded
NOT_SEEN, GOOD, BAD = 0, 1, 2
CLASSES = {GOOD: "ok", BAD: "bad"}
BADGES = {POSSIBLE: "ok", DISAGREE: "some", IMPOSSIBLE: "bad"}


def render_page(p: Plausibility) -> str:
    """One HTML file that needs nothing else."""
    notes = "".join(f"<li>{escape(n)}</li>" for n in p.notes)
    aside = f'<aside class="notice"><h2>On reading it</h2><ul>{notes}</ul></aside>' if notes else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="color-scheme" content="light dark"><title>{_name(p)} \u00b7 plausibility</title>'
        f"<style>{_css('report.css')}{_css('plausibility.css')}</style></head><body>"
        f'<header class="top"><h1>{_name(p)}</h1><p class=who>Plausibility{_of(p)}</p></header>'
        f"<main>{aside}<section class=plots>{plausibility_html(p)}</section></main></body></html>"
    )


def _name(p: Plausibility) -> str:
    return escape(Path(p.source).name or p.source)


def _of(p: Plausibility) -> str:
    span = float(p.time[-1] - p.time[0])
    whose = f" of {escape(p.skeleton)}" if p.skeleton else ""
    return f"{whose} \u00b7 {len(p.time)} frames \u00b7 {span:.2f} s"


@cache
def _css(name: str) -> str:
    return (files("physpose.viz") / "assets" / name).read_text(encoding="utf-8")


def plausibility_html(p: Plausibility) -> str:
    """Verdict, timeline and table, for this page and for the report."""
    passed = int(p.frames_passed.sum())
    count = f"{passed} of {len(p.time)} frames pass every measure; {p.explanation}"
    rows = _rows_of_all(p) + "".join(_row(m, p.time) for m in _ordered(p))
    head = "<tr><th>Measure</th><th class=num>Worst</th><th class=num>Limit</th><th>Frames</th></tr>"
    ends = "".join(f"<span>{t:.2f} s</span>" for t in (p.time[0], p.time[-1]))
    axis = f"<tr class=axis><td colspan=3></td><td>{ends}</td></tr>"
    badge = f'<b class="{BADGES[p.verdict]}">{p.verdict}</b>'
    return (
        f'<div class="card plausibility"><p class=verdict>{badge} {count}</p>'
        f"<div class=scroll><table><thead>{head}</thead><tbody>{rows}{axis}</tbody></table></div>{_not_judged(p)}</div>"
    )


def _ordered(p: Plausibility) -> list[Measure]:
    """Failed ones first, the worst on top; then those that are tolerated, and the others as they come."""
    return [*p.failed, *p.tolerated, *(m for m in p.measures if not m.failing.any())]


def _rows_of_all(p: Plausibility) -> str:
    """All measures in one strip; where forces are judged, those of the motion by itself and those apart."""
    if not p.forces_judged.any():
        return _row_of_all("All", p.time, np.where(p.frames_passed, GOOD, BAD))
    agree = np.where(p.forces_judged, np.where(p.forces_passed, GOOD, BAD), NOT_SEEN)
    motion = _row_of_all("Motion by itself", p.time, np.where(p.motion_passed, GOOD, BAD))
    return motion + _row_of_all("Forces and motion", p.time, agree)


def _row_of_all(name: str, time: Array, state: Array) -> str:
    return f"<tr class=all><th scope=row>{name}</th><td></td><td></td><td>{_strip(time, state)}</td></tr>"


def _row(m: Measure, time: Array) -> str:
    judged = np.isfinite(m.threshold)
    state = np.where(m.failing, BAD, np.where(np.isfinite(m.series) & judged, GOOD, NOT_SEEN))
    limit = f"{m.threshold:g}" if judged else "\u2013"
    mark = "bad" if not m.passed else "some" if m.failing.any() else "ok" if judged else "info"
    tip = escape(f"limit: {m.source}" + (f"; {m.note}" if m.note else ""), quote=True)
    return (
        f'<tr class="{mark}" title="{tip}"><th scope=row><i class="{mark}"></i>{escape(m.name)}</th>'
        f"<td class=num>{figure(m.value)}<small>{escape(_raised(m.unit))}</small></td><td class=num>{limit}</td>"
        f"<td>{_strip(time, state)}{_sentences(m)}</td></tr>"
    )


def _raised(unit: str) -> str:
    return unit.replace("^2", "\u00b2").replace("^3", "\u00b3")


def _sentences(m: Measure) -> str:
    said = [escape(f.sentence) for f in m.findings]
    html = "".join(f"<p>{s}</p>" for s in said[:MOST_SENTENCES])
    if more := said[MOST_SENTENCES:]:
        html += f"<details><summary>{len(more)} more</summary>{''.join(f'<p>{s}</p>' for s in more)}</details>"
    return html


def _strip(time: Array, state: Array) -> str:
    """Frames side by side as an SVG that stretches; each reaches half-way to its neighbours."""
    edges = np.concatenate([[time[0]], (time[1:] + time[:-1]) / 2, [time[-1]]])
    span = float(time[-1] - time[0]) or 1.0
    x = WIDTH * (edges - time[0]) / span if len(time) > 1 else np.array([0.0, WIDTH])
    starts = np.flatnonzero(np.concatenate([[True], np.diff(state) != 0]))
    ends = np.append(starts[1:], len(state))
    runs = sorted(zip(starts, ends, strict=True), key=lambda run: int(state[run[0]]))  # red over green
    rects = "".join(
        f'<rect class="{CLASSES[int(state[a])]}" x="{x[a]:.1f}" width="{max(x[b] - x[a], LEAST):.1f}" height="10"/>'
        for a, b in runs
        if state[a] != NOT_SEEN
    )
    svg = f'<svg class=strip viewBox="0 0 {WIDTH:.0f} 10" preserveAspectRatio="none" aria-hidden="true">{rects}</svg>'
    return f"<div class=track>{svg}</div>"


def _not_judged(p: Plausibility) -> str:
    if not p.not_judged:
        return ""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(why)}</dd>" for name, why in p.not_judged.items())
    return f"<details class=unjudged><summary>{len(p.not_judged)} not judged</summary><dl>{items}</dl></details>"
