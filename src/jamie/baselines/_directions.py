"""Supervised directions: what ridge regression makes of a cell, as its coordinates for another regression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jamie._types import Array

from ._kernel_ridge import axes, left_out_errors

PENALTIES = np.logspace(-7, 1, 25)  # of ridge, in units of the largest eigenvalue
FOLDS = 10


class Directions(NamedTuple):
    """A linear map from inputs (n, k) to coordinates (n, d)."""

    origin: Array  # (k,)
    matrix: Array  # (k, d)

    def __call__(self, x: Array) -> Array:
        """Coordinates of cells."""
        return (x - self.origin) @ self.matrix

    @classmethod
    def none(cls, k: int) -> Directions:
        """Coordinates that are the inputs."""
        return cls(np.zeros(k), np.eye(k))


class Supervised(NamedTuple):
    """Directions, and what is needed to see the cells they were fitted on as if they were new."""

    directions: Directions
    left_out: Array  # (n, d) coordinates of these cells, each part of them by directions fitted on the others
    penalty: float  # of the ridge regression


def supervised(x: Array, y: Array, rng: np.random.Generator) -> Supervised:
    """Directions in the inputs that tell the outputs, and the coordinates of these cells as if they were new.

    The coordinates of a cell are the outputs that ridge regression predicts, less a constant. A kernel regression sees
    all components of the source alike, whether they tell anything of the target or not; here it sees what does, by as
    much as it does. Coordinates of the cells that ridge was fitted on are nearer to their outputs than those of new
    cells will be, so that what is tuned has to see others: those of each of `FOLDS` parts come from the other parts.

    The penalty is the one with the least squared error of each cell predicted from all others, in closed form. Outputs
    without missing values only: these would stand at the mean, and draw all coordinates towards it.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    penalty, mean = _penalty(x, y), y.mean(axis=0)
    order = rng.permutation(len(x))
    left_out = np.zeros((len(x), y.shape[1]))
    for part in np.array_split(order, min(FOLDS, len(x))):
        others = np.setdiff1d(order, part, assume_unique=True)
        if len(others):
            left_out[part] = _fitted(x[others], y[others], penalty)(x[part]) + y[others].mean(axis=0) - mean
    return Supervised(_fitted(x, y, penalty), left_out, penalty)


def one_left_out(x: Array, y: Array, directions: Directions, penalty: float) -> Array:
    """Coordinates of cells, each by directions fitted on all the others, in closed form, (n, d).

    With h_i the leverage of cell i in the ridge regression, z_i becomes z_i − h_i / (1 − h_i) (y_i − ȳ − z_i).
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    z, centred = directions(x), x - directions.origin
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty
    leverage = np.einsum("ij,ji->i", centred, np.linalg.solve(gram, centred.T)) + 1 / len(x)
    return z - (leverage / (1 - leverage))[:, None] * (y - y.mean(axis=0) - z)


def _fitted(x: Array, y: Array, penalty: float) -> Directions:
    origin = x.mean(axis=0)
    centred = x - origin
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += penalty
    return Directions(origin, np.linalg.solve(gram, centred.T @ (y - y.mean(axis=0))))


def _penalty(x: Array, y: Array) -> float:
    """The one with the least error of each cell predicted from all others, whose means are not those of all.

    With no more cells than components ridge meets every cell where the penalty is small. About the means of all cells
    its left-out errors would be 0 there, and 1e-7 be taken where .05 has a tenth of the error.
    """
    scores, values = axes(x - x.mean(axis=0))
    penalties = PENALTIES * (float(values.max(initial=0)) or 1.0)
    errors = left_out_errors(scores, values, y - y.mean(axis=0), penalties, of_mean=1 / len(x))
    return float(penalties[np.argmin(errors)])
