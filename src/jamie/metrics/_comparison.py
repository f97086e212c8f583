"""Comparisons: of an imputed distribution with the measured one, and of two methods feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest

from jamie._checks import require_positive, require_same_shape
from jamie._errors import InvalidValueError

from ._columns import column_blocks, paired_columns, rounding
from ._numbers import matrix_of, numbers

if TYPE_CHECKING:
    from jamie._types import Array, Matrix


class BinomialTest(NamedTuple):
    """How often the first of two methods scored higher, and how likely as uneven a count is by chance."""

    wins: int
    losses: int
    ties: int
    p_value: float


def js_distance(measured: Matrix, imputed: Matrix, *, groups: Any | None = None, n_bins: int = 20) -> Array:
    """Jensen-Shannon distance between the measured and imputed distribution of each feature: 0 is equal, 1 disjoint.

    With P and Q the two histograms and M = (P + Q) / 2 the distance is √(½ KL(P‖M) + ½ KL(Q‖M)), in base 2. The bins
    are equally wide and span both distributions. Whatever cannot be compared is NaN, never 0: a feature that is the
    same constant on both sides, but for rounding, has no distribution.

    Parameters
    ----------
    measured, imputed
        Values of the same cells and features (`n × d` each), dense or sparse. Entries that are missing or not finite
        in one matrix are left out of both.
    groups
        One label a cell, such as its cell type; each group is then compared on its own, with its own bins. Cells
        without a label are left out.
    n_bins
        Bins of each histogram.

    Returns
    -------
    Distances (`d`), or (`groups × d`) in the order of the sorted labels; NaN where fewer than two cells are left, or
    where no measured or imputed value differs from another by more than rounding does at the feature's largest value.

    Raises
    ------
    ValueError
        If the shapes differ, `groups` has another length, no cell has a group, or `n_bins` is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics import js_distance
    >>> measured = np.random.default_rng(0).normal(size=(200, 2))
    >>> js_distance(measured, measured + [0, 100])
    array([0., 1.])
    """
    require_positive(n_bins=n_bins)
    measured, imputed = matrix_of(measured, name="measured"), matrix_of(imputed, name="imputed")
    paired_columns(measured, imputed)  # which says what is wrong with them
    if n_bins < 2:
        msg = f"expected `n_bins` >= 2, found {n_bins}; histograms of one bin are always equal"
        raise InvalidValueError(msg)
    codes, n_groups = (np.zeros(np.shape(measured)[0]), 1) if groups is None else _codes(groups, np.shape(measured)[0])
    relative, blocks = rounding(measured, imputed), []
    for a, b in column_blocks(measured, imputed):
        noise = relative * np.fmax(np.fmax.reduce(np.abs(a)), np.fmax.reduce(np.abs(b)))  # of all cells, (d,)
        members = [codes == group for group in range(n_groups)]
        blocks.append(np.stack([_distance(a[rows], b[rows], noise, n_bins) for rows in members]))
    distances = np.concatenate(blocks, axis=1)
    return distances[0] if groups is None else distances


def binomial_test(scores_a: Array, scores_b: Array) -> BinomialTest:
    """Two-tailed binomial test on the count of features that method a scores higher than method b.

    Parameters
    ----------
    scores_a, scores_b
        One score a feature (`d` each), higher is better. Ties and features with a NaN on either side take no part in
        the test.

    Returns
    -------
    `wins`, `losses` and `ties` of the first method and `p_value`, 1 where nothing was won or lost.

    Raises
    ------
    ValueError
        If the two are not of the same length and one-dimensional.

    Examples
    --------
    >>> from jamie.metrics import binomial_test
    >>> binomial_test([0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5])
    BinomialTest(wins=4, losses=0, ties=1, p_value=0.125)
    """
    a = numbers(scores_a, name="scores_a").astype(np.float64)
    b = numbers(scores_b, name="scores_b").astype(np.float64)
    require_same_shape(a, b, names=("scores_a", "scores_b"))
    if a.ndim != 1:
        msg = f"expected one score a feature, found shape {a.shape}; average or select the rows first"
        raise InvalidValueError(msg)
    wins, losses, ties = (int(np.count_nonzero(mask)) for mask in (a > b, a < b, a == b))
    p_value = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    return BinomialTest(wins, losses, ties, p_value)


def _codes(groups: Any, n: int) -> tuple[Array, int]:
    """Give each cell the number of its group among the sorted ones, −1 where it has none."""
    labels = np.asarray(groups, dtype=object)
    if labels.shape != (n,):
        msg = f"expected one group for each of the {n} cells of `measured`, found shape {labels.shape}"
        raise InvalidValueError(msg)
    codes, names = pd.factorize(labels, sort=True)
    if not len(names):
        msg = f"expected at least one cell with a group, found none among {n}; pass `groups=None` to compare all cells"
        raise InvalidValueError(msg)
    return codes, len(names)


def _distance(a: Array, b: Array, noise: Array, n_bins: int) -> Array:
    """Distance of each column of two blocks (n × d); NaN where no two values are further apart than `noise` (d)."""
    seen = np.isfinite(a)
    low, high = np.fmin.reduce(np.fmin(a, b)), np.fmax.reduce(np.fmax(a, b))
    valid = (seen.sum(0) >= 2) & (high - low > noise)
    distance = np.full(len(valid), np.nan)
    if valid.any():
        p, q = (_histograms(side[:, valid], seen[:, valid], low[valid], high[valid], n_bins) for side in (a, b))
        distance[valid] = jensenshannon(p, q, base=2, axis=1)
    return distance


def _histograms(values: Array, seen: Array, low: Array, high: Array, n_bins: int) -> Array:
    """Count each column's values in equal bins from `low` to `high`, the last bin closed (features × bins)."""
    row, column = np.nonzero(seen)
    position = (values[row, column] - low[column]) / (high - low)[column] * n_bins
    cell = column * n_bins + np.minimum(position.astype(np.intp), n_bins - 1)
    return np.bincount(cell, minlength=values.shape[1] * n_bins).reshape(-1, n_bins)
