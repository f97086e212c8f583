"""How well imputed features follow the measured ones, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from jamie._checks import require_option

from ._columns import column_blocks, rounding, vary
from ._numbers import matrix_of

if TYPE_CHECKING:
    from jamie._types import Array, Matrix


def feature_correlation(measured: Matrix, imputed: Matrix) -> Array:
    """Pearson correlation of measured and imputed values, per feature.

    Parameters
    ----------
    measured, imputed
        Values of the same cells and features (`n × d` each), dense or sparse. Entries that are missing in one matrix
        are left out of both.

    Returns
    -------
    Correlations (`d`), NaN where fewer than three cells are measured or either side is constant but for rounding.

    Raises
    ------
    ValueError
        If the shapes differ or there are no cells.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import feature_correlation
    >>> measured = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> feature_correlation(measured, 10 - measured)
    array([-1., nan])
    """
    relative = rounding(measured, imputed)
    return np.concatenate([_pearson(a, b, relative) for a, b in column_blocks(measured, imputed)])


def feature_auroc(measured: Matrix, imputed: Matrix, *, threshold: Literal["feature", "matrix"] = "feature") -> Array:
    """Area under the ROC curve per feature: how well imputed values tell high measured values from low ones.

    A measured value is high if it is above the median. The area is the Mann-Whitney statistic: the chance that a
    high cell is imputed above a low one, ties counting half.

    Parameters
    ----------
    measured, imputed
        Values of the same cells and features (`n × d` each), dense or sparse. Entries that are missing in one matrix
        are left out of both.
    threshold
        Median of each `'feature'`, or of the whole `'matrix'` of measured values, as in the code published with the
        paper.

    Returns
    -------
    Areas (`d`), NaN where all measured values are on one side of the threshold.

    Raises
    ------
    ValueError
        If the shapes differ, there are no cells, or `threshold` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import feature_auroc
    >>> measured = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> feature_auroc(measured, measured**2)
    array([1.])
    """
    require_option(threshold, ("feature", "matrix"), name="threshold")
    cut = _median(matrix_of(measured, name="measured")) if threshold == "matrix" else None
    return np.concatenate([_auroc(a, b, cut) for a, b in column_blocks(measured, imputed)])


def sd_ratio(measured: Matrix, imputed: Matrix) -> Array:
    """Standard deviation of the imputed values over that of the measured ones, per feature: the variance preserved.

    Below 1 the imputed values vary less than the measured ones, as conditional means do: the better for the squared
    error, the worse for a distribution.

    Parameters
    ----------
    measured, imputed
        Values of the same cells and features (`n × d` each), dense or sparse. Entries that are missing in one matrix
        are left out of both.

    Returns
    -------
    Ratios (`d`), at least 0; NaN where fewer than two cells are measured or the measured values are constant but for
    rounding.

    Raises
    ------
    ValueError
        If the shapes differ or there are no cells.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import sd_ratio
    >>> measured = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> sd_ratio(measured, measured / 2)
    array([0.5, nan])
    """
    relative = rounding(measured, imputed)
    return np.concatenate([_sd_ratio(a, b, relative) for a, b in column_blocks(measured, imputed)])


def correlated(a: Array, b: Array, relative: float) -> tuple[Array, Array, Array]:
    """Correlations of the features of a block that have one, and their centred values as columns of length 1."""
    valid = _valid(a, b, relative)
    n = np.isfinite(a).sum(0)
    a, b = (_unit(side[:, valid], n[valid]) for side in (a, b))
    return np.clip(np.einsum("nd,nd->d", a, b), -1, 1), a, b


def _pearson(a: Array, b: Array, relative: float) -> Array:
    r = np.full(a.shape[1], np.nan)
    r[_valid(a, b, relative)], _, _ = correlated(a, b, relative)
    return r


def _valid(a: Array, b: Array, relative: float) -> Array:
    return (np.isfinite(a).sum(0) >= 3) & vary(a, relative) & vary(b, relative)


def _unit(values: Array, n: Array) -> Array:
    """Centre columns and scale them to length 1; missing entries become 0. No column is constant."""
    values = values / np.fmax.reduce(np.abs(values))  # keeps squares away from overflow and underflow
    values = np.nan_to_num(values - np.nansum(values, 0) / n)
    return values / np.sqrt(np.square(values).sum(0))


def _sd_ratio(a: Array, b: Array, relative: float) -> Array:
    valid = vary(a, relative)
    ratio = np.full(a.shape[1], np.nan)
    ratio[valid] = _sd(b[:, valid]) / _sd(a[:, valid])
    return ratio


def _sd(values: Array) -> Array:
    """Take each column's standard deviation over a range of 0 to 1: exactly 0 if it is constant, and no overflow."""
    low = np.fmin.reduce(values)
    width = np.fmax.reduce(values) - low
    return width * np.nanstd((values - low) / np.where(width > 0, width, 1), axis=0)


def _auroc(a: Array, b: Array, cut: float | None) -> Array:
    seen = np.isfinite(a)
    high = seen & (a > (_column_median(a) if cut is None else cut))
    n_high = high.sum(0)
    pairs = n_high * (seen.sum(0) - n_high)
    above = np.where(high, rankdata(b, axis=0, nan_policy="omit"), 0).sum(0) - n_high * (n_high + 1) / 2
    return np.divide(above, pairs, out=np.full(a.shape[1], np.nan), where=pairs > 0)


def _column_median(values: Array) -> Array:
    """Take each column's lower median: exactly what is above the median is above it. NaNs sort last."""
    middle = np.maximum(np.isfinite(values).sum(0) - 1, 0) // 2
    return np.take_along_axis(np.sort(values, axis=0), middle[None], axis=0)[0]


def _median(matrix: Matrix) -> float:
    """Take the lower median of all finite entries, the zeros that a sparse matrix does not store among them."""
    dense = not sparse.issparse(matrix)
    stored = np.asarray(matrix, dtype=np.float64).ravel() if dense else sparse.csc_array(matrix).data
    values = np.sort(stored[np.isfinite(stored)])
    zeros = 0 if dense else int(np.prod(matrix.shape)) - len(stored)
    first = int(np.searchsorted(values, 0))  # the zeros would stand before this one
    middle = max(len(values) + zeros - 1, 0) // 2
    if first <= middle < first + zeros:
        return 0.0
    return float(values[middle if middle < first else middle - zeros]) if len(values) else np.nan
