"""The kinematic chain against Pinocchio and MuJoCo, which build their models apart, and against what a body must do."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch
from dynamics_trees import TREES, random_q
from torch.autograd import gradcheck

from physpose import conventions
from physpose.chain import KinematicChain
from physpose.dynamics.pinocchio_backend import PinocchioModel
from physpose.errors import InputError, UnknownNameError
from physpose.skeleton import load_skeleton
from physpose.skeleton.mjcf import to_mjcf
from physpose.skeleton.model import Skeleton
from physpose.spatial import matrix_to_quat

ATOL = 1e-9  # float64, chains of ten joints
BODIES = {
    "adult": TREES["adult"],
    "child": TREES["child"],
    "infant": load_skeleton("infant", age=0.8, sex="f"),
    "zoo": TREES["zoo"],  # balls, slides, oblique axes, turned joint frames
}
bodies = pytest.mark.parametrize("skeleton", BODIES.values(), ids=BODIES.keys())


def some_q(skeleton: Skeleton, T: int, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(random_q(np.random.default_rng(seed), skeleton, T))


def some_scales(skeleton: Skeleton, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(size=len(skeleton.scale_groups)) * 0.2)


def a_keypoint_set(skeleton: Skeleton) -> str:
    return next(iter(skeleton.keypoint_sets))


# --- against Pinocchio ------------------------------------------------------------------------------------------------


@bodies
def test_bodies_are_where_pinocchio_puts_them(skeleton):
    q = some_q(skeleton, 5)
    frames = KinematicChain(skeleton).fk(q)
    positions, rotations = PinocchioModel(skeleton).forward_kinematics(q)
    np.testing.assert_allclose(frames.p, positions, atol=ATOL)
    np.testing.assert_allclose(frames.R, rotations, atol=ATOL)


@bodies
def test_scales_do_what_a_scaled_skeleton_does(skeleton):
    q, s = some_q(skeleton, 3, 1), some_scales(skeleton)
    scaled = skeleton.scaled(s.exp().numpy())
    chain, name = KinematicChain(skeleton), a_keypoint_set(skeleton)
    np.testing.assert_allclose(chain.fk(q, s).p, PinocchioModel(scaled).positions(q), atol=ATOL)
    np.testing.assert_allclose(chain.keypoints(q, name, s), KinematicChain(scaled).keypoints(q, name), atol=ATOL)
    chain.log_scales.copy_(s)  # as the module's parameter
    np.testing.assert_allclose(chain.keypoints(q, name), KinematicChain(scaled).keypoints(q, name), atol=ATOL)


@bodies
def test_jacobian_matches_pinocchio(skeleton):
    q, points = some_q(skeleton, 3, 2), skeleton.keypoint_set(a_keypoint_set(skeleton)).points
    J, model = KinematicChain(skeleton).jacobian(q, a_keypoint_set(skeleton)).numpy(), PinocchioModel(skeleton)
    for k, point in enumerate(points):
        R = model.rotations(q)[:, skeleton.body_index(point.body)]
        body = model.jacobian(point.body, q)  # linear, angular; at the body's origin, world axes
        arm = np.broadcast_to((R @ point.offset)[:, :, None], body[:, :3].shape)
        np.testing.assert_allclose(J[:, k], body[:, :3] + np.cross(body[:, 3:], arm, axis=1), atol=ATOL)


@bodies
def test_scale_jacobian_is_the_change_with_each_scale(skeleton):
    q, s, h = some_q(skeleton, 2, 3), some_scales(skeleton, 1), 1e-5
    chain = KinematicChain(skeleton)
    points = chain.points(skeleton.keypoint_set(a_keypoint_set(skeleton)).points)
    J = chain.scale_jacobian(chain.fk(q, s), points, s).numpy()

    def located(log_scales: torch.Tensor) -> np.ndarray:
        scaled = skeleton.scaled(log_scales.exp().numpy())
        positions, rotations = PinocchioModel(scaled).forward_kinematics(q)
        marks = scaled.keypoint_set(a_keypoint_set(skeleton)).points
        i = [scaled.body_index(p.body) for p in marks]
        return positions[:, i] + (rotations[:, i] @ np.array([p.offset for p in marks])[..., None])[..., 0]

    for g in range(len(s)):
        step = h * torch.eye(len(s), dtype=s.dtype)[g]
        np.testing.assert_allclose(J[..., g], (located(s + step) - located(s - step)) / (2 * h), atol=1e-8)


@bodies
def test_integrate_and_difference_match_pinocchio(skeleton):
    chain, model = KinematicChain(skeleton), PinocchioModel(skeleton)
    q0, q1 = some_q(skeleton, 6, 4), some_q(skeleton, 6, 5)
    dv = 0.5 * torch.as_tensor(np.random.default_rng(6).normal(size=(6, skeleton.nv)))
    found, expected = chain.integrate(q0, dv), torch.as_tensor(model.integrate(q0, dv))
    np.testing.assert_allclose(chain.fk(found).p, chain.fk(expected).p, atol=ATOL)  # whatever the quaternions' sign
    np.testing.assert_allclose(chain.fk(found).R, chain.fk(expected).R, atol=ATOL)
    np.testing.assert_allclose(chain.difference(q0, q1), model.difference(q0, q1), atol=ATOL)


@bodies
def test_difference_undoes_integrate(skeleton):
    chain, q0, q1 = KinematicChain(skeleton), some_q(skeleton, 6, 7), some_q(skeleton, 6, 8)
    dv = 0.4 * torch.as_tensor(np.random.default_rng(9).normal(size=(6, skeleton.nv)))
    np.testing.assert_allclose(chain.difference(q0, chain.integrate(q0, dv)), dv, atol=ATOL)
    there = chain.integrate(q0, chain.difference(q0, q1))
    np.testing.assert_allclose(chain.fk(there).p, chain.fk(q1).p, atol=ATOL)
    np.testing.assert_allclose(chain.fk(there).R, chain.fk(q1).R, atol=ATOL)
    np.testing.assert_allclose(chain.difference(q0, q0), np.zeros((6, skeleton.nv)), atol=1e-15)


# --- against MuJoCo ---------------------------------------------------------------------------------------------------


@bodies
def test_keypoints_and_their_jacobian_match_mujoco(skeleton):
    """The Jacobian has MuJoCo's as its twin: J v is the point's velocity in both, whatever the coordinates of v."""
    q, v = some_q(skeleton, 2, 10), np.random.default_rng(11).normal(size=(2, skeleton.nv))
    points = skeleton.keypoint_set(a_keypoint_set(skeleton)).points
    chain = KinematicChain(skeleton)
    p, J = chain.keypoints(q, a_keypoint_set(skeleton)).numpy(), chain.jacobian(q, a_keypoint_set(skeleton)).numpy()
    model = mujoco.MjModel.from_xml_string(to_mjcf(skeleton))
    data, jac = mujoco.MjData(model), np.zeros((3, model.nv))
    qpos, qvel = conventions.q_to_mujoco(skeleton, q), conventions.v_to_mujoco(skeleton, q, v)
    for t in range(2):
        data.qpos[:] = qpos[t]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for k, point in enumerate(points):
            body = data.body(point.body)
            at = body.xpos + body.xmat.reshape(3, 3) @ point.offset
            np.testing.assert_allclose(p[t, k], at, atol=ATOL)
            mujoco.mj_jac(model, data, jac, None, at, model.body(point.body).id)
            np.testing.assert_allclose(J[t, k] @ v[t], jac @ qvel[t], atol=ATOL)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["child", "zoo"])
def test_gradients_of_forward_kinematics(name):
    skeleton = BODIES[name]
    chain = KinematicChain(skeleton)
    q, s = some_q(skeleton, 1, 12)[0].requires_grad_(), some_scales(skeleton).requires_grad_()
    weight = torch.as_tensor(np.random.default_rng(13).normal(size=(len(skeleton.bodies), 12)))

    def projected(q: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        frames = chain.fk(q, s)
        return weight[:, :9].mul(frames.R.flatten(-2)).sum() + weight[:, 9:].mul(frames.p).sum()

    assert gradcheck(projected, (q, s), atol=1e-6)
    assert gradcheck(lambda q, s: chain.keypoints(q, a_keypoint_set(skeleton), s).sum(0), (q, s), atol=1e-6)


def test_gradients_of_integrate_and_difference():
    skeleton = TREES["small"]
    chain, q = KinematicChain(skeleton), some_q(TREES["small"], 2, 14)
    dv = 0.3 * torch.as_tensor(np.random.default_rng(15).normal(size=(1, skeleton.nv)))
    assert gradcheck(lambda d: chain.integrate(q[:1], d), (dv.requires_grad_(),), atol=1e-6)
    rest = torch.zeros(1, skeleton.nv, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda d: chain.integrate(q[:1], d), (rest,), atol=1e-6)
    assert gradcheck(lambda d: chain.difference(q[:1], chain.integrate(q[1:], d)), (rest,), atol=1e-6)


def test_jacobian_is_the_gradient_along_the_manifold():
    skeleton = BODIES["zoo"]
    chain, q = KinematicChain(skeleton), some_q(skeleton, 1, 16)[0]
    rest = torch.zeros(skeleton.nv, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda d: chain.keypoints(chain.integrate(q, d), "toy"), rest)
    np.testing.assert_allclose(chain.jacobian(q, "toy"), J, atol=ATOL)


# --- what a body does -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adult", "child", "infant"])
def test_bones_keep_their_lengths(name):
    skeleton = BODIES[name]
    p = KinematicChain(skeleton).fk(some_q(skeleton, 20, 17)).p
    parent = [skeleton.body_index(b.parent or "pelvis") for b in skeleton.bodies]
    lengths = (p - p[:, parent]).norm(dim=-1)
    assert (lengths.amax(0) - lengths.amin(0)).max() < 1e-6
    expected = [np.linalg.norm(b.joint.translation) if b.parent else 0.0 for b in skeleton.bodies]
    np.testing.assert_allclose(lengths, np.tile(expected, (20, 1)), atol=1e-6)


def other_side(name: str) -> str:
    return {"_r": name[:-2] + "_l", "_l": name[:-2] + "_r"}.get(name[-2:], name)


@pytest.mark.parametrize("name", ["adult", "child", "infant"])
def test_a_mirrored_pose_is_the_mirror_image(name):
    skeleton = BODIES[name]
    chain, q = KinematicChain(skeleton), some_q(skeleton, 4, 18)
    sideways = ("lumbar_bending", "lumbar_rotation", "neck_bending", "neck_rotation")
    flip = torch.tensor([1.0, -1, 1], dtype=torch.float64)  # the world's y; of the body the z axis points right
    R = flip[:, None] * chain.fk(q).R[:, 0] * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    mirrored = q.clone()
    mirrored[:, :3] *= flip
    mirrored[:, 3:7] = matrix_to_quat(R)
    for i, coordinate in enumerate(skeleton.coordinate_names):
        sign = -1 if coordinate.startswith(sideways) else 1
        mirrored[:, 7 + chain.coordinate_index(other_side(coordinate))] = sign * q[:, 7 + i]
    p, image = chain.fk(q).p, chain.fk(mirrored).p
    for i, body in enumerate(skeleton.body_names):
        np.testing.assert_allclose(image[:, skeleton.body_index(other_side(body))], p[:, i] * flip, atol=ATOL)


def test_moving_the_pelvis_moves_everything_alike():
    chain = KinematicChain(BODIES["child"])
    q = some_q(BODIES["child"], 3, 19)
    shifted = q.clone()
    shifted[:, :3] += torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    expected = chain.keypoints(q) + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    np.testing.assert_allclose(chain.keypoints(shifted), expected, atol=1e-12)


def test_limit_residual_is_the_way_outside():
    skeleton = BODIES["child"]
    chain = KinematicChain(skeleton)
    q = torch.as_tensor(skeleton.neutral).repeat(3, 1)
    i = chain.coordinate_index("knee_angle_r")
    low, high = skeleton.coordinates[i].range
    q[:, 7:] = chain.limits.mean(1)
    q[0, 7 + i], q[1, 7 + i] = high + 0.2, low - 0.3
    expected = np.zeros((3, len(skeleton.coordinates)))
    expected[0, i], expected[1, i] = 0.2, -0.3
    np.testing.assert_allclose(chain.limit_residual(q), expected, atol=1e-12)


# --- shapes, precision, errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2)], ids=str)
@pytest.mark.parametrize("name", ["child", "zoo"])
def test_any_batch_shape(name, shape):
    skeleton = BODIES[name]
    n, nb, keypoints = int(np.prod(shape, dtype=int)), len(skeleton.bodies), a_keypoint_set(skeleton)
    chain, flat = KinematicChain(skeleton), some_q(skeleton, n, 20)
    q, dv = flat.reshape(*shape, -1), torch.full((*shape, skeleton.nv), 0.1, dtype=torch.float64)
    frames, K = chain.fk(q), len(skeleton.keypoint_set(keypoints).points)
    points = chain.keypoint_points(keypoints)
    assert frames.R.shape == (*shape, nb, 3, 3)
    assert frames.p.shape == (*shape, nb, 3)
    assert chain.jacobian(q, keypoints).shape == (*shape, K, 3, skeleton.nv)
    assert chain.scale_jacobian(frames, points).shape == (*shape, K, 3, len(skeleton.scale_groups))
    assert chain.difference(q, chain.integrate(q, dv)).shape == (*shape, skeleton.nv)
    assert chain.limit_residual(q).shape == (*shape, len(skeleton.coordinates))
    np.testing.assert_array_equal(
        chain.keypoints(q, keypoints).reshape(n, K, 3), chain.keypoints(flat, keypoints).reshape(n, K, 3)
    )


def test_every_sample_may_have_its_own_scales():
    skeleton = BODIES["child"]
    chain, q = KinematicChain(skeleton), some_q(skeleton, 3, 21)
    s = torch.stack([some_scales(skeleton, k) for k in range(3)])
    together, points = chain.keypoints(q, log_scales=s), chain.keypoint_points("blazepose33")
    J = chain.scale_jacobian(chain.fk(q, s), points, s)
    for i in range(3):
        np.testing.assert_allclose(together[i], chain.keypoints(q[i], log_scales=s[i]), atol=1e-14)
        np.testing.assert_allclose(J[i], chain.scale_jacobian(chain.fk(q[i], s[i]), points, s[i]), atol=1e-14)


def test_float32_is_kept_and_close():
    skeleton = BODIES["child"]
    q, single = some_q(skeleton, 4, 22), KinematicChain(skeleton, dtype=torch.float32)
    p, J = single.keypoints(q.float()), single.jacobian(q.float())
    assert p.dtype == J.dtype == torch.float32
    np.testing.assert_allclose(p, KinematicChain(skeleton).keypoints(q), atol=5e-6)
    np.testing.assert_allclose(J, KinematicChain(skeleton).jacobian(q), atol=5e-6)


def test_module_moves_to_another_precision_and_learns_scales():
    chain = KinematicChain(BODIES["child"]).float()
    q = some_q(BODIES["child"], 1, 23).float()
    chain.log_scales.requires_grad_()
    chain.keypoints(q).square().sum().backward()
    assert chain.log_scales.grad is not None
    assert (chain.log_scales.grad != 0).any()
    assert list(chain.state_dict()) == ["log_scales"]


def test_wrong_q_is_refused_with_what_is_needed():
    chain = KinematicChain(BODIES["child"])
    with pytest.raises(InputError, match=rf"q has shape \(2, 9\); .*child.* needs \(\.\.\., {chain.nq}\)"):
        chain.fk(torch.zeros(2, 9, dtype=torch.float64))
    with pytest.raises(InputError, match=r"q is torch\.float32, the chain torch\.float64"):
        chain.keypoints(torch.zeros(2, chain.nq))


def test_unknown_names_are_refused_with_the_known_ones():
    chain = KinematicChain(BODIES["child"])
    q = some_q(BODIES["child"], 1, 24)
    with pytest.raises(UnknownNameError, match=r"unknown keypoint set 'coco18'; known: .*coco17"):
        chain.keypoints(q, "coco18")
    with pytest.raises(UnknownNameError, match=r"unknown coordinate 'hip_x'; known: .*hip_flexion_r"):
        chain.coordinate_index("hip_x")
    stray = replace(BODIES["child"].contact_points[0], body="tail")
    with pytest.raises(UnknownNameError, match=r"unknown body 'tail'; known: pelvis"):
        chain.points((stray,))
