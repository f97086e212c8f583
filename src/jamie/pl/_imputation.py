"""Measured against imputed values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from mudata import MuData

from jamie import get
from jamie._docs import document
from jamie._keys import of_sources
from jamie._spread import spread
from jamie._types import Array

from ._style import PALETTE, bare, palette_of, with_plain_names

N_FEATURES = 5
MANY_CELLS = 3_000
NO_GROUP = "0.75"
LEGEND = {"frameon": False, "fontsize": 7, "title_fontsize": 8}
MOST_BARS = 200
"""Intervals that are drawn of a feature: more cannot be told apart."""


@with_plain_names
@document("mdata", "key_added")
def imputation(
    mdata: MuData,
    *,
    source: str | Sequence[str],
    target: str,
    features: Sequence[str] | None = None,
    color: str | None = None,
    key_added: str = "jamie",
) -> Figure:
    """Draw imputed against measured values of some features, beside the correlations of all of them.

    Shows the cells that :func:`jamie.pp.split` held out, all cells where it was not called. The line is identity.
    Where intervals were imputed (``interval=``), they are vertical bars, of 200 cells at most, red where the measured
    value lies outside; the title says how many of all values lie within.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.
    features
        Features of the target to draw; if `None`, five from the best to the worst predicted.
    color
        Column of classes, such as cell types, or of numbers, by which cells are coloured; intervals are grey then.

    Returns
    -------
    The figure.

    Raises
    ------
    KeyError
        If this was not imputed, or a feature or the column is not there.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> figure = jm.pl.imputation(mdata, source="rna", target="protein")
    >>> len(figure.axes)
    6
    """
    agreement = get.agreement(
        mdata, source=source, target=target, groupby=color, features=features, n_features=N_FEATURES,
        key_added=key_added,
    )  # fmt: skip
    groups = agreement.groups.cat
    points, scale, of_cells = np.array([]), None, None
    if agreement.numbers is not None:
        scale = ScalarMappable(Normalize(agreement.numbers.min(), agreement.numbers.max()), "viridis")
        of_cells = _by_scale(scale, agreement.numbers.to_numpy())
    elif color is not None:
        palette = palette_of(mdata, color, agreement.groups)
        points = np.array([palette[i % len(palette)] for i in range(len(groups.categories))])
        of_cells = np.append(points, NO_GROUP)[groups.codes]
    names = list(agreement.measured)
    n_panels = 1 + len(names)
    n_rows = int(np.ceil(n_panels / 3))
    figure, axes = plt.subplots(
        n_rows, min(3, n_panels), figsize=(2.9 * min(3, n_panels), 2.9 * n_rows), squeeze=False, layout="constrained"
    )
    panel_scores = agreement.correlation.loc[names].to_numpy()
    _draw_ranks(axes.flat[0], agreement.correlation.to_numpy(), panel_scores)
    for i, (ax, name) in enumerate(zip(axes.flat[1:], names, strict=False)):
        measured, imputed = (frame.iloc[:, i].to_numpy() for frame in (agreement.measured, agreement.imputed))
        title = f"{name}\nr = {panel_scores[i]:.2f}"
        ends = np.empty(0)
        if agreement.within is not None:
            low, high = (agreement.beside[side].iloc[:, i].to_numpy() for side in ("lower", "upper"))
            within = agreement.within.iloc[:, i].to_numpy()
            ends = _draw_intervals(ax, measured, low, high, within, plain=color is not None)
            nominal = "its interval" if agreement.interval is None else f"{agreement.interval:.0%}"
            title += f", {np.nanmean(within):.0%} within {nominal}" if np.isfinite(within).any() else ""
        _draw_feature(ax, measured, imputed, ends, of_cells)
        ax.set_title(title, fontsize=8)
    for ax in axes.flat[n_panels:]:
        ax.set_visible(False)
    if scale is not None:
        figure.colorbar(scale, ax=axes, location="right", label=color, fraction=0.03, aspect=40)
    elif color is not None:
        handles = [plt.Line2D([], [], marker="o", ls="", ms=4, color=point) for point in points]
        figure.legend(handles, list(groups.categories), title=color, loc="outside right center", **LEGEND)
    figure.supxlabel(f"measured, {agreement.cells} cells", fontsize=9)
    figure.supylabel(f"imputed from {of_sources(source)}", fontsize=9)
    figure.suptitle(f"{of_sources(source)} → {target} ({agreement.scale})", fontsize=10)
    return figure


def _by_scale(scale: ScalarMappable, values: Array) -> Array:
    """A colour for each cell."""
    known = np.isfinite(values)
    colors = np.full(len(values), NO_GROUP, dtype=object)
    colors[known] = [to_hex(rgba) for rgba in scale.to_rgba(values[known])]
    return colors


def _draw_ranks(ax: Axes, scores: Array, panel_scores: Array) -> None:
    """Correlations from the best to the worst, and where those of the panels stand."""
    finite = np.sort(scores[np.isfinite(scores)])[::-1]
    ax.plot(np.arange(1, len(finite) + 1), finite, color=PALETTE[0], lw=1.8)
    ranks = [1 + int((finite > score).sum()) for score in panel_scores]
    ax.plot(ranks, panel_scores, "o", color=PALETTE[5], ms=4)
    ax.axhline(0, color="0.7", lw=0.8)
    mean = f"mean r = {finite.mean():.2f}" if len(finite) else "none with a correlation"
    ax.set_title(f"all {len(scores)} features\n{mean}", fontsize=8)
    ax.set_xlabel("rank of feature", fontsize=8)
    ax.set_ylabel("correlation", fontsize=8)
    bare(ax).tick_params(labelsize=7)


def _draw_intervals(
    ax: Axes, measured: Array, lower: Array, upper: Array, within: Array, *, plain: bool = False
) -> Array:
    """Draw bars from bound to bound, of which those that cross the line hold what was measured; give their ends."""
    (seen,) = np.nonzero(np.isfinite(within))
    some = seen[spread(len(seen), MOST_BARS)]
    colors = [NO_GROUP if plain else PALETTE[4] if inside else PALETTE[5] for inside in within[some] > 0]
    ax.vlines(measured[some], lower[some], upper[some], colors=colors, lw=0.8, alpha=0.45, rasterized=True)
    return np.concatenate([measured[some], lower[some], upper[some]])


def _draw_feature(ax: Axes, measured: Array, imputed: Array, ends: Array, colors: Array | None) -> None:
    """Draw values, with room for the `ends` of the intervals."""
    seen = np.isfinite(measured) & np.isfinite(imputed)
    measured, imputed = measured[seen], imputed[seen]
    if colors is not None:
        ax.scatter(measured, imputed, s=7, c=colors[seen], alpha=0.7, lw=0, rasterized=True)
    elif len(measured) > MANY_CELLS:
        ax.hexbin(measured, imputed, gridsize=40, bins="log", cmap="Blues", mincnt=1, linewidths=0, rasterized=True)
    else:
        ax.scatter(measured, imputed, s=7, color=PALETTE[0], alpha=0.5, lw=0, rasterized=True)
    if not len(measured):
        ax.text(0.5, 0.5, "not measured", ha="center", va="center", transform=ax.transAxes, fontsize=8, color="0.4")
        return
    low, high = (bound(np.concatenate([measured, imputed, ends])) for bound in (np.min, np.max))
    room = 0.04 * (high - low) or 1.0
    ax.set(xlim=(low - room, high + room), ylim=(low - room, high + room), aspect="equal")
    ax.axline((low, low), slope=1, color="0.3", lw=0.9)
    bare(ax).tick_params(labelsize=7)
