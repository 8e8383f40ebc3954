"""Which coordinates of an OpenSim file are free, which follow others, which are held, and at what."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from physpose.errors import InputError, UnknownNameError
from physpose.skeleton.opensim_functions import read_function
from physpose.skeleton.opensim_xml import FileCoordinate, FileCoupler, OsimFile
from physpose.skeleton.polynomials import PiecewisePolynomial, constant, line


@dataclass(frozen=True, kw_only=True)
class Rule:
    """x = function(s), s the coordinate called ``source``; None: a constant."""

    source: str | None
    function: PiecewisePolynomial


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """All coordinates of a file, in its order."""

    by_name: dict[str, FileCoordinate]
    rules: dict[str, Rule]
    notes: tuple[str, ...]

    @property
    def free(self) -> tuple[str, ...]:
        return tuple(n for n, r in self.rules.items() if r.source == n)


FREE = line(1.0)


def sort_coordinates(file: OsimFile, free: Collection[str], hold: Mapping[str, float]) -> Coordinates:
    """A rule for every coordinate. Raises ``InputError`` for couplers that run in a circle or name none."""
    by_name = _by_name(file)
    for name in (*free, *hold):
        if name not in by_name:
            raise UnknownNameError("coordinate", name, by_name)
    couplers = {c.dependent: c for c in file.couplers if c.dependent not in (*free, *hold)}
    for c in couplers.values():
        for name in (c.dependent, c.independent):
            if name not in by_name:
                known = ", ".join(by_name)
                raise InputError(f"{file.path}: coupler {c.name!r} names {name!r}, no coordinate; known: {known}")
    rules: dict[str, Rule] = {}
    notes: list[str] = []
    for name, own in by_name.items():
        if name not in couplers:
            rules[name] = _own_rule(file, own, name in free, hold.get(name), notes)
    for name in couplers:
        rules[name] = _coupled(file, name, couplers, rules, ())
    notes += _summary(rules)
    return Coordinates(by_name=by_name, rules={n: rules[n] for n in by_name}, notes=tuple(notes))


def _by_name(file: OsimFile) -> dict[str, FileCoordinate]:
    found: dict[str, FileCoordinate] = {}
    for joint in file.joints:
        for c in joint.coordinates:
            if c.name in found:
                raise InputError(f"{file.path}: two coordinates are called {c.name!r}; names must differ")
            found[c.name] = c
    return found


def _own_rule(file: OsimFile, c: FileCoordinate, free: bool, held: float | None, notes: list[str]) -> Rule:
    if held is not None:
        return Rule(source=None, function=constant(held))
    if free:
        return Rule(source=c.name, function=FREE)
    if c.prescribed is not None:
        function = _read(file, f"coordinate {c.name!r}", lambda: read_function(c.prescribed))
        if function.constant is not None:
            return Rule(source=None, function=constant(function.constant))
        notes.append(f"{c.name} is prescribed as a function of time; here it is free, and the data say how it moves")
    if c.locked:
        return Rule(source=None, function=constant(c.default))
    return Rule(source=c.name, function=FREE)


def _coupled(
    file: OsimFile, name: str, couplers: Mapping[str, FileCoupler], rules: dict[str, Rule], before: tuple[str, ...]
) -> Rule:
    """The rule of a dependent coordinate, through those that its independent one itself depends on."""
    if name in before:
        raise InputError(f"{file.path}: couplers run in a circle: {' -> '.join((*before, name))}")
    if name in rules:
        return rules[name]
    c = couplers[name]
    f = _read(file, f"coupler {c.name!r}", lambda: read_function(c.function)).scaled(c.factor)
    inner = _coupled(file, c.independent, couplers, rules, (*before, name))
    if inner.function.constant is not None:
        return Rule(source=None, function=constant(float(f(inner.function.constant))))
    if inner.function.line is not None:
        return Rule(source=inner.source, function=f.after_line(*inner.function.line))
    if f.line is not None:
        return Rule(source=inner.source, function=inner.function.then_line(*f.line))
    raise InputError(f"{file.path}: coupler {c.name!r} follows {c.independent!r}, itself coupled by a curve; "
                     f"couple it to {inner.source!r}")  # fmt: skip


def _read(file: OsimFile, what: str, read):  # type: ignore[no-untyped-def]
    try:
        return read()
    except InputError as error:
        raise InputError(f"{file.path}: {what} {error}") from None


def _summary(rules: Mapping[str, Rule]) -> list[str]:
    held = [f"{n} = {r.function.constant:g}" for n, r in rules.items() if r.source is None]
    coupled = [f"{n} with {r.source}" for n, r in rules.items() if r.source not in (None, n)]
    notes = [f"held, as the file says: {', '.join(held)}"] if held else []
    return notes + ([f"coupled: {', '.join(coupled)}"] if coupled else [])
