"""Colours and small habits shared by all plots."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatter

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
        with mpl.rc_context({"text.parse_math": False}):
            return plot(*args, **kwargs)

    return drawn


class _Plain(LogFormatter):
    """0.6, where matplotlib writes 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def with_plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis 0.01, not with a formula, which `with_plain_names` would write out."""
    axis.set_major_formatter(_Plain())
    axis.set_minor_formatter(_Plain(labelOnlyBase=False))
