"""Sizes and masses against published tables; continuous in age; what is missing is filled, what cannot be refused."""

from __future__ import annotations

import csv
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from physpose import load_skeleton
from physpose.errors import SubjectError
from physpose.skeleton.files import read_shipped, skeleton_folder
from physpose.skeleton.growth import distribution
from physpose.skeleton.model import Skeleton, Subject

# Jensen 1989 (6, 18 years), 1986 (12, 15): per cent of body mass, one side
JENSEN = {
    6: {
        "headneck": 18.2,
        "trunk": 43.0,
        "arm": 2.4,
        "forearm": 1.3,
        "hand": 0.8,
        "thigh": 8.5,
        "leg": 4.6,
        "foot": 1.9,
    },
    12: {
        "headneck": 10.1,
        "trunk": 41.7,
        "arm": 3.2,
        "forearm": 1.7,
        "hand": 0.9,
        "thigh": 11.0,
        "leg": 5.3,
        "foot": 2.1,
    },
    15: {
        "headneck": 6.7,
        "trunk": 41.6,
        "arm": 3.5,
        "forearm": 1.7,
        "hand": 0.8,
        "thigh": 12.1,
        "leg": 5.6,
        "foot": 2.1,
    },
    18: {
        "headneck": 7.0,
        "trunk": 44.6,
        "arm": 3.6,
        "forearm": 1.9,
        "hand": 0.9,
        "thigh": 11.4,
        "leg": 4.8,
        "foot": 1.7,
    },
}
SEGMENTS = {
    "headneck": ["head"], "trunk": ["torso", "pelvis"], "arm": ["humerus_r"], "forearm": ["ulna_r", "radius_r"],
    "hand": ["hand_r"], "thigh": ["femur_r"], "leg": ["tibia_r"], "foot": ["talus_r", "calcn_r", "toes_r"],
}  # fmt: skip
# de Leva 1996: mass [%], centre of mass and radii of gyration [% of length] about x, y, z (sagittal, long., transverse)
DE_LEVA = {
    "femur_r": {"m": (14.16, 40.95, (32.9, 14.9, 32.9)), "f": (14.78, 36.12, (36.9, 16.2, 36.4))},
    "tibia_r": {"m": (4.33, 43.95, (25.1, 10.2, 24.6)), "f": (4.81, 43.52, (26.7, 9.2, 26.3))},
    "humerus_r": {"m": (2.71, 57.72, (28.5, 15.8, 26.9)), "f": (2.55, 57.54, (27.8, 14.8, 26.0))},
}
REFERENCE = {"f": {"height": 1.735, "mass": 61.9}, "m": {"height": 1.741, "mass": 73.0}}
CHILD = {"ulna_r": "radius_r", "femur_r": "tibia_r", "tibia_r": "talus_r", "humerus_r": "ulna_r"}


def masses(skeleton: Skeleton) -> dict[str, float]:
    return {b.name: b.mass for b in skeleton.bodies}


def length(skeleton: Skeleton, body: str) -> float:
    return float(np.linalg.norm(skeleton.bodies[skeleton.body_index(CHILD[body])].joint.translation))


def lengths(skeleton: Skeleton) -> np.ndarray:
    return np.array([np.linalg.norm(b.joint.translation) for b in skeleton.bodies])


@pytest.mark.parametrize("age", JENSEN)
@pytest.mark.parametrize("sex", ["f", "m", "x"])
def test_childrens_masses_agree_with_jensen(age, sex):
    s = load_skeleton("child", age=age, sex=sex)
    for segment, percent in JENSEN[age].items():
        mine = 100 * sum(masses(s)[b] for b in SEGMENTS[segment]) / s.mass
        assert mine == pytest.approx(percent, abs=0.2)  # rounding of tables that do not sum to 100; required: 1
    assert s.mass == pytest.approx(s.subject.mass, rel=1e-12)


def test_the_numbers_of_jensen_here_are_those_of_the_table(data_dir):
    names = {6: "jensen1989-6yr", 12: "jensen1986-12yr", 15: "jensen1986-15yr", 18: "jensen1989-18yr"}
    for age, name in names.items():
        with (data_dir / f"bsp_wspr/data/scaled-mass/{name}.csv").open() as file:
            table = {row[0]: float(row[1]) for row in itertools.islice(csv.reader(file), 1, None)}
        assert table == JENSEN[age]


@pytest.mark.parametrize("sex", ["f", "m"])
@pytest.mark.parametrize("body", DE_LEVA)
def test_the_reference_adult_is_de_levas(sex, body):
    s = load_skeleton("adult", sex=sex, **REFERENCE[sex])
    b, (mass, com, radii) = s.bodies[s.body_index(body)], DE_LEVA[body][sex]
    total = 2 * (2.55 + 1.38 + 0.56 + 14.78 + 4.81 + 1.29) + 6.68 + 42.57 if sex == "f" else 100.0
    assert 100 * b.mass / s.mass == pytest.approx(100 * mass / total, rel=1e-3)
    assert 100 * np.linalg.norm(b.com) / length(s, body) == pytest.approx(com, rel=2e-3)
    mine = 100 * np.sqrt(np.diag(b.inertia) / b.mass) / length(s, body)
    assert mine == pytest.approx(np.array(radii), rel=2e-3)


@pytest.mark.parametrize(("sex", "com", "radii"), [("m", 44.15, (12.4, 25.7, 24.5)), ("f", 40.14, (13.9, 29.9, 27.9))])
def test_talus_calcn_and_toes_together_are_de_levas_foot(sex, com, radii):
    s = load_skeleton("adult", sex=sex, **REFERENCE[sex])
    bodies = {b.name: b for b in s.bodies}
    foot_length = {"f": 0.1513, "m": 0.1544}[sex] * s.subject.height
    at = {"talus_r": np.zeros(3), "calcn_r": bodies["calcn_r"].joint.translation}
    at["toes_r"] = at["calcn_r"] + bodies["toes_r"].joint.translation
    m = np.array([bodies[n].mass for n in at])
    c = np.array([at[n] + bodies[n].com for n in at])
    centre = m @ c / m.sum()
    heel = at["calcn_r"][0] - 0.0686 * foot_length
    assert 100 * (centre[0] - heel) / foot_length == pytest.approx(com, rel=5e-3)
    along = np.array(
        [(c[:, 0] - centre[0]) * k for k in (0, 1, 1)]
    )  # parallel axes along the foot; heights are guesses
    inertia = sum(np.diag(bodies[n].inertia) for n in at) + (m * along**2).sum(1)
    assert 100 * np.sqrt(inertia / m.sum()) / foot_length == pytest.approx(np.array(radii), rel=2e-2)


@pytest.mark.parametrize(("sex", "com", "radii"), [("m", 51.38, (32.8, 16.9, 30.6)), ("f", 49.64, (30.7, 14.7, 29.2))])
def test_torso_and_pelvis_together_are_de_levas_whole_trunk(sex, com, radii):
    """From cervicale to mid-hip; de Leva's own whole trunk was not used to make the parts."""
    s = load_skeleton("adult", sex=sex, **REFERENCE[sex])
    bodies = {b.name: b for b in s.bodies}
    torso, pelvis, back = bodies["torso"], bodies["pelvis"], bodies["torso"].joint.translation
    cervicale = back + bodies["head"].joint.translation
    hip = bodies["femur_r"].joint.translation * [1, 1, 0]
    trunk = cervicale[1] - hip[1]
    m = np.array([torso.mass, pelvis.mass])
    c = np.array([back + torso.com, pelvis.com])
    centre = m @ c / m.sum()
    assert 100 * (cervicale[1] - centre[1]) / trunk == pytest.approx(com, abs=1.5)
    along = (c[:, 1] - centre[1])[:, None] * [1, 0, 1]
    inertia = np.diag(torso.inertia) + np.diag(pelvis.inertia) + (m[:, None] * along**2).sum(0)
    assert 100 * np.sqrt(inertia / m.sum()) / trunk == pytest.approx(np.array(radii), abs=1.5)


def test_centre_of_mass_stands_at_a_common_height_above_the_feet():
    for name, age, sex in (("adult", 30, "m"), ("adult", 30, "f"), ("child", 8, "m"), ("child", 6, "f")):
        s = load_skeleton(name, age=age, sex=sex)
        origin: dict[str | None, np.ndarray] = {None: np.array([0, s.neutral[2], 0])}  # axes of the pelvis: y up
        for b in s.bodies:
            origin[b.name] = origin[b.parent] + b.joint.translation
        com = sum(b.mass * (origin[b.name] + b.com) for b in s.bodies) / s.mass
        # published: 0.55-0.57 of height standing in adults, a little higher in children
        assert 0.545 < com[1] / s.subject.height < 0.60
        assert origin["calcn_r"][0] < com[0] < origin["toes_r"][0]


def test_skeleton_files_hold_what_the_surveys_give(data_dir):
    path = Path(__file__).parents[1] / "benchmarks/fit_anthropometry.py"
    spec = importlib.util.spec_from_file_location("fit_anthropometry", path)
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)
    ansur = fit.read_ansur(data_dir)
    tables = {
        "adult": fit.adult_dimensions(ansur),
        "child": fit.child_dimensions(data_dir, ansur),
        "infant": fit.infant_head(data_dir, ansur),
    }
    for name, table in tables.items():
        assert fit.compare(skeleton_folder() / f"{name}.yaml", table) < 1e-4  # four digits are stored
    for name, table in fit.growth_tables(data_dir).items():
        assert table == {k: v for k, v in read_shipped("growth")[name].items() if k != "source"}


def test_heavier_at_equal_height_is_thicker_not_longer():
    slim, stout = (load_skeleton("adult", sex="m", height=1.75, mass=m) for m in (65.0, 95.0))
    assert np.allclose(lengths(slim), lengths(stout))
    k = {
        s.subject.mass: np.sqrt(np.diag(b.inertia) / b.mass)
        for s in (slim, stout)
        for b in s.bodies
        if b.name == "femur_r"
    }
    # about its own axis a cylinder's radius of gyration is R / sqrt(2), and R^2 goes with mass / length
    assert k[95.0][1] / k[65.0][1] == pytest.approx(np.sqrt(95 / 65), rel=1e-9)
    assert 1 < k[95.0][0] / k[65.0][0] < 1.05


@pytest.mark.parametrize("sex", ["f", "m", "x"])
def test_a_childs_body_becomes_an_adults_without_a_jump(sex):
    """At one height and mass: lengths and mass fractions change by little in a tenth of a year, from 2 to 25 years."""
    ages = np.round(np.arange(2.0, 25.01, 0.1), 1)
    before = None
    for age in ages:
        name = "child" if age < 20 else "adult"
        height = distribution("height", float(age), sex).M
        s = load_skeleton(name, age=float(age), sex=sex, height=height)
        now = np.concatenate([lengths(s) / height, [m / s.mass for m in masses(s).values()]])
        if before is not None:
            assert np.abs(now - before).max() < 0.003, age
        before = now


@pytest.mark.parametrize("age", [18.0, 18.1, 19.9, 20.0])
def test_child_and_adult_are_the_same_body_where_both_exist(age):
    child, adult = (load_skeleton(n, age=age, sex="m", height=1.76, mass=70.0) for n in ("child", "adult"))
    assert masses(child) == pytest.approx(masses(adult), rel=1e-9)
    assert lengths(child) == pytest.approx(lengths(adult), rel=1e-9)


@pytest.mark.parametrize(("one", "other"), [(1.95, 2.05), (17.9, 18.1), (19.9, 20.1)])
def test_no_jump_where_one_skeleton_hands_over_to_the_next(one, other):
    def at(age: float) -> Skeleton:
        name = "infant" if age < 2 else "child" if age < 20 else "adult"
        return load_skeleton(name, age=age, sex="f")

    a, b = at(one), at(other)
    assert lengths(a) / a.subject.height == pytest.approx(lengths(b) / b.subject.height, abs=0.003)
    fractions = [np.array(list(masses(s).values())) / s.mass for s in (a, b)]
    assert fractions[0] == pytest.approx(fractions[1], abs=0.003)


def test_a_childs_head_is_larger_and_its_legs_are_shorter():
    adult, child = load_skeleton("adult", sex="m"), load_skeleton("child", age=4, sex="m")
    leg = [length(s, "femur_r") + length(s, "tibia_r") for s in (adult, child)]
    assert leg[1] / child.subject.height < 0.93 * leg[0] / adult.subject.height
    assert masses(child)["head"] / child.mass > 2.5 * masses(adult)["head"] / adult.mass


def test_sitting_height_agrees_with_the_survey_of_children(data_dir):
    """Hip height + a child's seat: against sitting heights, which the fit of thigh, shank and trunk rests on."""
    with (data_dir / "child_anthro/anthrokids/anthrokids.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["sittingHeight"] and r["height"] and r["age"]]
    for age, sex in itertools.product((4, 7, 10, 13), "fm"):
        near = [r for r in rows if abs(float(r["age"]) - age) < 0.5 and r["gender"].lower() == sex]
        survey = np.median([float(r["sittingHeight"]) / float(r["height"]) / 10 for r in near])
        s = load_skeleton("child", age=age, sex=sex)
        hip = s.neutral[2] + s.bodies[s.body_index("femur_r")].joint.translation[1]
        # the hip joint is some 7.7 % of sitting height above the seat (ANSUR II, both sexes)
        sitting = (1 - hip / s.subject.height) / (1 - 0.077)
        assert sitting == pytest.approx(survey, abs=0.012)


@pytest.mark.parametrize(
    ("age", "sex", "height"),
    [(2, "m", 0.8645), (8, "f", 1.2760), (12, "m", 1.4902), (20, "m", 1.7685), (20, "f", 1.6338)],
)
def test_median_heights_are_the_growth_charts(age, sex, height):
    assert pytest.approx(height, abs=2e-3) == distribution("height", age, sex).M


def test_z_scores_are_the_growth_charts():
    # CDC 2000, boys of 24 months: 5th and 95th percentile 80.73 cm and 92.19 cm
    d = distribution("height", 2.0, "m")
    assert d.z(0.807298) == pytest.approx(-1.645, abs=0.01)
    assert d.z(0.921969) == pytest.approx(1.645, abs=0.01)


def test_given_values_are_used_and_reported_as_given():
    s = load_skeleton("child", age=8, sex="f", height=1.28, mass=26.0)
    assert s.subject == Subject(age=8.0, sex="f", height=1.28, mass=26.0)
    assert [a.what for a in s.assumptions] == ["age", "sex", "height", "mass"]
    assert all(a.source.startswith("given") for a in s.assumptions)
    assert s.warnings == ()


def test_missing_values_are_filled_and_reported():
    s = load_skeleton("adult")
    assert s.subject.sex == "x"
    assert s.subject.mass != pytest.approx(70.0, abs=0.5)
    assert all(a.source.startswith("not given") for a in s.assumptions)
    assert any("mass was not given" in w for w in s.warnings)
    assert any("height was not given" in w for w in s.warnings)


def test_missing_mass_follows_the_height():
    small, tall = (load_skeleton("adult", sex="m", height=h).subject.mass for h in (1.60, 1.90))
    assert tall / small == pytest.approx((1.90 / 1.60) ** 2)


def test_age_of_a_child_is_guessed_from_height():
    s = load_skeleton("child", height=1.28, sex="f")
    assert s.subject.age == pytest.approx(8.0, abs=0.2)
    assert "not given" in s.assumptions[0].source


def test_numpy_numbers_are_numbers():
    assert load_skeleton("adult", height=np.float32(1.75), mass=np.int64(70)).mass == pytest.approx(70)


REFUSED = [
    ({"height": 128}, "give metres: height=1.28"),
    ({"height": 0}, "must be positive"),
    ({"height": 1.7, "mass": -5}, "must be positive"),
    ({"age": 300}, "no person is older"),
    ({"age": -1}, "not be negative"),
    ({"age": float("nan")}, "not a number"),
    ({"height": "1.8"}, "not a number"),
    ({"sex": "woman"}, "possible: 'f' or 'female', 'm' or 'male', 'x'"),
    ({"age": 6}, "use skeleton='child'"),
    ({"name": "child", "age": 40}, "use skeleton='adult'"),
    ({"name": "child", "age": 1}, "use skeleton='infant'"),
    ({"name": "infant", "age": 5}, "use skeleton='child'"),
    ({"name": "child"}, "needs age="),
    ({"name": "child", "height": 1.95}, "give age="),
    ({"name": "child", "age": 8, "height": 1.75}, "standard deviations above"),
    ({"name": "child", "age": 8, "height": 1.28, "mass": 90}, "body mass index 54.9"),
    ({"height": 1.28, "mass": 90}, "use skeleton='child'"),
    ({"height": 1.75, "mass": 15}, "times the median"),
    ({"height": 1.75, "mass": 7000}, "no person is heavier"),
]


@pytest.mark.parametrize(("word", "sex"), [("f", "f"), ("Female", "f"), ("M", "m"), (" male", "m"), ("X", "x")])
def test_a_sex_may_be_spelled_out(word, sex):
    assert load_skeleton("adult", sex=word).subject.sex == sex


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda x: str(x)[:40])
def test_impossible_subjects_are_refused_in_one_line(given, message):
    with pytest.raises(SubjectError, match=message) as error:
        load_skeleton(**given)
    assert "\n" not in str(error.value)


def test_unusual_subjects_are_warned_of_with_the_percentile():
    tall = load_skeleton("child", age=8, sex="f", height=1.45, mass=36.0)
    assert any("height 1.45 m is unusual" in w and "percentile" in w for w in tall.warnings)
    heavy = load_skeleton("adult", sex="m", height=1.75, mass=160.0)
    assert any("mass 160.0 kg is unusual" in w and "percentile" in w for w in heavy.warnings)
