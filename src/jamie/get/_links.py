"""The table of regions and genes."""

from __future__ import annotations

import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._keys import Keys
from jamie.data import require_mudata

from ._stored import stored


@document("mdata", "key_added")
def links(mdata: MuData, *, key_added: str = "jamie") -> pd.DataFrame:
    """Table that :func:`jamie.tl.links` wrote: a row for each region near a gene, the highest `abs_shap` first.

    Parameters
    ----------
    {shared}

    Raises
    ------
    KeyError
        If links were not computed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.links(mdata, model, genes="rna", regions="atac", window=10_000, knockout=False)
    >>> jm.get.links(mdata).equals(table)
    True
    """
    require_mudata(mdata)
    remedy = "jm.tl.links(mdata, model, genes=..., regions=...)"
    return stored(mdata.uns, Keys(key_added).links, where="mdata.uns", remedy=remedy).copy()
