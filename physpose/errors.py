"""Exceptions. Every one tells what was given and what is possible."""

from __future__ import annotations

from collections.abc import Iterable


class PhysposeError(ValueError):
    """Base of all errors that a user can mend; the command line prints it in one line, exit code 2."""


class UnknownNameError(PhysposeError):
    """A name that is not in a fixed list; the message lists what exists."""

    def __init__(self, kind: str, given: str, known: Iterable[str]):
        known = tuple(known)
        super().__init__(f"unknown {kind} {given!r}; known: {', '.join(known)}")
        self.kind, self.given, self.known = kind, given, known


class InputError(PhysposeError):
    """A file or an array that cannot be used; the message says which, why, and what would do."""


class SubjectError(PhysposeError):
    """Age, sex, height or mass that no person has, or that contradict one another."""


class NoPersonError(PhysposeError):
    """No usable person in the observations."""


class MissingPackageError(PhysposeError):
    """An optional package is needed; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs the package '{package}': pip install 'physpose[{extra}]'")
        self.package, self.extra = package, extra
