"""Which features drive what was explained: over all cells, cell by cell, and in one cell."""

from __future__ import annotations

from textwrap import fill
from typing import Literal, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mudata import MuData
from scipy import sparse

from jamie import get
from jamie._checks import require_name, require_option, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._types import Array, Matrix

from ._style import PALETTE, bare, with_plain_names
from ._waterfall import LINE, draw_waterfall, tick

Kind = Literal["bars", "beeswarm", "waterfall"]
WIDTH = 3.54  # of a column of a page, in inches
N_BINS = 100  # over the width of the axes, within which points are set beside each other


@with_plain_names
@document("mdata or adata", "ax", "key_added")
def importance(
    mdata: MuData | AnnData,
    *,
    source: str,
    target: str,
    feature: str | None = None,
    kind: Kind = "bars",
    cell: str | None = None,
    n_top: int = 15,
    ax: Axes | None = None,
    key_added: str = "jamie",
) -> Axes:
    """Draw the most important features of the source, by the SHAP values of :func:`jamie.tl.explain`.

    Parameters
    ----------
    {shared}
    source
        Modality whose features explain.
    target
        What was explained: a modality, ``"latent"``, or the column of the labels.
    feature
        Feature of the target, latent dimension or label; if `None`, all that were explained, each by the shares of the
        features in it, so that units do not mix. Needed for all kinds but bars.
    kind
        ``"bars"``, mean absolute SHAP values; ``"beeswarm"``, a point for each cell, coloured by what was measured;
        ``"waterfall"``, the way of one cell from the mean of the background to its value.
    cell
        Cell of the waterfall; if `None`, that whose value is furthest from the mean of the background.
    n_top
        Features to draw.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If this was not explained or not kept by cell, or the kind or cell is not there.
    ValueError
        If `n_top` is below 1, or `cell` is given for another kind than the waterfall.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.explain(mdata, model, source="rna", target="protein", features=["protein3"])
    >>> ax = jm.pl.importance(mdata, source="rna", target="protein", feature="protein3", kind="waterfall", n_top=5)
    >>> [label.get_text() for label in ax.get_yticklabels()][0]
    '35 other features'
    """
    require_option(kind, get_args(Kind), name="kind")
    require_positive(n_top=n_top)
    if cell is not None and kind != "waterfall":
        msg = f"expected kind='waterfall' beside `cell`, found kind={kind!r}"
        raise InvalidValueError(msg)
    drives = get.importance(
        mdata, source=source, target=target, feature=feature, by_cell=kind != "bars", key_added=key_added
    )
    if cell is not None and drives.by_cell is not None:
        require_name(cell, list(drives.by_cell.cells), name="cell", hint="it names a cell that was explained")
    n_top = min(n_top, len(drives.means))
    names = list((mdata if isinstance(mdata, AnnData) else mdata[source]).var_names)
    if ax is None:
        per_row = 0.18 if max(map(len, names)) <= LINE else 0.25  # two lines
        n_rows = n_top + (3 if kind == "waterfall" else 0)
        _, ax = plt.subplots(figsize=(WIDTH, 1.1 + per_row * n_rows), layout="constrained")
    ax.set_title(f"{source} → {target}" + ("" if feature in (None, target) else f": {feature}"))
    by_cell = drives.by_cell
    if by_cell is None:
        heights = drives.shares() if feature is None else drives.means[feature]
        _draw_bars(ax, heights, n_top, drives.n_cells)
        ax.set_xlabel(_of_bars(target, feature, drives.scale, drives.means.shape[1]))
    elif kind == "beeswarm":
        _draw_beeswarm(ax, by_cell.values, by_cell.data, names, n_top)
        ax.set_xlabel(_with_units(f"SHAP value for {feature}", drives.scale))
    else:
        i = None if cell is None else int(by_cell.cells.get_loc(cell))
        i = draw_waterfall(ax, by_cell.values, by_cell.data, by_cell.base, names, n_top, i)
        title, numbers = ax.get_title().rsplit("\n", 1)
        ax.set_title(f"{title}\n{by_cell.cells[i]}\n{numbers}")
        what = {"latent": str(feature), "logit": f"score of {feature}"}.get(drives.scale, f"imputed {feature}")
        ax.set_xlabel(_with_units(what, drives.scale))
    # Beside long names the axes are narrow: what stands above and below them may reach out to the left.
    ax.set_title(ax.get_title(), fontsize=8, x=1, ha="right")
    ax.set_xlabel(ax.get_xlabel(), fontsize=8, loc="right")
    ax.locator_params(axis="x", nbins=5 if kind == "waterfall" else 4)
    bare(ax).tick_params(labelsize=7)
    ax.tick_params("y", length=0)
    plt.setp(ax.get_yticklabels(), linespacing=1)
    return ax


def _draw_bars(ax: Axes, heights: pd.Series, n_top: int, n_cells: int) -> None:
    top = np.argsort(-heights.to_numpy(), kind="stable")[:n_top]
    ax.barh(np.arange(n_top), heights.iloc[top], height=0.7, color=PALETTE[0])
    ax.set_yticks(np.arange(n_top), [tick(name) for name in heights.index[top]])
    ax.set_ylim(n_top - 0.4, -0.6)
    part = heights.iloc[top].sum() / (heights.sum() or 1)
    shown = f"{n_top} of {len(heights):,} features, {100 * part:.0f} % of the sum; {n_cells:,} cells"
    ax.set_title(f"{ax.get_title()}\n{shown}")


def _of_bars(target: str, feature: str | None, scale: str, n_explained: int) -> str:
    if feature is not None:
        return _with_units(f"mean |SHAP value| for {feature}", scale)
    what = {"latent": "latent dimensions", "logit": f"labels of {target}"}.get(scale, f"features of {target}")
    return f"share of the explanation (%),\nmean over {n_explained:,} {what}"


def _draw_beeswarm(ax: Axes, values: Array, measured: Matrix, names: list[str], n_top: int) -> None:
    top = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[:n_top]
    data = measured[:, top]
    data = data.toarray() if sparse.issparse(data) else data
    order = np.random.default_rng(0).permutation(len(values))  # so that no group of cells lies on top
    x = values[order][:, top].T  # features × cells
    low, high = x.min(), x.max()
    bins = np.round(N_BINS * (x - low) / ((high - low) or 1))
    y = np.arange(n_top)[:, None] + np.stack([_beside(row) for row in bins])
    colors = np.stack([_between_percentiles(column) for column in data[order].T])
    size = float(np.interp(x.shape[1], [50, 2_000], [10, 2.5]))
    cmap = colormaps["viridis"].with_extremes(bad="0.7")
    ax.axvline(0, color="0.7", lw=0.8, zorder=0)
    points = ax.scatter(
        x.ravel(), y.ravel(), c=colors.ravel(), s=size, cmap=cmap, vmin=0, vmax=1, lw=0, plotnonfinite=True,
        rasterized=x.size > 500,
    )  # fmt: skip
    ax.set_yticks(np.arange(n_top), [tick(names[i]) for i in top])
    ax.set_ylim(n_top - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.set_title(f"{ax.get_title()}\n{len(values):,} cells")
    bar = ax.figure.colorbar(points, ax=ax, shrink=0.5, aspect=25, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["low", "high"], fontsize=7)
    bar.ax.tick_params(length=0)
    bar.set_label("value of the feature", fontsize=7, labelpad=-8)
    bar.outline.set_visible(False)


def _beside(bins: Array) -> Array:
    """Distances from the middle of the row that set the points of a bin beside each other."""
    order = np.argsort(bins, kind="stable")
    _, first, count = np.unique(bins[order], return_index=True, return_counts=True)
    rank = np.empty(len(bins))
    rank[order] = np.arange(len(bins)) - np.repeat(first, count)
    steps = np.ceil(rank / 2) * np.where(rank % 2, 1, -1)
    return 0.4 * steps / max(np.abs(steps).max(), 8)


def _between_percentiles(values: Array) -> Array:
    """Values as a share of the way from the 5th to the 95th percentile, further out where these are one."""
    seen = values[np.isfinite(values)]
    for p in (5, 1, 0):
        low, high = np.percentile(seen, [p, 100 - p]) if len(seen) else (0.0, 0.0)
        if high > low:
            return ((values - low) / (high - low)).clip(0, 1)
    return np.full(len(values), np.nan)


def _with_units(text: str, scale: str) -> str:
    return fill(text, 44) + ("" if scale == "latent" else f"\n({scale.split(':')[0]})")
