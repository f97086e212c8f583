"""What is said of a pair of a region and a gene: what the model uses, loses, and leaves unexplained."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._keys import Keys
from jamie._types import Array
from jamie.attribution import AllCells, Cells, Correlation, Readout, contributions, knocked_out
from jamie.model import JAMIE

from ._knockout_judge import Judged
from ._predictions import measured_values

AT_ONCE = 2**24  # unexplained values at a time


def shap_of_pairs(
    model: JAMIE, source: str, readout: Readout, cells: Cells, background: Cells, rows: Array, pairs: Array
) -> tuple[Array, Array]:
    """Mean SHAP value of each pair over the cells that are open, and mean absolute value over all.

    What is explained are the components of the genes; from there to single pairs all is linear.
    """
    components = Readout(readout.target, np.eye(readout.matrix.shape[1]), np.zeros(readout.matrix.shape[1]))
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


def losses_of_pairs(model: JAMIE, source: str, judged: Judged[Correlation], pairs: Array) -> Array:
    """How much lower the correlation of a pair's gene is without its region."""
    baseline = judged.measure(np.arange(0), judged.intact[:0])
    order = np.argsort(pairs[0], kind="stable")
    rows, first = np.unique(pairs[0][order], return_index=True)
    loss = np.empty(pairs.shape[1])
    changes = knocked_out(model, source, judged.through, judged.cells, [np.array([row]) for row in rows])
    for mine, (changed, out) in zip(np.split(order, first[1:]), changes, strict=True):
        some = pairs[1][mine]
        loss[mine] = baseline[some] - judged.measure(changed, out, some)
    return loss


def partial_correlation(
    mdata: MuData, model: JAMIE, genes: str, regions: str, every: AllCells, columns: Array, pairs: Array, keys: Keys
) -> Array:
    """Correlation of each pair's region with the gene less its imputed values, in all pairs of cells."""
    train, test, which = model.open(mdata, key_added=keys.prefix).pairs(regions, genes)
    rows, partners = train if which == "in-sample" else np.hstack([train, test])
    cells = every.take(rows)
    found = np.full(pairs.shape[1], np.nan)
    if len(rows) < 3:
        return found
    z = cells.scaled.tocsc() if sparse.issparse(cells.scaled) else cells.scaled
    mean = np.asarray(z.mean(axis=0)).ravel()
    square = np.asarray((z.multiply(z) if sparse.issparse(z) else np.square(z)).mean(axis=0)).ravel()
    sd = np.sqrt(np.maximum(square - np.square(mean), 0))
    step = max(1, AT_ONCE // len(rows))
    for start in range(0, len(columns), step):
        some = columns[start : start + step]
        measured = measured_values(mdata, model, genes, partners, some)
        left = np.nan_to_num(measured - model.translate(cells.inputs, regions, genes, some))
        left = (left - left.mean(0)) / np.where(left.std(0) > 0, left.std(0), np.inf)
        (mine,) = np.nonzero((pairs[1] >= start) & (pairs[1] < start + step))
        region, gene = pairs[0][mine], pairs[1][mine] - start
        products = np.asarray(z.T @ left)[region, gene] / len(rows)
        found[mine] = products / np.where(sd[region] > 0, sd[region], np.inf)
    return found
