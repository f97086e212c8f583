"""Genes of human blood cells of another experiment: a query for `citeseq_pbmc10k`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jamie._docs import document

from ._assemble import assemble
from ._cache import obtain
from ._citeseq_pbmc10k import TOTALVI
from ._counts_csv import read_counts
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

GENE_COUNTS = RawFile(
    *TOTALVI,
    "data/raw_data/pbmc5k_harmo_rna.csv.gz",
    "7c2467fb1974355fdf4907228be1d4f47be4286300e65b5efe6379a12b6208fa",
    2_458_112,
)


@document("folder")
def citeseq_pbmc5k_rna(*, folder: str | Path | None = None) -> MuData:
    """Genes alone of 3,994 human blood cells of another experiment, a query for a trained model.

    Same genes as :func:`jamie.datasets.citeseq_pbmc10k`, other cells. Published in [1]_. Fetched once and kept, see
    :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    One modality

    `mdata["rna"]`, 3,994 × 4,000, sparse
        Counts, as the source filtered and chose them. Eleven barcodes are also in
        :func:`jamie.datasets.citeseq_pbmc10k`, by chance: they are other cells. There are no labels.

    Notes
    -----
    The file is that of github.com/YosefLab/totalVI_reproducibility, which states no licence.

    References
    ----------
    .. [1] 10x Genomics (2019), 5k PBMCs from a healthy donor with cell surface proteins; as filtered for Gayoso et al.
       (2021), *Joint probabilistic modeling of single-cell multi-omic data with totalVI*, Nature Methods 18:272.

    Examples
    --------
    >>> import jamie as jm
    >>> query = jm.datasets.citeseq_pbmc5k_rna()  # doctest: +SKIP
    """
    return obtain(CITESEQ_PBMC5K_RNA, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    rna = read_counts(files[GENE_COUNTS.name])
    return assemble({"rna": rna}, cells=rna.obs)


CITESEQ_PBMC5K_RNA = PublicSet(
    name="citeseq_pbmc5k_rna",
    description="RNA of human blood cells of another experiment, without labels: a query for citeseq_pbmc10k",
    n_cells=3994,
    modalities=("rna",),
    files=(GENE_COUNTS,),
    build=_build,
    publication="10x Genomics 2019, as filtered for Gayoso et al. 2021, Nat Methods 18:272",
    doi="10.1038/s41592-020-01050-x",
    licence="none stated",
    note="11 barcodes are also in citeseq_pbmc10k, by chance: they are other cells.",
)
