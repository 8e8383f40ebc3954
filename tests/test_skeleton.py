"""The shipped skeletons: standing, symmetric, with OpenSim's axes and signs, every number with a source."""

from __future__ import annotations

import tarfile
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physpose import load_skeleton
from physpose.chain import KinematicChain
from physpose.errors import InputError, UnknownNameError
from physpose.skeleton import describe, list_skeletons
from physpose.skeleton.files import SHIPPED, read_shipped, skeleton_folder
from physpose.skeleton.keypoint_sets import KEYPOINT_NAMES, keypoint_names
from physpose.skeleton.model import Skeleton

SUBJECTS = [
    {"name": "adult", "height": 1.75, "mass": 70.0},
    {"name": "adult", "sex": "f", "age": 19, "height": 1.60, "mass": 55.0},
    {"name": "adult", "sex": "m", "age": 70},
    {"name": "child", "sex": "f", "age": 8, "height": 1.28, "mass": 26.0},
    {"name": "child", "age": 2.0},
    {"name": "infant", "age": 0.5},
]
EXACT = 1e-12  # float64, no iteration


@pytest.fixture(params=SUBJECTS, ids=lambda s: f"{s['name']}-{s.get('age', '')}")
def skeleton(request: pytest.FixtureRequest) -> Skeleton:
    return load_skeleton(**request.param)


@pytest.fixture(scope="module")
def man() -> Skeleton:
    return load_skeleton("adult", sex="m", height=1.75, mass=73.0)


def pose(skeleton: Skeleton, **degrees: float) -> torch.Tensor:
    q = skeleton.neutral.copy()
    for name, angle in degrees.items():
        q[7 + skeleton.coordinate_names.index(name)] = np.deg2rad(angle)
    return torch.tensor(q)


def located(skeleton: Skeleton, points, **degrees: float) -> dict[str, np.ndarray]:
    """World positions (3,) [m] of body points by name."""
    chain = KinematicChain(skeleton)
    at = chain.locate(chain.fk(pose(skeleton, **degrees)), chain.points(points))
    return dict(zip([p.name for p in points], at.detach().numpy(), strict=True))


def keypoints(skeleton: Skeleton, **degrees: float) -> dict[str, np.ndarray]:
    return located(skeleton, skeleton.keypoint_set("halpe26").points, **degrees)


def test_forty_degrees_of_freedom_with_opensim_names(man):
    assert (man.nv, man.nq, len(man.bodies)) == (40, 41, 21)
    for name in ("hip_flexion_r", "knee_angle_l", "subtalar_angle_r", "lumbar_extension", "neck_rotation", "arm_add_l"):
        assert name in man.coordinate_names
    assert set(man.body_names) >= {"pelvis", "femur_l", "talus_r", "calcn_r", "toes_l", "torso", "radius_r", "hand_l"}


def test_parents_come_first_and_the_root_is_free(skeleton):
    seen: set[str | None] = {None}
    for body in skeleton.bodies:
        assert body.parent in seen
        seen.add(body.name)
    assert [b.name for b in skeleton.bodies if b.joint.kind == "free"] == ["pelvis"]


def test_stands_on_the_floor_and_reaches_its_height(skeleton):
    vertex = keypoints(skeleton)["head"]
    feet = located(skeleton, [p for p in skeleton.contact_points if not p.name.startswith("hand")])
    assert vertex[2] == pytest.approx(skeleton.subject.height, abs=1e-9)
    assert np.allclose([p[2] for p in feet.values()], 0, atol=1e-3)
    assert min(p[2] for p in feet.values()) == pytest.approx(0, abs=1e-9)


def test_faces_x_with_its_right_side_at_minus_y(skeleton):
    k = keypoints(skeleton)
    assert k["nose"][0] > k["left_ear"][0]
    assert k["right_big_toe"][0] > k["right_heel"][0]
    assert k["right_shoulder"][1] < 0 < k["left_shoulder"][1]


def test_segment_masses_sum_to_the_mass_exactly(skeleton):
    assert skeleton.mass == pytest.approx(skeleton.subject.mass, rel=1e-12)


def test_inertias_are_those_of_solid_bodies(skeleton):
    for body in skeleton.bodies:
        moments = np.linalg.eigvalsh(body.inertia)
        assert moments[0] > 0
        assert moments[0] + moments[1] >= moments[2]


def test_left_mirrors_right(skeleton):
    mirror = np.diag([1.0, 1.0, -1.0])
    by_name = {b.name: b for b in skeleton.bodies}
    for name in (n for n in skeleton.body_names if not n.endswith("_l")):
        left = by_name[name[:-2] + "_l"] if name.endswith("_r") else by_name[name]
        right = by_name[name]
        assert left.mass == right.mass
        assert np.allclose(left.com, mirror @ right.com, atol=EXACT)
        assert np.allclose(left.inertia, mirror @ right.inertia @ mirror, atol=EXACT)
        assert np.allclose(left.joint.translation, mirror @ right.joint.translation, atol=EXACT)
        if name.endswith("_r"):
            for cl, cr in zip(left.joint.coordinates, right.joint.coordinates, strict=True):
                # a rotation axis is a pseudovector: det(mirror) mirror @ axis
                assert np.allclose(cl.axis, -mirror @ cr.axis, atol=EXACT)
                assert cl.range == cr.range


def test_mirrored_angles_give_mirrored_points(man):
    rng = np.random.default_rng(0)
    right = {n: float(rng.uniform(-30, 30)) for n in man.coordinate_names if n.endswith("_r")}
    one = keypoints(man, **right)
    other = keypoints(man, **{n[:-2] + "_l": a for n, a in right.items()})
    for name, p in one.items():
        twin = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert np.allclose(p * [1, -1, 1], other[twin], atol=1e-9)


# What moves, which way (world x forward, y left, z up): the anatomical meaning of each positive angle.
SIGNS = [
    ({"hip_flexion_r": 60}, "right_knee", [1, 0, 1]),
    ({"hip_adduction_r": 20}, "right_knee", [0, 1, 0]),
    ({"hip_adduction_l": 20}, "left_knee", [0, -1, 0]),
    ({"hip_flexion_r": 90, "knee_angle_r": 90, "hip_rotation_r": 20}, "right_ankle", [0, -1, 0]),
    ({"knee_angle_r": 60}, "right_ankle", [-1, 0, 1]),
    ({"ankle_angle_r": 20}, "right_big_toe", [0, 0, 1]),
    ({"subtalar_angle_r": 15}, "right_small_toe", [0, 1, 0]),
    ({"mtp_angle_r": 30}, "right_big_toe", [0, 0, -1]),
    ({"lumbar_extension": -30}, "nose", [1, 0, -1]),
    ({"lumbar_bending": 20}, "nose", [0, -1, 0]),
    ({"lumbar_rotation": 20}, "nose", [0, 1, 0]),
    ({"neck_flexion": -20}, "head", [1, 0, 0]),
    ({"neck_bending": 20}, "head", [0, -1, 0]),
    ({"neck_rotation": 20}, "nose", [0, 1, 0]),
    ({"arm_flex_r": 60}, "right_elbow", [1, 0, 1]),
    ({"arm_add_r": -60}, "right_elbow", [0, -1, 1]),
    ({"arm_add_l": -60}, "left_elbow", [0, 1, 1]),
    ({"elbow_flex_r": 90}, "right_wrist", [1, 0, 1]),
    ({"elbow_flex_r": 90, "arm_rot_r": 30}, "right_wrist", [0, 1, 0]),
]


@pytest.mark.parametrize(
    ("angles", "point", "direction"), SIGNS, ids=lambda x: "+".join(x) if isinstance(x, dict) else ""
)
def test_positive_angles_mean_what_opensim_means(man, angles, point, direction):
    others = dict(list(angles.items())[:-1])  # the last angle is the one looked at
    moved = keypoints(man, **angles)[point] - keypoints(man, **others)[point]
    for axis, sign in enumerate(direction):
        if sign:
            assert sign * moved[axis] > 0.005


def osim_axes(model: ET.Element) -> dict[str, np.ndarray]:
    """Coordinate -> axis (3,) in the parent's frame, of an OpenSim model's custom, pin and universal joints."""
    axes = {}
    for joint in model.iter():
        names = [c.get("name") for c in joint.iter("Coordinate")]
        frames = [f.findtext("orientation") for f in joint.iter("PhysicalOffsetFrame")]
        if joint.tag == "CustomJoint":
            for t in joint.iter("TransformAxis"):
                name = (t.findtext("coordinates") or "").strip()
                slope = t.find("LinearFunction/coefficients")
                if name in names and t.get("name", "").startswith("rotation") and slope is not None:
                    axes[name] = np.array(t.findtext("axis").split(), float) * float(slope.text.split()[0])
        elif joint.tag in ("PinJoint", "UniversalJoint"):
            R = Rotation.from_euler("XYZ", np.array(frames[0].split(), float)).as_matrix()
            columns = [2] if joint.tag == "PinJoint" else [0, 1]
            axes.update({n: R[:, c] for n, c in zip(names, columns, strict=True)})
    return axes


@pytest.mark.parametrize(
    ("archive", "path", "least"),
    [
        (
            "nimblephysics/data/osim.tar.xz",
            "osim/LaiArnoldSubject5/LaiArnoldModified2017_poly_withArms_weldHand_generic.osim",
            24,
        ),
        (
            None,
            "pose2sim/S00_Demo_BatchSession/S00_P00_SingleParticipant/S00_P00_OpenSim/Model_Pose2Sim_body25b_scaled.osim",
            28,
        ),
    ],
    ids=["lai-arnold", "pose2sim"],
)
def test_axes_are_those_of_published_opensim_models(data_dir, man, archive, path, least):
    if archive:
        with tarfile.open(data_dir / archive) as tar:
            model = ET.fromstring(tar.extractfile(path).read())
    else:
        model = ET.parse(data_dir / path).getroot()
    theirs = osim_axes(model)
    compared = [c for c in man.coordinates if c.name in theirs and not c.name.startswith("knee")]
    assert len(compared) >= least
    for c in compared:
        assert c.axis == pytest.approx(theirs[c.name], abs=2e-4), c.name  # their orientations have six digits


@pytest.mark.parametrize(
    ("angle", "direction"), [("wrist_flex_r", [1, 0, 0]), ("wrist_dev_r", [0, 1, 0])], ids=["flexion", "ulnar"]
)
def test_hand_signs_with_the_palm_forward(man, angle, direction):
    moved = located(man, man.contact_points, **{angle: 30})["hand_r"] - located(man, man.contact_points)["hand_r"]
    assert moved @ direction > 0.005


def test_pronation_turns_the_thumb_from_outside_to_front(man):
    points = man.keypoint_set("blazepose33").points
    supine, middle = (located(man, points, pro_sup_r=a) for a in (0, 90))
    thumb = {a: p["right_thumb"] - p["right_wrist"] for a, p in ((0, supine), (90, middle))}
    assert thumb[0][1] < -0.03
    assert thumb[90][0] > 0.03


def test_soft_ranges_hold_daily_movements(skeleton):
    # walking, running, sit-to-stand, squat, stairs: extremes of published gait and squat studies, degrees
    daily = {
        "hip_flexion_r": (-25, 120), "hip_adduction_r": (-20, 15), "hip_rotation_r": (-20, 20),
        "knee_angle_r": (0, 140), "ankle_angle_r": (-30, 38), "subtalar_angle_r": (-15, 15), "mtp_angle_r": (-50, 10),
        "lumbar_extension": (-60, 15), "lumbar_bending": (-20, 20), "lumbar_rotation": (-25, 25),
        "arm_flex_r": (-40, 150), "arm_add_r": (-120, 20), "elbow_flex_r": (0, 140), "pro_sup_r": (10, 160),
        "neck_flexion": (-45, 40), "neck_rotation": (-60, 60),
    }  # fmt: skip
    ranges = {c.name: np.rad2deg(c.range) for c in skeleton.coordinates}
    for name, (low, high) in daily.items():
        assert ranges[name][0] < low < high < ranges[name][1], name


def test_neutral_lies_inside_the_soft_ranges(skeleton):
    assert all(c.range[0] < 0 < c.range[1] for c in skeleton.coordinates)


def test_children_are_more_mobile_than_adults():
    child, adult = (load_skeleton(n, age=a, sex="f") for n, a in (("child", 5), ("adult", 57)))
    high = {s.name: {c.name: c.range[1] for c in s.coordinates} for s in (child, adult)}
    # Soucie et al. 2011: 152.6 and 137.8 degrees
    difference = np.rad2deg(high["child"]["knee_angle_r"] - high["adult"]["knee_angle_r"])
    assert difference == pytest.approx(152.6 - 137.8, abs=1e-6)


def test_keypoint_sets_have_the_detectors_order_and_points_on_the_body(skeleton):
    sizes = {"blazepose33": 33, "coco17": 17, "openpose_body25": 25, "halpe26": 26, "h36m17": 17}
    assert set(sizes) == set(KEYPOINT_NAMES)
    assert {n: len(skeleton.keypoint_set(n).points) for n in sizes} == sizes
    for name in sizes:
        keypoint_set = skeleton.keypoint_set(name)
        assert keypoint_set.names == keypoint_names(name)
        assert np.all(keypoint_set.sigma > 0)
        assert all(p.body in skeleton.body_names and p.source for p in keypoint_set.points)
        joined = {i for edge in keypoint_set.edges for i in edge}
        assert len(joined) >= 0.7 * len(keypoint_set.points)


# As the detectors' own documentation numbers them.
NUMBERS = {
    "blazepose33": {0: "nose", 7: "left_ear", 11: "left_shoulder", 16: "right_wrist", 19: "left_index",
                    24: "right_hip", 27: "left_ankle", 29: "left_heel", 32: "right_foot_index"},
    "coco17": {1: "left_eye", 6: "right_shoulder", 9: "left_wrist", 12: "right_hip", 15: "left_ankle"},
    "openpose_body25": {1: "Neck", 2: "RShoulder", 8: "MidHip", 9: "RHip", 15: "REye", 19: "LBigToe", 24: "RHeel"},
    "halpe26": {16: "right_ankle", 17: "head", 18: "neck", 19: "mid_hip", 20: "left_big_toe", 23: "right_small_toe",
                24: "left_heel"},
    "h36m17": {0: "Pelvis", 1: "RHip", 4: "LHip", 7: "Spine", 8: "Thorax", 10: "Head", 11: "LShoulder", 16: "RWrist"},
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_keypoints_have_the_detectors_numbers(name):
    for number, keypoint in NUMBERS[name].items():
        assert keypoint_names(name)[number] == keypoint


def test_left_keypoints_are_on_the_left_and_heads_above_feet(skeleton):
    for name in KEYPOINT_NAMES:
        at = located(skeleton, skeleton.keypoint_set(name).points)
        for point, p in at.items():
            if point.startswith(("left", "L")) or point.endswith("_left"):
                assert p[1] > 0, (name, point)
            elif point.startswith(("right", "R")) or point.endswith("_right"):
                assert p[1] < 0, (name, point)
            else:
                assert p[1] == pytest.approx(0, abs=1e-9)
        ankle, hip, wrist = (next(p for n, p in at.items() if part in n.lower()) for part in ("ankle", "hip", "wrist"))
        shoulder, nose = (next(p for n, p in at.items() if part in n.lower()) for part in ("shoulder", "nose"))
        assert ankle[2] < wrist[2] < shoulder[2] < nose[2]
        assert ankle[2] < hip[2] < shoulder[2]


def test_sets_agree_on_what_they_share(skeleton):
    coco, halpe = (skeleton.keypoint_set(n).points for n in ("coco17", "halpe26"))
    for a, b in zip(coco, halpe[:17], strict=True):
        assert (a.name, a.body, *a.offset) == (b.name, b.body, *b.offset)


def test_scale_groups_cover_lengths_on_both_sides_once(skeleton):
    used = [(body, axis) for g in skeleton.scale_groups for body in g.bodies for axis in g.axes]
    assert len(used) == len(set(used))
    for group in skeleton.scale_groups:
        assert 0.02 < group.sigma <= 0.1
        lefts = {b[:-2] for b in group.bodies if b.endswith("_l")}
        assert lefts == {b[:-2] for b in group.bodies if b.endswith("_r")}


def test_scaling_a_group_lengthens_that_segment_only(man):
    scales = np.ones(len(man.scale_groups))
    scales[[g.name for g in man.scale_groups].index("thigh_length")] = 1.1
    longer = man.scaled(scales)
    knee, hip = (longer.bodies[longer.body_index(n)].joint.translation for n in ("tibia_r", "femur_r"))
    assert knee[1] == pytest.approx(1.1 * man.bodies[man.body_index("tibia_r")].joint.translation[1])
    assert np.array_equal(hip, man.bodies[man.body_index("femur_r")].joint.translation)


def _unsourced(data, path: str = "", sourced: bool = False):
    """Paths of numbers that neither they nor anything around them gives a source for."""
    if isinstance(data, dict):
        sourced = sourced or bool(data.get("source"))
        for key, value in data.items():
            yield from _unsourced(value, f"{path}/{key}", sourced)
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _unsourced(value, f"{path}/{i}", sourced)
    elif isinstance(data, int | float) and not isinstance(data, bool) and not sourced:
        yield path


@pytest.mark.parametrize("name", [*SHIPPED, "human", "growth"])
def test_every_number_has_a_source(name):
    assert list(_unsourced(read_shipped(name))) == []


def _sources(data):
    if isinstance(data, dict):
        if isinstance(data.get("source"), str):
            yield data["source"]
        for value in data.values():
            yield from _sources(value)


@pytest.mark.parametrize("name", [*SHIPPED, "human", "growth"])
def test_every_source_is_a_listed_publication_or_says_unverified(name):
    known = {*read_shipped("human")["sources"], "unverified"}
    for source in _sources(read_shipped(name)):
        assert source.split(":")[0].split(";")[0] in known, source


def test_lists_and_describes():
    assert list(list_skeletons()) == ["adult", "child", "infant"]
    assert all(len(line.splitlines()) == 1 for line in list_skeletons().values())
    text = describe(load_skeleton("child", age=8, sex="f", height=1.28, mass=26))
    for word in (
        "knee_angle_r",
        "1.280 m",
        "26.00 kg",
        "blazepose33",
        "heel_r",
        "jensen1989",
        "unverified",
        "-12 .. 164",
    ):
        assert word in text


def test_a_skeleton_needs_a_name():
    with pytest.raises(InputError, match="a skeleton's name or file is needed; NoneType given"):
        load_skeleton(None)


def test_unknown_names_tell_what_exists(man):
    with pytest.raises(UnknownNameError, match="adult, child, infant"):
        load_skeleton("martian")
    with pytest.raises(UnknownNameError, match="coco17"):
        keypoint_names("coco18")
    with pytest.raises(UnknownNameError, match="coco17"):
        man.keypoint_set("coco18")
    assert set(KEYPOINT_NAMES) < set(man.keypoint_sets)


def test_own_file_extends_a_shipped_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: adult\nname: mine\ndimensions: {head: {f: 0.2, m: 0.2, source: me}}\n")
    mine, adult = load_skeleton(path, height=1.7, mass=60), load_skeleton("adult", height=1.7, mass=60)
    assert mine.name == "mine"
    assert keypoints(mine)["head"][2] == pytest.approx(1.7)
    assert keypoints(mine)["right_hip"][2] < keypoints(adult)["right_hip"][2]


def shank(body) -> float:
    """[m], of a body 1.7 m tall."""
    return -float(body.bodies[body.body_index("talus_r")].joint.translation[1])


@pytest.mark.parametrize("number", ["0.26", "{all: 0.26}", "{all: 0.26, source: me}", "{f: 0.26, m: 0.26}",
                                    "{age: [18, 60], all: [0.26, 0.26]}"])  # fmt: skip
@pytest.mark.parametrize(("base", "age"), [("adult", 30), ("adult", 18.5), ("child", 14), ("child", 19)])
def test_a_number_of_an_own_file_counts_in_whatever_form(tmp_path, number, base, age):
    """And at every age, also where the shipped body turns into the next one."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {base}\nname: mine\ndimensions: {{shank: {number}}}\n")
    mine = load_skeleton(path, age=age, sex="f", height=1.7, mass=60)
    shipped = load_skeleton(base, age=age, sex="f", height=1.7, mass=60)
    assert shank(mine) == pytest.approx(0.26 * 1.7, rel=0.03)  # all lengths together are scaled to the height
    assert abs(shank(mine) - shank(shipped)) > 0.005


@pytest.mark.parametrize(("base", "age"), [("adult", 19.0), ("child", 19.0), ("infant", 1.5)])
def test_what_an_own_file_leaves_stays_as_the_age_has_it(tmp_path, base, age):
    """Also where the shipped body turns into the next one: only the heads differ."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {base}\nname: mine\ndimensions: {{head_depth: {{all: 0.2}}}}\n")
    mine, shipped = (load_skeleton(n, age=age, sex="f", height=1.5 if age > 2 else 0.8) for n in (path, base))
    for a, b in zip(mine.bodies, shipped.bodies, strict=True):
        np.testing.assert_allclose(a.mass, b.mass, rtol=1e-12)
        np.testing.assert_allclose(a.joint.translation, b.joint.translation, rtol=1e-12)
    deeper = [p for p, q in zip(*(s.keypoint_set("blazepose33").points for s in (mine, shipped)), strict=True)
              if not np.allclose(p.offset, q.offset)]  # fmt: skip
    assert {p.body for p in deeper} == {"head"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("dimensions: {shnk: {all: 0.26}}", "unknown name in dimensions 'shnk'; known: .*shank"),
        ("masses: {legs: {all: 0.26}}", "unknown name in masses 'legs'; known: .*thigh"),
        ("dimension: {shank: {all: 0.26}}", "unknown entry of .* 'dimension'; known: .*dimensions"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path, entry, message):
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: adult\nname: mine\n{entry}\n")
    with pytest.raises(UnknownNameError, match=message):
        load_skeleton(path)


def test_a_form_of_number_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: adult\nname: mine\ndimensions: {shank: {both: 0.26}}\n")
    with pytest.raises(InputError, match="a number has both; possible: age, all, f, m, source"):
        load_skeleton(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "not a mapping"), ("a: [", "cannot be read as YAML"), ("name: x", "lacks bodies"), (None, "no such")],
)
def test_unusable_files_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_skeleton(path)
    assert "\n" not in str(error.value)


def test_an_incomplete_own_file_names_what_is_missing(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: adult\nname: mine\nbodies: {head: {size: [head_depth, neck_and_head, head_breadth]}}\n")
    with pytest.raises(InputError, match="neck_and_head"):
        load_skeleton(path)


def test_files_are_found_beside_the_package():
    assert (skeleton_folder() / "adult.yaml").is_file()
