"""What genes lose without the regions near and far."""

from __future__ import annotations

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation
from mudata import MuData

from jamie import get
from jamie._docs import document

from ._style import PALETTE, bare, with_plain_names

MOST_LINES = 100


@with_plain_names
@document("mdata", "ax", "key_added")
def knockout_by_distance(mdata: MuData, *, ax: Axes | None = None, key_added: str = "jamie") -> Axes:
    """Draw how well genes are imputed without the regions near them, on their chromosome, anywhere, or at random.

    Boxes are quartiles over genes, whiskers reach to the 5th and the 95th percentile, and points are means ± standard
    errors. Grey lines are genes, where there are at most 100 of them. Above each set stands its mean difference to
    nothing knocked out, gene by gene, ± the standard error of that.

    Parameters
    ----------
    {shared}

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If :func:`jamie.tl.knockout_by_distance` was not called.
    ValueError
        If no gene varies in the cells that it judged by.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.multiome(n_cells=100, n_genes=20, n_peaks=80)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.knockout_by_distance(mdata, model, genes="rna", regions="atac")
    >>> ax = jm.pl.knockout_by_distance(mdata)
    >>> [label.get_text().split()[0] for label in ax.get_xticklabels()]
    ['none', 'random', 'near', 'chromosome', 'genome']
    """
    without = get.knockout_by_distance(mdata, key_added=key_added)
    values, sets = without.correlation, without.sets
    names = list(sets.index)
    at = np.arange(len(names))
    if ax is None:
        _, ax = plt.subplots(figsize=(3.5, 3.1), layout="constrained")
    if len(values) <= MOST_LINES:
        ax.plot(at, values.to_numpy().T, color="0.6", lw=0.5, alpha=0.5, zorder=1)
    ax.boxplot(
        values.to_numpy(),
        positions=at,
        widths=0.5,
        whis=(5, 95),
        showfliers=False,
        medianprops={"color": PALETTE[0], "lw": 1.2},
        boxprops={"color": PALETTE[0], "lw": 0.9},
        whiskerprops={"color": PALETTE[0], "lw": 0.9},
        capprops={"color": PALETTE[0], "lw": 0.9},
        manage_ticks=False,
    )
    ax.axhline(sets["mean"]["none"], color="black", lw=0.8, ls="--", zorder=1.5, label="mean, none knocked out")
    ax.errorbar(
        at, sets["mean"], yerr=sets["sem"], fmt="D", color=PALETTE[5], ms=3.5, lw=1.4, zorder=3, label="mean ± s.e."
    )
    changes = map(_shown, sets["change"].iloc[1:], sets["change_sem"].iloc[1:])
    for i, text in enumerate(["difference\n± s.e.", *changes]):
        ax.text(i, 1, text, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=6.5)
    ax.set_xticks(at, [f"{name}\n{n:,.0f}" for name, n in sets["n_regions"].items()])
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xlabel("regions knocked out, median number", fontsize=8)
    ax.set_ylabel(f"correlation, {len(values):,} genes", fontsize=8)
    ax.tick_params(labelsize=7)
    above = ax.transAxes + ScaledTranslation(0, 18 / 72, ax.figure.dpi_scale_trans)  # the differences
    ax.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        bbox_transform=above,
        ncols=2,
        fontsize=7,
        handlelength=1.4,
        frameon=False,
    )
    return bare(ax)


def _shown(mean: float, error: float) -> str:
    """A difference to two digits of its error, to five decimals at most."""
    n = int(np.clip(1 - np.floor(np.log10(error)), 0, 5)) if error > 0 else 5
    return f"{mean:+.{n}f}\n± {error:.{n}f}".replace("-", "−")
