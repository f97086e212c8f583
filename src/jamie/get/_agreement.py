"""How far imputed features are from the measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from mudata import MuData
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from jamie._checks import require_name, require_names, require_positive, require_unique
from jamie._docs import document
from jamie._types import Array
from jamie.data import as_text, labels, require_mudata
from jamie.metrics import feature_correlation, is_within, js_distance

from ._comparison import comparison

MOST_CLASSES = 40


@dataclass(frozen=True)
class Agreement:
    """Measured and imputed values of the chosen features, and how well they agree.

    Attributes
    ----------
    measured, imputed
        Values of the same cells and chosen features, cells × features.
    groups
        Group of each cell, categories as text without those of no cell; one group of all cells where none were named.
    numbers
        The column of the groups, where it has numbers that group nothing: fractions, or more of them than 40.
    correlation
        Of measured and imputed values, of all features that were imputed and measured.
    js_distance
        Of their distributions, of the chosen features, the mean over groups.
    scale
        Units of both.
    cells
        Which cells these are, as :func:`jamie.get.comparison` says it.
    beside
        ``"lower"`` and ``"upper"`` bounds and draws, ``"sample_0"`` and so on, of the same cells and features, where
        they were imputed.
    interval
        Level of the bounds.
    within
        Whether each measured value lies within its bounds, 1 or 0, NaN where there are none; its mean is the coverage.
    """

    measured: pd.DataFrame
    imputed: pd.DataFrame
    groups: pd.Series
    numbers: pd.Series | None
    correlation: pd.Series
    js_distance: pd.Series
    scale: str
    cells: str
    beside: dict[str, pd.DataFrame]
    interval: float | None
    within: pd.DataFrame | None


@document("mdata", "key_added")
def agreement(
    mdata: MuData,
    *,
    source: str | Sequence[str],
    target: str,
    groupby: str | None = None,
    features: Sequence[str] | None = None,
    n_features: int | None = None,
    key_added: str = "jamie",
) -> Agreement:
    """Correlation and distance of imputed and measured features: the numbers of :func:`jamie.pl.imputation`.

    And those of :func:`jamie.pl.distributions`. They are taken from what :func:`jamie.tl.impute` wrote, over the cells
    of :func:`jamie.get.comparison`; :func:`jamie.tl.evaluate` has them beside baselines.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.
    groupby
        Column of the `.obs` of the modalities, or of `mdata.obs`, such as cell types; distances are taken within each
        group. A column of numbers, fractions or more than 40, groups nothing and is returned as `numbers`.
    features
        Features of `target` to choose; if `None`, as many as `n_features` says.
    n_features
        Features to choose, spread over the ranks of the correlations from the best to the worst; all if `None`.

    Returns
    -------
    `measured` and `imputed` values of the chosen features (cells × features), `groups` or `numbers` of the cells,
    `correlation` of all features, `js_distance` of the chosen ones, the mean over groups, the `scale`, and which
    `cells` these are; and bounds and draws `beside` the imputed values, the level of the `interval`, and which measured
    values are `within`, where they were imputed.

    Raises
    ------
    KeyError
        If this was not imputed, or a column or feature is not there.
    ValueError
        If no cell has both modalities.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> both = jm.get.agreement(mdata, source="rna", target="protein", groupby="cell_type", n_features=3)
    >>> both.correlation.shape, both.js_distance.shape, both.measured.shape
    ((12,), (3,), (48, 3))
    """
    require_mudata(mdata)
    listed = [source] if isinstance(source, str) else require_names(source, name="source")
    for name in listed:
        require_name(name, list(mdata.mod), name="source")
    require_positive(n_features=1 if n_features is None else n_features)
    of_cells = listed[0] if len(listed) == 1 else None
    of_groups = None if groupby is None else labels(mdata, groupby, of_cells, argument="groupby")
    pairs = comparison(mdata, source=source, target=target, key_added=key_added)
    columns = pairs.measured.columns
    correlation = feature_correlation(pairs.measured.to_numpy(), pairs.imputed.to_numpy())
    if features is not None:
        named = require_names(features, name="features")
        require_unique(named, where="features", remedy="with each of them once")
        chosen = [columns.get_loc(require_name(name, list(columns), name="features")) for name in named]
    else:
        chosen = list(range(len(columns))) if n_features is None else from_best_to_worst(correlation, n_features)
    measured, imputed = pairs.measured.iloc[:, chosen], pairs.imputed.iloc[:, chosen]
    index = measured.index
    numbers = None
    if of_groups is not None and _are_numbers(of_groups):
        numbers, of_groups = of_groups.reindex(index).astype(float), None
        numbers = numbers.where(np.isfinite(numbers))
    groups = pd.Series("all", index=index) if of_groups is None else of_groups.reindex(index)
    order = pd.Series(groups.astype("category").cat.remove_unused_categories().cat.categories)
    groups = as_text(groups).astype(pd.CategoricalDtype(as_text(order).unique()))
    distances = np.full((1, len(chosen)), np.nan)
    if groups.notna().any():
        distances = js_distance(measured.to_numpy(), imputed.to_numpy(), groups=groups)
    return Agreement(
        measured,
        imputed,
        groups=groups,
        numbers=numbers,
        correlation=pd.Series(correlation, index=columns, name="correlation"),
        js_distance=pd.DataFrame(distances, columns=columns[chosen]).mean().rename("js_distance"),
        scale=pairs.scale,
        cells=pairs.cells,
        beside=(beside := {what: frame.iloc[:, chosen] for what, frame in pairs.beside.items()}),
        interval=pairs.interval,
        within=_within(measured, beside) if "lower" in beside else None,
    )


def _are_numbers(values: pd.Series) -> bool:
    """Whether a column measures rather than groups: it has fractions, or more numbers than classes are told apart."""
    if not is_numeric_dtype(values) or is_bool_dtype(values):
        return False
    known = values[values.notna()].astype(float)
    return bool((known % 1 != 0).any()) or known.nunique() > MOST_CLASSES


def _within(measured: pd.DataFrame, beside: dict[str, pd.DataFrame]) -> pd.DataFrame:
    within = is_within(measured.to_numpy(), beside["lower"].to_numpy(), beside["upper"].to_numpy())
    return pd.DataFrame(within, index=measured.index, columns=measured.columns)


def from_best_to_worst(scores: Array, n: int) -> list[int]:
    """At most `n` features spread over the ranks of those that have a score, the best first; the first if none has."""
    finite = np.flatnonzero(np.isfinite(scores))
    if not len(finite):
        return list(range(len(scores)))[:1]
    ranked = finite[np.argsort(-scores[finite])]
    spread = np.linspace(0, max(len(ranked) - 1, 0), min(n, len(ranked)))
    return [int(i) for i in ranked[np.unique(spread.astype(int))]]
