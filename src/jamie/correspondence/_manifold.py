"""Distances along a modality: a graph of neighbours, and shortest paths on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from jamie._types import Array

MOST_CELLS = 5_000
"""Up to here every cell is a node of its own; above, nodes are the centres of clusters of cells."""
N_NEIGHBORS = 15
N_INTERPOLATED = 4


class Manifold(NamedTuple):
    """A modality as a graph of m nodes, and where each of its n cells lies between them."""

    nodes: Array  # (m, k) positions
    graph: sparse.csr_matrix  # (m, m) distances between neighbouring nodes; connected
    nearest: Array  # (n, c) nodes next to each cell
    weights: Array  # (n, c) rows sum to 1
    share: Array  # (m,) of the cells, sums to 1

    def geodesic(self, sources: Array) -> Array:
        """Length of the shortest path from each node to each of the `sources`, (m, s)."""
        return dijkstra(self.graph, directed=False, indices=sources).T

    def at_cells(self, values: Array) -> Array:
        """Values of the nodes, (m, c), interpolated to the cells, (n, c)."""
        out = np.zeros((len(self.nearest), values.shape[1]), dtype=np.float32)
        for node, weight in zip(self.nearest.T, self.weights.T, strict=True):
            out += weight[:, None] * values[node]
        return out


def manifold(x: Array, rng: np.random.Generator) -> Manifold:
    """Build the graph: of all cells where they are few, else of √n clusters, from 300 to 1,000 of them."""
    if len(x) <= MOST_CELLS:
        n = len(x)
        graph = kneighbors_graph(x, min(N_NEIGHBORS, n - 1), mode="distance")
        itself = np.arange(n)[:, None]
        return Manifold(x, _joined(graph, x), itself, np.ones((n, 1), np.float32), np.full(n, 1 / n))
    nodes = _centres(x, int(np.clip(np.sqrt(len(x)), 300, 1_000)), rng)
    distance, nearest = NearestNeighbors(n_neighbors=N_INTERPOLATED).fit(nodes).kneighbors(x)
    closeness = 1 / distance.clip(1e-6) ** 2
    # two nodes are neighbours if some cell lies between them: they are its two nearest
    i, j = nearest[:, 0], nearest[:, 1]
    pairs = np.unique(np.stack([np.minimum(i, j), np.maximum(i, j)]), axis=1)
    length = np.linalg.norm(nodes[pairs[0]] - nodes[pairs[1]], axis=1)
    graph = sparse.csr_matrix((length, tuple(pairs)), shape=(len(nodes), len(nodes)))
    return Manifold(
        nodes,
        _joined(graph, nodes),
        nearest.astype(np.int32),
        (closeness / closeness.sum(1, keepdims=True)).astype(np.float32),
        np.bincount(i, minlength=len(nodes)) / len(x),
    )


def spread(x: Array, n: int, rng: np.random.Generator) -> Array:
    """Rows that cover `x` evenly: each the farthest from those before it; all of them if there are no more than `n`."""
    if n >= len(x):
        return np.arange(len(x))
    chosen = np.empty(n, dtype=int)
    chosen[0] = rng.integers(len(x))
    distance = np.full(len(x), np.inf)
    for step in range(1, n):
        distance = np.minimum(distance, np.square(x - x[chosen[step - 1]]).sum(1))
        chosen[step] = distance.argmax()
    return chosen


def _centres(x: Array, n: int, rng: np.random.Generator) -> Array:
    """Centres of clusters, from at most 100 cells of each: more would not move them."""
    sample = x[rng.choice(len(x), min(len(x), 100 * n), replace=False)]
    seed = int(rng.integers(2**31))
    clusters = MiniBatchKMeans(n, init="random", n_init=1, batch_size=4_096, max_iter=10, random_state=seed).fit(sample)
    return clusters.cluster_centers_.astype(x.dtype)


def _joined(graph: sparse.csr_matrix, x: Array) -> sparse.csr_matrix:
    """Make the graph symmetric, and connected by the shortest edges between its components."""
    graph.data = graph.data.clip(1e-12)  # equal cells are neighbours: a zero would be no edge
    graph = graph.maximum(graph.T).tocsr()
    while True:
        n, component = connected_components(graph, directed=False)
        if n == 1:
            return graph
        i = np.flatnonzero(component == np.bincount(component).argmin())  # the smallest component finds its nearest
        rest = np.flatnonzero(component != component[i[0]])
        distance, neighbour = NearestNeighbors(n_neighbors=1).fit(x[rest]).kneighbors(x[i])
        closest = distance[:, 0].argmin()
        ends = [i[closest]], [rest[neighbour[closest, 0]]]
        edge = sparse.csr_matrix((distance[closest].clip(1e-12), ends), shape=graph.shape)
        graph = graph.maximum(edge).maximum(edge.T).tocsr()
