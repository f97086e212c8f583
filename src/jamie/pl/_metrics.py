"""How well each feature is imputed, beside a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mudata import MuData

from jamie import get
from jamie._docs import document
from jamie._keys import of_sources
from jamie._types import Array

from ._style import PALETTE, bare, scored_cells, with_plain_names

OURS = "jamie"
COLORS = [color for color in PALETTE if color != "#F0E442"] + ["0.55"]  # a thin yellow line is lost on white
STYLES = ["-", "--", "-.", ":"]


@with_plain_names
@document("mdata", "key_added")
def metrics(
    mdata: MuData,
    *,
    source: str | Sequence[str],
    target: str,
    against: str | None = None,
    key_added: str = "jamie",
) -> Figure:
    """Draw correlation and AUROC of each imputed feature against a baseline, and the JS distances of all methods.

    The first two panels show a feature as a point, above the line where the model is better. The title of the first
    says by how much its mean correlation is higher, with the standard error over cells and the p-value of
    :func:`jamie.metrics.compare_methods`, and which mean a perfect predictor would have, if the target is counts
    (:func:`jamie.metrics.max_correlation`). The third shows the fraction of features, within each label where
    :func:`jamie.tl.evaluate` was given labels, with at most a distance: the further left the better. The grey line is
    the floor, two measured samples of as many cells (:func:`jamie.metrics.js_floor`). Above all stands how well cells
    are aligned, beside chance.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.evaluate` scored them; a list of sources in any order.
    against
        Baseline of the first two panels; if `None`, that of the highest mean correlation, which for several sources may
        be the model from one of them, ``"jamie from rna"``.

    Returns
    -------
    The figure.

    Raises
    ------
    KeyError
        If these modalities, or a baseline, were not evaluated.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["ridge"])
    >>> figure = jm.pl.metrics(mdata, source="rna", target="protein")
    >>> len(figure.axes)
    3
    """
    scores = get.scores(mdata, source=source, target=target, key_added=key_added)
    against = scores.baseline(against)
    gain, ours = scores.gain(against), scores.means.loc[OURS]
    figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.7), layout="constrained")
    for ax, name, table, test in (
        (axes[0], "correlation", scores.correlation, scores.wins("correlation", against)),
        (axes[1], "AUROC", scores.auroc, scores.wins("auroc", against)),
    ):
        _draw_features(ax, table[against].to_numpy(), table[OURS].to_numpy())
        title = f"{name}\n{OURS} higher in {test.n_wins:,} of {test.n_features:,} features"
        if name == "correlation" and np.isfinite(gain.p_value):
            p_value = f"p = {gain.p_value:.1g}" if gain.p_value > 1e-16 else "p < 1e-16"
            title += f"\nmean {gain.difference:+.3f} ± {gain.standard_error:.3f} over cells, {p_value}"
        if name == "correlation" and scores.r_max.notna().any():
            title += f"\n{OURS} {ours['correlation']:.3f}, a perfect predictor {ours['r_max']:.2f}"
        ax.set_title(title, fontsize=8)
        ax.set_xlabel(_shown(against), fontsize=8)
        ax.set_ylabel(OURS, fontsize=8)
    _draw_distances(
        axes[2], scores.js_distance, scores.js_floor, "features × labels" if scores.within_labels else "features"
    )
    cells = scored_cells(ours["n_cells"], ours["cells"])
    alignment = f"\n{_alignment(ours)}" if "foscttm" in ours and np.isfinite(ours["foscttm"]) else ""
    figure.suptitle(f"{of_sources(source)} → {target}, {cells}{alignment}", fontsize=10)
    return figure


def _alignment(ours: pd.Series) -> str:
    """How well cells are aligned, beside chance."""
    if not np.isfinite(ours.get("lta", np.nan)):
        return f"FOSCTTM {ours['foscttm']:.3f} (chance 0.5)"
    return (
        f"FOSCTTM {ours['foscttm']:.3f}, within labels {ours['foscttm_within']:.3f} (chance 0.5); label transfer "
        f"{ours['lta']:.3f} (chance {ours['lta_chance']:.2f}), mean over labels {ours['lta_macro']:.3f} (chance "
        f"{ours['lta_macro_chance']:.2f})"
    )


def _draw_features(ax: Axes, theirs: Array, ours: Array) -> None:
    """A point for each feature that both have a score of."""
    both = np.isfinite(theirs) & np.isfinite(ours)
    x, y = theirs[both], ours[both]
    bare(ax).tick_params(labelsize=7)
    if not len(x):
        ax.text(0.5, 0.5, "no feature with both", ha="center", va="center", transform=ax.transAxes, fontsize=8)
        return
    colors = np.where(y > x, PALETTE[0], "0.45")
    size, alpha = np.interp(len(x), [30, 1_000], [22, 5]), np.interp(len(x), [30, 1_000], [0.85, 0.35])
    ax.scatter(x, y, s=size, c=colors, alpha=alpha, lw=0, rasterized=len(x) > 500)
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = 0.05 * (high - low) or 0.05
    ax.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
    ax.locator_params(nbins=5)
    ax.axline((low, low), slope=1, color="0.3", lw=0.9)


def _draw_distances(ax: Axes, distances: pd.DataFrame, floor: pd.Series, what: str) -> None:
    lowest = np.sort(floor.dropna())
    if len(lowest):
        label = f"two measured samples ({np.median(lowest):.2f})"
        ax.ecdf(lowest, color="0.7", lw=4, label=label, zorder=1)
    for i, method in reversed(list(enumerate(distances))):
        values = np.sort(distances[method].dropna())
        color = COLORS[i % len(COLORS)]
        label = f"{_shown(method)} ({np.median(values):.2f})" if len(values) else f"{_shown(method)} (none)"
        style = {"lw": 2.2} if method == OURS else {"lw": 1.2, "ls": STYLES[i % len(STYLES)]}
        ax.ecdf(values, color=color, label=label, **style) if len(values) else ax.plot([], [], color=color, label=label)
    ax.legend(
        title="method (median)",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        alignment="left",
        fontsize=7,
        title_fontsize=7,
        frameon=False,
        reverse=True,
    )
    ax.set_title("JS distance\nfurther left is better", fontsize=8)
    ax.set_xlabel("distance between measured and imputed", fontsize=8)
    ax.set_ylabel(f"fraction of {what}", fontsize=8)
    ax.set(xlim=(0, None), box_aspect=1)
    bare(ax).tick_params(labelsize=7)


def _shown(method: str) -> str:
    return method.replace("_", " ")
