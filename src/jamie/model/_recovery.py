"""Imputed values have the mean of what was measured, also where they are carried back to counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy import sparse

from jamie._spread import spread
from jamie._types import Array, Matrix
from jamie.data import Cells, Preparation, Problem

from ._kernel_mixes import surest_pairs

MOST_CELLS = 5_000
"""Of a source; the means of a gene with 100 counts in them are known to 10 %."""
VALUES = 2**24
"""Imputed at a time."""

Rows = Mapping[str, Array]
"""Of cells, by modality."""


class Imputer(Protocol):
    """What is asked of a model."""

    preparations_: dict[str, Preparation]

    def translate(self, inputs: Array, source: str, target: str) -> Array:
        """Imputed features, (n, d)."""


def with_recovery(model: Imputer, opened: Cells, problem: Problem, cells: Rows) -> dict[str, Preparation]:
    """Preparations that know by how much the counts of the given cells exceed what is imputed for them.

    A mean of logarithms lies below the logarithm of the mean, by more the more cells vary about it, so that the
    exponential of what is imputed falls short: to 0.4 of the counts of 10x data. The factor is, per feature, measured
    counts over imputed ones, summed over training cells with a known partner (a smearing estimator, Duan 1983). Cells
    that were trained on can tell it: on 2,285 others of citeseq_pbmc10k the median over genes of imputed over measured
    means is 1.01.
    """
    return {
        name: preparation
        if preparation.kind == "continuous"
        else replace(preparation, recovery=_recovery(model, opened, problem, cells, name))
        for name, preparation in model.preparations_.items()
    }


def _recovery(model: Imputer, opened: Cells, problem: Problem, cells: Rows, target: str) -> Array:
    """Measured over imputed means, (d,); a prior of one count at the overall ratio keeps it finite, and above 0."""
    preparation = model.preparations_[target]
    x = opened.corrected(target, preparation)
    measured, imputed = np.zeros((2, len(preparation.features)))
    step = max(1, min(VALUES // max(x.shape[1], 1), x.blocks()[0].stop))
    for source, rows, partners in _pairs(problem, cells, target):
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            values = model.translate(problem.modalities[source].inputs[rows[part]], source, target)
            values = preparation.normaliser.to_input_units(values)
            block = x[partners[part]]
            block = preparation.measured(block) if preparation.kind == "accessibility" else block
            sums = _sums(block, values)
            measured, imputed = measured + sums[0], imputed + sums[1]
    overall = measured.sum() / imputed.sum() if imputed.sum() > 0 else 1.0
    return ((measured + overall) / (imputed + 1)).astype(preparation.dtype)


def _pairs(problem: Problem, cells: Rows, target: str) -> Iterator[tuple[str, Array, Array]]:
    """Cells of each other modality, and their partners in the target; the target's own cells if there are none."""
    n_pairs = 0
    for source in problem.modalities:
        if source != target and len(cells[source]) and len(cells[target]):
            rows, partners = surest_pairs(problem.known_of(source, target), cells[source], cells[target])
            chosen = spread(len(rows), MOST_CELLS)
            n_pairs += len(chosen)
            yield source, rows[chosen], partners[chosen]
    if not n_pairs:
        own = cells[target][spread(len(cells[target]), MOST_CELLS)]
        yield target, own, own


def _sums(block: Matrix, imputed: Array) -> tuple[Array, Array]:
    """Sums over cells of measured and of imputed values, each of what was measured."""
    if not np.isnan(block.data if sparse.issparse(block) else block).any():
        in_double = block.T @ np.ones(block.shape[0])  # scipy adds up single values in single precision
        return in_double, imputed.sum(axis=0, dtype=np.float64)
    dense = block.toarray() if sparse.issparse(block) else block
    seen = ~np.isnan(dense)
    return tuple(np.where(seen, values, 0).sum(axis=0, dtype=np.float64) for values in (dense, imputed))
