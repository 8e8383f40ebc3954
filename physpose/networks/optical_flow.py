"""How fast image pixels move (STSP-Net 2-4): dense optical flow by OpenCV, its saliency, the weight on features."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physpose.errors import InputError, MissingPackageError


def optical_flow(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow (T, H, W, 2) [px/frame] from the frame before to each of (T, H, W, 3) RGB uint8 (equation 2).

    O_t = Psi(I_{t-1}, I_t), Psi the dense inverse search of Kroeger et al. 2016. The first frame's is zero.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"images of shape {images.shape} and type {images.dtype}; (T, H, W, 3) uint8 needed")
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError("opencv (it comes with mediapipe)", "video", "optical flow") from error
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in images]
    still = np.zeros((*images.shape[1:3], 2), np.float32)
    flow = [search.calc(a, b, still.copy()) for a, b in itertools.pairwise(grey)]
    return np.stack([still, *flow])


def motion_saliency(flow: Tensor, time: Tensor, *, fast: float = 1.0) -> Tensor:
    """How fast each pixel moves, in 0..1, (*b, T, H, W) of a flow (*b, T, H, W, 2) [px/frame] (equation 3).

    S_t = |O_t|_2, then S~ = min(1, S / h / fast), h the time to the frame before, ``fast`` in image heights a second.
    (3) has pixels a frame, whatever the image's size and the frame rate; the next equation needs a bounded number.
    """
    speed = flow.norm(dim=-1) / flow.shape[-3]  # [image heights a frame]
    step = time.diff()
    if not bool((step > 0).all()) or time.shape != (flow.shape[-4],):
        raise InputError(f"time must be ({flow.shape[-4]},) [s], strictly increasing")
    step = torch.cat([torch.ones_like(step[:1]), step]) if len(step) else torch.ones_like(time)
    return (speed / step[:, None, None].to(speed.dtype) / fast).clamp(max=1)


def enhancement(saliency: Tensor, *, gamma: float = 1.0, lam: float = 1.0) -> Tensor:
    """Weight of the features at each pixel, 1 where nothing moves (equation 4, mended).

    W = 1 + gamma (exp(lambda S~) - 1), S~ in 0..1

    Printed as 1 + gamma exp(lambda S): 1 + gamma for a still pixel, and beyond all numbers for a fast one.
    """
    return 1 + gamma * torch.expm1(lam * saliency)
