"""GSR-Module of STSP-Net (Liu et al. 2025, equations 10-14): one frame's keypoints to 3D, along the skeleton graph."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physpose.errors import InputError
from physpose.networks.graph import GraphAttention, set_adjacency
from physpose.skeleton.keypoint_sets import keypoint_names


@dataclass(frozen=True, kw_only=True)
class GSRConfig:
    """Structure of the GSR-Module."""

    keypoint_set: str = "blazepose33"  # its graph is that of ``skeleton_graph``
    features: int = 0  # numbers a keypoint beside place and confidence, e.g. visual features of the EPE-Module
    embed: int = 64  # of a node's features as they go into the graph
    layers: int = 2  # graph attention layers; the paper tries 1 to 3
    width: int = 256  # of a node's features in each layer, as in the paper
    heads: int = 1  # of the attention, one in the paper
    own: bool = False  # does the regression see a node's own features beside the graph's; the paper's does not
    node_width: int = 32  # of a node's features as they go into the regression
    trunk: int = 512  # width of the regression network
    blocks: int = 2  # its residual blocks
    dropout: float = 0.0  # in the regression network, while training


class GSROutput(NamedTuple):
    """What the GSR-Module makes of a frame."""

    pose: Tensor  # (*b, K, 3), in the unit and axes of the training's targets
    feature: Tensor  # (*b, trunk) of the frame, for the TMP-Module


class GSR(nn.Module):
    """2D keypoints (*b, K, 2) to 3D (*b, K, 3), each frame for itself.

    Phi_3D (14), which the paper leaves open, sees all nodes at once: after two layers a node knows of two bones about
    it, but the depth of a wrist depends on the whole body. With ``own`` it also sees each node's features from before
    the graph: what attention has mixed up is learned apart again only slowly.
    """

    def __init__(self, config: GSRConfig, neighbours: Tensor | None = None):
        """``neighbours`` (K, K) bool: a graph of one's own, for keypoints that no set has (see ``adjacency``)."""
        super().__init__()
        self.config = config
        neighbours = set_adjacency(config.keypoint_set) if neighbours is None else neighbours
        K, width = len(neighbours), [config.embed] + [config.width] * config.layers
        self.node_in = nn.Linear(4 + config.features, config.embed)
        self.node = nn.Parameter(0.02 * torch.randn(K, config.embed))  # which keypoint a node is
        self.gat = nn.ModuleList(GraphAttention(a, b, neighbours, config.heads) for a, b in itertools.pairwise(width))
        self.node_out = nn.Linear(width[-1] + config.embed * config.own, config.node_width)
        self.trunk_in = nn.Linear(K * config.node_width, config.trunk)
        self.blocks = nn.ModuleList(_Residual(config.trunk, config.dropout) for _ in range(config.blocks))
        self.out = nn.Linear(config.trunk, 3 * K)

    def forward(self, p: Tensor, confidence: Tensor | None = None, features: Tensor | None = None) -> GSROutput:
        """Lift keypoints.

        Args:
            p: (*b, K, 2) normalised coordinates (``losses.keypoints.normalised``); NaN where a keypoint is missing.
            confidence: (*b, K) in 0..1; None: 1 where seen.
            features: (*b, K, F), F as configured; those of missing keypoints are not read.
        """
        self._check(p, features)
        h, seen = self._nodes(p, confidence, features)
        own = h
        for i, layer in enumerate(self.gat):
            h = layer(h, seen if i == 0 else None)  # a missing keypoint has nothing to tell until it has heard others
        h = torch.cat([h, own], -1) if self.config.own else h
        x = nn.functional.gelu(self.trunk_in(nn.functional.gelu(self.node_out(h)).flatten(-2)))
        for block in self.blocks:
            x = block(x)
        return GSROutput(self.out(x).unflatten(-1, (-1, 3)), x)

    def _nodes(self, p: Tensor, confidence: Tensor | None, features: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = torch.isfinite(p).all(-1)
        confidence = seen.to(p.dtype) if confidence is None else confidence
        given = torch.cat([p, confidence[..., None], *([] if features is None else [features])], -1)
        given = torch.where(seen[..., None], given, 0)  # masked before the network: no NaN in any gradient
        missing = (~seen)[..., None].to(p.dtype)  # says that these zeros are no measurement
        return nn.functional.gelu(self.node_in(torch.cat([given, missing], -1)) + self.node), seen

    def _check(self, p: Tensor, features: Tensor | None) -> None:
        K = len(self.node)
        if p.shape[-2:] != (K, 2):
            names = keypoint_names(self.config.keypoint_set)
            what = f"{self.config.keypoint_set}: {names[0]}, {names[1]}, ..." if len(names) == K else "own graph"
            raise InputError(f"keypoints of shape {tuple(p.shape)}; (*b, {K}, 2) needed ({what})")
        n = 0 if features is None else features.shape[-1]
        if n != self.config.features:
            raise InputError(f"{n} features a keypoint given, {self.config.features} configured")


class _Residual(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.b(nn.functional.gelu(self.a(self.norm(x)))))
