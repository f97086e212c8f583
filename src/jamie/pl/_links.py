"""Regions that drive a gene, and how that depends on their distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath
from matplotlib.ticker import StrMethodFormatter
from mudata import MuData

from jamie import get
from jamie._checks import require_name
from jamie._docs import document
from jamie._types import Array

from ._style import PALETTE, bare, with_plain_names, with_plain_ticks

SIGNS = {1: (PALETTE[0], "opening raises the gene"), -1: (PALETTE[5], "opening lowers the gene"), 0: ("0.5", "neither")}
LEGEND: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1),
    "fontsize": 7,
    "handlelength": 1.4,
    "frameon": False,
}
FONT, ROW = 6.5, 8.5  # points
MOST_POINTS = 20_000
NEAREST = 0.1  # kb
N_BINS = 10
FEWEST = 5  # pairs to take quartiles of


@with_plain_names
@document("mdata", "ax", "key_added")
def links(
    mdata: MuData, *, gene: str | None = None, n_top: int = 5, ax: Axes | None = None, key_added: str = "jamie"
) -> Axes:
    """Draw how much each region near a gene drives it, or how that falls with the distance over all genes.

    Of a gene, a stem for each region, as high as its mean absolute SHAP value. Of all, a point for each pair of a
    region and a gene, at most 20,000 of them, evenly spaced in rank, and medians and quartiles over all pairs.

    Parameters
    ----------
    {shared}
    gene
        Gene to draw the regions of; all pairs if `None`.
    n_top
        Regions to name, the highest first, as many as there is room for.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If links, or links of this gene, were not computed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.tl.links(mdata, model, genes="rna", regions="atac", window=10_000, knockout=False)
    >>> ax = jm.pl.links(mdata, gene=table.loc[0, "gene"], n_top=2)
    >>> len(ax.texts)
    2
    """
    table = get.links(mdata, key_added=key_added)
    if gene is not None:
        hint = "jm.tl.links(mdata, model, genes=..., regions=...) finds others by `features` and `window`"
        require_name(gene, list(pd.unique(table["gene"])), name="gene", hint=hint)
    if ax is None:
        room = 0 if gene is None else min(n_top, 10) * ROW / 72
        _, ax = plt.subplots(figsize=(3.5, 2.5 + room), layout="constrained")
    bare(ax).tick_params(labelsize=7)
    if gene is None:
        _draw_all(ax, table)
    else:
        _draw_gene(ax, table[table["gene"] == gene], gene, n_top)
    return ax


def _draw_all(ax: Axes, table: pd.DataFrame) -> None:
    """Every pair by distance, and medians and quartiles in bins of distance."""
    x, y = np.maximum(table["distance"].abs() / 1_000, NEAREST), table["abs_shap"]
    step = -(-len(table) // MOST_POINTS)
    drawn = (np.arange(len(table)) % step == 0) & (y > 0)
    alpha = np.interp(drawn.sum(), [100, 5_000], [0.6, 0.15])
    ax.plot(x[drawn], y[drawn], "o", color="0.4", ms=2, mew=0, alpha=alpha, rasterized=True)
    edges = np.geomspace(x.min(), x.max(), N_BINS + 1)[1:-1]
    groups = pd.DataFrame({"x": x, "y": y}).groupby(np.digitize(x, edges))
    low, middle, high = (groups.quantile(q)[groups.size() >= FEWEST] for q in (0.25, 0.5, 0.75))
    spread = [middle["y"] - low["y"], high["y"] - middle["y"]]
    ax.errorbar(
        middle["x"], middle["y"], yerr=spread, fmt="o-", color=PALETTE[5], ms=4, lw=1.4, label="median, quartiles"
    )
    ax.set_xscale("log")
    if drawn.any():
        ax.set_yscale("log")
        with_plain_ticks(ax.yaxis)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_xlabel("distance of region and start site of gene, kb", fontsize=8)
    ax.set_ylabel("mean |SHAP| of the region", fontsize=8)
    title = f"{len(table):,} pairs" + (f", {drawn.sum():,} drawn" if step > 1 else "")
    ax.legend(title=title, title_fontsize=8, **LEGEND)


def _draw_gene(ax: Axes, table: pd.DataFrame, gene: str, n_top: int) -> None:
    """A stem for each region."""
    x, height = table["distance"].to_numpy() / 1_000, table["abs_shap"].to_numpy()
    for sign, (color, label) in SIGNS.items():
        these = np.sign(table["shap"].to_numpy()) == sign
        if these.any():
            ax.vlines(x[these], 0, height[these], color=color, lw=1.2)
            ax.plot(x[these], height[these], "o", color=color, ms=3.2, label=f"{label} ({these.sum():,})")
    most, low, high = float(height.max()) or 1.0, min(0.0, x.min()), max(0.0, x.max())
    room = 0.05 * (high - low) or 1.0
    ax.plot([0, 0], [0, most], color="0.4", lw=0.9, ls=":", zorder=0)
    ax.set(xlim=(low - room, high + room), ylim=(0, 1.05 * most))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−") if value else "TSS")
    ax.set_xlabel(f"kb downstream of the start site of {gene}", fontsize=8)
    ax.set_ylabel("mean |SHAP| of the region", fontsize=8)
    ax.legend(**LEGEND)
    _name_highest(ax, x, height, table["region"].astype(str).tolist(), n_top)


def _name_highest(ax: Axes, x: Array, height: Array, names: list[str], n_top: int) -> None:
    """Name the highest stems in rows above them: names go outwards, so that no line crosses another's name."""
    most = float(height.max()) or 1.0
    ax.figure.canvas.figure.draw_without_rendering()
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    width, tall = 72 * box.width, 72 * box.height
    top = np.argsort(-height, kind="stable")[: max(0, min(n_top, int(0.6 * tall / ROW)))]
    top = top[np.argsort(x[top], kind="stable")]
    if not len(top):
        return
    wide = np.array([TextPath((0, 0), names[i], size=FONT).get_extents().width + 8 for i in top])
    first, last = ax.get_xlim()
    for _ in range(5):  # limits that make room for names take it from the stems: look again
        low, high = ax.get_xlim()
        sides, rows, short = _arranged((x[top] - low) / (high - low) * width, wide, width)
        ax.set_xlim(*(np.array([low, high]) + np.array([-1, 1]) * short * (high - low) / width))
    one = most / (tall / ROW - rows.max() - 2)  # height of a row
    ax.set_ylim(0, most + (rows.max() + 2) * one)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= most])
    ax.set_xticks([tick for tick in ax.get_xticks() if first <= tick <= last])
    ax.spines["left"].set_bounds(0, most)
    ax.spines["bottom"].set_bounds(first, last)
    for i, side, row in zip(top, sides, rows, strict=True):
        y = most + (row + 1.2) * one
        ax.plot([x[i], x[i]], [height[i], y], color="0.6", lw=0.5, zorder=0.5)
        ax.annotate(
            names[i],
            (x[i], y),
            xytext=(2 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=FONT,
        )


def _arranged(at: Array, wide: Array, width: float) -> tuple[Array, Array, Array]:
    """Side of each name (−1 is left of its line), its row, and the room that is short at both ends: as little as can.

    Names left of some place go left and the others right; or the other way round, where no line is under a name of the
    other side.
    """
    arranged = []
    for n_left in range(len(at) + 1):
        one, other = slice(n_left), slice(n_left, None)
        for side in (-1, 1):
            rows = np.r_[_rows(at[one], wide[one], side), _rows(at[other], wide[other], -side)]
            if side > 0 and 0 < n_left < len(at):
                if at[n_left] - at[n_left - 1] < wide.max():
                    continue
                rows[other] += rows[one].max() + 1
            sides = np.where(np.arange(len(at)) < n_left, side, -side)
            left, right = (wide - at)[sides < 0].max(initial=0), (at + wide - width)[sides > 0].max(initial=0)
            arranged.append((left + right, rows.max(), sides, rows, np.array([left, right])))
    best = min(arranged, key=lambda option: option[:2])
    return best[2:]


def _rows(at: Array, wide: Array, side: int) -> Array:
    """Rows, from below, of names that all go to one side of their lines: each above all whose lines are under it."""
    start = side * at
    order = np.argsort(start, kind="stable")
    rows = np.zeros(len(at), dtype=int)
    for k in reversed(range(len(at))):
        i, after = order[k], order[k + 1 :]
        rows[i] = 1 + rows[after][start[after] < start[i] + wide[i]].max(initial=-1)
    return rows
