"""How many features have imputed distributions that are like the measured ones, group by group."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mudata import MuData

from jamie import get
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._types import Array

from ._style import PALETTE, bare, with_plain_names

COLORS = [color for color in PALETTE if color not in ("#F0E442", "#000000")]  # black is the mean; yellow is lost
STYLES = ["-", "--", ":"]
MOST_GROUPS = len(COLORS) * len(STYLES)


@with_plain_names
@document("mdata", "ax", "key_added")
def js_distances(
    mdata: MuData,
    *,
    source: str,
    target: str,
    groupby: str,
    ax: Axes | None = None,
    key_added: str = "jamie",
) -> Axes:
    """Draw the share of features whose 1 − JS distance is above each value, for each group of cells and their mean.

    As figures 3d to 5d of the paper, on the cells that the model has not seen where there are any: the further to the
    right a curve falls, the more alike are imputed and measured distributions within that group. A small group has
    larger distances even between two measured samples, so compare groups of like size.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`.
    groupby
        Column of the `.obs` of the modalities, or of `mdata.obs`, such as cell types, with at most 18 groups.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If this was not imputed, or there is no such column.
    ValueError
        If there are too many groups to tell apart, or none, or no feature has a distance.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> ax = jm.pl.js_distances(mdata, source="rna", target="protein", groupby="cell_type")
    >>> len(ax.get_lines())
    4
    """
    found = get.js_distances(mdata, source=source, target=target, groupby=groupby, key_added=key_added)
    table = found.table.loc[:, found.table.notna().any()]
    if not 1 <= table.shape[1] <= MOST_GROUPS:
        msg = (
            f"expected 1 to {MOST_GROUPS} groups with a distance, found {table.shape[1]} in {groupby!r}; pass groupby= "
            "a column of cell types"
        )
        raise InvalidValueError(msg)
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    curves = []
    at = np.linspace(0, 1, 201)
    for i, group in enumerate(table):
        similarity = 1 - table[group].dropna().to_numpy()
        curves.append(_above(similarity, at))
        label = f"{group} ({found.n_cells[group]:,}): {np.median(similarity):.2f}"
        ax.plot(at, curves[-1], lw=1.1, color=COLORS[i % len(COLORS)], ls=STYLES[i // len(COLORS)], label=label)
    ax.plot(at, np.mean(curves, axis=0), color="black", lw=2.2, label=f"mean: {1 - np.nanmean(table):.2f}")
    ax.legend(
        title="cells: median", loc="center left", bbox_to_anchor=(1, 0.5), alignment="left", fontsize=7,
        title_fontsize=7, frameon=False,
    )  # fmt: skip
    ax.set_title(f"{source} → {target}, {int(found.n_cells.sum()):,} {found.cells} cells", fontsize=9)
    ax.set_xlabel("1 − JS distance of measured and imputed", fontsize=8)
    ax.set_ylabel("share of features above", fontsize=8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    bare(ax).tick_params(labelsize=7)
    return ax


def _above(values: Array, at: Array) -> Array:
    """Share of the values above each of some others."""
    return 1 - np.searchsorted(np.sort(values), at, side="right") / len(values)
