"""Simple predictors that a model must beat: mean, nearest neighbours, ridge and kernel ridge, all well tuned.

Every one is linear in the target given its settings, so all are tuned alike: squared error of the standardised target
over five folds of the training cells. A wide target is first projected on random directions, which keeps that error in
expectation; its leading principal components are less noisy than the rest and would ask for too little shrinkage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, product
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors

from jamie._checks import generator, require_choice
from jamie._types import Array, Seed

METHODS = ("mean", "knn", "ridge", "kernel_ridge")

_NEIGHBORS = (5, 10, 20, 30, 50)
_ALPHAS = tuple(np.logspace(-2, 5, 22))  # ridge, in units of the first component's variance
_KERNEL_ALPHAS = tuple(np.logspace(-2, 2, 13))
_GAMMAS = tuple(np.logspace(-4, 2, 7, base=2))  # in units of 1 / median squared distance
_EXACT = 3_000  # training cells up to which the kernel is exact
_LANDMARKS = 1_000  # of the Nyström approximation
_TUNED = 3_000  # training cells that settings are chosen on
_DIRECTIONS = 200  # random ones, of a wider target, that settings are chosen on

Family = Callable[..., Iterator[tuple[Any, Array]]]  # (x, y, x_new, settings, seed) → each setting and its prediction


def predict(method: str, x_train: Array, y_train: Array, x_test: Array, *, rng: Seed = None) -> Array:
    """Predict the target of the test cells from the training cells.

    Parameters
    ----------
    method
        One of `METHODS`.
    x_train, x_test
        Prepared inputs (`n_train × k` and `n_test × k`), such as principal components.
    y_train
        Target (`n_train × d`). A NaN is replaced by the mean of its feature; a feature without values is predicted NaN.
    rng
        Seed or generator of the folds and landmarks.

    Returns
    -------
    Predicted target (`n_test × d`), in the units of `y_train`.

    Raises
    ------
    KeyError
        If `method` is unknown.
    ValueError
        If `x_train` and `y_train` differ in cells, or there are fewer than two.

    Examples
    --------
    >>> import numpy as np
    >>> from jamie.metrics._baselines import predict
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> predict("ridge", x, 2 * x + 1, np.array([[0.5]]), rng=0).round(2)
    array([[2.]])
    """
    require_choice(method, METHODS, name="method")
    x, x_test, y = (np.asarray(values, dtype=np.float64) for values in (x_train, x_test, y_train))
    if len(x) != len(y) or len(x) < 2:
        msg = f"expected at least two training cells, the same in `x_train` and `y_train`, found {len(x)} and {len(y)}"
        raise ValueError(msg)
    y, mean, scale = _standardise(y)
    if method == "mean":
        return np.tile(mean, (len(x_test), 1))
    family, grid = _FAMILIES[method]
    seed = int(generator(rng).integers(2**31))
    unit = x[:, 0].std() or 1.0
    x, x_test = (x - x.mean(0)) / unit, (x_test - x.mean(0)) / unit
    best = _tune(family, x, y, grid(x), seed)
    ((_, predicted),) = family(x, y, x_test, [best], seed)
    return predicted * scale + mean


def _tune(family: Family, x: Array, y: Array, settings: list[Any], seed: int) -> Any:
    """Choose the setting of the smallest cross-validated squared error, the first of equals."""
    rows = np.random.default_rng(seed).permutation(len(x))[:_TUNED]
    x, y = x[rows], y[rows]
    if y.shape[1] > _DIRECTIONS:
        y = y @ np.random.default_rng(seed).choice([-1.0, 1.0], size=(y.shape[1], _DIRECTIONS))
    error = dict.fromkeys(settings, 0.0)
    for train, test in KFold(min(5, len(x))).split(x):
        for setting, predicted in family(x[train], y[train], x[test], settings, seed, tuning=True):
            error[setting] += float(np.square(predicted - y[test]).sum())
    return min(error, key=error.__getitem__)


def _knn(
    x: Array, y: Array, x_new: Array, settings: Iterable[int], seed: int, *, tuning: bool = False
) -> Iterator[tuple[int, Array]]:
    """Mean target of the k nearest training cells."""
    settings = list(settings)
    nearest = NearestNeighbors(n_neighbors=min(max(settings), len(x))).fit(x).kneighbors(x_new, return_distance=False)
    for k in settings:
        columns = nearest[:, :k]
        weights = np.full(columns.size, 1 / columns.shape[1])
        ends = np.arange(0, columns.size + 1, columns.shape[1])
        yield k, sparse.csr_array((weights, columns.ravel(), ends), shape=(len(x_new), len(x))) @ y


def _ridge(
    x: Array, y: Array, x_new: Array, settings: Iterable[float], seed: int, *, tuning: bool = False
) -> Iterator[tuple[float, Array]]:
    """Ridge regression, β = (xᵀx + α)⁻¹ xᵀy."""
    return _path(x.T @ x, x.T @ y, x_new, settings)


def _kernel_ridge(
    x: Array, y: Array, x_new: Array, settings: Iterable[tuple[float, float]], seed: int, *, tuning: bool = False
) -> Iterator[tuple[tuple[float, float], Array]]:
    """Kernel ridge regression, (K + α)⁻¹ y; with many cells ridge on the features of a Nyström approximation."""
    exact = len(x) <= (_LANDMARKS if tuning else _EXACT)
    for gamma, group in groupby(settings, key=lambda setting: setting[0]):
        alphas = [alpha for _, alpha in group]
        if exact:
            path = _path(rbf_kernel(x, gamma=gamma), y, rbf_kernel(x_new, x, gamma=gamma), alphas)
        else:
            features = Nystroem(gamma=gamma, n_components=_LANDMARKS, random_state=seed).fit(x)
            path = _ridge(features.transform(x), y, features.transform(x_new), alphas, seed)
        yield from (((gamma, alpha), predicted) for alpha, predicted in path)


def _path(gram: Array, target: Array, new: Array, alphas: Iterable[float]) -> Iterator[tuple[float, Array]]:
    """Take `new` (gram + α)⁻¹ `target` for each α, by one eigendecomposition."""
    values, vectors = eigh(gram)
    left, right = new @ vectors, vectors.T @ target
    for alpha in alphas:
        yield alpha, (left / (np.maximum(values, 0) + alpha)) @ right


def _kernel_grid(x: Array) -> list[tuple[float, float]]:
    some = x[:_LANDMARKS]
    distances = euclidean_distances(some, squared=True)[np.triu_indices(len(some), 1)]
    return list(product([gamma / (np.median(distances) or 1.0) for gamma in _GAMMAS], _KERNEL_ALPHAS))


def _standardise(y: Array) -> tuple[Array, Array, Array]:
    """Centre and scale each feature by what is known of it, and put 0 where nothing is."""
    seen = ~np.isnan(y)
    n = np.maximum(seen.sum(0), 1)
    mean = np.where(seen.any(0), np.where(seen, y, 0).sum(0) / n, np.nan)
    y = np.where(seen, y - np.where(seen.any(0), mean, 0), 0)
    scale = np.sqrt(np.square(y).sum(0) / n)
    scale[scale == 0] = 1
    return y / scale, mean, scale


_FAMILIES: dict[str, tuple[Family, Callable[[Array], list[Any]]]] = {
    "knn": (_knn, lambda _: list(_NEIGHBORS)),
    "ridge": (_ridge, lambda _: list(_ALPHAS)),
    "kernel_ridge": (_kernel_ridge, _kernel_grid),
}
