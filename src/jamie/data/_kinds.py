"""What kind of measurement a modality is, and the normalisation of each kind.

| kind | normalisation | imputed values are |
| --- | --- | --- |
| counts | depth scaled to a target sum, log1p | log1p of counts per training-median depth |
| accessibility | TF-IDF of open / closed | probability of being open |
| protein | centred log-ratio of each cell | the same centred log-ratio |
| continuous | none | the input's own units |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from jamie._types import Array, Kind, Matrix

from ._cell_matrix import CellMatrix
from ._value_stats import ValueStats

SCALES: dict[str, str] = {
    "counts": "log1p of counts per training-median depth",
    "accessibility": "probability of being open",
    "protein": "centred log-ratio: log1p of counts over the cell's geometric mean",
    "continuous": "the input's own units",
}

_NAMES: dict[Kind, str] = {
    "protein": r"prot|adt|antibody|cite|surface",
    "accessibility": r"atac|peak|accessib|chromatin|dnase",
    "counts": r"rna|gex|gene|expression|transcript",
}


def detect_kind(name: str, found: ValueStats) -> Kind:
    """Guess the kind from the modality's name and its values; anything but whole counts is continuous.

    Integers of a modality whose name says nothing are counts if most of them are zero. Regions that are mostly
    open cannot be single-cell accessibility (topic scores, say) and are continuous.
    """
    if not found.is_whole:
        return "continuous"
    mostly_zero = found.filled < 0.5
    named = next((kind for kind, pattern in _NAMES.items() if re.search(pattern, name.lower())), None)
    if named == "accessibility" or named is None:
        return (named or "counts") if mostly_zero else "continuous"
    return named


@dataclass(frozen=True)
class Normaliser:
    """The fitted normalisation of one modality.

    Attributes
    ----------
    kind
        Kind of the measurement.
    depth
        Counts: the median total of the training cells, to which every cell is scaled. Protein: the median over
        training cells of the geometric mean. Otherwise 1.
    idf
        Accessibility: inverse document frequency of each region; otherwise empty.
    """

    kind: Kind
    depth: float
    idf: Array

    @classmethod
    def fit(cls, kind: Kind, cells: CellMatrix, train: Array, found: ValueStats) -> Normaliser:
        """Learn from training cells; one more pass over proteins."""
        depth, idf = 1.0, np.empty(0)
        if kind == "counts":
            depth = float(np.median(found.totals[found.totals > 0])) if (found.totals > 0).any() else 1.0
        elif kind == "protein":
            means = list(cells.map(lambda x, of_train: _geometric_mean(x[of_train]), train))
            depth = float(np.median(np.concatenate(means)))
        elif kind == "accessibility":
            idf = 1 + np.log(np.float32(1 + found.n_train) / (1 + found.opened).astype(np.float32))
        return cls(kind, depth, idf)

    def __call__(self, x: Matrix, columns: Array | slice = slice(None)) -> Matrix:
        """Normalise cells measured in the given `columns` of the training features; sparse stays sparse."""
        if self.kind == "counts":
            return _log1p(normalize(x, norm="l1") * self.depth)
        if self.kind == "protein":
            factor = 1 / _geometric_mean(x)
            return _log1p(sparse.diags_array(factor).tocsr() @ x if sparse.issparse(x) else x * factor[:, None])
        if self.kind == "accessibility":
            weighted = sparse.csr_matrix(_open(x)) @ sparse.diags_array(self.idf[columns]).tocsr()
            return normalize(weighted, norm="l2")
        return x

    def to_input_units(self, values: Array) -> Array:
        """Carry imputed values back to the units of the input: what a cell of median depth would have shown."""
        return np.expm1(values.clip(0)) * self._unit if self.kind in ("counts", "protein") else values

    @property
    def _unit(self) -> float:
        return self.depth if self.kind == "protein" else 1.0


def measured(x: Matrix, *, kind: Kind, depth: float) -> Matrix:
    """Measured values on the scale of the imputed ones: what a prediction is compared with."""
    return _open(x) if kind == "accessibility" else Normaliser(kind, depth, np.empty(0))(x)


def _open(x: Matrix) -> Matrix:
    return (x > 0).astype(np.float32)


def _log1p(x: Matrix) -> Matrix:
    return x.log1p() if sparse.issparse(x) else np.log1p(x)


def _geometric_mean(x: Matrix) -> Array:
    """Exp of the mean log1p over the features of a cell; 1 for a cell without counts."""
    return np.exp(np.asarray(_log1p(x).mean(axis=1)).ravel())
