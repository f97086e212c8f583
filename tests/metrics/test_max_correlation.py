"""The ceiling of a correlation, against simulated counts whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import binom

from jamie.metrics import _max_correlation, feature_correlation, max_correlation
from jamie.metrics._max_correlation import _correlation, _heads


def simulated(means, n=3000, sd=0.7, seed=0):
    """Poisson counts of log-normal rates, many features of each mean, and the rates."""
    rng = np.random.default_rng(seed)
    rates = np.repeat(means, 20) * np.exp(sd * rng.normal(size=(n, 20 * len(means))) - sd**2 / 2)
    return rng.poisson(rates), rates


def by_mean(values):
    return np.asarray(values).reshape(-1, 20).mean(axis=1)


def test_on_a_linear_scale_it_is_the_closed_form():
    """Signal variance of counts is that of the rates, noise variance the mean."""
    means, sd = np.array([0.3, 1, 5, 30]), 0.7
    counts, _ = simulated(means, sd=sd)
    signal = means**2 * (np.exp(sd**2) - 1)
    found = max_correlation(counts, normalise=lambda x: x)
    assert_allclose(by_mean(found), np.sqrt(signal / (signal + means)), atol=0.03)


def test_on_a_log_scale_it_is_what_the_best_predictor_reaches():
    """The best predictor is the expected value given the rate: the mean over many draws of it."""
    means = np.array([0.3, 1, 3, 30])
    counts, rates = simulated(means, n=1500)
    rng = np.random.default_rng(1)
    best = np.mean([np.log1p(rng.poisson(rates)) for _ in range(40)], axis=0)
    reached = [np.corrcoef(a, b)[0, 1] for a, b in zip(best.T, np.log1p(counts).T, strict=True)]
    # halves have twice the values, as after normalisation to one depth
    found = max_correlation(counts, normalise=lambda x: np.log1p(2 * x))
    assert_allclose(by_mean(found), by_mean(reached), atol=0.06)


def test_counts_that_are_only_noise_have_none():
    noise = np.random.default_rng(0).poisson(2, size=(5000, 50))
    assert max_correlation(noise, normalise=lambda x: x).mean() < 0.15


@pytest.mark.parametrize("normalise", [None, np.sqrt, lambda x: x])
def test_sparse_is_as_dense_and_stays_sparse(normalise):
    counts, _ = simulated(np.array([0.2, 2.0]), n=400)
    given = sparse.csr_matrix(counts)
    seen = []

    def spied(x):
        seen.append(sparse.issparse(x))
        return x if normalise is None else normalise(x)

    dense = max_correlation(counts, normalise=normalise, n_splits=40)
    found = max_correlation(given, normalise=None if normalise is None else spied, n_splits=40)
    assert all(seen)
    assert_allclose(found, dense, atol=0.12)
    assert_allclose(found.mean(), dense.mean(), atol=0.02)
    assert (given != sparse.csr_matrix(counts)).nnz == 0


def test_by_default_it_is_of_counts_per_depth():
    """Cells that differ in depth and in a programme: what the best predictor reaches is known from many draws."""
    rng = np.random.default_rng(0)
    n, d = 1500, 100
    rates = rng.lognormal(0, 1, size=d) * np.exp(0.6 * rng.normal(size=(n, 1)) * rng.normal(size=d))
    rates *= 800 * rng.lognormal(0, 0.5, size=(n, 1)) / rates.sum(axis=1, keepdims=True)
    counts = rng.poisson(rates)
    depth = np.median(counts.sum(axis=1))

    def per_depth(x):
        return np.log1p(x * depth / x.sum(axis=1, keepdims=True))

    best = np.mean([per_depth(rng.poisson(rates)) for _ in range(60)], axis=0)
    reached = feature_correlation(per_depth(counts), best)
    found = max_correlation(counts)
    assert_allclose(found.mean(), reached.mean(), atol=0.03)
    assert np.corrcoef(found, reached)[0, 1] > 0.97
    assert_allclose(found, max_correlation(counts, normalise=per_depth), atol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 63, 64, 65, 1000])
def test_coins_are_binomial(n):
    heads = _heads(np.full(40_000, n), np.random.default_rng(0))
    expected = binom(n, 0.5).cdf(np.arange(n + 1))
    found = np.searchsorted(np.sort(heads), np.arange(n + 1), side="right") / len(heads)
    assert_allclose(found, expected, atol=0.012)
    assert heads.dtype == np.int64
    assert heads.min() >= 0
    assert heads.max() <= n


def test_correlations_of_sparse_matrices_come_from_what_is_stored(monkeypatch):
    rng = np.random.default_rng(0)
    sides = [rng.poisson(1, size=(60, 5)).astype(np.float32) for _ in range(2)]
    for side in sides:
        side[:, 1] = 3000 + rng.normal(size=60)  # whose variance sums in single precision would lose
        side[:, 2] = 0
    expected = feature_correlation(*sides)
    monkeypatch.setattr(_max_correlation, "feature_correlation", None)
    assert_allclose(_correlation(*map(sparse.csr_matrix, sides)), expected, rtol=1e-6)
    assert np.isnan(_correlation(*(sparse.csr_matrix(side[:2]) for side in sides))).all()  # of two cells


def test_missing_values_are_left_out():
    counts, _ = simulated(np.array([3.0]), n=2000)
    gaps = counts.astype(float)
    gaps[:800, :5] = np.nan
    whole = max_correlation(counts[800:, :5], normalise=lambda x: x, n_splits=30)
    assert_allclose(max_correlation(gaps, normalise=lambda x: x, n_splits=30)[:5], whole, atol=0.03)
    stored = sparse.csr_matrix(gaps)
    assert_allclose(max_correlation(stored, normalise=lambda x: x, n_splits=30)[:5], whole, atol=0.03)


def test_a_constant_feature_has_none():
    counts = np.column_stack([np.zeros(50), np.arange(50)])
    assert_array_equal(np.isnan(max_correlation(counts, normalise=lambda x: x)), [True, False])
    assert_array_equal(np.isnan(max_correlation(sparse.csr_matrix(counts), normalise=lambda x: x)), [True, False])


def test_the_seed_decides():
    counts, _ = simulated(np.array([1.0]), n=100)
    assert_array_equal(max_correlation(counts, rng=3), max_correlation(counts, rng=3))
    assert (max_correlation(counts, rng=3) != max_correlation(counts, rng=4)).any()


@pytest.mark.parametrize("wrong", [-1, 0.5])
def test_what_is_no_count_is_refused(wrong):
    counts = np.ones((5, 2))
    counts[2, 1] = wrong
    for given in (counts, sparse.csr_matrix(counts)):
        with pytest.raises(ValueError, match=r"whole numbers from 0 up in `counts`.*`normalise`"):
            max_correlation(given)
    with pytest.raises(ValueError, match="`n_splits` of at least 1"):
        max_correlation(np.ones((5, 2)), n_splits=0)


def test_a_value_that_is_missing_is_missing_in_every_store():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(2, 3, (4_000, 1)) * np.ones(4)).astype(np.float32)
    counts[4, 2] = counts[9, 3] = np.nan
    dense, of_sparse = (max_correlation(x, normalise=lambda x: x, rng=0) for x in (counts, sparse.csr_matrix(counts)))
    assert (dense > 0.8).all()
    assert_allclose(of_sparse, dense, atol=0.02)
    dense, of_sparse = (max_correlation(x, rng=0) for x in (counts, sparse.csr_matrix(counts)))
    assert np.isfinite(of_sparse).all()
    assert_allclose(of_sparse, dense, atol=0.1)
