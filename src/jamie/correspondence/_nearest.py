"""Likeliest partners by a common latent: nearest neighbours, and how fast probability falls with distance."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.metrics.pairwise import euclidean_distances

from jamie._spread import spread
from jamie._types import Array

from . import _search

LOCAL = 10
MOST_PAIRS = 1_000
MOST_DISTANCES = 10_000_000  # float64: 80 MB, and a few times that for what is computed of them
MOST_SUMMED = 400_000_000
"""Distances that the sum over all cells is taken of, exact for 20,000 cells and as many; beyond, cells are drawn."""
FEWEST_SUMMED = 1_000
"""Cells that are drawn at least."""


def nearest(x: Array, y: Array, n: int) -> tuple[Array, Array]:
    """Distances to, and rows of, the `n` rows of `y` nearest to each of `x`, the nearest first; all if it has fewer.

    Exact up to 20,000 rows of `y`; above, within clusters that are found from a fixed seed, so that a call repeats.
    """
    return _search.nearest(x, y, n, np.random.default_rng(0))


def nearest_partners(
    x: Array,
    y: Array,
    *,
    n_keep: int,
    pairs: sparse.csr_matrix | None = None,
    unseen: sparse.csr_matrix | None = None,
) -> sparse.csr_matrix:
    """Probabilities of the `n_keep` rows of `y` nearest to each of `x`, of softmax(−‖x − y‖² / h) over all of `y`.

    The bandwidth h is the likeliest one of the `unseen` pairs (`n_x × n_y`), which the latent was not trained on. Where
    there are none it is the larger of two lower bounds: the median over `x` of the squared distance to the tenth
    nearest, and the likeliest one of the known `pairs`, which lie closer than others if the latent was trained on them.
    """
    distance, partner = nearest(x, y, max(n_keep, LOCAL))
    d = distance.astype(np.float64) ** 2
    if unseen is not None and unseen.nnz:
        bandwidth = likeliest_bandwidth(x, y, unseen)
    else:
        local = float(np.median(d[:, min(LOCAL, d.shape[1]) - 1]))
        bandwidth = max(local, 0.0 if pairs is None or not pairs.nnz else likeliest_bandwidth(x, y, pairs))
    bandwidth = max(bandwidth, float(np.finfo(np.float32).tiny))
    d, partner = d[:, :n_keep], partner[:, :n_keep]
    p = np.exp(-(d - d[:, :1]) / bandwidth) / _sums(x, y, d, bandwidth)[:, None]
    f = _search.from_rows(p.astype(np.float32), partner, len(y))
    f.sort_indices()
    return f


def _sums(x: Array, y: Array, d: Array, bandwidth: float) -> Array:
    """Σ exp(−(‖x − y‖² − d₀) / h) over all rows of `y`, (n_x,), of which `d`, (n_x, k), are the nearest, d₀ first.

    Beyond `MOST_SUMMED` distances, cells that are drawn stand for those that are further off than the nearest.
    """
    n = min(len(y), max(MOST_SUMMED // len(x), FEWEST_SUMMED))
    drawn = y if n == len(y) else y[np.random.default_rng(0).choice(len(y), n, replace=False)]
    total, step = np.empty(len(x)), max(1, MOST_DISTANCES // n)
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        apart = euclidean_distances(x[rows], drawn, squared=True)
        near = d[rows, :1]
        falls = np.exp(-np.maximum(apart - near, 0) / bandwidth)
        if n == len(y):
            total[rows] = falls.sum(axis=1)
        else:
            beyond = np.where(apart > d[rows, -1:], falls, 0).sum(axis=1) * (len(y) / n)
            total[rows] = np.exp(-(d[rows] - near) / bandwidth).sum(axis=1) + beyond
    return total


def likeliest_bandwidth(x: Array, y: Array, pairs: sparse.csr_matrix) -> float:
    """Bandwidth under which the partners in `pairs` are likeliest among all of `y`, weighted by their confidence.

    Where cells of a pair are `N(0, σ²)` apart in each dimension this estimates 2σ².
    """
    known = pairs.tocoo()
    n = min(known.nnz, MOST_PAIRS, max(MOST_DISTANCES // len(y), 50))
    sample = spread(known.nnz, n)
    rows, columns, confidence = known.row[sample], known.col[sample], known.data[sample].astype(np.float64)
    d = cdist(x[rows], y, "sqeuclidean")
    scale = float(np.median(d))
    if not scale > 0:
        return 0.0
    d -= d[np.arange(n), columns][:, None]

    def cost(log_bandwidth: float) -> float:  # convex in 1 / bandwidth, so of one minimum
        return float(confidence @ logsumexp(-d / (scale * np.exp(log_bandwidth)), axis=1))

    likeliest = minimize_scalar(cost, bounds=(-14, 7), method="bounded", options={"xatol": 0.01})
    return scale * float(np.exp(likeliest.x))
