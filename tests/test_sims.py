"""The simulations keep the laws they claim, seen through physpose's own kinematics and dynamics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physpose import dynamics, load_skeleton
from physpose.chain import KinematicChain
from physpose.errors import UnknownNameError
from physpose.estimation.derivatives import derivatives
from sims import astronaut, child_and_adult, exoskeleton, jump, pendulum, planted, somersault, swing, walk
from sims.common import Simulation

MOMENTUM_RTOL, ENERGY_RTOL = 1e-6, 1e-4  # asked of a simulated flight
TORQUE_RTOL = 1e-9  # two programs' inverse dynamics, float64


@pytest.fixture(scope="module")
def adult():
    return load_skeleton("adult", sex="m", height=1.75, mass=72)


@pytest.fixture(scope="module")
def walked(adult) -> Simulation:
    return walk.simulate(adult, seconds=walk.cycle(adult), fps=100 / walk.cycle(adult))


@pytest.fixture(scope="module")
def jumped(adult) -> Simulation:
    return jump.simulate(adult, 0.6)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.as_tensor(x, dtype=torch.float64) for x in arrays]


def momentum(sim: Simulation) -> np.ndarray:
    return dynamics.centroidal_momentum(KinematicChain(sim.skeleton), *tensors(sim.q, sim.v)).numpy()


def total_energy(sim: Simulation) -> np.ndarray:
    kinetic, potential = dynamics.energy(KinematicChain(sim.skeleton), *tensors(sim.q, sim.v), gravity=sim.gravity)
    return (kinetic + potential).numpy()


def inverse(sim: Simulation, external: bool = True, frames: slice = slice(None)) -> np.ndarray:
    wrenches = {n: torch.as_tensor(w[frames]) for n, w in sim.external.items()} if external else None
    q, v, a = tensors(sim.q[frames], sim.v[frames], sim.a[frames])
    return dynamics.rnea(KinematicChain(sim.skeleton), q, v, a, gravity=sim.gravity, external=wrenches or None).numpy()


# --- pendulums ------------------------------------------------------------------------------------------------------


def test_pendulum_swings_as_the_elliptic_functions_say():
    sim = pendulum.simulate(seconds=6.0, degrees=170.0)
    assert np.abs(sim.q - sim.truth["angle"]).max() < 1e-7
    downwards = np.flatnonzero((sim.q[:-1, 0] > 0) & (sim.q[1:, 0] <= 0))
    assert np.diff(sim.time[downwards]) == pytest.approx(sim.truth["period"], abs=2e-3)


def test_double_pendulum_follows_lagrange():
    sim = pendulum.simulate(seconds=3.0, links=2)
    assert np.abs(sim.q - sim.truth["angle"]).max() < 1e-6
    assert np.abs(sim.q).max() > np.pi  # it went over the top


@pytest.mark.parametrize("links", [1, 2])
def test_pendulum_needs_no_torque_and_keeps_its_energy(links):
    sim = pendulum.simulate(seconds=3.0, links=links)
    assert np.abs(total_energy(sim) - sim.truth["energy"]).max() < 1e-7 * sim.truth["energy"]
    assert np.abs(inverse(sim)).max() < 1e-9


def test_pendulum_has_one_or_two_links():
    with pytest.raises(ValueError, match="1 or 2"):
        pendulum.simulate(links=3)


# --- flight and orbit -----------------------------------------------------------------------------------------------


def test_somersault_keeps_its_angular_momentum_for_ten_seconds(adult):
    sim = somersault.simulate(adult, seconds=10.0)
    h = momentum(sim)
    L = sim.truth["angular_momentum"]
    assert np.linalg.norm(L) > 20
    assert np.linalg.norm(h[:, 3:] - L, axis=1).max() < MOMENTUM_RTOL * np.linalg.norm(L)
    com = dynamics.center_of_mass(KinematicChain(adult), torch.as_tensor(sim.q)).numpy()
    assert np.abs(com - sim.truth["com"]).max() < 1e-6
    work = sim.truth["work"]
    gained = total_energy(sim) - total_energy(sim)[0]
    assert np.abs(gained - work).max() < ENERGY_RTOL * np.abs(np.diff(work)).sum()
    spin = (Rotation.from_quat(sim.q[:, 3:7]).inv().apply(np.tile([0.0, 0, 1], (len(sim.q), 1))) * sim.v[:, 3:6]).sum(1)
    assert np.abs(spin).max() > 1.0  # [rad/s] about the vertical: it twists


def test_somersault_needs_the_torques_it_was_given(adult):
    sim = somersault.simulate(adult, seconds=0.5)
    assert np.abs(inverse(sim) - sim.tau).max() < TORQUE_RTOL * np.abs(sim.tau).max()
    assert not sim.tau[:, :6].any()


def test_cat_turns_without_angular_momentum(adult):
    sim = astronaut.simulate(adult, seconds=4 * astronaut.CYCLE, motion="cat")
    h = momentum(sim)
    moving = np.abs(sim.v[:, 6:]).max() * 1.0  # [kg.m^2/s] of about 1 kg.m^2
    assert np.abs(h).max() < MOMENTUM_RTOL * moving
    com = dynamics.center_of_mass(KinematicChain(adult), torch.as_tensor(sim.q)).numpy()
    assert np.abs(com - sim.truth["com"]).max() < 1e-8
    third, fourth = (round(k * astronaut.CYCLE / 1e-3) for k in (3, 4))
    assert np.abs(sim.q[third, 7:] - sim.q[fourth, 7:]).max() < np.radians(1.0)  # the same shape again
    turn = Rotation.from_quat(sim.q[third, 3:7]).inv() * Rotation.from_quat(sim.q[fourth, 3:7])
    assert np.degrees(turn.magnitude()) > 15


def test_push_off_gives_the_impulse_and_no_more(adult):
    sim = astronaut.simulate(adult, seconds=1.5, motion="push_off")
    h = momentum(sim)
    after = sim.time > astronaut.PUSH_TIME + 2e-3
    assert np.abs(h[after, :3] - sim.truth["impulse"]).max() < MOMENTUM_RTOL * np.linalg.norm(sim.truth["impulse"])
    # half a sine: impulse = 2 / pi peak duration
    assert sim.truth["impulse"][2] == pytest.approx(2 / np.pi * astronaut.PEAK * astronaut.PUSH_TIME, rel=1e-4)
    drift = np.linalg.norm(h[after, 3:] - h[after][0, 3:], axis=1).max()
    assert drift < MOMENTUM_RTOL * np.linalg.norm(h[after][0, 3:])
    assert np.abs(inverse(sim) - sim.tau).max() < TORQUE_RTOL * np.abs(sim.tau).max()


@pytest.mark.parametrize("motion", ["swing", "carried"])
def test_who_hangs_in_the_air_needs_the_outside_force(adult, motion):
    """Newton's law for the centre of mass; nothing comes near the floor."""
    sim = swing.simulate(adult, 1.0, motion=motion)
    chain = KinematicChain(adult)
    rate = dynamics.centroidal_momentum_rate(chain, *tensors(sim.q, sim.v, sim.a)).numpy()[:, :3]
    np.testing.assert_allclose(sim.truth["outside_force"], rate - adult.mass * np.array(sim.gravity), atol=1e-6)
    assert chain.fk(torch.as_tensor(sim.q)).p[..., 2].min() > 0.3
    with pytest.raises(UnknownNameError):
        swing.simulate(adult, motion="slide")


# --- contact --------------------------------------------------------------------------------------------------------


def test_floor_gives_the_jump_its_momentum(jumped):
    h, dt = momentum(jumped), jumped.time[1] - jumped.time[0]
    force = jumped.truth["contact_force"].sum(1) + jumped.skeleton.mass * np.array(jumped.gravity)
    gained = np.vstack([np.zeros(3), np.cumsum(force[:-1] * dt, axis=0)])
    # Euler's steps conserve generalized momentum; the Cartesian sum differs by how far the pose moves in a step
    assert np.abs(h[:, :3] - h[0, :3] - gained).max() < 2e-3 * np.abs(h[:, :3]).max()
    rate = dynamics.centroidal_momentum_rate(KinematicChain(jumped.skeleton), *tensors(jumped.q, jumped.v, jumped.a))
    assert np.abs(rate[:, :3].numpy() - force).max() < 1e-6 * np.abs(force).max()


def test_jump_flies_a_parabola(jumped):
    first, last = jumped.truth["flight"]
    assert jumped.time[last] - jumped.time[first] > 0.2
    com = dynamics.center_of_mass(KinematicChain(jumped.skeleton), torch.as_tensor(jumped.q)).numpy()
    flight = slice(first, last + 1)
    assert (
        np.abs(com[flight] - jumped.truth["com"][flight]).max() < 2e-3
    )  # [m], Euler's steps: g t dt / 2 and more while joints move
    assert com[flight, 2].max() - com[first, 2] > 0.03


def test_jump_needs_its_torques_and_contact_forces(jumped):
    frames, s = slice(0, None, 50), jumped.skeleton
    chain, q = KinematicChain(s), torch.as_tensor(jumped.q[frames])
    fk = chain.fk(q)
    p = chain.locate(fk, chain.points(s.contact_points)).numpy()
    wrenches = {b.name: torch.zeros(len(q), 6, dtype=torch.float64) for b in s.bodies}
    for c, point in enumerate(s.contact_points):
        force = jumped.truth["contact_force"][frames, c]
        at = p[:, c] - [0, 0, jump.TOUCH_RADIUS]  # near where the sphere touches the floor
        arm = at - fk.p[:, s.body_index(point.body)].numpy()
        wrenches[point.body] += torch.as_tensor(np.concatenate([force, np.cross(arm, force)], 1))
    _, v, a = tensors(jumped.q[frames], jumped.v[frames], jumped.a[frames])
    tau = dynamics.rnea(chain, q, v, a, external=wrenches).numpy()
    # where in the sphere's dent MuJoCo puts the force is known to a few millimetres
    assert np.abs(tau - jumped.tau[frames]).max() < 0.01 * np.abs(jumped.truth["contact_force"]).max()
    assert np.abs(tau[:, :3]).max() < 1e-6 * np.abs(jumped.truth["contact_force"]).max()


def test_drop_lands_when_gravity_says(adult):
    sim = jump.simulate(adult, 0.4, motion="drop", drop_height=0.3)
    first = sim.time[np.flatnonzero(sim.truth["contact_force"].any((1, 2)))[0]]
    assert first == pytest.approx(np.sqrt(2 * 0.3 / 9.81), abs=2e-3)
    speed = -momentum(sim)[sim.time < first][-1, 2] / adult.mass
    assert speed == pytest.approx(sim.truth["impact_speed"], rel=2e-3)
    assert sim.truth["contact_force"].sum(1)[:, 2].max() > 2 * adult.mass * 9.81


# --- motions on the floor -------------------------------------------------------------------------------------------


def test_prescribed_rates_are_the_derivatives_of_the_pose(adult):
    motion = walk.walking(adult, yaw_rate=1.0)
    sim = walk.prescribed("walk", adult, motion.q, np.arange(100) * 2e-4)
    v, a = derivatives(KinematicChain(adult), sim.time, sim.q)
    inner = slice(1, -1)
    assert np.abs(v - sim.v)[inner].max() < 1e-4 * np.abs(sim.v).max()
    assert np.abs(a - sim.a)[inner].max() < 1e-3 * np.abs(sim.a).max()


@pytest.mark.parametrize("name", ["walk", "squat"])
def test_ground_on_the_feet_leaves_no_root_wrench(name, adult, walked):
    sim = walked if name == "walk" else planted.simulate(adult, fps=30)
    tau = inverse(sim)
    assert np.abs(tau - sim.tau).max() < TORQUE_RTOL * np.abs(sim.tau).max()
    weight = adult.mass * 9.81
    assert np.abs(tau[:, :6]).max() < 1e-9 * weight
    assert np.abs(inverse(sim, external=False)[:, :3]).max() > 0.8 * weight


def test_walk_stands_on_the_floor_and_does_not_slide(adult, walked):
    chain = KinematicChain(adult)
    points = chain.points(adult.contact_points)
    p = chain.locate(chain.fk(torch.as_tensor(walked.q)), points).numpy()
    v = np.gradient(p, walked.time, axis=0)
    assert p[:, :, 2].min() > -0.003
    for c, point in enumerate(adult.contact_points):
        kind, side = point.name.rsplit("_", 1)
        if kind not in walk.CONTACT:
            continue
        start, end = walk.CONTACT[kind]
        phase = (walked.time / walk.cycle(adult) - (0.5 if side == "l" else 0.0)) % 1.0
        flat = (phase > start + 0.05) & (phase < end - 0.05)
        assert np.abs(p[flat, c, 2]).max() < 0.006
        assert np.linalg.norm(v[flat, c, :2], axis=1).mean() < 0.08
    assert np.ptp(p[:, 0, 2]) > 0.1  # the heel does swing


def test_walk_is_carried_by_the_ground_on_average(adult, walked):
    mean = walked.truth["ground_force"][:-1].mean(0) / (adult.mass * 9.81)
    assert mean == pytest.approx([0, 0, 1], abs=1e-3)  # one cycle, periodic
    assert walked.q[-1, 0] - walked.q[0, 0] > 0.9  # [m] a stride
    assert np.abs(walked.q[-1, 7:] - walked.q[0, 7:]).max() < 1e-9


def test_turning_walk_turns(adult):
    sim = walk.simulate(adult, seconds=2.0, yaw_rate=60.0)
    forward = Rotation.from_quat(sim.q[:, 3:7]).apply([1.0, 0, 0])
    turned = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert np.degrees(turned[-1] - turned[0]) == pytest.approx(120, abs=10)


@pytest.mark.parametrize("motion", ["squat", "sit_to_stand"])
def test_feet_stay_planted(adult, motion):
    sim = planted.simulate(adult, seconds=planted.DURATION[motion], fps=30, motion=motion)
    chain = KinematicChain(adult)
    p = chain.locate(chain.fk(torch.as_tensor(sim.q)), chain.points(adult.contact_points[:8])).numpy()
    assert np.abs(p[..., 2]).max() < 0.003
    assert np.ptp(p, axis=0).max() < 0.003
    assert np.ptp(sim.q[:, 2]) > 0.25


def test_unknown_motion_names_what_exists(adult):
    with pytest.raises(UnknownNameError, match="squat, sit_to_stand"):
        planted.simulate(adult, motion="lunge")


# --- bodies and devices ---------------------------------------------------------------------------------------------


def test_miniature_needs_the_fourth_power_of_its_size():
    adult, small = (child_and_adult.simulate(who=who) for who in ("adult", "miniature"))
    s = small.truth["length_factor"]
    assert 0.5 < s < 0.8
    assert np.abs(small.tau - s**4 * adult.tau).max() < 1e-9 * np.abs(adult.tau).max()
    force, force_adult = (x.truth["ground_force"] for x in (small, adult))
    assert np.abs(force - s**3 * force_adult).max() < 1e-9 * np.abs(force_adult).max()


def test_child_is_no_small_adult():
    child, small = (child_and_adult.simulate(who=who, age=7) for who in ("child", "miniature"))
    knee = [x.tau[:, 6 + x.skeleton.coordinate_names.index("knee_angle_r")] for x in (child, small)]
    assert np.abs(knee[0]).max() > 5  # [N.m]
    assert np.abs(knee[0] - knee[1]).max() > 0.05 * np.abs(knee[0]).max()


def test_exoskeleton_and_walker_share_the_net_torque(adult):
    sim = exoskeleton.simulate(adult, seconds=1.0, fps=400)
    hips = [6 + adult.coordinate_names.index(f"hip_flexion_{s}") for s in "rl"]
    net = inverse(sim)
    by_device = np.zeros_like(net)
    by_device[:, hips] = sim.truth["exo_torque"]
    assert np.abs(sim.truth["human_torque"] + by_device - net).max() < 1e-9 * np.abs(net).max()
    assert np.abs(sim.truth["exo_torque"]).max() == pytest.approx(0.25 * adult.mass, rel=0.01)
    assert sim.truth["exo_work"] > 0
    # energy: walker, device and ground together make the change
    twists = dynamics.body_velocities(KinematicChain(adult), *tensors(sim.q, sim.v)).numpy()
    ground = sum((w * twists[:, adult.body_index(n)]).sum(1) for n, w in sim.external.items())
    power = (sim.truth["human_torque"] * sim.v).sum(1) + sim.truth["exo_power"] + ground
    gained = total_energy(sim) - total_energy(sim)[0]
    work = np.append(0, np.cumsum((power[1:] + power[:-1]) / 2 * np.diff(sim.time)))
    assert np.abs(gained - work).max() < ENERGY_RTOL * np.abs(power).mean() * sim.time[-1]


def centre_of_pressure(sim: Simulation) -> np.ndarray:
    """(T, 2) [m] where the ground's reaction passes through the floor z = 0."""
    p = KinematicChain(sim.skeleton).fk(torch.as_tensor(sim.q)).p.numpy()
    force = sum(w[:, :3] for w in sim.external.values())
    moment = sum(
        w[:, 3:] + np.cross(p[:, sim.skeleton.body_index(n)], w[:, :3]) for n, w in sim.external.items()
    )  # about the world's origin
    return np.stack([-moment[:, 1], moment[:, 0]], 1) / force[:, 2:]


def test_squat_is_in_balance(adult):
    sim = planted.simulate(adult, fps=30)
    chain = KinematicChain(adult)
    p = chain.locate(chain.fk(torch.as_tensor(sim.q)), chain.points(adult.contact_points[:8])).numpy()
    x = centre_of_pressure(sim)[:, 0]
    assert (x > p[:, :, 0].min(1) + 0.02).all()
    assert (x < p[:, :, 0].max(1) - 0.02).all()


def test_walk_steps_on_the_foot_that_stands(adult, walked):
    chain = KinematicChain(adult)
    p = chain.locate(chain.fk(torch.as_tensor(walked.q)), chain.points(adult.contact_points[:8])).numpy()
    phase = walked.time / walk.cycle(adult)
    x = centre_of_pressure(walked)[:, 0]
    for side, single in (("r", (phase > 0.15) & (phase < 0.45)), ("l", (phase > 0.65) & (phase < 0.95))):
        foot = p[:, [i for i, c in enumerate(adult.contact_points[:8]) if c.name.endswith(side)], 0]
        margin = 0.08  # [m] the body's turning is left out of the balance
        assert (x > foot.min(1) - margin)[single].all()
        assert (x < foot.max(1) + margin)[single].all()
