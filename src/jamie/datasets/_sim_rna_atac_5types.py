"""Simulated genes and regions of five groups of cells, as published with scAI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from jamie._docs import document

from ._assemble import LABELS, classes, labelled
from ._cache import obtain
from ._public import PublicSet
from ._rda import read_rda
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

SIMULATION = RawFile(
    "sqjin/scAI",
    "9bd4bdbe9daa15399d2b49eb376cabaf40aa07ca",
    "data/data_simulation.rda",
    "f44d3999e78b4b7c383f94e47a062cc23ff50027528f3926765ade0a7d5e30b5",
    136_532,
)
NAMES = {"rna": "RNA", "atac": "ATAC"}
"""Of the modalities, here and in the file."""


@document("folder")
def sim_rna_atac_5types(*, folder: str | Path | None = None) -> MuData:
    """Simulated genes and open chromatin of the same 500 cells, in five groups of equal size.

    A pair shares its group and nothing else, so no method can tell cells of a group apart. Published in [1]_. Fetched
    once and kept, see :func:`jamie.datasets.load`; needs the extra ``jamie-tools[data]``.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 500 × 2,000, sparse
        Log-normalised expression, as published; no counts.
    `mdata["atac"]`, 500 × 5,000, sparse
        0 or 1. 113 genes and 914 regions are in no cell.
    `mdata.obs["cell_type"]`, also in each modality
        `"group1"` to `"group5"`.

    Notes
    -----
    The file is that of github.com/sqjin/scAI, under GPL-3; it was simulated with MOSim from bulk data.

    References
    ----------
    .. [1] Jin, Zhang and Nie (2020), *scAI: an unsupervised approach for the integrative analysis of parallel
       single-cell transcriptomic and epigenomic profiles*, Genome Biology 21:25.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.sim_rna_atac_5types()  # doctest: +SKIP
    """
    return obtain(SIM_RNA_ATAC_5TYPES, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    published = read_rda(files[SIMULATION.name])["data_simulation"]
    modalities = {name: published["data"][published_name] for name, published_name in NAMES.items()}
    groups = "group" + published["labels"]["group"].astype(str)
    cells = pd.DataFrame({LABELS: classes(groups)}, index=groups.index.astype(str))
    return labelled(modalities, cells)


SIM_RNA_ATAC_5TYPES = PublicSet(
    name="sim_rna_atac_5types",
    description="Simulated genes and regions, five equal groups; pairs share their group and nothing else",
    n_cells=500,
    modalities=("rna", "atac"),
    files=(SIMULATION,),
    build=_build,
    publication="scAI: Jin, Zhang & Nie 2020, Genome Biol 21:25",
    doi="10.1186/s13059-020-1932-8",
    licence="GPL-3 (scAI)",
    needs=("rdata",),
)
