"""SNARE-seq of four human cell lines: components and topics of 1,047 cells."""

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

SCOT = ("rsinghlab/SCOT", "14649be6e14017dcfe7ba619091b33d1df55f6a9")
COMPONENTS = RawFile(
    *SCOT,
    "data/SNARE/SNAREseq_rna_feat.npy",
    "a8a2c2bbfc036dea5b350d01dd2180b93bb3b1c0008bed49493080348da96a9b",
    83_888,
)
TOPICS = RawFile(
    *SCOT,
    "data/SNARE/SNAREseq_atac_feat.npy",
    "80d685b6517c100a7fd612846ad38209b64ed9caf095d1630af5a1d7797bd79c",
    159_272,
)
CELLS = RawFile(
    *SCOT,
    "data/SNARE/SNAREseq_metadata.txt",
    "4bfd15c9205ff47e4d37bb0f9d7a9efbe9131b6f660a80f8ad22fccb61c87562",
    20_203,
)


@document("folder")
def snareseq_cellline(*, folder: str | Path | None = None) -> MuData:
    """SNARE-seq of a mixture of four human cell lines: reduced features of the same 1,047 cells.

    Published in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 1,047 × 10, dense
        Principal components of expression.
    `mdata["atac"]`, 1,047 × 19, dense
        Topics of accessibility, not normalised: whole numbers from 373 to 460,596, no counts.
    `mdata.obs["cell_type"]`, also in each modality
        Cell line, assigned by the source from the expression: `"BJ"`, `"GM"`, `"H1"`, `"K562"`.

    Notes
    -----
    What the modalities have in common is nearly all between the lines. The files are those of
    github.com/rsinghlab/SCOT, under the MIT licence.

    References
    ----------
    .. [1] Chen, Lake and Zhang (2019), *High-throughput sequencing of the transcriptome and chromatin accessibility
       in the same cell*, Nature Biotechnology 37:1452.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.snareseq_cellline()  # doctest: +SKIP
    """
    return obtain(SNARESEQ_CELLLINE, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    cells = pd.read_csv(files[CELLS.name], sep="\t", index_col="Barcode").rename_axis(None)
    modalities = {}
    for name, file, prefix in (("rna", COMPONENTS, "rna_PC"), ("atac", TOPICS, "atac_topic")):
        values = np.load(files[file.name]).astype(np.float32)
        features = [f"{prefix}{j + 1}" for j in range(values.shape[1])]
        modalities[name] = AnnData(values, obs=pd.DataFrame(index=cells.index), var=pd.DataFrame(index=features))
    return labelled(modalities, pd.DataFrame({LABELS: classes(cells["CellType"])}, index=cells.index))


SNARESEQ_CELLLINE = PublicSet(
    name="snareseq_cellline",
    description="SNARE-seq of four human cell lines: 10 principal components, 19 topics, as published",
    n_cells=1047,
    modalities=("rna", "atac"),
    files=(COMPONENTS, TOPICS, CELLS),
    build=_build,
    publication="Chen, Lake & Zhang 2019, Nat Biotechnol 37:1452",
    doi="10.1038/s41587-019-0290-0",
    licence="MIT (SCOT)",
)
