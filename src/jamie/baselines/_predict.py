"""Simple predictors that a model must beat, from the mean to a multilayer perceptron, all well tuned.

All are given the same: inputs, training pairs, and the target both as features and as components. Each predicts what
has the smaller error in cross-validation; perceptron and trees, which are slow, predict components. All are tuned
alike: squared error of the standardised features over five folds of the training cells, for the slow ones over fewer of
them, for kernel ridge of each cell from all others, which one decomposition gives. A wide target is first projected on
random directions, which keeps that error in expectation; its leading principal components are less noisy than the rest
and would ask for too little shrinkage.

NaN in the target is not a value. Neighbours, ridge and kernel ridge predict each feature from the cells that have it.
The others, whose features share something, see ridge's prediction in its place. All predict features then, and are
tuned by the error of the values that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold
from sklearn.utils.extmath import randomized_svd

from jamie._checks import generator, require_option
from jamie._errors import InvalidValueError
from jamie._settings import settings
from jamie._threads import blas_threads
from jamie._types import Array, Seed

from ._directions import supervised
from ._regressions import FAMILIES, LANDMARKS, MEASURED, Family, completed, kernel_ridge, kernel_ridge_errors

SUPERVISED = {"supervised_knn": "knn", "supervised_kernel_ridge": "kernel_ridge"}
"""Methods whose distances are along the directions by which ridge predicts the target, and what they are otherwise."""

METHODS = ("mean", *FAMILIES, *SUPERVISED, "average")
AVERAGED = ("knn", "ridge", "kernel_ridge", "supervised_kernel_ridge", "reduced_rank")

_TUNED = 3_000  # training cells that settings are chosen on
_DIRECTIONS = 200  # random ones, of a wider target, that settings are chosen on
_FOLDS = {"mlp": 1, "extra_trees": 2}  # of the five, that settings are scored on; elsewhere all
_COORDINATES = 50  # components of a target without any given, that the supervised kernel has its coordinates from


class Components(NamedTuple):
    """Components of the target, of the training cells, and how they become features: scores @ matrixᵀ + offset."""

    scores: Array  # (n_train, k)
    matrix: Array  # (d, k)


def predict(
    method: str,
    x_train: Array,
    y_train: Array,
    x_test: Array,
    *,
    components: Components | None = None,
    rng: Seed = None,
) -> Array:
    """Predict the target of the test cells from the training cells.

    Parameters
    ----------
    method
        One of `METHODS`. ``"supervised_knn"`` and ``"supervised_kernel_ridge"`` measure distances along the directions
        by which ridge predicts the target; ``"average"`` is the mean of those in `AVERAGED`.
    x_train, x_test
        Prepared inputs (`n_train × k` and `n_test × k`), such as principal components.
    y_train
        Target (`n_train × d`). NaN is missing: each feature is learned from the cells that have it, and one that none
        has is predicted NaN.
    components
        The target as components, which are predicted in place of features where that is better in cross-validation.
    rng
        Seed or generator of the folds, landmarks, trees and network.

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
    ((_, predicted),) = predict_each([method], x_train, y_train, x_test, components=components, rng=rng)
    return predicted


def predict_each(
    methods: Sequence[str],
    x_train: Array,
    y_train: Array,
    x_test: Array,
    *,
    components: Components | None = None,
    rng: Seed = None,
) -> Iterator[tuple[str, Array]]:
    """Yield each method and what it predicts, see :func:`predict`; the average is taken of what is there already.

    All draw from the same seed, so that none depends on which others are asked for.
    """
    x, x_test, y = (np.asarray(values, dtype=np.float64) for values in (x_train, x_test, y_train))
    if len(x) != len(y) or len(x) < 2:
        msg = f"expected at least two training cells, the same in `x_train` and `y_train`, found {len(x)} and {len(y)}"
        raise InvalidValueError(msg)
    y, mean, scale = _standardise(y)
    seed = int(generator(rng).integers(2**31))
    unit = x[:, 0].std() or 1.0
    x, x_test = (x - x.mean(0)) / unit, (x_test - x.mean(0)) / unit
    given = None
    if components is not None and not np.isnan(y).any():
        scores = np.asarray(components.scores, dtype=np.float64)
        given = _Outputs(scores - scores.mean(0), (components.matrix / scale[:, None]).T)
    done: dict[str, Array] = {"mean": np.zeros((len(x_test), y.shape[1]))}
    for method in methods:
        needed = AVERAGED if method == "average" else [method]
        # Threads gain little here, and where cores are shared they wait for each other: 10 minutes in place of one.
        with blas_threads(settings.n_threads or 1):
            done |= {one: _predicted(one, x, y, given, x_test, seed) for one in needed if one not in done}
        yield method, np.mean([done[one] for one in needed], axis=0) * scale + mean


class _Outputs(NamedTuple):
    """What is regressed, and the matrix that takes it to standardised features; `None`: it is them."""

    y: Array  # (n, q)
    to_features: Array | None  # (q, d)

    def features(self, predicted: Array) -> Array:
        """Standardised features."""
        return predicted if self.to_features is None else predicted @ self.to_features


def _predicted(method: str, x: Array, y: Array, components: _Outputs | None, x_test: Array, seed: int) -> Array:
    """Standardised features of the test cells."""
    tuned_on, name = x, SUPERVISED.get(method, method)
    if method in SUPERVISED:
        told = _leading(x, y, seed) if components is None else components.y
        directions, tuned_on, _ = supervised(x, told, np.random.default_rng(seed))
        x, x_test = directions(x), directions(x_test)
        tuned_on, x, x_test = (cells - x.mean(0) for cells in (tuned_on, x, x_test))
    family, grid = FAMILIES[name]
    if np.isnan(y).any():
        family = _of_measured(name, x, y, seed)
    options = [_Outputs(y, None)] if components is None or name not in _FOLDS else []
    options += [components] if components is not None else []
    setting, outputs = _tune(family, tuned_on, options, y, grid(tuned_on), seed, folds=_FOLDS.get(name, 5))
    ((_, predicted),) = family(x, outputs.y, x_test, [setting], seed)
    return outputs.features(predicted)


def _leading(x: Array, y: Array, seed: int) -> Array:
    """Components of standardised features; what is missing is what ridge predicts."""
    if np.isnan(y).any():
        ((_, fitted),) = MEASURED["ridge"](x, y, x, [_ridge_of_measured(x, y, seed)], seed)
        y = np.where(np.isnan(y), fitted, y)
    if y.shape[1] <= _COORDINATES:
        return y
    left, values, _ = randomized_svd(y, min(_COORDINATES, len(y)), random_state=seed)
    return left * values


def _tune(
    family: Family, x: Array, options: list[_Outputs], truth: Array, choices: list[Any], seed: int, *, folds: int = 5
) -> tuple[Any, _Outputs]:
    """Choose setting and outputs of the smallest cross-validated squared error of features, the first of equals."""
    rows = np.random.default_rng(seed).permutation(len(x))[:_TUNED]
    turned = _turn(truth[rows], np.random.default_rng(seed))
    seen = turned(truth[rows])
    matrices = [None if outputs.to_features is None else turned(outputs.to_features) for outputs in options]
    ys = [seen if matrix is None else outputs.y[rows] for outputs, matrix in zip(options, matrices, strict=True)]
    errors = dict.fromkeys(product(range(len(options)), choices), 0.0)
    for i, setting, cells, predicted in _left_out(family, x[rows], ys, choices, seed, folds):
        matrix = matrices[i]
        features = predicted if matrix is None else predicted @ matrix
        errors[i, setting] += float(np.nansum(np.square(features - seen[cells])))
    i, setting = min(errors, key=errors.__getitem__)
    return setting, options[i]


def _left_out(
    family: Family, x: Array, ys: list[Array], choices: list[Any], seed: int, folds: int
) -> Iterator[tuple[int, Any, Array | slice, Array]]:
    """Yield which of the outputs, a setting, cells, and these outputs of these cells, predicted from others."""
    if family is kernel_ridge and len(x) <= LANDMARKS:
        together, ends = np.hstack(ys), np.cumsum([y.shape[1] for y in ys])[:-1]
        for setting, error in kernel_ridge_errors(x, together, choices):
            for i, predicted in enumerate(np.split(together - error, ends, axis=1)):
                yield i, setting, slice(None), predicted
        return
    for train, test in islice(KFold(min(5, len(x))).split(x), folds):
        for i, y in enumerate(ys):
            for setting, predicted in family(x[train], y[train], x[test], choices, seed, tuning=True):
                yield i, setting, test, predicted


def _turn(truth: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
    """What features are compared by: themselves, random directions of many, or some of many with missing values."""
    d = truth.shape[1]
    if d <= _DIRECTIONS:
        return lambda features: features
    if np.isnan(truth).any():
        chosen = rng.choice(d, _DIRECTIONS, replace=False)
        return lambda features: features[:, chosen]
    signs = rng.choice([-1.0, 1.0], size=(d, _DIRECTIONS))
    return lambda features: features @ signs


def _of_measured(method: str, x: Array, y: Array, seed: int) -> Family:
    """Family of the method for a target that misses values."""
    return MEASURED[method] if method in MEASURED else completed(FAMILIES[method][0], _ridge_of_measured(x, y, seed))


def _ridge_of_measured(x: Array, y: Array, seed: int) -> float:
    """Penalty of ridge regression on the values that are there."""
    return float(_tune(MEASURED["ridge"], x, [_Outputs(y, None)], y, FAMILIES["ridge"][1](x), seed)[0])


def _standardise(y: Array) -> tuple[Array, Array, Array]:
    """Centre and scale each feature by what is known of it; 0 for a feature of which nothing is."""
    seen = ~np.isnan(y)
    n = np.maximum(seen.sum(0), 1)
    mean = np.where(seen.any(0), np.where(seen, y, 0).sum(0) / n, np.nan)
    y = np.where(seen, y - np.where(seen.any(0), mean, 0), 0)
    scale = np.sqrt(np.square(y).sum(0) / n)
    scale[scale == 0] = 1
    return np.where(seen | ~seen.any(0), y / scale, np.nan), mean, scale
