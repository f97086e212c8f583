"""The kernel of all kernel regressions here."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from sklearn.metrics.pairwise import euclidean_distances

from jamie._types import Array

RATES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # γ to choose from, in units of 1 / median distance


def similarity(x: Array, z: Array, rate: float) -> Array:
    """exp(−γ ‖x − z‖), which has a kink where cells are equal: it follows what changes from cell to cell."""
    return np.exp(-rate * euclidean_distances(x, z))


def inverse_root(kernel: Array) -> Array:
    """R with K ≈ (R Rᵀ)⁻¹, its columns as many as the kernel matrix has directions."""
    values, vectors = eigh(kernel, driver="evd")
    kept = values > 1e-8 * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept])
