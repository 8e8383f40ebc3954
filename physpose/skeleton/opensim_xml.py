"""OpenSim model files (.osim) as plain records: what is in the file, whatever its version; no mechanics yet.

Versions 1xxxx to 3xxxx keep each joint inside its child body, with its place in both bodies; version 4 has sets of
bodies and joints whose frames are named by paths. Both are read to the same records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from physpose.errors import InputError
from physpose.types import Array

GROUND = "ground"
OLD_DIGITS = 6  # OpenSim turns files before version 4 into the new form by text with so many digits, and so do we
AXES = ("rotation1", "rotation2", "rotation3", "translation1", "translation2", "translation3")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A frame in another: x_outer = R x_inner + p."""

    R: Array
    p: Array

    def __matmul__(self, inner: Placement) -> Placement:
        return Placement(R=self.R @ inner.R, p=self.p + self.R @ inner.p)

    @property
    def inverse(self) -> Placement:
        return Placement(R=self.R.T, p=-self.R.T @ self.p)


IDENTITY = Placement(R=np.eye(3), p=np.zeros(3))


@dataclass(frozen=True, kw_only=True)
class FileBody:
    name: str
    mass: float  # [kg]
    com: Array  # (3,) [m]
    inertia: Array  # (3, 3) [kg.m^2] about the centre of mass


@dataclass(frozen=True, kw_only=True)
class FileCoordinate:
    name: str
    default: float  # [rad; m]
    range: tuple[float, float]
    clamped: bool
    locked: bool
    prescribed: ET.Element | None  # function of time, where it is in force


@dataclass(frozen=True, kw_only=True)
class FileAxis:
    """One of the six of a CustomJoint: along or about ``axis`` by ``function`` of ``coordinate``."""

    axis: Array  # (3,)
    coordinate: str | None
    function: ET.Element | None


@dataclass(frozen=True, kw_only=True)
class FileJoint:
    name: str
    kind: str  # e.g. "CustomJoint"
    parent: str  # body, or "ground"
    child: str
    in_parent: Placement  # of the joint's frame
    in_child: Placement
    coordinates: tuple[FileCoordinate, ...]
    axes: tuple[FileAxis, ...]  # six of a CustomJoint, none of others


@dataclass(frozen=True, kw_only=True)
class FileCoupler:
    name: str
    dependent: str
    independent: str
    function: ET.Element
    factor: float


@dataclass(frozen=True, kw_only=True)
class FilePoint:
    """A marker, or a contact sphere with its radius."""

    name: str
    body: str
    offset: Array  # (3,) [m]
    radius: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OsimFile:
    path: Path
    version: int
    name: str
    gravity: Array  # (3,) [m/s^2], in the ground: y up
    bodies: tuple[FileBody, ...]
    joints: tuple[FileJoint, ...]
    couplers: tuple[FileCoupler, ...]
    markers: tuple[FilePoint, ...]
    spheres: tuple[FilePoint, ...]
    ignored: tuple[str, ...]  # what is in the file and was not read, e.g. "80 muscles and other forces"


def read_osim_file(path: str | Path) -> OsimFile:
    """The records of a file. Raises ``InputError`` that names the file, the element and what would do."""
    return _Reader(Path(path)).read()


def numbers_of(e: ET.Element, tag: str) -> Array:
    """Numbers (n,) in a child element. Raises ``InputError`` that names the element."""
    text = e.findtext(tag) or ""
    try:
        x = np.array([float(word) for word in text.split()])
    except ValueError:
        raise InputError(f"<{e.tag}> <{tag}> is {text.strip()[:60]!r}; numbers needed") from None
    if not len(x) or not np.isfinite(x).all():
        raise InputError(f"<{e.tag}> <{tag}> is {text.strip()[:60]!r}; finite numbers needed")
    return x


def _rounded(x: float) -> float:
    return float(f"{x:.{OLD_DIGITS}g}")


class _Document(ET.TreeBuilder):
    """Refuses a document type: entities have no place in a model, and could name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise InputError(f"has a DOCTYPE {name!r}, which no model needs; remove that line")


class _Reader:
    def __init__(self, path: Path):
        self.path = path
        root = self._parse()
        model = root.find("Model")
        if root.tag != "OpenSimDocument" or model is None:
            raise self.error(f"its top element is <{root.tag}>; <OpenSimDocument> with a <Model> in it needed")
        self.model, self.version = model, self._version(root)
        self.modern = model.find("JointSet") is not None  # version 4; before, each joint was inside its child
        self.owner = {child: parent for parent in model.iter() for child in parent}
        self.frames: dict[str, tuple[str, Placement]] = {}  # path of an offset frame -> (body, placement in it)

    # --- the document -----------------------------------------------------------------------------------------------

    def _parse(self) -> ET.Element:
        if not self.path.is_file():
            raise InputError(f"no such file: {self.path}")
        try:
            return ET.parse(self.path, ET.XMLParser(target=_Document())).getroot()
        except ET.ParseError as error:
            raise self.error(f"is not well-formed XML ({error}); was the file cut off?") from error
        except InputError as error:
            raise self.error(str(error)) from None
        except (OSError, UnicodeError, LookupError) as error:
            raise self.error(f"cannot be read ({error})") from error

    def _version(self, root: ET.Element) -> int:
        text = root.get("Version", "")
        if not text.isdigit():
            raise self.error(f"Version is {text!r}; a number like 40000 needed")
        return int(text)

    def error(self, message: str, element: ET.Element | None = None) -> InputError:
        where = "" if element is None else f" in {self.label(element)}"
        return InputError(f"{self.path}:{where} {message}" if where else f"{self.path} {message}")

    def label(self, element: ET.Element) -> str:
        """e.g. <CustomJoint name="hip_r">: the nearest element around it that has a name."""
        e: ET.Element | None = element
        while e is not None and not e.get("name"):
            e = self.owner.get(e)
        inner = f" <{element.tag}>" if e is not element else ""
        return (f'<{e.tag} name="{e.get("name")}">' if e is not None else "<Model>") + inner

    def text(self, element: ET.Element, tag: str, default: str | None = None) -> str:
        found = element.findtext(tag)
        if found is None or not found.strip():
            if default is None:
                raise self.error(f"<{tag}> is missing or empty", element)
            return default
        return found.strip()

    def numbers(self, element: ET.Element, tag: str, n: int | None, default: Any = None) -> Array:
        text = self.text(element, tag, "" if default is not None else None)
        if not text:
            return np.asarray(default, float)
        try:
            x = np.array([float(word) for word in text.replace(",", " ").strip("()").split()])
        except ValueError:
            raise self.error(f"<{tag}> is {text[:60]!r}; numbers needed", element) from None
        if (n is not None and len(x) != n) or not np.isfinite(x).all():
            raise self.error(f"<{tag}> is {text[:60]!r}; {n or 'only'} finite numbers needed", element)
        return x

    def number(self, element: ET.Element, tag: str, default: float | None = None) -> float:
        return float(self.numbers(element, tag, 1, None if default is None else [default])[0])

    def flag(self, element: ET.Element, tag: str, default: bool = False) -> bool:
        text = self.text(element, tag, str(default)).lower()
        if text not in ("true", "false"):
            raise self.error(f"<{tag}> is {text!r}; true or false needed", element)
        return text == "true"

    def members(self, set_tag: str) -> list[ET.Element]:
        """Members of a set of the model."""
        return [e for s in self.model.findall(set_tag) for e in s.findall("objects/*")]

    # --- the model --------------------------------------------------------------------------------------------------

    def read(self) -> OsimFile:
        self._units()
        bodies = [e for e in self.members("BodySet") if e.get("name") != GROUND]
        if not bodies:
            raise self.error("has no body; a <BodySet> with <objects> needed")
        self._check_unique(bodies)
        self.body_names = tuple(self._name(e) for e in bodies)
        if self.modern:
            self._collect_frames()
            joints = [self._joint(e, *self._sockets(e)) for e in self.members("JointSet")]
        else:
            joints = [j for e in bodies for j in self._joint_in_body(e)]
        coupled = self.members("ConstraintSet")
        return OsimFile(
            path=self.path,
            version=self.version,
            name=self.model.get("name") or self.path.stem,
            gravity=self.numbers(self.model, "gravity", 3, [0, -9.80665, 0]),
            bodies=tuple(self._body(e) for e in bodies),
            joints=tuple(joints),
            couplers=tuple(c for e in coupled if e.tag == "CoordinateCouplerConstraint" for c in self._coupler(e)),
            markers=tuple(self._marker(e) for e in self.members("MarkerSet")),
            spheres=tuple(p for e in self.members("ContactGeometrySet") for p in self._sphere(e)),
            ignored=tuple(self._ignored(coupled)),
        )

    def _units(self) -> None:
        for tag, known in (("length_units", ("meters", "meter", "m")), ("force_units", ("N", "newtons", "Newtons"))):
            unit = self.text(self.model, tag, known[0])
            if unit not in known:
                raise self.error(f"<{tag}> is {unit!r}; only {known[0]} are understood: convert the model")

    def _check_unique(self, elements: list[ET.Element]) -> None:
        names = [self._name(e) for e in elements]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise self.error(f"has two bodies called {twice[0]!r}; names must differ")

    def _name(self, element: ET.Element) -> str:
        name = (element.get("name") or "").strip()
        if not name:
            raise self.error(f"a <{element.tag}> has no name; give it one", element)
        return name

    def _body(self, e: ET.Element) -> FileBody:
        if e.find("inertia") is not None:
            xx, yy, zz, xy, xz, yz = self.numbers(e, "inertia", 6, np.zeros(6))
        else:
            six = (self.number(e, f"inertia_{k}", 0.0) for k in ("xx", "yy", "zz", "xy", "xz", "yz"))
            xx, yy, zz, xy, xz, yz = (_rounded(x) for x in six)
        return FileBody(
            name=self._name(e),
            mass=self.number(e, "mass", 0.0),
            com=self.numbers(e, "mass_center", 3, np.zeros(3)),
            inertia=np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]),
        )

    # --- frames and joints ------------------------------------------------------------------------------------------

    def _collect_frames(self) -> None:
        """Offset frames by path, e.g. /jointset/hip_r/pelvis_offset -> (pelvis, placement)."""
        elements = {self._path(e): e for e in self.model.iter("PhysicalOffsetFrame")}
        for path in elements:
            self.frames[path] = self._resolved(path, elements, ())

    def _resolved(self, path: str, elements: dict[str, ET.Element], before: tuple[str, ...]) -> tuple[str, Placement]:
        if path in before:
            raise self.error(f"has frames that lie in each other: {' -> '.join((*before, path))}")
        e = elements[path]
        socket = self._socket(e, "parent")
        found = self._find(socket, path, elements)
        if found is None:
            raise self.error(
                f"its parent frame {socket!r} is not in the model; bodies: {', '.join(self.body_names)}", e
            )
        own = self._placement(e, "translation", "orientation")
        if found not in elements:
            return found, own
        body, outer = self._resolved(found, elements, (*before, path))
        return body, outer @ own

    def _find(self, socket: str, path: str, frames: Any) -> str | None:
        """What a socket's text means, seen from the component at ``path``: a body, or the path of an offset frame."""
        if socket.startswith("/"):
            target = socket
        else:  # relative to the component itself, ".." being its owner
            parts = path.strip("/").split("/")
            for step in socket.split("/"):
                parts = parts[:-1] if step == ".." else [*parts, step]
            target = "/" + "/".join(parts)
        if target in frames:
            return target
        last = target.rsplit("/", 1)[-1]
        if last == GROUND or last in self.body_names:
            return last
        # written by name alone: a frame of the same owner, or of the only one that has such a frame
        nearby = [f for f in frames if f == f"{path}/{last}" or f == f"{path.rsplit('/', 1)[0]}/{last}"]
        named = nearby or [f for f in frames if f.rsplit("/", 1)[-1] == last]
        return named[0] if len(named) == 1 else None

    def _path(self, e: ET.Element) -> str:
        names: list[str] = []
        node: ET.Element | None = e
        while node is not None and node is not self.model:
            if node.get("name") or node.tag.endswith("Set"):
                names.append(node.get("name") or node.tag.lower())
            node = self.owner.get(node)
        return "/" + "/".join(reversed(names))

    def _socket(self, e: ET.Element, name: str) -> str:
        """Text of a socket; the first files of version 4 kept them in <connectors>."""
        connector = e.find(f"connectors/*[@name='{name}']/connectee_name")
        if connector is not None and connector.text:
            return connector.text.strip()
        return self.text(e, f"socket_{name}")

    def _in_body(self, e: ET.Element, socket: str) -> tuple[str, Placement]:
        """Body and placement in it of the frame that a socket of ``e`` names."""
        text = self._socket(e, socket)
        found = self._find(text, self._path(e), self.frames)
        if found is None:
            known = ", ".join((GROUND, *self.body_names))
            raise self.error(f"its {socket.replace('_', ' ')} {text!r} is not in the model; bodies: {known}", e)
        return self.frames.get(found, (found, IDENTITY))

    def _sockets(self, e: ET.Element) -> tuple[str, Placement, str, Placement]:
        return *self._in_body(e, "parent_frame"), *self._in_body(e, "child_frame")

    def _joint_in_body(self, body: ET.Element) -> Iterator[FileJoint]:
        holder = body.find("Joint")
        for e in holder if holder is not None else ():
            parent = self.text(e, "parent_body")
            if parent != GROUND and parent not in self.body_names:
                known = ", ".join((GROUND, *self.body_names))
                raise self.error(f"its parent body {parent!r} is not in the model; bodies: {known}", e)
            if self.flag(e, "reverse"):
                raise self.error("<reverse> is true, which is not understood; exchange parent and child", e)
            in_parent = self._placement(e, "location_in_parent", "orientation_in_parent", old=True)
            in_child = self._placement(e, "location", "orientation", old=True)
            yield self._joint(e, parent, in_parent, self._name(body), in_child)

    def _joint(self, e: ET.Element, parent: str, in_parent: Placement, child: str, in_child: Placement) -> FileJoint:
        tag = "coordinates" if self.modern else "CoordinateSet/objects"
        transform = e.find("SpatialTransform")
        if e.tag == "CustomJoint" and transform is None:
            raise self.error("has no <SpatialTransform>", e)
        return FileJoint(
            name=self._name(e),
            kind=e.tag,
            parent=parent,
            child=child,
            in_parent=in_parent,
            in_child=in_child,
            coordinates=tuple(self._coordinate(c) for c in e.findall(f"{tag}/Coordinate")),
            axes=tuple(self._axes(transform)) if transform is not None else (),
        )

    def _placement(self, e: ET.Element, location: str, orientation: str, old: bool = False) -> Placement:
        from scipy.spatial.transform import Rotation

        angles, p = (self.numbers(e, tag, 3, np.zeros(3)) for tag in (orientation, location))
        if old:
            angles, p = (np.array([_rounded(v) for v in x]) for x in (angles, p))
        return Placement(R=Rotation.from_euler("XYZ", angles).as_matrix(), p=p)  # body-fixed x y z

    def _coordinate(self, e: ET.Element) -> FileCoordinate:
        prescribed = e.find("prescribed_function")
        function = next(iter(prescribed), None) if prescribed is not None else None
        in_force = self.flag(e, "prescribed") and function is not None
        low, high = self.numbers(e, "range", 2, [-np.pi, np.pi])
        return FileCoordinate(
            name=self._name(e),
            default=self.number(e, "default_value", 0.0),
            range=(float(low), float(high)),
            clamped=self.flag(e, "clamped"),
            locked=self.flag(e, "locked"),
            prescribed=function if in_force else None,
        )

    def _axes(self, transform: ET.Element) -> Iterator[FileAxis]:
        elements = {e.get("name"): e for e in transform.findall("TransformAxis")}
        for k, name in enumerate(AXES):
            e = elements.get(name)
            if e is None:
                yield FileAxis(axis=np.eye(3)[k % 3], coordinate=None, function=None)
                continue
            names = self.text(e, "coordinates", "").split()
            if len(names) > 1:
                raise self.error(f"depends on {' and '.join(names)}; one coordinate an axis is understood", e)
            holder = e.find("function")
            function = next(iter(holder), None) if holder is not None else None
            if function is None:  # early files have the function without a holder around it
                function = next((x for x in e if "Function" in x.tag or "Spline" in x.tag or x.tag == "Constant"), None)
            axis = self.numbers(e, "axis", 3, [1.0, 0, 0])
            yield FileAxis(axis=axis, coordinate=names[0] if names else None, function=function)

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _coupler(self, e: ET.Element) -> Iterator[FileCoupler]:
        if not self.flag(e, "isEnforced", True) or self.flag(e, "isDisabled"):
            return
        names = self.text(e, "independent_coordinate_names").split()
        if len(names) > 1:
            raise self.error(f"couples to {' and '.join(names)}; one independent coordinate is understood", e)
        function = e.find("coupled_coordinates_function/*")
        if function is None:
            raise self.error("<coupled_coordinates_function> is missing or empty", e)
        yield FileCoupler(
            name=self._name(e), dependent=self.text(e, "dependent_coordinate_name"), independent=names[0],
            function=function, factor=self.number(e, "scale_factor", 1.0),
        )  # fmt: skip

    def _point(self, e: ET.Element, socket: str, tag: str) -> tuple[str, Placement]:
        if self.modern:
            return self._in_body(e, socket)
        body = self.text(e, tag)
        if body != GROUND and body not in self.body_names:
            raise self.error(f"its body {body!r} is not in the model; bodies: {', '.join(self.body_names)}", e)
        return body, IDENTITY

    def _marker(self, e: ET.Element) -> FilePoint:
        body, frame = self._point(e, "parent_frame", "body")
        return FilePoint(name=self._name(e), body=body, offset=frame.p + frame.R @ self.numbers(e, "location", 3))

    def _sphere(self, e: ET.Element) -> Iterator[FilePoint]:
        if e.tag != "ContactSphere":
            return
        body, frame = self._point(e, "frame", "body_name")
        offset = frame.p + frame.R @ self.numbers(e, "location", 3, np.zeros(3))
        yield FilePoint(name=self._name(e), body=body, offset=offset, radius=self.number(e, "radius"))

    def _ignored(self, constraints: list[ET.Element]) -> Iterator[str]:
        forces = self.members("ForceSet")
        muscles = [e for e in forces if "Muscle" in e.tag]
        if muscles:
            yield f"{len(muscles)} muscles"
        if len(forces) > len(muscles):
            yield f"{len(forces) - len(muscles)} other forces"
        for e in constraints:
            if e.tag != "CoordinateCouplerConstraint":
                yield f"constraint {e.get('name')!r} ({e.tag})"
