"""sc-GEM of human fibroblast reprogramming: expression and methylation of 177 cells."""

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
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

UNIONCOM = ("caokai1073/UnionCom", "d848749f41b7cd06ca823a9db1c21b94d22164fb")
PAMONA = ("caokai1073/Pamona", "44322c487eb907cf021d5ee7bd1a3ff3f124c14b")
EXPRESSION = RawFile(
    *UNIONCOM,
    "scGEM/GeneExpression.txt",
    "8d22bb887a125484c99910675329492e43179cffcde73b5a7e78c07dffa4ee61",
    150_450,
)
METHYLATION = RawFile(
    *UNIONCOM,
    "scGEM/DNAmethylation.txt",
    "9f539a051665c89cc1a5e007a0a03a1e914f7421b44cdfb55d3dcbe9a69f8258",
    119_475,
)
STAGES = RawFile(
    *UNIONCOM,
    "scGEM/type1.txt",
    "8291a3fd5e3e3df389111b0f74c27eab8b12e24810f8e1fdb2cd706abe3ae071",
    4_425,
)
GENES = RawFile(
    *PAMONA,
    "scGEM/GeneName_experssion.txt",
    "39ad2ff32eae991abfc81c73e3b189d3770da65a3058a75c3f2d07a57d4ea213",
    228,
)
SITES = RawFile(
    *PAMONA,
    "scGEM/GeneName_methylation.txt",
    "ba981b78d9ad0ad7f45baca33ff81f8c00aab487d53955cf0ee1c2c41099b8c0",
    192,
)
STAGE_NAMES = {1: "BJ", 2: "d8", 3: "d16T+", 4: "d24T+", 5: "iPS"}


@document("folder")
def scgem(*, folder: str | Path | None = None) -> MuData:
    """Human fibroblast reprogramming by sc-GEM: expression and methylation of the same 177 cells.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 177 × 34, dense
        Expression on the log scale of the PCR, with many zeros; no counts. 2 genes are in no cell.
    `mdata["met"]`, 177 × 27, dense
        Methylation of sites, 0 or 1. They are named by their gene and ``_met``; `var["feature_name"]` has the gene
        alone.
    `mdata.obs["cell_type"]`, also in each modality
        Stage, from fibroblasts to stem cells: `"BJ"`, `"d8"`, `"d16T+"`, `"d24T+"`, `"iPS"`.
    `mdata.obs["stage"]`
        The same as a number, 1 to 5.

    Notes
    -----
    The source names no cells: which is which is told by the order of the rows. The files are those of
    github.com/caokai1073/UnionCom and, for names of features, github.com/caokai1073/Pamona, both under the MIT licence.

    References
    ----------
    .. [1] Cheow et al. (2016), *Single-cell multimodal profiling reveals cellular epigenetic heterogeneity*, Nature
       Methods 13:833.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.scgem()  # doctest: +SKIP
    """
    return obtain(SCGEM, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    stage = np.loadtxt(files[STAGES.name]).astype(np.int64)
    names = [f"scGEM_{i:03d}" for i in range(len(stage))]
    genes, sites = _lines(files[GENES.name]), _lines(files[SITES.name])
    methylated = pd.DataFrame({"feature_name": sites}, index=[f"{site}_met" for site in sites])
    modalities = {
        "rna": AnnData(np.loadtxt(files[EXPRESSION.name], dtype=np.float32), var=pd.DataFrame(index=genes)),
        "met": AnnData(np.loadtxt(files[METHYLATION.name], dtype=np.float32), var=methylated),
    }
    for adata in modalities.values():
        adata.obs_names = names
    cells = pd.DataFrame({"stage": stage}, index=names)
    cells.insert(0, LABELS, classes(cells["stage"].map(STAGE_NAMES)))
    return labelled(modalities, cells)


def _lines(file: Path) -> list[str]:
    """One name a line, some with blanks behind and a minus sign where a hyphen is meant."""
    return [line.strip().replace("−", "-") for line in file.read_text(encoding="utf-8").splitlines()]


SCGEM = PublicSet(
    name="scgem",
    description="sc-GEM of human fibroblast reprogramming: 34 genes, methylation of 27 sites, five stages",
    n_cells=177,
    modalities=("rna", "met"),
    files=(EXPRESSION, METHYLATION, STAGES, GENES, SITES),
    build=_build,
    publication="Cheow et al. 2016, Nat Methods 13:833",
    doi="10.1038/nmeth.3961",
    licence="MIT (UnionCom, Pamona)",
    note="Cells have no names in the source; they are paired by the order of the rows.",
)
