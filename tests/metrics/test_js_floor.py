"""How far apart two samples are, against samples drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.metrics import js_distance, js_floor


@pytest.mark.parametrize(("n", "expected"), [(5, 0.89), (20, 0.61), (50, 0.39), (200, 0.19)])
def test_two_normal_samples_are_as_far_apart_as_they_are(n, expected):
    pool = np.random.default_rng(0).normal(size=(2 * n, 300))
    assert js_floor(pool, n).mean() == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize("n", [20, 50, 200])
def test_with_as_many_cells_as_asked_for_it_is_carried_on_from_halves(n):
    rng = np.random.default_rng(1)
    fresh = js_distance(rng.normal(size=(n, 300)), rng.normal(size=(n, 300))).mean()
    found = js_floor(rng.normal(size=(n, 300)), n).mean()
    assert found == pytest.approx(fresh, rel=0.15)
    assert found < js_distance(*np.split(rng.normal(size=(n, 300)), 2)).mean()  # which halves alone would give


def test_too_few_cells_have_none():
    values = np.random.default_rng(0).normal(size=(15, 3))
    assert np.isnan(js_floor(values, 15)).all()
    assert np.isfinite(js_floor(np.random.default_rng(0).normal(size=(16, 3)), 16)).all()
    assert np.isfinite(js_floor(values, 7)).all()
    assert np.isnan(js_floor(values, 1)).all()


def test_what_does_not_vary_has_none():
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:, 1] = 2
    for n in (30, 60):
        assert_array_equal(np.isnan(js_floor(values, n)), [False, True, False])
        assert_array_equal(js_floor(values, n)[[0, 2]], js_floor(values[:, [0, 2]], n))  # nor has it a say in others
    assert np.isnan(js_floor(np.ones((60, 2)), 60)).all()


def test_sparse_is_as_dense():
    values = np.random.default_rng(0).poisson(1, size=(80, 5)).astype(float)
    assert_allclose(js_floor(sparse.csr_matrix(values), 30, rng=2), js_floor(values, 30, rng=2))


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="`n_cells` of at least 1"):
        js_floor(np.ones((5, 2)), 0)
    with pytest.raises(ValueError, match="`n_bins` >= 2"):
        js_floor(np.random.default_rng(0).normal(size=(50, 2)), 5, n_bins=1)
