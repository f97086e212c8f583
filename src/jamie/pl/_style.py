"""Colours and small habits shared by all plots."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import matplotlib as mpl
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatter
from mudata import MuData

P = ParamSpec("P")
R = TypeVar("R")

# Okabe and Ito's palette, told apart by all common kinds of colour vision.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]


def scored_cells(n_cells: int, cells: str) -> str:
    """How many cells an evaluation is of, and what they are, for a title."""
    return f"{n_cells:,} {cells}" + ("" if cells.endswith("pairs") else " cells")


def bare(ax: Axes) -> Axes:
    """Take away the frame lines that carry no data."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def with_plain_names(plot: Callable[P, R]) -> Callable[P, R]:
    """Let a plot write names as they are: a ``$`` in the name of a feature or of a type opens no formula."""

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        before = mpl.rcParams["text.parse_math"]
        mpl.rcParams["text.parse_math"] = False
        try:
            return plot(*args, **kwargs)
        finally:  # this one alone: the first figure of a notebook makes matplotlib interactive
            mpl.rcParams["text.parse_math"] = before

    return drawn


class _Plain(LogFormatter):
    """0.6, where matplotlib writes 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def with_plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis 0.01, not with a formula, which `with_plain_names` would write out."""
    axis.set_major_formatter(_Plain())
    axis.set_minor_formatter(_Plain(labelOnlyBase=False))


def palette_of(mdata: MuData | AnnData, color: str, values: pd.Series) -> list[str]:
    """Colours of the categories that scanpy stored beside the column, else a palette long enough for them."""
    categories = pd.Categorical(values).categories
    for place in (mdata, *(mdata.mod.values() if isinstance(mdata, MuData) else ())):
        if f"{color}_colors" not in place.uns:
            continue
        stored = [str(stored) for stored in place.uns[f"{color}_colors"]]
        column = place.obs.get(color, values)  # colours stand in the order of its categories there
        by_name = dict(zip(pd.Categorical(column).categories, stored, strict=False))
        return [by_name[name] for name in categories] if set(categories) <= set(by_name) else stored
    from scanpy.plotting import palettes

    n = values.nunique()
    return PALETTE if n <= len(PALETTE) else palettes.default_20 if n <= 20 else palettes.default_102
