"""What is lost without a feature."""

from __future__ import annotations

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from mudata import MuData

from jamie import get
from jamie._checks import generator, require_not_negative
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._types import Seed

from ._style import PALETTE, bare, with_plain_names


@with_plain_names
@document("mdata", "rng", "ax", "key_added")
def knockout(
    mdata: MuData,
    *,
    source: str,
    target: str,
    measure: str = "correlation",
    feature: str | None = None,
    groups: bool = False,
    n_top: int = 20,
    n_random: int = 0,
    rng: Seed = 0,
    ax: Axes | None = None,
    key_added: str = "jamie",
) -> Axes:
    """Draw a measure without each of the most important features or groups, from where it is with all of them.

    The grey band is what to expect without any one feature: mean ± standard deviation over all of them, the drawn ones
    included. Beside groups it is a grey point with a bar, of random sets of the same size.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as :func:`jamie.tl.knockout` had them.
    measure
        ``"correlation"``, ``"lta"``, ``"likelihood"`` or ``"foscttm"``.
    feature
        Feature of the target to draw the correlation of; the mean over features if `None`.
    groups
        Whether to draw what was found of groups instead of single features.
    n_top
        Features or groups to draw, at most: those of the highest loss.
    n_random
        Features to draw below them in grey, at random of the others: six in figure 6a of the paper. Not with `groups`,
        which have random sets of their own.

    Returns
    -------
    The axes.

    Raises
    ------
    KeyError
        If the measure or feature was not computed.
    ValueError
        If `feature` is not of a correlation or with groups, or there is nothing to draw.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> _ = jm.tl.knockout(mdata, model, source="rna")
    >>> ax = jm.pl.knockout(mdata, source="rna", target="protein", n_top=5)
    >>> len(ax.get_yticks())
    5
    """
    require_not_negative(n_top=n_top, n_random=n_random)
    without = get.knockout(
        mdata, source=source, target=target, measure=measure, feature=feature, groups=groups, key_added=key_added
    )
    table, others = without.table.iloc[:n_top], without.table.iloc[n_top:]
    if table.empty or not np.isfinite(without.baseline):
        msg = (
            f"expected at least one knock-out to draw, found {len(table)} with n_top={n_top} and a baseline of "
            f"{without.baseline:.3g}; pass n_top=20, or a feature that varies in the judged cells"
        )
        raise InvalidValueError(msg)
    n_others = 0 if groups else min(n_random, len(others))
    drawn = np.sort(generator(rng).choice(len(others), n_others, replace=False))
    table, n_shown = pd.concat([table, others.iloc[drawn]]), len(table)
    if groups:
        names = [fill(f"{name} ({n:,})", 22) for name, n in zip(table.index, table["n_features"], strict=True)]
    else:
        names = list(map(str, table.index))
    if ax is None:
        height = 1.55 + 0.145 * len(table) + 0.1 * sum(name.count("\n") + groups for name in names)
        _, ax = plt.subplots(figsize=(3.5, height), layout="constrained")
    at = np.arange(len(table))
    ax.axvline(
        without.baseline, color="black", lw=1, label=f"with all features: {without.baseline:.3g}".replace("-", "−")
    )
    if groups:
        _draw_random_sets(ax, table, without.baseline + without.worse * table["random"])
    else:
        label = f"any one of {len(without.table):,}: mean ± sd"
        ax.axvspan(without.mean - without.sd, without.mean + without.sd, color="0.87", lw=0, zorder=0, label=label)
    colors = [PALETTE[0]] * n_shown + ["0.55"] * n_others
    ax.hlines(at, without.baseline, table["value"], color=colors, lw=1.3)
    what = "these features" if groups else "this feature"
    ax.plot(table["value"].iloc[:n_shown], at[:n_shown], "o", color=PALETTE[0], ms=3.8, label=f"without {what}")
    if n_others:
        ax.plot(
            table["value"].iloc[n_shown:], at[n_shown:], "s", color="0.55", ms=3.2, label=f"{n_others} others at random"
        )
    ax.set_yticks(at, names)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel(fill(_measure(without.measure, feature, without.outputs, without.labels), 34), fontsize=8)
    ax.locator_params(axis="x", nbins=4)
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.tick_params(labelsize=7)
    ax.legend(
        title=f"{source} → {target}, {without.n_cells:,} {without.cells} cells",
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        fontsize=7,
        title_fontsize=8,
        handlelength=1.4,
        frameon=False,
    )
    return bare(ax)


def _draw_random_sets(ax: Axes, table: pd.DataFrame, values: pd.Series) -> None:
    """Random sets of the same size on the scale of the measure, below each group."""
    if table["random"].notna().any():
        ax.errorbar(
            values,
            np.arange(len(table)) + 0.26,
            xerr=table["random_sd"],
            fmt="s",
            color="0.55",
            ms=2.8,
            lw=1.2,
            label="as many at random: mean ± sd",
        )


def _measure(measure: str, feature: str | None, outputs: tuple[str, ...], labels: str) -> str:
    if measure == "correlation":
        if feature or len(outputs) == 1:
            return f"correlation of {feature or outputs[0]}"
        return f"mean correlation, {len(outputs):,} features"
    return {
        "lta": f"accuracy of {labels}, transferred",
        "likelihood": f"mean log-probability of {labels}",
        "foscttm": "FOSCTTM, higher is worse",
    }[measure]
