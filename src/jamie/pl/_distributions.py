"""Measured beside imputed values within each group of cells."""

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
from jamie._errors import InvalidValueError
from jamie._keys import of_sources

from ._style import PALETTE, bare, with_plain_names

N_FEATURES = 4
MOST_GROUPS = 30
FILLS = {"measured": "0.8", "imputed": PALETTE[0], "sampled": PALETTE[4]}


@with_plain_names
@document("mdata", "key_added")
def distributions(
    mdata: MuData,
    *,
    source: str | Sequence[str],
    target: str,
    groupby: str,
    features: Sequence[str] | None = None,
    key_added: str = "jamie",
) -> Figure:
    """Draw box plots of measured and imputed values of some features, side by side for each group of cells.

    Shows the cells that :func:`jamie.pp.split` held out, all cells where it was not called. A box spans the quartiles,
    the line is the median, whiskers reach to the furthest value within 1.5 times the box. Medians that agree with boxes
    that are too low are what regression to the mean looks like: what is imputed is a mean. Where draws were imputed
    (``n_samples=``), the first of them is a third box. JS is the mean over groups of the distance of
    :func:`jamie.metrics.js_distance`, 0 for the same distribution.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`.
    groupby
        Column of the `.obs` of the modalities, or of `mdata.obs`, with at most 30 groups, such as cell types; groups
        stand in the order of the column's categories, with the number of cells that are shown.
    features
        Features of the target to draw; if `None`, four from the best to the worst predicted.

    Returns
    -------
    The figure.

    Raises
    ------
    KeyError
        If this was not imputed, or a column or feature is not there.
    ValueError
        If `groupby` has too many groups for a figure, or none among the cells.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> figure = jm.pl.distributions(mdata, source="rna", target="protein", groupby="cell_type")
    >>> len(figure.axes)
    4
    """
    agreement = get.agreement(
        mdata, source=source, target=target, groupby=groupby, features=features or None, n_features=N_FEATURES,
        key_added=key_added,
    )  # fmt: skip
    groups, names = _require_groups(agreement.groups, groupby), list(agreement.measured)
    shown = {"measured": agreement.measured.to_numpy(), "imputed": agreement.imputed.to_numpy()}
    if "sample_0" in agreement.beside:
        shown["sampled"] = agreement.beside["sample_0"].to_numpy()
    n_columns = 1 if len(groups.cat.categories) > 12 else min(2, len(names))
    n_rows = -(-len(names) // n_columns)
    width = max(3.4, 0.8 + 0.34 * len(groups.cat.categories))
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(width * n_columns, 2.2 * n_rows + 0.6), sharex=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for i, (ax, name, distance) in enumerate(zip(axes.flat, names, agreement.js_distance, strict=False)):
        _draw(ax, {what: frame[:, i] for what, frame in shown.items()}, groups)
        ax.set_title(
            f"{name}\nr = {agreement.correlation[name]:.2f}, JS = {distance:.2f}".replace("-", "−"), fontsize=8
        )
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    fills = [FILLS[what] for what in shown]
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=fill, edgecolor="0.2", lw=0.7) for fill in fills]
    figure.legend(handles, list(shown), loc="outside lower center", ncols=len(shown), frameon=False, fontsize=8)
    figure.supylabel(agreement.scale, fontsize=8)
    figure.suptitle(
        f"{of_sources(source)} → {target}, {len(agreement.measured):,} {agreement.cells} cells", fontsize=10
    )
    return figure


def _require_groups(groups: pd.Series, groupby: str) -> pd.Series:
    """Raise if there are too many groups for a figure, or none."""
    n = len(groups.cat.categories)
    if not 1 <= n <= MOST_GROUPS:
        msg = (
            f"expected 1 to {MOST_GROUPS} groups of the cells that are shown, found {n} in {groupby!r}; pass groupby= "
            "a column of cell types"
        )
        raise InvalidValueError(msg)
    return groups


def _draw(ax: Axes, values: dict[str, np.ndarray], groups: pd.Series) -> None:
    names = list(groups.cat.categories)
    at = np.arange(len(names))
    width = 0.76 / len(values)
    for place, (what, x) in enumerate(values.items()):
        boxes = [x[(groups == name).to_numpy() & np.isfinite(x)] for name in names]
        ax.boxplot(
            boxes, positions=at + (place - (len(values) - 1) / 2) * width, widths=0.9 * width, patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": FILLS[what], "edgecolor": "0.2", "lw": 0.7},
            medianprops={"color": "black", "lw": 1.2},
            whiskerprops={"color": "0.2", "lw": 0.7}, capprops={"color": "0.2", "lw": 0.7},
            flierprops={"marker": ".", "ms": 2.5, "mfc": "0.4", "mec": "none"},
        )  # fmt: skip
    counts = groups.value_counts()
    labels = [f"{name} ({counts[name]:,})" for name in names]
    ax.set_xticks(at, labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=7)
    ax.set_xlim(-0.6, len(names) - 0.4)
    bare(ax).tick_params(labelsize=7)
