"""Patch-seq of mouse motor cortex: genes and electrophysiology of 1,208 neurons."""

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
from ._rda import read_rda
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

SCMNC = ("daifengwanglab/scMNC", "ae9e39b5abe2ff0c85e3c986689c22c0ab6b2c3d")
R_OBJECTS = RawFile(
    *SCMNC,
    "mouse_motor_cortex/data/motor_data_filtered.rda",
    "33a009f955dc7152d3283158ed38095cf88fa8c1a3f25693d103b35ae168f69c",
    2_448_640,
)
FEATURES = RawFile(
    *SCMNC,
    "mouse_motor_cortex/data/motor_efeature.csv",
    "686280b27dd13b6db11201a36b322c04b8588bab8fc005fb6168222920da50f6",
    602_823,
)
COLUMNS = {
    LABELS: "RNA family",
    "rna_type": "RNA type",
    "rna_type_confidence": "RNA type confidence",
    "cre": "Cre",
    "targeted_layer": "Targeted layer",
    "soma_depth_um": "Soma depth (µm)",
    "mouse": "Mouse",
    "mouse_sex": "Mouse gender",
}
NUMBERS = {"rna_type_confidence", "soma_depth_um"}


@document("folder")
def patchseq_motor_cortex(*, folder: str | Path | None = None) -> MuData:
    """Patch-seq of mouse primary motor cortex: genes and electrophysiology of the same 1,208 neurons.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`; needs the extra ``jamie-tools[data]``.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 1,208 × 1,286, sparse
        Read counts of the marker genes that the source chose. Full-length reads, not molecules: up to 170,000 a gene.
    `mdata["ephys"]`, 1,208 × 29, dense
        Electrophysiology in the units that the names of the features have. No value is missing.
    `mdata.obs["cell_type"]`, also in each modality
        Family of the neuron by its genes, 9 of them; five NP and thirteen Sncg cells are too few to judge by.
    `mdata.obs["mouse"]`
        Which of 264 mice the cell is from; hold out whole mice for a claim about new animals.
    `mdata.obs`
        Also `rna_type` with `rna_type_confidence`, `cre`, `mouse_sex`, `soma_depth_um`, which 39 cells miss, and
        `targeted_layer`, in which a spreadsheet made ``"44230.0"``, a date, of layer 2/3.

    Notes
    -----
    The files are those of github.com/daifengwanglab/scMNC, which states no licence.

    References
    ----------
    .. [1] Scala et al. (2021), *Phenotypic variation of transcriptomic cell types in mouse motor cortex*, Nature
       598:144.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.patchseq_motor_cortex()  # doctest: +SKIP
    """
    return obtain(PATCHSEQ_MOTOR_CORTEX, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    objects = read_rda(files[R_OBJECTS.name])
    genes, ephys = objects["gdata"], objects["edata"]  # genes × cells; cells × features
    features = pd.read_csv(files[FEATURES.name], index_col=0, nrows=0).columns  # R has dots in place of blanks
    gene_names, cell_names = (pd.Index(genes.coords[axis].values.astype(str)) for axis in genes.dims)
    measured = ephys.loc[cell_names].to_numpy(np.float32)
    modalities = {
        "rna": AnnData(sparse.csr_matrix(genes.values.T, dtype=np.float32), var=pd.DataFrame(index=gene_names)),
        "ephys": AnnData(measured, var=pd.DataFrame(index=features.astype(str))),
    }
    for adata in modalities.values():
        adata.obs_names = cell_names
    return labelled(modalities, _cells(objects["meta"], cell_names))


def _cells(meta: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    meta = meta.set_index(meta["Cell"].astype(str)).loc[names]
    columns = {
        new: pd.to_numeric(meta[old], errors="coerce").to_numpy(float) if new in NUMBERS else classes(meta[old])
        for new, old in COLUMNS.items()
    }
    return pd.DataFrame(columns, index=names)


PATCHSEQ_MOTOR_CORTEX = PublicSet(
    name="patchseq_motor_cortex",
    description="Patch-seq of mouse primary motor cortex: 1,286 genes, 29 electrophysiology features",
    n_cells=1208,
    modalities=("rna", "ephys"),
    files=(R_OBJECTS, FEATURES),
    build=_build,
    publication="Scala et al. 2021, Nature 598:144",
    doi="10.1038/s41586-020-2907-3",
    licence="none stated",
    needs=("rdata",),
)
