"""TMP-Module of STSP-Net (Liu et al. 2025, equations 17-18, 21): a pose from the frame and the motion before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError

PACE = 0.1  # [s] by which the ages of past frames are divided, to be numbers near one


@dataclass(frozen=True, kw_only=True)
class TMPConfig:
    """Structure of the TMP-Module."""

    window: int = 5  # tau, frames before the current one that are looked at; the paper tries 1 to 9
    future: int = 0  # frames after it, 0 in the paper; more look ahead, for recordings
    width: int = 256  # d' of the history's encoding
    heads: int = 4  # of the cross-attention
    informed: bool = False  # does the history hold frame features beside poses and velocities; the paper's does not


class Enhanced(NamedTuple):
    """What the TMP-Module makes of a frame."""

    pose: Tensor  # (*b, T, K, 3)
    feature: Tensor  # (*b, T, d') A_t


class TMP(nn.Module):
    """Poses (*b, T, K, 3) and frame features (*b, T, D) to poses (*b, T, K, 3).

    Differs from the print in four ways. (18) makes A_t a mean of the history alone, where the current frame only sets
    weights, though the text calls it "the current frame feature enhanced": F_t is added. (21) then predicts what the
    pose of GSR lacks, so that before training the two agree. A learned rest token is attended to beside the history:
    the first frame has none. Frames are told apart by their age in seconds, not by their number.
    """

    def __init__(self, n_keypoints: int, feature: int, config: TMPConfig):
        """``feature``: D, the width of the frame features."""
        super().__init__()
        if config.window < 1 or config.future < 0 or config.width % config.heads:
            raise InputError(f"no TMP-Module has {config}: window >= 1, future >= 0, heads must divide width")
        self.config = config
        d = config.width
        told = 6 * n_keypoints + feature * config.informed
        self.encoder = nn.Sequential(nn.Linear(told, d), nn.GELU(), nn.Linear(d, d))  # Phi_enc
        self.W_Q, self.W_KV = nn.Linear(feature, d), nn.Linear(d, 2 * d)
        self.age = nn.Sequential(nn.Linear(1, 64), nn.GELU(), nn.Linear(64, 2 * d))  # added to a frame's K and V
        self.rest = nn.Parameter(0.02 * torch.randn(2 * d))  # K and V of the rest token
        self.current = nn.Linear(feature, d)
        out = nn.Linear(2 * d, 3 * n_keypoints)
        self.pred = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), out)  # Phi_pred
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        offsets = [-i for i in range(config.window, 0, -1)] + list(range(1, config.future + 1))
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)

    offsets: Tensor

    def forward(self, pose: Tensor, feature: Tensor, time: Tensor, seen: Tensor | None = None) -> Tensor:
        """Poses that fit the motion.

        Args:
            pose: (*b, T, K, 3) of the GSR-Module.
            feature: (*b, T, D) of the frames.
            time: (T,) or (*b, T) [s], strictly increasing.
            seen: (*b, T) bool, frames with anything to see; others are not attended to. None: all.
        """
        return self.enhanced(pose, feature, time, seen).pose

    def enhanced(self, pose: Tensor, feature: Tensor, time: Tensor, seen: Tensor | None = None) -> Enhanced:
        """As ``forward``, with the features behind it."""
        alpha, V = self._attend(pose, feature, time, seen)
        # A_t = softmax(Q K^T / sqrt(d_k)) V + W F_t
        A = (alpha[..., None, :] @ V).squeeze(-2).flatten(-2) + self.current(feature)
        return Enhanced(pose + self.pred(A).unflatten(-1, (-1, 3)), A)

    def attention(self, pose: Tensor, feature: Tensor, time: Tensor, seen: Tensor | None = None) -> Tensor:
        """Weights (*b, T, heads, 1 + window + future) of the rest token and of each frame of the window."""
        return self._attend(pose, feature, time, seen)[0]

    def _attend(self, pose: Tensor, feature: Tensor, time: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, T = pose.shape[:-3], pose.shape[-3]
        time = _checked_time(time, batch, T)
        index, there = self._window(T, seen)
        ages = (time[..., index] - time[..., :, None]) / PACE  # (*b, T, window)
        told = _motion(pose, time)
        told = torch.cat([told, feature], -1) if self.config.informed else told
        KV = self.W_KV(self.encoder(told))  # once a frame, however many windows it is in
        KV = KV[..., index, :] + self.age(ages[..., None].to(pose.dtype))
        KV = torch.cat([self.rest.expand(*KV.shape[:-2], 1, -1), KV], -2)
        split = (self.config.heads, -1)
        Q = self.W_Q(feature).unflatten(-1, split)  # (*b, T, heads, d_k)
        K, V = (x.unflatten(-1, split).transpose(-3, -2) for x in KV.chunk(2, -1))
        score = (K @ Q[..., None]).squeeze(-1) / K.shape[-1] ** 0.5
        there = torch.cat([torch.ones_like(there[..., :1]), there], -1)
        return torch.softmax(score.masked_fill(~there[..., None, :], -torch.inf), -1), V

    def _window(self, T: int, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Index (T, window) of each frame's neighbours, and whether they are there (*b, T, window)."""
        frames = torch.arange(T, device=self.offsets.device)[:, None] + self.offsets
        index = frames.clamp(0, T - 1)
        there = frames == index
        return index, there if seen is None else there & seen[..., index]


def _motion(pose: Tensor, time: Tensor) -> Tensor:
    """Poses and their velocities over ``PACE`` (*b, T, 6 K); the first frame's velocity is zero."""
    x = pose.flatten(-2)
    step = (time.diff(dim=-1) / PACE)[..., None].to(pose.dtype)
    v = x.diff(dim=-2) / step
    return torch.cat([x, torch.cat([torch.zeros_like(x[..., :1, :]), v], -2)], -1)


def _checked_time(time: Tensor, batch: torch.Size, T: int) -> Tensor:
    if time.shape not in ((T,), (*batch, T)):
        raise InputError(f"time has shape {tuple(time.shape)}; ({T},) or {(*batch, T)} needed")
    if not bool((time.diff(dim=-1) > 0).all()):
        raise InputError("time must be strictly increasing")
    return time.expand(*batch, T)
