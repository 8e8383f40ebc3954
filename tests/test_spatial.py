"""Rotations and rigid motions against SciPy and Pinocchio; a third of the angles are near zero, a third near pi."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from physpose.spatial import (
    axis_rotation,
    matrix_to_quat,
    matvec,
    quat_conj,
    quat_exp,
    quat_log,
    quat_mul,
    quat_to_matrix,
    se3_exp,
    se3_log,
    skew,
    so3_exp,
    so3_log,
    so3_right_jacobian_inverse,
)

ATOL = 1e-11  # float64; quotients of small numbers lose a few digits just above where series take over
ATOL_NEAR_PI = 1e-7  # a matrix near pi holds its angle to the square root of the rounding only
SHAPES = [(), (1,), (3, 1, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def rotation_vectors(seed: int = 0) -> torch.Tensor:
    """(N, 3): a third with angles from 0 to 1e-2, also on both sides of every switch to a series, a third up to pi."""
    rng = np.random.default_rng(seed)
    small = [0.0, 1e-12, 1e-8, 0.99e-4, 1.01e-4, 2e-4, 1e-3, 1e-2]
    middle = rng.uniform(0.1, 3.0, 8)
    large = np.pi - np.array([1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1])
    axis = rng.normal(size=(24, 3))
    axis[[0, 8, 16]] = np.eye(3)  # axes of coordinates make whole rows vanish
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    return torch.as_tensor(axis * np.concatenate([small, middle, large])[:, None])


def unit_quaternions(n: int, seed: int = 1) -> torch.Tensor:
    return torch.as_tensor(Rotation.random(n, random_state=seed).as_quat())


def twists(seed: int = 2) -> torch.Tensor:
    w = rotation_vectors(seed)
    return torch.cat([torch.as_tensor(np.random.default_rng(seed).normal(size=w.shape)), w], -1)


def close(a: torch.Tensor, b: torch.Tensor | np.ndarray, atol: float = ATOL) -> None:
    np.testing.assert_allclose(a.detach().numpy(), np.asarray(b), atol=atol, rtol=0)


# --- against SciPy ----------------------------------------------------------------------------------------------------


def test_exponentials_match_scipy():
    w = rotation_vectors()
    R = Rotation.from_rotvec(w.numpy())
    close(so3_exp(w), R.as_matrix(), 1e-14)
    close(quat_to_matrix(quat_exp(w)), R.as_matrix(), 1e-14)
    close(quat_exp(w).norm(dim=-1), np.ones(len(w)), 1e-15)


def test_axis_rotation_matches_scipy_at_any_angle():
    w = rotation_vectors()[1:]
    axis = w / w.norm(dim=-1, keepdim=True)
    angle = torch.linspace(-7.0, 7.0, len(w), dtype=torch.float64)
    close(axis_rotation(axis, angle), Rotation.from_rotvec((axis * angle[:, None]).numpy()).as_matrix())


def test_logarithms_match_scipy():
    w = rotation_vectors()
    R = Rotation.from_rotvec(w.numpy())
    close(quat_log(torch.as_tensor(R.as_quat())), w)
    far = np.linalg.norm(w, axis=1) < np.pi - 1e-6  # nearer, a matrix does not tell the axis' sign
    close(so3_log(torch.as_tensor(R.as_matrix()))[far], w[far], ATOL_NEAR_PI)


def test_logarithm_is_never_longer_than_half_a_turn():
    w = torch.tensor([[3.3, 0, 0], [0, -6.0, 0], [0, 0, 12.0]], dtype=torch.float64)
    close(quat_log(quat_exp(w)), Rotation.from_rotvec(w.numpy()).as_rotvec())


def test_both_quaternions_of_a_rotation_have_one_logarithm():
    q = unit_quaternions(50)
    close(quat_log(-q), quat_log(q), 1e-15)
    close(quat_to_matrix(-q), quat_to_matrix(q), 1e-15)


def test_quaternions_of_matrices_match_scipy_in_all_four_branches():
    half_turns = np.concatenate([np.eye(4)[:3], Rotation.random(60, random_state=3).as_quat()])
    q = torch.as_tensor(np.sign(half_turns[:, 3:] + 1e-300) * half_turns)
    found = matrix_to_quat(torch.as_tensor(Rotation.from_quat(half_turns).as_matrix()))
    close(found, q)
    assert set(q.abs().argmax(-1).tolist()) == {0, 1, 2, 3}


def test_product_is_composition():
    p, q = unit_quaternions(30, 4), unit_quaternions(30, 5)
    close(quat_to_matrix(quat_mul(p, q)), (Rotation.from_quat(p) * Rotation.from_quat(q)).as_matrix())


def test_skew_is_the_cross_product():
    u, w = twists().split(3, -1)
    close(matvec(skew(w), u), np.cross(w, u), 1e-15)


# --- against Pinocchio ------------------------------------------------------------------------------------------------


def test_se3_matches_exp6_and_log6():
    x = twists()
    p, quat = se3_exp(x)
    for i, twist in enumerate(x.numpy()):
        M = pin.exp6(twist)
        close(p[i], M.translation)
        close(quat_to_matrix(quat[i]), M.rotation)
        if np.linalg.norm(twist[3:]) < np.pi - 1e-2:  # nearer, Pinocchio's own logarithm of a matrix loses digits
            close(se3_log(torch.as_tensor(M.translation), matrix_to_quat(torch.as_tensor(M.rotation))),
                  pin.log6(M).vector, 1e-9)  # fmt: skip


def test_right_jacobian_inverse_matches_jlog3():
    w = rotation_vectors()[:-8]  # Pinocchio's takes a matrix, which near pi holds the angle badly
    for wi, J in zip(w, so3_right_jacobian_inverse(w), strict=True):
        close(J, pin.Jlog3(pin.exp3(wi.numpy())), 1e-8)  # Pinocchio's own is off by 2e-9 at 2e-4 rad


def test_right_jacobian_inverse_is_the_logarithms_derivative():
    w = rotation_vectors()
    w = w[w.norm(dim=-1) < np.pi - 1e-3]
    h = 1e-6
    for k in range(3):
        d = torch.zeros(3, dtype=torch.float64)
        d[k] = h
        ahead, behind = (quat_log(quat_mul(quat_exp(w), quat_exp(s * d).expand(len(w), 4))) for s in (1, -1))
        close(so3_right_jacobian_inverse(w)[..., k], (ahead - behind) / (2 * h), 1e-8)


# --- identities -------------------------------------------------------------------------------------------------------


def test_group_axioms():
    a, b, c = (unit_quaternions(20, s) for s in (6, 7, 8))
    one = torch.tensor([0, 0, 0, 1.0], dtype=torch.float64).expand(20, 4)
    close(quat_mul(quat_mul(a, b), c), quat_mul(a, quat_mul(b, c)), 1e-15)
    close(quat_mul(a, quat_conj(a)), one, 1e-15)
    close(quat_mul(quat_conj(a), a), one, 1e-15)
    close(quat_mul(a, one), a, 0)
    close(quat_mul(a, b).norm(dim=-1), np.ones(20), 1e-15)


def test_matrices_are_rotations():
    w = rotation_vectors()
    for R in (so3_exp(w), quat_to_matrix(quat_exp(w))):
        close(R @ R.mT, np.tile(np.eye(3), (len(w), 1, 1)), 1e-14)
        close(torch.linalg.det(R), np.ones(len(w)), 1e-14)


def test_logarithm_undoes_exponential():
    w, x = rotation_vectors(9), twists(10)
    close(quat_log(quat_exp(w)), w)
    close(se3_log(*se3_exp(x)), x)


def test_twist_held_twice_as_long_moves_twice():
    x = twists(11)
    p, quat = se3_exp(x)
    twice = p + matvec(quat_to_matrix(quat), p)
    close(se3_exp(2 * x)[0], twice)
    close(quat_to_matrix(se3_exp(2 * x)[1]), quat_to_matrix(quat_mul(quat, quat)))


# --- gradients --------------------------------------------------------------------------------------------------------

DIFFERENTIABLE = {
    "so3_exp": so3_exp,
    "quat_exp": quat_exp,
    "quat_log of quat_exp": lambda w: quat_log(quat_exp(w)),
    "so3_log of so3_exp": lambda w: so3_log(so3_exp(w)),
    "right jacobian inverse": so3_right_jacobian_inverse,
}


def away_from_pi(w: torch.Tensor) -> torch.Tensor:
    """Without the angles within 1e-4 of pi, where a finite step crosses to the other axis."""
    return w[w.norm(dim=-1) < np.pi - 0.9e-4].requires_grad_()


@pytest.mark.parametrize("f", DIFFERENTIABLE.values(), ids=DIFFERENTIABLE.keys())
def test_gradients_of_rotations(f):
    assert gradcheck(f, (away_from_pi(rotation_vectors(12)),), eps=1e-6, atol=1e-5)


def test_gradients_of_rigid_motions():
    x = twists(13)
    x = x[x[:, 3:].norm(dim=-1) < np.pi - 0.9e-4].requires_grad_()
    assert gradcheck(se3_exp, (x,), eps=1e-6, atol=1e-5)
    assert gradcheck(lambda y: se3_log(*se3_exp(y)), (x,), eps=1e-6, atol=1e-5)


def test_gradients_of_quaternion_algebra():
    p, q = unit_quaternions(4, 14).requires_grad_(), unit_quaternions(4, 15).requires_grad_()
    assert gradcheck(quat_mul, (p, q))
    assert gradcheck(quat_to_matrix, (p,))
    assert gradcheck(quat_log, (p,))


def test_gradients_are_finite_at_zero_and_at_pi():
    w = torch.cat([torch.zeros(1, 3), torch.pi * torch.eye(3)]).double().requires_grad_()
    for f in (so3_exp, quat_exp, so3_right_jacobian_inverse, DIFFERENTIABLE["quat_log of quat_exp"]):
        (grad,) = torch.autograd.grad(f(w).sum(), w)
        assert grad.isfinite().all()
    q = torch.tensor([[0, 0, 0, 1.0], [0, 0, 0, -1.0], [1.0, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(quat_log(q).sum(), q)[0].isfinite().all()
    p = torch.ones(3, 3, dtype=torch.float64)
    assert torch.autograd.grad(se3_log(p, q).sum(), q)[0].isfinite().all()


# --- shapes and precision ---------------------------------------------------------------------------------------------


@shapes
def test_any_batch_shape(shape):
    n = int(np.prod(shape, dtype=int))
    w, x, q = rotation_vectors()[8 : 8 + n], twists()[8 : 8 + n], unit_quaternions(n)
    batched = [t.reshape(*shape, t.shape[-1]) for t in (w, x, q)]
    for f, i in ((so3_exp, 0), (quat_exp, 0), (so3_right_jacobian_inverse, 0), (skew, 0), (quat_to_matrix, 2),
                 (quat_log, 2), (quat_conj, 2), (lambda t: se3_exp(t)[0], 1), (lambda t: matrix_to_quat(so3_exp(t)), 0),
                 (lambda t: se3_log(*se3_exp(t)), 1)):  # fmt: skip
        out, flat = f(batched[i]), f((w, x, q)[i])
        assert out.shape == (*shape, *flat.shape[1:])
        close(out.reshape(flat.shape), flat, 0)


def test_float32_is_kept_and_as_good_as_it_can_be():
    w, x = rotation_vectors(16), twists(17)
    for f, y in ((so3_exp, w), (quat_exp, w), (so3_right_jacobian_inverse, w[:-6]), (lambda t: se3_exp(t)[0], x),
                 (lambda t: torch.cat(se3_exp(t), -1), x)):  # fmt: skip
        out = f(y.float())
        assert out.dtype == torch.float32
        np.testing.assert_allclose(out.numpy(), f(y).numpy(), atol=4e-6)
    q = unit_quaternions(50, 18)
    np.testing.assert_allclose(quat_log(q.float()).numpy(), quat_log(q).numpy(), atol=4e-6)
    np.testing.assert_allclose(matrix_to_quat(so3_exp(w[:-8].float())).numpy(), quat_exp(w[:-8]).numpy(), atol=4e-6)
