"""Learn what batch and covariates change, among cells of the same state.

Batches differ in composition: the difference of their means is partly biology. So cells are grouped into states by
k-means on components, and effects are fitted within states. With D the design (batches one-hot, covariates
standardised), centred within each state, u the values without depth and μ their mean per state, a step is

    β ← β + (Σ_s D_sᵀ D_s μ_sg / φ_g + λ)⁻¹ (Dᵀ u_g / φ_g − λ β)

for each feature g: Newton's step of a quasi-Poisson regression of log effects with dispersion φ. Effects that are added
have 1 / σ² of the feature in place of μ / φ. λ is one over the mean square of the effects, an empirical-Bayes prior:
where batches do not differ, effects shrink to 0. Then effects are taken off, and states and effects learned again,
until they stay. A state with cells of one batch says nothing of batches, so the first states are few and coarse: with
20 from the start, tight states of batches that differ never meet.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans

from jamie._settings import logger
from jamie._types import Array, Kind, Matrix

from ._cell_matrix import CellMatrix
from ._effects import Effects
from ._pca import orthonormal, summed
from ._value_stats import ValueStats

MOST_CELLS = 5_000
"""That effects are learned from, as evenly of all batches as may be: with 100 counts a factor is known to 10 %."""
STATES = 20
"""10 to 60 states end within .01 of each other in mixing and imputation (citeseq_pbmc10k, simulated effects)."""
FIRST_STATES, GROWTH = 4, 1.5
LEAST_MIXED = 0.2
"""Share of the variance of batches within states, below which states are batches: then they are made of components
without what is linear in the batch."""
COMPONENTS = 20
MOST_ROUNDS = 10
NEWTON = 3
LARGEST_STEP = 1.0
ENOUGH = 0.03
"""Root mean square by which effects may still change in a round."""
FEWEST_SHARED = 2
"""Features that all batches were measured in, of which states and sizes are made, rather than of what is there."""
PRIOR = 1.0
"""λ of the first round."""
LARGEST_PRIOR = 1e4
MOSTLY_FULL = 0.5
BLOCK = 2**24
"""Numbers of the normal equations at a time."""


def fit_effects(
    cells: CellMatrix, train: Array, stats: ValueStats, design: Array, unfitted: Effects, *, kind: Kind, seed: int
) -> Effects:
    """Effects on each feature, learned from training cells, a mask, whatever they were learned as."""
    is_factor = kind != "continuous" or (stats.filled < MOSTLY_FULL and not stats.negative.any())
    rng = np.random.default_rng(seed)
    rows = _even(np.flatnonzero(train), design[train, 0], rng)
    one_hot = (design[rows, :1] == np.arange(len(unfitted.of_batch))).astype(np.float32)
    full = np.column_stack([one_hot, design[rows, 1:]])
    x = cells[rows]
    if sparse.issparse(x) and (not is_factor or np.isnan(x.data).any()):
        x = x.toarray()
    sd = np.ones(cells.shape[1], np.float32)
    if not is_factor:
        x = x - np.nanmean(x, axis=0)
        sd = np.nanstd(x, axis=0)
        sd = np.where(sd > 0, sd, 1).astype(np.float32)
        x = x / sd
    fit = _Fit(kind, rng, is_factor=is_factor)
    effects = fit.run(x, full, unfitted, design[rows])
    if fit.mixed < LEAST_MIXED:
        logger.warning(
            "cells of different %r share hardly a state in `%s` as it is: their states are taken to be the same, and "
            "what differs to be the batch; leave out `batch_key` if they are other cells",
            unfitted.batch_key, cells.where,
        )  # fmt: skip
    share = np.bincount(design[train, 0].astype(int), minlength=len(effects.of_batch)) / np.count_nonzero(train)
    is_there = _measured(x, one_hot)  # elsewhere there is no effect to speak of
    of_batch = effects.of_batch - _weighted(effects.of_batch, share[:, None] * is_there, axis=0)
    if kind == "counts":  # a factor of all features is the size of the cell
        level = stats.sums / stats.sums.sum()
        of_batch = of_batch - np.log(_weighted(np.exp(of_batch), level * is_there, axis=1))
    if kind == "protein":
        of_batch = of_batch - _weighted(of_batch, is_there, axis=1)
    of_batch = np.where(is_there, of_batch, 0)
    return replace(
        effects,
        of_batch=(of_batch * sd).astype(np.float32),
        of_covariate=(effects.of_covariate * sd).astype(np.float32),
    )


def _measured(x: Matrix, one_hot: Array) -> Array:
    """Which features were measured in any of these cells of each batch, (B, d) bool."""
    if sparse.issparse(x):  # what is missing would have made it dense
        return np.ones((one_hot.shape[1], x.shape[1]), dtype=bool)
    return one_hot.T @ ~np.isnan(x) > 0


def _weighted(values: Array, weights: Array, *, axis: int) -> Array:
    """Mean along an axis, which stays; 0 where nothing has a weight."""
    total = weights.sum(axis=axis, keepdims=True)
    return (values * weights).sum(axis=axis, keepdims=True) / np.where(total > 0, total, 1)


class _Fit:
    """The rounds of one fit."""

    def __init__(self, kind: Kind, rng: np.random.Generator, *, is_factor: bool) -> None:
        self._kind, self._is_factor, self._rng = kind, is_factor, rng
        self._vectors: Array | None = None
        self._shared: Array | slice = slice(None)  # features that cells of all batches were measured in
        self._prior = PRIOR
        self.mixed = 1.0  # share of the variance of batches within the first states

    def run(self, x: Matrix, full: Array, unfitted: Effects, design: Array) -> Effects:
        """Effects on the features of x, (n, d), of a full design (n, p)."""
        n_batches, beta = len(unfitted.of_batch), np.zeros((full.shape[1], x.shape[1]), np.float32)
        one_hot = full[:, :n_batches]
        shared = np.flatnonzero(_measured(x, one_hot).all(axis=0))
        self._shared = shared if FEWEST_SHARED <= len(shared) < x.shape[1] else slice(None)

        def effects_of(beta: Array) -> Effects:
            of_batch, of_covariate = beta[:n_batches], beta[n_batches:]
            return replace(unfitted, of_batch=of_batch, of_covariate=of_covariate, is_factor=self._is_factor)

        for i in range(MOST_ROUNDS):
            u, before = self._sized(effects_of(beta).removed(x, design)), beta
            n_states = min(int(FIRST_STATES * GROWTH**i), STATES)
            scores = self._components(u)
            states = self._states(scores, n_states)
            mixed = _mixed(one_hot, states)
            self.mixed = self.mixed if i else mixed
            if mixed < LEAST_MIXED:
                states = self._states(_without(scores, one_hot), n_states)
            for step in range(NEWTON if self._is_factor else 1):
                u = self._sized(effects_of(beta).removed(x, design)) if step else u
                change, spread = _newton(u, full, states, beta, self._prior, is_factor=self._is_factor)
                beta = beta + change.clip(-LARGEST_STEP, LARGEST_STEP).astype(np.float32)
            self._prior = float(min(1 / max((beta**2 + spread).mean(), 1e-12), LARGEST_PRIOR))
            if n_states == STATES and np.sqrt(np.mean((full @ (beta - before)) ** 2)) < ENOUGH:
                break
        return effects_of(beta)

    def _sized(self, x: Matrix) -> Matrix:
        """Values as of cells of one size."""
        if self._kind == "continuous":
            return x
        if self._kind == "protein":
            dense = x.toarray() if sparse.issparse(x) else x
            size = np.exp(np.nanmean(np.log1p(dense[:, self._shared]), axis=1))
        else:
            size = np.asarray(x.sum(axis=1)).ravel() if sparse.issparse(x) else np.nansum(x[:, self._shared], axis=1)
        factor = (np.median(size) / np.where(size > 0, size, 1)).astype(np.float32)
        return (sparse.diags_array(factor) @ x).tocsr() if sparse.issparse(x) else x * factor[:, None]

    def _components(self, u: Matrix) -> Array:
        """Leading components of the cells, (n, k): a few steps of subspace iteration from those of the last round."""
        z = u if sparse.issparse(u) else u[:, self._shared]
        if self._is_factor and self._kind != "continuous":
            z = z.log1p() if sparse.issparse(z) else np.log1p(z)
        if sparse.issparse(z):
            mean, square = (np.asarray(s.mean(axis=0)).ravel() for s in (z, z.multiply(z)))
            sd = np.sqrt(np.maximum(square - mean**2, 0))
            z = (z @ sparse.diags_array(np.where(sd > 0, 1 / np.where(sd > 0, sd, 1), 0).astype(np.float32))).tocsr()
        else:
            sd = np.nanstd(z, axis=0)
            z = np.nan_to_num((z - np.nanmean(z, axis=0)) / np.where(sd > 0, sd, 1)).astype(np.float32)
        k = min(COMPONENTS, *z.shape)
        vectors, n_steps = self._vectors, 1
        if vectors is None:
            vectors, n_steps = orthonormal(self._rng.standard_normal((z.shape[1], k)).astype(np.float32)), 4
        for _ in range(n_steps):
            vectors = orthonormal(summed(z, vectors).covariance.astype(np.float32))
        self._vectors = vectors
        scores = z @ vectors
        return scores - scores.mean(axis=0)

    def _states(self, scores: Array, n_states: int) -> Array:
        """State of each cell, (n,)."""
        k = max(1, min(n_states, len(scores) // 20))
        seed = int(self._rng.integers(2**31))
        return KMeans(k, n_init=1, random_state=seed).fit_predict(scores.astype(np.float32))


def _newton(
    u: Matrix, design: Array, states: Array, beta: Array, prior: float, *, is_factor: bool
) -> tuple[Array, Array]:
    """Step of the effects, (p, d), and variance that the data leave them, (p, d)."""
    n, p, k = len(states), design.shape[1], int(states.max()) + 1
    member = sparse.csr_matrix((np.ones(n, np.float32), (states, np.arange(n))), (k, n))
    n_cells = np.bincount(states, minlength=k).clip(1)[:, None]
    within = design - (member @ design / n_cells)[states]
    products = np.stack([within[states == s].T @ within[states == s] for s in range(k)])
    if sparse.issparse(u):
        mean = (member @ u).toarray() / n_cells
        squares = np.asarray(u.multiply(u).sum(axis=0)).ravel()
    else:
        gaps = np.isnan(u)
        mean = member @ np.nan_to_num(u) / np.maximum(member @ (~gaps).astype(np.float32), 1)
        u = np.where(gaps, mean[states], u)  # what is missing says nothing
        squares = np.square(u).sum(axis=0)
    variance = np.maximum(squares - (n_cells * mean**2).sum(axis=0), 1e-9)
    if is_factor:  # the variance of counts is φ times their mean, and at least that
        scale = 1 / np.maximum(variance / np.maximum((n_cells * mean).sum(axis=0), 1e-9), 1)
        weight = mean * scale
    else:
        scale = n / variance
        weight = np.broadcast_to(scale, (k, len(scale)))
    score = np.asarray((u.T @ within).T) * scale - prior * beta
    step, spread = np.empty_like(score), np.empty_like(score)
    for columns in np.array_split(np.arange(len(scale)), max(1, len(scale) * p * p // BLOCK + 1)):
        normal = (weight[:, columns].T @ products.reshape(k, -1)).reshape(-1, p, p) + prior * np.eye(p)
        inverse = np.linalg.inv(normal)
        step[:, columns] = np.einsum("gpq,qg->pg", inverse, score[:, columns])
        spread[:, columns] = inverse[:, range(p), range(p)].T
    return step, spread


def _mixed(one_hot: Array, states: Array) -> float:
    """Share of the variance of batches that lies within states; 1 of one batch."""
    share = one_hot.mean(axis=0)
    whole = (share * (1 - share)).sum()
    counts = np.stack([one_hot[states == s].sum(axis=0) for s in np.unique(states)])
    n_cells = counts.sum(axis=1, keepdims=True)
    return float((counts * (1 - counts / n_cells)).sum() / len(states) / whole) if whole else 1.0


def _without(scores: Array, one_hot: Array) -> Array:
    """Components less their mean per batch."""
    n_cells = one_hot.sum(axis=0).clip(1)
    return scores - one_hot @ (one_hot.T @ scores / n_cells[:, None])


def _even(rows: Array, codes: Array, rng: np.random.Generator) -> Array:
    """At most `MOST_CELLS` of the rows, in order, from all batches as evenly as may be."""
    if len(rows) <= MOST_CELLS:
        return rows
    order = rng.permutation(len(rows))
    place = np.empty(len(rows), dtype=int)
    for code in np.unique(codes):
        of_batch = order[codes[order] == code]
        place[of_batch] = np.arange(len(of_batch))
    return np.sort(rows[np.lexsort((order, place))[:MOST_CELLS]])
