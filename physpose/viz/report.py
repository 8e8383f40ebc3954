"""The report: one HTML file with everything in it, readable offline and on paper."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import physpose
from physpose.errors import PhysposeError
from physpose.io.tables import replace_file
from physpose.plausibility.finding import DISAGREE
from physpose.result import FitResult
from physpose.skeleton.names import side, without_side
from physpose.viz.payload import payload, thinned
from physpose.viz.plausibility import plausibility_html
from physpose.viz.series import headline, sections
from physpose.viz.skin import skin_payload

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".3gp", ".wmv", ".ts", ".mts")
PREVIEW_HEIGHT = (480, 640)  # [px] of the embedded video: lying, upright
PREVIEW_FPS = 40.0  # [1/s] keeps 30, halves 60
MOST_VIDEO_SECONDS = 90.0  # a longer video is left out, and the report says so
SCRIPTS = ("three.min.js", "uplot.min.js", "data.js", "player.js", "overlay.js", "scene.js", "plots.js", "main.js")
SEXES = {"f": "female", "m": "male", "x": "mean of female and male"}


def write_report(result: FitResult, path: Path, *, video: bytes | None = None) -> Path:
    """Write the report of a result.

    Args:
        result: what to show.
        path: the .html file.
        video: an H.264 .mp4 of the clip, counted from the first frame; None: made from ``result.source``, if a video.

    Raises:
        InputError: nothing can be written there.
    """
    return replace_file(path, render_report(result, video=video))


def render_report(result: FitResult, *, video: bytes | None = None) -> str:
    """The report as HTML; arguments as ``write_report`` takes them."""
    notes: list[str] = []
    if video is None:
        video = _preview(result, notes)
    shown, step = thinned(result)
    if step > 1:
        notes.append(f"This report shows every {_ordinal(step)} frame; the files next to it hold all of them.")
    parts = {
        "title": escape(_clip_name(result)),
        "style": _asset("uplot.min.css") + _asset("report.css") + _asset("plausibility.css"),
        "header": _header(result),
        "warnings": _warnings(result, notes),
        "tiles": _tiles(result),
        "sections": _sections(result),
        "plausibility": _plausibility(result),
        "tables": _tables(result),
        "footer": _footer(result),
        "data": _json(payload(shown)),
        "video": "" if video is None else base64.b64encode(video).decode(),
        "scripts": "\n".join(f"<script>\n{_asset(name)}\n</script>" for name in SCRIPTS),
    }
    html = _asset("report.html")
    # one pass over the template: text that comes from the user is never searched for marks
    pieces = html.split("{{")
    return pieces[0] + "".join(parts[mark] + rest for mark, rest in (p.split("}}", 1) for p in pieces[1:]))


@cache
def _asset(name: str) -> str:
    return (files("physpose.viz") / "assets" / name).read_text(encoding="utf-8")


def _preview(result: FitResult, notes: list[str]) -> bytes | None:
    """The clip as a small .mp4, if the source is a video that is still there."""
    source = Path(result.source)
    if source.suffix.lower() not in VIDEO_SUFFIXES:
        return None
    if not source.is_file():
        if not result.filmed:  # keypoints that are called after a video
            return None
        notes.append(f"The video {result.source} was not found when this report was written, so it is not shown.")
        return None
    if result.time[-1] - result.time[0] > MOST_VIDEO_SECONDS:
        notes.append("The video is too long to be part of this report; the skeleton is drawn without it.")
        return None
    try:
        return _encode(source, result)
    except PhysposeError as error:  # the numbers are worth keeping without the picture
        notes.append(f"The video cannot be shown: {error}")
        return None


def _encode(source: Path, result: FitResult) -> bytes:
    from physpose.io.video import Video, encode_preview

    clip = Video.open(source)
    upright = clip.image_size[1] > clip.image_size[0]
    return encode_preview(clip, result.time, max_height=PREVIEW_HEIGHT[upright], max_fps=PREVIEW_FPS)


def _json(data: Any) -> str:
    """JSON that cannot end its <script> element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


# --- parts of the page ----------------------------------------------------------------------------------------------


def _clip_name(result: FitResult) -> str:
    return Path(result.source).name or result.source or "motion"


def _header(result: FitResult) -> str:
    T, span = len(result.time), float(result.time[-1] - result.time[0])
    facts = [f"{T} frame{'s' * (T != 1)}", f"{span:.2f} s"]
    if span > 0:
        facts.append(f"{(T - 1) / span:.4g} frames/s")
    facts += [f"{datetime.now():%d %B %Y}", f"physpose {physpose.__version__}"]
    chips = "".join(f"<li>{escape(f)}</li>" for f in facts)
    return f"<h1>{escape(_clip_name(result))}</h1><p class=who>{escape(_who(result))}</p><ul class=chips>{chips}</ul>"


def _who(result: FitResult) -> str:
    s = result.skeleton.subject
    if s is None:
        return f"{result.skeleton.name}, {result.skeleton.mass:.1f} kg"
    sex = SEXES.get(s.sex, s.sex)
    return (
        f"{result.skeleton.name} \u00b7 {s.age:.4g} years \u00b7 {sex} \u00b7 {s.height:.2f} m \u00b7 {s.mass:.1f} kg"
    )


def _warnings(result: FitResult, notes: list[str]) -> str:
    items = "".join(f"<li>{escape(w)}</li>" for w in result.warnings)
    remarks = "".join(f"<li>{escape(n)}</li>" for n in notes)
    html = ""
    if items:
        count = len(result.warnings)
        html += f'<aside class="notice warn"><h2>{count} warning{"s" * (count != 1)}</h2><ul>{items}</ul></aside>'
    if remarks:
        html += f'<aside class="notice"><h2>About this report</h2><ul>{remarks}</ul></aside>'
    return html


def _tiles(result: FitResult) -> str:
    return "".join(
        f"<div class=tile><span class=name>{escape(t['name'])}</span>"
        f"<span class=value>{escape(t['value'])}<small>{escape(t['unit'])}</small></span>"
        f"<span class=note>{escape(t['note'])}</span></div>"
        for t in (*headline(result), _plausible_tile(result))
    )


def _plausible_tile(result: FitResult) -> dict[str, str]:
    """Frames whose motion is possible, and the worst measure or how many frames the forces do not go with."""
    p = result.plausibility
    share = 100 * float(p.motion_passed.mean())
    note = f"worst: {p.failed[0].name}" if p.failed else "a few tolerated" if p.tolerated else "every measure passes"
    if p.verdict == DISAGREE:
        apart = 100 * float((~p.forces_passed).sum() / p.forces_judged.sum())
        note = f"of the movement; the measured forces do not go with it in {apart:.0f} %"
    return {"name": "Plausible frames", "value": f"{share:.0f}", "unit": "%", "note": note}


def _sections(result: FitResult) -> str:
    """Empty frames for the plots, which the scripts fill."""
    html = ""
    for s in sections(result):
        more = f"<details class=more><summary>{len(s.more)} more</summary><div class=grid></div></details>" * bool(
            s.more
        )
        html += (
            f'<section class=plots id="{s.id}"><div class=head><div><h2>{escape(s.title)}</h2><p>{escape(s.note)}</p>'
            f"</div><div class=switch></div></div><div class=grid></div>{more}</section>"
        )
    return html


def _plausibility(result: FitResult) -> str:
    note = "What anatomy and physics say of each frame. Press a strip to go there; a row tells its limit's source."
    return (
        f'<section class=plots id="plausibility"><div class=head><div><h2>Plausibility</h2><p>{note}</p></div></div>'
        f"{plausibility_html(result.plausibility)}</section>"
    )


def _tables(result: FitResult) -> str:
    assumptions = "".join(
        f"<tr class={'given' if a.source == 'given' else 'assumed'}><th scope=row>{escape(a.what)}</th>"
        f"<td>{escape(a.value)}</td><td>{escape(a.source)}</td></tr>"
        for a in result.assumptions
    )
    head = "<thead><tr><th>What</th><th>Value</th><th>Where from</th></tr></thead>"
    return (
        f"<div class=card><h2>What was given and assumed</h2><div class=scroll><table>{head}<tbody>{assumptions}"
        f"</tbody></table></div></div><div><div class=card><h2>How it was found</h2><dl>{_method(result)}</dl></div>"
        f"<div class=card><h2>Body</h2><div class=scroll><table>{_lengths(result)}</table></div></div></div>"
    )


def _method(result: FitResult) -> str:
    status = result.status
    settled = "settled" if status.converged else "did NOT settle"
    rows = [("Contact forces", result.contacts.method)]
    rows.append(("Estimation", f"{settled} after {status.iterations} iterations"))
    if status.seconds:
        times = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in status.seconds.items())
        rows.append(("Time taken", times))
    if result.keypoints is not None:
        rows.append(("Observed", f"{len(result.keypoints.names)} points of {result.keypoints.keypoint_set}"))
    residual = _residual(result)
    if residual:
        rows.append(("Root residual", residual))
    if result.sigma is None:
        rows.append(("Uncertainty", "not estimated: curves carry no error bands"))
    else:
        rows.append(("Uncertainty", "bands are one standard deviation, from the posterior covariance of the estimate"))
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)


def _residual(result: FitResult) -> str | None:
    """The force and moment on the root that no contact explains: what the motion's physics still lacks."""
    if result.skeleton.bodies[0].joint.kind != "free":
        return None
    known = result.torques_known
    if not np.isfinite(result.tau[known, :6]).any():
        return None
    force, moment = (np.sqrt(np.nanmean((result.tau[known, i : i + 3] ** 2).sum(1))) for i in (0, 3))
    where = "" if known.all() else f", in the {int(known.sum())} frames where every force was measured"
    return f"{force:.0f} N and {moment:.0f} N\u00b7m RMS that no contact explains{where} (zero would be perfect)"


def _lengths(result: FitResult) -> str:
    """Segment lengths (to the next joint centre) and masses; the right side stands for both."""
    rows = ""
    for body in result.skeleton.bodies:
        if side(body.name) == "l":
            continue
        children = [b.joint.translation for b in result.skeleton.bodies if b.parent == body.name]
        length = max((float(np.linalg.norm(c)) for c in children), default=0.0)
        name = without_side(body.name).replace("_", " ")
        shown = f"{100 * length:.1f} cm" if length > 0.02 else "\u2013"
        rows += f"<tr><th scope=row>{escape(name)}</th><td>{shown}</td><td>{body.mass:.2f} kg</td></tr>"
    head = "<thead><tr><th>Segment</th><th>To its farthest joint</th><th>Mass (each side)</th></tr></thead>"
    total = f"<tr class=total><th scope=row>whole body</th><td></td><td>{result.skeleton.mass:.2f} kg</td></tr>"
    return f"{head}<tbody>{rows}{total}</tbody>"


def _footer(result: FitResult) -> str:
    skin = "The body model's surface follows the bodies by linear blend skinning, without corrections at bent joints."
    solids = "Segments are drawn with their mass at 1000 kg/m\u00b3."
    drawn = solids if skin_payload(result.skeleton) is None else skin
    return (
        "<p><b>Files</b> next to this report, when it was saved with them: motion.mot and torques.sto (OpenSim), "
        "positions.trc (markers), motion.csv, result.npz (all arrays), skeleton.xml and skeleton.osim (the "
        "scaled body for MuJoCo and OpenSim), motion.bvh (Blender).</p>"
        "<p><b>Frames and units</b>: SI units; world z up, right-handed; momentum in world axes, angular about the "
        "centre of mass; potential energy is zero at z = 0. Angles here in degrees, in OpenSim's signs. "
        f"{drawn}</p>"
        f"<p>Made with physpose {physpose.__version__}. Drawn with three.js and uPlot (both MIT licence).</p>"
    )


def _ordinal(n: int) -> str:
    return {2: "second", 3: "third"}.get(n, f"{n}th")
