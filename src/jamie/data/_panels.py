"""Cells of which each was measured in its own features: two antibody panels that were joined, for instance.

How deep a cell was measured cannot be told from its total where another cell lacks other features. Depth and features
are told apart by a model of two factors, fitted to what was measured: of counts x_ij ≈ a_i s_j, by likelihood; of
logarithms l_ij ≈ a_i + b_j, by least squares. Cells of one panel only enter by their sums, so that one pass over the
cells is enough. Panels that share no feature cannot be compared: there their cells count as equally deep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from jamie._types import Array, Matrix

from ._cell_matrix import CellMatrix

MOST_PANELS = 1_024
"""Sets of measured features that are told apart; cells of further ones, by then of values that miss at random, tell no
more of the features."""
TOLERANCE = 1e-7
ROUNDS = 2_000
DENSE_ROWS = 1_024
"""Made dense at once."""


class Panels(NamedTuple):
    """Sums over the cells that were measured in the same features."""

    measured: Array  # (p, d) bool
    n: Array  # (p,) cells
    sums: Array  # (p, d) over cells, 0 where not measured


def panels(cells: CellMatrix, train: Array, transform: Callable[[Matrix], Matrix]) -> Panels:
    """Sum the transformed values of the training cells by panel."""
    gathered: dict[bytes, tuple[int, Array]] = {}
    for block in cells.map(lambda x, of_train: _of_block(transform(x[of_train])), train, description="panels"):
        for key, (n, sums) in block.items():
            if key in gathered or len(gathered) < MOST_PANELS:
                n_before, before = gathered.get(key, (0, 0.0))
                gathered[key] = n_before + n, before + sums
    bits = np.stack([np.frombuffer(key, dtype=np.uint8) for key in gathered])
    return Panels(
        measured=np.unpackbits(bits, axis=1, count=cells.shape[1]).astype(bool),
        n=np.array([n for n, _ in gathered.values()]),
        sums=np.stack([sums for _, sums in gathered.values()]),
    )


def shares(by_panel: Panels) -> Array:
    """Share s of each feature in the counts of a cell that was measured in all of them, (d,), of sum 1."""
    measured, _, sums = by_panel
    d = measured.shape[1]
    share = np.full(d, 1 / d)
    for _ in range(ROUNDS):
        expected = measured @ share
        depth = np.divide(sums.sum(axis=1), expected, out=np.zeros_like(expected), where=expected > 0)
        total = depth @ measured
        updated = np.divide(sums.sum(axis=0), total, out=np.zeros(d), where=total > 0)
        updated = updated / updated.sum() if updated.any() else share
        change, share = np.abs(updated - share).max(), updated
        if change < TOLERANCE * share.max():
            break
    return share


def offsets(by_panel: Panels) -> Array:
    """What each feature adds to the logarithms of a cell, (d,), of mean 0."""
    measured, n, sums = by_panel
    width = np.maximum(measured.sum(axis=1), 1)
    n_cells = np.maximum(n @ measured, 1)
    offset = np.zeros(measured.shape[1])
    for _ in range(ROUNDS):
        level = (sums.sum(axis=1) - n * (measured @ offset)) / width
        updated = (sums.sum(axis=0) - level @ measured) / n_cells
        updated -= updated.mean()
        change, offset = np.abs(updated - offset).max(), updated
        if change < TOLERANCE:
            break
    return offset


def _of_block(x: Matrix) -> dict[bytes, tuple[int, Array]]:
    """Number and sums of the cells of each panel in a block; its key is the packed mask of measured features."""
    block: dict[bytes, tuple[int, Array]] = {}
    for start in range(0, x.shape[0], DENSE_ROWS):
        part = x[start : start + DENSE_ROWS]
        part = part.toarray() if sparse.issparse(part) else part
        masks, panel, n = np.unique(
            np.packbits(~np.isnan(part), axis=1), axis=0, return_inverse=True, return_counts=True
        )
        rows, starts = np.argsort(panel.ravel(), kind="stable"), np.cumsum(n) - n
        sums = np.add.reduceat(np.nan_to_num(part)[rows], starts, axis=0, dtype=np.float64)
        for mask, n_cells, total in zip(masks, n, sums, strict=True):
            n_before, before = block.get(mask.tobytes(), (0, 0.0))
            block[mask.tobytes()] = n_before + int(n_cells), before + total
    return block
