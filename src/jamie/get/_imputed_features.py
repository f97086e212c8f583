"""How well each feature was imputed, the best first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys, beside
from jamie.metrics import feature_correlation, sd_ratio

from ._comparison import comparison

LOWER, UPPER = "lower", "upper"


@document("mdata", "key_added")
def imputed_features(mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> pd.DataFrame:
    """How well each feature of `target` was imputed in the cells of :func:`jamie.get.comparison`, the best first.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`.

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
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> jm.get.imputed_features(mdata, source="rna", target="protein").shape
    (12, 4)
    """
    pair = comparison(mdata, source=source, target=target, key_added=key_added)
    measured, imputed = pair.measured.to_numpy(), pair.imputed.to_numpy()
    seen = np.isfinite(measured) & np.isfinite(imputed)
    n_cells = seen.sum(axis=0)
    squares = np.where(seen, np.square(measured - imputed), 0).sum(axis=0)
    table = pd.DataFrame(
        {
            "correlation": feature_correlation(measured, imputed),
            "sd_ratio": sd_ratio(measured, imputed),
            "rmse": np.sqrt(np.divide(squares, n_cells, out=np.full(len(squares), np.nan), where=n_cells > 0)),
            "n_cells": n_cells,
        },
        index=pair.measured.columns.rename("feature"),
    )
    slot = Keys(key_added).imputed_from_source(target)
    bounds = [mdata[source].obsm.get(beside(slot, side)) for side in (LOWER, UPPER)]
    if all(isinstance(bound, pd.DataFrame) for bound in bounds):
        lower, upper = (_aligned(bound, mdata[source].obs_names, pair.measured) for bound in bounds)
        known = np.isfinite(measured) & np.isfinite(lower) & np.isfinite(upper)
        within = np.where(known, (lower <= measured) & (measured <= upper), np.nan)
        n_known = np.maximum(known.sum(axis=0), 1)
        table["coverage"] = np.where(known.any(axis=0), np.nansum(within, axis=0) / n_known, np.nan)
        widths = np.where(known, upper - lower, 0.0).sum(axis=0) / n_known
        table["width"] = np.where(known.any(axis=0), widths, np.nan)
    return table.sort_values("correlation", ascending=False, kind="stable")


def _aligned(bound: pd.DataFrame, cells: pd.Index, like: pd.DataFrame) -> np.ndarray:
    """A bound of the same cells and features as the measured values; columns stand for names that files can hold."""
    named = bound.set_axis(cells, axis=0)
    columns = [name.replace("/", "_") for name in like.columns]
    return named.loc[like.index].reindex(columns=columns).to_numpy(dtype=float)
