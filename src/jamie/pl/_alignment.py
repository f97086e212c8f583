"""How well each method brings partners and cell types together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mudata import MuData

from jamie import get
from jamie._docs import document

from ._style import PALETTE, bare, scored_cells, with_plain_names

OURS = "jamie"
COLORS = [color for color in PALETTE if color != "#F0E442"]
MARKERS = ["D", "s", "^", "v", "P", "X", "<", ">"]


@with_plain_names
@document("mdata", "ax", "key_added")
def alignment(mdata: MuData, *, source: str, target: str, ax: Axes | None = None, key_added: str = "jamie") -> Axes:
    """Draw label transfer accuracy against FOSCTTM, a point for each method that aligns: top left is best.

    FOSCTTM is the fraction of cells closer than the true match, 0 at best and 0.5 by chance. Label transfer accuracy is
    the share of cells of `source` that get their own label from the cells of `target` nearest to them.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.evaluate` scored them, with `labels` and, to compare with, `aligners`.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If these modalities were not evaluated, or without labels.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=[], aligners=["cca"])
    >>> ax = jm.pl.alignment(mdata, source="rna", target="protein")
    >>> ax.get_xlabel()
    'FOSCTTM, lower is better'
    """
    methods = get.alignment(mdata, source=source, target=target, key_added=key_added)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    for i, (method, row) in enumerate(methods.iterrows()):
        ours = method == OURS
        ax.plot(
            row["foscttm"], row["lta"], "o" if ours else MARKERS[(i - 1) % len(MARKERS)], ms=9 if ours else 7,
            color=COLORS[i % len(COLORS)], mec="white", mew=0.6, ls="none", zorder=3 if ours else 2,
            label=f"{method}\n{row['foscttm']:.3f}, {row['lta']:.2f}",
        )  # fmt: skip
    _limits(ax, methods)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)
    cells = scored_cells(int(methods["n_cells"].iloc[0]), methods["cells"].iloc[0])
    ax.set_title(f"{source} → {target}, {cells}", fontsize=9)
    ax.set_xlabel("FOSCTTM, lower is better", fontsize=8)
    ax.set_ylabel("label transfer accuracy, higher is better", fontsize=8)
    bare(ax).tick_params(labelsize=7)
    return ax


def _limits(ax: Axes, methods: pd.DataFrame) -> None:
    """From a perfect FOSCTTM to the worst, with chance where it is near, and an accuracy of at most 1."""
    worst, least = methods["foscttm"].max(), methods["lta"].min()
    right = 0.55 if worst > 0.3 else 1.15 * worst
    low = np.floor(20 * (least - 0.02)) / 20
    right = max(right, 0.01)
    ax.set(xlim=(-0.03 * right, right), ylim=(max(0.0, min(low, 0.9)), 1.01))
    if right > 0.5:
        ax.axvline(0.5, color="0.6", lw=0.9, ls=":")
        ax.annotate("chance", (0.5, 0.02), xycoords=("data", "axes fraction"), ha="right", fontsize=7, color="0.4")
