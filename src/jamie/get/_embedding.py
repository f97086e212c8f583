"""Latents in a plane."""

from __future__ import annotations

from typing import Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData

from jamie._checks import generator, require_option, require_positive
from jamie._compat import let_numba_cache, seed_argument
from jamie._docs import document
from jamie._errors import MissingNameError
from jamie._keys import Keys
from jamie._types import Array, Seed
from jamie.data import labels

Basis = Literal["umap", "pca"]


@document("mdata", "rng", "key_added")
def embedding(
    mdata: MuData,
    *,
    color: str | None = None,
    basis: Basis = "umap",
    use_rep: str | None = None,
    n_cells: int = 20_000,
    rng: Seed = 0,
    key_added: str = "jamie",
) -> pd.DataFrame:
    """Coordinates of the cells of every modality in one plane: the points of :func:`jamie.pl.embedding`.

    Parameters
    ----------
    {shared}
    color
        Column of the `.obs` of the modalities, or of `mdata.obs`, to add.
    basis
        ``"umap"`` or ``"pca"`` of the stacked latents.
    use_rep
        Slot of `.obsm` that each modality has, placed in a plane of its own. If `None`, the latents of all are placed
        in one plane.
    n_cells
        Cells of each modality, taken at random where it has more.

    Returns
    -------
    A row for each cell of each modality, by the name of the cell: `modality`, the coordinates `x` and `y`, and `color`
    where a column was named.

    Raises
    ------
    KeyError
        If the cells were not embedded, or the column or slot is not there.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> cells = jm.get.embedding(mdata, color="cell_type", basis="pca")
    >>> cells.shape, list(cells)
    ((108, 4), ['modality', 'x', 'y', 'color'])
    """
    require_option(basis, get_args(Basis), name="basis")
    require_positive(n_cells=n_cells)
    rng, slot = generator(rng), use_rep or Keys(key_added).latent
    names = [name for name in mdata.mod if slot in mdata[name].obsm]
    if not names:
        remedy = "jm.tl.train(mdata) or jm.tl.embed(mdata, model)" if use_rep is None else "jm.pp.prepare(mdata)"
        msg = f"expected cells in `mdata[m].obsm[{slot!r}]`, found none; call {remedy}"
        raise MissingNameError(msg)
    colors = {} if color is None else {name: labels(mdata, color, name, argument="color") for name in names}
    rows = {name: _drawn(mdata[name].n_obs, n_cells, rng) for name in names}
    seed = int(rng.integers(2**31))
    latents = [np.asarray(mdata[name].obsm[slot])[rows[name]] for name in names]
    planes = latents if use_rep else [np.concatenate(latents)]
    xy = np.concatenate([_coordinates(plane, basis, seed) for plane in planes])
    cells = pd.DataFrame(
        {
            "modality": pd.Categorical(np.repeat(names, [len(rows[name]) for name in names]), categories=names),
            "x": xy[:, 0],
            "y": xy[:, 1],
        },
        index=np.concatenate([mdata[name].obs_names[rows[name]] for name in names]),
    )
    if color is not None:
        cells["color"] = _joined([colors[name].iloc[rows[name]] for name in names])
    return cells


def _drawn(n: int, most: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.choice(n, min(most, n), replace=False))


def _coordinates(x: Array, basis: str, seed: int) -> Array:
    let_numba_cache()
    import scanpy as sc

    if basis == "pca":
        return sc.pp.pca(x, n_comps=2)
    adata = ad.AnnData(x)
    sc.pp.neighbors(adata, use_rep="X", n_neighbors=min(15, len(x) - 1), **seed_argument(sc.pp.neighbors, seed))
    sc.tl.umap(adata, **seed_argument(sc.tl.umap, seed))
    return adata.obsm["X_umap"]


def _joined(columns: list[pd.Series]) -> pd.api.extensions.ExtensionArray | Array:
    """Values of one modality after the other: categories stay, those of the first modality before others."""
    known = [column for column in columns if column.notna().any()] or columns
    values = np.concatenate([column.to_numpy(dtype=object) for column in columns])
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in known):
        names = pd.unique(np.concatenate([column.cat.categories.to_numpy(dtype=object) for column in known]))
        return pd.Categorical(values, categories=names)
    return pd.Series(values).infer_objects().array
