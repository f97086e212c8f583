"""Nearest neighbours of one modality's cells among the other's, and F̃ from them."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from jamie._types import Array

EXACT = 20_000
N_PROBED = 3
ROWS = 8_192
TOLERANCE = 1e-3


def nearest(x: Array, y: Array, k: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Distances to, and rows of, the `k` nearest of `y` for each row of `x`, (n_x, k) each, nearest first.

    Exact up to `EXACT` rows of `y`; above, among the rows of `y` that lie in the clusters nearest to the cell.
    """
    k = min(k, len(y))
    if len(y) <= EXACT:
        return NearestNeighbors(n_neighbors=k).fit(y).kneighbors(x)
    n_buckets = min(int(np.sqrt(len(y))), len(y) // k)  # so that some bucket holds k
    seed = int(rng.integers(2**31))
    sample = y[rng.choice(len(y), min(len(y), 50 * n_buckets), replace=False)]
    buckets = MiniBatchKMeans(n_buckets, init="random", n_init=1, batch_size=4_096, max_iter=5, random_state=seed)
    centres = buckets.fit(sample).cluster_centers_.astype(y.dtype)
    crowded = np.bincount(_closest(centres, y), minlength=n_buckets) >= k
    index = NearestNeighbors(n_neighbors=min(N_PROBED, crowded.sum())).fit(centres[crowded])
    home = index.kneighbors(y, n_neighbors=1, return_distance=False)[:, 0]
    order = home.argsort(kind="stable")
    start = np.searchsorted(home[order], np.arange(crowded.sum() + 1))
    probed = index.kneighbors(x, return_distance=False)
    best = np.full((len(x), k), np.inf, dtype=np.float32)
    rows = np.zeros((len(x), k), dtype=np.int32)
    for probe in probed.T:
        _look(x, y, probe, order, start, best, rows)
    for first in range(0, len(x), ROWS):  # in place, a slice at a time: at a million cells the copies would count
        part = slice(first, first + ROWS)
        sort = best[part].argsort(axis=1)
        best[part] = np.sqrt(np.take_along_axis(best[part], sort, 1))
        rows[part] = np.take_along_axis(rows[part], sort, 1)
    return best, rows


def soft_matches(x: Array, y: Array, n_keep: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """F̃ (n_x × n_y) from common coordinates: `n_keep` entries a row that fall with the squared distance, rows sum to 1.

    The width of the Gaussian is the median distance to the last of the neighbours that are kept.
    """
    distance, partner = nearest(x, y, n_keep, rng)
    distance = distance.astype(np.float32, copy=False)
    width = np.float32(max(float(np.median(distance[:, -1])), 1e-12))
    values = np.exp((distance[:, :1] ** 2 - distance**2) / width**2)
    values /= values.sum(1, keepdims=True)
    return from_rows(values, partner, len(y))


def from_rows(values: Array, columns: Array, n_columns: int) -> sparse.csr_matrix:
    """Matrix with the same number of entries in each row: their values and columns, (n, k) each."""
    starts = np.arange(len(values) + 1) * values.shape[1]
    return sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(len(values), n_columns))


def cap_columns(f: sparse.csr_matrix, *, n_iterations: int = 30) -> sparse.csr_matrix:
    """Scale F̃ towards the constraints of eq. 8: rows sum to 1, columns to at most 1 (n_x / n_y where x has more cells).

    Rows are exact, and none may be empty; columns as near to the cap as the entries that were kept allow.
    """
    cap, values, length = max(1.0, f.shape[0] / f.shape[1]), f.data.copy(), np.diff(f.indptr)
    for _ in range(n_iterations):
        column = np.bincount(f.indices, weights=values, minlength=f.shape[1])
        if column.max() <= cap * (1 + TOLERANCE):
            break
        values *= np.minimum(1, cap / np.maximum(column, 1e-300)).astype(values.dtype)[f.indices]
        values /= np.repeat(np.add.reduceat(values, f.indptr[:-1]), length)
    return sparse.csr_matrix((values, f.indices, f.indptr), shape=f.shape)


def _closest(centres: Array, y: Array) -> Array:
    return NearestNeighbors(n_neighbors=1).fit(centres).kneighbors(y, return_distance=False)[:, 0]


def _look(x: Array, y: Array, probe: Array, order: Array, start: Array, best: Array, rows: Array) -> None:
    """Offer each row of `x` the rows of `y` in its bucket `probe`, and keep the nearest in `best` and `rows`."""
    k = best.shape[1]
    visitors = probe.argsort(kind="stable")
    arrival = np.searchsorted(probe[visitors], np.arange(len(start)))
    for bucket in np.flatnonzero((np.diff(arrival) > 0) & (np.diff(start) > 0)):
        inside = order[start[bucket] : start[bucket + 1]]
        z = y[inside]
        for first in range(arrival[bucket], arrival[bucket + 1], ROWS):
            queries = visitors[first : min(first + ROWS, arrival[bucket + 1])]
            squared = (np.square(x[queries]).sum(1)[:, None] + np.square(z).sum(1) - 2 * x[queries] @ z.T).clip(0)
            if squared.shape[1] > k:
                near = squared.argpartition(k - 1, axis=1)[:, :k]
                squared, members = np.take_along_axis(squared, near, 1), inside[near]
            else:
                members = np.broadcast_to(inside, squared.shape)
            both, all_rows = np.hstack([best[queries], squared]), np.hstack([rows[queries], members])
            near = both.argpartition(k - 1, axis=1)[:, :k]
            best[queries], rows[queries] = np.take_along_axis(both, near, 1), np.take_along_axis(all_rows, near, 1)
