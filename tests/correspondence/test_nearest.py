"""Likeliest partners beside a brute-force search, and a bandwidth that is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_array_less
from scipy import sparse
from scipy.optimize import brentq

from jamie.correspondence import _nearest, _search
from jamie.correspondence._nearest import likeliest_bandwidth, nearest, nearest_partners


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=(70, 5)).astype(np.float32), rng.normal(size=(45, 5)).astype(np.float32)


def squared(x, y):
    return np.square(x[:, None].astype(float) - y[None]).sum(-1)


def brute(x, y, n_keep, bandwidth):
    d = squared(x, y)
    kept = d <= np.sort(d, axis=1)[:, [n_keep - 1]]
    p = np.exp(-d / bandwidth)
    return np.where(kept, p / p.sum(axis=1, keepdims=True), 0)


def noisy(n, sigma, seed=0, g=4):
    """Cells and partners that are N(0, σ²) apart in each dimension, in another order, and who belongs to whom."""
    rng = np.random.default_rng(seed)
    x, order = rng.normal(size=(n, g)), rng.permutation(n)
    y = (x + sigma * rng.normal(size=(n, g)))[order]
    return x, y, sparse.csr_matrix((np.ones(n, np.float32), (order, np.arange(n))), shape=(n, n))


@pytest.mark.parametrize("n", [1, 7, 45, 90])
def test_neighbours_are_those_of_a_full_sort(cells, n):
    d, found = nearest(*cells, n)
    expected = squared(*cells)
    assert_array_equal(found, np.argsort(expected, axis=1)[:, :n])
    assert_allclose(d, np.sqrt(np.sort(expected, axis=1)[:, :n]), rtol=1e-6)


def test_many_cells_are_searched_in_clusters_and_a_call_repeats(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=(600, 3)).astype(np.float32)
    exact = nearest(x, y, 10)[1]
    monkeypatch.setattr(_search, "EXACT", 500)
    (d, found), (again, same) = nearest(x, y, 10), nearest(x, y, 10)
    assert_array_equal(found, same)
    assert_array_equal(d, again)
    assert np.isfinite(d).all()
    recall = np.mean([len(np.intersect1d(*rows)) for rows in zip(found, exact, strict=True)]) / 10
    assert 0.8 < recall < 1  # the clusters were in use


@pytest.mark.parametrize("n_keep", [1, 7, 20, 45])
def test_without_pairs_the_bandwidth_is_the_distance_to_the_tenth(cells, n_keep):
    f = nearest_partners(*cells, n_keep=n_keep)
    bandwidth = np.median(np.sort(squared(*cells), axis=1)[:, 9])
    assert_allclose(f.toarray(), brute(*cells, n_keep, bandwidth), rtol=1e-4, atol=1e-7)
    assert (f.format, f.dtype, f.shape) == ("csr", np.float32, (70, 45))
    assert f.has_sorted_indices


@pytest.mark.parametrize("n_keep", [1, 3, 50])
def test_every_row_has_as_many_partners_as_there_are_and_the_rest_is_of_others(cells, n_keep):
    x, y = cells
    f = nearest_partners(x, y[:6], n_keep=n_keep)
    assert_array_equal(np.diff(f.indptr), min(n_keep, 6))
    mass = np.asarray(f.sum(axis=1)).ravel()
    assert_allclose(mass, 1, rtol=1e-5) if n_keep == 50 else assert_array_less(mass, 0.999)


def test_of_many_cells_some_stand_for_the_rest(monkeypatch):
    x, y, _ = noisy(600, 0.8)
    exact = nearest_partners(x, y, n_keep=5)
    monkeypatch.setattr(_nearest, "MOST_SUMMED", 600 * 200)
    monkeypatch.setattr(_nearest, "FEWEST_SUMMED", 1)
    drawn = nearest_partners(x, y, n_keep=5)
    assert not np.array_equal(drawn.data, exact.data)
    assert_allclose(drawn.sum(axis=1).mean(), exact.sum(axis=1).mean(), rtol=0.05)
    assert_array_equal(drawn.indices, exact.indices)


def test_unseen_pairs_alone_tell_the_bandwidth():
    x, y, pairs = noisy(300, 0.1)
    f = nearest_partners(x, y, n_keep=300, pairs=pairs, unseen=pairs)
    assert_allclose(f.toarray(), brute(x, y, 300, likeliest_bandwidth(x, y, pairs)), rtol=1e-3, atol=1e-6)
    assert f.max(axis=1).mean() > nearest_partners(x, y, n_keep=300, pairs=pairs).max(axis=1).mean()


@pytest.mark.parametrize("sigma", [0.2, 0.5])
def test_the_bandwidth_of_gaussian_pairs_is_recovered(sigma):
    assert_allclose(likeliest_bandwidth(*noisy(800, sigma)), 2 * sigma**2, rtol=0.1)


def test_the_bandwidth_is_where_the_likelihood_is_flat(cells):
    rng = np.random.default_rng(1)
    x, y = cells
    y = np.concatenate([x[:20] + 0.7 * rng.normal(size=(20, 5)), y])
    confidence = rng.uniform(0.2, 1, size=20)
    pairs = sparse.csr_matrix((confidence, (np.arange(20), np.arange(20))), shape=(len(x), len(y)))
    d = squared(x[:20], y)

    def slope(beta):  # partner's distance minus the mean one
        p = np.exp(-beta * d)
        return confidence @ (np.diag(d) - (p * d).sum(1) / p.sum(1))

    assert_allclose(likeliest_bandwidth(x, y, pairs), 1 / brentq(slope, 1e-3, 10), rtol=0.02)


def test_probabilities_are_those_of_the_true_partner():
    x, y, pairs = noisy(1500, 0.6)
    known = pairs.copy().tolil()
    known[750:] = 0
    f = nearest_partners(x, y, n_keep=20, unseen=known.tocsr())[750:]
    true, likeliest = pairs[750:].toarray().argmax(1), f.max(axis=1).toarray().ravel()
    assert_allclose((np.asarray(f.argmax(axis=1)).ravel() == true).mean(), likeliest.mean(), atol=0.04)
    is_kept = np.asarray(f[np.arange(750), true]).ravel() > 0
    assert_allclose(f.sum(axis=1).mean(), is_kept.mean(), atol=0.04)


def test_pairs_widen_the_bandwidth_but_never_make_it_narrower_than_the_neighbourhood():
    x, y, pairs = noisy(300, 1.0)
    plain, wide = nearest_partners(x, y, n_keep=300), nearest_partners(x, y, n_keep=300, pairs=pairs)
    bandwidth = likeliest_bandwidth(x, y, pairs)
    assert bandwidth > np.median(np.sort(squared(x, y), axis=1)[:, 9])
    assert wide.max(axis=1).mean() < plain.max(axis=1).mean()
    assert_allclose(wide.toarray(), brute(x, y, 300, bandwidth), rtol=1e-3, atol=1e-7)
    same = sparse.identity(300, dtype=np.float32, format="csr")  # trained until they lie on each other
    assert_array_equal(
        nearest_partners(x, x, n_keep=5, pairs=same).toarray(), nearest_partners(x, x, n_keep=5).toarray()
    )
    empty = sparse.csr_matrix((300, 300), dtype=np.float32)
    assert_array_equal(nearest_partners(x, y, n_keep=300, pairs=empty).toarray(), plain.toarray())


def test_few_of_many_pairs_give_about_the_same_bandwidth(monkeypatch):
    problem = noisy(800, 0.5)
    every = likeliest_bandwidth(*problem)
    monkeypatch.setattr(_nearest, "MOST_DISTANCES", 100 * 800)
    assert_allclose(likeliest_bandwidth(*problem), every, rtol=0.3)


def test_cells_that_are_all_the_same_are_equally_likely():
    x = np.ones((12, 3))
    f = nearest_partners(x, x, n_keep=4, pairs=sparse.identity(12, dtype=np.float32, format="csr"))
    assert_allclose(f.data, 1 / 12)


def test_neither_shift_rotation_nor_scale_of_the_latent_matters():
    x, y, pairs = noisy(200, 0.4)
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
    before = nearest_partners(x, y, n_keep=8, pairs=pairs)
    after = nearest_partners(30 * x @ q + 7, 30 * y @ q + 7, n_keep=8, pairs=pairs)
    assert_allclose(after.toarray(), before.toarray(), rtol=1e-3, atol=1e-6)
