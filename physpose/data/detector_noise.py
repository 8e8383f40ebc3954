"""What a detector makes of the keypoints in a picture: where it errs, for how long, how sure it is, what it loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from physpose.skeleton.limbs import Limb


@dataclass(frozen=True, kw_only=True)
class DetectorNoise:
    """Errors of a detector, measured on MediaPipe where it says so.

    Measured: ``white`` from second differences of the keypoints of Pose2Sim's four videos (2 of 740 px); correlation
    time as in ``EstimationSettings``; ``doubt`` from its distance to the four cameras' triangulation by confidence
    (median 20 mm at 1, 28 to 40 at 0.8, 40 to 60 at 0.5, 70 to 180 below 0.2); ``made_up`` with a board over the legs
    in these videos (per axis knees 5 to 15, ankles and feet 11 to 24 % of the height, whatever the confidence below
    0.8). The parts of the error that stay and
    that wander are each a part of the keypoint's spread that the skeleton states. The rest is judgement.
    """

    lasting: float = 0.7  # of the keypoint's spread: error in the body's own axes that stays through a sequence
    wandering: float = 0.7  # of the keypoint's spread: error in the picture
    correlation_time: float = 0.2  # [s] of the wandering error
    white: float = 0.003  # of the stature: error that is new in each frame
    doubt: float = 1.6  # the wandering error grows as exp(doubt (1 - confidence))
    quality: float = 0.35  # standard deviation of the logarithm of all errors of a sequence
    sure: tuple[float, float] = (0.9, 1.0)  # confidence of what is in plain sight
    guessed: tuple[float, float] = (0.05, 0.8)  # of what the body or something else hides
    occluded: float = 0.3  # part of sequences with something in front of the person or an image edge across them
    scattered: float = 0.03  # part of keypoints, for a while, that the detector is unsure of for no reason
    made_up: float = 0.16  # of the stature: error at the end of a limb that something hides, which a detector makes up
    made_up_time: float = 0.5  # [s] for which it sticks to what it made up
    dropped: float = 0.3  # part of sequences whose detector gives no place below a confidence of 0.3
    lost: float = 0.01  # part of frames without a person
    stuttering: float = 0.25  # part of sequences that lack up to three quarters of their frames
    scale: tuple[float, float] = (1.0, 1.0)  # by which a sequence's detector tells its confidence
    untold: float = 0.0  # part of sequences whose detector tells none: 1 where there is a place


MEDIAPIPE = DetectorNoise()
ANY = DetectorNoise(scale=(0.45, 1.0), untold=0.1)
"""Detectors differ in what they call sure: a keypoint in plain sight is 0.5 to 0.8 to OpenPose, 1 to MediaPipe."""


def usual_noise(keypoint_set: str) -> DetectorNoise:
    """MediaPipe's for the keypoints that it alone finds; for others those of any detector."""
    return MEDIAPIPE if keypoint_set == "blazepose33" else ANY


class Detected(NamedTuple):
    """2D keypoints."""

    uv: Tensor  # (N, T, K, 2) [px], NaN where there is none
    confidence: Tensor  # (N, T, K) in 0..1, 0 where there is none


def detected(
    uv: Tensor, hidden: Tensor, size: Tensor, scale: Tensor, spread: Tensor, time: Tensor, limbs: Sequence[Limb],
    noise: DetectorNoise, g: Generator,
) -> Detected:  # fmt: skip
    """What a detector makes of true places.

    Args:
        uv: (N, T, K, 2) [px].
        hidden: (N, T, K) bool, behind the body.
        size: (N, 2) of the image [px].
        scale: (N, T) [px] that a stature measures at the person's distance.
        spread: (N, K) of the keypoints, as part of the stature.
        time: (N, T) [s].
        limbs: of the keypoints: those of one are made up together.
        noise: the detector.
        g: random numbers.
    """
    outside = ((uv < 0) | (uv > size[:, None, None])).any(-1)
    nowhere = outside | _behind_something(uv, noise, g)
    confidence = _confidence(hidden | nowhere, noise, g)
    quality = torch.exp(noise.quality * torch.randn(len(uv), generator=g))[:, None, None, None]
    wandering = noise.wandering * spread[:, None] * torch.exp(noise.doubt * (1 - confidence))
    error = wandering[..., None] * ornstein_uhlenbeck(uv.shape, time, noise.correlation_time, g)
    error = error + noise.white * torch.randn(uv.shape, generator=g)
    error = error + nowhere[..., None] * noise.made_up * _made_up(uv, time, limbs, noise, g)
    seen = uv + quality * scale[..., None, None] * error
    gone = (torch.rand(len(uv), 1, 1, generator=g) < noise.dropped) & (confidence < 0.3)
    gone = gone | _without_anybody(uv, noise, g)
    return Detected(torch.where(gone[..., None], torch.nan, seen), torch.where(gone, 0.0, _told(confidence, noise, g)))


def ornstein_uhlenbeck(shape: torch.Size, time: Tensor, correlation_time: float, g: Generator) -> Tensor:
    """Noise (N, T, ...) of unit variance whose correlation falls as exp(-dt / correlation time); time (N, T) [s]."""
    white = torch.randn(shape, generator=g)
    out = [white[:, 0]]
    for t in range(1, shape[1]):
        rho = torch.exp(-(time[:, t] - time[:, t - 1]) / correlation_time)
        rho = rho.reshape(-1, *[1] * (len(shape) - 2))
        out.append(rho * out[-1] + (1 - rho**2).sqrt() * white[:, t])
    return torch.stack(out, 1)


def _made_up(uv: Tensor, time: Tensor, limbs: Sequence[Limb], noise: DetectorNoise, g: Generator) -> Tensor:
    """Errors (N, T, K, 2), of about one at the ends of limbs, along which they grow: most of it is the whole limb's."""
    N, T, K, _ = uv.shape
    names = [*dict.fromkeys(limb.name for limb in limbs)]
    number, along = torch.tensor([names.index(x.name) for x in limbs]), torch.tensor([x.along for x in limbs])
    shared = ornstein_uhlenbeck(torch.Size((N, T, len(names), 2)), time, noise.made_up_time, g)
    own = ornstein_uhlenbeck(uv.shape, time, noise.made_up_time, g)
    return along[:, None] * (0.95 * shared[:, :, number] + 0.3 * own)


def _without_anybody(uv: Tensor, noise: DetectorNoise, g: Generator) -> Tensor:
    """Frames (N, T, 1) in which the detector finds nobody, or of which there is no picture."""
    N, T = uv.shape[:2]
    stutters = torch.rand(N, 1, 1, generator=g) < noise.stuttering
    share = torch.where(stutters, 0.75 * torch.rand(N, 1, 1, generator=g), noise.lost)
    return torch.rand(N, T, 1, generator=g) < share


def _confidence(doubtful: Tensor, noise: DetectorNoise, g: Generator) -> Tensor:
    """(N, T, K); one level of doubt a sequence and keypoint, since detectors do not change their mind every frame."""
    N, T, K = doubtful.shape
    doubtful = doubtful | (torch.rand(N, 1, K, generator=g) < noise.scattered)
    level = lambda low, high: low + (high - low) * torch.rand(N, 1, K, generator=g)  # noqa: E731
    wobble = 0.05 * torch.randn(N, T, K, generator=g)
    confidence = torch.where(doubtful, level(*noise.guessed) + wobble, level(*noise.sure))
    return confidence.clamp(0.01, 1.0)


def _told(confidence: Tensor, noise: DetectorNoise, g: Generator) -> Tensor:
    """What a detector tells of its confidence (N, T, K): each on a scale of its own, some kinds of keypoints lower."""
    N, _, K = confidence.shape
    low, high = noise.scale
    scale = low + (high - low) * torch.rand(N, 1, 1, generator=g)
    scale = scale * (1 - 0.5 * (1 - scale) * torch.rand(N, 1, K, generator=g))
    untold = torch.rand(N, 1, 1, generator=g) < noise.untold
    return torch.where(untold, 1.0, confidence * scale)


def _behind_something(uv: Tensor, noise: DetectorNoise, g: Generator) -> Tensor:
    """Something with a straight edge that hides one side of the person, in some sequences; part of the time."""
    N, T, _ = uv.shape[:3]
    low, high = uv.amin((1, 2)), uv.amax((1, 2))
    side = torch.randint(4, (N,), generator=g)
    axis, sign = side // 2, (1 - 2 * (side % 2)).float()
    share = 0.6 * torch.rand(N, generator=g)  # of the person's box
    pick = lambda x: x[torch.arange(N), ..., axis]  # noqa: E731
    a, b = pick(low), pick(high)
    edge = torch.where(sign > 0, b - share * (b - a), a + share * (b - a))
    along = torch.stack([uv[n, ..., i] for n, i in enumerate(axis.tolist())])
    behind = sign[:, None, None] * (along - edge[:, None, None]) > 0
    there = torch.rand(N, generator=g) < noise.occluded
    begin, end = torch.sort(torch.randint(-T // 2, T + T // 2, (2, N), generator=g), 0).values
    frame = torch.arange(T)
    during = (frame >= begin[:, None]) & (frame <= end[:, None])
    return behind & (there[:, None] & during)[..., None]
