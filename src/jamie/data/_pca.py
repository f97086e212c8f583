"""Principal components of standardised features, of which only a block of cells need be in memory.

With Z the standardised features of all training cells and 1/(n − 1) (ZᵀZ − n z̄ z̄ᵀ) their covariance C,

- few cells are gathered, and scikit-learn decomposes them with implicit centring;
- of many cells with few features C is summed block by block, exactly;
- of many cells with many features C V is summed, with V the components of as many cells as fit: one step of subspace
  iteration, of which C ≈ (C V)(Vᵀ C V)⁻¹(C V)ᵀ gives the components (the Nyström method).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from sklearn.decomposition import PCA

from jamie._settings import settings
from jamie._types import Array, Matrix

from ._cells import CellMatrix

GATHERED = 0.25
"""Share of `settings.memory_gb` that standardised cells may fill."""
EXACT_FEATURES = 5_000
OVERSAMPLED = 16
DENSE_ROWS = 1_024
ROUGH = 1e-2  # tolerance of what is only started from


class Components(NamedTuple):
    """The leading directions, by the variance along them."""

    vectors: Array  # (k, d) orthonormal
    variance: Array  # (k,)


def principal_components(
    cells: CellMatrix,
    train: Array,
    standardise: Callable[[Matrix], Matrix],
    *,
    n_comps: int,
    seed: int,
) -> Components:
    """Components of the training cells, by whichever of the three ways fits into `settings.memory_gb`."""
    (rows,) = np.nonzero(train)
    n_some = int(settings.memory_gb * 2**30 * GATHERED / max(2 * cells.bytes_per_cell, 1))  # in double precision
    some = train if n_some >= len(rows) else np.zeros_like(train)
    if n_some < len(rows):
        if cells.shape[1] <= EXACT_FEATURES:
            return of_covariance(_total(cells, train, standardise, None).covariance, n_comps=n_comps)
        some[np.random.default_rng(seed).choice(rows, max(n_some, 2 * n_comps), replace=False)] = True
    gathered = list(cells.map(lambda x, chosen: standardise(x[chosen]), some, description="gathering"))
    stack = sparse.vstack if sparse.issparse(gathered[0]) else np.vstack
    z = gathered[0] if len(gathered) == 1 else stack(gathered)
    del gathered
    if some is train:
        return of_gathered(z, n_comps=n_comps, seed=seed)
    vectors = of_gathered(z, n_comps=n_comps + OVERSAMPLED, seed=seed, tol=ROUGH).vectors.T.astype(np.float32)
    del z
    return of_products(_total(cells, train, standardise, vectors).covariance, vectors, n_comps=n_comps)


def of_gathered(z: Matrix, *, n_comps: int, seed: int, tol: float = 0.0) -> Components:
    """Components of cells in memory: exact up to some thousand features, Lanczos beyond."""
    n_comps = max(1, min(n_comps, z.shape[0] - 1, z.shape[1]))
    if 5 * n_comps < min(z.shape) or (sparse.issparse(z) and z.shape[1] > EXACT_FEATURES and n_comps < min(z.shape)):
        solver = "arpack"
    else:
        solver = "covariance_eigh" if z.shape[1] <= z.shape[0] or sparse.issparse(z) else "full"
    found = PCA(n_components=n_comps, svd_solver=solver, random_state=seed, tol=tol).fit(z)
    return Components(found.components_, found.explained_variance_)


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
    total = np.asarray(z.sum(axis=0, dtype=np.float64)).ravel()
    if vectors is not None:
        projected = z @ vectors
        return Sums(z.shape[0], total, np.asarray(z.T @ projected, np.float64), projected.sum(axis=0, dtype=np.float64))
    products = np.zeros((z.shape[1], z.shape[1]))
    for start in range(0, z.shape[0], DENSE_ROWS):
        some = z[start : start + DENSE_ROWS]
        some = some.toarray() if sparse.issparse(some) else some
        products += some.T @ some
    return Sums(z.shape[0], total, products, total)


def _total(cells: CellMatrix, train: Array, standardise: Callable[[Matrix], Matrix], vectors: Array | None) -> Sums:
    def of(x: Matrix, chosen: Array) -> Sums:
        return summed(standardise(x[chosen]).astype(np.float32), vectors)

    blocks = cells.map(of, train, description="principal components")
    return reduce(lambda one, other: Sums(*map(add, one, other)), blocks)


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
