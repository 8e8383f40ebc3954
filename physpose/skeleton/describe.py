"""A skeleton in words and tables, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from physpose.skeleton.files import read_shipped
from physpose.skeleton.model import Body, Skeleton


def describe(skeleton: Skeleton) -> str:
    """Several plain tables: subject, bodies, coordinates with soft ranges, what scales, contact points, keypoints,
    sources."""
    parts = [_title(skeleton), _subject(skeleton), _bodies(skeleton), _coordinates(skeleton), _groups(skeleton)]
    return "\n\n".join([*parts, _contacts(skeleton), _keypoints(skeleton), _sources(skeleton)]) + "\n"


def _title(s: Skeleton) -> str:
    return f"{s.name}: {len(s.bodies)} bodies, {s.nv} degrees of freedom{_of_root(s)}, {s.mass:.2f} kg"


def _of_root(s: Skeleton) -> str:
    return " (6 of the pelvis)" if s.bodies[0].joint.kind == "free" else ""


def _subject(s: Skeleton) -> str:
    rows = [(a.what, a.value, a.source) for a in s.assumptions]
    lines = [_table("Subject", ("what", "value", "source"), rows)] if rows else []
    return "\n".join([*lines, *(f"warning: {w}" for w in s.warnings)]) or "Subject: unknown"


def _bodies(s: Skeleton) -> str:
    share = 100 / s.mass if s.mass > 0 else 0.0
    rows = [
        (b.name, b.parent or "world", f"{b.mass:.3f}", f"{share * b.mass:.1f}", _length(s, b), _vector(b.com),
         _vector(_radii(b)))
        for b in s.bodies
    ]  # fmt: skip
    head = ("body", "parent", "mass [kg]", "[%]", "length [m]", "centre of mass [m]", "radii of gyration [m]")
    return _table("Bodies", head, rows)


def _length(s: Skeleton, body: Body) -> str:
    """Distance from the body's origin to its farthest child's joint, for an end of the tree to its farthest point."""
    ends = [b.joint.translation for b in s.bodies if b.parent == body.name]
    points = (*s.contact_points, *(p for k in s.keypoint_sets.values() for p in k.points))
    ends = ends or [p.offset for p in points if p.body == body.name]
    return f"{max(np.linalg.norm(e) for e in ends):.3f}" if ends else "-"


def _radii(body: Body) -> np.ndarray:
    return np.sqrt(np.diag(body.inertia) / body.mass) if body.mass > 0 else np.zeros(3)


def _coordinates(s: Skeleton) -> str:
    rows = []
    for joint in s.joints:
        for c in joint.coordinates:
            low, high = np.rad2deg(c.range) if c.kind == "hinge" else c.range
            rows.append((c.name, joint.name or "-", _vector(c.axis, 2), f"{low:.0f} .. {high:.0f}", c.source))
        if joint.kind == "ball":
            name = next(b.name for b in s.bodies if b.joint is joint)
            rows.append((f"{name}_x, _y, _z", joint.name or "-", "ball", "none", "free to turn any way"))
    return _table("Coordinates", ("name", "joint", "axis", "soft range [deg; m]", "source of the range"), rows)


def _groups(s: Skeleton) -> str:
    rows = [
        (g.name, ", ".join(g.bodies), "".join("xyz"[a] for a in g.axes), f"{100 * g.sigma:.1f}", g.source)
        for g in s.scale_groups
    ]
    return _table("What can be scaled to a person", ("group", "bodies", "axes", "spread [%]", "source"), rows)


def _contacts(s: Skeleton) -> str:
    rows = [(p.name, p.body, _vector(p.offset), p.source) for p in s.support_points]
    return _table("Contact points", ("point", "body", "offset [m]", "source"), rows)


def _keypoints(s: Skeleton) -> str:
    rows = [(n, str(len(k.points)), ", ".join(k.names)) for n, k in s.keypoint_sets.items()]
    return _table("Keypoint sets", ("set", "points", "names"), rows)


def _sources(s: Skeleton) -> str:
    points = [*s.support_points, *(p for k in s.keypoint_sets.values() for p in k.points)]
    used = " ".join([c.source for c in s.coordinates] + [g.source for g in s.scale_groups] + [p.source for p in points])
    masses = ("deleva1996", "jensen1986", "jensen1989") if s.skin is None else ()  # else told by its assumptions
    rows = [(k, v) for k, v in read_shipped("human")["sources"].items() if k in used or k in masses]
    return _table("Sources", ("key", "publication"), rows) + "\n  unverified: a number nobody could check"


def _vector(x: Iterable[float], digits: int = 3) -> str:
    return " ".join(f"{v + 0.0:.{digits}f}" for v in x)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, the last as it is."""
    width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in [head, *rows]]
    return "\n".join([title, *(f"  {line}" for line in lines)])
