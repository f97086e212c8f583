"""All public data sets by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ._citeseq_citefuse import CITESEQ_CITEFUSE
from ._citeseq_pbmc5k_rna import CITESEQ_PBMC5K_RNA
from ._citeseq_pbmc10k import CITESEQ_PBMC10K
from ._citeseq_pbmc_mosaic import CITESEQ_PBMC_MOSAIC
from ._patchseq_fuzik2016 import PATCHSEQ_FUZIK2016
from ._patchseq_motor_cortex import PATCHSEQ_MOTOR_CORTEX
from ._patchseq_motor_trio import PATCHSEQ_MOTOR_TRIO
from ._scgem import SCGEM
from ._sim_dyngen_rna_protein import SIM_DYNGEN_RNA_PROTEIN
from ._sim_rna_atac_5types import SIM_RNA_ATAC_5TYPES
from ._snareseq_cellline import SNARESEQ_CELLLINE
from ._snareseq_mouse_cortex import SNARESEQ_MOUSE_CORTEX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._public import PublicSet

CATALOGUE: Mapping[str, PublicSet] = MappingProxyType(
    {
        public.name: public
        for public in (
            CITESEQ_CITEFUSE,
            CITESEQ_PBMC10K,
            CITESEQ_PBMC5K_RNA,
            CITESEQ_PBMC_MOSAIC,
            PATCHSEQ_FUZIK2016,
            PATCHSEQ_MOTOR_CORTEX,
            PATCHSEQ_MOTOR_TRIO,
            SCGEM,
            SIM_DYNGEN_RNA_PROTEIN,
            SIM_RNA_ATAC_5TYPES,
            SNARESEQ_CELLLINE,
            SNARESEQ_MOUSE_CORTEX,
        )
    }
)
