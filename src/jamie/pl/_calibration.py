"""Nominal against measured coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from jamie._docs import document
from jamie._errors import InvalidValueError

from ._style import PALETTE, bare, scored_cells, with_plain_names

MOST_GROUPS = 20
FEWEST_CELLS = 10


@with_plain_names
@document("ax")
def calibration(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of measured values within their intervals against the level that the intervals have.

    On the line intervals are true; below it they are too narrow. Intervals from 0 to 0, of counts that are mostly 0,
    hold more than they have to whatever is done, and are left out; the legend says how many others there are at the
    level nearest to 0.9. Of accessibility all are shown. Beside all cells a thin line stands for each of the 20 largest
    groups of at least 10 cells.

    Parameters
    ----------
    table
        What :func:`jamie.get.calibration` gives.
    {shared}

    Returns
    -------
    The axes.

    Raises
    ------
    ValueError
        If the table lacks the rows of all cells.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy(n_cells=120)
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> table = jm.get.calibration(mdata, model, source="rna", target="protein", groupby="cell_type")
    >>> ax = jm.pl.calibration(table)
    >>> ax.get_xlabel()
    'level of the interval'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    shown = "coverage" if table["kind"].iloc[0] == "accessibility" else "coverage_with_width"
    by_group = dict(list(table.groupby("group", sort=False)))
    if "all" not in by_group:
        msg = f"expected the rows of all cells in `table`, found groups {list(by_group)}; pass jm.get.calibration(...)"
        raise InvalidValueError(msg)
    everyone = by_group.pop("all")
    sizes = {name: int(rows["n_cells"].iloc[0]) for name, rows in by_group.items()}
    largest = sorted((name for name, n in sizes.items() if n >= FEWEST_CELLS), key=lambda name: -sizes[name])
    ax.axline((0, 0), slope=1, color="0.3", lw=0.9)
    colors, drawn = plt.get_cmap("tab20")(range(20)), {}
    for i, name in enumerate(largest[:MOST_GROUPS]):
        rows = by_group[name]
        label = f"{name} ({sizes[name]:,}): {_near_90(rows, shown)}"
        (drawn[label],) = ax.plot(rows["level"], rows[shown], color=colors[i % len(colors)], lw=1, alpha=0.9)
    label = f"all: {_near_90(everyone, shown)}"
    (drawn[label],) = ax.plot(everyone["level"], everyone[shown], "o-", color=PALETTE[0], lw=2, ms=4, zorder=3)
    for label, line in drawn.items():
        line.set_label(label)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    share = everyone["share_with_width"].iloc[_nearest_to_90(everyone)]
    what = "all intervals" if shown == "coverage" else f"{share:.0%} of the intervals"
    ax.legend(
        drawn.values(), drawn.keys(),  # named, for a label that begins with _ would be left out
        title=f"{what}\ncoverage at {everyone['level'].iloc[_nearest_to_90(everyone)]:.0%}", loc="center left",
        bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=7, title_fontsize=7,
    )  # fmt: skip
    cells = scored_cells(int(everyone["n_cells"].iloc[0]), everyone["cells"].iloc[0])
    ax.set_title(f"{everyone['source'].iloc[0]} → {everyone['target'].iloc[0]}, {cells}", fontsize=9)
    ax.set_xlabel("level of the interval", fontsize=8)
    ax.set_ylabel("measured values within", fontsize=8)
    bare(ax).tick_params(labelsize=7)
    return ax


def _nearest_to_90(rows: pd.DataFrame) -> int:
    return int(np.abs(rows["level"].to_numpy() - 0.9).argmin())


def _near_90(rows: pd.DataFrame, shown: str) -> str:
    return f"{rows[shown].iloc[_nearest_to_90(rows)]:.2f}"
