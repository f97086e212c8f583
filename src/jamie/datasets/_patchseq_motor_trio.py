"""Patch-seq of mouse motor cortex with morphology: three kinds of measurement of one neuron."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from jamie._docs import document

from ._assemble import LABELS, assemble, classes
from ._cache import obtain
from ._patchseq_motor_cortex import PATCHSEQ_MOTOR_CORTEX
from ._public import PublicSet
from ._source import RawFile

if TYPE_CHECKING:
    from mudata import MuData

ATLAS = ("berenslab/mini-atlas", "3bf98a524b8e48aa8647e1b9ae8f2351d9c712c9")
MORPHOLOGY = RawFile(
    *ATLAS,
    "data/m1_patchseq_morph_features.csv",
    "9dfe875dd486428991005e956cfb7e4dc2b0b524af9cd5f61a79ec3af4f26686",
    414_858,
)
CELLS = RawFile(
    *ATLAS,
    "data/m1_patchseq_meta_data.csv",
    "5c47ec8c5437bba95d4b75dd66896e33aa67dce294621982a466ad23abcf63d4",
    400_798,
)
NO_FEATURES = ["normalized layer", "cell class"]
"""Columns of the table of morphology that are text."""


@document("folder")
def patchseq_motor_trio(*, folder: str | Path | None = None) -> MuData:
    """Patch-seq of mouse motor cortex: genes, electrophysiology and, of 621 of the 1,208 neurons, morphology.

    The cells of :func:`jamie.datasets.patchseq_motor_cortex`, with what was reconstructed of their shape. Published
    in [1]_. Fetched once and kept, see :func:`jamie.datasets.load`; needs the extra ``jamie-tools[data]``.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Three modalities, cells of the same name are the same neuron

    `mdata["rna"]`, 1,208 × 1,286, sparse, and `mdata["ephys"]`, 1,208 × 29, dense
        As in :func:`jamie.datasets.patchseq_motor_cortex`.
    `mdata["morph"]`, 621 × 61, dense
        Features of dendrites and axon. NaN, 28 % of the values, is what was not drawn of such a neuron: apical features
        are those of excitatory cells, the axon and a few others those of inhibitory ones.
    `mdata.obs["cell_type"]`, also in each modality
        Family of the neuron by its genes.
    `mdata.obs["mouse"]`, `mdata.obs["sequencing_batch"]`, `mdata.obs["user"]`
        264 mice, 12 batches, two people: to hold out whole groups, or as batches. `mouse` is in `rna` and `ephys`, too.
    `mdata.obs`
        Also the other columns of :func:`jamie.datasets.patchseq_motor_cortex`.

    Notes
    -----
    The files are those of github.com/daifengwanglab/scMNC and github.com/berenslab/mini-atlas; neither
    states a licence.

    References
    ----------
    .. [1] Scala et al. (2021), *Phenotypic variation of transcriptomic cell types in mouse motor cortex*, Nature
       598:144.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.patchseq_motor_trio()  # doctest: +SKIP
    """
    return obtain(PATCHSEQ_MOTOR_TRIO, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    pair = PATCHSEQ_MOTOR_CORTEX.build(files)
    meta = pd.read_csv(files[CELLS.name], sep="\t", index_col="Cell").loc[pair.obs_names]
    cells = pair.obs[[column for column in pair.obs if ":" not in column]].assign(
        sequencing_batch=classes(meta["Sequencing batch"]), user=classes(meta["User"])
    )
    modalities = {**pair.mod, "morph": _morphology(files[MORPHOLOGY.name], cells)}
    for name in pair.mod:
        modalities[name].obs["mouse"] = cells["mouse"]
    return assemble(modalities, cells=cells)


def _morphology(file: Path, cells: pd.DataFrame) -> AnnData:
    table = pd.read_csv(file, index_col=0).drop(columns=NO_FEATURES)
    table = table.loc[table.index.isin(cells.index)]
    features = pd.DataFrame(index=[name.replace('"', "") for name in table])
    return AnnData(table.to_numpy(np.float32), obs=cells.loc[table.index, [LABELS]], var=features)


PATCHSEQ_MOTOR_TRIO = PublicSet(
    name="patchseq_motor_trio",
    description="The same neurons with morphology: 61 features of 621 of them, 28 % of the values missing",
    n_cells=1208,
    modalities=("rna", "ephys", "morph"),
    files=(*PATCHSEQ_MOTOR_CORTEX.files, MORPHOLOGY, CELLS),
    build=_build,
    publication="Scala et al. 2021, Nature 598:144",
    doi="10.1038/s41586-020-2907-3",
    licence="none stated",
    needs=PATCHSEQ_MOTOR_CORTEX.needs,
)
