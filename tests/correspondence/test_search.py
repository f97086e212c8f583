"""Neighbours beside a full sort, and the constraints of eq. 8."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import cdist

from jamie.correspondence import _search
from jamie.correspondence._search import cap_columns, nearest, soft_matches


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cells(n, k, seed):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 6, 80, 200])
def test_few_cells_are_searched_exactly(k, rng):
    x, y = cells(50, 4, 1), cells(80, 4, 2)
    d, found = nearest(x, y, k, rng)
    expected = cdist(x, y)
    assert_array_equal(found, expected.argsort(axis=1)[:, :k])
    assert_allclose(d, np.sort(expected, axis=1)[:, :k], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 10, 30])
def test_many_cells_are_found_nearly_all(monkeypatch, k, rng):
    monkeypatch.setattr(_search, "EXACT", 1_000)
    monkeypatch.setattr(_search, "ROWS", 150)
    x, y = cells(400, 3, 1), cells(2_000, 3, 2)
    d, found = nearest(x, y, k, rng)
    expected = cdist(x, y)
    assert (found.shape, found.dtype) == ((400, k), np.int32)
    assert_allclose(d, np.take_along_axis(expected, found, 1), rtol=1e-3, atol=1e-3)  # they are what they say
    assert (np.diff(d, axis=1) >= 0).all()
    assert all(len(set(row)) == k for row in found)
    truth = expected.argsort(axis=1)[:, :k]
    recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / k
    assert recall > 0.8


@pytest.mark.parametrize("k", [1, 40, 100, 700, 1_100, 1_500])
def test_there_are_always_as_many_as_were_asked_for(monkeypatch, k, rng):
    """Buckets of fewer than k are emptied into others, and no cell is lost in doing so."""
    monkeypatch.setattr(_search, "EXACT", 500)
    y = np.concatenate([cells(1_000, 2, 1), 50 + 20 * cells(100, 2, 2)])  # sparse at the rim
    x = np.concatenate([cells(20, 2, 3), 80 + cells(5, 2, 4), np.full((1, 2), 1e4, np.float32)])
    d, found = nearest(x, y, k, rng)
    assert d.shape == found.shape == (26, min(k, 1_100))
    assert np.isfinite(d).all()
    assert all(len(set(row)) == len(row) for row in found)


def test_buckets_of_too_few_are_not_asked(monkeypatch, rng):
    """Three corners hold one cell each, and who asks there needs five."""
    corners = np.array([[100, 0], [101, 0], [102, 0]], np.float32)
    y = np.concatenate([cells(200, 2, 1), corners])

    class Clusters:
        cluster_centers_ = np.concatenate([corners, cells(11, 2, 2)])

        def __init__(self, n, **_):
            assert n == len(self.cluster_centers_)

        def fit(self, _):
            return self

    monkeypatch.setattr(_search, "EXACT", 100)
    monkeypatch.setattr(_search, "MiniBatchKMeans", Clusters)
    d, found = nearest(corners[:1], y, 5, rng)
    assert np.isfinite(d).all()
    assert set(found[0, :3]) == {200, 201, 202}


def test_with_every_cell_in_one_bucket_it_is_exact_again(monkeypatch, rng):
    monkeypatch.setattr(_search, "EXACT", 100)
    x, y = cells(30, 3, 1), cells(300, 3, 2)
    d, found = nearest(x, y, 299, rng)
    assert_array_equal(found[:, :250], cdist(x, y).argsort(axis=1)[:, :250])
    assert_allclose(d, np.sort(cdist(x, y), axis=1)[:, :299], rtol=1e-3)


def test_equal_cells_and_the_seed(monkeypatch):
    monkeypatch.setattr(_search, "EXACT", 100)
    y = np.ones((400, 3), np.float32)
    assert_array_equal(nearest(y[:9], y, 5, np.random.default_rng(0))[0], 0)
    x, y = cells(90, 3, 1), cells(400, 3, 2)
    one, two = (nearest(x, y, 5, np.random.default_rng(4)) for _ in range(2))
    assert_array_equal(one[0], two[0])
    assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("n_keep", [1, 5, 200])
def test_soft_matches_are_a_gaussian_of_the_distance(n_keep, rng):
    x, y = cells(30, 3, 1), cells(40, 3, 2)
    f = soft_matches(x, y, n_keep, rng)
    d = np.sort(cdist(x, y), axis=1)[:, :n_keep]
    width = np.median(d[:, -1])
    expected = np.exp(-((cdist(x, y) / width) ** 2)) * (cdist(x, y) <= d[:, [-1]])
    assert_allclose(f.toarray(), expected / expected.sum(1, keepdims=True), rtol=1e-4, atol=1e-7)
    assert_allclose(f.sum(1), 1, rtol=1e-5)
    assert_array_equal(np.diff(f.indptr), min(n_keep, 40))
    assert (f.format, f.dtype, f.shape) == ("csr", np.float32, (30, 40))


def test_cells_on_their_partners_match_them_alone(rng):
    x = cells(30, 3, 1)
    assert_allclose(soft_matches(x, x, 1, rng).toarray(), np.eye(30))
    assert_allclose(soft_matches(x * 0, x[:4] * 0, 4, rng).toarray(), 0.25)  # nothing to tell them by


@pytest.mark.parametrize(("n_x", "n_y"), [(60, 60), (60, 90), (90, 60), (90, 31)])
def test_capped_rows_are_exact_and_columns_at_most_the_cap(n_x, n_y):
    values = np.random.default_rng(0).gamma(0.5, size=(n_x, n_y)).astype(np.float32)
    values[:, :3] *= 20  # too popular
    f = sparse.csr_matrix(values / values.sum(1, keepdims=True))
    before = f.toarray()
    capped = cap_columns(f, n_iterations=500)
    cap = max(1, n_x / n_y)
    assert f.sum(0).max() > 1.5 * cap
    assert_allclose(capped.sum(1), 1, rtol=1e-5)
    assert capped.sum(0).max() <= cap * 1.002
    assert_array_equal(f.toarray(), before)


def test_what_meets_the_cap_is_left_alone():
    f = sparse.csr_matrix(np.full((4, 8), 1 / 8, np.float32))
    assert_array_equal(cap_columns(f).toarray(), f.toarray())
    more = sparse.csr_matrix(np.repeat([[0.4, 0.1, 0.4, 0.1], [0.1, 0.4, 0.1, 0.4]], 4, axis=0).astype(np.float32))
    assert_allclose(more.sum(0), 2, rtol=1e-6)  # n_x / n_y
    assert_array_equal(cap_columns(more).toarray(), more.toarray())


def test_where_the_cap_cannot_be_met_rows_still_are():
    f = sparse.csr_matrix(np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]], np.float32))
    capped = cap_columns(f).toarray()
    assert_allclose(capped.sum(1), 1)
    assert_array_equal(capped[:2], [[1, 0, 0]] * 2)  # they have no other
    assert capped[2, 1] > 0.99
