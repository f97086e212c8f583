"""What a modality's values are, from one pass over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from jamie._types import Array, Matrix

from ._cell_matrix import CellMatrix, missing


class ValueStats(NamedTuple):
    """What no cell may have, and of the training cells what kind and normalisation are learned from."""

    is_whole: bool  # whether all values are whole numbers from 0 up, and there are any
    negative: Array  # (d,) values below 0 of each feature
    missing: Array  # (d,) NaN of each feature
    n_train: int
    filled: float  # share of values that are not 0
    totals: Array  # (n_train,) sum of each cell
    opened: Array  # (d,) training cells with a value above 0


def value_stats(cells: CellMatrix, train: Array) -> ValueStats:
    """Look at every value once."""
    found = list(cells.map(_look, train, description="surveying"))
    filled, whole, n_stored, negative, absent, totals, opened = zip(*found, strict=True)
    return ValueStats(
        is_whole=all(whole) and sum(n_stored) > 0,
        negative=np.sum(negative, axis=0),
        missing=np.sum(absent, axis=0),
        n_train=int(train.sum()),
        filled=sum(filled) / max(int(train.sum()) * cells.shape[1], 1),
        totals=np.concatenate(totals),
        opened=np.sum(opened, axis=0),
    )


def _look(x: Matrix, train: Array) -> tuple[int, bool, int, Array, Array, Array, Array]:
    d = x.shape[1]
    values = x.data if sparse.issparse(x) else x
    has_missing, none = bool(np.isnan(values).any()), np.zeros(d, dtype=np.int64)
    below = bool((values < 0).any())
    whole = not below and not has_missing and bool((np.mod(values, 1) == 0).all())
    learned = x if train.all() else x[train]
    return (
        int(np.count_nonzero(learned.data if sparse.issparse(learned) else learned)),
        whole,
        values.size,
        _per_feature(x, values < 0) if below else none,
        missing(x, axis=0) if has_missing else none,
        np.asarray(learned.sum(axis=1)).ravel(),
        _per_feature(learned, (learned.data if sparse.issparse(learned) else learned) > 0),
    )


def _per_feature(x: Matrix, chosen: Array) -> Array:
    """How many of the chosen values, a mask like those stored, each feature has."""
    return np.bincount(x.indices[chosen], minlength=x.shape[1]) if sparse.issparse(x) else chosen.sum(axis=0)
