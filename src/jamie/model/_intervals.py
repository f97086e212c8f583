"""How far imputed features may be off: quantiles of what was measured, given what was imputed.

A source and a target are calibrated on pairs that were trained on, each predicted by the kernel regression as if it had
been left out. Its errors stand in for those of what is imputed, which err as much or a little less: on splits 10 to 12
of four data sets the left-out error is within 2 % of that of the mix of kernel and network on held-out cells. Networks
know their training cells, so that their own residuals are too small; validation pairs alone are a tenth as many.

Of each feature quantiles are taken at some imputed values, its knots, over the calibration cells around each. How much
measurements spread goes with their level: in counts as in Poisson, elsewhere because types of cells differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.isotonic import IsotonicRegression

from jamie._checks import is_number, typed
from jamie._errors import InvalidValueError
from jamie._patterns import patterns
from jamie._types import Array, Matrix
from jamie.data import Cells, Preparation
from jamie.metrics import known_mean

LEAST = 30
"""Calibration cells: with 30 pairs of sim_dyngen_rna_protein 90 % intervals covered 86 to 93 % in three draws."""
MOST = 2_000
"""Calibration cells, fewer where there are many features: quantiles of 1,000 are within a point of those of 2,000."""
FEWEST = 500
"""Calibration cells, if there are as many pairs, whatever the number of features."""
VALUES = 4_000_000
"""Predictions that are calibrated on, beyond which there are fewer cells."""
BLOCK = 2**20
"""Values that are calibrated at a time."""
HIGHEST = 0.98
"""Level: of some 200 calibration cells around a knot two miss it on either side."""
PER_KNOT = 150
MOST_KNOTS = 6
WINDOW = 1.5
"""Cells around a knot, in units of the cells between two."""
LEVELS = np.array(
    [0, .005, .01, .025, .05, .075, .1, .15, .2, .25, .3, .4, .5, .6, .7, .75, .8,
     .85, .9, .925, .95, .975, .99, .995, 1]
)  # fmt: skip
BELOW = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Shares of the misses that may lie below the interval; the narrowest is taken."""
BELOW_ZERO = (0.0, 0.25, 0.5, 0.75)
"""The same where values start at 0."""
RANKED = 200
"""Whole cells whose ranks are kept, to draw from: 500 are no better."""
SPREAD_LEVEL = 0.9
"""Of the intervals whose width tells how sure a cell is."""
BINS = 60
"""Of pooled probabilities."""


class LeftOutPairs(NamedTuple):
    """Pairs that were trained on, in random order, the target as it is predicted without them."""

    rows: Mapping[str, Array]  # by source, (c,) each
    partners: Array  # (c,) of the target
    predicted: Array  # (c, k) components of the target, divided as the network's


@dataclass(frozen=True)
class ConditionalQuantiles:
    """What was measured of each feature of the target, given what was imputed from the source.

    Of counts quantiles are of the measured values, in which 0 is exactly 0; of other kinds they are of measured less
    imputed values.

    Attributes
    ----------
    knots
        Imputed values, rising, (K, d).
    quantiles
        At `LEVELS` around each knot, in standard deviations of the feature, (K, T, d). In single precision, as
        values are: bounds of counts are measured values, which many cells may share.
    ranks
        Of whole calibration cells 256 times the level of each measured value given the imputed one, (m, d) uint8.
    n_cells
        Calibration cells that each feature was measured in, (d,).
    sd
        Standard deviation of each feature, (d,).
    from_zero
        Whether these are counts.
    least
        Below which no value is measured.
    """

    knots: Array
    quantiles: Array
    ranks: Array
    n_cells: Array
    sd: Array
    from_zero: bool
    least: float

    @classmethod
    def of(cls, arrays: Mapping[str, Array], preparation: Preparation) -> ConditionalQuantiles:
        """Of arrays, and what the preparation of the target knows."""
        is_bounded = preparation.kind in ("counts", "protein") or preparation.is_nonnegative
        return cls(
            **arrays,
            sd=preparation.sd,
            from_zero=preparation.kind == "counts",
            least=0.0 if is_bounded else -np.inf,
        )

    def arrays(self) -> dict[str, Array]:
        """What was learned, by name."""
        return {name: getattr(self, name) for name in ("knots", "quantiles", "ranks", "n_cells")}

    @property
    def highest(self) -> float:
        """Level of the widest interval that can be given: one calibration cell beyond it on either side."""
        return min(HIGHEST, 1 - 2 / (float(self._around().max()) + 1))

    def interval(self, imputed: Array, level: float, columns: Array | slice = slice(None)) -> tuple[Array, Array]:
        """Bounds of the narrowest interval of this level, (n, d) each, of the given columns of the features.

        Quantiles have ranks level × (m + 1), so that of m calibration cells and one more that is like them, the one
        is within with at least this probability. Of counts the bounds are those of the nearest knot, elsewhere they
        change linearly from knot to knot. NaN where a feature was measured in too few calibration cells.
        """
        low, high = self._bounds(level, columns)
        knots, sd = self.knots[:, columns], self.sd[columns]
        i, share = _between(knots, imputed)
        after = np.minimum(i + 1, len(knots) - 1)
        if self.from_zero:
            nearest = np.where(share > 0.5, after, i)
            low, high = (np.take_along_axis(side, nearest, 0) * sd for side in (low, high))
        else:
            low, high = (
                imputed + sd * _mixed(np.take_along_axis(side, i, 0), np.take_along_axis(side, after, 0), share)
                for side in (low, high)
            )
        low, high = (np.maximum(side, self.least).astype(imputed.dtype) for side in (low, high))
        return low, high

    def draw(self, imputed: Array, rng: np.random.Generator, columns: Array | slice = slice(None)) -> Array:
        """One draw for each cell, (n, d): its features have the ranks of one random calibration cell.

        So features go together as they do in one cell, and 0 is as frequent as it was measured.
        """
        ranks, knots = self.ranks[:, columns], self.knots[:, columns]
        ranks = ranks[rng.integers(len(ranks), size=len(imputed))]
        level = (ranks + rng.random(ranks.shape, dtype=np.float32)) / 256
        knot, share = _between(knots, imputed)
        knot = np.minimum(knot + (rng.random(share.shape, dtype=np.float32) < share), len(knots) - 1)
        place = np.interp(level, LEVELS, np.arange(len(LEVELS)))
        step = np.minimum(place.astype(int), len(LEVELS) - 2)
        place -= step
        table = self.quantiles[:, :, columns].astype(np.float32)
        feature = np.arange(table.shape[2])
        below, above = table[knot, step, feature], table[knot, step + 1, feature]
        values = _mixed(below, above, place)
        if self.from_zero:  # nothing was measured between 0 and the first value above it
            values = np.where((below == 0) & (above > 0), np.where(place < 0.5, 0, above), values)
        values = values * self.sd[columns] + (0 if self.from_zero else imputed)
        values[:, self.n_cells[columns] < LEAST] = np.nan
        return np.maximum(values, self.least).astype(imputed.dtype)

    def spread(self, imputed: Array, columns: Array | slice = slice(None)) -> Array:
        """Mean width of the 90 % intervals of a cell, in standard deviations, (n,); 1 where there is none."""
        lower, upper = self.interval(imputed, SPREAD_LEVEL, columns)
        return np.nan_to_num(known_mean((upper - lower) / self.sd[columns], axis=1), nan=1.0)

    def _bounds(self, level: float, columns: Array | slice) -> tuple[Array, Array]:
        """Bounds at each knot in standard deviations, (K, d) each; NaN where there are too few calibration cells."""
        quantiles, n = self.quantiles[:, :, columns], self._around()[columns] + 1 + 1e-6
        low = np.full((len(quantiles), quantiles.shape[2]), np.nan)
        high, width = low.copy(), np.full_like(low, np.inf)
        for share in BELOW_ZERO if self.from_zero else BELOW:
            below, above = share * (1 - level), (1 - share) * (1 - level)
            is_known = (above * n >= 1) & ((below * n >= 1) | (share == 0))
            start = _at(quantiles, below) if share else np.zeros_like(low)
            end = _at(quantiles, below + level)
            better = is_known & (end - start < width - 1e-9)
            low, high, width = (
                np.where(better, new, old) for new, old in ((start, low), (end, high), (end - start, width))
            )
        return low, high

    def _around(self) -> Array:
        """Calibration cells around the outermost knots of each feature, which have the fewest, (d,)."""
        n_knots = _n_knots(self.n_cells)
        around = np.where(n_knots == 1, self.n_cells, (0.5 + WINDOW / 2) * self.n_cells / n_knots)
        return np.where(self.n_cells < LEAST, 0, around)


@dataclass(frozen=True)
class Reliability:
    """How often a region was open, by its imputed probability, of all regions together.

    Attributes
    ----------
    imputed
        Imputed probabilities, rising, (K,).
    open
        Share that was open, rising, (K,).
    sd
        Standard deviation of each region, open or closed, (d,).
    """

    imputed: Array
    open: Array
    sd: Array

    @classmethod
    def of(cls, arrays: Mapping[str, Array], preparation: Preparation) -> Reliability:
        """Of arrays, and what the preparation of the target knows."""
        rate = preparation.openness[0].clip(1e-6, 1 - 1e-6)
        return cls(**arrays, sd=np.sqrt(rate * (1 - rate)))

    def arrays(self) -> dict[str, Array]:
        """What was learned, by name."""
        return {"imputed": self.imputed, "open": self.open}

    @property
    def highest(self) -> float:
        """Level of the widest interval that can be given."""
        return HIGHEST

    def interval(self, imputed: Array, level: float, columns: Array | slice = slice(None)) -> tuple[Array, Array]:
        """0 to 0 where a region is closed with this probability, 1 to 1 where it is open, else 0 to 1.

        Below a level of one half, where both are likely enough, it is the likelier of the two.
        """
        del columns  # all regions are alike
        share, level = self._share(imputed), max(level, 0.5)
        is_open = share >= level
        return is_open.astype(np.float32), (is_open | (share > 1 - level)).astype(np.float32)

    def draw(self, imputed: Array, rng: np.random.Generator, columns: Array | slice = slice(None)) -> Array:
        """Open or closed, 1 or 0, each region by itself, (n, d)."""
        del columns
        return (rng.random(imputed.shape) < self._share(imputed)).astype(np.float32)

    def spread(self, imputed: Array, columns: Array | slice = slice(None)) -> Array:
        """Root of the mean variance of the regions of a cell, in their own variances, (n,)."""
        share, sd = self._share(imputed), self.sd[columns]
        return np.sqrt((share * (1 - share) / np.square(sd)).mean(axis=1))

    def _share(self, imputed: Array) -> Array:
        return np.interp(imputed, self.imputed, self.open)


Calibration: TypeAlias = ConditionalQuantiles | Reliability


def n_calibrated(n_pairs: int, n_features: int) -> int:
    """How many of the training pairs are left out in turn; none if they are too few to calibrate."""
    if n_pairs < LEAST:
        return 0
    return min(n_pairs, int(np.clip(VALUES // max(n_features, 1), FEWEST, MOST)))


def calibration_type(kind: str) -> type[Calibration]:
    """What is learned of a target of this kind."""
    return Reliability if kind == "accessibility" else ConditionalQuantiles


def require_level(level: float, highest: float) -> float:
    """Return the level of an interval if it can be given."""
    if not is_number(level) or not 0 < level <= highest + 1e-9:
        most = np.floor(100 * highest + 1e-6) / 100
        msg = (
            f"expected `interval` above 0 and at most {most:.2f}, found {typed(level)}; beyond that too few of the "
            "cells that the model was calibrated on lie outside"
        )
        raise InvalidValueError(msg)
    return float(level)


def measured_cells(opened: Cells, name: str, preparation: Preparation, rows: Array) -> Matrix:
    """What was measured of these cells on the imputed scale, (n, d); sparse by column where it is sparse."""
    order = np.argsort(rows, kind="stable")  # what is on disk is read in its order
    parts = [preparation.measured(block) for block in blocks_of(opened, name, preparation, rows[order])]
    back = np.argsort(order)
    if sparse.issparse(parts[0]):
        return sparse.vstack(parts, format="csr")[back].tocsc()
    return np.concatenate(parts)[back]


def blocks_of(opened: Cells, name: str, preparation: Preparation, rows: Array) -> Iterator[Matrix]:
    """Values of cells as they are stored, some of them at a time."""
    matrix = opened.corrected(name, preparation)
    step = matrix.blocks()[0].stop
    for start in range(0, len(rows), step):
        yield matrix[rows[start : start + step]]


def calibrated(x: Matrix, scores: Array, preparation: Preparation) -> Calibration:
    """Learn from what was measured, (n, d), and what was predicted without it, (n, k), of cells in random order."""
    blocks = _blocks(x, preparation, scores)
    if preparation.kind == "accessibility":
        sides = (np.concatenate([side.ravel() for side in sides]) for sides in zip(*blocks, strict=True))
        return Reliability.of(_reliability(*sides), preparation)
    found = [_quantiles_of(*block, from_zero=preparation.kind == "counts") for block in blocks]
    knots, quantiles, ranks, n_cells = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
    scaled = (quantiles / preparation.sd).astype(np.float32)
    arrays = {"knots": knots, "quantiles": scaled, "ranks": ranks, "n_cells": n_cells}
    return ConditionalQuantiles.of(arrays, preparation)


def _blocks(x: Matrix, preparation: Preparation, scores: Array) -> Iterator[tuple[Array, Array]]:
    """Imputed and measured values of some features at a time, (n, b) each; of many regions every so many."""
    n, d = x.shape
    every = max(1, n * d // VALUES) if preparation.kind == "accessibility" else 1
    features = np.arange(0, d, every)
    step = max(1, BLOCK // n)
    for start in range(0, len(features), step):
        columns = features[start : start + step]
        block = x[:, columns]
        measured = block.toarray() if sparse.issparse(block) else block
        imputed = preparation.inverse(scores, columns)
        yield imputed.astype(preparation.dtype), measured.astype(preparation.dtype)


def _quantiles_of(imputed: Array, measured: Array, *, from_zero: bool) -> tuple[Array, Array, Array, Array]:
    """Knots (K, d), quantiles (K, T, d), ranks (m, d) and number of measured cells (d,); measured values may be NaN.

    Features that are missing in the same cells are calibrated on the others; what misses a rank gets a random one.
    """
    n, d = imputed.shape
    values = measured if from_zero else measured - imputed
    if not np.isnan(values).any():
        knots, quantiles, levels = _at_knots(imputed, values, int(_n_knots(n)))
        return knots, quantiles, levels[:RANKED], np.full(d, n, np.int32)
    n_knots = int(_n_knots(n))
    knots, quantiles = (np.zeros((n_knots, *between, d), imputed.dtype) for between in ((), (len(LEVELS),)))
    levels = np.random.default_rng(0).integers(256, size=(n, d), dtype=np.uint8)
    n_cells = (~np.isnan(values)).sum(axis=0).astype(np.int32)
    for rows, columns in patterns(values):
        own = int(_n_knots(len(rows)))
        at = np.minimum(np.arange(n_knots), own - 1)  # the last one stands for those that these cells have not
        here = np.ix_(rows, columns)
        found, spread, levels[here] = _at_knots(imputed[here], values[here], own)
        knots[:, columns], quantiles[:, :, columns] = found[at], spread[at]
    return knots, quantiles, levels[:RANKED], n_cells


def _at_knots(imputed: Array, values: Array, n_knots: int) -> tuple[Array, Array, Array]:
    """Knots (K, d), quantiles of values around them (K, T, d), and 256 × the level of each value around its knot."""
    p, v = (np.ascontiguousarray(side.T) for side in (imputed, values))  # sorting along rows is thrice as fast
    d, n = p.shape
    order = np.argsort(p, axis=1)
    p, v = np.take_along_axis(p, order, 1), np.take_along_axis(v, order, 1)
    knots, quantiles = (np.empty((n_knots, *between, d), imputed.dtype) for between in ((), (len(LEVELS),)))
    level = np.empty((d, n), np.uint8)
    edges, half = np.linspace(0, n, n_knots + 1).astype(int), WINDOW * n / n_knots / 2
    for k, (start, end) in enumerate(pairwise(edges)):
        knots[k] = p[:, start:end].mean(axis=1)
        first, last = int(max(0, (start + end) / 2 - half)), int(np.ceil(min(n, (start + end) / 2 + half)))
        quantiles[k] = _quantiles(v[:, first:last]).T
        steps = ((np.arange(end - start) + 0.5) / (end - start) * 256).astype(np.uint8)
        np.put_along_axis(level[:, start:end], np.argsort(v[:, start:end], axis=1), steps[None].repeat(d, 0), 1)
    by_cell = np.empty_like(level)
    np.put_along_axis(by_cell, order, level, 1)
    return knots, quantiles, np.ascontiguousarray(by_cell.T)


def _quantiles(v: Array) -> Array:
    """Of each row, at ranks level × (m + 1), (d, T)."""
    v, m = np.sort(v, axis=1), v.shape[1]
    position = (LEVELS * (m + 1) - 1).clip(0, m - 1)
    i = position.astype(int)
    return _mixed(v[:, i], v[:, np.minimum(i + 1, m - 1)], position - i)


def _n_knots(n: Array | int) -> Array:
    return np.clip(np.asarray(n) // PER_KNOT, 1, MOST_KNOTS)


def _reliability(imputed: Array, measured: Array) -> dict[str, Array]:
    """Isotonic regression of open on the imputed probability, at quantiles of it that are dense where it is high."""
    edges = np.unique(np.quantile(imputed, 1 - np.geomspace(1, 1e-5, BINS)))
    where = np.searchsorted(edges, imputed, side="right")
    n, total, opened = (np.bincount(where, w, minlength=len(edges) + 1) for w in (None, imputed, measured))
    kept = n > 0
    mean = total[kept] / n[kept]
    share = IsotonicRegression(y_min=0, y_max=1).fit_transform(mean, opened[kept] / n[kept], sample_weight=n[kept])
    return {"imputed": mean, "open": np.asarray(share)}


def _at(quantiles: Array, level: float) -> Array:
    """Quantile of any level, between those that are there, (K, d)."""
    i = int(np.clip(np.searchsorted(LEVELS, level, side="right") - 1, 0, len(LEVELS) - 2))
    share = (level - LEVELS[i]) / (LEVELS[i + 1] - LEVELS[i])
    return _mixed(quantiles[:, i].astype(np.float64), quantiles[:, i + 1].astype(np.float64), share)


def _between(knots: Array, imputed: Array) -> tuple[Array, Array]:
    """Knot below each value, and how far it is to the next, from 0 to 1; beyond the outermost knot it is at that."""
    i = np.zeros(imputed.shape, np.intp)
    for knot in knots[1:-1]:
        i += imputed >= knot
    start, end = (np.take_along_axis(knots, at, 0) for at in (i, np.minimum(i + 1, len(knots) - 1)))
    return i, np.where(end > start, (imputed - start) / np.where(end > start, end - start, 1), 0).clip(0, 1)


def _mixed(a: Array, b: Array, share: Array | float) -> Array:
    return a + share * (b - a)
