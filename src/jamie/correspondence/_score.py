"""A correspondence against what is known, each number beside its chance level.

Chance is what the same rows give when they are dealt to the cells at random. A correspondence that sends every cell to
the commonest type, or to a few hubs, is therefore no better than chance, whatever its accuracy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from jamie._types import Array

N_PERMUTATIONS = 200
_TIE = 1e-9


class Score(NamedTuple):
    """A measure, its mean over all permutations of the rows, and the share of 200 of them that do as well."""

    value: float
    chance: float
    p_value: float
    n_cells: int


def normalised(f: sparse.csr_matrix) -> sparse.csr_matrix:
    """Rows of probabilities: they sum to 1, or to 0 where a cell has no partner."""
    f = sparse.csr_matrix(f, dtype=np.float64)
    f.eliminate_zeros()
    f.sort_indices()
    total = np.asarray(f.sum(axis=1)).ravel()
    f.data /= np.repeat(total, np.diff(f.indptr))
    return f


def by_pairs(f: sparse.csr_matrix, partners: Array, rng: np.random.Generator) -> dict[str, Score]:
    """Whether the true partner of each row is among its entries, and the probability it gets."""
    hits = f.copy()
    hits.data = np.ones(len(hits.data))
    return {"recall": _permuted(hits, partners, rng), "probability": _permuted(f, partners, rng)}


def by_position(projected: Array, own: Array, rng: np.random.Generator) -> Score:
    """FOSCTTM of cells projected into the other modality (n × k) and their own other halves (n × k), both ways.

    Takes n × n distances: meant for a few thousand cells.
    """
    distance = cdist(projected, own)
    closer = rankdata(distance, axis=1) + rankdata(distance, axis=0) - 2  # a tie counts one half
    return _permuted(closer / (2 * (len(own) - 1)), np.arange(len(own)), rng, lower=True)


def by_labels(f: sparse.csr_matrix, rows: Array, columns: Array, rng: np.random.Generator) -> dict[str, Score]:
    """Mass on partners of the same label, and accuracy of the weighted vote; `rows`, `columns` are codes, −1 is none.

    The macro averages give each label of the rows the same weight.
    """
    mass, rows = label_mass(f, rows, columns)
    votes = np.zeros_like(mass)
    votes[np.arange(len(mass)), mass.argmax(axis=1)] = 1
    _, label, count = np.unique(rows, return_inverse=True, return_counts=True)
    macro = 1 / count[label]
    return {
        "label_agreement": _permuted(mass, rows, rng),
        "label_agreement_macro": _permuted(mass, rows, rng, weights=macro),
        "label_accuracy": _permuted(votes, rows, rng),
        "label_accuracy_macro": _permuted(votes, rows, rng, weights=macro),
    }


def label_mass(f: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Probability of each label (cells × labels) and the true label, of cells with a label and labelled partners."""
    n_labels = 1 + max(rows.max(initial=-1), columns.max(initial=-1))
    mass = (f @ _indicator(columns, n_labels)).toarray()
    kept = (rows >= 0) & (mass.sum(axis=1) > 0)
    return mass[kept] / mass[kept].sum(axis=1, keepdims=True), rows[kept]


def by_features(measured: Array, partners: Array, rng: np.random.Generator) -> Score | None:
    """Mean Pearson correlation of linked features (cells × links), in the cells and their partners.

    NaN counts as the mean. Links of which a side is constant are left out; `None` if all are.
    """
    x, y = _standardised(measured), _standardised(partners)
    vary = x.any(axis=0) & y.any(axis=0)
    if not vary.any():
        return None
    x, y = x[:, vary], y[:, vary]
    n = x.size

    def mean(order: Array | slice) -> float:
        return float(np.vdot(x, y[order]) / n)

    value, null = mean(slice(None)), np.array([mean(rng.permutation(len(x))) for _ in range(N_PERMUTATIONS)])
    return Score(value, 0.0, _p_value(value, null), len(x))


def without_truth(f: sparse.csr_matrix) -> dict[str, Score]:
    """What can be told of a correspondence alone: who has partners, how many, and whether a few have them all."""
    has = np.diff(f.indptr) > 0
    load = np.asarray(f.sum(axis=0)).ravel()
    entropy = -np.add.reduceat(f.data * np.log(f.data), f.indptr[:-1][has])
    nan = float("nan")
    return {
        "source_coverage": Score(float(has.mean()), nan, nan, len(has)),
        "target_coverage": Score(float((load > 0).mean()), nan, nan, len(load)),
        "effective_partners": Score(float(np.exp(entropy).mean()), nan, nan, int(has.sum())),
        "largest_load": Score(float(load.max()), nan, nan, len(load)),
    }


def binned(f: sparse.csr_matrix, rows: Array, columns: Array) -> Array:
    """Mean mass that the cells of each bin of rows give to each bin of columns (bins × bins).

    Cells without mass are left out; NaN where that is all of a bin.
    """
    row, column = (_indicator(bins, 1 + bins.max()) for bins in (rows, columns))
    n = row.T @ (np.diff(f.indptr) > 0).astype(float)
    mass = (row.T @ f @ column).toarray()
    return np.where(n[:, None] > 0, mass / np.maximum(n, 1)[:, None], np.nan)


def _permuted(
    scores: sparse.csr_matrix | Array,
    columns: Array,
    rng: np.random.Generator,
    *,
    weights: Array | None = None,
    lower: bool = False,
) -> Score:
    """Mean of scores[i, columnᵢ] weighted by wᵢ, against that of scores[π(i), columnᵢ] over permutations π."""
    n = len(columns)
    weights = np.ones(n) if weights is None else weights
    total = weights @ np.ones(n)  # as the mean adds them up: equal scores have exactly that mean

    def weighted(rows: Array) -> float:
        return float(weights @ np.asarray(scores[rows, columns]).ravel() / total)

    value, null = weighted(np.arange(n)), np.array([weighted(rng.permutation(n)) for _ in range(N_PERMUTATIONS)])
    chance = float(weights @ np.asarray(scores.mean(axis=0)).ravel()[columns] / total)
    return Score(value, chance, _p_value(-value, -null) if lower else _p_value(value, null), n)


def _p_value(value: float, null: Array) -> float:
    return float((1 + np.count_nonzero(null >= value - _TIE)) / (1 + len(null)))


def _indicator(codes: Array, n: int) -> sparse.csr_matrix:
    """Cells × codes, 1 where the cell has the code; −1 is none."""
    (rows,) = np.nonzero(codes >= 0)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=(len(codes), n))


def _standardised(x: Array) -> Array:
    """Columns of mean 0 and variance 1, NaN as 0; constant columns are 0."""
    seen = np.isfinite(x)
    x = np.where(seen, x, 0.0).astype(np.float64)
    size = np.abs(x).max(axis=0)
    x = np.where(seen, x - x.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 0.0)
    sd = np.sqrt(np.square(x).mean(axis=0))
    varies = sd > 1e-6 * size
    return np.where(varies, x / np.where(varies, sd, 1), 0.0)
