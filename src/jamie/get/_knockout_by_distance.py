"""Genes without the regions near and far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie.data import require_mudata

from ._stored import stored

SETS = ("none", "random", "near", "chromosome", "genome")


@dataclass(frozen=True)
class KnockoutsByDistance:
    """Correlations of genes without sets of regions.

    Attributes
    ----------
    correlation
        Genes × sets, of the genes that have one without any set.
    sets
        By set: the median number of regions `n_regions`, `mean` and standard error `sem` of the correlations, and mean
        difference to nothing knocked out, gene by gene, `change` and `change_sem`.
    """

    correlation: pd.DataFrame
    sets: pd.DataFrame


@document("mdata", "key_added")
def knockout_by_distance(mdata: MuData, *, key_added: str = "jamie") -> KnockoutsByDistance:
    """How well genes are imputed without regions: the numbers of :func:`jamie.pl.knockout_by_distance`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    `correlation` (genes × sets of regions), and a table of the `sets`: median number of regions, mean correlation, mean
    difference to nothing knocked out, and the standard errors of both means.

    Raises
    ------
    KeyError
        If :func:`jamie.tl.knockout_by_distance` was not called.
    ValueError
        If no gene varies in the cells that it judged by.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac")
    >>> jm.get.knockout_by_distance(mdata).sets.index.tolist()
    ['none', 'random', 'near', 'chromosome', 'genome']
    """
    require_mudata(mdata)
    remedy = "jm.tl.knockout_by_distance(mdata, model, genes=..., regions=...)"
    table = stored(mdata.uns, Keys(key_added).knockout_by_distance, where="mdata.uns", remedy=remedy)
    table = table.assign(gene=np.asarray(table["gene"], dtype=str), set=np.asarray(table["set"], dtype=str))
    by_gene = table.pivot(index="gene", columns="set", values="correlation")
    values = by_gene[[name for name in SETS if name in by_gene]].dropna()
    if values.empty:
        msg = (
            f"expected a gene whose correlation is a number, found none of {len(by_gene)}; judge by more cells: n_cells"
        )
        raise InvalidValueError(msg)
    change = values.sub(values["none"], axis=0)
    sets = {
        "n_regions": table.groupby("set")["n_regions"].median(),
        "mean": values.mean(),
        "sem": values.sem(),
        "change": change.mean(),
        "change_sem": change.sem(),
    }
    return KnockoutsByDistance(values, pd.DataFrame(sets).loc[list(values)])
