"""Simulated and public data sets, each a `MuData`."""

from __future__ import annotations

from ._branching import branching_manifold
from ._citeseq_citefuse import citeseq_citefuse
from ._citeseq_pbmc5k_rna import citeseq_pbmc5k_rna
from ._citeseq_pbmc10k import citeseq_pbmc10k
from ._citeseq_pbmc_mosaic import citeseq_pbmc_mosaic
from ._load import load
from ._multiome import multiome
from ._patchseq_fuzik2016 import patchseq_fuzik2016
from ._patchseq_motor_cortex import patchseq_motor_cortex
from ._patchseq_motor_trio import patchseq_motor_trio
from ._scgem import scgem
from ._sim_dyngen_rna_protein import sim_dyngen_rna_protein
from ._sim_rna_atac_5types import sim_rna_atac_5types
from ._snareseq_cellline import snareseq_cellline
from ._snareseq_mouse_cortex import snareseq_mouse_cortex
from ._toy import toy

__all__ = [
    "branching_manifold",
    "citeseq_citefuse",
    "citeseq_pbmc5k_rna",
    "citeseq_pbmc10k",
    "citeseq_pbmc_mosaic",
    "load",
    "multiome",
    "patchseq_fuzik2016",
    "patchseq_motor_cortex",
    "patchseq_motor_trio",
    "scgem",
    "sim_dyngen_rna_protein",
    "sim_rna_atac_5types",
    "snareseq_cellline",
    "snareseq_mouse_cortex",
    "toy",
]
