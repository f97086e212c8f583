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
from jamie._keys import Keys
from jamie._slots import write
from jamie._types import Array, Seed
from jamie.attribution import AllCells, knocked_out
from jamie.data import coordinates, near, starts, writable
from jamie.model import JAMIE

from ._knockout_judge import by_correlation
from ._predictions import positions

SETS = ("none", "near", "chromosome", "genome", "random")


@document("mdata", "model", "rng", "key_added")
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
        Of a region's middle from the transcription start site, in bases, up to which it is near.
    n_cells
        Cells to judge by, at most, drawn at random.
    n_random
        Random sets of as many regions as are near, from the whole genome.

    Returns
    -------
    A data frame with a row for each gene and set, which is also set as `mdata.uns['jamie_knockout_by_distance']`:

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
        If no gene has a region within `distance`.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> table = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac")
    >>> table["set"].unique().tolist()
    ['none', 'near', 'chromosome', 'genome', 'random']
    """
    mdata = writable(mdata, copy=False)
    keys, rng = Keys(key_added), generator(rng)
    known = [name for name in model.preparations_ if name in mdata.mod]
    require_name(genes, known, name="genes")
    require_name(regions, [name for name in known if name != genes], name="regions")
    require_positive(n_cells=n_cells)
    columns = positions(model, genes, features)
    names = model.preparations_[genes].features[columns]
    every = AllCells.of(mdata, model, regions)
    position = every.position
    of_regions, of_genes = coordinates(mdata, regions).iloc[position], starts(mdata, genes).reindex(names)
    region, gene, _ = near(of_regions, of_genes, distance)
    if not len(region):
        msg = (
            f"expected a region of {regions!r} within {distance:,} bases of a gene, found none; pass a larger distance"
        )
        raise InvalidValueError(msg)
    judged = by_correlation(mdata, model, regions, genes, features, every, n_cells, rng, keys)
    sets = list(_sets(region, gene, of_regions, of_genes, n_random, rng))
    changes = knocked_out(model, regions, genes, judged.cells, [one.members for one in sets])
    rows = [
        (g, SETS.index(one.name), len(one.members), r)
        for one, changed in zip(sets, changes, strict=True)
        for g, r in zip(one.genes, judged.measure(*changed, one.genes), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["gene", "set", "n_regions", "correlation"])
    table = table.groupby(["gene", "set"], as_index=False).mean()
    table["gene"], table["set"] = names[table["gene"]], np.array(SETS)[table["set"]]
    table["n_regions"] = table["n_regions"].astype(int)
    write(mdata, None, "uns", keys.knockout_by_distance, table)
    return table


class _Set(NamedTuple):
    name: str
    members: Array  # regions
    genes: Array


def _sets(
    region: Array,
    gene: Array,
    of_regions: pd.DataFrame,
    of_genes: pd.DataFrame,
    n_random: int,
    rng: np.random.Generator,
) -> Iterator[_Set]:
    """Regions to knock out together, and the genes to judge that by."""
    chrom, n, every = of_regions["chrom"].to_numpy(), len(of_regions), np.unique(gene)
    of_gene = of_genes["chrom"].to_numpy()[every]
    yield _Set("none", np.arange(0), every)
    yield _Set("genome", np.arange(n), every)
    for name in pd.unique(of_gene):
        yield _Set("chromosome", np.flatnonzero(chrom == name), every[of_gene == name])
    for g in every:
        members = region[gene == g]
        yield _Set("near", members, np.array([g]))
        for _ in range(n_random):
            yield _Set("random", rng.choice(n, len(members), replace=False), np.array([g]))
