"""Colours and small habits shared by all plots."""

from __future__ import annotations

from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart by all common kinds of colour vision.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]


def scored_cells(n_cells: int, cells: str) -> str:
    """How many cells an evaluation is of, and what they are, for a title."""
    return f"{n_cells:,} {cells}" + ("" if cells.endswith("pairs") else " cells")


def bare(ax: Axes) -> Axes:
    """Take away the frame lines that carry no data."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax
