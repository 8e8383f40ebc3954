"""OpenSim's external loads, .xml: which columns of which file act on which body."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from physpose.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ExternalForce:
    """One ExternalForce element."""

    name: str
    body: str  # on which it acts
    force_frame: str  # "world" or a body's name
    point_frame: str
    force: str  # identifiers: the columns are these with x, y, z appended; "" where absent
    point: str
    torque: str
    datafile: Path


def read_external_loads(path: str | Path) -> tuple[ExternalForce, ...]:
    """The forces of an external-loads file that are switched on.

    The data file is looked for beside the .xml, as OpenSim does.

    Raises:
        InputError: no such file, not XML, no ExternalLoads in it, or an ExternalForce without body, columns or data
            file; the message names the element.
    """
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ET.ParseError as error:
        raise InputError(f"{path} is no valid XML: {error}") from error
    loads = root if root.tag == "ExternalLoads" else root.find("ExternalLoads")
    if loads is None:
        raise InputError(f"{path} holds no <ExternalLoads>; its first element is <{root.tag}>")
    elements = [e for e in loads.iter("ExternalForce") if _applies(e)]
    if not elements:
        raise InputError(f"{path}: <ExternalLoads> holds no <ExternalForce> that is switched on")
    common = _text(loads, "datafile")
    return tuple(_force(e, common, path) for e in elements)


def _applies(element: ET.Element) -> bool:
    """Version 4 says appliesForce, older ones isDisabled."""
    return _text(element, "appliesForce").lower() != "false" and _text(element, "isDisabled").lower() != "true"


def _force(element: ET.Element, common: str, path: Path) -> ExternalForce:
    name = element.get("name") or "unnamed"
    where = f"{path}, ExternalForce {name!r}"
    body = _text(element, "applied_to_body")
    if not body:
        raise InputError(f"{where}: <applied_to_body> is missing; name the body on which it acts")
    identifiers = {kind: _text(element, f"{kind}_identifier") for kind in ("force", "point", "torque")}
    if not identifiers["force"] and not identifiers["torque"]:
        raise InputError(f"{where}: neither <force_identifier> nor <torque_identifier> names columns of the data file")
    return ExternalForce(
        name=name,
        body=body.rsplit("/", 1)[-1],
        force_frame=_frame(element, "force_expressed_in_body"),
        point_frame=_frame(element, "point_expressed_in_body"),
        datafile=_datafile(common or _text(element, "datafile"), where, path),
        **identifiers,
    )


def _frame(element: ET.Element, tag: str) -> str:
    name = _text(element, tag).rsplit("/", 1)[-1]
    return "world" if name in ("", "ground") else name


def _datafile(name: str, where: str, path: Path) -> Path:
    if not name:
        raise InputError(f"{where}: <datafile> is missing; name the .mot or .sto with the columns")
    candidates = [path.parent / name.replace("\\", "/"), path.parent / Path(name.replace("\\", "/")).name, Path(name)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{where}: the data file {name!r} is not there; it is looked for at {candidates[0]} and beside {path.name}"
    )


def _text(element: ET.Element, tag: str) -> str:
    found = element.find(tag)
    text = "" if found is None or found.text is None else found.text.strip()
    return "" if text.lower() == "unassigned" else text
