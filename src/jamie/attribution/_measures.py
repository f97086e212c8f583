"""What a knock-out is judged by: measures that are updated by the cells it changes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from jamie._types import Array
from jamie.metrics import foscttm

from ._contributions import Readout

NEIGHBORS = 5
WORSE = {"correlation": -1, "lta": -1, "likelihood": -1, "foscttm": 1}
"""The direction in which each measure of a knock-out gets worse."""
FLAT = 1e-4  # sd, in that of the values imputed with all features, below which nothing but rounding varies


class Measure(Protocol):
    """A measure of all cells, of which `rows` have other outputs: one number, or one for each target feature."""

    def __call__(self, rows: Array, outputs: Array) -> Array: ...


class Correlation:
    """Pearson correlation of measured and imputed values, per feature; 0 where what is imputed does not vary.

    Sums over cells are kept and updated, so that a change of few cells costs little.
    """

    def __init__(self, readout: Readout, measured: Array, outputs: Array) -> None:
        self.seen = np.isfinite(measured)
        self.n = np.maximum(self.seen.sum(0), 1)
        centred = np.where(self.seen, measured - np.where(self.seen, measured, 0).sum(0) / self.n, 0)
        length = np.sqrt(np.square(centred).sum(0))
        self.varies = (length > 0) & (self.seen.sum(0) >= 3)
        self.measured = (centred / np.where(self.varies, length, 1)).astype(np.float32)
        self.readout, self.imputed = readout, readout(outputs)
        self.centre = self.imputed.mean(0)
        self.sums = self._sums(self.imputed, slice(None), slice(None))
        self.variance = self.sums[1] - np.square(self.sums[0]) / self.n

    def __call__(self, rows: Array, outputs: Array, features: Array | slice = slice(None)) -> Array:
        """Correlations of the features, by position; NaN where the measured values do not vary."""
        readout = self.readout._replace(matrix=self.readout.matrix[features], offset=self.readout.offset[features])
        new = self._sums(readout(outputs), rows, features)
        old = self._sums(self.imputed[rows][:, features], rows, features)
        total, square, product = (a[features] + b - c for a, b, c in zip(self.sums, new, old, strict=True))
        variance = square - np.square(total) / self.n[features]
        flat = variance <= FLAT**2 * self.variance[features]
        correlation = np.where(flat, 0, product / np.sqrt(np.where(flat, 1, variance)))
        return np.where(self.varies[features], correlation, np.nan)

    def _sums(self, imputed: Array, rows: Array | slice, features: Array | slice) -> tuple[Array, Array, Array]:
        """Sums over cells of imputed values about a fixed centre, their squares, and products with measured ones."""
        values = np.where(self.seen[rows][:, features], imputed - self.centre[features], 0).astype(np.float64)
        products = np.einsum("nt,nt->t", values, self.measured[rows][:, features])
        return values.sum(0), np.square(values).sum(0), products


class LabelTransfer:
    """Accuracy on the source of labels learned on the target's latents (LTA)."""

    def __init__(self, latents: Array, target_labels: Array, source_labels: Array, outputs: Array) -> None:
        self.classifier, self.truth = KNeighborsClassifier(NEIGHBORS).fit(latents, target_labels), source_labels
        self.is_right = self.classifier.predict(outputs) == source_labels

    def __call__(self, rows: Array, outputs: Array) -> Array:
        is_right = self.is_right.copy()
        if len(rows):
            is_right[rows] = self.classifier.predict(outputs) == self.truth[rows]
        return np.array([is_right.mean()])


class LabelLikelihood:
    """Mean log-probability of a cell's own label, by a logistic regression on the target's latents.

    Cells of a label that the target does not have are left out.
    """

    def __init__(self, latents: Array, target_labels: Array, source_labels: Array, outputs: Array) -> None:
        self.classifier = LogisticRegression(max_iter=1000).fit(latents, target_labels)
        self.truth = pd.Index(self.classifier.classes_).get_indexer(source_labels)
        self.intact = self._log_probability(np.arange(len(outputs)), outputs)

    def __call__(self, rows: Array, outputs: Array) -> Array:
        log_probability = self.intact.copy()
        if len(rows):
            log_probability[rows] = self._log_probability(rows, outputs)
        return np.array([log_probability[self.truth >= 0].mean()])

    def _log_probability(self, rows: Array, outputs: Array) -> Array:
        return self.classifier.predict_log_proba(outputs)[np.arange(len(rows)), self.truth[rows]]


class Foscttm:
    """Fraction of cells closer than the true match."""

    def __init__(self, latents: Array, outputs: Array) -> None:
        self.latents, self.outputs = latents, outputs

    def __call__(self, rows: Array, outputs: Array) -> Array:
        changed = self.outputs.copy()
        changed[rows] = outputs
        return np.array([foscttm(changed, self.latents)])
