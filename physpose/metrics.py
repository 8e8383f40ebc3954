"""How good an estimate is: tensors in, a tensor out, any leading batch shape.

Poses are (*b, K, d), sequences (*b, T, K, d) with real time stamps ``time`` (T,) or (*b, T) [s]; ``visible`` (*b, K) or
(*b, T, K) says which keypoints count. Each metric is a mean over what counts; where nothing counts it is NaN, never
zero. Lengths are metres throughout (the papers print millimetres).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.errors import InputError

# --- 3D pose --------------------------------------------------------------------------------------------------------


def root_relative(p: Tensor, root: int | tuple[int, ...]) -> Tensor:
    """Poses (*b, K, d) relative to a keypoint, or to the middle of several (as both hips)."""
    index = [root] if isinstance(root, int) else list(root)
    return p - p[..., index, :].mean(-2, keepdim=True)


def mpjpe(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean per joint position error (*b) [m] of poses (*b, K, d)."""
    return _mean((predicted - true).norm(dim=-1), visible)


def n_mpjpe(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """MPJPE (*b) [m] after the best scale of each pose (Rhodin 2018). Give poses relative to their root.

    s = sum(predicted . true) / sum(predicted . predicted)
    """
    _same_shape(predicted, true)
    w = _weights(true[..., 0], visible)[..., None]
    scale = _masked_sum(predicted * true, w) / _masked_sum(predicted * predicted, w)
    return mpjpe(scale * predicted, true, visible)


def pa_mpjpe(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """MPJPE (*b) [m] after the best rotation, translation and scale of each pose (Procrustes)."""
    return mpjpe(procrustes_aligned(predicted, true, visible), true, visible)


def procrustes_aligned(predicted: Tensor, true: Tensor, visible: Tensor | None = None) -> Tensor:
    """``predicted`` (*b, K, d) moved by the similarity that brings it nearest ``true`` in least squares (Umeyama 1991).

    No reflection. Keypoints that do not count are moved along.
    """
    _same_shape(predicted, true)
    w = _weights(true[..., 0], visible)[..., None]
    mean_p, mean_t = (_masked_sum(x, w, -2) / w.sum(-2, keepdim=True) for x in (predicted, true))
    p, t = (torch.where(w > 0, x - m, 0) for x, m in ((predicted, mean_p), (true, mean_t)))
    U, S, Vh = torch.linalg.svd(t.mT @ p)  # R maximises trace(R p^T t)
    sign = torch.ones_like(S)
    sign[..., -1] = torch.det(U @ Vh).sign()
    R = U @ (sign[..., None] * Vh)
    scale = (S * sign).sum(-1)[..., None, None] / (p * p).sum((-2, -1), keepdim=True)
    return scale * (predicted - mean_p) @ R.mT + mean_t


# --- correct keypoints ------------------------------------------------------------------------------------------------


def pck(predicted: Tensor, true: Tensor, threshold: Tensor | float, visible: Tensor | None = None) -> Tensor:
    """Part of correct keypoints (*b) in 0..1: those within ``threshold`` (a number or (*b); unit of the poses)."""
    distance = (predicted - true).norm(dim=-1)
    return _mean((distance <= _per_pose(threshold, distance)).to(distance.dtype), visible, of=distance)


def pckh(
    predicted: Tensor, true: Tensor, head_length: Tensor | float, visible: Tensor | None = None, *, alpha: float = 0.5
) -> Tensor:
    """PCK (*b) in 0..1 within ``alpha`` of the head's length (*b), in the poses' unit (Andriluka 2014)."""
    return pck(predicted, true, alpha * head_length, visible)


def pck_auc(predicted: Tensor, true: Tensor, threshold: Tensor | float, visible: Tensor | None = None) -> Tensor:
    """Area (*b) in 0..1 under the curve of PCK over thresholds from 0 to ``threshold``, over its width.

    PCK is a step of each keypoint's distance d, so that the area is exactly mean(max(0, 1 - d / threshold)).
    """
    distance = (predicted - true).norm(dim=-1)
    return _mean(torch.relu(1 - distance / _per_pose(threshold, distance)), visible, of=distance)


def accuracy(correct: Tensor, claimed: Tensor, visible: Tensor) -> Tensor:
    """Part (*b) in 0..1 of keypoints (*b, K) that are right: claimed and correct, or neither there nor claimed.

    Args:
        correct: bool, is the prediction near enough the truth (see ``pck``'s threshold).
        claimed: bool, does the prediction say that the keypoint is there (its confidence over a threshold).
        visible: bool, is it there. Flatten frames into K for a figure of a whole data set (micro average).
    """
    right = torch.where(visible, correct & claimed, ~claimed)
    return right.double().mean(-1)


def precision(correct: Tensor, claimed: Tensor, visible: Tensor) -> Tensor:
    """Part (*b) in 0..1 of the claimed keypoints (*b, K) that are there and correct; NaN where none is claimed."""
    return _ratio(correct & claimed & visible, claimed)


def recall(correct: Tensor, claimed: Tensor, visible: Tensor) -> Tensor:
    """Part (*b) in 0..1 of the visible keypoints (*b, K) that are claimed and correct; NaN where none is visible."""
    return _ratio(correct & claimed & visible, visible)


def f1(correct: Tensor, claimed: Tensor, visible: Tensor) -> Tensor:
    """Harmonic mean (*b) of precision and recall, 2 TP / (claimed + visible); NaN where neither is any."""
    hit = (correct & claimed & visible).double().sum(-1)
    return 2 * hit / (claimed.double().sum(-1) + visible.double().sum(-1))


def roc_auc(score: Tensor, positive: Tensor) -> Tensor:
    """Area (*b) in 0..1 under the ROC curve of scores (*b, K): the chance that a positive outranks a negative.

    Ties count half (Mann and Whitney 1947); NaN where all or none are positive. Memory goes with K^2.
    """
    above = score[..., :, None] - score[..., None, :]
    wins = (above > 0).double() + 0.5 * (above == 0).double()
    pairs = (positive[..., :, None] & ~positive[..., None, :]).double()
    return (wins * pairs).sum((-2, -1)) / pairs.sum((-2, -1))


# --- motion -----------------------------------------------------------------------------------------------------------


def velocities(p: Tensor, time: Tensor) -> Tensor:
    """(*b, T - 1, K, d) [m/s] of a sequence (*b, T, K, d) between frames at ``time`` (T,) [s]."""
    return p.diff(dim=-3) / _steps(p, time)


def accelerations(p: Tensor, time: Tensor) -> Tensor:
    """(*b, T - 2, K, d) [m/s^2] at the inner frames; for even steps the second difference times fps^2.

    a_t = 2 (v_{t+1/2} - v_{t-1/2}) / (h_{t+1/2} + h_{t-1/2}), exact on parabolas at any time stamps
    """
    h = _steps(p, time)
    return 2 * velocities(p, time).diff(dim=-3) / (h[..., 1:, :, :] + h[..., :-1, :, :])


def temporal_smoothness(p: Tensor, time: Tensor, visible: Tensor | None = None) -> Tensor:
    """TS (*b) [m/s^2]: mean norm of the acceleration of a sequence (*b, T, K, d).

    STSP-Net prints TS in "mm/s^2" but as a quantity a frame, without the frame rate; this one has the unit it says.
    """
    return _mean_of_frames(accelerations(p, time).norm(dim=-1), visible, 2)


def temporal_smoothness_per_frame(p: Tensor, visible: Tensor | None = None) -> Tensor:
    """TS as STSP-Net prints it (*b) [m/frame^2]: mean norm of the second difference, whatever the frame rate."""
    return _mean_of_frames(p.diff(n=2, dim=-3).norm(dim=-1), visible, 2)


def mpjve(predicted: Tensor, true: Tensor, time: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean per joint velocity error (*b) [m/s] of sequences (*b, T, K, d) (Pavllo 2019, there a frame)."""
    return _mean_of_frames((velocities(predicted, time) - velocities(true, time)).norm(dim=-1), visible, 1)


def acceleration_error(predicted: Tensor, true: Tensor, time: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean norm of the difference of accelerations (*b) [m/s^2] of sequences (*b, T, K, d)."""
    return _mean_of_frames((accelerations(predicted, time) - accelerations(true, time)).norm(dim=-1), visible, 2)


def bone_length_deviation(
    p: Tensor, edges: Tensor, lengths: Tensor | None = None, visible: Tensor | None = None
) -> Tensor:
    """Mean over bones (*b) [m] of the root mean square deviation of a bone's length over a sequence (*b, T, K, d).

    Args:
        edges: (E, 2) keypoint indices of each bone.
        lengths: (E,) or (*b, E) [m] true lengths; None: each bone's own mean over time.
        visible: (*b, T, K); a bone counts in frames where both ends do.
    """
    ends = p[..., edges, :]
    length = (ends[..., 0, :] - ends[..., 1, :]).norm(dim=-1)  # (*b, T, E)
    w = torch.ones_like(length) if visible is None else visible[..., edges].all(-1).to(p.dtype)
    seen = w.sum(-2)
    mean = _masked_sum(length, w, -2) / seen[..., None, :] if lengths is None else lengths[..., None, :]
    rms = (_masked_sum((length - mean) ** 2, w, -2).squeeze(-2) / seen).sqrt()
    return _mean(rms, seen > 0)


# --- shared -----------------------------------------------------------------------------------------------------------


def _same_shape(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape:
        raise InputError(f"poses of shapes {tuple(predicted.shape)} and {tuple(true.shape)}; the same one needed")


def _steps(p: Tensor, time: Tensor) -> Tensor:
    """(T - 1, 1, 1) or (*b, T - 1, 1, 1) [s]"""
    if p.ndim < 3 or time.shape not in ((p.shape[-3],), p.shape[:-2]):
        raise InputError(f"time of shape {tuple(time.shape)} for a sequence (*b, T, K, d) of shape {tuple(p.shape)}")
    step = time.diff(dim=-1)
    if not bool((step > 0).all()):
        raise InputError("time must be strictly increasing")
    return step[..., None, None]


def _weights(x: Tensor, visible: Tensor | None) -> Tensor:
    if visible is None:
        return torch.ones_like(x)
    if visible.shape[-1] != x.shape[-1]:
        raise InputError(f"visible of shape {tuple(visible.shape)} for {x.shape[-1]} keypoints")
    return visible.to(x.dtype).expand(torch.broadcast_shapes(x.shape, visible.shape))


def _masked_sum(x: Tensor, w: Tensor, dim: int | tuple[int, ...] = (-2, -1)) -> Tensor:
    """Sum of w x where w > 0: what does not count may be NaN."""
    return torch.where(w > 0, w * x, 0).sum(dim, keepdim=True)


def _mean(x: Tensor, visible: Tensor | None, of: Tensor | None = None) -> Tensor:
    """Mean of (*b, K) over the visible; NaN where ``of`` (or x) is NaN though visible, or nothing is visible."""
    x = x if of is None else torch.where(of.isnan(), of, x)
    w = _weights(x, visible)
    return torch.where(w > 0, w * x, 0).sum(-1) / w.sum(-1)


def _mean_of_frames(x: Tensor, visible: Tensor | None, order: int) -> Tensor:
    """Mean of differences of an order (*b, T - order, K): counted where all the frames they are of are visible."""
    if visible is None:
        return x.flatten(-2).mean(-1)
    n = visible.shape[-2] - order
    seen = torch.stack([visible[..., i : i + n, :] for i in range(order + 1)]).bool().all(0)
    return _mean(x.flatten(-2), seen.flatten(-2))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part.double().sum(-1) / whole.double().sum(-1)


def _per_pose(threshold: Tensor | float, distance: Tensor) -> Tensor:
    t = torch.as_tensor(threshold, dtype=distance.dtype, device=distance.device)
    if bool((t <= 0).any()):
        raise InputError("thresholds must be positive")
    return t[..., None] if t.ndim else t
