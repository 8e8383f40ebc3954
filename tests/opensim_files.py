"""OpenSim models of real studies, changed as the study's own computation had them."""

from pathlib import Path
from xml.etree import ElementTree as ET


def with_pins_and_free_patella(model: Path, out: Path) -> Path:
    """The two mtp welds become pins, the patella's coordinates are free, and 0 unless told."""
    tree = ET.parse(model)
    for side in "rl":
        joint = next(j for j in tree.iter("WeldJoint") if j.get("name") == f"mtp_{side}")
        joint.tag = "PinJoint"
        coordinate = ET.SubElement(ET.SubElement(joint, "coordinates"), "Coordinate", name=f"mtp_angle_{side}")
        ET.SubElement(coordinate, "default_value").text = "0"
    for objects in tree.iter("objects"):
        for coupler in objects.findall("CoordinateCouplerConstraint"):
            objects.remove(coupler)
    for coordinate in tree.iter("Coordinate"):
        if str(coordinate.get("name")).endswith("_beta"):
            found = coordinate.find("default_value")
            (ET.SubElement(coordinate, "default_value") if found is None else found).text = "0"
    tree.write(out)
    return out
