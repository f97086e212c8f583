"""What a modality's values are, from one pass over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from jamie._types import Array, Matrix

from ._cell_matrix import CellMatrix, at_most_one, missing, sums
from ._moments import Moments, combined, moments


class ValueStats(NamedTuple):
    """What no cell may have, and of the training cells what kind and normalisation are learned from.

    NaN is no value: what is said of values is said of the others.
    """

    is_whole: bool  # whether all values are whole numbers from 0 up, and there are any
    negative: Array  # (d,) values below 0 of each feature
    missing: Array  # (d,) NaN of each feature
    n_cells: int
    n_train: int
    n_missing: int  # NaN of the training cells
    filled: float  # share of the training cells' values that are not 0
    totals: Array  # (n_train,) sum of each cell
    n_open: Array  # (n_train,) values above 0 of each cell; one below 1, a probability, counts as that
    sums: Array  # (d,) sum of each feature
    opened: Array  # (d,) training cells with a value above 0; one below 1, a probability, counts as that
    mean: Array  # (d,) of each feature
    sd: Array  # (d,)

    @property
    def share_missing(self) -> float:
        """Share of all values that are NaN."""
        return float(self.missing.sum() / max(self.n_cells * len(self.missing), 1))


class _Block(NamedTuple):
    """The same of one block of cells."""

    is_whole: bool
    n_values: int
    negative: Array
    missing: Array
    n_missing: int
    n_filled: int
    totals: Array
    n_open: Array
    sums: Array
    opened: Array
    moments: Moments


def value_stats(cells: CellMatrix, train: Array) -> ValueStats:
    """Look at every value once; of a block no more is kept than two numbers per cell, and some per feature."""
    n_train, n_missing, n_values, n_filled, is_whole = int(train.sum()), 0, 0, 0, True
    per_feature = {name: np.zeros(cells.shape[1]) for name in ("negative", "missing", "sums", "opened")}
    totals, n_open, of_blocks = [], [], []
    for block in cells.map(_look, train, description="surveying"):
        is_whole &= block.is_whole
        n_values += block.n_values
        n_missing += block.n_missing
        n_filled += block.n_filled
        totals.append(block.totals)
        n_open.append(block.n_open)
        of_blocks.append(block.moments)
        for name, summed in per_feature.items():
            summed += getattr(block, name)
    over = combined(of_blocks)
    return ValueStats(
        is_whole=is_whole and n_values > 0,
        negative=per_feature["negative"].astype(np.int64),
        missing=per_feature["missing"].astype(np.int64),
        n_cells=cells.shape[0],
        n_train=n_train,
        n_missing=n_missing,
        filled=n_filled / max(n_train * cells.shape[1] - n_missing, 1),
        totals=np.concatenate(totals),
        n_open=np.concatenate(n_open),
        sums=per_feature["sums"],
        opened=per_feature["opened"],
        mean=np.broadcast_to(over.mean, cells.shape[1]),
        sd=np.broadcast_to(np.sqrt(over.variance), cells.shape[1]),
    )


def _look(x: Matrix, train: Array) -> _Block:
    values, n_stored = _stored(x), _stored(x).size
    gaps, none = np.isnan(values), np.zeros(x.shape[1], dtype=np.int64)
    absent = int(np.count_nonzero(gaps))
    below = values < 0
    learned = x if train.all() else x[train]
    n_missing = int(np.count_nonzero(np.isnan(_stored(learned)))) if absent else 0
    measured = _without_gaps(learned) if n_missing else learned
    opened = at_most_one(measured)
    return _Block(
        is_whole=not below.any() and bool(((np.trunc(values) == values) | gaps).all()),
        n_values=n_stored - absent,
        negative=_per_feature(x, below) if below.any() else none,
        missing=missing(x, axis=0) if absent else none,
        n_missing=n_missing,
        n_filled=int(np.count_nonzero(_stored(measured))),
        totals=np.asarray(measured.sum(axis=1)).ravel(),
        n_open=np.asarray(opened.sum(axis=1)).ravel(),
        sums=sums(measured, axis=0),
        opened=sums(opened, axis=0),
        moments=moments(learned),
    )


def _stored(x: Matrix) -> Array:
    return x.data if sparse.issparse(x) else x


def _without_gaps(x: Matrix) -> Matrix:
    """NaN as 0, so that it adds nothing."""
    if sparse.issparse(x):
        return sparse.csr_matrix((np.nan_to_num(x.data), x.indices, x.indptr), x.shape)
    return np.nan_to_num(x)


def _per_feature(x: Matrix, chosen: Array) -> Array:
    """How many of the chosen values, a mask like those stored, each feature has."""
    return np.bincount(x.indices[chosen], minlength=x.shape[1]) if sparse.issparse(x) else chosen.sum(axis=0)
