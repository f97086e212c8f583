"""Paths along a modality beside Floyd-Warshall and curves of known length."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from jamie.correspondence import _manifold
from jamie.correspondence._manifold import manifold, spread


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def shortest(edges):
    """Floyd-Warshall on a matrix of edge lengths, infinite where there is none."""
    d = np.minimum(edges, edges.T)
    np.fill_diagonal(d, 0)
    for k in range(len(d)):
        d = np.minimum(d, d[:, [k]] + d[k])
    return d


def neighbour_edges(x, k):
    d = cdist(x, x)
    np.fill_diagonal(d, np.inf)
    return np.where(d <= np.sort(d, axis=1)[:, [k - 1]], d, np.inf)


def half_circle(n, rng, noise=0.0):
    angle = np.pi * rng.random(n)
    x = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1) + noise * rng.normal(size=(n, 3))
    return x.astype(np.float32), angle


def test_paths_are_the_shortest_on_the_graph_of_neighbours(monkeypatch, rng):
    monkeypatch.setattr(_manifold, "N_NEIGHBORS", 5)
    x = rng.random((50, 2))
    expected = shortest(neighbour_edges(x, 5))
    assert np.isfinite(expected).all()
    assert (expected > cdist(x, x) * 1.05).any()
    sources = np.array([7, 0, 31])
    assert_allclose(manifold(x, rng).geodesic(sources), expected[:, sources], rtol=1e-6)


def test_along_a_half_circle_they_are_arcs(rng):
    x, angle = half_circle(500, rng)
    found = manifold(x, rng).geodesic(np.array([0, 9]))
    arcs = np.abs(np.subtract.outer(angle, angle[[0, 9]]))
    assert_allclose(found, arcs, rtol=0.01, atol=0.01)
    assert np.abs(cdist(x, x[[0, 9]]) - arcs).max() > 0.2  # which straight lines are not


def test_clusters_are_joined_by_the_shortest_edge_there_is(rng):
    x = rng.normal(size=(60, 2)) + np.repeat([[0, 0], [30, 3], [90, 0]], 20, axis=0)
    edges, part = neighbour_edges(x, 15), np.repeat([0, 1, 2], 20)
    d = cdist(x, x)
    for a, b in ((0, 1), (1, 2)):
        between = np.where(np.logical_and.outer(part == a, part == b), d, np.inf)
        ends = np.unravel_index(between.argmin(), d.shape)
        edges[ends] = d[ends]
    found = manifold(x, rng).geodesic(np.arange(60))
    assert_allclose(found, shortest(edges), rtol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_few_cells_are_all_neighbours(n, rng):
    x = rng.normal(size=(n, 3))
    assert_allclose(manifold(x, rng).geodesic(np.arange(n)), cdist(x, x), rtol=1e-6, atol=1e-9)


def test_equal_cells_are_neighbours_at_no_distance(monkeypatch, rng):
    searches = []
    search = _manifold.NearestNeighbors
    monkeypatch.setattr(_manifold, "NearestNeighbors", lambda **options: searches.append(1) or search(**options))
    points = np.array([[0, 0], [1, 0], [3, 0], [7, 0], [15, 0], [31, 0]])  # so that each is joined to the next
    x = np.repeat(points, 50, axis=0)
    assert_allclose(manifold(x, rng).geodesic(np.arange(0, 300, 50))[::50], cdist(points, points), atol=1e-9)
    assert len(searches) < 60  # not cell by cell


def test_up_to_a_size_every_cell_is_a_node(rng):
    x = rng.normal(size=(40, 3))
    found = manifold(x, rng)
    assert_array_equal(found.nodes, x)
    assert_array_equal(found.at_cells(x), x.astype(np.float32))
    assert_allclose(found.share, 1 / 40)


@pytest.fixture
def clustered(monkeypatch, rng):
    monkeypatch.setattr(_manifold, "MOST_CELLS", 1_000)
    x, angle = half_circle(1_500, rng, noise=0.005)
    return x, angle, manifold(x, rng)


def test_above_it_nodes_are_clusters_and_cells_lie_between_them(clustered):
    x, _, found = clustered
    d = cdist(x, found.nodes)
    order = d.argsort(axis=1)
    assert found.nodes.shape == (300, 3)
    assert_array_equal(found.nearest, order[:, :4])
    closeness = np.take_along_axis(d, order[:, :4], 1).clip(1e-6) ** -2
    assert_allclose(found.weights, closeness / closeness.sum(1, keepdims=True), rtol=1e-3)
    assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
    assert_allclose(found.share, np.bincount(order[:, 0], minlength=300) / len(x))
    assert_allclose(found.share.sum(), 1)


def test_clusters_are_neighbours_where_a_cell_lies_between(clustered):
    x, _, found = clustered
    between = {tuple(sorted(pair)) for pair in cdist(x, found.nodes).argsort(axis=1)[:, :2]}
    graph = found.graph.tocoo()
    edges = {(i, j) for i, j in zip(graph.row, graph.col, strict=True) if i < j}
    assert between <= edges
    assert len(edges - between) < 30  # what joins components
    assert_allclose(graph.data, np.linalg.norm(found.nodes[graph.row] - found.nodes[graph.col], axis=1), rtol=1e-5)


def test_paths_between_clusters_and_what_is_interpolated_follow_the_curve(clustered):
    _, angle, found = clustered
    at_nodes = np.arctan2(found.nodes[:, 1], found.nodes[:, 0])[:, None]
    assert_allclose(found.at_cells(at_nodes)[:, 0], angle, atol=0.03)
    ends = np.array([at_nodes.argmin(), at_nodes.argmax()])
    arcs, paths = np.abs(angle[:, None] - at_nodes[ends, 0]), found.at_cells(found.geodesic(ends))
    assert (paths > 0.98 * arcs - 0.05).all()
    assert (paths < 1.2 * arcs + 0.05).all()  # from node to node they zigzag a little


def test_interpolation_is_a_weighted_mean(clustered):
    found = clustered[2]
    values = np.random.default_rng(1).normal(size=(300, 2))
    expected = [[w @ values[nodes]] for w, nodes in zip(found.weights, found.nearest, strict=True)]
    assert_allclose(found.at_cells(values), np.concatenate(expected), atol=1e-5)


def test_the_seed_decides(monkeypatch, rng):
    monkeypatch.setattr(_manifold, "MOST_CELLS", 500)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    one, two, other = (manifold(x, np.random.default_rng(seed)).nodes for seed in (0, 0, 1))
    assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_spread_takes_the_farthest_each_time(rng):
    x = rng.normal(size=(80, 2))
    chosen, d = spread(x, 12, rng), cdist(x, x)
    for step in range(1, 12):
        assert chosen[step] == d[chosen[:step]].min(axis=0).argmax()
    radius = d[chosen].min(axis=0).max()
    assert radius < min(d[rng.choice(80, 12, replace=False)].min(axis=0).max() for _ in range(30))
    assert_array_equal(np.sort(spread(x, 80, rng)), np.arange(80))
    assert_array_equal(spread(x, 200, rng), np.arange(80))
