"""From modalities and one table of cells to a `MuData` that is the same with every version of mudata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from anndata import AnnData
from mudata import MuData

from jamie._compat import quiet_mudata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jamie._types import Array, Matrix

LABELS = "cell_type"
LATENT = "true_latent"
PSEUDOTIME = "pseudotime"


def modality(matrix: Matrix, *, cells: pd.DataFrame, prefix: str) -> AnnData:
    """Dress a cells × features matrix: features are named by `prefix` and a number from 1."""
    names = [f"{prefix}{j + 1}" for j in range(matrix.shape[1])]
    return AnnData(matrix, obs=cells.copy(), var=pd.DataFrame(index=names))


def labelled(modalities: Mapping[str, AnnData], cells: pd.DataFrame) -> MuData:
    """Join `modalities` under one table of cells, whose column `cell_type` stands in each of them too."""
    for adata in modalities.values():
        adata.obs = cells.loc[adata.obs_names, [LABELS]].copy()
    return assemble(modalities, cells=cells)


def classes(values: pd.Series) -> pd.Categorical:
    """Make the values classes: text, in the order of the alphabet."""
    return pd.Categorical(values.astype(str))


def assemble(modalities: Mapping[str, AnnData], *, cells: pd.DataFrame, latent: Array | None = None) -> MuData:
    """Join `modalities`; rows of `cells` and `latent` are brought into the order that mudata chose.

    Columns of `mdata.obs` are set, never left to be pulled: mudata 0.3 pulls them from the modalities, 0.4 does not.
    """
    with quiet_mudata():
        mdata = MuData(dict(modalities))
        order = cells.index.get_indexer(mdata.obs_names)
        mdata.obs = cells.iloc[order].copy()
        if latent is not None:
            mdata.obsm[LATENT] = latent[order]
    return mdata
