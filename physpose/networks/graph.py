"""The skeleton graph of a keypoint set (STSP-Net 10) and attention along its edges (11-12).

A skeleton has some thirty nodes: a dense masked softmax over all pairs is one small matrix product, faster on a CPU
than the scattered sums of a graph library, which is why none is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from physpose.errors import InputError
from physpose.skeleton.keypoint_sets import keypoint_edges, keypoint_landmarks, keypoint_names

SLOPE = 0.1  # of sigma below zero
_LINKS = (
    "shoulder_l nose shoulder_r", "nose mouth_l", "nose mouth_r", "nose eye_inner_l eye_l eye_outer_l",
    "nose eye_inner_r eye_r eye_outer_r", "hip_l mid_hip hip_r", "mid_hip mid_shoulder",
)  # fmt: skip
"""Landmarks to join beside the lines that are drawn: without them some sets' head or pelvis is a graph of its own."""


def skeleton_graph(keypoint_set: str) -> tuple[tuple[int, int], ...]:
    """Edges C of a keypoint set's graph: its bones as drawn, the head tied to the shoulders, the hips to their middle.

    Raises:
        UnknownNameError: no such set.
    """
    marks = keypoint_landmarks(keypoint_set)
    links = (p for chain in _LINKS for p in zip(chain.split(), chain.split()[1:], strict=False))
    extra = ((marks.index(a), marks.index(b)) for a, b in links if a in marks and b in marks)
    edges = dict.fromkeys(tuple(sorted(e)) for e in (*keypoint_edges(keypoint_set), *extra))
    return tuple((i, j) for i, j in edges if i != j)


def adjacency(n: int, edges: Iterable[tuple[int, int]], names: Sequence[str] | None = None) -> Tensor:
    """(n, n) bool, symmetric, each node its own neighbour: N(i) and i of equation 11.

    Raises:
        InputError: an edge to a node that is not there, or nodes that no path joins to the first.
    """
    edges = list(edges)
    A = torch.eye(n, dtype=torch.bool)
    for i, j in edges:
        if not (0 <= i < n and 0 <= j < n):
            raise InputError(f"edge ({i}, {j}) in a graph of {n} keypoints")
        A[i, j] = A[j, i] = True
    reach = torch.linalg.matrix_power(A.double(), max(n - 1, 1))[0] > 0
    if not bool(reach.all()):
        apart = [names[i] if names else str(i) for i in range(n) if not reach[i]]
        raise InputError(f"the skeleton graph falls apart; no path to: {', '.join(apart)}")
    return A


def set_adjacency(keypoint_set: str) -> Tensor:
    """(K, K) bool neighbours in a keypoint set's skeleton graph."""
    names = keypoint_names(keypoint_set)
    return adjacency(len(names), skeleton_graph(keypoint_set), names)


class GraphAttention(nn.Module):
    """One graph attention layer (equations 11-12).

    e_ij = LeakyReLU(a^T [W h_i | W h_j]); alpha_ij = softmax over j in N(i) and i; h'_i = sigma(sum_j alpha_ij W h_j)

    sigma is a leaky rectifier. With several heads each has its own a and its own rows of W; the paper's is one head.
    """

    def __init__(self, width_in: int, width: int, neighbours: Tensor, heads: int = 1):
        super().__init__()
        if width % heads:
            raise InputError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.W = nn.Linear(width_in, width, bias=False)
        self.a = nn.Parameter(torch.randn(2, heads, width // heads) * math.sqrt(heads / width))  # of i, of j
        self.register_buffer("neighbours", neighbours.clone(), persistent=False)

    neighbours: Tensor

    def attention(self, h: Tensor, heard: Tensor | None = None) -> Tensor:
        """alpha (*b, heads, K, K) of node features h (*b, K, width_in); rows sum to one.

        ``heard`` (*b, K) bool: nodes that others attend to; each always attends to itself.
        """
        # a^T [W h_i | W h_j] = (W^T a_i) . h_i + (W^T a_j) . h_j: cheaper than from W h
        Wa = torch.einsum("shd,hdw->wsh", self.a, self.W.weight.unflatten(0, (self.heads, -1)))
        parts = (h @ Wa.flatten(1)).mT.unflatten(-2, (2, self.heads))  # (*b, 2, heads, K)
        e = nn.functional.leaky_relu(parts[..., 0, :, :, None] + parts[..., 1, :, None, :], 0.2)
        open_to = self.neighbours
        if heard is not None:
            itself = torch.eye(len(open_to), dtype=torch.bool, device=open_to.device)
            open_to = (open_to & (heard[..., None, :] | itself))[..., None, :, :]
        return torch.softmax(e.masked_fill(~open_to, -torch.inf), -1)

    def forward(self, h: Tensor, heard: Tensor | None = None) -> Tensor:
        """Node features (*b, K, width_in) to (*b, K, width)."""
        Wh = self.W(h).unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (*b, heads, K, width / heads)
        mixed = (self.attention(h, heard) @ Wh).transpose(-3, -2).flatten(-2)
        return nn.functional.leaky_relu(mixed, SLOPE, inplace=True)
