"""The correlation that even a perfect predictor could not exceed, for what was measured is itself uncertain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from jamie._checks import generator, require_positive
from jamie._errors import InvalidValueError

from ._columns import known_mean
from ._imputation import feature_correlation
from ._numbers import matrix_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jamie._types import Array, Matrix, Seed

N_SPLITS = 4
ROUNDING = 1e-10  # of the mean square: a feature that varies less does not vary


def max_correlation(
    counts: Matrix,
    *,
    normalise: Callable[[Matrix], Matrix] | None = None,
    n_splits: int = N_SPLITS,
    rng: Seed = 0,
) -> Array:
    """Correlation that a perfect predictor would have with measured counts of this depth, per feature (r_max).

    Every count is a draw, so that two measurements of one cell differ. Each count is split in two by fair coins, which
    makes two independent measurements of half the depth if counts are Poisson, given the cell. Their correlation over
    cells, r, is the reliability of half the depth; that of the full depth is ρ = 2 r / (1 + r) (Spearman and Brown),
    and √ρ is the highest correlation of anything with the counts.

    The counts must be of molecules. Reads of molecules that were copied are not Poisson, and r_max is then too high: it
    still is a bound, but not one that can be reached. In simulated counts it was within 0.05 of the truth, above
    it where cells differ in depth; each rare feature by itself has it only roughly.

    Parameters
    ----------
    counts
        Whole numbers from 0 up, cells × features, dense or sparse; NaN for what was not measured. Sparse matrices stay
        sparse.
    normalise
        Takes counts of these cells to the scale on which values are compared, (`n × d`); if `None`, log1p of counts per
        median depth of the cells.
    n_splits
        How often counts are split; correlations are averaged.
    rng
        Seed or generator of the coins.

    Returns
    -------
    One number for each feature that `normalise` gives, 0 ≤ r_max ≤ 1; NaN where too few cells have a count.

    Raises
    ------
    ValueError
        If a value is negative or no whole number.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import max_correlation
    >>> rng = np.random.default_rng(0)
    >>> rates = rng.gamma(2, 1, size=(2000, 1)) * [1, 100]
    >>> max_correlation(rng.poisson(rates), normalise=lambda x: x).round(1)
    array([0.7, 1. ])
    """
    require_positive(n_splits=n_splits)
    counts = matrix_of(counts, name="counts")
    counts = sparse.csr_matrix(counts) if sparse.issparse(counts) else counts
    if counts.ndim != 2:
        msg = f"expected `counts` as cells × features, found shape {counts.shape}"
        raise InvalidValueError(msg)
    whole = _whole(counts.data if sparse.issparse(counts) else counts)
    if normalise is None:
        depth = np.median(_totals(counts))
        normalise = lambda x: _per_depth(x, depth)  # noqa: E731 - one of the two
    rng, reliability = generator(rng), []
    for _ in range(n_splits):
        half, other = (normalise(part) for part in _halves(counts, whole, rng))
        reliability.append(_correlation(half, other))
    return np.sqrt(_full_depth(np.stack(reliability)))


def is_counts(values: Matrix) -> bool:
    """Whether all values are whole numbers from 0 up, or NaN."""
    stored = values.data if sparse.issparse(values) else np.asarray(values)
    return bool(((stored >= 0) & (np.trunc(stored) == stored) | np.isnan(stored)).all())


def _whole(values: Array) -> Array:
    """Counts as integers, 0 where there are none; raises if they are no counts."""
    if not is_counts(values):
        msg = (
            "expected whole numbers from 0 up in `counts`, found negative values or fractions; pass the counts as they "
            "were measured, and what they are compared as by `normalise`"
        )
        raise InvalidValueError(msg)
    return np.nan_to_num(values).astype(np.int64)


def _halves(counts: Matrix, whole: Array, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Two matrices of float32 that sum to the counts, each count split by fair coins; NaN is NaN in both."""
    stored = counts.data if sparse.issparse(counts) else counts
    first = _heads(whole, rng)
    halves = [np.where(np.isnan(stored), np.nan, part).astype(np.float32) for part in (first, whole - first)]
    if not sparse.issparse(counts):
        return halves[0], halves[1]
    a, b = (sparse.csr_matrix((part, counts.indices, counts.indptr), counts.shape, copy=True) for part in halves)
    a.eliminate_zeros()
    b.eliminate_zeros()
    return a, b


def _heads(coins: Array, rng: np.random.Generator) -> Array:
    """How many of so many fair coins show heads: up to 64, the bits that are set in one random number.

    A generator's own binomial numbers take three to four times as long for some tens of coins (measured on one core).
    """
    few = np.minimum(coins, 64).astype(np.uint64)
    bits = rng.integers(2**64, size=coins.shape, dtype=np.uint64)
    kept = np.where(few > 0, np.uint64(2**64 - 1) >> (np.uint64(64) - np.maximum(few, 1)), np.uint64(0))
    heads, many = np.bitwise_count(bits & kept).astype(np.int64), coins > 64
    heads[many] = rng.binomial(coins[many], 0.5)
    return heads


def _correlation(half: Matrix, other: Matrix) -> Array:
    """Correlation of each feature; of sparse matrices without NaN from sums over what is stored."""
    if not (sparse.issparse(half) and sparse.issparse(other) and np.isfinite(half.sum() + other.sum())):
        return feature_correlation(half, other)
    n, (a, b) = half.shape[0], (sparse.csr_matrix(part, dtype=np.float64) for part in (half, other))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
        np.asarray(part.sum(axis=0)).ravel() / n for part in (a, b, a.multiply(a), b.multiply(b), a.multiply(b))
    )
    variances = (mean_aa - mean_a**2, mean_bb - mean_b**2)
    valid = (n >= 3) & (variances[0] > ROUNDING * mean_aa) & (variances[1] > ROUNDING * mean_bb)
    product = np.where(valid, variances[0] * variances[1], 1)
    return np.where(valid, (mean_ab - mean_a * mean_b) / np.sqrt(product), np.nan)


def _full_depth(reliability: Array) -> Array:
    """Mean over splits (splits × features) that have one, carried from half the depth to all of it; at least 0."""
    r = known_mean(reliability, axis=0).clip(0, 1)
    return 2 * r / (1 + r)


def _totals(counts: Matrix) -> Array:
    if sparse.issparse(counts):
        counts = sparse.csr_matrix((np.nan_to_num(counts.data), counts.indices, counts.indptr), counts.shape)
        return np.asarray(counts.sum(axis=1)).ravel()
    return np.nansum(counts, axis=1)


def _per_depth(counts: Matrix, depth: float) -> Matrix:
    """Log1p of counts per this depth."""
    factor = depth / np.maximum(_totals(counts), 1)
    if sparse.issparse(counts):
        return (sparse.diags_array(factor) @ counts).tocsr().log1p()
    return np.log1p(counts * factor[:, None])
