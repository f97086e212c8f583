"""SNARE-seq of adult mouse cortex: counts of genes and regions of 10,309 cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from jamie._docs import document

from ._assemble import LABELS, classes, labelled
from ._cache import obtain
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

SCMOMAT = ("PeterZZQ/scMoMaT", "dbd954de4b1be415cdea543baf2856df0fda6992")
FOLDER = "data/real/MOp_5batches"
GENE_COUNTS = RawFile(
    *SCMOMAT,
    f"{FOLDER}/GxC1.npz",
    "44e48e6243954feafe0541f33b6b116093ca1ed4a25fc2f3ca146d89d1ab1bab",
    2_501_346,
)
REGION_COUNTS = RawFile(
    *SCMOMAT,
    f"{FOLDER}/RxC1.npz",
    "59d6f46dc4e908194bfc859b7773bc666d96ab74d9386b0a8f92d6b29dfcacf7",
    2_245_606,
)
CELLS = RawFile(
    *SCMOMAT,
    f"{FOLDER}/meta_c1.csv",
    "05ea13be8042f66ee51516ccf9fd28ca43972498a69748a9e89b5b1ca280b037",
    475_343,
)
GENES = RawFile(
    *SCMOMAT,
    f"{FOLDER}/genes.txt",
    "9d722d1d281f5ff152dc8a1fb257fec883b8aa28ea3f4f79783d0595dd8b4833",
    10_792,
)
REGIONS = RawFile(
    *SCMOMAT,
    f"{FOLDER}/regions.txt",
    "d77319b1ad8a51af2c97ffa5d23d5458e95356b1926e9ae4e0ab821cc7e492a3",
    614_999,
)
COLUMNS = {LABELS: "cluster (remapped)", "cluster": "Ident", "batch": "Batch"}


@document("folder")
def snareseq_mouse_cortex(*, folder: str | Path | None = None) -> MuData:
    """SNARE-seq of adult mouse cerebral cortex: genes and open chromatin of the same 10,309 cells.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 10,309 × 1,677, and `mdata["atac"]`, 10,309 × 25,734, sparse
        Counts of the genes and regions that the source chose; their sum is 247 and 83 in the median cell. Regions are
        named by chromosome, start and end; the source states no assembly. 990 regions are in no cell.
    `mdata.obs["cell_type"]`, also in each modality
        Cluster as the source regrouped them; `"Mis"`, 1,119 cells, is what the authors called miscellaneous.
    `mdata.obs["cluster"]`, `mdata.obs["batch"]`
        Cluster as published, and library.

    Notes
    -----
    The matrices have no names of cells: they are in the order of the table of cells, which the depth of
    the two modalities confirms (rank correlation .53). The files are those of github.com/PeterZZQ/scMoMaT, under the
    MIT licence.

    References
    ----------
    .. [1] Chen, Lake and Zhang (2019), *High-throughput sequencing of the transcriptome and chromatin accessibility
       in the same cell*, Nature Biotechnology 37:1452.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.snareseq_mouse_cortex()  # doctest: +SKIP
    """
    return obtain(SNARESEQ_MOUSE_CORTEX, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    table = pd.read_csv(files[CELLS.name], index_col=0)
    modalities = {}
    for name, matrix, features in (("rna", GENE_COUNTS, GENES), ("atac", REGION_COUNTS, REGIONS)):
        counts = sparse.load_npz(files[matrix.name]).T.tocsr().astype(np.float32)  # features × cells in the file
        var = pd.DataFrame(index=files[features.name].read_text().split())
        modalities[name] = AnnData(counts, obs=pd.DataFrame(index=table.index), var=var)
    cells = {new: classes(table[old]) for new, old in COLUMNS.items()}
    return labelled(modalities, pd.DataFrame(cells, index=table.index))


SNARESEQ_MOUSE_CORTEX = PublicSet(
    name="snareseq_mouse_cortex",
    description="SNARE-seq of adult mouse cerebral cortex: 1,677 genes, 25,734 regions, very sparse counts",
    n_cells=10309,
    modalities=("rna", "atac"),
    files=(GENE_COUNTS, REGION_COUNTS, CELLS, GENES, REGIONS),
    build=_build,
    publication="Chen, Lake & Zhang 2019, Nat Biotechnol 37:1452",
    doi="10.1038/s41587-019-0290-0",
    licence="MIT (scMoMaT)",
)
