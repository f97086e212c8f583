"""How well each feature was imputed, the best first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie.metrics import feature_correlation, is_within, known_mean, sd_ratio

from ._comparison import comparison


@document("mdata", "key_added")
def imputed_features(
    mdata: MuData, *, source: str | Sequence[str], target: str, key_added: str = "jamie"
) -> pd.DataFrame:
    """How well each feature of `target` was imputed in the cells of :func:`jamie.get.comparison`, the best first.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.

    Returns
    -------
    A row for each feature: its `correlation`, `sd_ratio`, `rmse`, the root of the mean squared error on the imputed
    scale, and the number of cells `n_cells` that it was measured in. Where intervals were imputed, `coverage`, the
    share of these cells whose measured value lies within, and their mean `width`.

    Raises
    ------
    KeyError
        If this was not imputed.
    ValueError
        If no cell has both modalities.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> jm.get.imputed_features(mdata, source="rna", target="protein").shape
    (12, 4)
    """
    pair = comparison(mdata, source=source, target=target, key_added=key_added)
    measured, imputed = pair.measured.to_numpy(), pair.imputed.to_numpy()
    squares = np.square(measured - imputed)  # NaN where either is
    table = pd.DataFrame(
        {
            "correlation": feature_correlation(measured, imputed),
            "sd_ratio": sd_ratio(measured, imputed),
            "rmse": np.sqrt(known_mean(squares, axis=0)),
            "n_cells": np.isfinite(squares).sum(axis=0),
        },
        index=pair.measured.columns.rename("feature"),
    )
    if {"lower", "upper"} <= set(pair.beside):
        lower, upper = (pair.beside[side].to_numpy() for side in ("lower", "upper"))
        within = is_within(measured, lower, upper)
        table["coverage"] = known_mean(within, axis=0)
        table["width"] = known_mean(np.where(np.isnan(within), np.nan, upper - lower), axis=0)
    return table.sort_values("correlation", ascending=False, kind="stable")
