"""Principal components of standardised features, of which only a block of cells need be in memory.

With Z the standardised features of all training cells and C = (ZᵀZ − n z̄ z̄ᵀ) / (n − 1) their covariance,

- few cells are gathered, and scikit-learn decomposes them with implicit centring, or, of many stored values, subspace
  iteration in memory, until it gains nothing more;
- of many cells with few features C is summed block by block, exactly;
- of many cells with many features C V is summed for a few directions V: subspace iteration, the first steps on as many
  cells as fit, then over all of them, as often as `VALUES` allows; of the last, C ≈ (C V)(Vᵀ C V)⁻¹(C V)ᵀ gives the
  components (the Nyström method).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial, reduce
from operator import add
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh, solve_triangular
from sklearn.decomposition import PCA

from jamie._settings import settings
from jamie._types import Array, Matrix

from ._cell_matrix import CellMatrix, in_threads, sums

GATHERED = 0.25
"""Share of `settings.memory_gb` that standardised cells may fill."""
EXACT_FEATURES = 5_000
EXACT_VALUES = 1e7
"""Stored values up to which components are exact; of 40 million ARPACK took a minute."""
DEPENDENT = 1e-5
"""Length of a column beside the longest, without what the others have of it, below which it depends on them."""
MOST_STEPS = 30
GAIN = 1e-4
"""Of explained variance, by which a further step must be better."""
OVERSAMPLED = 16
DENSE_ROWS = 1_024
MERGED = 8
"""Blocks of the cells in memory."""
ROUNDS = 3
"""Steps on cells in memory."""
PASSES = 12
"""Steps over all cells, at most."""
VALUES = 1e9
"""Stored values of which sums are taken over all cells, a few minutes; of more cells some are drawn."""


class Components(NamedTuple):
    """The leading directions, by the variance along them."""

    vectors: Array  # (k, d) orthonormal
    variance: Array  # (k,)


def principal_components(
    cells: CellMatrix,
    train: Array,
    standardise: Callable[[Matrix, type], Matrix],
    *,
    n_comps: int,
    seed: int,
) -> Components:
    """Components of the training cells, by whichever of the three ways fits into `settings.memory_gb`."""
    n, per_cell = int(train.sum()), values_per_cell(cells)
    n_some = int(settings.memory_gb * 2**30 * GATHERED / max(2 * cells.bytes_per_cell, 1))  # in double precision
    rng = np.random.default_rng(seed)
    if n_some >= n:
        gathered = list(cells.map(lambda x, chosen: standardise(x[chosen], np.float64), train, description="gathering"))
        if sparse.issparse(gathered[0]) and sum(block.nnz for block in gathered) > EXACT_VALUES:
            return of_many_values(_merged(gathered), n_comps=n_comps, rng=rng)
        stack = sparse.vstack if sparse.issparse(gathered[0]) else np.vstack
        return of_gathered(gathered[0] if len(gathered) == 1 else stack(gathered), n_comps=n_comps, seed=seed)

    def single(x: Matrix, chosen: Array) -> Matrix:
        return standardise(x[chosen], np.float32).astype(np.float32, copy=False)

    def over(chosen: Array, vectors: Array | None) -> Sums:
        return total(cells.map(lambda x, sample: summed(single(x, sample), vectors), chosen, description="components"))

    if cells.shape[1] <= EXACT_FEATURES:
        return of_covariance(over(train, None).covariance, n_comps=n_comps)
    sample = drawn(train, max(n_some, 2 * n_comps), rng)
    gathered = _merged(list(cells.map(single, sample, description="gathering")))
    vectors = orthonormal(rng.standard_normal((cells.shape[1], n_comps + OVERSAMPLED)))
    for _ in range(ROUNDS):
        vectors = orthonormal(total(in_threads(partial(summed, vectors=vectors), gathered)).covariance)
    del gathered
    passes = int(np.clip(VALUES / (n * per_cell), 1, PASSES))
    most = drawn(train, int(VALUES / per_cell), rng)
    for _ in range(passes - 1):
        vectors = orthonormal(over(most, vectors).covariance)
    return of_products(over(most, vectors).covariance, vectors, n_comps=n_comps)


def _merged(blocks: list[Matrix]) -> list[Matrix]:
    """The same cells in few blocks: each costs sums over all features, however few its cells are."""
    if len(blocks) <= MERGED:
        return blocks
    stack = sparse.vstack if sparse.issparse(blocks[0]) else np.vstack
    groups = np.array_split(np.arange(len(blocks)), MERGED)
    return [stack([blocks[i] for i in group]) for group in groups]


def of_many_values(blocks: list[sparse.csr_matrix], *, n_comps: int, rng: np.random.Generator) -> Components:
    """Components of many stored values in memory: subspace iteration, as long as the variance that it explains grows.

    A step takes a product with all directions at once, where the Lanczos steps of ARPACK take hundreds one by one.
    """
    blocks = [block.astype(np.float32) for block in blocks]
    vectors = orthonormal(rng.standard_normal((blocks[0].shape[1], n_comps + OVERSAMPLED)))
    explained = 0.0
    for _ in range(MOST_STEPS):
        covariance = total(in_threads(partial(summed, vectors=vectors), blocks)).covariance
        before, explained = explained, float(np.linalg.eigvalsh(vectors.T @ covariance)[-n_comps:].sum())
        if explained < before * (1 + GAIN):
            break
        vectors = orthonormal(covariance)
    return of_products(covariance, vectors, n_comps=n_comps)


def of_gathered(z: Matrix, *, n_comps: int, seed: int) -> Components:
    """Components of cells in memory: exact up to some thousand features, Lanczos beyond."""
    n_comps = max(1, min(n_comps, z.shape[0] - 1, z.shape[1]))
    if 5 * n_comps < min(z.shape) or (sparse.issparse(z) and z.shape[1] > EXACT_FEATURES and n_comps < min(z.shape)):
        solver = "arpack"
    else:
        solver = "covariance_eigh" if z.shape[1] <= z.shape[0] else "full"
        if sparse.issparse(z) and solver == "full":  # smaller than the covariance of the features, and 60 times as fast
            z = z.toarray()
    pca = PCA(n_components=n_comps, svd_solver=solver, random_state=seed).fit(z)
    return Components(pca.components_, pca.explained_variance_)


class Sums(NamedTuple):
    """Over cells with standardised features z: their number n, Σ z, Σ z (Vᵀz)ᵀ and Σ Vᵀz; without V it is the unit."""

    n: int
    z: Array  # (d,)
    products: Array  # (d, k)
    projected: Array  # (k,)

    @property
    def covariance(self) -> Array:
        """C V."""
        return (self.products - np.outer(self.z, self.projected / self.n)) / (self.n - 1)


def summed(z: Matrix, vectors: Array | None) -> Sums:
    """Sums of one block, given V, (d, k)."""
    total = sums(z, axis=0)
    if vectors is not None:
        projected = z @ vectors
        return Sums(z.shape[0], total, np.asarray(z.T @ projected, np.float64), projected.sum(axis=0, dtype=np.float64))
    products = np.zeros((z.shape[1], z.shape[1]))
    for start in range(0, z.shape[0], DENSE_ROWS):
        sample = z[start : start + DENSE_ROWS]
        sample = sample.toarray() if sparse.issparse(sample) else sample
        products += sample.T @ sample
    return Sums(z.shape[0], total, products, total)


def total(blocks: Iterable[Sums]) -> Sums:
    """Sums over all blocks."""
    return reduce(lambda one, other: Sums(*map(add, one, other)), blocks)


def orthonormal(vectors: Array) -> Array:
    """An orthonormal basis of the columns, in single precision.

    By Cholesky's decomposition of their products, which costs a fifth of Householder's; where columns nearly depend on
    each other, by the latter.
    """
    with suppress(np.linalg.LinAlgError):
        root = np.linalg.cholesky(vectors.T @ vectors)
        if root.diagonal().min() > DEPENDENT * root.diagonal().max():
            return solve_triangular(root, vectors.T, lower=True).T.astype(np.float32)
    return np.linalg.qr(vectors)[0].astype(np.float32)


def values_per_cell(cells: CellMatrix) -> float:
    """Values that a cell has stored, on average."""
    return max(cells.bytes_per_cell / (8 if cells.is_sparse else 4), 1)


def drawn(train: Array, n: int, rng: np.random.Generator) -> Array:
    """Mask of at most `n` of the training cells, drawn at random."""
    (rows,) = np.nonzero(train)
    if n >= len(rows):
        return train
    chosen = np.zeros_like(train)
    chosen[rng.choice(rows, n, replace=False)] = True
    return chosen


def of_covariance(covariance: Array, *, n_comps: int) -> Components:
    """Leading eigenvectors of C, (d, d)."""
    d = len(covariance)
    values, vectors = eigh(covariance, subset_by_index=[d - min(n_comps, d), d - 1])
    return Components(_signed(vectors[:, ::-1].T), values[::-1])


def of_products(covariance: Array, vectors: Array, *, n_comps: int) -> Components:
    """Leading eigenvectors of the Nyström approximation, from C V and V, (d, k)."""
    among = vectors.T @ covariance
    values, rotation = eigh((among + among.T) / 2)
    kept = values > 1e-9 * values[-1]
    left, root, _ = np.linalg.svd(covariance @ (rotation[:, kept] / np.sqrt(values[kept])), full_matrices=False)
    return Components(_signed(left.T[:n_comps]), np.square(root[:n_comps]))


def _signed(vectors: Array) -> Array:
    """Signs by which the largest entry of each is positive, as scikit-learn's."""
    largest = np.abs(vectors).argmax(axis=1)
    return vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]
