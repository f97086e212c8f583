"""Hold out cells."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import train_test_split

from jamie._checks import generator, require_fraction
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie._types import Array, Seed
from jamie.data import Cells, open_cells, require_several, writable


@in_one_line
@document("mdata", "rng", "key_added", "copy")
def split(
    mdata: MuData,
    *,
    test_fraction: float = 0.2,
    stratify: str | None = None,
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Mark a random share of the cells as held out: everything that learns leaves them alone.

    One split serves every model of a MuData, whatever its `key_added`; a split of another prefix is for the models of
    that prefix. A model remembers which cells it has seen: a split that is drawn again changes nothing for it.

    Only cells with a measured counterpart can be scored, so they alone are drawn from: cells measured in two or more
    modalities, and cells paired by :func:`jamie.pp.correspondence`, whose partners are held out with them.

    Parameters
    ----------
    {shared}
    test_fraction
        Share of the cells with a counterpart to hold out.
    stratify
        Column of `mdata.obs`, or of the modalities' `.obs`; each of its values is held out in the same share.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata.obs['jamie_split']` : categorical (`n_obs`)
        ``"train"`` or ``"test"``.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If no cell has a counterpart, or a stratum has fewer than two.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata, test_fraction=0.25)
    >>> mdata.obs["jamie_split"].value_counts().to_dict()
    {'train': 48, 'test': 12}
    """
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, keys=Keys(key_added))
    require_several(cells)
    require_fraction(test_fraction, name="test_fraction")
    strata = None if stratify is None else _strata(cells, stratify)
    rng, keys = generator(rng), cells.keys
    group = _groups(cells)
    measured = np.bincount(np.concatenate([cells.rows(name) for name in cells.names]), minlength=cells.n_obs)
    size = np.bincount(group)[group]
    candidates = np.unique(group[(measured > 1) | (size > 1)])
    if not len(candidates):
        msg = "expected cells measured in two modalities, found none; call jm.pp.correspondence(mdata, pairs=...) first"
        raise InvalidValueError(msg)
    first = np.unique(group, return_index=True)[1]
    test = _draw(candidates, test_fraction, None if strata is None else strata[first[candidates]], rng)
    label = np.where(np.isin(group, test), "test", "train")
    write(mdata, None, "obs", keys.split, pd.Categorical(label, categories=["train", "test"]))
    return mdata if copy else None


def _groups(cells: Cells) -> Array:
    """Cells that known pairs connect, as one number each; a cell by itself where no pairs were given."""
    total = sparse.csr_matrix((cells.n_obs, cells.n_obs))
    for a, b in combinations(cells.names, 2):
        written = cells.stored_pairs("known", a, b)
        if written is not None:
            total += cells.over_all_cells(written, a, b)
    return connected_components(total, directed=False)[1]


def _strata(cells: Cells, column: str) -> Array:
    """Stratum of each cell of the MuData, as text."""
    strata = np.full(cells.n_obs, "nan", dtype=object)
    for name in reversed(cells.names):
        labels = cells.labels(column, name)
        strata[cells.rows(name)[labels.notna()]] = labels.dropna().astype(str)
    return strata


def _draw(candidates: Array, fraction: float, strata: Array | None, rng: np.random.Generator) -> Array:
    if strata is None:
        return rng.choice(candidates, max(1, int(fraction * len(candidates))), replace=False)
    values, counts = np.unique(strata, return_counts=True)
    if counts.min() < 2:
        msg = (
            f"expected at least two cells of each stratum, found one of {values[counts.argmin()]!r}; merge small strata"
        )
        raise InvalidValueError(msg)
    n_test = int(np.ceil(fraction * len(candidates)))
    if not len(values) <= n_test <= len(candidates) - len(values):
        msg = (
            f"expected a `test_fraction` that leaves at least one cell of each of the {len(values)} strata "
            "on both sides, "
            f"found {fraction} of {len(candidates)} cells; hold out another share, or merge strata"
        )
        raise InvalidValueError(msg)
    seed = int(rng.integers(2**31))
    return train_test_split(candidates, test_size=fraction, stratify=strata, random_state=seed)[1]
