"""The posture prior against scipy's densities, autograd and finite differences, and against common sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import physpose
from physpose.chain import KinematicChain
from physpose.conventions import PELVIS_COORDINATES, pose_of
from physpose.errors import InputError
from physpose.estimation.posture_prior import UP, PosturePrior, posture_jacobian, posture_vector
from physpose.io.storage import read_storage
from physpose.spatial import quat_exp

ATOL = 1e-9  # float64, 36 entries
SIDEWAYS = ("lumbar_bending", "lumbar_rotation", "neck_bending", "neck_rotation", "pelvis_up_z")


@pytest.fixture(scope="module")
def shipped() -> PosturePrior:
    return PosturePrior.load()


@pytest.fixture(scope="module")
def chain() -> KinematicChain:
    return KinematicChain(physpose.load_skeleton("adult", height=1.7))


def small_prior() -> PosturePrior:
    rng = np.random.default_rng(3)
    L = np.tril(rng.normal(size=(3, 4, 4))) + 3 * np.eye(4)
    tensors = (torch.tensor(a) for a in (np.log([0.5, 0.3, 0.2]), 4 * rng.normal(size=(3, 4)), L))
    return PosturePrior(("a", "b", "c", "d"), *tensors)


def scipy_components(prior: PosturePrior, x: np.ndarray, columns: list[int] | None = None) -> np.ndarray:
    """log(w_k N_k(x)) (N, K), marginal over ``columns``."""
    c = list(range(len(prior.names))) if columns is None else columns
    covariances = (prior.factors @ prior.factors.transpose(-1, -2)).numpy()
    parts = zip(prior.log_weights.numpy(), prior.means.numpy(), covariances, strict=True)
    return np.stack([w + multivariate_normal(m[c], C[np.ix_(c, c)]).logpdf(x) for w, m, C in parts], -1)


def test_log_density_is_scipys(shipped: PosturePrior) -> None:
    for prior in (small_prior(), shipped):
        x = prior.sample(50, torch.Generator().manual_seed(0))
        expected = logsumexp(scipy_components(prior, x.numpy()), axis=-1)
        np.testing.assert_allclose(prior.log_density(x), expected, atol=ATOL)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2)])
def test_any_leading_shape(shape: tuple[int, ...]) -> None:
    prior = small_prior()
    x = torch.randn(*shape, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    r, J, offset = prior.linearise(x)
    assert prior.log_density(x).shape == prior.energy(x).shape == offset.shape == shape
    assert r.shape == (*shape, 4)
    assert J.shape == (*shape, 4, 4)


def test_linearised_energy_is_that_of_the_best_component(shipped: PosturePrior) -> None:
    for prior in (small_prior(), shipped):
        x = prior.sample(200, torch.Generator().manual_seed(2))
        r, _, offset = prior.linearise(x)
        expected = -scipy_components(prior, x.numpy()).max(-1)
        np.testing.assert_allclose(0.5 * (r**2).sum(-1) + offset, expected, atol=ATOL)
        np.testing.assert_allclose(prior.energy(x), expected, atol=ATOL)
        assert len(prior.responsible(x).unique()) > 1  # else the choice between components is not tested


def test_jacobian_is_autograds(shipped: PosturePrior) -> None:
    x = shipped.sample(5, torch.Generator().manual_seed(4))
    r, J, _ = shipped.linearise(x)
    for i in range(len(x)):
        np.testing.assert_allclose(torch.autograd.functional.jacobian(lambda y: shipped.linearise(y).r, x[i]), J[i])
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(shipped.energy(y).sum(), y)
    np.testing.assert_allclose((J.transpose(-1, -2) @ r[..., None])[..., 0], gradient, atol=ATOL)


def test_a_given_component_is_kept() -> None:
    prior = small_prior()
    x = prior.means[[0]]
    r, J, offset = prior.linearise(x, torch.tensor([2]))
    np.testing.assert_allclose(r, ((x - prior.means[2]) @ J[0].T))
    np.testing.assert_allclose(0.5 * (r**2).sum(-1) + offset, -scipy_components(prior, x.numpy())[..., 2], atol=ATOL)


def test_marginal_of_known_names_in_their_order(shipped: PosturePrior) -> None:
    names = ["knee_angle_l", "no_such_joint", "pelvis_up_x", "hip_flexion_l"]
    marginal = shipped.marginal(names)
    assert marginal.names == ("knee_angle_l", "pelvis_up_x", "hip_flexion_l")
    columns = [shipped.names.index(n) for n in marginal.names]
    x = shipped.sample(20, torch.Generator().manual_seed(5))[:, columns]
    expected = logsumexp(scipy_components(shipped, x.numpy(), columns), axis=-1)
    np.testing.assert_allclose(marginal.log_density(x), expected, atol=ATOL)


def test_marginal_of_nothing_known_is_refused(shipped: PosturePrior) -> None:
    with pytest.raises(InputError, match="no_such_joint.*hip_flexion_r"):
        shipped.marginal(["no_such_joint"])


def test_samples_have_the_mixtures_moments() -> None:
    prior, n = small_prior(), 40000
    x = prior.sample(n, torch.Generator().manual_seed(6)).numpy()
    w, mu = prior.log_weights.exp().numpy(), prior.means.numpy()
    second = (prior.factors @ prior.factors.transpose(-1, -2)).numpy() + np.einsum("ki,kj->kij", mu, mu)
    mean, covariance = w @ mu, np.einsum("k,kij->ij", w, second) - np.outer(w @ mu, w @ mu)
    sigma = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(x.mean(0), mean, atol=4 * sigma.max() / np.sqrt(n))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.03 * sigma.max() ** 2)


def test_shipped_names_are_the_skeletons(shipped: PosturePrior, chain: KinematicChain) -> None:
    assert shipped.names == (*chain.coordinate_names, *UP)
    assert shipped.log_weights.exp().sum() == pytest.approx(1.0)


def test_left_and_right_are_alike(shipped: PosturePrior) -> None:
    x = shipped.sample(2000, torch.Generator().manual_seed(7))
    twin = {
        **{n: n for n in shipped.names},
        **{n: n[:-1] + "rl"[n[-1] == "r"] for n in shipped.names if n[-2:] in ("_r", "_l")},
    }
    swap = [shipped.names.index(twin[n]) for n in shipped.names]
    sign = torch.tensor([-1.0 if n in SIDEWAYS else 1.0 for n in shipped.names])
    difference = shipped.log_density(x) - shipped.log_density(x[:, swap] * sign)
    assert difference.abs().max() < 1e-2  # [nats] components come in mirrored pairs, stored in single precision
    assert shipped.log_density(x[:, swap]).mean() < shipped.log_density(x).mean() - 1.0  # without the signs: unlike


def posture(prior: PosturePrior, **degrees: float) -> torch.Tensor:
    """Standing at ease but for the given coordinates; a name without side means both."""
    values = {
        "elbow_flex": 25.0,
        "arm_add": -8.0,
        "pro_sup": 90.0,
        "knee_angle": 5.0,
        "lumbar_extension": -8.0,
        **degrees,
    }
    x = [np.radians(values.get(n, values.get(n[:-2], 0.0))) for n in prior.names]
    return torch.tensor(x, dtype=torch.float64)


def test_people_rather_do_what_people_do(shipped: PosturePrior) -> None:
    log_p = lambda **degrees: float(shipped.log_density(posture(shipped, **degrees)))  # noqa: E731
    standing = log_p()
    assert standing > log_p(lumbar_extension=30) + 5  # bent backward
    assert standing > log_p(elbow_flex=-15) + 2
    assert standing > log_p(hip_rotation=45) + 5
    crouch = {"knee_angle": 95, "hip_flexion": 85, "ankle_angle": 20, "pelvis_up_x": -15}
    assert log_p(**crouch, lumbar_extension=-25) > log_p(**crouch, lumbar_extension=20) + 2  # one leans forward
    assert log_p(**crouch) > log_p(**{**crouch, "hip_flexion": 0}) + 5  # knees and hips bend together
    stride = {"hip_flexion_r": 28, "hip_flexion_l": -14, "knee_angle_l": 20}
    swung = log_p(**stride, arm_flex_r=-22, arm_flex_l=8)
    assert swung > log_p(**stride, arm_flex_r=8, arm_flex_l=-22) + 1  # the arm opposite the leg


def test_posture_vector_tells_lean_and_list(chain: KinematicChain) -> None:
    q = torch.as_tensor(chain.skeleton.neutral).repeat(3, 1)
    tenth = torch.zeros(3, chain.nv, dtype=torch.float64)
    tenth[1, 5], tenth[2, 3] = 0.1, 0.1  # about the pelvis' z (to the right) and x (forward) axes
    x = posture_vector(chain.integrate(q, tenth), chain.coordinate_names, UP)
    np.testing.assert_allclose(x[0], 0.0, atol=ATOL)
    np.testing.assert_allclose(x[1], [np.sin(0.1), 0.0], atol=ATOL)  # turned from x to y, up: leans backward
    np.testing.assert_allclose(
        x[2], [0.0, -np.sin(0.1)], atol=ATOL
    )  # turned from y to z: to the right, right side down


def test_posture_jacobian_is_a_finite_difference(shipped: PosturePrior, chain: KinematicChain) -> None:
    g = torch.Generator().manual_seed(8)
    q = torch.randn(4, chain.nq, dtype=torch.float64, generator=g)
    q[:, 3:7] = quat_exp(torch.randn(4, 3, dtype=torch.float64, generator=g))
    args = chain.coordinate_names, shipped.names
    J, h = posture_jacobian(q, *args), 1e-6
    for j in range(chain.nv):
        d = torch.zeros(4, chain.nv, dtype=torch.float64)
        d[:, j] = h
        ahead, behind = (posture_vector(chain.integrate(q, s * d), *args) for s in (1, -1))
        np.testing.assert_allclose(J[..., j], (ahead - behind) / (2 * h), atol=1e-8)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no posture prior at"):
        PosturePrior.load(tmp_path / "none.npz")
    np.savez(tmp_path / "half.npz", names=np.array(["a"]), weights=np.ones(1))
    with pytest.raises(InputError, match="lacks covariances, means; it holds names, weights"):
        PosturePrior.load(tmp_path / "half.npz")


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"needs \(2, 1\), \(2, 1, 1\)"):
        PosturePrior(("a",), torch.zeros(2), torch.zeros(2, 2), torch.ones(2, 1, 1))


def test_measured_walking_is_far_likelier_than_under_independent_ranges(
    shipped: PosturePrior, chain: KinematicChain, data_dir: Path
) -> None:
    """OpenSim's gait example: another laboratory, another model, not among what the prior was fitted to."""
    file = data_dir / "opensim_core/Applications/ID/tests/resources/subject01_walk1_ik.mot"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    motion = read_storage(file)
    length = ("pelvis_tx", "pelvis_ty", "pelvis_tz")  # the others are in degrees, though the header does not say so
    values = {n: x if n in length else np.radians(x) for n, x in zip(motion.names, motion.data.T, strict=True)}
    for side in "rl":
        values[f"knee_angle_{side}"] *= -1  # this model's flexion is negative
    pelvis = pose_of(np.stack([values[n] for n in PELVIS_COORDINATES], -1))
    names = [n for n in chain.coordinate_names if n in values and not n.startswith(("subtalar", "mtp"))]
    q = torch.as_tensor(np.column_stack([pelvis, *(values[n] for n in names)]))
    prior = shipped.marginal([*names, *UP])
    density = prior.log_density(posture_vector(q, names, prior.names)).mean()
    width = torch.tensor([np.ptp(chain.skeleton.coordinates[chain.coordinate_index(n)].range) for n in names])
    sigma = torch.cat([width / 4, torch.tensor([np.radians(20), np.radians(7)])])
    r = posture_vector(q, names, prior.names) / sigma
    independent = (-0.5 * (r**2 + np.log(2 * np.pi)) - sigma.log()).sum(-1).mean()
    assert density > independent + 8.0  # [nats a frame]; 11 when fitted
