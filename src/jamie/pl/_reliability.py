"""How often what was said was right, by its probability."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from jamie._docs import document

from ._style import PALETTE, bare, scored_cells, with_plain_names


@with_plain_names
@document("ax")
def reliability(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the share of labels or partners that was right against their probability.

    On the line probabilities are true; below it they are too sure. Points are as large as their bins. The title has the
    expected calibration error, and that of as many probabilities that are true.

    Parameters
    ----------
    table
        What :func:`jamie.get.reliability` gives.
    {shared}

    Returns
    -------
    The axes.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    >>> ax = jm.pl.reliability(jm.get.reliability(mdata, labels="cell_type", source="rna", target="protein"))
    >>> ax.get_xlabel()
    'probability of the label'
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
    said = table.iloc[0]
    ax.axline((0, 0), slope=1, color="0.3", lw=0.9)
    ax.plot(table["probability"], table["share_right"], color=PALETTE[0], lw=1.2)
    ax.scatter(table["probability"], table["share_right"], s=8 + 120 * table["n"] / table["n"].sum(), color=PALETTE[0])
    high = 1.0 if said["what"] == "label" else 1.1 * max(table["probability"].max(), table["share_right"].max())
    ax.set(xlim=(0, 1.02 * high), ylim=(0, 1.02 * high), aspect="equal")
    cells = scored_cells(int(said["n_cells"]), said["cells"])
    error = f"error {said['calibration_error']:.3g}, of true ones {said['floor']:.3g}"
    ax.set_title(f"{said['source']} → {said['target']}, {cells}\n{error}", fontsize=9)
    ax.set_xlabel(f"probability of the {said['what']}", fontsize=8)
    ax.set_ylabel(f"share of {said['what']}s that are right", fontsize=8)
    bare(ax).tick_params(labelsize=7)
    return ax
