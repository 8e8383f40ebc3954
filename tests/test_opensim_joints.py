"""Every joint and function of an .osim file, in small models: against OpenSim's own FK and inverse dynamics."""

from __future__ import annotations

import pytest
from opensim_oracle import LINE, body, compare, coordinate, joint, model, pelvis, transform

from physpose.errors import InputError
from physpose.skeleton import load_skeleton
from physpose.skeleton.opensim import read_osim

pytest.importorskip("opensim", reason="OpenSim is the oracle here: pip install 'physpose[opensim]'")

POSITION = 1e-12  # [m] float64, a few joints
TORQUE = 1e-12  # relative

SPLINE = "<SimmSpline name='function'><x>-0.9 -0.4 0.1 0.3 0.8</x><y>0.1 0.3 -0.2 0.1 0.25</y></SimmSpline>"
FUNCTIONS = {
    "line": "<LinearFunction name='function'><coefficients>-0.7 0.2</coefficients></LinearFunction>",
    "constant": "<Constant name='function'><value>0.3</value></Constant>",
    "polynomial": "<PolynomialFunction name='function'><coefficients>0.3 -0.2 0.5 "
    "0.1</coefficients></PolynomialFunction>",
    "spline": SPLINE,
    "short spline": "<SimmSpline name='function'><x>-0.5 0.1 0.6</x><y>0.1 0.3 -0.2</y></SimmSpline>",
    "two knots": "<SimmSpline name='function'><x>-0.5 0.6</x><y>0.1 -0.2</y></SimmSpline>",
    "broken line": "<PiecewiseLinearFunction name='function'><x>-0.4 0 0.6</x><y>0.1 0.3 -0.2</y>"
    "</PiecewiseLinearFunction>",
    "multiplied": f"<MultiplierFunction name='function'><function>{SPLINE}</function><scale>1.7</scale>"
    "</MultiplierFunction>",
}
SIMPLE = {"PinJoint": 1, "SliderJoint": 1, "WeldJoint": 0, "UniversalJoint": 2, "GimbalJoint": 3, "PlanarJoint": 3}


def read(tmp_path, text):
    path = tmp_path / "model.osim"
    path.write_text(text)
    return path, read_osim(path)


def agree(tmp_path, text, as_simbody=False):
    errors = compare(*read(tmp_path, text))
    assert errors["position"] < POSITION
    assert errors["rotation"] < POSITION
    assert errors["torque_as_simbody" if as_simbody else "torque"] < TORQUE


@pytest.mark.parametrize("kind", SIMPLE)
@pytest.mark.parametrize("moved", [False, True])
def test_joint_kinds(tmp_path, kind, moved):
    first, root = pelvis()
    own = "".join(coordinate(f"c{i}") for i in range(SIMPLE[kind]))
    agree(tmp_path, model(first + body("a"), root + joint(kind, "j", "pelvis", "a", own, moved=moved)))


@pytest.mark.parametrize("kind", SIMPLE)
def test_joint_kinds_on_the_ground(tmp_path, kind):
    own = "".join(coordinate(f"c{i}") for i in range(SIMPLE[kind]))
    joints = joint(kind, "j", "ground", "a", own) + joint("PinJoint", "k", "a", "b", coordinate("elbow"))
    agree(tmp_path, model(body("a") + body("b"), joints))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_turn_and_slide(tmp_path, function):
    first, root = pelvis()
    f = FUNCTIONS[function]
    # coordinates beyond the knots: ranges are wider than the splines
    own = coordinate("s", span="-1.6 1.6") + coordinate("r")
    axes = transform(
        rotation1=("s", "0.6 0 0.8", f if function != "constant" else LINE), rotation2=("r", "0 2 0", LINE),
        rotation3=("", "0.3 0 0.9", FUNCTIONS["constant"]), translation1=("s", "3 0 4", f),
        translation2=("r", "0 1 0", f),
    )  # fmt: skip
    agree(tmp_path, model(first + body("a"), root + joint("CustomJoint", "j", "pelvis", "a", own, axes)), True)


def test_one_coordinate_that_drives_several_turns(tmp_path):
    first, root = pelvis()
    axes = transform(
        rotation1=("s", "1 0 0", LINE), rotation2=("s", "0 0 1", SPLINE), rotation3=("s", "0 1 0", SPLINE),
        translation2=("s", "0 1 0", SPLINE),
    )  # fmt: skip
    text = model(first + body("a"), root + joint("CustomJoint", "knee", "pelvis", "a", coordinate("s"), axes))
    agree(tmp_path, text, as_simbody=True)
    assert compare(*read(tmp_path, text))["torque"] > 1e-9  # where Simbody is not exact


@pytest.mark.parametrize("order", ["abc", "bca", "cba"])
def test_coordinates_in_another_order_than_their_axes(tmp_path, order):
    first, root = pelvis()
    axes = transform(
        rotation1=("a", "1 0 0", LINE), rotation2=("b", "0 0 1", LINE), rotation3=("c", "0 1 0", FUNCTIONS["line"])
    )
    own = "".join(coordinate(c) for c in order)
    text = model(first + body("x"), root + joint("CustomJoint", "j", "pelvis", "x", own, axes))
    if order == "abc":
        agree(tmp_path, text)
    errors = compare(*read(tmp_path, text))
    assert max(errors["position"], errors["rotation"]) < POSITION
    assert errors["torque"] < 0.05  # Simbody's own torques are off by so much there, see dynamics.simbody


def test_a_free_joint_and_a_ball_joint_place_bodies_as_opensim(tmp_path):
    free = "".join(coordinate(f"f{i}") for i in range(6))
    ball = "".join(coordinate(f"b{i}") for i in range(3))
    joints = joint("FreeJoint", "root", "ground", "a", free) + joint("BallJoint", "ball", "a", "b", ball)
    path, skeleton = read(tmp_path, model(body("a") + body("b"), joints))
    assert [b.joint.kind for b in skeleton.bodies] == ["free", "ball", "fixed"]
    errors = compare(path, skeleton)
    assert max(errors["position"], errors["rotation"]) < POSITION
    # forces: OpenSim's speeds of these joints are angular velocities, not rates; see test_conventions_opensim


def test_locked_and_coupled_coordinates(tmp_path):
    first, root = pelvis()
    own = coordinate("s") + coordinate("t") + coordinate("l", default=0.4, locked="true")
    axes = transform(rotation1=("s", "1 0 0", LINE), rotation2=("l", "0 0 1", LINE), rotation3=("t", "0 1 0", LINE))
    couple = """<ConstraintSet><objects><CoordinateCouplerConstraint name="c"><coupled_coordinates_function>{}
    </coupled_coordinates_function><independent_coordinate_names>s</independent_coordinate_names>
    <dependent_coordinate_name>p</dependent_coordinate_name><scale_factor>{}</scale_factor>
    </CoordinateCouplerConstraint></objects></ConstraintSet>"""
    knee = joint("CustomJoint", "j", "pelvis", "a", own, axes)
    for f, factor in ((FUNCTIONS["line"], 1), (SPLINE, 0.5)):
        cap = transform(rotation1=("p", "0 0 1", LINE), translation1=("p", "1 0 0", SPLINE))
        joints = root + knee + joint("CustomJoint", "k", "pelvis", "b", coordinate("p"), cap)
        text = model(first + body("a") + body("b"), joints, couple.format(f, factor))
        _, skeleton = read(tmp_path, text)
        assert skeleton.coordinate_names == ("s", "t")
        assert any("l = 0.4" in w for w in skeleton.warnings)
        assert any("p with s" in w for w in skeleton.warnings)
        agree(tmp_path, text, as_simbody=True)


def test_freed_and_held_coordinates(tmp_path):
    first, root = pelvis()
    own = coordinate("s") + coordinate("l", default=0.4, locked="true")
    axes = transform(rotation1=("s", "1 0 0", LINE), rotation2=("l", "0 0 1", LINE))
    path, _ = read(tmp_path, model(first + body("a"), root + joint("CustomJoint", "j", "pelvis", "a", own, axes)))
    for options, names in (({"free": ["l"]}, ("s", "l")), ({"free": ["l"], "hold": {"s": 0.3}}, ("l",))):
        skeleton = read_osim(path, **options)
        assert skeleton.coordinate_names == names
        assert compare(path, skeleton)["torque"] < TORQUE


def test_an_ellipsoid_joint_is_refused(tmp_path):
    own = "".join(coordinate(f"c{i}") for i in range(3))
    with pytest.raises(InputError, match="joint 'shoulder' is a EllipsoidJoint.*use one of"):
        read(tmp_path, model(body("a"), joint("EllipsoidJoint", "shoulder", "ground", "a", own)))


def test_load_skeleton_takes_the_file(tmp_path):
    path, skeleton = read(tmp_path, model(*pelvis()))
    assert load_skeleton(path).body_names == skeleton.body_names == ("pelvis",)
