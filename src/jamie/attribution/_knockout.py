"""What the network makes of cells without some of their features, which stand at their background instead.

The background of a feature is its training mean; a region of open chromatin is closed. With D the standardised features
less their background and L the loadings, knocking out the features G changes a cell's components by −D_G L_G: a product
of rank |G|, whatever the number of features. Each set is knocked out of the full cell, never on top of another, and
only cells that it changes pass through the network again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from jamie._progress import progress
from jamie._types import Array, Matrix
from jamie.data import Preparation
from jamie.model import JAMIE

from ._contributions import Cells, outputs

ROWS = 16_384  # of changed cells at a time


def knocked_out(
    model: JAMIE, source: str, target: str | None, cells: Cells, sets: Sequence[Array]
) -> Iterator[tuple[Array, Array]]:
    """For each set of features, positions among those of `cells`: the cells it changes, and their `outputs`, (r, q)."""
    preparation = model.preparations_[source]
    loadings, deviation = preparation.loadings[cells.columns], _Deviation(preparation, cells)
    with progress(len(sets), description="knocking out") as bar:
        changed: list[Array] = []
        inputs: list[Array] = []
        for i, features in enumerate(sets):
            of_set = deviation(features)
            rows = np.flatnonzero((of_set != 0).any(1))
            changed.append(rows)
            inputs.append(cells.inputs[rows] - of_set[rows] @ loadings[features])
            if sum(map(len, changed)) >= ROWS or i == len(sets) - 1:
                found = outputs(model, source, target, np.concatenate(inputs).astype(np.float32))
                yield from zip(changed, np.split(found, np.cumsum([len(rows) for rows in changed])[:-1]), strict=True)
                bar.update(len(changed))
                changed, inputs = [], []


class _Deviation:
    """How far some standardised features are from their background, in every cell."""

    def __init__(self, preparation: Preparation, cells: Cells) -> None:
        is_sparse, is_open = sparse.issparse(cells.scaled), preparation.kind == "accessibility"
        self.by_feature: Matrix = cells.scaled.tocsc() if is_sparse else np.asfortranarray(cells.scaled)
        mean = (preparation.mean / preparation.sd)[cells.columns]
        if is_sparse:  # not centred: what is not stored is 0, which for regions is the background
            self.background = np.zeros_like(mean) if is_open else mean
        else:
            self.background = -mean if is_open else np.zeros_like(mean)

    def __call__(self, features: Array) -> Array:
        """Take features to (n, features), dense."""
        values = self.by_feature[:, features]
        return (values.toarray() if sparse.issparse(values) else values) - self.background[features]
