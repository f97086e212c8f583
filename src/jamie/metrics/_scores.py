"""Scores of each imputed feature, by method: their means for a table, all of them for the slots."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jamie._types import Array

from ._columns import known_mean
from ._comparison import js_distance
from ._imputation import feature_auroc, feature_correlation, sd_ratio
from ._js_floor import js_floor
from ._resampled import comparison, mean_error, resampled, resamples

FLOOR = "floor"
"""Stands in place of a method where distances are of two measured samples."""
LIMITS = ("r_max", "js_floor")
"""What bounds the measures of a feature, whatever the method."""
MEASURES = {
    "correlation": feature_correlation,
    "auroc": feature_auroc,
    "js_distance": js_distance,
    "sd_ratio": sd_ratio,
}


class FeatureScores:
    """How well each method imputes some features; with labels of the test cells, a category each, also within each."""

    def __init__(self, features: Array, labels: pd.Series | None) -> None:
        self._features, self._labels = features, labels
        self._scores: dict[str, dict[str, Array]] = {}
        self._distances: dict[str, Array] = {}
        self._resampled: dict[str, Array] = {}
        self._limits: dict[str, Array] = {}

    def bound(
        self, r_max: Array, measured: Array, labels: pd.Series | None, n_cells: int, rng: np.random.Generator
    ) -> dict[str, float]:
        """Note what a perfect predictor could reach; return means over features.

        `r_max` is that of each feature. Measured values are of the test cells, of which there are `n_cells`, and of
        others of their labels: two samples of them are as far apart as the floor of the JS distances.
        """
        self._limits = {"r_max": r_max, "js_floor": js_floor(measured, n_cells, rng=rng)}
        if self._labels is not None and labels is not None:
            counts = self._labels.value_counts()
            for label in self._labels.cat.categories:
                within, n = measured[(labels == label).to_numpy()], int(counts[label])
                unknown = np.full(measured.shape[1], np.nan)
                self._distances[f"{FLOOR}: {label}"] = js_floor(within, n, rng=rng) if n > 1 else unknown
        return {name: float(known_mean(values)) for name, values in self._limits.items()}

    def add(self, method: str, measured: Array, imputed: Array) -> dict[str, float]:
        """Score test cells × features; return means over features with a score, and how many have no correlation.

        With them come the standard error of the mean correlation over cells, and by how much that of the method that
        was added first is higher.
        """
        scores = {name: measure(measured, imputed) for name, measure in MEASURES.items()}
        self._scores[method], self._resampled[method] = (
            scores,
            resampled(measured, imputed, resamples(measured.shape[0])),
        )
        if self._labels is not None:
            self._distances.update(_by_label(method, measured, imputed, self._labels))
        n_failed = int(np.isnan(scores["correlation"]).sum())
        means = {name: float(known_mean(values)) for name, values in scores.items()}
        return {**means, "n_failed": n_failed, **self._over_cells(method)}

    def _over_cells(self, method: str) -> dict[str, float]:
        first, *_ = self._resampled
        error = {"correlation_se": mean_error(self._resampled[method])}
        if method == first:
            return error
        gain = comparison(self._resampled[first], self._resampled[method])
        return {**error, "gain": gain.difference, "gain_se": gain.standard_error, "p_value": gain.p_value}

    def frame(self, features: pd.Index) -> pd.DataFrame:
        """Scores of all features in columns `<measure>_<method>`, measure by measure, and `LIMITS`; NaN if unscored."""
        columns = {f"{name}_{method}": scores[name] for name in MEASURES for method, scores in self._scores.items()}
        return pd.DataFrame({**columns, **self._limits}, index=self._features).reindex(features)

    def distances(self, features: pd.Index) -> pd.DataFrame | None:
        """JS distances of all features in columns `<method>: <label>`, those of `FLOOR` first; NaN where not scored."""
        if self._labels is None:
            return None
        return pd.DataFrame(self._distances, index=self._features).reindex(features)


def _by_label(method: str, measured: Array, imputed: Array, labels: pd.Series) -> dict[str, Array]:
    present = sorted(labels.cat.remove_unused_categories().cat.categories)  # as js_distance sorts them
    distances = dict(zip(present, js_distance(measured, imputed, groups=labels), strict=True))
    unscored = np.full(measured.shape[1], np.nan)
    return {f"{method}: {label}": distances.get(label, unscored) for label in labels.cat.categories}
