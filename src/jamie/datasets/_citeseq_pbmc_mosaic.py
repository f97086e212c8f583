"""CITE-seq of human blood, a mosaic: some cells have genes and proteins, some have one of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mudata
import pandas as pd
from anndata import AnnData

from jamie._compat import quiet_mudata
from jamie._docs import document

from ._assemble import LABELS, classes, labelled
from ._cache import obtain
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

MOSAIC = RawFile(
    "labomics/midas",
    "5f0f57973bd6bea6f9ed034fffb4d9b3aa703777",
    "src/scmidas/data/quickstart_pbmc_mosaic.h5mu",
    "ba7e65819b77dca7cae0473043893a471920e25a07ee08bc91b3eb9fcc2e1cdd",
    2_789_920,
)
NAMES = {"rna": "rna", "protein": "adt"}
"""Of the modalities, here and in the file."""


@document("folder")
def citeseq_pbmc_mosaic(*, folder: str | Path | None = None) -> MuData:
    """CITE-seq of 1,600 human blood cells, a mosaic: 800 with genes and proteins, 400 with one of them each.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities that share a part of their cells; cells of the same name are the same cell

    `mdata["rna"]`, 1,200 × 500, and `mdata["protein"]`, 1,200 × 224, sparse
        Counts of the genes that the source chose, and of antibodies.
    `mdata.obs["cell_type"]`, also in each modality
        Published labels, 8 of them.
    `mdata.obs["batch"]`
        `"p1_0"` has genes only, `"p2_0"` proteins only, `"p3_0"` and `"p4_0"` have both.

    Notes
    -----
    The source dropped the missing modalities on purpose, from a sample of the published cells, stratified
    by type. The file is that of github.com/labomics/midas, under the MIT licence.

    References
    ----------
    .. [1] Hao et al. (2021), *Integrated analysis of multimodal single-cell data*, Cell 184:3573.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.citeseq_pbmc_mosaic()  # doctest: +SKIP
    """
    return obtain(CITESEQ_PBMC_MOSAIC, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    with quiet_mudata():
        published = mudata.read_h5mu(files[MOSAIC.name])
    tables = pd.concat([adata.obs[["celltype", "batch"]].astype(str) for adata in published.mod.values()])
    cells = tables[~tables.index.duplicated()]
    modalities = {}
    for name, published_name in NAMES.items():
        adata = published[published_name]
        modalities[name] = AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])
    columns = {LABELS: classes(cells["celltype"]), "batch": classes(cells["batch"])}
    return labelled(modalities, pd.DataFrame(columns, index=cells.index))


CITESEQ_PBMC_MOSAIC = PublicSet(
    name="citeseq_pbmc_mosaic",
    description="CITE-seq of human blood cells: 800 with both modalities, 400 with one each",
    n_cells=1600,
    modalities=("rna", "protein"),
    files=(MOSAIC,),
    build=_build,
    publication="Hao et al. 2021, Cell 184:3573",
    doi="10.1016/j.cell.2021.04.048",
    licence="MIT (midas)",
)
