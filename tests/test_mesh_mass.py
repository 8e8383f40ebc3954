"""Mass properties of meshes of known shape, cut or whole."""

from __future__ import annotations

import numpy as np
import pytest
import smpl_body
import trimesh

from physpose.errors import InputError
from physpose.skeleton.mesh_mass import cut, is_solid, mass_properties, pseudo_inertias

RTOL = 1e-3  # what a fine mesh lacks against the smooth solid is below
EXACT = 1e-12


def moments(vertices, faces, weights=None, parents=(-1,)):
    weights = np.ones((len(vertices), 1)) if weights is None else weights
    return pseudo_inertias(cut(np.asarray(vertices), np.asarray(faces), weights, parents))


def test_ellipsoid():
    a, b, c, at = 0.1, 0.25, 0.07, np.array([0.4, -1.0, 0.3])
    ball = trimesh.creation.icosphere(subdivisions=6)
    mass, centre, inertia = mass_properties(moments(ball.vertices * [a, b, c] + at, ball.faces)[0])
    volume = 4 / 3 * np.pi * a * b * c
    assert mass == pytest.approx(volume, rel=RTOL)
    np.testing.assert_allclose(centre, at, atol=1e-9)
    expected = np.diag([b**2 + c**2, a**2 + c**2, a**2 + b**2]) * volume / 5
    np.testing.assert_allclose(inertia, expected, atol=RTOL * expected.max())


def capsule_moments(length: float, r: float) -> tuple[float, float, float]:
    """Volume, moment about the axis, and across it, of a cylinder with two half balls."""
    cylinder, ball = np.pi * r**2 * length, 4 / 3 * np.pi * r**3
    along = cylinder * r**2 / 2 + 0.4 * ball * r**2
    # a half ball's centre is 3/8 r from its flat side; its moment about that centre across the axis: 83/320 m r^2
    across = cylinder * (length**2 / 12 + r**2 / 4) + ball * (83 / 320 * r**2 + (length / 2 + 3 / 8 * r) ** 2)
    return cylinder + ball, along, across


def test_capsule():
    length, r = 0.4, 0.06
    mesh = trimesh.creation.capsule(height=length, radius=r, count=[256, 256])
    mass, _, inertia = mass_properties(moments(mesh.vertices, mesh.faces)[0])
    volume, along, across = capsule_moments(length, r)
    assert mass == pytest.approx(volume, rel=RTOL)
    np.testing.assert_allclose(np.diag(inertia), [across, across, along], rtol=RTOL)
    np.testing.assert_allclose(inertia - np.diag(np.diag(inertia)), 0, atol=RTOL * across)


@pytest.mark.parametrize("at", [0.5, 0.3])
def test_a_cylinder_cut_across_gives_two_cylinders(at):
    """A bone of two segments: the skin's weights change over at a ring of vertices."""
    n, rings, length, r = 200, 41, 0.8, 0.1
    x = np.linspace(0, length, rings)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    ring = np.stack([np.zeros(n), r * np.cos(angle), r * np.sin(angle)], 1)
    vertices = np.concatenate([*(ring + [xi, 0, 0] for xi in x), [[0, 0, 0], [length, 0, 0]]])
    i, j = np.arange(n), np.roll(np.arange(n), -1)
    sides = [np.stack([k * n + i, (k + 1) * n + j, (k + 1) * n + i], 1) for k in range(rings - 1)]
    sides += [np.stack([k * n + i, k * n + j, (k + 1) * n + j], 1) for k in range(rings - 1)]
    ends = [
        np.stack([i, np.full(n, rings * n), j], 1),
        np.stack([(rings - 1) * n + i, (rings - 1) * n + j, np.full(n, rings * n + 1)], 1),
    ]
    faces = np.concatenate([*sides, *ends])
    border = at * length + 1e-9
    first = 1 / (1 + np.exp((vertices[:, 0] - border) / 0.05))
    P = moments(vertices, faces, np.stack([first, 1 - first], 1), (-1, 0))
    # faces go to the nearer ring: the cut lies on the ring where the sum over corners changes over
    ring_at = x[np.abs(x - border).argsort()[:2]]
    cuts = [c for c in ring_at if np.isclose(P[0, 3, 3], np.pi * r**2 * c, rtol=RTOL)]
    assert len(cuts) == 1
    for p, (low, high) in zip(P, ((0, cuts[0]), (cuts[0], length)), strict=True):
        mass, centre, inertia = mass_properties(p)
        h = high - low
        volume = np.pi * r**2 * h
        assert mass == pytest.approx(volume, rel=RTOL)
        np.testing.assert_allclose(centre, [(low + high) / 2, 0, 0], atol=RTOL * h)
        across = volume * (h**2 / 12 + r**2 / 4)
        np.testing.assert_allclose(np.diag(inertia), [volume * r**2 / 2, across, across], rtol=RTOL)


def test_pieces_of_any_cut_are_closed_and_add_up_to_the_whole():
    """Also where three and more segments meet, and wherever a random skin sends its faces."""
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=4)
    vertices = ball.vertices * (1 + 0.2 * np.sin(3 * ball.vertices @ rng.normal(size=3)))[:, None] + [0.5, 1, -2]
    parents = (-1, 0, 0, 1, 1, 2, 3)
    centres = rng.normal(size=(len(parents), 3))
    weights = np.exp(3 * ball.vertices @ centres.T)
    weights /= weights.sum(1, keepdims=True)
    pieces = cut(vertices, np.asarray(ball.faces), weights, parents)
    whole = moments(vertices, ball.faces)[0]
    P = pseudo_inertias(pieces)
    np.testing.assert_allclose(P.sum(0), whole, atol=EXACT * abs(whole).max())
    assert sum(len(f) > 0 for f in pieces.faces) >= 5
    for faces in pieces.faces:
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        forward, back = (np.unique(e, axis=0, return_counts=True) for e in (edges, edges[:, ::-1]))
        np.testing.assert_array_equal(forward[0], back[0])
        np.testing.assert_array_equal(forward[1], back[1])


def test_the_pieces_of_a_body_are_watertight_solids():
    arrays = smpl_body.arrays()
    parents = (-1, *arrays["kintree_table"][0, 1:].astype(int))
    pieces = cut(arrays["v_template"], arrays["f"].astype(np.int64), arrays["weights"], parents)
    for faces, P in zip(pieces.faces, pseudo_inertias(pieces), strict=True):
        mesh = trimesh.Trimesh(pieces.vertices, faces, process=False)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert is_solid(P)


def test_an_inside_out_mesh_is_turned_and_small_holes_are_closed():
    ball = trimesh.creation.icosphere(subdivisions=4)
    whole = moments(ball.vertices, ball.faces)[0]
    turned = moments(ball.vertices, ball.faces[:, ::-1])[0]
    np.testing.assert_allclose(turned, whole, atol=EXACT * abs(whole).max())
    pricked = moments(ball.vertices, np.delete(ball.faces, [7, 500], 0))[0]
    assert pricked[3, 3] == pytest.approx(whole[3, 3], rel=1e-6)
    with pytest.raises(InputError, match="open"):
        moments(ball.vertices, ball.faces[: len(ball.faces) // 2])


def test_what_encloses_nothing_is_no_solid():
    assert not is_solid(np.zeros((4, 4)))
    assert not is_solid(-np.eye(4))
    assert is_solid(np.diag([1e-6, 1e-6, 1e-6, 1e-3]))
