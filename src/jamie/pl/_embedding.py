"""All cells of all modalities in the joint latent space."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mudata import MuData

from jamie import get
from jamie._checks import generator
from jamie._docs import document
from jamie._types import Array, Seed

from ._style import PALETTE, palette_of, with_plain_names

BASES = {"umap": "UMAP", "pca": "PC"}


@with_plain_names
@document("mdata or adata", "rng", "key_added")
def embedding(
    mdata: MuData | AnnData,
    *,
    reference: MuData | AnnData | None = None,
    color: str | None = None,
    basis: Literal["umap", "pca"] = "umap",
    use_rep: str | None = None,
    n_cells: int = 20_000,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> Figure:
    """Draw the latents of every modality in one plane: by modality, and by `color` in a panel for each modality.

    Well integrated modalities lie on top of each other, with the same groups in the same places. Coordinates are for
    the eye only and are not stored; :func:`jamie.get.embedding` gives them.

    Parameters
    ----------
    {shared}
    reference
        Other cells that the same model has placed, such as those of the training, in grey below those of `mdata`. Where
        they have `color`, a panel of their own shows it.
    color
        Column of the `.obs` of the modalities, or of `mdata.obs`; without it only the modalities are shown.
    basis
        ``"umap"`` or ``"pca"`` of the stacked latents.
    use_rep
        Slot of `.obsm` that each modality has, to be drawn in a plane of its own: ``"X_jamie_input"`` shows modalities
        before they were integrated. If `None`, the latents of all are drawn in one plane.
    n_cells
        Cells of each modality to draw, taken at random where it has more.

    Returns
    -------
    The figure.

    Raises
    ------
    KeyError
        If the cells were not embedded, or the column or slot is not there.
    ValueError
        If the latents of the reference are of another model.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> figure = jm.pl.embedding(mdata, color="cell_type", basis="pca")
    >>> [ax.get_title() for ax in figure.axes]
    ['modality', 'rna, cell_type', 'protein, cell_type']
    """
    rng = generator(rng)
    cells = get.embedding(
        mdata, reference=reference, color=color, basis=basis, use_rep=use_rep, n_cells=n_cells, rng=rng,
        key_added=key_added,
    )  # fmt: skip
    xy, order = cells[["x", "y"]].to_numpy(), rng.permutation(len(cells))
    size = float(np.clip(12_000 / len(cells), 1.5, 22))
    is_query = np.ones(len(cells), dtype=bool) if reference is None else (cells["of"] == "query").to_numpy()
    together = use_rep is None
    panels = _panels(cells, is_query, color, together=together)
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.6), squeeze=False, layout="constrained")
    for i, (title, shown) in enumerate(panels.items()):
        ax, is_first = axes[0, i], together and i == 0
        if together and not shown.all():
            ax.scatter(xy[:, 0], xy[:, 1], s=size / 2, c="0.9", lw=0, rasterized=True)
        by_modality = not color or is_first
        values = cells["modality"].where(is_query).cat.remove_unused_categories() if by_modality else cells["color"]
        palette = PALETTE if by_modality else palette_of(mdata, str(color), values)
        _scatter(ax, xy, values, order[shown[order]], size, palette, title=title)
        if not is_first and (i < len(panels) - 1 or not color) and ax.get_legend() is not None:
            ax.get_legend().remove()
    for ax in axes[0]:
        ax.set(xticks=[], yticks=[], xlabel=f"{BASES[basis]} 1")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel(f"{BASES[basis]} 2")
    return figure


def _panels(cells: pd.DataFrame, is_query: Array, color: str | None, *, together: bool) -> dict[str, Array]:
    """Titles, and the cells that each panel shows in colour: the query's, and the reference's where they have one."""
    panels = {"modality": is_query} if together else {}
    of_reference = ~is_query & cells["color"].notna().to_numpy() if color else np.zeros(len(cells), dtype=bool)
    if of_reference.any():
        panels[f"reference, {color}"] = of_reference
    if color or not together:
        for name in cells["modality"].cat.categories:
            shown = is_query & (cells["modality"] == name).to_numpy()
            if shown.any():
                panels[f"{name}, {color}" if color else str(name)] = shown
    return panels


def _scatter(
    ax: Axes, xy: Array, values: pd.Series, order: Array, size: float, palette: list[str], *, title: str
) -> None:
    ax.set_title(title, fontsize=10)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        points = ax.scatter(
            xy[order, 0], xy[order, 1], s=size, c=values.to_numpy()[order], cmap="viridis", lw=0, rasterized=True
        )
        ax.figure.colorbar(points, ax=ax, shrink=0.6)
        return
    categories = pd.Categorical(values)
    colors = np.array([palette[i % len(palette)] for i in range(len(categories.categories))] + ["0.8"])
    ax.scatter(xy[order, 0], xy[order, 1], s=size, c=colors[categories.codes][order], lw=0, alpha=0.8, rasterized=True)
    for name, color in zip(categories.categories, colors, strict=False):
        ax.scatter([], [], s=28, color=color, label=str(name), lw=0)
    ax.legend(
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=8,
        handletextpad=0.1,
        ncols=1 + len(categories.categories) // 16,
    )
