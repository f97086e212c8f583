"""How sure it is what is imputed for a cell, and whether anything like the cell was trained on.

Both are learned of the pairs that intervals are learned of, each predicted as if it had been left out. Which cells err
more than others is a ridge regression of the logarithm of a cell's error on what was predicted for it: how wide its
intervals are, and the leading components. On splits 10 to 12 of four data sets the surer half of the held-out cells has
0.61 to 0.92 times the error of the others. A distance to training cells tells less of the error (0.95 to 1.01 on motor
cortex), and more of what the errors of known cells cannot tell: whether the cell is of a new type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
from scipy import sparse

from jamie._spread import spread
from jamie._types import Array, Direction, Matrix, Pair
from jamie.data import Cells, Preparation, Problem
from jamie.metrics import known_mean

from ._intervals import Calibration, LeftOutPairs, blocks_of, calibrated, measured_cells

LEADING = 8
"""Components of the target, and their squares, that the error may depend on, of 30 cells a component."""
PER_COMPONENT = 30
PENALTY = 10.0
"""Of the ridge, in cells."""
FARTHEST = 4.0
"""Standard deviations at which covariates are cut, so that no cell is judged far beyond what was seen."""
FEATURES = 500
"""Features of the target that tell a cell's error, evenly spaced."""
PERCENTILES = np.arange(1, 101)
KNOWN = 0.95
"""Share of cells like those of the training that are not taken for new ones."""
MOST_KNOWN = 1_000
"""Cells that the threshold of novelty is learned of."""


class CellConfidence(NamedTuple):
    """How sure what is imputed for each cell is, and how new the cell is."""

    confidence: Array  # (n,) from 0 to 1
    novelty: Array  # (n,) above 1: unlike what was trained on


@dataclass(frozen=True)
class ConfidenceModel:
    """What is imputed from a source for which cells of it is how sure, and which of them are unlike the training cells.

    Attributes
    ----------
    centre, spread
        Of the covariates over the calibration cells, (p,).
    weights
        Of the standardised covariates, (p,): their sum is the logarithm of the expected error, but for a constant.
    errors
        Percentiles of that sum over the calibration cells, rising, (100,).
    threshold
        Distance to the landmarks of the kernel regression that one in twenty known cells exceeds, (1,); of several
        sources the weighted mean of what the novelty by each is, that one in twenty exceeds.
    """

    centre: Array
    spread: Array
    weights: Array
    errors: Array
    threshold: Array

    def arrays(self) -> dict[str, Array]:
        """What was learned, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def confidence(self, scores: Array, calibration: Calibration, preparation: Preparation) -> Array:
        """Share of the calibration cells of a larger expected error, (n,), for predicted components (n, k)."""
        n_leading = len(self.weights) // 2
        x = _covariates(scores, n_leading, calibration, preparation)
        expected = _standardised(x, self.centre, self.spread) @ self.weights
        return (1 - np.searchsorted(self.errors, expected) / len(self.errors)).astype(np.float32)

    def novelty(self, distance: Array) -> Array:
        """Distance to the landmarks, or mean novelty by several sources, in units of the threshold, (n,)."""
        return (distance / self.threshold).astype(np.float32)


class Judge(Protocol):
    """What is asked of a model."""

    preparations_: dict[str, Preparation]
    divisors_: dict[str, float]

    def distance(self, inputs: Array, source: str, target: str, itself: Array | None = None) -> Array:
        """Distance to the landmarks of the kernel regression."""

    def source_weights(self, sources: Sequence[str], target: str) -> dict[str, float]:
        """How much each source weighs in what is imputed from all of them."""


def learned_of(
    model: Judge, opened: Cells, problem: Problem, left_out: Mapping[Direction, LeftOutPairs]
) -> tuple[dict[Direction, Calibration], dict[Direction, ConfidenceModel]]:
    """Calibrations and confidences of left-out pairs, by source and target; those of one source come first."""
    calibrations: dict[Direction, Calibration] = {}
    confidences: dict[Direction, ConfidenceModel] = {}
    for (sources, target), pairs in left_out.items():
        preparation = model.preparations_[target]
        x, scores = (
            measured_cells(opened, target, preparation, pairs.partners),
            pairs.predicted * model.divisors_[target],
        )
        calibration = calibrated(x, scores, preparation)
        rows = {name: of_source[:MOST_KNOWN] for name, of_source in pairs.rows.items()}
        if isinstance(sources, str):
            known = _known_distance(model, opened, problem, (sources, target), rows[sources])
        else:
            weights = model.source_weights(sources, target)
            known = weighted_novelty(
                confidences,
                {name: _known_distance(model, opened, problem, (name, target), rows[name]) for name in sources},
                target,
                weights,
            )
        calibrations[sources, target] = calibration
        confidences[sources, target] = _confidence_model(x, scores, calibration, preparation, _threshold(known))
    return calibrations, confidences


def weighted_novelty(
    confidences: Mapping[Direction, ConfidenceModel],
    distances: Mapping[str, Array],
    target: str,
    weights: Mapping[str, float],
) -> Array:
    """Mean of what the novelty of cells by each source is, (n,): what hardly weighs makes no cell a new one."""
    parts = [weights[name] * confidences[name, target].novelty(distance) for name, distance in distances.items()]
    return np.sum(parts, axis=0)


def _threshold(known: Array) -> float:
    """Distance that one in twenty of known cells exceeds."""
    distance = np.sort(known)
    rank = min(int(np.ceil(KNOWN * (len(distance) + 1))), len(distance))
    return max(float(distance[rank - 1]), float(np.finfo(np.float32).tiny))


def _known_distance(model: Judge, opened: Cells, problem: Problem, pair: Pair, rows: Array) -> Array:
    """Distance to the landmarks of such cells that were not there in the training, (n,).

    Components are axes that were turned towards each training cell, whose scores are therefore too large: a new cell
    has shorter ones, and would look nearer than it is. To first order an axis of variance λ, fitted on n cells, turns
    by r² / (n λ) of the cell's score, with r² what of the cell is outside of all axes.
    """
    source, target = pair
    preparation, inputs = model.preparations_[source], problem.modalities[source].inputs
    order, back = np.unique(rows, return_inverse=True)
    outside = np.concatenate([preparation.outside(x) for x in blocks_of(opened, source, preparation, order)])
    variance = np.maximum(preparation.variance, np.finfo(np.float32).tiny).astype(np.float64)
    shrunk = inputs[order] / (1 + outside[:, None] / (preparation.n_fitted * variance))
    return model.distance(shrunk.astype(np.float32), source, target, inputs[order])[back]


def _confidence_model(
    x: Matrix, scores: Array, calibration: Calibration, preparation: Preparation, threshold: float
) -> ConfidenceModel:
    """Ridge regression of the logarithm of the root mean squared error of a cell, in standard deviations."""
    columns = told_by(preparation)
    block = x[:, columns]
    measured = block.toarray() if sparse.issparse(block) else block
    off = (measured - preparation.inverse(scores, columns)) / calibration.sd[columns]
    error = known_mean(np.square(off), axis=1)
    seen = np.isfinite(error)
    n_leading = int(np.clip(seen.sum() // PER_COMPONENT, 1, min(LEADING, scores.shape[1])))
    covariates = _covariates(scores[seen], n_leading, calibration, preparation)
    centre, spread = covariates.mean(axis=0), covariates.std(axis=0) + 1e-9
    z = _standardised(covariates, centre, spread)
    logarithm = np.log(np.maximum(error[seen], 1e-12)) / 2
    gram = z.T @ z + PENALTY * np.eye(z.shape[1])
    weights = np.linalg.solve(gram, z.T @ (logarithm - logarithm.mean()))
    errors = np.percentile(z @ weights, PERCENTILES)
    return ConfidenceModel(centre, spread, weights, errors, np.array([threshold]))


def told_by(preparation: Preparation) -> Array:
    """Features whose errors and intervals stand for those of all."""
    return spread(len(preparation.features), FEATURES)


def _covariates(scores: Array, n_leading: int, calibration: Calibration, preparation: Preparation) -> Array:
    """Logarithm of the width of a cell's intervals, leading components, and their squares, (n, 1 + 2 n_leading)."""
    columns = told_by(preparation)
    width = calibration.spread(preparation.inverse(scores, columns), columns)
    leading = scores[:, :n_leading].astype(np.float64)
    return np.column_stack([np.log(np.maximum(width, 1e-3)), leading, np.square(leading)])


def _standardised(covariates: Array, centre: Array, spread: Array) -> Array:
    return ((covariates - centre) / spread).clip(-FARTHEST, FARTHEST)
