"""Kernel ridge regression, tuned by leaving one cell out in closed form: the skip path around the latent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh, solve
from sklearn.metrics.pairwise import euclidean_distances
from threadpoolctl import threadpool_limits

from jamie._types import Array

RATES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # γ, in units of 1 / median distance
ALPHAS = np.logspace(-3, 3, 19)
TUNED = 2_000  # cells that settings are chosen on
LANDMARKS = 1_000
FITTED = 50_000  # cells that coefficients are fitted on
BLOCK = 4_096
PRIOR = 10  # pairs that an equal mix of network and kernel counts as much as


class Setting(NamedTuple):
    """What is tuned."""

    rate: float  # γ of exp(−γ ‖x − z‖)
    alpha: float  # ridge


class KernelRidge(NamedTuple):
    """Fitted coefficients: y(x) = Σ_z exp(−γ ‖x − z‖) c_z + b."""

    landmarks: Array  # (m, k)
    coefficients: Array  # (m, d)
    offset: Array  # (d,)
    setting: Setting


def tune(x: Array, y: Array, rng: np.random.Generator) -> Setting:
    """Choose γ and the ridge by the squared error of each cell predicted from all others, in closed form.

    With H = P (S + α)⁻¹ Pᵀ the hat matrix, that error is (y − H y) / (1 − diag H).
    """
    cells = rng.permutation(len(x))[:TUNED]
    x, y = x[cells].astype(np.float64), y[cells] - y[cells].mean(axis=0)
    landmarks = x[: LANDMARKS if len(x) <= LANDMARKS else LANDMARKS // 2]
    distances = euclidean_distances(landmarks)
    median = np.median(distances[np.triu_indices(len(landmarks), 1)]) or 1.0
    among, best = euclidean_distances(x, landmarks), (np.inf, Setting(1.0, 1.0))
    with threadpool_limits(1):
        for rate in (rate / median for rate in RATES):
            features = np.exp(-rate * among) @ _inverse_root(np.exp(-rate * distances))
            values, vectors = eigh(features.T @ features)
            p = features @ vectors
            fitted = p.T @ y
            for alpha in ALPHAS:
                shrunk = 1 / (np.maximum(values, 0) + alpha)
                residual = (y - p @ (shrunk[:, None] * fitted)) / (1 - np.square(p) @ shrunk)[:, None]
                best = min(best, (float(np.square(residual).sum()), Setting(rate, float(alpha))))
    return best[1]


def regress(x: Array, y: Array, setting: Setting, rng: np.random.Generator) -> KernelRidge:
    """Fit the coefficients; beyond `LANDMARKS` cells by the Nyström method, (KᵀK + α K_zz) c = Kᵀ y."""
    cells = rng.permutation(len(x))[:FITTED]
    x, y = x[cells], y[cells]
    offset, landmarks = y.mean(axis=0), x[:LANDMARKS].copy()  # not a view, which would keep all of x
    gram = np.zeros((len(landmarks), len(landmarks)))
    right = np.zeros((len(landmarks), y.shape[1]))
    with threadpool_limits(1):
        for start in range(0, len(x), BLOCK):
            k = np.exp(-setting.rate * euclidean_distances(x[start : start + BLOCK].astype(np.float64), landmarks))
            gram += k.T @ k
            right += k.T @ (y[start : start + BLOCK] - offset)
        gram += setting.alpha * np.exp(-setting.rate * euclidean_distances(landmarks.astype(np.float64)))
        gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / len(gram)  # cells that are equal twice
        coefficients = solve(gram, right, assume_a="pos")
    return KernelRidge(landmarks, coefficients.astype(np.float32), offset.astype(np.float32), setting)


def best_mix_weight(measured: Array, decoded: Array, predicted: Array) -> float:
    """Share w of `predicted` in (1 − w) `decoded` + w `predicted` of the least squared error, drawn towards a half.

    Without cells to choose it by it is a half, which is seldom far from the best: the errors of two unlike predictors
    partly cancel.
    """
    apart = predicted - decoded
    size = float(np.square(apart).sum())
    if not size:
        return 0.5
    best = float(((measured - decoded) * apart).sum()) / size
    n = len(measured)
    return float(np.clip((n * best + PRIOR * 0.5) / (n + PRIOR), 0, 1))


def _inverse_root(kernel: Array) -> Array:
    values, vectors = eigh(kernel)
    kept = values > 1e-8 * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept])
