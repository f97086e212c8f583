"""Latents in a plane."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import generator, require_option, require_positive
from jamie._compat import let_numba_cache, seed_argument
from jamie._docs import document
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys
from jamie._threads import threads_kept
from jamie._types import Array, Seed
from jamie.correspondence import nearest
from jamie.data import as_mudata, labels

Basis = Literal["umap", "pca"]
MANY = 4_096
"""Cells from which on scanpy would search with pynndescent, whose version 0.7 gives what scanpy 1.11 does not take."""


@document("mdata or adata", "rng", "key_added")
def embedding(
    mdata: MuData | ad.AnnData,
    *,
    reference: MuData | ad.AnnData | None = None,
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
    reference
        Other cells that the same model has placed, such as those of the training, in the same plane.
    color
        Column of the `.obs` of the modalities, or of `mdata.obs`, to add; of the reference where it has it.
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
    where a column was named. With a `reference` its cells come first, and `of` says ``"reference"`` or ``"query"``. An
    AnnData is the modality ``"cells"``.

    Raises
    ------
    KeyError
        If the cells were not embedded, or the column or slot is not there.
    ValueError
        If the latents are of several models.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> cells = jm.get.embedding(mdata, color="cell_type", basis="pca")
    >>> cells.shape, list(cells)
    ((108, 4), ['modality', 'x', 'y', 'color'])
    """
    require_option(basis, get_args(Basis), name="basis")
    require_positive(n_cells=n_cells)
    rng, slot = generator(rng), use_rep or Keys(key_added).latent
    keys = Keys(key_added) if use_rep is None else None  # under which latents of a model stand
    parts = _parts(mdata, slot, color, "query", n_cells, rng, keys=keys)
    if reference is not None:
        below = _parts(reference, slot, color, "reference", n_cells, rng, keys=keys)
        parts = [*below, *parts]
    if use_rep is None:
        _require_one_model(parts)
    seed = int(rng.integers(2**31))
    planes = [part.coordinates for part in parts]
    planes = planes if use_rep else [np.concatenate(planes)]
    xy = np.concatenate([_coordinates(plane, basis, seed) for plane in planes])
    lengths, names = [len(part.cells) for part in parts], list(dict.fromkeys(part.modality for part in parts))
    cells = pd.DataFrame(
        {
            "modality": pd.Categorical(np.repeat([part.modality for part in parts], lengths), categories=names),
            "x": xy[:, 0],
            "y": xy[:, 1],
        },
        index=np.concatenate([part.cells for part in parts]),
    )
    if reference is not None:
        cells["of"] = pd.Categorical(np.repeat([part.of for part in parts], lengths), categories=["reference", "query"])
    if color is not None:
        cells["color"] = _joined([part.color for part in parts])
    return cells


def _require_one_model(parts: list[_Part]) -> None:
    """Raise if latents that are placed in one plane are of several models."""
    widths, models = {part.coordinates.shape[1] for part in parts}, {part.placed_by for part in parts} - {""}
    if len(widths) > 1 or len(models) > 1:
        found = f"{sorted(widths)} dimensions" if len(widths) > 1 else f"those of {len(models)}"
        both = any(part.of == "reference" for part in parts)
        msg = f"expected latents of one model{' in `mdata` and `reference`' * both}, found {found}; call " + (
            "jm.tl.embed(mdata, model) and jm.tl.embed(reference, model)" if both else "jm.tl.embed(mdata, model)"
        )
        raise InvalidValueError(msg)


class _Part(NamedTuple):
    """Cells of one modality of the reference or of the query."""

    of: str
    modality: str
    cells: pd.Index
    coordinates: Array  # (n, g)
    color: pd.Series  # (n,)
    placed_by: str  # which model, if that is known


def _parts(
    data: MuData | ad.AnnData,
    slot: str,
    color: str | None,
    of: str,
    n_cells: int,
    rng: np.random.Generator,
    *,
    keys: Keys | None,
) -> list[_Part]:
    mdata = as_mudata(data, "cells" if isinstance(data, ad.AnnData) else None)
    names = [name for name in mdata.mod if slot in mdata[name].obsm]
    if not names:
        remedy = "jm.pp.prepare(mdata)" if keys is None else "jm.tl.train(mdata) or jm.tl.embed(mdata, model)"
        where = f"`{'reference' if of == 'reference' else 'mdata'}[m].obsm[{slot!r}]`"
        msg = f"expected cells in {where}, found none; call {remedy}"
        raise MissingNameError(msg)
    parts = []
    for name in names:
        rows = _drawn(mdata[name].n_obs, n_cells, rng)
        values = pd.Series(np.nan, index=mdata[name].obs_names, dtype=object)
        if color is not None and (of == "query" or _has(mdata, color)):
            values = labels(mdata, color, name, argument="color")
        coordinates = np.asarray(mdata[name].obsm[slot])[rows]
        placed_by = "" if keys is None else str(mdata[name].uns.get(keys.placed_by, ""))
        parts.append(_Part(of, name, mdata[name].obs_names[rows], coordinates, values.iloc[rows], placed_by))
    return parts


def _has(mdata: MuData, column: str) -> bool:
    return any(column in part.obs for part in (mdata, *mdata.mod.values()))


def _drawn(n: int, most: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.choice(n, min(most, n), replace=False))


def _coordinates(x: Array, basis: str, seed: int) -> Array:
    let_numba_cache()
    import scanpy as sc

    if basis == "pca":
        return sc.pp.pca(x, n_comps=2)
    adata, n = ad.AnnData(x), min(15, len(x) - 1)
    search = {"transformer": _Nearest(n)} if len(x) >= MANY else {}
    with threads_kept():
        sc.pp.neighbors(adata, use_rep="X", n_neighbors=n, **search, **seed_argument(sc.pp.neighbors, seed))
        sc.tl.umap(adata, **seed_argument(sc.tl.umap, seed))
    return adata.obsm["X_umap"]


class _Nearest:
    """Nearest cells, in the form in which scanpy takes another search."""

    def __init__(self, n: int) -> None:
        self.n = n

    def fit_transform(self, x: Array) -> sparse.csr_matrix:
        """Distances to the nearest cells, itself the first."""
        distance, cells = nearest(x, x, self.n)
        start = np.arange(len(x) + 1) * self.n
        return sparse.csr_matrix((distance.ravel(), cells.ravel(), start), shape=(len(x), len(x)))

    def get_params(self) -> dict[str, int]:
        """What scanpy notes of it."""
        return {"n_neighbors": self.n}


def _joined(columns: list[pd.Series]) -> pd.api.extensions.ExtensionArray | Array:
    """Values of one modality after the other: categories stay, those of the first modality before others."""
    known = [column for column in columns if column.notna().any()] or columns
    values = np.concatenate([column.to_numpy(dtype=object) for column in columns])
    if all(isinstance(column.dtype, pd.CategoricalDtype) for column in known):
        names = pd.unique(np.concatenate([column.cat.categories.to_numpy(dtype=object) for column in known]))
        return pd.Categorical(values, categories=names)
    return pd.Series(values).infer_objects().array
