"""What kind of measurement a modality is, and the normalisation of each kind.

| kind | normalisation | imputed values are |
| --- | --- | --- |
| counts | depth scaled to a target sum, log1p | log1p of counts per training-median depth |
| accessibility | TF-IDF of open / closed | probability of being open |
| protein | centred log-ratio of each cell | the same centred log-ratio |
| continuous | none | the input's own units |

A cell that was not measured in all features (NaN, or a feature that is not there) is normalised by those it was
measured in, beside what the training cells have in these same features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from jamie._types import Array, Kind, Matrix

from ._cell_matrix import CellMatrix, at_most_one, missing, sums
from ._panels import offsets, panels, shares
from ._value_stats import ValueStats

SCALES: dict[str, str] = {
    "counts": "log1p of counts per training-median depth",
    "accessibility": "probability of being open",
    "protein": "centred log-ratio: log1p of counts over the cell's geometric mean",
    "continuous": "the input's own units",
}


@dataclass(frozen=True)
class Normaliser:
    """The fitted normalisation of one modality.

    Attributes
    ----------
    kind
        Kind of the measurement.
    depth
        Counts: the median total of the training cells, to which every cell is scaled. Protein: the median over
        training cells of the geometric mean. Otherwise 1. Of cells that miss values, as if they had all.
    idf
        Accessibility: inverse document frequency of each region; otherwise empty.
    levels
        What a cell that misses features is compared with, (d,). Counts: the share of each feature in the total.
        Protein: the mean log1p of each feature, less the mean of these. Otherwise, or where it was not learned, empty.
    """

    kind: Kind
    depth: float
    idf: Array
    levels: Array = field(default_factory=lambda: np.empty(0))

    @classmethod
    def fit(cls, kind: Kind, cells: CellMatrix, train: Array, stats: ValueStats) -> Normaliser:
        """Learn from training cells; one more pass over proteins, and two over counts or proteins with NaN."""
        if kind == "accessibility":
            idf = 1 + np.log(np.float32(1 + stats.n_train) / (1 + stats.opened).astype(np.float32))
            return cls(kind, 1.0, idf)
        if kind == "continuous":
            return cls(kind, 1.0, np.empty(0))
        if stats.n_missing:
            transform, solve = (_log1p, offsets) if kind == "protein" else (_as_it_is, shares)
            fitted = cls(kind, 1.0, np.empty(0), solve(panels(cells, train, transform)))
            sizes = np.concatenate(list(cells.map(lambda x, of_train: fitted.size(x[of_train]), train)))
        elif kind == "protein":
            means, added = zip(*cells.map(lambda x, of_train: _logarithms(x[of_train]), train), strict=True)
            level = np.sum(added, axis=0) / max(stats.n_train, 1)
            fitted, sizes = cls(kind, 1.0, np.empty(0), level - level.mean()), np.concatenate(means)
        else:
            total = stats.sums.sum()
            share = stats.sums / total if total else np.full(len(stats.sums), 1 / len(stats.sums))
            fitted, sizes = cls(kind, 1.0, np.empty(0), share), stats.totals
        sizes = sizes[sizes > 0]
        return cls(kind, float(np.median(sizes)) if len(sizes) else 1.0, np.empty(0), fitted.levels)

    def __call__(self, x: Matrix, columns: Array | slice = slice(None)) -> Matrix:
        """Normalise cells measured in the given `columns` of the training features; sparse stays sparse, NaN NaN."""
        if self.kind == "accessibility":
            weighted = sparse.csr_matrix(_open(x))
            weighted.data = weighted.data * self.idf[columns].astype(np.float32, copy=False)[weighted.indices]
            return normalize(weighted, norm="l2", copy=False)
        if self.kind == "continuous":
            return x
        if self.kind == "counts" and self._has_all(x, columns):
            return _log1p(normalize(x, norm="l1") * self.depth)
        size = self.size(x, columns)
        factor = (self.depth if self.kind == "counts" else 1.0) / np.where(size > 0, size, 1).astype(np.float32)
        return _log1p(sparse.diags_array(factor).tocsr() @ x if sparse.issparse(x) else x * factor[:, None])

    def size(self, x: Matrix, columns: Array | slice = slice(None)) -> Array:
        """Total or geometric mean of each cell, (n,), as if it was measured in all features."""
        measure = _geometric_mean if self.kind == "protein" else _total
        if self._has_all(x, columns):
            return measure(x)
        levels = self.levels[columns] if len(self.levels) else np.zeros(x.shape[1])
        width = np.maximum(x.shape[1] - missing(x, axis=1), 1)
        seen = levels.sum() - _sum_where_missing(x, levels)
        if self.kind == "protein":
            return np.asarray(np.exp((_nansum(_log1p(x)) - seen) / width))
        total: Array = _nansum(x) / np.where(seen > 0, seen, 1)
        return total

    def to_input_units(self, values: Array) -> Array:
        """Carry imputed values back to the units of the input: counts of a cell of median depth."""
        return np.expm1(values.clip(0)) * self._unit if self.kind in ("counts", "protein") else values

    def _has_all(self, x: Matrix, columns: Array | slice) -> bool:
        """Whether each cell was measured in all features."""
        if len(self.levels) and np.count_nonzero(np.ones(len(self.levels))[columns]) < len(self.levels):
            return False
        return not np.isnan(x.data if sparse.issparse(x) else x).any()

    @property
    def _unit(self) -> float:
        return self.depth if self.kind == "protein" else 1.0


def measured(
    x: Matrix, *, kind: Kind, depth: float, levels: Array | None = None, columns: Array | slice = slice(None)
) -> Matrix:
    """Measured values on the scale of the imputed ones: what a prediction is compared with.

    `levels` are needed where some values are NaN; `columns` are the features of `x` among those that have a level.
    """
    if kind == "accessibility":
        return _open(x)
    return Normaliser(kind, depth, np.empty(0), np.empty(0) if levels is None else levels)(x, columns)


def measured_as(x: Matrix, about: Mapping[str, Any]) -> Matrix:
    """The same, as the record of a preparation of these features says."""
    levels = np.asarray(about.get("levels", ()))
    depth = float(about["depth"])
    return measured(x, kind=about["kind"], depth=depth, levels=levels if len(levels) == x.shape[1] else None)


def _open(x: Matrix) -> Matrix:
    """1 where there is any count; what is below 1 is a probability, as in completed data."""
    return at_most_one(x).astype(np.float32)


def _as_it_is(x: Matrix) -> Matrix:
    return x


def _log1p(x: Matrix) -> Matrix:
    return x.log1p() if sparse.issparse(x) else np.log1p(x)


def _total(x: Matrix) -> Array:
    return np.asarray(x.sum(axis=1)).ravel()


def _geometric_mean(x: Matrix) -> Array:
    """Exp of the mean log1p over the features of a cell; 1 for a cell without counts."""
    return np.exp(np.asarray(_log1p(x).mean(axis=1)).ravel())


def _logarithms(x: Matrix) -> tuple[Array, Array]:
    """Geometric mean of each cell, and the sum over cells of the log1p of each feature."""
    logarithms = _log1p(x)
    means = np.exp(np.asarray(logarithms.mean(axis=1)).ravel())
    return means, sums(logarithms, axis=0)


def _nansum(x: Matrix) -> Array:
    """Sum of what was measured of each cell."""
    if sparse.issparse(x):
        x = sparse.csr_matrix((np.nan_to_num(x.data), x.indices, x.indptr), x.shape)
        return sums(x, axis=1)
    return np.asarray(np.nansum(x, axis=1, dtype=np.float64))


def _sum_where_missing(x: Matrix, levels: Array) -> Array:
    """Sum over the features that each cell misses, (n,)."""
    if sparse.issparse(x):
        return sparse.csr_matrix((np.isnan(x.data).astype(np.float64), x.indices, x.indptr), x.shape) @ levels
    return np.isnan(x) @ levels
