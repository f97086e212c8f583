"""What `load` knows by name: public data sets, prepared as `.h5mu`, and whom to cite for them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Entry:
    """One public data set."""

    description: str
    n_cells: int
    modalities: tuple[str, ...]
    publication: str
    doi: str


CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "citeseq_pbmc10k": Entry(
            description="CITE-seq of human blood cells: 4,000 genes, 14 surface proteins; labels gated on the proteins",
            n_cells=6855,
            modalities=("rna", "protein"),
            publication="10x Genomics 2018, as filtered for Gayoso et al. 2021, Nat Methods 18:272",
            doi="10.1038/s41592-020-01050-x",
        ),
        "citeseq_pbmc_mosaic": Entry(
            description="CITE-seq of human blood cells: 800 with both modalities, 400 with one each",
            n_cells=1600,
            modalities=("rna", "protein"),
            publication="Hao et al. 2021, Cell 184:3573",
            doi="10.1016/j.cell.2021.04.048",
        ),
        "patchseq_fuzik2016": Entry(
            description="Patch-seq of mouse neocortex, small: 13,089 genes, 80 electrophysiology features, eight types",
            n_cells=80,
            modalities=("rna", "ephys"),
            publication="Fuzik et al. 2016, Nat Biotechnol 34:175",
            doi="10.1038/nbt.3443",
        ),
        "patchseq_motor_cortex": Entry(
            description="Patch-seq of mouse primary motor cortex: 1,286 genes, 29 electrophysiology features",
            n_cells=1208,
            modalities=("rna", "ephys"),
            publication="Scala et al. 2021, Nature 598:144",
            doi="10.1038/s41586-020-2907-3",
        ),
        "scgem": Entry(
            description="sc-GEM of human fibroblast reprogramming: 34 genes, methylation of 27 sites, five stages",
            n_cells=177,
            modalities=("rna", "met"),
            publication="Cheow et al. 2016, Nat Methods 13:833",
            doi="10.1038/nmeth.3961",
        ),
        "sim_dyngen_rna_protein": Entry(
            description="Simulated bifurcating regulatory network: mRNA and protein counts of the same cells",
            n_cells=200,
            modalities=("rna", "protein"),
            publication="dyngen: Cannoodt et al. 2021, Nat Commun 12:3942",
            doi="10.1038/s41467-021-24152-2",
        ),
        "sim_rna_atac_5types": Entry(
            description="Simulated genes and regions, five equal groups; pairs share their group and nothing else",
            n_cells=500,
            modalities=("rna", "atac"),
            publication="scAI: Jin, Zhang & Nie 2020, Genome Biol 21:25",
            doi="10.1186/s13059-020-1932-8",
        ),
        "snareseq_cellline": Entry(
            description="SNARE-seq of four human cell lines: 10 principal components, 19 topics, as published",
            n_cells=1047,
            modalities=("rna", "atac"),
            publication="Chen, Lake & Zhang 2019, Nat Biotechnol 37:1452",
            doi="10.1038/s41587-019-0290-0",
        ),
        "snareseq_mouse_cortex": Entry(
            description="SNARE-seq of adult mouse cerebral cortex: 1,677 genes, 25,734 regions, very sparse counts",
            n_cells=10309,
            modalities=("rna", "atac"),
            publication="Chen, Lake & Zhang 2019, Nat Biotechnol 37:1452",
            doi="10.1038/s41587-019-0290-0",
        ),
    }
)
