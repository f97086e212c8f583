"""Patch-seq of mouse neocortex, small: 80 neurons."""

from __future__ import annotations

import gzip
import warnings
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

RRR = ("berenslab/patch-seq-rrr", "402fe62aae4540fb61a8faf82e70ec50078fc1d6")
COUNTS = RawFile(
    *RRR,
    "data/fuzik2016/GSE70844_Fuzik_et_al_molcounts.xls.gz",
    "9f9de373eada08ade48121395d0c8e255a4e7b22edb946896a5a9e02847e323d",
    817_871,
)
EPHYS = RawFile(
    *RRR,
    "data/fuzik2016/Patch-Seq e-phys ALL.xlsx",
    "88b9844c220c63392c6a00a195d9632e0bb25c34a603d61017530fb4cc7efce3",
    68_860,
)
MATCHING = RawFile(
    *RRR,
    "data/fuzik2016/ephys_expr_matching.csv",
    "ea31a33d07571b0dfb96d271afa433ae38b9a15a7592fb4484f40cf823325c9f",
    4_935,
)
FIRST_PROPERTY = 4
"""Row of the sheet of recordings where names of runs, cells and types end."""


@document("folder")
def patchseq_fuzik2016(*, folder: str | Path | None = None) -> MuData:
    """Patch-seq of mouse neocortex: genes and electrophysiology of the same 80 neurons.

    For edge cases: 80 cells of 8 types are too few to judge a method by. Published in [1]_. Fetched once and kept, see
    :func:`jamie.datasets.load`; needs the extra ``jamie-tools[data]``.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 80 × 13,089, sparse
        Counts of molecules, without spike-ins and genes that no cell has.
    `mdata["ephys"]`, 80 × 80, dense
        The properties that were measured in all cells. The sheet has spikes of several stimuli under the same names:
        the second of a name ends in ``#2``.
    `mdata.obs["cell_type"]`, also in each modality
        Type as published, 6 to 22 cells each.

    Notes
    -----
    The files are those of github.com/berenslab/patch-seq-rrr, which states no licence.

    References
    ----------
    .. [1] Fuzik et al. (2016), *Integration of electrophysiological recordings with single-cell RNA-seq data identifies
       neuronal subtypes*, Nature Biotechnology 34:175.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.patchseq_fuzik2016()  # doctest: +SKIP
    """
    return obtain(PATCHSEQ_FUZIK2016, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    matching = pd.read_csv(files[MATCHING.name], index_col=0)
    with gzip.open(files[COUNTS.name]) as sheet, warnings.catch_warnings():
        # pandas 3.1 announces that it will read such sheets otherwise
        warnings.filterwarnings("ignore", message="The xlrd engine", category=DeprecationWarning)
        counts = pd.read_excel(sheet, engine="xlrd", index_col=0)  # genes × cells
    names = [name for name in counts if name in set(matching["expr_ids"])]  # two recordings have no counts
    counts = counts[names]
    counts = counts[~counts.index.str.startswith("ERCC") & (counts.sum(axis=1) > 0)]
    ephys = _recordings(files[EPHYS.name], list(matching["expr_ids"]))[names]
    types = matching.set_index("expr_ids").loc[names, "Cell.type"]
    modalities = {
        "rna": AnnData(sparse.csr_matrix(counts.T, dtype=np.float32), var=pd.DataFrame(index=counts.index.astype(str))),
        "ephys": AnnData(ephys.T.to_numpy(np.float32), var=pd.DataFrame(index=ephys.index)),
    }
    for adata in modalities.values():
        adata.obs_names = names
    return labelled(modalities, pd.DataFrame({LABELS: classes(types)}, index=names))


def _recordings(file: Path, cells: list[str]) -> pd.DataFrame:
    """Properties × cells, as far as all cells have them; columns of the sheet are in the order of the matching."""
    sheet = pd.read_excel(file, header=None, index_col=0).iloc[FIRST_PROPERTY:]
    sheet.columns = cells
    known = sheet.loc[:, sheet.columns.notna()].apply(pd.to_numeric, errors="coerce").dropna()
    repeats = known.groupby(level=0).cumcount()
    known.index = [f"{name} #{n + 1}" if n else str(name) for name, n in zip(known.index, repeats, strict=True)]
    return known


PATCHSEQ_FUZIK2016 = PublicSet(
    name="patchseq_fuzik2016",
    description="Patch-seq of mouse neocortex, small: 13,089 genes, 80 electrophysiology features, eight types",
    n_cells=80,
    modalities=("rna", "ephys"),
    files=(COUNTS, EPHYS, MATCHING),
    build=_build,
    publication="Fuzik et al. 2016, Nat Biotechnol 34:175",
    doi="10.1038/nbt.3443",
    licence="none stated",
    needs=("openpyxl", "xlrd"),
)
