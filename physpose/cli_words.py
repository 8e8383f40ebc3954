"""Messages that name Python's arguments, as ``height=1.75``, in the command line's words, as ``--height 1.75``."""

from __future__ import annotations

import re
from collections.abc import Iterable

VALUE = r"'[^']*'|True\b|False\b|\([^()]*\)|\{[^{}]*\}|-?\d+(?:\.\d+)?(?![\w.])|(?=[\s,;:)?]|$)"
OTHERWISE = {"holds": "hold", "bodies": "body"}  # Python's plurals
WITHOUT_PLATES = "leaving out --forces"
FUNCTIONS = {"inverse_dynamics": "physpose id", "check": "physpose check", "fit": "physpose fit"}


def in_options(message: str, names: Iterable[str]) -> str:
    """A message with what it says of arguments said of options.

    Args:
        message: e.g. "give degrees=False, or height=1.75".
        names: Python's names of the arguments that are options here; others stay as they are.

    Returns:
        E.g. "give --no-degrees, or --height 1.75".
    """
    known = {name: OTHERWISE.get(name, name) for name in (*names, *OTHERWISE)}
    words = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    for name, command in FUNCTIONS.items():
        message = message.replace(f"physpose.{name}", command)
    message = message.replace("plates=False", WITHOUT_PLATES)
    return re.sub(rf"(?<![\w./'-])({words})=({VALUE})", lambda m: _option(known[m[1]], m[2]), message)


def _option(name: str, value: str) -> str:
    option = "--" + name.replace("_", "-")
    if value == "False":
        return option.replace("--", "--no-", 1)
    if value in ("", "True"):
        return option
    if value.startswith("{"):  # {label: point}
        return "--marker LABEL=POINT"
    given = " ".join(value.strip("()").split(", ")) if value.startswith("(") else _bare(value)
    return f"{option}{'=' if given.startswith('-') else ' '}{given}"


def _bare(value: str) -> str:
    return value if " " in value else value.strip("'")
