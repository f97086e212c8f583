"""Which regions of open chromatin drive which genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator, require_name, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._slots import in_one_line, write
from jamie._types import Array, Seed
from jamie.attribution import (
    SourceCells,
    by_correlation,
    feature_readout,
    losses_of_pairs,
    paired_cells,
    partial_correlation,
    shap_of_pairs,
)
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

MOST_PAIRS = 20_000_000


@in_one_line
@document("mdata", "model", "feature_names", "rng", "key_added")
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
    layer: Layers = None,
    feature_names: FeatureNames = None,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """A table of regions and genes: how far apart, what the region gives to the imputed gene, what is lost without it.

    All pairs are done in one pass, whose cost grows with cells and hardly with pairs. SHAP values and knock-outs say
    what the model uses, which are programmes that many regions share; `partial` says whether this very region and this
    gene go together beyond those. To find drivers, rank by that, ``table.sort_values("partial", key=abs,
    ascending=False)``, as planted ones show (see the page on the method).

    Parameters
    ----------
    {shared}
    genes, regions
        Modalities. Both need coordinates: columns `chrom`, `start` and `end` of `.var`, or a column `interval` or names
        such as ``chr1:100-200``, and the same names of chromosomes. The transcription start site is `start`, or `end`
        where the column `strand` says minus: ``"-"``, -1, ``"minus"`` or ``"reverse"``. Genes whose strand is not known
        (``"."``, 0, NaN, or no column) count as on the plus strand, which is logged.
    features
        Genes; all of those with coordinates if `None`.
    window
        Largest distance of a region's middle from the start site, a whole number of bases; the whole chromosome if
        `None`.
    knockout
        Whether to knock out each region, too.
    n_cells
        Cells to explain, and cells to judge knock-outs by, at most, drawn at random.
    n_background
        Training cells that SHAP values compare with.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A data frame with a row for each region and gene, the highest `abs_shap` first and ties by gene, a copy of which is
    set as `mdata.uns['jamie_links']`:

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
        If no region is in the window of any gene, or over 20 million pairs are, or genes are open chromatin; if
        coordinates, strands or the window cannot be read, or both modalities name chromosomes differently.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.links(mdata, model, genes="rna", regions="atac", window=10_000)
    >>> table.columns.tolist()
    ['region', 'gene', 'chrom', 'distance', 'shap', 'abs_shap', 'knockout', 'partial']
    """
    mdata = writable(mdata, copy=False)
    rng = generator(rng)
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    require_name(genes, cells.names, name="genes")
    require_name(regions, [name for name in cells.names if name != genes], name="regions")
    require_positive(n_cells=n_cells, n_background=n_background)
    reach = None if window is None else require_bases(window, name="window")
    if model.preparations_[genes].kind == "accessibility":
        msg = f"expected genes in {genes!r}, found open chromatin; are `genes` and `regions` exchanged?"
        raise InvalidValueError(msg)
    columns, names = model.positions(genes, features), (regions, genes)
    gene_names = model.preparations_[genes].features[columns]
    region_places = coordinates(cells.var(regions).iloc[cells.matched(regions).position], modality=regions)
    gene_places = starts(cells.var(genes), modality=genes, names=gene_names)
    require_same_chromosomes(region_places, gene_places, modalities=names)
    linked = _require_pairs(near(region_places, gene_places, np.inf if reach is None else reach), reach)
    pairs = np.stack([linked.region, linked.gene])
    train = np.flatnonzero(cells.compared_with(regions))
    explained, background = (np.sort(rng.permutation(train)[:n]) for n in (n_cells, n_background))
    paired = cells.pairs(regions, genes)
    judged = None
    if knockout:
        judged = paired_cells(paired.test, cells=paired.cells, names=names, n_cells=n_cells, rng=rng)
    table = pd.DataFrame(
        {
            "region": region_places.index[linked.region],
            "gene": gene_names[linked.gene],
            "chrom": gene_places["chrom"].to_numpy()[linked.gene],
            "distance": linked.distance.astype(int),
        }
    )

    source_cells = SourceCells.of(cells, regions, model.preparations_[regions])
    table["shap"], table["abs_shap"] = shap_of_pairs(
        model,
        regions,
        feature_readout(model, genes, columns),
        source_cells.take(explained),
        source_cells.take(background),
        pairs,
    )
    if judged is not None:
        measured = cells.measured(genes, judged.target, columns)
        taken = source_cells.take(judged.source)
        judge = by_correlation(model, regions, genes, taken, columns, measured)
        table["knockout"] = losses_of_pairs(model, regions, judge, pairs)
    rows, partners = paired.train if paired.cells == "in-sample" else np.hstack([paired.train, paired.test])

    def read(block: Array) -> Array:
        return cells.measured(genes, partners, block)

    table["partial"] = partial_correlation(model, names, source_cells.take(rows), columns, read, pairs)
    table = table.sort_values("abs_shap", ascending=False, kind="stable", ignore_index=True)
    write(mdata, None, "uns", cells.keys.links, table.copy())
    return table


def _require_pairs(pairs: NearPairs, window: int | None) -> NearPairs:
    """Raise if there are no pairs, or too many."""
    if not 0 < len(pairs.region) <= MOST_PAIRS:
        reach = "the whole chromosome" if window is None else f"{window:,} bases"
        msg = (
            f"expected 1 to {MOST_PAIRS:,} pairs of a region and a gene within {reach}, found {len(pairs.region):,}; "
            "pass another `window`, or fewer genes by `features`"
        )
        raise InvalidValueError(msg)
    return pairs
