"""Families of regressions, each a path over its settings: neighbours, linear, latent components, kernels, a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, product
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import eigh, solve
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.extmath import randomized_svd

from jamie._patterns import patterns
from jamie._types import Array

from ._kernel import RATES, inverse_root, similarity

_NEIGHBORS = (5, 10, 20, 30, 50)
_ALPHAS = tuple(np.logspace(-2, 5, 22))  # ridge, in units of the first component's variance
_KERNEL_ALPHAS = tuple(np.logspace(-3, 2, 16))
_EXACT = 8_000  # training cells up to which the kernel is exact: half a gigabyte
LANDMARKS = 1_000  # of the Nyström approximation
_COMPONENTS = (1, 2, 3, 5, 8, 12, 20, 30)  # of partial least squares, and ranks
_HIDDEN = ((128,), (256, 256))
_PENALTIES = (1e-3, 1.0, 10.0)  # scikit-learn's `alpha` of the network
_WIDE = 200  # features from which the network predicts principal components of the target
_OUTPUTS = 50  # that many of them
_EPOCHS = 500
_SOLVED = 1  # kernel regressions on all cells that tuning may cost where values are missing
_FEWEST = 10  # cells that tuning leaves each of them
_STOPPED_EARLY = 20  # training cells from which the network sets a share apart to stop on

Family = Callable[..., Iterator[tuple[Any, Array]]]  # (x, y, x_new, settings, seed) → each setting and its prediction


def knn(
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


def ridge(
    x: Array,
    y: Array,
    x_new: Array,
    settings: Iterable[float],
    seed: int,
    *,
    tuning: bool = False,
) -> Iterator[tuple[float, Array]]:
    """Ridge regression, β = (xᵀx + α)⁻¹ xᵀy."""
    return _path(x.T @ x, x.T @ y, x_new, settings)


def kernel_ridge(
    x: Array,
    y: Array,
    x_new: Array,
    settings: Iterable[tuple[float, float]],
    seed: int,
    *,
    tuning: bool = False,
) -> Iterator[tuple[tuple[float, float], Array]]:
    """Kernel ridge regression, (K + α)⁻¹ y with the kernel exp(−γ ‖x − z‖); of many cells by the Nyström method."""
    exact = len(x) <= (LANDMARKS if tuning else _EXACT)
    for gamma, group in groupby(settings, key=lambda setting: setting[0]):
        alphas = [alpha for _, alpha in group]
        if exact:
            path = _path(similarity(x, x, gamma), y, similarity(x_new, x, gamma), alphas)
        else:
            landmarks = x[np.random.default_rng(seed).choice(len(x), LANDMARKS, replace=False)]
            root = inverse_root(similarity(landmarks, landmarks, gamma))
            features, new = (similarity(cells, landmarks, gamma) @ root for cells in (x, x_new))
            path = ridge(features, y, new, alphas, seed)
        yield from (((gamma, alpha), predicted) for alpha, predicted in path)


def kernel_ridge_errors(
    x: Array, y: Array, settings: Iterable[tuple[float, float]]
) -> Iterator[tuple[tuple[float, float], Array]]:
    """Error of kernel ridge regression in each cell, predicted from all others, from one decomposition per kernel.

    With A = (K + α)⁻¹ of all cells, the error of cell i is (A y)_i / A_ii.
    """
    for gamma, group in groupby(settings, key=lambda setting: setting[0]):
        values, vectors = eigh(similarity(x, x, gamma), driver="evd")
        projected, squared = vectors.T @ y, np.square(vectors)
        for _, alpha in group:
            inverse = 1 / (np.maximum(values, 0) + alpha)
            yield (gamma, alpha), vectors @ (inverse[:, None] * projected) / (squared @ inverse)[:, None]


def _path(gram: Array, target: Array, new: Array, alphas: Iterable[float]) -> Iterator[tuple[float, Array]]:
    """Take `new` (gram + α)⁻¹ `target` for each α, by one eigendecomposition; for a single α by solving directly."""
    alphas = list(alphas)
    if len(alphas) == 1:
        yield alphas[0], new @ solve(gram + alphas[0] * np.eye(len(gram)), target, assume_a="pos")
        return
    values, vectors = eigh(gram, driver="evd")
    left, right = new @ vectors, vectors.T @ target
    for alpha in alphas:
        yield alpha, (left / (np.maximum(values, 0) + alpha)) @ right


def _kernel_grid(x: Array) -> list[tuple[float, float]]:
    sample = x[:LANDMARKS]
    distances = euclidean_distances(sample)[np.triu_indices(len(sample), 1)]
    return list(product([gamma / (np.median(distances) or 1.0) for gamma in RATES], _KERNEL_ALPHAS))


def pls(
    x: Array, y: Array, x_new: Array, settings: Iterable[int], seed: int, *, tuning: bool = False
) -> Iterator[tuple[int, Array]]:
    """Partial least squares of the first h components: scikit-learn's PLSRegression of unscaled input.

    From xᵀx and xᵀy alone (Dayal & MacGregor 1997), so that a wide target costs little: NIPALS passes over all cells
    and features again and again.
    """
    settings = list(settings)
    gram, covariance = x.T @ x, x.T @ y
    rotations, loadings = np.zeros((2, x.shape[1], max(settings)))
    coefficients = np.zeros((max(settings), y.shape[1]))
    for h in range(max(settings)):
        weight = eigh(covariance @ covariance.T)[1][:, -1]
        rotation = weight - rotations @ (loadings.T @ weight)
        variance = rotation @ gram @ rotation  # of the component
        if variance <= 1e-12 * np.trace(gram):
            break
        rotations[:, h] = rotation
        loadings[:, h] = gram @ rotation / variance
        coefficients[h] = rotation @ covariance / variance
        covariance = covariance - variance * np.outer(loadings[:, h], coefficients[h])
    for h in settings:
        yield h, x_new @ rotations[:, :h] @ coefficients[:h]


def reduced_rank(
    x: Array, y: Array, x_new: Array, settings: Iterable[tuple[float, int]], seed: int, *, tuning: bool = False
) -> Iterator[tuple[tuple[float, int], Array]]:
    """Reduced-rank ridge regression: the β of rank r with the least ‖y − xβ‖² + α‖β‖² (Mukherjee & Zhu 2011).

    It is ridge, its fitted values, penalty included, projected on their r leading right singular vectors.
    """
    values, vectors = eigh(x.T @ x)
    left, right = x_new @ vectors, vectors.T @ (x.T @ y)
    moments = right @ right.T
    for alpha, group in groupby(settings, key=lambda setting: setting[0]):
        root = np.sqrt(np.maximum(values, 0) + alpha)
        singular = eigh(moments / np.outer(root, root))[1][:, ::-1]  # left singular vectors of the fitted values
        scores, coefficients = left / root @ singular, singular.T @ (right / root[:, None])
        yield from (((alpha, rank), scores[:, :rank] @ coefficients[:rank]) for _, rank in group)


def mlp(
    x: Array,
    y: Array,
    x_new: Array,
    settings: Iterable[tuple[tuple[int, ...], float]],
    seed: int,
    *,
    tuning: bool = False,
) -> Iterator[tuple[tuple[tuple[int, ...], float], Array]]:
    """Multilayer perceptron on standardised input, of a wide target its principal components; stopped early."""
    mean, loadings = y.mean(0), np.eye(y.shape[1])
    if y.shape[1] >= _WIDE:
        loadings = randomized_svd(y - mean, min(_OUTPUTS, len(y)), random_state=seed)[2]
    loadings = loadings[((y - mean) @ loadings.T).std(0) > 0]  # constants are not learned
    outcome = (y - mean) @ loadings.T
    unit = outcome.std(0).max(initial=0) or 1.0
    for hidden, penalty in settings:
        network = MLPRegressor(
            hidden_layer_sizes=hidden,
            alpha=penalty,
            early_stopping=len(x) >= _STOPPED_EARLY,
            max_iter=_EPOCHS,
            random_state=seed,
        )
        predicted = np.zeros((len(x_new), len(loadings)))
        if len(loadings):
            model = make_pipeline(StandardScaler(), network)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x, np.squeeze(outcome / unit, axis=1) if len(loadings) == 1 else outcome / unit)
            predicted = unit * model.predict(x_new).reshape(predicted.shape)
        yield (hidden, penalty), predicted @ loadings + mean


def extra_trees(
    x: Array, y: Array, x_new: Array, settings: Iterable[int], seed: int, *, tuning: bool = False
) -> Iterator[tuple[int, Array]]:
    """Extremely randomised trees, with this least number of cells in a leaf."""
    for least in settings:
        trees = ExtraTreesRegressor(
            n_estimators=40 if tuning else 200, min_samples_leaf=least, max_features=0.3, random_state=seed
        )
        outcome = np.squeeze(y, axis=1) if y.shape[1] == 1 else y
        yield least, trees.fit(x, outcome).predict(x_new).reshape(len(x_new), -1)


def by_pattern(family: Family, *, n_solved: float = np.inf) -> Family:
    """Regress each group of features that are missing in the same cells on the cells that have them.

    The settings are those of all features. In tuning, where cells are in random order, many groups take so few of them
    that they cost about as much as `n_solved` fits on all cells, if the cost of a fit is the cube of its cells.
    """

    def path(
        x: Array, y: Array, x_new: Array, settings: Iterable[Any], seed: int, *, tuning: bool = False
    ) -> Iterator[tuple[Any, Array]]:
        predicted = {setting: np.zeros((len(x_new), y.shape[1])) for setting in settings}
        groups = patterns(y)
        share = min(1, (n_solved / max(len(groups), 1)) ** (1 / 3)) if tuning else 1
        most = max(int(share * len(x)), _FEWEST)
        for rows, columns in groups:
            x_group, y_group = x[rows[:most]], y[np.ix_(rows[:most], columns)]
            origin, mean = x_group.mean(0), y_group.mean(0)
            of_group = family(x_group - origin, y_group - mean, x_new - origin, list(predicted), seed, tuning=tuning)
            for setting, values in of_group:
                predicted[setting][:, columns] = values + mean
        yield from predicted.items()

    return path


def completed(family: Family, alpha: float) -> Family:
    """Regress on a target whose missing entries are what ridge regression predicts, by the cells that have them.

    For families whose features share something, so that they cannot be taken apart. The sums over cells that they are
    made of become those of a linear regression on the measured entries.
    """

    def path(
        x: Array, y: Array, x_new: Array, settings: Iterable[Any], seed: int, *, tuning: bool = False
    ) -> Iterator[tuple[Any, Array]]:
        ((_, predicted),) = measured_ridge(x, y, x, [alpha], seed)
        yield from family(x, np.where(np.isnan(y), predicted, y), x_new, settings, seed, tuning=tuning)

    return path


measured_knn = by_pattern(knn)
measured_ridge = by_pattern(ridge)
measured_kernel_ridge = by_pattern(kernel_ridge, n_solved=_SOLVED)


def _components(x: Array) -> list[int]:
    return sorted({min(h, x.shape[1]) for h in _COMPONENTS})


FAMILIES: dict[str, tuple[Family, Callable[[Array], list[Any]]]] = {
    "knn": (knn, lambda _: list(_NEIGHBORS)),
    "ridge": (ridge, lambda _: list(_ALPHAS)),
    "kernel_ridge": (kernel_ridge, _kernel_grid),
    "pls": (pls, _components),
    "reduced_rank": (reduced_rank, lambda x: list(product(_ALPHAS[::2], _components(x)))),
    "extra_trees": (extra_trees, lambda _: [3, 8]),
    "mlp": (mlp, lambda _: list(product(_HIDDEN, _PENALTIES))),
}

MEASURED = {"knn": measured_knn, "ridge": measured_ridge, "kernel_ridge": measured_kernel_ridge}
"""Families as they are where the target misses values; the others see it `completed`."""
