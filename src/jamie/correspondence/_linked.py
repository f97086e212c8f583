"""Pseudo-pairs from features that are linked across modalities, such as a gene and its protein."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from jamie._types import Array

from ._search import from_rows, nearest

N_SMOOTHED = 15
N_MUTUAL = 5


def pseudo_pairs(linked_x: Array, linked_y: Array, x: Array, y: Array, rng: np.random.Generator) -> sparse.csr_matrix:
    """Mutual nearest neighbours on the linked features, (n_x, n_y) with confidence 1 for each cell's best.

    Features are first averaged over each cell's neighbours in its own modality, for single features are noisy where
    whole profiles are not; cells are then compared by the correlation of their linked features.
    """
    a, b = (_profile(_smoothed(linked, z, rng)) for linked, z in ((linked_x, x), (linked_y, y)))
    forward, backward = _neighbours(a, b, rng), _neighbours(b, a, rng).T
    mutual = sparse.coo_matrix(forward.minimum(backward.tocsr()))
    # of a cell's mutual neighbours only the closest is a pair
    order = np.lexsort((-mutual.data, mutual.row))
    first = np.unique(mutual.row[order], return_index=True)[1]
    rows, columns = mutual.row[order][first], mutual.col[order][first]
    return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(x), len(y)))


def _smoothed(linked: Array, z: Array, rng: np.random.Generator) -> Array:
    """Mean over each cell's neighbours, itself among them."""
    _, neighbour = nearest(z, z, N_SMOOTHED, rng)
    return sum(linked[column] for column in neighbour.T) / neighbour.shape[1]


def _profile(linked: Array) -> Array:
    """Features standardised over cells, then cells to length 1: squared distances are 2 (1 − correlation)."""
    z = (linked - linked.mean(0)) / linked.std(0).clip(1e-12)
    z -= z.mean(1, keepdims=True)
    return (z / np.linalg.norm(z, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def _neighbours(a: Array, b: Array, rng: np.random.Generator) -> sparse.csr_matrix:
    """Correlation, above 0, of each row of `a` with its nearest rows of `b`."""
    distance, neighbour = nearest(a, b, N_MUTUAL, rng)
    similarity = (1 - distance**2 / 2).clip(1e-6)
    return from_rows(similarity, neighbour, len(b))
