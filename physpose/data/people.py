"""Random people: age, sex, height and mass as they vary, and bodies whose proportions vary, too."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from physpose.skeleton import load_skeleton
from physpose.skeleton.growth import distribution
from physpose.skeleton.keypoint_sets import keypoint_landmarks
from physpose.skeleton.model import Skeleton
from physpose.types import Array

ADULT = 20.0  # [years] from which the adult skeleton is used
TALLEST = 2.0  # [standard deviations] of height and of body mass index: 19 of 20 people


def random_person(rng: np.random.Generator, ages: tuple[float, float]) -> Skeleton:
    """The skeleton of a random person of ``ages`` [years], drawn evenly; height and mass follow growth tables.

    Lengths in one scale group, as both thighs, vary together; see ``random_scales``.
    """
    age, sex = float(rng.uniform(*ages)), "fm"[int(rng.integers(2))]
    z = np.clip(rng.standard_normal(2), -TALLEST, TALLEST)
    height = distribution("height", age, sex).at(float(z[0]))  # type: ignore[arg-type]
    mass = distribution("bmi", age, sex).at(float(z[1])) * height**2  # type: ignore[arg-type]
    kind = "adult" if age >= ADULT else "child"
    return load_skeleton(kind, age=age, sex=sex, height=height, mass=mass)


def random_scales(rng: np.random.Generator, skeleton: Skeleton) -> Array:
    """Log bone scales (G,): the spread over people that each scale group of the skeleton states."""
    sigma = np.array([g.sigma for g in skeleton.scale_groups])
    return sigma * np.clip(rng.standard_normal(len(sigma)), -2.5, 2.5)


def stature(skeleton: Skeleton) -> float:
    """Height [m] the skeleton stands for."""
    return skeleton.subject.height if skeleton.subject else 1.7


@cache
def side_swap(keypoint_set: str) -> torch.Tensor:
    """Index (K,) of each keypoint's twin on the other side, itself where it has none."""
    marks = keypoint_landmarks(keypoint_set)
    twin = {"_r": "_l", "_l": "_r"}
    return torch.tensor([marks.index(m[:-2] + twin[m[-2:]]) if m[-2:] in twin else i for i, m in enumerate(marks)])
