"""How far a mean correlation, and the difference of two, would move with other cells: cells are resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import norm

from jamie._checks import generator, require_positive, require_same_shape

from ._columns import column_blocks, known_mean, paired_columns, rounding, vary
from ._numbers import matrix_of

if TYPE_CHECKING:
    from jamie._types import Array, Matrix, Seed

N_RESAMPLES = 200
SMALL = 1e-10  # of a feature's variance over all cells: below, a resample has but one value


class MethodComparison(NamedTuple):
    """The mean correlation of one method less that of another, on the same cells."""

    difference: float
    standard_error: float
    p_value: float


def correlation_error(measured: Matrix, imputed: Matrix, *, n_resamples: int = N_RESAMPLES, rng: Seed = 0) -> float:
    """Standard error of the mean correlation over features, by resampling cells with replacement (bootstrap).

    Features share their cells, so that a standard error over features would be far too small.

    Parameters
    ----------
    measured, imputed
        Values of the same cells and features (`n × d` each), dense or sparse. Entries that are missing in one matrix
        are left out of both.
    n_resamples
        How often cells are drawn.
    rng
        Seed or generator of the draws.

    Returns
    -------
    One number; NaN where no feature has a correlation.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import correlation_error
    >>> rng = np.random.default_rng(0)
    >>> measured = rng.normal(size=(50, 20))
    >>> 0 < correlation_error(measured, measured + rng.normal(size=(50, 20))) < 0.1
    True
    """
    measured, imputed = matrix_of(measured, name="measured"), matrix_of(imputed, name="imputed")
    paired_columns(measured, imputed)  # which says what is wrong with them
    return mean_error(resampled(measured, imputed, resamples(np.shape(measured)[0], n_resamples, rng)))


def compare_methods(
    measured: Matrix, imputed_a: Matrix, imputed_b: Matrix, *, n_resamples: int = N_RESAMPLES, rng: Seed = 0
) -> MethodComparison:
    """Whether method a imputes better than method b: mean correlations compared by resampling cells.

    Both are scored on the same resampled cells (paired bootstrap). That says how the difference moves with other cells
    of the same kind; it does not say how it moves with other training cells, for which there are other splits. A test
    that counts features, such as :func:`jamie.metrics.binomial_test`, takes features that share cells as independent.

    Parameters
    ----------
    measured, imputed_a, imputed_b
        Values of the same cells and features (`n × d` each), dense or sparse.
    n_resamples
        How often cells are drawn.
    rng
        Seed or generator of the draws.

    Returns
    -------
    Difference of the mean correlations, a less b, over the features that both have one of; its standard error; and the
    two-sided p-value of no difference, by the normal distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import compare_methods
    >>> rng = np.random.default_rng(0)
    >>> measured = rng.normal(size=(80, 30))
    >>> good, bad = (measured + sd * rng.normal(size=(80, 30)) for sd in (1.0, 1.5))
    >>> compare_methods(measured, good, bad).p_value < 0.01
    True
    """
    measured = matrix_of(measured, name="measured")
    imputed_a, imputed_b = matrix_of(imputed_a, name="imputed_a"), matrix_of(imputed_b, name="imputed_b")
    for name, imputed in (("imputed_a", imputed_a), ("imputed_b", imputed_b)):
        require_same_shape(measured, imputed, names=("measured", name))
        paired_columns(measured, imputed)
    weights = resamples(np.shape(measured)[0], n_resamples, rng)
    return comparison(*(resampled(measured, imputed, weights) for imputed in (imputed_a, imputed_b)))


def resamples(n: int, n_resamples: int = N_RESAMPLES, rng: Seed = 0) -> Array:
    """How often each of n cells counts: once, and in each resample, (1 + n_resamples, n)."""
    require_positive(n_resamples=n_resamples)
    drawn = generator(rng).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    return np.concatenate([np.ones((1, n)), drawn])


def resampled(measured: Matrix, imputed: Matrix, weights: Array) -> Array:
    """Correlation of each feature, with these weights of the cells, (1 + n_resamples, d)."""
    relative = rounding(measured, imputed)
    return np.concatenate([_weighted(a, b, weights, relative) for a, b in column_blocks(measured, imputed)], axis=1)


def mean_error(values: Array) -> float:
    """Standard error of the mean over features of what `resampled` gives; NaN where there is none."""
    draws = known_mean(values, axis=1)[1:]
    return float(np.nanstd(draws, ddof=1)) if np.isfinite(draws).sum() > 1 else float("nan")


def comparison(a: Array, b: Array) -> MethodComparison:
    """Compare what `resampled` gives of two methods, over the features that both have a correlation of."""
    difference, error = float(known_mean(a[:1] - b[:1])), mean_error(a - b)
    p_value = float(2 * norm.sf(abs(difference) / error)) if error > 0 else (1.0 if difference == 0 else float("nan"))
    return MethodComparison(difference, error, p_value)


def _weighted(a: Array, b: Array, weights: Array, relative: float) -> Array:
    """Correlations of a block of features, from weighted sums; NaN where either side is constant but for rounding."""
    seen, varies = np.isfinite(a), vary(a, relative) & vary(b, relative)
    a, b = (np.where(seen, values - known_mean(values, axis=0), 0.0) for values in (a, b))
    n = np.maximum(weights @ seen, 1)
    mean_a, mean_b = weights @ a / n, weights @ b / n
    variance_a, variance_b = weights @ np.square(a) / n - mean_a**2, weights @ np.square(b) / n - mean_b**2
    covariance = weights @ (a * b) / n - mean_a * mean_b
    least_a, least_b = (SMALL * np.square(values).sum(0) / np.maximum(seen.sum(0), 1) for values in (a, b))
    valid = varies & (variance_a > least_a) & (variance_b > least_b) & (n >= 3)
    return np.divide(
        covariance, np.sqrt(np.where(valid, variance_a * variance_b, 1)), out=np.full(n.shape, np.nan), where=valid
    )
