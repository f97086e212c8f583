"""Pairs of cells: to learn from, and to score."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from mudata import MuData

from jamie._keys import Keys
from jamie._types import Array
from jamie.data import known_pairs, training_cells

Rows: TypeAlias = tuple[Array, Array]


class CellPairs(NamedTuple):
    """Rows of paired cells in two modalities."""

    train: Rows
    test: Rows  # to score: the held-out ones, all of them if none are
    cells: str  # which those are: held-out or in-sample

    def reversed(self) -> CellPairs:
        return CellPairs(self.train[::-1], self.test[::-1], self.cells)


def cell_pairs(mdata: MuData, a: str, b: str, keys: Keys) -> CellPairs:
    """Cells of `a` with their likeliest known partners in `b`."""
    f = known_pairs(mdata, a, b, keys)
    (rows,) = np.nonzero(np.asarray(f.sum(axis=1)).ravel() > 0)
    columns = np.asarray(f.argmax(axis=1)).ravel()[rows]
    train = training_cells(mdata, a, keys)[rows] & training_cells(mdata, b, keys)[columns]
    learned = rows[train], columns[train]
    if train.all():
        return CellPairs(learned, learned, "in-sample")
    return CellPairs(learned, (rows[~train], columns[~train]), "held-out")
