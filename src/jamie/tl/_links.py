"""Which regions of open chromatin drive which genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator, require_name, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import write
from jamie._types import Array, Seed
from jamie.attribution import AllCells, feature_readout
from jamie.data import coordinates, near, starts, training_cells, writable
from jamie.model import JAMIE

from ._knockout_judge import by_correlation
from ._links_scores import losses_of_pairs, partial_correlation, shap_of_pairs
from ._predictions import positions

MOST_PAIRS = 20_000_000


@document("mdata", "model", "rng", "key_added")
def links(
    mdata: MuData,
    model: JAMIE,
    *,
    genes: str,
    regions: str,
    features: Sequence[str] | None = None,
    window: int | None = 250_000,
    knockout: bool = True,
    n_cells: int = 2_000,
    n_background: int = 50,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """A table of regions and genes: how far apart, what the region gives to the imputed gene, what is lost without it.

    All pairs are done in one pass, whose cost grows with cells and hardly with pairs. SHAP values and knock-outs say
    what the model uses, which are programmes that many regions share; `partial` says whether this very region and this
    gene go together beyond those: rank by it to find drivers, as planted ones show (see the page on the method).

    Parameters
    ----------
    {shared}
    genes, regions
        Modalities. Both need coordinates: columns `chrom`, `start` and `end` of `.var`, or a column `interval` or names
        such as ``chr1:100-200``. The transcription start site is `start`, or `end` where a column `strand` has ``"-"``.
    features
        Genes; all of those with coordinates if `None`.
    window
        Largest distance of a region's middle from the start site, in bases; the whole chromosome if `None`.
    knockout
        Whether to knock out each region, too.
    n_cells
        Cells to explain, and cells to judge knock-outs by, at most, drawn at random.
    n_background
        Training cells that SHAP values compare with.

    Returns
    -------
    A data frame with a row for each region and gene, the highest `abs_shap` first, which is also set as
    `mdata.uns['jamie_links']`:

    `region`, `gene`, `chrom`
        Names, and the chromosome of both.
    `distance`
        From the start site to the region's middle, in bases; negative is upstream.
    `shap`
        Mean SHAP value over the cells in which the region is open: what being open adds to the imputed gene.
    `abs_shap`
        Mean absolute SHAP value over all explained cells, in units of the imputed gene.
    `knockout`
        How much lower the correlation of the imputed gene with the measured one is with the region closed.
    `partial`
        Correlation of the region with what the model leaves unexplained of the measured gene, over all pairs of cells.

    Raises
    ------
    KeyError
        If a modality or gene is not there, or has no coordinates.
    ValueError
        If no region is in the window of any gene, or over 20 million pairs are, or genes are open chromatin.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> table = jm.tl.links(mdata, model, genes="rna", regions="atac", window=10_000)
    >>> table.columns.tolist()
    ['region', 'gene', 'chrom', 'distance', 'shap', 'abs_shap', 'knockout', 'partial']
    """
    mdata = writable(mdata, copy=False)
    keys, rng = Keys(key_added), generator(rng)
    known = [name for name in model.preparations_ if name in mdata.mod]
    require_name(genes, known, name="genes")
    require_name(regions, [name for name in known if name != genes], name="regions")
    require_positive(n_cells=n_cells, n_background=n_background)
    if model.preparations_[genes].kind == "accessibility":
        msg = f"expected genes in {genes!r}, found open chromatin; are `genes` and `regions` exchanged?"
        raise InvalidValueError(msg)
    columns = positions(model, genes, features)
    every = AllCells.of(mdata, model, regions)
    position = every.position
    table = _pairs(mdata, genes, regions, model.preparations_[genes].features[columns], position, window)
    pairs = table[["region", "gene"]].to_numpy().T
    train = np.flatnonzero(training_cells(mdata, regions, keys))
    explained, background = (np.sort(rng.permutation(train)[:n]) for n in (n_cells, n_background))
    readout = feature_readout(model, genes, columns)
    table["shap"], table["abs_shap"] = shap_of_pairs(
        model, regions, readout, every.take(explained), every.take(background), np.unique(pairs[0]), pairs
    )
    if knockout:
        judged = by_correlation(mdata, model, regions, genes, features, every, n_cells, rng, keys)
        table["knockout"] = losses_of_pairs(model, regions, judged, pairs)
    table["partial"] = partial_correlation(mdata, model, genes, regions, every, columns, pairs, keys)
    table["region"] = mdata[regions].var_names[position[pairs[0]]]
    table["gene"] = model.preparations_[genes].features[columns[pairs[1]]]
    table = table.sort_values("abs_shap", ascending=False, kind="stable", ignore_index=True)
    write(mdata, None, "uns", keys.links, table)
    return table


def _pairs(mdata: MuData, genes: str, regions: str, names: Array, position: Array, window: int | None) -> pd.DataFrame:
    """Regions, as indices into `position`, and genes, as indices into `names`, that are near each other."""
    of_regions = coordinates(mdata, regions).iloc[position]
    of_genes = starts(mdata, genes).reindex(names)
    lost = int(of_genes["chrom"].isna().sum())
    if lost:
        logger.warning("%d of %d genes of %r have no coordinates: they are left out", lost, len(of_genes), genes)
    region, gene, distance = near(of_regions, of_genes, np.inf if window is None else window)
    if not 0 < len(region) <= MOST_PAIRS:
        reach = "the whole chromosome" if window is None else f"{window:,} bases"
        msg = (
            f"expected 1 to {MOST_PAIRS:,} pairs of a region and a gene within {reach}, found {len(region):,}; "
            "pass another `window`, or fewer genes by `features`; are chromosomes named alike in both modalities?"
        )
        raise InvalidValueError(msg)
    chrom = of_genes["chrom"].to_numpy()[gene]
    return pd.DataFrame({"region": region, "gene": gene, "chrom": chrom, "distance": distance.astype(int)})
