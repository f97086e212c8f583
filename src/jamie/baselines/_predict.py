"""Simple predictors that a model must beat, from the mean to a multilayer perceptron, all well tuned.

All are tuned alike: squared error of the standardised target over five folds of the training cells, for the slow
perceptron over one of them, for kernel ridge of each cell from all others, which one decomposition gives. A wide target
is first projected on random directions, which keeps that error in expectation; its leading principal components are
less noisy than the rest and would ask for too little shrinkage.

NaN in the target is not a value. Neighbours, ridge and kernel ridge predict each feature from the cells that have it.
Partial least squares, reduced rank and the perceptron, whose features share components or units, see ridge's prediction
in its place. All are tuned by the error of the values that are there.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from jamie._checks import generator, require_option
from jamie._errors import InvalidValueError
from jamie._settings import settings
from jamie._types import Array, Seed

from ._regressions import FAMILIES, LANDMARKS, MEASURED, Family, completed, kernel_ridge, kernel_ridge_errors

METHODS = ("mean", "knn", "ridge", "kernel_ridge", "pls", "reduced_rank", "mlp")

_TUNED = 3_000  # training cells that settings are chosen on
_DIRECTIONS = 200  # random ones, of a wider target, that settings are chosen on
_FOLDS = {"mlp": 1}  # of the five, that settings are scored on; elsewhere all


def predict(method: str, x_train: Array, y_train: Array, x_test: Array, *, rng: Seed = None) -> Array:
    """Predict the target of the test cells from the training cells.

    Parameters
    ----------
    method
        One of `METHODS`.
    x_train, x_test
        Prepared inputs (`n_train × k` and `n_test × k`), such as principal components.
    y_train
        Target (`n_train × d`). NaN is missing: each feature is learned from the cells that have it, and one that none
        has is predicted NaN.
    rng
        Seed or generator of the folds, landmarks and network.

    Returns
    -------
    Predicted target (`n_test × d`), in the units of `y_train`.

    Raises
    ------
    ValueError
        If `method` is unknown, `x_train` and `y_train` differ in cells, or there are fewer than two.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.baselines import predict
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> predict("ridge", x, 2 * x + 1, np.array([[0.5]]), rng=0).round(2)
    array([[2.]])
    """
    require_option(method, METHODS, name="method")
    x, x_test, y = (np.asarray(values, dtype=np.float64) for values in (x_train, x_test, y_train))
    if len(x) != len(y) or len(x) < 2:
        msg = f"expected at least two training cells, the same in `x_train` and `y_train`, found {len(x)} and {len(y)}"
        raise InvalidValueError(msg)
    y, mean, scale = _standardise(y)
    if method == "mean":
        return np.tile(mean, (len(x_test), 1))
    family, grid = FAMILIES[method]
    seed = int(generator(rng).integers(2**31))
    unit = x[:, 0].std() or 1.0
    x, x_test = (x - x.mean(0)) / unit, (x_test - x.mean(0)) / unit
    # Threads gain little here, and where cores are shared they wait for each other: 10 minutes in place of one.
    with threadpool_limits(settings.n_threads or 1):
        if np.isnan(y).any():
            family = _of_measured(method, x, y, seed)
        best = _tune(family, x, y, grid(x), seed, folds=_FOLDS.get(method, 5))
        ((_, predicted),) = family(x, y, x_test, [best], seed)
    return predicted * scale + mean


def _tune(family: Family, x: Array, y: Array, choices: list[Any], seed: int, *, folds: int = 5) -> Any:
    """Choose the setting of the smallest cross-validated squared error, the first of equals."""
    rows = np.random.default_rng(seed).permutation(len(x))[:_TUNED]
    x, y = x[rows], y[rows]
    if y.shape[1] > _DIRECTIONS and np.isnan(y).any():
        y = y[:, np.random.default_rng(seed).choice(y.shape[1], _DIRECTIONS, replace=False)]
    elif y.shape[1] > _DIRECTIONS:
        y = y @ np.random.default_rng(seed).choice([-1.0, 1.0], size=(y.shape[1], _DIRECTIONS))
    if family is kernel_ridge and len(x) <= LANDMARKS:
        error = kernel_ridge_errors(x, y, choices)
        return min(error, key=error.__getitem__)
    error = dict.fromkeys(choices, 0.0)
    for train, test in islice(KFold(min(5, len(x))).split(x), folds):
        for setting, predicted in family(x[train], y[train], x[test], choices, seed, tuning=True):
            error[setting] += float(np.nansum(np.square(predicted - y[test])))
    return min(error, key=error.__getitem__)


def _of_measured(method: str, x: Array, y: Array, seed: int) -> Family:
    """Family of the method for a target that misses values."""
    if method in MEASURED:
        return MEASURED[method]
    grid = FAMILIES["ridge"][1]
    return completed(FAMILIES[method][0], _tune(MEASURED["ridge"], x, y, grid(x), seed))


def _standardise(y: Array) -> tuple[Array, Array, Array]:
    """Centre and scale each feature by what is known of it; 0 for a feature of which nothing is."""
    seen = ~np.isnan(y)
    n = np.maximum(seen.sum(0), 1)
    mean = np.where(seen.any(0), np.where(seen, y, 0).sum(0) / n, np.nan)
    y = np.where(seen, y - np.where(seen.any(0), mean, 0), 0)
    scale = np.sqrt(np.square(y).sum(0) / n)
    scale[scale == 0] = 1
    return np.where(seen | ~seen.any(0), y / scale, np.nan), mean, scale
