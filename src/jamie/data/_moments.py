"""Mean and standard deviation of each feature, block by block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from jamie._types import Array, Matrix

EPS = np.finfo(np.float64).eps


class Moments(NamedTuple):
    """Of each feature over some cells, missing values left out."""

    n: Array | int  # cells with a value, (d,), or for all features as many
    mean: Array | float  # (d,)
    variance: Array | float  # (d,), divided by n

    @property
    def sd(self) -> Array:
        """Standard deviation; 1 where a feature varies by rounding only, as scikit-learn has it."""
        constant = self.variance <= self.n * EPS * self.variance + np.square(self.n * self.mean * EPS)
        return np.where(constant, 1.0, np.sqrt(self.variance))


def moments(x: Matrix) -> Moments:
    """Moments of one block."""
    if not x.shape[0]:
        return Moments(0, 0.0, 0.0)
    with np.errstate(invalid="ignore"):  # of features that are missing in the whole block
        scaler = StandardScaler(with_mean=not sparse.issparse(x)).fit(x)
    n, seen = scaler.n_samples_seen_, scaler.n_samples_seen_ > 0
    return Moments(n, np.where(seen, scaler.mean_, 0.0), np.where(seen, scaler.var_, 0.0))


def combined(blocks: Iterable[Moments]) -> Moments:
    """Moments of the cells of all blocks, without the cancellation of sums of squares (Chan, Golub and LeVeque)."""
    so_far, *others = [block for block in blocks if np.any(block.n)] or [Moments(0, 0.0, 0.0)]
    for block in others:
        n = so_far.n + block.n
        share, apart = block.n / np.maximum(n, 1), block.mean - so_far.mean
        variance = so_far.variance * (1 - share) + block.variance * share + np.square(apart) * share * (1 - share)
        so_far = Moments(n, so_far.mean + share * apart, variance)
    return so_far
