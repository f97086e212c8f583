"""What is said of a pair of a region and a gene: what the model uses, loses, and leaves unexplained.

Pairs are an array (2, p) of integers: regions, by position among the features of the cells, and genes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from jamie._types import Array, Pair
from jamie.model import JAMIE

from ._contributions import PreparedCells, Readout, contributions
from ._judge import Judge
from ._knockout import knocked_out
from ._measures import Correlation

AT_ONCE = 2**24  # unexplained values at a time


def shap_of_pairs(
    model: JAMIE, source: str, readout: Readout, cells: PreparedCells, background: PreparedCells, pairs: Array
) -> tuple[Array, Array]:
    """Mean SHAP value of each pair over the cells that are open, and mean absolute value over all.

    Genes are rows of the readout. What is explained are their components; from there to single pairs all is linear.
    """
    components = Readout(readout.target, np.eye(readout.matrix.shape[1]), np.zeros(readout.matrix.shape[1]))
    rows = np.unique(pairs[0])
    at, weights = np.searchsorted(rows, pairs[0]), readout.matrix[pairs[1]].astype(np.float32)
    signed, absolute, n_open = np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(rows))
    is_open = sparse.csr_matrix(cells.scaled[:, rows] > 0)
    for one in contributions(model, source, components, cells, background):
        open_here = np.zeros(len(rows), dtype=bool)
        open_here[is_open[one.cell].indices] = True
        n_open += open_here
        values = np.einsum("pq,pq->p", one.values[rows][at], weights)
        absolute += np.abs(values)
        signed += np.where(open_here[at], values, 0)
    return signed / np.maximum(n_open[at], 1), absolute / len(cells.inputs)


def losses_of_pairs(model: JAMIE, source: str, judge: Judge[Correlation], pairs: Array) -> Array:
    """How much lower the correlation of a pair's gene, one of the judge's outputs, is without its region."""
    baseline = judge.measure(np.arange(0), judge.intact[:0])
    order = np.argsort(pairs[0], kind="stable")
    rows, first = np.unique(pairs[0][order], return_index=True)
    loss = np.empty(pairs.shape[1])
    changes = knocked_out(model, source, judge.target, judge.cells, [np.array([row]) for row in rows])
    for at, (changed, out) in zip(np.split(order, first[1:]), changes, strict=True):
        genes = pairs[1][at]
        loss[at] = baseline[genes] - judge.measure(changed, out, genes)
    return loss


def partial_correlation(
    model: JAMIE,
    names: Pair,
    cells: PreparedCells,
    columns: Array,
    measured: Callable[[Array], Array],
    pairs: Array,
) -> Array:
    """Correlation of each pair's region with the gene less its imputed values; NaN with fewer than three cells.

    `names` are the modalities of regions and genes, `columns` where the genes are among the model's features, and
    `measured` reads their values in the partners of the cells, (n, columns), a block of columns at a time.
    """
    n = len(cells.inputs)
    correlation = np.full(pairs.shape[1], np.nan)
    if n < 3:
        return correlation
    z = cells.scaled.tocsc() if sparse.issparse(cells.scaled) else cells.scaled
    mean = np.asarray(z.mean(axis=0)).ravel()
    square = np.asarray((z.multiply(z) if sparse.issparse(z) else np.square(z)).mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(square - np.square(mean), 0))
    step = max(1, AT_ONCE // n)
    for start in range(0, len(columns), step):
        block = columns[start : start + step]
        left = np.nan_to_num(measured(block) - model.translate(cells.inputs, *names, block))
        left = (left - left.mean(0)) / np.where(left.std(0) > 0, left.std(0), np.inf)
        (at,) = np.nonzero((pairs[1] >= start) & (pairs[1] < start + step))
        region, gene = pairs[0][at], pairs[1][at] - start
        products = np.asarray(z.T @ left)[region, gene] / n
        correlation[at] = products / np.where(sd[region] > 0, sd[region], np.inf)
    return correlation
