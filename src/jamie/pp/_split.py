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
from jamie._settings import logger
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
    group: str | None = None,
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Mark a random share of the cells as held out: everything that learns leaves them alone.

    One split serves every model of a MuData, whatever its `key_added`; a split of another prefix is for the models of
    that prefix. A model remembers which cells it has seen: a split that is drawn again changes nothing for it.

    Only cells with a measured counterpart can be scored, so they alone are drawn from: cells measured in two or more
    modalities, and cells paired by :func:`jamie.pp.correspondence`, whose partners are held out with them.

    Cells of one animal, donor or batch are more alike than cells of two, so that random cells say more of a model than
    the next experiment will. With `group` whole groups are held out.

    Parameters
    ----------
    {shared}
    test_fraction
        Share of the cells with a counterpart to hold out; of groups as near to it as whole ones come, which is logged.
    stratify
        Column of `mdata.obs`, or of the modalities' `.obs`; each of its values is held out in the same share, or with
        `group` as near to it as whole groups come.
    group
        Column of the same, such as the mouse; each of its values is held out as a whole or not at all. Cells without a
        value are not held out.

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
        If no cell has a counterpart, a stratum has fewer than two, or there is but one group.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata, test_fraction=0.25)
    >>> mdata.obs["jamie_split"].value_counts().to_dict()
    {'train': 48, 'test': 12}
    >>> mdata.obs["mouse"] = [f"mouse{i % 6}" for i in range(mdata.n_obs)]
    >>> jm.pp.split(mdata, group="mouse")
    >>> mdata.obs["mouse"][mdata.obs["jamie_split"] == "test"].nunique()
    1
    """
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, keys=Keys(key_added))
    require_several(cells)
    require_fraction(test_fraction, name="test_fraction")
    strata = None if stratify is None else _values(cells, stratify, "stratify").fillna("nan").to_numpy()
    rng, keys = generator(rng), cells.keys
    linked = _linked(cells)
    measured = np.bincount(np.concatenate([cells.rows(name) for name in cells.names]), minlength=cells.n_obs)
    size = np.bincount(linked)[linked]
    has_counterpart = (measured > 1) | (size > 1)
    candidates = np.unique(linked[has_counterpart])
    if not len(candidates):
        msg = "expected cells measured in two modalities, found none; call jm.pp.correspondence(mdata, pairs=...) first"
        raise InvalidValueError(msg)
    if group is None:
        first = np.unique(linked, return_index=True)[1]
        test = _draw(candidates, test_fraction, None if strata is None else strata[first[candidates]], rng)
        held_out = np.isin(linked, test)
    else:
        held_out = _whole_groups(
            _values(cells, group, "group"), linked, has_counterpart, strata, test_fraction, group, rng
        )
    label = np.where(held_out, "test", "train")
    write(mdata, None, "obs", keys.split, pd.Categorical(label, categories=["train", "test"]))
    return mdata if copy else None


def _linked(cells: Cells) -> Array:
    """Cells that known pairs connect, as one number each; a cell by itself where no pairs were given."""
    total = sparse.csr_matrix((cells.n_obs, cells.n_obs))
    for a, b in combinations(cells.names, 2):
        written = cells.stored_pairs("known", a, b)
        if written is not None:
            total += cells.over_all_cells(written, a, b)
    return connected_components(total, directed=False)[1]


def _values(cells: Cells, column: str, argument: str) -> pd.Series:
    """Value of each cell of the MuData in a column, as text; NaN where it has none."""
    values = np.full(cells.n_obs, np.nan, dtype=object)
    for name in reversed(cells.names):
        labels = cells.labels(column, name, argument=argument)
        values[cells.rows(name)[labels.notna()]] = labels.dropna().astype(str)
    return pd.Series(values, dtype=object)


def _whole_groups(
    groups: pd.Series,
    linked: Array,
    has_counterpart: Array,
    strata: Array | None,
    fraction: float,
    column: str,
    rng: np.random.Generator,
) -> Array:
    """Mask of the cells of groups, in random order, that each bring the share of every stratum nearer to the fraction.

    Groups that known pairs connect go together.
    """
    code, values = pd.factorize(groups, sort=True)
    named = code >= 0
    code = code[named]
    joined = sparse.coo_matrix((np.ones(len(code)), (code, linked[named])), shape=(len(values), linked.max() + 1))
    whole = connected_components(joined @ joined.T, directed=False)[1]
    of_cell = np.full(len(groups), -1)
    of_cell[named] = whole[code]
    scored = named & has_counterpart
    stratum = (
        np.zeros(len(groups), dtype=int) if strata is None else np.unique(strata.astype(str), return_inverse=True)[1]
    )
    counts = np.zeros((whole.max(initial=-1) + 1, stratum.max() + 1))
    np.add.at(counts, (of_cell[scored], stratum[scored]), 1)
    total = np.bincount(stratum[has_counterpart], minlength=counts.shape[1])
    candidates = np.flatnonzero(counts.any(axis=1))
    if len(candidates) < 2:
        msg = (
            f"expected at least two groups in {column!r} of which cells have a counterpart, found {len(candidates)}; "
            "name a column of smaller groups, or leave `group` out"
        )
        raise InvalidValueError(msg)

    def apart(held: Array) -> float:
        return float((np.square(held - fraction * total) / np.maximum(total, 1)).sum())

    held = np.zeros(counts.shape[1])
    chosen: list[int] = []
    for one in rng.permutation(candidates):
        if apart(held + counts[one]) < apart(held) and len(chosen) < len(candidates) - 1:
            held, chosen = held + counts[one], [*chosen, one]
    chosen = chosen or [candidates[counts[candidates].sum(axis=1).argmin()]]
    mask = np.isin(of_cell, chosen)
    logger.info(
        "held out %d of %d values of %r, %.0f %% of the cells with a counterpart",
        groups[mask].nunique(), len(values), column, 100 * mask[has_counterpart].mean(),
    )  # fmt: skip
    return mask


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
