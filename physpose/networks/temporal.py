"""Temporal encoders of HSTPN (Li and Li 2025, equations 16-17): each frame's features, knowing of its neighbours'.

Maps are (B, T, C, H, W). Both start as, or near, the identity: a network trained on images goes on with videos.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physpose.errors import InputError


class ConvTemporal(nn.Module):
    """h_t = sum_i W_i psi(x_{t+i}), i from -w/2 to w/2 (17): each W_i a matrix over channels. Looks ahead, too."""

    def __init__(self, width: int, window: int):
        super().__init__()
        if window % 2 == 0 or window < 1:
            raise InputError(f"a temporal convolution has an odd window, not {window}")
        self.W = nn.Parameter(torch.zeros(window, width, width))
        with torch.no_grad():
            self.W[window // 2] = torch.eye(width)

    def forward(self, psi: Tensor) -> Tensor:
        """(B, T, C, H, W) to the same; frames before the first and after the last repeat it."""
        T, half = psi.shape[1], len(self.W) // 2
        frames = torch.arange(T, device=psi.device)
        h = torch.zeros_like(psi)
        for i, W in enumerate(self.W):
            # i - half is the paper's i
            h = h + torch.einsum("dc,btchw->btdhw", W, psi[:, (frames + i - half).clamp(0, T - 1)])
        return h


class RecurrentTemporal(nn.Module):
    """h_t = TemporalEncoder(psi(x_t), h_{t-1}) (16), a convolutional gated recurrent unit: causal, for streams.

    h_t = (1 - z_t) psi_t + z_t c_t, c_t from psi_t and h_{t-1}: where the gate is shut, the frame's own features pass.
    """

    def __init__(self, width: int):
        super().__init__()
        self.gates = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.gate_bias = nn.Parameter(torch.tensor([-3.0] * width + [0.0] * width))  # z all but shut
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)
        nn.init.zeros_(self.gates.weight)

    def forward(self, psi: Tensor, state: Tensor | None = None) -> Tensor:
        """(B, T, C, H, W) to the same; ``state`` (B, C, H, W) is the last map of what came before."""
        h, maps = psi[:, 0] if state is None else state, []
        for x in psi.unbind(1):
            h = self.step(x, h)
            maps.append(h)
        return torch.stack(maps, 1)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """One frame (B, C, H, W) after the state ``h``."""
        z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1)) + self.gate_bias[:, None, None]).chunk(2, 1)
        c = torch.tanh(self.candidate(torch.cat([x, r * h], 1)))
        return (1 - z) * x + z * c
