"""Simulated messengers and proteins of a branching regulatory network, made with dyngen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
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

SIMULATION = RawFile(
    "openproblems-bio/neurips2021_multimodal_viash",
    "ed7837b0aae7e07073d440ae950db3243accbaa6",
    "resources/test/dyngen_bifurcating_antibody/dataset.h5ad",
    "10c752941c514b5bd378866b5a9a47e92ed02b44afc2fa2dc5495662311a1c94",
    173_205,
)
THIRDS = ["early", "middle", "late"]


@document("folder")
def sim_dyngen_rna_protein(*, folder: str | Path | None = None) -> MuData:
    """Simulated messengers and proteins of the same 200 cells of a branching regulatory network.

    Which cell is which is known by simulation, and strong within types: for FOSCTTM. Published in [1]_. Fetched once
    and kept, see :func:`jamie.datasets.load`.

    Parameters
    ----------
    {shared}

    Returns
    -------
    Modalities of the same cells

    `mdata["rna"]`, 200 × 150, and `mdata["protein"]`, 200 × 150, sparse
        Counts of 150 messengers and of their proteins; 100 of the proteins are in no cell.
    `mdata.obs["cell_type"]`, also in each modality
        **Derived here**: thirds of the time of the simulation, `"early"`, `"middle"`, `"late"`.
    `mdata.obs["sim_time"]`, `mdata.obs["simulation"]`
        That time, and the run that a cell is from.

    Notes
    -----
    The file is that of github.com/openproblems-bio/neurips2021_multimodal_viash of June 2021, under the MIT licence.

    References
    ----------
    .. [1] Cannoodt et al. (2021), *Spearheading future omics analyses using dyngen, a multi-modal simulator of single
       cells*, Nature Communications 12:3942.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.sim_dyngen_rna_protein()  # doctest: +SKIP
    """
    return obtain(SIM_DYNGEN_RNA_PROTEIN, folder)


def _build(files: Mapping[str, Path]) -> MuData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", anndata.OldFormatWarning)  # the file is of 2021
        simulated = anndata.read_h5ad(files[SIMULATION.name])
    proteins = [f"{name}_protein" for name in simulated.var_names]
    modalities = {
        "rna": _counts(simulated.X, simulated.obs_names, simulated.var_names),
        "protein": _counts(simulated.layers["protein"], simulated.obs_names, proteins),
    }
    time = simulated.obs["sim_time"].to_numpy(float)
    columns = {
        LABELS: classes(pd.Series(pd.qcut(time, len(THIRDS), labels=THIRDS))),
        "sim_time": time,
        "simulation": classes(simulated.obs["simulation_i"].astype(int)),
    }
    return labelled(modalities, pd.DataFrame(columns, index=simulated.obs_names))


def _counts(counts: sparse.spmatrix, cells: pd.Index, features: pd.Index | list[str]) -> AnnData:
    csr = sparse.csr_matrix(counts, dtype=np.float32)
    return AnnData(csr, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=features))


SIM_DYNGEN_RNA_PROTEIN = PublicSet(
    name="sim_dyngen_rna_protein",
    description="Simulated bifurcating regulatory network: mRNA and protein counts of the same cells",
    n_cells=200,
    modalities=("rna", "protein"),
    files=(SIMULATION,),
    build=_build,
    publication="dyngen: Cannoodt et al. 2021, Nat Commun 12:3942",
    doi="10.1038/s41467-021-24152-2",
    licence="MIT (repository)",
    note="cell_type is derived: thirds of the simulation time.",
)
