"""A step of the effects, feature by feature and cell by cell, and the parts of a round."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.data import _fit_effects
from jamie.data._fit_effects import _even, _Fit, _mixed, _newton, _without

N, D, P, K = 60, 7, 3, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def drawn(rng):
    """Counts, a design of two batches and a covariate, states and effects so far."""
    one_hot = np.eye(2)[rng.integers(0, 2, N)]
    design = np.column_stack([one_hot, rng.normal(size=N)])
    return rng.poisson(4.0, (N, D)).astype(float), design, rng.integers(0, K, N), rng.normal(0, 0.1, (P, D))


def expected_step(u, design, states, beta, prior, *, is_factor):
    """The formula in the head of the module, in loops over features and states; NaN is what says nothing."""
    within = design - np.stack([design[states == s].mean(axis=0) for s in states])
    step, spread = np.empty((P, D)), np.empty((P, D))
    for g in range(D):
        means = np.array([np.nanmean(u[states == s, g]) for s in range(K)])
        x = np.where(np.isnan(u[:, g]), means[states], u[:, g])
        variance = np.square(x - means[states]).sum()
        size = means[states].sum()
        weights = means / max(variance / size, 1) if is_factor else np.full(K, N / variance)
        normal = prior * np.eye(P)
        for s in range(K):
            normal = normal + weights[s] * within[states == s].T @ within[states == s]
        scale = 1 / max(variance / size, 1) if is_factor else N / variance
        step[:, g] = np.linalg.solve(normal, scale * within.T @ x - prior * beta[:, g])
        spread[:, g] = np.diag(np.linalg.inv(normal))
    return step, spread


@pytest.mark.parametrize("block", [1, 2**24])  # numbers of the normal equations at a time
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])  # of counts whose variance is below, at and above their mean
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_step_is_newtons_of_a_quasi_poisson_regression(drawn, form, scale, block, monkeypatch):
    monkeypatch.setattr(_fit_effects, "BLOCK", block)
    u, design, states, beta = drawn
    found = _newton(form(scale * u), design, states, beta, 0.7, is_factor=True)
    for one, other in zip(found, expected_step(scale * u, design, states, beta, 0.7, is_factor=True), strict=True):
        assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("is_factor", [True, False])
def test_what_is_missing_says_nothing(drawn, is_factor, rng):
    u, design, states, beta = drawn
    u[rng.random(u.shape) < 0.2] = np.nan
    found = _newton(u, design, states, beta, 0.7, is_factor=is_factor)
    for one, other in zip(found, expected_step(u, design, states, beta, 0.7, is_factor=is_factor), strict=True):
        assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("is_factor", [True, False])
def test_features_that_do_not_vary_have_no_effect(drawn, is_factor):
    _, design, states, _ = drawn
    constant = np.outer(np.ones(N), [0.0, 5.0])
    step, spread = _newton(constant, design, states, np.zeros((P, 2)), 1.0, is_factor=is_factor)
    assert_allclose(step, 0, atol=1e-3)
    assert np.isfinite(spread).all()


def test_batches_are_mixed_as_far_as_states_do_not_tell_them(rng):
    batch, state = rng.integers(0, 3, 500), rng.integers(0, 5, 500)
    one_hot = np.eye(3)[batch]
    within = one_hot - np.stack([one_hot[state == s].mean(axis=0) for s in range(5)])[state]
    assert _mixed(one_hot, state) == pytest.approx(within.var(axis=0).sum() / one_hot.var(axis=0).sum())
    assert _mixed(one_hot, np.zeros(500, int)) == pytest.approx(1)
    assert _mixed(one_hot, batch) == 0
    assert _mixed(np.ones((9, 1)), np.arange(9) % 2) == 1


def test_components_without_the_batch_have_the_same_mean_in_each(rng):
    batch, scores = rng.integers(0, 3, 50), rng.normal(size=(50, 6))
    left = _without(scores, np.eye(4)[batch])  # of the last batch there is no cell
    for b in range(3):
        assert_allclose(left[batch == b], scores[batch == b] - scores[batch == b].mean(axis=0))


def test_few_cells_are_all_learned_from_and_many_evenly(rng, monkeypatch):
    rows, codes = np.arange(100, 200), np.repeat([0, 1, 2], [70, 10, 20])
    assert_array_equal(_even(rows, codes, rng), rows)
    monkeypatch.setattr(_fit_effects, "MOST_CELLS", 40)
    found = _even(rows, codes, rng)
    assert_array_equal(found, np.unique(found))
    assert np.bincount(codes[found - 100]).tolist() == [15, 10, 15]
    assert not np.array_equal(found, _even(rows, codes, rng))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_cells_are_made_of_one_size(rng, form):
    x = rng.poisson(2.0, (9, 5)).astype(np.float32)
    x[3] = 0
    dense = {}
    for kind in ("counts", "protein", "continuous"):
        found = _Fit(kind, rng, is_factor=True)._sized(form(x))
        assert sparse.issparse(found) == sparse.issparse(form(x))
        dense[kind] = found.toarray() if sparse.issparse(found) else found
    assert_array_equal(dense["continuous"], x)
    totals = dense["counts"].sum(axis=1)
    assert_allclose(np.delete(totals, 3), np.median(x.sum(axis=1)), rtol=1e-5)
    assert not dense["counts"][3].any()
    size = np.exp(np.log1p(x).mean(axis=1))
    assert_allclose(dense["protein"], x * (np.median(size) / size)[:, None], rtol=1e-5)


def test_states_have_twenty_cells_or_more_on_average(rng):
    fit = _Fit("counts", rng, is_factor=True)
    scores = rng.normal(size=(100, 3))
    assert [len(np.unique(fit._states(scores[:n], 4))) for n in (10, 39, 40, 100)] == [1, 1, 2, 4]


@pytest.mark.parametrize("kind", ["counts", "continuous"])
def test_components_are_those_of_standardised_features(rng, kind):
    """Sparse and dense alike, and constant features have no part in them."""
    x = rng.poisson(3.0, (200, 12)).astype(np.float32) * np.where(np.arange(200) < 80, 3, 1)[:, None]
    x[:, 4] = 0
    z = x.astype(float) if kind == "continuous" else np.log1p(x.astype(float))
    z = (z - z.mean(axis=0)) / np.where(z.std(axis=0) > 0, z.std(axis=0), 1)
    explained = np.linalg.eigvalsh(np.cov(z.T))[-12:].sum()
    for form in (np.asarray, sparse.csr_matrix):
        fit = _Fit(kind, np.random.default_rng(0), is_factor=True)
        scores = fit._components(form(x))
        assert_allclose(scores.mean(axis=0), 0, atol=1e-4)
        assert_allclose(scores.var(axis=0, ddof=1).sum(), explained, rtol=1e-4)
        assert_allclose(scores @ scores.T, z @ z.T, atol=1e-2)
