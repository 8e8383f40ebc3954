"""Each metric against a slow twin that loops, a closed form or an identity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation
from scipy.stats import mannwhitneyu

from physpose import metrics
from physpose.errors import InputError

ATOL = 1e-10  # float64, sums of some hundred terms
T, K = 9, 5
TIME = torch.tensor([0.0, 0.1, 0.15, 0.3, 0.42, 0.5, 0.6, 0.75, 0.8], dtype=torch.float64)  # uneven on purpose
SHAPES = [(), (1,), (3, 1, 2)]


def sample(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flags(*shape, seed=0):
    """Some visible, in every row at least one."""
    seen = sample(*shape, seed=seed) > -0.3
    seen[..., 0] = True
    return seen


def looped(function, *arrays):
    """A metric of single poses or sequences, called one by one over the leading dimensions."""
    lead = arrays[0].shape[: arrays[0].ndim - function.ndim]
    out = torch.empty(lead, dtype=torch.float64)
    for i in np.ndindex(*lead):
        out[i] = function(*(None if a is None else a[i].numpy() for a in arrays))
    return out


def twin(ndim):
    def mark(function):
        function.ndim = ndim
        return function

    return mark


@twin(2)
def mpjpe_twin(p, t, seen):
    return np.mean([math.dist(p[k], t[k]) for k in range(K) if seen is None or seen[k]])


@twin(2)
def pa_twin(p, t, seen):
    """By scipy, which standardises both: its residual, brought back to the truth's size."""
    use = np.ones(K, bool) if seen is None else seen
    a, b = t[use], p[use]
    size = np.linalg.norm(a - a.mean(0))
    mean = (a - a.mean(0)) / size
    _, aligned, _ = procrustes(a, b)  # may reflect: the samples are chosen not to
    return np.mean(np.linalg.norm(mean - aligned, axis=-1)) * size


@twin(2)
def n_twin(p, t, seen):
    use = np.ones(K, bool) if seen is None else seen
    scale = np.linalg.lstsq(p[use].reshape(-1, 1), t[use].reshape(-1), rcond=None)[0][0]
    return mpjpe_twin(scale * p, t, seen)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("metric", "slow"), [(metrics.mpjpe, mpjpe_twin), (metrics.n_mpjpe, n_twin), (metrics.pa_mpjpe, pa_twin)]
)
def test_pose_errors_are_those_of_a_loop(metric, slow, masked, shape):
    true = sample(*shape, K, 3)
    predicted = true + 0.1 * sample(*shape, K, 3, seed=1)  # too little for a mirror image to fit better
    seen = flags(*shape, K) if masked else None
    if masked:
        seen[..., :4] = True  # a plane of three points has two mirror images: scipy takes either
        predicted = torch.where(seen[..., None], predicted, torch.nan)  # what is not seen must not be read
    slow_value = looped(slow, predicted, true, seen)
    torch.testing.assert_close(metric(predicted, true, seen), slow_value, rtol=0, atol=ATOL)


def test_similarity_leaves_no_procrustes_error_and_scale_none_for_n_mpjpe():
    true = sample(4, K, 3)
    R = torch.tensor(Rotation.random(4, random_state=0).as_matrix())
    moved = 1.7 * true @ R.mT + sample(4, 1, 3, seed=2)
    assert float(metrics.pa_mpjpe(moved, true).max()) < ATOL
    assert float(metrics.mpjpe(moved, true).min()) > 0.1
    assert float(metrics.n_mpjpe(0.3 * true, true).max()) < ATOL


def test_procrustes_does_not_mirror():
    true = sample(K, 3)
    mirrored = true * torch.tensor([1.0, 1, -1], dtype=torch.float64)
    assert float(metrics.pa_mpjpe(mirrored, true)) > 0.05
    _, _, scipy_residual = procrustes(true.numpy(), mirrored.numpy())
    assert scipy_residual < ATOL  # scipy does: the case is one where it matters


def test_no_alignment_beats_the_procrustes_one():
    true, predicted = sample(K, 3), sample(K, 3, seed=1)
    best = (metrics.procrustes_aligned(predicted, true) - true).square().sum()
    for i in range(20):
        R = torch.tensor(Rotation.random(random_state=i).as_matrix())
        centred = (predicted - predicted.mean(0)) @ R.mT
        scale = (centred * (true - true.mean(0))).sum() / centred.square().sum()
        assert (scale * centred + true.mean(0) - true).square().sum() >= best


def test_mpjpe_of_a_known_offset():
    true = sample(2, K, 3)
    offset = torch.tensor([0.03, 0.04, 0.0], dtype=torch.float64)
    torch.testing.assert_close(metrics.mpjpe(true + offset, true), torch.full((2,), 0.05, dtype=torch.float64))
    moved = metrics.root_relative(true + offset, (0, 1))
    torch.testing.assert_close(moved, metrics.root_relative(true, (0, 1)))
    torch.testing.assert_close(moved[:, :2].mean(1), torch.zeros(2, 3, dtype=torch.float64))


# --- correct keypoints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_pck_counts(shape):
    true, predicted, seen = sample(*shape, K, 2), sample(*shape, K, 2, seed=1), flags(*shape, K)

    @twin(2)
    def slow(p, t, s):
        hits = [math.dist(p[k], t[k]) <= 1.5 for k in range(K) if s[k]]
        return sum(hits) / len(hits)

    torch.testing.assert_close(metrics.pck(predicted, true, 1.5, seen), looped(slow, predicted, true, seen))
    head = sample(*shape, 1, seed=3)[..., 0].abs() + 1
    torch.testing.assert_close(
        metrics.pckh(predicted, true, head, seen), metrics.pck(predicted, true, 0.5 * head, seen)
    )


def test_pck_auc_is_the_area_under_pck():
    true, predicted, seen = sample(4, K, 3), sample(4, K, 3, seed=1), flags(4, K)
    steps = torch.linspace(0, 2, 20001, dtype=torch.float64)
    middles = (steps[1:] + steps[:-1]) / 2
    curve = torch.stack([metrics.pck(predicted, true, float(x), seen) for x in middles])
    torch.testing.assert_close(metrics.pck_auc(predicted, true, 2.0, seen), curve.mean(0), rtol=0, atol=1e-4)
    with pytest.raises(InputError, match="positive"):
        metrics.pck(predicted, true, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_detection_figures_are_those_of_counting(shape):
    correct, claimed, visible = (flags(*shape, 8, seed=i) for i in range(3))
    correct[..., 1] = visible[..., 2] = claimed[..., 3] = False
    for i in np.ndindex(*shape):
        tp = fp = fn = right = 0
        for c, p, v in zip(correct[i].tolist(), claimed[i].tolist(), visible[i].tolist(), strict=True):
            tp += c and p and v
            fp += p and not (c and v)
            fn += v and not (c and p)
            right += (c and p and v) or (not p and not v)
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        args = correct[i], claimed[i], visible[i]
        assert metrics.precision(*args) == pytest.approx(precision)
        assert metrics.recall(*args) == pytest.approx(recall)
        assert metrics.f1(*args) == pytest.approx(2 * precision * recall / (precision + recall))
        assert metrics.accuracy(*args) == pytest.approx(right / 8)
    assert metrics.f1(correct, claimed, visible).shape == shape


def test_roc_auc_is_the_rank_statistic():
    score = torch.round(2 * sample(3, 30)) / 2  # many ties
    positive = sample(3, 30, seed=1) > 0
    for s, p, auc in zip(score.numpy(), positive.numpy(), metrics.roc_auc(score, positive), strict=True):
        u = mannwhitneyu(s[p], s[~p]).statistic
        assert float(auc) == pytest.approx(u / (p.sum() * (~p).sum()))
    assert math.isnan(metrics.roc_auc(score[0], torch.ones(30, dtype=torch.bool)))


# --- motion -----------------------------------------------------------------------------------------------------------


def frames_seen(seen, t, k, order):
    return seen is None or all(seen[t + i, k] for i in range(order + 1))


@twin(3)
def velocity_twin(p, t, seen):
    h = TIME.numpy()
    return np.mean([
        np.linalg.norm(((p[i + 1, k] - p[i, k]) - (t[i + 1, k] - t[i, k])) / (h[i + 1] - h[i]))
        for i in range(T - 1) for k in range(K) if frames_seen(seen, i, k, 1)
    ])  # fmt: skip


@twin(3)
def acceleration_twin(p, t, seen):
    """By the parabola through three points."""
    h, d = TIME.numpy(), p - t
    return np.mean([
        np.linalg.norm(2 * np.polyfit(h[i : i + 3], d[i : i + 3, k], 2)[0])
        for i in range(T - 2) for k in range(K) if frames_seen(seen, i, k, 2)
    ])  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_motion_errors_are_those_of_a_loop(masked, shape):
    p, true = sample(*shape, T, K, 3), sample(*shape, T, K, 3, seed=1)
    seen = flags(*shape, T, K) if masked else None
    if masked:
        p = torch.where(seen[..., None], p, torch.nan)
    expected = looped(velocity_twin, p, true, seen)
    torch.testing.assert_close(metrics.mpjve(p, true, TIME, seen), expected, rtol=0, atol=ATOL)
    expected = looped(acceleration_twin, p, true, seen)
    torch.testing.assert_close(metrics.acceleration_error(p, true, TIME, seen), expected, rtol=0, atol=1e-8)
    expected = looped(acceleration_twin, p, torch.zeros_like(p), seen)
    torch.testing.assert_close(metrics.temporal_smoothness(p, TIME, seen), expected, rtol=0, atol=1e-8)


def test_smoothness_of_a_fall_is_gravity_at_any_frame_rate():
    for fps in (25, 60):
        time = torch.arange(10, dtype=torch.float64) / fps
        fall = torch.zeros(10, 2, 3, dtype=torch.float64)
        fall[..., 2] = (0.3 * time - 0.5 * 9.81 * time**2)[:, None]
        assert float(metrics.temporal_smoothness(fall, time)) == pytest.approx(9.81)
        assert float(metrics.temporal_smoothness_per_frame(fall)) == pytest.approx(9.81 / fps**2)
    uneven = torch.zeros(T, 1, 3, dtype=torch.float64)
    uneven[..., 2] = (-0.5 * 9.81 * TIME**2)[:, None]
    assert float(metrics.temporal_smoothness(uneven, TIME)) == pytest.approx(9.81)


def test_steady_motion_is_smooth_and_without_error():
    steady = TIME[:, None, None] * sample(K, 3)
    assert float(metrics.temporal_smoothness(steady, TIME)) < 1e-10
    assert float(metrics.temporal_smoothness_per_frame(steady)) > 1e-3  # uneven frames look rough to it
    assert float(metrics.mpjve(steady + 5, steady, TIME)) < 1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_bone_lengths(shape):
    p, edges = sample(*shape, T, K, 3), torch.tensor([[0, 1], [1, 2], [3, 4]])
    seen = flags(*shape, T, K)
    known = torch.tensor([1.0, 1.5, 0.7], dtype=torch.float64)

    def slow(reference):
        @twin(3)
        def deviation(p, s):
            out = []
            for e, (i, j) in enumerate(edges.tolist()):
                length = np.array([math.dist(p[t, i], p[t, j]) for t in range(T) if s[t, i] and s[t, j]])
                about = length.mean() if reference is None else float(reference[e])
                out.append(math.sqrt(np.mean((length - about) ** 2)))
            return np.mean(out)

        return deviation

    ones = torch.ones_like(seen)
    for lengths in (None, known):
        value = metrics.bone_length_deviation(p, edges, lengths, seen)
        torch.testing.assert_close(value, looped(slow(lengths), p, seen), rtol=0, atol=ATOL)
        value = metrics.bone_length_deviation(p, edges, lengths)
        torch.testing.assert_close(value, looped(slow(lengths), p, ones), rtol=0, atol=ATOL)
    R = torch.tensor(Rotation.random(T, random_state=0).as_matrix())
    rigid = sample(K, 3) @ R.mT + sample(T, 1, 3, seed=4)
    assert float(metrics.bone_length_deviation(rigid, edges)) < 1e-12


# --- bad input --------------------------------------------------------------------------------------------------------


def test_nothing_to_count_is_nan_and_so_is_a_visible_nan():
    p = sample(K, 3)
    none = torch.zeros(K, dtype=torch.bool)
    assert metrics.mpjpe(p, p, none).isnan()
    assert metrics.pck(p, p, 1.0, none).isnan()
    broken = p.clone()
    broken[2] = torch.nan
    assert metrics.mpjpe(broken, p).isnan()
    assert metrics.pck(broken, p, 1.0).isnan()
    assert metrics.precision(none, none, none).isnan()


def test_wrong_shapes_are_told():
    p = sample(T, K, 3)
    with pytest.raises(InputError, match="the same one needed"):
        metrics.pa_mpjpe(p, p[:, :4])
    with pytest.raises(InputError, match=r"visible of shape \(4,\)"):
        metrics.mpjpe(p, p, torch.ones(4))
    with pytest.raises(InputError, match="time of shape"):
        metrics.temporal_smoothness(p, TIME[:3])
    with pytest.raises(InputError, match="increasing"):
        metrics.mpjve(p, p, TIME.flip(0))
