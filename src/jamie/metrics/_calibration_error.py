"""Whether probabilities are as often right as they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from jamie._checks import require_option, require_positive, require_same_shape
from jamie._errors import InvalidValueError

from ._numbers import numbers

if TYPE_CHECKING:
    from jamie._types import Array

Strategy = Literal["uniform", "quantile"]
DRAWS = 200


class Bins(NamedTuple):
    """Probabilities that are alike, and how often they were right; bins without any are left out."""

    probability: Array  # (b,) mean
    right: Array  # (b,) share
    n: Array  # (b,)

    @property
    def error(self) -> float:
        """Mean difference, each bin by its number."""
        return float((np.abs(self.probability - self.right) * self.n).sum() / self.n.sum())


def calibration_error(probability: Any, right: Any, *, n_bins: int = 10, strategy: Strategy = "uniform") -> float:
    """How far probabilities are from how often they are right: the expected calibration error, 0 is perfect.

    Probabilities are put into bins, and the difference between their mean and the share that was right is averaged over
    the bins, each by its number (Naeini et al. 2015, Guo et al. 2017). Of n probabilities that are true it is not 0
    either, but falls with √n: with 200 of about 0.9 it is 0.03.

    Parameters
    ----------
    probability
        Of what was said, from 0 to 1, (n,); NaN is left out.
    right
        Whether it was so, (n,) bool.
    n_bins
        Number of bins.
    strategy
        ``"uniform"``: bins of the same width; ``"quantile"``: with as many probabilities each, for those that are all
        small.

    Returns
    -------
    One number, from 0 to 1; NaN if nothing is left.

    Raises
    ------
    ValueError
        If shapes differ, a probability is not from 0 to 1, or there is no such strategy.

    Examples
    --------
    >>> import jamie as jm
    >>> float(round(jm.metrics.calibration_error([0.9, 0.9, 0.6, 0.6], [True, True, True, False]), 6))
    0.1
    """
    p, is_right = _given(probability, right)
    return reliability_bins(p, is_right, n_bins=n_bins, strategy=strategy).error if len(p) else float("nan")


def reliability_bins(probability: Any, right: Any, *, n_bins: int = 10, strategy: Strategy = "uniform") -> Bins:
    """Mean probability, share that was right and number of each bin."""
    require_option(strategy, ["uniform", "quantile"], name="strategy")
    require_positive(n_bins=n_bins)
    p, is_right = _given(probability, right)
    inner = np.arange(1, n_bins) / n_bins
    edges = inner if strategy == "uniform" else np.unique(np.quantile(p, inner)) if len(p) else inner
    bins = np.searchsorted(edges, p, side="right")
    n, of_bin, of_right = (np.bincount(bins, weights) for weights in (None, p, is_right))
    kept = n > 0
    return Bins(of_bin[kept] / n[kept], of_right[kept] / n[kept], n[kept])


def calibration_floor(probability: Any, *, n_bins: int = 10, strategy: Strategy = "uniform") -> float:
    """Expected error of as many and the same probabilities, were they true: mean of draws of what is right."""
    p, _ = _given(probability, np.zeros(np.shape(probability), dtype=bool))
    if not len(p):
        return float("nan")
    rng = np.random.default_rng(0)
    drawn = (reliability_bins(p, rng.random(len(p)) < p, n_bins=n_bins, strategy=strategy) for _ in range(DRAWS))
    return float(np.mean([bins.error for bins in drawn]))


def _given(probability: Any, right: Any) -> tuple[Array, Array]:
    """Those that are not NaN, checked."""
    p = numbers(probability, name="probability").astype(float)
    is_right = numbers(right, name="right").astype(bool)
    require_same_shape(p, is_right, names=("probability", "right"))
    seen = ~np.isnan(p)
    p, is_right = p[seen], is_right[seen]
    if len(p) and not (p.min() >= 0 and p.max() <= 1 + 1e-6):
        found = f"{p.min():.3g} to {p.max():.3g}"
        msg = f"expected probabilities from 0 to 1, found some from {found}; divide percentages by 100"
        raise InvalidValueError(msg)
    return p, is_right
