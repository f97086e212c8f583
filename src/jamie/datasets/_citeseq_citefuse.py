"""CITE-seq with tags: genes, proteins and hashtags of 500 cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jamie._docs import document

from ._assemble import assemble
from ._cache import obtain
from ._public import PublicSet
from ._rda import read_rda
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

EXAMPLE = RawFile(
    "SydneyBioX/CiteFuse",
    "b6075864d8930967946022fdfbbf57a6a120061f",
    "data/CITEseq_example.rda",
    "ff1063648dcef1220bfc0575dd107892e3d1af5017d441f2e5dcfb7dc7693ee6",
    735_756,
)
NAMES = {"rna": "RNA", "protein": "ADT", "hto": "HTO"}
"""Of the modalities, here and in the file."""
GENOME = "hg19_"


@document("folder")
def citeseq_citefuse(*, folder: str | Path | None = None) -> MuData:
    """CITE-seq of human blood cells with hashtags: genes, 49 proteins and 4 tags of the same 500 cells.

    Three modalities, all of them counts. Published in [1]_ and [2]_. Fetched once and kept, see
    :func:`jamie.datasets.load`; needs the extra ``jamie-tools[data]``.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Three modalities of the same cells

    `mdata["rna"]`, 500 × 19,521, sparse
        Counts of human genes, without the ``hg19_`` that the source writes before each; 4,602 are in no cell.
    `mdata["protein"]`, 500 × 49, sparse
        Counts of antibodies, controls (IgG1, IgG2a) among them. Their names end in ``_protein`` here, for a gene may
        have the same; `var["feature_name"]` has the published name.
    `mdata["hto"]`, 500 × 4, sparse
        Counts of hashtag oligonucleotides: which sample a cell is from, and, with two high ones, that it is two
        cells. What a tag says of a cell has nothing to do with its biology, so these cannot be imputed from genes.

    Notes
    -----
    There are no labels. The file is the example of github.com/SydneyBioX/CiteFuse, which is under GPL-3;
    its cells are a part of published ones.

    References
    ----------
    .. [1] Mimitou et al. (2019), *Multiplexed detection of proteins, transcriptomes, clonotypes and CRISPR
       perturbations in single cells*, Nature Methods 16:409.
    .. [2] Kim et al. (2020), *CiteFuse enables multi-modal analysis of CITE-seq data*, Bioinformatics 36:4137.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.citeseq_citefuse()  # doctest: +SKIP
    """
    return obtain(CITESEQ_CITEFUSE, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    published = read_rda(files[EXAMPLE.name])["CITEseq_example"]
    modalities = {name: published[published_name] for name, published_name in NAMES.items()}
    rna, protein = modalities["rna"], modalities["protein"]
    rna.var_names = rna.var_names.str.removeprefix(GENOME)
    protein.var["feature_name"] = list(protein.var_names)
    protein.var_names = protein.var_names + "_protein"
    return assemble(modalities, cells=rna.obs)


CITESEQ_CITEFUSE = PublicSet(
    name="citeseq_citefuse",
    description="CITE-seq with hashtags: 19,521 genes, 49 surface proteins, 4 tags; no labels",
    n_cells=500,
    modalities=("rna", "protein", "hto"),
    files=(EXAMPLE,),
    build=_build,
    publication="Mimitou et al. 2019, Nat Methods 16:409, as in CiteFuse: Kim et al. 2020, Bioinformatics 36:4137",
    doi="10.1038/s41592-019-0392-0",
    licence="GPL-3 (CiteFuse)",
    needs=("rdata",),
)
