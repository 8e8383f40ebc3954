"""Weighted Gaussian mixtures by expectation-maximisation; covariances are shrunk to a diagonal, never too narrow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

BACKGROUND = 0.02, 2.0  # weight and spread (of all data's) of a last component for what the others have not seen
SHRINK = 0.01  # weight (of all data's 1) that a component's prior covariance has


class Mirror(NamedTuple):
    """Left and right exchanged: x[swap] * sign."""

    swap: np.ndarray  # (n,)
    sign: np.ndarray  # (n,)


class Mixture(NamedTuple):
    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, n)
    covariances: np.ndarray  # (K, n, n)


def log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log N(x; mean, covariance) of rows (N, n)."""
    L = np.linalg.cholesky(covariance)
    r = solve_triangular(L, (x - mean).T, lower=True)
    return -0.5 * (r**2).sum(0) - np.log(np.diag(L)).sum() - 0.5 * len(mean) * np.log(2 * np.pi)


def _joint(m: Mixture, x: np.ndarray) -> np.ndarray:
    return np.stack([np.log(w) + log_normal(x, mu, C) for w, mu, C in zip(*m, strict=True)], 1)


def log_density(m: Mixture, x: np.ndarray) -> np.ndarray:
    return logsumexp(_joint(m, x), axis=1)


def responsibilities(m: Mixture, x: np.ndarray) -> np.ndarray:
    joint = _joint(m, x)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def _start(x: np.ndarray, w: np.ndarray, K: int, mirror: Mirror, rng: np.random.Generator) -> np.ndarray:
    """k-means++ seeds and their mirror images, then assignment to the nearest, (N, K)."""
    mean, sd = w @ x, np.sqrt(w @ (x - w @ x) ** 2)  # both are their own mirror images
    z = (x - mean) / sd
    C = np.empty((0, x.shape[1]))
    for _ in range(max(1, K // 2)):
        d2 = np.min([((z - c) ** 2).sum(1) for c in C], 0) if len(C) else np.ones(len(z))
        c = z[rng.choice(len(z), p=w * d2 / (w @ d2))]
        C = np.vstack([C, c, c[mirror.swap] * mirror.sign]) if K > 1 else c[None]
    for _ in range(10):
        label = np.argmin([((z - c) ** 2).sum(1) for c in C], 0)
        for k in range(0, len(C) - 1, 2):
            if (label == k).any():
                C[k] = np.average(z[label == k], 0, w[label == k])
                C[k + 1] = C[k][mirror.swap] * mirror.sign
    return np.eye(len(C))[label]


def _maximise(x: np.ndarray, w: np.ndarray, r: np.ndarray, floor: np.ndarray) -> Mixture:
    N = w @ r
    means = (r * w[:, None]).T @ x / N[:, None]
    pooled = np.diag(w @ (x - w @ x) ** 2) / 4
    covariances = []
    for k, mean in enumerate(means):
        d = x - mean
        S = (d * (w * r[:, k])[:, None]).T @ d
        covariances.append((S + SHRINK * pooled) / (N[k] + SHRINK) + np.diag(floor**2))
    return Mixture((N + SHRINK) / (N + SHRINK).sum(), means, np.array(covariances))


def _symmetric(m: Mixture, mirror: Mirror) -> Mixture:
    """Components 0 and 1, 2 and 3, ... made mirror images of each other; a single one of itself."""
    twin = np.arange(len(m.weights)) ^ 1 if len(m.weights) > 1 else np.array([0])
    means = m.means[twin][:, mirror.swap] * mirror.sign
    covariances = m.covariances[twin][:, mirror.swap][:, :, mirror.swap] * np.outer(mirror.sign, mirror.sign)
    both = ((m.weights, m.weights[twin]), (m.means, means), (m.covariances, covariances))
    return Mixture(*((a + b) / 2 for a, b in both))


def fit(x: np.ndarray, w: np.ndarray, K: int, floor: np.ndarray, mirror: Mirror, starts: int = 3) -> Mixture:
    """Best of several starts of K components (1, or pairs of mirror images), and a wide background.

    ``x`` (N, n) with weights (N,) holds each posture and its mirror image; ``floor`` (n,) is a spread added to every
    component.
    """
    w = w / w.sum()
    best, best_score = None, -np.inf
    for seed in range(starts if K > 1 else 1):
        r, score = _start(x, w, K, mirror, np.random.default_rng(seed)), -np.inf
        for _ in range(80):
            m = _symmetric(_maximise(x, w, r, floor), mirror)
            joint = _joint(m, x)
            total = logsumexp(joint, axis=1)
            r, old, score = np.exp(joint - total[:, None]), score, float(w @ total)
            if score - old < 1e-3:
                break
        if score > best_score:
            best, best_score = m, score
    assert best is not None
    return _with_background(best, x, w) if K > 1 else best


def _with_background(m: Mixture, x: np.ndarray, w: np.ndarray) -> Mixture:
    share, spread = BACKGROUND
    mean = w @ x
    covariance = spread**2 * ((x - mean) * w[:, None]).T @ (x - mean)
    weights = np.append((1 - share) * m.weights, share)
    return Mixture(weights, np.vstack([m.means, mean]), np.concatenate([m.covariances, covariance[None]]))


def held_out(x: np.ndarray, w: np.ndarray, folds: np.ndarray, K: int, floor: np.ndarray, mirror: Mirror) -> np.ndarray:
    """Log density (N,) of each fold under the mixture of the others; K = 0: under an independent Gaussian."""
    out = np.zeros(len(x))
    for f in np.unique(folds):
        rest = folds != f
        if K:
            out[~rest] = log_density(fit(x[rest], w[rest], K, floor, mirror, starts=2), x[~rest])
            continue
        u = w[rest] / w[rest].sum()
        mean = u @ x[rest]
        out[~rest] = log_normal(x[~rest], mean, np.diag(u @ (x[rest] - mean) ** 2 + floor**2))
    return out
