"""Kernel ridge regression, tuned by leaving one cell out in closed form: the skip path around the latent.

Outputs are components. Where values behind them are missing, components say that they are the mean, so that what is
predicted would shrink towards it. There the outputs are the features, and errors count where they were measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular
from sklearn.metrics.pairwise import euclidean_distances

from jamie._patterns import patterns
from jamie._threads import blas_threads
from jamie._types import Array

from ._kernel import RATES, inverse_root, similarity

ALPHAS = np.logspace(-3, 3, 19)
TUNED = 2_000  # cells that settings are chosen on
LANDMARKS = 1_000  # while settings and shares are chosen
LAST_LANDMARKS = 2_000  # of what is kept: 1,000 lose .001 on CITE-seq 10k (splits 10, 11), 3,000 gain .0004 more
FITTED = 50_000  # cells that coefficients are fitted on
BLOCK = 4_096
PRIOR = 10  # pairs that an equal mix of network and kernel counts as much as
PATTERNS = 32  # groups of features, missing in the same cells, that settings are chosen on
EXTRA = 2.0  # decompositions as large as that without missing values that these groups may cost together
TOLERANCE = 1e-5  # of the residual, where values are missing: some 20 steps at random, 50 for a class of cells
STEPS = 200


class Setting(NamedTuple):
    """What is tuned."""

    rate: float  # γ of exp(−γ ‖x − z‖)
    alpha: float  # ridge


class LeftOut(NamedTuple):
    """Some of the cells that were fitted on, each predicted by a regression on all the others."""

    cells: Array  # (c,) rows, in random order
    predicted: Array  # (c, d)


class KernelRidge(NamedTuple):
    """Fitted coefficients: y(x) = Σ_z exp(−γ ‖x − z‖) c_z + b."""

    landmarks: Array  # (m, k)
    coefficients: Array  # (m, d)
    offset: Array  # (d,)
    setting: Setting
    left_out: LeftOut | None = None  # where it was asked for


class Partial(NamedTuple):
    """Features behind outputs y of cells that miss some of them: y = values @ loadings, with 0 for NaN."""

    values: Array  # (n, d) with NaN
    loadings: Array  # (d, k) orthonormal columns


def tune(x: Array, y: Array, rng: np.random.Generator, partial: Partial | None = None) -> Setting:
    """Choose γ and the ridge by the squared error of each cell predicted from all others, in closed form.

    With H = P (S + α)⁻¹ Pᵀ the hat matrix, that error is (y − H y) / (1 − diag H). Where values are missing, features
    that are missing in the same cells have their own hat matrix, of the cells that have them.
    """
    cells = rng.permutation(len(x))[:TUNED]
    x = x[cells].astype(np.float64)
    if partial is None:
        outputs: list[tuple[Array | slice, Array]] = [(slice(None), y[cells] - y[cells].mean(axis=0))]
    else:
        outputs = _grouped(partial.values[cells], partial.loadings)
    landmarks = x[: LANDMARKS if len(x) <= LANDMARKS else LANDMARKS // 2]
    distances = euclidean_distances(landmarks)
    median = np.median(distances[np.triu_indices(len(landmarks), 1)]) or 1.0
    if not outputs:
        return Setting(1 / float(median), 1.0)
    among, best = euclidean_distances(x, landmarks), (np.inf, Setting(1.0, 1.0))
    with blas_threads(1):
        for rate in (rate / median for rate in RATES):
            kernel = np.exp(-rate * distances)
            if len(landmarks) == len(x) and partial is None:
                ((_, centred),) = outputs
                by_group = [left_out_errors(*_principal(kernel), centred, ALPHAS)]
            else:
                features = np.exp(-rate * among) @ inverse_root(kernel)
                by_group = [left_out_errors(*axes(features[rows]), y, ALPHAS) for rows, y in outputs]
            for alpha, *errors in zip(ALPHAS, *by_group, strict=True):
                best = min(best, (sum(errors), Setting(rate, float(alpha))))
    return best[1]


def regress(
    x: Array,
    y: Array,
    setting: Setting,
    order: Array,
    partial: Partial | None = None,
    *,
    n_landmarks: int = LANDMARKS,
    as_new: Array | None = None,
    n_left_out: int = 0,
) -> KernelRidge:
    """Fit the coefficients; beyond `n_landmarks` cells by the Nyström method, (KᵀK + α K_zz) c = Kᵀ y.

    Cells are taken in a random `order`, the landmarks first. Where values are missing, coefficients are those of the
    least squared error of the values that are there, and the same penalty. The last `n_left_out` cells are also
    predicted from all others, at the coordinates `as_new`, (n, k): those that each would have if it was new.
    """
    cells = order[:FITTED]
    x, y = x[cells], y[cells]
    offset, landmarks = y.mean(axis=0), x[:n_landmarks].copy()  # not a view, which would keep all of x
    if partial is not None:
        values = partial.values[cells]
        mean = _mean_of_measured(values)
        y, offset = np.where(np.isnan(values), mean, values) @ partial.loadings, mean @ partial.loadings
    gram = np.zeros((len(landmarks), len(landmarks)))
    right = np.zeros((len(landmarks), y.shape[1]))
    with blas_threads(1):
        for start in range(0, len(x), BLOCK):
            k = similarity(x[start : start + BLOCK].astype(np.float64), landmarks, setting.rate)
            gram += k.T @ k
            right += k.T @ (y[start : start + BLOCK] - offset)
        gram += setting.alpha * similarity(landmarks.astype(np.float64), landmarks.astype(np.float64), setting.rate)
        gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / len(gram)  # cells that are equal twice
        factor = cholesky(gram, lower=True)
        if partial is None:
            coefficients = cho_solve((factor, True), right)
        else:
            partial = Partial(values, partial.loadings)
            coefficients = _of_measured(gram, factor, right, x, landmarks, setting, partial)
        ridge = KernelRidge(landmarks, coefficients.astype(np.float32), offset.astype(np.float32), setting)
        if as_new is None or not n_left_out:
            return ridge
        last = slice(max(len(x) - n_left_out, 0), None)  # first those that are no landmarks, as new cells are none
        outputs = y[last] if partial is None else Partial(partial.values[last], partial.loadings)
        predicted = _one_left_out(ridge, factor, x[last], as_new[cells[last]], outputs)
    return ridge._replace(left_out=LeftOut(cells[last], predicted))


def _one_left_out(ridge: KernelRidge, factor: Array, x: Array, as_new: Array, outputs: Array | Partial) -> Array:
    """Outputs of cells at the coordinates `as_new`, each by coefficients fitted without it, (c, d).

    With G = KᵀK + α K_zz = L Lᵀ, k the kernel of a cell at `x` and r its residual, the coefficients without it are
    c − G⁻¹ k r / (1 − kᵀ G⁻¹ k). Landmarks stay as they are. Where outputs have missing values, the residual is of
    those that are there; that the equations of a feature then have fewer cells is neglected.
    """
    k, k_new = (similarity(z.astype(np.float64), ridge.landmarks, ridge.setting.rate) for z in (x, as_new))
    own, new = (solve_triangular(factor, side.T, lower=True) for side in (k, k_new))
    fitted = k @ ridge.coefficients + ridge.offset
    if isinstance(outputs, Partial):
        missed = np.where(np.isnan(outputs.values), 0, outputs.values - fitted @ outputs.loadings.T) @ outputs.loadings
    else:
        missed = outputs - fitted
    influence = np.einsum("mc,mc->c", own, new) / (1 - np.einsum("mc,mc->c", own, own))
    return k_new @ ridge.coefficients + ridge.offset - influence[:, None] * missed


def best_mix_weight(measured: Array, decoded: Array, predicted: Array) -> float:
    """Share w of `predicted` in (1 − w) `decoded` + w `predicted` of the least squared error, drawn towards a half.

    Without cells to choose it by it is a half, which is seldom far from the best: the errors of two unlike predictors
    partly cancel. NaN in `measured` is missing: it is in no error, and a cell counts by the share of it that is there.
    """
    seen = ~np.isnan(measured)
    n: float = len(measured)
    if not seen.all():
        n = seen.sum() / measured.shape[1]
        measured, decoded, predicted = measured[seen], decoded[seen], predicted[seen]
    apart = predicted - decoded
    size = float(np.square(apart).sum())
    if not size:
        return 0.5
    best = float(((measured - decoded) * apart).sum()) / size
    return float(np.clip((n * best + PRIOR * 0.5) / (n + PRIOR), 0, 1))


def left_out_errors(p: Array, values: Array, y: Array, alphas: Array, *, of_mean: float = 0.0) -> list[float]:
    """Squared error of each cell predicted from all others, by ridge on these axes, for each penalty.

    `of_mean` is what a cell has in the mean that axes and `y` were centred by, 1 / n, if they were.
    """
    shrunk = 1 / (values[:, None] + alphas)  # (r, n_alphas)
    fitted, kept = p.T @ y, 1 - of_mean - np.square(p) @ shrunk
    return [float(np.square((y - p @ (shrunk[:, [k]] * fitted)) / kept[:, [k]]).sum()) for k in range(len(alphas))]


def axes(features: Array) -> tuple[Array, Array]:
    """Coordinates of cells on the principal axes of their features, not scaled, and the eigenvalue of each axis."""
    if len(features) < features.shape[1]:  # the same hat matrix from the smaller of two products
        return _principal(features @ features.T)
    values, vectors = eigh(features.T @ features, driver="evd")
    return features @ vectors, np.maximum(values, 0)


def _principal(kernel: Array) -> tuple[Array, Array]:
    """The same of the cells of a kernel matrix."""
    values, vectors = eigh(kernel, driver="evd")
    values = np.maximum(values, 0)
    return vectors * np.sqrt(values), values


def _grouped(values: Array, loadings: Array) -> list[tuple[Array | slice, Array]]:
    """Centred features by the cells that have them, less what is outside the components.

    Cells were drawn at random; of many groups each keeps the first of them only, for γ and α as a variance of noise do
    not depend on their number.
    """
    groups: list[tuple[Array | slice, Array]] = []
    n = len(values)
    together = [pattern for pattern in patterns(values) if len(pattern.rows) > 1][:PATTERNS]
    most = n if len(together) == 1 else int(n * (EXTRA / max(len(together), 1)) ** (1 / 3))
    for rows, columns in together:
        y = values[rows[:most]][:, columns].astype(np.float64)
        y = y - y.mean(axis=0)
        if len(columns) > loadings.shape[1]:
            y = y @ np.linalg.svd(loadings[columns].astype(np.float64), full_matrices=False)[0]
        groups.append((rows[:most], y))
    return groups


def _mean_of_measured(values: Array) -> Array:
    """Mean of each feature over the cells that have it; 0, which is the mean of all training cells, if none has."""
    seen = ~np.isnan(values)
    return np.where(seen, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(seen.sum(axis=0), 1)


def _of_measured(
    gram: Array, factor: Array, right: Array, x: Array, landmarks: Array, setting: Setting, partial: Partial
) -> Array:
    """Solve for coefficients, (m, k), without what missing values would add to `gram`, by conjugate gradients.

    The equations Kᵀ(M ∘ (K c Lᵀ)) L + α K_zz c = Kᵀ y, with M 1 where a value is there, are preconditioned by those
    without missing values. Steps without conjugate directions would be those of filling in what is predicted again and
    again, which for a class of cells without any value of a feature takes thousands.
    """
    missing = np.isnan(partial.values)
    rows, columns = np.flatnonzero(missing.any(axis=1)), np.flatnonzero(missing.any(axis=0))
    loadings = partial.loadings[columns].astype(np.float64)
    blocks = []
    for start in range(0, len(rows), BLOCK):
        cells = rows[start : start + BLOCK]
        k = similarity(x[cells].astype(np.float64), landmarks, setting.rate)
        blocks.append((k, missing[np.ix_(cells, columns)]))

    def equations(c: Array) -> Array:
        by_feature = c @ loadings.T
        absent = sum((k.T @ np.where(holes, k @ by_feature, 0) for k, holes in blocks), np.zeros_like(by_feature))
        return gram @ c - absent @ loadings

    c, residual = np.zeros_like(right), right
    direction = step = cho_solve((factor, True), residual)
    size = first = float((residual * step).sum())
    for _ in range(STEPS):
        if size <= TOLERANCE**2 * first:
            break
        image = equations(direction)
        length = size / float((direction * image).sum())
        c, residual = c + length * direction, residual - length * image
        step = cho_solve((factor, True), residual)
        size, before = float((residual * step).sum()), size
        direction = step + size / before * direction
    return c
