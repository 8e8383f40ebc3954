"""Standard deviations of bodies whose coordinates depend on others, as OpenSim's knees do: z = phi(s)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from opensim_oracle import LINE, body, coordinate, joint, model, pelvis, transform
from scipy.ndimage import gaussian_filter1d

import physpose
from physpose import dynamics
from physpose.chain import KinematicChain
from physpose.estimation.dynamics import dynamics_of
from physpose.estimation.uncertainty import _Maps
from physpose.rates import rates
from physpose.skeleton.marker_names import soft_tissue_of
from physpose.skeleton.model import Point, Skeleton
from physpose.skeleton.opensim import read_osim
from physpose.types import Contacts, Markers

GRAVITY = np.array([0.0, 0.0, -9.81])
TIME = np.array([0.0, 0.033, 0.071, 0.1, 0.14])  # [s], uneven
CENTRE = 2  # the frame looked at
SPLINE = "<SimmSpline name='function'><x>-0.9 -0.4 0.1 0.3 0.8</x><y>0.1 0.3 -0.2 0.1 0.25</y></SimmSpline>"


@pytest.fixture(scope="module")
def leg(tmp_path_factory) -> Skeleton:
    """A pelvis with a thigh and a shank that turns and slides with one coordinate, along splines; it stands on two
    points."""
    first, root = pelvis()
    knee = transform(
        rotation1=("knee", "0.6 0 0.8", LINE), rotation2=("knee", "0 1 0", SPLINE),
        translation1=("knee", "1 0 0", SPLINE), translation2=("knee", "0 1 0", SPLINE),
    )  # fmt: skip
    joints = root + joint("PinJoint", "hip", "pelvis", "thigh", coordinate("hip"))
    joints += joint("CustomJoint", "j", "thigh", "shank", coordinate("knee"), knee)
    path = tmp_path_factory.mktemp("coupled") / "model.osim"
    path.write_text(model(first + body("thigh") + body("shank"), joints))
    found = read_osim(path)
    assert found.coordinate_map is not None
    points = tuple(Point(name=f"sole_{i}", body="shank", offset=np.array([0.1 * i, 0.05, -0.4])) for i in range(2))
    return replace(found, contact_points=points)


def motion_of(skeleton: Skeleton) -> np.ndarray:
    """q (5, nq), nothing at rest; the knee between the spline's knots."""
    q = np.tile(skeleton.neutral, (len(TIME), 1))
    q[:, 7:] = 0.1 + 0.25 * np.sin(6 * TIME[:, None] + np.arange(skeleton.nv - 6))
    wiggle = np.random.default_rng(0).normal(size=(len(TIME), skeleton.nv)) * 0.01
    return KinematicChain(skeleton).integrate(torch.as_tensor(q), torch.as_tensor(wiggle)).numpy()


def state_at(chain: KinematicChain, q: np.ndarray) -> tuple[torch.Tensor, ...]:
    Q = torch.as_tensor(q)
    return tuple(x[CENTRE : CENTRE + 1] for x in (Q, *rates(chain, torch.as_tensor(TIME), Q)))


def test_derivatives_of_inverse_dynamics_are_those_of_rnea(leg):
    chain = KinematicChain(leg)
    state = state_at(chain, motion_of(leg))
    found = dynamics.rnea_derivatives(chain, *state)
    for i, h in ((0, 1e-6), (1, 1e-5), (2, 1e-4)):
        for k in range(chain.nv):
            e = torch.zeros(1, chain.nv, dtype=torch.float64)
            e[0, k] = h
            move = lambda x, d, i=i: chain.integrate(x, d) if i == 0 else x + d  # noqa: E731
            ahead, behind = (dynamics.rnea(chain, *state[:i], move(state[i], s * e), *state[i + 1 :]) for s in (1, -1))
            column = ((ahead - behind)[0] / (2 * h)).numpy()
            np.testing.assert_allclose(found[i][0, :, k].numpy(), column, atol=1e-6 * np.abs(column).max() + 1e-6)


def stepped(chain: KinematicChain, q: np.ndarray, frame: int, k: int, h: float) -> np.ndarray:
    """One of a frame's unknowns moved by h: pelvis position (world), rotation (pelvis frame), coordinates."""
    dv, moved = torch.zeros(len(q), chain.nv, dtype=torch.float64), torch.as_tensor(q).clone()
    if k < 3:
        moved[frame, k] += h
    else:
        dv[frame, k] = h
    return chain.integrate(moved, dv).numpy()


def numerical(chain: KinematicChain, q: np.ndarray, value, h: float = 1e-6) -> np.ndarray:  # noqa: ANN001
    """d value(q) / d unknowns of the three frames around CENTRE: (m, 3 nv)."""
    columns = [
        (value(stepped(chain, q, frame, k, h)) - value(stepped(chain, q, frame, k, -h))) / (2 * h)
        for frame in (CENTRE - 1, CENTRE, CENTRE + 1)
        for k in range(chain.nv)
    ]
    return np.stack(columns, -1)


def maps_of(skeleton: Skeleton, motion, found) -> dict[str, np.ndarray]:  # noqa: ANN001
    chain = KinematicChain(skeleton)
    none = torch.zeros(len(skeleton.scale_groups), dtype=torch.bool)
    maps = _Maps(chain, motion, found, GRAVITY, none, torch.zeros(chain.nv, dtype=torch.float64))
    return {name: J[0].numpy() for name, J, _ in maps.rows(torch.tensor([CENTRE]))}


def test_everything_follows_the_coordinates_that_others_depend_on(leg):
    """By differences; the forces held. Rates leave out how the exponential map bends between neighbours."""
    chain, q = KinematicChain(leg), motion_of(leg)
    motion, found = dynamics_of(leg, TIME, q, np.ones((len(TIME), 2)), GRAVITY)
    assert found.force[CENTRE].abs().max() > 1.0  # [N]
    held = replace(found, response=torch.zeros_like(found.response))
    J = maps_of(leg, motion, held)
    values = {
        "v": lambda x: state_at(chain, x)[1][0].numpy(), "a": lambda x: state_at(chain, x)[2][0].numpy(),
        "positions": lambda x: chain.fk(torch.as_tensor(x[CENTRE : CENTRE + 1])).p[0].flatten().numpy(),
        "kinetic": lambda x: dynamics.energy(chain, *state_at(chain, x)[:2])[0].numpy(),
    }  # fmt: skip
    for name, value in values.items():
        expected = numerical(chain, q, value)
        np.testing.assert_allclose(J[name], expected, atol=0.02 * np.abs(expected).max(), err_msg=name)
    # what the forces add: they stay in the world, while the joints turn under them
    points, force = chain.points(leg.support_points), found.force[CENTRE]

    def pushed(x: np.ndarray) -> np.ndarray:
        frames = chain.fk(torch.as_tensor(x[CENTRE]))
        columns = chain.point_jacobian(frames, points, chain.locate(frames, points))
        return -torch.einsum("cik,ci->k", columns, force).numpy()

    without = maps_of(leg, motion, replace(held, force=torch.zeros_like(held.force)))
    expected = numerical(chain, q, pushed)
    assert np.abs(expected[6:]).max() > 100.0  # [N.m/rad]
    np.testing.assert_allclose(J["tau"] - without["tau"], expected, atol=1e-5 * np.abs(expected).max())


def test_measured_forces_turn_the_coordinates_that_others_depend_on(leg):
    chain, q = KinematicChain(leg), motion_of(leg)
    motion, _ = dynamics_of(leg, TIME, q, np.zeros((len(TIME), 2)), GRAVITY)
    rng = np.random.default_rng(1)
    at, force, free = (rng.normal(size=(len(TIME), 1, 3)) * size for size in (0.3, 300.0, 20.0))
    contacts = Contacts(points=("plate",), active=np.ones((len(TIME), 1), bool), force=force, method="measured",
                        bodies=("shank",), positions=at, free_moment=free)  # fmt: skip
    nothing = replace(contacts, force=0 * force, free_moment=0 * free)
    J, without = (maps_of(leg, replace(motion, contacts=c), None)["tau"] for c in (contacts, nothing))

    def pushed(x: np.ndarray) -> np.ndarray:
        state = tuple(y[CENTRE] for y in (torch.as_tensor(x), torch.as_tensor(motion.v), torch.as_tensor(motion.a)))
        p = chain.fk(state[0]).p[leg.body_index("shank")].numpy()
        moment = np.cross(at[CENTRE, 0] - p, force[CENTRE, 0]) + free[CENTRE, 0]
        wrench = torch.as_tensor(np.concatenate([force[CENTRE, 0], moment]))
        gravity = torch.as_tensor(GRAVITY)
        with_it = dynamics.rnea(chain, *state, gravity=gravity, external={"shank": wrench})
        return (with_it - dynamics.rnea(chain, *state, gravity=gravity)).numpy()

    expected = numerical(chain, q, pushed)
    assert np.abs(expected[6:]).max() > 10.0  # [N.m/rad]
    np.testing.assert_allclose(J - without, expected, atol=1e-5 * np.abs(expected).max())


def test_errors_on_skin_that_slides_are_as_large_as_their_sigma(data_dir):
    """A measured walk of an OpenSim model with coupled knees, its markers on skin that slides: 90 % intervals."""
    folder = data_dir / "nimblephysics/data/grf/Subject4"
    model = physpose.load_skeleton(folder / "Models/optimized_scale_and_markers.osim")
    plates = {"forces": folder / "ID/walking1_grf.mot", "force_lowpass": 20.0}
    walk = physpose.fit(folder / "MarkerData/walking1.trc", model, **plates).frames(slice(20, 110))
    truth = physpose.inverse_dynamics((walk.time, walk.q), model, **plates)
    chain, q = KinematicChain(model), torch.as_tensor(walk.q)
    spots = model.keypoint_set("markers").points
    at = chain.locate(chain.fk(q), chain.points(spots)).numpy()
    inside: dict[str, list[np.ndarray]] = {"q": [], "tau": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        slid = gaussian_filter1d(rng.standard_normal((190, len(spots), 3)), 8.0, axis=0)[50:140]
        slid *= 0.4 * np.median([soft_tissue_of(p.body) for p in spots]) / slid.std()
        seen = Markers(
            names=tuple(p.name for p in spots), time=walk.time, positions=at + slid, rate=100.0, source="made up"
        )
        result = physpose.fit(seen, model, **plates)
        error = chain.difference(q, torch.as_tensor(result.q)).numpy()
        inside["q"].append(np.abs(error / result.sigma.q)[10:-10, 6:])
        inside["tau"].append(np.abs((result.tau - truth.tau) / result.sigma.tau)[10:-10, 6:])
    knees = [i for i, n in enumerate(model.coordinate_names) if n in ("knee_angle_r", "knee_angle_l")]
    for name, z in inside.items():
        for part in (np.stack(z), np.stack(z)[..., knees]):
            assert 0.8 <= float((part < 1.645).mean()) <= 1.0, name
