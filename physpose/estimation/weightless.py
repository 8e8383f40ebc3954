"""Usual postures of people who float: in orbit nobody stands, and legs at ease are bent.

The neutral body posture of NASA-STD-3000 (Man-Systems Integration Standards, vol. I, fig. 3.3.4.3-1; twelve subjects,
mostly Skylab's): between trunk and thigh 128 deg, at the knee 133, between shank and foot 111. No one of six people of
a later flight took it exactly (Mount, Whitmore & Stealey 2003, NASA TM-2003-104805): it is a mean, about which legs
spread as far as they do in all that people do on earth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physpose.estimation.posture_prior import UP, PosturePrior

NEUTRAL = {"hip_flexion": 180.0 - 128.0, "knee_angle": 180.0 - 133.0, "ankle_angle": 90.0 - 111.0}  # [deg]
LEGS = (*NEUTRAL, "hip_adduction", "hip_rotation", "subtalar_angle", "mtp_angle")


def weightless(prior: PosturePrior) -> PosturePrior:
    """A prior of postures on earth, for people without weight.

    There is no up for a pelvis to be upright in; legs do not depend on each other or on the trunk, as they do in those
    who walk and sit: each has its mean in the neutral body posture and its spread over all of the mixture.
    """
    floating = prior.marginal([n for n in prior.names if n not in UP])
    mean, variance = _overall(floating)
    covariances = floating.factors @ floating.factors.mT
    means = floating.means.clone()
    for i in (i for i, name in enumerate(floating.names) if _joint(name) in LEGS):
        angle = NEUTRAL.get(_joint(floating.names[i]))
        means[:, i] = mean[i] if angle is None else torch.deg2rad(torch.tensor(angle))
        covariances[:, i] = covariances[:, :, i] = 0.0
        covariances[:, i, i] = variance[i]
    return PosturePrior(floating.names, floating.log_weights, means, torch.linalg.cholesky(covariances))


def _overall(prior: PosturePrior) -> tuple[Tensor, Tensor]:
    """Mean and variance (n,) of the mixture."""
    weights = prior.log_weights.exp()[:, None]
    mean = (weights * prior.means).sum(0)
    own = (prior.factors**2).sum(-1)
    return mean, (weights * (own + (prior.means - mean) ** 2)).sum(0)


def _joint(name: str) -> str:
    """The coordinate's name without its side."""
    return name.removesuffix("_r").removesuffix("_l")
