"""Each measure finds its own fault, and a motion that is possible passes them all."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation

from physpose import check, load_skeleton
from physpose.chain import KinematicChain
from physpose.errors import InputError, UnknownNameError
from physpose.estimation.dynamics import dynamics_of
from physpose.plausibility import PlausibilitySettings, Recording, assess
from physpose.plausibility.finding import spans
from physpose.plausibility.recording import rates
from physpose.plausibility.strength import strength
from physpose.plausibility.support import distance_outside
from sims import exoskeleton, jump, planted

G = 9.81


@pytest.fixture(scope="module")
def adult():
    return load_skeleton("adult", sex="m", height=1.75, mass=72)


@pytest.fixture(scope="module")
def squat(adult):
    """Both feet planted, in balance."""
    return planted.simulate(adult, fps=60.0)


@pytest.fixture(scope="module")
def clean(squat):
    return check((squat.time, squat.q), squat.skeleton)


def column(skeleton, name):
    return 7 + skeleton.coordinate_names.index(name)


def failed(p):
    return {m.name for m in p.failed}


def test_the_verdict_tells_a_movement_from_the_forces_that_do_not_go_with_it(clean):
    def without(*names):
        measured = {"balance", "root residual force", "root residual moment"}
        judged = (replace(m, passed=m.name not in names, of_forces=m.name in measured) for m in clean.measures)
        return replace(clean, measures=tuple(judged))

    assert clean.verdict == "plausible"
    assert without("balance", "root residual moment").verdict.startswith("plausible movement, but the measured forces")
    assert without("balance", "foot skate").verdict == "not plausible"
    assert without("friction").verdict == "not plausible"


def test_what_no_floor_could_push_is_not_laid_on_forces_that_nobody_measured(squat, adult):
    packed = check((squat.time, squat.q), adult.attach("torso", 60.0, np.array([0.8, 0.0, 0.0])))
    assert "balance" in failed(packed)
    assert failed(packed) <= {"balance", "root residual force", "root residual moment"}
    assert packed.verdict == "not plausible"
    assert not any(m.of_forces for m in packed)


# --- a possible motion ----------------------------------------------------------------------------------------------


def test_a_simulated_squat_passes_everything(clean):
    assert clean.passed, [f.sentence for f in clean.findings]
    assert clean.frames_passed.all()
    assert not clean.findings
    assert len(clean.measures) >= 15
    assert set(clean.not_judged) == {"slide limits"}


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_the_verdict_does_not_depend_on_the_frame_rate(adult, clean, fps):
    sim = planted.simulate(adult, fps=fps)
    other = check((sim.time, sim.q), adult)
    assert other.passed
    for name in ("jitter", "acceleration", "joint torque", "joint power"):
        assert other[name].mean == pytest.approx(clean[name].mean, rel=0.08)  # finite differences at 30 a second


def test_a_jump_is_explained_by_its_own_contact_forces(adult):
    sim = jump.simulate(adult, 0.6)
    every = slice(None, None, 5)  # 1000 a second
    frames = KinematicChain(adult).fk(torch.as_tensor(sim.q[every]))
    motion, _ = dynamics_of(
        adult, sim.time[every], sim.q[every], np.zeros((len(sim.time[every]), 10)), np.array([0, 0, -G])
    )
    # the simulator's forces and torques in place of estimated ones
    force = sim.truth["contact_force"][every]
    names = tuple(c.name for c in adult.contact_points)
    contacts = replace(motion.contacts, points=names, active=(force != 0).any(-1), force=force)
    motion = replace(
        motion, tau=sim.tau[every], v=sim.v[every], a=sim.a[every], contacts=contacts, positions=frames.p.numpy()
    )
    p = assess(Recording.of_motion(motion, adult, gravity=np.array([0, 0, -G])))
    # springs jump, not muscles, and at take-off the toes slip over the floor
    assert not {"root residual force", "root residual moment", "float", "penetration", "pull of the floor"} & failed(p)
    assert p["root residual force"].value < 1e-6
    flying = ~contacts.active.any(1)
    assert flying.sum() > 10
    assert np.isnan(p["foot skate"].series[flying]).all()
    assert p["float"].passed
    assert (p["float"].series[flying] == 0).all()  # high over the floor, and rightly so


# --- one fault at a time --------------------------------------------------------------------------------------------


def test_a_knee_bent_backwards_is_named_with_its_frames(squat, adult):
    q, k = squat.q.copy(), column(adult, "knee_angle_r")
    low = adult.coordinates[k - 7].range[0]
    q[20:31, k] = low - np.radians(12.0)
    p = check((squat.time, q), adult, floor="none", settings=PlausibilitySettings(jitter=np.inf, acceleration=np.inf))
    (f,) = p["joint limits"].findings
    assert (f.subject, f.unit, f.frames.tolist()) == ("knee_angle_r", "deg", list(range(20, 31)))
    assert f.value == pytest.approx(12.0)
    assert f.sentence == f"knee_angle_r exceeds its range by 12.0 deg in 11 frames, {20 / 60:.2f}-{30 / 60:.2f} s"
    assert not p["joint limits"].passed
    assert np.flatnonzero(p["joint limits"].failing).tolist() == f.frames.tolist()


def test_a_body_above_the_floor_floats(squat, adult):
    q = squat.q.copy()
    q[:, 2] += 0.12
    p = check((squat.time, q), adult)
    assert "float" in failed(p)
    assert p["float"].value == pytest.approx(12.0, abs=0.3)
    assert "needs support" in p["float"].findings[0].sentence
    assert "penetration" not in failed(p)
    assert "root residual force" in failed(p)  # nothing carries the body


def test_a_body_in_the_floor_penetrates_it(squat, adult):
    q = squat.q.copy()
    q[30:40, 2] -= 0.07
    settings = PlausibilitySettings(jitter=np.inf, acceleration=np.inf)
    p = check((squat.time, q), adult, settings=settings)
    m = p["penetration"]
    assert np.flatnonzero(m.failing).tolist() == list(range(30, 40))
    assert m.value == pytest.approx(7.0, abs=0.2)
    share = 100 * 10 / len(q)
    assert m.details["frames deeper than 6 cm [%]"] == pytest.approx(share)
    assert m.details["frames deeper than 9 cm [%]"] == 0
    assert {f.subject for f in m.findings} >= {"heel_r", "heel_l", "toe_r", "toe_l"}


def test_a_sliding_body_skates(squat, adult):
    q = squat.q.copy()
    q[:, 0] += 0.5 * squat.time
    p = check((squat.time, q), adult)
    assert failed(p) == {"foot skate"}  # uniform motion needs no other force
    assert p["foot skate"].value == pytest.approx(0.5, abs=0.02)
    assert p["foot skate"].share == pytest.approx(1.0, abs=0.05)


def test_a_body_that_leans_too_far_is_out_of_balance(squat, adult):
    q = squat.q.copy()
    heels = 0.2
    lean = Rotation.from_euler("y", 14, degrees=True)
    q[:, :3] = lean.apply(q[:, :3] - [heels, 0, 0]) + [heels, 0, 0]
    q[:, 3:7] = (lean * Rotation.from_quat(q[:, 3:7])).as_quat()
    p = check((squat.time, q), adult)
    assert {"balance", "root residual moment"} <= failed(p)
    assert not {"joint limits", "bone lengths", "jitter", "foot skate"} & failed(p)
    assert "outside the support" in p["balance"].findings[0].sentence


def test_a_foot_that_moves_while_it_bears_is_judged_by_its_slide_alone(squat, adult):
    """A heel lands at 0.87 m/s (Winter 1992): so fast a foot may bear the body, yet it slides."""
    q = squat.q.copy()
    q[:, 0] += 0.8 * squat.time
    assert failed(check((squat.time, q), adult)) == {"foot skate"}


def test_soles_reach_beyond_the_points_on_them(squat, adult):
    """A little out of balance, by less than the sole's rim: no moment is missing; a little more, and it is."""
    leaning = {}
    for deg in np.arange(9.0, 17.0, 0.5):
        lean = Rotation.from_euler("y", deg, degrees=True)
        q = np.tile(squat.q[:1], (len(squat.time), 1))
        q[:, :3] = lean.apply(q[:, :3] - [0.2, 0, 0]) + [0.2, 0, 0]
        q[:, 3:7] = (lean * Rotation.from_quat(q[:, 3:7])).as_quat()
        p = check((squat.time, q), adult, floor="auto")
        leaning[p["balance"].value] = p["root residual moment"]
    outside = np.array(sorted(leaning))
    on_the_rim = outside[(outside > 1.0) & (outside < 2.9)]
    beyond = outside[outside > 9.0]  # part of it a force explains, which is judged apart
    assert len(on_the_rim)
    assert len(beyond)
    assert all(leaning[x].passed for x in on_the_rim)
    assert not any(leaning[x].passed for x in beyond)


def test_a_body_pushed_by_nothing_has_a_residual(squat, adult):
    q = squat.q.copy()
    q[:, 0] += 0.5 * 12.0 * (squat.time - squat.time[-1] / 2) ** 2  # 12 m/s^2: beyond friction
    p = check((squat.time, q), adult)
    m = p["root residual force"]
    assert not m.passed
    assert "peak external force" in m.note
    acting = np.linalg.norm([12.0, 0, G])
    assert m.series[72] / 100 * float(m.note.split(", ")[1].split()[0]) > (12.0 - 0.81 * G) * adult.mass * 0.5
    needed = p["friction"]
    assert needed.value == pytest.approx(12.0 / G, rel=0.25)
    assert acting > 12


def test_a_body_that_falls_faster_than_g_is_pulled(squat, adult):
    q = squat.q.copy()
    q[:, 2] -= 0.5 * 2 * G * (squat.time - squat.time[-1] / 2) ** 2
    p = check((squat.time, q), adult, settings=PlausibilitySettings(penetration=np.inf))
    assert "pull of the floor" in failed(p)
    own = squat.truth["ground_force"][72, 2] / (adult.mass * G)  # what the squat alone needs, body weights
    assert p["pull of the floor"].series[72] == pytest.approx(100 * (2 - own), abs=0.5)


def test_trembling_is_jitter(squat, adult):
    rng = np.random.default_rng(0)
    q = squat.q.copy()
    q[60:90, :3] += rng.normal(scale=0.01, size=(30, 3))
    p = check((squat.time, q), adult, settings=PlausibilitySettings(acceleration=np.inf))
    m = p["jitter"]
    assert not m.passed
    bad = np.flatnonzero(m.failing)
    assert 40 <= bad.min() <= 60
    assert 89 <= bad.max() <= 108  # half a window of 0.5 s beyond
    # white noise of sigma s: sqrt(20) s / dt^3 an axis
    assert m.value > 0.5 * np.sqrt(20 * 3) * 0.01 * 60**3 * 0.8


def test_a_torque_beyond_human_strength_is_named(squat, adult):
    q, k = squat.q.copy(), column(adult, "elbow_flex_r")
    q[:, k] += 0.6 * np.sin(2 * np.pi * 6 * squat.time)
    p = check(
        (squat.time, q), adult, settings=PlausibilitySettings(jitter=np.inf, strength={"elbow_flex_r": (-5.0, 5.0)})
    )
    (f,) = p["joint torque"].findings
    assert f.subject == "elbow_flex_r"
    assert f.value > 100
    assert "what the person can" in f.sentence


def test_power_is_judged_where_it_is_generated(squat, adult):
    q, k = squat.q.copy(), column(adult, "hip_flexion_r")
    q[:, k] += 0.8 * np.sin(2 * np.pi * 5 * squat.time)
    p = check((squat.time, q), adult, floor="none", settings=PlausibilitySettings(power=20.0))
    assert "hip_flexion_r" in {f.subject for f in p["joint power"].findings}
    assert (p["joint power"].series >= 0).all()


def test_a_stretched_bone_is_named_in_keypoints(squat, adult):
    chain = KinematicChain(adult)
    points = chain.keypoints(torch.as_tensor(squat.q), "coco17").numpy()
    time = squat.time
    kset = adult.keypoint_set("coco17")
    good = check((time, points), keypoint_set="coco17")
    assert good["bone lengths"].value == pytest.approx(0, abs=15)
    bones = [(11, 13), (13, 15), (12, 14), (14, 16)]
    steady = check((time, points), keypoint_set="coco17", bones=bones)
    assert steady["bone lengths"].passed
    assert steady["left-right lengths"].passed
    knee = kset.names.index("left_knee")
    points[50:60, knee] += 0.3 * (points[50:60, knee] - points[50:60, kset.names.index("left_hip")])
    p = check((time, points), keypoint_set="coco17", bones=bones)
    names = {f.subject for f in p["bone lengths"].findings}
    assert "left_hip-left_knee" in names
    assert all("left_knee" in n for n in names)
    assert p["bone lengths"].findings[0].frames.tolist() == list(range(50, 60))
    assert np.flatnonzero(p["left-right lengths"].failing).tolist() == list(range(50, 60))


def test_keypoints_with_gaps_are_judged_where_they_are_seen(squat, adult):
    points = KinematicChain(adult).keypoints(torch.as_tensor(squat.q), "blazepose33").numpy()
    points[10:20] = np.nan
    points[:, 0] = np.nan
    p = check((squat.time, points), keypoint_set="blazepose33")
    assert np.isnan(p["penetration"].series[10:20]).all()
    assert p["foot skate"].passed
    assert "root residual force" in p.not_judged


def test_one_sided_motion_is_reported_and_judged_on_request(squat, adult):
    q = squat.q.copy()
    q[:, column(adult, "knee_angle_l")] = q[:, column(adult, "knee_angle_l")].mean()
    calm = PlausibilitySettings()
    assert check((squat.time, q), adult, settings=calm)["left-right motion"].passed
    p = check((squat.time, q), adult, settings=PlausibilitySettings(motion_symmetry=0.3))
    assert [f.subject for f in p["left-right motion"].findings] == ["knee_angle"]
    assert p["left-right motion"].value == pytest.approx(200.0)


# --- settings and surroundings --------------------------------------------------------------------------------------


def sunk(squat, adult, frames, depth, **settings):
    """The measure of penetration where ``frames`` of the squat, of 2 s at 60 a second, are lowered by ``depth``."""
    q = squat.q.copy()
    q[frames, 2] -= depth
    p = check((squat.time, q), adult, settings=PlausibilitySettings(**settings))
    return p, p["penetration"]


def test_a_few_frames_a_little_beyond_a_limit_are_named_but_do_not_fail_a_clip(squat, adult):
    most = len(squat.time) // 20  # 5 %
    p, m = sunk(squat, adult, slice(30, 30 + most), 0.04)
    assert m.passed
    assert m.failing.sum() == most
    assert m.findings[0].frames.tolist() == list(range(30, 30 + most))
    assert not p.frames_passed[30 : 30 + most].any()
    assert "penetration" in {t.name for t in p.tolerated}
    assert "penetration" not in failed(p)


def test_one_frame_more_than_tolerated_fails_a_clip(squat, adult):
    _, m = sunk(squat, adult, slice(30, 31 + len(squat.time) // 20), 0.04)
    assert not m.passed


def test_one_frame_far_beyond_a_limit_fails_a_clip(squat, adult):
    limit = PlausibilitySettings().penetration
    assert sunk(squat, adult, [30], 1.9 * limit)[1].passed
    p, m = sunk(squat, adult, [30], 2.1 * limit)
    assert not m.passed
    assert "penetration" in failed(p)


def test_what_is_tolerated_is_a_setting(squat, adult):
    p, m = sunk(squat, adult, [30], 0.04, tolerated_share=0.0)
    assert not m.passed
    assert p.rule == "no frame may exceed a limit"
    p, m = sunk(squat, adult, slice(0, len(squat.time) // 3), 0.05, tolerated_share=0.5)
    assert m.passed
    assert sunk(squat, adult, [30], 0.04, gross=1.2)[1].passed is False
    assert "up to 50 % of a measure's frames" in p.rule


@pytest.mark.parametrize("bad", [{"friction": -1.0}, {"jitter": np.nan}, {"strength": {"knee_angle_r": (5.0, 9.0)}}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        PlausibilitySettings(**bad)


def test_in_orbit_there_is_no_floor(squat, adult):
    p = check((squat.time, squat.q), adult, gravity=(0, 0, 0))
    assert {"foot skate", "penetration", "float", "friction", "balance"} <= set(p.not_judged)
    assert "body weight" in p["root residual force"].note


def test_the_floor_may_lie_anywhere(squat, adult):
    q = squat.q.copy()
    q[:, 2] += 1.3
    assert check((squat.time, q), adult, floor=1.3).passed
    assert check((squat.time, q), adult, floor="auto").passed
    with pytest.raises(InputError, match="'auto' or 'none'"):
        check((squat.time, q), adult, floor="low")


def test_a_device_takes_its_share_of_the_torque(adult):
    sim = exoskeleton.simulate(adult, 1.0, 100.0)
    names = ("hip_flexion_r", "hip_flexion_l")
    device = dict(zip(names, sim.truth["exo_torque"].T, strict=True))
    inf = PlausibilitySettings(strength=dict.fromkeys(names, (-1.0, 1.0)))
    alone = check((sim.time, sim.q), adult, external=sim.external, settings=inf)
    helped = check((sim.time, sim.q), adult, external=sim.external | device, settings=inf)
    first = adult.nv - len(adult.coordinates)
    for tau, p in ((sim.tau, alone), (sim.truth["human_torque"], helped)):
        index = [first + adult.coordinate_names.index(n) for n in names]
        # 100 % is 1 N.m here; the walk's finite differences cost a little
        want = 100 * np.abs(tau[:, index]).max(1)
        got = p["joint torque"].series
        assert np.abs(got - want)[3:-3].max() < 0.02 * want.max()
    assert alone["root residual force"].series[3:-3].max() < 1.0
    with pytest.raises(UnknownNameError, match="hip_flexion"):
        check((sim.time, sim.q), adult, external={"hip": np.zeros(len(sim.time))})
    with pytest.raises(InputError, match="torque on hip_flexion_r has shape"):
        check((sim.time, sim.q), adult, external={"hip_flexion_r": np.zeros(3)})
    with pytest.raises(InputError, match="wrench on pelvis has shape"):
        check((sim.time, sim.q), adult, external={"pelvis": np.zeros(len(sim.time))})


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
def test_differences_are_exact_for_polynomials_at_uneven_times(order):
    rng = np.random.default_rng(order)
    time = np.cumsum(rng.uniform(0.01, 0.05, 30))
    x = time[:, None, None] ** order * rng.normal(size=(1, 2, 3))
    lead = np.prod(np.arange(1, order + 1))
    want = np.broadcast_to(lead * x[:1] / time[0] ** order, (30 - order, 2, 3))
    np.testing.assert_allclose(rates(x, time, order), want, rtol=1e-6)


def test_distance_from_the_support_agrees_with_qhull():
    rng = np.random.default_rng(1)
    T, C = 300, 7
    points, p = rng.normal(size=(T, C, 2)), 1.5 * rng.normal(size=(T, 2))
    active = rng.random((T, C)) < 0.6
    found = distance_outside(p, points, active)
    for t in range(T):
        on = points[t, active[t]]
        if len(on) == 0:
            assert np.isnan(found[t])
            continue
        assert found[t] == pytest.approx(slow_distance(p[t], on), abs=1e-6)  # the minimizer's


def slow_distance(p, points):
    """By the hull's half-planes, then by its edges sampled finely and refined."""
    from scipy.optimize import minimize_scalar

    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):
        pairs = [(a, b) for a in points for b in points]
    else:
        if (hull.equations[:, :2] @ p + hull.equations[:, 2] <= 0).all():
            return 0.0
        pairs = [(points[i], points[j]) for i, j in hull.simplices]
    return min(
        np.sqrt(minimize_scalar(lambda s, a=a, b=b: ((a + s * (b - a) - p) ** 2).sum(), bounds=(0, 1), method="bounded",
                                options={"xatol": 1e-12}).fun)
        for a, b in pairs
    )  # fmt: skip


def test_strength_scales_with_weight_and_stature_and_falls_with_age(adult):
    who = adult.subject
    low, high = strength("knee_angle_r", replace(who, age=21.5))
    assert (low, high) == pytest.approx((-0.163 * 72 * 9.81 * 1.75, 0.087 * 72 * 9.81 * 1.75))
    old = strength("knee_angle_r", replace(who, age=80.0))
    assert abs(old[0]) < abs(low)
    child = strength("knee_angle_r", replace(who, age=8.0, height=1.28, mass=26.0))
    assert child[0] / low == pytest.approx(26 * 1.28 / (72 * 1.75))
    both = [strength("hip_flexion_l", replace(who, sex=s))[0] for s in "fmx"]
    assert both[2] == pytest.approx((both[0] + both[1]) / 2)
    assert strength("tail", who) is None


def test_times_are_told_in_words():
    time = np.arange(20) / 10
    assert spans(time, np.array([3])) == "0.30 s"
    assert spans(time, np.array([1, 2, 3, 7, 8])) == "0.10-0.30 and 0.70-0.80 s"
    assert spans(time, np.array([1, 3, 5, 7])) == "0.10-0.70 s in 4 pieces"


def test_the_result_speaks_json_tables_and_pictures(tmp_path, squat, adult):
    q = squat.q.copy()
    q[30:40, 2] -= 0.07
    p = check((squat.time, q), adult)
    files = p.save(tmp_path / "out")
    about = json.loads(files["json"].read_text())
    assert about["passed"] is False
    assert {m["name"]: m["passed"] for m in about["measures"]}["penetration"] is False
    page = files["picture"].read_text()
    assert "heel_r sinks into the floor" in page
    assert "http" not in page.replace("http-equiv", "")
    frame = p.to_frame()
    assert len(frame) == len(squat.time)
    assert frame["passed"].tolist() == p.frames_passed.tolist()
    with pytest.raises(UnknownNameError, match="joint limits"):
        p["beauty"]
    with pytest.raises(UnknownNameError, match="no slide"):
        p["slide limits"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot write"):
        p.save(blocked)


PENDULUM = """<mujoco><worldbody><body name="forearm" pos="0 0 1">
<joint name="elbow_flex_r" type="hinge" axis="0 1 0" range="-180 180"/>
<inertial pos="0 0 -0.2" mass="1.5" diaginertia="0.01 0.01 0.002"/></body></worldbody></mujoco>"""


def test_a_part_that_hangs_in_the_world_does_not_tell_whose_it_is(tmp_path):
    (tmp_path / "arm.xml").write_text(PENDULUM)
    arm, time = load_skeleton(tmp_path / "arm.xml"), np.linspace(0.0, 1.0, 101)
    motion = (time, np.sin(2 * np.pi * time)[:, None])
    p = check(motion, arm)
    assert "free root" in p.not_judged["root residual force"]
    assert "how strong the person is" in p.not_judged["joint torque"]
    assert "how strong the person is" in p.not_judged["joint power"]
    # I theta'' + m g c sin(theta) at its largest, as a share of the given limit
    angle = np.sin(2 * np.pi * time)
    tau = -(0.01 + 1.5 * 0.2**2) * (2 * np.pi) ** 2 * angle + 1.5 * G * 0.2 * np.sin(angle)
    limits = PlausibilitySettings(strength={"elbow_flex_r": (-10.0, 10.0)})
    found = check(motion, arm, settings=limits)["joint torque"]
    assert found.value == pytest.approx(10 * np.abs(tau).max(), rel=1e-3)
