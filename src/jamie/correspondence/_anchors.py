"""Common coordinates from known pairs: how near each cell is to each pair, and which of that the modalities share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from jamie._types import Array

from ._manifold import Manifold

MOST_ANCHORS = 300
MOST_PAIRS = 5_000
N_DIMENSIONS = 30
SHRINKAGE = 0.8
ROWS = 20_000


class Side(NamedTuple):
    """One modality: its cells, its manifold, and the ends of the pairs in it."""

    x: Array  # (n, k)
    manifold: Manifold
    ends: Array  # (p,) rows of `x`


def anchored(
    x: Array,
    y: Array,
    manifolds: tuple[Manifold, Manifold],
    known: sparse.csr_matrix,
    rng: np.random.Generator,
    *,
    rows: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Coordinates of the cells of both modalities, (n_x, g) and (n_y, g), in which partners lie close.

    A cell's profile is its nearness to the known pairs, exp(−d / median), straight (squared Euclidean d) and along the
    manifold (geodesic d). Regularised canonical correlation of the two modalities' profiles, over the pairs and
    weighted by their confidence, keeps what both know of.
    `rows` asks for some cells only.
    """
    pairs = known.tocoo()
    order = np.log(rng.random(pairs.nnz)) / pairs.data  # at random, sure pairs sooner (Efraimidis & Spirakis 2006)
    taken = order.argsort()[::-1][:MOST_PAIRS]
    sides = [Side(z, m, e[taken]) for z, m, e in zip((x, y), manifolds, (pairs.row, pairs.col), strict=True)]
    profiles = [Profile(side) for side in sides]
    at_x, at_y = (profile(side.ends) for profile, side in zip(profiles, sides, strict=True))
    projections = _canonical(at_x, at_y, pairs.data[taken].astype(float))
    asked = rows or (np.arange(len(x)), np.arange(len(y)))
    located = [
        np.concatenate([(profile(block) - centre) @ projection for block in _blocks(cells)]).astype(np.float32)
        for profile, cells, (centre, projection) in zip(profiles, asked, projections, strict=True)
    ]
    return located[0], located[1]


class Profile:
    """Nearness of cells to the anchors, (n, 2 q), whitened so that anchors which say the same count once.

    `geodesic` is that of the anchors, (m, q), if it is known.
    """

    def __init__(self, side: Side, geodesic: Array | None = None) -> None:
        self._side = side
        self._anchors = side.x[side.ends[:MOST_ANCHORS]]
        node = side.manifold.nearest[side.ends[:MOST_ANCHORS], 0]
        if geodesic is None:
            geodesic = side.manifold.geodesic(node)
        self._along = np.exp(-geodesic / max(float(np.median(geodesic[node])), 1e-12))
        straight = self._squared(side.ends[:MOST_ANCHORS])
        self._width = max(float(np.median(straight)), 1e-12)
        kernels = self._kernels(side.ends[:MOST_ANCHORS])
        self._whitening = [_inverse_root(kernel) for kernel in kernels]

    def __call__(self, rows: Array) -> Array:
        return np.hstack([k @ w for k, w in zip(self._kernels(rows), self._whitening, strict=True)])

    def _kernels(self, rows: Array) -> tuple[Array, Array]:
        manifold = self._side.manifold
        along = np.einsum("nc,ncq->nq", manifold.weights[rows], self._along[manifold.nearest[rows]])
        return np.exp(-self._squared(rows) / self._width), along

    def _squared(self, rows: Array) -> Array:
        x, anchors = self._side.x[rows], self._anchors
        return (np.square(x).sum(1)[:, None] + np.square(anchors).sum(1) - 2 * x @ anchors.T).clip(0)


def _canonical(x: Array, y: Array, weights: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Centres and projections of regularised canonical correlation, each direction scaled by its correlation."""
    (centre_x, whitening_x), (centre_y, whitening_y) = (whitened(z, weights) for z in (x, y))
    a, b = (x - centre_x) @ whitening_x, (y - centre_y) @ whitening_y
    u, s, vt = np.linalg.svd((a * (weights / weights.sum())[:, None]).T @ b, full_matrices=False)
    left, right = (side[:, :N_DIMENSIONS] * s[:N_DIMENSIONS] for side in (u, vt.T))
    return (centre_x, whitening_x @ left), (centre_y, whitening_y @ right)


def whitened(z: Array, weights: Array) -> tuple[Array, Array]:
    """Centre, and whitening of the shrunk covariance on the directions in which `z` varies by more than rounding."""
    weights = weights / weights.sum()
    centre, size = weights @ z, float(weights @ np.square(z).sum(1))
    z = z - centre
    values, vectors = np.linalg.eigh((z * weights[:, None]).T @ z)
    level = max(float(values.clip(0).mean()), 1e-12)
    varies = values > 1e-9 * size
    varies[-1] = True  # one column at least, of zeros where nothing varies
    scale = np.where(values > 1e-9 * size, 1 / np.sqrt((1 - SHRINKAGE) * values.clip(0) + SHRINKAGE * level), 0)
    return centre, vectors[:, varies] * scale[varies]


def _inverse_root(matrix: Array) -> Array:
    """W with W Wᵀ = matrix⁻¹ on the directions that matter."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    keep = values > 1e-6 * max(values[-1], 1e-12)
    return vectors[:, keep] / np.sqrt(values[keep])


def _blocks(rows: Array) -> list[Array]:
    return [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
