"""CITE-seq of human blood: genes and 14 proteins of 6,855 cells, labelled by gates on the proteins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from jamie._docs import document

from ._assemble import LABELS, classes, labelled
from ._cache import obtain
from ._counts_csv import read_counts
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

TOTALVI = ("YosefLab/totalVI_reproducibility", "27d65a9c49182f39df0c4325249bc7dc8e663dd0")
GENE_COUNTS = RawFile(
    *TOTALVI,
    "data/raw_data/pbmc10k_harmo_rna.csv.gz",
    "77cacfec0e17dce2a9b00c479a07a162e29dc9263ff5dc4cb5235df4679baba9",
    3_076_357,
)
PROTEIN_COUNTS = RawFile(
    *TOTALVI,
    "data/raw_data/pbmc10k_harmo_pro.csv.gz",
    "184afe670d264b598e24cca73ccfd4f07c7bde696b8fb4cb53ba62d89b13f048",
    161_082,
)
SUFFIX = "_TotalSeqB"
GATES = {"CD3": 277, "CD4": 1303, "CD8a": 252, "CD14": 172, "CD16": 189, "CD19": 67, "CD56": 65}
"""Counts above which a cell has the protein: where the upper component of a mixture of normals, fitted to log1p of the
counts, becomes the likelier one. Two components each; three for CD4 and CD8a, of which monocytes and NK cells have a
middling amount. Numbers, not fits: a mixture ends where its start and its last step happen to be."""
SOME_CD4 = 80
"""Counts of CD4 above which the middle component is likelier than the lower one: what monocytes have and NK cells have
not."""


@document("folder")
def citeseq_pbmc10k(*, folder: str | Path | None = None) -> MuData:
    """CITE-seq of human blood cells: genes and 14 surface proteins of the same 6,855 cells, labelled by gates.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 6,855 × 4,000, sparse
        Counts of the variable genes that the source chose, after its filter of cells.
    `mdata["protein"]`, 6,855 × 14, sparse
        Counts of antibodies.
    `mdata.obs["cell_type"]`, also in each modality
        **Derived here**, no published label: gates on the counts of seven proteins, see the notes. It favours the
        proteins in any comparison of modalities.

    Notes
    -----
    A cell has a protein if its count is above CD3 277, CD4 1303, CD8a 252, CD14 172, CD16 189, CD19 67 or
    CD56 65: where the upper one of two normal components of log1p counts becomes the likelier (three for CD4 and
    CD8a). T cells are those with CD3, `"CD4 T"` and `"CD8 T"` by what else they have, `"T other"` with neither; `"B"`
    have CD19, `"Mono CD14"` CD14; with more than one of CD3, CD14, CD19, or with CD4 and CD8a beside CD3, a cell is
    `"ambiguous"`. Of the rest, `"NK"` have CD56, or CD16 and at most 80 CD4; `"Mono CD16"` CD16 and more CD4; and
    `"other"` none. Genes agree: 95 % of B cells have MS4A1, 89 % of NK cells KLRF1.

    The files are those of github.com/YosefLab/totalVI_reproducibility, which states no licence.

    References
    ----------
    .. [1] 10x Genomics (2018), 10k PBMCs from a healthy donor with TotalSeq-B; as filtered for Gayoso et al. (2021),
       *Joint probabilistic modeling of single-cell multi-omic data with totalVI*, Nature Methods 18:272.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.citeseq_pbmc10k()  # doctest: +SKIP
    """
    return obtain(CITESEQ_PBMC10K, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    modalities = {"rna": read_counts(files[GENE_COUNTS.name]), "protein": read_counts(files[PROTEIN_COUNTS.name])}
    cells = pd.DataFrame({LABELS: classes(gated(modalities["protein"]))}, index=modalities["rna"].obs_names)
    return labelled(modalities, cells)


def gated(protein: AnnData) -> pd.Series:
    """Cell types by the gates on seven proteins; the first line that fits a cell names it."""
    counts = protein.to_df().rename(columns=lambda name: name.removesuffix(SUFFIX))
    has = pd.DataFrame({name: counts[name] > least for name, least in GATES.items()})
    several = has[["CD3", "CD14", "CD19"]].sum(axis=1) > 1
    lines = {
        "ambiguous": several | (has["CD3"] & has["CD4"] & has["CD8a"]),
        "CD4 T": has["CD3"] & has["CD4"],
        "CD8 T": has["CD3"] & has["CD8a"],
        "T other": has["CD3"],
        "B": has["CD19"],
        "Mono CD14": has["CD14"],
        "NK": has["CD56"] | (has["CD16"] & (counts["CD4"] <= SOME_CD4)),
        "Mono CD16": has["CD16"],
    }
    return pd.Series(np.select(list(lines.values()), list(lines), default="other"), index=counts.index)


CITESEQ_PBMC10K = PublicSet(
    name="citeseq_pbmc10k",
    description="CITE-seq of human blood cells: 4,000 genes, 14 surface proteins; labels gated on the proteins",
    n_cells=6855,
    modalities=("rna", "protein"),
    files=(GENE_COUNTS, PROTEIN_COUNTS),
    build=_build,
    publication="10x Genomics 2018, as filtered for Gayoso et al. 2021, Nat Methods 18:272",
    doi="10.1038/s41592-020-01050-x",
    licence="none stated",
    note="cell_type is derived from gates on surface proteins; it is no published label.",
)
