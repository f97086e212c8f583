"""A correspondence as a map of blocks: which labels of one modality go to which of the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mudata import MuData

from jamie import get
from jamie._docs import document
from jamie._types import Array, Slot

from ._style import PALETTE, with_plain_names

FONT = 8
MANY_LABELS = 20


@with_plain_names
@document("mdata", "ax", "key_added")
def correspondence(
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    slot: Slot = "inferred",
    labels: str | None = None,
    n_bins: int = 200,
    ax: Axes | None = None,
    key_added: str = "jamie",
) -> Axes:
    """Draw a correspondence as a heat map, cells grouped by label: mass belongs into the outlined blocks.

    Colour is the mass that the cells of a row give to a column, as a multiple of an even spread over all cells. Within
    a label, and where there are none, rows are in the order of the first component of the prepared input, else of the
    cells, and columns in that of their true partners, as far as any are known: a right correspondence is a diagonal.

    Parameters
    ----------
    {shared}
    modalities
        Rows and columns; may be left out where only one correspondence is there.
    slot
        ``"inferred"``, ``"match"`` or ``"known"``: what to draw.
    labels
        Column of the `.obs` of the modalities, or of `mdata.obs`.
    n_bins
        Rows and columns of the map at most; cells share them.

    Returns
    -------
    The axes. The title says what share of the mass lies in the right label, and what would by chance.

    Raises
    ------
    KeyError
        If the correspondence, a modality or the labels are not there.
    ValueError
        If several correspondences are there, or no cell has a label.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.correspondence(mdata)
    >>> ax = jm.pl.correspondence(mdata, slot="known", labels="cell_type")
    >>> print(ax.get_title())
    known, rna → protein
    100 % in the right label (chance 34 %)
    """
    blocks = get.correspondence(
        mdata, modalities=modalities, slot=slot, labels=labels, n_bins=n_bins, key_added=key_added
    )
    fold = blocks.fold
    if ax is None:
        _, ax = plt.subplots(figsize=(4.2, 3.7), layout="constrained")
    most = float(np.nanquantile(fold[fold > 0], 0.98))
    shown = ax.imshow(fold, cmap=plt.get_cmap("Blues").with_extremes(bad="0.9"), vmin=0, vmax=most, aspect="auto")
    bar = ax.figure.colorbar(shown, ax=ax, shrink=0.7, extend="max" if np.nanmax(fold) > most else "neither")
    bar.set_label("fold of even spread", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 1)
    bar.outline.set_visible(False)
    source, target = blocks.modalities
    ax.set_ylabel(f"{blocks.shape[0]:,} cells of {source}", fontsize=FONT + 1)
    ax.set_xlabel(f"{blocks.shape[1]:,} cells of {target}", fontsize=FONT + 1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="0.7", linewidth=0.5)
    title = f"{slot}, {source} → {target}"
    if labels is not None:
        title += f"\n{100 * blocks.in_label:.0f} % in the right label (chance {100 * blocks.chance:.0f} %)"
    ax.set_title(title, fontsize=FONT + 1)
    if labels is not None:
        _draw_blocks(ax, list(blocks.labels), blocks.row_edges, blocks.column_edges)
    return ax


def _draw_blocks(ax: Axes, names: list[str], rows: Array, columns: Array) -> None:
    few = len(names) <= MANY_LABELS
    for line, edges in ((ax.axhline, rows), (ax.axvline, columns)):
        for edge in np.unique(edges)[1:-1] if few else ():
            line(edge - 0.5, color="0.7", lw=0.5)
    for i in range(len(names)):
        corner, size = (columns[i] - 0.5, rows[i] - 0.5), (columns[i + 1] - columns[i], rows[i + 1] - rows[i])
        if min(size):
            ax.add_patch(Rectangle(corner, *size, fill=False, ec=PALETTE[5], lw=1 if few else 0.6, clip_on=False))
    ax.tick_params(length=2, pad=2, labelsize=FONT)
    for _ in range(2):  # names take room from the axes: see what is left of it, and name again
        _name_blocks(ax, [*names, "no label"], rows, columns)
        ax.figure.canvas.figure.draw_without_rendering()


def _name_blocks(ax: Axes, names: list[str], rows: Array, columns: Array) -> None:
    """Name the blocks on both axes, as many as fit."""
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    width, height = 72 * box.width, 72 * box.height  # points
    at = _labelled(rows, 1.08 * FONT * rows[-1] / height)
    ax.set_yticks(_centres(rows)[at], [names[i] for i in at])
    at = _labelled(columns, 1.08 * FONT * columns[-1] / width)
    centres = _centres(columns)[at]
    needed = 0.55 * FONT * columns[-1] / width * np.array([1 + len(names[i]) for i in at])
    fits = np.all(np.diff(centres) > (needed[1:] + needed[:-1]) / 2)
    ax.set_xticks(centres, [names[i] for i in at], rotation=0 if fits else 90)


def _centres(edges: Array) -> Array:
    return (edges[1:] + edges[:-1] - 1) / 2


def _labelled(edges: Array, room: float) -> list[int]:
    """Blocks to name, the largest first, none closer to another than `room`."""
    centres, size = _centres(edges), np.diff(edges)
    chosen: list[int] = []
    for i in np.argsort(-size, kind="stable"):
        if size[i] and all(abs(centres[i] - centres[j]) >= room for j in chosen):
            chosen.append(int(i))
    return sorted(chosen)
