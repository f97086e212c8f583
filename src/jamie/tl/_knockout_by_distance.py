"""What genes lose without the regions near and far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator, require_name, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._slots import in_one_line, write
from jamie._types import Array, Seed
from jamie.attribution import SourceCells, by_correlation, knocked_out, paired_cells
from jamie.data import (
    FeatureNames,
    Layers,
    NearPairs,
    coordinates,
    near,
    open_for_model,
    require_bases,
    require_same_chromosomes,
    starts,
    writable,
)
from jamie.model import JAMIE

SETS = ("none", "near", "chromosome", "genome", "random")


@in_one_line
@document("mdata", "model", "feature_names", "rng", "key_added")
def knockout_by_distance(
    mdata: MuData,
    model: JAMIE,
    *,
    genes: str,
    regions: str,
    features: Sequence[str] | None = None,
    distance: int = 10_000,
    n_cells: int = 2_000,
    n_random: int = 10,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """How well each gene is imputed without the regions near it, on its chromosome, anywhere, or as many at random.

    The comparison of the paper's figure 6a, without its mistake: each set is knocked out by itself, never on top of
    others. Genes without a region within `distance` are left out.

    Parameters
    ----------
    {shared}
    genes, regions
        Modalities, with coordinates as for :func:`jamie.tl.links`.
    features
        Genes; all of those with coordinates if `None`.
    distance
        Of a region's middle from the transcription start site, a whole number of bases, up to which it is near.
    n_cells
        Cells to judge by, at most, drawn at random.
    n_random
        Random sets of as many regions as are near, from the whole genome.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A data frame with a row for each gene and set, a copy of which is set as
    `mdata.uns['jamie_knockout_by_distance']`:

    `gene`, `set`
        Sets are ``"none"`` (nothing is knocked out), ``"near"``, ``"chromosome"``, ``"genome"`` and ``"random"``.
    `n_regions`
        Regions in the set.
    `correlation`
        Of the imputed gene with the measured one without these regions, for ``"random"`` the mean over sets; 0 where
        what is imputed does not vary.

    Raises
    ------
    KeyError
        If a modality or gene is not there, or has no coordinates.
    ValueError
        If no gene has a region within `distance`; if coordinates, strands or the distance cannot be read, or both
        modalities name chromosomes differently.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac")
    >>> table["set"].unique().tolist()
    ['none', 'near', 'chromosome', 'genome', 'random']
    """
    mdata = writable(mdata, copy=False)
    rng = generator(rng)
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    require_name(genes, cells.names, name="genes")
    require_name(regions, [name for name in cells.names if name != genes], name="regions")
    require_positive(n_cells=n_cells)
    reach = require_bases(distance, name="distance")
    columns, names = model.positions(genes, features), (regions, genes)
    gene_names = model.preparations_[genes].features[columns]
    region_places = coordinates(cells.var(regions).iloc[cells.matched(regions).position], modality=regions)
    gene_places = starts(cells.var(genes), modality=genes, names=gene_names)
    require_same_chromosomes(region_places, gene_places, modalities=names)
    pairs = near(region_places, gene_places, reach)
    if not len(pairs.region):
        msg = f"expected a region of {regions!r} within {reach:,} bases of a gene, found none; pass a larger distance"
        raise InvalidValueError(msg)
    paired = cells.pairs(regions, genes)
    judged = paired_cells(paired.test, cells=paired.cells, names=names, n_cells=n_cells, rng=rng)
    sets = list(_sets(pairs, region_places["chrom"].to_numpy(), gene_places["chrom"].to_numpy(), n_random, rng))

    taken = SourceCells.of(cells, regions, model.preparations_[regions]).take(judged.source)
    measured = cells.measured(genes, judged.target, columns)
    judge = by_correlation(model, regions, genes, taken, columns, measured)
    changes = knocked_out(model, regions, genes, judge.cells, [one.members for one in sets])
    rows = [
        (gene, SETS.index(one.name), len(one.members), correlation)
        for one, changed in zip(sets, changes, strict=True)
        for gene, correlation in zip(one.genes, judge.measure(*changed, one.genes), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["gene", "set", "n_regions", "correlation"])
    table = table.groupby(["gene", "set"], as_index=False).mean()
    table["gene"], table["set"] = gene_names[table["gene"]], np.array(SETS)[table["set"]]
    table["n_regions"] = table["n_regions"].astype(int)
    write(mdata, None, "uns", cells.keys.knockout_by_distance, table.copy())
    return table


class _Set(NamedTuple):
    name: str
    members: Array  # regions
    genes: Array


def _sets(pairs: NearPairs, chrom: Array, gene_chrom: Array, n_random: int, rng: np.random.Generator) -> Iterator[_Set]:
    """Regions to knock out together, and the genes to judge that by, from the chromosome of each region and gene."""
    genes = np.unique(pairs.gene)
    yield _Set("none", np.arange(0), genes)
    yield _Set("genome", np.arange(len(chrom)), genes)
    for name in pd.unique(gene_chrom[genes]):
        yield _Set("chromosome", np.flatnonzero(chrom == name), genes[gene_chrom[genes] == name])
    for gene in genes:
        members = pairs.region[pairs.gene == gene]
        yield _Set("near", members, np.array([gene]))
        for _ in range(n_random):
            yield _Set("random", rng.choice(len(chrom), len(members), replace=False), np.array([gene]))
