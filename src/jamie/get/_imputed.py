"""Imputed values as an AnnData of their own."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys, beside
from jamie._types import Array
from jamie.data import as_mudata

from ._stored_imputation import stored_imputation


@document("mdata or adata", "key_added")
def imputed(
    mdata: MuData | ad.AnnData, *, source: str | Sequence[str], target: str, key_added: str = "jamie"
) -> ad.AnnData:
    """Features of `target` imputed for the cells of `source`, as an AnnData that scanpy takes as any other.

    Bounds and draws that were imputed with ``interval=`` and ``n_samples=`` are its layers ``jamie_imputed_lower``,
    ``jamie_imputed_upper``, ``jamie_imputed_sample_0`` and so on.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.

    Returns
    -------
    Cells × features. From several sources the cells are those that have any of them.

    Raises
    ------
    KeyError
        If this was not imputed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> jm.get.imputed(mdata, source="rna", target="protein").shape
    (54, 12)
    """
    mdata = as_mudata(mdata, source if isinstance(source, str) else None, argument="source")
    keys = Keys(key_added)
    found = stored_imputation(mdata, source, target, keys)
    rows: Array | slice = slice(None)
    if found.is_joint:  # cells that have none of the sources have no values
        rows = found.obs[found.role].notna().to_numpy()
    return ad.AnnData(
        found.frame.to_numpy(copy=True)[rows],
        obs=found.obs[rows].copy(),
        var=pd.DataFrame(index=found.features),
        layers={beside(keys.imputed, what): frame.to_numpy(copy=True)[rows] for what, frame in found.beside.items()},
    )
